"""Everything that matters is changed by the request that names it, however it is tried: raw SQL with a Cause of one's own
too.
"""

import json
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import pytest
import yaml
from databases import unsigned
from django.contrib.auth.models import Permission
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from governing import approved, away, deactivated, fresh, policy, request_of, someone, without_role
from overriding import gated_portfolio
from segmenting import account, answered, change, granted, layer_with, person, recompute

from accounts import imports
from accounts.models import Account, ImportBatch, ImportPart, Subscription
from core.history import acting
from core.refusals import Refused
from governance.changes import activations, import_gate, overrides
from governance.models import Decision, Event, Profile
from governance.signoff import carrying_out, people, policies, profiles
from governance.signoff.approvals import token
from governance.signoff.impact import Impact
from segmentation.authoring import versions
from segmentation.evaluation import causes
from segmentation.models import Cause, Layer, Segment, ServiceModel, Treatment
from segmentation.previews import simulation

TODAY = timezone.localdate()


def sql(text, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(text, parameters)


@contextmanager
def a_cause(kind=Cause.Kind.DECISION, reason="Because"):
    with transaction.atomic():
        causes.take(kind, reason=reason)
        yield


def refused(attempt, match="by an approved request that names it"):
    with pytest.raises(DatabaseError, match=match), a_cause():
        attempt() if callable(attempt) else sql(attempt)


@pytest.fixture
def here(really_begun, settings):
    """Acme is high and Carl's, Beta is tech; the segmentation needs approval, and Olga, Vera and Carl have their roles."""
    settings.GATES = {gate: path for gate, path in settings.GATES.items() if gate != "rules"}
    return really_begun(gated_portfolio)


# -- a Cause of one's own is not enough


RAW = {
    "rules become active": "update segmentation_definition set status = 'retired' where status = 'active'; "
    "update segmentation_definition set status = 'active' where status = 'draft'",
    "rules retire": "update segmentation_definition set status = 'retired' where status = 'active'",
    "how a layer applies": "update segmentation_layer set policy = 'automatic'",
    "which layer is primary": 'update segmentation_layer set "primary" = false',
    "provisional downgrades": "update segmentation_layer set plan_provisional_downgrades = true",
    "the order of segments": "update segmentation_segment set position = 9 - position",
    "roles": "insert into auth_user_groups (user_id, group_id) select u.id, g.id from auth_user u, auth_group g "
    "where u.username = 'carl' and g.name = 'Approver'",
    "other people in a role": "update auth_user_groups set user_id = (select id from auth_user where username = 'carl') "
    "where group_id = (select id from auth_group where name = 'Approver')",
    "rights past roles": "insert into auth_user_user_permissions (user_id, permission_id) "
    "select u.id, p.id from auth_user u, auth_permission p where u.username = 'carl' and p.codename = 'decide_request'",
    "approval policies": "update governance_approvalpolicy set approvals = 0",
    "approval policies gone": "delete from governance_approvalpolicy",
    "another policy": "insert into governance_approvalpolicy (kind, role_id, approvals, top_tier, due_days, expire_days) "
    "select 'policy', id, 0, false, 5, 30 from auth_group where name = 'CS Ops'",
    "the profile": "update governance_profile set name = 'light'",
    "tier change policies": "insert into governance_crossingpolicy (layer_id, direction, hold_days, margin, min_dwell_days, "
    "at_renewal, quiet_days, joint_days, material_arr, material_score) "
    "select id, 'down', 0, 0, 0, false, 0, 0, 0.2, 0.5 from segmentation_layer",
    "what is in force": "update segmentation_assignment set effective_id = (select max(id) from segmentation_segment)",
    "nothing in force": "update segmentation_assignment set effective_id = null",
    "pinned": "update segmentation_assignment set overridden = true",
    "forgotten": "delete from segmentation_assignmentscore; delete from segmentation_assignment",
}


@pytest.mark.parametrize("what", RAW)
def test_with_a_cause_of_ones_own_nothing_that_matters_changes(here, what):
    if what == "rules become active":
        versions.create_draft(here.layer, by=person())
    refused(RAW[what])


def test_nor_is_a_segment_changed_by_making_it_provisional_first(here):
    provisional = "update segmentation_assignment set provisional = true, fingerprint = null"
    refused(f"{provisional}; {RAW['what is in force']}")
    with a_cause():
        sql(provisional)
    refused(RAW["what is in force"])
    change(here.acme, arr=5_000)
    recompute(at=here.today)
    assert here.now(here.acme) == ("tech", "high", False)
    with a_cause():
        sql(provisional)
    refused("update segmentation_assignment set effective_id = computed_id where effective_id <> computed_id")
    with pytest.raises(DatabaseError, match="needs a cause"), transaction.atomic():
        sql("update segmentation_assignment set provisional = not provisional, fingerprint = null")


def test_set_up_is_over_once_customers_have_segments_and_somebody_decides(here):
    with pytest.raises(DatabaseError, match="set-up is over"), a_cause(Cause.Kind.SETUP):
        pass
    with acting(channel="command"), pytest.raises(Refused, match="another profile is a request now"):
        profiles.choose("light")
    assert Profile.objects.get().name == "standard"


def test_where_nobody_is_left_to_decide_set_up_gives_roles_and_nothing_else(here):
    deactivated(here.vera)
    with pytest.raises(DatabaseError, match="by an approved request"), a_cause(Cause.Kind.SETUP):
        sql("update governance_profile set name = 'light'")
    with acting(channel="command"):
        people.set_up(here.olga, add=["Approver"])
    assert "Approver" in people.roles_of(here.olga)


def test_before_that_set_up_needs_nobody(real_db):
    with a_cause(Cause.Kind.SETUP):
        sql("update governance_approvalpolicy set approvals = 0")
    with acting(channel="command"):
        profiles.choose("strict")
        people.set_up(someone("first"), add=["Administrator"])


def test_a_request_that_was_carried_out_before_serves_no_second_time(here):
    policy("policy", "Approver", only=True)
    light = policies.ask(policies.for_profile("light"), by=here.olga, why="We are few")
    assert approved(light, here.vera).status == "applied"
    refused("update governance_profile set name = 'strict'")
    refused("update governance_profile set name = 'light', id = 1; delete from governance_approvalpolicy")


def test_only_what_the_request_names_changes_with_it(here, monkeypatch):
    """A request that is carried out as something else than it says fails, and leaves no trace."""
    policy("role", "Approver", only=True)
    eve, root = someone("eve"), someone("root", "Administrator")
    request = people.ask(eve, add=["Finance"], remove=[], by=root, why="Helps out")
    put = people._put
    monkeypatch.setattr(
        people, "_put", lambda user, add, *rest, **more: put(user, ["Approver"], *rest, **more)
    )
    request = approved(request, here.vera)
    assert (request.status, people.roles_of(eve)) == ("failed", [])
    assert "roles are given by an approved request that names it" in request.failure


# -- in Light


def test_in_light_what_cs_ops_asks_for_is_done_by_a_request_that_needs_nobody(here):
    with unsigned(), a_cause():
        profiles.put(Profile.objects.get(), "light")
    here.gamma = account("gamma", arr=200_000, csm=here.csm)
    recompute(at=here.today)
    request = here.ask(here.acme)
    assert (request.status, request.needed, fresh(request).cause is not None) == ("applied", {}, True)
    assert here.now(here.acme) == ("high", "low", True)
    asked = here.ask(here.gamma, by=here.carl)
    assert (asked.status, asked.needed) == ("pending", {"CS Ops": 1})  # a CSM's is looked at


# -- what a request needs


@pytest.fixture
def noted_request(real_db, noted):
    ops, vera = someone("ops", "CS Ops"), someone("vera", "Approver")
    policy("override", "Approver", only=True)
    return request_of(ops), ops, vera


INSERT = """
    insert into governance_approvalrequest (kind, subject, key, content, hash, revision, changes, why, evidence, requester,
        requester_label, requested_at, editors, owners, accounts, arr, csm_changes, top_tier, other_currency, measured, needed,
        status, due_at, expires_at, failure, ended_by_label, end_reason)
    select %s, subject, key || 'x', %s::jsonb, demarc_fingerprint(%s::jsonb), 1, changes, why, evidence, requester,
        requester_label, requested_at, editors, %s, accounts, arr, csm_changes, top_tier, other_currency, measured, %s::jsonb,
        status, due_at, expires_at, failure, ended_by_label, end_reason
      from governance_approvalrequest where id = %s
"""


def insert(request, *, kind="override", content='{"a": 1}', owners=(), needed='{"Approver": 1}'):
    sql(INSERT, kind, content, content, list(owners), needed, request.pk)


def test_a_request_that_needs_nobody_cannot_be_made(noted_request):
    request, *_ = noted_request
    refused(lambda: insert(request, needed="{}"), "needs what the policies say")
    with a_cause():
        insert(request)


def test_a_request_does_not_come_to_need_less(noted_request):
    request, *_ = noted_request
    edit = "update governance_approvalrequest set revision = 2, content = '{}', hash = demarc_fingerprint('{}'), needed = '{}'"
    refused(edit, "keeps the stricter policy")
    refused("update governance_approvalrequest set needed = '{}'", "keeps the stricter policy")
    refused(
        "update governance_approvalrequest set content = '{}', hash = 'x', revision = 2",
        "that of its content",
    )
    refused("update governance_approvalrequest set hash = 'x'", "an edit is a new revision")
    for part in (
        "changes = '[]'",
        "why = 'x'",
        "apply_on = current_date",
        "expires_at = expires_at + interval '1 day'",
    ):
        refused(f"update governance_approvalrequest set {part}", "an edit is a new revision")
    assert carrying_out.recount(request) == []
    assert fresh(request).status == "pending"


def test_nobody_leaves_the_part_they_have_in_a_request(here):
    policy("role", "Approver", only=True)
    root = someone("root", "Administrator")
    request = people.ask(here.vera, add=["Finance"], remove=[], by=root, why="Helps out")
    assert request.owners == [here.vera.pk]
    refused("update governance_approvalrequest set owners = '{}'", "does not become fewer")
    refused("update governance_approvalrequest set editors = '{}', owners = '{}'", "does not become fewer")
    content = json.dumps({"user": here.vera.pk, "add": ["Finance"], "remove": []})
    refused(
        lambda: insert(request, kind="role", content=content),
        "leaves out who would decide about themselves",
    )
    with pytest.raises(Refused, match="This request is about you"):
        approved(request, here.vera)


def test_who_looked_after_the_account_when_it_was_asked_keeps_having_a_part_in_it(here):
    request = here.ask(here.acme)
    assert request.owners == [here.carl.pk]
    change(here.acme, csm=None)
    overrides.change(
        request, by=here.olga, seen=token(request), segment=here.segment("tech"),
        reason_code="strategic", text="They will be larger",
    )  # fmt: skip
    assert fresh(request).owners == [here.carl.pk]


# -- whose decision counts


def decide(request, by, **columns):
    said = {
        "verdict": "approve",
        "role": "Approver",
        "by": by.pk,
        "by_label": by.username,
        "hash": request.hash,
    }
    with transaction.atomic():
        return Decision.objects.create(**said | {"revision": request.revision, "request": request} | columns)


def test_nobody_stands_in_for_somebody_who_is_not_away(noted_request):
    request, _, vera = noted_request
    nora, eve = someone("nora", "Auditor"), someone("eve")
    with pytest.raises(DatabaseError, match="only people of the role"):
        decide(request, nora, on_behalf_of=vera.pk)
    for since in (None, -30, 30):
        if since is not None:
            away(vera, eve, since=since)
        with pytest.raises(DatabaseError, match="stands in for somebody who is not away"):
            decide(request, eve, on_behalf_of=vera.pk)
    away(vera, eve)
    decide(request, eve, on_behalf_of=vera.pk)


def test_an_approver_and_their_stand_in_are_one(noted_request):
    request, _, vera = noted_request
    policy("override", "Approver", 2, only=True)
    eve, wim = someone("eve"), someone("wim", "Approver")
    away(vera, eve)
    carrying_out.tighten("override")
    approved(request, vera)
    with pytest.raises(DatabaseError, match="counted_once"):
        decide(fresh(request), eve, on_behalf_of=vera.pk)
    refused("update governance_approvalrequest set status = 'applied'", "not enough approvals")
    assert approved(request, wim).status == "applied"


def test_a_role_that_was_lost_counts_no_more_in_the_database_either(noted_request):
    request, _, vera = noted_request
    policy("override", "Finance", 1)
    carrying_out.tighten("override")
    fay = someone("fay", "Finance")
    decide(request, vera)
    decide(request, fay, role="Finance")
    without_role(vera, "Approver")
    refused("update governance_approvalrequest set status = 'applied'", "not enough approvals")
    carrying_out.recount(request)
    assert fresh(request).status == "pending"


def test_nor_does_a_stand_in_of_somebody_who_has_left(noted_request):
    request, _, vera = noted_request
    policy("override", "Approver", 2, only=True)
    carrying_out.tighten("override")
    eve = someone("eve")
    away(vera, eve)
    decide(request, eve, on_behalf_of=vera.pk)
    decide(request, someone("wim", "Approver"))
    deactivated(vera)
    refused("update governance_approvalrequest set status = 'applied'", "not enough approvals")


def test_nobody_decides_a_request_that_has_expired(noted_request):
    request, _, vera = noted_request
    with a_cause():
        sql(
            "update governance_approvalrequest set due_at = now() - interval '2 days', expires_at = now() - interval '1 day'"
        )
    with pytest.raises(DatabaseError, match="has expired"):
        decide(request, vera)


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_nor_is_what_has_expired_carried_out(noted_request, status):
    request, _, vera = noted_request
    decide(request, vera)
    with a_cause():
        sql(
            "update governance_approvalrequest set status = %s, due_at = now() - interval '2 days',"
            " expires_at = now() - interval '1 day'",
            status,
        )
    for later in ("approved", "applied"):
        refused(f"update governance_approvalrequest set status = '{later}'", "has expired")


def test_nor_does_whoever_asks_choose_when_it_expires(noted_request):
    far = "expires_at = now() + interval '40 days'"
    refused(f"update governance_approvalrequest set revision = 2, {far}", "expires when the policies say")
    with a_cause():
        sql(f"update governance_approvalrequest set revision = 2, {far.replace('40', '30')}")


def test_what_is_approved_for_a_day_is_not_done_before(here):
    """Whoever leaves until then takes their approval along."""
    request = request_of(here.olga, kind="role", key="role:x", content={"user": here.carl.pk, "add": ["Approver"]},
                         impact=Impact(owners=(here.carl.pk,)), apply_on=TODAY + timedelta(days=3))  # fmt: skip
    policy("role", "Approver", only=True)
    assert approved(request, here.vera).status == "approved"
    refused(
        "update governance_approvalrequest set status = 'applied'", "the day of this request has not come"
    )


def test_nobody_stands_in_on_a_day_of_their_choice(noted_request):
    """The moment of a decision is a column like any other."""
    request, _, vera = noted_request
    eve = someone("eve")
    away(vera, eve, since=-30)
    for at in (timezone.now() - timedelta(days=28), timezone.now()):
        with pytest.raises(DatabaseError, match="stands in for somebody who is not away"):
            decide(request, eve, on_behalf_of=vera.pk, at=at)


# -- how far a request reaches


@pytest.fixture
def rich(real_db, settings):
    """A layer whose rules are about to move three accounts; from a million on Finance decides too.

    Each has a contract of 400,000 that runs these days, and not in 2005 or 2035.
    """
    settings.GATES = {}
    policy("definition", "Approver", only=True)
    policy("definition", "Finance", min_arr=1_000_000)
    layer = layer_with(
        {"rules": [{"segment": "high", "when": "arr >= 100000"}, {"segment": "tech", "when": "arr >= 0"}]}
    )
    rows = [account(f"a{number}") for number in range(3)]
    for row in rows:
        Subscription.objects.create(
            account=row,
            subscription_id=row.external_id,
            arr=400_000,
            start_date="2024-01-01",
            end_date="2034-01-01",
        )
    recompute(at=TODAY)
    settings.GATES = {"rules": "governance.changes.activations.gate"}
    ops = granted(someone("ops", "CS Ops"), "change_definition", "preview_rules", "activate_definition")
    draft = versions.create_draft(layer, by=ops)
    draft = answered(versions.save_draft(draft, {"rules": [{"segment": "tech"}]}, by=ops, seen=draft.hash))
    return layer, rows, ops, someone("vera", "Approver"), draft


@pytest.mark.parametrize("day", ["2005-01-01", "2035-01-01"])
def test_whatever_day_was_previewed_the_impact_is_that_of_today(rich, day):
    _, _, ops, _, draft = rich
    preview = simulation.work(
        simulation.start(draft, as_of=timezone.datetime.fromisoformat(day).date(), by=ops).pk
    )
    request = activations.ask(draft, by=ops, why="Simpler", simulation=preview)
    assert (request.accounts, request.arr, request.needed) == (3, 1_200_000, {"Approver": 1, "Finance": 1})


def test_the_newest_preview_is_attached_not_an_older_one_that_was_kept(rich):
    _, _, ops, _, draft = rich
    kept = simulation.work(simulation.start(draft, by=ops).pk)
    simulation.freeze(kept, by=ops, note="For the meeting")
    newest = simulation.work(simulation.start(draft, by=ops).pk)
    assert activations.ask(draft, by=ops, why="Simpler").simulation == newest


def test_impact_that_was_made_small_while_asking_is_counted_again_with_the_decision(rich):
    _, rows, ops, vera, draft = rich
    for row in rows:
        change(row, arr=100_000)
    request = activations.ask(draft, by=ops, why="Simpler")
    assert (request.arr, request.needed) == (300_000, {"Approver": 1})
    for row in rows:
        change(row, arr=400_000)
    request = approved(request, vera)
    assert (request.status, request.arr) == ("pending", 1_200_000)
    assert request.needed == {"Approver": 1, "Finance": 1}
    assert [(one["when"], Decimal(one["arr"])) for one in request.measured] == [
        ("asked", 300_000),
        ("decided", 1_200_000),
    ]
    assert approved(request, someone("fay", "Finance")).status == "applied"


def test_impact_that_was_large_when_asked_stays_so(here):
    policy("override", "Approver", only=True)
    policy("override", "Finance", min_arr=100_000)
    request = here.ask(here.acme)
    assert request.needed == {"Approver": 1, "Finance": 1}
    change(here.acme, arr=1)
    request = approved(request, here.vera)
    assert (request.status, request.arr, request.needed) == (
        "pending",
        200_000,
        {"Approver": 1, "Finance": 1},
    )


def test_a_request_that_waits_is_counted_again_before_it_is_carried_out(here):
    policy("override", "Approver", only=True)
    policy("override", "Finance", min_arr=100_000)
    change(here.beta, arr=5)
    request = here.ask(here.beta, segment="low")
    assert request.needed == {"Approver": 1}
    change(here.beta, arr=900_000)
    assert approved(request, here.vera).status == "pending"


# -- imports


RECIPE = {
    "as_of": "2026-06-30",
    "currency": "USD",
    "sources": {"crm": {"file": "crm.csv"}},
    "accounts": "SELECT id AS external_id, name FROM crm",
}


@pytest.fixture
def batch(real_db):
    policy("import", "RevOps", only=True)
    ops = someone("ops", "CS Ops")
    files = {"crm.csv": b"id,name\nA-1,One\n"}
    return imports.preview(imports.create(yaml.safe_dump(RECIPE), files, by=ops, name="June")), ops


def test_an_import_is_not_carried_out_by_its_status(batch):
    batch, _ = batch
    for status in ("committing", "committed"):
        with pytest.raises(DatabaseError, match="by an approved request"), transaction.atomic():
            ImportBatch.objects.filter(pk=batch.pk).update(status=status)
    with pytest.raises(DatabaseError, match="by an approved request"), transaction.atomic():
        ImportBatch.objects.create(name="x", recipe=batch.recipe, status="committing")
    assert not Account.objects.exists()


def test_files_swapped_after_the_approval_are_not_imported(batch):
    batch, ops = batch
    request = import_gate.ask(batch, by=ops, why="The new quarter")
    batch.uploads.update(content=b"id,name\nA-1,Other\n")
    request = approved(request, someone("rob", "RevOps"))
    assert (request.status, "not those that were asked about" in request.failure) == ("failed", True)
    with pytest.raises(DatabaseError, match="by an approved request"), transaction.atomic():
        ImportBatch.objects.filter(pk=batch.pk).update(status="committing")


def test_nor_by_an_approval_that_has_expired(batch):
    batch, ops = batch
    request = import_gate.ask(batch, by=ops, why="The new quarter")
    decide(request, someone("rob", "RevOps"), role="RevOps")
    with a_cause():
        sql(
            "update governance_approvalrequest set due_at = now() - interval '2 days', expires_at = now() - interval '1 day'"
        )
    with pytest.raises(DatabaseError, match="by an approved request"), transaction.atomic():
        ImportBatch.objects.filter(pk=batch.pk).update(status="committing")


def test_nor_by_a_preview_that_was_made_to_say_less(batch):
    """It begins, and ends without an account: what it did is counted once more before it is kept."""
    batch, _ = batch
    policy("import", "RevOps", min_accounts=1, only=True)
    policy("import", "CS Ops", 0)
    less = [{**ledger, "created": 0, "updated": 0} for ledger in batch.queries]
    ImportBatch.objects.filter(pk=batch.pk).update(queries=less, status="committing")
    ImportPart.objects.filter(job=batch).update(status="pending", attempts=0)
    imports.work(batch.pk)
    assert (fresh(batch).status, Account.objects.exists()) == ("failed", False)


def test_nor_between_the_approval_and_the_worker(batch):
    batch, ops = batch
    assert approved(import_gate.ask(batch, by=ops, why="Now"), someone("rob", "RevOps")).status == "approved"
    for attempt in (
        lambda: batch.uploads.update(content=b"id,name\nA-1,Other\n"),
        lambda: batch.uploads.all().delete(),
        lambda: batch.uploads.create(name="more.csv", content=b""),
        lambda: ImportBatch.objects.filter(pk=batch.pk).update(recipe="sources: {}"),
    ):
        with pytest.raises(DatabaseError, match="stays as it is"), transaction.atomic():
            attempt()
    imports.work(batch.pk)
    assert list(Account.objects.values_list("name", flat=True)) == ["One"]


# -- what needs a cause


def test_what_holds_a_tier_change_and_who_looks_after_the_account_needs_a_cause(real_db, settings):
    from crossing import crossed, down_at_once, make_team

    from governance.changes import transitions

    settings.GATES = {gate: path for gate, path in settings.GATES.items() if gate != "rules"}
    team = make_team()
    down_at_once(team)
    one = crossed(team, acme=(20_000, 200_000))["acme"]
    for columns in ("applies_on = current_date", "held_for = 'margin', held_until = current_date"):
        with pytest.raises(DatabaseError, match="needs a cause"), transaction.atomic():
            sql(f"update governance_transition set {columns}")
    Account.objects.update(csm=team.erik)  # nothing is planned yet
    transitions.plan(one, by=team.ops, receiver=team.pool)
    with pytest.raises(DatabaseError, match="needs a cause"), transaction.atomic():
        Account.objects.update(csm=team.dana)
    with a_cause():
        Account.objects.update(csm=team.dana)


def test_what_a_right_is_called_needs_a_cause(real_db):
    for attempt in (
        lambda: Permission.objects.filter(codename="view_account").update(codename="decide_request_"),
        lambda: Permission.objects.filter(codename="decide_request").delete(),
    ):
        with pytest.raises(DatabaseError, match="needs a cause"), transaction.atomic():
            attempt()


# -- how segments in use are called and served


CHANGES = {
    "segment": lambda: Segment.objects.filter(key="high").update(name="Platinum"),
    "treatment": lambda: Treatment.objects.filter(segments__key="high").update(touch_frequency="never"),
    "service model": lambda: ServiceModel.objects.update(accounts_per_csm_max=900),
    "segmentation": lambda: Layer.objects.update(name="Other"),
    "what it decides": lambda: Layer.objects.update(decides=[]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_how_a_segment_in_use_is_called_and_served_changes_with_a_reason_that_is_told(here, what):
    match = "changes with a reason only"
    with pytest.raises(DatabaseError, match=match), transaction.atomic():
        CHANGES[what]()
    with pytest.raises(DatabaseError, match=match), a_cause(reason=""):
        CHANGES[what]()
    with a_cause(reason="The board wants it"):
        CHANGES[what]()
    event = Event.objects.filter(kind="how_we_serve_changed").latest("pk")
    assert event.reason == "The board wants it"
    assert "was changed" in event.text


def test_the_owner_and_the_approvers_are_told_of_it(here):
    from governance.news import notifications

    owner = someone("owner", "CSM")
    with unsigned(), a_cause():
        Segment.objects.filter(key="high").update(owner=owner)
    notifications.deliver()
    with a_cause(reason="The board wants it"):
        Segment.objects.filter(key="high").update(name="Platinum")
    notifications.deliver()
    for user, why in ((owner, "You own the segment"), (here.vera, "You approve what changes")):
        told = user.notifications.order_by("pk").last()
        assert (told.text, why in told.why) == ("The segment “High” was changed: name.", True)


def test_where_no_rules_are_active_they_change_as_they_are_typed(real_db):
    layer = Layer.objects.create(key="later", name="Later")
    Segment.objects.create(layer=layer, key="one", name="One")
    Segment.objects.update(name="First")
    Layer.objects.update(name="Soon")
    assert not Event.objects.exists()
