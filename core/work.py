"""Work that processes share: what there is to do is a row, a part, and any process claims it and works it.

A claim has a lease and raises the part's token; the lease has to reach until the part is locked. Whoever works it holds
its row locked in the one transaction that also stores what came out. Where the work is not for one transaction (a mail, a
file), it holds a lock of its session instead. PostgreSQL frees either when the process is lost, and the next one takes
the part over. Whoever comes late has an old token, and is fenced. A part that fails is put off or given up, and its error
stays on it; no other part waits for it. A message only wakes a worker, and a sweep finds what no message told of.
"""

import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, connection, models, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.expressions import RawSQL
from django.utils import timezone

from core import workers

log = logging.getLogger(__name__)

WAKE = 8  # messages sent at most: more workers than that are found by the sweep
PAUSES = (0.05, 1)  # seconds: how long one waits for what others hold, at first and at most
# How long after each attempt the next one is made where something outside has failed.
LATER = tuple(timedelta(minutes=minutes) for minutes in (2, 10, 60, 6 * 60, 24 * 60))
# The server went away, two transactions met, a row was deleted before the commit.
PASSING = (OperationalError, InterfaceError, IntegrityError)


# -- rows


class Job(models.Model):
    """Something that is done in parts, and has ended when all of them have."""

    class Status(models.TextChoices):
        RUNNING = "running", "Running"
        FINISHED = "finished", "Finished"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    status = models.CharField(max_length=10, choices=Status, default=Status.RUNNING)
    measured = models.BooleanField(default=True)  # what its parts need of the whole is known
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    def end(self, errors=()):
        """Say that it has ended, and with which errors of its parts."""
        self.status = self.Status.FAILED if errors else self.Status.FINISHED
        self.error = "; ".join(sorted({*errors}))
        self.finished_at = timezone.now()


class PartQuerySet(models.QuerySet):
    def open(self):
        return self.filter(status__in=["pending", "claimed"])

    def free(self, now):
        """Parts that are due and nobody's, and parts whose process let its lease end."""
        due = Q(due=None) | Q(due__lte=now)
        return self.filter(due & Q(status="pending") | Q(status="claimed", leased_until__lt=now))


class Part(models.Model):
    """Something to do, for one process at a time."""

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        CLAIMED = "claimed", "Claimed"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    # Defaults of the database as well: triggers make parts too.
    lane = models.CharField(max_length=400, blank=True, default="", db_default="")  # whom or what it goes to
    due = models.DateTimeField(null=True)  # not before this moment; null: at once
    status = models.CharField(max_length=10, choices=Status, default="pending", db_default="pending")
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    token = models.BigIntegerField(default=0, db_default=0)  # raised by each claim
    leased_until = models.DateTimeField(null=True)
    worker = models.CharField(max_length=200, blank=True, default="", db_default="")
    error = models.TextField(blank=True, default="", db_default="")
    objects = PartQuerySet.as_manager()

    class Meta:
        abstract = True


class RangePart(Part):
    """A range of ids to do, and what came of it."""

    first = models.BigIntegerField()
    last = models.BigIntegerField()
    result = models.JSONField(default=dict)

    class Meta:
        abstract = True


# -- parts


class Fenced(Exception):
    """The part is another process's by now, or nobody's."""


def lease():
    """How long a claimed part belongs to its process before it is locked."""
    return timedelta(seconds=settings.LEASE_SECONDS)


def error_text(error):
    return f"{type(error).__name__}: {error}".split("\n\n")[0][:1000]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of work: what its parts are, how one is worked, and what happens where that fails.

    do(parts, *given): works parts this process holds, all or none. apart: outside of any transaction, so that it may happen
    twice. most: parts in one go, of one lane where there are lanes. pauses: how long after each attempt the next is made;
    without, only errors that pass are tried again. kept: what is done stays as a row. first: what lanes are put in order by,
    before when they are due.
    """

    parts: type[Part]
    do: Callable
    apart: bool = False
    lanes: bool = False
    most: int = 1
    attempts: int = 5
    pauses: tuple[timedelta, ...] = ()
    kept: bool = True
    first: tuple[str, ...] = ()

    def turns(self, *given, at=None, **which):
        """Work what is free and due, each lane once before any comes again; returns how many parts were done."""
        done, served = 0, [""]
        while served:
            served = []
            while parts := self.claim(at=at, but=served, **which):
                done += self.attempt(parts, *given, at=at)
                served += [parts[0].lane] if self.lanes else []
        return done

    def claim(self, *, at=None, but=(), **which):
        """The next parts that are free and due, for this process alone; an empty list where there are none.

        but: lanes that are left out. which: a filter.
        """
        now, claimed, parts = at or timezone.now(), [], [None]
        while parts and not claimed:
            with transaction.atomic():
                parts = self._free(now, but, which)
                claimed = self._take([part for part in parts if self._is_to_do(part, now)], now)
        return claimed

    def _is_to_do(self, part, now):
        """False where a process is at it still, and where so many were lost at it that it is given up."""
        if self.apart and part.status == part.Status.CLAIMED and not _unlocked(part):
            self._rows([part]).update(leased_until=now + lease())
            return False
        if part.attempts >= self.attempts:
            lost = part.error or f"Given up: {self.attempts} workers were lost at it."
            self._give_up(self._rows([part]), part, lost)
            return False
        return True

    def _free(self, now, but, which):
        """The rows of the next ones, locked. At what a process was lost with before, each is worked by itself."""
        free = self.parts.objects.filter(**which).free(now)
        if self.lanes:
            busy = self.parts.objects.filter(lane=OuterRef("lane"), status="claimed", leased_until__gte=now)
            free = free.exclude(lane__in=but).filter(~Exists(busy))
            free = free.order_by(*self.first, F("due").asc(nulls_first=True), "pk")
        else:
            free = free.order_by("pk")
        free = free.select_for_update(skip_locked=True, of=["self"], no_key=True)
        parts = list(free[: 1 if self.lanes else self.most])
        if self.lanes and parts:
            parts = list(free.filter(lane=parts[0].lane)[: self.most])
        if not self.apart:
            parts = [part for part in parts if not part.attempts] or parts[:1]
        return parts

    def _take(self, parts, now):
        until, worker = now + lease(), f"{socket.gethostname()}:{os.getpid()}"[:200]
        self._rows(parts).update(
            status="claimed", token=F("token") + 1, attempts=F("attempts") + 1, leased_until=until, worker=worker
        )  # fmt: skip
        for part in parts:
            part.status, part.leased_until, part.worker = part.Status.CLAIMED, until, worker
            part.token, part.attempts = part.token + 1, part.attempts + 1
        return parts

    def attempt(self, parts, *given, at=None):
        """Work claimed parts; what goes wrong is kept on them. Returns how many are done."""
        error = self._tried(parts, partial(self._work, parts, given))
        if error is None:
            return len(parts)
        if len(parts) > 1 and not self.apart and not isinstance(error, (Fenced, *PASSING)):
            middle = len(parts) // 2
            return sum(self.attempt(half, *given, at=at) for half in (parts[:middle], parts[middle:]))
        for part in parts:
            self._put_off(part, error, at or timezone.now())
        return 0

    def _tried(self, parts, deed):
        """Do the deed; returns the error that came of it, or None."""
        try:
            deed()
        except KeyboardInterrupt:
            self.leave(parts, "Interrupted.")
            raise
        except Fenced as error:
            log.info("%s %s was taken over", self.parts._meta.verbose_name, parts[0].pk)
            return error
        except Exception as error:  # whatever a value, a mail server or PostgreSQL says
            log.warning("%s %s failed", self.parts._meta.verbose_name, parts[0].pk, exc_info=True)
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            return error

    def leave(self, parts, error=""):
        """Give claimed parts back."""
        for part in parts:
            self._mine(part).update(status="pending", error=error)

    def _work(self, parts, given):
        if self.apart:
            with _session_lock(parts):
                with transaction.atomic():
                    self._hold(parts)  # whoever comes late begins nothing
                self.do(parts, *given)
                with transaction.atomic():
                    self._hold(parts)
                    self._settle(parts)
        else:
            with transaction.atomic():
                self._hold(parts)
                self.do(parts, *given)
                self._settle(parts)

    def _hold(self, parts):
        """Lock the rows until the transaction ends, if they are still this process's."""
        rows = self._rows(parts).filter(status="claimed").select_for_update(no_key=True).order_by("pk")
        if dict(rows.values_list("pk", "token")) != {part.pk: part.token for part in parts}:
            raise Fenced

    def _settle(self, parts):
        if not self.kept:
            self._rows(parts).delete()
            return
        for part in parts:
            part.status, part.leased_until, part.error = part.Status.DONE, None, ""
            more = ["result"] if isinstance(part, RangePart) else []
            part.save(update_fields=["status", "leased_until", "error", *more])

    def _put_off(self, part, error, now):
        """Say what went wrong, and when it is tried again, if at all; it may be somebody else's by now."""
        if isinstance(error, Fenced):
            return
        if part.attempts < self.attempts and (self.pauses or isinstance(error, PASSING)):
            pause = self.pauses[min(part.attempts, len(self.pauses)) - 1] if self.pauses else timedelta()
            self._mine(part).update(status="pending", error=error_text(error), due=now + pause)
        else:
            self._give_up(self._mine(part), part, error_text(error))

    def _give_up(self, rows, part, error):
        log.error("%s %s is given up: %s", self.parts._meta.verbose_name, part.pk, error)
        return rows.update(status="failed", error=error)

    def _mine(self, part):
        return self.parts.objects.filter(pk=part.pk, token=part.token, status="claimed")

    def _rows(self, parts):
        ids = RawSQL(
            "select unnest(%s::bigint[])", [[part.pk for part in parts]]
        )  # one parameter, not a thousand
        return self.parts.objects.filter(pk__in=ids)


_NAMED = "hashtextextended(%s || unnest(%s::bigint[]), 0)"


def _locks(function, parts):
    with connection.cursor() as cursor:
        named = [f"{parts[0]._meta.db_table} ", [part.pk for part in parts]]
        cursor.execute(f"select {function}({_NAMED})", named)
        return [answer for (answer,) in cursor.fetchall()]


def _unlocked(part):
    """True where no session works it. Locked until the transaction ends."""
    return all(_locks("pg_try_advisory_xact_lock", [part]))


@contextmanager
def _session_lock(parts):
    """The parts belong to this session until it is done, or dies."""
    try:
        if not all(_locks("pg_try_advisory_lock", parts)):
            raise Fenced
        yield
    finally:
        if connection.is_usable():
            _locks("pg_advisory_unlock", parts)


# -- jobs


@dataclass(frozen=True, kw_only=True)
class JobKind(Kind):
    """A kind of work whose parts make up a job; the foreign key of a part is `job`.

    do(parts, opened): `opened()` gives what `open(id)` made of the job, once a process. finish(job, errors): what came of
    it, while its row is locked. measure(job): what the parts need of the whole; nobody works a part before. whole: a part
    that is given up ends the job. running: the statuses of a job that goes on. task: the name of the task that works one.
    """

    task: str
    finish: Callable
    open: Callable = lambda job_id: None
    measure: Callable | None = None
    whole: bool = False
    running: tuple[str, ...] = (Job.Status.RUNNING,)

    @property
    def jobs(self):
        return self.parts._meta.get_field("job").related_model.objects

    def wake(self, job_id, times=1):
        """Tell workers of a job; whoever started it may work it too."""
        workers.wake(self.task, job_id, times=min(times, WAKE))

    def work(self, job_id, *, wait=False, most=None, on_part=None):
        """Work parts of a job until none is free, and close it when all have ended; returns the job.

        wait: return only when it has ended; parts that others hold are waited for, and taken over if those are lost. most:
        parts to work at most. on_part(job): called after each. May be called any number of times, by any number of processes.
        """
        opened, pause, worked = cache(partial(self.open, job_id)), PAUSES[0], 0
        while not self.close(job_id) and (most is None or worked < most):
            job = self.jobs.get(pk=job_id)
            if parts := self.claim(**self._next(job)):
                self._attempt(job, parts, opened)
                pause, worked = PAUSES[0], worked + 1
                if on_part:
                    on_part(job)
            elif wait:
                time.sleep(pause)
                pause = min(pause * 2, PAUSES[1])
            else:
                self.close(job_id)  # the last one may have been given up just now
                break
        return self.jobs.get(pk=job_id)

    def _next(self, job):
        """Which parts may be worked now: before it is measured the first alone, by whoever measures."""
        which = {"job": job, "job__status__in": self.running}
        if self.measure and not job.measured:
            which["pk"] = job.parts.order_by("pk").values_list("pk", flat=True).first()
        return which

    def _attempt(self, job, parts, opened):
        error = None
        if self.measure and not job.measured:
            error = self._tried(parts, partial(self._measure, job, parts))
        if error is None:
            self.attempt(parts, opened)
        else:
            self._put_off(parts[0], error, timezone.now())

    @transaction.atomic
    def _measure(self, job, parts):
        self._hold(parts)
        self.measure(job)
        self.jobs.filter(pk=job.pk).update(measured=True)
        self._rows(parts).update(leased_until=timezone.now() + lease())
        others = job.parts.count() - 1  # those woken at the start found nothing to do yet
        transaction.on_commit(partial(self.wake, job.pk, others))

    def _give_up(self, rows, part, error):
        """Without a part that is needed for all the others they are given up as well."""
        if super()._give_up(rows, part, error) and (self.whole or (self.measure and not part.job.measured)):
            self.fail(part.job, error, at_work=False)

    @transaction.atomic
    def fail(self, job, error, *, at_work=True):
        """Give up its open parts, except that without `at_work` whoever is at one may end it; else that is waited for."""
        parts = job.parts.open().order_by("pk").select_for_update(skip_locked=not at_work, no_key=True)
        self._rows(list(parts.only("pk"))).update(status="failed", error=error, token=F("token") + 1)

    def close(self, job_id):
        """Close the job if no part of it is open; True when it is over. Exactly one caller closes it."""
        if self.jobs.values_list("status", flat=True).get(pk=job_id) not in self.running:
            return True
        if self.parts.objects.filter(job=job_id).open().exists():
            return False
        with transaction.atomic():
            job = self.jobs.select_for_update(no_key=True).get(pk=job_id)
            if job.status in self.running:
                failed = job.parts.filter(status="failed").order_by("pk")
                self.finish(job, list(failed.values_list("error", flat=True)))
        return True

    def sweep(self):
        """Work every job that goes on, and close what has ended; returns how many those were."""
        running = list(self._running().values_list("pk", flat=True))
        for job_id in running:
            self.work(job_id)
        return len(running)

    def _running(self):
        return self.jobs.filter(status__in=self.running).order_by("pk")

    def abandoned(self, **which):
        """The jobs that go on in which nobody is at a part."""
        return [job for job in self._running().filter(**which).distinct() if not self.busy(job)]

    def busy(self, job):
        """Somebody is at a part: its lease has not ended, or its row is locked."""
        parts = job.parts.open()
        if parts.filter(status="claimed", leased_until__gte=timezone.now()).exists():
            return True
        with transaction.atomic():
            return len(parts.select_for_update(skip_locked=True, no_key=True)) < parts.count()

    def progress(self, job):
        """How far it is: {"status", "done", "failed", "of" (parts)}."""
        statuses = list(job.parts.values_list("status", flat=True))
        return {
            "status": self.jobs.values_list("status", flat=True).get(pk=job.pk),
            "done": statuses.count("done"),
            "failed": statuses.count("failed"),
            "of": len(statuses),
        }


# -- ranges

QUARANTINE_LIMIT = 100  # more bad rows than this in one range,
ALL_BAD = 20  # or this many and no good one: it is not about the rows


def divided(work, first, last, ids, *, limited=True):
    """The results of `work(first, last)` over a range, in as many pieces as it takes, and the rows that cannot be worked.

    Bad rows are found by halving: [(id, error)]. ids(first, last): the ids there are. limited: many bad rows raise the error.
    """
    good, bad = [], []

    def add(first, last):
        error = _error_of(work, first, last, good)
        rows = ids(first, last) if error else []
        if len(rows) > 1:
            middle = rows[len(rows) // 2]
            add(first, middle - 1)
            add(middle, last)
        elif rows:
            if limited and len(bad) >= (QUARANTINE_LIMIT if good else ALL_BAD):
                raise error
            bad.append((rows[0], error))

    add(first, last)
    return good, bad


def _error_of(work, first, last, good):
    """The error that keeps a range from being worked, or None; an error that is not about its rows is raised."""
    try:
        with transaction.atomic():
            good.append(work(first, last))
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # whatever a value of somebody's makes PostgreSQL or Polars say
        return error
