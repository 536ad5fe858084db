"""The course of a request: its table of statuses, and what every verb shares that locks it, ends it and tells of it."""

from contextlib import contextmanager

from core.history import acting, actor
from core.refusals import Refused
from core.status_tables import StatusTable, Step
from governance import events
from governance.models import ApprovalRequest
from governance.signoff import kinds
from governance.signoff.requirements import hold_policies
from segmentation.evaluation import causes
from segmentation.models import Cause

LONGEST = 4_000  # characters of a reason or a comment
_STATUS = ApprovalRequest.Status


# -- the status table


_DECIDER = "people of the roles it needs who have no part in it"
_OWN = "who requested or edited it, CS Ops"
_CLOCK = "by itself"
STATUSES = StatusTable(
    ApprovalRequest,
    [
        Step(_STATUS.PENDING, _STATUS.APPLIED, "Approve, the last one needed", _DECIDER, verb="approve"),
        Step(_STATUS.PENDING, _STATUS.APPROVED, "Approve, to be carried out later", _DECIDER, verb="approve"),
        Step(_STATUS.PENDING, _STATUS.FAILED, "Approved, cannot be carried out", _DECIDER, verb="approve"),
        Step(_STATUS.PENDING, _STATUS.CHANGES_ASKED, "Ask for changes", _DECIDER, True, verb="ask"),
        Step(_STATUS.PENDING, _STATUS.REJECTED, "Reject", _DECIDER, True, verb="reject"),
        Step(_STATUS.CHANGES_ASKED, _STATUS.PENDING, "Edit, or hand in again", _OWN, verb="resubmit"),
        Step(
            _STATUS.APPROVED,
            _STATUS.APPLIED,
            "Its date has come, or a worker has done it",
            _CLOCK,
            verb="apply",
        ),
        Step(_STATUS.APPROVED, _STATUS.FAILED, "Cannot be carried out", _CLOCK, verb="apply"),
        Step(_STATUS.FAILED, _STATUS.APPLIED, "Try again", _OWN, verb="apply"),
        Step(_STATUS.FAILED, _STATUS.APPROVED, "Try again, a worker does it", _OWN, verb="apply"),
        Step(_STATUS.APPROVED, _STATUS.PENDING, "Edit, or too few approvals count", _OWN, verb="edit"),
        Step(_STATUS.FAILED, _STATUS.PENDING, "Edit, or too few approvals count", _OWN, verb="edit"),
        *(
            Step(status, _STATUS.WITHDRAWN, "Withdraw", _OWN, True, verb="withdraw")
            for status in (_STATUS.PENDING, _STATUS.CHANGES_ASKED, _STATUS.APPROVED, _STATUS.FAILED)
        ),
        *(
            Step(status, _STATUS.EXPIRED, "Nobody decided in time", _CLOCK, verb="expire")
            for status in (_STATUS.PENDING, _STATUS.CHANGES_ASKED, _STATUS.FAILED)
        ),
    ],
    begins={_STATUS.PENDING: ""},
)


# -- what the verbs share


@contextmanager
def acting_for(by, reason):
    """Write in the name of `by`; where nobody asks in person it is the system's doing, told by its channel."""
    who = actor()
    if by is None and who.id is not None:
        who = type(who)(channel=who.channel)
    with acting(by=by, label="" if by else who.label, reason=reason):
        yield


def locked(request):
    """The request as it is now, locked; before it the policies, where it sets them."""
    if kinds.of(request).sets_policies:
        hold_policies(request.kind)
    return ApprovalRequest.objects.select_for_update().get(pk=request.pk)


def clean(text):
    """A text as it is kept."""
    text = (text or "").replace("\0", "").strip()
    if len(text) > LONGEST:
        raise Refused("text_too_long", most=LONGEST)
    return text


def needed_text(text, otherwise):
    """A text somebody has to write; `otherwise`: the code of the refusal where they did not."""
    text = clean(text)
    if not text:
        raise Refused(otherwise)
    return text


_ENDS = {"reject": "request_rejected", "withdraw": "request_withdrawn", "expire": "request_expired"}


def end(request, status, verdict, *, by, at, reason, text):
    """End a request that is not carried out, let go of what it was about, and tell of it."""
    causes.take(Cause.Kind.DECISION, reason=reason)
    request.status, request.end_reason = status, reason
    sign(request, by, at)
    request.save()
    kinds.of(request).verbs().decided_against(request, verdict=verdict, by=by, reason=reason)
    tell(request, _ENDS[verdict], text, reason)


def sign(request, by, at):
    """Note who ended it, and when."""
    request.ended_at = at
    request.ended_by = by.pk if by else None
    request.ended_by_label = name(by)


def name(by):
    """How a person is called, or the system where nobody acts."""
    return by.get_username() if by else actor().label


def tell(request, kind, text, reason, **data):
    """Record an event about a request."""
    data |= {"request": request.pk, "kind": request.kind, "revision": request.revision}
    return events.record(kind, text, about=request, reason=reason, data=data)
