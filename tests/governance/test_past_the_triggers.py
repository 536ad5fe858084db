"""Ways past the triggers that a second attack found: rows that change places, tables within tables, values nobody approved.

Raw SQL as Demarc's own role with a cause of one's own, on real commits; and what start-up says of a changed schema.
"""

from contextlib import contextmanager
from decimal import Decimal

import pytest
from databases import unsigned
from django.contrib.auth.models import Group
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from governing import NOTED, approved, fresh, policy, request_of, someone
from overriding import gated_portfolio
from segmenting import RULES, account, answered, layer_with, person, recompute

from core import guards
from core.history import acting
from governance.changes import activations
from governance.models import ApprovalPolicy
from governance.signoff import approvals, circumstances, people, policies
from governance.signoff.approvals import token
from governance.signoff.impact import Impact
from governance.signoff.kinds import KINDS
from governance.signoff.profiles import Row
from segmentation.authoring import versions
from segmentation.evaluation import causes
from segmentation.models import Cause, Layer, Segment


def sql(text, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(text, parameters or None)


@contextmanager
def a_cause():
    with transaction.atomic():
        causes.take(Cause.Kind.DECISION, reason="Because")
        yield


@pytest.fixture
def here(really_begun, settings):
    """Acme is high and Carl's, Beta is tech; the segmentation needs approval, and Olga, Vera and Carl have their roles."""
    settings.GATES = {gate: path for gate, path in settings.GATES.items() if gate != "rules"}
    return really_begun(gated_portfolio)


MOVED = "update {0} set id = -1 where id = (select min(id) from {0})"
TRICKS = {
    "a layer's number": (MOVED.format("segmentation_layer"), "keep their numbers"),
    "a segment's number": (MOVED.format("segmentation_segment"), "keep their numbers"),
    "an assignment's number": (MOVED.format("segmentation_assignment"), "keep their numbers"),
    "an account's number": (MOVED.format("accounts_account"), "keep their numbers"),
    "an account's name in other systems": (
        "update accounts_account set external_id = external_id || 'x'",
        "keep their external ID",
    ),
    "a person's number": (MOVED.format("auth_user"), "keep their numbers"),
    "a role's number": (MOVED.format("auth_group"), "keep their numbers"),
    "a role's name": ("update auth_group set name = 'x' where name = 'Auditor'", "keep their names"),
    "a layer deleted": ("delete from segmentation_layer", "it is not deleted"),
    "roles emptied": ("truncate auth_user_groups", "never emptied"),
    "recalculations emptied": ("truncate segmentation_run cascade", "never emptied"),
    "rights emptied": ("truncate auth_group_permissions", "never emptied"),
    "how we serve deleted": ("delete from segmentation_treatment", "is changed, not deleted"),
    "a recalculation by a draft": (
        "update segmentation_runlayer set definition_id = (select id from segmentation_definition where status = 'draft')",
        "by rules that are in force",
    ),
    "a recalculation that goes on": (
        "update segmentation_run set status = 'running'",
        "does not go on",
    ),
    "no end of overrides": (
        "insert into governance_chore (day, step, attempts, error) values (current_date + 30, 'expire', 0, '')",
        "has not come",
    ),
    "crossings looked at": (
        "insert into governance_followedrun (run, counts) values (999, '{}')",
        "no such recalculation",
    ),
    "an old snapshot": (
        "rollback; begin isolation level repeatable read; "
        "insert into segmentation_cause (kind, actor_label, channel, reason) values ('decision', 'x', 'x', 'x')",
        "as it is now",
    ),
}


@pytest.mark.parametrize("what", TRICKS)
def test_no_row_takes_the_place_of_another(here, what):
    versions.create_draft(here.layer, by=person())
    trick, said = TRICKS[what]
    with pytest.raises(DatabaseError, match=said), a_cause():
        sql(trick)


def test_rules_of_before_are_not_put_in_force_by_a_recalculation(here):
    rules = "insert into segmentation_runlayer (run_id, layer_id, definition_id, running, left_out, counts, warnings) "
    rules += f"select max(id), {here.layer.pk}, {{}}, false, '[]', '{{{{}}}}', '[]' from segmentation_run"
    before = here.layer.definitions.get(status="active").pk
    with a_cause():
        sql("delete from segmentation_runlayer")
        sql(rules.format(before))
        sql("delete from segmentation_runlayer")
    with unsigned(), transaction.atomic():
        causes.take(Cause.Kind.DECISION, reason="Set up")
        sql("update segmentation_definition set status = 'retired', retired_at = now() - interval '2 hours'")
    with pytest.raises(DatabaseError, match="by rules that are in force"), a_cause():
        sql(rules.format(before))


def test_a_table_within_a_table_signs_nothing_off(here):
    """Its rows are read with those of the other, and no trigger looks at them."""
    with pytest.raises(DatabaseError, match="by an approved request"), a_cause():
        sql(
            "create temporary table child () inherits (segmentation_cause);"
            "insert into child (id, kind, actor_label, channel, reason, xid, at)"
            " values (-1, 'set-up', '', '', '', pg_current_xact_id(), transaction_timestamp());"
            "insert into auth_user_groups (user_id, group_id) select u.id, g.id from auth_user u, auth_group g"
            " where u.username = 'carl' and g.name = 'Approver'"
        )
    request = here.ask(here.beta)
    with pytest.raises(DatabaseError, match="only people of the role"), a_cause():
        sql(
            "create temporary table child () inherits (auth_user_groups);"
            "insert into child (id, user_id, group_id) select -1, u.id, g.id from auth_user u, auth_group g"
            " where u.username = 'carl' and g.name = 'Approver';"
            'insert into governance_decision (request_id, verdict, role, "by", by_label, on_behalf_of_label, hash, revision,'
            " reason, at) select r.id, 'approve', 'Approver', u.id, 'carl', '', r.hash, r.revision, '', now()"
            " from governance_approvalrequest r, auth_user u where r.id = %s and u.username = 'carl'",
            request.pk,
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "create table child () inherits (auth_user_groups)",
            "child table child on auth_user_groups does not belong",
        ),
        ("alter function demarc_required strict", "function demarc_required("),
        (
            "alter table governance_approvalrequest alter editors drop not null",
            "columns on governance_approvalrequest",
        ),
        (
            "alter table segmentation_historicalassignment set unlogged",
            "columns on segmentation_historicalassignment",
        ),
        (
            "alter table governance_event add check (id > 0)",
            "constraint governance_event_id_check on governance_event",
        ),
    ],
)
def test_start_up_sees_it(real_db, change, said):
    sql(change)
    assert any(one.startswith(said) for one in guards.differences()), guards.differences()


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("'approval'", "'public.approval'"),  # a name that only looks like that of the schema
        ("-- Light's", "-- public.Light's"),
        ("begin\n", "begin --\n"),
    ],
)
def test_the_hash_is_of_the_whole_text(there, instead):
    text = f"select 1 where policy = 'approval'; begin\n x; -- Light's\n{there}"
    assert guards._hash(text, "public") != guards._hash(text.replace(there, instead), "public")
    assert guards._hash("from public.a", "public") == guards._hash("from a", "public")


@pytest.mark.parametrize("what", ["as approved", "other rules", "retired only"])
def test_rules_become_active_as_they_were_read(here, monkeypatch, what):
    """The hash beside them is a column like any other; what a request binds is what they say."""
    monkeypatch.setitem(KINDS, "definition", NOTED)
    policy("definition", "Approver", only=True)
    draft = answered(versions.create_draft(here.layer, by=person()))
    rules = activations._fingerprint(draft) if what != "other rules" else "of others"
    content = {"definition": draft.pk, "hash": draft.hash, "rules": rules}
    request = request_of(here.olga, kind="definition", content=content)

    def attempt():
        with transaction.atomic():
            approved(request, here.vera)
            sql("update segmentation_definition set status = 'retired' where status = 'active'")
            if what != "retired only":
                sql("update segmentation_definition set status = 'active' where status = 'draft'")

    if what == "as approved":
        return attempt()
    said = "retire when others become active" if what == "retired only" else "by an approved request"
    with pytest.raises(DatabaseError, match=said):
        attempt()


def test_other_lines_than_those_approved_are_not_put_into_force(here, monkeypatch):
    def put(content):
        ApprovalPolicy.objects.filter(kind="override").delete()
        ApprovalPolicy.objects.create(kind="override", role=Group.objects.get(name="CS Ops"), approvals=0)

    monkeypatch.setitem(policies._PUT, "kind", put)
    policy("policy", "Approver", only=True)
    request = policies.ask(
        policies.for_kind("override", [Row("override", approvals=3)]), by=here.olga, why="Six eyes"
    )
    assert approved(request, here.vera).status == "failed"


@pytest.mark.parametrize("lines", [("Approver", "Finance"), ("Approver", "Approver"), ()])
def test_each_approved_line_is_put_into_force_once(here, monkeypatch, lines):
    """As many lines, one of them twice and Finance's not, are not those that were approved."""
    policy("override", "RevOps")
    content = policies.for_kind("override", [Row("override"), Row("override", "Finance")]).content

    def put(_):
        ApprovalPolicy.objects.filter(kind="override").delete()
        for role in lines:
            ApprovalPolicy.objects.create(kind="override", role=Group.objects.get(name=role))

    monkeypatch.setitem(policies._PUT, "kind", put)
    policy("policy", "Approver", only=True)
    request = policies.ask(
        policies.Proposal("policy:kind:override", "Overrides", content, ["Two decide"], Impact()),
        by=here.olga, why="Four eyes",
    )  # fmt: skip
    done = "applied" if len(set(lines)) == 2 else "failed"
    assert approved(request, here.vera).status == done


def test_a_profile_without_lines_takes_none_away(here, monkeypatch):
    monkeypatch.setitem(
        policies._PUT, "profile", lambda content: ApprovalPolicy.objects.filter(kind="override").delete()
    )
    policy("policy", "Approver", only=True)
    policy("override", "RevOps")
    content = {"what": "profile", "name": "standard", "was": {}, "rows": {}}
    request = policies.ask(
        policies.Proposal("policy:profile", "Profile", content, ["As it is"], Impact()), by=here.olga, why="x"
    )
    assert approved(request, here.vera).status == "failed"


@pytest.mark.parametrize("policy_too", [False, True])
def test_what_stops_being_primary_keeps_needing_approval(here, monkeypatch, policy_too):
    other = layer_with(RULES, key="other", policy="approval")
    with transaction.atomic(), unsigned(), acting(label="tests"):
        causes.take(Cause.Kind.DECISION, reason="Set up")
        Layer.objects.filter(pk=here.layer.pk).update(primary=True)
    proposal = policies.for_layer(other, {"primary": True})

    def put(content):
        more = {"policy": "automatic"} if policy_too else {}
        Layer.objects.filter(pk=here.layer.pk).update(primary=False, **more)
        Layer.objects.filter(pk=other.pk).update(primary=True)

    monkeypatch.setitem(policies._PUT, "layer", put)
    policy("policy", "Approver", only=True)
    request = approved(policies.ask(proposal, by=here.olga, why="It drives coverage"), here.vera)
    assert (request.status, fresh(here.layer).policy) == ("failed" if policy_too else "applied", "approval")


def test_who_loses_a_say_by_another_policy_has_one_about_it(here):
    someone("finn", "Finance")
    policy("override", "Finance", min_arr=Decimal(1_000_000))
    policy("policy", "Approver", only=True)
    request = policies.ask(policies.for_kind("override", [Row("override")]), by=here.olga, why="Faster")
    assert request.needed == {"Approver": 1, "Finance": 1}


# -- what whoever decides is told besides


def test_names_that_were_exchanged_for_the_asking_are_told(here):
    """Asked for “Tech” while High was called so."""
    high, tech = (Segment.objects.get(layer=here.layer, key=key) for key in ("high", "tech"))

    def called(*names):
        for segment, name in zip((high, tech, high), names, strict=False):
            with transaction.atomic(), acting(by=here.olga, reason="Typo"):
                causes.take(Cause.Kind.DECISION, reason="Typo")
                segment.name = name
                segment.save()

    called("Between", "High", "Tech")
    request = here.ask(here.beta, segment="high")
    told = circumstances.sentences(request, at=timezone.now())
    assert told[0].startswith(
        "“Tech” was called “High” and “Between” within the last 90 days: renamed by olga, last on"
    )
    called("Between", "Tech", "High")
    told = circumstances.sentences(request, at=timezone.now())
    assert told[0].startswith("“High” was called “Between” and “Tech” within")


def test_an_arr_that_was_made_small_for_the_asking_counts_as_it_was(here):
    someone("finn", "Finance")
    policy("override", "Approver", only=True)
    policy("override", "Finance", min_arr=Decimal(1_000_000))
    for arr in (2_000_000, 1):
        here.beta.arr = Decimal(arr)
        here.beta.save()
    request = here.ask(here.beta)
    assert (request.arr, request.needed) == (1, {"Approver": 1, "Finance": 1})
    assert any(
        "was up to $2,000,000" in sentence for sentence in circumstances.sentences(request, at=timezone.now())
    )


def test_what_was_rejected_and_what_was_cut_into_pieces_is_told(here):
    someone("finn", "Finance")
    policy("override", "Approver", only=True)
    policy("override", "Finance", min_arr=Decimal(1_000_000))
    first = here.ask(here.beta)
    approvals.reject(first, by=here.vera, seen=token(first), reason="Not them")
    again = here.ask(here.beta)
    told = circumstances.sentences(again, at=timezone.now())
    assert any("was rejected on" in sentence and "Not them" in sentence for sentence in told)
    small = [account(name, arr=600_000) for name in ("one", "two")]
    recompute(at=here.today)
    for one in small:
        here.ask(one)
    together = circumstances.sentences(fresh(again), at=timezone.now())
    assert any(
        "3 requests of this kind within 7 days" in sentence and "Finance" in sentence for sentence in together
    )


def test_a_person_who_was_called_otherwise_is_told(here):
    admin, carl = someone("admin", "Administrator"), here.carl
    carl.username = "carl.tmp"
    with acting(by=admin, reason="Typo"):
        carl.save()
    request = people.ask(carl, by=admin, why="Helps", add=["Auditor"])
    assert any(
        "carl → carl.tmp" in sentence for sentence in circumstances.sentences(request, at=timezone.now())
    )
