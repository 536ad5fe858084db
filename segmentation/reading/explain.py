"""Why an account is in its segment: now, or on a date.

Now is the engine on the facts held now, at the clock of the layer's last recalculation. On a date it is the engine on each
fact's latest value observed by then, under the rules in force then; beside it the move in force then, with what it was
decided on. The command and the account page show the same dictionary; numbers in it are text, so that nothing is lost on the way.
"""

import re
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_FLOOR, Decimal
from functools import cached_property

import polars as pl
from django.db import DataError, transaction
from django.db.models import prefetch_related_objects

from accounts import catalogue, revenue
from core import wording
from core.refusals import Refused
from segmentation.evaluation import engine, run_rules
from segmentation.evaluation.in_force import APPROVAL, PINS, RUN, waits_for
from segmentation.evaluation.ranges import Range
from segmentation.models import Assignment, Cause, Definition, Layer, Move
from segmentation.reading import causes, past, provisional, rules_in_use, sources, stays, then
from segmentation.reading.contributions import Contributions, places_apart
from segmentation.reading.directions import directions
from segmentation.reading.spelling import as_text, edges, score, spelt
from segmentation.rules import reasons, terms

WAITS = {
    PINS: "an override keeps {}",
    APPROVAL: "it changes when somebody approves it",
    RUN: "it changes with the next recalculation",
}


@dataclass(frozen=True)
class Standing:
    """An account on a layer: its Assignment and its last Move (with cause, rules and segments), None where there is none."""

    assignment: Assignment | None
    move: Move | None


def explain(account, layer=None, *, at=None, known=None, product=None, standing=None):
    """Why `account` is where it is on `layer` (default: the primary one), now or on the date `at`.

    known: as it had been recorded by the end of that day; default: as known today. product: which of the account's products,
    on a layer of products. standing: where it is now, from whoever has read it. Returns a JSON-safe dictionary. Raises
    Refused when the layer has no rules, or nothing was known on that date.
    """
    at = at or known
    layer = layer or primary_layer()
    if layer.scoped.several != (product is not None):
        raise Refused(
            "product_needed" if product is None else "product_needless",
            layer=layer,
            labels=layer.get_scope_display(),
        )
    prefetch_related_objects([layer], "segments")  # asked for several times below
    if at is None:
        case = _now(account, layer, product, standing or _standing(account, layer, product))
    else:
        case = _then(account, layer, product, at, known)
    return case.explanation()


def primary_layer():
    layer = Layer.objects.filter(primary=True).first()
    if layer is None:
        raise Refused("primary_layer_unknown")
    return layer


# -- the two cases


def _standing(account, layer, product):
    states = Assignment.objects.filter(account=account, layer=layer, product=product)
    assignment = provisional.with_settled(states.select_related("effective", "computed")).first()
    moves = Move.objects.filter(account_id=account.pk, layer=layer, product=product).order_by("-id")
    return Standing(
        assignment, moves.select_related("cause", "definition", "from_segment", "to_segment").first()
    )


def _now(account, layer, product, standing):
    definition = Definition.objects.filter(layer=layer, status=Definition.Status.ACTIVE).first()
    if definition is None:
        raise Refused("layer_without_rules", layer=layer)
    rules, clock = rules_in_use.in_use(definition, layer)
    part = Range([rules], at=clock, first=account.pk, last=account.pk, which="true")
    inputs = _inputs(part, rules, account)
    if product is not None:
        inputs = inputs.filter(pl.col("product") == product.pk)
    assignment = standing.assignment
    if inputs.is_empty():
        raise _not_there(account, product, assignment)
    of_product = product and product.pk
    usage = next((row for row in account.usage.all() if row.product_id == of_product), None)
    return _Case(
        account=account,
        layer=layer,
        product=product,
        definition=definition,
        document=rules.document,
        frame=inputs,
        sources=account.provenance
        | (usage.provenance if usage else {})
        | sources.of_contracts(account, product, clock),
        learnt=sources.learnt(account, product, clock),
        left_out=rules.left_out,
        clock=clock,
        as_of=clock,
        effective=assignment.effective if assignment else None,
        effective_since=assignment.effective_since if assignment else None,
        assignment=assignment,
        move=standing.move,
        rules=rules,
        part=part,
    )


def _not_there(account, product, assignment):
    """The Refused for a product of which there is nothing to explain."""
    ended = assignment.effective_since if assignment else None
    if ended is None:
        return Refused("product_not_there", account=account, product=product)
    return Refused("product_ended", account=account, product=product, ended=ended)


def _inputs(part, rules, account):
    try:
        with transaction.atomic():
            return part.inputs(rules)
    except (DataError, pl.exceptions.PolarsError) as error:  # what a run sets aside
        raise Refused("data_cannot_be_evaluated", account=account, error=str(error).splitlines()[0]) from None


def _then(account, layer, product, at, known):
    history = past.History(account, product=product, known=known)
    snapshot = history.past.on(at)
    if snapshot is None:
        raise Refused("nothing_known", account=account, at=at, first=history.past.first(), known=known)
    [view] = history.views(layer, [snapshot])
    move, in_force = history.move(layer, at), view.in_force
    return _Case(
        account=snapshot.model(),
        layer=layer,
        product=product,
        definition=in_force.definition,
        document=in_force.rules.document,
        frame=view.frame,
        sources=snapshot.sources(),
        learnt=snapshot.learnt(at),
        left_out=in_force.rules.left_out,
        clock=at,
        as_of=at,
        effective=move.to_segment if move else None,
        effective_since=move.at if move else None,
        assignment=then.assignment_on(account, layer, product, at, known or date.max),
        move=move,
        dated=True,
        known=known,
        not_kept=snapshot.not_kept,
        early=in_force.early,
    )


# -- telling


class _Case:
    """One account on one layer at one clock: everything the explanation is told from."""

    part = None  # what is evaluated now
    dated, known, not_kept, early = False, None, frozenset(), False  # of a date

    def __init__(self, **values):
        self.__dict__.update(values)
        [self.facts] = self.frame.iter_rows(named=True)
        [self.row] = engine.evaluate(self.document, self.frame, self.clock, left_out=self.left_out).iter_rows(
            named=True
        )
        self.names = {segment.key: segment.name for segment in self.layer.segments.all()}
        self.edges = edges(self.document)
        others = Layer.objects.prefetch_related("segments") if self.document.layers else ()
        self.others = {run_rules.spoken(layer.key): layer for layer in others}

    def explanation(self):
        row = self.row
        composite = row["composite"]
        places = 2 if composite is None else places_apart(composite, self.edges.get("composite", ()))
        contributions = Contributions(self.document, row, places)
        reason = row["reason"]
        return {
            "account": {"external_id": self.account.external_id, "name": self.account.name},
            "layer": {"key": self.layer.key, "name": self.layer.name, "policy": self.layer.policy},
            "product": {"key": self.product.key, "name": str(self.product)} if self.product else None,
            "as_of": self.as_of.isoformat(),
            "known": as_text(self.known),
            "notes": list(then.notes(self)),
            "definition": {"version": self.definition.version},
            "scope": self.scope(),
            "computed_segment": row["segment"],
            "computed_segment_name": self.names.get(row["segment"]),
            "computed_since": as_text(self.computed_since()),
            "effective_segment": self.effective.key if self.effective else None,
            "effective_segment_name": self.effective.name if self.effective else None,
            "effective_since": as_text(self.effective_since),
            "differs": self.differs(),
            "provisional": row["provisional"],
            "provisional_until": as_text(row["provisional_until"]),
            "provisional_text": self.provisional_text(),
            "unsegmented_reason": reason,
            "reason_text": self.reason_text(reason),
            "thin_data": row["thin"],
            "composite": as_text(composite),
            "composite_shown": score(composite, self.edges.get("composite", ())),
            "dimensions": [
                self.dimension(dimension, contributions) for dimension in self.document.dimensions
            ],
            "requires": self.requires(),
            "rule": self.rule(),
            "boundaries": [
                {
                    "term": boundary.term,
                    "op": boundary.op,
                    "threshold": as_text(boundary.threshold),
                    "segment": boundary.segment,
                }
                for boundary in self.document.boundaries or ()
            ],
            "up": as_text(row["up"]),
            "down": as_text(row["down"]),
            "distance": as_text(row["distance"]),
            "stay": stays.stay(self.document, self.effective, self.effective_since, self.as_of),
            "nearest": directions(self),
            "cause": self.cause(),
            "move": _move(self.move),
            "evidence": then.evidence(self),
        }

    def reason_text(self, reason):
        kind, _, fact = (reason or "").partition(":")
        if kind == "no cell":
            value = self.quoted(fact, self.shown(fact, self.facts[fact]))
            return f"{value} is in no cell of {self.term_name(fact)}, and the rules need one."
        return reasons.text(reason, self.document) if reason else None

    def quoted(self, fact, shown):
        return f"'{shown}'" if self.document.types[fact] == "text" else shown

    def scope(self):
        """Why the rules are not applied to this account, or None."""
        if self.account.is_scored:
            return None
        kind = self.account.get_kind_display().lower()
        status = self.account.get_status_display().lower()
        what = "excluded" if self.account.excluded else f"{kind}, {status}"
        return f"The rules are not applied to this account ({what}); this is what they would say."

    def computed_since(self):
        assignment = self.assignment
        if assignment and (assignment.computed.key if assignment.computed else None) == self.row["segment"]:
            return assignment.computed_since
        return self.clock if self.assignment or self.move else None

    def differs(self):
        segment = self.row["segment"]
        if not segment or not self.effective or segment == self.effective.key:
            return None
        by_rules = self.names.get(segment, segment)
        text = f"The rules gave {by_rules}; the segment in force was {self.effective.name}."
        if not self.dated:
            waits = WAITS[self.waits_for()].format(self.effective.name)
            text = f"The rules give {by_rules}; the current segment is {self.effective.name}, and {waits}."
        return {"since": as_text(self.computed_since()), "text": text}

    def waits_for(self):
        computed = next(one.pk for one in self.layer.segments.all() if one.key == self.row["segment"])
        self.assignment.layer = self.layer
        return waits_for(self.assignment, computed, provisional=self.row["provisional"])

    def cause(self):
        """The cause of the last move, or of the one to come (see causes); None for a first segment and for decisions."""
        if self.part and self.product is None and self.differs():
            told = dict(
                causes.of_range(
                    self.layer, self.rules, self.part, [self.account.pk], {self.account.pk: self.account}
                )
            )
            told = told.get(self.account.pk)
        else:
            told = self.move and causes.of_move(self.move, causes.before(self.move))
        return told.as_json() if told else None

    def provisional_text(self):
        """The meaning of being provisional for the current segment, or None."""
        if not self.row["provisional"]:
            return None
        follows = "the decision follows by itself"
        if self.assignment and self.assignment.settled and self.layer.policy == Layer.Policy.APPROVAL:
            follows = "the current segment was decided before, and another one needs approval"
        return f"There is not enough history yet; {follows}."

    # -- score groups and measures

    def dimension(self, dimension, contributions):
        key = dimension.key
        value = self.row[f"score.{key}"]
        weights = self.document.weights
        return {
            "key": key,
            "name": dimension.name or key.capitalize(),
            "scale": dimension.scale,
            "weight": as_text(weights[key]) if weights else None,
            "weight_used": contributions.weight_used(key, weights),
            "score": as_text(value),
            "score_shown": score(value, self.edges.get(f"score.{key}", ())),
            **contributions.of(key),
            "left_out": self.left_out_text(dimension),
            "criteria": [self.criterion(criterion, contributions) for criterion in dimension.criteria],
        }

    def left_out_text(self, dimension):
        kinds = {self.row[f"fallback.{criterion.key}"] for criterion in dimension.criteria}
        if dimension.key in self.left_out:
            return "Left out for everybody: no account has a value for any of its measures."
        if kinds == {"left out"}:
            return f"Left out: the account is provisional until {wording.day(self.row['provisional_until'])}."
        if (
            dimension.maturity
            and dimension.maturity.assumed
            and self.row["provisional"]
            and kinds == {"assume"}
        ):
            return f"Counts as {dimension.maturity.assumed}: the account is provisional."
        return None

    def criterion(self, criterion, contributions):
        points, fallback = self.row[f"points.{criterion.key}"], self.row[f"fallback.{criterion.key}"]
        row = self.fact_row(criterion.fact)
        row |= {
            "key": criterion.key,
            "name": criterion.name or row["name"],
            "cells": list(criterion.cells),
            "cell": criterion.cells[5 - points] if points and not fallback else None,
            "points": points,
            "weight": as_text(criterion.weight),
            **contributions.of(criterion.key, criterion=True),
            "fallback": None,
        }
        if fallback:
            row["fallback"] = {"kind": fallback, **self.fallback_texts(criterion, fallback, points, row)}
        return row

    def fallback_texts(self, criterion, kind, points, row):
        """`text`, a sentence; `brief`: what stands beside a value that is seen not to be known."""
        if kind == "left out":
            text = "The score group is left out."
            return {"text": text, "brief": text}
        instead = self.instead(criterion, kind, points)
        quoted = self.quoted(row["fact"], row["value_shown"])
        what = (
            (row["value_shown"] or "not known").capitalize()
            if row["value"] is None
            else f"{quoted} is in no cell"
        )
        text = f"{what}{', and' if kind == 'needs data' else ':'} {instead}."
        return {"text": text, "brief": instead if row["value"] is None else text}

    def instead(self, criterion, kind, points):
        if kind == "rate":
            other = self.fact_row(criterion.missing.fact)
            return (
                f"rated by {other['name']} ({other['value_shown']}), {wording.plural(points, 'point,points')}"
            )
        return {"skip": "this measure is left out", "assume": f"counts as {points}", "needs data": "needed"}[
            kind
        ]

    def requires(self):
        """Rows of what no measure shows; first what the deciding rule looks at (`decides`), what is known before the rest."""
        deciding = self.deciding()
        rows = [self.fact_row(fact) | {"decides": fact in deciding} for fact in self.other_facts()]
        return sorted(rows, key=lambda row: (not row["decides"], row["value"] is None))

    def deciding(self):
        """The names the decision was taken by: where it stays, what could have moved it on from there."""
        index, rules = self.row["rule"], self.document.rules
        if index is not None:
            taken = [rules[index]]
        elif self.row["segment"]:
            taken = [rule for rule in rules if self.facts["previous"] in rule.sources]
        else:
            taken = rules
        names = {name for rule in taken for name in (rule.condition.names if rule.condition else ())}
        names |= {rule.top.by for rule in taken if rule.top} | set(self.document.requires)
        return names | ({"previous"} if any(rule.sources for rule in taken) or index is None else set())

    def other_facts(self):
        """Facts that rules and requirements speak of and no measure shows."""
        shown_already = {criterion.fact for criterion in self.document.criteria}
        named = list(self.document.requires)
        for rule in self.document.rules:
            named += sorted(rule.condition.names) if rule.condition else []
            named += [rule.top.by] if rule.top else []
        named += ["previous"] if self.document.stays else []
        return [
            name for name in dict.fromkeys(named) if name in self.document.types and name not in shown_already
        ]

    def fact_row(self, fact):
        value = self.facts[fact]
        source, observed = self.source(fact, value)
        age = (self.clock - date.fromisoformat(observed)).days if observed else None
        return {
            "key": fact,
            "name": self.term_name(fact),
            "fact": fact,
            "layer": self.others[self.document.others[fact]].key if self.of_other(fact) else None,
            "value": None if value is None else as_text(value),
            "value_shown": "not kept"
            if fact in self.not_kept
            else self.shown(fact, value) or self.unknown(fact),
            "source": source,
            "observed": observed,
            "age_days": age if age is None or age >= 0 else None,
            "learnt": self.learnt.get(fact) if value is not None else None,
        }

    def unknown(self, fact):
        """The name of a missing value, where that is a category of its own."""
        return catalogue.FACTS[fact].unknown or None if fact in catalogue.FACTS else None

    def shown(self, name, value, rounding=ROUND_FLOOR):
        """A value as people write it; a segment of this layer by its name."""
        if name == "arr" and (self.facts.get("blocked") or "").startswith("currency:"):
            return wording.money(self.arr)
        if value is None:
            return None
        if name in ("previous", "declared"):
            return self.names.get(value, value)
        if name in catalogue.FACTS:
            return spelt(name, value, self.account.currency, rounding)
        if name.startswith("label."):
            return self.label_shown(name, value)
        return score(value, self.edges.get(name, ())) if isinstance(value, Decimal) else f"{value:,}"

    @cached_property
    def arr(self):
        """Its ARR in the currencies it is in, where that is not the organisation's."""
        return revenue.of([self.account.pk], self.clock)[self.account.pk]

    def of_other(self, name):
        """True where a name is of another layer that is there."""
        return self.document.others.get(name) in self.others

    def label_shown(self, name, value):
        if not self.of_other(name):
            return terms.words(value)
        segments = self.others[self.document.others[name]].segments.all()
        return next((segment.name for segment in segments if segment.key == value), terms.words(value))

    def source(self, fact, value):
        """The source that told us, and when it was observed (ISO text)."""
        if value is None:
            return None, None
        if fact == "declared":
            return "declared", None
        if fact not in catalogue.FACTS:
            return "calculated", None
        source, observed, *_ = self.sources.get(fact) or (None, None)
        if source is None and observed is None and catalogue.FACTS[fact].sql:
            if catalogue.FACTS[fact].home == "derived":
                return "calculated", None
            source, observed, *_ = self.sources.get("subscriptions") or (None, None)
            source = f"{source}, subscriptions" if source else "subscriptions"
        return source or None, observed[:10] if observed else None

    # -- the rule

    def rule(self):
        index = self.row["rule"]
        if index is None and self.row["segment"]:
            return {
                "index": None,
                "segment": self.row["segment"],
                "when": None,
                "text": "Stays: no rule applies.",
            }
        if index is None:
            return None
        rule = self.document.rules[index]
        parts = [self.rule_text(rule.condition)] if rule.condition else []
        if parts and (rule.sources or rule.top) and " OR " in rule.condition.text:
            parts = [f"({parts[0]})"]
        if rule.sources:
            parts.insert(0, f"coming from {', '.join(self.names.get(key, key) for key in rule.sources)}")
        if rule.top:
            value = self.term_shown(rule.top.by)
            parts.append(f"among the {rule.top.count:,} highest by {self.term_name(rule.top.by)} ({value})")
        text = ", and ".join(parts) or "no rule before applies: everything else"
        return {
            "index": index,
            "segment": rule.segment,
            "when": rule.when,
            "text": f"Rule {index + 1}: {text}",
        }

    def rule_text(self, condition):
        """The condition with what each of its terms is for this account."""

        def with_value(match):
            name = match[0]
            return f"{self.term_name(name)} ({self.term_shown(name)})" if name in condition.names else name

        return re.sub(r"'[^']*'|[a-z_][\w.]*", with_value, condition.text)

    def term_name(self, term):
        kind, _, key = term.partition(".")
        if kind == "score" and "." not in key:
            return next(
                (dimension.name or key for dimension in self.document.dimensions if dimension.key == key), key
            )
        if kind == "points":
            return f"points for {key}"
        if self.of_other(term):
            return terms.label(term, layer=self.others[self.document.others[term]].name)
        return terms.label(term)

    def term_shown(self, term):
        if term in self.facts:
            return self.shown(term, self.facts[term]) or "not known"
        value = self.row[term]
        if value is None:
            return "none"
        return score(value, self.edges.get(term, ())) if isinstance(value, Decimal) else as_text(value)


# -- texts


def _move(move):
    if move is None:
        return None
    cause = move.cause
    return {
        "cause": move.why,
        "cause_text": move.get_why_display(),
        "at": move.at.isoformat(),
        "written_at": move.written_at.isoformat(),
        "from": move.from_segment.key if move.from_segment else None,
        "to": move.to_segment.key if move.to_segment else None,
        "definition": move.definition.version,
        "actor": cause.actor_label,
        "actor_id": cause.actor,
        "channel": cause.channel,
        "reason": cause.reason,
        "run": cause.run if cause.kind == Cause.Kind.RUN else None,
    }
