"""Whatever is put into an address or a form: a page, a sentence or a no comes back, never a page of errors.

An address is watched for the names it looks for, and the names it takes stand in the forms of its page.
"""

import logging
import random
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import quote_plus, urljoin

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.http import QueryDict
from django.test import Client
from django.urls import resolve, reverse
from governing import someone
from worlds import addresses, url_of

from governance.signoff.roles import ROLES

LISTS = ("q", "o", "p", "e", "all", "_facets", "_popup", "_to_field", "_changelist_filters")
VALUES = [
    "", "x", "-1", "0", "1.5", "NaN", "1e999", "9" * 30, "²", "١", "x" * 5_000, "1,2,x", "2026-02-30", "9999-12-31", "0001-01-01",
    "\N{REPLACEMENT CHARACTER}", "%", "' or 1=1 --", "../..", "null", "[]", "{}", "[" * 3_000, '{"join": "all", "rows": 1}',
    '{"join": "all", "rows": [{"field": "name", "operator": "=", "values": ["\\u0000"]}]}',
    '{"join": "all", "rows": [{"field": "name", "operator": "=", "values": ["\\ud800"]}]}',
    '{"join": {}, "rows": [{"field": {}, "operator": [], "values": 7}, 3, null]}',
]  # fmt: skip
# As they are sent; the last ones are no texts.
ODD = [*map(quote_plus, VALUES), "%00", "%ED%A0%80", "%FF", "a%00b"]


# Pages that need to be told about what, and addresses that forms of other pages are sent to beside their own.
ABOUT = {
    "admin:accounts_conflict_report": "account={account}",
    "admin:accounts_conflict_decide": "ids={conflict}",
    "admin:autocomplete": "app_label=segmentation&model_name=segment&field_name=layer&term=t",
    "admin:governance_override_ask": "accounts={account}",
    "admin:segmentation_declaration_propose": "accounts={account}",
    "admin:segmentation_definition_compare": "new={definition}",
    "admin:segmentation_simulation_start": "definition={definition}",
    "saved_views": "list=accounts.account",
}
BESIDE = {
    "admin:segmentation_definition_change": ("../check/", "../counts/", "../draft/"),
    "admin:segmentation_definition_checks": ("../acknowledge/",),
    "admin:governance_alertrule_add": ("../check/",),
    "admin:accounts_importbatch_change": ("../commit/", "../give-up/"),
}


class Forms(HTMLParser):
    """`found`: [(address it is sent to, {name: value})], one for each button of each form that is posted."""

    def __init__(self, page):
        super().__init__()
        self.found, self.form, self.select, self.text = [], None, None, None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        said = dict(attributes)
        if tag == "form":
            self.form = (said.get("action") or "", said.get("method", "get").lower(), {}, [])
        if self.form is None:
            return
        name, value = said.get("name"), said.get("value") or ""
        if tag == "button" and name:
            self.form[3].append((name, value))
        elif tag == "option" and self.select and (self.select not in self.form[2] or "selected" in said):
            self.form[2][self.select] = value
        elif tag in ("input", "textarea", "select") and name:
            self.select = name if tag == "select" else self.select
            self.text = name if tag == "textarea" else None
            ticked = said.get("type") in ("checkbox", "radio") and "checked" not in said
            if tag != "select" and not (ticked and name in self.form[2]):
                self.form[2][name] = value or ("on" if said.get("type") == "checkbox" else "")

    def handle_data(self, data):
        if self.form and self.text:
            self.form[2][self.text] = data.strip()

    def handle_endtag(self, tag):
        self.text = None
        if tag == "select":
            self.select = None
        if tag == "form" and self.form:
            action, method, fields, buttons = self.form
            if method == "post":
                self.found += [(action, fields | dict([button])) for button in buttons] or [(action, fields)]
            self.form = None


class Noting(QueryDict):
    """The data sent, and in `asked` the names that were looked for in it."""

    asked = set()

    def get(self, key, default=None):
        self.asked.add(key)
        return super().get(key, default)

    def getlist(self, key, default=None):
        self.asked.add(key)
        return super().getlist(key, default)

    def __getitem__(self, key):
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key):
        self.asked.add(key)
        return super().__contains__(key)


def noting(get_response):
    def middleware(request):
        request.GET = Noting(request.META["QUERY_STRING"])
        return get_response(request)

    return middleware


def read_by(sent, url):
    """The page, and the names it looked for in its address; a list also takes those of its filters."""
    Noting.asked = set()
    answer = sent("get", url)
    asked = {one for one in Noting.asked if isinstance(one, str)}
    match = resolve(url.partition("?")[0])
    model_admin = getattr(match.func, "model_admin", None)
    if model_admin is not None and match.url_name.endswith(("_changelist", "_export")):
        asked |= {*LISTS, *model_admin.allowed_lookups()}
    return answer, sorted(asked)


@pytest.fixture
def web(world, settings, monkeypatch):
    """Somebody who may do everything, in all roles; what they do is undone after each request."""
    monkeypatch.setattr(logging.getLogger("django.request"), "disabled", True)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "test_odd_input.noting"]
    someone("chief", *ROLES, is_staff=True, is_superuser=True)
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.get(username="chief"))
    return client


class Sent:
    """Requests by a window that stays logged in, each undone."""

    def __init__(self, client):
        self.client, self.cookies = client, client.cookies.copy()

    def __call__(self, method, url, body=""):
        self.client.cookies = self.cookies.copy()
        with transaction.atomic():
            if method == "get":
                answer = self.client.get(url)
            else:
                answer = self.client.post(url, body, content_type="application/x-www-form-urlencoded")
            if answer.streaming:
                list(answer.streaming_content)
            transaction.set_rollback(True)
        return answer


def cases(sent, name, url, pick):
    """[(method, address, fields)], each with odd values of one name; `pick(values)` says which of them."""
    bare, _, about = url.partition("?")
    answer, names = read_by(sent, url)
    for asked in names:
        rest = "&".join(pair for pair in about.split("&") if not pair.startswith(f"{asked}="))
        for value in pick(ODD):
            yield "get", f"{bare}?{rest}&{asked}={value}", ""
    if answer.status_code != 200 or "html" not in answer.headers["Content-Type"]:
        return
    for action, fields in Forms(answer.content.decode()).found:
        for to in (action or url, *BESIDE.get(name, ())):
            if "logout" not in to:
                yield from posts(urljoin(url, to), fields, pick)


def posts(to, fields, pick):
    for name in fields:
        field = quote_plus(name)
        others = "&".join(
            f"{quote_plus(one)}={quote_plus(two)}" for one, two in fields.items() if one != name
        )
        for value in pick([*ODD, None, f"1&{field}=x&{field}[]=2"]):  # also none, and several
            yield "post", to, others if value is None else f"{others}&{field}={value}"


SIZES = [pytest.param(0.01, id="a-few"), pytest.param(0.25, id="many", marks=pytest.mark.long)]


@pytest.mark.parametrize("share", SIZES)
def test_no_odd_value_breaks_a_page(web, world, share):
    made, _ = world
    chance = random.Random(9)

    def pick(values):
        return [value for value in values if chance.random() < share]

    sent, broken, answers = Sent(web), [], Counter()
    for name, arguments in addresses():
        url = url_of(name, arguments, made)
        if name in ABOUT:
            url += "?" + ABOUT[name].format_map({thing: row.pk for thing, row in made.items()})
        for method, address, body in cases(sent, name, url, pick):
            answer = sent(method, address, body)
            answers[answer.status_code] += 1
            if answer.status_code >= 500:
                broken.append((method, address[:300], body[:2000]))
    assert broken == []
    assert answers[200] > sum(answers.values()) / 3, answers  # they were read, not only sent to log in


@pytest.mark.parametrize("name", ["board", "triage", "together"])
@pytest.mark.parametrize("value", ODD)
def test_no_odd_layer_breaks_the_pages_of_tier_changes(web, name, value):
    answer = web.get(f"{reverse(f'admin:governance_transition_{name}')}?layer={value}")
    assert answer.status_code == (400 if "%00" in value else 200)
