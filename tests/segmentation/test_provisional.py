"""The provisional period, day by day: [0, 30) days, [30, 90) without behaviour, then needs data; and the list of it."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from segmenting import RULES, account, activate, change, layer_with, person, recompute

from accounts.models import Account, Csm, Subscription
from segmentation.evaluation import causes, decisions
from segmentation.models import Assignment, Cause, Definition, Layer, Move
from segmentation.previews import simulation
from segmentation.reading import explain, provisional

TODAY = date(2026, 6, 1)


@pytest.fixture
def crowd(db):
    """Somebody else, about whom everything is known: nothing is left out for everybody."""
    return account("crowd", arr=60_000, employees=500, usage={"nps": 20, "tickets_90d": 3})


def state(one):
    """(segment by the rules, provisional, due, what is missing as a code)."""
    row = Assignment.objects.select_related("computed").get(account=one)
    return (row.computed and row.computed.key, row.provisional, row.provisional_until, row.reason)


# -- the boundaries

# start of the contract, the first day behaviour counts, the first day without behaviour that needs data
BOUNDARIES = [
    ("2025-06-01", "2025-07-01", "2025-08-30"),
    ("2025-01-31", "2025-03-02", "2025-05-01"),  # over the end of February
    ("2025-01-30", "2025-03-01", "2025-04-30"),
    ("2024-01-30", "2024-02-29", "2024-04-29"),  # 2024 has a 29 February,
    ("2024-02-29", "2024-03-30", "2024-05-29"),  # and accounts that begin on it
    ("2023-12-02", "2024-01-01", "2024-03-01"),  # over the new year, and over 29 February
    ("1900-01-30", "1900-03-01", "1900-04-30"),  # 1900 has none
    ("2025-02-28", "2025-03-30", "2025-05-29"),  # counts from the day the clocks go forward in Europe
    ("2025-09-26", "2025-10-26", "2025-12-25"),  # and back
]


@pytest.mark.parametrize(("start", "counts", "needs"), BOUNDARIES)
def test_each_boundary_is_a_day(crowd, start, counts, needs):
    start, counts, needs = map(date.fromisoformat, (start, counts, needs))
    layer_with()
    known = {"arr": 120_000, "employees": 2_000, "contract_start": start}  # worth 5 points
    used = account("used", **known, usage={"nps": -90, "tickets_90d": 50})  # (5 + 1) / 2 with behaviour
    silent = account("silent", **known)
    day = timedelta(days=1)
    young, waits = ("high", True, counts, ""), ("high", True, needs, "")
    lacks, decided = (None, False, None, "no facts:behaviour"), ("low", False, None, "")
    expected = {
        start: (young, young),
        counts - day: (young, young),
        counts: (decided, waits),
        needs - day: (decided, waits),
        needs: (decided, lacks),
    }
    found = {}
    for clock in expected:
        recompute(clock)
        found[clock] = (state(used), state(silent))
    assert found == expected


def test_age_counts_from_the_first_subscription_where_no_contract_is_known(crowd):
    layer_with()
    one = account(arr=120_000, employees=2_000, contract_start=None)
    for start in ("2026-05-20", "2026-05-10"):
        Subscription.objects.create(account=one, subscription_id=start, start_date=start, arr=1)
    recompute(TODAY)
    assert state(one)[2] == date(2026, 6, 9)
    [row] = provisional.of_rows(provisional.waiting(), TODAY)
    assert row.started == date(2026, 5, 10)


# A moment and the organisation's zone: the day a recalculation without a date is as of.
MOMENTS = [
    ("UTC", "2026-06-30T23:59", False),
    ("UTC", "2026-07-01T00:00", True),
    ("Europe/Berlin", "2026-06-30T21:59", False),
    ("Europe/Berlin", "2026-06-30T22:00", True),
    ("America/Los_Angeles", "2026-07-01T06:59", False),
    ("America/Los_Angeles", "2026-07-01T07:00", True),
    ("Pacific/Kiritimati", "2026-06-30T10:00", True),  # 14 hours ahead
    ("Pacific/Kiritimati", "2026-06-30T09:59", False),
]
CLOCKS = [
    # the night the clocks go forward, and the one they go back: 30 days after 27 February and 25 September
    ("Europe/Berlin", "2026-02-27", "2026-03-28T22:59", False),
    ("Europe/Berlin", "2026-02-27", "2026-03-28T23:00", True),
    ("Europe/Berlin", "2026-09-25", "2026-10-24T21:59", False),
    ("Europe/Berlin", "2026-09-25", "2026-10-24T22:00", True),
    ("America/New_York", "2026-10-02", "2026-11-01T03:59", False),
    ("America/New_York", "2026-10-02", "2026-11-01T04:00", True),
    *[(zone, "2026-06-01", moment, counts) for zone, moment, counts in MOMENTS],
]


@pytest.mark.parametrize(("zone", "start", "moment", "counts"), CLOCKS)
def test_a_day_begins_where_the_organisation_is(crowd, monkeypatch, zone, start, moment, counts):
    layer_with()
    one = account(arr=120_000, employees=2_000, contract_start=date.fromisoformat(start), usage={"nps": 60})
    now = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    with timezone.override(zone):
        recompute(None)
    assert Assignment.objects.get(account=one).provisional == (not counts)


# -- what the list says


def new(name, days_old, **facts):
    known = {"arr": 120_000, "employees": 2_000, "name": name}
    return account(name, contract_start=TODAY - timedelta(days=days_old), **known | facts)


@pytest.fixture
def listed(crowd):
    """Accounts of all ages on a layer that needs approval, as of TODAY."""
    layer = layer_with()
    cleo = Csm.objects.create(
        email="cleo@example.com", name="Cleo", user=User.objects.create(username="cleo")
    )
    new("Young", 12, csm=cleo, usage={"nps": 60})
    new("Newest", 0)
    new("Silent", 40)
    new("Old", 30, usage={"nps": 60})
    new("Gone", 5, excluded=True, exclusion_reason="Asked to be left alone")
    recompute(TODAY)
    return layer


def test_those_due_first_come_first_with_what_is_missing(listed):
    rows = provisional.of_rows(provisional.waiting(), TODAY)
    assert [(str(one.assignment.account), one.due, one.days_left) for one in rows] == [
        ("Young", date(2026, 6, 19), 18),
        ("Newest", date(2026, 7, 1), 30),
        ("Silent", date(2026, 7, 21), 50),
    ]
    assert [one.missing for one in rows] == [
        "Behaviour counts from 19 Jun 2026: the account is 12 days old.",
        "Behaviour counts from 1 Jul 2026: the account is 0 days old.",
        "Behaviour: no value yet of NPS; Tickets, 90 days.",
    ]
    at_once, by_then = "Decided at once, and its CSM is told.", "Without a value by then, it needs data."
    assert [one.then for one in rows] == [at_once, at_once, by_then]


def test_it_says_where_going_down_needs_a_plan(listed):
    listed.plan_provisional_downgrades = True
    listed.save()
    rows = provisional.of_rows(provisional.waiting(), TODAY)
    assert rows[0].then == "Decided at once where it stays or goes up; down needs a plan."


def test_one_that_is_due_waits_for_the_next_recalculation(listed):
    rows = provisional.of_rows(provisional.waiting(), date(2026, 6, 20))
    assert (rows[0].days_left, rows[0].missing) == (-1, "Nothing any more: the next recalculation decides.")


def test_who_has_left_is_not_listed(listed):
    Account.objects.filter(name="Young").update(status="churned")
    assert "Young" not in {str(row.account) for row in provisional.waiting()}


# -- the page

PAGE, EXPORT = "/admin/provisional/", "/admin/provisional/export/"


@pytest.fixture
def web(db):
    client = Client()
    client.force_login(User.objects.create_superuser("chief", "chief@example.com", "x"))
    return client


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", {"Young", "Newest", "Silent"}),
        ("?csm=none", {"Newest", "Silent"}),
        ("?csm={cleo}", {"Young"}),
        ("?q=sil", {"Silent"}),
        ("?layer=tier", {"Young", "Newest", "Silent"}),
        ("?layer=tier&q=nobody", set()),
        ("?csm=x&layer=x&p=x&q=", {"Young", "Newest", "Silent"}),
    ],
)
def test_the_list_is_narrowed_and_exported_as_shown(web, listed, query, names):
    query = query.format(cleo=Csm.objects.get().pk)
    everybody = {"Young", "Newest", "Silent", "Old", "Gone"}
    page = web.get(PAGE + query).content.decode()
    assert {name for name in everybody if f">{name}<" in page} == names
    lines = b"".join(web.get(EXPORT + query).streaming_content).decode("utf-8-sig").splitlines()
    assert {line.split(",")[1] for line in lines[1:]} == names


def test_a_csm_sees_their_own(listed):
    cleo = User.objects.get(username="cleo")
    cleo.is_staff = True
    cleo.save()
    person("cleo", "view_account")
    client = Client()
    client.force_login(cleo)
    page = client.get(PAGE + "?csm=me").content.decode()
    assert ">Young<" in page
    assert ">Silent<" not in page
    assert client.get(EXPORT).status_code == 403


def test_who_may_not_see_accounts_sees_no_list(db):
    client = Client()
    client.force_login(User.objects.create(username="sam", is_staff=True))
    assert client.get(PAGE).status_code == 403
    assert client.get(EXPORT).status_code == 403


def test_an_empty_list_says_why_and_where_to_go(web):
    page = web.get(PAGE).content.decode()
    assert "No account is provisional" in page
    assert "/admin/accounts/account/" in page


def test_the_page_asks_no_more_for_more_accounts(web, listed):
    def asked():
        with CaptureQueriesContext(connection) as queries:
            assert web.get(PAGE).status_code == 200
        return len(queries)

    asked()
    before = asked()
    for number in range(10):
        new(f"More {number}", number)
    recompute(TODAY)
    assert asked() == before


# -- the decision


@pytest.mark.parametrize(
    ("planned", "usage", "segment", "moves"),
    [
        (False, {"nps": -90, "tickets_90d": 50}, "low", [("provisional", "high", "low")]),
        (True, {"nps": -90, "tickets_90d": 50}, "high", []),  # waits for a plan
        (True, {"nps": 60, "tickets_90d": 0}, "high", []),
    ],
)
def test_the_decision_applies_at_once_unless_going_down_needs_a_plan(crowd, planned, usage, segment, moves):
    layer = layer_with()
    layer.plan_provisional_downgrades = planned
    layer.save()
    one = account(arr=120_000, employees=2_000, contract_start=TODAY)
    recompute(TODAY)
    change(one, **usage)
    for days in (30, 31):
        recompute(TODAY + timedelta(days=days))
    row = Assignment.objects.select_related("effective").get(account=one)
    assert (row.effective.key, row.provisional) == (segment, False)
    found = Move.objects.filter(account=one.pk).exclude(why="initial").order_by("id")
    assert [(move.why, move.from_segment.key, move.to_segment.key) for move in found] == moves


def test_up_is_decided_at_once_even_where_down_needs_a_plan(crowd):
    layer = layer_with()
    layer.plan_provisional_downgrades = True
    layer.save()
    one = account(arr=30_000, employees=600, contract_start=TODAY)  # (3 + 4) / 2: low
    recompute(TODAY)
    change(one, nps=60, tickets_90d=0)  # (3.5 + 5) / 2: high
    recompute(TODAY + timedelta(days=30))
    assert [move.why for move in Move.objects.filter(account=one.pk).order_by("id")] == [
        "initial",
        "provisional",
    ]


# -- whoever once had a segment that was not provisional

# Low by worth (5) and behaviour (1); High by worth alone, which is all that counts of somebody new.
LOW = {"arr": 120_000, "employees": 2_000}
UNHAPPY = {"nps": -90, "tickets_90d": 50}
NEXT, LAST = TODAY + timedelta(days=1), TODAY + timedelta(days=2)


def young(acme):
    change(acme, contract_start=NEXT)


def without_behaviour(acme):
    """Older than 30 days, and younger than 90: it waits for a first value."""
    change(acme, contract_start=NEXT - timedelta(days=40))
    acme.usage.all().delete()


def gone_and_back(acme):
    change(acme, status="churned")
    recompute(NEXT)
    change(acme, status="active", contract_start=NEXT)


def rules_that_want_more_history(acme):
    maturity = {"after_days": "2000", "needs_data_after_days": "3000", "until_then": "skip"}
    worth, behaviour = RULES["dimensions"]
    longer = RULES | {"dimensions": [worth, behaviour | {"maturity": maturity}]}
    activate(Layer.objects.get(), longer, reason="Longer")


def automatic_for_a_day(acme):
    """Young again under a policy that lets it follow, and old again before the policy is back."""
    Layer.objects.update(policy="automatic")
    young(acme)
    recompute(NEXT)
    assert Assignment.objects.get(account=acme).effective.key == "high"
    change(acme, contract_start=date(2024, 1, 1))
    recompute(NEXT)
    Layer.objects.update(policy="approval")
    young(acme)


def marked_in_the_database(acme):
    change(acme, nps=60, tickets_90d=0)
    with connection.cursor() as cursor:
        cursor.execute("update segmentation_assignment set provisional = true, fingerprint = null")


WAYS_BACK = [
    young,
    without_behaviour,
    gone_and_back,
    rules_that_want_more_history,
    automatic_for_a_day,
    marked_in_the_database,
]


@pytest.mark.parametrize("way", WAYS_BACK)
def test_who_was_decided_once_waits_whatever_its_age_says_later(crowd, way):
    layer_with()
    acme = account(**LOW, usage=UNHAPPY)
    recompute(TODAY)
    assert in_force(acme) == ("low", "low", False)
    way(acme)
    recompute(NEXT)
    assert in_force(acme)[:2] == ("high", "low")
    change(acme, contract_start=date(2024, 1, 1), arr=10_000, employees=10, **UNHAPPY)
    for _ in range(2):
        recompute(LAST)
        assert in_force(acme)[:2] == ("tech", "low")


def in_force(one):
    """(by the rules, in force, provisional)"""
    return (
        Assignment.objects.filter(account=one)
        .values_list("computed__key", "effective__key", "provisional")
        .get()
    )


def test_who_was_pinned_by_people_was_decided(crowd):
    layer = layer_with()
    acme = account(**LOW, contract_start=TODAY, usage=UNHAPPY)
    recompute(TODAY)
    tech = layer.segments.get(key="tech")
    for pinned in (True, False):
        with transaction.atomic():
            causes.take(Cause.Kind.DECISION, reason="A pilot")
            decisions.put(acme, layer, tech, why=Move.Why.OVERRIDE, at=TODAY, overridden=pinned)
    recompute(NEXT)
    assert in_force(acme) == ("high", "tech", True)


def test_who_only_lacked_data_meanwhile_was_never_decided(crowd):
    layer_with()
    acme = account(**LOW, contract_start=TODAY, usage=UNHAPPY)
    recompute(TODAY)
    assert in_force(acme) == ("high", "high", True)
    change(acme, arr=None)
    recompute(NEXT)
    assert in_force(acme) == (None, "high", False)
    change(acme, arr=10_000, employees=10)
    recompute(LAST)
    assert in_force(acme) == ("tech", "tech", True)


def test_where_segments_apply_by_themselves_it_is_provisional_as_often_as_it_is_new(crowd):
    layer_with(policy="automatic")
    acme = account(**LOW, usage=UNHAPPY)
    recompute(TODAY)
    young(acme)
    recompute(NEXT)
    assert in_force(acme) == ("high", "high", True)
    [row] = provisional.of_rows(provisional.waiting(), NEXT)
    assert row.then == "Decided at once, and its CSM is told."


def test_the_list_and_the_explanation_say_that_it_waits(crowd):
    layer = layer_with()
    acme = account(**LOW, usage=UNHAPPY)
    recompute(TODAY)
    young(acme)
    recompute(NEXT)
    [row] = provisional.of_rows(provisional.waiting(), NEXT)
    assert row.then == "Its segment was decided before: another one needs approval."
    told = explain.explain(acme, layer)
    assert told["provisional_text"] == (
        "There is not enough history yet; the current segment was decided before, and another one needs approval."
    )
    fresh = account("fresh", **LOW, contract_start=NEXT)
    recompute(NEXT)
    said = explain.explain(fresh, layer)["provisional_text"]
    assert said == "There is not enough history yet; the decision follows by itself."


def test_a_preview_counts_it_among_those_that_wait(crowd):
    layer = layer_with()
    acme, fresh = account(**LOW, usage=UNHAPPY), account("fresh", **LOW, contract_start=TODAY)
    recompute(TODAY)
    for one in (acme, fresh):
        change(one, contract_start=NEXT)
    recompute(NEXT)
    rules = Definition(layer=layer, document={"rules": [{"segment": "tech"}]})
    made = simulation.start(rules, as_of=NEXT, by=person("petra", "preview_rules"))
    moved = simulation.report(simulation.work(made.pk, wait=True))["moved"]
    assert (moved["accounts"], moved["wait_for_approval"]) == (3, 2)  # the crowd and Acme; not who is new


def test_the_rules_of_these_tests_are_those_they_were_written_for():
    assert RULES["dimensions"][1]["maturity"] == {
        "after_days": "30", "needs_data_after_days": "90", "until_then": "skip"
    }  # fmt: skip
