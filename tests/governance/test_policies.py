"""Policies are themselves decided: they change by requests, at once only where nobody has to approve them."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from databases import unsigned
from django.db import IntegrityError, transaction
from django.test import Client
from governing import approved, fresh, nobody_approves, policy, request_of, someone
from segmenting import RULES, account, layer_with, recompute

from core.refusals import Refused
from governance.models import ApprovalPolicy, ApprovalRequest, CrossingPolicy, Event, Profile
from governance.signoff import crossing_policies, policies, profiles, requirements, roles
from governance.signoff.impact import Impact
from governance.signoff.kinds import KINDS
from governance.signoff.profiles import Row
from segmentation.models import Layer

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def rules_without_a_gate(settings):
    """Layers of these tests come with active rules; how those become active is told elsewhere."""
    settings.GATES = {}


@pytest.fixture
def ops():
    return someone("ops", "CS Ops")


@pytest.fixture
def vera():
    return someone("vera", "Approver")


def test_an_organisation_starts_from_standard():
    assert str(Profile.objects.get()) == "Standard"
    assert [row for kind in KINDS for row in policies.rows_of(kind)] == sorted(
        profiles.PROFILES["standard"], key=lambda row: list(KINDS).index(row.kind)
    )


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_every_profile_is_one_that_can_be_stored(name):
    for row in profiles.PROFILES[name]:
        assert policies._checked(row) == row
    assert {row.kind for row in profiles.PROFILES[name]} == set(KINDS)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Row("role"), "One approval by Approver, within 5 days; it expires after 30."),
        (Row("role", approvals=0), "Nobody has to approve: it is done at once, and logged."),
        (
            Row("override", "Finance", 2, min_arr=Decimal(250000), top_tier=True, due_days=1, expire_days=7),
            "Two approvals by Finance where the ARR is $250,000 or more or in another currency and the top segment is touched, "
            "within 1 day; it expires after 7.",
        ),
        (
            Row("override", approvals=12, min_accounts=20, min_csm_changes=1),
            "12 approvals by Approver where 20 accounts or more are touched and 1 account gets another CSM, or more, "
            "within 5 days; it expires after 30.",
        ),
    ],
)
def test_a_policy_in_words(row, said):
    assert policies.sentence(row) == said


# -- who approves


def test_a_policy_is_asked_for_and_holds_once_approved(ops, vera, noted):
    someone("fay", "Finance")
    rows = [*policies.rows_of("override"), Row("override", "RevOps", min_accounts=10)]
    request = policies.ask(policies.for_kind("override", rows), by=ops, why="Data matters")
    assert request.changes == [
        "Override: One approval by RevOps where 10 accounts or more are touched, within 5 days; it expires after 30.",
        "Nobody has the role RevOps now: until somebody has, such requests wait.",
    ]
    assert len(policies.rows_of("override")) == 2
    approved(request, vera)
    assert policies.rows_of("override") == rows
    assert requirements.requirement("override", Impact(accounts=10))[0] == {"Approver": 1, "RevOps": 1}
    assert Event.objects.get(kind="policy_changed").reason == "Data matters"


def test_open_requests_keep_the_stricter_of_old_and_new(ops, vera, noted):
    one = request_of(ops)
    stricter = [replace(row, approvals=2) for row in policies.rows_of("override")]
    approved(policies.ask(policies.for_kind("override", stricter), by=ops, why="Four eyes"), vera)
    assert fresh(one).needed["Approver"] == 2
    nobody = [Row("override", "CS Ops", approvals=0)]
    wim = someone("wim", "Approver")
    approved(policies.ask(policies.for_kind("override", nobody), by=ops, why="Too slow"), wim)
    assert fresh(one).needed["Approver"] == 2
    assert approved(one, vera).status == "pending"
    assert request_of(ops, key="override:2").status == "applied"


def test_money_in_another_currency_reaches_every_threshold_of_a_stricter_policy_too(ops, vera, noted):
    one = request_of(ops, impact=Impact(accounts=1, arr=Decimal(100), foreign=True))
    layer = layer_with(RULES)
    account(arr=100, currency="JPY")
    rows = [*policies.rows_of("override"), Row("override", "RevOps", min_arr=Decimal(1000))]
    approved(policies.ask(policies.for_kind("override", rows), by=ops, why="Money matters"), vera)
    assert fresh(one).needed == {"Approver": 1, "Finance": 1, "RevOps": 1}
    recompute()
    impact = policies.for_layer(layer, {"policy": "automatic"}).impact
    assert (impact.accounts, impact.arr, impact.foreign) == (1, 0, True)


def test_in_a_light_organisation_it_holds_at_once(ops):
    nobody_approves("policy")
    request = policies.ask(policies.for_kind("role", [Row("role", approvals=2)]), by=ops, why="Four eyes")
    assert (request.status, policies.rows_of("role")) == ("applied", [Row("role", approvals=2)])


def test_what_changed_in_between_is_not_overwritten(ops, vera):
    request = policies.ask(policies.for_kind("role", [Row("role", approvals=2)]), by=ops, why="Four eyes")
    policy("role", "Finance")
    request = approved(request, vera)
    assert (request.status, "has changed since it was asked for" in request.failure) == ("failed", True)


@pytest.mark.parametrize("who", ["Approver", "CSM", "Auditor", "Finance"])
def test_only_cs_ops_and_administrators_ask(who):
    with pytest.raises(Refused, match="not allowed to ask for changes of policies"):
        policies.ask(policies.for_kind("role", []), by=someone("x", who), why="Why not")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([Row("role", "Chief")], "no role Chief"),
        ([Row("role", due_days=9, expire_days=3)], "expires after it is due"),
        ([Row("role", due_days=0)], "expires after it is due"),
        ([Row("role")], "nothing to ask for"),
        ([Row("role", min_accounts=one) for one in range(1, 20)], "At most 12 lines"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(rows, said):
    with pytest.raises(Refused, match=said):
        policies.for_kind("role", rows)


# -- the profile


def test_at_set_up_a_profile_is_chosen_at_once_later_by_a_request(ops, vera, noted):
    with unsigned():
        profiles.choose("light", by=ops)
    assert (str(Profile.objects.get()), Profile.history.count()) == ("Light", 2)
    assert request_of(ops).status == "applied"
    with pytest.raises(Refused, match="a request now, on the page Who decides"):
        profiles.choose("strict", by=ops)
    request = policies.ask(policies.for_profile("strict"), by=ops, why="We have grown")
    assert (request.status, str(Profile.objects.get())) == ("applied", "Strict")  # Light: at once
    request = policies.ask(policies.for_profile("light"), by=ops, why="Too much work")
    assert request.needed == {"Approver": 2}
    assert approved(request, vera, someone("wim", "Approver")).status == "applied"
    assert str(Profile.objects.get()) == "Light"


def test_nobody_else_chooses_a_profile(vera):
    with pytest.raises(Refused, match="not allowed"):
        profiles.choose("light", by=vera)
    with pytest.raises(Refused, match="Nobody is logged in"):
        profiles.choose("light")


# -- crossings and segmentations


def crossing(layer, direction="down", **values):
    found = {
        name: getattr(crossing_policies.in_both_directions(layer)[direction], name)
        for name in policies.CROSSING
    }
    return policies.for_crossing(layer, direction, found | values)


def test_when_crossings_are_put_before_people_is_asked_for(ops, vera):
    layer = layer_with()
    request = policies.ask(crossing(layer, hold_days=14, at_renewal=False), by=ops, why="Calmer")
    assert request.changes == [
        "The rules have to say so for 14 days in a row. (Until now: It is seen on the day the rules say so.)",
        "It applies on approval. (Until now: It applies at the renewal date; on approval where there is none.)",
    ]
    assert not CrossingPolicy.objects.exists()
    approved(request, vera)
    made = CrossingPolicy.objects.get()
    assert (made.direction, made.hold_days, made.at_renewal, made.joint_days) == ("down", 14, False, 30)
    with pytest.raises(Refused, match="nothing to ask for"):
        crossing(layer)


def test_another_primary_segmentation_takes_over_what_drives_coverage(ops, vera):
    old, new = layer_with(decides=["service_model", "touch_frequency"]), layer_with(key="value")
    request = policies.ask(policies.for_layer(new, {"primary": True}), by=ops, why="Value first")
    assert request.changes[0].startswith("Value is the primary segmentation")
    assert request.changes[1].startswith("Value decides instead of Tier: Service model")
    approved(request, vera)
    old, new = fresh(old), fresh(new)
    assert (old.primary, old.decides, new.primary, new.decides) == (
        False,
        ["touch_frequency"],
        True,
        ["service_model"],
    )
    assert new.history.first().history_change_reason == "Value first"


def test_which_segment_is_above_which_is_asked_for(ops, vera):
    layer = layer_with()
    order = ["tech", "high", "low"]
    request = policies.ask(policies.for_layer(layer, {"order": order}), by=ops, why="Turned round")
    assert request.changes == [
        "Tier, what is up and what is down: Tech > High > Low. (Until now: High > Low > Tech.)"
    ]
    assert policies.of_layer(layer)["order"] == ["high", "low", "tech"]
    approved(request, vera)
    assert policies.of_layer(layer)["order"] == order
    moved = layer.segments.get(key="tech").history.first()
    assert (moved.position, moved.history_change_reason) == (0, "Turned round")
    with pytest.raises(Refused, match="each has one place"):
        policies.for_layer(layer, {"order": ["tech", "high"]})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"primary": False}, "make another one primary"),
        ({"policy": "maybe"}, "applies by itself, or needs approval"),
        ({}, "nothing to ask for"),
    ],
)
def test_what_a_segmentation_cannot_be(values, said):
    with pytest.raises(Refused, match=said):
        policies.for_layer(layer_with(), values)


@pytest.mark.parametrize(
    "write",
    [
        lambda layer: Layer.objects.filter(pk=layer.pk).update(policy="automatic"),
        lambda layer: Layer.objects.filter(pk=layer.pk).update(primary=False),
        lambda layer: Layer.objects.filter(pk=layer.pk).update(plan_provisional_downgrades=True),
        lambda layer: ApprovalPolicy.objects.update(approvals=0),
        lambda layer: ApprovalPolicy.objects.all().delete(),
        lambda layer: Profile.objects.update(name="light"),
        lambda layer: CrossingPolicy.objects.create(layer=layer, direction="up"),
    ],
)
def test_past_the_verbs_nobody_changes_a_policy(write, real_layer):
    with pytest.raises(IntegrityError, match="needs a cause"), transaction.atomic():
        write(real_layer)


@pytest.fixture
def real_layer():
    """A layer made without a cause in this transaction."""
    return Layer.objects.create(key="tier", name="Tier", policy="approval", primary=True)


# -- pages


def web(user):
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


def test_the_page_says_who_decides_and_its_forms_ask(ops, vera):
    client, layer = web(ops), layer_with()
    page = client.get("/admin/governance/approvalpolicy/").content.decode()
    assert "One approval by Finance where the ARR is $1,000,000 or more or in another currency" in page
    assert "Tier: when a change is put before people" in page
    form = {
        "line-TOTAL_FORMS": "3",
        "line-INITIAL_FORMS": "1",
        "line-0-role": "Approver",
        "line-0-approvals": "2",
        "line-1-role": "Finance",
        "line-1-min_arr": "50,000",
        "why": "Grown",
    }
    client.post("/admin/governance/approvalpolicy/kind/role/", form)
    asked = ApprovalRequest.objects.get(key="policy:kind:role")
    assert [row["approvals"] for row in asked.content["rows"]] == [2, 1]
    assert asked.content["rows"][1]["min_arr"] == "50000"
    refused = client.post("/admin/governance/approvalpolicy/kind/override/", form | {"line-0-approvals": "x"})
    assert (refused.status_code, "“x” is not a number" in refused.content.decode()) == (409, True)
    lines = client.get("/admin/governance/approvalpolicy/kind/role/").content.decode().split("<tr>")[2:]
    assert "selected" in lines[0].partition("</select>")[0]
    assert lines[-1].index('<option value=""') < lines[-1].index(
        '<option value="CS Ops'
    )  # an empty line begins empty
    assert 'value="50,000"' in refused.content.decode()  # what was typed beside it is still there
    client.post("/admin/governance/approvalpolicy/profile/", {"name": "strict", "why": "Grown"})
    client.post(
        f"/admin/governance/approvalpolicy/layer/{layer.pk}/",
        {"policy": "automatic", "primary": "1", "why": "Quick"},
    )
    now = policies.crossing_values(crossing_policies.in_both_directions(layer)["up"]) | {
        "at_renewal": "1",
        "why": "Calm",
    }
    client.post(f"/admin/governance/approvalpolicy/crossing/{layer.pk}/up/", now)
    keys = set(ApprovalRequest.objects.values_list("key", flat=True))
    assert keys == {
        "policy:kind:role",
        "policy:profile",
        f"policy:layer:{layer.pk}",
        f"policy:crossing:{layer.pk}:up",
    }
    for one in ApprovalRequest.objects.all():
        assert client.get(policies.address(one)).status_code == 200
        assert "Change the request" in client.get(policies.address(one)).content.decode()
    assert web(vera).get("/admin/governance/approvalpolicy/profile/").status_code == 403


def test_a_segmentation_with_active_rules_changes_how_it_applies_by_a_request(ops):
    client, layer = web(ops), layer_with()
    page = f"/admin/segmentation/layer/{layer.pk}/change/"
    assert "Ask for another way…" in client.get(page).content.decode()
    sent = {
        "name": "Renamed",
        "position": "0",
        "scope": "account",
        "policy": "automatic",
        "decides": ["touch_frequency"],
    }
    assert "Say why: the owner and the approvers read it." in client.post(page, sent).content.decode()
    assert client.post(page, sent | {"why": "The board calls it so"}).status_code == 302
    assert layer.history.first().history_change_reason == "The board calls it so"
    layer = fresh(layer)
    assert (layer.name, layer.policy, layer.primary) == ("Renamed", "approval", True)
    new = Layer.objects.create(key="new", name="New")
    client.post(f"/admin/segmentation/layer/{new.pk}/change/", sent | {"policy": "approval", "decides": []})
    assert fresh(new).policy == "approval"


@pytest.mark.parametrize(
    ("typed", "order"),
    [
        ({"tech": "1"}, ["tech", "high", "low"]),
        ({"high": "3"}, ["low", "tech", "high"]),
        ({"high": "2", "low": "1"}, ["low", "high", "tech"]),
    ],
)
def test_the_order_of_segments_is_changed_by_a_request(ops, typed, order):
    client, layer = web(ops), layer_with()
    page = f"/admin/segmentation/segment/{layer.segments.get(key='tech').pk}/change/"
    shown = client.get(page).content.decode()
    assert ("Ask for another order…" in shown, 'name="position"' in shown) == (True, False)
    ask = f"/admin/governance/approvalpolicy/layer/{layer.pk}/"
    assert 'name="place-tech"' in client.get(ask).content.decode()
    places = {"place-high": "1", "place-low": "2", "place-tech": "3"} | {
        f"place-{key}": place for key, place in typed.items()
    }
    client.post(ask, {"policy": "approval", "primary": "1", "why": "Turned round"} | places)
    assert ApprovalRequest.objects.get().content["values"]["order"] == order


def test_a_new_segment_typed_into_the_form_comes_last_where_rules_are_active(ops):
    layer = layer_with()
    sent = {"layer": layer.pk, "name": "New", "key": "new", "position": "0", "owner_role": "CS Ops"}
    assert web(ops).post("/admin/segmentation/segment/add/", sent).status_code == 302
    assert layer.segments.get(key="new").position == 3


# -- what is written down


def test_the_documentation_lists_every_profile_and_role():
    text = (ROOT / "docs" / "governance.md").read_text(encoding="utf-8")
    assert policies.table() in text
    assert roles.table() in text
