"""The person acting now, and the history rows that record it.

A person in a history row is an integer and a label, without a foreign key: people can be deleted, history stays.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

from django.contrib.auth.models import User
from django.db import models, transaction
from simple_history.models import HistoricalRecords

from core.kept import kept


@dataclass(frozen=True)
class Actor:
    """The one who acts, through which channel and why."""

    id: int | None = None
    label: str = "system"
    channel: str = "shell"
    reason: str = ""


_SYSTEM = Actor()
_actor = ContextVar("actor", default=_SYSTEM)


def actor() -> Actor:
    """The actor of this thread of work; `Actor()` (system, shell) where nobody said otherwise."""
    return _actor.get()


@contextmanager
def acting(*, by=None, label="", channel="", reason=""):
    """Everything written within is recorded as done by this user (or this label).

    channel: how they came, told by what they came through (the admin, a command, a worker) and by nobody within.
    """
    is_user = by is not None and by.pk is not None
    outer = actor()
    same = is_user and outer.id == by.pk  # by a token, say, which is told all the way down
    name = label or (outer.label if same else by.get_username() if is_user else "system")
    token = _actor.set(Actor(by.pk if is_user else None, name, channel or outer.channel, reason))
    try:
        yield _actor.get()
    finally:
        _actor.reset(token)


# -- how people are named


def who(row, column):
    """How a row names a person: `who(request, "requester")` reads `requester`, an id, and `requester_label`.

    The label is what they were called at the time. Where that is not their name now, it may be somebody else's: the id
    tells them apart, as in "vera (person 12, now called vera.k)".
    """
    read = row.get if isinstance(row, dict) else partial(getattr, row)
    return named(read(column), read(f"{column}_label"))


TOKEN = " (token "


def with_token(name, key):
    """The label of a user who acts by a token: `crm-sync (token k3x9)`."""
    return f"{name}{TOKEN}{key})"


# Whatever acts and is nobody, as sentences name it: "by the schedule".
_THINGS = {"schedule": "the schedule", "command line": "the command line", "alerts": "the alert rules"}


def named(id, label):
    """The same of an id and a label."""
    if id is None or not label:
        return _THINGS.get(label, label)
    now = _names().get(id)
    if now == label.partition(TOKEN)[0]:
        return label
    return f"{label} (person {id}, {f'now called {now}' if now else 'deleted'})"


@kept
def _names():
    """{id: user name today}, read once within `core.kept.keeping`."""
    return dict(User.objects.values_list("pk", "username"))


def actor_id():
    return actor().id


def actor_label():
    return actor().label


def actor_channel():
    return actor().channel


class Who(models.Model):
    """The columns every history row has besides simple-history's own."""

    history_user_label = models.CharField(max_length=200, default=actor_label)
    history_channel = models.CharField(max_length=20, default=actor_channel)
    history_run = models.BigIntegerField(
        null=True
    )  # the recalculation or import that wrote it, where there was one

    class Meta:
        abstract = True


def _get_user(history, **kwargs):
    return history.history_user_id


def _set_user(history, user):
    history.history_user_id = getattr(user, "pk", user) or actor_id()


def _user_of(instance, request=None, **kwargs):
    return actor_id()


class Tracked(HistoricalRecords):
    """simple-history with the acting person's reason where the save gave none of its own; the row and its history are one write."""

    def add_extra_methods(self, cls):
        super().add_extra_methods(cls)
        save_base = cls.save_base

        def with_history(row, *args, using=None, **options):
            with transaction.atomic(using=using, savepoint=False):
                save_base(row, *args, using=using, **options)

        cls.save_base = with_history

    def get_change_reason_for_object(self, instance, history_type, using):
        return super().get_change_reason_for_object(instance, history_type, using) or actor().reason


def tracked(**options):
    """History for a governed model: full rows, append-only (a trigger), people without a foreign key."""
    return Tracked(
        bases=[Who],
        history_user_id_field=models.IntegerField(null=True),
        history_user_getter=_get_user,
        history_user_setter=_set_user,
        get_user=_user_of,
        history_change_reason_field=models.TextField(default="", blank=True),
        **options,
    )
