"""Rules that drop a segment name what uses it; nothing new is pinned to it, and what was ends with that reason."""

import pytest
from crossing import crossed, make_team
from django.utils import timezone
from governing import fresh, kinds_of_events, someone
from overriding import Portfolio
from segmenting import BY_ARR, activate, draft_of, layer_with, person, recompute

from core.refusals import Refused
from governance.changes import (
    alerts,
    overrides,
    overrides_in_force,
    segments_used,
    transition_requests,
    transitions,
)
from governance.models import Alert, AlertRule, Event
from governance.signoff import approvals
from segmentation.authoring import checks, versions

TODAY = timezone.localdate()
THREE = {
    "rules": [
        {"segment": "high", "when": "arr >= 100000"},
        {"segment": "low", "when": "arr >= 10000"},
        {"segment": "tech", "when": "arr >= 0"},
    ]
}
NO_MORE = "Low is no segment of Tier any more"


@pytest.fixture(autouse=True)
def rules_as_they_come(settings):
    settings.GATES, settings.AFTER_RUN = {"segments_used": "governance.changes.segments_used.gate"}, []


def dropped(definition):
    return [finding for finding in checks.examine(definition).findings if finding.check == "dropped-segment"]


@pytest.mark.parametrize("policy", ["automatic", "approval"])
def test_what_uses_a_segment_is_named_before_the_rules_drop_it_and_ends_after(db, policy):
    p = Portfolio(policy=policy, document=THREE)
    layer_with(
        {"rules": [{"segment": "high", "when": "label.tier = 'low'"}, {"segment": "tech"}]}, key="reader"
    )
    rule = AlertRule.objects.create(key="low", name="Low now", condition="label.tier in ('low', 'tech')")
    alerts.evaluate(TODAY)
    assert Alert.objects.get(rule=rule).account == p.beta
    pinned = p.pin(p.acme, segment="low")
    waits = p.ask(p.beta, segment="low")
    draft = draft_of(p.layer, BY_ARR)
    [finding] = dropped(draft)
    assert (finding.level, finding.segments) == ("warning", ("low",))
    for use in (
        "1 override in force", "1 override asked for", "1 open request", "the alert rule “Low now”",
        "the rules of Reader read label.tier = 'low'",
    ):  # fmt: skip
        assert use in finding.message, use
    assert dropped(draft_of(layer_with(THREE, key="same"), THREE)) == []
    versions.discard_draft(draft, by=person())
    activate(p.layer, BY_ARR)
    # Nothing new is pinned to it, and what was asked for is not approved, whoever decides the segmentation.
    with pytest.raises(Refused, match=NO_MORE) as refused:
        p.ask(p.acme, segment="low")
    assert refused.value.code == "segment_no_more"
    with pytest.raises(Refused, match=NO_MORE):
        approvals.approve(fresh(waits), by=p.vera, seen=approvals.token(fresh(waits)))
    with pytest.raises(Refused, match=NO_MORE):
        overrides.carry_out(fresh(waits), by=None, at=timezone.now())
    # Until the new rules have been applied it stays; then it ends, with that reason.
    recompute(TODAY)
    assert overrides_in_force.end_gone(TODAY) == 1
    assert overrides_in_force.end_gone(TODAY) == 0
    pinned.refresh_from_db()
    assert (pinned.status, pinned.end_reason) == ("ended", "The rules of Tier do not give Low any more.")
    assert p.now(p.acme)[2] is False
    # The alert rule goes on for what is left of it, and says what is wrong with it.
    alerts.evaluate(TODAY)
    rule.refresh_from_db()
    assert Event.objects.get(kind="alert_rule_wrong").text.startswith(
        "The alert rule “Low now”: label.tier is never 'low'"
    )
    assert rule.error.startswith("label.tier is never 'low'. It is one of high, tech.")
    assert Alert.objects.get(rule=rule, account=p.beta).status == "open"
    with pytest.raises(Refused, match=r"label\.tier is never 'low'"):
        alerts.save_rule(rule, by=someone("boss", "CS Ops", is_superuser=True))


def test_a_tier_change_to_a_segment_that_is_no_more_is_not_approved(db):
    """A sibling: planned and asked for while it was there."""
    team = make_team()
    one = crossed(team, acme=(5_000, 50_000))["acme"]
    transitions.plan(one, by=team.ops)
    request = transition_requests.ask([one], by=team.ops, why="Grown")
    other = crossed(team, beta=(5_000, 50_000))["beta"]
    assert [use[1:] for use in segments_used.gate(team.layer, {"low"})] == [
        ("transition", "2 open tier changes to it"),
        ("request", "1 open request"),
    ]
    activate(team.layer, BY_ARR)
    with pytest.raises(Refused, match="is no segment of"):
        approvals.approve(fresh(request), by=team.vera, seen=approvals.token(fresh(request)))
    transitions.plan(other, by=team.ops)
    with pytest.raises(Refused, match="is no segment of"):
        transition_requests.ask([other], by=team.ops, why="Grown")
    assert "request_failed" not in kinds_of_events(request)
