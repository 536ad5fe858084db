"""E-mail: at once for what waits on a person, the rest once a day; who follows its link sees the thing."""

import re
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from django.core import mail as sent
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from governing import request_of, someone
from segmenting import account

from accounts.models import Csm
from core.history import acting
from governance import events
from governance.models import Alert, Notification, Preference
from governance.news import mail, notifications

NOON = timezone.make_aware(datetime(2026, 6, 1, 12))  # where the organisation is, wherever that is
NEXT = timezone.make_aware(datetime(2026, 6, 2, 8))  # when the digest of NOON goes out


def reader(name="vera", *roles, **columns):
    """Somebody with an address who may log in."""
    return someone(name, *(roles or ("Approver",)), email=f"{name}@example.com", is_staff=True, **columns)


def tell(user, *texts, urgent=False, now=NOON):
    """Have things told to a person at this moment; urgent: they wait for them."""
    for text in texts:
        with transaction.atomic(), acting(label="tests"):
            events.record("role_changed", text, data={"user": user.pk, "urgent": urgent})
    notifications.deliver(now=now)


def plain(message):
    return message.body


def links(message):
    return re.findall(r"http://127\.0\.0\.1:8000(\S+)", message.body)


# -- what is sent when


def test_what_waits_for_a_person_is_mailed_at_once_with_why_and_a_link_that_shows_it(db, noted):
    olga, vera = reader("olga", "CS Ops"), reader()
    request = request_of(olga)
    notifications.deliver()
    assert mail.send_due() == 1
    [message] = sent.outbox
    assert message.to == ["vera@example.com"]
    assert message.subject.startswith("Demarc: ")
    assert request.subject in message.subject
    assert "You can decide it as Approver." in plain(message)
    html = {kind: text for text, kind in message.alternatives}["text/html"]
    assert f'href="http://127.0.0.1:8000{links(message)[0]}"' in html
    web = Client()
    web.force_login(vera)
    page = web.get(links(message)[0])
    assert page.status_code == 200
    assert request.subject in page.content.decode()


def test_every_link_of_a_message_answers_who_got_it(db, noted):
    olga, vera = reader("olga", "CS Ops"), reader()
    request_of(olga)
    notifications.deliver()
    mail.send_due()
    web = Client()
    web.force_login(vera)
    assert [web.get(link).status_code for link in links(sent.outbox[0])] == [200, 200, 200]


def test_the_rest_comes_once_a_day_in_one_message(db):
    vera = reader()
    tell(vera, "One", "Two")
    assert mail.send_due(now=NEXT - timedelta(minutes=1)) == 0
    assert mail.send_due(now=NEXT) == 1
    assert mail.send_due(now=NEXT) == 0
    [message] = sent.outbox
    assert message.subject == "Demarc: 2 things that concern you"
    assert plain(message).index("One") < plain(message).index("Two")


def test_what_waits_stands_before_the_news(db):
    vera = reader()
    tell(vera, "News")
    tell(vera, "Decide", urgent=True, now=NEXT)
    mail.send_due(now=NEXT)
    [message] = sent.outbox
    assert message.subject == "Demarc: 1 thing waits for you"
    assert (
        plain(message).index("Decide") < plain(message).index("Good to know") < plain(message).index("News")
    )


@pytest.mark.parametrize(
    ("zone", "now", "digest"),
    [
        ("UTC", "2026-06-01T07:59", "2026-06-01T08:00"),
        ("UTC", "2026-06-01T08:00", "2026-06-02T08:00"),
        ("Europe/Berlin", "2026-06-01T05:59", "2026-06-01T06:00"),  # 07:59 in Berlin
        ("Europe/Berlin", "2026-03-28T20:00", "2026-03-29T06:00"),  # the clocks went forward at night
        ("Europe/Berlin", "2026-10-24T20:00", "2026-10-25T07:00"),  # and back
        ("America/New_York", "2026-01-31T23:00", "2026-02-01T13:00"),
        (
            "Pacific/Auckland",
            "2028-02-28T19:00",
            "2028-02-29T19:00",
        ),  # 29 February, 08:00 there: the next day
        ("Asia/Kolkata", "2026-12-31T18:00", "2027-01-01T02:30"),
    ],
)
def test_the_digest_is_at_eight_where_the_organisation_is(zone, now, digest):
    with timezone.override(zone):
        found = notifications.next_digest(datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert found == datetime.fromisoformat(digest).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("wish", "urgent", "mailed_at"),
    [
        ("digest", True, NOON),
        ("digest", False, NEXT),
        ("at_once", False, NOON),
        ("none", True, None),
        ("none", False, None),
    ],
)
def test_everybody_is_mailed_as_they_wish(db, wish, urgent, mailed_at):
    vera = reader()
    Preference.objects.create(user=vera, mail=wish)
    tell(vera, "News", urgent=urgent)
    line = Notification.objects.get()
    assert (line.mail and line.mail.due) == mailed_at
    assert mail.send_due(now=NEXT) == (mailed_at is not None)


# -- what is not sent


def test_what_was_read_in_the_inbox_is_not_mailed(db):
    vera = reader()
    tell(vera, "Old", "New")
    notifications.read(Notification.objects.filter(text="Old"))
    mail.send_due(now=NEXT)
    assert "Old" not in plain(sent.outbox[0])
    assert mail.send_due(now=NEXT + timedelta(days=1)) == 0


def test_without_an_address_the_inbox_says_why_no_mail_came(db):
    vera = someone("vera", "Approver")
    tell(vera, "News", urgent=True)
    assert mail.send_due(now=NEXT) == 0
    assert Notification.objects.get().mail.error == "No e-mail address is known."


def test_who_was_deactivated_is_mailed_nothing_more(db):
    vera = reader()
    tell(vera, "News")
    vera.is_active = False
    vera.save()
    assert mail.send_due(now=NEXT) == 0
    assert sent.outbox == []


def test_without_a_mail_server_nothing_piles_up(db, settings):
    settings.MAILED = False
    tell(reader(), "News", urgent=True)
    assert Notification.objects.get().mail is None


# -- what goes wrong


@pytest.fixture
def refusing(monkeypatch):
    """A mail server that does not answer while the list has an entry."""
    wrong = ["no route to host"]
    send = EmailBackend.send_messages

    def refuse(self, messages):
        if wrong:
            raise ConnectionRefusedError(wrong[0])
        return send(self, messages)

    monkeypatch.setattr(EmailBackend, "send_messages", refuse)
    return wrong


def test_a_message_that_fails_keeps_its_error_and_is_sent_later(db, refusing):
    vera = reader()
    tell(vera, "News", urgent=True)
    assert mail.send_due(now=NOON) == 0
    line = Notification.objects.get()
    assert "no route to host" in line.mail.error
    assert line.mail.attempts == 1
    refusing.clear()
    assert mail.send_due(now=NOON + timedelta(minutes=1)) == 0
    assert mail.send_due(now=NOON + timedelta(minutes=2)) == 1
    line.refresh_from_db()
    assert (line.mail.error, line.mail.status) == ("", "done")


def test_a_message_that_always_fails_is_given_up_and_stays_in_the_inbox(db, refusing):
    vera = reader()
    tell(vera, "News", urgent=True)
    for day in range(20):
        mail.send_due(now=NOON + timedelta(days=2 * day))
    line = Notification.objects.get()
    assert (line.mail.attempts, line.mail.status) == (len(mail.KIND.pauses) + 1, "failed")
    assert "no route to host" in line.mail.error
    web = Client()
    web.force_login(vera)
    assert "The e-mail did not go out" in web.get("/admin/inbox/").content.decode()


def test_a_message_to_one_person_that_fails_holds_up_no_other(db, monkeypatch):
    send = EmailBackend.send_messages

    def refuse(self, messages):
        if messages[0].to == ["vera@example.com"]:
            raise ValueError("bad address")
        return send(self, messages)

    monkeypatch.setattr(EmailBackend, "send_messages", refuse)
    for name in ("vera", "vito"):
        tell(reader(name), "News", urgent=True)
    assert mail.send_due(now=NOON) == 1
    assert sent.outbox[0].to == ["vito@example.com"]


def test_what_happens_while_a_message_is_on_its_way_is_another_line(db):
    vera = reader()
    group = {"kind": "conflict_decided"}
    assert notifications.KINDS[group["kind"]].many
    from governing import someone as person
    from segmenting import account

    from accounts.models import Csm

    csm = Csm.objects.create(email="vera@example.com", user=person("vera"))
    for number in range(3):
        with transaction.atomic(), acting(label="tests"):
            events.record("conflict_decided", f"No. {number}", account=account(f"a{number}", csm=csm))
        notifications.deliver(now=NOON)
        if number == 1:
            mail.send_due(now=NEXT)
    assert list(vera.notifications.order_by("pk").values_list("text", flat=True)) == [
        "Values of 2 of your accounts were decided about.",
        "No. 2",
    ]


def test_a_text_with_line_breaks_and_angle_brackets_harms_no_message(db):
    vera = reader()
    tell(vera, "<script>alert(1)</script>\nBcc: everybody@example.com", urgent=True)
    mail.send_due(now=NOON)
    [message] = sent.outbox
    assert message.to == ["vera@example.com"]
    assert "\n" not in message.subject
    assert message.message()["Bcc"] is None
    html = message.alternatives[0][0]
    assert "<script>" not in html
    assert "<script>alert(1)</script>" in plain(message)


def test_workers_at_once_send_each_message_once(real_db):
    people = [reader(f"v{number}") for number in range(12)]
    for person in people:
        tell(person, "News", urgent=True)
    threads = [Thread(target=_send) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(message.to[0] for message in sent.outbox) == sorted(person.email for person in people)


def _send():
    try:
        mail.send_due(now=NOON)
    finally:
        connection.close()


def test_urgent_mail_goes_first(db):
    """Whenever it was written: the digests of the morning, and a recalculation of thousands, do not keep it waiting."""
    for name in ("ada", "bob", "cem"):
        tell(reader(name), "News")
    later = NEXT + timedelta(minutes=5)
    tell(reader("dora"), "Look at it now", urgent=True, now=later)
    assert mail.send_due(now=later) == 4
    assert [message.to[0].split("@")[0] for message in sent.outbox] == ["dora", "ada", "bob", "cem"]


def test_what_is_urgent_is_told_first_and_takes_its_line_along(db):
    """Siblings: the queue of events before the mails, and a line that waits for its digest when something urgent joins it."""
    vera = reader()
    acme = account("acme", csm=Csm.objects.create(email="vera@example.com", user=vera))
    with transaction.atomic(), acting(label="tests"):
        for number in range(3):
            events.record("role_changed", f"News {number}", data={"user": vera.pk})
        events.record("alert_opened", "At risk.", account=acme, data={"audience": "csm", "urgent": True})
        events.record("transition_overdue", "Late.", account=acme)
    notifications.deliver(now=NOON)
    texts = list(Notification.objects.filter(user=vera).order_by("pk").values_list("text", flat=True))
    assert [text.split()[0] for text in texts] == ["At", "News", "News", "News"]
    for urgent in (False, True):
        with transaction.atomic(), acting(label="tests"):
            data = {"audience": "csm", "urgent": urgent}
            events.record("alert_opened", "Expanding.", account=acme, about=Alert(pk=1), data=data)
        notifications.deliver(now=NOON)
    line = Notification.objects.get(text__startswith="Expanding")
    assert (line.count, line.urgent, line.mail.urgent, line.mail.due) == (2, True, True, NOON)
