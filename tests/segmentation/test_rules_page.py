"""Rules on their page: conditions as rows, what a form without JavaScript sends, how many accounts a rule is about."""

import json
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from segmenting import DAY, RULES, account, layer_with, person, portfolio, recompute

from accounts.catalogue import TYPES
from core import wording
from core.kept import keeping
from core.models import Settings
from core.refusals import Refused
from segmentation.authoring import rule_counts, versions
from segmentation.models import Assignment, Definition, Layer
from segmentation.rules import definitions

LIMITED = {
    "includes": ["churned"],
    "dimensions": [
        {"key": "worth", "criteria": [{"key": "arr", "cells": "quintiles", "missing": "needs data"}]},
    ],
    "rules": [
        {"key": "best", "segment": "high", "top": "5 by arr"},
        {"key": "back", "segment": "low", "when": "arr >= 10", "from": ["tech", "high"]},
        {"key": "rest", "segment": "tech", "when": "arr > acv OR arr IS NULL"},
    ],
}


@pytest.fixture
def chief(client):
    client.force_login(User.objects.create_superuser("chief"))
    return client


def draft_of(document, **options):
    draft = versions.create_draft(layer_with(**options), by=person())
    return versions.save_draft(draft, document, by=person(), seen=draft.hash)


def address(name, draft):
    return reverse(f"admin:segmentation_definition_{name}", args=[draft.pk])


class Form(HTMLParser):
    """The fields a browser without JavaScript would send."""

    def __init__(self, page):
        super().__init__()
        self.sent, self.name, self.inside, self.template = {}, None, False, 0
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "form":
            self.inside = found.get("id") == "scoring"
        self.template += tag == "template"
        if not self.inside or self.template or not (found.get("name") or tag == "option"):
            return
        if tag == "input" and (found.get("type") != "checkbox" or "checked" in found):
            self.sent[found["name"]] = found.get("value", "")
        if tag == "select":
            self.name = found["name"]
            self.sent.setdefault(self.name, "")
        if tag == "option" and "selected" in found:
            self.sent[self.name] = found.get("value", "")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "form"
        self.template -= tag == "template"


def test_saving_without_javascript_changes_nothing(db, chief):
    """Every preset, and rules with every kind of limit, come back from the plain form as they were."""
    versions.load_presets()
    drafts = [
        versions.open_version(layer) or versions.create_draft(layer, by=person())
        for layer in Layer.objects.all()
    ]
    drafts.append(draft_of(LIMITED))
    for draft in drafts:
        page = chief.get(address("change", draft)).content.decode()
        answer = chief.post(address("change", draft), Form(page).sent)
        assert answer.status_code == 302
        before, after = draft.document, Definition.objects.get(pk=draft.pk).document
        parsed = [definitions.parse(one, types=TYPES).freeze() for one in (before, after)]
        assert parsed[0] == parsed[1], draft


def test_nothing_to_mend_is_said_only_where_no_error_is_left(db, chief):
    """Errors that no rule is wrong about count too: nobody owns a segment, or nothing says how it is served."""
    draft = draft_of(RULES)
    draft.layer.segments.filter(key="low").update(treatment=None, owner_role="")
    page = chief.get(address("change", draft)).content.decode()
    assert "2 things are to be mended" in page
    found = chief.post(address("check", draft), Form(page).sent).json()["problems"]
    assert [problem["path"] for problem in found] == ["", ""]
    assert found[0]["message"].startswith("Low does not say how its customers are served.")
    assert "Complete" not in chief.get(address("checks", draft)).content.decode()
    draft.layer.segments.filter(key="low").update(
        treatment=draft.layer.segments.get(key="high").treatment, owner_role="CS Ops"
    )
    assert "Nothing to mend." in chief.get(address("change", draft)).content.decode()


ROWS = {
    "join": "all",
    "rows": [
        {"field": "arr", "operator": ">=", "values": ["100000"]},
        {
            "join": "any",
            "rows": [
                {"field": "industry", "operator": "in", "values": ["SaaS", "it's"]},
                {"field": "points.nps", "operator": "=", "values": ["5"]},
            ],
        },
    ],
}


def with_rows(chief, draft, rows):
    page = chief.get(address("change", draft)).content.decode()
    return Form(page).sent | {"rules.0.rows": json.dumps(rows)}


def test_rows_are_saved_as_text(db, chief):
    draft = draft_of(RULES)
    assert chief.post(address("change", draft), with_rows(chief, draft, ROWS)).status_code == 302
    draft.refresh_from_db()
    assert draft.document["rules"][0] == {
        "segment": "high",
        "when": "arr >= 100000 AND (industry IN ('SaaS', 'it''s') OR points.nps = 5)",
    }


def test_the_same_thing_as_text_and_as_rows(db, chief):
    draft = draft_of(RULES)
    found = chief.post(address("check", draft), with_rows(chief, draft, ROWS)).json()
    assert found["problems"] == []
    assert found["rules"][0] == {
        "when": "arr >= 100000 AND (industry IN ('SaaS', 'it''s') OR points.nps = 5)",
        "rows": ROWS,
    }
    names = {one["name"] for one in found["fields"]}
    assert {"arr", "points.nps", "score.worth", "composite", "previous"} <= names


def test_a_value_nothing_can_have_is_named_as_it_is_typed(db, chief):
    draft = draft_of(RULES)
    status = {"field": "status", "operator": "=", "values": ["chruned"]}
    sent = with_rows(chief, draft, {"join": "all", "rows": [ROWS["rows"][0], status]})
    [problem] = chief.post(address("check", draft), sent).json()["problems"]
    assert problem["path"] == "rules.0.when"
    assert "Did you mean 'churned'?" in problem["message"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"field": "arr", "operator": ">=", "values": ["1 OR TRUE"]}, "is no number"),
        ({"field": "", "operator": ">=", "values": [""]}, "Choose a data field."),
    ],
)
def test_an_unfinished_row_is_told_at_the_row_and_kept_in_the_draft(db, chief, row, message):
    draft = draft_of(RULES)
    group = {"join": "all", "rows": [ROWS["rows"][0], row]}
    sent = with_rows(chief, draft, group)
    [problem] = chief.post(address("check", draft), sent).json()["problems"]
    assert problem["path"] == "rules.0.rows.1"
    assert message in problem["message"]
    assert chief.post(address("change", draft), sent).status_code == 302
    draft.refresh_from_db()
    assert draft.document["rules"][0] == {"segment": "high", "rows": group}
    shown = Form(chief.get(address("change", draft)).content.decode()).sent
    assert json.loads(shown["rules.0.kept"]) == group
    with pytest.raises(Refused, match="not complete"):
        versions.submit(draft, by=person(), reason="x")


@pytest.mark.parametrize(
    "rows", ["x", "[]", '{"join": "all"}', "[" * 3000, '{"join": 1, "rows": [[[]]]}', "1e999"]
)
def test_rows_nobody_would_send(db, chief, rows):
    draft = draft_of(RULES)
    sent = with_rows(chief, draft, {}) | {"rules.0.rows": rows}
    assert chief.post(address("check", draft), sent).status_code == 200
    assert chief.post(address("counts", draft), sent).status_code == 200
    assert chief.post(address("change", draft), sent).status_code == 409


# -- how many accounts


def test_the_counts_are_those_of_a_recalculation(db):
    layer = layer_with()
    portfolio(120)
    recompute()
    found = rule_counts.count(RULES, layer, at=DAY)
    decided = [Assignment.objects.filter(computed__key=key).count() for key in ("high", "low", "tech")]
    assert [decides for _, decides in found.rules] == decided
    assert min(decided) > 0
    assert found.needs == Assignment.objects.filter(computed=None).count()
    assert [matches for matches, _ in found.rules] == [decided[0], sum(decided[:2]), sum(decided)]
    assert (found.counted, found.total, found.sampled, found.rest) == (120, 120, False, 0)


def test_rules_with_limits_are_counted(db):
    """The top five by ARR are measured on what is counted; nobody comes from anywhere yet."""
    layer = layer_with(LIMITED)
    for number in range(20):
        account(f"a{number:02}", arr=number * 100, acv=number * 70)
    found = rule_counts.count(LIMITED, layer, at=DAY)
    assert found.rules == ((5, 5), (0, 0), (19, 14))
    assert (found.rest, found.needs) == (1, 0)


def test_a_large_portfolio_is_counted_on_a_sample(db, monkeypatch):
    monkeypatch.setattr(rule_counts, "WHOLE", 200)
    layer = layer_with()
    portfolio(2_000)
    found = rule_counts.count(RULES, layer, at=DAY)
    assert found.sampled
    assert found.total == 2_000
    assert 150 <= found.counted <= 200
    estimate = found.rules[1][0] * found.total / found.counted
    monkeypatch.setattr(rule_counts, "WHOLE", 10_000)
    exact = rule_counts.count(RULES, layer, at=DAY).rules[1][0]
    assert abs(estimate - exact) < exact * 0.25


def test_what_is_not_complete_is_not_counted(db):
    layer = layer_with()
    portfolio(30)
    rules = [{"segment": "high", "when": "composit > 4"}, {"when": "composite >= 2.5"}, {"segment": "tech"}]
    found = rule_counts.count(RULES | {"rules": rules}, layer, at=DAY)
    assert found.rules[0] is None
    assert found.rules[1][0] > 0
    assert rule_counts.count(RULES | {"weights": {"worth": "0.4", "behaviour": "0.5"}}, layer, at=DAY) is None


def test_the_page_says_what_was_counted(db, chief):
    draft = draft_of(RULES)
    sent = with_rows(chief, draft, {"join": "all", "rows": [ROWS["rows"][0]]})
    assert chief.post(address("counts", draft), sent).json()["said"] == "There are no accounts to count."
    for name, arr in (("a", 200_000), ("b", 5), ("c", None)):
        account(name, arr=arr, usage={"nps": 10, "tickets_90d": 1})
    found = chief.post(address("counts", draft), sent).json()
    assert found["said"].startswith("Counted on 3 accounts as of ")
    assert found["said"].endswith("Without enough data for any rule: 1 account.")
    assert found["rules"][0] == "Matches 1 account"
    assert found["rules"][2].startswith("Takes the rest: ")


def test_only_who_may_change_rules_counts_with_them(client, db):
    draft = draft_of(RULES)
    viewer = User.objects.create_user("viewer", is_staff=True)
    client.force_login(viewer)
    assert client.post(address("counts", draft), {}).status_code == 403
    assert client.get(address("counts", draft)).status_code == 405


@pytest.mark.django_db
@pytest.mark.parametrize(("rest", "where"), [("*", "anything else (*)"), ("", "no cell")])
def test_texts_that_no_cell_names_are_listed_with_their_accounts(chief, rest, where):
    cells = ["SaaS", "FinTech, Banking", "", "", rest]
    document = {
        "dimensions": [
            {
                "key": "fit",
                "name": "Fit",
                "criteria": [{"key": "industry", "cells": cells, "missing": "skip"}],
            }
        ],
        "rules": [{"segment": "high", "when": "score.fit >= 4"}, {"segment": "low"}],
    }
    for number, industry in enumerate(["SaaS / Technology"] * 3 + [" saas", "BANKING", "Retail", None]):
        account(f"acme-{number}", industry=industry)
    shown = chief.get(address("checks", draft_of(document))).content.decode()
    assert "Values that no cell names" in shown
    assert f'<td data-label="They fall into">{where}</td>' in shown
    assert "&#x27;SaaS / Technology&#x27;, 3 accounts; &#x27;Retail&#x27;, 1 account</td>" in shown.replace(
        "'", "&#x27;"
    )


def test_cells_of_money_wear_the_sign_of_the_organisation():
    for currency, shown in (("USD", "$50K-$99K"), ("EUR", "€50K-€99K"), ("CHF", "CHF 50K-CHF 99K")):
        with keeping(organisation=Settings(currency=currency)):
            assert wording.cell("$50K-$99K") == shown
            assert wording.cell("US$ and €, SaaS") == "US$ and €, SaaS"
            assert wording.matched("*", "x") == "anything else"
