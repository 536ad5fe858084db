"""The pages about people: what they ask for goes through the verbs, and nobody changes power past them."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.core import mail as sent
from django.db import transaction
from django.test import Client
from django.utils import timezone
from governing import approved, someone

from core import wording
from governance import events
from governance.models import ApprovalRequest, Delegation, Event, Notification, Preference
from governance.news import mail, notifications
from governance.reading import audit
from governance.signoff import people

pytestmark = pytest.mark.django_db


def web(name, *roles):
    user = someone(name, *roles, is_staff=True)
    client = Client()
    client.force_login(user)
    return client


def text(answer):
    return answer.content.decode()


@pytest.fixture
def admin():
    return web("admin", "Administrator")


@pytest.fixture
def vera():
    return someone("vera", "Approver", is_staff=True)


def test_roles_are_asked_for_on_the_persons_page(admin, vera):
    max = someone("max", "CSM", is_staff=True)
    assert "Change roles…" in text(admin.get(f"/admin/auth/user/{max.pk}/change/"))
    page = f"/admin/auth/user/{max.pk}/roles/"
    answer = admin.post(page, {"role": ["CSM", "CS Ops"], "why": "Helps out"})
    request = ApprovalRequest.objects.get()
    assert answer["Location"] == f"/admin/governance/approvalrequest/{request.pk}/change/"
    assert (request.content["add"], request.content["remove"]) == (["CS Ops"], [])
    assert "has asked for this already" in text(admin.get(page))
    seen = text(admin.get(page)).split('name="seen" value="')[1].split('"')[0]
    admin.post(page, {"role": ["CS Ops"], "why": "Changes teams", "seen": seen})
    request.refresh_from_db()
    assert (request.revision, request.content["remove"]) == (2, ["CSM"])
    approved(request, vera)
    assert people.roles_of(max) == ["CS Ops"]
    assert "Roles of max: + CS Ops, − CSM." in text(admin.get(f"/admin/auth/user/{max.pk}/change/"))


def test_the_last_login_is_written_as_every_moment_is(admin):
    max = someone("max", "CSM", is_staff=True)
    page = f"/admin/auth/user/{max.pk}/change/"
    assert "never" in text(admin.get(page))
    web("max", "CSM")
    max.refresh_from_db()
    assert wording.moment(max.last_login) in text(admin.get(page))


def test_a_refusal_is_shown_where_it_happened(admin):
    max = someone("max", "CSM", is_staff=True)
    answer = admin.post(f"/admin/auth/user/{max.pk}/roles/", {"role": ["CSM"], "why": "Why not"})
    assert (answer.status_code, "there is nothing to ask for" in text(answer)) == (409, True)


def test_at_set_up_a_superuser_gives_the_first_roles():
    boss = User.objects.create_superuser("boss")
    client = Client()
    client.force_login(boss)
    page = f"/admin/auth/user/{boss.pk}/roles/"
    assert "Nobody here decides about roles yet" in text(client.get(page))
    client.post(page, {"role": ["Administrator", "Approver"]})
    assert people.roles_of(boss) == ["Approver", "Administrator"]
    assert "Ask for approval" in text(client.get(page))


def test_what_a_form_sends_besides_changes_no_power(admin, vera):
    max = someone("max", is_staff=True)
    ops = Group.objects.get(name="CS Ops")
    sent = {
        "username": "max",
        "first_name": "Max",
        "groups": [ops.pk],
        "is_superuser": "on",
        "user_permissions": ["1"],
    }
    assert admin.post(f"/admin/auth/user/{max.pk}/change/", sent).status_code == 302
    max = User.objects.get(pk=max.pk)
    assert (max.first_name, max.is_superuser, max.groups.count(), max.user_permissions.count()) == (
        "Max",
        False,
        0,
        0,
    )
    assert max.is_active


def test_an_administrator_does_not_touch_a_superuser(admin):
    boss = User.objects.create_superuser("boss", password="x")
    for page in ("change", "password", "delete", "login"):
        url = f"/admin/auth/user/{boss.pk}/{page}/"
        answer = admin.post(url, {"username": "mine", "password1": "Quite-long-1", "password2": "Quite-long-1", "reason": "Why not", "post": "yes"})  # fmt: skip
        assert answer.status_code in (403, 409), page
    boss = User.objects.get(pk=boss.pk)
    assert (boss.username, boss.is_active, boss.check_password("x")) == ("boss", True, True)


def test_closing_and_opening_a_login(admin):
    max = someone("max", "CSM", is_staff=True)
    page = f"/admin/auth/user/{max.pk}/login/"
    assert "Close the login of max?" in text(admin.get(page))
    assert admin.get(page).status_code == 200
    assert User.objects.get(pk=max.pk).is_active  # looking changes nothing
    assert admin.post(page, {"verb": "close", "reason": ""}).status_code == 409
    admin.post(page, {"verb": "close", "reason": "Has left"})
    assert not User.objects.get(pk=max.pk).is_active
    assert admin.post(page, {"verb": "close", "reason": "Clicked twice"}).status_code == 409
    admin.post(page, {"verb": "open", "reason": "Is back"})
    assert (User.objects.get(pk=max.pk).is_active, people.roles_of(max)) == (True, [])


def test_who_sets_a_password_of_another_one_is_told_of(admin):
    max = someone("max", "CSM", is_staff=True)
    sent = {"password1": "Quite-long-1", "password2": "Quite-long-1", "usable_password": "true"}
    assert admin.post(f"/admin/auth/user/{max.pk}/password/", sent).status_code == 302
    event = Event.objects.get(kind="password_set")
    assert (event.text, event.data["user"]) == ("admin set a new password for max.", max.pk)


def test_deleting_says_why_not_for_the_last_administrator(admin):
    boss = User.objects.create_superuser("boss")
    client = Client()
    client.force_login(boss)
    last = User.objects.get(username="admin")
    answer = client.post(f"/admin/auth/user/{last.pk}/delete/", {"post": "yes"}, follow=True)
    assert "the last Administrator" in text(answer)
    max = someone("max", "CSM")
    assert admin.post(f"/admin/auth/user/{max.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=max.pk).exists()


def test_roles_are_read_only(admin):
    group = Group.objects.get(name="Auditor")
    page = f"/admin/auth/group/{group.pk}/change/"
    assert "export accounts" in text(admin.get(page))
    held = group.permissions.count()
    admin.post(page, {"name": "Auditor", "permissions": ["1", "2"]})
    assert admin.post("/admin/auth/group/add/", {"name": "Gods"}).status_code == 403
    assert admin.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"}).status_code == 403
    assert group.permissions.count() == held


def test_absences_are_entered_and_ended(vera):
    max = someone("max", "CSM", is_staff=True)
    client = web("vera")
    today = timezone.localdate()
    days = {"from_date": today, "until_date": today + timedelta(days=3)}
    client.post("/admin/governance/delegation/", {"delegate": max.pk, **days})
    one = Delegation.objects.get()
    assert (one.absent, one.delegate) == (vera, max)
    refused = client.post("/admin/governance/delegation/", {"delegate": "", **days})
    assert (refused.status_code, "Choose who." in text(refused)) == (409, True)
    outsider = web("olga", "CSM")
    assert outsider.post("/admin/governance/delegation/", {"delegate": max.pk, **days}).status_code == 403
    assert outsider.post(f"/admin/governance/delegation/{one.pk}/end/").status_code == 403
    client.get(f"/admin/governance/delegation/{one.pk}/end/")
    assert Delegation.objects.exists()
    client.post(f"/admin/governance/delegation/{one.pk}/end/")
    assert not Delegation.objects.exists()


# -- names, addresses and passwords of others


def mailed():
    """[(address, subject)] of what goes out at once."""
    notifications.deliver()
    mail.send_due()
    return sorted((message.to[0], message.subject) for message in sent.outbox)


def change(web, user, **typed):
    now = {name: getattr(user, name) for name in ("username", "first_name", "last_name", "email")}
    answer = web.post(f"/admin/auth/user/{user.pk}/change/", now | typed)
    assert answer.status_code == 302
    return User.objects.get(pk=user.pk)


def test_another_address_is_told_to_the_old_one_and_in_the_inbox(admin):
    max = someone("max", "CSM", is_staff=True, email="max@example.com")
    Preference.objects.create(user=max, mail=Preference.Mail.NONE)
    change(admin, max, email="else@example.org")
    event = Event.objects.get(kind="email_changed")
    said = "The e-mail address of max was max@example.com and is else@example.org now."
    assert (event.text, event.actor_label, event.about_id) == (said, "admin", max.pk)
    assert event.data["changes"] == {"email": ["max@example.com", "else@example.org"]}
    assert mailed() == [("max@example.com", f"Demarc: {said[:-1]}")]
    assert Notification.objects.get(user=max).text == said
    assert said in text(admin.get(f"/admin/auth/user/{max.pk}/change/"))


def test_who_takes_a_login_over_hides_no_change_of_its_address(admin):
    """Not by doing it with the login itself, nor by reading the line, nor by closing the login."""
    thief = User.objects.get(username="admin")
    thief.email = "admin@example.com"
    thief.save()
    sent.outbox.clear()
    change(admin, thief, email="thief@example.org")
    change(admin, thief, email="")
    notifications.deliver()
    notifications.read(Notification.objects.filter(user=thief))
    User.objects.filter(pk=thief.pk).update(is_active=False)
    assert [to for to, _ in mailed()] == ["admin@example.com", "thief@example.org"]
    mail.send_due()
    assert len(sent.outbox) == 2


def test_a_message_to_an_old_address_holds_nothing_else(admin):
    max = someone("max", "CSM", is_staff=True, email="max@example.com")
    Preference.objects.create(user=max, mail=Preference.Mail.AT_ONCE)
    with transaction.atomic():
        events.record("role_changed", "For max alone.", data={"user": max.pk})
    change(admin, max, email="new@example.org")
    found = mailed()
    assert [to for to, _ in found] == ["max@example.com", "new@example.org"]
    assert found[1][1] == "Demarc: For max alone"
    assert "For max alone" not in next(one.body for one in sent.outbox if one.to == ["max@example.com"])


def test_a_new_password_by_an_administrator_is_mailed_to_its_person(admin):
    max = someone("max", "CSM", is_staff=True, email="max@example.com")
    Preference.objects.create(user=max, mail=Preference.Mail.NONE)
    new = {"usable_password": "true", "password1": "Quite-long-1", "password2": "Quite-long-1"}
    assert admin.post(f"/admin/auth/user/{max.pk}/password/", new).status_code == 302
    assert mailed() == [("max@example.com", "Demarc: admin set a new password for max")]


def test_another_name_is_kept_with_both(admin):
    max = someone("max", "CSM", is_staff=True, first_name="Max")
    change(admin, max, username="max.b", first_name="Maximilian")
    event = Event.objects.get(kind="person_changed")
    assert event.text == "max is called otherwise: login max → max.b, first name Max → Maximilian."
    assert event.data["changes"] == {"username": ["max", "max.b"], "first_name": ["Max", "Maximilian"]}
    entries, _ = audit.entries(audit.Filters(text="max.b"))
    assert ("admin", f"/admin/auth/user/{max.pk}/change/") in {(one.who, one.link) for one in entries}


def test_names_and_addresses_are_told_whoever_saves_them():
    max = someone("max", email="max@example.com")
    max.username = "max.b"
    max.save(update_fields=["username"])
    max.email = "b@example.com"
    max.save()
    max.last_login = timezone.now()
    max.save(update_fields=["last_login"])
    max.save()
    told = Event.objects.order_by("pk").values_list("kind", "actor_label", "channel")
    assert list(told) == [("person_changed", "system", "shell"), ("email_changed", "system", "shell")]
