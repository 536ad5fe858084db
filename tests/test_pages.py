"""The web admin without a browser: every page answers, refuses who may not, and asks the database no more for more rows."""

import html
import re
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.template import Context, Template
from django.test import Client
from django.test.utils import CaptureQueriesContext
from segmenting import DAY, RULES, account, layer_with, person, portfolio, recompute

from accounts.catalogue import TYPES
from accounts.models import Account, Csm, ImportBatch, Product, SourceSystem, Subscription
from core import wording
from segmentation.admin.scoring_form import read, rows
from segmentation.authoring import versions
from segmentation.models import Definition, Layer, Run, Segment, ServiceModel, Treatment
from segmentation.reading.explain import explain
from segmentation.rules import definitions

A, S = "/admin/accounts/", "/admin/segmentation/"
LISTS = [
    f"{A}account/",
    f"{A}csm/",
    f"{A}product/",
    f"{A}sourcesystem/",
    f"{A}importbatch/",
    f"{S}layer/",
    f"{S}segment/",
    f"{S}treatment/",
    f"{S}servicemodel/",
    f"{S}run/",
    f"{S}jobtobedone/",
    f"{S}simulation/",
    "/admin/auth/user/",
    "/admin/auth/group/",
]
PAGES = [
    "/admin/",
    "/admin/data-dictionary/",
    "/admin/completeness/",
    "/admin/coverage/",
    "/admin/coverage/customers/",
    f"{S}definition/",
    f"{S}declaration/",
    f"{S}run/start/",
    f"{A}importbatch/upload/",
    f"{A}account/export/",
    *LISTS,
]


@pytest.fixture
def chief(db):
    return User.objects.create_superuser("chief", "chief@example.com", "x")


@pytest.fixture
def web(chief):
    """A client of somebody who may do everything."""
    client = Client(raise_request_exception=True)
    client.force_login(chief)
    return client


def staff(*permissions):
    """A client of somebody who may log in, and has these permissions only."""
    user = person("sam", *permissions) if permissions else User.objects.create(username="sam")
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("url", PAGES)
def test_every_page_answers_before_there_is_any_data(web, url):
    assert web.get(url).status_code == 200


def test_an_empty_portfolio_says_what_to_do_first(web):
    page = web.get("/admin/").content.decode()
    assert "Import your accounts" in page
    assert f'href="{A}importbatch/upload/"' in page


def test_every_page_of_an_account_run_and_version_answers(web):
    layer = layer_with()
    one = account("acme", arr=120_000, employees=40, usage={"nps": 30})
    run = recompute()
    rules = layer.definitions.get()
    urls = [f"{A}account/{one.pk}/{part}/" for part in ("change", "edit", "history")]
    urls += [f"{A}account/{one.pk}/change/?at={DAY}&layer=tier&show=moves"]
    urls += [f"{S}run/{run.pk}/change/", f"{S}run/{run.pk}/progress/"]
    urls += [f"{S}definition/{rules.pk}/{part}/" for part in ("change", "history")]
    urls += [f"{S}layer/{layer.pk}/change/", f"{S}layer/{layer.pk}/history/"]
    assert {url: web.get(url).status_code for url in urls} == dict.fromkeys(urls, 200)


@pytest.mark.parametrize(
    "url",
    [
        f"{A}account/{{}}/change/",
        f"{A}account/{{}}/history/",
        f"{A}importbatch/{{}}/change/",
        f"{S}run/{{}}/change/",
        f"{S}definition/{{}}/change/",
    ],
)
@pytest.mark.parametrize("key", ["999999", "99999999999999999999999", "x", "%00", "1_quote"])
def test_what_is_not_there_is_not_found(web, url, key):
    assert web.get(url.format(key)).status_code in (302, 404)


ODD = [
    *["name__exact=1", "name__regex=(", "q=%ED%A0%80", "p=abc", "p=99999", "o=zzz", "o=99.-1"],
    *["segment=1", "state=nope", "csm=x", "kind__exact=1", "status__exact=zz", "_facets=1", "e=1"],
    "provenance__a=1",
]
NUL = ["name__exact=%00", "q=%00", "segment=%00", "kind__exact=%00", "%00=1", "p=1&p=%00"]


@pytest.mark.parametrize("url", [*LISTS, f"{A}account/export/"])
def test_no_address_typed_by_hand_breaks_a_list(web, url):
    broken = {
        query: status for query in ODD if (status := web.get(f"{url}?{query}").status_code) not in (200, 302)
    }
    assert broken == {}


@pytest.mark.parametrize("url", ["/admin/", "/admin/login/", "/admin/autocomplete/", *LISTS])
def test_an_address_with_a_nul_gets_a_sentence(web, url):
    for query in NUL:
        answer = web.get(f"{url}?{query}")
        assert (answer.status_code, "A NUL character" in answer.content.decode()) == (400, True), query


def test_a_form_and_a_cookie_with_a_nul_get_a_sentence(web):
    for sent in ({"name": "a\0"}, {"a\0": "1"}, {"many": ["1", "\0"]}):
        assert b"A NUL character" in web.post(f"{A}product/add/", sent).content
    web.cookies["odd"] = "a"
    web.cookies["odd"].set("odd", "a\0", '"a\\000"')
    assert web.get("/admin/").status_code == 400


@pytest.mark.parametrize("part", ["change", "delete", "history"])
def test_an_address_that_names_no_field_is_that_of_the_row(web, part):
    csm = Csm.objects.create(email="c@example.com")
    assert web.get(f"{A}csm/{csm.pk}/{part}/?_to_field=").status_code == 200


# -- searching


MANY, LONG = " ".join("abcdefghijk"), "a" * 201


@pytest.mark.parametrize(
    "url", [f"{A}account/", f"{A}account/export/", f"{S}segment/", f"{A}csm/", "/admin/auth/user/"]
)
@pytest.mark.parametrize("text", [MANY, LONG])
def test_a_search_has_a_limit_and_says_so(web, url, text):
    answer = web.get(url, {"q": text}, follow=True)
    assert "A search has at most 10 words and 200 characters." in html.unescape(answer.content.decode())
    assert (
        "A search has" not in web.get(url, {"q": text[:19]}, follow=True).content.decode()
        if "export" not in url
        else True
    )


@pytest.mark.parametrize("text", [MANY, LONG])
def test_suggestions_have_the_same_limit(web, text):
    field = {"app_label": "segmentation", "model_name": "segment", "field_name": "layer"}
    [told] = web.get("/admin/autocomplete/", field | {"term": text}).json()["results"]
    assert told == {
        "id": None,
        "text": "A search has at most 10 words and 200 characters. Search for less.",
        "disabled": True,
    }
    layer = layer_with()
    [offered] = web.get("/admin/autocomplete/", field | {"term": layer.name}).json()["results"]
    assert offered == {"id": str(layer.pk), "text": layer.name}


@pytest.mark.parametrize("odd", ["x", "-1", "9" * 30, "1.5", "²", "١", ""])
def test_a_field_of_suggestions_takes_no_more_than_there_is(web, odd):
    layer = layer_with()
    high = layer.segments.get(key="high")
    assert web.get(f"{S}segment/add/", {"layer": odd, "owner": odd}).status_code == 200
    sent = web.post(
        f"{S}segment/{high.pk}/change/", {"name": "High", "owner": odd or "x", "treatment": odd or "x"}
    )
    assert sent.status_code == 200
    assert "Select a valid choice" in html.unescape(sent.content.decode())
    account("acme")
    assert (
        web.post(f"{A}account/{Account.objects.get().pk}/edit/", {"csm": odd, "parent": odd}).status_code
        == 200
    )


# -- queries ------------------------------------------------------------------------------------------------


def more(count, first):
    """`count` more rows of everything that has a list, numbered from `first`."""
    numbers = range(first, first + count)
    portfolio(count, first=first)
    Csm.objects.bulk_create(Csm(email=f"c{n}@example.com") for n in numbers)
    Account.objects.update(csm=Csm.objects.last(), parent=None)
    Product.objects.bulk_create(Product(key=f"p{n}") for n in numbers)
    SourceSystem.objects.bulk_create(SourceSystem(key=f"s{n}", name=n) for n in numbers)
    ServiceModel.objects.bulk_create(ServiceModel(key=f"m{n}", name=n) for n in numbers)
    model = ServiceModel.objects.last()
    Treatment.objects.bulk_create(Treatment(key=f"t{n}", name=n, service_model=model) for n in numbers)
    Layer.objects.bulk_create(Layer(key=f"l{n}", name=n) for n in numbers)
    layer, treatment = Layer.objects.last(), Treatment.objects.first()
    Segment.objects.bulk_create(
        Segment(layer=layer, key=f"x{n}", name=n, treatment=treatment) for n in numbers
    )
    Group.objects.bulk_create(Group(name=f"g{n}") for n in numbers)
    User.objects.bulk_create(User(username=f"u{n}", password="x") for n in numbers)
    Run.objects.bulk_create(Run(as_of=DAY, status="finished") for _ in numbers)
    ImportBatch.objects.bulk_create(ImportBatch(name=n) for n in numbers)
    recompute(layers=Layer.objects.filter(primary=True))


def test_lists_and_home_ask_the_database_as_often_for_1000_rows_as_for_10(web):
    layer_with()
    more(10, 0)
    urls = [
        "/admin/",
        "/admin/completeness/",
        "/admin/data-dictionary/",
        f"{S}definition/",
        f"{A}account/export/",
        *LISTS,
    ]
    urls += [f"{A}account/?segment=low&state=provisional&q=c0", f"{A}account/?o=3", f"{A}account/?p=1"]
    few = {url: queries(web, url) for url in urls}
    more(990, 10)
    assert {url: queries(web, url) for url in urls} == few


def queries(client, url):
    with CaptureQueriesContext(
        connection,
    ) as asked:
        answer = client.get(url)
        body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    assert answer.status_code == 200
    assert body
    # A cursor of its own reads an export in portions.
    return len([one for one in asked if not one["sql"].startswith(("FETCH", "DECLARE", "CLOSE"))])


@pytest.mark.parametrize(
    ("url", "most"), [("/admin/", 20), (f"{A}account/", 16), (f"{A}account/?segment=low", 18)]
)
def test_a_page_asks_no_more_than_it_has_to(web, url, most):
    portfolio(12)
    queries(web, url)
    assert queries(web, url) <= most


def test_the_page_of_an_account_reads_each_thing_once(web):
    portfolio(1)
    url = f"{A}account/{Account.objects.get().pk}/change/"
    queries(web, url)
    assert queries(web, url) <= 32


@pytest.mark.parametrize("url", [f"{A}account/?q=c&kind__exact=customer", "/admin/auth/user/"])
def test_the_rows_of_a_list_are_those_unfold_would_draw(web, url):
    portfolio(12)
    page = web.get(url)
    known = {name: value for part in page.context for name, value in part.flatten().items()}
    known |= {"cl": page.context["cl"], "request": page.wsgi_request}
    assert len(known["cl"].result_list) > 0
    ours, theirs = (
        Template("{% load lists unfold_list %}{% " + tag + " cl %}").render(Context(known))
        for tag in ("list_rows", "unfold_result_list")
    )
    assert between_tags(ours) == between_tags(theirs)


def between_tags(page):
    """A page without the white space that no browser shows."""
    page = re.sub(r">\s+|\s+<", lambda found: found[0].strip(), page)
    return re.sub(r"\s+", " ", re.sub(r'\s+(?=[">])', "", page))


def test_everybody_has_a_menu_of_their_own_with_the_open_page_marked(web):
    def menu(client, url):
        drawn = str(client.get(url).context["sidebar_navigation"])
        return re.findall(r'href="([^"]+)" class="[^"]*?( active)?"', drawn)

    everything = menu(web, f"{A}account/")
    assert [url for url, marked in everything if marked] == [f"{A}account/"]
    assert [url for url, marked in menu(web, "/admin/") if marked] == ["/admin/"]
    looks = menu(staff("view_account"), "/admin/")
    assert [url for url, _ in looks] == ["/admin/", "/admin/inbox/", f"{A}account/", "/admin/settings/"]
    assert menu(web, f"{A}account/") == everything


# -- who may do what ----------------------------------------------------------------------------------------

GUARDED = [
    ("get", f"{A}account/", "view_account"),
    ("get", f"{A}account/1/change/", "view_account"),
    ("get", f"{A}account/1/edit/", "change_account"),
    ("get", f"{A}account/export/", "export_accounts"),
    ("get", "/admin/data-dictionary/", "view_account"),
    ("get", "/admin/completeness/", "view_account"),
    ("get", "/admin/coverage/", "view_servicemodel"),
    ("get", "/admin/coverage/customers/", "view_servicemodel"),
    ("get", f"{A}importbatch/upload/", "import_accounts"),
    ("post", f"{A}importbatch/upload/", "import_accounts"),
    ("post", f"{A}importbatch/1/commit/", "import_accounts"),
    ("post", f"{A}importbatch/1/give-up/", "import_accounts"),
    ("get", f"{A}importbatch/1/change/", "view_importbatch"),
    ("get", f"{A}importbatch/1/rejected/", "view_importbatch"),
    ("get", f"{A}importbatch/1/recipe/", "view_importbatch"),
    ("get", f"{S}run/1/change/", "view_run"),
    ("get", f"{S}run/1/progress/", "view_run"),
    ("post", f"{S}run/start/", "recompute_layer"),
    ("get", f"{S}definition/", "view_definition"),
    ("post", f"{S}definition/draft/", "change_definition"),
    ("post", f"{S}definition/1/check/", "change_definition"),
    ("post", f"{S}definition/1/change/", "change_definition"),
    ("post", f"{S}definition/1/discard/", "change_definition"),
    ("get", "/admin/rules/1/ask/", "change_definition"),
    ("post", "/admin/rules/1/ask/", "change_definition"),
]


@pytest.mark.parametrize(("method", "url", "permission"), GUARDED)
def test_without_the_permission_the_answer_is_no(db, method, url, permission):
    outsider = staff()
    assert getattr(outsider, method)(url).status_code == 403


@pytest.mark.parametrize(("method", "url", "permission"), GUARDED)
def test_with_it_the_answer_is_another_one(db, method, url, permission):
    insider = staff(permission, "view_account", "view_definition", "export_accounts")
    assert getattr(insider, method)(url).status_code != 403


@pytest.mark.parametrize("url", [one for _, one, _ in GUARDED])
def test_a_visitor_is_asked_to_log_in(db, url):
    answer = Client().get(url)
    assert answer.status_code in (302, 405)
    assert answer.status_code == 405 or "/admin/login/" in answer["Location"]


def test_a_refusal_and_a_missing_page_are_sentences(web):
    outsider = staff()
    refused = outsider.post(f"{S}run/start/")
    assert (refused.status_code, "no permission" in text(refused)) == (403, True)
    missing = web.get(f"{S}run/999/change/")
    assert (missing.status_code, "There is no such recalculation." in text(missing)) == (404, True)
    assert "nothing at this address" in text(web.get("/admin/nope/"))


def test_a_list_is_called_what_the_menu_calls_it(web):
    for url, title in (
        (f"{A}account/", "Accounts"),
        (f"{S}treatment/", "How we serve"),
        (f"{S}run/", "Recalculations"),
    ):
        page = web.get(url).content.decode()
        assert f"<title>{title} | Demarc" in re.sub(r"\s+", " ", page).replace("<title> ", "<title>")
        assert "to change" not in text(web.get(url))


@pytest.mark.parametrize(
    ("url", "said"), [(f"{A}account/", "Import your accounts"), (f"{A}csm/", "Add a CSM")]
)
def test_an_empty_list_says_what_to_do_and_a_filtered_one_something_else(web, url, said):
    empty, filtered = text(web.get(url)), text(web.get(f"{url}?q=zzz"))
    assert said in empty
    assert said not in filtered
    assert "Nothing fits" in filtered


def used_rows():
    """One of each that something refers to: [(address, what uses it)]."""
    layer = layer_with()
    csm, product = Csm.objects.create(email="c@example.com", name="Cleo"), Product.objects.create(key="app")
    one = account("acme", arr=1)
    Account.objects.filter(pk=one.pk).update(csm=csm)
    Subscription.objects.create(
        account=one, subscription_id="s", product=product, start_date=DAY, arr=1, currency="USD"
    )
    model = ServiceModel.objects.create(key="m", name="M")
    treatment = Treatment.objects.create(key="t", name="T", service_model=model)
    segment = layer.segments.first()
    segment.treatment = treatment
    segment.save()
    return [
        (f"{A}csm/{csm.pk}", "1 account uses it"),
        (f"{A}product/{product.pk}", "1 subscription uses it"),
        (f"{S}servicemodel/{model.pk}", "1 treatment uses it"),
        (f"{S}treatment/{treatment.pk}", "1 segment uses it"),
    ]


@pytest.mark.parametrize("method", ["get", "post"])
def test_what_is_in_use_is_not_deleted_and_says_by_what(web, method):
    for address, by in used_rows():
        answer = getattr(web, method)(f"{address}/delete/", {"post": "yes"}, follow=True)
        assert f"cannot be deleted: {by}" in text(answer)
        assert web.get(f"{address}/change/").status_code == 200


def test_what_is_not_in_use_is_asked_about_and_deleted(web, chief):
    one = Product.objects.create(key="old", name="Old")
    assert "Delete product “Old”?" in text(web.get(f"{A}product/{one.pk}/delete/"))
    web.post(f"{A}product/{one.pk}/delete/", {"post": "yes"})
    assert not Product.objects.exists()
    gone = web.get(f"{A}product/{one.pk}/change/", follow=True)
    assert "This product is not there any more" in text(gone)
    assert web.post(f"/admin/auth/user/{chief.pk}/delete/", {"post": "yes"}).status_code == 403  # oneself


def test_a_second_click_leads_to_what_the_first_one_did(web):
    layer = layer_with()
    start = f"{S}definition/draft/"
    pages = {web.post(start, {"layer": layer.key})["Location"] for _ in range(2)}
    assert len(pages) == 1
    draft = layer.definitions.get(status="draft")
    versions.submit(draft, by=person(), reason="New year")
    for answer in (
        web.post(f"{S}definition/{draft.pk}/discard/", follow=True),
        web.get(f"/admin/rules/{draft.pk}/ask/", follow=True),
    ):
        assert "is in review already, no draft any more" in text(answer)
    account("acme", arr=1)
    runs = [web.post(f"{S}run/start/", {"layer": layer.key})["Location"] for _ in range(2)]
    assert runs[0] == runs[1]
    assert Run.objects.count() == 1


def test_following_a_link_changes_nothing(web):
    layer = layer_with()
    account("acme", arr=1)
    draft = versions.create_draft(layer, by=person())
    batch = ImportBatch.objects.create(name="one", status="previewed")
    before = [Run.objects.count(), Definition.objects.count(), draft.hash]
    for url in (
        f"{S}run/start/",
        f"{S}definition/{draft.pk}/discard/",
        f"/admin/rules/{draft.pk}/ask/",
    ):
        assert web.get(url).status_code == 200
    for url in (
        f"{S}definition/draft/",
        f"{A}importbatch/{batch.pk}/commit/",
        f"{A}importbatch/{batch.pk}/give-up/",
    ):
        assert web.get(url).status_code == 405
    draft.refresh_from_db()
    batch.refresh_from_db()
    assert [Run.objects.count(), Definition.objects.count(), draft.hash] == before
    assert (draft.status, batch.status) == ("draft", "previewed")


# -- history ------------------------------------------------------------------------------------------------


def test_history_says_who_when_how_why_and_what(web, chief):
    one = account("acme", name="Acme", arr=1000)
    form = {
        "name": "Acme Foods",
        "kind": "customer",
        "status": "active",
        "arr": "2500",
        "contract_start": "2024-01-01",
    }
    refused = web.post(f"{A}account/{one.pk}/edit/", form)
    assert "This field is required" in refused.content.decode()  # the reason
    web.post(f"{A}account/{one.pk}/edit/", form | {"reason": "Invoice 17 says so"})
    one.refresh_from_db()
    assert (one.name, one.arr) == ("Acme Foods", 2500)
    assert one.provenance["arr"][0] == "manual"
    assert "contract_start" not in one.provenance  # not changed, so not from hand
    row = one.history.first()
    assert (row.history_user_id, row.history_channel) == (chief.pk, "admin")
    page = text(web.get(f"{A}account/{one.pk}/history/"))
    for said in ("chief", "admin", "Invoice 17 says so", "Acme Foods", "$1,000", "$2,500"):
        assert said in page


def test_history_can_only_be_read(db):
    one = account("acme", name="Acme")
    one.name = "Other"
    one.save()
    reader = staff("view_account")
    row = one.history.last()
    for url in (f"{A}account/{one.pk}/history/", f"{A}account/{one.pk}/history/{row.pk}/"):
        reader.post(url, {"name": "Overwritten"})
        web_answer = reader.get(url)
        assert "<form" not in web_answer.content.decode().split('id="content"')[-1]
    one.refresh_from_db()
    assert one.name == "Other"
    assert one.history.count() == 2


# -- the account page ---------------------------------------------------------------------------------------


class Why(HTMLParser):
    """The rows of the table that says why, as {class of the cell: text}."""

    def __init__(self):
        super().__init__()
        self.rows, self.inside, self.cell, self.hit = [], False, None, False

    def handle_starttag(self, tag, attrs):
        names = (dict(attrs).get("class") or "").split()
        if tag == "table" and "why" in names:
            self.inside = True
        if not self.inside:
            return
        if tag == "tr":
            self.rows.append({})
        if tag == "td":
            self.cell = next(one for one in names if one not in ("num", "mute", "fall"))
            self.rows[-1][self.cell] = ""
        self.hit = tag == "span" and "hit" in names
        if tag == "span" and self.cell == "value" and "v" in names:
            self.cell = "shown"
            self.rows[-1]["shown"] = ""

    def handle_endtag(self, tag):
        if tag == "table":
            self.inside = False
        if tag == "span" and self.cell == "shown":
            self.cell = "value"
        self.hit = False

    def handle_data(self, data):
        if self.inside and self.rows and self.cell:
            self.rows[-1][self.cell] = (self.rows[-1].get(self.cell, "") + data).strip()
            if self.hit:
                self.rows[-1]["hit"] = data.strip()


def text(answer):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode()))


def test_the_page_shows_what_explain_says(web):
    layer_with()
    one = account("acme", arr=60_000, usage={"nps": 10})
    recompute()
    said = explain(one)
    answer = web.get(f"{A}account/{one.pk}/change/")
    table = Why()
    table.feed(answer.content.decode())
    folded = re.findall(r"<summary class=\"group\">(.*?)</summary>", answer.content.decode(), re.S)
    groups = [re.sub(r"<[^>]*>", " ", group).split() for group in folded]
    assert [(group[0], group[1], group[-1]) for group in groups] == [
        (group["name"], group["score_shown"], group["contribution_shown"]) for group in said["dimensions"]
    ]
    measures = [row for row in table.rows if "shown" in row]
    expected = [row for group in said["dimensions"] for row in group["criteria"]]
    assert len(measures) == len(expected) == 4
    for row, told in zip(measures, expected, strict=True):
        known = told["points"] is not None
        assert row["measure"] == told["name"]
        assert row["shown"] == (told["value_shown"] or "not known")
        assert row["points"] == (wording.plural(told["points"], "point,points") if known else "–")
        assert row["weight"] == (told["weight"] if known else "")
        assert row["share"] == (told["contribution_shown"] if known else "")
        assert row.get("hit") == told["cell"] or told["fallback"]
    shown = html.unescape(text(answer))
    assert f"Overall score {said['composite_shown']}" in shown
    assert [way["text"] for way in said["nearest"].values() if way["text"] not in shown] == []


def test_what_waits_is_told_with_both_segments(web):
    layer_with()
    one = account("acme", arr=20_000, employees=10, usage={"nps": 10, "tickets_90d": 30})
    recompute()
    Account.objects.filter(pk=one.pk).update(arr=500_000, employees=2000)
    recompute()
    page = text(web.get(f"{A}account/{one.pk}/change/"))
    assert re.search("By the rules Low since .{,12}; Tech is in force.", page)
    assert "Rules say another segment" in text(web.get("/admin/"))
    listed = text(web.get(f"{A}account/?state=differs"))
    assert "acme" in listed
    assert "rules say Low" in listed


def test_an_export_is_the_list_as_shown_and_harmless_in_a_spreadsheet(web):
    layer_with()
    account("a-1", name="=cmd()", arr=120_000)
    account("a-2", name="Other", arr=5)
    recompute()
    answer = web.get(f"{A}account/export/?q=cmd&segment=high")
    lines = b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("a-1,'=cmd(),")
    assert "search: cmd & segment=high" in lines[1]


# -- the scoring table --------------------------------------------------------------------------------------


def posted(document):
    """The data a browser sends for a document, field by field."""
    table, sent = rows(document), {}
    for g, group in enumerate(table["groups"]):
        path = f"dimensions.{g}"
        sent |= {f"{path}.{name}": group.get(name) or "" for name in ("key", "name", "share", "scale")}
        sent |= {f"{path}.maturity.{name}": value for name, value in group["maturity"].items()}
        for c, row in enumerate(group["criteria"]):
            at = f"{path}.criteria.{c}"
            sent |= {
                f"{at}.{name}": row.get(name) or "" for name in ("key", "fact", "name", "weight", "missing")
            }
            sent |= {f"{at}.cells.{index}": cell for index, (_, cell) in enumerate(row["cells"])}
    for r, rule in enumerate(table["rules"]):
        sent |= {f"rules.{r}.{name}": rule.get(name) or "" for name in ("key", "segment", "when")}
        sent |= {f"rules.{r}.from.{source}": source for source in rule["sources"]}
        sent |= {f"rules.{r}.top.count": rule["count"], f"rules.{r}.top.by": rule["by"]}
    return sent | {
        "requires": table["requires"],
        "includes": table["includes"],
        "expected_days": table["expected_days"],
    }


def test_every_preset_comes_back_from_the_form_as_it_was(db):
    versions.load_presets()
    for one in Definition.objects.select_related("layer"):
        again = definitions.parse(read(posted(one.document)), types=TYPES).freeze()
        assert again == definitions.parse(one.document, types=TYPES).freeze(), one.layer


def test_errors_name_the_cell(web):
    draft = versions.create_draft(layer_with(), by=person())
    sent = posted(RULES) | {
        "dimensions.0.criteria.1.cells.1": "500-99",
        "dimensions.1.share": "0.4",
        "rules.0.when": "composit >= 4",
    }
    found = web.post(f"{S}definition/{draft.pk}/check/", sent).json()["problems"]
    assert [one["path"] for one in found] == ["dimensions.0.criteria.1.cells.1", "weights", "rules.0.when"]
    draft.refresh_from_db()
    assert draft.document["weights"]["behaviour"] == "0.5"  # nothing was saved


def test_a_draft_that_somebody_else_saved_is_not_overwritten_and_nothing_typed_is_lost(web):
    draft = versions.create_draft(layer_with(), by=person())
    seen = draft.hash
    other = RULES | {"rules": [{"segment": "high"}]}
    versions.save_draft(draft, other, by=person(), seen=seen)
    mine = posted(RULES) | {"dimensions.0.name": "What I typed", "seen": seen}
    answer = web.post(f"{S}definition/{draft.pk}/change/", mine)
    assert answer.status_code == 409
    assert "What I typed" in answer.content.decode()
    draft.refresh_from_db()
    assert draft.document["rules"] == other["rules"]
    saved = web.post(f"{S}definition/{draft.pk}/change/", mine | {"seen": draft.hash})
    assert saved.status_code == 302
    draft.refresh_from_db()
    assert draft.document["dimensions"][0]["name"] == "What I typed"


@pytest.mark.parametrize(
    "post",
    [{"dimensions.0": "x", "dimensions.0.key": "y"}, {"rules.x.when": "1"}, {"rules.0.segment": "\x00"}],
)
def test_a_form_nobody_would_send_is_no_server_error(web, post):
    draft = versions.create_draft(layer_with(), by=person())
    for part in ("check", "change"):
        assert web.post(f"{S}definition/{draft.pk}/{part}/", post | {"seen": draft.hash}).status_code < 500


def test_a_segmentation_leads_to_its_rules_and_segments_and_new_ones_come_last(web):
    layer = layer_with(RULES)
    active = layer.definitions.get(status="active")
    draft = versions.create_draft(layer, by=person())
    for address in (f"{S}layer/", f"{S}layer/{layer.pk}/change/"):
        shown = web.get(address).content.decode()
        assert f'{S}definition/{active.pk}/change/">version {active.version}</a>' in shown
        assert f'{S}definition/{draft.pk}/change/">a draft is open</a>' in shown
    assert f"{S}segment/add/?layer={layer.pk}" in shown
    Layer.objects.filter(pk=layer.pk).update(position=7)
    assert web.get(f"{S}layer/add/?_popup=1").context["adminform"].form.initial["position"] == 8
    last = max(layer.segments.values_list("position", flat=True))
    adding = web.get(f"{S}segment/add/?layer={layer.pk}").context["adminform"].form
    assert adding.initial["position"] == last + 1
    assert web.get(f"{S}segment/add/?layer=x").status_code == 200
    Layer.objects.create(key="fresh", name="Fresh")
    assert '/setup/">none yet, continue</a>' in web.get(f"{S}layer/").content.decode()


def test_a_new_person_can_log_in(web):
    typed = {
        "username": "ann",
        "usable_password": "true",
        "password1": "long enough 1",
        "password2": "long enough 1",
    }
    assert web.post("/admin/auth/user/add/", typed).status_code == 302
    ann = User.objects.get(username="ann")
    assert (ann.is_staff, ann.is_superuser) == (True, False)
    assert Client().login(username="ann", password="long enough 1")
