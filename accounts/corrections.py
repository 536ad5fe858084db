"""What a person corrects by hand: the value, who says so, and why."""

from django.db import transaction
from django.utils import timezone

from accounts.catalogue import ACCOUNT_FACTS
from accounts.history import acting
from accounts.models import Account

MANUAL = "manual"


def correct(account, changes, *, by, reason):
    """Set these fields of the account ({field: value}); facts among them are known from hand, as of today.

    The row is locked first, so that an import running meanwhile is not overwritten with what the page had loaded.
    """
    with transaction.atomic(), acting(by=by, channel="admin", reason=reason):
        held = Account.objects.select_for_update(of=["self"]).get(pk=account.pk)
        today = timezone.localdate().isoformat()
        for name, value in changes.items():
            setattr(held, name, value)
            if name in ACCOUNT_FACTS:
                held.provenance[name] = [MANUAL, today]
        held.save()
    return held
