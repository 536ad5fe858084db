"""Inboxes: the requests a person can decide now, how far each is, and those that nobody can decide."""

from django.utils import timezone

from governance.models import ApprovalRequest
from governance.signoff import permissions
from governance.signoff.deciders import Desk

_STATUS = ApprovalRequest.Status


def standing(request, *, desk=None):
    """How far it is in each role it needs: a list of deciders.Part."""
    return (desk or Desk([request])).parts(request)


def nobody_can(request, *, desk=None):
    """Why it waits for somebody there is not, a sentence for CS Ops; "" where people can decide it."""
    if request.status != _STATUS.PENDING:
        return ""
    return (desk or Desk([request])).nobody_can(request)


def awaiting(user, *, at=None):
    """Requests this person could approve now, as a queryset. Few queries, however many wait."""
    return ApprovalRequest.objects.filter(pk__in=awaiting_ids(user, at=at))


def awaiting_ids(user, *, at=None, desk=None):
    """The same as ids. desk: that of all requests that wait (`open_desk`), where the caller has it already."""
    at = at or timezone.now()
    desk = desk or open_desk(at)
    return [
        request.pk
        for request in desk.requests
        if permissions.may(permissions.decide(request, by=user, at=at, desk=desk))
    ]


def open_desk(at):
    """The desk of all requests that wait for a decision at this moment."""
    pending = ApprovalRequest.objects.pending().filter(expires_at__gt=at)
    return Desk(pending.defer("content", "changes"), at=at)
