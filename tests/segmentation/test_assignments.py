"""Changes by a recalculation: the effective segment's rules, causes of moves, history, nothing more than changed."""

from datetime import date, timedelta

import pytest
from django.db import connection
from segmenting import BY_ARR, DAY, RULES, account, activate, change, layer_with, portfolio, recompute, state

from segmentation.models import Assignment, AssignmentScore, Cause, Move

NEW = {"contract_start": date(2026, 5, 22)}  # ten days old on DAY


@pytest.fixture
def crowd(db):
    """Somebody else, about whom everything is known: nothing is left out for everybody."""
    return account("crowd", arr=60_000, employees=500, usage={"nps": 20, "tickets_90d": 3})


def seen(one, layer):
    """(computed, effective, provisional) of an account."""
    row = Assignment.objects.select_related("computed", "effective").get(account=one, layer=layer)
    return (row.computed and row.computed.key, row.effective and row.effective.key, row.provisional)


def whys(one):
    """The moves of an account, oldest first."""
    moves = Move.objects.filter(account_id=one.pk).order_by("id")
    return [
        (move.why, move.from_segment and move.from_segment.key, move.to_segment and move.to_segment.key)
        for move in moves
    ]


def test_the_first_segment_is_in_force_at_once(db):
    layer, acme = layer_with(), account(arr=120_000, employees=2_000, usage={"nps": 60, "tickets_90d": 0})
    run = recompute()
    assert seen(acme, layer) == ("high", "high", False)
    [move] = Move.objects.all()
    assert (move.why, move.at, move.definition.version) == ("initial", DAY, 1)
    assert move.evidence["facts"]["arr"] == "120000.00"
    assert move.evidence["facts"]["nps"] == "60"
    [history] = Assignment.history.all()
    assert (history.history_type, history.history_run, history.effective_id) == (
        "+",
        run.pk,
        move.to_segment_id,
    )
    score = AssignmentScore.objects.get()
    assert (str(score.composite), score.points) == ("5.000000000000", [5, 5, 5, 5])


@pytest.mark.parametrize(
    ("policy", "facts", "then", "moves"),
    [
        # An automatic layer follows the rules; one that needs approval waits, visibly.
        ("automatic", {"arr": 1_000, "employees": 10}, ("low", "low", False), [("data", "high", "low")]),
        ("approval", {"arr": 1_000, "employees": 10}, ("low", "high", False), []),
        # Lacking data takes a segment away only where that applies by itself.
        ("automatic", {"arr": None}, (None, None, False), [("data", "high", None)]),
        ("approval", {"arr": None}, (None, "high", False), []),
    ],
)
def test_a_customer_changes(db, policy, facts, then, moves):
    layer = layer_with(policy=policy)
    acme = account(arr=120_000, employees=2_000, usage={"nps": 60, "tickets_90d": 0})
    recompute()
    change(acme, **facts)
    recompute(DAY + timedelta(days=1))
    assert seen(acme, layer) == then
    assert whys(acme) == [("initial", None, "high"), *moves]
    row = Assignment.objects.get()
    assert row.computed_since == DAY + timedelta(days=1)
    assert row.effective_since == DAY + timedelta(days=1 if moves else 0)
    assert Assignment.objects.differing().exists() == (then[0] is not None and then[0] != then[1])
    assert Assignment.objects.needs_data().exists() == (then[0] is None)


def test_a_segment_after_none(crowd):
    """Never had one: initial. Had one and lost it: data."""
    layer = layer_with(policy="automatic")
    acme = account(usage={"nps": 60, "tickets_90d": 0})
    recompute()
    assert (seen(acme, layer), whys(acme)) == ((None, None, False), [])
    assert Assignment.objects.get(account=acme).reason == "no facts:worth"
    for arr in (120_000, None, 120_000):
        change(acme, arr=arr)
        recompute()
    assert whys(acme) == [("initial", None, "high"), ("data", "high", None), ("data", None, "high")]


@pytest.mark.parametrize("policy", ["approval", "automatic"])
def test_the_provisional_period(crowd, policy):
    """While provisional the effective segment follows; the decision at its end moves at once, then policy holds."""
    layer, acme = layer_with(policy=policy), account(arr=120_000, employees=2_000, **NEW)
    recompute()
    assert seen(acme, layer) == ("high", "high", True)
    assert Assignment.objects.get(account=acme).provisional_until == date(2026, 6, 21)
    change(acme, arr=30_000)
    recompute(DAY + timedelta(days=1))
    assert seen(acme, layer) == ("high", "high", True)  # (3 + 5) / 2 = 4.0
    change(acme, employees=10)
    recompute(DAY + timedelta(days=2))
    assert seen(acme, layer) == ("tech", "tech", True)  # (3 + 1) / 2 = 2.0
    change(acme, nps=60, tickets_90d=0)
    recompute(date(2026, 6, 21))
    assert seen(acme, layer) == ("low", "low", False)
    change(acme, arr=120_000, employees=2_000)
    recompute(date(2026, 6, 22))
    after = [("initial", None, "high"), ("data", "high", "tech"), ("provisional", "tech", "low")]
    assert whys(acme) == after + ([("data", "low", "high")] if policy == "automatic" else [])
    assert seen(acme, layer)[:2] == ("high", "high" if policy == "automatic" else "low")


def test_the_provisional_period_ends_without_a_change(db):
    layer, acme = layer_with(), account(arr=120_000, employees=2_000, usage={"nps": 60}, **NEW)
    recompute()
    recompute(date(2026, 6, 21))
    assert seen(acme, layer) == ("high", "high", False)
    assert whys(acme) == [("initial", None, "high")]


def test_lacking_data_takes_no_provisional_segment_away(crowd):
    layer, acme = layer_with(), account(arr=120_000, employees=2_000, **NEW)
    recompute()
    change(acme, arr=None)
    recompute(DAY + timedelta(days=1))
    assert seen(acme, layer) == (None, "high", False)


def test_moved_by_the_rules_or_by_the_customer(db):
    """Customers changed is told from: we moved the ruler."""
    layer = layer_with(BY_ARR, policy="automatic")
    ruler, customer, both = (account(name, arr=120_000) for name in ("ruler", "customer", "both"))
    recompute()
    stricter = {
        "rules": [
            {"segment": "high", "when": "arr >= 200000"},
            {"segment": "low", "when": "arr >= 50000"},
            {"segment": "tech"},
        ]
    }
    activate(layer, stricter)
    change(customer, arr=10)
    change(both, arr=250_000)
    recompute()
    assert whys(ruler)[1:] == [("definition", "high", "low")]
    assert whys(customer)[1:] == [("data", "high", "tech")]
    assert whys(both)[1:] == []
    assert set(AssignmentScore.objects.values_list("definition__version", flat=True)) == {2}
    # An account that did not move keeps the row, and its history, as it was.
    assert Assignment.history.filter(account=both).count() == 1


def test_the_second_run_changes_nothing(db):
    layer_with()
    layer_with(BY_ARR, key="arr", policy="automatic")
    portfolio(60)
    recompute()
    before = state()
    assert before["moves"]
    run = recompute()
    assert state() == before
    for one in run.layers.all():
        assert (one.counts["changed"], one.counts["rescored"], one.counts["moved"]) == (0, 0, 0)


def test_only_what_changed_is_written(db):
    layer_with(BY_ARR, policy="automatic")
    accounts = portfolio(60)
    recompute()
    change(accounts[1], arr=150_000)
    run = recompute()
    counts = run.layers.get().counts
    assert (counts["scanned"], counts["changed"], counts["moved"]) == (60, 1, 1)
    [history] = Assignment.history.filter(history_run=run.pk)
    assert (history.account_id, history.history_type) == (accounts[1].pk, "~")
    held, told = Assignment.objects.get(account=accounts[1]), history.instance
    for field in Assignment._meta.concrete_fields:
        assert getattr(held, field.attname) == getattr(told, field.attname), field.attname


def test_whose_segments_another_moved_meanwhile(db, monkeypatch):
    """The effective segment that was read is the one that is replaced, or the row is left to the next run."""
    from segmentation.evaluation import assignments, causes

    layer, acme = layer_with(BY_ARR, policy="automatic"), account(arr=120_000)
    recompute()
    change(acme, arr=10)
    write = frames_write = assignments.frames.write

    def meanwhile(frame, table):
        causes.take(Cause.Kind.DECISION)
        Assignment.objects.update(effective=None)
        return write(frame, table)

    monkeypatch.setattr(assignments.frames, "write", meanwhile)
    run = recompute()
    monkeypatch.setattr(assignments.frames, "write", frames_write)
    assert run.layers.get().counts["lost"] == 1
    assert seen(acme, layer) == ("high", None, False)
    assert Move.objects.count() == 1
    recompute()
    assert seen(acme, layer) == ("tech", "tech", False)


def test_who_is_not_scored_is_left_as_it_was(db):
    layer, acme = layer_with(BY_ARR, policy="automatic"), account(arr=120_000)
    recompute()
    change(acme, status="churned", arr=10)
    run = recompute()
    assert seen(acme, layer) == ("high", "high", False)
    assert run.layers.get().counts["scanned"] == 0


@pytest.mark.parametrize(
    ("currency", "subscription", "computed"),
    [("USD", "USD", "high"), ("", "", "high"), ("EUR", "USD", None), ("USD", "EUR", None), ("", "EUR", None)],
)
def test_money_in_another_currency_needs_data(db, currency, subscription, computed):
    from accounts.models import Subscription

    layer, acme = layer_with(BY_ARR), account(currency=currency)
    Subscription.objects.create(
        account=acme, subscription_id="s", start_date=date(2025, 1, 1), arr=150_000, currency=subscription
    )
    recompute()
    assert seen(acme, layer)[0] == computed
    assert Assignment.objects.get().reason == ("" if computed else "currency:EUR")


def test_rules_without_money_do_not_ask_for_the_currency(db):
    layer = layer_with({"rules": [{"segment": "high", "when": "employees >= 10"}, {"segment": "tech"}]})
    acme = account(currency="EUR", employees=20)
    recompute()
    assert seen(acme, layer)[0] == "high"


def test_blank_and_unknown_text_stay_apart_on_the_way(db):
    rules = {
        "rules": [
            {"segment": "high", "when": "region = ''"},
            {"segment": "low", "when": "region IS NULL"},
            {"segment": "tech"},
        ]
    }
    layer = layer_with(rules)
    blank, unknown, odd = account("blank", region=""), account("unknown"), account("odd", region='a,"b\n€=')
    recompute()
    assert [seen(one, layer)[0] for one in (blank, unknown, odd)] == ["high", "low", "tech"]
    assert Move.objects.get(account_id=odd.pk).evidence["facts"]["region"] == 'a,"b\n€='


def test_rules_are_what_they_are(db):
    assert RULES["weights"] == {
        "worth": "0.5",
        "behaviour": "0.5",
    }  # shared by the tests: never changed in one


def test_what_is_written_is_looked_up_by_index(db):
    """Right after a first run PostgreSQL takes its tables for tiny; row by row through all of them took minutes."""
    layer_with()
    accounts = portfolio(30)
    recompute()
    change(accounts[0], arr=5)
    plans = []

    def explained(execute, sql, params, many, context):
        if sql.lstrip().startswith("update segmentation_assignment"):
            execute(f"explain {sql}", params, many, context)
            plans.append("\n".join(line for (line,) in context["cursor"].fetchall()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explained):
        recompute()
    assert len(plans) == 3  # assignments, those that are only marked, scores
    assert not any("Seq Scan on segmentation_assignment" in plan for plan in plans), plans
