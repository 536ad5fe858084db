"""A day's work on requests: those approved for it are carried out, late ones expire, and before that people are told."""

import logging
from datetime import timedelta

from django.db.models import F
from django.utils import timezone

from core.refusals import Refused, verb
from core.wording import day
from governance.models import ApprovalRequest, Decision
from governance.signoff.carrying_out import apply, recount, say_who_is_missing
from governance.signoff.deciders import Desk
from governance.signoff.requests import STATUSES, acting_for, end, locked, tell
from segmentation.evaluation import causes
from segmentation.models import Cause

log = logging.getLogger(__name__)

SOON = timedelta(days=2)  # before a request expires, everybody who could decide it is told
_STATUS, _VERDICT = ApprovalRequest.Status, Decision.Verdict


def apply_due(at):
    """Carry out what was approved for a day that has come, and count approvals again; how many were carried out."""
    today = timezone.localdate(at)
    approved = list(ApprovalRequest.objects.filter(status=_STATUS.APPROVED).order_by("pk"))
    due = [request for request in approved if not request.apply_on or request.apply_on <= today]
    begun = Decision.objects.filter(verdict=_VERDICT.APPROVE, revision=F("request__revision"))
    begun = ApprovalRequest.objects.pending().filter(pk__in=begun.values("request")).order_by("pk")
    for request in [*(request for request in approved if request not in due), *begun]:
        _try(recount, request, at=at)
    return sum(_try(_apply_due, request, at=at) for request in due)


def _apply_due(request, *, at):
    return apply(request, at=at).status == _STATUS.APPLIED


def expire(at):
    """End the requests nobody decided in time; how many."""
    late = ApprovalRequest.objects.filter(status__in=_EXPIRING, expires_at__lte=at).order_by("pk")
    return sum(_try(_expire, request, at=at) for request in late)


_EXPIRING = [step.source for step in STATUSES.ways("expire")]


@verb
def _expire(request, *, by=None, at):
    reason = f"Nobody decided it until {day(request.expires_at)}."
    with acting_for(by, reason):
        request = locked(request)
        if request.status not in _EXPIRING or request.expires_at > at:
            return False  # decided or edited in the meantime
        text = f"Expired: {request.subject}"
        end(request, _STATUS.EXPIRED, "expire", by=by, at=at, reason=reason, text=text)
    return True


def escalate(at):
    """Tell of the requests that expire soon, once: delegates and everybody of the roles they need; how many."""
    soon = ApprovalRequest.objects.pending().filter(
        escalated_at=None, expires_at__gt=at, expires_at__lte=at + SOON
    )
    return sum(_try(_escalate, request, at=at) for request in soon.order_by("pk"))


@verb
def _escalate(request, *, by=None, at):
    with acting_for(by, "It expires soon"):
        request = locked(request)
        if request.status != _STATUS.PENDING or request.escalated_at:
            return False  # decided, or told of, in the meantime
        causes.take(Cause.Kind.DECISION, reason="It expires soon")
        request.escalated_at = at
        request.save()
        desk = Desk([request], at=at)
        people = sorted(desk.could_approve(request))
        text = f"Expires on {day(request.expires_at)} and waits for a decision: {request.subject}"
        tell(request, "request_escalated", text, "", people=people)
        say_who_is_missing(request, desk)
    return True


def say_stuck(at):
    """Tell of requests nobody can decide any more, whatever made it so: the last one is away or became the CSM; how many."""
    pending = ApprovalRequest.objects.pending().filter(expires_at__gt=at).order_by("pk")
    desk = Desk(pending, at=at)
    return sum(_try(_say_stuck, request, at=at) for request in desk.requests if desk.nobody_can(request))


@verb
def _say_stuck(request, *, by=None, at):
    with acting_for(by, "Nobody can decide it"):
        request = locked(request)
        if request.status != _STATUS.PENDING:
            return False
        say_who_is_missing(request, Desk([request], at=at))
    return True


def _try(step, request, *, at):
    """Try the step; one request that cannot does not keep the others."""
    try:
        return bool(step(request, at=at))
    except Refused:  # a person was faster
        return False
    except Exception:
        log.exception("%s of request %s failed", step.__name__, request.pk)
        return False
