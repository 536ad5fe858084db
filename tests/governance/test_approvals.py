"""Requests and decisions: who may say what about which revision, and what follows."""

import pytest
from governing import (
    approved,
    away,
    deactivated,
    failing,
    fresh,
    kinds_of_events,
    no_policies,
    nobody_approves,
    policy,
    request_of,
    someone,
    without_role,
)

from accounts.models import Refusal
from accounts.refusals import Refused
from governance import approvals
from governance.approvals import Impact, token
from governance.models import ApprovalRequest, Decision

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def kinds(noted):
    no_policies("override")
    return noted


@pytest.fixture
def ops():
    return someone("ops", "CS Ops")


@pytest.fixture
def vera():
    return someone("vera", "Approver")


def test_one_asks_another_approves_and_it_is_done(ops, vera, kinds):
    request = request_of(ops)
    assert (request.status, request.needed) == ("pending", {"Approver": 1})
    decision = approvals.approve(request, by=vera, seen=token(request), reason="Seen the contract")
    assert (decision.by_label, decision.role, decision.request.status) == ("vera", "Approver", "applied")
    assert kinds == [("done", request.pk)]
    assert kinds_of_events(request) == ["request_opened", "request_approved", "request_applied"]
