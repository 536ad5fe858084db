"""Why an account changes its segment, or would: one answer for the account page, the board, triage, requests and exports.

The answer compares how the account came into the segment before with how things are now, or were at its next move:
`evaluation.attribution` evaluates the old rules on the new data and the new rules on the old data.
"""

import json
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from accounts import catalogue
from segmentation.authoring import versions
from segmentation.evaluation import attribution, frames, run_rules
from segmentation.evaluation.decide import inputs_of_both
from segmentation.evaluation.evidence import facts_from_text
from segmentation.evaluation.ranges import Range, together
from segmentation.models import Definition, Layer, Move
from segmentation.reading.rules_in_use import in_use
from segmentation.reading.spelling import as_text, edges, score, spelt
from segmentation.rules import comparison, terms

SENTENCES = 3  # changes of the rules that are told
VALUES = 4  # values in a sentence; a table has all


@dataclass(frozen=True)
class Attribution:
    """The answer to what moved an account.

    kind: one of attribution.KINDS, or "" where neither data nor rules say another thing than before. text: the answer in
    a sentence or two; head: the same without the values, above a table of them. values: [(name, then, now, points)] of what moved the score or the segment, and nothing else;
    points: `4 → 2 points`, or "". rules: sentences about the rules. evaluations: {which: {"segment", "score"}}, keys and
    texts: `before` and `after`, `data` (old rules, new data), `rules` (new rules, old data).
    """

    kind: str
    text: str
    head: str
    values: tuple
    rules: tuple
    evaluations: dict

    @property
    def brief(self):
        """The answer for a card: the first values or changes of the rules; else what it was."""
        lines = [line(value) for value in self.values] or [self.text.rstrip(".")]
        if self.kind in (attribution.RULES, attribution.BOTH):
            lines = [label(self.kind), *lines[:1]] if self.values else [self.text.rstrip(".")]
        return ", ".join(lines[:2])

    def as_json(self):
        names = ("name", "then", "now", "points")
        values = [dict(zip(names, value, strict=True)) for value in self.values]
        return {
            "kind": self.kind, "text": self.text, "values": values, "rules": list(self.rules),
            "evaluations": self.evaluations,
        }  # fmt: skip


def label(kind):
    """A kind in a few words."""
    return Move.Why(kind).label


def line(value):
    """`ARR $95,000 → $130,000 (4 → 5 points)`."""
    name, then, now, points = value
    return f"{name} {then} → {now}{f' ({points})' if points else ''}"


def of_move(move, previous):
    """The Attribution of a move, against the one before it; None for a first one and for what people decided."""
    if previous is None or move.why not in (*attribution.KINDS, Move.Why.POLICY):
        return None
    old = attribution.ruler_of_move(previous.definition_id, previous.evidence)
    new = attribution.ruler_of_move(move.definition_id, move.evidence)
    before, after = (
        facts_from_text(pl.Series([json.dumps(one.evidence.get("facts", {}))]), ruler.document)
        for one, ruler in ((previous, old), (move, new))
    )
    [told] = _Telling(move.layer, old, new).tell(before, after, [move.account])
    if move.why == Move.Why.POLICY:
        text = told.text if told.kind else "The rules said so already."
        return replace(told, kind=str(move.why), text=f"{label(move.why)}. {text}")
    return told if told.kind else replace(told, kind=str(Move.Why.DATA), text=STAGES, head=STAGES)


STAGES = "What was known already brought it on: it goes one stage at a recalculation."


def before(move):
    """The move before this one, of the same account on the same segmentation; None for the first."""
    moves = Move.objects.filter(
        account_id=move.account_id, layer_id=move.layer_id, product_id=move.product_id
    )
    return moves.filter(pk__lt=move.pk).select_related("to_segment").order_by("-id").first()


def of_accounts(layer, accounts):
    """{account id: Attribution} of what the rules say now, against the move that brought each into the segment in force.

    Accounts without a move are left out. A few queries for accounts whose ids lie together.
    """
    definition = Definition.objects.filter(layer=layer, status=Definition.Status.ACTIVE).first()
    if definition is None:
        return {}
    rules, clock = in_use(definition, layer)
    by_id, told = {account.pk: account for account in accounts}, {}
    for ids in together(by_id):
        part = Range([rules], at=clock, first=ids[0], last=ids[-1], which="true")
        for id, attributed in of_range(layer, rules, part, ids, by_id):
            told[id] = attributed
    return told


def of_range(layer, rules, part, ids, accounts):
    """[(account id, Attribution)] of some accounts of a Range."""
    new = attribution.ruler_of_layer(rules)
    moves = frames.last_moves(layer.pk, ids)
    for (definition, cutoffs, left_out), some in moves.group_by("definition", "cutoffs", "left_out"):
        evidence = {"cutoffs": json.loads(cutoffs or "{}"), "left_out": json.loads(left_out or "[]")}
        old = attribution.ruler_of_move(definition, evidence)
        both = inputs_of_both(rules, part, old.document, some)
        some = some.join(both, on="id", how="semi")  # who is evaluated at all
        after = some.select("id").join(both, on="id", how="left", maintain_order="left")
        before = facts_from_text(some["facts"], old.document)
        tellings = _Telling(layer, old, new).tell(before, after, [accounts[id] for id in some["id"]])
        yield from zip(some["id"], tellings, strict=True)


class _Telling:
    """Changes from one Ruler to another on a layer, in words."""

    def __init__(self, layer, old, new):
        self.layer, self.old, self.new = layer, old, new
        self.names = {segment.key: segment.name for segment in layer.segments.all()}
        self.others = {}
        if old.document.layers or new.document.layers:
            others = Layer.objects.prefetch_related("segments")
            self.others = {run_rules.spoken(layer.key): layer for layer in others}
        self.sentences = self.rules() if old.definition != new.definition else []

    def tell(self, before, after, accounts):
        """[Attribution] of the rows of two frames; accounts: theirs."""
        before, after = attribution.alike(before, after, self.old, self.new)
        judged = attribution.judge(before, after, self.old, self.new)
        return [
            self.one(before[row], after[row], judged, row, account) for row, account in enumerate(accounts)
        ]

    def one(self, before, after, judged, row, account):
        results = {
            name: result.row(row, named=True)
            for name, result in (
                ("before", judged.before), ("data", judged.by_data), ("rules", judged.by_rules), ("after", judged.after),
            )
        }  # fmt: skip
        kind = judged.kinds[row]
        values, sentences = (), ()
        if kind not in ("", attribution.RULES):
            values = tuple(self.values(before, after, results, account))
        if kind in (attribution.RULES, attribution.BOTH):
            sentences = tuple([*self.points(results), *self.sentences][:SENTENCES])
        evaluations = {
            name: {"segment": result["segment"], "score": as_text(result["composite"])}
            for name, result in results.items()
        }
        text, head = (self.text(kind, some, sentences, results) for some in (values, ()))
        return Attribution(kind, text, head, values, sentences, evaluations)

    def values(self, before, after, results, account):
        for name in attribution.movers(before, after, self.old, self.new):
            then, now = before[name].item(), after[name].item()
            shown = [self.shown(name, value, account) for value in (then, now)]
            yield (self.label(name), *shown, self.worth(name, results))
        if self.old.cutoffs != self.new.cutoffs:
            for criterion in self.old.document.criteria:
                points = self.worth(criterion.fact, results)
                if (
                    criterion.quintiles
                    and points
                    and before[criterion.fact].eq_missing(after[criterion.fact]).item()
                ):
                    value = self.shown(criterion.fact, after[criterion.fact].item(), account)
                    yield (self.label(criterion.fact), value, value, points)

    def worth(self, name, results):
        """The points that a value earned by the old rules, then and now; "" where they are the same."""
        for criterion in self.old.document.criteria:
            column = f"points.{criterion.key}"
            then, now = results["before"][column], results["data"].get(column)
            if name in (criterion.fact, criterion.missing.fact) and then != now:
                return f"{'none' if then is None else then} → {'none' if now is None else now} points"
        return ""

    def points(self, results):
        """Measures for which the new rules give other points than the old ones, on the same data."""
        kept = {criterion.key for criterion in self.new.document.criteria}
        for criterion in self.old.document.criteria:
            column = f"points.{criterion.key}"
            if criterion.key in kept and results["data"][column] != results["after"][column]:
                then, now = results["data"][column], results["after"][column]
                name = criterion.name or self.label(criterion.fact)
                yield f"{name}: {'none' if then is None else then} → {'none' if now is None else now} points"

    def rules(self):
        """Sentences about what is different in the rules, the weights and rules first: measures are told by their points."""
        old, new = self.old.document.freeze(), self.new.document.freeze()
        names = versions.labels(self.layer)
        told = []
        for section in ("weights", "rules"):
            former = {key: value for key, value in new.items() if key != section}
            former |= {section: old[section]} if section in old else {}
            told += comparison.compare(former, new, names=names).sentences
        told = told or list(comparison.compare(old, new, names=names).sentences)
        return [sentence.replace(" -> ", " → ") for sentence in told]

    def label(self, name):
        layer = self.others.get(name.split(".")[1]) if "." in name else None
        return terms.label(name, layer=layer.name) if layer else terms.label(name)

    def shown(self, name, value, account):
        if value is None:
            return "not known"
        if name in catalogue.FACTS:
            return spelt(name, value, account.currency)
        if name.startswith("label."):
            layer = self.others.get(name.split(".")[1])
            names = {segment.key: segment.name for segment in layer.segments.all()} if layer else {}
            return names.get(value, terms.words(value))
        if isinstance(value, (int, str, date)):
            return self.names.get(value, str(value))
        return score(value, edges(self.old.document).get(name, ()))

    def segment(self, result):
        return self.names.get(result["segment"], result["segment"]) or "Needs data"

    def text(self, kind, values, sentences, results):
        if not kind:
            return f"By what is known now the rules say {self.segment(results['after'])}, as they did before."
        said = "; ".join(line(value) for value in values[:VALUES])
        said += f" and {len(values) - VALUES} more" if len(values) > VALUES else ""
        if kind == attribution.RULES:
            by_old = f"By the old ones it would be {self.segment(results['data'])}."
            return f"{label(kind)}{_behind('; '.join(sentences))}. {by_old}"
        if kind == attribution.BOTH:
            now = results["after"]["segment"]
            alone = [name for name in ("data", "rules") if results[name]["segment"] == now]
            how = "either alone would do" if alone else "neither alone would do"
            return f"{label(kind)}, and {how}{_behind('; '.join(filter(None, [said, *sentences])))}."
        return f"{label(kind)}{_behind(said)}."


def _behind(text):
    return f": {text}" if text else ""
