"""The list of accounts: columns of one's choice, a filter by any label and field, unknown last, totals, and the same as a file."""

import csv
import html
import io
import re
from datetime import date, timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from segmenting import RULES, account, activate, granted, layer_with, recompute

from accounts.models import Account, Csm, SavedView, Subscription
from core.wording import day
from segmentation.models import Layer

A = "/admin/accounts/account/"
TODAY = timezone.localdate()
HEALTH = {"rules": [{"segment": "high", "when": "nps >= 50"}, {"segment": "tech", "when": "nps < 0"}]}


@pytest.fixture
def web(db):
    client = Client()
    client.force_login(User.objects.create_superuser("chief", "chief@example.com", "x"))
    return client


@pytest.fixture
def four(db):
    """Acme is large and well, Beta small and unwell, Gamma without data, Delta in euros."""
    layer_with(RULES, policy="automatic")
    layer_with(HEALTH, key="health", policy="automatic")
    ada, zoe = (
        Csm.objects.create(email=f"{name}@example.com", name=name.capitalize()) for name in ("ada", "zoe")
    )
    account("acme", name="Acme", arr=120_000, employees=900, csm=zoe, renewal_date=TODAY + timedelta(days=40),
            currency="USD", usage={"nps": 60, "feature_adoption": "0.4"})  # fmt: skip
    account("beta", name="Beta", arr=5_000, employees=20, csm=ada, renewal_date=TODAY + timedelta(days=400),
            currency="USD", industry="SaaS", usage={"nps": -5})  # fmt: skip
    account("gamma", name="Gamma", contract_start=None)
    delta = account("delta", name="Delta", employees=10, currency="EUR")
    Subscription.objects.create(
        account=delta, subscription_id="d", start_date=date(2025, 1, 1), arr=70_000, currency="EUR"
    )
    recompute(at=TODAY)


def listed(client, url=A, **asked):
    """The names on the list, in its order."""
    page = client.get(url, asked).content.decode()
    return re.findall(r'<th class="field-title[^>]*><a [^>]*>([^<]*)<', page)


def cells(client, column, **asked):
    """{account: what a column shows of it}."""
    page, found = client.get(A, asked).content.decode(), {}
    for row in re.findall(r'<tr class="data-row.*?</tr>', page, re.S):
        name = re.search(r'class="field-title[^>]*><a [^>]*>([^<]*)<', row)[1]
        cell = re.search(rf'<td class="field-{column}[ "][^>]*>(.*?)</td>', row, re.S)
        found[name] = html.unescape(re.sub(r"<[^>]*>", "", cell[1])).strip() if cell else None
    return found


def text(answer):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode())))


def exported(client, **asked):
    answer = client.get(f"{A}export/", asked)
    body = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(body)))


# -- the filter


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("label.health = 'high'", ["Acme"]),
        ("label.health IN ('high', 'tech')", ["Acme", "Beta"]),
        ("label.health IS NULL", ["Delta", "Gamma"]),
        ("label.health <> 'high'", ["Beta"]),
        ("NOT label.health IN ('high', 'nothing')", ["Beta"]),
        ("label.health <> 'nothing'", ["Acme", "Beta"]),
        ("label.health = 'nothing'", []),
        ("'high' = label.health", ["Acme"]),
        ("label.health = label.tier", ["Acme", "Beta"]),
        ("label.health LIKE 'hi%'", ["Acme"]),
        ("label.tier = 'tech' OR label.health = 'high'", ["Acme", "Beta"]),
        ("(label.health = 'high' OR industry = 'SaaS') AND employees < 100", ["Beta"]),
        ("arr BETWEEN 1000 AND 100000", ["Beta"]),
        ("arr >= 1000", ["Acme", "Beta"]),  # euros are not compared with dollars
        ("arr IS NULL", ["Delta", "Gamma"]),
        ("days_to_renewal <= 90", ["Acme"]),
        (f"renewal_date BETWEEN DATE '{TODAY}' AND DATE '{TODAY + timedelta(days=90)}'", ["Acme"]),
        ("composite.tier >= 4", ["Acme"]),
        ("score.tier.worth < 4", ["Beta", "Delta"]),
        ("feature_adoption = 0.4", ["Acme"]),
        ("nps < employees", ["Acme", "Beta"]),
        ("csm = 'ada@example.com'", ["Beta"]),
        ("industry IS NULL", ["Acme", "Delta", "Gamma"]),
        ("NOT (industry = 'SaaS')", []),  # not known is neither
    ],
)
def test_accounts_are_found_by_any_label_score_and_field(web, four, where, found):
    assert listed(web, where=where) == found


def test_blank_text_is_not_known(web, db):
    account("a", name="", country=" ")
    account("b", name="Bea", country="Chile")
    assert listed(web, where="name IS NULL") == ["a"]
    assert listed(web, where="country IS NOT NULL") == ["Bea"]


def test_a_filter_stands_beside_the_search_and_the_other_filters(web, four):
    assert listed(web, where="arr IS NOT NULL", q="be") == ["Beta"]
    assert listed(web, where="arr >= 0", segment="high") == ["Acme"]
    page = web.get(A, {"where": "label.health = 'high' AND arr >= 1000", "q": "acme"})
    assert "Only where Health segment is 'High' and ARR is at least 1000" in text(page)
    take_off = re.search(r'href="(\?[^"]*)">Take off', page.content.decode())[1]
    assert parse_qs(take_off[1:]) == {"q": ["acme"]}


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("arrr > 1", "There is no data field 'arrr'. Did you mean 'arr'?"),
        ("label.nowhere = 'x'", "There is no 'label.nowhere' in a segmentation with active rules."),
        ("arr > ", "Cannot read the condition"),
        (
            "arr * 2 > 5",
            "A filter compares data fields with values or with each other: it does not calculate",
        ),
        ("previous = 'high'", "There is no data field 'previous'."),
    ],
)
def test_a_filter_that_cannot_be_used_finds_nothing_and_says_why(web, four, where, sentence):
    page = web.get(A, {"where": where})
    assert sentence in text(page)
    assert listed(web, where=where) == []
    assert "Export this list" not in text(page)
    answer = web.get(f"{A}export/", {"where": where}, follow=True)
    assert f"The filter cannot be used: {sentence}" in text(answer)
    answer = web.post(
        f"{A}?{urlencode({'where': where})}",
        {"action": "exclude_accounts", "select_across": "1"},
        follow=True,
    )
    assert not Account.objects.filter(excluded=True).exists()


def test_a_value_nothing_can_have_is_named(web, four):
    assert "status is never 'chruned'" in text(web.get(A, {"where": "status = 'chruned'"}))
    assert "Did you mean 'high'?" in text(web.get(A, {"where": "label.health = 'hihg'"}))


# -- columns


def test_columns_are_chosen_and_shown_as_people_read_them(web, four):
    asked = {"cols": "label.health,renewal_date,feature_adoption,composite.tier,arr,nowhere"}
    assert cells(web, "label-health", **asked) == {"Acme": "High", "Beta": "Tech", "Delta": "–", "Gamma": "–"}
    assert cells(web, "renewal_date", **asked)["Acme"] == day(TODAY + timedelta(days=40))
    assert cells(web, "feature_adoption", **asked) == {
        "Acme": "40 %",
        "Beta": "–",
        "Delta": "–",
        "Gamma": "–",
    }
    assert re.fullmatch(r"\d\.\d\d+", cells(web, "composite-tier", **asked)["Acme"])
    assert cells(web, "arr_shown", **asked)["Delta"] == "€70,000"
    assert cells(web, "kind", **asked)["Acme"] is None
    assert cells(web, "kind")["Acme"] == "Customer"


def test_an_amount_is_in_the_currency_of_its_account(web, four):
    Account.objects.filter(external_id="delta").update(acv=9_000)
    assert cells(web, "acv", cols="acv")["Delta"] == "€9,000"


def test_a_score_by_earlier_rules_is_not_shown_as_one_by_these(web, four):
    assert cells(web, "score-tier-worth", cols="score.tier.worth")["Acme"] != "–"
    rules = [RULES["rules"][0] | {"when": "composite >= 4.5"}, *RULES["rules"][1:]]
    activate(Layer.objects.get(key="tier"), RULES | {"rules": rules}, reason="Higher")
    assert cells(web, "score-tier-worth", cols="score.tier.worth")["Acme"] == "–"
    assert listed(web, where="score.tier.worth IS NOT NULL") == []


def queries(client, **asked):
    client.get(A, asked)  # what is read once a process
    with CaptureQueriesContext(connection) as taken:
        assert client.get(A, asked).status_code == 200
    return len(taken)


def test_a_column_costs_no_query_a_row(web, four):
    few = "label.health,score.tier.worth,renewal_date,nps"
    many = f"{few},composite.tier,acv,days_since_sponsor_departed,contract_type,label.tier,parent"
    before = (
        queries(web),
        queries(web, cols=few),
        queries(web, cols=many, where="label.health = 'high' OR arr > 0"),
    )
    for number in range(40):
        account(f"x{number:02}", name=f"X{number}", arr=number, usage={"nps": 60})
    recompute(at=TODAY)
    assert (queries(web), queries(web, cols=few)) == before[:2]
    assert queries(web, cols=many, where="label.health = 'high' OR arr > 0") == before[2]
    assert queries(web, cols=many) <= queries(web, cols=few)
    assert queries(web, cols="renewal_date,nps") == queries(web) + 1


# -- the order


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ("arr", ["Beta", "Delta", "Acme", "Gamma"]),
        ("-arr", ["Acme", "Delta", "Beta", "Gamma"]),
        ("employees", ["Delta", "Beta", "Acme", "Gamma"]),
        ("-employees", ["Acme", "Beta", "Delta", "Gamma"]),
        ("label.health", ["Acme", "Beta", "Delta", "Gamma"]),  # the top segment first
        ("-label.health", ["Beta", "Acme", "Delta", "Gamma"]),
        ("csm", ["Beta", "Acme", "Delta", "Gamma"]),
        ("-csm", ["Acme", "Beta", "Delta", "Gamma"]),
        ("-renewal_date", ["Beta", "Acme", "Delta", "Gamma"]),
        ("segment", ["Acme", "Beta", "Delta", "Gamma"]),
        ("-name", ["Gamma", "Delta", "Beta", "Acme"]),
        ("currency,-arr", ["Delta", "Acme", "Beta", "Gamma"]),
    ],
)
def test_what_is_not_known_comes_last_in_either_direction(web, four, order, found):
    assert listed(web, o=order) == found
    assert [row["name"] for row in exported(web, o=order)] == found


def test_the_order_goes_on_over_pages_and_with_many(web, four, monkeypatch):
    for number in range(120):
        account(f"x{number:03}", name=f"X{number:03}", employees=number if number % 2 else None)
    known = [f"X{number:03}" for number in range(119, 0, -2)]
    rest = ["Gamma", *(f"X{number:03}" for number in range(0, 120, 2))]
    expected = sorted([*known, "Acme", "Beta", "Delta"], key=lambda name: {"Acme": -900, "Beta": -20.5, "Delta": -10.5}.get(name) or -int(name[1:]))  # fmt: skip
    pages = [name for page in (1, 2, 3) for name in listed(web, o="-employees", p=page)]
    assert pages == [*expected, *sorted(rest)]
    monkeypatch.setattr("segmentation.reading.account_columns.FEW", 0)
    assert [name for page in (1, 2, 3) for name in listed(web, o="-employees", p=page)] == pages
    assert listed(web, o="-arr")[:3] == ["Acme", "Delta", "Beta"]


def test_a_header_names_its_column_and_an_order_by_places_goes_on_working(web, four):
    page = web.get(A, {"cols": "label.health,arr"}).content.decode()
    assert 'href="?cols=label.health%2Carr&amp;o=label.health%2Cname"' in page
    assert listed(web, o="-3") == listed(web, o="-arr")  # as views kept it before columns could be chosen
    assert listed(web, o="5") == ["Acme", "Beta", "Delta", "Gamma"]
    for odd in ("zzz", "99.-1", "-", "--arr", ",", "1.2.3"):
        assert len(listed(web, o=odd)) == 4
    page = web.get(A, {"o": "-arr"}).content.decode()
    assert "sorted descending" in page
    assert re.search(r'href="\?o=arr"[^>]*title="Toggle sorting"', page)


# -- totals


def test_the_totals_are_those_of_the_whole_list_by_currency(web, four):
    total = f"{A}total/"
    assert re.search(rf'data-later="{total}\?', web.get(A).content.decode())
    assert web.get(total).content.decode() == "4 accounts, ARR $125,000 + €70,000 (mixed)"
    assert web.get(total, {"where": "label.health = 'tech'"}).content.decode() == "1 account, ARR $5,000"
    for number in range(60):
        account(f"x{number}", arr=1_000, currency="USD")
    assert web.get(total, {"q": "x"}).content.decode() == "60 accounts, ARR $60,000"
    assert web.get(total, {"q": "nobody"}).content.decode() == "0 accounts, ARR $0"


# -- as a file


def test_a_file_has_exactly_what_is_shown(web, four):
    asked = {
        "cols": "label.health,csm,acv,renewal_date",
        "where": "label.health IS NOT NULL",
        "o": "-label.health",
    }
    Account.objects.filter(external_id="acme").update(acv=7)
    beta, acme = exported(web, **asked)
    assert list(beta) == [
        "external_id", "name", "label.health", "csm", "acv", "acv_currency", "renewal_date", "as_of", "filter",
    ]  # fmt: skip
    assert list(acme.values())[:6] == ["acme", "Acme", "high", "zoe@example.com", "7.00", "USD"]
    assert acme["renewal_date"] == (TODAY + timedelta(days=40)).isoformat()
    assert (beta["acv"], beta["acv_currency"]) == ("", "")
    assert (beta["as_of"], beta["filter"]) == (TODAY.isoformat(), "where=label.health IS NOT NULL")


def test_a_file_of_the_list_as_it_begins_is_what_it_was(web, four):
    [acme, *_] = exported(web)
    assert list(acme) == [
        "external_id", "name", "segment", "segment_by_the_rules", "needs_data", "provisional", "arr", "currency",
        "csm", "kind", "status", "as_of", "filter",
    ]  # fmt: skip
    assert acme["filter"] == "all accounts"


def test_a_large_file_is_read_a_portion_at_a_time(web, four, monkeypatch):
    monkeypatch.setattr("accounts.admin.downloads.ROWS", 2)
    assert [row["name"] for row in exported(web, cols="nps")] == ["Acme", "Beta", "Delta", "Gamma"]
    assert [row["nps"] for row in exported(web, cols="nps")] == ["60", "-5", "", ""]


# -- views


def test_a_view_carries_columns_filter_and_order_and_says_how_many_it_finds(web, four):
    query = urlencode(
        {"cols": "label.health,arr", "where": "label.health IN ('high', 'tech')", "o": "-label.health"}
    )
    answer = web.post(
        "/admin/saved-views/", {"list": "accounts.account", "query": query, "name": "By health"}, follow=True
    )
    assert "“By health” is saved." in text(answer)
    view = SavedView.objects.get()
    assert parse_qs(view.query) == parse_qs(query)
    assert listed(web, f"{A}?{view.query}") == ["Beta", "Acme"]
    assert web.get(f"/admin/saved-views/{view.pk}/count/").content == b"2"
    assert f'data-later="/admin/saved-views/{view.pk}/count/"' in web.get(A).content.decode()
    page = text(web.get("/admin/saved-views/?list=accounts.account"))
    assert "1 filter · columns of its own · an order of its own" in page


def test_a_view_saved_before_columns_could_be_chosen_works_on(web, four):
    view = SavedView.objects.create(
        listing="accounts.account", query="kind__exact=customer&o=-3", name="Old", owner=User.objects.get(username="chief").pk,
        owner_label="chief",
    )  # fmt: skip
    assert listed(web, f"{A}?{view.query}") == ["Acme", "Delta", "Beta", "Gamma"]


def test_the_count_of_a_view_whose_list_knows_its_filter_no_more_is_blank(web, four):
    own = {
        "listing": "accounts.account",
        "owner": User.objects.get(username="chief").pk,
        "owner_label": "chief",
    }
    gone = SavedView.objects.create(query="nowhere=1", name="Gone", **own)
    wrong = SavedView.objects.create(query="where=nothing+%3D+1", name="Wrong", **own)
    assert web.get(f"/admin/saved-views/{gone.pk}/count/").content == b""
    assert web.get(f"/admin/saved-views/{wrong.pk}/count/").content == b"0"
    other = Client()
    other.force_login(granted(User.objects.create(username="otto", is_staff=True), "view_account"))
    assert other.get(f"/admin/saved-views/{gone.pk}/count/").status_code == 404


# -- the page on which both are chosen


CHOICE = f"{A}choice/"


def test_columns_and_filter_are_chosen_on_a_page_that_leads_back(web, four):
    page = web.get(CHOICE, {"q": "a", "cols": "label.health,arr"})
    boxes = re.findall(r'name="cols" value="([^"]*)"( checked)?', page.content.decode())
    assert {name for name, ticked in boxes if ticked} == {"label.health", "arr"}
    assert {"composite.tier", "score.tier.worth", "renewal_date", "segment"} <= {name for name, _ in boxes}
    rows = '{"join": "any", "rows": [{"field": "label.health", "operator": "=", "values": ["high"]}, {"field": "arr", "operator": "between", "values": ["1000", "9000"]}]}'
    sent = {"cols": ["arr", "nps", "label.health"], "where": "", "where.rows": rows}
    answer = web.post(f"{CHOICE}?q=a&p=3&cols=label.health,arr&o=-arr", sent)
    assert answer.status_code == 302
    address = urlsplit(answer.url)
    assert address.path == A
    assert parse_qs(address.query) == {
        "q": ["a"], "o": ["-arr"], "cols": ["label.health,arr,nps"],
        "where": ["label.health = 'high' OR arr BETWEEN 1000 AND 9000"],
    }  # fmt: skip
    assert listed(web, answer.url) == ["Acme", "Beta"]
    sent = {"cols": ["segment", "arr", "csm", "kind", "status", "external_id"], "where": " "}
    assert web.post(f"{CHOICE}?cols=nps&where=arr+%3E+1", sent).url == A  # as it begins


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({"where": "arrr > 1"}, "There is no data field 'arrr'."),
        ({"where": "status = 'chruned'"}, "status is never 'chruned'"),
        ({"where.rows": '{"join": "all", "rows": [{"field": "arr", "operator": ">=", "values": ["x"]}]}'}, "'x' is no number"),
        ({"cols": ["label.nowhere"]}, "Select a valid choice"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_and_what_was_typed_stays(web, four, sent, sentence):
    answer = web.post(CHOICE, {"cols": ["nps"], "where": ""} | sent)
    assert answer.status_code == 409
    assert sentence in text(answer)
    page = html.unescape(answer.content.decode())
    assert sent.get("where", sent.get("where.rows", "")) in page
    if "cols" not in sent:
        assert re.search(r'value="nps" checked', page)


def test_while_one_types_it_is_said_how_many_are_found(web, four):
    check = f"{CHOICE}check/"
    said = web.post(check, {"where": "arr >= 1000"}).json()
    assert said["said"] == "It finds 2 of 4 accounts."
    assert said["rules"][0]["rows"] == {
        "join": "all",
        "rows": [{"field": "arr", "operator": ">=", "values": ["1000"]}],
    }
    assert web.post(check, {"where": ""}).json()["said"] == "All 4 accounts."
    assert "no data field 'arrr'" in web.post(check, {"where": "arrr = 1"}).json()["said"]
    assert web.get(check).status_code == 405


@pytest.mark.parametrize("url", [CHOICE, f"{A}total/", f"{A}export/"])
def test_only_whoever_sees_accounts_comes_here(db, url):
    client = Client()
    client.force_login(User.objects.create(username="sam", is_staff=True))
    assert client.get(url).status_code == 403
    assert client.post(f"{CHOICE}check/", {"where": "arr > 1"}).status_code == 403
