"""The accounts a request names are rows of the database's own making: what its content says, and who it leaves out by that."""

import json

import pytest
from django.db import DatabaseError, connection, transaction
from governing import approved, fresh, request_of, someone
from overriding import gated_portfolio
from segmenting import account, answered, change, granted

from accounts.models import Account, Subscription
from core.refusals import Refused
from governance.changes import activations, overrides
from governance.models import ApprovalRequest, RequestAccount
from governance.signoff import approvals
from governance.signoff.impact import of_accounts, of_everybody
from segmentation.authoring import versions
from segmentation.evaluation import causes
from segmentation.models import Cause
from segmentation.previews import simulation


@pytest.fixture
def here(really_begun, settings):
    settings.GATES = {gate: path for gate, path in settings.GATES.items() if gate != "rules"}
    return really_begun(gated_portfolio)


def with_cause(statement, *parameters):
    with transaction.atomic(), connection.cursor() as cursor:
        causes.take(Cause.Kind.DECISION, reason="Because")
        cursor.execute(statement, parameters)


def refused(statement, match, *parameters):
    with pytest.raises(DatabaseError, match=match):
        with_cause(statement, *parameters)


def test_each_revision_has_the_accounts_of_its_content(here):
    request = here.ask(here.acme, here.beta)
    assert request.account_ids() == [here.acme.pk, here.beta.pk]
    overrides.change(
        request, by=here.olga, seen=approvals.token(request), segment=here.segment("tech"),
        reason_code="strategic", text="They will be larger",
    )  # fmt: skip
    assert fresh(request).account_ids() == [here.acme.pk, here.beta.pk]
    rows = RequestAccount.objects.filter(request=request).order_by("revision", "account")
    assert list(rows.values_list("revision", "account")) == [
        (1, here.acme.pk),
        (1, here.beta.pk),
        (2, here.acme.pk),
        (2, here.beta.pk),
    ]
    naming = ApprovalRequest.objects.naming
    assert (list(naming([here.beta.pk])), list(naming([]))) == ([request], [])


def test_nobody_adds_changes_or_takes_away_one(here):
    request, gamma = here.ask(here.acme), account("gamma")
    add = "insert into governance_requestaccount (request_id, revision, account_id) values (%s, %s, %s)"
    refused(add, "accounts its content names", request.pk, 1, gamma.pk)
    refused(add, "accounts its content names", request.pk, 2, here.acme.pk)
    refused(add, "account_named_once", request.pk, 1, here.acme.pk)
    refused("update governance_requestaccount set account_id = %s", "append-only", gamma.pk)
    refused("delete from governance_requestaccount", "append-only")


def test_whoever_comes_to_look_after_a_named_account_is_left_out(here):
    request = here.ask(here.beta)
    assert request.owners == []
    vera = here.vera
    here.csm.user = vera
    here.csm.save()
    change(here.beta, csm=here.csm)
    with pytest.raises(Refused, match="look after an account"):
        approved(request, vera)
    assert approved(request, someone("wim", "Approver")).status == "applied"
    assert fresh(request).owners == [vera.pk]


def test_what_a_request_does_not_name_is_not_started_by_it(here, noted):
    """Its content speaks of the override, but not of the account: nobody was left out for looking after it."""
    one = here.ask(here.acme).overrides.get()
    said = {
        "segment": one.segment_id,
        "expires_on": one.expires_on.isoformat(),
        "overrides": [{"id": one.pk}],
    }
    start = "update governance_override set status = 'active', started_on = current_date, request_id = %s"
    silent = approved(request_of(here.olga, key="silent", content=said), here.vera)
    assert silent.status == "applied"
    refused(start, "has not been approved", silent.pk)


def test_the_impact_is_counted_by_the_accounts_named(here):
    account("yen", arr=1_000, currency="JPY")
    change(here.acme, arr=1)
    counted = of_accounts(
        [here.acme.pk, here.beta.pk],
        receivers={here.beta.pk: here.csm.pk, here.acme.pk: here.csm.pk},
        segments=[here.segment("high").pk],
    )
    assert (counted.accounts, counted.arr, counted.csm_changes, counted.top_tier) == (2, 5_001, 1, True)
    assert (counted.owners, counted.foreign, counted.of_late) == ((here.carl.pk,), False, 205_000)


def test_the_impact_on_everybody_counts_contracts_too(here):
    """How a segmentation applies is about all its accounts, and their ARR is what the catalogue says it is."""
    change(here.beta, arr=None)
    running = {
        "arr": 7_000,
        "start_date": "2024-01-01",
        "end_date": here.today.replace(year=here.today.year + 1),
    }
    Subscription.objects.create(account=here.beta, subscription_id="b", **running)
    account("yen", arr=1_000, currency="JPY")
    counted = of_everybody(Account.objects.all())
    assert (counted.accounts, counted.arr, counted.foreign, counted.owners) == (3, 207_000, True, ())


# -- the impact preview a request for rules points at


@pytest.fixture
def draft(here, settings):
    settings.GATES = {"rules": "governance.changes.activations.gate"}
    here.ops = granted(here.olga, "change_definition", "preview_rules", "activate_definition")
    draft = versions.create_draft(here.layer, by=here.ops)
    return answered(
        versions.save_draft(draft, {"rules": [{"segment": "tech"}]}, by=here.ops, seen=draft.hash)
    )


def test_rules_point_at_their_frozen_preview(here, draft):
    preview = simulation.work(simulation.start(draft, by=here.ops).pk)
    request = activations.ask(draft, by=here.ops, why="Simpler")
    assert (request.simulation, request.simulation.frozen_at is not None) == (preview, True)
    other = simulation.work(simulation.start(draft, by=here.ops).pk)
    point = "update governance_approvalrequest set simulation_id = %s, revision = revision + 1, status = 'pending'"
    refused(point, "frozen impact preview of its rules", other.pk)  # not frozen
    refused(
        f"{point}, content = %s::jsonb, hash = demarc_fingerprint(%s::jsonb)",
        "frozen impact preview of its rules",
        preview.pk,
        *[json.dumps(request.content | {"hash": "of others"})] * 2,
    )
