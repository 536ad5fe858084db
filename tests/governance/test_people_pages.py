"""The pages about people: what they ask for goes through the verbs, and nobody changes power past them."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone
from governing import approved, someone

from accounts.templatetags import shown
from governance import people
from governance.models import ApprovalRequest, Delegation, Event

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
    assert shown.moment(max.last_login) in text(admin.get(page))


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
    assert admin.post(page, {"reason": ""}).status_code == 409
    admin.post(page, {"reason": "Has left"})
    assert not User.objects.get(pk=max.pk).is_active
    admin.post(page, {"reason": "Is back"})
    assert (User.objects.get(pk=max.pk).is_active, people.roles_of(max)) == (True, [])


def test_who_sets_a_password_of_another_one_is_told_of(admin):
    max = someone("max", "CSM", is_staff=True)
    sent = {"password1": "Quite-long-1", "password2": "Quite-long-1", "usable_password": "true"}
    assert admin.post(f"/admin/auth/user/{max.pk}/password/", sent).status_code == 302
    event = Event.objects.get(kind="role_changed")
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
    max = someone("max", is_staff=True)
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
