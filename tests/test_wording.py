"""How values are written: money, days, counts and shares, each with the case that reads wrong most easily."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from accounts.currency import CODES
from core import wording


@pytest.mark.parametrize(
    ("value", "currency", "shown"),
    [
        (130_000, "USD", "$130,000"),
        (Decimal("99.5"), "USD", "$99.50"),
        (Decimal("1200.00"), "EUR", "€1,200"),
        (1_200, "CHF", "1,200 CHF"),
        (Decimal("1200.5"), "CHF", "1,200.50 CHF"),
        (1_200, "CAD", "CA$1,200"),  # not to be taken for another dollar
        (Decimal("1200.5"), "JPY", "¥1,200"),  # there is no half a yen
        (Decimal("1.5"), "KWD", "1.500 KWD"),
        (-5, "USD", "-$5"),
        (0, "USD", "$0"),
        (None, "USD", "–"),
        (7, "", "$7"),  # the organisation's
    ],
)
def test_money(value, currency, shown):
    assert wording.money(value, currency) == shown


@pytest.mark.parametrize(
    ("value", "currency", "shown"),
    [
        (4_440_000, "USD", "$4.44M"),
        (12_345_678, "USD", "$12.3M"),
        (12_300, "USD", "$12.3K"),
        (1_000, "USD", "$1K"),
        (999, "USD", "$999"),
        (999_999, "USD", "$1M"),
        (4_440_000, "CHF", "4.44M CHF"),
        (0, "USD", "$0"),
        (None, "USD", "$0"),
    ],
)
def test_short_money(value, currency, shown):
    assert wording.shortmoney(value, currency) == shown


def test_every_currency_an_import_accepts_is_written():
    shown = {wording.money(1_234, code) for code in CODES}
    assert all("1,234" in one for one in shown)
    assert len(shown) == len(CODES)  # each of its own


def test_days_and_moments(settings):
    settings.TIME_ZONE = "Europe/Berlin"
    assert wording.day(date(2026, 9, 2)) == "2 Sep 2026"
    assert wording.day("2026-11-22") == "22 Nov 2026"
    assert wording.day(None) == ""
    late = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
    assert wording.moment(late) == "23 Nov 2026, 00:30"  # there it is tomorrow
    assert wording.day(late) == "23 Nov 2026"


def test_counts_and_shares():
    assert (wording.count(1_234_567), wording.count(0), wording.count(None)) == ("1,234,567", "0", "–")
    assert wording.plural(1_234, "account,accounts") == "1,234 accounts"
    assert wording.percent(Decimal("0.949")) == "94.9 %"
    assert wording.percent(Decimal("0.9499")) == "94.9 %"  # cut off: it is not 95 %
    assert wording.percent(Decimal("0.95")) == "95 %"


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("Overall score (3.24) >= 2.5", "Overall score (3.24) is at least 2.5"),
        ("(NPS (10) < 50 OR Tickets (0) <> 3)", "(NPS (10) is below 50 or Tickets (0) is not 3)"),
        ("Segment before (not known) IS NULL", "Segment before (not known) is not known"),
        ("Tier (Low) IN ('a', 'b >= c')", "Tier (Low) is one of ('a', 'b >= c')"),  # what is quoted stays
        ("COALESCE(Days since: new sponsor (3), 9999) > 90", "Days since: new sponsor (3) is above 90"),
    ],
)
def test_conditions_are_said_in_words(condition, said):
    assert wording.compared(condition) == said


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("-30--1", "-30 to -1"),
        ("-5%-9%", "-5% to 9%"),
        ("-29% - -16%", "-29% to -16%"),
        ("-30 to -1", "-30 to -1"),
        ("500-999", "500-999"),
        ("< -30", "< -30"),
        ("annual-new", "annual-new"),
        ("*", "anything else"),
    ],
)
def test_a_cell_reads_as_a_range_also_below_zero(typed, read):
    assert wording.cell(typed) == read
