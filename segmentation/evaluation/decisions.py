"""Segments that people decide on: put in force with their evidence."""

import json
from dataclasses import dataclass

import polars as pl

from core.locking import locked
from core.refusals import Refused
from segmentation.evaluation import causes
from segmentation.evaluation.evidence import facts_as_text, of_rules, sources_of
from segmentation.evaluation.ranges import Range, together
from segmentation.evaluation.run_rules import of_layer
from segmentation.models import Assignment, Cause, Move, RunLayer

ANYTHING = object()


@dataclass(frozen=True)
class Basis:
    """The basis of a layer's decided moves: the rules that were evaluated last (an id), and {account id: evidence}."""

    definition: int
    evidence: dict


def basis_of(accounts, layer, *, at):
    """The Basis of some accounts (ids) at a clock: few queries where their ids lie together, a few each where they do not."""
    ended = RunLayer.objects.filter(layer=layer, running=False).select_related("layer")
    last = ended.order_by("-run_id").first()  # not "-run": that turns the newest-first of runs round
    if last is None:
        raise Refused("never_recalculated", layer=layer)
    pinned, evidence = of_layer(last), {}
    for some in together(accounts):
        part = Range([pinned], at=at, first=some[0], last=some[-1])
        inputs = part.inputs(pinned).filter(pl.col("id").is_in(some))
        facts = dict(zip(inputs["id"], facts_as_text(inputs, pinned), strict=True))
        sources = sources_of(some, pinned)
        for account in some:
            with_values = {
                name: value
                for name, value in json.loads(facts.get(account, "{}")).items()
                if value is not None
            }
            evidence[account] = of_rules(pinned) | {
                "facts": with_values,
                "sources": sources.get(account, {}),
            }
    return Basis(last.definition_id, evidence)


def put(account, layer, segment, *, why, at, overridden=None, expected=ANYTHING, basis=None):
    """Put a segment in force for an account by a decision, as of the date `at`; returns the Move, None where nothing moved.

    why: one of Move.Why. overridden: whether people pin it from now on; None leaves that as it is. expected: the segment
    (or None) that has to be in force until now. basis: as `basis_of` gives it, where many are put. In the caller's
    transaction, which has taken its cause. Raises Refused where the account was never evaluated on the layer, or something
    else is in force by now.
    """
    assignments = Assignment.objects.filter(account=account, layer=layer, product=None)
    assignment = locked(assignments.select_related("effective")).first()
    if assignment is None:
        raise Refused("account_without_segment", account=account, layer=layer)
    before = assignment.effective
    if expected is not ANYTHING and before != expected:
        raise Refused("segment_moved", account=account, layer=layer, now=before, then=expected)
    if before != segment:
        assignment.effective, assignment.effective_since = segment, at
    if overridden is not None:
        assignment.overridden = overridden
    assignment.save()
    if before == segment:
        return None
    basis = basis or basis_of([account.pk], layer, at=at)
    return Move.objects.create(
        account=account,
        layer=layer,
        from_segment=before,
        to_segment=segment,
        why=why,
        definition_id=basis.definition,
        cause=causes.take(Cause.Kind.DECISION),
        at=at,
        evidence=basis.evidence[account.pk],
    )
