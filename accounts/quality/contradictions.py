"""Accounts whose status and contract say opposite things, on a day: somebody has to find out which of them is so."""

from datetime import timedelta

from django.db.models import Exists, Max, OuterRef, Q

from accounts.models import Account, Subscription
from core.organisation import organisation
from core.wording import day, plural

Status = Account.Status
RUN = ("active", "past due", "paused")


def running(subscriptions, at):
    """The subscriptions that run on a day or are in their days of grace, trials left out."""
    there = Q(end_date=None) | Q(end_date__gt=_late(at))
    runs = Q(there, status__in=RUN) | Q(end_date__gt=at, status="cancelled")
    return subscriptions.filter(runs, start_date__lte=at)


def _late(at):
    return at - timedelta(days=organisation().renewal_grace_days)


def of_account(account, at):
    """[sentence] about one account."""
    subscriptions = list(account.subscriptions.all())
    runs = [row for row in subscriptions if _runs(row, at)]
    ends = [row.end_date for row in subscriptions if row.end_date and row.status != "trial"]
    if account.kind != Account.Kind.CUSTOMER:
        return []
    status, said = account.get_status_display().lower(), []
    if account.status == Status.CHURNED and runs:
        said.append(
            f"The status is {status}, and a contract runs since {day(min(row.start_date for row in runs))}."
        )
    if account.status != Status.CHURNED and not runs:
        ended = max([*ends, *filter(None, [account.renewal_date])], default=None)
        if ended and ended < at and (ends or not subscriptions):
            ago = plural((at - ended).days, "day,days")
            said.append(f"The status is {status}, and the last contract ended {ago} ago, on {day(ended)}.")
    return said


def _runs(row, at):
    if row.status == "cancelled":
        return row.start_date <= at and row.end_date is not None and row.end_date > at
    there = row.end_date is None or row.end_date > _late(at)
    return row.status in RUN and row.start_date <= at and there


def among(accounts, at):
    """The accounts of a queryset about which `of_account` says something."""
    own = Subscription.objects.filter(account=OuterRef("pk"))
    now = Exists(running(own, at))
    ended = own.exclude(status="trial").order_by().values("account").annotate(last=Max("end_date"))
    over = Exists(ended.filter(last__lt=at)) & (Q(renewal_date=None) | Q(renewal_date__lt=at))
    alone = ~Exists(own) & Q(renewal_date__lt=at)
    stays = ~Q(status=Status.CHURNED) & ~now & (over | alone)
    return accounts.filter(kind=Account.Kind.CUSTOMER).filter(stays | Q(status=Status.CHURNED) & now)
