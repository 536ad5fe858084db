"""The menu by role: eight to ten entries, the rest under Settings, and nobody sees what they cannot use."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from governing import someone

from config import menu
from governance.signoff.roles import ROLES


def links(page):
    drawn = page.split('id="nav-sidebar-apps"', 1)[1].split("</ol>", 1)[0]
    return re.findall(r'href="([^"]+)"[^>]*>\s*<span[^>]*>[^<]*</span>\s*<span>([^<]+)</span>', drawn)


def rest(page):
    return re.findall(r'<a href="(/admin/[^"]+)">([^<]+)</a><br>', page.split('class="dm"', 1)[1])


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_eight_to_ten_entries_and_every_link_answers(db, role):
    client = Client()
    client.force_login(someone("pat", role, is_staff=True))
    home = client.get("/admin/").content.decode()
    entries = links(home)
    assert 8 <= len(entries) <= 10, entries
    assert [title for _, title in entries][:2] == ["Home", "Inbox"]
    others = rest(client.get("/admin/settings/").content.decode())
    addresses = [url for url, _ in [*entries, *others]]
    assert len(addresses) == len(set(addresses))
    assert {url: client.get(url).status_code for url in addresses} == dict.fromkeys(addresses, 200)


def test_a_csm_sees_what_a_csm_works_with(db):
    client = Client()
    client.force_login(someone("cleo", "CSM", is_staff=True))
    titles = [title for _, title in links(client.get("/admin/").content.decode())]
    assert titles == ["Home", "Inbox", "Accounts", "Tier changes", "Approvals", "Alerts", "Overrides",
                      "Declared values", "Provisional accounts", "Coverage model"]  # fmt: skip
    page = client.get("/admin/settings/").content.decode()
    assert rest(page) == []
    assert "Everything you work with is in the menu." in page


def test_all_pages_are_there_for_who_may_do_everything(db):
    client = Client()
    client.force_login(User.objects.create_superuser("chief"))
    entries = links(client.get("/admin/").content.decode())
    assert entries[-1] == ("/admin/settings/", "Settings")
    others = rest(client.get("/admin/settings/").content.decode())
    titles = {title for _, title in [*entries, *others]}
    assert titles == {entry.title for entry in menu.ENTRIES} | {"Settings"}


def test_two_roles_have_the_entries_of_both(db):
    user = someone("both", "CSM", "Finance", is_staff=True)
    entries, others = menu.of(user)
    titles = {entry.title for entry in entries}
    assert set(menu.MENUS["CSM"]) | set(menu.MENUS["Finance"]) <= titles
    assert others  # Finance sets something up
    assert len(titles) == len(entries)


def test_the_open_page_is_marked_where_it_is(db):
    client = Client()
    client.force_login(someone("olga", "CS Ops", is_staff=True))

    def marked(url):
        drawn = str(client.get(url).context["sidebar_navigation"])
        return re.findall(r'href="([^"]+)" class="[^"]* active"', drawn)

    assert marked("/admin/") == ["/admin/"]
    assert marked("/admin/accounts/account/") == ["/admin/accounts/account/"]
    assert marked("/admin/settings/") == ["/admin/settings/"]
    assert marked("/admin/segmentation/treatment/") == ["/admin/settings/"]  # one of those there


@pytest.mark.parametrize("role", ROLES)
def test_the_menu_names_pages_that_there_are(role):
    assert set(menu.MENUS[role]) <= {entry.title for entry in menu.ENTRIES}
