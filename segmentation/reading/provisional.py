"""Accounts that were segmented before there is enough history: until when, what is missing, and what happens then.

Young: a score group counts from its `mature_after_days` on (30), whatever is known before. Afterwards, up to
`needs_data_after_days` (90), it waits for a first value; then the account needs data. All dates are days in the
organisation's time zone, and an account's age is counted from its contract, else from its first subscription.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import BooleanField, F, Min, OuterRef, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce

from accounts.models import Account, Subscription
from core.wording import day
from segmentation.evaluation import frames
from segmentation.evaluation.run_rules import document_of
from segmentation.models import Assignment, Layer
from segmentation.rules import terms

NAMED = 4  # missing values named


@dataclass(frozen=True)
class Provisional:
    """One account on one segmentation. due: the day on which it is decided; days_left: until then, negative when past."""

    assignment: Assignment
    started: date | None
    due: date
    days_left: int
    missing: str
    then: str


def with_settled(assignments):
    """The assignments with `settled`: true where there once was a segment that was not provisional (frames.settled)."""
    sql = frames.settled(Assignment._meta.db_table)
    return assignments.annotate(settled=RawSQL(sql, [], output_field=BooleanField()))


def waiting():
    """Assignments that are provisional, of accounts the rules are applied to, by the day they are due."""
    first = Subscription.objects.filter(account=OuterRef("account")).order_by().values("account")
    first = first.annotate(first=Min("start_date")).values("first")
    rows = with_settled(Assignment.objects.filter(provisional=True, account__in=Account.objects.scored()))
    rows = rows.annotate(started=Coalesce(F("account__contract_start"), Subquery(first)))
    beside = ("account__csm", "layer", "product", "effective", "score")
    return rows.select_related(*beside).order_by("provisional_until", "account__name", "pk")


def of_rows(rows, at):
    """Rows of `waiting` as Provisional, as of a date."""
    rows = list(rows)
    documents = {id: document_of(id) for id in {row.score.definition_id for row in rows}}
    return [_of_row(row, documents[row.score.definition_id], at) for row in rows]


def _of_row(row, document, at):
    due = row.provisional_until
    return Provisional(
        assignment=row,
        started=row.started,
        due=due,
        days_left=(due - at).days,
        missing=_missing(row, document, at),
        then=_then(row, document),
    )


def _missing(row, document, at):
    """Say what keeps it from being decided, a sentence for each score group."""
    if row.provisional_until <= at:
        return "Nothing any more: the next recalculation decides."
    points, sentences = iter(row.score.points), []
    for dimension in document.dimensions:
        given = [next(points, None) for _ in dimension.criteria]
        matters = not document.weights or document.weights[dimension.key] > 0
        if dimension.maturity and matters and row.started:
            sentences += _waits(dimension, given, row, at)
    return " ".join(sentences) or "Too little is known yet."


def _waits(dimension, given, row, at):
    maturity, name = dimension.maturity, dimension.name or terms.words(dimension.key)
    counts = row.started + timedelta(days=maturity.after_days)
    needed = row.started + timedelta(days=maturity.needs_data_after_days)
    if at < counts:
        age = (at - row.started).days
        old = f"{age} {'day' if age == 1 else 'days'} old" if age >= 0 else "not a customer yet"
        return [f"{name} counts from {day(counts)}: the account is {old}."]
    if at < needed and row.provisional_until == needed and (maturity.assumed or not any(given)):
        facts = [terms.label(criterion.fact) for criterion in dimension.criteria]
        more = f" and {len(facts) - NAMED} more" if len(facts) > NAMED else ""
        return [f"{name}: no value yet of {'; '.join(facts[:NAMED])}{more}."]
    return []


def _then(row, document):
    """Say what happens on the day it is due."""
    maturities = [dimension.maturity for dimension in document.dimensions if dimension.maturity]
    longest = min((maturity.needs_data_after_days for maturity in maturities), default=0)
    if row.started and (row.provisional_until - row.started).days >= longest:
        return "Without a value by then, it needs data."
    if row.layer.policy == Layer.Policy.APPROVAL and row.settled:
        return "Its segment was decided before: another one needs approval."
    if row.layer.policy == Layer.Policy.APPROVAL and row.layer.plan_provisional_downgrades:
        return "Decided at once where it stays or goes up; down needs a plan."
    return "Decided at once, and its CSM is told."
