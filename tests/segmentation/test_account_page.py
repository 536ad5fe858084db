"""The account page: every label with its explanation, the same as `explain --json`; products; nested segments."""

import html
import json
import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from segmenting import BY_ARR, DAY, account, activate, change, layer_with, recompute

from accounts.models import Account, Product, Usage
from core.wording import compared
from segmentation.admin.account_answer import Scale, picture
from segmentation.authoring import versions
from segmentation.models import Layer, Segment

LATER = date(2026, 7, 1)
STAGES = {
    "rules": [
        {"segment": "high", "from": ["low"], "when": "nps >= 50 OR tickets_90d = 0"},
        {"segment": "low", "when": "previous IS NULL"},
    ]
}
READING = {
    "rules": [
        {"segment": "high", "when": "label.tier = 'high' AND composite.tier >= 4"},
        {"segment": "low", "top": "2 by composite.tier"},
        {"segment": "tech", "when": "declared = 'tech'"},
    ]
}
ADOPTION = {"rules": [{"segment": "high", "when": "login_days_30d >= 8"}, {"segment": "tech"}]}


@pytest.fixture
def web(db):
    client = Client()
    client.force_login(User.objects.create_superuser("chief", "chief@example.com", "x"))
    return client


@pytest.fixture
def acme(db):
    layer_with(policy="automatic")
    layer_with(STAGES, key="stage", policy="automatic")
    layer_with(READING, key="reading", policy="automatic")
    layer_with(ADOPTION, key="adoption", policy="automatic", scope="product")
    acme = account(
        name="Acme", arr=60_000, employees=500, usage={"nps": 10, "tickets_90d": 3, "login_days_30d": 1}
    )
    for key, days in (("Core & more", 20), ("Extra", 3)):
        Usage.objects.create(
            account=acme, product=Product.objects.create(key=key), login_days_30d=days, feature_adoption="0.4"
        )
    recompute()
    return acme


def page(web, account, query=""):
    answer = web.get(f"/admin/accounts/account/{account.pk}/change/?{query}")
    assert answer.status_code == 200
    return answer


def text(answer):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode())))


def told(*arguments):
    out = StringIO()
    call_command("explain", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def rows(answer):
    """[(name, value)] of the why tables as shown."""
    tables = re.findall(r'<table class="why".*?</table>', answer.content.decode(), re.S)
    found = re.findall(
        r'<td class="measure">(.*?)</td>\s*<td class="value"><span class="v[^>]*>(.*?)</span>', "".join(tables), re.S
    )  # fmt: skip
    return [(html.unescape(re.sub(r"<[^>]*>", "", name)), html.unescape(value)) for name, value in found]


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("layer=tier", ["--layer", "tier"]),
        ("layer=stage", ["--layer", "stage"]),
        ("layer=reading", ["--layer", "reading"]),
        ("layer=adoption&product=Core+%26+more", ["--layer", "adoption", "--product", "core & more"]),
        ("layer=adoption&product=Extra", ["--layer", "adoption", "--product", "Extra"]),
        (f"layer=stage&at={DAY}", ["--layer", "stage", "--at", str(DAY)]),
    ],
)
def test_the_page_shows_what_the_command_says_field_by_field(web, acme, query, arguments):
    said, answer = told("acme", *arguments), page(web, acme, query)
    assert answer.context["why"] == said
    expected = [row for row in said["requires"] if row["decides"]]
    expected += [row for group in said["dimensions"] for row in group["criteria"]]
    expected += [row for row in said["requires"] if not row["decides"]]
    assert rows(answer) == [(row["name"], row["value_shown"] or "not known") for row in expected]
    shown = text(answer)
    assert compared(said["rule"]["text"]) in shown
    assert f"Why: {said['layer']['name']}" in shown
    assert f"{said['effective_segment_name']} since 1 Jun 2026" in shown


def test_where_an_account_stays_it_is_said_and_what_could_move_it(web, acme):
    why = told("acme", "--layer", "stage")
    assert [(row["fact"], row["decides"]) for row in why["requires"]] == [
        ("previous", True),  # what decided, first
        ("nps", False),
        ("tickets_90d", False),
    ]
    recompute(LATER)
    why = told("acme", "--layer", "stage")
    assert why["rule"] == {"index": None, "segment": "low", "when": None, "text": "Stays: no rule applies."}
    assert [(row["fact"], row["decides"]) for row in why["requires"]] == [
        ("nps", True),
        ("tickets_90d", True),
        ("previous", True),
    ]
    assert "Low Stays: no rule applies." in text(page(web, acme, "layer=stage"))
    change(acme, tickets_90d=0)
    recompute(date(2026, 7, 2))
    why = told("acme", "--layer", "stage")
    assert why["rule"]["text"] == "Rule 1: coming from Low, and (NPS (10) >= 50 OR Tickets, 90 days (0) = 0)"


def test_what_another_segmentation_says_is_named_as_there_and_leads_there(web, acme):
    Layer.objects.filter(key="tier").update(name="Tier of service")
    Segment.objects.filter(layer__key="tier", key="low").update(name="Low touch")
    why = told("acme", "--layer", "reading")
    assert why["rule"]["text"] == "Rule 2: among the 2 highest by Tier of service: overall score (3.75)"
    assert [(row["name"], row["value_shown"], row["layer"], row["decides"]) for row in why["requires"]] == [
        ("Tier of service: overall score", "3.75", "tier", True),
        ("Tier of service", "Low touch", "tier", False),
        ("Declared value", None, None, False),
    ]
    answer = page(web, acme, f"layer=reading&at={DAY}").content.decode()
    assert f'<a href="?layer=tier&amp;at={DAY}#why">Tier of service: overall score</a>' in answer


def test_all_labels_stand_together(web, acme):
    for number in range(4):
        layer_with(BY_ARR, key=f"extra-{number}", policy="automatic")
    layer = layer_with(BY_ARR, key="late")
    recompute(LATER)
    change(acme, arr=250_000)
    recompute(date(2026, 7, 2))
    layer_with(BY_ARR, key="fresh")  # active, and not evaluated yet
    Layer.objects.create(key="bare", name="Bare")  # no rules: no label
    shown = text(page(web, acme, "layer=late"))
    assert "All 9 labels" in shown
    assert "Late Tech since 1 Jul 2026 by the rules High, since 2 Jul 2026" in shown
    assert "Fresh not evaluated yet" in shown
    top = shown.partition("All 9 labels")[2].partition("Why: Late")[0]
    assert "Bare" not in top
    assert "Adoption" not in top  # those of products stand with the products
    activate(layer, {"rules": [{"segment": "high", "when": "nps > 90"}]})
    recompute(date(2026, 7, 3))
    assert "Needs data No rule applies." in text(page(web, acme, "layer=tier"))


def test_products_have_their_labels_facts_and_subscriptions(web, acme):
    core = Product.objects.get(key="Core & more")
    acme.subscriptions.create(subscription_id="s1", product=core, start_date=date(2024, 1, 1), arr=5_000)
    acme.subscriptions.create(subscription_id="s2", start_date=date(2024, 1, 1), arr=1_000)
    shown = text(page(web, acme))
    assert (
        "Core & more Adoption: High since 1 Jun 2026 Why Days with a login, 30 days 20 Feature adoption 40 %"
        in shown
    )
    assert "Extra Adoption: Tech since 1 Jun 2026" in shown
    assert "Without a product From Until" in shown
    assert 'href="?layer=adoption&amp;product=Core+%26+more#why"' in page(web, acme).content.decode()
    assert "Why: Adoption of Core & more" in text(page(web, acme, "layer=adoption&product=nonsense"))

    acme.subscriptions.filter(product=core).update(end_date=date(2026, 6, 15))
    recompute(LATER)
    answer = page(web, acme, "layer=adoption&product=Core+%26+more")
    shown = text(answer)
    assert "Core & more no longer there Adoption: ended 1 Jul 2026" in shown
    assert "Acme does not have Core & more any more: since 1 Jul 2026 it has no segment." in shown
    assert "Adoption of Core & more High → no longer there" in shown
    then = page(web, acme, f"layer=adoption&product=Core+%26+more&at={DAY}")
    assert then.context["why"]["effective_segment"] == "high"


def test_a_segmentation_of_products_on_an_account_without_any(web, acme):
    other = account("other", arr=1)
    assert "this one has none" in text(page(web, other, "layer=adoption"))


def test_the_page_asks_as_often_with_more_products_and_labels(web, acme):
    def queries():
        with CaptureQueriesContext(
            connection,
        ) as asked:
            page(web, acme, "layer=tier")
        return len(asked)

    queries()  # what is read once a process
    before = queries()
    for number in range(6):
        product = Product.objects.create(key=f"p{number}")
        Usage.objects.create(account=acme, product=product, login_days_30d=number)
        acme.subscriptions.create(
            subscription_id=f"p{number}", product=product, start_date=date(2024, 1, 1), arr=1
        )
    for number in range(4):
        layer_with(BY_ARR, key=f"extra-{number}", policy="automatic")
    recompute(LATER)
    assert queries() <= before + 1  # a first subscription


# -- nested segments, and what a segmentation labels


def test_a_nested_segment_is_shown_as_a_path(web, acme):
    low = Segment.objects.get(layer__key="tier", key="low")
    high = Segment.objects.get(layer__key="tier", key="high")
    Segment.objects.filter(layer__key="stage", key="low").update(parent=low)
    Segment.objects.filter(pk=low.pk).update(parent=high)
    assert "Stage High › Low › Low since" in text(page(web, acme))
    layer = Layer.objects.get(key="stage")
    assert "High › Low › Low" in text(web.get(f"/admin/segmentation/layer/{layer.pk}/change/"))
    listed = text(web.get("/admin/segmentation/segment/"))
    assert "Tier: Low" in listed


def save_segment(web, segment, parent):
    sent = {
        "name": segment.name,
        "description": "",
        "position": 0,
        "owner_role": "Ops",
        "parent": parent.pk,
        "why": "Nested",
    }
    return web.post(f"/admin/segmentation/segment/{segment.pk}/change/", sent)


def test_a_parent_is_of_any_segmentation_and_closes_no_circle(web, acme):
    high, low, tech = Segment.objects.filter(layer__key="tier").order_by("position")
    stage = Segment.objects.get(layer__key="stage", key="low")
    adopted = Segment.objects.get(layer__key="adoption", key="high")
    assert save_segment(web, low, high).status_code == 302
    assert save_segment(web, stage, low).status_code == 302
    stage.refresh_from_db()
    assert stage.parent == low
    assert "High would be part of itself: High › Low › Low › High." in text(save_segment(web, high, stage))
    assert "High would be part of itself: High › High." in text(save_segment(web, high, high))
    assert "Adoption of products of accounts" in text(save_segment(web, adopted, tech))
    for one, parent in ((high, stage), (high, high)):
        with pytest.raises(IntegrityError, match="part of itself"), transaction.atomic():
            Segment.objects.filter(pk=one.pk).update(parent=parent)


def test_what_a_segmentation_labels_stays_once_it_has(web, acme):
    layer = Layer.objects.get(key="adoption")
    sent = {"name": "Adoption", "description": "", "policy": "automatic", "position": 0, "scope": "account"}
    answer = web.post(f"/admin/segmentation/layer/{layer.pk}/change/", sent)
    assert "Adoption has labelled products of accounts already, so that stays." in text(answer)
    with pytest.raises(IntegrityError, match="has given labels"), transaction.atomic():
        Layer.objects.filter(pk=layer.pk).update(scope="account")
    fresh = Layer.objects.create(key="fresh", name="Fresh")
    answer = web.post(f"/admin/segmentation/layer/{fresh.pk}/change/", sent | {"scope": "product"})
    assert answer.status_code == 302
    fresh.refresh_from_db()
    assert fresh.scope == "product"


def test_the_presets_nest(db):
    versions.load_presets()
    one = Segment.objects.get(key="enterprise-strategic")
    assert (one.parent.layer.key, one.parent.key) == ("value-tier", "enterprise")
    one.full_clean()


def test_accounts_are_listed_once_whatever_their_products(web, acme):
    for query in ("segment=low", "state=needs-data", "o=1"):
        listed = web.get(f"/admin/accounts/account/?{query}").context["cl"].result_list
        assert len(listed) == (0 if query.startswith("state") else 1)
    assert Account.objects.count() == 1


def test_what_is_done_for_a_product_stands_with_it(web, acme):
    Layer.objects.filter(key="adoption").update(decides=["touch_frequency"])
    assert "Adoption: High since 1 Jun 2026 Why Touch frequency: Service of high" in text(page(web, acme))


def test_on_a_date_the_labels_are_those_of_that_day(web, acme):
    change(acme, arr=1, employees=1)
    uses = Usage.objects.get(account=acme, product__key="Extra")
    uses.login_days_30d = 30
    uses.save()
    layer_with(BY_ARR, key="late", policy="automatic")
    recompute(LATER)
    for query, tier, extra, late in [
        ("", "Tier Tech since 1 Jul 2026", "Extra Adoption: High since 1 Jul 2026", "Late Tech since 1 Jul 2026"),
        (f"at={DAY}", "Tier Low since 1 Jun 2026", "Extra Adoption: Tech since 1 Jun 2026", "Late none on that day"),
    ]:  # fmt: skip
        shown = text(page(web, acme, query))
        assert [one for one in (tier, extra, late) if one not in shown] == []


# -- the answer first


def test_the_answer_stands_first(web, acme):
    shown = text(page(web, acme))
    order = ["Tier Low in force since 1 Jun 2026", "Overall score 3.75 : 0.25 from High, 1.25 from Tech"]
    order += [
        "Why: Overall score 3.75 is at least 2.5 and below 4.0.",
        "High if NPS reached 20. Now: NPS 10.",
    ]
    order += ["Renewal not known", "ARR $60,000", "Why: Tier, rules version 1", "How we serve this customer"]
    places = [shown.find(part) for part in order]
    assert [part for part, place in zip(order, places, strict=True) if place < 0] == []
    assert places == sorted(places)
    assert (
        "Touch frequency Service of low Tier" in shown
    )  # a line a field, with the segmentation it comes from
    head = (
        page(web, acme).content.decode().partition('class="row top head"')[2].partition('class="answer"')[0]
    )
    before, _, menu = head.partition("<details")
    assert before.count('class="btn') == 2
    assert "History" in menu


def test_what_the_rules_compare_is_told_against_its_boundaries():
    line = Scale("ARR", "$50,000", Decimal(50_000), Decimal(0), Decimal(115_000), (
        (Decimal(50_000), ">", "Low", "$50,000"), (Decimal(100_000), ">=", "High", "$100,000"),
    ))  # fmt: skip
    assert line.text == "ARR $50,000 is at most $50,000."
    assert [tick["segment"] for tick in line.ticks] == ["Low", "High"]
    over = replace(line, value=Decimal(100_000), shown="$100,000")
    assert over.text == "ARR $100,000 is at least $100,000."
    assert replace(line, value=Decimal(60_000), shown="$60,000").text.endswith(
        "is above $50,000 and below $100,000."
    )


def test_the_picture_of_twelve_months_has_gaps_where_nothing_was_known():
    months = [date(2026, month, 28) for month in range(1, 13)]
    scores = [None, Decimal("3.1"), Decimal("3.2"), None, Decimal("4.1"), *[Decimal("4.2")] * 7]
    line = Scale("Overall score", "4.20", Decimal("4.2"), Decimal(1), Decimal(5), (
        (Decimal("2.5"), ">=", "Low", "2.5"), (Decimal(4), ">=", "High", "4.0"),
    ))  # fmt: skip
    drawn = picture(list(zip(months, scores, strict=True)), line)
    assert [path.count(" L") for path in drawn["paths"]] == [1, 7]
    assert len(drawn["levels"]) == 1  # 2.5 is far below
    assert drawn["text"].startswith("28 Jan 2026 not known; 28 Feb 2026 3.10;")
    assert picture([(day, None) for day in months], line) is None
    assert picture([(months[0], Decimal(3))], None)["paths"] == ["M0.0 22.0 h.01"]


def test_what_happened_is_narrowed_to_its_cause(web, acme):
    change(acme, arr=250_000)
    recompute(LATER)
    activate(Layer.objects.get(key="stage"), STAGES | {"rules": [*STAGES["rules"], {"segment": "tech"}]})
    kinds = {
        cause: {event["kind"] for event in page(web, acme, f"cause={cause}").context["timeline"]}
        for cause in ("", "data", "rules", "people", "nonsense")
    }
    assert kinds["data"] <= {"move", "data"}
    assert "move" in kinds["data"]
    assert kinds["rules"] == {"rules"}
    assert kinds["people"] == set()
    assert kinds[""] == {"move", "rules"}
    assert "“1.1.2026” is not a date. Today is shown." in text(page(web, acme, "at=1.1.2026"))
    assert "That date is still to come. Today is shown." in text(page(web, acme, "at=2999-01-01"))
