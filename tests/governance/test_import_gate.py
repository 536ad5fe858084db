"""Where a policy asks for it, an import is carried out once somebody else has approved its preview, and no other way."""

import pytest
import yaml
from django.test import Client
from django.utils import timezone
from governing import approved, policy, someone

from accounts import imports
from accounts.models import Account, ImportBatch
from core.refusals import Refused
from governance.changes import import_gate
from governance.models import ApprovalRequest
from governance.signoff import approvals, carrying_out, due

pytestmark = pytest.mark.django_db
GOOD = "id,name,arr\nA-1,One,1000\nA-2,Two,2000.50\n"
RECIPE = {
    "as_of": "2026-06-30",
    "currency": "USD",
    "sources": {"crm": {"file": "crm.csv"}},
    "accounts": "SELECT id AS external_id, name, arr FROM crm",
}


@pytest.fixture
def ops():
    return someone("ops", "CS Ops", is_staff=True)


@pytest.fixture
def batch(ops):
    """An uploaded import whose preview is there."""
    files = {"crm.csv": GOOD.encode()}
    return imports.preview(imports.create(yaml.safe_dump(RECIPE), files, by=ops, name="June"))


def client_of(user):
    client = Client()
    client.force_login(user)
    return client


def test_in_standard_imports_go_as_they_are(batch, ops):
    imports.ask_commit(batch, by=ops)
    imports.work(batch.pk)
    assert (ImportBatch.objects.get().status, Account.objects.count()) == ("committed", 2)
    assert not ApprovalRequest.objects.exists()


def test_where_a_policy_asks_for_it_somebody_else_approves_first(batch, ops):
    policy("import", "RevOps", only=True)
    web, page = client_of(ops), f"/admin/accounts/importbatch/{batch.pk}/change/"
    shown = web.get(page).content.decode()
    assert ("Ask for approval…" in shown, "commit/" in shown) == (True, False)
    for go in (lambda: imports.ask_commit(batch, by=ops), lambda: imports.commit(batch, by=ops)):
        with pytest.raises(Refused, match="Imports need an approval here"):
            go()
    web.post(f"/admin/accounts/importbatch/{batch.pk}/commit/")
    assert (ImportBatch.objects.get().status, Account.objects.count()) == ("previewed", 0)
    assert web.get(f"/admin/imports/{batch.pk}/ask/").status_code == 200
    web.post(f"/admin/imports/{batch.pk}/ask/", {"why": "The new quarter"})
    request = ApprovalRequest.objects.get()
    assert request.changes == ["Accounts: 2 rows, 2 new, 0 changed, 0 unchanged."]
    assert (request.accounts, request.needed) == (2, {"RevOps": 1})
    assert "This import waits for approval" in web.get(page).content.decode()
    rob = someone("rob", "RevOps", is_staff=True)
    assert approved(request, rob).status == "approved"
    batch.refresh_from_db()
    assert (batch.status, batch.committed_by_label) == ("committing", "ops")
    shown = client_of(rob).get(f"/admin/governance/approvalrequest/{request.pk}/change/").content.decode()
    assert "It is being carried out in the background." in shown
    with pytest.raises(Refused, match="is being carried out already"):
        approvals.withdraw(request, by=ops, reason="Another time")
    imports.work(batch.pk)
    request.refresh_from_db()
    assert (Account.objects.count(), request.status) == (2, "applied")


def test_whoever_uploaded_it_does_not_decide_though_somebody_else_asks(batch, ops):
    policy("import", "RevOps", only=True)
    rob, rita = someone("rob", "RevOps"), someone("rita", "RevOps")
    files = {"crm.csv": GOOD.encode()}
    mine = imports.preview(imports.create(yaml.safe_dump(RECIPE), files, by=rob))
    request = import_gate.ask(mine, by=ops, why="The new quarter")
    with pytest.raises(Refused, match="You wrote or edited what is asked for"):
        approved(request, rob)
    assert approved(request, rita).status == "approved"


def test_what_the_worker_could_not_do_is_said_and_tried_again(batch, ops):
    policy("import", "RevOps", only=True)
    request = approved(import_gate.ask(batch, by=ops, why="The new quarter"), someone("rob", "RevOps"))
    batch.parts.open().update(attempts=imports.batches.KIND.attempts)  # it has cost three workers their life
    imports.work(batch.pk)
    request.refresh_from_db()
    assert (request.status, request.failure) == ("failed", ImportBatch.objects.get().error)
    assert "Given up: 3 workers were lost at it." in request.failure
    assert carrying_out.apply(request, by=ops).status == "approved"
    imports.work(batch.pk)
    request.refresh_from_db()
    assert (Account.objects.count(), request.status, request.failure) == (2, "applied", "")


def test_what_failed_is_not_imported_without_a_preview(batch, ops):
    batch.uploads.update(content=b"")
    imports.preview(batch)
    batch.uploads.update(content=GOOD.encode())
    with pytest.raises(Refused, match="cannot be done to an import that is"):
        imports.ask_commit(batch, by=ops, skip_rejected=True)
    assert ImportBatch.objects.get().status == "failed"


def test_where_the_end_of_an_import_was_not_told_the_clock_finds_it(batch, ops, settings):
    policy("import", "RevOps", only=True)
    request = approved(import_gate.ask(batch, by=ops, why="The new quarter"), someone("rob", "RevOps"))
    assert due.apply_due(timezone.now()) == 0  # the worker is at it
    settings.GATES = {name: path for name, path in settings.GATES.items() if name != "imported"}
    imports.work(batch.pk)
    request.refresh_from_db()
    assert request.status == "approved"
    assert due.apply_due(timezone.now()) == 1
    request.refresh_from_db()
    assert request.status == "applied"


def test_a_request_carries_out_only_the_files_it_was_made_for(batch, ops):
    policy("import", "RevOps", only=True)
    request = import_gate.ask(batch, by=ops, why="The new quarter")
    batch.uploads.update(content=b"id,name,arr\nA-1,One,999999\n")
    request = approved(request, someone("rob", "RevOps"))
    assert (request.status, "not those that were asked about" in request.failure) == ("failed", True)
    assert ImportBatch.objects.get().status == "previewed"


def test_who_may_not_import_may_not_ask(batch):
    policy("import", "RevOps", only=True)
    with pytest.raises(Refused, match="not allowed to import"):
        import_gate.ask(batch, by=someone("cleo", "CSM"), why="Please")
