"""An account as the rules saw it on dates: its facts of then, by the rules in force then.

`accounts.past` says what was known; this adds what layers said of it by then, and evaluates. An explanation on a date, the
account then and now, and the line of its scores are all told from here.
"""

import json
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

import polars as pl
from django.db import DataError, transaction
from django.db.models import prefetch_related_objects
from django.utils import timezone

from accounts.past import Past
from core.money import Money
from core.refusals import Refused
from segmentation.evaluation import engine, frames
from segmentation.evaluation.ranges import frame_for
from segmentation.evaluation.run_rules import spoken
from segmentation.models import Layer, Move
from segmentation.reading import rules_in_use


@dataclass(frozen=True)
class View:
    """The rules in force on a date, and the engine's frame of then."""

    at: date
    in_force: rules_in_use.InForce
    frame: pl.DataFrame = field(repr=False)


@dataclass(frozen=True)
class Score:
    """A point of a score's line. composite, segment (its key): None where nothing can be said, a gap."""

    at: date
    composite: Decimal | None
    segment: str | None


class History:
    """All that was known of an account (or of one of its products), read once for any number of dates.

    known: as it had been recorded by the end of that day; default: as known today.
    """

    def __init__(self, account, *, product=None, known=None):
        self.account, self.product, self.known = account, product, known
        self.past = Past(account, known=known, product=product and product.pk)
        moves = Move.objects.filter(account_id=account.pk).order_by("id")
        related = ["cause", "definition", "from_segment", "to_segment"]
        self.moves = [
            move
            for move in moves.select_related(*related)
            if known is None or timezone.localdate(move.written_at) <= known
        ]
        self._results = {}

    def move(self, layer, at):
        """The Move in force on a date: the last written one dated on or before it. None before the first."""
        ours = self.product.pk if self.product and layer.scoped.several else None
        of_layer = (move for move in self.moves if (move.layer_id, move.product_id) == (layer.pk, ours))
        return max((move for move in of_layer if move.at <= at), key=lambda move: move.pk, default=None)

    def facts(self, names, dates):
        """{date: {fact: value}} of the dates on which anything was known."""
        snapshots = list(filter(None, map(self.past.on, dates)))
        rows = frames.facts_on(names, snapshots).iter_rows(named=True) if snapshots else ()
        return {row["at"]: row for row in rows}

    def money(self, at):
        """(ARR as Money, the day of the renewal, what there is to say of it) on a date."""
        row = self.facts(["arr", "currency", "renewal_date", "renewal_status"], [at]).get(at, {})
        arr = Money.of([(row["currency"], row["arr"])]) if row.get("arr") is not None else Money()
        return arr, row.get("renewal_date"), row.get("renewal_status")

    def views(self, layer, snapshots):
        """A View for each of the snapshots, in their order."""
        in_force = rules_in_use.on_dates(layer, [snapshot.at for snapshot in snapshots])
        views = {}
        for some in _alike(snapshots, lambda snapshot: in_force[snapshot.at]):
            frame = self._inputs(in_force[some[0].at].rules.document, layer, some)
            views |= {
                snapshot.at: View(snapshot.at, in_force[snapshot.at], frame[place])
                for place, snapshot in enumerate(some)
            }
        return [views[snapshot.at] for snapshot in snapshots]

    def results(self, layer, snapshots):
        """{date: a row of the engine} of the snapshots."""
        key = layer.pk, tuple(snapshot.at for snapshot in snapshots)
        if key not in self._results:
            self._results[key] = _evaluated(self.views(layer, snapshots))
        return self._results[key]

    def _inputs(self, document, layer, snapshots):
        """The engine's frame, a row a date."""
        try:
            with transaction.atomic():
                facts = frames.facts_on(
                    document.facts, snapshots, scope=layer.scoped, product=self.product and self.product.pk
                )
        except (DataError, pl.exceptions.PolarsError) as error:
            raise Refused(
                "data_cannot_be_evaluated", account=self.account, error=str(error).splitlines()[0]
            ) from None
        frame = frame_for(document, facts, layer.scoped)
        return frame.with_columns(
            pl.Series(name, values, dtype=document.schema[name])
            for name, values in self._states(document, layer, snapshots).items()
        )

    def _states(self, document, layer, snapshots):
        """{name: values} of what layers say of the account: this one before each date, and the others on it."""
        values = {}
        if document.stays:
            before = [self.move(layer, snapshot.at - timedelta(days=1)) for snapshot in snapshots]
            before = [move if move and move.to_segment else None for move in before]
            values["previous"] = [move and move.to_segment.key for move in before]
            values["days_in_stage"] = [
                move and (snapshot.at - move.at).days
                for move, snapshot in zip(before, snapshots, strict=True)
            ]
        if document.declared:
            values["declared"] = [self._declared(layer, snapshot.at) for snapshot in snapshots]
        layers = {spoken(other.key): other for other in Layer.objects.all()} if document.layers else {}
        for name, key in document.others.items():
            other = layers.get(key)
            values[name] = self._terms(name, other, snapshots) if other else [None] * len(snapshots)
        return {name: said for name, said in values.items() if name in document.schema}

    def _declared(self, layer, at):
        rows = frames.declared(layer.pk, at=at, first=self.account.pk, last=self.account.pk)
        return None if rows.is_empty() else rows["declared"][0]

    def _terms(self, name, other, snapshots):
        """The values of a term of another layer (`label.lifecycle`, `score.value_tier.usage`) on dates."""
        part, _, *dimension = name.split(".")
        if part == "label":
            moves = [self.move(other, snapshot.at) for snapshot in snapshots]
            return [move and move.to_segment and move.to_segment.key for move in moves]
        column = f"score.{dimension[0]}" if dimension else part
        whole = History(self.account, known=self.known) if self.product else self
        snapshots = [whole.past.on(snapshot.at) for snapshot in snapshots]
        rows = whole.results(other, snapshots)
        return [rows[snapshot.at].get(column) for snapshot in snapshots]


def score_line(account, layer, months=12):
    """The account's score on a layer at the ends of the last months, as it is explained on those dates: Scores, oldest first.

    A gap where nothing was known, where rules were in force only later, or where a fact of then is not kept any more.
    """
    prefetch_related_objects([layer], "segments")
    ends = _month_ends(timezone.localdate(), months)
    history = History(account)
    known = {end: snapshot for end in ends if (snapshot := history.past.on(end))}
    views = history.views(layer, list(known.values())) if known else []
    rows = _evaluated(
        view
        for view in views
        if not view.in_force.early and not known[view.at].not_kept & set(view.in_force.rules.document.facts)
    )
    return [
        Score(end, rows[end]["composite"], rows[end]["segment"]) if end in rows else Score(end, None, None)
        for end in ends
    ]


def _evaluated(views):
    """{date: a row of the engine}: views by the same rules in one go."""
    rows = {}
    for some in _alike(views, lambda view: view.in_force):
        rules, frame = some[0].in_force.rules, pl.concat([view.frame for view in some])
        result = engine.evaluate(rules.document, frame, some[-1].at, left_out=rules.left_out)
        rows |= zip((view.at for view in some), result.iter_rows(named=True), strict=True)
    return rows


def _alike(some, in_force):
    """Groups of those evaluated by the same rules and cut-offs, each in the order given."""
    groups = {}
    for each in some:
        rules = in_force(each).rules
        key = in_force(each).early, rules.definition, json.dumps([rules.cutoffs, rules.left_out])
        groups.setdefault(key, []).append(each)
    return groups.values()


def _month_ends(today, months):
    ends, day = [], today + timedelta(days=1)  # a month that ends today counts
    for _ in range(months):
        day = day.replace(day=1) - timedelta(days=1)
        ends.append(day)
    return ends[::-1]
