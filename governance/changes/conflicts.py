"""Which values are held back because they would change how an account is segmented, and what people decide about them.

`gate` stands behind the gate "facts": accounts.quality.disputes asks it before protected facts change, whichever way they come.
"""

import hashlib
from collections import defaultdict
from functools import partial

import polars as pl
from django.db import DataError, transaction
from django.utils import timezone

from accounts import catalogue, corrections
from accounts.models import Account, Conflict
from core import history, texts
from core.history import acting
from core.refusals import Refused, verb
from governance import events
from governance.models import Event, Override
from governance.signoff import permissions
from segmentation.evaluation import engine, run_rules
from segmentation.evaluation.ranges import Range
from segmentation.models import Definition
from segmentation.reading import rules_in_use
from segmentation.rules.document import DocumentErrors

SLICE = 5_000  # candidates evaluated at once
ANSWERS = ("buying_centre", "use_case", "contract")
ACQUIRED = ("industry", "parent")  # changes that may be an acquisition
MOST = 200  # decided in one action
NOTHING = "not known"
POINTS, SEGMENT = "points", "segment"  # what a value would change

Status = Conflict.Status


def gate(question, *args):
    """Answer accounts.quality.disputes: which accounts are pinned, which changes matter; and hear of what waits."""
    return {"pinned": pinned, "weigh": weigh, "queued": queued}[question](*args)


def pinned():
    """The accounts (ids) with an override in force: for those no protected fact changes by itself."""
    return list(Override.objects.active().values_list("account", flat=True).distinct())


# -- what would change


def weigh(frame):
    """{row: [effects]} of the changes that change points or a segment, on any segmentation.

    An effect: {"what": POINTS or SEGMENT, "layer": its name, "was", "then"}, and the "measure" of points; None: none.

    frame: `row`, `account` (id), `fact`, `held`, `proposed` (text or null), as many rows as there are. Each change is looked
    at by itself; where several of one account only matter together, all of them do.
    """
    by_row = defaultdict(list)
    frame = frame.sort("account", "row")
    for definition in _active():
        facts = set(frame["fact"]) & set(run_rules.document_of(definition.pk).facts)
        some = frame.filter(pl.col("fact").is_in(facts))
        if some.is_empty():
            continue
        rules, clock = rules_in_use.in_use(definition, definition.layer)
        look = partial(_Look, definition.layer, rules, clock)
        for part in some.iter_slices(SLICE):
            for row, effects in _divided(look, part):
                by_row[row] += effects
    return dict(by_row)


def _active():
    """The rules in use, the primary segmentation's first."""
    active = Definition.objects.filter(status=Definition.Status.ACTIVE).select_related("layer")
    return active.order_by("-layer__primary", "layer__position", "layer__key")


def _divided(look, part):
    """The answers of `look` about a part; where the data of an account cannot be evaluated, about the others."""
    try:
        with transaction.atomic():
            return look(part).material()
    except (DataError, pl.exceptions.PolarsError, DocumentErrors):
        if part["account"].n_unique() == 1:
            return []  # recalculations set it aside too
        middle = part["account"][len(part) // 2]
        low = pl.col("account") < middle
        if not part.filter(low).height:
            low = pl.col("account") <= middle
        return [*_divided(look, part.filter(low)), *_divided(look, part.filter(~low))]


class _Look:
    """Some accounts under the rules of one segmentation: as they are, and with the values proposed."""

    def __init__(self, layer, rules, clock, part):
        self.layer, self.rules, self.clock, self.part = layer, rules, clock, part
        document = rules.document
        ids = part["account"].unique().sort()
        named = ", ".join(map(str, ids))
        which = f"{run_rules.accounts_of([document])} and a.id in ({named})"
        where = {"at": clock, "first": ids[0], "last": ids[-1], "which": which}
        self.inputs = Range([rules], **where).inputs(rules)
        self.columns = ["segment", *(f"points.{criterion.key}" for criterion in document.criteria)]
        self.now = self.evaluated(self.inputs)

    def evaluated(self, inputs):
        return engine.evaluate(self.rules.document, inputs, self.clock, left_out=self.rules.left_out)

    def material(self):
        """[(row, [effects])] of the changes that matter."""
        rows = defaultdict(list)
        for row, account, fact in self.part.select("row", "account", "fact").iter_rows():
            rows[account].append((row, fact))
        facts = sorted(set(self.part["fact"]))
        matters, alone = [], set()
        for fact in facts:
            for account, effects in self.differing([fact]).items():
                matters += [(row, effects) for row, changed in rows[account] if changed == fact]
                alone.add(account)
        if len(facts) > 1 and any(len(some) > 1 for some in rows.values()):
            for account, effects in self.differing(facts).items():
                if account not in alone:
                    matters += [(row, effects) for row, _ in rows[account]]
        return matters

    def differing(self, facts):
        """{account: [effects]} with the values proposed for these facts."""
        inputs = self.inputs
        for fact in facts:
            inputs = _with_proposed(inputs, fact, self.part.filter(pl.col("fact") == fact))
        then = self.evaluated(inputs)
        differs = pl.any_horizontal(
            self.now[column].ne_missing(then[column]).alias(column) for column in self.columns
        )
        mask = pl.select(differs).to_series()
        by_account = {}
        pairs = zip(
            self.now.filter(mask).iter_rows(named=True), then.filter(mask).iter_rows(named=True), strict=True
        )
        for was, becomes in pairs:
            effects = by_account.setdefault(was["id"], [])
            effects += [effect for effect in self.effects(was, becomes) if effect not in effects]
        return by_account

    def effects(self, was, becomes):
        for criterion in self.rules.document.criteria:
            old, new = (row[f"points.{criterion.key}"] for row in (was, becomes))
            if old != new:
                name = criterion.name or catalogue.label(criterion.fact)
                yield {"what": POINTS, "layer": str(self.layer), "measure": name, "was": old, "then": new}
        if was["segment"] != becomes["segment"]:
            sides = {"was": self.segment(was), "then": self.segment(becomes)}
            yield {"what": SEGMENT, "layer": str(self.layer), **sides}

    def segment(self, row):
        if not hasattr(self, "names"):
            self.names = dict(self.layer.segments.values_list("key", "name"))
        return self.names.get(row["segment"])


def _with_proposed(inputs, fact, some):
    """The engine's inputs with the values proposed for a fact."""
    proposed = pl.col("proposed").cast(catalogue.dtype(fact), strict=False)
    some = some.select(id="account", _proposed=proposed, _is=pl.lit(True))
    joined = inputs.join(some, on="id", how="left", maintain_order="left")
    value = pl.when("_is").then("_proposed").otherwise(fact)
    return joined.with_columns(value.alias(fact)).drop("_proposed", "_is")


# -- what waits


def queued(rows):
    """Values have begun to wait for a decision, in this transaction."""
    accounts = Account.objects.in_bulk([conflict.account_id for conflict in rows])
    Event.objects.bulk_create(
        [
            Event(
                kind="conflict_queued",
                text=f"{sentence(conflict, accounts[conflict.account_id])} It waits for a decision.",
                account_id=conflict.account_id,
                about="conflict",
                about_id=conflict.pk,
                reason=conflict.reason,
                data={"fact": conflict.fact, "effects": conflict.effects},
            )
            for conflict in rows
        ],
        batch_size=SLICE,
    )


def sentence(conflict, account):
    """`warehouse says that the industry of Acme is Healthcare; we have Technology.`"""
    fact = catalogue.label(conflict.fact).lower()
    return (
        f"{conflict.proposed_source} says that the {fact} of {account} is {conflict.proposed_value or NOTHING}; "
        f"we have {conflict.held_value or NOTHING}."
    )


def asks(conflict):
    """Whether the three questions are to be answered: it may be an acquisition, or it is pinned as one."""
    if conflict.fact in ACQUIRED:
        return True
    active = Override.objects.active().filter(account=conflict.account_id)
    return active.filter(reason_code=Override.Reason.ACQUISITION).exists()


def token(conflict):
    """A token of what is decided about: changes when the value we have, or the one proposed, does."""
    content = repr((conflict.held_value, conflict.proposed_value, conflict.status))
    return f"{conflict.pk}:{hashlib.sha256(content.encode()).hexdigest()[:16]}"


# -- deciding


@verb
def keep(chosen, *, by, note, answers=None, seen=None):
    """Keep what we have; the same value from the same source is not asked about again until it changes.

    chosen: the Conflicts decided alike. note: why, needed. answers: {of ANSWERS: text}, needed where it may be an acquisition.
    seen: {id: token} of the page. Returns the Conflicts.
    """
    return _decide(chosen, Status.KEPT, by=by, note=note, answers=answers, seen=seen)


@verb
def take(chosen, *, by, note, answers=None, seen=None):
    """The proposed value is what we have from now on, with its source and day; segments follow with the next recalculation."""
    return _decide(chosen, Status.TAKEN, by=by, note=note, answers=answers, seen=seen)


def _decide(chosen, status, *, by, note, answers, seen):
    permissions.check(permissions.resolve_conflict(by=by))
    note = texts.needed(note, "conflict_note_missing")
    answers = {name: texts.text((answers or {}).get(name)) for name in ANSWERS}
    if len(chosen) > MOST:
        raise Refused("too_many_conflicts", most=MOST, count=len(chosen))
    with transaction.atomic(), acting(by=by, reason=note):
        if status == Status.TAKEN and any(conflict.fact == "parent" for conflict in chosen):
            corrections.lock_parents()
        accounts = _locked(chosen)
        rows = Conflict.objects.select_for_update(of=["self"]).filter(
            pk__in=[conflict.pk for conflict in chosen]
        )
        locked = list(rows.order_by("pk"))
        for conflict in locked:
            conflict.account = accounts[conflict.account_id]
            _check(conflict, answers, (seen or {}).get(conflict.pk))
        for conflict in locked:
            _end(conflict, status, by, note, answers)
    return locked


def _locked(chosen):
    """The accounts first, in the order of their ids, as imports lock them too."""
    accounts = Account.objects.select_for_update(of=["self"]).order_by("pk")
    return {
        account.pk: account
        for account in accounts.filter(pk__in={conflict.account_id for conflict in chosen})
    }


def _check(conflict, answers, seen):
    if conflict.status != Status.OPEN:
        who = history.who(conflict, "decided_by")
        raise Refused(
            "conflict_decided_already", conflict=conflict, status=conflict.get_status_display(), decider=who
        )
    if seen is not None and seen != token(conflict):
        raise Refused("conflict_stale", conflict=conflict)
    missing = [name for name in ANSWERS if not answers[name]]
    if missing and asks(conflict):
        question = Conflict._meta.get_field(missing[0]).verbose_name
        raise Refused("acquisition_unanswered", question=question)


def _end(conflict, status, by, note, answers):
    conflict.status, conflict.note, conflict.decided_at = status, note, timezone.now()
    conflict.decided_by, conflict.decided_by_label = by.pk, by.get_username()
    for name, text in answers.items():
        setattr(conflict, name, text)
    conflict.save()
    fact = catalogue.label(conflict.fact)
    if status == Status.TAKEN:
        corrections.accept(
            conflict.account,
            conflict.fact,
            conflict.proposed_value,
            source=conflict.proposed_source,
            observed=conflict.proposed_observed,
            by=by,
            reason=note,
        )
        what = f"is {conflict.proposed_value or NOTHING} now, as {conflict.proposed_source} says"
    else:
        what = f"stays {conflict.held_value or NOTHING}"
    events.record(
        "conflict_decided",
        f"{conflict.account}: {fact} {what}.",
        account=conflict.account,
        about=conflict,
        reason=note,
        data={"fact": conflict.fact, "status": status},
    )


# -- reporting


REPORTED = "reported"
REPORTABLE = catalogue.PROTECTED


@verb
def report(account, fact, value, *, by, reason):
    """Somebody says that a fact is wrong and what is right: it waits for a decision. Returns the Conflict.

    value: text; an account ID for the parent.
    """
    permissions.check(permissions.report_conflict(by=by))
    reason, value = texts.needed(reason, "report_unexplained"), texts.text(value)
    if fact not in REPORTABLE:
        raise Refused("fact_not_reportable")
    if not value:
        raise Refused("report_value_missing")
    with transaction.atomic(), acting(by=by, reason=reason):
        return corrections.propose(account, fact, value, source=REPORTED, reason=reason)
