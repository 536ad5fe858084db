"""Tier changes as requests: asked for together, carried out once approved, taken out, narrowed and left."""

import hashlib
from datetime import timedelta

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
    refuse_held,
    tell,
)
from governance.models import Transition
from governance.signoff import approvals, permissions
from segmentation.evaluation import causes, decisions
from segmentation.models import Assignment, Cause, Move

KIND = "tier_change"
MOST = 200  # tier changes in one request


def edit_request(one, *, by):
    """The request says the plan as it is now."""
    request = one.request
    if not request.is_open:
        raise Refused("transition_applies_later", applies_on=one.applies_on)
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
            authors={one.planned_by for one in rows},
        )
        for one in locked_rows(rows):
            if one.status == Status.PLANNED:  # else it has been carried out already
                await_request(one, request)
    return request


def _check_ready(rows):
    if not 0 < len(rows) <= MOST:
        raise Refused("too_many_transitions", most=MOST, count=len(rows))
    if len({one.layer_id for one in rows}) > 1:
        raise Refused("transitions_of_several_segmentations")
    for one in rows:
        refuse_held(one)
        if one.status == Status.FLAGGED:
            raise Refused("transition_not_planned", account=one.account)
        if one.status == Status.AWAITING:
            raise Refused("transition_requested_already", account=one.account, request=one.request)
        if one.status != Status.PLANNED:
            raise ended_refusal(one)


def _key(rows):
    ids = ",".join(str(one.pk) for one in rows)
    return f"transitions:{hashlib.sha256(ids.encode()).hexdigest()[:32]}"


def apply_on_of(rows):
    """The first day on which one of them may apply; None where one may at once. The others wait for theirs."""
    days = [one.applies_on for one in rows]
    return None if None in days else min(days)


def await_request(one, request):
    go(one, Status.AWAITING)
    one.request = request
    one.save()


@verb
def take_out(request, transition, *, by, reason, seen):
    """An approver takes one account out of a request of many, and may still approve the rest. It is planned again.

    seen: what approvals.token gave for the request.
    """
    reason = texts.needed(reason, "taking_out_unexplained")
    with acting_for(by, reason):
        [one] = locked_rows([transition])
        if one.status != Status.AWAITING or one.request_id != request.pk:
            raise Refused("transition_not_in_request", account=one.account)
        rest = rest_of(one.request, [one])
        if not rest:
            raise Refused("transition_is_the_only_one")
        causes.take(Cause.Kind.DECISION, reason=reason)
        one.request = None
        go(one, Status.PLANNED)
        one.save()
        tell(one, "transition_taken_out", f"{one} was taken out of a request.", reason, request=request.pk)
        return approvals.narrow(request, **narrowed(request, rest), by=by, seen=seen, reason=reason)


def rest_of(request, gone):
    """The rest a request still asks for without these."""
    ids = {one.pk for one in gone}
    return [one for one in request.content[plans.WITHIN] if one["id"] not in ids]


def narrowed(request, rest):
    rows = Transition.objects.filter(pk__in=[one["id"] for one in rest]).select_related(*RELATED)
    rows = list(rows.order_by("pk"))
    return {
        "content": {**request.content, "accounts": [one.account_id for one in rows], plans.WITHIN: rest},
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


def carry_out(request, *, by, at):
    """Start the approved tier changes, all or none: the segments move. Ones of a later day, or in quiet days, wait."""
    on = day_of(at)
    wanted = {one["id"]: one for one in request.content[plans.WITHIN]}
    rows = locked_rows(Transition.objects.filter(pk__in=wanted))
    if len(rows) != len(wanted):
        raise Refused("transitions_gone")
    causes.take(Cause.Kind.DECISION, reason=request.why)
    for one in rows:
        if one.status == Status.PLANNED and one.request_id is None:  # nobody had to approve it
            await_request(one, request)
        _check_approved(one, request, wanted[one.pk])
    lock_assignments(rows)
    quiet = crossings.quiet(rows, on)
    due = [one for one in rows if (one.applies_on is None or one.applies_on <= on) and one.pk not in quiet]
    known = known_of(due, on)
    for one in due:
        start(one, on, known[one.layer_id])


def known_of(rows, on):
    """{layer id: what the moves of these tier changes are decided on}, read for all at once."""
    accounts = {}
    for one in rows:
        accounts.setdefault(one.layer, []).append(one.account_id)
    return {layer.pk: decisions.known_of(ids, layer, at=on) for layer, ids in accounts.items()}


def _check_approved(one, request, approved):
    if one.status != Status.AWAITING or one.request_id != request.pk:
        raise Refused("transition_cannot_change", account=one.account, why=ended_refusal(one))
    if not Account.objects.scored().filter(pk=one.account_id).exists():
        raise Refused("transition_account_left", account=one.account)
    if one.held_for:
        raise held_refusal(one)
    if field := plans.differs(one, approved):
        name = Transition._meta.get_field(_FIELDS.get(field, field)).verbose_name
        raise Refused("transition_not_as_approved", account=one.account, field=name)


_FIELDS = {"from": "from_segment", "to": "to_segment"}


def start(one, on, known):
    """The segment moves, and joint coverage starts."""
    assignment = Assignment.objects.filter(account=one.account_id, layer=one.layer_id, product=None).first()
    if assignment and assignment.overridden:
        raise Refused("override_in_force", account=one.account, layer=one.layer)
    put_in_force(one, on)  # first: the database lets the segment move only then
    decisions.put(
        one.account,
        one.layer,
        one.to_segment,
        why=Move.Why.TRANSITION,
        at=on,
        expected=one.from_segment,
        known=known,
    )


def put_in_force(one, on):
    go(one, Status.JOINT)
    one.joint_from, one.joint_until = on, on + timedelta(days=one.joint_days)
    one.save()
    tell(one, "transition_joint", f"{one.account} is {one.to_segment} now. {_covered(one)}")


def _covered(one):
    if one.receiver_id in (None, one.account.csm_id):
        return f"{one.account.csm or 'Nobody'} stays the CSM."
    if not one.joint_days:
        return f"{one.account.csm or 'Nobody'} hands over to {one.receiver}."
    return f"{one.account.csm or 'Nobody'} and {one.receiver} look after it together until {day(one.joint_until)}."


def decided_against(request, *, verdict, by, reason):
    """Clear up after a request that was not approved: a no is remembered; withdrawn or expired, all is planned again."""
    if verdict == "ask":
        return
    rows = locked_rows(Transition.objects.filter(request=request, status=Status.AWAITING))
    causes.take(Cause.Kind.DECISION, reason=reason)
    for one in rows:
        if verdict == "reject":
            end(one, Status.REJECTED, reason)
        else:
            one.request = None
            go(one, Status.PLANNED)
            one.save()


def address(request):
    """The page of the tier change; of many, the list."""
    ids = [one["id"] for one in request.content[plans.WITHIN]]
    if len(ids) == 1:
        return pages.address("transition", *ids)
    return pages.address("transitions", request__id__exact=request.pk)


def leave_requests(rows):
    by_request = {}
    for one in rows:
        by_request.setdefault(one.request_id, []).append(one)
    for _, some in sorted(by_request.items()):
        if some[0].request.is_open:
            leave_request(some, "The rules say something else now.")


def leave_request(gone, reason):
    """An open request goes on without these; where nothing is left it is withdrawn, and they are planned again."""
    request = gone[0].request
    rest = rest_of(request, gone)
    with acting(label=actor().label, reason=reason):
        if rest:
            approvals.edit(request, **narrowed(request, rest), by=None)
        else:
            approvals.withdraw(request, by=None, reason=reason)


def back_to_plan(one, reason):
    """It has to be asked for again."""
    one.request = None
    go(one, Status.PLANNED)
    one.save()
    tell(one, "transition_updated", f"{one} is back to planning: what was approved of it is void.", reason)
