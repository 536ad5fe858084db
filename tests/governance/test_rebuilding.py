"""Everything governed can be rebuilt from its history alone, after many people have worked on it at once.

Eight people (threads, each with a connection of its own) plan, ask, decide, pin and write rules as it comes, while the rules
go on deciding; much of it is refused. Then the history tables and the segment changes tell what the tables hold, and how
it came about.
"""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from random import Random
from threading import Barrier, Event

import pytest
from crossing import TODAY, crossed, down_at_once, make_team
from django.db import connection
from governing import approved, no_policies, someone
from segmenting import BY_ARR, account, answered, change, layer_with, recompute
from waiting import PATIENCE

from accounts.models import Account, Csm
from core.refusals import Refused
from governance.changes import (
    activations,
    followup,
    override_rows,
    overrides,
    overrides_in_force,
    transition_requests,
    transition_steps,
    transitions,
)
from governance.models import ApprovalRequest, Override, Transition
from governance.signoff import approvals, requests
from segmentation.authoring import versions
from segmentation.models import Assignment, Definition, Layer, Move

PEOPLE = {
    "ops": ["CS Ops"], "otto": ["CS Ops"], "olga": ["CS Ops"], "vera": ["Approver"], "zoe": ["Approver"],
    "yan": ["Approver"], "boss": ["CS Ops", "Approver"], "cleo": ["CSM"],
}  # fmt: skip
FIGURES = (500, 20_000, 200_000)


# -- what people do; each is given a choice by lot, and answers None where there is nothing to do that with


def plans(lot, by):
    one = lot.of(Transition.objects.open())
    return one and transitions.plan(one, by=by, receiver=lot.of(Csm.objects), notes=str(lot.random()))


def takes_back(lot, by):
    one = lot.of(Transition.objects.filter(status="planned"))
    return one and transitions.unplan(one, by=by, reason="Later")


def keeps(lot, by):
    one = lot.of(Transition.objects.filter(status__in=["flagged", "planned"]))
    return one and transitions.keep([one], by=by, reason="A one-off order")


def asks(lot, by):
    found = list(Transition.objects.filter(status="planned").order_by("pk"))
    return found and transition_requests.ask(
        lot.sample(found, min(len(found), 2)), by=by, why="They have grown"
    )


def decides(lot, by):
    request = lot.of(ApprovalRequest.objects.pending())
    verb = lot.choice([approvals.approve] * 5 + [approvals.ask_for_changes, approvals.reject])
    return request and verb(request, by=by, seen=approvals.token(request), reason="Fine")


def withdraws(lot, by):
    request = lot.of(ApprovalRequest.objects.open())
    return request and approvals.withdraw(request, by=by, reason="Another time")


def hands_in_again(lot, by):
    request = lot.of(ApprovalRequest.objects.filter(status="changes_asked"))
    return request and approvals.resubmit(request, by=by, seen=approvals.token(request))


def completes(lot, by):
    one = lot.of(Transition.objects.filter(status="joint"))
    return one and transitions.complete(one, by=by, reason="Small")


def pins(lot, by):
    layer = lot.of(Layer.objects)
    text = {"reason_code": "strategic", "text": "They will be large"}
    return overrides.ask([lot.of(Account.objects)], layer, lot.of(layer.segments), by=by, **text)


def ends(lot, by):
    one = lot.of(Override.objects.active())
    return one and overrides_in_force.end(one, by=by, reason="Not needed any more")


def writes_rules(lot, by):
    layer = Layer.objects.get(key="other")
    draft = versions.open_version(layer) or versions.create_draft(layer, by=by)
    high = f"arr >= {lot.randrange(60_000, 90_000)}"
    rules = [{"segment": "high", "when": high}, {"segment": "tech", "when": "arr >= 0"}]
    draft = versions.save_draft(draft, {"rules": rules}, by=by, seen=draft.hash)
    return activations.ask(answered(draft), by=by, why="Only ARR counts")


ATTEMPTS = [plans, plans, takes_back, keeps, asks, asks, decides, decides, decides, decides, withdraws, hands_in_again,
            completes, pins, pins, ends]  # fmt: skip


class Lot(Random):
    def of(self, rows):
        """One of the rows; None where there are none."""
        found = list(rows.order_by("pk"))
        return self.choice(found) if found else None


def works(lot, by, edits, ready):
    """(how many were done, how many refused), together `edits`."""
    told = []
    attempts = [*ATTEMPTS, writes_rules] if by.username == "ops" else ATTEMPTS
    try:
        ready.wait(timeout=PATIENCE)
        while len(told) < edits:
            try:
                if lot.choice(attempts)(lot, by):
                    told.append(True)
            except Refused:
                told.append(False)
    finally:
        connection.close()
    return sum(told), len(told) - sum(told)


def rules_go_on(lot, over):
    """The customers change meanwhile, and the rules are recalculated and followed."""
    try:
        while not over.is_set():
            for one in lot.sample(list(Account.objects.order_by("pk")), 5):
                change(one, arr=lot.choice(FIGURES))
            recompute(TODAY)
            followup.follow_ended()
    finally:
        connection.close()


def together(people, edits):
    """How many edits were done and refused in all, by all people at once."""
    ready, over = Barrier(len(people)), Event()
    with ThreadPoolExecutor(len(people) + 1) as pool:
        rules = pool.submit(rules_go_on, Lot(99), over)
        try:
            at_work = [
                pool.submit(works, Lot(seed), by, edits // len(people), ready)
                for seed, by in enumerate(people)
            ]
            told = [one.result() for one in at_work]
        finally:
            over.set()
        rules.result()
    return [sum(figures) for figures in zip(*told, strict=True)]


@pytest.fixture
def people(real_db, settings):
    """Eight people; thirty accounts of which many have crossed, one has come back, and one is pinned."""
    gates, settings.GATES, settings.AFTER_RUN = settings.GATES, {}, []
    team = make_team()
    layer_with(BY_ARR, key="other", policy="automatic")
    down_at_once(team)
    settings.GATES = gates
    for kind in ("override", "definition"):
        no_policies(kind)
    for number in range(30):
        account(f"c{number:02}", arr=FIGURES[number % 3], csm=team.erik)
    crossed(team, back=(50_000, 200_000), pinned=(50_000, 50_000))
    for number, one in enumerate(Account.objects.filter(external_id__startswith="c").order_by("pk")):
        change(one, arr=FIGURES[(number + 1) % 3])
    change(Account.objects.get(external_id="back"), arr=50_000)
    recompute(TODAY)
    followup.follow_ended()
    assert Transition.objects.get(account__external_id="back").status == "closed"
    found = [someone(name, *roles) for name, roles in PEOPLE.items()]
    request = overrides.ask(
        [Account.objects.get(external_id="pinned")], team.layer, team.layer.segments.get(key="high"), by=found[0],
        reason_code="strategic", text="They will be large",
    )  # fmt: skip
    assert approved(request, someone("vera")).status == "applied"
    return found


# -- what history tells


def rebuilt(model):
    """{id: {column: value}} of all rows of a model, from nothing but its history."""
    rows = {}
    history = model.history.model
    columns = [field.attname for field in history.tracked_fields]
    for row in history.objects.order_by("history_id").values("history_type", *columns):
        kind = row.pop("history_type")
        assert (kind == "+") is (row["id"] not in rows), "a row begins once, and nothing changes before"
        if kind == "-":
            del rows[row["id"]]
        else:
            rows[row["id"]] = row
    return rows


def live(model):
    columns = [field.attname for field in model.history.model.tracked_fields]
    return {row["id"]: row for row in model._default_manager.values(*columns)}


def chains(rows, key, value):
    """{what: its values one after the other}, each that differs from the one before."""
    found = defaultdict(list)
    for row in rows:
        chain = found[tuple(row[name] for name in key)]
        if not chain or chain[-1] != row[value]:
            chain.append(row[value])
    return found


STATUSES = {  # model: (its status table, where it begins)
    ApprovalRequest: (requests.STATUSES, {"pending"}),
    Transition: (transition_steps.STATUSES, {"flagged", "planned"}),
    Override: (override_rows.STATUSES, {"requested"}),
    Definition: (versions.STATUSES, {"draft"}),
}
SIZES = [pytest.param(96, id="96"), pytest.param(504, id="504", marks=pytest.mark.long)]


@pytest.mark.parametrize("edits", SIZES)
def test_history_rebuilds_what_is_governed(people, edits):
    assert rebuilt(Assignment) == live(Assignment)  # by the override; a recalculation tells it all again
    done, refused = together(people, edits)
    assert done + refused == edits
    assert done > edits / 5
    assert refused > edits / 20

    for model in (Assignment, *STATUSES):
        assert rebuilt(model) == live(model), model

    # No row of history shows what a table never held: statuses went along their tables, segments as the moves say.
    for model, (table, first) in STATUSES.items():
        rows = model.history.order_by("history_id").values("id", "status")
        for chain in chains(rows, ["id"], "status").values():
            assert chain[0] in first
            assert set(pairwise(chain)) <= table.moves, model

    moves = defaultdict(list)
    for move in Move.objects.order_by("id"):
        chain = moves[move.account_id, move.layer_id, move.product_id] or [None]
        assert move.from_segment_id == chain[-1], "each begins where the one before has ended"
        moves[move.account_id, move.layer_id, move.product_id] = [*chain, move.to_segment_id]
    key = ["account_id", "layer_id", "product_id"]
    states = Assignment.history.order_by("history_id").values(*key, "effective_id")
    for whose, chain in chains(states, key, "effective_id").items():
        assert ([None] if chain[0] is not None else []) + chain == (moves[whose] or [None])
    now = {tuple(row[name] for name in key): row["effective_id"] for row in live(Assignment).values()}
    assert {whose: chain[-1] for whose, chain in moves.items()} == now
