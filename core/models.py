"""The settings of the organisation, the programs that log in, and what the API keeps."""

import zoneinfo

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Func, Q
from django.utils import timezone

from core.history import tracked


def check_time_zone(name):
    """Refuse a name that is not one of the time zones there are."""
    if name not in zoneinfo.available_timezones():
        raise ValidationError("This is not a time zone such as Europe/Berlin.")


def number(label, default, help_text, *, least=1, most=100_000):
    """A column for a whole number from 1, or from `least`."""
    limits = [MinValueValidator(least), MaxValueValidator(most)]
    return models.PositiveIntegerField(label, default=default, validators=limits, help_text=help_text)


class Settings(models.Model):
    """The organisation, its money and time, and its limits. Read by `core.organisation`, which knows what the environment fixes.

    There is at most one row; without it the defaults hold. Each value is changed by an approved request (a trigger).
    The numbers of the checks of rules are the methodology's; `check_segments_from` is ours.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    name = models.CharField(
        "organisation", max_length=200, blank=True, help_text="As it is called on pages and in mails."
    )
    currency = models.CharField(
        max_length=3,
        default="USD",
        validators=[RegexValidator(r"^[A-Z]{3}\Z", "A currency is a code of three capitals such as USD.")],
        help_text="Accounts with money in another one get no segment by money.",
    )
    time_zone = models.CharField(
        max_length=60,
        default="UTC",
        validators=[check_time_zone],
        help_text="Days are counted and times shown in it.",
    )
    renewal_grace_days = number(
        "days of grace for a renewal",
        14,
        "A contract that has ended and was not cancelled counts for so long; its renewal is overdue.",
        least=0,
        most=366,
    )
    check_accounts_per_segment = number("accounts in a segment", 10, "A segment with fewer is told of.")
    check_completeness = number(
        "completeness, %", 60, "A data field that fewer active customers have is told of.", most=100
    )
    check_fresh = number(
        "fresh values, %",
        60,
        "A data field with fewer values as fresh as the data dictionary asks is told of.",
        most=100,
    )
    check_dimensions = number("score groups", 5, "Rules with more are told of.", most=1_000)
    check_values_per_dimension = number(
        "levels of a measure", 6, "A measure with more is told of.", most=1_000
    )
    check_segments_from = number(
        "segments, from", 3, "A primary segmentation with fewer is told of.", most=1_000
    )
    check_segments_to = number("segments, to", 8, "A primary segmentation with more is told of.", most=1_000)
    check_segments_at_most = number(
        "segments, at most", 15, "With more it is a fault, up to here a warning.", most=1_000
    )
    import_mb = number("files of an import, MB", 200, "Together, in one upload.")
    import_memory_mb = number(
        "memory of an import, MB", 2048, "What its computation may take before it is stopped."
    )
    import_seconds = number(
        "time of an import, seconds", 900, "What its computation may take before it is stopped."
    )
    import_rejected = number(
        "rejected rows of an import, %",
        20,
        "With more of a file or of its records left out, nothing is imported.",
        most=100,
    )
    override_days = number("days of an override", 90, "Until it ends, where nobody says otherwise.", most=366)
    override_days_at_most = number(
        "days of an override, at most", 365, "Nobody asks for more at a time.", most=3_660
    )
    override_reminder_days = number(
        "days before an override ends", 14, "People are reminded of it then.", most=366
    )
    stand_in_days_at_most = number(
        "days of a stand-in, at most", 366, "Nobody stands in for longer at a time.", most=3_660
    )
    night_hour = number(
        "o'clock of the nightly recalculation", 2, "In the organisation's time zone.", most=23
    )
    morning_hour = number(
        "o'clock of the day's steps",
        6,
        "Ends, reminders and days that have come are looked at then.",
        most=23,
    )
    lockout_minutes = number(
        "minutes of a lock-out", 15, "After too many wrong passwords, from the last one.", most=1_440
    )
    facts_days_at_most = number(
        "age of the newest value, days",
        60,
        "With older data only, a recalculation asks for the day it is to be as of.",
        most=3_660,
    )
    history = tracked()

    class Meta:
        verbose_name = verbose_name_plural = "settings"
        default_permissions = ["view"]
        constraints = [models.CheckConstraint(name="settings_once", condition=Q(id=1))]

    def __str__(self):
        return self.name or "Settings"

    def clean(self):
        if self.override_days > self.override_days_at_most:
            raise ValidationError({"override_days": "Not more than an override may take at most."})
        if not self.check_segments_from <= self.check_segments_to <= self.check_segments_at_most:
            raise ValidationError({"check_segments_to": "From, to and at most are in this order."})


FIELDS = tuple(field.name for field in Settings._meta.concrete_fields if field.editable)


# -- programs


class ServiceUser(models.Model):
    """A user that is a program: it has no password, comes by a token, and never decides, signs or completes (triggers).

    Its roles are asked for and decided as anybody's. It stays a program for good.
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="service")
    purpose = models.CharField("which system it is, and what for", max_length=400)
    history = tracked()

    class Meta:
        verbose_name = "service user"
        default_permissions = []
        ordering = ["user__username"]

    def __str__(self):
        return self.user.get_username()


class Token(models.Model):
    """A key of a service user: `dmc_<key>.<secret>`. The secret is told once and kept as its SHA-256.

    `networks`: where it may be used from, all of them where none is named. One that is revoked stays so (a trigger).
    """

    key = models.CharField(max_length=20, unique=True)
    user = models.ForeignKey(ServiceUser, to_field="user", on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField("what it is for", max_length=100)
    hash = models.CharField(max_length=64)
    writes = models.BooleanField("may change something", default=False)
    expires_at = models.DateTimeField("valid until")
    networks = ArrayField(models.CharField(max_length=50), default=list, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    rotated_at = models.DateTimeField("secret changed", null=True)
    revoked_at = models.DateTimeField("revoked", null=True)
    last_used_at = models.DateTimeField("last used", null=True)
    last_used_from = models.GenericIPAddressField(null=True)
    history = tracked(excluded_fields=["hash", "created_at", "last_used_at", "last_used_from"])

    class Meta:
        default_permissions = []
        ordering = ["id"]

    def __str__(self):
        return f"{self.user}: {self.name} ({self.key})"

    @property
    def state(self):
        """active, expired or revoked."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at <= timezone.now() else "active"


# -- the API


class Answer(models.Model):
    """The answer to a request with an Idempotency-Key, kept for a day: the same request gets it again."""

    user = models.IntegerField()
    key = models.CharField(max_length=200)
    asked = models.CharField(max_length=64)  # digest of the request
    status = models.PositiveSmallIntegerField()
    headers = models.JSONField(default=dict)
    body = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        default_permissions = []
        constraints = [models.UniqueConstraint(name="answered_once", fields=["user", "key"])]

    def __str__(self):
        return self.key


class CallCount(models.Model):
    """The requests of a user in the last minute they sent one."""

    who = models.IntegerField(primary_key=True)
    minute = models.BigIntegerField()  # since 1970
    calls = models.PositiveIntegerField()

    class Meta:
        default_permissions = []

    def __str__(self):
        return f"{self.who}: {self.calls}"


class XactId(models.Field):
    """PostgreSQL's xid8; read as text."""

    def db_type(self, connection):
        return "xid8"


class Change(models.Model):
    """Rows of one kind that a statement wrote, for the feed of changes: `size` of them, numbered from `first`.

    Triggers write it (governance/guards/7_feed.sql); core.feed numbers it once its transaction is final.
    """

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=20)
    ids = ArrayField(models.BigIntegerField())
    size = models.PositiveIntegerField()
    xid = XactId(db_default=Func(function="pg_current_xact_id"), editable=False)
    at = models.DateTimeField(db_default=Func(function="transaction_timestamp"))
    first = models.BigIntegerField(null=True, unique=True)

    class Meta:
        default_permissions = []
        indexes = [models.Index(name="change_unnumbered", fields=["id"], condition=Q(first=None))]

    def __str__(self):
        return f"{self.size} x {self.kind}"
