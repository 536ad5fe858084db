"""The way of every verb about tier changes: the table of statuses, the locks, the step itself, who is told."""

from contextlib import contextmanager
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from core import history
from core.history import acting, actor
from core.locking import locked
from core.refusals import Refused
from core.status_tables import StatusTable, Step
from governance import events
from governance.models import ApprovalRequest, Transition
from segmentation.models import Assignment

Status, Hold, Origin = Transition.Status, Transition.Hold, Transition.Origin
RELATED = ("account__csm", "layer", "from_segment__treatment", "to_segment__treatment__service_model", "giver", "receiver",
            "override")  # fmt: skip
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
    """The token by which a page remembers the tier change it shows."""
    return f"{transition.status}:{transition.edited_at.isoformat()}"


@contextmanager
def acting_for(by, reason=""):
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


def locked_rows(transitions):
    """These tier changes as they are now, locked in the order of their ids, the requests they await before them."""
    ids = [transition.pk for transition in transitions]
    awaited = Transition.objects.filter(pk__in=ids, status=Status.AWAITING).values_list("request", flat=True)
    requests = (
        ApprovalRequest.objects.select_for_update().filter(pk__in=set(awaited)).order_by("pk").in_bulk()
    )
    rows = list(locked(Transition.objects.filter(pk__in=ids).select_related(*RELATED)))
    for transition in rows:
        if transition.status == Status.AWAITING:
            if transition.request_id not in requests:
                raise Refused("transition_stale")
            transition.request = requests[transition.request_id]
    return rows


def lock_assignments(rows):
    """In the order in which recalculations lock them."""
    assignments = Assignment.objects.filter(
        account__in=[transition.account_id for transition in rows],
        layer__in={transition.layer_id for transition in rows},
        product=None,
    )
    list(assignments.select_for_update().order_by("pk").values_list("pk"))


def go(transition, to):
    """Send a tier change there, if the table of statuses has that way."""
    if (transition.status, to) not in STATUSES.moves:
        raise ended_refusal(transition)
    transition.status = to


def plan_again(transition):
    """Back to planning, out of the request it awaits."""
    transition.request = None
    go(transition, Status.PLANNED)
    transition.save()


def end(transition, status, reason):
    go(transition, status)
    transition.end_reason, transition.ended_at = reason, timezone.now()
    transition.ended_by, transition.ended_by_label = actor().id, actor().label
    transition.save()


def ended_refusal(transition):
    """The Refused for what cannot be done with a tier change in its status."""
    status = transition.get_status_display()
    if transition.is_open:
        return Refused("transition_step_impossible", account=transition.account, status=status)
    who = history.who(transition, "ended_by")
    return Refused("transition_ended_already", account=transition.account, status=status, who=who)


def refuse_held(transition):
    if transition.held_for:
        raise held_refusal(transition)


def held_refusal(transition):
    return Refused(
        "transition_held",
        account=transition.account,
        until=transition.held_until,
        why=transition.get_held_for_display(),
    )


def check_seen(transition, seen):
    if seen is not None and seen != token(transition):
        raise Refused("transition_stale")


def tell(transition, kind, text, reason="", **data):
    return events.record(
        kind,
        text,
        account=transition.account,
        layer=transition.layer,
        about=transition,
        reason=reason,
        data=data,
    )


def day_of(at):
    """The day in the organisation's zone; today where none is given."""
    if at is None:
        return timezone.localdate()
    return timezone.localdate(at) if isinstance(at, datetime) else at
