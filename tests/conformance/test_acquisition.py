"""The methodology's case of an acquisition: a technology company is bought by one in healthcare while its segment is pinned."""

from pathlib import Path

import pytest
import yaml
from conflicting import bring, known
from django.utils import timezone
from governing import nobody_approves, someone
from segmenting import account, recompute

from accounts.models import Conflict
from core.refusals import Refused
from governance.changes import conflicts, overrides
from segmentation.authoring import versions
from segmentation.models import Assignment, Layer

METHODOLOGY = yaml.safe_load((Path(__file__).parent / "methodology.yaml").read_text())
pytestmark = pytest.mark.conformance
ANSWERS = {
    "buying_centre": "The hospital's CIO",
    "use_case": "Patient records",
    "contract": "Ours, until 2028",
}


def test_acquisition(db, settings):
    """Segment kept, conflict queued with the three questions."""
    settings.GATES = {"facts": "governance.changes.conflicts.gate"}
    before, after = METHODOLOGY["cases"]["acquisition"]["industry"]
    olga = someone("olga", "CS Ops")
    versions.load_presets()
    usage = {"login_days_30d": 25, "feature_adoption": "0.8", "active_users": 95, "workflow_maturity": "4.5"}
    usage |= {"integrations_live": 6, "tickets_90d": 0, "nps": 60, "engagement_score": 90}
    worth = {"arr": 130_000, "seats_licensed": 100, "expansion_ratio": "2.5", "contract_type": "multi-year"}
    acme = account("acme", name="Acme", industry=before, employees=1200, country="US", usage=usage, **worth)
    recompute(at=timezone.localdate())
    tier = Layer.objects.get(key="service-tier")
    segment = Assignment.objects.get(account=acme, layer=tier).effective
    assert segment.key == "high-touch"
    nobody_approves("override")
    said = {"reason_code": "acquisition", "text": "Bought by a hospital", **ANSWERS}
    overrides.ask([acme], tier, segment, by=olga, **said)

    outcome = bring(
        "crm", {"external_id": "acme", "industry": after, "region": "West"}, at=timezone.localdate()
    )
    recompute(at=timezone.localdate())

    assert outcome.queued == 1
    assert (known("acme", "industry")[0], known("acme", "region")[0]) == (before, "West")
    state = Assignment.objects.get(account=acme, layer=tier)
    assert (state.effective, state.overridden) == (segment, True), "the segment is kept"
    queued = Conflict.objects.get()
    assert (queued.held_value, queued.proposed_value, queued.status) == (before, after, "open")
    fewer = {"what": "points", "layer": "Service tier", "measure": "Industry", "was": 5, "then": 3}
    assert fewer in queued.effects
    assert conflicts.asks(queued)
    with pytest.raises(Refused, match="Who decides about buying now"):
        conflicts.take([queued], by=olga, note="They are a hospital now")
    conflicts.take([queued], by=olga, note="They are a hospital now", answers=ANSWERS)
    recompute(at=timezone.localdate())
    assert known("acme", "industry") == (after, "crm", timezone.localdate().isoformat())
    assert Assignment.objects.get(account=acme, layer=tier).effective == segment, "until the override ends"
    assert Conflict.objects.get().use_case == "Patient records"
