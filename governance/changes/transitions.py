"""Tier changes: from the crossing the rules see, through triage, plan and approval, to a completed hand-over.

On approval the segment in force moves and joint coverage starts; the CSM changes when a person completes the plan. Each
verb locks first, then checks, then writes: the request (where the tier change awaits one), the tier changes in the order
of their ids, then assignments. `by` is the acting person; `seen` is what `token` gave for the tier change that person was
looking at, None where there was no page. Everything that happens without a person (crossings, days that come) stands in
`governance.changes.followup`.
"""

from django.utils import timezone

from accounts import corrections
from core import texts
from core.refusals import Refused, verb
from core.wording import day, plural
from governance.changes import crossings, plans
from governance.changes.transition_requests import back_to_plan, edit_request
from governance.changes.transition_steps import (
    Status,
    acting_for,
    check_seen,
    day_of,
    end,
    ended_refusal,
    go,
    locked_rows,
    refuse_held,
    tell,
)
from governance.signoff import permissions
from segmentation.evaluation import causes
from segmentation.models import Cause

MOST_LINES = 50  # of a checklist
MOST_DAYS = 365  # of joint coverage


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
    with acting_for(by):
        [transition] = locked_rows([transition])
        check_seen(transition, seen)
        refuse_held(transition)
        if transition.status == Status.JOINT:
            raise Refused("transition_approved_already")
        if transition.status not in (Status.FLAGGED, Status.PLANNED, Status.AWAITING):
            raise ended_refusal(transition)
        corrections.check_csm(receiver)
        causes.take(Cause.Kind.DECISION, reason=f"Plan of {transition}")
        transition.receiver = receiver
        transition.joint_days = joint_days_of(transition.joint_days if joint_days is None else joint_days)
        transition.success_plan, transition.notice, transition.notes = (
            texts.text(success_plan),
            texts.text(notice),
            texts.text(notes),
        )
        transition.notice_on, transition.notice_by = notice_on, texts.text(notice_by)[:200]
        transition.giver = transition.account.csm
        transition.checklist = checklist_of(
            plans.checklist(transition) if checklist is None else checklist, transition.checklist
        )
        transition.planned_by, transition.planned_by_label, transition.planned_at = (
            by.pk,
            by.get_username(),
            timezone.now(),
        )
        if transition.status == Status.FLAGGED:
            go(transition, Status.PLANNED)
        transition.save()
        if transition.status == Status.AWAITING:
            edit_request(transition, by=by)
            transition.refresh_from_db()
    return transition


@verb
def unplan(transition, *, by, reason="", seen=None):
    """Back to triage, or to planning where it was approved for a later day; what was planned is kept for the next plan."""
    permissions.check(permissions.plan_transition(by=by))
    with acting_for(by, reason):
        [transition] = locked_rows([transition])
        check_seen(transition, seen)
        causes.take(Cause.Kind.DECISION, reason=reason or f"Back to triage: {transition}")
        if transition.status == Status.AWAITING:
            if transition.request.is_open:
                raise Refused("transition_awaits_approval")
            back_to_plan(transition, texts.needed(reason, "taking_back_unexplained"))
        else:
            go(transition, Status.FLAGGED)
            transition.save()
    return transition


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
    with acting_for(by, reason):
        rows = locked_rows(transitions)
        if seen is not None:
            for transition in rows:
                check_seen(transition, seen.get(transition.pk, ""))
        causes.take(Cause.Kind.DECISION, reason=reason)
        for transition in rows:
            transition.kept_until = until
            end(transition, Status.KEPT, reason)
            for_how_long = f"until {day(until)}" if until else "until something material changes"
            tell(
                transition,
                "transition_kept",
                f"{transition.account} stays {transition.from_segment} {for_how_long}.",
                reason,
            )
    return rows


# -- carrying out


@verb
def tick(transition, *, by, done=None, noticed_on=None, notes=None, seen=None):
    """Note how far a plan is, at any time: lines that are done (their numbers), the day the customer was told, notes.

    None leaves as it is. An approval stays: it was given to the plan.
    """
    with acting_for(by):
        [transition] = locked_rows([transition])
        permissions.check(permissions.complete_transition(transition, by=by))
        check_seen(transition, seen)
        if transition.status not in (Status.PLANNED, Status.AWAITING, Status.JOINT):
            raise ended_refusal(transition)
        if done is not None:
            transition.checklist = [
                _ticked(line, number in done, by) for number, line in enumerate(transition.checklist)
            ]
        if noticed_on is not None:
            if noticed_on > timezone.localdate():
                raise Refused("notice_in_the_future")
            transition.noticed_on = noticed_on
        if notes is not None:
            transition.notes = texts.text(notes)
        transition.save()
    return transition


def _ticked(line, done, by):
    if bool(line.get("done")) == done:
        return line
    fresh = {"text": line["text"], "done": done}
    return fresh | ({"by": by.get_username(), "on": timezone.localdate().isoformat()} if done else {})


def unfinished(transition, *, at=None):
    """Say what a hand-over lacks; one that is completed all the same needs a reason."""
    on, lacking = day_of(at), []
    open_lines = [line["text"] for line in transition.checklist if not line.get("done")]
    if open_lines:
        lacking.append(
            f"{plural(len(open_lines), 'line,lines')} of the checklist not done: {'; '.join(open_lines[:3])}."
        )
    if (transition.notice or transition.notice_on) and not transition.noticed_on:
        lacking.append("The customer has not been told.")
    if transition.joint_until and on < transition.joint_until:
        lacking.append(f"Joint coverage lasts until {day(transition.joint_until)}.")
    if transition.joint_until and on > transition.joint_until:
        lacking.append(f"Joint coverage should have ended on {day(transition.joint_until)}.")
    return lacking


@verb
def complete(transition, *, by, reason="", at=None, seen=None):
    """Complete the hand-over: the CSM changes now. An unfinished, early or late one needs a reason."""
    on = day_of(at)
    with acting_for(by, reason):
        [transition] = locked_rows([transition])
        permissions.check(permissions.complete_transition(transition, by=by))
        check_seen(transition, seen)
        if transition.status in (Status.FLAGGED, Status.PLANNED, Status.AWAITING):
            raise Refused("transition_not_approved")
        if transition.status != Status.JOINT:
            raise ended_refusal(transition)
        reason = texts.text(reason)
        if (lacking := unfinished(transition, at=on)) and not reason:
            raise Refused("handover_unfinished", lacking=lacking)
        causes.take(Cause.Kind.DECISION, reason=reason or f"Hand-over of {transition.account}")
        handed = transition.receiver_id not in (None, transition.account.csm_id)
        before = transition.account.csm
        if handed:
            corrections.correct(
                transition.account,
                {"csm": transition.receiver},
                by=by,
                reason=reason or f"Hand-over: {transition}",
            )
        end(transition, Status.DONE, reason)
        who = (
            f"{before or 'Nobody'} has handed over to {transition.receiver}"
            if handed
            else f"{before or 'Nobody'} stays the CSM"
        )
        tell(
            transition, "transition_done", f"{transition.account} is {transition.to_segment}: {who}.", reason
        )
        # Meanwhile the rules may have said something else again.
        crossings.flag_account(transition.account, transition.layer, on)
    return transition


def joint_days_of(number):
    if not 0 <= number <= MOST_DAYS:
        raise Refused("joint_days_out_of_range", most=MOST_DAYS)
    return number


def checklist_of(given, before):
    """A checklist out of texts or lines; what was ticked off stays ticked off."""
    ticked = {line["text"]: line for line in before if line.get("done")}
    wanted = [texts.text(line if isinstance(line, str) else line.get("text")) for line in given]
    wanted = list(dict.fromkeys(filter(None, wanted)))
    if len(wanted) > MOST_LINES:
        raise Refused("checklist_too_long", most=MOST_LINES)
    return [ticked.get(text, {"text": text, "done": False}) for text in wanted]
