"""What a person corrects by hand: the value, who says so, and why."""

from django.db import connection, transaction
from django.utils import timezone

from accounts import parents
from accounts.catalogue import ACCOUNT_FACTS
from accounts.history import acting
from accounts.models import Account
from accounts.refusals import Refused

MANUAL = "manual"


def correct(account, changes, *, by, reason):
    """Set these fields of the account ({field: value}); facts among them are known from hand, as of today.

    The row is locked first, so that an import running meanwhile is not overwritten with what the page had loaded.
    """
    with transaction.atomic(), acting(by=by, channel="admin", reason=reason):
        if changes.get("parent"):
            _check_parent(account, changes["parent"])
        held = Account.objects.select_for_update(of=["self"]).get(pk=account.pk)
        today = timezone.localdate().isoformat()
        for name, value in changes.items():
            setattr(held, name, value)
            if name in ACCOUNT_FACTS:
                held.provenance[name] = [MANUAL, today]
        held.save()
    return held


def _check_parent(account, parent):
    """Once nobody else can change a parent: two people may each have been right a moment ago."""
    with connection.cursor() as cursor:
        parents.lock(cursor)
    if names := parents.circle(account.pk, parent.pk):
        raise Refused(f"{parent} cannot be the parent: {parents.told(names)}.")
