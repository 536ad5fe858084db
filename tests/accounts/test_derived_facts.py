"""Facts that follow from subscriptions: what counts on which day."""

import datetime
from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection
from importing import attempt

from accounts import catalogue, revenue
from accounts.models import Account, Product, Subscription
from core.money import Money
from segmentation.evaluation import frames

pytestmark = pytest.mark.django_db
AT = datetime.date(2026, 6, 30)
FACTS = ("arr", "contract_type", "account_age_days", "days_to_renewal", "arr_growth_12m")

CASES = [  # what it is; the account; its subscriptions as (start, end, ARR, status); the facts
    ("nothing known", {}, [], (None, None, None, None, None)),
    ("ended the day before", {}, [("2025-06-15", "2026-06-16", 100)], (0, None, 380, None, -1)),
    ("ends tomorrow", {}, [("2026-01-01", "2026-07-01", 100)], (100, "annual new", 180, 1, None)),
    ("starts today", {}, [("2026-06-30", None, 100)], (100, "annual new", 0, None, None)),
    ("starts tomorrow", {}, [("2026-07-01", None, 100)], (0, None, -1, None, None)),
    ("a trial", {}, [("2026-06-01", None, 100, "trial")], (0, None, 29, None, None)),
    ("paused", {}, [("2026-06-01", None, 100, "paused")], (0, None, 29, None, None)),
    ("past due", {}, [("2026-06-01", None, 100, "past due")], (100, "past due", 29, None, None)),
    ("past due long ago", {}, [("2024-01-01", "2025-01-01", 9, "past due"), ("2026-01-01", None, 50)],
     (50, "annual renewing", 911, None, None)),
    ("after a trial", {}, [("2026-01-01", "2026-02-01", 0, "trial"), ("2026-02-01", "2027-02-01", 50)],
     (50, "annual new", 180, 216, None)),
    ("a monthly add-on", {}, [("2026-01-01", "2027-01-01", 900), ("2026-06-15", "2026-07-15", 12)],
     (912, "annual new", 180, 15, None)),
    ("monthly", {}, [("2026-06-15", "2026-07-15", 12)], (12, "month-to-month", 15, 15, None)),
    ("several years", {}, [("2025-01-01", "2028-01-01", 12)], (12, "multi-year", 545, 550, 0)),
    # 402 days are a year and a bit; from 23 months on it is several years
    ("a year and a month", {}, [("2025-07-04", "2026-08-10", 12)], (12, "annual new", 361, 41, None)),
    ("a day short of 23 months", {}, [("2026-06-01", "2028-04-30", 12)], (12, "annual new", 29, 670, None)),
    ("23 months", {}, [("2026-06-01", "2028-05-01", 12)], (12, "multi-year", 29, 671, None)),
    ("9999 is no end", {}, [("2026-06-01", "9999-12-31", 12)], (12, "annual new", 29, None, None)),
    ("2999 is none either", {}, [("2024-01-01", "2999-12-31", 12)], (12, "annual renewing", 911, None, 0)),
    ("nor is a renewal then", {"renewal_date": "9999-12-31"}, [("2026-06-01", "2026-12-30", 12)],
     (12, "annual new", 29, 183, None)),
    ("plain annual, the first term", {"contract_type": "annual"}, [("2026-06-01", "2027-06-01", 12)],
     (12, "annual new", 29, 336, None)),
    ("plain annual, after another", {"contract_type": " Annual"}, [("2025-06-01", "2026-06-01", 12), ("2026-06-01", None, 12)],
     (12, "annual renewing", 394, None, 0)),
    ("plain annual, nothing else known", {"contract_type": "annual"}, [], (None, "annual new", None, None, None)),
    ("grown by half", {}, [("2025-01-01", "2026-01-01", 100), ("2026-01-01", "2027-01-01", 150)],
     (150, "annual renewing", 545, 185, 0.5)),
    ("imported ARR counts", {"arr": 7}, [("2026-01-01", None, 100)], (7, "annual new", 180, None, None)),
    ("imported ARR without a subscription", {"arr": 7}, [], (7, None, None, None, None)),
    ("as imported", {"contract_type": "annual new", "contract_start": "2026-06-29", "renewal_date": "2026-07-02"},
     [("2020-01-01", "2026-12-31", 1)], (1, "annual new", 1, 2, 0)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "subscriptions", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_from_subscriptions(fields, subscriptions, expected):
    account = Account.objects.create(external_id="acme", **fields)
    for number, (start, end, arr, *status) in enumerate(subscriptions):
        Subscription.objects.create(
            account=account, subscription_id=number, start_date=start, end_date=end, arr=arr,
            status=status[0] if status else "active",
        )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            f"select {', '.join(catalogue.sql(name) for name in FACTS)} from accounts_account a left join "
            f"({catalogue.SUBSCRIPTION_SUMMARY}) s on s.account_id = a.id",
            revenue.parameters(AT),
        )
        assert cursor.fetchone() == expected


# A name; subscriptions as (start, end, ARR, status, product, currency); the account; ARR, renewal, days to it, seen on AT.
CONTRACTS = [
    ("overdue on the day it ends", [("2025-06-30", "2026-06-30", 100)], {}, ({"USD": 100}, "overdue", 0)),
    ("overdue on the last day of grace", [("2025-06-17", "2026-06-17", 100)], {}, ({"USD": 100}, "overdue", -13)),
    ("grace is over", [("2025-06-16", "2026-06-16", 100)], {}, ({"USD": 0}, "not renewed", None)),
    ("renewed late", [("2025-06-20", "2026-06-20", 100), ("2026-06-28", "2027-06-20", 120)], {}, ({"USD": 120}, "due", 355)),
    ("renewed early", [("2025-06-20", "2026-06-20", 100), ("2026-06-10", "2027-06-20", 120)], {}, ({"USD": 120}, "due", 355)),
    ("its renewal has ended too", [("2026-05-20", "2026-06-20", 9), ("2026-06-20", "2026-06-25", 7)], {}, ({"USD": 7}, "overdue", -5)),
    ("late beside a contract of another product", [("2025-06-20", "2026-06-20", 100, "active", "a"), ("2026-06-20", None, 50, "active", "b")],
     {}, ({"USD": 150}, "overdue", -10)),
    ("late beside an older contract", [("2025-06-20", "2026-06-20", 100), ("2025-09-01", "2026-09-01", 50)], {}, ({"USD": 150}, "overdue", -10)),
    ("a trial renews nothing", [("2025-06-20", "2026-06-20", 100), ("2026-06-20", None, 0, "trial")], {}, ({"USD": 100}, "overdue", -10)),
    ("expired, says billing", [("2025-06-20", "2026-06-20", 100, "expired")], {}, ({"USD": 0}, "not renewed", None)),
    ("cancelled, runs until its end", [("2025-12-31", "2026-12-31", 100, "cancelled")], {}, ({"USD": 100}, "lost", None)),
    ("cancelled, ended yesterday: no grace", [("2025-06-29", "2026-06-29", 100, "cancelled")], {}, ({"USD": 0}, "lost", None)),
    ("cancelled, nobody knows until when", [("2025-12-31", None, 100, "cancelled")], {}, ({"USD": 0}, "lost", None)),
    ("one of two is cancelled", [("2025-12-31", "2026-12-31", 100, "cancelled"), ("2026-01-01", "2027-01-01", 50)], {}, ({"USD": 150}, "due", 185)),
    ("no contract, a renewal date", [], {"renewal_date": "2026-06-20", "arr": 5}, ({"USD": 5}, "overdue", -10)),
    ("no contract, long past", [], {"renewal_date": "2026-01-20", "arr": 5}, ({"USD": 5}, "not renewed", -161)),
    ("in two currencies", [("2026-01-01", None, 60, "active", None, "USD"), ("2026-01-01", None, 60, "active", None, "EUR")], {},
     ({"USD": 60, "EUR": 60}, None, None)),
    ("what has ended counts in no currency", [("2026-01-01", None, 60, "active", None, "USD"), ("2025-01-01", "2026-01-01", 60, "active", None, "EUR")],
     {}, ({"USD": 60}, None, None)),
    ("the last days of grace of another currency", [("2026-01-01", None, 60, "active", "a"), ("2025-06-20", "2026-06-20", 60, "active", "b", "EUR")],
     {}, ({"USD": 60, "EUR": 60}, "overdue", -10)),
    ("nothing in another currency", [("2026-01-01", None, 60), ("2026-01-01", None, 0, "active", None, "EUR")], {}, ({"USD": 60}, None, None)),
    ("an account of one currency, a contract of another", [("2026-01-01", None, 60, "active", None, "GBP")], {"currency": "USD"}, ({"GBP": 60}, None, None)),
    ("imported in a currency", [], {"currency": "EUR", "arr": 7}, ({"EUR": 7}, None, None)),
    ("nothing is known", [], {}, ({}, None, None)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("subscriptions", "fields", "expected"),
    [case[1:] for case in CONTRACTS],
    ids=[case[0] for case in CONTRACTS],
)
def test_what_a_contract_counts_and_what_becomes_of_its_renewal(subscriptions, fields, expected):
    account = Account.objects.create(external_id="acme", **fields)
    for number, values in enumerate(subscriptions):
        start, end, arr, status, product, currency = (*values, *("active", None, "")[len(values) - 3 :])
        product = product and Product.objects.get_or_create(key=product)[0]
        Subscription.objects.create(
            account=account, subscription_id=number, start_date=start, end_date=end, arr=arr, status=status,
            product=product, currency=currency,
        )  # fmt: skip
    amounts, renewal, days = expected
    arr = revenue.of([account.pk], AT)[account.pk]
    assert arr == Money(amounts) == revenue.with_arr(Account.objects.all(), AT).get().arr_now
    total = revenue.total(Account.objects.all(), AT)
    assert (total.ours, total.others) == (arr.ours, arr.others)
    [facts] = frames.facts(
        ["arr", "renewal_status", "days_to_renewal"], at=AT, first=0, last=2**62
    ).iter_rows(named=True)
    assert (facts["renewal_status"], facts["days_to_renewal"]) == (renewal, days)
    assert facts["arr"] == arr.only  # of several currencies nobody knows one number
    assert (facts["foreign"] is None) == (not arr.others)
    assert revenue.renewals([account.pk], AT)[account.pk][1] == renewal


def test_the_days_of_grace_are_a_setting(settings):
    account = Account.objects.create(external_id="acme")
    Subscription.objects.create(
        account=account, subscription_id=1, start_date="2025-06-30", end_date="2026-06-30", arr=100
    )
    Subscription.objects.create(
        account=account, subscription_id=2, start_date="2025-06-01", end_date="2026-06-01", arr=7
    )
    for days, arr in ((0, 0), (1, 100), (29, 100), (30, 107)):
        settings.FIXED = settings.FIXED | {"renewal_grace_days": days}
        assert revenue.of([account.pk], AT)[account.pk].ours == arr


def test_a_date_that_stands_for_no_end_is_left_open_on_the_way_in_and_where_it_is_already(tmp_path):
    files = {
        "crm.csv": "id,name,renews\nA,One,2199-12-31\nB,Two,9999-12-31\n",
        "subs.csv": "id,s,a,e\nA,1,2026-01-01,2999-01-01\n",
    }
    queries = {
        "accounts": "SELECT id AS external_id, name, renews AS renewal_date FROM crm",
        "subscriptions": "SELECT id AS external_id, s AS subscription_id, a AS start_date, e AS end_date, 5 AS arr FROM subs",
    }
    made = attempt(tmp_path, files, **queries)
    assert dict(Account.objects.values_list("external_id", "renewal_date")) == {
        "A": datetime.date(2199, 12, 31),
        "B": None,
    }
    assert Subscription.objects.get().end_date is None
    said = [entry for entry in made.batch.warnings if "no end" in entry["warning"]]
    assert sorted((entry["count"], *entry["examples"]) for entry in said) == [(1, "A"), (1, "B")]

    Account.objects.filter(external_id="B").update(renewal_date="9999-12-31")
    import_module("accounts.migrations.0006_no_end").leave_open(apps, None)
    two = Account.objects.get(external_id="B")
    assert (two.renewal_date, two.history.latest().renewal_date) == (None, None)
    assert Account.objects.get(external_id="A").renewal_date is not None
