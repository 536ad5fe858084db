"""Saved views: a list's search, filters and order under a name, on every list, for oneself or for all."""

import re
from urllib.parse import parse_qs

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from segmenting import granted

from accounts import saved_views
from accounts.models import Account, SavedView
from core.refusals import Refused

VIEWS, ACCOUNTS, RUNS, IMPORTS = (
    "/admin/saved-views/",
    "/admin/accounts/account/",
    "/admin/segmentation/run/",
    "/admin/accounts/importbatch/",
)
LABELS = {ACCOUNTS: "accounts.account", RUNS: "segmentation.run", IMPORTS: "accounts.importbatch"}


def client_of(name, *permissions):
    user = User.objects.create(username=name, is_staff=True)
    granted(user, *permissions)
    client = Client()
    client.force_login(user)
    client.user = user
    return client


@pytest.fixture
def olga(db):
    return client_of("olga", "view_account", "view_run", "view_importbatch")


@pytest.fixture
def otto(db):
    return client_of("otto", "view_account", "view_run", "view_importbatch")


def save(client, query, name="Big ones", url=ACCOUNTS, **more):
    return client.post(VIEWS, {"list": LABELS[url], "query": query, "name": name} | more, follow=True)


def chips(client, url=ACCOUNTS):
    """[(name, address, open)] of the views above a list."""
    page = client.get(url).content.decode()
    above = page.partition('aria-label="Saved views">')[2].partition("</nav>")[0]
    found = re.findall(r'<a class="chip( on)?" href="([^"]*)"[^>]*>(.*?)</a>', above)
    return [
        (re.sub(r"\s*<[^>]*>", " ", name).strip(), href.replace("&amp;", "&"), bool(on))
        for on, href, name in found
    ]


@pytest.mark.parametrize(
    ("url", "query"),
    [
        (ACCOUNTS, "q=acme&kind__exact=customer&o=-3"),
        (RUNS, "status__exact=finished&o=1"),
        (IMPORTS, "q=crm&status__exact=failed"),
    ],
)
def test_a_list_is_saved_and_opened_with_a_click(olga, url, query):
    assert "Save this view" in olga.get(f"{url}?{query}").content.decode()
    answer = save(olga, query, url=url)
    assert "“Big ones” is saved." in answer.content.decode()
    [everything, (name, href, is_open)] = chips(olga, url)
    assert everything == ("All", url, True)
    assert (name, is_open) == ("Big ones", False)
    assert parse_qs(href.partition("?")[2]) == parse_qs(query)
    assert chips(olga, href)[1][2]  # it is the open one now
    assert "Save this view" not in olga.get(href).content.decode()


def test_the_page_of_a_list_and_what_it_does_not_know_are_not_saved(olga):
    save(olga, "p=3&all=&provenance__a=1&excluded=yes&q=acme&name__regex=(&state=")
    assert SavedView.objects.get().query == "q=acme"


def test_the_same_in_another_order_is_the_same_view(olga):
    save(olga, "q=a&kind__exact=trial")
    assert [one[2] for one in chips(olga, f"{ACCOUNTS}?p=1&kind__exact=trial&q=a")] == [False, True]


def test_there_is_nothing_to_save_on_an_untouched_list(olga):
    assert "Save this view" not in olga.get(ACCOUNTS).content.decode()
    assert "There is nothing to save yet" in save(olga, "p=2").content.decode()
    assert not SavedView.objects.exists()


def test_saving_under_a_name_one_has_replaces_it(olga, otto):
    save(olga, "q=a")
    save(otto, "q=b")
    assert "now shows this list" in save(olga, "q=c", name="big ONES").content.decode()
    assert sorted(SavedView.objects.values_list("owner_label", "name", "query")) == [
        ("olga", "big ONES", "q=c"),
        ("otto", "Big ones", "q=b"),
    ]


@pytest.mark.parametrize("name", ["", "  ", "x" * 81])
def test_a_name_that_is_none_is_refused_in_a_sentence(olga, name):
    answer = save(olga, "q=a", name=name)
    assert answer.status_code == 200
    assert not SavedView.objects.exists()
    assert answer.request["QUERY_STRING"] == "q=a"  # what was searched is not lost


def test_a_name_with_a_nul_is_refused(olga):
    assert save(olga, "q=a", name="nul\0").status_code == 400
    assert not SavedView.objects.exists()


def test_a_private_view_is_nobody_elses_business(olga, otto):
    save(olga, "q=secret")
    view = SavedView.objects.get()
    assert chips(otto) == []
    assert "secret" not in otto.get(f"{VIEWS}?list=accounts.account").content.decode()
    for url in (f"{VIEWS}{view.pk}/", f"{VIEWS}{view.pk}/delete/"):
        assert otto.post(url, {"name": "Mine"}).status_code == 404
    assert SavedView.objects.get().name == "Big ones"


def test_a_shared_view_is_for_all_who_see_the_list_and_changed_by_its_owner_only(olga, otto):
    save(olga, "q=a", shared="on")
    view = SavedView.objects.get()
    assert chips(otto)[1][0] == "Big ones by olga"
    refused = otto.post(f"{VIEWS}{view.pk}/delete/", follow=True)
    assert "Only olga, who saved it, changes this view." in refused.content.decode()
    otto.post(f"{VIEWS}{view.pk}/", {"name": "Mine"})
    view.refresh_from_db()
    assert (view.name, view.shared) == ("Big ones", True)
    olga.post(f"{VIEWS}{view.pk}/", {"name": "Renewals"})
    assert [one[0] for one in chips(olga)] == ["All", "Renewals"]
    assert chips(otto) == []  # not shared any more
    olga.post(f"{VIEWS}{view.pk}/delete/")
    assert not SavedView.objects.exists()


def test_whoever_looks_after_shared_views_changes_those_of_people_who_left(olga, otto):
    save(olga, "q=a", shared="on")
    save(olga, "q=b", name="Private")
    view, private = SavedView.objects.order_by("name")
    olga.user.delete()
    chief = client_of("chief", "view_account", "manage_savedviews")
    assert "Delete" in chief.get(f"{VIEWS}?list=accounts.account").content.decode()
    assert chief.post(f"{VIEWS}{private.pk}/delete/").status_code == 404
    chief.post(f"{VIEWS}{view.pk}/delete/")
    assert list(SavedView.objects.all()) == [private]


def test_two_views_of_one_person_have_two_names(olga):
    for name in ("One", "Two"):
        save(olga, "q=a", name=name)
    one = SavedView.objects.get(name="One")
    answer = olga.post(f"{VIEWS}{one.pk}/", {"name": "two"}, follow=True)
    assert "There is a view called “two” already." in answer.content.decode()
    with pytest.raises(Refused):
        saved_views.change(one, name="TWO", shared=False, by=olga.user)


def test_who_may_not_see_the_list_sees_no_views_of_it(olga):
    save(olga, "q=a", shared="on")
    view = SavedView.objects.get()
    outsider = client_of("sam")
    assert outsider.get(f"{VIEWS}?list=accounts.account").status_code == 403
    assert outsider.post(VIEWS, {"list": "accounts.account", "query": "q=a", "name": "x"}).status_code == 403
    assert outsider.post(f"{VIEWS}{view.pk}/delete/").status_code == 403
    assert olga.get(f"{VIEWS}?list=auth.user").status_code == 403
    assert olga.get(f"{VIEWS}?list=accounts.nothing").status_code == 404
    assert "/admin/login/" in Client().get(f"{VIEWS}?list=accounts.account")["Location"]


def test_following_a_link_changes_nothing_and_a_form_needs_its_token(olga):
    save(olga, "q=a")
    view = SavedView.objects.get()
    for url in (f"{VIEWS}{view.pk}/", f"{VIEWS}{view.pk}/delete/"):
        assert olga.get(url).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(olga.user)
    assert strict.post(f"{VIEWS}{view.pk}/delete/").status_code == 403
    page = strict.get(f"{ACCOUNTS}?q=b").content.decode()
    form = page.partition('class="save-view"')[2].partition("</form>")[0]
    sent = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form)) | {"name": "By form"}
    assert strict.post(VIEWS, sent).status_code == 302
    assert SavedView.objects.get(name="By form").query == "q=b"


def test_a_name_is_text_and_nothing_else(olga):
    save(olga, "q=a", name="<script>x</script>")
    for url in (ACCOUNTS, f"{VIEWS}?list=accounts.account"):
        page = olga.get(url).content.decode()
        assert "<script>x" not in page
        assert "&lt;script&gt;x" in page


def test_lists_ask_as_often_for_many_views_as_for_one(olga):
    Account.objects.create(external_id="acme")
    counts = []
    for numbers in (range(1), range(1, 40)):
        SavedView.objects.bulk_create(
            SavedView(
                listing="accounts.account", query=f"q={n}", name=n, owner=olga.user.pk, owner_label="olga"
            )
            for n in numbers
        )
        with CaptureQueriesContext(connection) as asked:
            shown = chips(olga)
        counts.append((len(asked), len(shown)))
    assert counts == [(counts[0][0], 2), (counts[0][0], 13)]
    assert "28 more" in olga.get(ACCOUNTS).content.decode()
