"""Refusals: a code, what it is about, and the sentence made of both; and the verbs people are refused by.

Each app has its sentences in `<app>/sentences.py`, read at the start. docs/refusals.md lists them.
"""

import re
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from string import Formatter

import structlog
from django.db import DatabaseError, transaction

from core import wording

log = structlog.get_logger(__name__)


class Refused(Exception):
    """A refusal. `code` says which; `about` is what it names; `str()` of it is the sentence for the person.

    Whoever has to know which refusal it is asks for the code. Pages, commands and the API say the sentence.
    """

    def __init__(self, code, **about):
        if code not in SENTENCES:
            raise LookupError(f"No app has a sentence for the refusal {code!r}.")
        super().__init__(code)
        self.code, self.about = code, about

    def __str__(self):
        sentence = SENTENCES[self.code]
        return sentence(**self.about) if callable(sentence) else _SENTENCE.format(sentence, **self.about)


def check(refusal):
    """Raise a refusal, where there is one: `check(permissions.approve(request, by=by))`."""
    if refusal is not None:
        raise refusal


# -- the sentences


SENTENCES = {}  # {code: a text with {names}, or a function of what it names, whose docstring is the text}


def register(sentences):
    """Add an app's sentences, {code: sentence}. A code that is there already is a mistake."""
    if taken := SENTENCES.keys() & sentences.keys():
        raise ValueError(f"These refusals have a sentence already: {', '.join(sorted(taken))}")
    SENTENCES.update(sentences)


def markdown():
    """A table of the codes and their sentences."""
    rows = [f"| `{code}` | {_text(SENTENCES[code])} |" for code in sorted(SENTENCES)]
    return "\n".join(["| code | sentence |", "|---|---|", *rows])


def _text(sentence):
    return re.sub(r"[:!][^{}]*}", "}", sentence.__doc__ if callable(sentence) else sentence)


class _Sentence(Formatter):
    """`str.format`, with words of core.wording after the colon: `{until:day}`, `{rows:plural:row,rows}`."""

    def format_field(self, value, spec):
        word, _, argument = spec.partition(":")
        if word not in WORDS:
            return format(value, spec)
        return WORDS[word](value, argument) if argument else WORDS[word](value)


_SENTENCE = _Sentence()
WORDS = {
    "day": wording.day,
    "article": wording.article,
    "either": " or ".join,
    "listed": wording.listed,
    "named": ", ".join,
    "lower": lambda text: str(text).lower(),
    "plural": wording.plural,
}


# -- what the database refuses


# It says no to what was checked before where somebody else was faster, and to what nobody checked.
_BY_THE_DATABASE = {
    "23001": "guarded_by_the_database",
    "23503": "reference_gone",
    "23505": "changed_in_the_same_moment",  # there is one already
    "40001": "changed_in_the_same_moment",
    "40P01": "changed_in_the_same_moment",  # each waited for the other
    "55P03": "changed_in_the_same_moment",
}


def refused_by(error):
    """The Refused this error comes to: itself, or the database's no; None where it is a mistake of ours."""
    if isinstance(error, Refused):
        return error
    state = getattr(error.__cause__, "sqlstate", None) if isinstance(error, DatabaseError) else None
    if state not in _BY_THE_DATABASE:
        return None
    message = str(error).partition("\n")[0]
    log.warning("the database refused", state=state, said=message)
    return Refused(_BY_THE_DATABASE[state], said=message)


# -- verbs


_within = ContextVar("within", default=False)
_later = ContextVar(
    "later", default=None
)  # refusals that wait until what they were part of has been rolled back
_recorders = []


def recorded_by(function):
    """Let `function(verb, about, by, refusal)` keep every refusal of a verb, once it was rolled back."""
    _recorders.append(function)


@contextmanager
def recorded_afterwards():
    """Within, refusals of verbs are recorded at the end: the transaction they are part of is rolled back with them."""
    waiting = []
    token = _later.set(waiting)
    try:
        yield
    finally:
        _later.reset(token)
        for refused in waiting:
            _record(*refused)


def verb(function):
    """A verb people are refused by: one transaction, and a refusal is recorded after it was rolled back.

    A refusal by the database in the last moment counts as well. A verb that calls another one is refused once. The first
    positional argument is what it is about.
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
    if (waiting := _later.get()) is not None:
        waiting.append((function, args, by, refusal))
        return
    name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
    for record in _recorders:
        record(name, args[0] if args else None, by, refusal)
