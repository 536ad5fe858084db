"""The database's own promises, tried with raw SQL and real commits: whoever writes meets the same refusal."""

import contextlib

import pytest
from databases import unsigned
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone
from segmenting import DAY, RULES, account, change, layer_with, recompute

from core import guards
from core.history import acting
from segmentation.evaluation import causes
from segmentation.models import Assignment, Cause, Definition, Layer, Move

APPEND_ONLY = sorted(
    table
    for what, table, name in guards.belonging()
    if (what, name) == ("trigger", "demarc_append_only")
    and not table.startswith(("governance_", "core_"))  # tests/governance tries those
)


def sql(text, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(text, parameters)


def with_cause(text):
    with transaction.atomic():
        causes.take(Cause.Kind.DECISION)
        sql(text)


@pytest.fixture
def world(real_db):
    """A row in every table: a layer, an account with subscription and CSM, a run."""
    from datetime import date

    from accounts.models import Conflict, Csm, Refusal, SourceSystem, Subscription, SystemOfRecord
    from segmentation.models import Acknowledgement, Declaration, Interview, JobToBeDone, ServiceModel

    Csm.objects.create(email="csm@example.com")
    ServiceModel.objects.create(key="high", name="High")
    layer = layer_with()
    acme = account(arr=120_000, employees=2_000, usage={"nps": 60})
    Subscription.objects.create(account=acme, subscription_id="s", start_date=date(2024, 1, 1), arr=1)
    draft = Definition.objects.create(layer=layer, version=2)
    Acknowledgement.objects.create(definition=draft, check_id="small-segment", sentence="Few.", reason="New")
    draft.delete()
    high = layer.segments.first()
    Declaration.objects.create(account=acme, layer=layer, segment=high, reason="Named", from_date=DAY)
    job = JobToBeDone.objects.create(segment=high)
    Interview.objects.create(job=job, held_on=DAY)
    crm = SourceSystem.objects.create(key="crm", name="CRM")
    SystemOfRecord.objects.create(fact="industry", source=crm)
    Conflict.objects.create(account=acme, fact="industry", proposed_source="crm", proposed_observed=DAY)
    Refusal.objects.create(verb="versions.activate", sentence="No.")
    recompute(DAY)
    return layer


def test_every_history_table_is_watched():
    assert len(APPEND_ONLY) == 18
    assert {"segmentation_move", "segmentation_cause", "accounts_historicalaccount"} < set(APPEND_ONLY)


def test_history_moves_and_causes_only_grow(world):
    for table in APPEND_ONLY:
        with connection.cursor() as cursor:
            cursor.execute(f"select count(*) from {table}")
            assert cursor.fetchone()[0], f"{table} is empty: nothing is tried on it"
            cursor.execute(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum = 1", [table]
            )
            column = cursor.fetchone()[0]
        for attempt in (
            f"update {table} set {column} = {column}",
            f"delete from {table}",
            f"truncate {table} cascade",
        ):
            with pytest.raises(DatabaseError, match=r"append-only|never emptied"):
                sql(attempt)


TRICKS = [
    "",
    "set session_replication_role = replica;",
    "set app.cause = '1'; set pgtrigger.ignore = '{}';",
    "create temporary table segmentation_cause as select pg_current_xact_id() as xid, now() as at;",
    "set search_path = pg_temp, public;",
]
GOVERNED = [
    "update segmentation_assignment set effective_id = null",
    "update segmentation_assignment set effective_id = (select max(id) from segmentation_segment)",
    "delete from segmentation_assignment",
    "truncate segmentation_assignment cascade",
    "update segmentation_definition set status = 'retired' where status = 'active'",
]


def test_governed_columns_need_a_cause_of_the_same_transaction(world):
    for attempt in GOVERNED:
        for trick in TRICKS:
            with (
                pytest.raises(DatabaseError, match=r"needs a cause|append-only|never emptied"),
                transaction.atomic(),
            ):
                sql(trick + attempt)


def test_a_cause_of_an_earlier_transaction_is_none(world):
    with transaction.atomic():
        old = causes.take(Cause.Kind.DECISION)
    with pytest.raises(DatabaseError, match="needs a cause"), transaction.atomic():
        sql("update segmentation_assignment set effective_id = null")
    with pytest.raises(DatabaseError, match=r"append-only|never emptied"), transaction.atomic():
        sql("update segmentation_cause set xid = pg_current_xact_id(), at = now() where id = %s", old.pk)
    # Written by hand for a moment to come: it is stamped with its own transaction.
    sql(
        "insert into segmentation_cause (kind, actor_label, channel, reason, xid, at) "
        "values ('run', 'x', 'x', '', (pg_current_xact_id()::text::bigint + 1)::text::xid8, now() + interval '1 hour')"
    )
    forged = Cause.objects.latest("id")
    assert forged.at < timezone.now()


INSERT_MOVE = """
    insert into segmentation_move (account_id, layer_id, to_segment_id, why, definition_id, cause_id, at, written_at, evidence)
    select account_id, layer_id, to_segment_id, why, definition_id, {cause}, at, '2001-01-01', '{{}}' from segmentation_move
"""


def test_a_move_has_the_cause_of_its_transaction_and_its_time(world):
    for attempt in (INSERT_MOVE.format(cause="cause_id"), INSERT_MOVE.format(cause="0")):
        with pytest.raises(DatabaseError, match="needs a cause"):
            sql(attempt)
        with pytest.raises(DatabaseError, match="needs a cause"):
            with_cause(attempt)  # it has one, and names another
    before = timezone.now()
    with_cause(INSERT_MOVE.format(cause="(select max(id) from segmentation_cause)"))
    assert Move.objects.latest("id").written_at >= before


def test_with_a_cause_it_goes_and_there_is_one_a_transaction(world):
    with transaction.atomic(), acting(label="ida", reason="because"):
        first, second = causes.take(Cause.Kind.DECISION), causes.take(Cause.Kind.RUN)
        with unsigned():
            Assignment.objects.update(effective=None)
    assert first == second
    assert (first.actor_label, first.reason) == ("ida", "because")
    assert not Assignment.objects.exclude(effective=None).exists()


def test_a_cause_needs_a_transaction(real_db):
    with pytest.raises(RuntimeError):
        causes.take(Cause.Kind.RUN)


def test_inserting_a_segment_needs_a_cause(world):
    other = account("other", arr=1)
    values = {"account": other, "layer": world, "definition": world.definitions.get(), "computed_since": DAY}
    with pytest.raises(DatabaseError, match="needs a cause"):
        Assignment.objects.create(effective=world.segments.first(), **values)
    Assignment.objects.create(**values)  # no segment: nothing governed


def test_rules_that_are_no_draft_never_change(world):
    for attempt in [
        "update segmentation_definition set document = '{}'",
        "update segmentation_definition set hash = ''",
        "update segmentation_definition set version = 7",
        "update segmentation_definition set layer_id = layer_id + 1",
        "update segmentation_definition set activated_by_label = 'somebody else'",
        "update segmentation_definition set reason = 'another'",
        "update segmentation_definition set created_at = now()",
        "delete from segmentation_definition",
        "truncate segmentation_definition cascade",
        "update segmentation_definition set status = 'draft'",
    ]:
        with pytest.raises(DatabaseError, match=r"cannot|append-only|never emptied"):
            with_cause(attempt)


def test_rules_go_one_way(world):
    with unsigned():
        with_cause("update segmentation_definition set status = 'retired'")
    with pytest.raises(DatabaseError, match="cannot go from retired to active"):
        with_cause("update segmentation_definition set status = 'active'")


def test_active_rules_cannot_slip_in(world):
    other = Layer.objects.create(key="other", name="Other")
    with pytest.raises(DatabaseError, match="needs a cause"):
        Definition.objects.create(layer=other, version=1, status="active", document=RULES)


@pytest.mark.parametrize(
    ("weights", "draft", "active"),
    [
        ({"a": "0.25", "b": "0.40", "c": "0.35"}, True, True),
        ({"a": "0.333", "b": "0.333", "c": "0.334"}, True, True),
        ({"a": "1", "b": "0", "c": "0"}, True, True),
        ({"a": "0.33", "b": "0.33", "c": "0.33"}, True, False),
        ({"a": "0.5", "b": "0.5", "c": "0.1"}, True, False),
        ({"a": "2", "b": "x"}, True, False),
        ({"a": "", "b": "1"}, True, False),
        ({"a": None, "b": "1"}, True, False),
        ({}, True, False),
        ([], True, False),
        ({"a": "-0.1", "b": "0.6", "c": "0.5"}, False, False),
        ({"a": "NaN", "b": "0.5", "c": "0.5"}, False, False),
        ({"a": "Infinity", "b": "0.5"}, False, False),
    ],
)
def test_weights(db, weights, draft, active):
    layer = Layer.objects.create(key="weighed", name="Weighed")
    causes.take(Cause.Kind.SETUP)
    rules = Definition(layer=layer, version=1, document={"weights": weights})
    with refused(unless=draft), transaction.atomic():
        rules.save()
    if draft:
        with refused(unless=active), transaction.atomic():
            Definition.objects.filter(pk=rules.pk).update(status="active")


def refused(*, unless):
    return contextlib.nullcontext() if unless else pytest.raises(IntegrityError)


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (
            "drop trigger demarc_append_only on segmentation_move",
            "trigger demarc_append_only on segmentation_move",
        ),
        (
            "alter table accounts_historicalcsm disable trigger user",
            "demarc_not_emptied on accounts_historicalcsm",
        ),
        (
            "create or replace function demarc_require_cause() returns trigger language plpgsql as "
            "'begin return coalesce(new, old); end'",
            "function demarc_require_cause() is not as it was made",
        ),
        (
            "alter function demarc_require_cause() reset search_path",
            "function demarc_require_cause() is not as it was made",
        ),
        (
            "create or replace trigger demarc_effective_update before update on segmentation_assignment "
            "for each row when (false) execute function demarc_require_cause(); "
            "alter table segmentation_assignment enable always trigger demarc_effective_update",
            "trigger demarc_effective_update on segmentation_assignment is not as it was made",
        ),
        (
            "alter table governance_decision enable trigger demarc_guard_decision",
            "trigger demarc_guard_decision on governance_decision is not as it was made",
        ),
        (
            "create rule nothing as on update to governance_approvalrequest do instead nothing",
            "rule nothing on governance_approvalrequest does not belong there",
        ),
        (
            "create trigger a_first before insert on governance_decision for each row "
            "execute function suppress_redundant_updates_trigger()",
            "trigger a_first on governance_decision does not belong there",
        ),
        (
            "alter table segmentation_cause drop constraint one_cause_per_transaction",
            "one_cause_per_transaction on segmentation_cause is gone",
        ),
        (
            "drop index one_open_request",
            "unique index one_open_request on governance_approvalrequest is gone",
        ),
        (
            "drop index one_open_request; create unique index one_open_request on governance_approvalrequest (id)",
            "unique index one_open_request on governance_approvalrequest is not as it was made",
        ),
        (
            'create or replace view governance_countedapproval as select id, request_id, role, "by" as person '
            "from governance_decision",
            "view governance_countedapproval is not as it was made",
        ),
        (
            "alter table auth_user enable row level security",
            "row security on auth_user does not belong there",
        ),
        (
            "alter table segmentation_definition drop constraint definition_weights_complete",
            "definition_weights_complete",
        ),
        (
            "alter table segmentation_assignment enable replica trigger demarc_effective_update",
            "demarc_effective_update",
        ),
    ],
)
def test_lost_guards_are_noticed(db, loss, told):
    assert not any(told in phrase for phrase in guards.differences())
    sql(loss)
    assert any(told in phrase for phrase in guards.differences()), guards.differences()


def test_a_fresh_database_keeps_all_promises_and_a_lost_trigger_is_put_back(db, alone):
    # The guard tests/conftest.py opens for tests without governance is noticed too.
    assert guards.differences() == ["function demarc_refuse_unsigned(text) is not as it was made"]
    sql("drop trigger demarc_append_only on segmentation_move")
    sql("alter table governance_decision enable trigger demarc_guard_decision")
    sql("drop function demarc_fingerprint(jsonb) cascade")
    assert len(guards.differences()) == 4
    guards.install_all()
    assert guards.differences() == []


def test_no_frozen_copy_is_due():
    assert guards.due() == []


def test_a_move_is_dated_and_stamped(world):
    [move] = Move.objects.all()
    assert (move.at, move.why, move.cause.run) == (DAY, "initial", world.runs.get().run_id)
    change(move.account, arr=1)
    recompute(DAY)
    assert Move.objects.count() == 1  # waits for approval
