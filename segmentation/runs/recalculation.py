"""Recalculations: start one, evaluate its accounts, close it.

A run is a row: it pins its rules and its clock, and is cut into ranges of accounts that any process works (core.work). A range
is one transaction.
"""

import logging
from collections import Counter
from datetime import date, timedelta
from functools import partial

from django.conf import settings
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Max
from django.utils import timezone

from accounts import catalogue
from accounts.models import Account
from core import workers
from core.history import actor
from core.organisation import organisation
from core.refusals import Refused
from core.wording import plural
from core.work import JobKind, divided, error_text
from segmentation.evaluation import assignments, frames, measuring, run_rules
from segmentation.models import Definition, Layer, Quarantined, Run, RunLayer, RunPart
from segmentation.rules import reasons
from segmentation.rules.document import DocumentErrors

log = logging.getLogger(__name__)

CHUNK = 50_000  # accounts; measured: from 25,000 to 100,000 about equally fast, and memory grows with it
SMALL_CHUNK = 250  # a small portfolio is cut too, so that its progress shows
CLOCK = 0x114704A  # advisory lock: of two recalculations that start at once the second sees the clock of the first
SUMMED = [
    "accounts",
    "scanned",
    "changed",
    "rescored",
    "moved",
    "differs",
    "needs_data",
    "provisional",
    "thin",
    "criteria",
]
SUMMED += ["fallbacks", "lost", "quarantined"]
TALLIES = ["moves", "segments", "computed_segments", "reasons", "observed"]


# -- starting


def start(*, layers=None, as_of=None, trigger=Run.Trigger.MANUAL, by=None, reason="", chunk=None):
    """Start a recalculation of these layers (default: all with active rules) at the clock `as_of` (default: today).

    chunk: accounts a part; chosen by the size of the portfolio when not given. Wakes workers after the commit. Raises
    Refused when a layer has no active rules or is being recalculated already, and where nobody said the clock and all
    data are old (on a schedule that is a warning). Raises WrongClock when the clock would go
    back or is a day to come.
    """
    stale = None if as_of else staleness()
    if stale and trigger == Run.Trigger.MANUAL:
        raise Refused("facts_are_old", **stale)
    as_of = as_of or timezone.localdate()
    frames.acquaint()
    with transaction.atomic():
        _check_clock(as_of)
        definitions = _active_rules(layers)
        run = Run.objects.create(as_of=as_of, trigger=trigger, reason=reason, **_starter(by))
        try:
            with transaction.atomic():
                pinned = [_pinned(run, definition) for definition in definitions]
                for run_layer in pinned if stale else ():
                    run_layer.warnings.append(str(Refused("facts_are_old", **stale)))
                RunLayer.objects.bulk_create(pinned)
        except IntegrityError:
            raise _busy(definitions) from None
        documents = [run_rules.document_of(definition.pk) for definition in definitions]
        run.accounts, ranges = cut(run_rules.accounts_of(documents), chunk)
        run.measured = not any(document.population for document in documents)
        run.save(update_fields=["accounts", "measured"])
        RunPart.objects.bulk_create(RunPart(job=run, first=first, last=last) for first, last in ranges)
        transaction.on_commit(partial(KIND.wake, run.pk, len(ranges)))
    return run


def staleness():
    """{"newest", "days", "limit"} where the newest value of all is older than the settings allow; None where it is not.

    Where nothing has a date, nothing is said.
    """
    today, limit = timezone.localdate(), organisation().facts_days_at_most
    since = today - timedelta(days=limit)
    with connection.cursor() as cursor:
        for dates in _OBSERVED:  # one after the other: the first fresh value ends it
            cursor.execute(f"select exists (select {dates} and d.day >= %s)", [since.isoformat()])
            if cursor.fetchone()[0]:
                return None
        cursor.execute(" union all ".join(f"select max(d.day) {dates}" for dates in _OBSERVED))
        newest = max((day for (day,) in cursor.fetchall() if day), default=None)
    if newest is None:
        return None
    newest = date.fromisoformat(newest[:10])
    return {"newest": newest, "days": (today - newest).days, "limit": limit}


# Days on which something was observed, as `d.day` (ISO text).
_OBSERVED = [
    f"from {table} cross join lateral {days} d (day) where d.day is not null"
    for table, days in (
        ("accounts_account a", "(select p.value ->> 1 from jsonb_each(a.provenance) p)"),
        ("accounts_usage u", "(select p.value ->> 1 from jsonb_each(u.provenance) p)"),
        ("accounts_subscription b", "(select b.observed::text)"),
        ("accounts_signal e", "(select e.at::text)"),
    )
]


class WrongClock(Refused):
    """A recalculation at a clock that would put in force what was, or what may be: an impact preview can say it."""


def _check_clock(as_of):
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", [CLOCK])
    newest = newest_clock()
    if as_of > timezone.localdate():
        raise WrongClock("clock_in_the_future", as_of=as_of)
    if newest and as_of < newest:
        raise WrongClock("clock_goes_back", as_of=as_of, newest=newest)


def newest_clock():
    """The newest clock of the recalculations there were, or None; those of nobody said nothing."""
    runs = Run.objects.filter(accounts__gt=0, as_of__lte=timezone.localdate())
    return runs.aggregate(newest=Max("as_of"))["newest"]


def _active_rules(layers):
    layers = list(Layer.objects.order_by("pk") if layers is None else layers)
    active = Definition.objects.filter(status=Definition.Status.ACTIVE, layer__in=layers)
    by_layer = {definition.layer_id: definition for definition in active.select_related("layer")}
    without = [layer.name for layer in layers if layer.pk not in by_layer]
    if without and len(layers) == 1:
        raise Refused("layer_not_active", layer=without[0])
    if not by_layer:
        raise Refused("no_layer_active")
    return [by_layer[layer.pk] for layer in layers if layer.pk in by_layer]


def _starter(by):
    who = actor()
    return {
        "started_by": by.pk if by else who.id,
        "started_by_label": by.get_username() if by else who.label,
        "channel": who.channel,
    }


def _busy(definitions):
    running = RunLayer.objects.filter(
        running=True, layer__in=[definition.layer_id for definition in definitions]
    )
    run_layer = running.select_related("layer", "run").order_by("layer").first()
    if run_layer is None:
        return Refused("run_just_ended")
    return Refused(
        "layer_in_recalculation",
        layer=run_layer.layer.name,
        run=run_layer.run_id,
        since=timezone.localtime(run_layer.run.started_at),
        lease=settings.LEASE_SECONDS,
    )


def _pinned(run, definition):
    try:
        document = run_rules.document_of(definition.pk)
    except DocumentErrors as errors:
        raise Refused(
            "definition_unusable", definition=definition, problem=errors.problems[0].message
        ) from None
    _check_segments(document, definition)
    left_out = without_facts(document, run.as_of, definition.layer.scoped)
    warnings = [left_out_text(document, key) for key in left_out]
    return RunLayer(
        run=run,
        layer=definition.layer,
        definition=definition,
        left_out=left_out,
        cutoffs=None if document.population else {},
        warnings=warnings,
    )


def _check_segments(document, definition):
    """A segment that was deleted or renamed past the pages would make its accounts look as if no rule applied."""
    keys = set(definition.layer.segments.values_list("key", flat=True))
    lost = [rule.segment for rule in document.rules if rule.segment not in keys]
    if lost:
        raise Refused(
            "definition_names_lost_segment", definition=definition, segment=lost[0], layer=definition.layer
        )


def without_facts(document, at, scope):
    """The dimensions for which no scored account (or unit of one) has any fact; none while there are no accounts."""
    return [
        dimension.key
        for dimension in document.dimensions
        if not _any_known([criterion.fact for criterion in dimension.criteria], at, scope)
    ]


def _any_known(names, at, scope):
    if set(names) - set(catalogue.FACTS):  # what other layers say
        return True
    try:
        with transaction.atomic():
            return frames.any_known(names, at=at, scope=scope) or not Account.objects.scored().exists()
    except DatabaseError:  # a value that cannot be computed; its account is found and named by the parts
        return True


def left_out_text(document, key):
    [dimension] = [dimension for dimension in document.dimensions if dimension.key == key]
    return (
        f"{dimension.name or key} is left out for everybody: no account has a value for any of its measures. "
        "The other score groups count for more."
    )


def cut(which, size=None):
    """(how many accounts there are, the ranges of ids [(first, last)] that hold up to `size` of them each).

    which: as `frames.facts` takes it. size: chosen by the size of the portfolio when not given. Ids are counted, not
    accounts: no sorting, and where some are missing a range holds fewer.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"select count(*), min(id + 0) from accounts_account a where {which}")
        total, lowest = cursor.fetchone()
        size = size or min(CHUNK, max(SMALL_CHUNK, -(-total // 8)))
        cursor.execute(
            f"""select min(id + 0), max(id + 0) from accounts_account a where {which}
                 group by (a.id - %s) / %s order by 1""",
            [lowest or 0, size],
        )
        return total, cursor.fetchall()


# -- working


def work(run_id, *, wait=False, on_part=None):
    """Work parts of a run until none is left to claim, and close the run when all have ended; returns the Run. See JobKind."""
    return KIND.work(run_id, wait=wait, on_part=on_part)


def _pin(run_id):
    return run_rules.of_run(Run.objects.get(pk=run_id))


def _measure(run):
    """The cut-offs that rules need of the whole portfolio."""
    layers = {run_layer.layer_id: run_layer for run_layer in run.layers.select_related("layer")}
    for layer in run_rules.of_run(run).layers:
        if layers[layer.id].cutoffs is None:
            pinned = run_rules.of_run(run)  # with what was measured just now for those before it
            layers[layer.id].cutoffs = measuring.measure(layer, partial(_values, pinned, layer))
            layers[layer.id].save(update_fields=["cutoffs"])


def _values(pinned, layer, document):
    """The values of all accounts but those that cannot be evaluated: their part tells of them."""
    ids, values = ids_of(pinned.which), []

    def work(first, last):
        return measuring.values(layer, document, pinned.layers, at=pinned.run.as_of, first=first, last=last)

    for part in pinned.run.parts.order_by("first"):
        values += divided(work, part.first, part.last, ids, limited=False)[0]
    return values


def _evaluate(parts, pinned):
    pinned = pinned()

    def work(first, last):
        return assignments.evaluate(pinned, first=first, last=last)

    for part in parts:
        counts, bad = divided(work, part.first, part.last, ids_of(pinned.which))
        for account, error in bad:
            log.warning("Account %s cannot be evaluated: %s", account, error)
        Quarantined.objects.bulk_create(
            Quarantined(run=pinned.run, account_id=account, reason=error_text(error))
            for account, error in bad
        )
        for layer in pinned.layers:
            total = _total([portion[layer.key] for portion in counts])
            part.result[layer.key] = total | {"quarantined": len(bad)}


def ids_of(which):
    """The function that lists the ids of those accounts in a range; which: as `frames.facts` takes it."""

    def ids(first, last):
        with connection.cursor() as cursor:
            cursor.execute(
                f"select a.id from accounts_account a where {which} and a.id between %s and %s order by a.id",
                [first, last],
            )
            return [id for (id,) in cursor.fetchall()]

    return ids


def _total(parts):
    """The sum of counts of the same layer."""
    total = {name: sum(part.get(name, 0) for part in parts) for name in SUMMED}
    for name in TALLIES:
        tally = Counter()
        for part in parts:
            tally.update(part.get(name, {}))
        total[name] = dict(tally)
    return total


# -- closing


def _finish(run, errors):
    results = list(run.parts.order_by("pk").values_list("result", flat=True))
    for run_layer in run.layers.select_related("layer"):
        run_layer.counts = _total([result.get(run_layer.layer.key, {}) for result in results])
        measured = run_layer.counts["criteria"] > 0
        run_layer.counts["observed_median"] = _median(run_layer.counts["observed"]) if measured else None
        run_layer.counts["fallback_share"] = _share(
            run_layer.counts["fallbacks"], run_layer.counts["criteria"]
        )
        run_layer.warnings += _warnings(run_layer.counts, run_layer.layer.scoped.units)
        run_layer.running = False
        run_layer.save()
    run.end(errors)
    run.save()
    transaction.on_commit(_ended)


def _ended():
    for task in settings.AFTER_RUN:
        workers.wake(task)


def _median(histogram):
    """The lower median of {number as text: how often}; None of nothing."""
    half, seen = sum(histogram.values()) / 2, 0
    for number, count in sorted((int(number), count) for number, count in histogram.items()):
        seen += count
        if seen >= half:
            return number
    return None


def _share(part, whole):
    return round(part / whole, 4) if whole else None


def _warnings(counts, labelled):
    if counts["needs_data"] * 2 > counts["scanned"]:
        code = min(counts["reasons"], key=lambda reason: (-counts["reasons"][reason], reason))
        yield (
            f"{counts['needs_data']} of {counts['scanned']} {labelled} need data, most of them for this reason: "
            f"{reasons.text(code)}"
        )
    if counts["quarantined"]:
        yield f"{plural(counts['quarantined'], 'account,accounts')} could not be evaluated; set aside, with the reason."
    if counts["scanned"] and counts["thin"] * 2 > counts["scanned"]:
        yield f"{counts['thin']} of {counts['scanned']} {labelled} have thin data: more than half of their measures are missing."


def cancel(run, *, by, reason):
    """End a run where it is; what is done stays done, and whoever is at a part is waited for."""
    if not reason.strip():
        raise Refused("cancellation_reason_missing")
    with transaction.atomic():
        KIND.fail(run, "Cancelled.")
        run = Run.objects.select_for_update(no_key=True).get(pk=run.pk)
        if run.status != Run.Status.RUNNING:
            raise Refused("run_ended_already")
        _finish(run, ())
        name = by.get_username() if by else actor().label
        run.status, run.error = Run.Status.CANCELLED, f"Cancelled by {name}: {reason}"
        run.save()
    return run


KIND = JobKind(
    parts=RunPart,
    do=_evaluate,
    open=_pin,
    measure=_measure,
    finish=_finish,
    task="segmentation.tasks.work",
)


def sweep():
    """Work every run that nobody works on, and close those that have ended; returns how many were looked at."""
    return KIND.sweep()


def abandoned(layers=None):
    """The running recalculations of these layers (default: of all) in which nobody is at a part."""
    return KIND.abandoned(**({} if layers is None else {"layers__layer__in": layers}))


# -- telling


def latest(layer):
    """The last run of a layer that has ended, or None: its `as_of` is the clock of what is shown."""
    run_layer = latest_of(layer)
    return run_layer and run_layer.run


def latest_of(layer):
    """The same as its RunLayer, with the run."""
    return ended(layer).select_related("run").order_by("-run_id").first()


def ended(layer):
    """The RunLayers of recalculations of a layer that came to their end."""
    return RunLayer.objects.filter(layer=layer, running=False).exclude(run__status=Run.Status.CANCELLED)


def progress(run):
    """How far a run is: as JobKind says, with "accounts" and "accounts_done"."""
    results = run.parts.values_list("result", flat=True)
    done = sum(max(map(_accounts, result.values()), default=0) for result in results)
    return KIND.progress(run) | {"accounts": run.accounts, "accounts_done": done}


def _accounts(counts):
    return counts.get("accounts", counts["scanned"])  # runs of before there were segmentations of products


def report(run):
    """The work a run did, as `recompute --json` prints it."""
    run = Run.objects.get(pk=run.pk)
    end = run.finished_at or timezone.now()
    shown = ["scanned", "changed", "moved", "moves", "differs", "needs_data", "provisional", "quarantined"]
    shown += ["observed_median", "fallback_share", "thin", "segments", "reasons"]
    layers = {}
    for run_layer in run.layers.select_related("layer", "definition").order_by(
        "layer__position", "layer__key"
    ):
        layers[run_layer.layer.key] = {
            "definition": run_layer.definition.version,
            "scope": run_layer.layer.scope,
            **{name: run_layer.counts.get(name) for name in shown},
            "left_out": run_layer.left_out,
            "warnings": run_layer.warnings,
        }
    return {
        "run": run.pk,
        "status": run.status,
        "as_of": run.as_of.isoformat(),
        "accounts": run.accounts,
        "error": run.error or None,
        "layers": layers,
        "seconds": round((end - run.started_at).total_seconds(), 3),
    }
