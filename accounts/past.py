"""An account on a date: of each fact the latest value observed by then, as known today.

Read from FactChange, which keeps what changed. `known` narrows it to what had been learnt by the end of a day. A subscription
counts from the day it begins, also where we were told later: of its terms the latest observed by then, else the first.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from django.db import connection
from django.utils import timezone

from accounts import catalogue
from accounts.models import Account, FactChange

DAYS = 90  # usage is kept of every day so long, then of one day a month
FACTS_OF = {"csm_id": "csm", "parent_id": "parent"}  # columns that are called otherwise than their fact
Home = FactChange.Home


@dataclass(frozen=True)
class Stamp:
    """Where a value comes from: source, the day it was observed, and the day we learnt it (None: not known)."""

    source: str
    observed: date | None
    learnt: date | None


@dataclass
class Snapshot:
    """An account on a date: rows as {column: value}, and what is said of each.

    stamps: {fact: Stamp}; contract: that of its subscriptions, None without any; not_kept: facts of use that were known then
    and are not kept any more. usage is that of one product, where one was asked for.
    """

    at: date
    account: dict
    usage: dict
    subscriptions: list
    events: list
    stamps: dict = field(default_factory=dict)
    contract: Stamp | None = None
    signals: Stamp | None = None
    not_kept: frozenset = frozenset()

    def row(self):
        """All of it as JSON, for the database to work out what follows from it (`frames.facts_on`)."""
        rows = {
            "at": self.at,
            "account": self.account,
            "usage": self.usage,
            "subscriptions": self.subscriptions,
            "events": self.events,
        }
        return json.dumps(rows, default=str)

    def model(self):
        """The account as it was, as an Account that is nowhere stored."""
        columns = {each.attname: each for each in Account._meta.concrete_fields}
        values = {
            name: value for name, value in self.account.items() if name in columns and value is not None
        }
        return Account(**{name: columns[name].to_python(value) for name, value in values.items()})

    def sources(self):
        """{fact: [source, observed (ISO)]} as provenance has it; `subscriptions` for what follows from those."""
        stamps = self.stamps | ({"subscriptions": self.contract} if self.contract else {})
        return {
            fact: [stamp.source or None, stamp.observed and stamp.observed.isoformat()]
            for fact, stamp in stamps.items()
        }

    def learnt(self, day):
        """{fact: the day (ISO) it was learnt} of those learnt after a day; what follows from several, with the last of them."""
        days = {fact: self._learnt(fact) for fact in catalogue.FACTS}
        return {fact: learnt.isoformat() for fact, learnt in days.items() if learnt and learnt > day}

    def _learnt(self, fact):
        if fact in self.stamps:
            return self.stamps[fact].learnt
        sql = catalogue.sql(fact)
        stamps = [self.stamps[name] for name in re.findall(r"\b[au]\.(\w+)", sql) if name in self.stamps]
        if self.contract and "s." in re.findall(r"\b\w\.", sql) and not stamps:
            stamps.append(self.contract)
        if self.signals and "g." in re.findall(r"\b\w\.", sql):
            stamps.append(self.signals)
        return max((stamp.learnt for stamp in stamps if stamp.learnt), default=None)


class Past:
    """All that was ever known of an account (as far as it is kept), read at once for any number of dates."""

    def __init__(self, account, *, known=None, product=None):
        self.account, self.known, self.product = account, known, product
        self.changes = _changes(account.pk, known)
        self.events = _events(account.pk, known)
        self.usage = next((row for row in account.usage.all() if row.product_id == product), None)
        self.rows = {row.pk: row for row in account.subscriptions.all()}

    def first(self):
        """The first day anything was known of; None where that is no certain day, or nothing is known at all."""
        days = [change.observed for change in self.changes if change.home != Home.SUBSCRIPTION]
        return min(days) if days and None not in days else None

    def on(self, at):
        """The Snapshot of a date; None where nothing was known of the account yet."""
        account, stamps = self._fold(Home.ACCOUNT, at, self.account.provenance)
        usage, used = self._fold(Home.USAGE, at, self.usage.provenance if self.usage else {})
        if not account and not usage:
            return None
        account |= {"id": self.account.pk, "external_id": self.account.external_id}
        not_kept = self._not_kept(at)
        usage = {name: value for name, value in usage.items() if name not in not_kept}
        subscriptions, contract = self._subscriptions(at)
        events = [event for event in self.events if event["at"] <= at]
        learnt = [event["learnt"] for event in events if event["learnt"]]
        return Snapshot(
            at,
            account,
            usage,
            subscriptions,
            events,
            stamps=stamps | {name: stamp for name, stamp in used.items() if name not in not_kept},
            contract=contract,
            signals=Stamp("", None, max(learnt, default=None)) if events else None,
            not_kept=not_kept,
        )

    def _of(self, home):
        return (
            change
            for change in self.changes
            if change.home == home and (home != Home.USAGE or change.product == self.product)
        )

    def _fold(self, home, at, provenance):
        """({column: value}, {fact: Stamp}) of a table's row on a date."""
        then, last = {}, {}
        for change in self._of(home):  # in the order of their days
            for column in change.values:
                last[column] = change
                if change.observed is None or change.observed <= at:
                    then[column] = change
        stamps = {}
        for column, change in then.items():
            fact = FACTS_OF.get(column, column)
            stamp = Stamp(change.source, change.observed, change.learnt)
            held = provenance.get(fact) if last[column] is change and self.known is None else None
            if held and held[1] and date.fromisoformat(held[1]) <= at:  # the same was seen again since
                stamp = Stamp(held[0], date.fromisoformat(held[1]), change.learnt)
            if stamp.source or stamp.observed or stamp.learnt:
                stamps[fact] = stamp
        return {column: change.value(column) for column, change in then.items()}, stamps

    def _not_kept(self, at):
        """Facts of use that changed in a month of which only one day is kept, and not by this day or after it."""
        months = (
            change.values
            for change in self._of(Home.USAGE)
            if change.first and change.first <= at < change.observed
        )
        return frozenset(name for values in months for name in values)

    def _subscriptions(self, at):
        """([{column: value}], the Stamp of the one observed last): terms on a date, some of which we learnt later."""
        terms = {}
        for change in self._of(Home.SUBSCRIPTION):
            terms.setdefault(change.subscription, []).append(change)
        rows, stamps = [], []
        for pk in self.rows.keys() & terms.keys():
            changes = terms[pk]
            began = changes[0].observed
            by_then = [change for change in changes if change.observed is None or change.observed <= at]
            by_then = by_then or [change for change in changes if change.observed == began]
            row = {"id": pk, "account_id": self.account.pk}
            for change in by_then:
                row |= {column: change.value(column) for column in change.values}
            last, held = by_then[-1], self.rows[pk]
            stamp = Stamp(last.source, last.observed, last.learnt)
            if last is changes[-1] and self.known is None and held.observed and held.observed <= at:
                stamp = Stamp(held.source, held.observed, last.learnt)
            rows.append(row)
            if self.product is None or row.get("product_id") == self.product:
                stamps.append((stamp.observed is not None, stamp.observed or date.min, pk, stamp))
        if not stamps:
            return rows, None
        newest = max(stamps, key=lambda each: each[:3])[3]
        learnt = [stamp.learnt for *_, stamp in stamps if stamp.learnt]
        return rows, Stamp(newest.source, newest.observed, max(learnt, default=None))


@dataclass(frozen=True, eq=False)
class _Change:
    home: str
    product: int | None
    subscription: int | None
    observed: date | None
    source: str
    values: dict
    learnt: date
    first: date | None  # of the days of a month it stands for

    def value(self, column):
        value = self.values[column]
        return None if value == [] else value


def _changes(account, known):
    """The changes of an account in the order of the days they are of, of one day those written last at the end."""
    with connection.cursor() as cursor:
        cursor.execute(
            """select home, product, subscription, observed, source, "values"::text, learnt_at, thinned_from
                 from accounts_factchange where account_id = %s and learnt_at < %s
                order by observed nulls first, id""",
            [account, _end_of(known)],
        )
        return [
            _Change(*row[:5], json.loads(row[5], parse_float=Decimal), timezone.localdate(row[6]), row[7])
            for row in cursor.fetchall()
        ]


def _events(account, known):
    with connection.cursor() as cursor:
        cursor.execute(
            """select signal, at, learnt_at from accounts_signal
                where account_id = %s and (learnt_at is null or learnt_at < %s) and signal = any(%s)""",
            [account, _end_of(known), list(catalogue.SIGNALS)],
        )
        return [
            {
                "account_id": account,
                "signal": signal,
                "at": at,
                "learnt": learnt and timezone.localdate(learnt),
            }
            for signal, at, learnt in cursor.fetchall()
        ]


def _end_of(day):
    return timezone.make_aware(datetime.combine((day or date(9000, 1, 1)) + timedelta(days=1), time.min))


def learnt_after(account, day):
    """True where anything of an account (its id) was learnt after a day."""
    return account.fact_changes.filter(learnt_at__gte=_end_of(day)).exists()
