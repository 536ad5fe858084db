"""Rows of a query become typed facts; a row with one value that cannot be held is rejected whole."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import polars as pl

from accounts import catalogue, currency
from core import texts as characters

from . import hints, notation, places
from .errors import ImportFault
from .structure import Rejection

ROW = "\0row"  # position in the query's result
IDS = ("external_id", "subscription_id", "parent", "product", "csm")  # what tells one thing from another
EMAIL = r"^[^@\s,;<>]+@[^@\s,;<>]+$"
EXAMPLES = 5  # named of what a warning counts
DAY_AND_TIME = r"^(\d{4}-\d{2}-\d{2})[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?$"
LIMITS = {"money": 10**18, "ratio": 10**14, "number": 10**14}  # what numeric(20, 2) and numeric(20, 6) hold
TOO_LARGE = "the number is too large"


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


def _lower_email(series):
    return pl.select(
        pl.when(series.str.contains("@", literal=True)).then(series.str.to_lowercase()).otherwise(series)
    ).to_series()


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
    "csm": Field("csm", "text", longest=254, fix=_lower_email),
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


# Names people use that are not those of the data dictionary.
_ALSO = {
    "company": "name", "customer": "name", "owner": "csm", "manager": "csm", "email": "csm", "headcount": "employees",
    "staff": "employees", "sector": "industry", "vertical": "industry", "website": "domain", "url": "domain",
    "revenue": "annual_revenue", "users": "active_users", "seats": "seats_licensed", "plan": "product", "start": "start_date",
    "end": "end_date", "renewal": "renewal_date", "amount": "arr", "tickets": "tickets_90d", "date": "at", "event": "signal",
}  # fmt: skip


def check_columns(query, names):
    """ImportFault for a column the query must not give, or one it must and does not."""
    for name in names:
        if name in query.fields:
            continue
        if name in query.refusals:
            raise ImportFault(f"The {query.name} query: {query.refusals[name]}.")
        near = nearest(query, name)
        hint = f"did you mean {near!r}?" if near else f"it may give {', '.join(query.fields)}"
        raise ImportFault(f"The {query.name} query: unknown fact {name!r}; {hint}")
    for name in query.needed:
        if name not in names:
            raise ImportFault(f"The {query.name} query gives no column {name!r}.")


def nearest(query, name):
    """`id` is external_id rather than kind, `revenue` is annual_revenue, `company_name` is name, `sector` is industry."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    if words in (["id"], ["account", "id"], ["customer", "id"], ["company", "id"]):
        return "external_id"
    near = [each for each in query.fields if name.lower() in each.split("_")]
    near += [each for each in query.fields if set(each.split("_")) <= set(words)]
    near += [_ALSO[word] for word in words if _ALSO.get(word) in query.fields]
    near += difflib.get_close_matches(name.lower(), query.fields, n=1)
    return near[0] if near else None


@dataclass
class Context:
    """All that is known of a query's result besides its values: the recipe, the Lineage, and the query's tree."""

    recipe: object
    lineage: object
    tree: object

    @cached_property
    def relations(self):
        return places.relations(self.tree)

    def origin(self, query, name):
        """(source, column) that a column of the result is made of, where it is one."""
        return self.lineage.outputs.get((query.name, name))

    def notation(self, query, name, kind):
        """The Decimals or the Dates (`kind`) in which a text in this column would be written."""
        sources = self.recipe.sources
        if origin := self.origin(query, name):
            source = sources[origin[0]]
            declared = source.columns.get(origin[1]) or source
            return getattr(declared, kind)
        declared = {getattr(source, kind) for source in sources.values()}
        return declared.pop() if len(declared) == 1 else None


def typed(query, frame, context):
    """(frame of typed columns, ROW and places, rejections, warnings) of a query's result."""
    hidden = places.hidden(frame)
    twins = context.recipe.twins.get(query.name)
    extra = (
        [twins.column]
        if twins and twins.column and (twins.column not in query.fields or twins.column not in frame.columns)
        else []
    )
    if missing := [name for name in extra if name not in frame.columns]:
        raise ImportFault(
            f"The {query.name} query gives no column {missing[0]!r}, by which twins are settled."
        )
    check_columns(query, [name for name in frame.columns if name not in (*hidden, *extra)])
    columns, faults = {}, []
    for name in frame.columns:
        if name in hidden or name in extra:
            continue
        values, column_faults = _typed(query, query.fields[name], frame[name], context)
        columns[name] = values.alias(name)
        faults += [(name, bad, reason, hint) for bad, reason, hint in column_faults]
    if {"start_date", "end_date"} <= set(columns):
        ends_early = columns["end_date"] < columns["start_date"]
        faults.append(("end_date", ends_early, "ends before it starts", None))
    row = pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW)
    result = pl.DataFrame(columns).with_columns(row, *(frame[name] for name in (*hidden, *extra)))
    rejected, left_out = _reject(query, frame, result, faults, context)
    result, refused, warnings = _settle_twins(query, result.filter(~left_out), twins, context)
    gone = [name for name in (*hidden, *extra) if name != places.PLACE]
    return result.drop(gone), [*rejected, *refused], warnings


def rejection(query, sources, row, column, value, reason, place, hint=""):
    """The Rejection of a row of a query's result. sources: their names, in the recipe's order."""
    source, line = places.told(place)
    return Rejection(
        query, line, column, value, reason, external_id=row.get("external_id") or "", hint=hint,
        source="" if source is None else sources[source], subscription_id=row.get("subscription_id") or "",
    )  # fmt: skip


def _settle_twins(query, frame, twins, context):
    """(frame without rows that have another's key, rejections, warnings).

    Rows that say the same are one. For others the recipe says which wins; without that all of them are refused.
    """
    key = [part for part in query.key if part in frame.columns]
    doubled = frame.select(pl.struct(key).is_duplicated()).to_series()
    if not doubled.any():
        return frame, [], []
    said = [name for name in frame.columns if name != ROW and name not in places.hidden(frame)]
    place = pl.col(places.PLACE) if places.PLACE in frame.columns else pl.lit(None, pl.Int64)
    several = frame.filter(doubled).sort(place, ROW)
    several = several.with_columns(
        pl.struct(said).is_first_distinct().alias(" new"),
        place.min().over(said).alias(" same"),
        place.min().over(key).alias(" first"),
        place.max().over(key).alias(" last"),
    )
    several = several.with_columns(pl.col(" new").sum().over(key).alias(" different"))
    winners = _winners(query, several, twins, key)
    settled = several.join(winners, on=key, how="semi", nulls_equal=True)
    rest = several.join(winners, on=key, how="anti", nulls_equal=True)
    alone = rest.filter(pl.col(" different") == 1)
    kept = pl.concat([winners, alone.unique(key, keep="first", maintain_order=True).select(winners.columns)])
    lost = rest.filter(~pl.col(ROW).is_in(kept[ROW].implode()))
    rejected = [_duplicate(query, key, row, twins, context) for row in lost.iter_rows(named=True)]
    warnings = []
    if overruled := len(settled) - len(winners):
        rule = " ".join(filter(None, [twins.which, twins.column]))
        sentence = f"another row with the same key wins, as the recipe says (twins: {rule})"
        examples = winners["external_id"].head(EXAMPLES).to_list()
        warnings.append({"query": query.name, "warning": sentence, "count": overruled, "examples": examples})
    kept = kept.select(frame.columns)
    return pl.concat([frame.filter(~doubled), kept]).sort(ROW), rejected, warnings


def _winners(query, several, twins, key):
    """The rows that win among different ones of their key; none of a key where the recipe does not say, or several do."""
    if not twins:
        return several.clear()
    if twins.which == "last":
        return several.unique(key, keep="last", maintain_order=True)
    different = several.filter(" new")
    kind = different.schema[twins.column]
    if not (kind.is_numeric() or kind.is_temporal()):
        raise ImportFault(
            f"twins, {query.name}: {twins.column} is neither a date nor a number; declare what it is at its source."
        )
    best = different.filter(pl.col(twins.column) == pl.col(twins.column).max().over(key))
    return best.filter(pl.len().over(key) == 1)


def _duplicate(query, key, row, twins, context):
    """The Rejection of a row whose key another has, with the line of that."""
    place = row.get(places.PLACE)
    if row[" different"] == 1:
        other, said = row[" same"], "says the same"
    else:
        other = row[" first"] if row[" first"] != place else row[" last"]
        said = "says something else" + (
            "" if twins else f"; twins: {{{query.name}: last}} in the recipe takes the last"
        )
    sources = list(context.recipe.sources)
    source, line = places.told(other)
    where = f"line {line} of {sources[source]}" if line and other != place else "another row"
    given = [part for part in key if row.get(part) is not None]
    value = ", ".join(str(row[part]) for part in given)
    return rejection(
        query.name, sources, row, ", ".join(given), value, "duplicate key", place, f"{where} {said}"
    )


def _reject(query, frame, typed_frame, faults, context):
    """One rejection a row, for its first fault in the query's column order."""
    left_out, rejected = pl.repeat(False, len(frame), eager=True, dtype=pl.Boolean), []
    names, sources = [name for name in query.key if name in typed_frame.columns], list(context.recipe.sources)
    for name, bad, reason, hint in faults:
        first = bad.fill_null(False) & ~left_out
        if first.any():
            rows = typed_frame.select(names).filter(first).iter_rows(named=True)
            where = places.of_column(frame, name, context.relations)
            if name in query.key or where.is_null().all():
                where = places.of_column(frame, "", {})
            for row, value, place in zip(rows, frame[name].filter(first), where.filter(first), strict=True):
                shown = "" if value is None else str(value)
                advice = hint(shown) if hint else ""
                rejected.append(rejection(query.name, sources, row, name, shown, reason, place, advice))
            left_out = left_out | first
    return rejected, left_out


def _typed(query, column, values, context):
    """(typed values, [(which are at fault, why, hint of a value or None)])."""
    kind = column.type
    if values.dtype == pl.Null:
        values = values.cast(pl.String)
    if kind == "text":
        result, faults = _to_text(column, values)
    elif kind == "date":
        result, faults = _to_date(query, column, values, context)
    elif kind == "boolean":
        result, faults = _to_boolean(values)
    else:
        result, faults = _to_number(query, column, values, context)
    if column.required:
        faults.insert(0, (result.is_null() & values.is_null(), f"{column.name} is missing", None))
    return result, faults


def _to_text(column, values):
    if values.dtype == pl.String:
        texts = values.str.strip_chars().replace("", None)
    elif values.dtype.is_nested():
        return _nothing(values, pl.String), [(values.is_not_null(), "not a text", None)]
    else:
        texts = _number_as_text(values)
    faults = [(texts.str.contains("\0", literal=True), "a NUL character", None)]
    if column.name in IDS and texts.str.len_bytes().sum() != texts.str.len_chars().sum():
        hidden = texts.str.contains(characters.INVISIBLE)
        faults.append((hidden, "a character nobody sees", characters.invisible))
    if column.fix:
        texts = column.fix(texts)
    if column.choices:
        allowed = texts.is_null() | texts.is_in(column.choices)
        what = "currency" if column.name == "currency" else column.name
        faults.append((~allowed, f"unknown {what}", lambda value: _which_choice(column, value)))
    elif column.longest:
        if column.name == "csm":  # else a name, which is looked for among the CSMs
            odd = texts.str.contains("@", literal=True) & ~texts.str.contains(EMAIL)
            faults.append((odd, "not an e-mail address", None))
        long = texts.str.len_chars() > column.longest
        faults.append((long, f"longer than {column.longest} characters", None))
    return texts, faults


def _number_as_text(values):
    """The text of something a query computed: 1000 is 1000 and 12.000000 is 12, whatever number Polars holds it in."""
    if values.dtype.is_float():
        exact = values.cast(notation.LONG_NUMBER, strict=False)
        return _number_as_text(exact).fill_null(values.cast(pl.String))
    texts = values.cast(pl.String)
    if values.dtype.is_decimal() and values.dtype.scale:
        return texts.str.replace(r"(\.\d*?)0+$", "$1").str.strip_suffix(".")
    return texts


def _which_choice(column, value):
    near = difflib.get_close_matches(
        (column.fix or (lambda x: x))(pl.Series([value]))[0], column.choices, n=1
    )
    if near:
        return f"did you mean {near[0]!r}?"
    return "" if len(column.choices) > 10 else f"it is {', '.join(column.choices)}"


def _to_date(query, column, values, context):
    origin = context.origin(query, column.name)
    hint = partial(hints.for_date, place=origin)
    if values.dtype == pl.Date:
        return values, []
    if values.dtype.is_temporal() and values.dtype.base_type() == pl.Datetime:
        return values.dt.date(), []
    if values.dtype != pl.String:
        return _nothing(values, pl.Date), [(values.is_not_null(), "not a date", hint)]
    texts = values.str.strip_chars().replace("", None)
    result = notation.to_dates(texts)
    if result.null_count() > texts.null_count():
        result = result.fill_null(notation.to_dates(texts.str.extract(DAY_AND_TIME)))
        if declared := context.notation(query, column.name, "dates"):
            result = result.fill_null(notation.to_dates(texts, declared))
    return result, [(texts.is_not_null() & result.is_null(), "not a date as YYYY-MM-DD", hint)]


def _to_boolean(values):
    if values.dtype == pl.Boolean:
        return values, []
    result = notation.to_booleans(values.cast(pl.String))
    return result, [(values.is_not_null() & result.is_null(), "neither true nor false", None)]


def _to_number(query, column, values, context):
    numbers, faults = _numbers(query, column, values, context)
    label = catalogue.label(column.name)
    whole = column.type == "integer"
    if whole:
        integers = numbers.cast(pl.Int64, strict=False)
        faults.append((numbers.is_not_null() & integers.is_null(), TOO_LARGE, None))
        faults.append((integers != numbers, "not a whole number", None))
        numbers = integers
    else:
        faults.append((numbers.abs() >= LIMITS[column.type], TOO_LARGE, None))
    if column.minimum is not None:
        faults.append((numbers < column.minimum, f"{label} below {column.minimum}", None))
    if column.maximum is not None:
        faults.append((numbers > column.maximum, f"{label} above {column.maximum}", None))
    return numbers, faults


def _numbers(query, column, values, context):
    """Exact numbers of whatever type a query gave."""
    kind = values.dtype
    if kind.is_integer():  # EXTRACT gives 32 bits, which the limits do not fit in
        numbers = values.cast(pl.Int64, strict=False)
        return numbers, [(values.is_not_null() & numbers.is_null(), TOO_LARGE, None)]
    if kind.is_decimal():
        return values, []
    if kind.is_float():
        good = values.is_finite() & (values.abs() < 1e18)
        exact = pl.select(pl.when(good).then(values)).to_series().cast(notation.LONG_NUMBER, strict=False)
        return exact, [(values.is_not_null() & ~good.fill_null(False), "not a number", None)]
    if kind == pl.Duration:
        return values.dt.total_days(), []
    if kind != pl.String:
        return _nothing(values, notation.NUMBER), [(values.is_not_null(), "not a number", None)]
    texts = values.str.strip_chars().replace("", None)
    how = context.notation(query, column.name, "decimals") or notation.PLAIN_NUMBERS
    numbers = notation.to_numbers(texts, how)
    hint = partial(hints.for_number, place=context.origin(query, column.name), but=how)
    return numbers, [(texts.is_not_null() & numbers.is_null(), "not a number", hint)]


def _nothing(values, kind):
    return pl.Series(values.name, [None] * len(values), dtype=kind)
