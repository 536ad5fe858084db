"""Planted bugs: a promise of sign-off broken in one place, and the test that has to turn red.

Each is one change of a copy of the project, in which that test is run. `make test` looks whether the places and the tests
are there; the runs are `long`.
"""

import ast
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import databases
import pytest
from django.db import connection

from core import guards

ROOT = Path(__file__).resolve().parents[2]
GOVERNANCE, FAULTS, SEGMENTATION = "tests/governance/test_", "tests/faults/test_", "tests/segmentation/test_"
SIGN_OFF, PAST = f"{GOVERNANCE}sign_off_guards.py", f"{GOVERNANCE}past_the_triggers.py"
ACCOUNTS_GUARDS, SEGMENTATION_GUARDS, GUARDS = (
    str(guards.copy(app).relative_to(ROOT)) for app in ("accounts", "segmentation", "governance")
)


@dataclass(frozen=True)
class Mutant:
    """A change of a file (`old`, there exactly once, to `new`), and the test that notices."""

    name: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = [
    Mutant(
        "what has ended is decided again",
        "governance/signoff/permissions.py",
        'if request.status != "pending":',
        "if False:",
        f"{GOVERNANCE}approvals.py::test_every_verb_goes_along_the_table",
    ),
    Mutant(
        "the database lets a request go where the table does not",
        GUARDS,
        "('pending', 'rejected'), ('changes_asked', 'pending'),",
        "('pending', 'rejected'), ('changes_asked', 'failed'), ('changes_asked', 'pending'),",
        f"{GOVERNANCE}approvals.py::test_the_database_keeps_the_table",
    ),
    Mutant(
        "the database lets a tier change go where the table does not",
        GUARDS,
        "('awaiting', 'rejected'), ('awaiting', 'joint'),",
        "('awaiting', 'rejected'), ('flagged', 'awaiting'), ('awaiting', 'joint'),",
        f"{GOVERNANCE}transitions.py::test_the_database_refuses_every_other_way",
    ),
    Mutant(
        "one decides one's own request",
        "governance/signoff/permissions.py",
        "if request.requester == by.pk:",
        "if False:",
        f"{GOVERNANCE}approvals.py::test_nobody_decides_what_they_requested_edited_or_look_after",
    ),
    Mutant(
        "the database lets people decide their own request",
        GUARDS,
        "person] && (array[r.requester] || r.editors || r.owners) then",
        "person] && (r.editors || r.owners) then",
        f"{GOVERNANCE}approvals.py::test_the_database_refuses_the_same",
    ),
    Mutant(
        "who looks after the account decides",
        "governance/signoff/permissions.py",
        "    if by.pk in desk.left_out(request):\n",
        "    if False:\n",
        f"{GOVERNANCE}approvals.py::test_nobody_decides_what_they_requested_edited_or_look_after",
    ),
    Mutant(
        "what was not seen is decided",
        "governance/signoff/approvals.py",
        "if by is not None and seen != token(request):",
        "if False:",
        f"{GOVERNANCE}approvals.py::test_an_edit_voids_approvals_and_what_was_seen_before_is_stale",
    ),
    Mutant(
        "an approval of something else counts",
        "governance/signoff/deciders.py",
        "if decision.revision == revisions[decision.request_id]:",
        "if True:",
        f"{GOVERNANCE}approvals.py::test_an_edit_voids_approvals_and_what_was_seen_before_is_stale",
    ),
    Mutant(
        "the database takes a decision about something else",
        GUARDS,
        "if (new.hash, new.revision) is distinct from (r.hash, r.revision) then",
        "if false then",
        f"{GOVERNANCE}promises.py::test_nobody_decides_their_own_past_the_verbs",
    ),
    Mutant(
        "a request is not locked",
        "governance/signoff/requests.py",
        "return ApprovalRequest.objects.select_for_update().get(pk=request.pk)",
        "return ApprovalRequest.objects.get(pk=request.pk)",
        f"{FAULTS}sign_off_races.py::test_of_eight_who_approve_at_once_one_does",
    ),
    Mutant(
        "a tier change is not locked",
        "governance/changes/transition_steps.py",
        "rows = list(locked(Transition.objects.filter(pk__in=ids).select_related(*RELATED)))\n",
        'rows = list(Transition.objects.filter(pk__in=ids).select_related(*RELATED).order_by("pk"))\n',
        f"{FAULTS}tier_change_races.py::test_completed_by_two_at_once",
    ),
    Mutant(
        "update() writes a segment without a cause",
        SEGMENTATION_GUARDS,
        "when ((old.account_id, old.layer_id, old.product_id, old.effective_id, old.overridden, old.provisional)\n"
        "                       is distinct from (new.account_id, new.layer_id, new.product_id, new.effective_id,",
        "when ((old.account_id, old.layer_id, old.product_id, old.overridden, old.provisional)\n"
        "                       is distinct from (new.account_id, new.layer_id, new.product_id,",
        f"{SEGMENTATION}guards.py::test_governed_columns_need_a_cause_of_the_same_transaction",
    ),
    Mutant(
        "update() writes the status of a tier change without a cause",
        GUARDS,
        "when ((old.status, old.from_segment_id,",
        "when ((new.status, old.from_segment_id,",
        f"{GOVERNANCE}promises.py::test_no_setting_gets_round_a_cause",
    ),
    Mutant(
        "a trigger is removed",
        GUARDS,
        "create or replace trigger demarc_append_only before update or delete on governance_decision\n"
        "    for each row execute function demarc_append_only();\n",
        "",
        f"{SEGMENTATION}guards.py::test_a_fresh_database_keeps_all_promises_and_a_lost_trigger_is_put_back",
    ),
    Mutant(
        "a trigger that is switched off is not noticed",
        "core/guards.py",
        "concat_ws(' ', g.tgenabled, pg_get_triggerdef(g.oid))",
        "pg_get_triggerdef(g.oid)",
        f"{SEGMENTATION}guards.py::test_lost_guards_are_noticed",
    ),
    Mutant(
        "nobody looks for lost triggers at the start",
        "config/schema.py",
        "    if lost:\n",
        "    if False:\n",
        f"{FAULTS}lost_guards.py::test_no_part_starts_without_the_guards",
    ),
    Mutant(
        "an event is written outside of a transaction",
        "governance/events.py",
        "if not connection.in_atomic_block:",
        "if False:",
        f"{GOVERNANCE}promises.py::test_an_event_belongs_to_the_transaction_of_what_happened",
    ),
    Mutant(
        "an event outlives what did not happen",
        "governance/signoff/carrying_out.py",
        "    try:\n        with transaction.atomic():\n            if not _prepared(request, by=by):\n",
        '    tell(request, "request_applied", f"Approved and done: {request.subject}", request.why)\n'
        "    try:\n        with transaction.atomic():\n            if not _prepared(request, by=by):\n",
        f"{GOVERNANCE}approvals.py::test_what_cannot_be_carried_out_says_why_and_may_be_tried_again",
    ),
    Mutant(
        "a segment changes without a row of history",
        "segmentation/evaluation/decisions.py",
        "        assignment.overridden = overridden\n    assignment.save()\n",
        "        assignment.overridden = overridden\n    assignment.save_without_historical_record()\n",
        f"{GOVERNANCE}rebuilding.py::test_history_rebuilds_what_is_governed",
    ),
    Mutant(
        "a segment changes without a move",
        "segmentation/evaluation/decisions.py",
        "    if before == segment:\n        return None\n",
        "    if before == segment or overridden is not None:\n        return None\n",
        f"{GOVERNANCE}rebuilding.py::test_history_rebuilds_what_is_governed",
    ),
    Mutant(
        "a tier change closes without a row of history",
        "governance/changes/crossings.py",
        'kept as ({_history_sql("closed")})',
        'kept as (select 1)',
        f"{GOVERNANCE}rebuilding.py::test_history_rebuilds_what_is_governed",
    ),
    Mutant(
        "an expired request is decided",
        "governance/signoff/permissions.py",
        "if request.expires_at <= (at or timezone.now()):",
        "if False:",
        f"{GOVERNANCE}approvals.py::test_requests_expire_and_say_so",
    ),
    Mutant(
        "an override does not end on its date",
        "governance/changes/overrides_in_force.py",
        "due = Override.objects.active().filter(expires_on__lte=at)",
        "due = Override.objects.active().filter(expires_on__lt=at)",
        f"{GOVERNANCE}overrides.py::test_at_its_end_the_rules_decide_at_once_where_they_apply_by_themselves",
    ),
    Mutant(
        "who leaves still counts",
        "governance/signoff/carrying_out.py",
        "if waits and not enough:",
        "if False:",
        f"{GOVERNANCE}people.py::test_who_leaves_no_longer_counts",
    ),
    Mutant(
        "approvals are not counted again before it is done",
        "governance/signoff/deciders.py",
        "return not any(part.missing for part in self.parts(request))",
        'return request.status == "approved" or not any(part.missing for part in self.parts(request))',
        f"{GOVERNANCE}approvals.py::test_approvals_are_counted_again_before_it_is_done",
    ),
    Mutant(
        "somebody stands in for who has requested it",
        "governance/signoff/deciders.py",
        "stands_in = [absent for absent in self.stands_in[person] if absent not in self.left_out(request)]",
        "stands_in = self.stands_in[person]",
        f"{GOVERNANCE}approvals.py::test_nobody_stands_in_for_who_asked_nor_as_who_asked",
    ),
    Mutant(
        "a softer policy holds for what is open",
        "governance/signoff/carrying_out.py",
        "needed = stricter(request.needed, requirement(kind, stored(request))[0])\n            if not",
        "needed = requirement(kind, stored(request))[0]\n            if not",
        f"{GOVERNANCE}approvals.py::test_open_requests_keep_the_stricter_policy",
    ),
    Mutant(
        "what is held is planned",
        "governance/changes/transition_steps.py",
        "def refuse_held(transition):\n    if transition.held_for:",
        "def refuse_held(transition):\n    if False:",
        f"{GOVERNANCE}transitions.py::test_what_is_held_is_not_planned_and_what_is_not_planned_is_not_asked_for",
    ),
    Mutant(
        "an override that waits does not hold the tier change",
        "governance/changes/overrides.py",
        "if row.account_id in crossing:\n                override_transitions.hold(row.account, layer)\n",
        "if False:\n                override_transitions.hold(row.account, layer)\n",
        f"{GOVERNANCE}transitions.py::test_an_override_that_waits_holds_the_tier_change_and_a_no_lets_it_go_on",
    ),
    Mutant(
        "who was decided once follows the rules again while it is provisional",
        "segmentation/evaluation/in_force.py",
        ' & ~pl.col("old_settled").fill_null(False)',
        "",
        f"{SEGMENTATION}provisional.py::test_who_was_decided_once_waits_whatever_its_age_says_later",
    ),
    Mutant(
        "the database lets who was decided once follow the rules",
        GUARDS,
        "and (not old.provisional or exists (",
        "and (not old.provisional or false and exists (",
        f"{SIGN_OFF}::test_nor_is_a_segment_changed_by_making_it_provisional_first",
    ),
    Mutant(
        "the clock of a recalculation goes back",
        "segmentation/runs/recalculation.py",
        "    if newest and as_of < newest:\n",
        "    if False:\n",
        f"{SEGMENTATION}runs.py::test_the_clock_never_goes_back",
    ),
    Mutant(
        "a request comes to need nobody",
        GUARDS,
        "if not {schema}.demarc_as_strict(new.needed, old.needed) then",
        "if false then",
        f"{SIGN_OFF}::test_a_request_does_not_come_to_need_less",
    ),
    Mutant(
        "a request is made that needs nobody",
        GUARDS,
        "if not {schema}.demarc_as_strict(new.needed, required.needed) then",
        "if false and not {schema}.demarc_as_strict(new.needed, required.needed) then",
        f"{SIGN_OFF}::test_a_request_that_needs_nobody_cannot_be_made",
    ),
    Mutant(
        "anybody stands in for anybody",
        GUARDS,
        'if person <> new."by" and not exists (',
        "if false and not exists (",
        f"{SIGN_OFF}::test_nobody_stands_in_for_somebody_who_is_not_away",
    ),
    Mutant(
        "who asks chooses the day of the impact",
        "governance/changes/activations.py",
        "preview.count(definition, timezone.localdate())",
        "preview.count(definition, preview_of(definition).as_of)",
        f"{SIGN_OFF}::test_whatever_day_was_previewed_the_impact_is_that_of_today",
    ),
    Mutant(
        "an approved import is of whatever files there are",
        GUARDS,
        "'files', {schema}.demarc_import_fingerprint(new.id)",
        "'import', new.id",
        f"{SIGN_OFF}::test_files_swapped_after_the_approval_are_not_imported",
    ),
    Mutant(
        "a description is shown as it was typed",
        "templates/admin/includes/fieldset.html",
        "{{ fieldset.description }}",
        "{{ fieldset.description|safe }}",
        f"{GOVERNANCE}poisoned_texts.py::test_no_page_lets_a_text_be_more_than_a_text",
    ),
    Mutant(
        "a function of the database says something else and nobody notices",
        "core/guards.py",
        "p.oid::regprocedure::text, pg_get_functiondef(p.oid)",
        "p.oid::regprocedure::text, ''",
        f"{SEGMENTATION}guards.py::test_lost_guards_are_noticed",
    ),
    Mutant(
        "who asks does not wait for a policy that is being changed",
        "governance/signoff/requirements.py",
        "cursor.execute(f\"select pg_advisory_xact_lock{shared}(%s)\", [POLICIES])",
        "pass",
        f"{FAULTS}sign_off_races.py::test_who_asks_while_a_policy_changes_waits_and_needs_what_it_says_then",
    ),
    Mutant(
        "an approval counts whatever role somebody has by now",
        GUARDS,
        "  join only {schema}.auth_user_groups m on m.user_id = p.id\n"
        "  join only {schema}.auth_group g on g.id = m.group_id and g.name = d.role\n where d.verdict",
        " where d.verdict",
        f"{SIGN_OFF}::test_a_role_that_was_lost_counts_no_more_in_the_database_either",
    ),
    Mutant(
        "what is carried out is not what the request names",
        GUARDS,
        "r.kind = $1 and r.content @> any (named)",
        "r.kind = $1",
        f"{SIGN_OFF}::test_only_what_the_request_names_changes_with_it",
    ),
    Mutant(
        "a request of any kind starts a tier change",
        GUARDS,
        "(kind = 'tier_change' and content -> 'transitions'",
        "(content -> 'transitions'",
        f"{GOVERNANCE}promises.py::test_a_request_of_another_kind_names_nothing",
    ),
    Mutant(
        "a request starts what it does not name the account of",
        GUARDS,
        "demarc_names(id, new.account_id)\n               and kind = 'override' and content ->> 'segment' = new.segment_id",
        "demarc_names(id, id) is not null\n               and kind = 'override' and content ->> 'segment' = new.segment_id",
        f"{GOVERNANCE}named_accounts.py::test_what_a_request_does_not_name_is_not_started_by_it",
    ),
    Mutant(
        "anybody adds an account to a request",
        GUARDS,
        "and r.content -> 'accounts' @> to_jsonb(new.account_id)",
        "",
        f"{GOVERNANCE}named_accounts.py::test_nobody_adds_changes_or_takes_away_one",
    ),
    Mutant(
        "a request points at a preview that may still change",
        GUARDS,
        "and s.frozen_at is not null and s.hash",
        "and s.hash",
        f"{GOVERNANCE}named_accounts.py::test_rules_point_at_their_frozen_preview",
    ),
    Mutant(
        "a table within the table of causes is read",
        GUARDS,
        "from only {schema}.segmentation_cause c\n          left join",
        "from {schema}.segmentation_cause c\n          left join",
        f"{PAST}::test_a_table_within_a_table_signs_nothing_off",
    ),
    Mutant(
        "people change places",
        GUARDS,
        "demarc_row_stays before update of id on auth_user\n    for each row when (old.id is distinct from new.id)",
        "demarc_row_stays before update of id on auth_user\n    for each row when (false)",
        f"{PAST}::test_no_row_takes_the_place_of_another",
    ),
    Mutant(
        "what rules say is bound by a column beside them only",
        GUARDS,
        "'rules', {schema}.demarc_fingerprint(new.document)",
        "'hash', new.hash",
        f"{PAST}::test_rules_become_active_as_they_were_read",
    ),
    Mutant(
        "other lines than those approved are put into force",
        GUARDS,
        "where {schema}.demarc_says(c, tg_table_name::text, after)",
        "where true",
        f"{PAST}::test_other_lines_than_those_approved_are_not_put_into_force",
    ),
    Mutant(
        "an ARR that was made small for the asking counts",
        "governance/signoff/requirements.py",
        "arr = max(counted.arr, counted.of_late)",
        "arr = counted.arr",
        f"{PAST}::test_an_arr_that_was_made_small_for_the_asking_counts_as_it_was",
    ),
    Mutant(
        "what has grown since is started on its later day",
        "governance/changes/followup.py",
        "if grown and any(",
        "if False and any(",
        f"{GOVERNANCE}counted_again.py::test_so_is_one_of_several_whose_day_comes_after_the_others",
    ),
    Mutant(
        "money in another currency that was taken away for the asking is none",
        "governance/signoff/impact.py",
        "foreign=now.foreign or others,",
        "foreign=now.foreign,",
        f"{GOVERNANCE}counted_again.py::test_also_when_it_was_taken_away_just_before_asking",
    ),
    Mutant(
        "who loses a say is not asked",
        "governance/signoff/requirements.py",
        "dict.fromkeys(counted.roles, 1)",
        "{}",
        f"{PAST}::test_who_loses_a_say_by_another_policy_has_one_about_it",
    ),
    Mutant(
        "what was called otherwise is not told",
        "governance/signoff/circumstances.py",
        "if before.name != row.name and row.history_date >= since",
        "if False",
        f"{PAST}::test_names_that_were_exchanged_for_the_asking_are_told",
    ),
    Mutant(
        "a login without a role stands in",
        "governance/signoff/delegations.py",
        "if not delegate.groups.exists():",
        "if False:",
        f"{GOVERNANCE}people.py::test_a_login_an_administrator_has_just_made_stands_in_for_nobody",
    ),
    Mutant(
        "the hash of a guard does not see what stands in quotes",
        "core/guards.py",
        'match[0] if match[0][0] in "-\'" else ""',
        'match[0].replace("public.", "")',
        f"{PAST}::test_the_hash_is_of_the_whole_text",
    ),
    Mutant(
        "a line of a policy stands there twice",
        GUARDS,
        "coalesce(jsonb_array_length(lines), -1) = there and not exists (",
        "coalesce(jsonb_array_length(lines), -1) = there and true or not exists (",
        f"{PAST}::test_each_approved_line_is_put_into_force_once",
    ),
    Mutant(
        "what had failed is carried out after it has expired",
        GUARDS,
        "old.status in ('pending', 'failed') and new.expires_at <= transaction_timestamp()",
        "old.status = 'pending' and new.expires_at <= transaction_timestamp()",
        f"{SIGN_OFF}::test_nor_is_what_has_expired_carried_out",
    ),
    Mutant(
        "a stand-in chooses the day",
        GUARDS,
        "and d.until_date >= (transaction_timestamp() at",
        "and d.until_date >= (new.at at",
        f"{SIGN_OFF}::test_nobody_stands_in_on_a_day_of_their_choice",
    ),
    Mutant(
        "a recalculation that has ended goes on",
        SEGMENTATION_GUARDS,
        "or old.status <> 'running' and new.status = 'running')",
        "or false)",
        f"{PAST}::test_no_row_takes_the_place_of_another",
    ),
]  # fmt: skip
EACH = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)


@EACH
def test_the_place_and_the_test_are_there(mutant):
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    file, _, name = mutant.test.partition("::")
    parsed = ast.parse((ROOT / file).read_text())
    assert name in {one.name for one in parsed.body if isinstance(one, ast.FunctionDef)}


def test_names_are_names():
    assert len({one.name for one in MUTANTS}) == len(MUTANTS)


@pytest.fixture(scope="module")
def copy(tmp_path_factory, django_db_setup):
    """A copy of the project, changed by one test after the other."""
    folder = tmp_path_factory.mktemp("mutants") / "project"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "staticfiles"))
    return folder


def run(folder, *tests):
    """Run these tests of the copy, in a database of its own on the server of the tests; (exit code, what it said).

    It starts from the database of the tests that run, which saves most of the time, with the copy's guards in it.
    """
    with databases.copied(databases.unused(connection.settings_dict["NAME"])) as template:
        guards = (ACCOUNTS_GUARDS, SEGMENTATION_GUARDS, GUARDS)
        databases.guarded(template, *(folder / file for file in guards))
        return _run(folder, template, *tests)


def _run(folder, template, *tests):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["DEMARC_TEST_TEMPLATE"] = template
    # Two changes of a second may leave a file of the same size: compiled files would hide the second one.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    flags = [
        "-x",
        "-q",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "--no-header",
        "--tb=line",
        "-m",
        "not long",
    ]
    command = [sys.executable, "-m", "pytest", *flags, *tests]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.long
def test_without_a_planted_bug_all_are_green(copy):
    code, said = run(copy, *sorted({one.test for one in MUTANTS}))
    assert code == 0, said


@pytest.mark.long
@EACH
def test_a_planted_bug_turns_its_test_red(copy, mutant):
    file = copy / mutant.file
    right = file.read_text()
    file.write_text(right.replace(mutant.old, mutant.new))
    try:
        code, said = run(copy, mutant.test)
    finally:
        file.write_text(right)
    assert (code, f"FAILED {mutant.test}" in said) == (1, True), said
