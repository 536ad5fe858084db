"""Facts that follow from subscriptions: what counts on which day."""

import datetime
from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection
from importing import attempt

from accounts import catalogue
from accounts.models import Account, Subscription

pytestmark = pytest.mark.django_db
AT = datetime.date(2026, 6, 30)
FACTS = ("arr", "contract_type", "account_age_days", "days_to_renewal", "arr_growth_12m")

CASES = [  # what it is; the account; its subscriptions as (start, end, ARR, status); the facts
    ("nothing known", {}, [], (None, None, None, None, None)),
    ("ended the day before", {}, [("2025-06-29", "2026-06-30", 100)], (0, None, 366, None, -1)),
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
            f"({catalogue.SUBSCRIPTION_SUMMARY} group by b.account_id) s on s.account_id = a.id",
            {"at": AT},
        )
        assert cursor.fetchone() == expected


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
    import_module("accounts.migrations.0050_no_end").leave_open(apps, None)
    two = Account.objects.get(external_id="B")
    assert (two.renewal_date, two.history.latest().renewal_date) == (None, None)
    assert Account.objects.get(external_id="A").renewal_date is not None
