"""Tier changes through the API: a program plans and asks, people decide and complete."""

import pytest
from calling import by_session, by_token, calling, problem, program, token_of
from crossing import crossed, down_at_once, make_team
from governing import fresh

from governance.models import ApprovalRequest
from governance.signoff import approvals


@pytest.fixture
def team(db, settings):
    settings.GATES, settings.AFTER_RUN = {}, []
    team = make_team()
    down_at_once(team)
    return team


def read(caller, change):
    return caller.get(f"transitions/{change.pk}").json()


def test_a_program_plans_and_asks_and_people_decide_and_complete(team):
    change = crossed(team, acme=(200_000, 5_000))["acme"]
    caller = by_token(token_of(program("CS Ops"))[1])
    url = f"transitions/{change.pk}"
    seen = read(caller, change)["token"]
    body = {"seen": seen, "receiver": "erik@x.test", "joint_days": 0, "notice": "We say hello"}
    planned = caller.post(f"{url}/plan", body)
    assert (planned.status_code, planned.json()["status"], planned.json()["receiver"]) == (
        200,
        "planned",
        "erik@x.test",
    )
    problem(caller.post(f"{url}/plan", body), 409, "transition_stale")
    asked = caller.post(f"{url}/ask", {"why": "They have shrunk"}).json()
    assert asked["status"] == "awaiting"
    request = ApprovalRequest.objects.get(pk=asked["request"])
    problem(
        caller.post(f"approval-requests/{request.pk}/approve", {"seen": approvals.token(request)}),
        403,
        "program_decides_nothing",
    )
    vera = by_session(team.vera)
    assert (
        vera.post(f"approval-requests/{request.pk}/approve", {"seen": approvals.token(request)}).status_code
        == 200
    )
    assert fresh(change).status == "joint"
    done = {"seen": read(caller, change)["token"], "reason": "Said by phone"}
    problem(caller.post(f"{url}/complete", done), 403, "program_decides_nothing")
    ops = by_session(team.ops)
    completed = ops.post(f"{url}/complete", {"seen": read(ops, change)["token"], "reason": "Said by phone"})
    assert (completed.status_code, completed.json()["status"]) == (200, "done"), completed.content
    assert fresh(change).account.csm == team.erik
    row = change.history.filter(status="planned").latest()
    assert (row.history_channel, row.history_user_label.startswith("crm-sync (token ")) == ("api", True)


def test_an_account_is_kept_where_it_is(team):
    change = crossed(team, acme=(200_000, 5_000))["acme"]
    caller = calling("CS Ops")
    body = {"seen": read(caller, change)["token"], "reason": "A merger is coming", "until": "2020-01-01"}
    problem(caller.post(f"transitions/{change.pk}/keep", body), 409, "transition_kept_into_the_past")
    kept = caller.post(f"transitions/{change.pk}/keep", body | {"until": None})
    assert (kept.status_code, kept.json()["status"], kept.json()["end_reason"]) == (
        200,
        "kept",
        "A merger is coming",
    )


@pytest.mark.parametrize("role", ["Integration", "Auditor", "CSM"])
@pytest.mark.parametrize("verb", ["plan", "keep", "ask"])
def test_only_who_plans_tier_changes_does(team, role, verb):
    change = crossed(team, acme=(200_000, 5_000))["acme"]
    body = (
        {"seen": "x", "reason": "x"} if verb == "keep" else {"why": "x"} if verb == "ask" else {"seen": "x"}
    )
    answer = calling(role, name="other").post(f"transitions/{change.pk}/{verb}", body)
    problem(answer, 403, "not_allowed")
    assert fresh(change).status == "flagged"
