"""Checks on the live portfolio: whether the data are there, and what the rules would make of the accounts."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date

import polars as pl
from django.db import DatabaseError, connection, transaction

from accounts.catalogue import FACTS
from accounts.models import Account
from accounts.quality import figures
from core.organisation import organisation
from core.wording import percent, plural
from segmentation.authoring.checks import reach
from segmentation.authoring.checks.findings import NotRun, place
from segmentation.authoring.checks.subject import label_of
from segmentation.evaluation import engine, frames, measuring, run_rules
from segmentation.evaluation.ranges import Range
from segmentation.models import RunLayer, ServiceModel

CHUNK = 50_000  # accounts evaluated at once
CONTACT = "csm"
BEHAVIOUR = ("usage", "engagement")  # families of data fields that tell what a customer does
GONE, LOW = "were not known any more", "fell to the bottom"


@dataclass
class Portfolio:
    """The accounts as a document sees them at the clock.

    accounts: how many the rules are applied to. active, known: active customers, and how many of them have each data
    field. aged: {stored data field: (how many observations, how many of them too old)}. left_out: keys of score groups
    without any data. counts, contacts: accounts by the segment the rules give (None: none), and those with a CSM.
    falls: {(what happened to usage, segment, segment after it): accounts}.
    uncelled: {key of a measure of text: {value that stands in no cell of its scoring table: accounts}}.
    """

    at: date
    accounts: int
    active: int = 0
    known: dict = field(default_factory=dict)
    aged: dict = field(default_factory=dict)
    left_out: tuple = ()
    counts: Counter = field(default_factory=Counter)
    contacts: Counter = field(default_factory=Counter)
    falls: Counter = field(default_factory=Counter)
    uncelled: dict = field(default_factory=dict)
    counted: bool = True  # False: some account's values cannot be computed, so nobody knows the last four


def measure(document, *, layer, at):
    """Look at every account: seconds for a million. document: None where the rules cannot be read yet."""
    everyone = (
        Account.objects.customers()
        if document and "churned" in document.includes
        else Account.objects.scored()
    )
    scope = layer.scoped
    portfolio = Portfolio(at, everyone.count())
    if not portfolio.accounts or document is None:
        return portfolio
    # Right after an import the planner would take minutes for 100,000 accounts.
    with transaction.atomic(), frames.no_nested_loops():
        portfolio.active, portfolio.known = frames.completeness(document.facts, at=at, scope=scope)
        portfolio.aged = _aged(document.facts, at, scope)
    portfolio.left_out = tuple(
        dimension.key for dimension in document.dimensions if _empty(dimension, document, at, scope)
    )
    ranges = list(_ranges(everyone))
    try:
        with transaction.atomic():  # what frames set for the planner holds within one
            pinned = _pinned(document, layer, portfolio, ranges)
            for first, last in ranges:
                part = Range([pinned], at=at, first=first, last=last)
                _count(portfolio, pinned, part, lost=layer.primary)
    except (
        DatabaseError,
        pl.exceptions.PolarsError,
    ):  # a recalculation sets such accounts aside, and says which
        portfolio.counted = False
    return portfolio


def _empty(dimension, document, at, scope):
    """No account has any of its data fields. Labels and scores of other segmentations are not counted as data."""
    names = [criterion.fact for criterion in dimension.criteria if criterion.fact in document.facts]
    return bool(names) and not frames.any_known(names, at=at, scope=scope)


def _pinned(document, layer, portfolio, ranges):
    """The draft as a recalculation would have pinned it, with its cut-offs over the whole portfolio."""
    as_run = RunLayer(layer=layer, left_out=portfolio.left_out)
    pinned = run_rules.of_layer(as_run, document)

    def values(rules):
        return [
            measuring.values(pinned, rules, (), at=portfolio.at, first=first, last=last)
            for first, last in ranges
        ]

    return replace(pinned, document=document.pinned(measuring.measure(pinned, values)))


def _aged(names, at, scope):
    """{stored data field: (observations with a date, those older than they may be)} of active customers; one query."""
    stored = [name for name in names if FACTS[name].home in ("account", "usage")]
    if not stored:
        return {}
    columns, parameters = [], {}
    for number, name in enumerate(stored):
        observed = f"{'u' if FACTS[name].home == 'usage' else 'a'}.provenance -> %(name{number})s ->> 1"
        columns.append(f"count({observed})")
        columns.append(f"count(*) filter (where ({observed})::date < %(at)s::date - %(days{number})s)")
        parameters |= {f"name{number}": name, f"days{number}": FACTS[name].refresh_days}
    query = f"""
        select {", ".join(columns)} from accounts_account a
          left join accounts_usage u on u.account_id = a.id and {scope.usage}
         where {figures.ACTIVE}
    """
    with connection.cursor() as cursor:
        cursor.execute(query, parameters | {"at": at})
        counts = cursor.fetchone()
    return dict(zip(stored, zip(counts[::2], counts[1::2], strict=True), strict=True))


def _ranges(everyone):
    """(first id, last id) of some accounts at a time."""
    ids = everyone.order_by("pk").values_list("pk", flat=True)
    first = ids.first()
    while first is not None:
        remaining = ids.filter(pk__gte=first)
        beyond = remaining[CHUNK : CHUNK + 1].first()
        yield first, remaining.last() if beyond is None else beyond - 1
        first = beyond


def _count(portfolio, pinned, part, *, lost):
    inputs = part.inputs(pinned)
    now = _segments(portfolio, pinned.document, inputs)
    csm = frames.facts([CONTACT], at=part.at, first=part.first, last=part.last, which=part.which)
    met = inputs.select("id").join(csm, on="id", how="left", maintain_order="left")[CONTACT].is_not_null()
    portfolio.counts.update(now)
    for criterion in pinned.document.criteria:
        if criterion.rubric is not None and criterion.rubric.type == "text":
            found = portfolio.uncelled.setdefault(criterion.key, Counter())
            found.update(_uncelled(criterion, inputs[criterion.fact]))
    portfolio.contacts.update(now.filter(met))
    for what, columns in _losses(pinned.document).items() if lost else ():
        after = _segments(portfolio, pinned.document, inputs.with_columns(columns))
        portfolio.falls.update((what, *pair) for pair in zip(now, after, strict=True) if pair[0] != pair[1])


def _uncelled(criterion, values):
    """Which texts no cell names, `*` or not: most are spelt otherwise than somebody thought."""
    cells = tuple(None if cell is not None and cell.rest else cell for cell in criterion.rubric.cells)
    if not any(cells):
        return {}
    counted = values.drop_nulls().rename("value").value_counts(name="accounts")
    named = replace(criterion.rubric, cells=cells).points(pl.col("value"))
    return dict(counted.filter(named.is_null()).select("value", "accounts").rows())


def _segments(portfolio, document, inputs):
    return engine.evaluate(document, inputs, portfolio.at, left_out=portfolio.left_out)["segment"]


def _losses(document):
    """The columns of accounts that lost all usage: {what happened: expressions}."""
    behaviour = [name for name in document.facts if FACTS[name].family in BEHAVIOUR]
    gone = [pl.lit(None, document.schema[name]).alias(name) for name in behaviour]
    low = [
        pl.lit(value, document.schema[name]).alias(name)
        for name in behaviour
        if (value := _lowest(document, name)) is not None
    ]
    return {what: columns for what, columns in ((GONE, gone), (LOW, low)) if columns}


def _lowest(document, name):
    """The value of a data field that earns least; what no scoring table rates is at its least for usage only."""
    for criterion in document.criteria:
        if criterion.fact == name and criterion.rubric is not None:
            return reach.worst(name, criterion.rubric)
    least = FACTS[name].minimum
    return least if FACTS[name].family == "usage" else None


# -- checks


def incomplete_fields(subject):
    limit = organisation().check_completeness
    portfolio, document = subject.portfolio, subject.document
    needed = set(document.requires) | {criterion.fact for criterion in document.criteria}
    needed |= {name for rule in document.rules if rule.condition for name in rule.condition.names}
    for name, number in portfolio.known.items():
        if (
            name not in needed or not FACTS[name].completeness
        ):  # it only stands in, or is there for few by nature
            continue
        if portfolio.active and 100 * number < limit * portfolio.active:
            share = percent(figures.share(number, portfolio.active))
            whom = subject.layer.scoped.measured
            yield place(name, field=label_of(name), share=share, whom=whom, limit=f"{limit} %")


def stale_fields(subject):
    limit = organisation().check_fresh
    for name, (observed, old) in subject.portfolio.aged.items():
        if observed and 100 * (observed - old) < limit * observed:
            days = plural(FACTS[name].refresh_days, "day,days")
            yield place(name, field=label_of(name), days=days, share=percent(figures.share(old, observed)))


def dimensions_without_data(subject):
    for index, dimension in enumerate(subject.document.dimensions):
        if dimension.key in subject.portfolio.left_out:
            fields = ", ".join(label_of(criterion.fact) for criterion in dimension.criteria)
            name = dimension.name or dimension.key
            yield place(dimension.key, path=f"dimensions.{index}", dimension=name, fields=fields)


def small_segments(subject):
    _counted(subject)
    limit = organisation().check_accounts_per_segment
    for segment in subject.segments:
        number = subject.portfolio.counts[segment.key]
        if number < limit:
            count = plural(number, subject.layer.scoped.name)
            declared = any(
                "declared" in rule.condition.names
                for rule in subject.document.rules
                if rule.segment == segment.key and rule.condition
            )
            yield place(
                segment.key,
                segments=[segment.key],
                segment=segment.name,
                count=count,
                limit=limit,
                next="People declare it, once these rules are active: propose it on an account’s page."
                if declared
                else "Widen its rule, or merge it into a neighbour.",
            )


def usage_lowers_coverage(subject):
    """Accounts of the primary segmentation that less usage, and nothing else, would move to less coverage."""
    if not subject.layer.primary:
        raise NotRun("Only the primary segmentation decides how much coverage an account gets.")
    _counted(subject)
    rank = {segment.key: coverage(segment.treatment) for segment in subject.segments}
    totals = {}
    for (what, before, after), number in subject.portfolio.falls.items():
        if before is not None and after is not None and rank[after] < rank[before]:
            totals.setdefault(before, Counter())[what] += number
    for segment in subject.segments:
        if segment.key in totals:
            [(what, number)] = totals[segment.key].most_common(1)
            count = plural(number, "account,accounts")
            yield place(segment.key, segments=[segment.key], count=count, segment=segment.name, how=what)


_KINDS = (ServiceModel.CsmKind.NONE, ServiceModel.CsmKind.POOL, ServiceModel.CsmKind.DEDICATED)


def coverage(treatment):
    """How much of a CSM an account gets, to compare: who it is, then how few accounts they have."""
    model = treatment.service_model if treatment else None
    if model is None:
        return (-1, 0)
    return (_KINDS.index(model.csm_kind), -(model.accounts_per_csm_min or 0))


def _counted(subject):
    if not subject.portfolio.counted:
        raise NotRun(
            "The values of some account cannot be computed. A recalculation sets it aside and says why."
        )
