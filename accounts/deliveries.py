"""Deliveries: rows that another system sends at once, taken in as an import's are, and answered row by row.

The way in is the imports' own: the same fields and checks (accounts.imports.facts), the same writing (accounts.records), so
systems of record, protected facts and warnings hold. A field that a row does not name is left alone; null is "not known", which
takes away what the same source said before. Rows that name different fields are written one shape after another.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from types import SimpleNamespace

import polars as pl
from django.db import connection, transaction
from django.utils import timezone

from accounts import gates, parents, records
from accounts.imports import facts, notation, places
from accounts.imports.batches import LOCK, UPSERTS
from accounts.imports.lineage import Lineage
from accounts.models import SourceSystem
from core.organisation import organisation
from core.refusals import Refused

MOST = 5_000  # rows of a delivery
SHAPES = 50  # sets of fields that its rows may have
LONGEST = 100_000  # characters of a value that is read
KEYS = {
    "accounts": "external_id",
    "subscriptions": "subscription_id",
    "usage": "external_id",
    "signals": "external_id",
}
SENT = "this request"
CREATED, UPDATED, UNCHANGED, REJECTED, QUEUED = "created", "updated", "unchanged", "rejected", "queued"
UNKNOWN_ACCOUNT, DUPLICATE, FIELD = "unknown_account", "duplicate", "field_unknown"
_CODES = {"duplicate key": DUPLICATE, records.UNKNOWN_ACCOUNT: UNKNOWN_ACCOUNT, facts.TOO_LARGE: "too_large"}


@dataclass(frozen=True)
class Fault:
    """Something wrong with a row: its place in the delivery, the field, a code for programs, and why."""

    index: int
    column: str
    code: str
    why: str


@dataclass
class Delivery:
    """The outcome: what became of each row, by its place; faults; warnings as an import tells them."""

    rows: int
    faults: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    did: dict = field(default_factory=dict)

    def became(self, index):
        return self.did.get(index, UNCHANGED)

    @cached_property
    def counts(self):
        """{outcome: number of rows}."""
        became = [self.became(index) for index in range(self.rows)]
        return {what: became.count(what) for what in (CREATED, UPDATED, UNCHANGED, QUEUED, REJECTED)}


class Rejected(Exception):
    """Nothing was taken: all or nothing was asked for, and these faults were found."""

    def __init__(self, delivery):
        super().__init__(f"{len(delivery.faults)} faults")
        self.delivery = delivery


def take(query, rows, *, source, observed=None, currency=None, atomic=True):
    """Write the rows of a delivery, in the name of who acts (core.history). A Delivery, or Rejected.

    query: accounts, subscriptions, usage or signals. rows: dicts of JSON's own values. source: key of the system that says
    so. observed: the day it is of, today where none is given. atomic: all of them, or none.
    """
    observed = observed or timezone.localdate()
    if observed > timezone.localdate():
        raise Refused("delivery_in_the_future", observed=observed)
    contract, delivery = facts.QUERIES[query], Delivery(len(rows))
    parts = _shapes(contract, rows, delivery)
    origin = records.Origin(source, observed, currency or organisation().currency, by_row=True)
    with transaction.atomic():
        _wait_for_no_import()
        SourceSystem.objects.get_or_create(key=source, defaults={"name": source})
        gates.consult("facts_written")
        typed = [_typed(contract, names, members, rows, delivery) for names, members in parts]
        typed = [frame for frame in typed if not frame.is_empty()]
        _lock(typed)
        for frame in typed:
            _write(contract, frame, origin, delivery)
        gates.consult("delivery", sum(what in (CREATED, UPDATED) for what in delivery.did.values()))
        if atomic and delivery.faults:
            raise Rejected(_closed(delivery))
    return _closed(delivery)


def _closed(delivery):
    delivery.faults.sort(key=lambda fault: (fault.index, fault.column))
    delivery.did |= {fault.index: REJECTED for fault in delivery.faults}
    return delivery


def _wait_for_no_import():
    """Rows are sent side by side, but not while an import of a million writes: whoever comes then comes again."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_try_advisory_xact_lock_shared(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            raise Refused("delivery_busy")


def _lock(frames):
    """Lock the accounts in the order of their ids, so that of two deliveries each waits for the other, never both."""
    names = sorted({name for frame in frames for name in frame["external_id"].to_list()})
    with connection.cursor() as cursor:
        if any("parent" in frame.columns for frame in frames):
            parents.lock(cursor)  # before any account
        cursor.execute(
            "select id from accounts_account where external_id = any(%s) order by id for update", [names]
        )


# -- reading


def _shapes(contract, rows, delivery):
    """[(fields, places of the rows that name them)]; fields nobody knows are faults of their rows."""
    shapes, unknown = {}, {}
    for index, row in enumerate(rows):
        names = tuple(sorted(row))
        wrong = unknown.get(names)
        if wrong is None:
            wrong = unknown[names] = [name for name in names if name not in contract.fields]
        missing = [name for name in contract.needed if name not in row]
        for name in wrong:
            delivery.faults.append(Fault(index, name, FIELD, _unknown(contract, name)))
        for name in missing:
            delivery.faults.append(Fault(index, name, "required", f"{name} is missing"))
        if not wrong and not missing:
            shapes.setdefault(names, []).append(index)
    _leave_out_twins(contract, rows, shapes, delivery)
    if len(shapes) > SHAPES:
        raise Refused("delivery_of_many_shapes", most=SHAPES)
    # Parents are looked up among the accounts there are: rows without one come first.
    shapes = {names: members for names, members in shapes.items() if members}
    return sorted(shapes.items(), key=lambda shape: "parent" in shape[0])


def _leave_out_twins(contract, rows, shapes, delivery):
    """Rows of one key in different shapes are faults; those of one shape are found with its values."""
    if len(shapes) < 2:
        return
    where = {}
    for names, members in shapes.items():
        for index in members:
            key = tuple(str(rows[index].get(part) or "").strip() for part in contract.key)
            where.setdefault(key, {}).setdefault(names, []).append(index)
    for key, by_shape in where.items():
        if len(by_shape) > 1 and key[0]:
            for names, members in by_shape.items():
                shapes[names] = [index for index in shapes[names] if index not in members]
                why = "duplicate key: another row names the same with other fields"
                delivery.faults += [Fault(index, contract.key[0], DUPLICATE, why) for index in members]


def _unknown(contract, name):
    if name in contract.refusals:
        return contract.refusals[name]
    near = facts.nearest(contract, name[:100])
    return f"there is no field {name[:100]!r}" + (f"; did you mean {near!r}?" if near else "")


class _Context(facts.Context):
    """Numbers and days as JSON has them, and nothing that a recipe would say."""

    relations = {}

    def __init__(self):
        plain = SimpleNamespace(decimals=notation.PLAIN_NUMBERS, dates=notation.ISO, columns={})
        super().__init__(SimpleNamespace(sources={SENT: plain}, twins={}), Lineage(), None)


def _typed(contract, names, members, rows, delivery):
    """The typed rows of one shape; what cannot be held becomes a fault, and the row is left out."""
    columns, nested = {}, {}
    for name in names:
        texts = []
        for index in members:
            value = _text(rows[index][name])
            if value is NESTED:
                nested.setdefault(index, name)
                value = None
            texts.append(value)
        columns[name] = pl.Series(name, texts, dtype=pl.String)
    delivery.faults += [
        Fault(index, name, "not_a_value", f"{name} is a text, a number, true, false or null, and at most {LONGEST:,} characters")
        for index, name in nested.items()
    ]  # fmt: skip
    # Counted from 1: the place of a row is told as the line of a file is.
    places_of = pl.Series(places.PLACE, [index + 1 for index in members], dtype=pl.Int64)
    frame = pl.DataFrame([*columns.values(), places_of])
    if nested:
        frame = frame.filter(~places_of.is_in([index + 1 for index in nested]))
    typed, rejected, warnings = facts.typed(contract, frame, _Context())
    for one in rejected:
        why = one.reason + (f": {one.hint}" if one.hint else "")
        delivery.faults.append(Fault(one.line - 1, one.column, _code(one.reason), why))
    delivery.warnings += [
        {"warning": each["warning"], "count": each["count"], "examples": each["examples"]}
        for each in warnings
    ]
    return typed


NESTED = object()


def _text(value):
    """A value of JSON as a file would write it; NESTED where it is a list or an object, or very long."""
    if value is None:
        return None
    if isinstance(value, str):
        return NESTED if len(value) > LONGEST else value if value.strip() else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return NESTED


def _code(reason):
    if reason in _CODES:
        return _CODES[reason]
    return "required" if reason.endswith(" is missing") else "invalid"


# -- writing


def _write(contract, frame, origin, delivery):
    """Write the typed rows of one shape, and note what became of each."""
    index_of = dict(zip(frame[facts.ROW], frame[places.PLACE] - 1, strict=True))
    types = {name: contract.fields[name].type for name in frame.columns if name in contract.fields}
    given = frame.rename({facts.ROW: records.NR})
    missing = {}
    if contract.name == "accounts" and "parent" in types:
        missing = {"rejected": [], "some_unnamed": False}
    outcome = UPSERTS[contract.name](given, types, origin, **missing)
    delivery.did |= {index_of[nr]: what for nr, what in outcome.did.items()}
    delivery.did |= {index_of[nr]: QUEUED for nr in outcome.held}
    for nr in outcome.orphans:
        delivery.faults.append(Fault(index_of[nr], "external_id", UNKNOWN_ACCOUNT, records.UNKNOWN_ACCOUNT))
    for nr, column, _, reason in outcome.refused:
        delivery.faults.append(Fault(index_of[nr], column, _code(reason), reason))
    delivery.warnings += outcome.warnings
