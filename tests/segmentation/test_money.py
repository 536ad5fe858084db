"""Money as people see it: amounts of several currencies side by side, and what becomes of a renewal."""

import html
import re
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from segmenting import BY_ARR, account, layer_with, recompute

from accounts.models import Account, Csm, Subscription
from core import wording
from core.money import Money
from segmentation.models import Assignment
from segmentation.reading import explain

TODAY = timezone.localdate()
A = "/admin/accounts/account/"


def sold(of, number, arr=60_000, **columns):
    columns = {"start_date": date(2025, 1, 1), "currency": "USD"} | columns
    return Subscription.objects.create(account=of, subscription_id=f"s{number}", arr=arr, **columns)


def text(answer):
    body = b"".join(answer) if answer.streaming else answer.content
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body.decode())))


@pytest.mark.parametrize(
    ("amounts", "said", "short"),
    [
        ({"USD": 60_000, "EUR": 60_000}, "$60,000 + €60,000 (mixed)", "$60K + €60K (mixed)"),
        ({"GBP": 990_000, "EUR": 1}, "€1 + £990,000 (mixed)", "€1 + £990K (mixed)"),
        ({"EUR": Decimal("99.5")}, "€99.50", "€99.50"),
        ({"USD": 0, "EUR": 5}, "€5", "€5"),
        ({"USD": 0}, "$0", "$0"),
        ({}, "–", "–"),
    ],
)
def test_money_is_told_in_each_of_its_currencies(db, amounts, said, short):
    money = Money.of(amounts.items())
    assert (wording.money(money), wording.shortmoney(money)) == (said, short)
    assert bool(money) == bool(amounts)


@pytest.fixture
def layer(db):
    return layer_with(BY_ARR, policy="automatic")


def test_what_is_in_two_currencies_is_two_amounts_everywhere(layer, admin_client, admin_user):
    csm = Csm.objects.create(email="cleo@example.com", name="Cleo", user=admin_user)
    mixed, euro = (
        account("mixed", name="Mixed", csm=csm),
        account("euro", name="Euro", csm=csm, currency="USD"),
    )
    ours = account("ours", name="Ours", csm=csm)
    sold(mixed, 1), sold(mixed, 2, currency="EUR")
    sold(euro, 1, 200_000, currency="EUR")
    sold(ours, 1, 120_000)
    recompute(at=TODAY)
    states = {
        row.account_id: (row.computed and row.computed.key, row.reason) for row in Assignment.objects.all()
    }
    assert states == {
        mixed.pk: (None, "currency:EUR, USD"),
        euro.pk: (None, "currency:EUR"),
        ours.pk: ("high", ""),
    }
    why = explain.explain(Account.objects.get(pk=mixed.pk), layer)
    assert why["reason_text"].startswith(
        "Its contracts are in EUR and USD (mixed): amounts of several currencies are not"
    )
    assert [row["value_shown"] for row in why["requires"] if row["fact"] == "arr"] == [
        "$60,000 + €60,000 (mixed)"
    ]
    why = explain.explain(Account.objects.get(pk=euro.pk), layer)
    assert [row["value_shown"] for row in why["requires"] if row["fact"] == "arr"] == ["€200,000"]
    for path in (f"{A}{mixed.pk}/change/", A, f"{A}?o=3"):
        page = text(admin_client.get(path))
        assert "$60,000 + €60,000 (mixed)" in page
        assert "120,000 (mixed)" not in page
    assert "€200,000" in text(admin_client.get(f"{A}{euro.pk}/change/"))
    file = text(admin_client.get(f"{A}export/"))
    assert "60000.00 USD + 60000.00 EUR,mixed" in file
    assert "200000.00,EUR" in file
    home = text(admin_client.get("/admin/"))
    assert "$180,000 without €260,000, which nobody has converted" in home
    assert "with $180K + €260K (mixed) ARR" in home
    coverage = text(admin_client.get("/admin/coverage/"))
    assert "$180K without €260K" in coverage


def test_a_late_renewal_holds_the_segment_and_is_shown(layer, admin_client):
    """For the days of grace; then the rules say what they say of no ARR."""
    late = account("late", name="Late")
    contract = sold(late, 1, 150_000, end_date=TODAY - timedelta(days=3))
    lost = account("lost", name="Lost")
    sold(lost, 1, 150_000, status="cancelled", end_date=TODAY + timedelta(days=40))
    for day, segment in ((-4, "high"), (-3, "high"), (0, "high")):
        recompute(at=TODAY + timedelta(days=day))
        assert Assignment.objects.get(account=late).effective.key == segment
    assert Assignment.objects.get(account=lost).effective.key == "high"
    page = text(admin_client.get(f"{A}{late.pk}/change/"))
    assert "$150,000 ARR" in page
    assert "renewal overdue" in page
    assert "(in the days of grace)" in page
    page = text(admin_client.get(f"{A}{lost.pk}/change/"))
    assert f"renewal lost , the contract ends {wording.day(TODAY + timedelta(days=40))}" in page
    assert "renews in" not in page
    listed = text(admin_client.get(A))
    assert "renewal overdue" in listed
    assert "renewal lost" in listed
    Subscription.objects.filter(pk=contract.pk).update(end_date=TODAY - timedelta(days=14))
    Account.objects.filter(pk=late.pk).update(name="Later")
    recompute(at=TODAY)
    assert Assignment.objects.get(account=late).effective.key == "tech"
    assert "not renewed" in text(admin_client.get(f"{A}{late.pk}/change/"))
