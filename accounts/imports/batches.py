"""An import's life: created, previewed, committed or given up. A preview is the commit, rolled back."""

import contextlib
import io
import json
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath

import structlog
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from accounts import gates, records
from accounts.models import ImportBatch, ImportFile, ImportPart, RejectedRow, SourceSystem
from core.history import acting
from core.organisation import organisation
from core.refusals import Refused, check
from core.work import JobKind

from . import confinement, facts, structure
from . import recipe as recipes
from .errors import ImportFault
from .places import PLACE
from .structure import LONGEST_VALUE, shortened

log = structlog.get_logger(__name__)
Status = ImportBatch.Status

LOCK = 0x1147047  # advisory lock while facts are written
ACCOUNT_REJECTED = "its account is rejected"
LONGEST_RECORD = 1_000_000  # characters of a line that are kept to be mended
UPSERTS = {
    "accounts": records.upsert_accounts,
    "subscriptions": records.upsert_subscriptions,
    "usage": records.upsert_usage,
    "signals": records.upsert_signals,
}
WORKING = {Status.WAITING, Status.CHECKING, Status.COMMITTING}
GIVE_UP = {Status.WAITING, Status.PREVIEWED, Status.FAILED}
CHECK = {Status.WAITING, Status.CHECKING, Status.PREVIEWED, Status.FAILED}
COMMIT = {*CHECK, Status.COMMITTING}


def create(recipe, files, *, by=None, label="", name="", as_of=None, like=None):
    """A waiting import of this recipe (YAML text); ImportFault where that is too long to be one.

    files: {name as in the recipe: bytes (kept) or Path (read when needed)}. like: an import whose other files it takes over.
    """
    recipes.check_size(recipe)
    batch = ImportBatch(
        name=(name or "Import")[:400],
        recipe=recipe.replace("\0", ""),
        as_of=as_of,
        created_by=by.pk if by else None,
        created_by_label=(label or (by.get_username() if by else "system"))[:200],
    )
    with transaction.atomic():
        batch.save()
        for file, content in files.items():
            if not isinstance(content, Path):
                ImportFile.objects.create(batch=batch, name=PurePath(file).name, content=content)
        if like:
            _copy_files(like, batch)
        if batch.uploads.exists():  # else the command that makes it works it
            ImportPart.objects.create(job=batch)
    batch.paths = {file: content for file, content in files.items() if isinstance(content, Path)}
    return batch


def _copy_files(batch, to):
    """The files of an import for another one, within the database, but for those it has."""
    with connection.cursor() as cursor:
        cursor.execute(
            """insert into accounts_importfile (batch_id, name, content)
               select %(to)s, name, content from accounts_importfile where batch_id = %(batch)s
               on conflict do nothing""",
            {"to": to.pk, "batch": batch.pk},
        )


def preview(batch):
    """Check the files and count what a commit would do; `previewed`, or `failed` with the reason in `error`."""
    _work_here(batch, partial(_move, batch, CHECK, Status.CHECKING))
    return batch


def commit(batch, *, by=None, skip_rejected=False):
    """Import all, or nothing: Refused if the status does not allow it, or rows are rejected and not to be skipped."""

    def begin():
        gates.consult("import", batch, by=by)
        _move(batch, COMMIT, Status.COMMITTING, skip_rejected=skip_rejected, **_committer(by))

    _work_here(batch, begin)
    if batch.status == Status.PREVIEWED:
        count = sum(ledger["rejected"] for ledger in [*batch.files, *batch.queries])
        raise Refused("import_has_rejected_rows", rejected=count)
    return batch


def ask_commit(batch, *, by, skip_rejected=False, again=False):
    """Let a worker commit a previewed import; of two clicks one is refused. again: also one that failed when it was committed."""
    if not batch.uploads.exists():
        raise Refused("import_files_gone")
    check_rejected(batch, skip_rejected=skip_rejected)
    gates.consult("import", batch, by=by)
    with transaction.atomic():
        _move(
            batch,
            {Status.PREVIEWED, Status.FAILED} if again else {Status.PREVIEWED},
            Status.COMMITTING,
            skip_rejected=skip_rejected,
            error="",
            finished_at=None,
            **_committer(by),
        )
        ImportPart.objects.bulk_create([ImportPart(job=batch)], ignore_conflicts=True)
        transaction.on_commit(partial(KIND.wake, batch.pk))


def give_up(batch, *, by=None):
    """Forget the files of an import that is not wanted; the record of it stays."""
    with transaction.atomic():
        _move(batch, GIVE_UP, Status.GIVEN_UP, finished_at=timezone.now())
        batch.uploads.all().delete()


def check_rejected(batch, *, skip_rejected):
    """Refuse to go on with an import of which rows are rejected: all of them, too many, or without a word about them."""
    rejected = sum(ledger["rejected"] for ledger in [*batch.files, *batch.queries])
    if rejected and not skip_rejected:
        raise Refused("rejected_rows_unanswered", rejected=rejected)
    check(_too_many([*batch.files, *batch.queries]))


def _too_many(ledgers):
    """The refusal of an import of which not enough is left, of a file or of a kind of records; None where there is enough."""
    most = organisation().import_rejected
    for ledger in ledgers:
        rows, rejected = ledger.get("lines", ledger.get("rows")), ledger["rejected"]
        what = ledger.get("file") or ledger["query"]
        if rows and rows == rejected:
            return Refused("every_row_rejected", what=what, rows=rows)
        if rejected * 100 > rows * most:
            return Refused("too_many_rejected", what=what, rows=rows, rejected=rejected, most=most)
    return None


def wake(batch_id):
    """Tell a worker of an uploaded import."""
    KIND.wake(batch_id)


def work(batch_id):
    """Check or commit an uploaded import, as a worker does. Twice does no harm."""
    batch = KIND.work(batch_id)
    if batch.status not in WORKING:
        gates.consult("imported", batch)


def sweep():
    """Go on with every import whose worker died or whose message was lost; returns how many were looked at."""
    waiting = list(ImportBatch.objects.filter(status__in=WORKING).values_list("pk", flat=True))
    for batch_id in waiting:
        work(batch_id)
    return len(waiting)


def _work_here(batch, begin):
    """Work an import in this process, once begin() has moved its status; Refused where another process is at it."""
    ImportPart.objects.bulk_create([ImportPart(job=batch)], ignore_conflicts=True)
    parts = KIND.claim(job=batch)
    if not parts:
        raise Refused("import_busy")
    try:
        begin()
    except Refused:
        KIND.leave(parts)
        raise
    KIND.attempt(parts, lambda: batch)


def _do(parts, opened):
    """Check it, or commit it; given up where the files are gone."""
    batch = opened()
    if batch.status not in WORKING:
        return
    if not (batch.uploads.exists() or hasattr(batch, "paths")):
        return _fail(
            batch, "The command that ran this import ended before it was done. Nothing was imported."
        )
    committing = batch.status == Status.COMMITTING
    if not committing:
        _move(batch, CHECK, Status.CHECKING)
    _work_on(batch, commit=committing)


def _finish(batch, errors):
    """Say so where its workers were lost; else its status tells already what came of it."""
    if errors:
        _fail(batch, f"{errors[-1]} Nothing was imported.")


KIND = JobKind(
    parts=ImportPart,
    do=_do,
    open=lambda pk: ImportBatch.objects.get(pk=pk),
    finish=_finish,
    task="accounts.tasks.work",
    running=tuple(WORKING),
    apart=True,  # its progress is seen on the way, and a preview is a transaction that is rolled back
    attempts=3,
)


# -- states -------------------------------------------------------------------------------------------------


def _move(batch, allowed, status, **values):
    """To a status from one that allows it, decided by the database."""
    values |= {"status": status}
    if not ImportBatch.objects.filter(pk=batch.pk, status__in=allowed).update(**values):
        now = ImportBatch.objects.filter(pk=batch.pk).values_list("status", flat=True).first()
        label = Status(now).label if now else "gone"
        raise Refused("import_step_impossible", status=label)
    for name, value in values.items():
        setattr(batch, name, value)


def _save(batch, **values):
    ImportBatch.objects.filter(pk=batch.pk).update(**values)
    for name, value in values.items():
        setattr(batch, name, value)


def _fail(batch, reason):
    _save(batch, status=Status.FAILED, error=reason, progress={}, finished_at=timezone.now())


def _committer(by):
    return {"committed_by": by.pk, "committed_by_label": by.get_username()[:200]} if by else {}


class _Progress:
    """Tells how far an import is, through a connection of its own: seen while the big transaction is open."""

    def __init__(self, batch):
        self.batch, self.connection = batch, connection.copy()

    def __enter__(self):
        return self

    def __call__(self, step, done, of):
        log.info(step, batch=self.batch.pk, done=done, of=of)
        progress = json.dumps({"step": step, "done": done, "of": of})
        with self.connection.cursor() as cursor:
            cursor.execute(
                "update accounts_importbatch set progress = %s where id = %s", [progress, self.batch.pk]
            )

    def __exit__(self, *error):
        self.connection.close()


# -- the work -----------------------------------------------------------------------------------------------


@dataclass
class _Findings:
    """The findings of an import, as far as it has come: both ledgers, warnings, rejected rows."""

    files: list = field(default_factory=list)
    ledgers: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    rejected: list = field(default_factory=list)


def _work_on(batch, *, commit):
    """Everything from the files to the status; a fault of the files or the recipe is kept in `error`, not raised."""
    label = batch.committed_by_label if commit and batch.committed_by_label else batch.created_by_label
    person = batch.committed_by if commit and batch.committed_by else batch.created_by
    findings = _Findings()
    try:
        with _as(person, label, batch), _Progress(batch) as progress:
            _process(batch, commit, progress, findings)
    except ImportFault as fault:
        findings.ledgers = []
        with transaction.atomic():
            _conclude(batch, Status.FAILED, findings)
            _fail(batch, str(fault))
    except Exception as error:
        if connection.is_usable():
            _fail(batch, f"Unexpected: {error}".split("\n")[0][:1000] + " Nothing was imported.")
        raise
    if batch.status == Status.COMMITTED:
        _analyze(batch, findings)


def _analyze(batch, findings):
    """After the import, which has succeeded whatever becomes of this: autovacuum would do it later."""
    written = {ledger["query"]: ledger["created"] + ledger["updated"] for ledger in findings.ledgers}
    began = time.monotonic()
    try:
        tables = records.analyze(written)
    except DatabaseError as error:
        log.warning("Statistics not renewed", batch=batch.pk, error=str(error))
    else:
        log.info(
            "Statistics renewed", batch=batch.pk, tables=tables, seconds=round(time.monotonic() - began, 2)
        )


@contextlib.contextmanager
def _as(person, label, batch):
    user = get_user_model().objects.filter(pk=person).first() if person else None
    with acting(by=user, label=label, channel="import", reason=f"Import {batch.pk}: {batch.name}"):
        yield


def _process(batch, commit, progress, findings):
    _save(batch, error="")
    computed = confinement.compute(_computation(batch), progress)
    findings.files, findings.warnings, findings.rejected = (
        computed.files,
        computed.warnings,
        computed.rejected,
    )
    if computed.as_of and computed.as_of > timezone.localdate():
        raise ImportFault(
            f"as_of is {computed.as_of}, a day still to come: what is imported until then would count as older than this."
        )
    if computed.as_of:
        _save(batch, as_of=computed.as_of)
    if computed.fault:
        raise ImportFault(computed.fault)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_xact_lock(%s)", [LOCK])  # one import writes at a time
        gates.consult("facts_written")
        for number, result in enumerate(computed.results):
            progress(
                f"Saving {result.query}", computed.steps - len(computed.results) + number, computed.steps
            )
            _upsert(result, computed, batch, findings)
        refusal = _too_many([*findings.files, *findings.ledgers]) if commit and batch.skip_rejected else None
        stop = not commit or refusal or (findings.rejected and not batch.skip_rejected)
        if stop:
            transaction.set_rollback(True)
        else:
            _conclude(batch, Status.COMMITTED, findings)
            batch.uploads.all().delete()
    if stop:
        with transaction.atomic():
            _conclude(batch, Status.FAILED if refusal else Status.PREVIEWED, findings)
            if refusal:
                _fail(batch, str(refusal))


def _computation(batch):
    paths = getattr(batch, "paths", {})
    return confinement.Computation(
        recipe=batch.recipe,
        as_of=batch.as_of,
        zone=organisation().time_zone,
        paths={file: str(path.absolute()) for file, path in paths.items()},
        uploads=_uploads(batch),
        memory_mb=organisation().import_memory_mb,
        seconds=organisation().import_seconds,
    )


def _uploads(batch):
    """(name, bytes) one after the other, never all at once; of two of a name the first counts."""
    names = {}
    for pk, name in batch.uploads.order_by("pk").values_list("pk", "name"):
        names.setdefault(name, pk)
    for name, pk in names.items():
        yield name, batch.uploads.values_list("content", flat=True).get(pk=pk)


def _upsert(result, computed, batch, findings):
    """Write one query's rows; its ledger, its rows without an account and its warnings go to the findings."""
    name, frame = result.query, result.frame
    query = facts.QUERIES[name]
    types = {column: query.fields[column].type for column in frame.columns if column in query.fields}
    origin = records.Origin(computed.source_system, computed.as_of, computed.currency, batch.pk)
    SourceSystem.objects.get_or_create(key=origin.source, defaults={"name": origin.source})
    missing = _missing(findings, frame) if name == "accounts" else {}
    outcome = UPSERTS[name](frame.rename({facts.ROW: records.NR}), types, origin, **missing)
    refused = {nr: rest for nr, *rest in outcome.refused}
    refused_accounts = {each.external_id for each in findings.rejected if each.origin == "accounts"}
    gone = frame.filter(frame[facts.ROW].is_in([*refused, *outcome.orphans]))
    for row in gone.iter_rows(named=True):
        external_id = row["external_id"]
        orphan = ACCOUNT_REJECTED if external_id in refused_accounts else records.UNKNOWN_ACCOUNT
        column, value, reason = refused.get(row[facts.ROW]) or ("external_id", external_id, orphan)
        findings.rejected.append(
            facts.rejection(name, computed.sources, row, column, shortened(value), reason, row.get(PLACE))
        )
    findings.ledgers.append(
        {
            "query": name,
            "rows": len(frame) + result.rejected,
            "created": outcome.created,
            "updated": outcome.updated,
            "unchanged": outcome.unchanged,
            "rejected": result.rejected + len(gone),
            "queued": outcome.queued,
            "made": outcome.made,
        }
    )
    findings.warnings += [{"query": name, **warning} for warning in outcome.warnings]


def _missing(findings, frame):
    """Tell records of accounts that are rejected: their parts wait for them, rather than lose their parent."""
    lines = [each for each in findings.rejected if each.origin not in facts.QUERIES]
    named = {each.external_id for each in findings.rejected if each.external_id}
    unnamed = any(not each.external_id for each in lines)
    return {"rejected": sorted(named), "some_unnamed": unnamed} if "parent" in frame.columns else {}


def _conclude(batch, status, findings):
    """Both ledgers, the warnings and every rejected row, beside the status."""
    batch.rejected.all().delete()
    lines = _rejected_lines(batch, findings)
    RejectedRow.objects.bulk_create(
        (
            RejectedRow(
                batch=batch,
                origin=rejection.origin,
                line=rejection.line,
                external_id=rejection.external_id[:LONGEST_VALUE],
                column=rejection.column[:LONGEST_VALUE],
                value=rejection.value,
                reason=rejection.reason,
                hint=rejection.hint,
                source=rejection.source,
                file=lines.files.get(rejection.source, ""),
                subscription_id=rejection.subscription_id[:LONGEST_VALUE],
                record=lines.cells.get((rejection.source, rejection.line)),
            )
            for rejection in findings.rejected
        ),
        batch_size=2_000,
    )
    done = {"finished_at": timezone.now()} if status == Status.COMMITTED else {}
    ledgers = {"files": findings.files, "queries": findings.ledgers, "warnings": findings.warnings}
    _save(batch, status=status, progress={}, **ledgers, **done)


@dataclass
class _Lines:
    """The rejected lines as their files have them."""

    files: dict = field(default_factory=dict)  # {source: its file}
    cells: dict = field(default_factory=dict)  # {(source, line): cells}


def _rejected_lines(batch, findings):
    """Look up the rejected lines once more in the files that have some, and note the header for whoever mends them."""
    lines = _Lines({ledger["source"]: ledger["file"] for ledger in findings.files})
    wanted = {}
    for rejection in findings.rejected:
        if rejection.source in lines.files:
            wanted.setdefault(rejection.source, set()).add(rejection.line)
    sources = recipes.parse(batch.recipe, as_of=batch.as_of).sources if wanted else {}
    for ledger in findings.files:
        name = ledger["source"]
        if name in wanted and (stream := _opened(batch, sources[name])):
            with stream:
                ledger["header"], found = structure.records(sources[name], stream, wanted[name])
            lines.cells |= {(name, line): _storable(cells) for line, cells in found.items()}
    return lines


def _storable(cells):
    return cells if sum(map(len, cells)) <= LONGEST_RECORD else None


def _opened(batch, source):
    """The binary stream of a source's file, or None where it is gone by now."""
    if path := getattr(batch, "paths", {}).get(source.file):
        return path.open("rb") if path.exists() else None
    name = PurePath(source.file).name
    content = batch.uploads.filter(name=name).order_by("pk").values_list("content", flat=True).first()
    return None if content is None else io.BytesIO(content)
