"""The segment to be in force: the same answer for recalculations, previews and requests."""

import copy

import polars as pl
import pytest
from segmenting import DAY, RULES, account, layer_with, person, recompute

from governance.changes import activations
from segmentation.authoring import versions
from segmentation.evaluation import causes, decisions, in_force, run_rules
from segmentation.models import Assignment, Cause, Move
from segmentation.previews import impact, simulation

OLD, NEW = 1, 2  # segments, the higher one first


def pinned_layer(*, automatic, planned=False):
    return run_rules.LayerRules(
        id=1,
        key="tier",
        automatic=automatic,
        definition=1,
        document=None,
        left_out=(),
        segments={"old": OLD, "new": NEW},
        steps_down={OLD: 0, NEW: 1} if planned else {},
    )


AUTOMATIC, APPROVAL, PLANNED = (
    pinned_layer(automatic=True),
    pinned_layer(automatic=False),
    pinned_layer(automatic=False, planned=True),
)


@pytest.mark.parametrize(
    ("layer", "account", "now", "approved"),
    [
        (AUTOMATIC, {}, NEW, NEW),
        (AUTOMATIC, {"computed": None}, None, None),
        (AUTOMATIC, {"old_overridden": True}, OLD, OLD),
        (AUTOMATIC, {"old_overridden": True, "computed": None}, OLD, OLD),
        (APPROVAL, {}, OLD, NEW),
        (APPROVAL, {"computed": None}, OLD, OLD),
        (APPROVAL, {"old_effective": None}, NEW, NEW),
        (APPROVAL, {"old_overridden": True}, OLD, OLD),
        (APPROVAL, {"provisional": True}, NEW, NEW),
        (APPROVAL, {"provisional": True, "old_settled": True}, OLD, NEW),
        (APPROVAL, {"provisional": True, "old_overridden": True}, OLD, OLD),
        (APPROVAL, {"old_provisional": True}, NEW, NEW),
        (PLANNED, {"old_provisional": True}, OLD, NEW),  # down: with a plan
        (PLANNED, {"old_provisional": True, "old_effective": NEW, "computed": OLD}, OLD, OLD),
        (PLANNED, {"provisional": True}, NEW, NEW),
    ],
)
def test_what_is_in_force_after_a_recalculation_and_once_all_is_approved(layer, account, now, approved):
    usual = {"old_effective": OLD, "computed": NEW, "provisional": False}
    usual |= {"old_provisional": False, "old_settled": False, "old_overridden": False}
    flags = ["provisional", "old_provisional", "old_settled", "old_overridden"]
    schema = {"old_effective": pl.Int64, "computed": pl.Int64} | dict.fromkeys(flags, pl.Boolean)
    found = pl.DataFrame([usual | account], schema=schema).select(
        now=in_force.will_be(layer), approved=in_force.will_be(layer, approved=True)
    )
    assert found.row(0) == (now, approved)


def test_an_account_never_evaluated_is_not_pinned():
    nobody = dict.fromkeys(["old_effective", "old_provisional", "old_settled", "old_overridden"])
    frame = pl.DataFrame([nobody | {"computed": NEW, "provisional": False}])
    frame = frame.cast({"old_effective": pl.Int64} | dict.fromkeys([one for one in nobody if one != "old_effective"], pl.Boolean))  # fmt: skip
    for layer in (AUTOMATIC, APPROVAL, PLANNED):
        assert frame.select(in_force.will_be(layer)).item() == NEW


NOBODY_HIGH = {"rules": [{"segment": "low", "when": "arr >= 50000"}, {"segment": "tech"}]}


@pytest.mark.parametrize("policy", ["automatic", "approval"])
def test_whoever_an_override_pins_is_no_mover_of_a_preview_nor_of_the_request(db, policy):
    document = copy.deepcopy(RULES) | {"rules": [{"segment": "high", "when": "arr >= 100000"}, {"segment": "tech"}]}  # fmt: skip
    layer = layer_with(document, policy=policy)
    for number in range(3):
        account(f"free{number}", arr=200_000, employees=10)
    held = account("held", arr=200_000, employees=10)
    recompute()
    pin(held, layer, "high")
    draft = draft_of(layer, NOBODY_HIGH)
    made = preview(draft)
    report = simulation.report(made)
    assert (report["moved"]["accounts"], report["changed"]["accounts"], report["moved"]["pinned"]) == (
        3,
        3,
        1,
    )
    assert matrix(report) == {("high", "high"): 1, ("high", "low"): 3}
    assert matrix(report, "by_rules") == {("high", "low"): 4}  # what they say of it is told all the same
    for which in simulation.SIDES:
        assert held.pk not in [row["account"] for row in simulation.movers(made, which=which)]
    assert activations.impact_of(draft).accounts == 3
    assert [row["accounts"] for row in impact.reach(made.result)] == [3]


def test_a_preview_kept_before_pins_were_told_apart_can_still_be_read(db):
    layer = layer_with(policy="automatic")
    account(arr=200_000, employees=10)
    recompute()
    made = preview(draft_of(layer, NOBODY_HIGH))
    kept = made.result | {"counts": {key: n for key, n in made.result["counts"].items() if key != "pinned"}}
    del kept["pinned"]
    assert impact.numbers(kept)["moved"] == impact.numbers(made.result)["moved"]


def draft_of(layer, document):
    draft = versions.create_draft(layer, by=person())
    return versions.save_draft(draft, document, by=person(), seen=draft.hash)


def preview(draft):
    made = simulation.start(draft, by=person("petra", "preview_rules"), as_of=DAY)
    return simulation.work(made.pk, wait=True)


def matrix(report, name="in_force"):
    return {(row["from"], row["to"]): row["accounts"] for row in report[name]}


def pin(account, layer, segment):
    """Pin an account to a segment, as an override does."""
    causes.take(Cause.Kind.DECISION, reason="Large soon")
    to = layer.segments.get(key=segment)
    decisions.put(account, layer, to, why=Move.Why.OVERRIDE, at=DAY, overridden=True)
    assert Assignment.objects.get(account=account, layer=layer).overridden
