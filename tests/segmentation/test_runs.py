"""Runs: started once, cut, claimed, fenced, closed by counting; one bad account does not stop the rest."""

import json
import time
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from threading import Event, Thread

import pytest
from databases import unsigned
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from segmenting import BY_ARR, DAY, RULES, account, layer_with, person, portfolio, recompute, state

from accounts.models import Account
from core.refusals import Refused
from segmentation import tasks
from segmentation.evaluation import assignments, run_rules
from segmentation.models import Assignment, Cause, Layer, Move, Run, RunPart
from segmentation.runs import recalculation


def raw(text, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(text, parameters)


def command(name, *arguments, **options):
    out = StringIO()
    call_command(name, *arguments, stdout=out, stderr=StringIO(), **options)
    return out.getvalue()


def test_a_run_pins_its_rules_and_is_cut(db):
    layer, accounts = layer_with(), portfolio(25)
    account("churned", status="churned")
    account("trial", kind="trial")
    account("excluded", excluded=True, exclusion_reason="A test of ours")
    account("paused", status="paused", arr=1)
    run = recalculation.start(as_of=DAY, chunk=10, by=person())
    assert (run.accounts, run.started_by_label) == (26, "olga")
    assert [(one.layer, one.definition, one.running) for one in run.layers.all()] == [
        (layer, layer.definitions.get(), True)
    ]
    parts = list(run.parts.order_by("id"))
    assert parts[0].first == accounts[0].pk
    assert [Account.objects.scored().filter(pk__range=(one.first, one.last)).count() for one in parts] == [
        10,
        10,
        6,
    ]


def test_one_running_per_layer(db):
    one, other = layer_with(), layer_with(BY_ARR, key="arr")
    recalculation.start(layers=[one])
    with pytest.raises(Refused, match="Tier is being recalculated already"):
        recalculation.start(layers=[one])
    with pytest.raises(Refused, match="Tier is being recalculated already"):
        recalculation.start()  # a run over all layers takes every layer
    recalculation.start(layers=[other])
    assert Run.objects.count() == 2


def test_nothing_to_run(db):
    with pytest.raises(Refused, match="Load the presets"):
        recalculation.start()
    bare = Layer.objects.create(key="bare", name="Bare")
    with pytest.raises(Refused, match="Bare has no active rules"):
        recalculation.start(layers=[bare])


def test_rules_that_name_a_lost_segment_are_not_run(db):
    layer = layer_with()
    layer.segments.filter(key="low").update(key="renamed")
    with pytest.raises(Refused, match="names the segment 'low', which Tier does not have any more"):
        recalculation.start()
    assert not Run.objects.exists()


def test_nobody_to_score(db):
    layer_with()
    run = recompute()
    assert (run.status, run.accounts) == ("finished", 0)
    assert run.layers.get().left_out == []


def test_chunks_and_their_order_do_not_matter(real_db):
    layer_with()
    layer_with(BY_ARR, key="arr", policy="automatic")
    portfolio(40)
    states = []
    for size in (1_000, 7, 1):
        with connection.cursor() as cursor:  # a fresh copy of what a first run writes
            for table in ("segmentation_move", "segmentation_historicalassignment"):
                cursor.execute(f"alter table {table} disable trigger user; delete from {table}")
        recompute(chunk=size)
        states.append(state())
        with unsigned(), connection.cursor() as cursor:
            cursor.execute("alter table segmentation_assignment disable trigger demarc_effective_delete")
            cursor.execute("delete from segmentation_assignmentscore; delete from segmentation_assignment")
    assert len(states[0]["moves"]) > 50
    assert states[0] == states[1] == states[2]


def test_who_started_it_is_behind_every_change(real_db):
    layer_with()
    account(arr=120_000, usage={"nps": 60})
    run = recompute(by=person(), reason="Quarterly")
    move, history = Move.objects.get(), Assignment.history.get()
    assert (move.cause.kind, move.cause.run) == (Cause.Kind.RUN, run.pk)
    assert (move.cause.actor_label, move.cause.reason) == ("olga", "Quarterly")
    assert (history.history_user_label, history.history_change_reason) == ("olga", "Quarterly")
    assert history.history_user_id == person().pk


# -- claims


def claim(run):
    return recalculation.KIND.claim(job=run, job__status="running")


def test_a_claim_belongs_to_one_until_its_lease_ends(db):
    layer_with()
    portfolio(4)
    run = recalculation.start(chunk=2)
    [first], [second] = claim(run), claim(run)
    assert (first.status, first.token, first.attempts) == ("claimed", 1, 1)
    assert second.pk != first.pk
    assert claim(run) == []
    RunPart.objects.filter(pk=first.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
    [again] = claim(run)
    assert (again.pk, again.token, again.attempts) == (first.pk, 2, 2)


def test_who_lost_the_chunk_writes_nothing(db):
    layer_with()
    portfolio(4)
    run = recalculation.start()
    late = claim(run)
    RunPart.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    claim(run)
    assert recalculation.KIND.attempt(late, lambda: run_rules.of_run(run)) == 0
    assert not Assignment.objects.exists()
    assert RunPart.objects.get().status == "claimed"


def test_a_chunk_that_kills_its_workers_is_given_up(db):
    layer_with(BY_ARR)
    portfolio(4)
    run = recalculation.start(as_of=DAY, chunk=2)
    first = run.parts.order_by("id").first()
    run.parts.filter(pk=first.pk).update(
        status="claimed",
        attempts=recalculation.KIND.attempts,
        leased_until=timezone.now() - timedelta(hours=1),
    )
    run = recalculation.work(run.pk, wait=True)
    assert (run.status, run.error) == ("failed", "Given up: 5 workers were lost at it.")
    assert Assignment.objects.count() == 2  # the rest is done
    assert not run.layers.filter(running=True).exists()
    assert recompute().status == "finished"


def test_what_is_no_accounts_fault_fails_the_chunk(db, monkeypatch):
    layer_with(BY_ARR)
    portfolio(300)
    monkeypatch.setattr(assignments, "_INSERT_SCORE", "select no_such_thing")
    run = recompute(chunk=150)
    assert run.status == "failed"
    assert "no_such_thing" in run.error
    assert not run.quarantined.exists()  # not hundreds of accounts for one mistake


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("accounts_account", "arr", "'NaN'"),
        ("accounts_account", "contract_start", "'infinity'"),
    ],
)
def test_a_bad_account_is_set_aside_and_the_rest_finish(db, table, column, value):
    layer_with()
    accounts = portfolio(40)
    bad = accounts[17]
    raw(f"update {table} set {column} = {value} where id = %s", bad.pk)
    run = recompute(chunk=20)
    assert run.status == "finished"
    [one] = run.quarantined.all()
    assert one.account_id == bad.pk
    assert one.reason
    assert run.layers.get().counts["quarantined"] == 1
    assert "1 account could not be evaluated" in run.layers.get().warnings[-1]
    assert set(Assignment.objects.values_list("account_id", flat=True)) == {a.pk for a in accounts} - {bad.pk}


def test_cancelled(db):
    layer_with()
    portfolio(4)
    run = recalculation.start(chunk=2)
    with pytest.raises(Refused, match="Say why"):
        recalculation.cancel(run, by=person(), reason=" ")
    late = claim(run)
    run = recalculation.cancel(run, by=person(), reason="Wrong file")
    assert (run.status, run.error) == ("cancelled", "Cancelled by olga: Wrong file")
    assert recalculation.KIND.attempt(late, lambda: run_rules.of_run(run)) == 0
    assert not Assignment.objects.exists()
    with pytest.raises(Refused, match="ended"):
        recalculation.cancel(run, by=person(), reason="Again")
    assert recalculation.work(run.pk, wait=True).status == "cancelled"


# -- tasks


def test_the_sweep_works_what_nobody_works(db):
    layer_with()
    portfolio(4)
    run = recalculation.start(chunk=2)
    claim(run)
    [claimed] = claim(run)
    tasks.sweep()  # both are being worked
    assert Run.objects.get().status == "running"
    RunPart.objects.filter(pk=claimed.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
    tasks.sweep()
    assert sorted(RunPart.objects.values_list("status", flat=True)) == ["claimed", "done"]
    RunPart.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    tasks.sweep()
    assert Run.objects.get().status == "finished"


def test_the_sweep_closes_what_is_done(db):
    layer_with()
    portfolio(2)
    run = recalculation.start()
    RunPart.objects.update(status="done")
    tasks.sweep()
    assert Run.objects.get(pk=run.pk).status == "finished"


def test_tasks_may_run_twice_and_too_late(db):
    layer_with(BY_ARR)
    portfolio(4)
    run = recalculation.start()
    for _ in range(2):
        tasks.work(run.pk)
    tasks.work(run.pk + 1)
    assert Move.objects.exists()
    assert Assignment.history.count() == 4


def test_the_night(db):
    tasks.recompute_all()  # no rules yet
    layer_with()
    portfolio(3)
    tasks.recompute_all()
    run = Run.objects.get()
    assert (run.trigger, run.status, run.started_by_label, run.channel) == (
        "schedule",
        "finished",
        "schedule",
        "schedule",
    )


# -- what is told


def test_a_score_group_nobody_has_facts_for_is_left_out_for_all(db):
    layer = layer_with()
    acme = account(arr=120_000, employees=2_000)
    run = recompute()
    pinned = run.layers.get()
    assert pinned.left_out == ["behaviour"]
    assert pinned.warnings[0].startswith("Behaviour is left out for everybody")
    row = Assignment.objects.get()
    assert (row.computed.key, row.provisional, str(row.score.composite)) == ("high", False, "5.000000000000")
    account("churned", status="churned", usage={"nps": 1})
    assert recompute().layers.get().left_out == ["behaviour"]  # nobody who is scored
    account("other", usage={"nps": 1})
    run = recompute()
    assert run.layers.get().left_out == []
    assert Assignment.objects.get(account=acme, layer=layer).reason == "no facts:behaviour"


def test_when_most_need_data_the_run_says_why(db):
    layer_with({"requires": ["employees"], "rules": [{"segment": "tech"}]})
    account("known", employees=1)
    for number in range(2):
        account(f"unknown {number}")
    [told] = recompute().layers.get().warnings
    assert told == (
        "2 of 3 accounts need data, most of them for this reason: Employees is not known, and the rules need it."
    )
    account("known too", employees=1)
    assert recompute().layers.get().warnings == []


def test_blank_text_is_no_fact(db):
    rules = {
        "dimensions": [
            {"key": "where", "criteria": [{"key": "region", "cells": ["EMEA", "*"], "missing": "skip"}]}
        ],
        "rules": [{"segment": "high", "when": "composite > 4"}, {"segment": "tech"}],
    }
    layer_with(rules)
    account(region=" ")
    assert recompute().layers.get().left_out == ["where"]


def test_subscriptions_are_facts_too(db):
    from accounts.models import Subscription

    layer_with({**RULES, "weights": {"worth": "1", "behaviour": "0"}})
    acme = account(usage={"nps": 1})
    Subscription.objects.create(account=acme, subscription_id="s", start_date=date(2026, 1, 1), arr=120_000)
    before = recompute(date(2025, 12, 31))
    assert before.layers.get().left_out == []  # a subscription to come: worth 0, which is known
    assert Assignment.objects.get().computed.key == "tech"
    assert recompute().layers.get().left_out == []


def test_counts(db):
    layer_with()
    account("full", arr=120_000, employees=2_000, usage={"nps": 60, "tickets_90d": 0})
    account("thin", arr=30_000, usage={"tickets_90d": 30})
    account("new", arr=30_000, employees=2_000, contract_start=DAY)
    account("lost", employees=10, usage={"nps": 60})
    run = recompute(chunk=1)
    report = recalculation.report(run)
    assert (report["status"], report["as_of"], report["accounts"]) == ("finished", "2026-06-01", 4)
    told = report["layers"]["tier"]
    assert told["scanned"] == told["changed"] == 4
    assert (told["moved"], told["moves"]) == (3, {"initial": 3})
    assert told["segments"] == {"high": 2, "tech": 1}
    assert (told["needs_data"], told["reasons"]) == (1, {"missing:arr": 1})
    assert (told["provisional"], told["differs"], told["quarantined"]) == (1, 0, 0)
    assert told["observed_median"] == 2  # of 4, 2, 2, 2
    assert told["fallback_share"] == round(4 / 14, 4)
    assert recalculation.progress(run)["accounts_done"] == 4


@pytest.mark.parametrize(
    ("histogram", "median"),
    [({}, None), ({"3": 1}, 3), ({"1": 2, "10": 1}, 1), ({"2": 1, "10": 1}, 2), ({"9": 1, "10": 3}, 10)],
)
def test_the_median_of_a_histogram(histogram, median):
    assert recalculation._median(histogram) == median


# -- the command


def test_recompute(db):
    layer_with()
    layer_with(BY_ARR, key="arr", policy="automatic")
    portfolio(10)
    told = json.loads(command("recompute", "--json", "--as-of", "2026-06-01"))
    assert set(told["layers"]) == {"tier", "arr"}
    assert (told["status"], told["as_of"], told["accounts"]) == ("finished", "2026-06-01", 10)
    assert set(json.loads(command("recompute", "--json", "--layer", "arr"))["layers"]) == {"arr"}
    assert told["layers"]["tier"]["observed_median"] == 3
    assert told["layers"]["arr"]["observed_median"] is None  # it has no measures
    assert "arr: 10 accounts" in command("recompute", "--layer", "arr")
    assert Run.objects.first().channel == "command"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--as-of", "01/02/2026"], "'01/02/2026' is not a date such as 2026-01-31"),
        (["--as-of", "2026-02-30"], "is not a date"),
        (["--layer", "nope"], "There is no segmentation 'nope'. There are: tier"),
    ],
)
def test_recompute_refuses(db, arguments, told):
    layer_with()
    with pytest.raises(CommandError, match=told):
        command("recompute", *arguments)


# -- the clock


BEFORE = DAY - timedelta(days=1)
GOES_BACK = (
    "The last recalculation was as of 1 Jun 2026: one as of 31 May 2026 would put in force what was then."
)


def test_the_clock_never_goes_back(db):
    gated, automatic = layer_with(BY_ARR), layer_with(BY_ARR, key="arr", policy="automatic")
    account(arr=120_000)
    recompute(layers=[automatic])
    for layers in (None, [automatic], [gated]):  # nor for a segmentation that was never recalculated
        with pytest.raises(recalculation.WrongClock) as refused:
            recalculation.start(layers=layers, as_of=BEFORE)
        assert str(refused.value) == GOES_BACK
    assert Run.objects.count() == 1
    recompute()  # the same day again
    recompute(DAY + timedelta(days=1))


@pytest.mark.parametrize("status", ["running", "failed", "cancelled"])
def test_nor_behind_one_that_has_not_ended_well(db, status):
    layer_with(BY_ARR)
    account(arr=120_000)
    recalculation.start(as_of=DAY)
    Run.objects.update(status=status)
    with pytest.raises(recalculation.WrongClock, match="was as of 1 Jun 2026"):
        recalculation.start(as_of=BEFORE)


def test_a_day_to_come_is_no_clock(db, monkeypatch):
    layer_with(BY_ARR)
    account(arr=120_000)
    now = datetime(2026, 6, 1, 23, 30, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    with pytest.raises(recalculation.WrongClock, match="2 Jun 2026 is still to come"):
        recalculation.start(as_of=date(2026, 6, 2))
    with timezone.override("Europe/Berlin"):  # there it is that day already
        assert recompute(date(2026, 6, 2)).status == "finished"
    # Farther west it is the day before still: that is no way back, and today's is not locked out.
    assert recompute(None).as_of == DAY


def test_history_is_replayed_forward_on_a_portfolio_that_was_empty(db):
    layer_with(BY_ARR)
    recompute(timezone.localdate())  # a night before there was anybody
    account(arr=120_000)
    for day in (date(2024, 1, 31), date(2024, 2, 29), date(2024, 2, 29), timezone.localdate()):
        assert recompute(day).as_of == day
    with pytest.raises(recalculation.WrongClock):
        recalculation.start(as_of=date(2024, 3, 31))


def test_of_two_that_start_at_once_the_older_clock_is_second(real_db):
    """Layers of their own: nothing else keeps the two apart."""
    newer, older = layer_with(BY_ARR), layer_with(BY_ARR, key="arr", policy="automatic")
    account(arr=120_000)
    refused, begun = [], Event()

    def second():
        begun.set()
        try:
            recalculation.start(layers=[older], as_of=BEFORE)
        except recalculation.WrongClock as refusal:
            refused.append(str(refusal))
        finally:
            connection.close()

    thread = Thread(target=second)
    with transaction.atomic():
        recalculation.start(layers=[newer], as_of=DAY)
        thread.start()
        begun.wait()
        time.sleep(0.5)  # it waits for what is not committed yet
        assert not refused
    thread.join()
    assert refused == [GOES_BACK]
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    ("layers", "tried"),
    [([], "service --version 1"), (["--layer", "arr"], "arr --version 1")],
)
def test_the_command_offers_the_preview_of_that_day(db, layers, tried):
    layer_with(BY_ARR, key="service")
    layer_with(BY_ARR, key="arr", policy="automatic")
    account(arr=120_000)
    command("recompute", "--as-of", str(DAY))
    with pytest.raises(CommandError) as refused:
        command("recompute", "--as-of", str(BEFORE), *layers)
    offer = f"{GOES_BACK} To see what the rules say of that day, preview it: manage.py simulate {tried} --as-of {BEFORE}"
    assert str(refused.value) == offer
    report = json.loads(command("simulate", *tried.split(), "--as-of", str(BEFORE), "--json"))
    assert (report["as_of"], report["accounts"]) == (str(BEFORE), 1)
    with pytest.raises(CommandError, match=r"is still to come.* preview it: manage.py simulate"):
        command("recompute", "--as-of", "2999-01-01", *layers)


def test_a_broker_that_does_not_answer_stops_nothing(real_db, monkeypatch):
    from config import celery
    from config.celery import GIVE_UP_SOON

    layer_with(BY_ARR)
    portfolio(3)
    monkeypatch.setattr(celery.conf, "broker_url", "redis://127.0.0.1:1/0")
    monkeypatch.setitem(celery.conf, "broker_transport_options", GIVE_UP_SOON)
    import kombu.pools

    kombu.pools.reset()
    celery._after_fork()
    celery.__dict__.pop("amqp", None)
    assert json.loads(command("recompute", "--json"))["status"] == "finished"
