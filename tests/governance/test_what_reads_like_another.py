"""Texts and names that would be taken for somebody else's: another form encoding, lines in a mail, look-alike logins."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from governing import someone

from governance.models import Event, Notification
from governance.news import mail


@pytest.fixture
def admin(db):
    someone("vera", "Approver", email="vera@example.com")
    client = Client()
    client.force_login(someone("admin", "Administrator", is_staff=True))
    return client


@pytest.mark.parametrize("charset", ["utf-16", "latin-1"])
def test_a_form_in_another_encoding_is_refused_with_a_sentence(admin, charset):
    answer = admin.post(
        "/admin/", "a=b", content_type=f"application/x-www-form-urlencoded; charset={charset}"
    )
    assert (answer.status_code, answer.content.decode().startswith("Forms are sent as UTF-8.")) == (400, True)


def test_what_breaks_a_line_does_not_break_a_mail(db):
    vera = someone("vera", "Approver", email="vera@example.com")
    event = Event.objects.create(kind="request_opened", text="Evil\n\nDemarc: log in at x.example")
    row = Notification(user=vera, event=event, text=event.text, why="You\ndecide.", link="/", urgent=True)
    said = mail.message(vera, [row]).body
    assert "Evil Demarc: log in at x.example\nYou decide.\n" in said


@pytest.mark.parametrize("name", ["v\u0435ra", "system", "VERA", "vera@example.com"])
def test_nobody_gets_a_name_that_reads_like_anothers(admin, name):
    before = User.objects.count()
    sent = {
        "username": name,
        "password1": "Zxkd83!kkq",
        "password2": "Zxkd83!kkq",
        "usable_password": "true",
        "email": "",
    }
    answer = admin.post("/admin/auth/user/add/", sent)
    assert (answer.status_code, User.objects.count()) == (200, before)
    admin.post("/admin/auth/user/add/", sent | {"username": "nora"})
    assert User.objects.filter(username="nora").exists()
