"""The way of every verb about overrides: the table of statuses, the locks, the step itself."""

from contextlib import contextmanager

from django.db import transaction

from core.history import acting, actor
from core.locking import locked
from core.refusals import Refused
from core.status_tables import StatusTable, Step
from governance.models import ApprovalRequest, Override, Transition
from segmentation.models import Assignment

Status = Override.Status
_DECIDER, _CLOCK = "the people who decide about its request", "by itself"
STATUSES = StatusTable(
    Override,
    [
        Step(Status.REQUESTED, Status.ACTIVE, "Approved", _DECIDER),
        Step(Status.REQUESTED, Status.REJECTED, "Reject", _DECIDER),
        Step(Status.REQUESTED, Status.WITHDRAWN, "Withdraw, or not decided in time", "who asked, CS Ops"),
        Step(Status.ACTIVE, Status.EXPIRED, "Its date has come", _CLOCK),
        Step(Status.ACTIVE, Status.ENDED, "End it early", "somebody with `plan_transition`"),
        Step(Status.ACTIVE, Status.REPLACED, "Another one is approved", _DECIDER),
    ],
    begins={Status.REQUESTED: "Ask"},
)


@contextmanager
def acting_for(by, reason):
    with transaction.atomic(), acting(by=by, reason=reason):
        yield


def lock_accounts(layer, accounts):
    """Lock what the accounts (ids) have on the layer: requests of tier changes, tier changes, assignments, each by id.

    Whoever decides about tier changes locks in the same order. Returns ({account id: Assignment}, ids of the accounts with
    an open tier change).
    """
    about = {"layer": layer.pk, "account__in": list(accounts)}
    changes = Transition.objects.open().filter(**about)
    awaited = changes.filter(status=Transition.Status.AWAITING).values("request")
    list(ApprovalRequest.objects.filter(pk__in=awaited).select_for_update().order_by("pk").values_list("pk"))
    crossing = set(changes.select_for_update().order_by("pk").values_list("account", flat=True))
    assignments = Assignment.objects.filter(product=None, **about).select_related("computed", "effective")
    return {assignment.account_id: assignment for assignment in locked(assignments)}, crossing


def locked_rows(**about):
    rows = Override.objects.filter(**about).select_related("account", "layer", "segment", "from_segment")
    return locked(rows).order_by("account_id")


def requested_rows(request):
    """The overrides of a request that wait for approval, locked, in the order of their accounts."""
    return list(locked_rows(request=request, status=Status.REQUESTED))


def go(row, to):
    """Send an override to a status, if the table of statuses has that way."""
    if (row.status, to) not in STATUSES.moves:
        raise (
            Refused("override_in_force_already", account=row.account)
            if row.status == Status.ACTIVE
            else not_in_force(row)
        )
    row.status = to


def not_in_force(row):
    return Refused("override_not_in_force", account=row.account, status=row.get_status_display())


def close(row, status, reason, *, at):
    go(row, status)
    row.ended_on, row.end_reason = at, reason
    row.ended_by, row.ended_by_label = actor().id, actor().label
    row.save()
