"""Segmentations of products: one label for each product an account has, from its own usage and subscriptions."""

import csv
import io
import json
from datetime import date

import pytest
from django.core.management import CommandError, call_command
from segmenting import BY_ARR, DAY, account, activate, change, layer_with, recompute, state

from accounts.models import Product, Usage
from core.refusals import Refused
from segmentation.authoring import versions
from segmentation.models import Assignment, Layer, Move
from segmentation.reading import explain
from segmentation.runs import recalculation

LATER = date(2026, 7, 1)
ADOPTION = {
    "requires": ["login_days_30d"],
    "rules": [
        {"segment": "high", "when": "login_days_30d >= 8"},
        {"segment": "low", "when": "login_days_30d >= 1 AND label.tier = 'high'"},
        {"segment": "tech"},
    ],
}


@pytest.fixture
def adoption(db):
    """A layer of products, which reads one of accounts."""
    layer_with(BY_ARR, policy="automatic")
    return layer_with(ADOPTION, key="adoption", policy="automatic", scope="product")


def product(key):
    return Product.objects.get_or_create(key=key)[0]


def uses(account, key, days):
    Usage.objects.update_or_create(account=account, product=product(key), defaults={"login_days_30d": days})


def buys(account, key, *, until=None, number="s1", status="active"):
    return account.subscriptions.create(
        subscription_id=number,
        product=product(key),
        arr=0,
        start_date=date(2024, 1, 1),
        end_date=until,
        status=status,
    )


@pytest.fixture
def acme(adoption):
    acme = account("acme", name="Acme", arr=120_000, usage={"login_days_30d": 30})
    uses(acme, "core", 20)
    uses(acme, "extra", 3)
    buys(acme, "bought")
    return acme


def tags(layer, of="effective"):
    rows = Assignment.objects.filter(layer=layer).order_by("account__external_id", "product__key")
    return list(rows.values_list("account__external_id", "product__key", f"{of}__key", "reason"))


def moves(layer):
    found = Move.objects.filter(layer=layer).order_by("at", "product__key", "account__external_id", "id")
    return list(found.values_list("product__key", "from_segment__key", "to_segment__key", "why", "at"))


def command(*arguments, name="explain"):
    out = io.StringIO()
    call_command(name, *arguments, stdout=out)
    return out.getvalue()


def test_each_product_has_its_own_label(adoption, acme):
    other = account("other", arr=1)
    uses(other, "extra", 3)  # the tier of the account decides here too: not high
    account("third", arr=1)  # no product, no label
    recompute()
    assert tags(adoption) == [
        (
            "acme",
            "bought",
            None,
            "missing:login_days_30d",
        ),  # what is known of the account is not of the product
        ("acme", "core", "high", ""),
        ("acme", "extra", "low", ""),
        ("other", "extra", "tech", ""),
    ]
    assert [(key, to, why) for key, _, to, why, _ in moves(adoption)] == [
        ("core", "high", "initial"),
        ("extra", "low", "initial"),
        ("extra", "tech", "initial"),
    ]
    history = Assignment.history.filter(layer=adoption).values_list("product__key", "effective__key")
    assert sorted(history, key=str) == [
        ("bought", None),
        ("core", "high"),
        ("extra", "low"),
        ("extra", "tech"),
    ]
    assert Assignment.objects.filter(layer__key="tier", product=None).count() == 3


def test_a_second_recalculation_changes_nothing(adoption, acme):
    recompute()
    before = state()
    counts = recompute().layers.get(layer=adoption).counts
    assert (counts["changed"], counts["moved"], counts["rescored"]) == (0, 0, 0)
    assert state() == before


def test_a_product_moves_alone_and_is_explained_then_and_now(adoption, acme):
    recompute()
    uses(acme, "core", 5)
    recompute(LATER)
    assert moves(adoption) == [
        ("core", None, "high", "initial", DAY),
        ("extra", None, "low", "initial", DAY),
        ("core", "high", "low", "data", LATER),
    ]
    core = product("core")
    now, then = (
        explain.explain(acme, adoption, product=core),
        explain.explain(acme, adoption, product=core, at=DAY),
    )
    assert (now["effective_segment"], then["effective_segment"]) == ("low", "high")
    assert [(row["fact"], row["value"], row["layer"]) for row in now["requires"]] == [
        ("login_days_30d", "5", None),
        ("label.tier", "high", "tier"),
    ]
    assert then["requires"][0]["value"] == "20"
    assert now["product"] == {"key": "core", "name": "core"}
    with pytest.raises(Refused, match="name a product"):
        explain.explain(acme, adoption)
    with pytest.raises(Refused, match="do not name a product"):
        explain.explain(acme, Layer.objects.get(key="tier"), product=core)
    with pytest.raises(Refused, match="Acme does not have never"):
        explain.explain(acme, adoption, product=product("never"))


@pytest.mark.parametrize(
    ("leaves", "returns"),
    [
        (lambda sold: sold.update(end_date=date(2026, 6, 15)), lambda sold: sold.update(end_date=None)),
        (lambda sold: sold.update(status="cancelled"), lambda sold: sold.update(status="active")),
    ],
)
def test_the_label_of_a_product_that_is_no_longer_there_ends_once(adoption, acme, leaves, returns):
    buys(acme, "core", number="s2")
    recompute()
    sold = acme.subscriptions.filter(product__key="core")
    leaves(sold)  # its usage row is still there
    recompute(LATER)
    assert ("acme", "core", None, "gone") in tags(adoption)
    assert moves(adoption)[-1] == ("core", "high", None, "data", LATER)
    after = state()
    run = recompute(date(2026, 7, 2))
    assert run.layers.get(layer=adoption).counts["scanned"] == 2  # it is not evaluated any more
    assert state() == after

    core = product("core")
    with pytest.raises(Refused, match="does not have core any more: since 1 Jul 2026"):
        explain.explain(acme, adoption, product=core)
    assert explain.explain(acme, adoption, product=core, at=DAY)["effective_segment"] == "high"
    ended = explain.explain(acme, adoption, product=core, at=LATER)
    assert (ended["effective_segment"], ended["unsegmented_reason"]) == (None, "gone")
    assert ended["reason_text"] == "The account does not have this product any more."

    returns(sold)
    recompute(date(2026, 7, 3))
    assert moves(adoption)[-1] == ("core", None, "high", "data", date(2026, 7, 3))


def test_a_product_with_neither_usage_nor_subscription_left_loses_its_label(adoption, acme):
    recompute()
    acme.usage.filter(product__key="extra").delete()
    acme.subscriptions.all().delete()
    recompute(LATER)
    assert tags(adoption) == [
        ("acme", "bought", None, "gone"),  # needed data before
        ("acme", "core", "high", ""),
        ("acme", "extra", None, "gone"),
    ]
    assert len(moves(adoption)) == 3


def test_what_never_had_a_label_is_not_kept_when_it_ends(adoption, acme):
    buys(acme, "past", until=date(2025, 1, 1), number="s3")
    buys(acme, "trial", status="trial", number="s4")
    recompute()
    assert [key for _, key, _, _ in tags(adoption)] == ["bought", "core", "extra", "trial"]


def test_money_of_a_product_in_another_currency_needs_data(adoption, acme):
    activate(adoption, {"rules": [{"segment": "high", "when": "arr >= 10"}, {"segment": "tech"}]})
    acme.subscriptions.update(arr=50, currency="EUR")
    recompute()
    assert tags(adoption)[0] == ("acme", "bought", None, "currency:EUR")


def test_an_account_that_is_not_scored_keeps_its_labels(adoption, acme):
    recompute()
    before = tags(adoption)
    change(acme, status="churned")
    recompute(LATER)
    assert tags(adoption) == before


def test_progress_and_report_count_accounts_and_products_apart(adoption, acme):
    run = recompute()
    assert (recalculation.progress(run)["accounts_done"], run.accounts) == (1, 1)
    report = recalculation.report(run)["layers"]
    assert (report["adoption"]["scanned"], report["adoption"]["scope"]) == (3, "product")
    assert (report["tier"]["scanned"], report["tier"]["scope"]) == (1, "account")
    assert "adoption: 3 products of accounts" in command(name="recompute")


def test_the_command_names_the_product(adoption, acme):
    recompute()
    text = command("acme", "--layer", "adoption", "--product", "Core")
    assert text.startswith("Acme (acme) on Adoption of core, as of 2026-06-01\nCurrent segment: High")
    told = json.loads(command("acme", "--layer", "adoption", "--product", "core", "--json"))
    assert told == json.loads(json.dumps(explain.explain(acme, adoption, product=product("core"))))
    for arguments, refusal in [
        (("acme", "--layer", "adoption"), "Name one with --product: bought, core, extra"),
        (("acme", "--layer", "adoption", "--product", "cor"), "There is no product 'cor'. Acme has: bought, core, extra"),
        (("acme", "--layer", "tier", "--product", "core"), "do not name a product"),
    ]:  # fmt: skip
        with pytest.raises(CommandError, match=refusal):
            command(*arguments)


def test_exports_name_the_product(adoption, acme):
    recompute()
    long = command(name="export_assignments")
    rows = list(csv.DictReader(io.StringIO(long, newline="")))
    assert list(rows[0])[:5] == [
        "external_id",
        "layer",
        "product",
        "computed_segment",
        "effective_segment",
    ]
    assert [(row["layer"], row["product"], row["effective_segment"]) for row in rows] == [
        ("adoption", "bought", ""),
        ("adoption", "core", "high"),
        ("adoption", "extra", "low"),
        ("tier", "", "high"),
    ]
    assert "product" not in command("--layer", "tier", name="export_assignments").splitlines()[0]
    wide = list(csv.reader(io.StringIO(command("--wide", name="export_assignments"), newline="")))
    assert [wide[0][5], wide[0][8]] == ["adoption", "tier"]
    assert [wide[1][0], wide[1][5], wide[1][8]] == ["acme", "core: high; extra: low", "high"]
    acme.usage.filter(product__key="extra").delete()
    recompute(LATER)
    assert "extra" not in command(name="export_assignments")
    assert "core: high," in command("--wide", name="export_assignments")


def test_what_is_known_of_products_counts_where_products_are_labelled(db):
    """Nothing is imported for the whole account: no score group is left out, and the checks count products."""
    dimensions = [{"key": "use", "criteria": [{"key": "login_days_30d", "cells": ["8", "4", "3", "2", "< 2"], "missing": "skip"}]}]  # fmt: skip
    rules = [{"segment": "high", "when": "score.use >= 4"}, {"segment": "tech"}]
    layer = layer_with({"dimensions": dimensions, "rules": rules}, key="use", scope="product")
    acme = account("acme")
    for key, days in (("core", 20), ("extra", 1)):
        uses(acme, key, days)
    for number in range(3):
        buys(acme, f"p{number}", number=f"p{number}")
    buys(acme, "past", until=date(2025, 1, 1), number="past")
    run = recompute()
    assert run.layers.get().left_out == []
    assert [tag for _, key, tag, _ in tags(layer) if key in ("core", "extra")] == ["high", "tech"]
    said = {one.check: one.message for one in versions.examine(layer.definitions.get()).warnings}
    assert said["incomplete-field"].startswith(
        "Days with a login, 30 days is known for 40 % of the products that customers have; below 60 %"
    )
    assert said["small-segment"].startswith("Tech would have 1 product; below 10")
