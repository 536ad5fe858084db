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
    ids = [one.pk for one in transitions]
    awaited = Transition.objects.filter(pk__in=ids, status=Status.AWAITING).values_list("request", flat=True)
    requests = (
        ApprovalRequest.objects.select_for_update().filter(pk__in=set(awaited)).order_by("pk").in_bulk()
    )
    rows = list(locked(Transition.objects.filter(pk__in=ids).select_related(*RELATED)))
    for one in rows:
        if one.status == Status.AWAITING:
            if one.request_id not in requests:
                raise Refused("transition_stale")
            one.request = requests[one.request_id]
    return rows


def lock_assignments(rows):
    """In the order in which recalculations lock them."""
    found = Assignment.objects.filter(
        account__in=[one.account_id for one in rows], layer__in={one.layer_id for one in rows}, product=None
    )
    list(found.select_for_update().order_by("pk").values_list("pk"))


def go(one, to):
    """Send a tier change there, if the table of statuses has that way."""
    if (one.status, to) not in STATUSES.moves:
        raise ended_refusal(one)
    one.status = to


def end(one, status, reason):
    go(one, status)
    one.end_reason, one.ended_at = reason, timezone.now()
    one.ended_by, one.ended_by_label = actor().id, actor().label
    one.save()


def ended_refusal(one):
    """The Refused for what cannot be done with a tier change in its status."""
    status = one.get_status_display()
    if one.is_open:
        return Refused("transition_step_impossible", account=one.account, status=status)
    who = history.who(one, "ended_by")
    return Refused("transition_ended_already", account=one.account, status=status, who=who)


def refuse_held(one):
    if one.held_for:
        raise held_refusal(one)


def held_refusal(one):
    return Refused(
        "transition_held", account=one.account, until=one.held_until, why=one.get_held_for_display()
    )


def check_seen(one, seen):
    if seen is not None and seen != token(one):
        raise Refused("transition_stale")


def tell(one, kind, text, reason="", **data):
    return events.record(
        kind, text, account=one.account, layer=one.layer, about=one, reason=reason, data=data
    )


def day_of(at):
    """The day in the organisation's zone; today where none is given."""
    if at is None:
        return timezone.localdate()
    return timezone.localdate(at) if isinstance(at, datetime) else at
