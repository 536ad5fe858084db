"""Tier changes: from the crossing the rules see, through triage, plan and approval, to a completed hand-over.

On approval the segment in force moves and joint coverage starts; the CSM changes when a person completes the plan. Each
verb locks first, then checks, then writes: the request (where the tier change awaits one), the tier changes in the order
of their ids, then assignments. `by` is the acting person; `seen` is what `token` gave for the tier change that person was
looking at, None where there was no page. What happens without a person (crossings, days that come) stands at the end.
"""

import hashlib
import logging
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from accounts import catalogue, corrections
from accounts.locking import locked
from accounts.models import Account
from accounts.revenue import with_arr
from core import history, pages, texts
from core.history import acting, actor
from core.refusals import Refused, verb
from core.status_tables import StatusTable, Step
from core.wording import day, plural
from governance import approvals, chores, crossings, events, permissions, plans
from governance.deciders import Desk
from governance.models import ApprovalRequest, Event, FollowedRun, Transition
from segmentation import causes, decisions
from segmentation.models import Assignment, Cause, Layer, Move, Run, RunLayer

log = logging.getLogger(__name__)

Status, Hold, Origin = Transition.Status, Transition.Hold, Transition.Origin
KIND = "tier_change"
MOST = 200  # tier changes in one request
MOST_LINES = 50  # of a checklist
MOST_DAYS = 365  # of joint coverage
_RELATED = ("account__csm", "layer", "from_segment__treatment", "to_segment__treatment__service_model", "giver", "receiver",
            "override")  # fmt: skip


# -- the status table


_PLANNER = "somebody with `plan_transition`"
_DECIDER = "the people who decide about its request"
_RULES = "by itself"
STATUSES = StatusTable(
    Transition,
    [
        Step(Status.FLAGGED, Status.PLANNED, "Plan", _PLANNER),
        Step(Status.PLANNED, Status.FLAGGED, "Back to triage", _PLANNER),
        Step(Status.FLAGGED, Status.KEPT, "Keep the segment", _PLANNER, True),
        Step(Status.PLANNED, Status.KEPT, "Keep the segment", _PLANNER, True),
        Step(Status.PLANNED, Status.AWAITING, "Ask for approval", _PLANNER, True),
        Step(
            Status.AWAITING,
            Status.PLANNED,
            "Withdrawn, expired, taken out, or crossed further",
            "who may do that",
        ),
        Step(Status.AWAITING, Status.REJECTED, "Reject", _DECIDER, True),
        Step(Status.AWAITING, Status.JOINT, "Approved, and its day has come", _DECIDER),
        Step(
            Status.JOINT,
            Status.DONE,
            "Complete the hand-over",
            "the CSMs, somebody with `complete_transition`",
        ),
        *(
            Step(status, Status.CLOSED, "Came back, or an override is in force", _RULES)
            for status in (Status.FLAGGED, Status.PLANNED, Status.AWAITING)
        ),
        *(
            Step(status, Status.WITHDRAWN, "No active customer any more", _RULES)
            for status in (Status.FLAGGED, Status.PLANNED, Status.AWAITING)
        ),
    ],
    begins={Status.FLAGGED: "The rules say so", Status.PLANNED: "An override to another segment"},
)


def token(transition):
    """What a page remembers of the tier change it shows."""
    return f"{transition.status}:{transition.edited_at.isoformat()}"


# -- triage


@verb
def plan(
    transition, *, by, receiver=None, joint_days=None, success_plan="", notice="", notice_on=None, notice_by="",
    checklist=None, notes="", seen=None,
):  # fmt: skip
    """Plan the hand-over, or change the plan. Returns the Transition.

    receiver: a Csm; None: the CSM stays. joint_days: None leaves them. checklist: the lines (texts, or {"text", "done"});
    None starts from the treatments. Changed while it awaits approval, its request is a new revision that nobody has approved.
    """
    permissions.check(permissions.plan_transition(by=by))
    with _acting(by):
        [one] = _locked([transition])
        _check_seen(one, seen)
        _refuse_held(one)
        if one.status == Status.JOINT:
            raise Refused("transition_approved_already")
        if one.status not in (Status.FLAGGED, Status.PLANNED, Status.AWAITING):
            raise _ended(one)
        causes.take(Cause.Kind.DECISION, reason=f"Plan of {one}")
        one.receiver = receiver
        one.joint_days = _days(one.joint_days if joint_days is None else joint_days)
        one.success_plan, one.notice, one.notes = (
            texts.text(success_plan),
            texts.text(notice),
            texts.text(notes),
        )
        one.notice_on, one.notice_by = notice_on, texts.text(notice_by)[:200]
        one.giver = one.account.csm
        one.checklist = _lines(plans.checklist(one) if checklist is None else checklist, one.checklist)
        one.planned_by, one.planned_by_label, one.planned_at = by.pk, by.get_username(), timezone.now()
        if one.status == Status.FLAGGED:
            _go(one, Status.PLANNED)
        one.save()
        if one.status == Status.AWAITING:
            _edit_request(one, by=by)
            one.refresh_from_db()
    return one


def _edit_request(one, *, by):
    """The request says the plan as it is now."""
    request = one.request
    if not request.is_open:
        raise Refused("transition_applies_later", applies_on=one.applies_on)
    rows = list(request.transitions.filter(status=Status.AWAITING).select_related(*_RELATED).order_by("pk"))
    approvals.edit(
        request,
        content=plans.content(rows),
        changes=plans.changes(rows),
        impact=plans.impact(rows),
        by=by,
        seen=approvals.token(request),
        apply_on=_apply_on(rows),
    )


@verb
def unplan(transition, *, by, reason="", seen=None):
    """Back to triage; what was planned is kept for the next plan. Of one that was approved for a later day: back to planning."""
    permissions.check(permissions.plan_transition(by=by))
    with _acting(by, reason):
        [one] = _locked([transition])
        _check_seen(one, seen)
        causes.take(Cause.Kind.DECISION, reason=reason or f"Back to triage: {one}")
        if one.status == Status.AWAITING:
            if one.request.is_open:
                raise Refused("transition_awaits_approval")
            _back_to_plan(one, texts.needed(reason, "taking_back_unexplained"))
        else:
            _go(one, Status.FLAGGED)
            one.save()
    return one


@verb
def keep(transitions, *, by, reason, until=None, seen=None):
    """The accounts stay where they are: until a day, or (always) a material change. Returns the Transitions.

    They are not flagged again before. Wrong data are such a reason too, with the day they should be right by.
    seen: {id: token} of the page, of each of them; None where there was no page.
    """
    permissions.check(permissions.plan_transition(by=by))
    reason = texts.needed(reason, "keeping_unexplained")
    if until is not None and until <= timezone.localdate():
        raise Refused("transition_kept_into_the_past")
    with _acting(by, reason):
        rows = _locked(transitions)
        if seen is not None:
            for one in rows:
                _check_seen(one, seen.get(one.pk, ""))
        causes.take(Cause.Kind.DECISION, reason=reason)
        for one in rows:
            one.kept_until = until
            _end(one, Status.KEPT, reason)
            for_how_long = f"until {day(until)}" if until else "until something material changes"
            _tell(one, "transition_kept", f"{one.account} stays {one.from_segment} {for_how_long}.", reason)
    return rows


# -- asking for approval


@verb
def ask(transitions, *, by, why):
    """Ask for approval of planned tier changes of one layer, as one request. Returns the ApprovalRequest.

    Where nobody has to approve, they are carried out at once.
    """
    permissions.check(permissions.plan_transition(by=by))
    why = texts.needed(why, "request_reason_missing")
    with _acting(by, why):
        rows = _locked(transitions)
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
            apply_on=_apply_on(rows),
            authors={one.planned_by for one in rows},
        )
        for one in _locked(rows):
            if one.status == Status.PLANNED:  # else it has been carried out already
                _await(one, request)
    return request


def _check_ready(rows):
    if not 0 < len(rows) <= MOST:
        raise Refused("too_many_transitions", most=MOST, count=len(rows))
    if len({one.layer_id for one in rows}) > 1:
        raise Refused("transitions_of_several_segmentations")
    for one in rows:
        _refuse_held(one)
        if one.status == Status.FLAGGED:
            raise Refused("transition_not_planned", account=one.account)
        if one.status == Status.AWAITING:
            raise Refused("transition_requested_already", account=one.account, request=one.request)
        if one.status != Status.PLANNED:
            raise _ended(one)


def _key(rows):
    ids = ",".join(str(one.pk) for one in rows)
    return f"transitions:{hashlib.sha256(ids.encode()).hexdigest()[:32]}"


def _apply_on(rows):
    """The first day on which one of them may apply; None where one may at once. The others wait for theirs."""
    days = [one.applies_on for one in rows]
    return None if None in days else min(days)


def _await(one, request):
    _go(one, Status.AWAITING)
    one.request = request
    one.save()


@verb
def take_out(request, transition, *, by, reason, seen):
    """An approver takes one account out of a request of many, and may still approve the rest. It is planned again.

    seen: what approvals.token gave for the request.
    """
    reason = texts.needed(reason, "taking_out_unexplained")
    with _acting(by, reason):
        [one] = _locked([transition])
        if one.status != Status.AWAITING or one.request_id != request.pk:
            raise Refused("transition_not_in_request", account=one.account)
        rest = _rest(one.request, [one])
        if not rest:
            raise Refused("transition_is_the_only_one")
        causes.take(Cause.Kind.DECISION, reason=reason)
        one.request = None
        _go(one, Status.PLANNED)
        one.save()
        _tell(one, "transition_taken_out", f"{one} was taken out of a request.", reason, request=request.pk)
        return approvals.narrow(request, **_narrowed(request, rest), by=by, seen=seen, reason=reason)


def _rest(request, gone):
    """What a request still asks for without these."""
    ids = {one.pk for one in gone}
    return [one for one in request.content[plans.WITHIN] if one["id"] not in ids]


def _narrowed(request, rest):
    rows = Transition.objects.filter(pk__in=[one["id"] for one in rest]).select_related(*_RELATED)
    rows = list(rows.order_by("pk"))
    return {
        "content": {**request.content, "accounts": [one.account_id for one in rows], plans.WITHIN: rest},
        "changes": plans.changes(rows),
        "impact": plans.impact(rows),
        "subject": plans.subject(rows),
    }


# -- decided about: what governance.kinds names


def impact(request):
    """How far it reaches today (governance.impact)."""
    return plans.impact(list(request.transitions.all()))


def segments(request):
    """Ids of the segments it names."""
    return plans.segments(request.transitions.all())


def carry_out(request, *, by, at):
    """Start the approved tier changes, all or none: the segments move. Those of a later day, or in quiet days, wait."""
    on = _date(at)
    wanted = {one["id"]: one for one in request.content[plans.WITHIN]}
    rows = _locked(Transition.objects.filter(pk__in=wanted))
    if len(rows) != len(wanted):
        raise Refused("transitions_gone")
    causes.take(Cause.Kind.DECISION, reason=request.why)
    for one in rows:
        if one.status == Status.PLANNED and one.request_id is None:  # nobody had to approve it
            _await(one, request)
        _check_approved(one, request, wanted[one.pk])
    _lock_assignments(rows)
    quiet = crossings.quiet(rows, on)
    due = [one for one in rows if (one.applies_on is None or one.applies_on <= on) and one.pk not in quiet]
    known = _known(due, on)
    for one in due:
        _start(one, on, known[one.layer_id])


def _known(rows, on):
    """{layer id: what the moves of these tier changes are decided on}, read for all at once."""
    accounts = {}
    for one in rows:
        accounts.setdefault(one.layer, []).append(one.account_id)
    return {layer.pk: decisions.known_of(ids, layer, at=on) for layer, ids in accounts.items()}


def _check_approved(one, request, approved):
    if one.status != Status.AWAITING or one.request_id != request.pk:
        raise Refused("transition_cannot_change", account=one.account, why=_ended(one))
    if not Account.objects.scored().filter(pk=one.account_id).exists():
        raise Refused("transition_account_left", account=one.account)
    if one.held_for:
        raise _held(one)
    if field := plans.differs(one, approved):
        name = Transition._meta.get_field(_FIELDS.get(field, field)).verbose_name
        raise Refused("transition_not_as_approved", account=one.account, field=name)


_FIELDS = {"from": "from_segment", "to": "to_segment"}


def _start(one, on, known):
    """The segment moves, and joint coverage starts."""
    assignment = Assignment.objects.filter(account=one.account_id, layer=one.layer_id, product=None).first()
    if assignment and assignment.overridden:
        raise Refused("override_in_force", account=one.account, layer=one.layer)
    _joint(one, on)  # first: the database lets the segment move only then
    decisions.put(
        one.account,
        one.layer,
        one.to_segment,
        why=Move.Why.TRANSITION,
        at=on,
        expected=one.from_segment,
        known=known,
    )


def _joint(one, on):
    _go(one, Status.JOINT)
    one.joint_from, one.joint_until = on, on + timedelta(days=one.joint_days)
    one.save()
    _tell(one, "transition_joint", f"{one.account} is {one.to_segment} now. {_covered(one)}")


def _covered(one):
    if one.receiver_id in (None, one.account.csm_id):
        return f"{one.account.csm or 'Nobody'} stays the CSM."
    if not one.joint_days:
        return f"{one.account.csm or 'Nobody'} hands over to {one.receiver}."
    return f"{one.account.csm or 'Nobody'} and {one.receiver} look after it together until {day(one.joint_until)}."


def decided_against(request, *, verdict, by, reason):
    """What a request that was not approved leaves behind: a no is remembered; withdrawn or expired, all is planned again."""
    if verdict == "ask":
        return
    rows = _locked(Transition.objects.filter(request=request, status=Status.AWAITING))
    causes.take(Cause.Kind.DECISION, reason=reason)
    for one in rows:
        if verdict == "reject":
            _end(one, Status.REJECTED, reason)
        else:
            one.request = None
            _go(one, Status.PLANNED)
            one.save()


def address(request):
    """The page of the tier change; of many, the list."""
    ids = [one["id"] for one in request.content[plans.WITHIN]]
    if len(ids) == 1:
        return pages.address("transition", *ids)
    return pages.address("transitions", request__id__exact=request.pk)


# -- carrying out


@verb
def tick(transition, *, by, done=None, noticed_on=None, notes=None, seen=None):
    """Note how far a plan is, at any time: lines that are done (their numbers), the day the customer was told, notes.

    None leaves as it is. An approval stays: it was given to the plan.
    """
    with _acting(by):
        [one] = _locked([transition])
        permissions.check(permissions.complete_transition(one, by=by))
        _check_seen(one, seen)
        if one.status not in (Status.PLANNED, Status.AWAITING, Status.JOINT):
            raise _ended(one)
        if done is not None:
            one.checklist = [_ticked(line, number in done, by) for number, line in enumerate(one.checklist)]
        if noticed_on is not None:
            if noticed_on > timezone.localdate():
                raise Refused("notice_in_the_future")
            one.noticed_on = noticed_on
        if notes is not None:
            one.notes = texts.text(notes)
        one.save()
    return one


def _ticked(line, done, by):
    if bool(line.get("done")) == done:
        return line
    fresh = {"text": line["text"], "done": done}
    return fresh | ({"by": by.get_username(), "on": timezone.localdate().isoformat()} if done else {})


def unfinished(transition, *, at=None):
    """What a hand-over lacks, as sentences; one that is completed all the same needs a reason."""
    on, found = _date(at), []
    open_lines = [line["text"] for line in transition.checklist if not line.get("done")]
    if open_lines:
        found.append(
            f"{plural(len(open_lines), 'line,lines')} of the checklist not done: {'; '.join(open_lines[:3])}."
        )
    if (transition.notice or transition.notice_on) and not transition.noticed_on:
        found.append("The customer has not been told.")
    if transition.joint_until and on < transition.joint_until:
        found.append(f"Joint coverage lasts until {day(transition.joint_until)}.")
    if transition.joint_until and on > transition.joint_until:
        found.append(f"Joint coverage should have ended on {day(transition.joint_until)}.")
    return found


@verb
def complete(transition, *, by, reason="", at=None, seen=None):
    """Complete the hand-over: the CSM changes now. What is unfinished, or early, or late, needs a reason."""
    on = _date(at)
    with _acting(by, reason):
        [one] = _locked([transition])
        permissions.check(permissions.complete_transition(one, by=by))
        _check_seen(one, seen)
        if one.status in (Status.FLAGGED, Status.PLANNED, Status.AWAITING):
            raise Refused("transition_not_approved")
        if one.status != Status.JOINT:
            raise _ended(one)
        reason = texts.text(reason)
        if (lacking := unfinished(one, at=on)) and not reason:
            raise Refused("handover_unfinished", lacking=lacking)
        causes.take(Cause.Kind.DECISION, reason=reason or f"Hand-over of {one.account}")
        handed = one.receiver_id not in (None, one.account.csm_id)
        before = one.account.csm
        if handed:
            corrections.correct(
                one.account, {"csm": one.receiver}, by=by, reason=reason or f"Hand-over: {one}"
            )
        _end(one, Status.DONE, reason)
        who = (
            f"{before or 'Nobody'} has handed over to {one.receiver}"
            if handed
            else f"{before or 'Nobody'} stays the CSM"
        )
        _tell(one, "transition_done", f"{one.account} is {one.to_segment}: {who}.", reason)
        # Meanwhile the rules may have said something else again.
        crossings.flag_account(one.account, one.layer, on)
    return one


# -- overrides: what governance.overrides calls, in its transaction


def hold(account, layer):
    """An override of the account waits for approval: its open tier change waits for that. Returns it, or None."""
    one = _open_alone(account, layer)
    if one and one.status != Status.JOINT and one.held_for != Hold.OVERRIDE:
        one.held_for, one.held_until = Hold.OVERRIDE, None
        one.save()
    return one


def resume(account, layer):
    """The override was not approved: what waited for it goes on, held by what its policy says from the next look on."""
    one = _open_alone(account, layer)
    if one and one.held_for == Hold.OVERRIDE:
        one.held_for = Hold.NOTHING
        one.save()
        if one.status == Status.FLAGGED:  # one that was held from the beginning has been told to nobody
            text = f"{one.account}: no override came of it, so the tier change to {one.to_segment} is to be decided."
            _tell(one, "transition_flagged", text)
    return one


def supersede(override, *, at):
    """An override comes into force: the open tier change of the account is closed. Joint coverage goes on."""
    one = _open(override.account, override.layer)
    if one is None or one.status == Status.JOINT:
        return
    reason = f"An override to {override.segment} is in force until {day(override.expires_on)}."
    causes.take(Cause.Kind.DECISION, reason=reason)
    if one.status == Status.AWAITING and one.request.is_open:
        _leave_request([one], reason)
        one.refresh_from_db()
    one.held_for, one.held_until = Hold.NOTHING, None
    _end(one, Status.CLOSED, reason)
    _tell(one, "transition_closed", f"{one.account}: the tier change to {one.to_segment} is closed.", reason)


def from_override(override, *, plan, by, at):
    """The tier change that an approved override to another segment is carried out as. Returns it, in joint coverage.

    plan: has `receiver` (a Csm or None: the CSM stays), `success_plan`, `notice`. The caller moves the segment.
    """
    on, account = _date(at), override.account
    supersede(override, at=on)
    if override.from_segment is None:  # nobody gives it away
        return None
    if (open_ := _open(account, override.layer)) is not None:
        raise Refused(
            "account_being_handed_over",
            account=account,
            from_segment=open_.from_segment,
            to_segment=open_.to_segment,
            joint_until=open_.joint_until,
        )
    causes.take(Cause.Kind.DECISION, reason=override.text)
    worth = with_arr(type(account).objects.filter(pk=account.pk), on).values_list("arr_now", flat=True).get()
    direction = crossings.direction(override.from_segment, override.segment)
    one = Transition(
        account=account,
        layer=override.layer,
        from_segment=override.from_segment,
        to_segment=override.segment,
        direction=direction,
        status=Status.PLANNED,
        origin=Origin.OVERRIDE,
        override=override,
        crossed_on=on,
        arr=worth,
        giver=account.csm,
        receiver=plan.receiver,
        success_plan=plan.success_plan,
        notice=plan.notice,
        joint_days=crossings.policies(override.layer)[direction].joint_days,
        planned_by=override.requested_by,
        planned_by_label=override.requested_by_label,
        planned_at=timezone.now(),
    )
    one.checklist = plans.checklist(one)
    one.save()
    _await(one, override.request)
    _joint(one, on)
    return one


def after_override(override, *, at):
    """An override has ended on a gated layer: where the rules say another segment, a tier change is flagged."""
    return crossings.flag_account(
        override.account, override.layer, _date(at), origin=Origin.EXPIRY, override=override
    )


def _open_alone(account, layer):
    """The open tier change, locked without the request it awaits: that is not touched."""
    found = Transition.objects.open().filter(account=account, layer=layer)
    return locked(found.select_related(*_RELATED)).first()


def _open(account, layer):
    """The open tier change of an account on a layer, locked; None where there is none."""
    found = (
        Transition.objects.open().filter(account=account, layer=layer).values_list("pk", flat=True).first()
    )
    return _locked(Transition.objects.filter(pk=found))[0] if found else None


# -- without a person


def follow_ended():
    """Look at what the recalculations changed that have ended and that nobody has looked at; returns how many there were."""
    seen = FollowedRun.objects.values("run")
    ended = Run.objects.exclude(status=Run.Status.RUNNING).exclude(pk__in=seen).order_by("pk")
    return sum(follow(run) is not None for run in ended)


def follow(run):
    """Bring tier changes in step with what a recalculation that has ended says; {layer key: figures}, once.

    None where it was done before, or somebody does it just now. A layer that was recalculated again is left to that run.
    What a day has brought already stays, where the run's clock is before that day.
    """
    with transaction.atomic():
        ended = Run.objects.exclude(status=Run.Status.RUNNING).filter(pk=run.pk)
        run = ended.select_for_update(skip_locked=True, no_key=True).first()
        if run is None or FollowedRun.objects.filter(run=run.pk).exists():
            return None
        layers = _last_of(run)
        for layer in layers:
            crossings.lock(layer)
        at = max(run.as_of, chores.last(chores.TIER_CHANGES) or run.as_of)
        counts = {layer.key: vars(flag(layer, at, run=run)) for layer in layers}
        FollowedRun.objects.create(run=run.pk, counts=counts)
    return counts


def _last_of(run):
    later = RunLayer.objects.filter(run__gt=run.pk, run__status=Run.Status.FINISHED, running=False)
    return list(_followed().filter(runs__run=run).exclude(pk__in=later.values("layer")).order_by("pk"))


def _followed():
    """The segmentations that need approval, and those that did when something was flagged that is still undecided."""
    left = Transition.objects.open().exclude(status=Status.JOINT).values("layer")
    return Layer.objects.filter(Q(policy=Layer.Policy.APPROVAL) | Q(pk__in=left))


def flag(layer, at, *, run=None):
    """Bring the tier changes of a layer in step with what the rules say at the clock `at` (a date). Returns crossings.Seen."""
    released = _void(layer, at)
    seen = crossings.flag(layer, at, run=run)
    seen.closed += released
    return seen


def daily(at):
    """What goes by dates, on the day `at`: what was held or kept until now, approved for now, or should be complete."""
    for layer in _followed().order_by("pk"):
        flag(layer, at)
    remind(at)
    start_due(at)


def start_due(at):
    """Start the tier changes that were approved for a day that has come, each by itself; returns how many."""
    approved = Transition.objects.filter(
        status=Status.AWAITING, request__status=ApprovalRequest.Status.APPLIED
    )
    due = approved.filter(Q(applies_on=None) | Q(applies_on__lte=at)).select_related("layer").order_by("pk")
    quiet = crossings.quiet(due, at)
    started, failed = 0, []
    for one in due:
        try:
            started += one.pk not in quiet and _start_late(one, at)
        except Exception:  # the others start all the same
            log.exception("The tier change %s could not be started", one.pk)
            failed.append(one.pk)
    if failed:
        raise RuntimeError(f"Tier changes that could not be started: {failed}")
    return started


def _start_late(found, at):
    try:
        with transaction.atomic(), _acting(None, found.request.why):
            [one] = _locked([found])
            if one.status != Status.AWAITING or one.request.status != ApprovalRequest.Status.APPLIED:
                return False
            causes.take(Cause.Kind.DECISION, reason=one.request.why)
            if not Desk([one.request]).enough(one.request):
                raise Refused("approvals_do_not_count")
            if one.held_for:
                raise _held(one)
            _start(one, at, _known([one], at)[one.layer_id])
        return True
    except Refused as refusal:
        with transaction.atomic(), _acting(None, str(refusal)):
            [one] = _locked([found])
            if one.status == Status.AWAITING and one.held_for != Hold.OVERRIDE:
                causes.take(Cause.Kind.DECISION, reason=str(refusal))
                _back_to_plan(one, str(refusal))
        return False


def remind(at):
    """Tell, once, of joint coverage that should have ended; returns of how many."""
    told = Event.objects.filter(kind="transition_overdue", about="transition").values("about_id")
    late = Transition.objects.filter(status=Status.JOINT, joint_until__lt=at).exclude(pk__in=told)
    with transaction.atomic():
        rows = list(locked(late.select_related(*_RELATED)))
        for one in rows:
            text = f"{one.account}: joint coverage should have ended on {day(one.joint_until)}."
            _tell(one, "transition_overdue", text, " ".join(unfinished(one, at=at)))
    return len(rows)


# Those that await approval, or their day, and are not what the rules say any more, or whose renewal has moved before it
# came; an override's are its own.
_VOID = f"""
    select t.id, e.status, coalesce(e.reason, case when m.moved then 'The renewal has moved.' end), m.moved
      from governance_transition t
      join accounts_account a on a.id = t.account_id
      left join lateral ({catalogue.SUBSCRIPTION_SUMMARY} where b.account_id = a.id group by b.account_id) s
        on t.applies_on > %(at)s
     cross join lateral (select coalesce(t.applies_on > %(at)s
                                and t.applies_on is distinct from coalesce(a.renewal_date, s.next_end), false) as moved) m
      join segmentation_assignment z
        on z.account_id = t.account_id and z.layer_id = t.layer_id and z.product_id is null
      left join ({crossings.ENDING}) e on e.id = t.id
     where t.layer_id = %(layer)s and t.status = 'awaiting' and t.origin <> 'override'
       and (e.id is not null or m.moved
            or z.computed_id is not null
               and (z.effective_id, z.computed_id) is distinct from (t.from_segment_id, t.to_segment_id))
     order by t.id
"""


def _void(layer, at):
    """Take what is not what the rules say any more out of its request; returns how many tier changes were closed."""
    known = {"layer": layer.pk, "at": at, "first": 0, "last": 2**63 - 1, "statuses": [Status.AWAITING]}
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_VOID, known)
            found = {id: said for id, *said in cursor.fetchall()}
        rows = [
            one for one in _locked(Transition.objects.filter(pk__in=found)) if one.status == Status.AWAITING
        ]
        if not rows:
            return 0
        causes.take(Cause.Kind.RUN, reason="What was asked for is not what the rules say any more")
        _leave_requests(rows)
        closed = 0
        for one in _locked(rows):
            status, reason, moved = found[one.pk]
            if status:
                one.held_for, one.held_until = Hold.NOTHING, None
                _end(one, status, reason)
                _tell(
                    one,
                    "transition_closed",
                    f"{one.account}: the tier change to {one.to_segment} is closed.",
                    reason,
                )
                closed += 1
                continue
            if one.status == Status.AWAITING:  # else the request that was withdrawn did so
                one.request = None
                _go(one, Status.PLANNED)
                one.save()
            if moved:  # else looking for crossings tells what the rules say now
                _tell(
                    one,
                    "transition_updated",
                    f"{one} is back to planning, for the renewal has moved.",
                    reason,
                )
        return closed


def _leave_requests(rows):
    by_request = {}
    for one in rows:
        by_request.setdefault(one.request_id, []).append(one)
    for _, some in sorted(by_request.items()):
        if some[0].request.is_open:
            _leave_request(some, "The rules say something else now.")


def _leave_request(gone, reason):
    """An open request goes on without these; where nothing is left it is withdrawn, and they are planned again."""
    request = gone[0].request
    rest = _rest(request, gone)
    with acting(label=actor().label, reason=reason):
        if rest:
            approvals.edit(request, **_narrowed(request, rest), by=None)
        else:
            approvals.withdraw(request, by=None, reason=reason)


def _back_to_plan(one, reason):
    """It has to be asked for again."""
    one.request = None
    _go(one, Status.PLANNED)
    one.save()
    _tell(one, "transition_updated", f"{one} is back to planning: what was approved of it is void.", reason)


# -- what the verbs share


@contextmanager
def _acting(by, reason=""):
    who = actor()
    with (
        transaction.atomic(),
        acting(
            by=by,
            label="" if by else who.label,
            channel=who.channel,
            reason=(reason or "").strip() or who.reason,
        ),
    ):
        yield


def _locked(transitions):
    """These tier changes as they are now, locked in the order of their ids, the requests they await before them."""
    ids = [one.pk for one in transitions]
    awaited = Transition.objects.filter(pk__in=ids, status=Status.AWAITING).values_list("request", flat=True)
    requests = (
        ApprovalRequest.objects.select_for_update().filter(pk__in=set(awaited)).order_by("pk").in_bulk()
    )
    rows = list(locked(Transition.objects.filter(pk__in=ids).select_related(*_RELATED)))
    for one in rows:
        if one.status == Status.AWAITING:
            if one.request_id not in requests:
                raise Refused("transition_stale")
            one.request = requests[one.request_id]
    return rows


def _lock_assignments(rows):
    """In the order in which recalculations lock them."""
    found = Assignment.objects.filter(
        account__in=[one.account_id for one in rows], layer__in={one.layer_id for one in rows}, product=None
    )
    list(found.select_for_update().order_by("pk").values_list("pk"))


def _go(one, to):
    """Send a tier change there, if the table of statuses has that way."""
    if (one.status, to) not in STATUSES.moves:
        raise _ended(one)
    one.status = to


def _end(one, status, reason):
    _go(one, status)
    one.end_reason, one.ended_at = reason, timezone.now()
    one.ended_by, one.ended_by_label = actor().id, actor().label
    one.save()


def _ended(one):
    """The Refused for what cannot be done with a tier change in its status."""
    status = one.get_status_display()
    if one.is_open:
        return Refused("transition_step_impossible", account=one.account, status=status)
    who = history.who(one, "ended_by")
    return Refused("transition_ended_already", account=one.account, status=status, who=who)


def _refuse_held(one):
    if one.held_for:
        raise _held(one)


def _held(one):
    return Refused(
        "transition_held", account=one.account, until=one.held_until, why=one.get_held_for_display()
    )


def _check_seen(one, seen):
    if seen is not None and seen != token(one):
        raise Refused("transition_stale")


def _tell(one, kind, text, reason="", **data):
    return events.record(
        kind, text, account=one.account, layer=one.layer, about=one, reason=reason, data=data
    )


def _date(at):
    """The day in the organisation's zone; today where none is given."""
    if at is None:
        return timezone.localdate()
    return timezone.localdate(at) if isinstance(at, datetime) else at


def _days(number):
    if not 0 <= number <= MOST_DAYS:
        raise Refused("joint_days_out_of_range", most=MOST_DAYS)
    return number


def _lines(given, before):
    """A checklist out of texts or lines; what was ticked off stays ticked off."""
    known = {line["text"]: line for line in before if line.get("done")}
    wanted = [texts.text(line if isinstance(line, str) else line.get("text")) for line in given]
    wanted = list(dict.fromkeys(filter(None, wanted)))
    if len(wanted) > MOST_LINES:
        raise Refused("checklist_too_long", most=MOST_LINES)
    return [known.get(text, {"text": text, "done": False}) for text in wanted]
