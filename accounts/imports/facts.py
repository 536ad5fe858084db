"""Rows of a query become typed facts; a row with one value that cannot be held is rejected whole."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from accounts import catalogue, currency

from . import notation
from .errors import ImportFault
from .structure import Rejection

ROW = "\0row"  # position in the query's result
LIMITS = {"money": 10**18, "ratio": 10**14, "number": 10**14}  # what numeric(20, 2) and numeric(20, 6) hold
TOO_LARGE = "the number is too large"
NO_EMAIL = "not an e-mail address; join a list of names and e-mails in the recipe, or leave csm out"


@dataclass(frozen=True)
class Field:
    """A column a query may give. `longest`: characters of a text; `choices`: what else is refused."""

    name: str
    type: str
    longest: int | None = None
    minimum: int | None = None
    maximum: int | None = None
    required: bool = False
    choices: tuple = ()
    fix: Callable | None = None  # text -> text, before the choices


@dataclass(frozen=True)
class Query:
    """The contract of one of the recipe's queries: what it may and must give, and which columns make a row's key."""

    name: str
    fields: dict[str, Field]
    key: tuple[str, ...]
    needed: tuple[str, ...]  # columns the query must have
    refusals: dict[str, str] = field(default_factory=dict)  # known names that do not belong here


def _fact(name, **more):
    fact = catalogue.FACTS[name]
    longest = None if fact.type != "text" or name == "tech_stack" else 400
    return Field(
        name, fact.type, **{"longest": longest, "minimum": fact.minimum, "maximum": fact.maximum} | more
    )


def _lower(series):
    return series.str.to_lowercase()


def _upper(series):
    return series.str.to_uppercase()


_ID = Field("external_id", "text", longest=200, required=True)
_CURRENCY = Field("currency", "text", longest=3, choices=tuple(sorted(currency.CODES)), fix=_upper)
_PRODUCT = Field("product", "text", longest=100)
_SPECIAL = {
    "external_id": _ID,
    "kind": Field("kind", "text", choices=catalogue.KINDS, fix=_lower),
    "status": Field("status", "text", choices=catalogue.STATUSES, fix=_lower),
    "parent": Field("parent", "text", longest=200),
    "csm": Field("csm", "text", longest=254, fix=_lower),
    "currency": _CURRENCY,
}
_DERIVED = {
    fact.name: f"{fact.name} is computed by Demarc and cannot be imported"
    for fact in catalogue.FACTS.values()
    if fact.home == "derived"
}
_ACCOUNT_FIELDS = {name: _SPECIAL.get(name) or _fact(name) for name in catalogue.ACCOUNT_FACTS} | {
    "excluded": Field("excluded", "boolean"),
    "exclusion_reason": Field("exclusion_reason", "text", longest=400),
}
_USAGE_FIELDS = {name: _fact(name) for name in catalogue.USAGE_FACTS}
_BELONGS = {name: f"{name} belongs into the accounts query" for name in _ACCOUNT_FIELDS}

QUERIES = {
    query.name: query
    for query in [
        Query("accounts", _ACCOUNT_FIELDS | _USAGE_FIELDS, ("external_id",), ("external_id",), _DERIVED),
        Query(
            "subscriptions",
            {
                "external_id": _ID,
                "subscription_id": Field("subscription_id", "text", longest=200, required=True),
                "product": _PRODUCT,
                "start_date": Field("start_date", "date", required=True),
                "end_date": Field("end_date", "date"),
                "arr": Field("arr", "money", minimum=0, required=True),
                "currency": _CURRENCY,
                "seats_licensed": _fact("seats_licensed"),
                "contract_type": _fact("contract_type"),
                "status": Field("status", "text", choices=catalogue.SUBSCRIPTION_STATUSES, fix=_lower),
            },
            ("external_id", "subscription_id"),
            ("external_id", "subscription_id", "start_date", "arr"),
        ),
        Query(
            "usage",
            {"external_id": _ID, "product": _PRODUCT, "observed_at": Field("observed_at", "date")}
            | _USAGE_FIELDS,
            ("external_id", "product", "observed_at"),
            ("external_id",),
            _DERIVED | _BELONGS,
        ),
        Query(
            "signals",
            {
                "external_id": _ID,
                "signal": Field("signal", "text", longest=100, required=True),
                "at": Field("at", "date", required=True),
            },
            ("external_id", "signal", "at"),
            ("external_id", "signal", "at"),
        ),
    ]
}


def check_columns(query, names):
    """ImportFault for a column the query must not give, or one it must and does not."""
    for name in names:
        if name in query.fields:
            continue
        if name in query.refusals:
            raise ImportFault(f"The {query.name} query: {query.refusals[name]}.")
        # `id` is external_id rather than kind, `revenue` is annual_revenue
        near = [each for each in query.fields if name.lower() in each.split("_")]
        near = near or difflib.get_close_matches(name.lower(), query.fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it may give {', '.join(query.fields)}"
        raise ImportFault(f"The {query.name} query: unknown fact {name!r}; {hint}")
    for name in query.needed:
        if name not in names:
            raise ImportFault(f"The {query.name} query gives no column {name!r}.")


def typed(query, frame, recipe):
    """(frame of typed columns and ROW, rejections) of a query's result."""
    check_columns(query, frame.columns)
    columns, faults = {}, []
    for name in frame.columns:
        values, column_faults = _typed(query.fields[name], frame[name], recipe)
        columns[name] = values.alias(name)
        faults += [(name, bad, reason) for bad, reason in column_faults]
    if {"start_date", "end_date"} <= set(columns):
        ends_early = columns["end_date"] < columns["start_date"]
        faults.append(("end_date", ends_early, "ends before it starts"))
    result = pl.DataFrame(columns).with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW))
    rejected, left_out = _reject(query, frame, result, faults)
    result = result.filter(~left_out)
    duplicates = _duplicates(query, result)
    rejected += [_duplicate(query, row) for row in result.filter(duplicates).iter_rows(named=True)]
    return result.filter(~duplicates), rejected


def _duplicate(query, row):
    given = [part for part in query.key if row.get(part) is not None]
    value = ", ".join(str(row[part]) for part in given)
    return Rejection(
        query.name, None, ", ".join(given), value, "duplicate key", external_id=row["external_id"]
    )


def _duplicates(query, frame):
    """Rows whose key an earlier row has already."""
    parts = [part for part in query.key if part in frame.columns]
    return ~frame.select(pl.struct(parts).is_first_distinct()).to_series()


def _reject(query, frame, typed_frame, faults):
    """One rejection a row, for its first fault in the query's column order."""
    left_out, rejected = pl.repeat(False, len(frame), eager=True, dtype=pl.Boolean), []
    for name, bad, reason in faults:
        first = bad.fill_null(False) & ~left_out
        if first.any():
            ids = typed_frame["external_id"].filter(first)
            for external_id, value in zip(ids, frame[name].filter(first), strict=True):
                why = reason(value) if callable(reason) else reason
                shown = "" if value is None else str(value)
                rejected.append(Rejection(query.name, None, name, shown, why, external_id=external_id or ""))
            left_out = left_out | first
    return rejected, left_out


def _typed(column, values, recipe):
    """(typed values, [(which are at fault, why)])."""
    kind = column.type
    if values.dtype == pl.Null:
        values = values.cast(pl.String)
    if kind == "text":
        result, faults = _to_text(column, values)
    elif kind == "date":
        result, faults = _to_date(values, recipe)
    elif kind == "boolean":
        result, faults = _to_boolean(values)
    else:
        result, faults = _to_number(column, values, recipe)
    if column.required:
        faults.insert(0, (result.is_null() & values.is_null(), f"{column.name} is missing"))
    return result, faults


def _to_text(column, values):
    if values.dtype == pl.String:
        texts = values.str.strip_chars().replace("", None)
    elif values.dtype.is_decimal():  # 12.000000 is 12 as a text
        texts = values.cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
    elif values.dtype.is_nested():
        return _nothing(values, pl.String), [(values.is_not_null(), "not a text")]
    else:
        texts = values.cast(pl.String)
    faults = [(texts.str.contains("\0", literal=True), "a NUL character")]
    if column.fix:
        texts = column.fix(texts)
    if column.choices:
        allowed = texts.is_null() | texts.is_in(column.choices)
        faults.append((~allowed, lambda value: _not_a_choice(column, str(value))))
    elif column.longest:
        faults.append((texts.str.len_chars() > column.longest, f"longer than {column.longest} characters"))
    if column.name == "csm":
        faults.append((~texts.str.contains(r"^[^@\s,;<>]+@[^@\s,;<>]+$"), NO_EMAIL))
    return texts, faults


def _not_a_choice(column, value):
    what = "currency" if column.name == "currency" else column.name
    near = difflib.get_close_matches(
        (column.fix or (lambda x: x))(pl.Series([value]))[0], column.choices, n=1
    )
    if near:
        return f"unknown {what}; did you mean {near[0]!r}?"
    return f"unknown {what}" + ("" if len(column.choices) > 10 else f"; it is {', '.join(column.choices)}")


def _to_date(values, recipe):
    if values.dtype == pl.Date:
        return values, []
    if values.dtype.is_temporal() and values.dtype.base_type() == pl.Datetime:
        return values.dt.date(), []
    if values.dtype != pl.String:
        return _nothing(values, pl.Date), [(values.is_not_null(), "not a date")]
    texts = values.str.strip_chars().replace("", None)
    result = notation.to_dates(texts)
    declared = {source.dates for source in recipe.sources.values()}
    if len(declared) == 1:
        result = result.fill_null(notation.to_dates(texts, declared.pop()))
    hint = "not a date as YYYY-MM-DD; declare its notation at the source, such as dates: DD/MM/YYYY"
    return result, [(texts.is_not_null() & result.is_null(), hint)]


def _to_boolean(values):
    if values.dtype == pl.Boolean:
        return values, []
    result = notation.to_booleans(values.cast(pl.String))
    return result, [(values.is_not_null() & result.is_null(), "neither true nor false")]


def _to_number(column, values, recipe):
    numbers, faults = _numbers(values, recipe)
    whole = column.type == "integer"
    if whole:
        integers = numbers.cast(pl.Int64, strict=False)
        faults.append((numbers.is_not_null() & integers.is_null(), TOO_LARGE))
        faults.append((integers != numbers, "not a whole number"))
        numbers = integers
    else:
        faults.append((numbers.abs() >= LIMITS[column.type], TOO_LARGE))
    if column.minimum is not None:
        bound = "negative" if column.minimum == 0 else f"less than {column.minimum}"
        faults.append((numbers < column.minimum, f"{column.name} may not be {bound}"))
    if column.maximum is not None:
        faults.append((numbers > column.maximum, f"{column.name} may not be more than {column.maximum}"))
    return numbers, faults


def _numbers(values, recipe):
    """Exact numbers of whatever type a query gave."""
    kind = values.dtype
    if kind.is_integer():  # EXTRACT gives 32 bits, which the limits do not fit in
        numbers = values.cast(pl.Int64, strict=False)
        return numbers, [(values.is_not_null() & numbers.is_null(), TOO_LARGE)]
    if kind.is_decimal():
        return values, []
    if kind.is_float():
        good = values.is_finite() & (values.abs() < 1e18)
        exact = pl.select(pl.when(good).then(values)).to_series().cast(notation.LONG_NUMBER, strict=False)
        return exact, [(values.is_not_null() & ~good.fill_null(False), "not a number")]
    if kind == pl.Duration:
        return values.dt.total_days(), []
    if kind != pl.String:
        return _nothing(values, notation.NUMBER), [(values.is_not_null(), "not a number")]
    texts = values.str.strip_chars().replace("", None)
    declared = {source.decimals for source in recipe.sources.values()}
    how = declared.pop() if len(declared) == 1 else notation.PLAIN_NUMBERS
    numbers = notation.to_numbers(texts, how)
    return numbers, [(texts.is_not_null() & numbers.is_null(), _not_a_number)]


def _not_a_number(value):
    if "," in value and any(character.isdigit() for character in value):
        return 'not a plain number; declare how it is written at the source, such as decimal: "1,23,456.78"'
    if re.search(r"[$€£¥₹]|^[A-Za-z]{3} |\d [A-Za-z]{3}$", value):
        return "not a number; take the currency away in the query, such as REPLACE(arr, '$', '')"
    if value.endswith("%"):
        return "not a number; a share is a number from 0 to 1: REPLACE(x, '%', '') / 100"
    if not any(character.isdigit() for character in value):
        return f"not a number; NULLIF(column, '{value[:20]}') in the query takes it as empty"
    return "not a number"


def _nothing(values, kind):
    return pl.Series(values.name, [None] * len(values), dtype=kind)
