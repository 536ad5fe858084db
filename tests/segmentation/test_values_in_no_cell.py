"""Values nobody listed, values nobody has, and scores beside their boundaries: said as they are."""

from datetime import date
from decimal import Decimal

import pytest
from segmenting import account, layer_with, recompute

from accounts.models import Subscription
from segmentation.models import Assignment
from segmentation.reading import explain
from segmentation.reading.spelling import score

pytestmark = pytest.mark.django_db


def rules(*, missing="skip", other="skip"):
    criteria = [
        {
            "key": "contract_type",
            "cells": ["multi-year", "annual renewing", "annual new", "", "past due"],
            "missing": missing,
        },
        {"key": "industry", "cells": ["SaaS", "Retail", "", "", "Tobacco"], "missing": other},
        {"key": "employees", "cells": ["1000+", "500+", "100+", "50+", "< 50"], "missing": "assume 3"},
    ]
    return {
        "weights": {"fit": "1"},
        "dimensions": [{"key": "fit", "name": "Fit", "criteria": criteria}],
        "rules": [{"segment": "high", "when": "composite >= 4.0"}, {"segment": "tech"}],
    }


def row(why, key):
    return next(one for group in why["dimensions"] for one in group["criteria"] if one["key"] == key)


def test_a_value_in_no_cell_is_not_said_to_be_unknown():
    layer = layer_with(rules(missing="needs data"), policy="automatic")
    one = account(contract_type="evergreen", employees=10)
    recompute()
    state = Assignment.objects.get()
    assert (state.computed, state.reason) == (None, "no cell:contract_type")
    why = explain.explain(one, layer)
    assert why["reason_text"] == "'evergreen' is in no cell of Contract type, and the rules need one."
    assert row(why, "contract_type")["fallback"]["text"] == "'evergreen' is in no cell, and needed."
    other = account("other", employees=10)
    recompute()
    assert Assignment.objects.get(account=other).reason == "missing:contract_type"
    assert "is not known" in explain.explain(other, layer)["reason_text"]


def test_a_left_out_value_too_and_an_industry_nobody_knows_has_a_name():
    layer = layer_with(rules(), policy="automatic")
    one = account(industry="Space", employees=10, contract_type="evergreen")
    recompute()
    why = explain.explain(one, layer)
    assert row(why, "industry")["fallback"]["brief"] == "'Space' is in no cell: this measure is left out."
    unknown = account("unknown", employees=10)
    shown = row(explain.explain(unknown, layer), "industry")
    assert (shown["value"], shown["value_shown"], shown["fallback"]["brief"]) == (
        None,
        "Unknown",
        "this measure is left out",
    )


@pytest.mark.parametrize(
    ("stated", "subscriptions", "value", "source"),
    [
        (None, [("2025-07-04", "2026-08-10", "")], "annual new", "derived from the dates"),
        ("annual", [], "annual new", "annual, new or renewing derived from the dates"),
        (None, [("2024-01-01", "2025-01-01", ""), ("2025-01-01", "2027-01-01", "Annual")], "annual renewing",
         "Annual, new or renewing derived from the dates"),
        (None, [("2025-07-04", "2026-08-10", "multi-year")], "multi-year", "subscriptions"),
        ("multi-year", [], "multi-year", "crm"),
    ],
)  # fmt: skip
def test_a_derived_contract_type_says_so(stated, subscriptions, value, source):
    layer = layer_with(rules(), policy="automatic")
    provenance = {"contract_type": ["crm", "2026-05-22"]} if stated else {}
    one = account(contract_type=stated, employees=10, provenance=provenance)
    for number, (start, end, kind) in enumerate(subscriptions):
        Subscription.objects.create(
            account=one, subscription_id=number, start_date=date.fromisoformat(start), end_date=date.fromisoformat(end),
            contract_type=kind, arr=1,
        )  # fmt: skip
    recompute()
    shown = row(explain.explain(one, layer), "contract_type")
    assert (shown["value"], shown["source"]) == (value, source)


@pytest.mark.parametrize(
    ("value", "edges", "shown"),
    [
        ("3.9958", ["4.0", "2.5"], "3.996"),
        ("3.999999999999", ["4.0"], "3.999999999999"),
        ("2.499975", ["2.5"], "2.49998"),
        ("4.0", ["4.0"], "4.00"),
        ("4.004", ["4.0"], "4.004"),
        ("3.9958", [], "4.00"),
        ("3.75", ["4.0"], "3.75"),
    ],
)
def test_as_many_decimals_as_tell_a_score_from_its_boundary(value, edges, shown):
    assert score(Decimal(value), [Decimal(edge) for edge in edges]) == shown


def test_the_parts_add_up_to_the_score_as_it_is_shown():
    document = rules()
    document["dimensions"][0]["criteria"][2]["weight"] = "0.001"
    layer = layer_with(document, policy="automatic")
    one = account(
        contract_type="annual renewing", industry="Retail", employees=10
    )  # 4, 4 and a thousandth of 1
    recompute()
    why = explain.explain(one, layer)
    assert (why["composite_shown"], why["effective_segment"]) == ("3.999", "tech")
    parts = [Decimal(part["contribution_shown"]) for part in why["dimensions"][0]["criteria"]]
    assert sum(parts) == Decimal(why["composite_shown"])
    assert "overall score (3.999)" in why["rule"]["text"] or why["rule"]["text"].endswith("everything else")
