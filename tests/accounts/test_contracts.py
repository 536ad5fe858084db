"""Contracts of an import: whether their end is their last day is asked, and their currencies are told of."""

import datetime

import pytest
from importing import attempt

from accounts import revenue
from accounts.models import Account, ImportBatch, Subscription
from core.money import Money

pytestmark = pytest.mark.django_db
SOLD = "SELECT account AS external_id, id AS subscription_id, starts AS start_date, ends AS end_date, arr, currency, status FROM sold"
HEAD = "account,id,starts,ends,arr,currency,status\n"
RENEWED = "A-1,s1,2025-07-01,2026-06-30,60,USD,active\nA-1,s2,2026-07-01,2027-06-30,60,USD,active\n"


def sold(folder, rows, **options):
    files = {"crm.csv": "id,name\nA-1,One\nA-2,Two\n", "sold.csv": HEAD + rows}
    accounts = "SELECT id AS external_id, name FROM crm"
    return attempt(folder, files, accounts=accounts, subscriptions=SOLD, **options)


def arr(day, name="A-1"):
    account = Account.objects.get(external_id=name)
    return revenue.of([account.pk], datetime.date.fromisoformat(day))[account.pk]


def warned(attempted):
    return [(row["warning"], row["count"], row["examples"]) for row in attempted.batch.warnings]


def test_where_a_contract_begins_on_the_day_after_the_end_of_another_it_is_asked(tmp_path, settings):
    settings.FIXED = settings.FIXED | {"renewal_grace_days": 0}
    asked = sold(tmp_path, RENEWED)
    assert (asked.batch.status, Subscription.objects.count()) == (ImportBatch.Status.FAILED, 0)
    assert asked.said.startswith(
        "Does a contract run on its end_date? In 1 of 1 contracts that another one follows, that begins on the day after "
        "(A-1: s1 ends on 2026-06-30). Say it in the recipe: `contract_end: last day`, or `contract_end: day after`"
    )
    assert sold(tmp_path, RENEWED, contract_end="day after").said == ""
    assert [arr(day).ours for day in ("2026-06-29", "2026-06-30", "2026-07-01")] == [60, 0, 60]
    told = sold(tmp_path, RENEWED, contract_end="last day")  # the same file, understood otherwise
    assert told.ledger("subscriptions") == (2, 0, 2, 0, 0)
    assert [
        arr(day).ours for day in ("2026-06-29", "2026-06-30", "2026-07-01", "2027-06-30", "2027-07-01")
    ] == [60, 60, 60, 60, 0]
    assert sold(tmp_path, RENEWED, contract_end="last day").ledger("subscriptions") == (2, 0, 0, 2, 0)


NOT_ASKED = [  # what it is; rows; how many are warned of
    ("a renewal on the day of the end", "A-1,s1,2025-07-01,2026-07-01,60,USD,active\nA-1,s2,2026-07-01,,60,USD,active\n", 0),
    ("others renew on that day", RENEWED + "A-2,s1,2025-07-01,2026-07-01,60,USD,active\nA-2,s2,2026-07-01,,60,USD,active\n", 1),
    ("another account", "A-1,s1,2025-07-01,2026-06-30,60,USD,active\nA-2,s2,2026-07-01,,60,USD,active\n", 0),
    ("two days later", "A-1,s1,2025-07-01,2026-06-30,60,USD,active\nA-1,s2,2026-07-02,,60,USD,active\n", 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "count"), [case[1:] for case in NOT_ASKED], ids=[case[0] for case in NOT_ASKED]
)
def test_where_the_rows_do_not_tell_it_is_not_asked(tmp_path, rows, count):
    told = sold(tmp_path, rows)
    assert (told.said, told.batch.status) == ("", ImportBatch.Status.COMMITTED)
    assert [number for text, number, _ in warned(told) if "begins on the day after" in text] == [
        count
    ] * bool(count)


def test_a_last_day_is_one_only_as_the_recipe_says(tmp_path):
    assert sold(tmp_path, "A-1,s1,2025-07-01,9999-12-31,60,USD,active\n", contract_end="last day").said == ""
    assert Subscription.objects.get().end_date is None  # a date that stands for no end
    assert (
        "contract_end is 'friday'; write 'last day' where it runs on that day"
        in sold(tmp_path, "", contract_end="friday").said
    )
    assert "one value" in sold(tmp_path, "", contract_end=["last day"]).said


def test_contracts_in_other_currencies_are_told_of(tmp_path):
    """The organisation's is USD: by the contract, by the recipe, and where one account has several."""
    rows = (
        "A-1,s1,2026-01-01,,60,USD,active\nA-1,s2,2026-01-01,,60,EUR,active\nA-2,s1,2026-01-01,,70,,active\n"
    )
    told = sold(tmp_path, rows, currency="GBP")
    foreign = "money in another currency than USD: no segment by money until it is converted"
    several = (
        "contracts in several currencies: their amounts are not added up, and there is no segment by ARR"
    )
    assert warned(told) == [(foreign, 2, ["A-1", "A-2"]), (several, 1, ["A-1"])]
    assert (arr("2026-06-30"), arr("2026-06-30", "A-2")) == (
        Money({"USD": 60, "EUR": 60}),
        Money({"GBP": 70}),
    )
    ended = sold(tmp_path, "A-1,s2,2026-01-01,2026-02-01,60,EUR,expired\n", at=datetime.date(2026, 7, 1))
    assert warned(ended) == [(foreign, 1, ["A-1"])]
    assert arr("2026-07-01") == Money({"USD": 60})
