"""Imports that need an approval: where a policy asks for one, an import is carried out by its request and no other way."""

from contextlib import contextmanager, suppress
from contextvars import ContextVar

from django.contrib.auth.models import User
from django.db import connection

from accounts import imports
from accounts.models import ImportBatch
from core import pages
from core.refusals import Refused, verb
from core.wording import plural
from governance.models import ApprovalRequest
from governance.signoff import approvals, permissions
from governance.signoff.carrying_out import apply
from governance.signoff.impact import Impact
from governance.signoff.requirements import requirement

KIND = "import"
_carried_out = ContextVar("carried_out", default=None)  # the import whose request is carried out just now
Status = ImportBatch.Status


def gate(batch, *, by=None):
    """Refuse to import what needs an approval, unless its request is carried out just now (settings.GATES["import"])."""
    if _carried_out.get() != batch.pk and needs_approval(batch):
        raise Refused("import_needs_approval")


def delivered(rows):
    """Refuse that so many rows change at once, where an import of as many needs an approval (settings.GATES["delivery"])."""
    if rows and requirement(KIND, Impact(accounts=rows))[0]:
        raise Refused("import_needs_approval")


def needs_approval(batch):
    return bool(requirement(KIND, _impact(batch))[0])


def on_import_page(batch, *, by):
    """The approval an import's page offers instead of importing; None where it needs none.

    {"url": where to ask, "" for who may not; "request": the open request, or None; "request_url"}.
    """
    if batch.status != Status.PREVIEWED or not needs_approval(batch):
        return None
    request = _open_request(batch)
    return {
        "url": "" if permissions.ask_import(by=by) else pages.address("import_ask", batch.pk),
        "request": request,
        "request_url": pages.address("approvalrequest", request.pk) if request else "",
    }


@verb
def ask(batch, *, by=None, why, skip_rejected=False):
    """Ask that a previewed import is carried out. Returns the ApprovalRequest."""
    permissions.check(permissions.ask_import(by=by))
    if batch.status != Status.PREVIEWED or not batch.uploads.exists():
        raise Refused("import_not_previewed", status=batch.get_status_display())
    rejected = sum(ledger["rejected"] for ledger in [*batch.files, *batch.queries])
    imports.check_rejected(batch, skip_rejected=skip_rejected)
    return approvals.submit(
        KIND,
        key=f"import:{batch.pk}",
        subject=str(batch),
        content={"import": batch.pk, "skip_rejected": bool(rejected and skip_rejected), "files": _fingerprint(batch)},
        changes=sentences(batch),
        why=why,
        by=by,
        impact=_impact(batch),
        authors=[batch.created_by],
    )  # fmt: skip


def sentences(batch):
    """Say what the import would do, by its preview, a sentence for each kind of records."""
    return [
        f"{ledger['query'].capitalize()}: {plural(ledger['rows'], 'row,rows')}, {ledger['created']:,} new, {ledger['updated']:,} changed, "
        f"{ledger['unchanged']:,} unchanged" + (f", {ledger['rejected']:,} rejected and left out." if ledger["rejected"] else ".")
        for ledger in batch.queries
    ]  # fmt: skip


# -- what approvals calls (governance.signoff.kinds)


def prepare(request, *, by):
    """Hand the import to a worker; True once that has ended, well or not."""
    batch = ImportBatch.objects.filter(pk=request.content["import"]).first()
    if batch is None or batch.status == Status.COMMITTED or request.status == ApprovalRequest.Status.APPROVED:
        return batch is None or batch.status != Status.COMMITTING
    if _fingerprint(batch) != request.content["files"]:
        raise Refused("import_files_changed")
    requester = User.objects.filter(pk=request.requester).first() if request.requester else None
    with _carrying_out(batch):
        again = request.status == ApprovalRequest.Status.FAILED
        imports.ask_commit(
            batch, by=requester or by, skip_rejected=request.content["skip_rejected"], again=again
        )
    return False


def carry_out(request, *, by, at):
    """The worker has carried it out, or says why not."""
    batch = ImportBatch.objects.filter(pk=request.content["import"]).first()
    if batch is None or batch.status != Status.COMMITTED:
        raise _why_not(batch)


def _why_not(batch):
    if batch is None:
        return Refused("import_gone")
    if batch.status == Status.PREVIEWED:
        return Refused("import_rows_rejected_since")
    return Refused("import_failed", error=batch.error, status=batch.get_status_display())


def ended(batch):
    """A worker is done with an import: its request is carried out, or failed (settings.GATES["imported"])."""
    request = _open_request(batch)
    if request and request.status == ApprovalRequest.Status.APPROVED:
        with suppress(Refused):  # somebody was faster
            apply(request)


def decided_against(request, *, verdict, by, reason):
    """Nothing was held for it: the preview stays, and can be asked for again. Work a worker has begun is not taken back."""
    batch = ImportBatch.objects.filter(pk=request.content["import"]).first()
    if batch and batch.status in (Status.COMMITTING, Status.COMMITTED):
        raise Refused("import_under_way")


def address(request):
    return pages.address("importbatch", request.content["import"])


@contextmanager
def _carrying_out(batch):
    token = _carried_out.set(batch.pk)
    try:
        yield
    finally:
        _carried_out.reset(token)


def impact(request):
    batch = ImportBatch.objects.filter(pk=request.content["import"]).first()
    return _impact(batch) if batch else Impact()


def _impact(batch):
    """The accounts the preview creates or changes, or as many as it has rows of another kind where those are more."""
    rows = [ledger["created"] + ledger["updated"] for ledger in batch.queries]
    return Impact(accounts=max(rows, default=0))


def _fingerprint(batch):
    """The SHA-256 of the recipe and the files, as the database works it out when they are imported."""
    with connection.cursor() as cursor:
        cursor.execute("select demarc_import_fingerprint(%s)", [batch.pk])
        return cursor.fetchone()[0]


def _open_request(batch):
    return ApprovalRequest.objects.open().filter(kind=KIND, key=f"import:{batch.pk}").first()
