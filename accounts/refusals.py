"""What people are told when something may not be done, and the record of it."""

from contextvars import ContextVar
from functools import wraps

import structlog
from django.db import DatabaseError, transaction

log = structlog.get_logger(__name__)


class Refused(Exception):
    """A refusal; `str()` of it is the sentence for the person. Pages, commands and the API translate it, nobody else."""


# What the database says no to although everything was checked before: somebody else was faster.
_FASTER = (
    "Somebody else has changed the same in the same moment. Nothing of this was saved: look at it again."
)
_BY_THE_DATABASE = {
    "23001": "The database does not accept it: {said}. Nothing of this was saved: look at it again.",  # a guard
    "23503": "Something it refers to is not there any more. Nothing of this was saved: look at it again.",
    "23505": _FASTER,  # there is one already
    "40001": _FASTER,
    "40P01": _FASTER,  # each waited for the other
    "55P03": _FASTER,
}


def refused_by(error):
    """The Refused this error comes to: itself, or the database's no in words; None where it is a mistake of ours."""
    if isinstance(error, Refused):
        return error
    state = getattr(error.__cause__, "sqlstate", None) if isinstance(error, DatabaseError) else None
    if state not in _BY_THE_DATABASE:
        return None
    said = str(error).partition("\n")[0]
    log.warning("the database refused", state=state, said=said)
    return Refused(_BY_THE_DATABASE[state].format(said=said))


_within = ContextVar("within", default=False)


def verb(function):
    """A verb people are refused by: one transaction, and a refusal is kept in the audit trail after it was rolled back.

    What the database refuses in the last moment is a refusal as well. A verb that calls another one is refused once.
    The first positional argument is what it is about.
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
        except DatabaseError as error:
            refusal = refused_by(error)
            if refusal is None:
                raise
            _record(function, args, by, refusal)
            raise refusal from error
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
