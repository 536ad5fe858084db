"""The catalogue is the interface: what it names is there, is typed, and means what it says."""

import datetime

import pytest
from django.db import models as fields
from importing import attempt

from accounts import catalogue
from accounts.catalogue import FACTS, SIGNAL_FAMILIES, SIGNALS
from accounts.imports.facts import QUERIES
from accounts.models import Account, Product, Signal, Subscription, Usage
from accounts.quality import figures
from accounts.records import TYPES as COLUMN_TYPES
from segmentation.admin.accounts import CORRECTABLE
from segmentation.evaluation import frames

AT = datetime.date(2026, 6, 30)
COLUMNS = {
    "text": (fields.CharField, fields.TextField),
    "integer": fields.BigIntegerField,
    "money": fields.DecimalField,
    "ratio": fields.DecimalField,
    "number": fields.DecimalField,
    "date": fields.DateField,
    "boolean": fields.BooleanField,
}
STORED = [fact for fact in FACTS.values() if fact.home != "derived"]
LINKS = {"parent", "csm"}


@pytest.mark.parametrize("fact", STORED, ids=lambda fact: fact.name)
def test_a_stored_fact_is_a_column_of_its_type_and_can_be_unknown(fact):
    model = {"account": Account, "usage": Usage}[fact.home]
    column = model._meta.get_field(fact.name)
    if fact.name in LINKS:
        return
    assert isinstance(column, COLUMNS[fact.type])
    assert column.null or fact.completeness == 1.0  # name, kind, status ... are never unknown
    if fact.type == "money":
        assert column.decimal_places == 2
    assert fact.type in COLUMN_TYPES


def test_every_fact_is_told_apart_and_has_a_family():
    labels = [fact.label for fact in FACTS.values()]
    assert len(labels) == len(set(labels))
    assert {fact.family for fact in FACTS.values()} == {
        "firmographic", "contract", "usage", "engagement", "signals",
    }  # fmt: skip
    assert {signal.family for signal in SIGNALS.values()} == set(SIGNAL_FAMILIES)
    assert {signal.fact for signal in SIGNALS.values()} <= set(FACTS)
    assert all(0 <= fact.completeness <= 1 and fact.refresh_days > 0 for fact in FACTS.values())


def test_what_moves_a_fact_is_said():
    """A team moves what comes of its work; what a customer is moves by nothing."""
    moved = {
        kind: {fact.name for fact in FACTS.values() if fact.moved_by == kind}
        for kind in ("team", "itself", "")
    }
    assert sum(map(len, moved.values())) == len(FACTS)
    assert {FACTS[name].family for name in moved["team"]} == {"usage", "engagement"}
    assert {"arr", "employees", "contract_type", "days_to_renewal"} <= moved["itself"]
    assert {FACTS[name].family for name in moved[""]} <= {"firmographic", "contract"}
    assert {"industry", "country", "csm", "currency"} <= moved[""]


def test_what_lists_facts_lists_all_of_them():
    own = {fact.name for fact in STORED if fact.home == "account"}
    behaviour = {fact.name for fact in STORED if fact.home == "usage"}
    assert own | behaviour <= set(QUERIES["accounts"].fields)
    assert behaviour <= set(QUERIES["usage"].fields)
    assert own - {"external_id"} <= set(CORRECTABLE)


@pytest.mark.django_db
def test_the_sql_of_every_fact_runs_alone():
    """Alone: each brings the joins it needs and no other."""
    Account.objects.create(external_id="acme")
    for name in FACTS:
        frame = frames.facts([name], at=AT, first=0, last=2**62)
        assert (frame.height, frame.schema[name]) == (1, catalogue.dtype(name))
        frames.any_known([name], at=AT)
        assert figures.completeness([name], at=AT)[0] == 1


# -- days since


def read(names, at=AT):
    frame = frames.facts(names, at=at, first=0, last=2**62)
    return [tuple(row[name] for name in names) for row in frame.iter_rows(named=True)]


def acme(*events, **facts):
    """An account with these (signal, ISO date) events."""
    made = Account.objects.create(external_id="acme", **facts)
    for key, at in events:
        Signal.objects.create(account=made, signal=key, at=at)
    return made


SINCE = [  # what it is; the events; days since the sponsor departed on 30 June 2026
    ("never", [], None),
    ("today", [("sponsor_departed", "2026-06-30")], 0),
    ("yesterday", [("sponsor_departed", "2026-06-29")], 1),
    ("a leap day ago", [("sponsor_departed", "2024-02-29")], 852),
    ("tomorrow is not seen", [("sponsor_departed", "2026-07-01")], None),
    ("the last one counts", [("sponsor_departed", "2026-01-01"), ("sponsor_departed", "2026-06-20")], 10),
    ("the last one up to the day", [("sponsor_departed", "2026-06-20"), ("sponsor_departed", "2026-07-01")], 10),
    ("another event", [("executive_escalation", "2026-06-20")], None),
    ("written otherwise", [("Sponsor departed", "2026-06-20")], None),
]  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize(("events", "days"), [case[1:] for case in SINCE], ids=[case[0] for case in SINCE])
def test_days_since_an_event(events, days):
    acme(*events)
    assert read(["days_since_sponsor_departed"]) == [(days,)]
    assert frames.any_known(["days_since_sponsor_departed"], at=AT) == (days is not None)
    assert figures.completeness(["days_since_sponsor_departed"], at=AT)[1] == {
        "days_since_sponsor_departed": int(days is not None)
    }


@pytest.mark.django_db
def test_days_since_an_event_as_of_a_day_in_the_past():
    acme(("first_workflow", "2026-03-01"), ("first_workflow", "2026-06-01"), ("formal_pause", "2026-05-31"))
    names = ["days_since_first_workflow", "days_since_formal_pause"]
    assert read(names, datetime.date(2026, 6, 1)) == [(0, 1)]
    assert read(names, datetime.date(2026, 5, 31)) == [(91, 0)]
    assert read(names, datetime.date(2026, 3, 1)) == [(0, None)]
    assert read(names, datetime.date(2026, 2, 28)) == [(None, None)]


@pytest.mark.django_db
def test_events_of_one_account_are_not_another_ones_and_multiply_no_row():
    for number in range(3):
        made = Account.objects.create(external_id=f"c{number}")
        for day in range(1, 4):
            Signal.objects.create(
                account=made, signal="new_use_case", at=datetime.date(2026, 6, day + number)
            )
    assert read(["external_id", "days_since_new_use_case"]) == [("c0", 27), ("c1", 26), ("c2", 25)]


@pytest.mark.django_db
def test_days_since_what_is_stored():
    made = acme(last_qbr="2026-04-01")
    Usage.objects.create(account=made, last_active_at="2026-06-30")
    Usage.objects.create(account=made, product=Product.objects.create(key="p"), last_active_at="2026-01-01")
    assert read(["days_since_qbr", "days_since_last_active"]) == [(90, 0)]


ENDED = [  # what it is; subscriptions as (start, end, status); days since the contract ended on 30 June 2026
    ("none", [], None),
    ("running", [("2026-01-01", "2026-07-01", "active")], None),
    ("ended before the days of grace", [("2025-06-16", "2026-06-16", "active")], 14),
    ("the last of two", [("2024-01-01", "2025-01-01", "active"), ("2025-01-01", "2026-06-10", "active")], 20),
    ("its renewal is late", [("2025-06-20", "2026-06-20", "active")], None),
    ("one goes on", [("2025-01-01", "2026-06-10", "active"), ("2025-01-01", None, "past due")], None),
    ("cancelled and over", [("2025-06-20", "2026-06-20", "cancelled")], 10),
    ("only a trial", [("2026-01-01", "2026-02-01", "trial")], None),
    ("not begun", [("2026-07-01", None, "active")], None),
    ("cancelled before its end", [("2026-01-01", "2027-01-01", "cancelled")], None),
]  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize(("rows", "days"), [case[1:] for case in ENDED], ids=[case[0] for case in ENDED])
def test_days_since_the_contract_ended(rows, days):
    made = acme()
    for number, (start, end, status) in enumerate(rows):
        Subscription.objects.create(
            account=made, subscription_id=number, start_date=start, end_date=end, status=status, arr=1
        )
    assert read(["days_since_contract_ended"]) == [(days,)]


# -- importing them

GOOD = {
    "last_active_at": "2026-06-29", "departments_using": "3", "time_in_product": "12.5", "time_to_resolution": "26",
    "intent_score": "71.5", "stakeholders": "4", "economic_buyer_left": "false", "lifetime_value": "1234.50",
    "success_plan_active": "true", "last_qbr": "2026-04-01", "success_package": "Premier", "fit_score": "88",
    "ownership": "PE-backed", "language": "de", "timezone": "Europe/Berlin", "data_residency": "EU",
}  # fmt: skip
BAD = [
    ("last_active_at", "soon", "not a date"),
    ("last_qbr", "true", "not a date"),
    ("departments_using", "2.5", "not a whole number"),
    ("departments_using", "-1", "below 0"),
    ("stakeholders", "many", "not a number"),
    ("stakeholders", "-2", "below 0"),
    ("economic_buyer_left", "perhaps", "neither true nor false"),
    ("success_plan_active", "2", "neither true nor false"),
    ("lifetime_value", "-1", "below 0"),
    ("lifetime_value", "$5", "not a number"),
    ("time_to_resolution", "-0.5", "below 0"),
    ("time_in_product", "745", "above 744"),
    ("fit_score", "101", "above 100"),
    ("intent_score", "100.5", "above 100"),
    ("ownership", "x" * 401, "longer than 400 characters"),
]


def imported(folder, values, **options):
    header = ",".join(["id", *values])
    rows = "\n".join(",".join([name, *values.values()]) for name in ("A-1", "A-2"))
    columns = ", ".join(values)
    return attempt(
        folder, f"{header}\n{rows}\n", accounts=f"SELECT id AS external_id, {columns} FROM crm", **options
    )


@pytest.mark.django_db
def test_the_facts_are_imported_and_read_again(tmp_path):
    assert imported(tmp_path, GOOD).said == ""
    frame = frames.facts(list(GOOD), at=AT, first=0, last=2**62)
    texts = [
        {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in row.items()}
        for row in frame.select(list(GOOD)).iter_rows(named=True)
    ]
    decimals = {name: GOOD[name] for name in GOOD if FACTS[name].type == "number"}
    padded = {name: f"{float(text):.6f}" for name, text in decimals.items()}
    assert texts == [GOOD | padded] * 2
    assert Usage.objects.filter(product=None).count() == 2


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "value", "reason"), BAD)
def test_a_value_of_the_wrong_type_or_out_of_range_is_rejected(tmp_path, name, value, reason):
    refused = attempt(
        tmp_path, f"id,value\nA-1,{value}\nA-2,{GOOD[name]}\n",
        accounts=f"SELECT id AS external_id, value AS {name} FROM crm",
    )  # fmt: skip
    [(query, place, column, _, said)] = refused.rejected
    assert (query, place, column) == ("accounts", "A-1", name)
    assert reason in said
    assert not Account.objects.exists()


@pytest.mark.django_db
def test_derived_facts_cannot_be_imported(tmp_path):
    sql = "SELECT id AS external_id, 3 AS days_since_first_workflow FROM crm"
    assert "computed by Demarc and cannot be imported" in attempt(tmp_path, accounts=sql).everything


@pytest.mark.django_db
def test_usage_facts_are_held_per_product_too(tmp_path):
    files = {
        "crm.csv": "id,name,arr\nA-1,One,1\n",
        "product.csv": "id,module,last,teams\nA-1,,2026-06-29,4\nA-1,Core,2026-06-28,3\n",
    }
    sql = "SELECT id AS external_id, module AS product, last AS last_active_at, teams AS departments_using FROM product"
    assert attempt(tmp_path, files, usage=sql).said == ""
    rows = Usage.objects.order_by("product__key").values_list(
        "product__key", "last_active_at__day", "departments_using"
    )
    assert sorted(rows, key=str) == [("Core", 28, 3), (None, 29, 4)]


@pytest.mark.django_db
def test_events_nobody_knows_are_kept_and_told_with_the_nearest_known_one(tmp_path):
    files = {
        "crm.csv": "id,name,arr\nA-1,One,1\nA-2,Two,1\n",
        "events.csv": "id,what,day\nA-1,first workflow,2026-06-01\nA-2,first workflow,2026-06-02\n"
        "A-1,moved office,2026-06-03\nA-1,first_workflow,2026-06-04\n",
    }
    sql = "SELECT id AS external_id, what AS signal, day AS at FROM events"
    batch = attempt(tmp_path, files, signals=sql).batch
    assert [(one["warning"], one["count"], one["examples"]) for one in batch.warnings] == [
        (
            "event 'first workflow' is not in the data dictionary: kept, but rules cannot use it; did you mean 'first_workflow'?",
            2, ["A-1", "A-2"],
        ),
        ("event 'moved office' is not in the data dictionary: kept, but rules cannot use it", 1, ["A-1"]),
    ]  # fmt: skip
    assert Signal.objects.count() == 4
    assert figures.unknown_signals(at=AT) == [
        {"key": "first workflow", "accounts": 2},
        {"key": "moved office", "accounts": 1},
    ]


@pytest.mark.django_db
def test_many_kinds_of_unknown_events_are_told_together(tmp_path):
    events = "".join(f"A-1,kind {number:02},2026-06-01\n" for number in range(25))
    files = {"crm.csv": "id,name,arr\nA-1,One,1\n", "events.csv": f"id,what,day\n{events}"}
    sql = "SELECT id AS external_id, what AS signal, day AS at FROM events"
    warnings = attempt(tmp_path, files, signals=sql).batch.warnings
    assert len(warnings) == 21
    assert (warnings[-1]["count"], warnings[-1]["warning"][:20]) == (5, "5 more kinds of even")


@pytest.mark.django_db
def test_what_cannot_have_happened_yet_is_told(tmp_path):
    later = GOOD | {"last_qbr": "2026-07-01", "last_active_at": "2026-07-02"}
    warnings = imported(tmp_path, later).batch.warnings
    assert [(one["warning"], one["count"]) for one in warnings] == [
        ("last business review after the import's date", 2),
        ("last active after the import's date", 2),
    ]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("first workflow", "first_workflow"),
        ("First-Workflow", "first_workflow"),
        ("escalation", "executive_escalation"),
        ("sponser_departed", "sponsor_departed"),
        ("moved office", None),
        ("", None),
        ("'; drop table", None),
    ],
)
def test_the_nearest_event(key, meant):
    assert catalogue.nearest_signal(key) == meant
