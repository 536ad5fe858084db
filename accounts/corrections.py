"""Corrections by hand: the value, who says so, and why."""

from datetime import date
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from accounts import catalogue, gates, parents
from accounts.catalogue import ACCOUNT_FACTS
from accounts.models import Account, Csm
from accounts.quality import disputes
from accounts.quality.disputes import MANUAL
from accounts.records import Origin
from core.history import acting
from core.refusals import Refused


def check_csm(csm):
    """Refuse somebody whose login is closed as the CSM who gets an account; None is nobody, and fits."""
    if csm is not None and csm.closed:
        raise Refused("csm_login_closed", csm=csm)


def correct(account, changes, *, by, reason):
    """Set these fields of the account ({field: value}); facts among them are known from hand, as of today.

    Returns the Conflicts: a protected fact of another system of record that matters to a segment is not set, it waits for a
    decision. The row is locked first, so that an import running meanwhile is not overwritten with what the page had loaded.
    """
    with transaction.atomic(), acting(by=by, reason=reason):
        if changes.get("parent"):
            _check_parent(account, changes["parent"])
        held = Account.objects.select_for_update(of=["self"]).get(pk=account.pk)
        if "csm" in changes and changes["csm"] != held.csm:
            check_csm(changes["csm"])
        today = timezone.localdate()
        origin = Origin(source=MANUAL, observed=today, currency=held.currency)
        given = {name: _text(changes[name]) for name in catalogue.DISPUTED if name in changes}
        if not given:
            _write(held, changes, [MANUAL, today.isoformat()])
            return []
        with connection.cursor() as cursor:
            disputes.stage(cursor, held.external_id, given)
            sifted = disputes.sift(cursor, given, origin, clears=True)
            others = {name: value for name, value in changes.items() if name not in sifted.rows}
            if others:
                _write(held, others, [MANUAL, today.isoformat()])
            queued = disputes.queue(sifted, origin, reason=reason)
            disputes.settle(cursor, given, origin, sifted)
            cursor.execute("drop table staged")
    return queued


def accept(account, fact, text, *, source, observed, by, reason):
    """Set a fact (locked by the caller) to the value somebody decided for, known from this source as of that day.

    text: as in a Conflict, None for "not known". Raises Refused where it cannot be: a parent that is not there, a circle.
    """
    value = _value(account, fact, text)
    with acting(by=by, reason=reason):
        _write(account, {fact: value}, [source, observed.isoformat()])


def propose(account, fact, typed, *, source, reason):
    """Somebody who changes nothing says what is right: that waits for a decision. In the caller's name. The Conflict."""
    value = read(account, fact, typed)
    origin = Origin(source=source, observed=timezone.localdate(), currency=account.currency)
    return disputes.propose(account, fact, value, origin, reason=reason)


def read(account, fact, typed):
    """Read what somebody typed as the value of a fact, as conflicts write it. Raises Refused where it is none."""
    try:
        value = _value(account, fact, typed.replace(",", "") if catalogue.TYPES[fact] == "integer" else typed)
        field = Account._meta.get_field(fact)
        if fact != "parent":
            field.clean(value, account)
            if (least := catalogue.FACTS[fact].minimum) is not None and value < least:
                raise ValueError
    except (ValueError, ValidationError, ArithmeticError):
        raise Refused("value_unreadable", typed=typed[:40], fact=catalogue.label(fact)) from None
    return _text(value)


def lock_parents():
    """Let nobody else change parents until the transaction ends: taken before accounts are locked."""
    with connection.cursor() as cursor:
        parents.lock(cursor)


def _write(account, values, stamp):
    gates.consult("facts_written", by_hand=True)
    for name, value in values.items():
        setattr(account, name, value)
        if name in ACCOUNT_FACTS:
            account.provenance[name] = stamp
    account.save()


def _text(value):
    """A value as conflicts write it."""
    if isinstance(value, Csm):
        return value.email.lower()
    return getattr(value, "external_id", value) and str(getattr(value, "external_id", value))


def _value(account, fact, text):
    """The value of a text in a conflict."""
    if fact == "parent":
        return _parent(account, text)
    if text is None:
        return None
    if fact == "csm":
        return Csm.objects.get(email__iexact=text)
    readers = {
        "integer": int,
        "date": date.fromisoformat,
        "boolean": lambda text: text == "true",
        "text": str,
    }
    return readers.get(catalogue.TYPES[fact], Decimal)(text)


def _parent(account, external_id):
    if external_id is None:
        return None
    parent = Account.objects.filter(external_id=external_id).first()
    if parent is None:
        raise Refused("parent_missing", external_id=external_id)
    if parent.pk == account.pk:
        raise Refused("parent_is_itself", account=account)
    _check_parent(account, parent)
    return parent


def _check_parent(account, parent):
    """Once nobody else can change a parent: two people may each have been right a moment ago."""
    lock_parents()
    if names := parents.circle(account.pk, parent.pk):
        raise Refused("parent_circle", parent=parent, circle=parents.circle_in_words(names))
