"""How old the data may be, who is counted, and how long an account stays in a segment."""

import csv
import io
from datetime import date, timedelta

import pytest
from databases import unsigned
from django.core.management import CommandError, call_command
from django.utils import timezone
from governing import someone
from segmenting import DAY, account, change, layer_with, recompute

from accounts.models import Account, Subscription
from accounts.quality import contradictions
from core.models import Settings
from core.refusals import Refused
from governance.changes import alerts
from governance.models import Alert, AlertRule
from segmentation.authoring import versions
from segmentation.models import Layer, Run
from segmentation.reading import explain, stays
from segmentation.rules import comparison, definitions
from segmentation.runs import recalculation

pytestmark = pytest.mark.django_db
TODAY = timezone.localdate
STAGES = {
    "includes": ["churned"],
    "rules": [
        {"segment": "tech", "when": "status = 'churned'"},
        {"segment": "low", "from": ["high"], "when": "nps >= 0"},
        {"segment": "high", "when": "previous IS NULL"},
    ],
    "expected_days": {"high": "90"},
}


def test_data_of_last_year_are_not_scored_as_of_today_without_a_word():
    layer_with()
    one = account(arr=60_000, employees=5, provenance={"arr": ["crm", "2025-03-03"]})
    with pytest.raises(CommandError, match=r"3 Mar 2025.*--as-of 2025-03-03"):
        call_command("recompute")
    assert not Run.objects.exists()
    change(one, provenance={"arr": ["crm", (TODAY() - timedelta(days=60)).isoformat()]})
    assert recalculation.staleness() is None  # just as old as is allowed
    change(one, provenance={"arr": ["crm", (TODAY() - timedelta(days=61)).isoformat()]})
    with pytest.raises(Refused) as refusal:
        recalculation.start()
    assert refusal.value.code == "facts_are_old"
    by_night = recalculation.start(trigger=Run.Trigger.SCHEDULE)  # goes on, and says so
    assert "61 days ago" in by_night.layers.get().warnings[-1]
    recalculation.cancel(by_night, by=None, reason="Enough")
    for fresh in (
        lambda: Subscription.objects.create(
            account=one, subscription_id="s", start_date=DAY, arr=1, observed=TODAY()
        ),
        lambda: Settings.objects.update_or_create(defaults={"facts_days_at_most": 365}),
    ):
        with unsigned():
            made, *_ = fresh(), None
        assert recalculation.staleness() is None
        if isinstance(made, Subscription):
            made.delete()
    assert call_command("recompute", as_of=str(TODAY())) is None  # named is meant


def test_nothing_with_a_date_says_nothing_about_its_age():
    account(arr=1)
    assert recalculation.staleness() is None


def test_the_page_asks_for_the_day(client):
    layer = layer_with()
    account(arr=60_000, provenance={"arr": ["crm", "2025-03-03"]})
    ops = someone("ops", "CS Ops", is_staff=True)
    client.force_login(ops)
    form = {"verb": "start", "layer": layer.key, "reason": ""}
    answer = client.post("/admin/segmentation/run/start/", form)
    assert answer.status_code == 409
    assert "The newest value of all is of 3 Mar 2025" in answer.content.decode()
    assert client.post("/admin/segmentation/run/start/", form | {"as_of": "2025-03-03"}).status_code == 302
    assert Run.objects.get().as_of == date(2025, 3, 3)


def test_a_run_and_its_export_count_the_same_accounts():
    """Customers who left stand in the export of a segmentation that covers them, and in no other."""
    layer_with()
    layer_with(STAGES, key="stage", policy="automatic")
    account("here", arr=60_000, employees=5)
    account("left", arr=60_000, status="churned")
    account("trial", kind="trial")
    run = recompute()

    def rows(*options):
        out = io.StringIO()
        call_command("export_assignments", *options, stdout=out)
        return list(csv.DictReader(io.StringIO(out.getvalue())))

    counts = {row.layer.key: row.counts["accounts"] for row in run.layers.select_related("layer")}
    assert counts == {"tier": 1, "stage": 2}
    for key, number in counts.items():
        assert len(rows("--layer", key)) == number
    assert {row["external_id"]: row["effective_segment"] for row in rows("--layer", "stage")}[
        "left"
    ] == "tech"
    assert {row["external_id"]: (row["tier"], row["stage"]) for row in rows("--wide")} == {
        "here": ("low", "high")
        if rows("--layer", "tier")[0]["effective_segment"] == "low"
        else ("tech", "high"),
        "left": ("", "tech"),
    }


def test_what_lasts_longer_than_expected_is_shown_listed_and_alerted(admin_client):
    layer = layer_with(STAGES, key="stage", policy="automatic")
    slow, quick = account("slow"), account("quick")
    recompute()
    change(quick, nps=5)
    recompute(DAY + timedelta(days=1))
    late = DAY + timedelta(days=760)
    assert [state.account for state in stays.too_long(late)] == [slow]
    assert [state.account for state in stays.too_long(DAY + timedelta(days=90))] == []
    AlertRule.objects.create(key="long", name="Long", condition="days_over.stage > 0")
    alerts.evaluate(DAY + timedelta(days=90))
    assert not Alert.objects.exists()
    alerts.evaluate(late)
    assert [(alert.account, alert.evidence) for alert in Alert.objects.all()] == [
        (slow, {"days_over.stage": "670"})
    ]
    assert alerts.in_words(Alert.objects.get()) == [("Days longer than expected in Stage", "670")]
    recompute(TODAY())
    days = (TODAY() - DAY).days
    told = {
        "days": days,
        "expected": 90,
        "too_long": True,
        "text": f"In High for {days} days; 90 days are expected.",
    }
    assert explain.explain(slow, layer)["stay"] == told
    assert explain.explain(quick, layer)["stay"] is None
    page = admin_client.get("/admin/accounts/account/?state=too-long").content.decode()
    assert ("slow" in page, "quick" in page) == (True, False)


def test_expected_days_are_part_of_the_rules():
    layer = layer_with(STAGES, key="stage", policy="automatic")
    document = definitions.parse(STAGES, types={"nps": "integer", "status": "text"})
    assert document.expected_days == {"high": 90}
    assert definitions.parse(document.freeze(), types=document.types).hash == document.hash
    longer = STAGES | {"expected_days": {"high": "120", "low": "5"}}
    said = comparison.compare(STAGES, longer, names=versions.labels(layer)).sentences
    assert said == ("Expected days in High: 90 -> 120", "Expected days in Low: any number -> 5")
    for wrong in ({"nobody": "5"}, {"high": "soon"}, {"high": "0"}, ["high"]):
        assert definitions.problems(STAGES | {"expected_days": wrong}, types=document.types)


@pytest.mark.parametrize(
    ("facts", "subscriptions", "said"),
    [
        (
            {},
            [("2024-01-01", "2025-04-27")],
            "The status is active, and the last contract ended 400 days ago",
        ),
        (
            {"status": "paused"},
            [("2024-01-01", "2025-04-27")],
            "The status is paused, and the last contract ended",
        ),
        (
            {"status": "churned"},
            [("2026-01-01", "2027-01-01")],
            "The status is churned, and a contract runs since 1 Jan 2026",
        ),
        (
            {"renewal_date": date(2026, 1, 1)},
            [],
            "The status is active, and the last contract ended 151 days ago",
        ),
        ({}, [("2024-01-01", "2025-04-27"), ("2026-01-01", None)], ""),
        ({"status": "churned"}, [("2024-01-01", "2025-04-27")], ""),
        ({}, [], ""),
        ({"kind": "trial"}, [("2024-01-01", "2025-04-27")], ""),
    ],
)
def test_status_and_contract_that_contradict_each_other(facts, subscriptions, said):
    one = account(**facts)
    for number, (start, end) in enumerate(subscriptions):
        Subscription.objects.create(
            account=one, subscription_id=number, start_date=start, end_date=end, arr=1
        )
    one = Account.objects.get(pk=one.pk)
    [*sentences] = contradictions.of_account(one, DAY)
    assert len(sentences) == bool(said)
    assert sentences == [] or sentences[0].startswith(said)
    assert contradictions.among(Account.objects.all(), DAY).exists() == bool(said)


def test_the_lifecycle_counts_risk_from_every_stage():
    from segmentation.models import Assignment

    with unsigned():
        versions.load_presets()
    layer = Layer.objects.get(key="lifecycle")
    bad = {"login_days_30d": 0, "usage_change_30d": "-0.9", "tickets_90d": 50}
    calm = account("calm", contract_start=DAY - timedelta(days=10), usage={"login_days_30d": 5})
    new = account("new", contract_start=DAY - timedelta(days=10), usage=bad)
    recompute(layers=[layer])

    def stage(one):
        return Assignment.objects.get(account=one, layer=layer).effective.key

    assert (stage(calm), stage(new)) == ("onboarding", "at-risk")
    change(calm, **bad)
    recompute(DAY + timedelta(days=169), layers=[layer])
    assert stage(calm) == "at-risk"
