"""Impact previews: what they say comes true, nothing is written, and what is kept stays."""

import contextlib
import copy
import csv
import json
import os
import signal
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from segmenting import (
    BY_ARR,
    DAY,
    RULES,
    account,
    answered,
    change,
    draft_of,
    granted,
    layer_with,
    person,
    portfolio,
    recompute,
    state,
)
from waiting import PATIENCE, wait_until

from accounts.catalogue import TYPES
from accounts.models import Account, Product, Usage
from core import work
from core.history import acting
from core.refusals import Refused
from core.work import Fenced
from segmentation.admin import flow
from segmentation.authoring import versions
from segmentation.models import Assignment, Definition, Move, ServiceModel, Simulation, SimulationPart
from segmentation.previews import impact, simulation
from segmentation.reading import coverage
from segmentation.rules import definitions
from segmentation.runs import recalculation

LATER = date(2026, 6, 15)
PAGES = "/admin/segmentation/simulation/"


def rules(*thresholds):
    """The rules of the tests with other boundaries."""
    document = copy.deepcopy(RULES)
    for rule, threshold in zip(document["rules"], thresholds, strict=False):
        rule["when"] = f"composite >= {threshold}"
    return document


def previewer():
    return person("petra", "preview_rules")


def preview(definition, **options):
    """One whole preview, worked here."""
    made = simulation.start(definition, by=previewer(), **({"as_of": DAY} | options))
    return simulation.work(made.pk, wait=True)


def in_force(layer):
    return dict(Assignment.objects.filter(layer=layer).values_list("account__external_id", "effective__key"))


def matrix(report, name="in_force"):
    return {(row["from"], row["to"]): row["accounts"] for row in report[name]}


@pytest.fixture
def layer(db):
    """An automatic layer, recalculated, whose boundaries a draft moves."""
    made = layer_with(policy="automatic")
    portfolio(80)
    recompute()
    return made


# -- what it says comes true


OTHER_RULES = {
    "boundaries": rules("3.4", "3.0"),
    "needs data": rules("3.4") | {"requires": ["employees"]},
    "nobody high": {"rules": [{"segment": "low", "when": "arr >= 50000"}, {"segment": "tech"}]},
    "top and quintiles": {
        "dimensions": [
            {"key": "worth", "criteria": [{"key": "arr", "cells": "quintiles", "missing": "needs data"}]}
        ],
        "rules": [
            {"segment": "high", "top": "9 by arr"},
            {"segment": "low", "when": "points.arr >= 3"},
            {"segment": "tech"},
        ],
    },
    "where from": {
        "rules": [
            {"segment": "low", "from": ["high"], "when": "tickets_90d > 5"},
            {"segment": "tech", "from": ["low"], "when": "days_in_stage >= 14 AND nps < 0"},
            {"segment": "high", "when": "previous IS NULL"},
        ]
    },
}


@pytest.mark.parametrize("name", OTHER_RULES)
def test_the_matrix_is_what_an_activation_and_a_recalculation_bring(layer, name):
    draft, before = draft_of(layer, OTHER_RULES[name]), in_force(layer)
    report = simulation.report(preview(draft, as_of=LATER))
    versions.activate(answered(draft), by=person(), reason="As previewed", seen=draft.hash)
    run, then = recompute(LATER), in_force(layer)
    pairs = Counter((before[one], then[one]) for one in before)
    assert matrix(report) == pairs
    assert report["moved"]["accounts"] == sum(count for (a, b), count in pairs.items() if a != b) > 5
    counts = run.layers.get().counts
    assert report["moved"]["accounts"] == counts["moved"]
    assert (report["needs_data"]["after"], report["provisional"]["after"]) == (
        counts["needs_data"],
        counts["provisional"],
    )
    arr = {one.external_id: one.arr or 0 for one in Account.objects.all()}
    for row in report["in_force"]:
        there = [one for one in before if (before[one], then[one]) == (row["from"], row["to"])]
        assert Decimal(row["arr"]) == sum(arr[one] for one in there)


def test_where_changes_need_approval_it_says_what_comes_once_they_are_given(db):
    layer = layer_with()
    portfolio(80)
    recompute()
    change(Account.objects.get(external_id="c00013"), arr=None)
    draft = draft_of(layer, rules("3.4", "3.0") | {"requires": ["employees"]})
    before = dict(Assignment.objects.values_list("account__external_id", "effective__key"))
    ruled = dict(Assignment.objects.values_list("account__external_id", "computed__key"))
    report = simulation.report(preview(draft))
    versions.activate(answered(draft), by=person(), reason="As previewed", seen=draft.hash)
    recompute()
    rows = {
        one.account.external_id: one
        for one in Assignment.objects.select_related("account", "computed", "effective")
    }
    says = {key: one.computed.key if one.computed else None for key, one in rows.items()}
    assert matrix(report, "by_rules") == Counter((ruled[key], says[key]) for key in before)
    # Whoever needs data keeps what is in force.
    assert matrix(report) == Counter((before[key], says[key] or before[key]) for key in before)
    waiting = [key for key, one in rows.items() if says[key] and one.effective.key != says[key]]
    assert report["moved"]["wait_for_approval"] == len(waiting) > 5
    # Two questions, each with its accounts; a request counts the first.
    made = Simulation.objects.get()
    keys = {row["id"]: row["key"] for row in made.result["segments"]} | {None: None}
    for which, then in (("changed", says), ("moved", {key: says[key] or before[key] for key in before})):
        was = ruled if which == "changed" else before
        pairs = {(key, was[key], then[key]) for key in before if was[key] != then[key]}
        rows = simulation.movers(made, which=which, limit=1_000)
        assert {(row["external_id"], keys[row["source"]], keys[row["target"]]) for row in rows} == pairs
        assert (
            report[which]["accounts"] == len(rows) == len(list(simulation.movers_csv(made, which=which))) - 1
        )
    assert (
        report["changed"]["accounts"]
        == sum(row["accounts"] for row in impact.reach(made.result))
        != report["moved"]["accounts"]
    )


def test_the_same_whatever_the_ranges(layer, monkeypatch):
    draft, found = draft_of(layer, OTHER_RULES["top and quintiles"]), []
    for size in (1_000, 11, 1):
        monkeypatch.setattr(recalculation, "CHUNK", size)
        made = preview(draft)
        found.append((made.result, list(simulation.movers_csv(made))))
    assert made.parts.count() == 80
    assert found[0] == found[1] == found[2]


def test_nothing_of_an_account_is_written(layer):
    before = state()
    assert simulation.report(preview(draft_of(layer, rules("3.4", "3.0"))))["moved"]["accounts"]
    assert state() == before


def test_products_of_accounts_are_previewed_one_by_one(db):
    layer = layer_with(BY_ARR, key="adoption", policy="automatic", segments=["high", "tech"])
    layer.primary, layer.scope = False, "product"
    layer.save()
    one, (crm, cms) = account(), [Product.objects.create(key=key) for key in ("crm", "cms")]
    for product, users in ((crm, 9), (cms, 2)):
        Usage.objects.create(account=one, product=product, active_users=users)
    draft = draft_of(layer, {"rules": [{"segment": "high", "when": "active_users > 5"}, {"segment": "tech"}]})
    made = preview(draft)
    report = simulation.report(made)
    assert matrix(report) == {(None, "high"): 1, (None, "tech"): 1}
    assert report["unit"].endswith("products of accounts")
    names = {row["product"]: row["target"] for row in simulation.movers(made)}
    keys = dict(layer.segments.values_list("key", "pk"))
    assert names == {"crm": keys["high"], "cms": keys["tech"]}


def test_accounts_only_the_rules_in_use_are_about_are_told(db):
    layer = layer_with({"includes": ["churned"], **BY_ARR}, policy="automatic")
    account("gone", arr=5, status="churned")
    account("here", arr=5)
    recompute()
    report = simulation.report(preview(draft_of(layer, BY_ARR)))
    assert (report["accounts"], report["not_covered"]) == (1, 1)


# -- the numbers beside it


def test_money_in_another_currency_is_left_out_and_said(db):
    layer = layer_with({"rules": [{"segment": "high"}]}, policy="automatic")
    account("home", arr=100, employees=1)
    account("abroad", arr=900, currency="EUR", employees=1)
    recompute()
    report = simulation.report(preview(draft_of(layer, {"rules": [{"segment": "tech"}]})))
    assert report["in_force"] == [
        {"from": "high", "to": "tech", "accounts": 2, "arr": "100.00", "other_currency": 1}
    ]


def test_people_and_cost_are_those_of_the_coverage_model(layer):
    layer.decides = ["service_model"]
    layer.save()
    for segment, (low, cost, staff) in zip(
        layer.segments.all(), [(2, 900, 1), (10, 100, 1), (100, None, None)], strict=True
    ):
        key = segment.key
        segment.treatment.service_model = ServiceModel.objects.create(
            key=key,
            name=key,
            accounts_per_csm_min=low,
            accounts_per_csm_max=low * 2,
            cost_to_serve=cost,
            staff=staff,
        )
        segment.treatment.save()
    draft = draft_of(layer, rules("3.4", "3.0"))
    report = simulation.report(preview(draft))

    def loaded(side):
        return {
            row["name"]: (row[side]["accounts"], row[side]["needed"], row[side]["cost"], row[side]["verdict"])
            for row in report["service_models"]
            if row[side]["accounts"]
        }

    def load():
        return {
            one.model and one.model.name: (
                one.accounts, one.needed, None if one.cost is None else str(one.cost), one.verdict and list(one.verdict)
            )
            for one in coverage.load(at=DAY, after=timezone.now().timestamp()).weights
            if one.accounts
        }  # fmt: skip

    assert loaded("before") == load()
    versions.activate(answered(draft), by=person(), reason="As previewed", seen=draft.hash)
    recompute()
    assert loaded("after") == load()
    assert report["cost_to_serve"]["after"]["cost"] != report["cost_to_serve"]["before"]["cost"]
    assert report["cost_to_serve"]["after"]["unknown"] > 0


def test_a_layer_that_does_not_decide_the_service_has_no_people(layer):
    assert simulation.report(preview(draft_of(layer, rules("3.4"))))["service_models"] == []


def test_shares_are_of_active_customers_beside_the_bands(layer):
    account("paused", status="paused", arr=1, employees=1)
    report = simulation.report(preview(draft_of(layer, rules("3.4", "3.0"))))
    rows = report["distribution"]
    assert (report["accounts"], report["active"]) == (81, 80)
    assert sum(row["after"]["accounts"] for row in rows) <= 80
    assert rows[0]["band"] == (Decimal("0.15"), Decimal("0.25"))
    assert rows[0]["after"]["verdict"][1] in ("within the band", "above the band", "below the band")
    assert 0 < report["coverage"]["after"] < 1


def test_the_nearest_to_each_boundary_over_all_ranges(layer, monkeypatch):
    monkeypatch.setattr(recalculation, "SMALL_CHUNK", 9)
    draft = draft_of(layer, rules("3.4", "3.0"))
    made = preview(draft)
    assert made.parts.count() > 5
    report = simulation.report(made)
    versions.activate(answered(draft), by=person(), reason="As previewed", seen=draft.hash)
    recompute()
    scores = Assignment.objects.exclude(computed=None).values_list("account_id", "score__composite")
    for boundary, threshold in zip(report["nearest"], ("3.4", "3.0"), strict=True):
        near = sorted((abs(score - Decimal(threshold)), id) for id, score in scores)[: impact.NEAREST]
        assert [(Decimal(row["away"]), row["account"]) for row in boundary["accounts"]] == near
        assert (boundary["term"], Decimal(boundary["threshold"])) == ("Overall score", Decimal(threshold))
        assert all(row["name"].startswith("c0") for row in boundary["accounts"])


def test_an_account_that_cannot_be_evaluated_is_set_aside_and_told(layer):
    Account.objects.filter(external_id="c00007").update(arr=Decimal("9" * 18))
    many = {"rules": [{"segment": "high", "when": "arr * arr * arr > 5"}, {"segment": "tech"}]}
    report = simulation.report(preview(draft_of(layer, many)))
    assert report["accounts"] + len(report["set_aside"]) == 80
    assert report["reasons"].get("overflow:0", 0) + len(report["set_aside"]) >= 1


def test_nobody_at_all(db):
    layer = layer_with()
    made = preview(draft_of(layer, rules("3.4")))
    report = simulation.report(made)
    assert (made.status, report["accounts"], report["in_force"]) == ("finished", 0, [])
    assert [boundary["accounts"] for boundary in report["nearest"]] == [[], []]


# -- what it is of


def test_it_is_as_of_the_last_recalculation_unless_said(layer):
    draft = draft_of(layer, rules("3.4"))
    assert preview(draft, as_of=None).as_of == DAY
    later = preview(draft, as_of=date(2026, 7, 1))
    assert "some would move without new rules too" in later.warnings[0]


def test_other_segmentations_that_read_it_are_named(layer):
    reading = {"rules": [{"segment": "high", "when": "label.tier = 'high'"}, {"segment": "tech"}]}
    layer_with(reading, key="follower", segments=["high", "tech"])
    made = preview(draft_of(layer, rules("3.4")))
    assert made.warnings == [
        "What follows from it is not part of this preview: Follower reads these segments."
    ]


def test_it_tells_when_the_rules_were_changed_or_discarded_since(layer):
    draft = draft_of(layer, rules("3.4"))
    made = preview(draft)
    assert simulation.changed(made) == ""
    draft = versions.save_draft(draft, rules("3.5"), by=person())
    assert simulation.changed(made) == "The rules were changed since this preview."
    draft = versions.save_draft(draft, rules("3.4"), by=person())
    versions.submit(draft, by=person(), reason="Ready")  # the same rules, with what follows spelled out
    assert simulation.changed(made) == ""
    versions.withdraw(draft, by=person())
    versions.discard_draft(Definition.objects.get(pk=draft.pk), by=person())
    assert simulation.changed(made) == "This draft was discarded since this preview."
    assert simulation.report(made)["version"] == 2


def test_rules_that_are_not_complete_are_refused(layer):
    with pytest.raises(Refused, match="These rules are not complete: "):
        preview(draft_of(layer, {"rules": [{"segment": "nowhere"}]}))
    assert not Simulation.objects.exists()


@pytest.mark.parametrize("verb", ["start", "cancel", "freeze"])
def test_each_verb_needs_the_permission(layer, verb):
    draft = draft_of(layer, rules("3.4"))
    made, carl = simulation.start(draft, by=previewer()), person("carl", "change_definition")
    calls = {
        "start": lambda: simulation.start(draft, by=carl),
        "cancel": lambda: simulation.cancel(made, by=carl),
        "freeze": lambda: simulation.freeze(made, by=carl, note="For the board"),
    }
    with pytest.raises(Refused, match="not allowed to preview the impact"):
        calls[verb]()
    with pytest.raises(Refused):
        simulation.start(draft)  # nobody, and not from the command line


def test_the_last_ten_are_kept_and_frozen_ones_for_good(layer):
    draft = draft_of(layer, rules("3.4"))
    first = preview(draft)
    simulation.freeze(first, by=previewer(), note="For the board")
    others = [preview(draft).pk for _ in range(simulation.KEPT + 2)]
    assert set(Simulation.objects.values_list("pk", flat=True)) == {first.pk, *others[-simulation.KEPT - 1 :]}


# -- frozen


def test_a_frozen_preview_is_kept_as_it_is(layer):
    made = simulation.start(draft_of(layer, rules("3.4")), by=previewer(), as_of=DAY)
    with pytest.raises(Refused, match="ended well"):
        simulation.freeze(made, by=previewer(), note="Too early")
    made = simulation.work(made.pk)
    with pytest.raises(Refused, match="Say what"):
        simulation.freeze(made, by=previewer(), note="  ")
    frozen = simulation.freeze(made, by=previewer(), note="For the board")
    assert (frozen.frozen_by_label, frozen.note, frozen.as_of) == ("petra", "For the board", DAY)
    assert frozen.hash == definitions.parse(rules("3.4"), types=TYPES).hash
    with pytest.raises(Refused, match="frozen already"):
        simulation.freeze(made, by=previewer(), note="Again")
    _raw("set constraints all immediate")  # a table with checks that are still due cannot be emptied at all
    one, parts = Simulation.objects.filter(pk=made.pk), SimulationPart.objects.filter(job=made)
    for forbidden in (
        lambda: one.update(note="Something else"),
        lambda: one.update(result={}),
        lambda: one.delete(),
        lambda: parts.update(movers=[]),
        lambda: parts.delete(),
        lambda: SimulationPart.objects.create(job=made, first=-1, last=-1),
        lambda: _raw("truncate segmentation_simulation cascade"),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            forbidden()


def test_what_a_preview_is_of_never_changes(layer):
    made = preview(draft_of(layer, rules("3.4")))
    one = Simulation.objects.filter(pk=made.pk)
    for values in (
        {"hash": "x"},
        {"as_of": date(2020, 1, 1)},
        {"document": {}},
        {"result": {}},
        {"status": "running"},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            one.update(**values)
    with pytest.raises(IntegrityError), transaction.atomic():
        Simulation.objects.create(
            layer=layer,
            document={},
            hash="x",
            as_of=DAY,
            status="finished",
            frozen_at=timezone.now(),
            note="Forged",
        )


def _raw(text):
    with connection.cursor() as cursor:
        cursor.execute(text)


# -- work


def test_it_is_cancelled_between_two_ranges_and_can_be_started_again(layer, monkeypatch):
    monkeypatch.setattr(recalculation, "SMALL_CHUNK", 10)
    draft = draft_of(layer, rules("3.4"))
    made = simulation.start(draft, by=previewer(), as_of=DAY)
    ended = simulation.work(made.pk, wait=True, on_part=lambda one: simulation.cancel(one, by=previewer()))
    assert (ended.status, ended.error, ended.result) == ("cancelled", "Cancelled by petra.", {})
    assert simulation.progress(ended)["done"] == 1
    with pytest.raises(Refused, match="ended already"):
        simulation.cancel(ended, by=previewer())
    assert preview(draft).status == "finished"


def test_cut_offs_are_not_measured_on_for_one_that_is_cancelled(layer, monkeypatch):
    monkeypatch.setattr(recalculation, "SMALL_CHUNK", 10)
    made = simulation.start(draft_of(layer, OTHER_RULES["top and quintiles"]), by=previewer())
    simulation.cancel(made, by=previewer())
    with pytest.raises(Fenced):
        simulation._measure(made)
    assert simulation.work(made.pk, wait=True).status == "cancelled"
    assert Simulation.objects.get().cutoffs is None


def test_a_range_that_kills_its_workers_is_given_up(layer):
    made = simulation.start(draft_of(layer, rules("3.4")), by=previewer())
    for _ in range(simulation.KIND.attempts):
        assert simulation.KIND.claim(job=made)
        made.parts.update(leased_until=timezone.now() - timedelta(seconds=1))
    ended = simulation.work(made.pk, wait=True)
    assert (ended.status, ended.error) == ("failed", "Given up: 5 workers were lost at it.")


def test_a_failure_is_kept_with_its_reason(layer, monkeypatch):
    made = simulation.start(draft_of(layer, rules("3.4")), by=previewer())
    monkeypatch.setattr(work, "ALL_BAD", 0)
    _raw("alter table accounts_usage rename column nps to gone")
    ended = simulation.work(made.pk, wait=True)
    assert ended.status == "failed"
    assert "nps" in ended.error
    assert ended.finished_at


WORK = "from segmentation.previews import simulation; print(simulation.work({}).status)"


@contextlib.contextmanager
def standing_still(table):
    """Whoever reads the table waits until this ends."""
    known = connection.get_connection_params()
    known = {key: known[key] for key in ("host", "port", "user", "password", "dbname") if known.get(key)}
    with psycopg.connect(**known) as other:
        other.execute(f"lock table {table} in access exclusive mode")
        yield


def test_the_range_of_a_killed_process_is_taken_over(real_db, spawn, monkeypatch):
    monkeypatch.setattr(recalculation, "SMALL_CHUNK", 10)
    layer = layer_with(policy="automatic")
    portfolio(60)
    recompute()
    draft = draft_of(layer, rules("3.4", "3.0"))
    expected = preview(draft).result
    made = simulation.start(draft, by=previewer(), as_of=DAY)
    with standing_still("accounts_usage"):
        short = real_db.environment | {"DEMARC_LEASE": "1"}
        process = spawn("manage.py", "shell", "-v0", "-c", WORK.format(made.pk), env=short)
        wait_until(lambda: made.parts.filter(leased_until__lt=timezone.now()).exists())
        assert simulation.KIND.busy(made)  # its row is locked
        assert made.parts.get(attempts=1).status == "claimed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    ended = simulation.work(made.pk, wait=True)
    assert (ended.status, ended.result) == ("finished", expected)
    assert sorted(made.parts.values_list("attempts", flat=True)) == [1, 1, 1, 1, 1, 2]


@pytest.mark.long
def test_several_processes_share_the_ranges(real_db, spawn, monkeypatch):
    monkeypatch.setattr(recalculation, "SMALL_CHUNK", 3)
    monkeypatch.setattr(recalculation, "CHUNK", 3)
    layer = layer_with(policy="automatic")
    portfolio(90)
    recompute()
    draft = draft_of(layer, OTHER_RULES["top and quintiles"])
    expected = preview(draft).result
    made = simulation.start(draft, by=previewer(), as_of=DAY)
    workers = [
        spawn("manage.py", "shell", "-v0", "-c", WORK.format(made.pk), env=real_db.environment)
        for _ in range(3)
    ]
    assert [worker.wait(timeout=PATIENCE) for worker in workers] == [0, 0, 0]
    assert simulation.work(made.pk).result == expected


def test_a_worker_is_told(real_db, spawn_worker):
    layer = layer_with(policy="automatic")
    portfolio(20)
    recompute()
    spawn_worker()
    made = simulation.start(draft_of(layer, rules("3.4")), by=previewer())
    wait_until(lambda: Simulation.objects.get(pk=made.pk).status == "finished")


def test_the_sweep_finds_what_no_message_told_of(layer):
    made = simulation.start(draft_of(layer, rules("3.4")), by=previewer())
    assert simulation.sweep() == 1
    assert Simulation.objects.get(pk=made.pk).status == "finished"
    assert simulation.sweep() == 0


# -- the file of movers


def test_the_file_holds_everybody_who_would_move_and_says_of_what(layer):
    Account.objects.filter(external_id="c00001").update(name="=cmd|'x'")
    change(Account.objects.get(external_id="c00001"), arr=1)
    draft, before = draft_of(layer, rules("0.5")), in_force(layer)
    made = preview(draft)
    rows = list(csv.DictReader(StringIO("".join(simulation.movers_csv(made)))))
    assert {row["external_id"]: row["from_segment"] for row in rows} == {
        key: segment for key, segment in before.items() if segment in ("low", "tech")
    }
    assert {row["to_segment"] for row in rows} == {"high"}
    assert {(row["segmentation"], row["rules"], row["as_of"]) for row in rows} == {
        ("tier", "version-2", "2026-06-01")
    }
    [formula] = [row for row in rows if row["external_id"] == "c00001"]
    assert (formula["name"], formula["arr"], formula["currency"]) == ("'=cmd|'x'", "1.00", "USD")
    assert simulation.file_name(made) == "impact-tier-version-2-2026-06-01.csv"
    keys = dict(layer.segments.values_list("key", "pk"))
    low = list(csv.DictReader(StringIO("".join(simulation.movers_csv(made, source=keys["low"])))))
    assert {row["from_segment"] for row in low} == {"low"}
    assert [row["arr"] for row in simulation.movers(made)[:9]] == sorted(
        [row["arr"] for row in simulation.movers(made)[:9]], reverse=True
    )


# -- the command


def simulate(*arguments):
    out = StringIO()
    call_command("simulate", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_command_previews_a_draft_a_version_or_a_file(layer, tmp_path):
    with pytest.raises(CommandError, match="has no draft"):
        simulate("tier")
    draft_of(layer, rules("3.4", "3.0"))
    by_draft = json.loads(simulate("tier", "--json"))
    assert (by_draft["status"], by_draft["version"], by_draft["as_of"]) == ("finished", 2, "2026-06-01")
    assert json.loads(simulate("tier", "--version", "1", "--json"))["moved"]["accounts"] == 0
    call_command(
        "definitions", "export", "tier", "--draft", "--out", str(tmp_path / "rules.yaml"), stderr=StringIO()
    )
    by_file = json.loads(simulate("tier", "--file", str(tmp_path / "rules.yaml"), "--json"))
    assert by_file["version"] is None
    assert by_file["hash"] == by_draft["hash"]
    assert by_file["in_force"] == by_draft["in_force"]
    assert Definition.objects.count() == 2
    said = simulate("tier", "--draft")
    assert f"{by_draft['changed']['accounts']:,} of 80 accounts get another segment by these rules" in said
    assert f"{by_draft['moved']['accounts']:,} would be in another segment than they are in now" in said


# -- pages


@pytest.fixture
def web(db):
    client = Client()
    client.force_login(User.objects.create_superuser("chief", "chief@example.com", "x"))
    return client


def staff(*codenames):
    sam, _ = User.objects.get_or_create(username="sam", is_staff=True)
    sam.user_permissions.clear()
    granted(sam, *codenames)
    client = Client()
    client.force_login(User.objects.get(pk=sam.pk))
    return client


def text(answer):
    return answer.content.decode()


def test_a_preview_is_started_carried_on_by_its_page_read_and_frozen(layer, web):
    draft = draft_of(layer, rules("3.4", "3.0"))
    before = state()
    assert f'{PAGES}start/?definition={draft.pk}"' in text(
        web.get(f"/admin/segmentation/definition/{draft.pk}/change/")
    )
    asked = web.get(f"{PAGES}start/?definition={draft.pk}")
    assert 'value="2026-06-01"' in text(asked)
    assert not Simulation.objects.exists()
    answer = web.post(f"{PAGES}start/", {"definition": draft.pk, "as_of": "2026-06-01"})
    made = Simulation.objects.get()
    url = f"{PAGES}{made.pk}/"
    assert answer["Location"] == f"{url}change/"
    assert 'data-progress="' in text(web.get(f"{url}change/"))
    assert web.get(f"{url}progress/").json()["done"] == 0  # a worker gets a moment to begin
    Simulation.objects.update(started_at=timezone.now() - 2 * simulation.PATIENCE)
    assert web.get(f"{url}progress/").json()["ended"] is True
    shown = text(web.get(f"{url}change/"))
    moved = simulation.report(made)["moved"]["accounts"]
    assert f'<span class="big">{moved}</span>' in shown
    assert "High to Low" in shown or "Low to High" in shown  # the picture in words
    assert "changed since this preview" not in shown
    low = layer.segments.get(key="low")
    assert f"{url}movers/?from=low&amp;to=high" in shown
    listed = text(web.get(f"{url}movers/?from=low&to=high"))
    movers = simulation.movers(made, source=low.pk, target=layer.segments.get(key="high").pk)
    assert all(row["name"] in listed for row in movers)
    by_rules = text(web.get(f"{url}movers/?which=changed"))
    assert all(row["name"] in by_rules for row in simulation.movers(made, which="changed", limit=50))
    assert "Another segment by these rules" in by_rules
    file = web.get(f"{url}movers.csv?from=low&to=high")
    assert file["Content-Disposition"] == 'attachment; filename="impact-tier-version-2-2026-06-01.csv"'
    assert len(b"".join(file).splitlines()) == len(movers) + 1
    versions.save_draft(draft, rules("3.5"), by=person())
    assert "The rules were changed since this preview." in text(web.get(f"{url}change/"))
    refused = web.post(f"{url}freeze/", {"note": ""}, follow=True)
    assert "Say what this impact preview is kept for." in text(refused)
    assert "For the board" in text(web.post(f"{url}freeze/", {"note": "For the board"}, follow=True))
    assert Simulation.objects.get().frozen_by_label == "chief"
    assert state() == before


def test_a_stopped_preview_offers_to_start_again(layer, web):
    draft = draft_of(layer, rules("3.4"))
    made = simulation.start(draft, by=previewer(), as_of=DAY)
    assert "Cancelled by chief." in text(web.post(f"{PAGES}{made.pk}/cancel/", follow=True))
    assert "Start again" in text(web.get(f"{PAGES}{made.pk}/change/"))


def test_what_cannot_be_previewed_is_told(layer, web):
    draft = draft_of(layer, {"rules": [{"segment": "nowhere"}]})
    answer = web.post(f"{PAGES}start/", {"definition": draft.pk, "as_of": ""})
    assert answer.status_code == 409
    assert "These rules are not complete" in text(answer)
    draft = versions.save_draft(draft, RULES, by=person())
    assert "“31.1.” is not a date." in text(
        web.post(f"{PAGES}start/", {"definition": draft.pk, "as_of": "31.1."})
    )


@pytest.mark.parametrize(
    "url", ["start/?definition=x", "start/?definition=99999", "99999/change/", "x/change/", "99999/movers/"]
)
def test_what_is_not_there_is_not_found(web, url):
    assert web.get(f"{PAGES}{url}").status_code == 404


def test_who_may_what(layer):
    draft = draft_of(layer, rules("3.4"))
    made = preview(draft)
    url = f"{PAGES}{made.pk}/"

    def answers(client):
        posts = [client.post(f"{url}{verb}/", {"note": ""}).status_code for verb in ("cancel", "freeze")]
        start = client.get(f"{PAGES}start/?definition={draft.pk}").status_code
        gets = [
            client.get(one).status_code
            for one in (PAGES, f"{url}change/", f"{url}movers/", f"{url}movers.csv")
        ]
        return [*gets, start, *posts]

    assert answers(staff()) == [403] * 7
    assert answers(staff("view_simulation")) == [403] * 7  # it names accounts
    assert answers(staff("view_simulation", "view_account")) == [200, 200, 200, 403, 403, 403, 403]
    assert answers(staff("preview_rules", "view_account")) == [
        200,
        200,
        200,
        403,
        200,
        409,
        409,
    ]  # they may; there is nothing to cancel, and a note is missing
    assert answers(staff("preview_rules", "view_account", "export_accounts"))[3] == 200
    assert Client().get(f"{url}change/").status_code == 302


def test_the_page_asks_the_same_number_of_queries_for_any_number_of_accounts(layer, web):
    counted = []
    draft = draft_of(layer, rules("3.4", "3.0"))
    for first in (100, 200):
        portfolio(60, first=first)
        recompute()
        made = preview(draft)
        numbers = []
        for page in ("change/", "movers/", "progress/"):
            with CaptureQueriesContext(connection) as queries:
                assert web.get(f"{PAGES}{made.pk}/{page}").status_code == 200
            numbers.append(len(queries))
        counted.append(numbers)
    assert counted[0] == counted[1]


def test_the_flow_picture_shows_everybody_once():
    cells = {("a", "a"): 60, ("a", "b"): 30, (None, "b"): 10}
    picture = flow.draw(cells, {"a": "A", "b": "B", "c": "C", None: "No segment"})
    assert [(bar.name, bar.accounts) for bar in picture.left] == [("A", 90), ("B", 0), ("No segment", 10)]
    assert [(bar.name, bar.accounts) for bar in picture.right] == [("A", 60), ("B", 40), ("No segment", 0)]
    assert picture.in_words == "A, unchanged: 60. A to B: 30. No segment to B: 10"
    tops = [bar.top for bar in picture.left]
    assert tops == sorted(tops)
    assert picture.height >= picture.left[-1].top + picture.left[-1].height
    assert flow.draw({}, {}) is None


def test_the_command_line_needs_no_login(layer):
    with acting(label="command line", channel="command"):
        assert simulation.start(draft_of(layer, rules("3.4"))).started_by_label == "command line"
    assert not Move.objects.filter(definition__version=2).exists()
