"""Values people declare for accounts: proposed by one person, confirmed by another, read by the rules as `declared`.

Every verb locks the layer's row first: of two people at the same moment one is first, and the other is told. `by` is
the acting user; `seen` is what `token` gave for the page that person was looking at; None where there was no page.
"""

import hashlib
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

from django.db import transaction
from django.utils import timezone

from accounts import gates
from core import history, texts
from core.history import acting, actor
from core.programs import needs_a_person
from core.refusals import Refused, check
from core.status_tables import StatusTable, Step
from segmentation.models import Declaration, Definition, Layer, Segment
from segmentation.rules.sketch import Sketch

Status = Declaration.Status
PROPOSE = "segmentation.propose_declaration"
CONFIRM = "segmentation.confirm_declaration"
MOST = 1_000  # accounts in one action


# -- who may send a declaration where: each answers with the Refused, or None; its first line tells who


def _decides(by):
    return None if by.has_perm(CONFIRM) else Refused("confirming_not_allowed")


def _decides_for_another(declaration, by):
    """somebody else than the proposer, with `confirm_declaration`

    Two people, always: not even a superuser confirms what they proposed.
    """
    if refusal := needs_a_person(by) or _decides(by):
        return refusal
    if declaration.proposed_by is not None and declaration.proposed_by == by.pk:
        return Refused("declaration_of_your_own")
    return None


def _ends(declaration, by):
    """somebody with `confirm_declaration`"""
    if by.has_perm(CONFIRM):
        return None
    return Refused("ending_declarations_not_allowed", segment=declaration.segment)


def _takes_back(declaration, by):
    """the proposer, or somebody with `confirm_declaration`"""
    if by.has_perm(CONFIRM) or (by.has_perm(PROPOSE) and declaration.proposed_by == by.pk):
        return None
    return Refused("declaration_of_another", proposer=history.who(declaration, "proposed_by"))


_WAYS = {
    (Status.PROPOSED, Status.CONFIRMED): ("Confirm", _decides_for_another),
    (Status.PROPOSED, Status.REJECTED): ("Reject", _decides_for_another),
    (Status.PROPOSED, Status.WITHDRAWN): ("Withdraw", _takes_back),
    (Status.PROPOSED, Status.REPLACED): ("Propose another value", _takes_back),
    (Status.CONFIRMED, Status.WITHDRAWN): ("End it", _ends),
    (Status.CONFIRMED, Status.REPLACED): ("Another value is confirmed", _ends),
}
STATUSES = StatusTable(
    Declaration,
    [Step(*way, label, may.__doc__.splitlines()[0]) for way, (label, may) in _WAYS.items()],
    begins={Status.PROPOSED: "Propose"},
)


def refusal(declaration, to, *, by):
    """The Refused where this person may not send the declaration there; None when they may."""
    if by is None:
        return Refused("not_logged_in")
    if (declaration.status, to) not in _WAYS:
        return Refused(
            "declaration_decided_already",
            segment=declaration.segment,
            account=declaration.account,
            status=declaration.get_status_display(),
            who=history.who(declaration, "ended_by") or history.who(declaration, "decided_by"),
        )
    _, may = _WAYS[declaration.status, to]
    return may(declaration, by)


def may_propose(by):
    return by is not None and by.has_perm(PROPOSE)


# -- what can be declared


def reads_declared(document):
    """The rules of this document look at what people declared (whatever other layers they read)."""
    return any("declared" in rule.names() for rule in Sketch.of(document).rules)


def choices(*, drafts=False):
    """{layer: [segments people may declare]} for the layers whose active rules read `declared`, in the menu's order.

    `drafts`: also the layers whose draft does.
    """
    statuses = [Definition.Status.ACTIVE, *([Definition.Status.DRAFT] if drafts else [])]
    definitions = Definition.objects.filter(status__in=statuses, document__icontains="declared")
    rules = {}
    for definition in definitions.select_related("layer").order_by(
        "layer__position", "layer__key", "version"
    ):
        if reads_declared(definition.document):
            rules.setdefault(definition.layer, set()).update(
                rule.segment for rule in Sketch.of(definition.document).rules
            )
    segments = {}
    for segment in (
        Segment.objects.filter(layer__in=rules).select_related("layer").order_by("position", "key")
    ):
        segments.setdefault(segment.layer_id, []).append(segment)
    return {
        layer: [segment for segment in segments.get(layer.pk, []) if segment.key in keys]
        for layer, keys in rules.items()
    }


def _check_declarable(segment):
    offered = choices().get(segment.layer)
    if offered is None:
        raise Refused("layer_not_declared", layer=segment.layer)
    if segment not in offered:
        raise Refused("segment_not_declared", layer=segment.layer, segment=segment)


# -- what there is


@dataclass
class State:
    """The values proposed and in force for an account on a layer; `free_from`: the first day another value may hold."""

    proposed: Declaration | None = None
    confirmed: Declaration | None = None
    free_from: date | None = None

    def add(self, row):
        if row.status == Status.PROPOSED:
            self.proposed = row
        if row.status == Status.CONFIRMED:
            self.confirmed = row
        until = row.from_date if row.status == Status.CONFIRMED else row.until_date
        self.free_from = max(filter(None, [self.free_from, until]), default=None)


def states(layer, accounts):
    """{account id: State} of these accounts (ids); those without any declaration are there too."""
    by_account = {pk: State() for pk in accounts}
    rows = Declaration.objects.filter(layer=layer, account__in=list(by_account))
    for row in rows.select_related("account", "layer", "segment"):
        by_account[row.account_id].add(row)
    return by_account


def token(by_account):
    """The ids of what is proposed and in force in these states, as a text that changes when one of them does."""
    ids = sorted(
        (row.pk, row.status)
        for state in by_account.values()
        for row in (state.proposed, state.confirmed)
        if row is not None
    )
    return hashlib.sha256(repr(ids).encode()).hexdigest()[:16]


def together(declaration):
    """The open proposals made in the same action: the same value, by the same person, at the same moment."""
    same = {
        name: getattr(declaration, name) for name in ("layer_id", "segment_id", "proposed_by", "proposed_at")
    }
    return Declaration.objects.proposed().filter(**same)


@dataclass
class Outcome:
    """The outcome of an action for many accounts: those done, and {why others were left as they are: how many}."""

    done: list = field(default_factory=list)
    left: Counter = field(default_factory=Counter)


# -- proposing


def propose(account, segment, *, by, reason, evidence="", from_date=None, seen=None):
    """Propose that the account is in this segment, from a date (today when none is given). Returns the Declaration.

    A second click returns the proposal of the first one.
    """
    proposal = _proposal(by, reason, evidence, from_date)
    gates.consult("declare", [account], by=by)
    with _acting_on(segment.layer, by, reason):
        by_account = states(segment.layer, [account.pk])
        state = by_account[account.pk]
        if state.proposed and _repeats(state.proposed, segment, proposal):
            return state.proposed
        _check_seen(by_account, seen)
        _check_declarable(segment)
        check(_obstacle(state, segment, proposal["from_date"]))
        return _propose(account, segment, proposal)


def propose_for(accounts, segment, *, by, reason, evidence="", from_date=None):
    """Propose the same value for many accounts, as one action. Returns an Outcome.

    Accounts that are in this segment already, or have an open proposal, are left as they are.
    """
    proposal = _proposal(by, reason, evidence, from_date)
    accounts = {account.pk: account for account in accounts}
    if len(accounts) > MOST:
        raise Refused("too_many_declarations", most=MOST, count=len(accounts))
    gates.consult("declare", accounts.values(), by=by)
    with _acting_on(segment.layer, by, reason):
        _check_declarable(segment)
        outcome = Outcome()
        for pk, state in states(segment.layer, accounts).items():
            if obstacle := _obstacle(state, segment, proposal["from_date"]):
                outcome.left[str(obstacle)] += 1
            else:
                outcome.done.append(_propose(accounts[pk], segment, proposal))
        return outcome


def replace(declaration, segment, *, by, reason, evidence="", from_date=None, seen=None):
    """Another value instead of this open proposal, in one step. Returns the new proposal.

    (A value in force is replaced by proposing another one: it holds on until that is confirmed.)
    """
    proposal = _proposal(by, reason, evidence, from_date)
    gates.consult("declare", [declaration.account], by=by)
    with _acting_on(declaration.layer, by, reason):
        by_account = states(declaration.layer, [declaration.account_id])
        state = by_account[declaration.account_id]
        if state.proposed and _repeats(state.proposed, segment, proposal):
            return state.proposed
        before = _fresh(declaration)
        _check_seen(by_account, seen)
        if before.status == Status.CONFIRMED:
            raise Refused("declaration_in_force", segment=before.segment)
        check(refusal(before, Status.REPLACED, by=by))
        if segment.layer_id != before.layer_id:
            raise Refused("segment_of_another_segmentation", segment=segment, layer=before.layer)
        _check_declarable(segment)
        state.proposed = None
        check(_obstacle(state, segment, proposal["from_date"]))
        _end(before, Status.REPLACED, reason)
        return _propose(before.account, segment, proposal)


def _proposal(by, reason, evidence, from_date):
    """The columns of every proposal: reason, evidence, the day it holds from, who and when."""
    if not may_propose(by):
        raise Refused("declarations_not_allowed")
    from_date = from_date or timezone.localdate()
    if from_date > timezone.localdate():
        raise Refused("declaration_in_the_future")
    return {
        "reason": texts.needed(reason),
        "evidence": texts.text(evidence),
        "from_date": from_date,
        "proposed_by": by.pk,
        "proposed_by_label": by.get_username(),
        "proposed_at": timezone.now(),
    }


def _repeats(before, segment, proposal):
    """This proposal is the one a first click made."""
    same = ("reason", "evidence", "from_date", "proposed_by")
    return before.segment_id == segment.pk and all(getattr(before, name) == proposal[name] for name in same)


def _obstacle(state, segment, from_date):
    """The Refused where the value cannot be proposed in this state; None where it can."""
    if before := state.proposed:
        return Refused(
            "declaration_proposed_already",
            segment=before.segment,
            proposer=history.who(before, "proposed_by"),
            proposed_at=before.proposed_at,
        )
    if state.confirmed and state.confirmed.segment_id == segment.pk:
        return Refused("declaration_in_force_already", segment=segment, from_date=state.confirmed.from_date)
    return _too_early(state, from_date)


def _too_early(state, from_date):
    """The refusal of a day that would change the past: evaluations back in time see the old values."""
    if state.free_from and from_date < state.free_from:
        held = state.confirmed and state.confirmed.segment
        return Refused("declaration_too_early", held=held, free_from=state.free_from)
    return None


def _propose(account, segment, proposal):
    made = Declaration.objects.create(account=account, layer=segment.layer, segment=segment, **proposal)
    gates.consult("declared", made)
    return made


# -- deciding


def confirm(declaration, *, by, reason="", seen=None):
    """Put a proposal in force from its date; the value in force before is replaced on that day.

    Nobody confirms their own. A second click by the same person returns what the first one did.
    """
    with _acting_on(declaration.layer, by, reason):
        by_account = states(declaration.layer, [declaration.account_id])
        declaration = _fresh(declaration)
        if declaration.status == Status.CONFIRMED and declaration.decided_by == by.pk:
            return declaration
        check(refusal(declaration, Status.CONFIRMED, by=by))
        _check_seen(by_account, seen)
        _check_declarable(declaration.segment)
        check(_confirm(declaration, by_account[declaration.account_id], texts.text(reason)))
        return declaration


def reject(declaration, *, by, reason, seen=None):
    """Decide against a proposal; what is in force stays."""
    with _acting_on(declaration.layer, by, reason):
        declaration = _fresh(declaration)
        if declaration.status == Status.REJECTED and declaration.decided_by == by.pk:
            return declaration
        check(refusal(declaration, Status.REJECTED, by=by))
        _check_seen(states(declaration.layer, [declaration.account_id]), seen)
        _decide(declaration, Status.REJECTED, texts.needed(reason))
        return declaration


def withdraw(declaration, *, by, reason, on=None, seen=None):
    """Take back a proposal, or end a value in force: it holds until the day before `on` (today when none is given)."""
    with _acting_on(declaration.layer, by, reason):
        declaration = _fresh(declaration)
        if declaration.status == Status.WITHDRAWN and declaration.ended_by == by.pk:
            return declaration
        check(refusal(declaration, Status.WITHDRAWN, by=by))
        _check_seen(states(declaration.layer, [declaration.account_id]), seen)
        on = on or timezone.localdate()
        if declaration.status == Status.CONFIRMED and not declaration.from_date <= on <= timezone.localdate():
            raise Refused("declaration_end_out_of_range", from_date=declaration.from_date)
        _end(declaration, Status.WITHDRAWN, texts.needed(reason), until=on)
        return declaration


def confirm_all(declaration, *, by, reason="", seen=None):
    """Confirm every open proposal made in the same action as this one. Returns an Outcome."""
    return _decide_all(declaration, Status.CONFIRMED, by=by, reason=texts.text(reason), seen=seen)


def reject_all(declaration, *, by, reason, seen=None):
    """Reject every open proposal made in the same action as this one. Returns an Outcome."""
    return _decide_all(declaration, Status.REJECTED, by=by, reason=texts.needed(reason), seen=seen)


def withdraw_all(declaration, *, by, reason, seen=None):
    """Take back every open proposal made in the same action as this one. Returns an Outcome."""
    return _decide_all(declaration, Status.WITHDRAWN, by=by, reason=texts.needed(reason), seen=seen)


def _decide_all(declaration, to, *, by, reason, seen):
    with _acting_on(declaration.layer, by, reason):
        rows = list(together(declaration).select_related("account", "layer", "segment").order_by("pk"))
        if not rows:
            raise Refused("declarations_decided_already")
        by_account = states(declaration.layer, [row.account_id for row in rows])
        check(refusal(rows[0], to, by=by))
        _check_seen(by_account, seen)
        if to == Status.CONFIRMED:
            _check_declarable(rows[0].segment)
        outcome = Outcome()
        for row in rows:
            obstacle = None
            if to == Status.CONFIRMED:
                obstacle = _confirm(row, by_account[row.account_id], reason)
            elif to == Status.REJECTED:
                _decide(row, to, reason)
            else:
                _end(row, to, reason)
            if obstacle:
                outcome.left[str(obstacle)] += 1
            else:
                outcome.done.append(row)
        return outcome


def _confirm(declaration, state, reason):
    """Put it in force; or the Refused why it cannot be, and nothing is written."""
    if obstacle := _too_early(state, declaration.from_date):
        return obstacle
    if before := state.confirmed:
        _end(before, Status.REPLACED, f"Replaced by {declaration.segment}", until=declaration.from_date)
    _decide(declaration, Status.CONFIRMED, reason)
    return None


def _decide(declaration, status, reason):
    declaration.status, declaration.decision_reason, declaration.decided_at = status, reason, timezone.now()
    declaration.decided_by, declaration.decided_by_label = actor().id, actor().label
    declaration.save()


def _end(declaration, status, reason, *, until=None):
    if declaration.status == Status.CONFIRMED:
        declaration.until_date = until
    declaration.status, declaration.end_reason, declaration.ended_at = status, reason, timezone.now()
    declaration.ended_by, declaration.ended_by_label = actor().id, actor().label
    declaration.save()


# -- what every verb shares


@contextmanager
def _acting_on(layer, by, reason):
    """In one transaction, in this person's name, alone on the layer's declarations."""
    with transaction.atomic(), acting(by=by, reason=(reason or "").strip()):
        Layer.objects.select_for_update(no_key=True).get(pk=layer.pk)
        yield


def _fresh(declaration):
    rows = Declaration.objects.select_related("account", "layer", "segment")
    return rows.select_for_update(of=["self"]).get(pk=declaration.pk)


def _check_seen(by_account, seen):
    if seen is not None and seen != token(by_account):
        raise Refused("declaration_stale")
