"""The board of tier changes: what stands in which lane, narrowed, counted, and read with a fixed number of queries."""

from datetime import timedelta

import pytest
from crossing import BOARD, TODAY, T, crossed, down_at_once, fresh, make_team, text, web
from databases import unsigned
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from governing import approved, someone
from segmenting import activate, layer_with, recompute

from accounts.models import Account
from core.money import Money
from governance.changes import board, followup, transition_requests, transitions
from governance.changes.board import Filters
from governance.models import Transition
from segmentation.evaluation import causes
from segmentation.models import Cause, Layer


@pytest.fixture
def team(begun, settings):
    settings.GATES, settings.AFTER_RUN = {}, []  # rules as they come
    return begun(make_team)


def now(asked=None):
    return board.board(asked or Filters(), at=timezone.now())


def lane(found, key):
    return next(one for one in found.lanes if one.key == key)


def names(found, key):
    return [card.transition.account.external_id for card in lane(found, key).cards]


def test_each_stands_in_its_lane(team):
    down_at_once(team)
    rows = crossed(
        team,
        a=(50_000, 120_000),
        b=(50_000, 130_000),
        c=(50_000, 140_000),
        d=(50_000, 150_000),
        e=(50_000, 5_000),
    )
    for name in "bcd":
        transitions.plan(rows[name], by=team.ops, receiver=team.erik)
    transition_requests.ask([rows["c"]], by=team.ops, why="Grown")
    approved(transition_requests.ask([rows["d"]], by=team.ops, why="Grown"), team.vera)
    found = now()
    assert names(found, "flagged") == ["a", "e"]  # the most revenue first
    assert names(found, "planned") == ["b"]
    assert [(ask.account.external_id, ask.count) for ask in lane(found, "awaiting").cards] == [("c", 1)]
    assert [(part.role, part.given, part.needed) for part in lane(found, "awaiting").cards[0].parts] == [
        ("Approver", 0, 1)
    ]
    assert names(found, "joint") == ["d"]
    assert [one.count for one in found.lanes] == [2, 1, 1, 1]
    assert (found.flagged, found.to_decide, found.arr, found.as_of) == (
        2,
        2,
        Money({"USD": 125_000}),
        TODAY - timedelta(days=9),
    )

    transitions.complete(rows["d"], by=team.ops, reason="All said")
    assert now().done | {"since": None} == {"up": 1, "down": 0, "count": 1, "median": 0, "since": None}


def test_what_is_held_is_counted_with_its_reason_and_not_put_to_a_decision(team):
    down_at_once(team, hold_days=30)
    crossed(team, a=(50_000, 5_000), b=(50_000, 6_000), c=(50_000, 120_000))
    found = now()
    assert names(found, "flagged") == ["c"]
    assert (found.flagged, found.to_decide, found.held) == (
        3,
        1,
        [("The rules have not said so long enough", 2)],
    )
    page = web(team.ops).get(BOARD)
    assert "3 flagged: 2 held, 1 to decide ($120K ARR)" in text(page)
    listed = text(web(team.ops).get(f"{T}?held=yes"))
    assert "The rules have not said so long enough (until" in listed
    assert "C low" not in listed


def test_revenue_in_another_currency_is_not_in_the_sum(team):
    crossed(team, a=(50_000, 120_000), b=(50_000, 130_000))
    Account.objects.filter(external_id="b").update(currency="EUR")
    page = text(web(team.ops).get(BOARD))
    assert now().arr == Money({"USD": 120_000, "EUR": 130_000})
    assert "($120K + €130K (mixed) ARR)" in page
    assert "B €130K" in page.replace("\n", " ")


def test_narrowed_by_direction_csm_segmentation_and_to_my_accounts(team):
    down_at_once(team)
    rows = crossed(
        team,
        up=(50_000, 120_000),
        down=(50_000, 5_000, {"csm": team.erik}),
        alone=(50_000, 130_000, {"csm": None}),
    )
    transitions.plan(rows["alone"], by=team.ops, receiver=team.dana)
    other = layer_with(key="other")
    cases = [
        (Filters(direction="down"), {"down"}),
        (Filters(csm=str(team.erik.pk)), {"down"}),
        (Filters(csm="none"), {"alone"}),
        (Filters(user=team.cleo), {"up", "alone"}),  # hers, and the one she is to take over
        (Filters(user=someone("nobody")), set()),
        (Filters(layer=team.layer), {"up", "down", "alone"}),
        (Filters(layer=other), set()),
    ]
    for asked, expected in cases:
        found = now(asked)
        assert {*names(found, "flagged"), *names(found, "planned")} == expected, asked
    mine = text(web(team.cleo).get(f"{BOARD}?mine=1"))
    assert "Up" in mine
    assert "Down low" not in mine
    assert web(team.ops).get(f"{BOARD}?layer=no&direction=sideways&csm=x&mine=1").status_code == 200


def test_a_card_tells_what_changed_and_who_would_have_how_many(team):
    [one] = crossed(
        team, a=(50_000, 120_000), b=(30_000, 30_000), c=(150_000, 150_000, {"csm": team.erik})
    ).values()
    [card] = lane(now(), "flagged").cards
    assert card.cause.values == (("ARR", "$50,000", "$120,000", ""),)
    transitions.plan(one, by=team.ops, receiver=team.erik)
    [card] = lane(now(), "planned").cards
    assert (card.gives.now, card.takes.expected, card.takes.high, card.over) == (2, 2, 3, False)
    assert "Dana (2) → Erik (2 of 3)" in text(web(team.ops).get(BOARD))


def test_when_the_rules_moved_the_card_says_so(team):
    crossed(team, a=(50_000, 50_000))
    activate(team.layer, {"rules": [{"segment": "high", "when": "arr >= 40000"}, {"segment": "tech"}]})
    recompute(TODAY)
    followup.follow_ended()
    [card] = lane(now(), "flagged").cards
    assert (card.cause.kind, card.cause.values) == ("definition", ())


@pytest.mark.parametrize(
    ("passed", "day", "late", "covered"),
    [(0, 1, False, 0), (12, 13, False, 0.4), (30, 31, True, 1), (40, 41, True, 1)],
)
def test_the_day_of_joint_coverage(team, passed, day, late, covered):
    one = crossed(team, a=(50_000, 120_000))["a"]
    transitions.plan(one, by=team.ops, receiver=team.erik, notice="Dear all")
    approved(transition_requests.ask([one], by=team.ops, why="Grown"), team.vera)
    start = TODAY - timedelta(days=passed)
    Transition.objects.filter(pk=one.pk).update(joint_from=start, joint_until=start + timedelta(days=30))
    [card] = lane(now(), "joint").cards
    assert (card.day, card.late, float(card.covered)) == (day, late, covered)
    undone = len(fresh(one).checklist)
    assert card.lacks == [f"{undone} of {undone} to do", "success plan missing", "customer not told"]
    assert f"day {day} of 30" in text(web(team.ops).get(BOARD))


def test_the_largest_group_that_goes_the_same_way_can_be_planned_together(team):
    down_at_once(team)
    crossed(team, a=(50_000, 120_000), b=(5_000, 130_000), c=(50_000, 5_000), d=(5_000, 50_000))
    group = now().group
    assert (group.direction, group.to, group.count) == ("up", "high", 2)
    page = web(team.ops).get(BOARD)
    assert "Plan together: 2 to High" in text(page)
    assert now(Filters(direction="down")).group is None
    assert "Plan together" not in text(web(team.cleo).get(BOARD))


def test_a_long_lane_is_cut_and_leads_to_all_of_it(team):
    crossed(team, **{f"a{n}": (50_000, 120_000 + n) for n in range(board.CARDS + 3)})
    flagged = lane(now(), "flagged")
    assert (flagged.count, len(flagged.cards), flagged.left_out) == (board.CARDS + 3, board.CARDS, 3)
    page = web(team.ops).get(BOARD)
    assert f"All {board.CARDS + 3}" in text(page)
    assert (
        len(web(team.ops).get(f"{T}?status__exact=flagged&held=no").context["cl"].result_list)
        == board.CARDS + 3
    )


def test_the_same_number_of_queries_for_one_and_for_many(team):
    def queries(url):
        client = web(team.ops)
        client.get(url)
        with CaptureQueriesContext(connection) as taken:
            client.get(url)
        return len(taken)

    down_at_once(team)
    rows = crossed(team, a=(50_000, 120_000), p=(50_000, 121_000), w=(50_000, 122_000), j=(50_000, 123_000))
    into_lanes(team, rows)
    few = {url: queries(url) for url in (BOARD, f"{T}?open=yes")}
    more = {f"{kind}{n}": (50_000, 120_000 + n) for kind in "apwj" for n in range(5)}
    into_lanes(team, {name: one for name, one in crossed(team, **more).items() if name in more})
    assert {url: queries(url) for url in few} == few


def into_lanes(team, rows):
    for name, one in rows.items():
        if name[0] in "pwj":
            transitions.plan(one, by=team.ops, receiver=team.erik)
        if name[0] in "wj":
            request = transition_requests.ask([fresh(one)], by=team.ops, why="Grown")
            if name[0] == "j":
                approved(request, team.vera)


def test_an_empty_board_says_what_to_do(team):
    assert "No account waits between two segments." in text(web(team.ops).get(BOARD))
    with unsigned():
        causes.take(Cause.Kind.DECISION, reason="tests")
        Layer.objects.update(policy="automatic")
    assert "No segmentation needs approval." in text(web(team.ops).get(BOARD))


def test_done_counts_from_the_first_day_of_the_quarter():
    assert [board.quarter(TODAY.replace(month=month, day=1)).month for month in (1, 3, 4, 11, 12)] == [
        1,
        1,
        4,
        10,
        10,
    ]
