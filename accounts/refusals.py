"""What people are told when something may not be done, and the record of it."""

from contextvars import ContextVar
from functools import wraps

from django.db import transaction


class Refused(Exception):
    """A refusal; `str()` of it is the sentence for the person. Pages, commands and the API translate it, nobody else."""


_within = ContextVar("within", default=False)


def verb(function):
    """A verb people are refused by: one transaction, and a refusal is kept in the audit trail after it was rolled back.

    A verb that calls another one is refused once. The first positional argument is what it is about.
    """

    @wraps(function)
    def wrapper(*args, by=None, **options):
        if _within.get():
            return function(*args, by=by, **options)
        token = _within.set(True)
        try:
            with transaction.atomic():
                return function(*args, by=by, **options)
        except Refused as refusal:
            _record(function, args, by, refusal)
            raise
        finally:
            _within.reset(token)

    return wrapper


def _record(function, args, by, refusal):
    from accounts.history import actor  # imports models
    from accounts.models import Refusal

    who = actor()
    about = args[0] if args else None
    meta = getattr(about, "_meta", None)
    Refusal.objects.create(
        verb=f"{function.__module__.rpartition('.')[2]}.{function.__name__}",
        model=meta.label_lower if meta else "",
        object_id=about.pk if meta and isinstance(about.pk, int) else None,
        subject=str(about)[:400] if meta else "",
        sentence=str(refusal),
        actor=by.pk if by is not None else who.id,
        actor_label=by.get_username() if by is not None else who.label,
        channel=who.channel,
    )
