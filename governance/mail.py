"""E-mail of what people are told: at once for what waits on them, the rest as one message a day.

A message is claimed, sent outside of any transaction, and marked as sent. A worker that is lost in between leaves a claim
that ends, so a message may come twice in the worst case, and is never forgotten. What fails is tried again, later each
time, and its error is kept with what was to be told.
"""

import logging
from collections import defaultdict
from datetime import timedelta

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone

from governance import notifications
from governance.models import Notification

log = logging.getLogger(__name__)

# How long after each attempt the next one is made, should it have failed.
PAUSES = [timedelta(minutes=minutes) for minutes in (2, 10, 60, 6 * 60, 24 * 60)]
SUBJECT = 150  # characters


def send_due(*, now=None):
    """Send every message that is due, one a person and address; returns how many were sent."""
    now = now or timezone.now()
    people = _due(now).order_by().values_list("user", flat=True).distinct()
    return sum(_send(address, rows) for user in list(people) for address, rows in _claim(user, now).items())


def _due(now):
    return Notification.objects.filter(mail_after__lte=now)


def _claim(user, now):
    """{address: what this person is to be told there now}, for this process alone.

    What was read in the application is not mailed, except that somebody may have taken over their login.
    """
    with transaction.atomic():
        rows = _due(now).filter(user=user).select_related("user", "event").order_by("-urgent", "pk")
        rows = list(rows.select_for_update(skip_locked=True, of=["self"]))
        for row in rows:
            unwanted = row.read_at or not row.user.is_active or not row.user.email
            if unwanted and not notifications.told_anyway(row.event, row.user):
                row.mail_after = None
                continue
            row.mail_after = now + PAUSES[min(row.mail_attempts, len(PAUSES) - 1)]
            row.mail_attempts += 1
            row.group = ""  # what happens from now on is another line
        Notification.objects.bulk_update(rows, ["mail_after", "mail_attempts", "group"])
    claimed = defaultdict(list)
    for row in rows:
        if row.mail_after:
            claimed[_address(row)].append(row)
    return claimed


def _address(row):
    """The address of the person; of a change of it the one before, which its owner reads."""
    return row.event.data["mail_to"] if notifications.told_anyway(row.event, row.user) else row.user.email


def _send(address, rows):
    """Send what was claimed for an address; returns how many messages that were."""
    try:
        message(rows[0].user, rows, to=address).send()
    except Exception as error:  # whatever the mail server or its library answers
        log.warning("%s could not be mailed: %s", rows[0].user, error)
        _keep(rows, f"{type(error).__name__}: {error}"[:1000])
        return 0
    sent = Notification.objects.filter(pk__in=[row.pk for row in rows])
    sent.update(mailed_at=timezone.now(), mail_after=None, mail_error="")
    return 1


def _keep(rows, error):
    """What went wrong; after the last attempt it is only in the inbox, with this beside it."""
    for row in rows:
        row.mail_error = error
        row.mail_after = None if row.mail_attempts > len(PAUSES) else row.mail_after
    Notification.objects.bulk_update(rows, ["mail_error", "mail_after"])


def message(user, rows, *, to=None):
    """The e-mail that tells a person of these lines, what waits on them first.

    Each is a line: what an imported name breaks would read as if Demarc had written it.
    """
    for row in rows:
        row.text, row.why = " ".join(row.text.split()), " ".join(row.why.split())
    urgent = [row for row in rows if row.urgent]
    context = {
        "user": user,
        "waits": urgent,
        "news": [row for row in rows if not row.urgent],
        "base": settings.DEMARC_URL,
    }
    texts = {kind: render_to_string(f"mail/message.{kind}", context) for kind in ("txt", "html")}
    mail = EmailMultiAlternatives(_subject(rows, urgent), texts["txt"], to=[to or user.email])
    mail.attach_alternative(texts["html"], "text/html")
    mail.extra_headers["Auto-Submitted"] = "auto-generated"  # no out-of-office replies
    return mail


def _subject(rows, urgent):
    if len(rows) == 1:
        said = " ".join(rows[0].text.split()).rstrip(".")
    elif urgent:
        said = "1 thing waits for you" if len(urgent) == 1 else f"{len(urgent)} things wait for you"
    else:
        said = f"{len(rows)} things that concern you"
    return f"Demarc: {said if len(said) <= SUBJECT else said[: SUBJECT - 1] + '…'}"
