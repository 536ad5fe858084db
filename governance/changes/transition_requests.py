"""Tier changes as requests: asked for together, carried out once approved, taken out, narrowed and left."""

import hashlib
from datetime import timedelta

from accounts.corrections import check_csm
from accounts.models import Account
from core import pages, texts
from core.history import acting, actor
from core.refusals import Refused, verb
from core.wording import day
from governance.changes import crossings, plans
from governance.changes.transition_steps import (
    RELATED,
    Status,
    acting_for,
    day_of,
    end,
    ended_refusal,
    go,
    held_refusal,
    lock_assignments,
    locked_rows,
    plan_again,
    refuse_held,
    tell,
)
from governance.models import Transition
from governance.signoff import approvals, permissions
from segmentation.evaluation import causes, decisions, run_rules
from segmentation.models import Assignment, Cause, Move

KIND = "tier_change"
MOST = 200  # tier changes in one request


def edit_request(transition, *, by):
    """The request says the plan as it is now."""
    request = transition.request
    if not request.is_open:
        raise Refused("transition_applies_later", applies_on=transition.applies_on)
    rows = list(request.transitions.filter(status=Status.AWAITING).select_related(*RELATED).order_by("pk"))
    approvals.edit(
        request,
        content=plans.content(rows),
        changes=plans.changes(rows),
        impact=plans.impact(rows),
        by=by,
        seen=approvals.token(request),
        apply_on=apply_on_of(rows),
    )


@verb
def ask(transitions, *, by, why):
    """Ask for approval of planned tier changes of one layer, as one request. Returns the ApprovalRequest.

    Where nobody has to approve, they are carried out at once.
    """
    permissions.check(permissions.plan_transition(by=by))
    why = texts.needed(why, "request_reason_missing")
    with acting_for(by, why):
        rows = locked_rows(transitions)
        _check_ready(rows)
        causes.take(Cause.Kind.DECISION, reason=why)
        request = approvals.submit(
            KIND,
            key=_key(rows),
            subject=plans.subject(rows),
            content=plans.content(rows),
            changes=plans.changes(rows),
            why=why,
            by=by,
            impact=plans.impact(rows),
            apply_on=apply_on_of(rows),
            authors={transition.planned_by for transition in rows},
        )
        for transition in locked_rows(rows):
            if transition.status == Status.PLANNED:  # else it has been carried out already
                await_request(transition, request)
    return request


def _check_ready(rows):
    if not 0 < len(rows) <= MOST:
        raise Refused("too_many_transitions", most=MOST, count=len(rows))
    if len({transition.layer_id for transition in rows}) > 1:
        raise Refused("transitions_of_several_segmentations")
    run_rules.check_there(*(transition.to_segment for transition in rows))
    for transition in rows:
        refuse_held(transition)
        if transition.status == Status.FLAGGED:
            raise Refused("transition_not_planned", account=transition.account)
        if transition.status == Status.AWAITING:
            raise Refused(
                "transition_requested_already", account=transition.account, request=transition.request
            )
        if transition.status != Status.PLANNED:
            raise ended_refusal(transition)
        check_csm(transition.receiver)


def _key(rows):
    ids = ",".join(str(transition.pk) for transition in rows)
    return f"transitions:{hashlib.sha256(ids.encode()).hexdigest()[:32]}"


def apply_on_of(rows):
    """The first day on which one of them may apply; None where one may at once. The others wait for theirs."""
    days = [transition.applies_on for transition in rows]
    return None if None in days else min(days)


def await_request(transition, request):
    go(transition, Status.AWAITING)
    transition.request = request
    transition.save()


@verb
def take_out(request, transition, *, by, reason, seen):
    """An approver takes one account out of a request of many, and may still approve the rest. It is planned again.

    seen: what approvals.token gave for the request.
    """
    reason = texts.needed(reason, "taking_out_unexplained")
    with acting_for(by, reason):
        [transition] = locked_rows([transition])
        if transition.status != Status.AWAITING or transition.request_id != request.pk:
            raise Refused("transition_not_in_request", account=transition.account)
        remaining = rest_of(transition.request, [transition])
        if not remaining:
            raise Refused("transition_is_the_only_one")
        causes.take(Cause.Kind.DECISION, reason=reason)
        plan_again(transition)
        tell(
            transition,
            "transition_taken_out",
            f"{transition} was taken out of a request.",
            reason,
            request=request.pk,
        )
        return approvals.narrow(request, **narrowed(request, remaining), by=by, seen=seen, reason=reason)


def rest_of(request, gone):
    """The rest a request still asks for without these."""
    ids = {transition.pk for transition in gone}
    return [entry for entry in request.content[plans.WITHIN] if entry["id"] not in ids]


def narrowed(request, remaining):
    rows = Transition.objects.filter(pk__in=[entry["id"] for entry in remaining]).select_related(*RELATED)
    rows = list(rows.order_by("pk"))
    return {
        "content": {
            **request.content,
            "accounts": [transition.account_id for transition in rows],
            plans.WITHIN: remaining,
        },
        "changes": plans.changes(rows),
        "impact": plans.impact(rows),
        "subject": plans.subject(rows),
    }


def impact(request):
    """How far it reaches today (governance.signoff.impact)."""
    return plans.impact(list(request.transitions.all()))


def segments(request):
    """Ids of the segments it names."""
    return plans.segments(request.transitions.all())


def check(request):
    """Refuse to approve a segment that is no more, and a hand-over to somebody who does nothing here any more."""
    rows = list(request.transitions.select_related("receiver__user", "to_segment__layer"))
    run_rules.check_there(*(transition.to_segment for transition in rows))
    for transition in rows:
        check_csm(transition.receiver)


def carry_out(request, *, by, at):
    """Start the approved tier changes, all or none: the segments move. Ones of a later day, or in quiet days, wait."""
    on = day_of(at)
    approved = {entry["id"]: entry for entry in request.content[plans.WITHIN]}
    rows = locked_rows(Transition.objects.filter(pk__in=approved))
    if len(rows) != len(approved):
        raise Refused("transitions_gone")
    run_rules.check_there(*(transition.to_segment for transition in rows))
    causes.take(Cause.Kind.DECISION, reason=request.why)
    for transition in rows:
        if transition.status == Status.PLANNED and transition.request_id is None:  # nobody had to approve it
            await_request(transition, request)
        _check_approved(transition, request, approved[transition.pk])
    lock_assignments(rows)
    quiet = crossings.quiet(rows, on)
    due = [
        transition
        for transition in rows
        if (transition.applies_on is None or transition.applies_on <= on) and transition.pk not in quiet
    ]
    bases = bases_of(due, on)
    for transition in due:
        start(transition, on, bases[transition.layer_id])


def bases_of(rows, on):
    """{layer id: what the moves of these tier changes are decided on}, read for all at once."""
    accounts = {}
    for transition in rows:
        accounts.setdefault(transition.layer, []).append(transition.account_id)
    return {layer.pk: decisions.basis_of(ids, layer, at=on) for layer, ids in accounts.items()}


def _check_approved(transition, request, approved):
    if transition.status != Status.AWAITING or transition.request_id != request.pk:
        raise Refused("transition_cannot_change", account=transition.account, why=ended_refusal(transition))
    if not Account.objects.scored().filter(pk=transition.account_id).exists():
        raise Refused("transition_account_left", account=transition.account)
    if transition.held_for:
        raise held_refusal(transition)
    check_csm(transition.receiver)
    if field := plans.differs(transition, approved):
        name = Transition._meta.get_field(_FIELDS.get(field, field)).verbose_name
        raise Refused("transition_not_as_approved", account=transition.account, field=name)


_FIELDS = {"from": "from_segment", "to": "to_segment"}


def start(transition, on, basis):
    """The segment moves, and joint coverage starts."""
    assignment = Assignment.objects.filter(
        account=transition.account_id, layer=transition.layer_id, product=None
    ).first()
    if assignment and assignment.overridden:
        raise Refused("override_in_force", account=transition.account, layer=transition.layer)
    check_csm(transition.receiver)
    put_in_force(transition, on)  # first: the database lets the segment move only then
    decisions.put(
        transition.account,
        transition.layer,
        transition.to_segment,
        why=Move.Why.TRANSITION,
        at=on,
        expected=transition.from_segment,
        basis=basis,
    )


def put_in_force(transition, on):
    go(transition, Status.JOINT)
    transition.joint_from, transition.joint_until = on, on + timedelta(days=transition.joint_days)
    transition.save()
    tell(
        transition,
        "transition_joint",
        f"{transition.account} is {transition.to_segment} now. {_covered(transition)}",
    )


def _covered(transition):
    if transition.receiver_id in (None, transition.account.csm_id):
        return f"{transition.account.csm or 'Nobody'} stays the CSM."
    if not transition.joint_days:
        return f"{transition.account.csm or 'Nobody'} hands over to {transition.receiver}."
    return f"{transition.account.csm or 'Nobody'} and {transition.receiver} look after it together until {day(transition.joint_until)}."


def decided_against(request, *, verdict, by, reason):
    """Clear up after a request that was not approved: a no is remembered; withdrawn or expired, all is planned again."""
    if verdict == "ask":
        return
    rows = locked_rows(Transition.objects.filter(request=request, status=Status.AWAITING))
    causes.take(Cause.Kind.DECISION, reason=reason)
    for transition in rows:
        if verdict == "reject":
            end(transition, Status.REJECTED, reason)
        else:
            plan_again(transition)


def address(request):
    """The page of the tier change; of many, the list."""
    ids = [entry["id"] for entry in request.content[plans.WITHIN]]
    if len(ids) == 1:
        return pages.address("transition", *ids)
    return pages.address("transitions", request__id__exact=request.pk)


def leave_requests(rows):
    by_request = {}
    for transition in rows:
        by_request.setdefault(transition.request_id, []).append(transition)
    for _, some in sorted(by_request.items()):
        if some[0].request.is_open:
            leave_request(some, "The rules say something else now.")


def leave_request(gone, reason):
    """An open request goes on without these; where nothing is left it is withdrawn, and they are planned again."""
    request = gone[0].request
    remaining = rest_of(request, gone)
    with acting(label=actor().label, reason=reason):
        if remaining:
            approvals.edit(request, **narrowed(request, remaining), by=None)
        else:
            approvals.withdraw(request, by=None, reason=reason)


def back_to_plan(transition, reason):
    """It has to be asked for again."""
    plan_again(transition)
    tell(
        transition,
        "transition_updated",
        f"{transition} is back to planning: what was approved of it is void.",
        reason,
    )
