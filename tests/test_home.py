"""Home counts a large portfolio once, and never shows anybody figures from before what they or a run did."""

import html
import re
from datetime import date
from decimal import Decimal

import pytest
import yaml
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from segmenting import account, activate, change, layer_with, portfolio, recompute

from accounts import imports
from accounts.models import Account, Subscription
from segmentation.reading import portfolio as numbers

DAY = date(2026, 6, 1)


def visitor(name):
    """A browser of somebody who may do everything, logged in."""
    client = Client()
    client.force_login(User.objects.create_superuser(name))
    return client


@pytest.fixture
def olga(db):
    return visitor("olga")


def tile(client, name, url="/admin/"):
    """The large figure under a tile's name."""
    page = client.get(url).content.decode()
    return re.search(rf">{name}</span><span class=\"big\">([^<]*)<", page)[1]


def counted(client, url="/admin/"):
    """(all queries of a visit, those that read every account)."""
    with CaptureQueriesContext(connection) as asked:
        assert client.get(url).status_code == 200
    return len(asked), len([one for one in asked if "from accounts_account a" in one["sql"]])


def test_what_is_kept_is_what_was_counted(db):
    layer = layer_with()
    portfolio(60)
    one = account("by-subscription", arr=None)
    Subscription.objects.create(account=one, subscription_id="s", start_date=date(2024, 1, 1), arr=77)
    recompute()
    first, again = [numbers.overview(layer, at=DAY) for _ in range(2)]
    assert again == first
    cache.clear()
    anew = numbers.overview(layer, at=DAY)
    assert anew["counted_at"] > first["counted_at"]
    assert anew | {"counted_at": None} == first | {"counted_at": None}
    assert first["accounts"] == 61
    assert first["arr"] == sum(one.arr or 0 for one in Account.objects.all()) + 77


@pytest.mark.parametrize(("url", "reads"), [("/admin/", 1), ("/admin/completeness/", 1)])
def test_the_second_visit_reads_no_accounts_however_many_there_are(olga, url, reads):
    layer_with()
    visits = []
    for first in (0, 50, 100):
        portfolio(50, first=first)
        recompute()
        visits.append([counted(olga, url), counted(olga, url)])
    assert visits[0] == visits[1] == visits[2]
    (all_first, read_first), (all_again, read_again) = visits[0]
    assert (read_first >= reads, read_again, all_again < all_first) == (True, 0, True)


def test_after_a_recalculation_home_shows_its_segments(olga):
    layer_with()
    one = account("acme", arr=10, employees=10)
    account("beta", arr=10, employees=10)
    recompute()
    assert tile(olga, "Concentration") == "100 %"
    change(one, arr=900_000, employees=5000)
    Account.objects.filter(pk=one.pk).update(status="paused")
    assert tile(olga, "Active customers") == "2"  # past every page, and less than a minute ago
    recompute()
    assert tile(olga, "Active customers") == "1"


def test_after_an_import_home_shows_what_came(olga, tmp_path):
    account("acme", arr=10)
    assert tile(olga, "ARR") == "$10"
    file = tmp_path / "crm.csv"
    file.write_text("id,arr\nbeta,90\n")
    recipe = {
        "as_of": "2026-06-01",
        "currency": "USD",
        "sources": {"crm": {"file": "crm.csv"}},
        "accounts": "SELECT id AS external_id, arr FROM crm",
    }
    batch = imports.create(yaml.safe_dump(recipe), {"crm.csv": file}, label="ops")
    imports.preview(batch)
    assert tile(olga, "ARR") == "$10"
    imports.commit(batch)
    assert (batch.status, tile(olga, "ARR")) == ("committed", "$100")


def test_whoever_edits_sees_it_at_once_and_others_within_the_minute(olga):
    other = visitor("otto")
    one = account("acme", name="Acme", arr=10)
    assert (tile(olga, "ARR"), tile(other, "ARR")) == ("$10", "$10")
    form = {"name": "Acme", "kind": "customer", "status": "active", "arr": "25", "reason": "Invoice 17"}
    assert other.post(f"/admin/accounts/account/{one.pk}/edit/", form).status_code == 302
    assert tile(other, "ARR") == "$25"
    assert tile(olga, "ARR") == "$25"  # counted for the other, kept for all
    for client, arr in ((olga, "40"), (other, "55")):
        client.post(f"/admin/accounts/account/{one.pk}/edit/", form | {"arr": arr})
        assert tile(client, "ARR") == f"${arr}"


def test_others_are_told_of_when_the_figures_are(olga):
    one = account("acme", arr=10)
    said = re.search(r"figures as of [^<]*", olga.get("/admin/").content.decode())[0]
    Account.objects.filter(pk=one.pk).update(arr=Decimal(20))
    page = olga.get("/admin/").content.decode()
    assert said in page
    assert re.fullmatch(r"figures as of \d+ \w+ \d{4}, \d\d:\d\d", said.strip())
    cache.clear()  # what a minute does
    assert tile(olga, "ARR") == "$20"


def test_completeness_follows_the_rules_in_force(olga):
    layer = layer_with()
    account("acme", arr=10)
    url = "/admin/completeness/"
    assert "2 fields" not in olga.get(url).content.decode()
    activate(layer, {"rules": [{"segment": "high", "when": "arr >= 5"}, {"segment": "tech"}]})
    page = olga.get(url).content.decode()
    assert "1 field the rules use" in page
    assert "100 %" in page


def test_logging_out_leaves_no_session_behind(olga):
    olga.get("/admin/")
    olga.post("/admin/logout/")
    assert "sessionid" not in olga.cookies or not olga.cookies["sessionid"].value


def test_first_segments_are_no_changes_and_are_told_beside_them(olga):
    layer_with(policy="automatic")
    one = account("acme", arr=10, employees=10)
    account("beta", arr=10, employees=10)
    recompute()
    page = olga.get("/admin/").content.decode()
    assert "No segment changed." in page
    assert (
        "Beside these, first segments (of customers that are active or paused): 2 accounts on Tier." in page
    )
    change(one, arr=900_000, employees=5000)
    recompute()
    page = olga.get("/admin/").content.decode()
    changed = page.split('id="changed"', 1)[1].split("</section>", 1)[0]
    assert "First segment" not in changed
    assert re.search(r"The customer changed</span>.*?<b>1</b>", changed)


LEADS = [
    r'<a class="tile" href="(?P<url>[^"]+)"><span class="mute">(?P<what>Active customers)</span><span class="big">(?P<number>[\d,]+)<',
    r'<a href="(?P<url>/admin/accounts/account/[^"]*segment=[^"]+)">(?P<what>[^<]+)</a></td><td class="num">(?P<number>[\d,]+)<',
    r'<a href="(?P<url>/admin/accounts/account/[^"]*state=[^"]+)">(?P<what>[^<]+)</a><br>.*?<b[^>]*>(?P<number>[\d,]+)<',
]


def test_every_number_of_accounts_leads_to_just_these_and_the_others_are_named(olga):
    layer_with()
    portfolio(12)
    account("no-data", arr=None)
    recompute()
    for name, columns in {
        "paused": {"status": "paused"},
        "churned": {"status": "churned"},
        "excluded": {"excluded": True, "exclusion_reason": "Ours"},
        "trial": {"kind": "trial"},
    }.items():
        one = account(name, arr=200_000, employees=5000, usage={"nps": 60})
        recompute()  # it has a segment
        Account.objects.filter(pk=one.pk).update(**columns)
    cache.clear()
    page = olga.get("/admin/").content.decode()
    assert "not counted: 1 excluded, 1 paused, 1 churned, 1 trial" in re.sub(r"\s+", " ", page)
    told = {}
    for pattern in LEADS:
        for lead in re.finditer(pattern, page):
            listed = olga.get(html.unescape(lead["url"])).context["cl"].result_count
            told[lead["what"]] = (int(lead["number"].replace(",", "")), listed)
    assert {"Active customers", "High", "Needs data"} <= told.keys()
    assert {what: pair for what, pair in told.items() if pair[0] != pair[1]} == {}
