"""How values are written for people: days, money, counts, shares, lists; on pages, in mails and in refusals.

Symbols, decimals and names of months are Babel's. Files, JSON and typed cells are not written by this.
"""

import re
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from math import floor

from babel.dates import format_date, format_datetime
from babel.numbers import (
    format_compact_currency,
    format_compact_decimal,
    format_currency,
    format_decimal,
    get_currency_precision,
    get_currency_symbol,
)
from django.utils import timezone

from core.money import Money

LOCALE = "en"  # as the texts are
DAY = "d MMM y"


def day(value):
    """22 Nov 2026; an ISO text will do."""
    if not value:
        return ""
    if isinstance(value, str):
        value = date.fromisoformat(value[:10])
    if isinstance(value, datetime):
        value = timezone.localtime(value).date()
    return format_date(value, DAY, locale=LOCALE)


def moment(value):
    """22 Nov 2026, 14:05, in the organisation's time zone."""
    if not value:
        return ""
    return format_datetime(timezone.localtime(value), f"{DAY}, HH:mm", locale=LOCALE)


def ago(value):
    """today, yesterday, 12 days ago."""
    days = (timezone.localdate() - value).days
    return {0: "today", 1: "yesterday"}.get(days, f"{days} days ago" if days > 1 else day(value))


def coming(value):
    """today, tomorrow, in 3 days; of what has passed: yesterday, 3 days ago."""
    days = (value - timezone.localdate()).days
    return {1: "tomorrow"}.get(days, f"in {days} days") if days > 0 else ago(value)


def since(value):
    """since today, since 3 Mar 2026."""
    return f"since {'today' if value == timezone.localdate() else day(value)}"


def money(value, currency=""):
    """$130,000; $99.50; 1,200 CHF. Decimals only where there are some, as many as the currency has.

    Money of several currencies is told in each: $60,000 + €60,000 (mixed).
    """
    if isinstance(value, Money):
        return _each(value, money)
    if value in (None, ""):
        return "–"
    value, currency = Decimal(value), currency or _currency()
    whole = value == value.to_integral_value()
    decimals = 0 if whole else get_currency_precision(currency)
    pattern = f"#,##0.{'0' * decimals}".rstrip(".")
    if _by_letters(currency):
        return f"{format_decimal(value, pattern, LOCALE)} {currency}"
    return format_currency(value, currency, f"¤{pattern}", LOCALE, currency_digits=False)


def _each(value, told):
    """Money, each amount told by one of the functions here."""
    amounts = " + ".join(told(amount, code) for code, amount in value.in_order)
    return f"{amounts} (mixed)" if value.mixed else amounts or "–"


def _by_letters(currency):
    """Whether a currency is told by letters alone, which stand behind the number."""
    return get_currency_symbol(currency, LOCALE)[-1:].isalpha()


def _currency():
    from core.organisation import organisation  # the process that computes imports has words, and no database

    return organisation().currency


def count(value):
    """1,234."""
    return "–" if value in (None, "") else format_decimal(value, locale=LOCALE)


def percent(share):
    """A share in [0, 1] as 94 %, cut off, never rounded up: 94.9 % is not 95 %."""
    if share is None:
        return "–"
    tenths = floor(Fraction(share) * 1000)
    return f"{tenths // 10} %" if tenths % 10 == 0 else f"{tenths / 10:.1f} %"


def plural(number, words):
    """`plural(3, "account,accounts")` is 3 accounts."""
    singular, many = words.split(",")
    return f"{count(number)} {singular if number == 1 else many}"


def listed(names):
    """`Approver, Finance and RevOps`; nobody."""
    names = list(names)
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or "nobody"


def timeuntil_days(until, today):
    """14 days left; ends today."""
    days = (until - today).days
    return "ends today" if days <= 0 else f"{days} day{'' if days == 1 else 's'} left"


def localday(value):
    return timezone.localtime(value).date()


def shortmoney(value, currency=""):
    """$4.44M; $12.3K; for tables where the exact amount is one click away."""
    if isinstance(value, Money):
        return _each(value, shortmoney)
    value, currency = Decimal(value or 0), currency or _currency()
    if value < 1000:
        return money(value, currency)
    digits = 2 if value.adjusted() % 3 == 0 else 1
    if _by_letters(currency):
        return f"{format_compact_decimal(value, locale=LOCALE, fraction_digits=digits)} {currency}"
    return format_compact_currency(value, currency, locale=LOCALE, fraction_digits=digits)


_FROM_BELOW_ZERO = re.compile(r"(-[^-–—\s]+)\s*[-–—]\s*(-?[^-–—\s]+)")


def cell(text):
    """A scoring table's cell as it is read: `*` in words, `-30--1` as -30 to -1, money in the organisation's currency."""
    if text == "*":
        return "anything else"
    if spread := _FROM_BELOW_ZERO.fullmatch(text.strip()):
        text = f"{spread[1]} to {spread[2]}"
    return re.sub(r"[$€£₹](?=\s*-?[\d.])", _sign(), text) if re.search("[$€£₹]", text) else text


def is_ours(sign):
    """Whether a sign that was typed is that of the organisation's currency: `$` where that is USD, or CA$."""
    return sign in get_currency_symbol(_currency(), LOCALE)


def other_currency(typed):
    """Say that this text is an amount in another currency than the organisation's."""
    return f"“{typed[:20]}” has the sign of another currency: amounts are in {_currency()} here, and none is converted."


def _sign():
    """The sign of the organisation's currency, as it stands before a number."""
    currency = _currency()
    return f"{currency} " if _by_letters(currency) else get_currency_symbol(currency, LOCALE)


# The name of a model in the menu, where that is not its plural.
HEADINGS = {
    "rules versions": "Rules",
    "treatments": "How we serve",
    "approval requests": "Approvals",
    "approval policies": "Who decides",
    "users": "People",
    "groups": "Roles",
    "delegates": "Stand-ins",
}


def heading(plural):
    """A list's name as the menu has it."""
    plural = str(plural)
    return HEADINGS.get(plural, plural[:1].upper() + plural[1:])


def article(noun):
    """a segment, an account."""
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"


def matched(text, value):
    """The one text of a cell that is the value, where the cell lists several; any other cell as it is read."""
    listed = [each.strip() for each in text.split(",")]
    same = [each for each in listed if len(listed) > 1 and each.casefold() == str(value).strip().casefold()]
    return same[0] if same else cell(text)


def signs(text):
    """Comparisons as people write them: ≥ and ≤."""
    return text.replace(">=", "≥").replace("<=", "≤")


_WORDS = {
    ">=": "is at least", "<=": "is at most", "<>": "is not", "!=": "is not", ">": "is above", "<": "is below", "=": "is",
    "IS NOT NULL": "is known", "IS NULL": "is not known", "NOT IN": "is none of", "NOT BETWEEN": "is not between",
    "NOT LIKE": "is not like", "BETWEEN": "is between", "LIKE": "is like", "AND": "and", "OR": "or", "NOT": "not", "IN": "is one of",
}  # fmt: skip
_COMPARED = re.compile(r"'[^']*'|(?<=[ (])(?:" + "|".join(map(re.escape, _WORDS)) + r")(?=[ (),.]|$)")

_ELSE = re.compile(r"COALESCE\((.+?), [^()]*\)")


def compared(text):
    """A condition as people say it: `Overall score (3.24) is at least 2.5`. Quoted texts stay."""
    plain = _ELSE.sub(r"\1", text)
    return _COMPARED.sub(lambda match: _WORDS.get(match[0], match[0]), plain)


def arrows(text):
    """A sentence about a change: `4.0 → 3.8`."""
    return signs(text.replace(" -> ", " → "))
