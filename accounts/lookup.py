"""Accounts by a few letters of their name, their ID or their web domain, for somebody who is typing them."""

from dataclasses import dataclass

from django.db import OperationalError, connection, transaction
from django.db.models import Q, Value
from django.db.models.functions import Upper

from accounts.models import Account, begins

COLUMNS = ("name", "external_id", "domain")
PATIENCE = 90  # milliseconds for what no index answers at once
WORDS = 10
LEAST = 3  # letters to look for within names: fewer are in too many


@dataclass(frozen=True)
class Hits:
    """The accounts found, the closest first. more: there are others. cut: names were not all looked through for it."""

    accounts: list
    more: bool = False
    cut: bool = False


def find(text, *, most):
    """The Hits of a text: accounts that are called so, that begin so, and that have its words somewhere within.

    The beginning is read from an index in its order, however many begin so. Within, trigrams look for it where the
    database has them, and for so long as somebody who types waits.
    """
    found = {}
    for rows in _beginning(text, most + 1):
        found |= {account.pk: account for account in rows if account.pk not in found}
    cut = False
    if len(found) <= most and len(text) >= LEAST:
        within, cut = _within(text, most + 1)
        found |= {account.pk: account for account in within if account.pk not in found}
    accounts = sorted(found.values(), key=lambda account: not is_called(account, text))
    return Hits(accounts[:most], len(accounts) > most, cut)


def is_called(account, text):
    """Whether this is its name, its ID or its web domain, and not a part of it."""
    names = (str(getattr(account, column) or "").casefold() for column in COLUMNS)
    return text.casefold() in names


def _beginning(text, most):
    for column in COLUMNS:
        rows = Account.objects.annotate(key=begins(column)).filter(key__startswith=Upper(Value(text)))
        yield rows.select_related("csm").order_by("key")[:most]


def _within(text, most):
    """(rows that have each word somewhere, whether time ran out)."""
    wanted = Q()
    for word in text.split()[:WORDS]:
        wanted &= Q(name__icontains=word) | Q(external_id__icontains=word) | Q(domain__icontains=word)
    rows = Account.objects.filter(wanted).select_related("csm").order_by()[:most]
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # Reading one after the other until a few fit looks cheap, and is not where none does.
            cursor.execute(f"set local statement_timeout = {PATIENCE}; set local enable_seqscan = off")
            within = list(rows)
            transaction.set_rollback(True)  # of the two settings
    except OperationalError:
        return [], True
    return within, False
