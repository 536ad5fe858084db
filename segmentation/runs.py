"""Recalculations: start one, claim its chunks, evaluate them, close it.

A run is a row. It pins its rules and its clock and is cut into ranges of accounts (chunks) that any process claims with
SKIP LOCKED. A chunk is one transaction. A claim has a lease and raises the chunk's token; who works a chunk holds its row
locked and has the token, or stops. A killed worker's chunk is taken over once its lease has ended; a message only wakes a
worker, and a sweep finds what no message told of.
"""

import logging
import os
import socket
import time
from collections import Counter
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Max, Q
from django.utils import timezone

from accounts import catalogue
from accounts.models import Account
from core import workers
from core.history import actor
from core.refusals import Refused
from segmentation import assignments, frames, reasons
from segmentation.document import DocumentErrors
from segmentation.models import Chunk, Definition, Layer, Quarantined, Run, RunLayer

log = logging.getLogger(__name__)

CHUNK = 50_000  # accounts; measured: from 25,000 to 100,000 about equally fast, and memory grows with it
SMALL_CHUNK = 250  # a small portfolio is cut too, so that its progress shows
ATTEMPTS = 5
# The server went away, two transactions met, an account was deleted before the commit.
PASSING = (OperationalError, InterfaceError, IntegrityError)
QUARANTINE_LIMIT = 100  # more bad accounts than this in one chunk,
ALL_BAD = 20  # or this many and no good one: it is not about the accounts
CLOCK = 0x114704A  # advisory lock: of two recalculations that start at once the second sees the clock of the first
WAKE = 8  # messages sent at most: more workers than that are found by the sweep
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


def lease():
    """How long a claimed chunk belongs to its worker. It only has to reach until the chunk's row is locked."""
    return timedelta(seconds=settings.LEASE_SECONDS)


# -- starting


def start(*, layers=None, as_of=None, trigger=Run.Trigger.MANUAL, by=None, reason="", chunk=None):
    """Start a recalculation of these layers (default: all with active rules) at the clock `as_of` (default: today).

    chunk: accounts a chunk; chosen by the size of the portfolio when not given. Wakes workers after the commit.
    Raises Refused when a layer has no active rules or is being recalculated already, WrongClock when the clock would go
    back or is a day to come.
    """
    as_of = as_of or timezone.localdate()
    frames.acquaint()
    with transaction.atomic():
        _check_clock(as_of)
        definitions = _active_rules(layers)
        run = Run.objects.create(as_of=as_of, trigger=trigger, reason=reason, **_starter(by))
        try:
            with transaction.atomic():
                RunLayer.objects.bulk_create(_pinned(run, definition) for definition in definitions)
        except IntegrityError:
            raise _busy(definitions) from None
        documents = [assignments.document_of(definition.pk) for definition in definitions]
        run.accounts = _cut(run, chunk, assignments.accounts_of(documents))
        run.save(update_fields=["accounts"])
        chunks = run.chunks.count()
        transaction.on_commit(partial(_wake, run.pk, min(chunks, WAKE)))
    return run


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
    told = Run.objects.filter(accounts__gt=0, as_of__lte=timezone.localdate())
    return told.aggregate(newest=Max("as_of"))["newest"]


def _active_rules(layers):
    layers = list(Layer.objects.order_by("pk") if layers is None else layers)
    active = Definition.objects.filter(status=Definition.Status.ACTIVE, layer__in=layers)
    found = {definition.layer_id: definition for definition in active.select_related("layer")}
    without = [layer.name for layer in layers if layer.pk not in found]
    if without and len(layers) == 1:
        raise Refused("layer_not_active", layer=without[0])
    if not found:
        raise Refused("no_layer_active")
    return [found[layer.pk] for layer in layers if layer.pk in found]


def _starter(by):
    who = actor()
    return {
        "started_by": by.pk if by else who.id,
        "started_by_label": by.get_username() if by else who.label,
        "channel": who.channel,
    }


def _busy(definitions):
    running = RunLayer.objects.filter(running=True, layer__in=[one.layer_id for one in definitions])
    one = running.select_related("layer", "run").order_by("layer").first()
    if one is None:
        return Refused("run_just_ended")
    return Refused(
        "layer_in_recalculation",
        layer=one.layer.name,
        run=one.run_id,
        since=timezone.localtime(one.run.started_at),
        lease=settings.LEASE_SECONDS,
    )


def _pinned(run, definition):
    try:
        document = assignments.document_of(definition.pk)
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
    known = set(definition.layer.segments.values_list("key", flat=True))
    lost = [rule.segment for rule in document.rules if rule.segment not in known]
    if lost:
        raise Refused(
            "definition_names_lost_segment", definition=definition, segment=lost[0], layer=definition.layer
        )


def without_facts(document, at, scope):
    """The dimensions for which no scored account (or unit of one) has any fact; none while there are no accounts."""
    return [
        dimension.key
        for dimension in document.dimensions
        if not _known([criterion.fact for criterion in dimension.criteria], at, scope)
    ]


def _known(names, at, scope):
    if set(names) - set(catalogue.FACTS):  # what other layers say
        return True
    try:
        with transaction.atomic():
            return frames.known(names, at=at, scope=scope) or not Account.objects.scored().exists()
    except DatabaseError:  # a value that cannot be computed; its account is found and named by the chunks
        return True


def left_out_text(document, key):
    [dimension] = [dimension for dimension in document.dimensions if dimension.key == key]
    return (
        f"{dimension.name or key} is left out for everybody: no account has a value for any of its measures. "
        "The other score groups count for more."
    )


def _cut(run, size, which):
    """Cut the accounts it is about into chunks of `size`; returns how many accounts there are."""
    total, ranges = cut(which, size)
    Chunk.objects.bulk_create(Chunk(run=run, first_id=first, last_id=last) for first, last in ranges)
    return total


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


def _wake(run, number):
    """Tell workers of a run; who started it may work it too."""
    workers.wake("segmentation.tasks.work", run, times=number)


# -- working


class Fenced(Exception):
    """The chunk has been taken over by another worker."""


def work(run_id, *, wait=False, on_chunk=None):
    """Work chunks of a run until none is left to claim, and close the run when all are done; returns the Run.

    wait: return only when the run has ended; chunks that others hold are waited for, and taken over when their lease
    ends. on_chunk(run): called after each chunk. May be called any number of times, by any number of processes.
    """
    pinned, pause = None, 0.05
    while not close(run_id):
        chunk = _claim(run_id) if _settle(run_id) else None
        if chunk is None:
            if not wait:
                break
            time.sleep(pause)
            pause = min(pause * 2, 1)
            continue
        pause = 0.05
        pinned = pinned or assignments.pin(Run.objects.get(pk=run_id))
        _attempt(chunk, pinned)
        if on_chunk:
            on_chunk(pinned.run)
    return Run.objects.get(pk=run_id)


def _settle(run_id):
    """Measure the cut-offs that rules need of the whole portfolio; False while another process measures them.

    No chunk is claimed before they are pinned. Who measures holds the rows locked: if it is lost, the next one does it.
    """
    if not RunLayer.objects.filter(run=run_id, cutoffs__isnull=True).exists():
        return True
    try:
        with transaction.atomic():
            run = Run.objects.select_for_update(skip_locked=True).filter(pk=run_id).first()
            if run is None:
                return False
            if run.status == Run.Status.RUNNING:
                _measure(run)
                others = min(run.chunks.count(), WAKE) - 1  # those woken at the start found nothing to do yet
                transaction.on_commit(partial(_wake, run.pk, others))
            return run.status == Run.Status.RUNNING
    except PASSING:
        raise
    except Exception as error:  # the same again next time: no use in trying
        log.exception("The cut-offs of recalculation %s cannot be measured", run_id)
        Chunk.objects.filter(run=run_id).update(status=Chunk.Status.FAILED, error=told(error))
        close(run_id)
        return False


def _measure(run):
    layers = {one.layer_id: one for one in run.layers.select_related("layer")}
    ranges = list(run.chunks.order_by("first_id").values_list("first_id", "last_id"))
    for layer in assignments.pin(run).layers:
        if layers[layer.id].cutoffs is None:
            pinned = assignments.pin(run)  # with what was measured just now for those before it
            layers[layer.id].cutoffs = assignments.measure(layer, partial(_values, pinned, layer, ranges))
            layers[layer.id].save(update_fields=["cutoffs"])


def _values(pinned, layer, ranges, document):
    """The values of all accounts but those that cannot be evaluated: their chunk tells of them."""
    parts = []

    def work(first, last):
        return assignments.values(layer, document, pinned.layers, at=pinned.run.as_of, first=first, last=last)

    for first, last in ranges:
        divided(work, first, last, pinned.which, parts, lambda account, error: None)
    return parts


def _claim(run_id):
    """The next chunk that is pending, or whose worker let its lease end; None when there is none."""
    now = timezone.now()
    with transaction.atomic():
        open_ = Chunk.objects.select_for_update(skip_locked=True, of=["self"]).filter(_open(now), run=run_id)
        chunk = open_.filter(run__status=Run.Status.RUNNING).order_by("id").first()
        if chunk is None:
            return None
        chunk.token += 1
        chunk.attempts += 1
        if chunk.attempts > ATTEMPTS:
            chunk.status = Chunk.Status.FAILED
            chunk.error = chunk.error or f"Given up: {ATTEMPTS} workers were lost at it."
        else:
            chunk.status, chunk.leased_until = Chunk.Status.CLAIMED, now + lease()
            chunk.worker = f"{socket.gethostname()}:{os.getpid()}"[:200]
        chunk.save()
    return chunk if chunk.status == Chunk.Status.CLAIMED else _claim(run_id)


def _open(now):
    return Q(status=Chunk.Status.PENDING) | Q(status=Chunk.Status.CLAIMED, leased_until__lt=now)


def _attempt(chunk, pinned):
    """Work a claimed chunk; what goes wrong is kept on it, and what may pass is tried again."""
    try:
        _evaluate(chunk, pinned)
    except Fenced:
        log.info("Chunk %s of recalculation %s was taken over", chunk.pk, chunk.run_id)
    except KeyboardInterrupt:
        _leave(chunk, Chunk.Status.PENDING, "Interrupted.")
        raise
    except PASSING as error:
        log.warning("Chunk %s of recalculation %s is tried again", chunk.pk, chunk.run_id, exc_info=True)
        connection.close_if_unusable_or_obsolete()
        _leave(chunk, Chunk.Status.PENDING, told(error))
    except Exception as error:  # the same again next time: no use in trying
        log.exception("Chunk %s of recalculation %s failed", chunk.pk, chunk.run_id)
        _leave(chunk, Chunk.Status.FAILED, told(error))


def _leave(chunk, status, error):
    """Give a chunk back, unless it is somebody else's by now."""
    mine = Chunk.objects.filter(pk=chunk.pk, token=chunk.token, status=Chunk.Status.CLAIMED)
    mine.update(status=status, error=error)


def _evaluate(chunk, pinned):
    """One chunk, in one transaction."""
    with transaction.atomic():
        held = Chunk.objects.select_for_update().get(pk=chunk.pk)
        if held.token != chunk.token or held.status != Chunk.Status.CLAIMED:
            raise Fenced
        bad, parts = [], []
        work = partial(_work, pinned)
        quarantine = partial(_quarantine, pinned, parts, bad)
        divided(work, chunk.first_id, chunk.last_id, pinned.which, parts, quarantine)
        held.counts = {layer.key: _total([part[layer.key] for part in parts]) for layer in pinned.layers}
        for layer in pinned.layers:
            held.counts[layer.key]["quarantined"] = len(bad)
        held.status, held.leased_until, held.error = Chunk.Status.DONE, None, ""
        held.save()


def _work(pinned, first, last):
    return assignments.evaluate(pinned, first=first, last=last)


def divided(work, first, last, which, parts, bad):
    """Add to `parts` what `work(first, last)` gives of a range of accounts.

    An account that cannot be worked is found by halving the range; bad(its id, the error) is told of it.
    """
    try:
        with transaction.atomic():
            parts.append(work(first, last))
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # whatever a value of somebody's makes PostgreSQL or Polars say
        ids = _ids(first, last, which)
        if len(ids) == 1:
            bad(ids[0], error)
        elif ids:
            middle = ids[len(ids) // 2]
            divided(work, first, middle - 1, which, parts, bad)
            divided(work, middle, last, which, parts, bad)


def _ids(first, last, which):
    with connection.cursor() as cursor:
        cursor.execute(
            f"select a.id from accounts_account a where {which} and a.id between %s and %s order by a.id",
            [first, last],
        )
        return [id for (id,) in cursor.fetchall()]


def _quarantine(pinned, parts, bad, account, error):
    if len(bad) >= (QUARANTINE_LIMIT if parts else ALL_BAD):
        raise error
    log.warning("Account %s cannot be evaluated: %s", account, error)
    bad.append(account)
    Quarantined.objects.update_or_create(
        run=pinned.run, layer=None, account_id=account, defaults={"reason": told(error)}
    )


def told(error):
    return f"{type(error).__name__}: {error}".split("\n\n")[0][:1000]


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


def close(run_id):
    """Close the run if every chunk has ended; True when the run is over. Exactly one caller closes it."""
    status = Run.objects.values_list("status", flat=True).get(pk=run_id)
    if status != Run.Status.RUNNING:
        return True
    ended = [Chunk.Status.DONE, Chunk.Status.FAILED]
    if Chunk.objects.filter(run=run_id).exclude(status__in=ended).exists():
        return False
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=run_id)
        if run.status == Run.Status.RUNNING:
            _close(run)
    return True


def _close(run):
    chunks = list(run.chunks.order_by("id"))
    failed = [chunk for chunk in chunks if chunk.status == Chunk.Status.FAILED]
    for one in run.layers.select_related("layer"):
        one.counts = _total([chunk.counts.get(one.layer.key, {}) for chunk in chunks])
        measured = one.counts["criteria"] > 0
        one.counts["observed_median"] = _median(one.counts["observed"]) if measured else None
        one.counts["fallback_share"] = _share(one.counts["fallbacks"], one.counts["criteria"])
        one.warnings += _warnings(one.counts, one.layer.scoped.units)
        one.running = False
        one.save()
    run.status = Run.Status.FAILED if failed else Run.Status.FINISHED
    run.error = "; ".join(sorted({chunk.error for chunk in failed}))
    run.finished_at = timezone.now()
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
        code = min(counts["reasons"], key=lambda one: (-counts["reasons"][one], one))
        yield (
            f"{counts['needs_data']} of {counts['scanned']} {labelled} need data, most of them for this reason: "
            f"{reasons.text(code)}"
        )
    if counts["quarantined"]:
        yield f"{counts['quarantined']} accounts could not be evaluated and were set aside, with the reason."
    if counts["scanned"] and counts["thin"] * 2 > counts["scanned"]:
        yield f"{counts['thin']} of {counts['scanned']} {labelled} have thin data: more than half of their measures are missing."


def cancel(run, *, by, reason):
    """End a run where it is; chunks that are done stay done."""
    if not reason.strip():
        raise Refused("cancellation_reason_missing")
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=run.pk)
        if run.status != Run.Status.RUNNING:
            raise Refused("run_ended_already")
        name = by.get_username() if by else actor().label
        run.chunks.exclude(status=Chunk.Status.DONE).update(
            status=Chunk.Status.FAILED, error="Cancelled.", token=F("token") + 1
        )
        _close(run)
        run.status, run.error = Run.Status.CANCELLED, f"Cancelled by {name}: {reason}"
        run.save()
    return run


def sweep():
    """Work every run that nobody works on, and close those that have ended; returns how many were looked at."""
    now, found = timezone.now(), 0
    for run in Run.objects.filter(status=Run.Status.RUNNING).order_by("pk"):
        chunks = run.chunks.exclude(status__in=[Chunk.Status.DONE, Chunk.Status.FAILED])
        busy = chunks.filter(status=Chunk.Status.CLAIMED, leased_until__gte=now).exists()
        if chunks.filter(_open(now)).exists() or not busy:
            work(run.pk)
            found += 1
    return found


def abandoned(layers=None):
    """The running recalculations of these layers (default: of all) in which nobody holds a chunk."""
    running = Run.objects.filter(status=Run.Status.RUNNING).order_by("pk")
    if layers is not None:
        running = running.filter(layers__layer__in=layers).distinct()
    return [run for run in running if not _held(run)]


def _held(run):
    """Somebody works on the run: a chunk's lease has not ended, or its row is locked, or the run's: that is measured."""
    claimed = run.chunks.filter(status=Chunk.Status.CLAIMED)
    if claimed.filter(leased_until__gte=timezone.now()).exists():
        return True
    with transaction.atomic():
        free = len(claimed.select_for_update(skip_locked=True))
        measured = not Run.objects.select_for_update(skip_locked=True).filter(pk=run.pk)
        return measured or free < claimed.count()


# -- telling


def latest(layer):
    """The last run of a layer that has ended, or None: its `as_of` is the clock of what is shown."""
    found = latest_of(layer)
    return found and found.run


def latest_of(layer):
    """The same as its RunLayer, with the run."""
    ended = RunLayer.objects.filter(layer=layer, running=False).exclude(run__status=Run.Status.CANCELLED)
    return ended.select_related("run").order_by("-run_id").first()


def progress(run):
    """How far a run is: {"status", "done", "failed", "of" (chunks), "accounts", "accounts_done", "share"}."""
    run = Run.objects.get(pk=run.pk)
    chunks = list(run.chunks.values_list("status", "counts"))
    statuses = Counter(status for status, _ in chunks)
    accounts_done = sum(max((_accounts(one) for one in counts.values()), default=0) for _, counts in chunks)
    done, of = statuses["done"] + statuses["failed"], sum(statuses.values())
    return {
        "status": run.status,
        "done": statuses["done"],
        "failed": statuses["failed"],
        "of": of,
        "accounts": run.accounts,
        "accounts_done": accounts_done,
        "share": 1.0 if run.status != Run.Status.RUNNING else (done / of if of else 0.0),
    }


def _accounts(counts):
    return counts.get("accounts", counts["scanned"])  # runs of before there were segmentations of products


def report(run):
    """What a run did, as `recompute --json` prints it."""
    run = Run.objects.get(pk=run.pk)
    end = run.finished_at or timezone.now()
    shown = ["scanned", "changed", "moved", "moves", "differs", "needs_data", "provisional", "quarantined"]
    shown += ["observed_median", "fallback_share", "thin", "segments", "reasons"]
    layers = {}
    for one in run.layers.select_related("layer", "definition").order_by("layer__position", "layer__key"):
        layers[one.layer.key] = {
            "definition": one.definition.version,
            "scope": one.layer.scope,
            **{name: one.counts.get(name) for name in shown},
            "left_out": one.left_out,
            "warnings": one.warnings,
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
