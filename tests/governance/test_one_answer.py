"""How an account is served is decided once: the card, alerts, plans, overrides and the checks say the same."""

from datetime import timedelta

import pytest
from crossing import DAY, T, crossed, make_team, text, web
from databases import unsigned
from segmenting import BY_ARR, account, draft_of, layer_with, recompute

from governance.changes import alerts, plans
from governance.models import Alert, AlertRule
from segmentation.authoring import versions
from segmentation.models import Assignment, Definition, JobToBeDone, Layer, Treatment
from segmentation.reading import coverage

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def as_they_come(settings):
    settings.GATES, settings.AFTER_RUN = {}, []  # rules as they come


LEAD = "days_to_renewal >= 0 and days_to_renewal <= renewal_lead_days"


def decides(layer, *names, **says):
    """The layer decides these fields; says: {segment key: {field: value}} of its treatments."""
    with unsigned():
        Layer.objects.filter(pk=layer.pk).update(decides=list(names))
        for key, values in says.items():
            Treatment.objects.filter(key=f"{layer.key}-{key}").update(**values)
    return Layer.objects.get(pk=layer.pk)


def lines(one):
    return {line.field.name: line for line in coverage.serve(one)}


def test_renewal_alerts_go_by_what_decides_the_lead_time():
    """$120K, Low-Touch, 110 days out: the card says 120 days, and so does the alert."""
    tier = layer_with()
    value = layer_with(BY_ARR, key="value", policy="automatic")
    decides(tier, "touch_frequency", low={"renewal_lead_days": 30}, tech={"renewal_lead_days": 30})
    decides(value, "renewal_lead_days", high={"renewal_lead_days": 120})
    rule = AlertRule.objects.create(key="lead", name="Lead", condition=LEAD)
    large = account("large", arr=120_000, employees=5, renewal_date=DAY + timedelta(days=110))
    small = account("small", arr=5, employees=5, renewal_date=DAY + timedelta(days=10))
    recompute(DAY)
    assert lines(large)["renewal_lead_days"].text == "120 days before"
    assert "renewal_lead_days" not in lines(small)  # its treatment says so, and nothing decides it

    def alerted(at=DAY):
        rule.refresh_from_db()
        alerts.evaluate(at)
        open_alerts = Alert.objects.exclude(status="resolved").order_by("account")
        return [alert.account.external_id for alert in open_alerts]

    assert alerted() == ["large"]
    decides(
        tier, "touch_frequency", "renewal_lead_days"
    )  # the primary one comes first, where it says something
    assert alerted() == ["small"]
    assert lines(large)["renewal_lead_days"].text == "30 days before"
    with unsigned():
        Treatment.objects.filter(key__startswith="tier-").update(renewal_lead_days=None)
    assert alerted() == ["large"]
    many = coverage.decided_of_many("renewal_lead_days", first=0, last=2**62)
    assert dict(many.iter_rows()) == {large.pk: 120}


def test_a_plan_begins_with_what_is_decided_and_an_override_shows_it():
    team = make_team()
    tier = decides(
        team.layer, "touch_frequency", high={"touch_frequency": "Weekly", "success_plan_template": "Ours"}
    )
    other = layer_with(BY_ARR, key="value", policy="automatic")
    decides(other, "success_plan_template", high={"success_plan_template": "Theirs"})
    [one] = crossed(team, a=(50_000, 120_000)).values()
    begun = [line["text"] for line in plans.start(one)["checklist"]]
    assert "Set up: Weekly" in begun
    assert "Success plan from the template: Theirs" in begun
    assert "Welcome to high" not in begun  # the tier does not decide the plays
    decides(tier, "touch_frequency", "play_on_entry")
    one.refresh_from_db()
    assert "Welcome to high" in [line["text"] for line in plans.start(one)["checklist"]]
    assert "weekly" in plans.notice(one)
    tech = team.layer.segments.get(key="tech")
    asked = f"/admin/governance/override/ask/?accounts={one.account_id}&segment={tech.pk}"
    page = text(web(team.ops).get(asked))
    assert "Service of tech" in page
    assert "Goals" not in page  # the other segmentation says so, and that stays
    assert text(web(team.ops).get(f"{T}{one.pk}/change/"))


def test_plays_of_several_segmentations_stand_side_by_side():
    life = layer_with(BY_ARR, policy="automatic")
    quadrant = layer_with(BY_ARR, key="quadrant", policy="automatic")
    for layer in (life, quadrant):
        says = {"play_on_entry": f"Play of {layer.key}", "message": f"Story of {layer.key}"}
        decides(layer, "play_on_entry", "message", high=says)
    one = account(arr=200_000)
    recompute(DAY)
    served = coverage.serve(one)
    assert [line.text for line in served if line.field.name == "play_on_entry"] == [
        "Play of tier",
        "Play of quadrant",
    ]
    [story] = [line for line in served if line.field.name == "message"]
    assert story.text == "Story of tier"
    found = versions.examine(draft_of(quadrant, BY_ARR)).findings
    contested = [finding.about for finding in found if finding.check == "contested-field"]
    assert contested == ["tier:message"]


def test_the_job_to_be_done_stands_on_the_card():
    layer = layer_with(BY_ARR, policy="automatic")
    with unsigned():
        JobToBeDone.objects.create(
            segment=layer.segments.get(key="high"), statement="When we close the books", success_criteria="In two days",
            proof_points="40 customers", expansion_path="Planning",
        )  # fmt: skip
    one, other = account(arr=200_000), account("other", arr=1)
    recompute(DAY)
    texts = {line.field.label: line.text for line in coverage.serve(one)}
    assert {"Job", "Success criteria", "Proof points", "Expansion path"} <= set(texts)
    assert texts["Job"] == "When we close the books"
    assert "Job" not in {line.field.label for line in coverage.serve(other)}


def test_an_unknown_industry_is_served_by_the_smb_playbook():
    tiers = layer_with(BY_ARR, key="value", policy="automatic", segments=["high", "tech", "smb"])
    by_industry = {
        "requires": ["industry"],
        "rules": [{"segment": "high", "when": "industry = 'Bank'"}, {"segment": "tech"}],
    }
    industry = layer_with(by_industry, key="industry", policy="automatic")
    decides(industry, "message", high={"message": "For banks"}, tech={"message": "For all"})
    decides(tiers, "offer", smb={"message": "For the small"})
    bank, unknown = account("bank", industry="Bank", arr=1), account("unknown", arr=1)
    recompute(DAY)
    assert lines(bank)["message"].text == "For banks"
    assert (lines(unknown)["message"].text, str(lines(unknown)["message"].segment)) == (
        "For the small",
        "Smb",
    )
    Assignment.objects.filter(account=unknown, layer=industry).update(reason="no rule")
    assert "message" not in lines(unknown)  # of another reason nobody knows better


def test_segments_served_alike_in_what_is_decided_are_found():
    """Five with one support answer, the only thing it decides: whatever else their treatments say, they are one group."""
    keys = ["a", "b", "c", "d", "e"]
    document = {
        "rules": [{"segment": key, "when": f"arr >= {1000 * (9 - place)}"} for place, key in enumerate(keys)]
    }
    layer = layer_with(BY_ARR, policy="automatic", segments=[*keys, "high", "tech"])
    decides(layer, "support_sla", **{key: {"support_sla": "Within a day"} for key in keys})
    draft_of(layer, document)

    def alike():
        found = versions.examine(Definition.objects.get(status="draft")).findings
        return [finding.about for finding in found if finding.check == "equal-treatments"]

    assert alike() == ["a:b", "a:c", "a:d", "a:e"]
    decides(layer, "support_sla", b={"support_sla": "Within an hour"})
    assert alike() == ["a:c", "a:d", "a:e"]
    decides(layer, "service_model", "touch_frequency", **{key: {"touch_frequency": ""} for key in keys})
    assert alike() == ["a:b", "a:c", "a:d", "a:e"]  # one model says it for all of them
