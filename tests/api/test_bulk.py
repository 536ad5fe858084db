"""Rows sent together: accounts, subscriptions, usage, events; all or nothing, or the good ones; the same again changes nothing."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from calling import calling, problem
from django.db import connection
from django.utils import timezone
from governing import policy
from segmenting import account

from accounts import deliveries
from accounts.models import (
    Account,
    Conflict,
    Csm,
    FactChange,
    Signal,
    SourceSystem,
    Subscription,
    SystemOfRecord,
    Usage,
)
from core.history import acting

TODAY = timezone.localdate


@pytest.fixture
def crm(db):
    return calling("Integration")


def send(caller, path, rows, **more):
    return caller.post(f"{path}/bulk", {"source": "crm", "rows": rows} | more)


def statuses(answer):
    assert answer.status_code == 200, answer.content[:2_000]
    return [row["status"] for row in answer.json()["results"]]


def history():
    return Account.history.count(), Subscription.history.count(), FactChange.objects.count()


# -- accounts


def test_accounts_are_made_and_changed_and_the_same_again_changes_nothing(crm):
    rows = [
        {
            "external_id": "acme",
            "name": "Acme",
            "arr": 120000.5,
            "employees": 40,
            "nps": 30,
            "csm": "Jo@example.com",
        },
        {
            "external_id": "zeta",
            "name": "Zeta",
            "arr": "80000",
            "renewal_date": "2027-01-31",
            "economic_buyer_left": True,
        },
    ]
    assert statuses(send(crm, "accounts", rows)) == ["created", "created"]
    acme, zeta = Account.objects.order_by("external_id")
    assert (acme.arr, acme.employees, acme.csm.email, acme.currency) == (
        Decimal("120000.50"),
        40,
        "jo@example.com",
        "USD",
    )
    assert (zeta.renewal_date, zeta.economic_buyer_left, Usage.objects.get().nps) == (
        date(2027, 1, 31),
        True,
        30,
    )
    assert acme.provenance["arr"] == ["crm", TODAY().isoformat()]
    assert acme.history.get().history_channel == "api"
    before = history()
    answer = send(crm, "accounts", rows)
    assert statuses(answer) == ["unchanged", "unchanged"]
    assert history() == before
    told = answer.json()
    assert [(row["index"], row["id"]) for row in told["results"]] == [(0, "acme"), (1, "zeta")]
    assert (told["created"], told["unchanged"], told["rejected"]) == (0, 2, 0)
    rows[1]["arr"] = "80000.01"
    assert statuses(send(crm, "accounts", rows)) == ["unchanged", "updated"]
    assert zeta.history.count() == 2


def test_what_a_row_does_not_name_is_left_alone_and_null_is_not_known(crm):
    send(crm, "accounts", [{"external_id": "acme", "name": "Acme", "arr": 1, "employees": 2}])
    send(crm, "accounts", [{"external_id": "acme", "arr": None}, {"external_id": "zeta", "employees": 5}])
    acme = Account.objects.get(external_id="acme")
    assert (acme.name, acme.arr, acme.employees) == ("Acme", None, 2)
    send(crm, "accounts", [{"external_id": "acme", "employees": None}], source="billing")
    acme.refresh_from_db()
    assert acme.employees == 2  # another source simply does not know it


BAD = [
    ({"arr": "much"}, "/arr", "invalid"),
    ({"arr": -1}, "/arr", "invalid"),
    ({"arr": 10**20}, "/arr", "too_large"),
    ({"employees": 1.5}, "/employees", "invalid"),
    ({"kind": "whale"}, "/kind", "invalid"),
    ({"renewal_date": "01/02/2027"}, "/renewal_date", "invalid"),
    ({"economic_buyer_left": "perhaps"}, "/economic_buyer_left", "invalid"),
    ({"name": "x" * 500}, "/name", "invalid"),
    ({"name": ["Acme"]}, "/name", "not_a_value"),
    ({"nps": 101}, "/nps", "invalid"),
    ({"currency": "XXQ"}, "/currency", "invalid"),
    ({"csm": "a@b@c"}, "/csm", "invalid"),
    ({"csm": "Nobody"}, "/csm", "invalid"),
    ({"seat_use": 0.5}, "/seat_use", "field_unknown"),
    ({"employes": 5}, "/employes", "field_unknown"),
    ({"external_id": ""}, "/external_id", "required"),
    ({"external_id": None}, "/external_id", "required"),
    ({"external_id": "a\u200bb"}, "/external_id", "invalid"),
    ({"a/b~c": 1}, "/a~1b~0c", "field_unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "pointer", "code"), BAD, ids=lambda value: str(value)[:30])
def test_a_row_that_cannot_be_taken_says_where_and_why(crm, wrong, pointer, code):
    rows = [{"external_id": "good", "name": "Good"}, {"external_id": "bad", "name": "Bad"} | wrong]
    told = problem(send(crm, "accounts", rows), 422, "rows_rejected")
    [error] = told["errors"]
    assert (error["pointer"], error["code"]) == (f"/rows/1{pointer}", code)
    assert error["detail"]
    assert not Account.objects.exists()


def test_of_a_thousand_rows_with_37_bad_ones_none_or_963(crm):
    bad = {number: BAD[number % 15] for number in range(3, 1_000, 27)}
    assert len(bad) == 37
    rows = [
        {"external_id": f"a{number:04}", "name": f"Account {number}", "arr": number}
        for number in range(1_000)
    ]
    for number, (wrong, _, _) in bad.items():
        rows[number] |= wrong
    told = problem(send(crm, "accounts", rows), 422, "rows_rejected")
    wanted = [(f"/rows/{number}{pointer}", code) for number, (_, pointer, code) in bad.items()]
    assert [(error["pointer"], error["code"]) for error in told["errors"]] == wanted
    assert not Account.objects.exists()
    answer = send(crm, "accounts", rows, atomic=False)
    told = answer.json()
    assert (told["created"], told["rejected"]) == (963, 37)
    assert Account.objects.count() == 963
    rejected = [row for row in told["results"] if row["status"] == "rejected"]
    assert [(row["index"], row["errors"][0]["pointer"]) for row in rejected] == [
        (number, f"/rows/{number}{pointer}") for number, (_, pointer, _) in bad.items()
    ]


def test_two_rows_of_one_account_are_one_too_many(crm):
    rows = [
        {"external_id": "acme", "arr": 1},
        {"external_id": "acme", "arr": 2},
        {"external_id": "zeta", "arr": 3},
    ]
    told = problem(send(crm, "accounts", rows), 422, "rows_rejected")
    assert [(error["pointer"], error["code"]) for error in told["errors"]] == [
        ("/rows/0/external_id", "duplicate"),
        ("/rows/1/external_id", "duplicate"),
    ]
    rows = [{"external_id": "acme", "arr": 1}, {"external_id": "acme", "name": "Acme"}]  # other fields
    told = problem(send(crm, "accounts", rows), 422, "rows_rejected")
    assert {error["code"] for error in told["errors"]} == {"duplicate"}


def test_parents_are_found_among_the_rows_and_circles_refused(crm):
    rows = [{"external_id": "child", "parent": "top"}, {"external_id": "top", "name": "Top"}]
    assert statuses(send(crm, "accounts", rows)) == ["created", "created"]
    assert Account.objects.get(external_id="child").parent.external_id == "top"
    told = problem(send(crm, "accounts", [{"external_id": "top", "parent": "child"}]), 422, "rows_rejected")
    assert told["errors"][0]["pointer"] == "/rows/0/parent"


def test_a_protected_fact_of_another_system_waits_for_people(crm, settings):
    settings.GATES = settings.GATES | {"facts": "test_bulk.everything_matters"}
    send(crm, "accounts", [{"external_id": "acme", "industry": "SaaS", "name": "Acme"}], source="warehouse")
    SystemOfRecord.objects.create(fact="industry", source=SourceSystem.objects.get(key="warehouse"))
    rows = [{"external_id": "acme", "industry": "Banking", "name": "Acme Inc"}]
    assert statuses(send(crm, "accounts", rows)) == ["queued"]
    acme = Account.objects.get()
    assert (acme.industry, acme.name, Conflict.objects.get().proposed_value) == (
        "SaaS",
        "Acme Inc",
        "Banking",
    )


def everything_matters(question, *args):
    """Stand at the gate "facts": every change of a protected fact matters."""
    return {"pinned": [], "weigh": {row: [{"what": "segment"}] for row in range(9)}, "queued": None}[question]


def test_questions_of_scale_are_warnings(crm):
    answer = send(crm, "accounts", [{"external_id": "acme", "contract_start": "2090-01-01"}])
    assert [(each["count"], each["examples"]) for each in answer.json()["warnings"]] == [(1, ["acme"])]


def test_what_is_sent_late_leaves_the_newer_value(crm):
    send(crm, "accounts", [{"external_id": "acme", "employees": 10}])
    yesterday = (TODAY() - timedelta(days=1)).isoformat()
    assert statuses(send(crm, "accounts", [{"external_id": "acme", "employees": 5}], observed=yesterday)) == [
        "unchanged"
    ]
    assert Account.objects.get().employees == 10


# -- subscriptions, usage, events


def test_subscriptions_usage_and_events_of_accounts_there_are(crm):
    account("acme")
    subscription = {
        "external_id": "acme",
        "subscription_id": "s1",
        "start_date": "2026-01-01",
        "arr": "100",
        "product": "app",
    }
    assert statuses(send(crm, "subscriptions", [subscription])) == ["created"]
    assert statuses(send(crm, "subscriptions", [subscription])) == ["unchanged"]
    assert statuses(send(crm, "subscriptions", [subscription | {"arr": "200"}])) == ["updated"]
    usage = [
        {"external_id": "acme", "active_users": 5},
        {"external_id": "acme", "product": "app", "active_users": 3, "observed_at": "2026-11-01"},
    ]
    assert statuses(send(crm, "facts", usage)) == ["created", "created"]
    assert statuses(send(crm, "facts", usage)) == ["unchanged", "unchanged"]
    assert sorted(Usage.objects.values_list("product__key", "active_users"), key=str) == [
        ("app", 3),
        (None, 5),
    ]
    event = {"external_id": "acme", "signal": "sponsor_departed", "at": "2026-11-30"}
    assert statuses(send(crm, "signals", [event])) == ["created"]
    assert statuses(send(crm, "signals", [event])) == ["unchanged"]
    assert Signal.objects.count() == 1
    [told] = crm.get("signals", account="acme").json()["results"]
    assert (told["account"], told["signal"], told["source"]) == ("acme", "sponsor_departed", "crm")


@pytest.mark.parametrize(
    ("path", "row"),
    [
        ("subscriptions", {"subscription_id": "s1", "start_date": "2026-01-01", "arr": 1}),
        ("facts", {"active_users": 5}),
        ("signals", {"signal": "sponsor_departed", "at": "2026-11-30"}),
    ],
)
def test_what_is_about_no_account_is_rejected(crm, path, row):
    account("acme")
    rows = [{"external_id": "nobody"} | row, {"external_id": "acme"} | row]
    told = problem(send(crm, path, rows), 422, "rows_rejected")
    assert [(error["pointer"], error["code"]) for error in told["errors"]] == [
        ("/rows/0/external_id", "unknown_account")
    ]
    assert statuses(send(crm, path, rows, atomic=False)) == ["rejected", "created"]


def test_a_row_that_lacks_what_it_needs(crm):
    account("acme")
    told = problem(send(crm, "signals", [{"external_id": "acme"}]), 422, "rows_rejected")
    assert [error["pointer"] for error in told["errors"]] == ["/rows/0/at", "/rows/0/signal"]


# -- the whole


@pytest.mark.parametrize(
    "body",
    [
        {"rows": [{"external_id": "a"}]},
        {"source": "crm"},
        {"source": "crm", "rows": []},
        {"source": "crm", "rows": [1]},
        {"source": "crm", "rows": {}},
        {"source": "c r m", "rows": [{"external_id": "a"}]},
        {"source": "crm", "rows": [{"external_id": "a"}], "observed": "soon"},
        {"source": "crm", "rows": [{"external_id": "a"}], "currency": "QQQ"},
        {"source": "crm", "rows": [{"external_id": "a"}], "atomic": "maybe"},
        {"source": "crm", "rows": [{"external_id": "a"}], "more": 1},
        {"source": "crm", "rows": [{"external_id": str(number)} for number in range(deliveries.MOST + 1)]},
    ],
    ids=lambda body: str(body)[:60],
)
def test_a_delivery_that_is_none(crm, body):
    problem(crm.post("accounts/bulk", body), 400, "invalid")


def test_a_day_to_come_is_refused(crm):
    tomorrow = (TODAY() + timedelta(days=1)).isoformat()
    problem(send(crm, "accounts", [{"external_id": "a"}], observed=tomorrow), 409, "delivery_in_the_future")


def test_rows_of_too_many_shapes_are_refused(crm, monkeypatch):
    monkeypatch.setattr(deliveries, "SHAPES", 1)
    rows = [{"external_id": "a", "arr": 1}, {"external_id": "b", "name": "B"}]
    problem(send(crm, "accounts", rows), 409, "delivery_of_many_shapes")


def test_where_an_import_needs_an_approval_so_many_rows_do_too(crm):
    policy("import", "RevOps", min_accounts=3, only=True)
    policy("import", "RevOps", 0)
    rows = [{"external_id": f"a{number}"} for number in range(3)]
    problem(send(crm, "accounts", rows), 409, "import_needs_approval")
    assert not Account.objects.exists()
    assert statuses(send(crm, "accounts", rows[:2])) == ["created", "created"]
    assert statuses(send(crm, "accounts", rows[:2] + rows[:0])) == ["unchanged", "unchanged"]


def test_only_who_may_import_sends_rows(db):
    for role in ("CSM", "Auditor", "Approver"):
        problem(
            send(calling(role, name=role.lower()), "accounts", [{"external_id": "a"}]), 403, "not_allowed"
        )


def test_while_an_import_writes_it_is_told_to_come_again(real_db):
    crm = calling("Integration")
    with connection.copy().cursor() as other:
        other.execute("select pg_advisory_lock(%s)", [deliveries.LOCK])
        answer = send(crm, "accounts", [{"external_id": "a"}])
        problem(answer, 409, "delivery_busy")
        assert answer["Retry-After"] == "5"
        other.execute("select pg_advisory_unlock(%s)", [deliveries.LOCK])
        other.connection.close()
    assert statuses(send(crm, "accounts", [{"external_id": "a"}])) == ["created"]


def test_five_thousand_rows_take_a_few_statements(crm, django_assert_max_num_queries):
    rows = [{"external_id": f"a{number}", "name": "x", "arr": number, "nps": 5} for number in range(5_000)]
    with django_assert_max_num_queries(90):
        assert set(statuses(send(crm, "accounts", rows))) == {"created"}
    with acting(label="tests"):
        assert Csm.objects.count() == 0
