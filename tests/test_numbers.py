"""Numbers as people type them are taken wherever a number is typed."""

from decimal import Decimal

import pytest
from django import forms

from accounts.admin.fields import Amount, TypedAmount, TypedWhole, Whole, of_model
from accounts.catalogue import TYPES
from core import numbers
from core.models import Settings
from segmentation.models import ServiceModel
from segmentation.rules.condition_rows import RowErrors, to_rows, to_text


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("$100K", "100000"), ("25,000", "25000"), ("40%", "0.4"), ("1.2M", "1200000"), ("25 lakh", "2500000"),
        ("10,00,000", "1000000"), ("1 250 000", "1250000"), ("1’234.50", "1234.5"), ("−5", "-5"), ("-$3k", "-3000"),
        ("€ 1.5 million", "1500000"), (".5", "0.5"), ("2x", "2"), ("0", "0"), ("-0", "0"), ("0.40", "0.4"),
    ],
)  # fmt: skip
def test_a_number_is_read_as_it_is_meant(typed, value):
    assert numbers.read(typed).text == value


@pytest.mark.parametrize(
    "typed", ["", "x", "1,2", "12,34", "$", "%", "1e9", "NaN", "--5", "١٢", "5 5", "10 OR 1"]
)
def test_what_is_none_is_not_guessed(typed):
    assert numbers.read(typed) is None
    assert numbers.plain(typed) == typed


def test_what_is_plain_already_stays_as_it_was_typed():
    assert [numbers.plain(text) for text in ("0.40", "40%", "1,000", "$5", ".5")] == [
        "0.40",
        "0.4",
        "1000",
        "$5",
        ".5",
    ]


@pytest.mark.parametrize(
    ("field", "typed", "value"),
    [
        (Whole(), "$25,000", 25_000),
        (Whole(), "1.2M", 1_200_000),
        (Amount(), "$1.5M", Decimal(1_500_000)),
        (Amount(), "20%", Decimal("0.2")),
        (TypedWhole(), "10,000", 10_000),
        (TypedAmount(), "$100K", Decimal(100_000)),
        (of_model(Settings._meta.get_field("check_completeness")), "60%", 60),
        (of_model(Settings._meta.get_field("facts_days_at_most")), "1,000", 1_000),
    ],
)
def test_forms_take_it(field, typed, value):
    assert field.clean(typed) == value
    assert isinstance(field, TypedWhole | TypedAmount) or field.widget.input_type == "text"


@pytest.mark.django_db
def test_the_admins_own_forms_take_it(admin_client):
    """Each number of a model's form, whatever page it is on."""
    model = {"name": "High", "key": "high", "csm_kind": "pool", "accounts_per_csm_min": "1,000"}
    typed = model | {"accounts_per_csm_max": "1.2K", "cost_to_serve": "$25,000", "staff": "2.5"}
    assert admin_client.post("/admin/segmentation/servicemodel/add/", typed).status_code == 302
    made = ServiceModel.objects.get()
    assert (made.accounts_per_csm_min, made.accounts_per_csm_max, made.cost_to_serve) == (1000, 1200, 25_000)
    page = admin_client.get("/admin/segmentation/servicemodel/add/").content.decode()
    assert 'type="number"' not in page  # a browser's number field takes digits only


def test_a_part_of_a_whole_number_is_none():
    with pytest.raises(forms.ValidationError):
        Whole().clean("40%")


@pytest.mark.parametrize(
    ("field", "operator", "values", "text"),
    [
        ("arr", ">=", ["$100K"], "arr >= 100000"),
        ("employees", "between", ["1,000", "25,000"], "employees BETWEEN 1000 AND 25000"),
        ("seat_use", "<", ["40%"], "seat_use < 0.4"),
        ("arr", "in", ["1.2M", "25 lakh"], "arr IN (1200000, 2500000)"),
        ("nps", "<", ["−20"], "nps < -20"),
    ],
)
def test_rows_of_conditions_take_it(field, operator, values, text):
    row = {"field": field, "operator": operator, "values": values}
    assert to_text({"join": "all", "rows": [row]}, TYPES) == text
    assert to_rows(text, TYPES)["rows"][0]["field"] == field


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("employees", "$100", "has a currency sign, but this field is not money"),
        ("employees", "40%", "ends with %, but this field is a plain number"),
        ("arr", "a lot", "is no number; write it as 100000, $100K or 40%."),
        ("arr", "9" * 30 + "K", "is too large"),
    ],
)
def test_what_does_not_fit_the_field_is_said(field, value, said):
    with pytest.raises(RowErrors) as error:
        to_text({"join": "all", "rows": [{"field": field, "operator": ">=", "values": [value]}]}, TYPES)
    assert said in str(error.value)
