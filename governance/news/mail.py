"""E-mail of what people are told: at once for what waits on them, the rest as one message a day.

A message is work (Mail), done outside of any transaction. A worker lost between the mail server and the database may send
it twice in the worst case, and it is never forgotten. A message that fails is tried again, later each time, and its error
is kept with what was to be told.
"""

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

from core.organisation import organisation
from core.work import LATER, Kind
from governance.models import Mail, Notification
from governance.news import notifications

SUBJECT = 150  # characters


def send_due(*, now=None):
    """Send every message that is due, one a person and address; returns how many were sent."""
    sent = []
    KIND.turns(sent, at=now)
    return len(sent)


def _send(mails, sent):
    """Tell a person what these mails, of one address, are about: all in one message."""
    lines = Notification.objects.filter(mail__in=mails)
    lines.exclude(group="").update(group="")  # what happens from now on is another line
    rows = lines.select_related("user", "event").order_by("-urgent", "pk")
    if rows := [row for row in rows if _wanted(row)]:
        message(rows[0].user, rows, to=mails[0].to).send()
        sent.append(mails[0])


def _wanted(row):
    """Leave out lines read in the application, except that somebody may have taken over their login."""
    user = row.user
    return notifications.told_anyway(row.event, user) or (user.is_active and user.email and not row.read_at)


KIND = Kind(
    parts=Mail, do=_send, apart=True, lanes=True, most=1_000, attempts=6, pauses=LATER, first=("-urgent",)
)


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
        "organisation": organisation().name,
    }
    texts = {kind: render_to_string(f"mail/message.{kind}", context) for kind in ("txt", "html")}
    mail = EmailMultiAlternatives(_subject(rows, urgent), texts["txt"], to=[to or user.email])
    mail.attach_alternative(texts["html"], "text/html")
    mail.extra_headers["Auto-Submitted"] = "auto-generated"  # no out-of-office replies
    return mail


def _subject(rows, urgent):
    if len(rows) == 1:
        subject = " ".join(rows[0].text.split()).rstrip(".")
    elif urgent:
        subject = "1 thing waits for you" if len(urgent) == 1 else f"{len(urgent)} things wait for you"
    else:
        subject = f"{len(rows)} things that concern you"
    return f"Demarc: {subject if len(subject) <= SUBJECT else subject[: SUBJECT - 1] + '…'}"
