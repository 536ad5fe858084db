"""Requests carried out: all or nothing, once enough approvals count, on their day; and counted again where people leave."""

import logging

from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from core.history import actor
from core.refusals import Refused, verb
from governance.models import ApprovalRequest, Decision, Event
from governance.signoff import kinds, permissions
from governance.signoff.deciders import Desk
from governance.signoff.impact import stored
from governance.signoff.requests import acting_for, locked, sign, tell
from governance.signoff.requirements import measure, requirement, stricter
from segmentation.evaluation import causes
from segmentation.models import Cause

log = logging.getLogger(__name__)

_STATUS = ApprovalRequest.Status


@verb
def apply(request, *, by=None, at=None):
    """Carry out what is approved and due, or try again what failed. Approvals are counted once more before."""
    at = at or timezone.now()
    with acting_for(by, request.why):
        request = locked(request)
        permissions.check(permissions.apply(request, by=by, at=at))
        causes.take(Cause.Kind.DECISION, reason=request.why)
        grown = measure(request, "carried out", at)
        go_on(request, by=by, at=at, grown=grown)
    return request


def go_on(request, *, by, at, desk=None, grown=""):
    """From where it is as far as its approvals go: back to waiting, to waiting for its date, or done.

    grown: why it needs more approvals than before, as `measure` gives it.
    """
    desk = desk or Desk([request], at=at)
    if not desk.enough(request):
        if request.status != _STATUS.PENDING:
            back(request, grown)
        elif grown:
            tell(request, "request_recounted", f"It needs more approvals: {request.subject}", grown)
        say_who_is_missing(request, desk)
    elif request.apply_on and request.apply_on > timezone.localdate(at):
        _wait(request)
    else:
        _carry_out(request, by=by, at=at)


def _wait(request):
    """It is approved, and its day or a worker's part in it is still to come."""
    if request.status != _STATUS.APPROVED:
        request.status, request.failure = _STATUS.APPROVED, ""
        request.save()


def _prepared(request, *, by):
    """Do what takes a worker's time before a request can be carried out; most take none."""
    kind = kinds.of(request)
    return not kind.has("prepare") or kind.verbs().prepare(request, by=by)


def _carry_out(request, *, by, at):
    """All or nothing: what fails leaves the request with the reason, and no trace else."""
    try:
        with transaction.atomic():
            if not _prepared(request, by=by):
                return _wait(request)
            request.status, request.failure = _STATUS.APPLIED, ""
            sign(request, by, at)
            request.save()
            kinds.of(request).verbs().carry_out(request, by=by, at=at)
            connection.check_constraints()  # what else would be found out at the commit
            tell(request, "request_applied", f"Approved and done: {request.subject}", request.why)
    except Exception as error:
        reason = _sentence(error, request)
        request.refresh_from_db()
        request.status, request.failure = _STATUS.FAILED, reason
        request.save()
        tell(
            request, "request_failed", f"Approved, but it could not be carried out: {request.subject}", reason
        )


def _sentence(error, request):
    if isinstance(error, Refused):
        return str(error)
    log.exception("Request %s cannot be carried out", request.pk)
    if isinstance(error, DatabaseError):
        sentence = str(error).split("\n")[0]
        return (
            f"The database does not accept it: {sentence}. Try again; if it stays, withdraw it and ask anew."
        )
    return "Something went wrong in Demarc itself; it is in the log. Try again, or tell whoever runs it."


def back(request, grown=""):
    """The approvals given are not enough any more, or (`grown`) it needs more of them: it waits again."""
    request.status, request.failure = _STATUS.PENDING, ""
    request.save()
    why = "it reaches further than before" if grown else "not all who approved it may still decide"
    tell(request, "request_recounted", f"Waits for approval again, for {why}: {request.subject}", grown)


def say_who_is_missing(request, desk, *, again=False):
    """An event for CS Ops where nobody could decide; once for a revision, or again where somebody else could meanwhile."""
    sentence = desk.nobody_can(request)
    stuck_events = Event.objects.filter(about="approvalrequest", about_id=request.pk, kind="request_stuck")
    if sentence and (again or not stuck_events.filter(data__revision=request.revision).exists()):
        tell(request, "request_stuck", f"{request.subject}: {sentence}", "")


def left(user, roles, *, at=None):
    """Count again what somebody decided who leaves, or loses these roles, and say at once which requests wait for nobody now.

    roles: names, those they had.
    """
    recount(user, at=at)
    waiting = ApprovalRequest.objects.pending().filter(needed__has_any_keys=list(roles)).order_by("pk")
    desk = Desk(waiting, at=at)
    with acting_for(None, actor().reason):
        for request in desk.requests:
            could = user.pk not in desk.left_out(request) and not desk.decision_of(request, user.pk)
            say_who_is_missing(request, desk, again=could)


def left_to_change(user):
    """Say which requests wait for this person, who leaves: changes were asked of them, or what they asked for failed."""
    theirs = ApprovalRequest.objects.filter(
        requester=user.pk, status__in=[_STATUS.CHANGES_ASKED, _STATUS.FAILED]
    )
    with acting_for(None, actor().reason):
        for request in theirs.order_by("pk"):
            status = request.get_status_display().lower()
            text = f"{request.subject}: {status}, and {user.get_username()}, who asked for it, has left. CS Ops edits or withdraws it."
            tell(request, "request_stuck", text, "")


@verb
def recount(what, *, by=None, at=None):
    """Count approvals again: of one request, or of all a person (a User) has decided. Returns those that wait again.

    Called where somebody is deactivated, or gets or loses a role. A request that has too few left waits for approval
    again; one that has enough again goes on.
    """
    at = at or timezone.now()
    if isinstance(what, ApprovalRequest):
        requests = [what]
    else:
        mine = Decision.objects.filter(by=what.pk) | Decision.objects.filter(on_behalf_of=what.pk)
        requests = ApprovalRequest.objects.open().filter(pk__in=mine.values("request")).order_by("pk")
    return [waiting for request in requests if (waiting := _recount(request, by=by, at=at))]


def _recount(request, *, by, at):
    """The request if it waits for approval again, else None."""
    with acting_for(by, request.why):
        request = locked(request)
        waits = request.status in (_STATUS.APPROVED, _STATUS.FAILED)
        # Whoever has to approve it besides is asked when that is known, and not on its day.
        counts = waits and not kinds.of(request).whole_portfolio
        grown = measure(request, "waiting", at) if counts else ""
        enough = Desk([request], at=at).enough(request)
        if waits and not enough:
            causes.take(Cause.Kind.DECISION, reason=request.why)
            back(request, grown)
            return request
        if request.status == _STATUS.PENDING and enough and request.expires_at > at:
            causes.take(Cause.Kind.DECISION, reason=request.why)
            grown = measure(request, "carried out", at)
            go_on(request, by=by, at=at, grown=grown)
    return None


@verb
def tighten(kind, *, by=None, at=None):
    """After a change of policy: open requests of this kind need what is stricter of old and new."""
    reason = "The policy changed"
    with acting_for(by, reason):
        # A transaction that holds one just now waits for this change of policy, or counts again before it carries anything out.
        open_requests = ApprovalRequest.objects.open().filter(kind=kind).order_by("pk")
        for request in open_requests.select_for_update(skip_locked=True):
            needed = stricter(request.needed, requirement(kind, stored(request))[0])
            if not request.is_open or needed == request.needed:
                continue
            causes.take(Cause.Kind.DECISION, reason=reason)
            request.needed = needed
            request.save()
            desk = Desk([request], at=at)
            if request.status in (_STATUS.APPROVED, _STATUS.FAILED) and not desk.enough(request):
                back(request)
            if request.status == _STATUS.PENDING:
                say_who_is_missing(request, desk)
