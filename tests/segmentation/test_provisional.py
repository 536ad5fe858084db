"""The provisional period, day by day: [0, 30) days, [30, 90) without behaviour, then needs data; and the list of it."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from segmenting import RULES, account, change, layer_with, person, recompute

from accounts.models import Account, Csm, Subscription
from segmentation import provisional
from segmentation.models import Assignment, Move

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
    ("2026-06-01", "2026-07-01", "2026-08-30"),
    ("2026-01-31", "2026-03-02", "2026-05-01"),  # over the end of February
    ("2027-01-30", "2027-03-01", "2027-04-30"),
    ("2028-01-30", "2028-02-29", "2028-04-29"),  # 2028 has a 29 February,
    ("2028-02-29", "2028-03-30", "2028-05-29"),  # and accounts that begin on it
    ("2027-12-02", "2028-01-01", "2028-03-01"),  # over the new year, and over 29 February
    ("2100-01-30", "2100-03-01", "2100-04-30"),  # 2100 has none
    ("2026-02-27", "2026-03-29", "2026-05-28"),  # counts from the day the clocks go forward in Europe
    ("2026-09-25", "2026-10-25", "2026-12-24"),  # and back
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
    [row] = provisional.told(provisional.waiting(), TODAY)
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
    rows = provisional.told(provisional.waiting(), TODAY)
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
    rows = provisional.told(provisional.waiting(), TODAY)
    assert rows[0].then == "Decided at once where it stays or goes up; down needs a plan."


def test_one_that_is_due_waits_for_the_next_recalculation(listed):
    rows = provisional.told(provisional.waiting(), date(2026, 6, 20))
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
        ("?csm=x&layer=x&p=x&q=%00", {"Young", "Newest", "Silent"}),
    ],
)
def test_the_list_is_narrowed_and_exported_as_shown(web, listed, query, names):
    query = query.format(cleo=Csm.objects.get().pk)
    everybody = {"Young", "Newest", "Silent", "Old", "Gone"}
    page = web.get(PAGE + query).content.decode()
    assert {name for name in everybody if f">{name}<" in page} == names
    lines = b"".join(web.get(EXPORT + query).streaming_content).decode().splitlines()
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


def test_the_rules_of_these_tests_are_those_they_were_written_for():
    assert RULES["dimensions"][1]["maturity"] == {
        "after_days": "30", "needs_data_after_days": "90", "until_then": "skip"
    }  # fmt: skip
