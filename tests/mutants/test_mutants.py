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

ROOT = Path(__file__).resolve().parents[2]
GOVERNANCE, FAULTS, SEGMENTATION = "tests/governance/test_", "tests/faults/test_", "tests/segmentation/test_"
GUARDS = "governance/migrations/0002_guards.py"


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
        "governance/permissions.py",
        'if request.status != "pending":',
        "if False:",
        f"{GOVERNANCE}approvals.py::test_every_verb_goes_along_the_table",
    ),
    Mutant(
        "the database lets a request go where the table does not",
        GUARDS,
        "('changes_asked', 'pending'), ('changes_asked', 'withdrawn'),",
        "('changes_asked', 'pending'), ('changes_asked', 'failed'), ('changes_asked', 'withdrawn'),",
        f"{GOVERNANCE}approvals.py::test_the_database_keeps_the_table",
    ),
    Mutant(
        "the database lets a tier change go where the table does not",
        GUARDS,
        "('awaiting', 'planned'), ('awaiting', 'joint'),",
        "('awaiting', 'planned'), ('flagged', 'awaiting'), ('awaiting', 'joint'),",
        f"{GOVERNANCE}transitions.py::test_the_database_refuses_every_other_way",
    ),
    Mutant(
        "one decides one's own request",
        "governance/permissions.py",
        "if request.requester == by.pk:",
        "if False:",
        f"{GOVERNANCE}approvals.py::test_nobody_decides_what_they_requested_edited_or_look_after",
    ),
    Mutant(
        "the database lets people decide their own request",
        GUARDS,
        "(array[r.requester] || r.editors || r.owners)",
        "(r.editors || r.owners)",
        f"{GOVERNANCE}approvals.py::test_the_database_refuses_the_same",
    ),
    Mutant(
        "who looks after the account decides",
        "governance/permissions.py",
        "    if by.pk in desk.left_out(request):\n",
        "    if False:\n",
        f"{GOVERNANCE}approvals.py::test_nobody_decides_what_they_requested_edited_or_look_after",
    ),
    Mutant(
        "what was not seen is decided",
        "governance/approvals.py",
        "if by is not None and seen != token(request):",
        "if False:",
        f"{GOVERNANCE}approvals.py::test_an_edit_voids_approvals_and_what_was_seen_before_is_stale",
    ),
    Mutant(
        "an approval of something else counts",
        "governance/deciders.py",
        "if one.revision == revisions[one.request_id]:",
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
        "governance/approvals.py",
        "return ApprovalRequest.objects.select_for_update().get(pk=request.pk)",
        "return ApprovalRequest.objects.get(pk=request.pk)",
        f"{FAULTS}sign_off_races.py::test_of_eight_who_approve_at_once_one_does",
    ),
    Mutant(
        "a tier change is not locked",
        "governance/transitions.py",
        "rows = list(locked(Transition.objects.filter(pk__in=ids).select_related(*_RELATED)))\n",
        'rows = list(Transition.objects.filter(pk__in=ids).select_related(*_RELATED).order_by("pk"))\n',
        f"{FAULTS}tier_change_races.py::test_completed_by_two_at_once",
    ),
    Mutant(
        "update() writes a segment without a cause",
        "segmentation/migrations/0016_governed_overrides.py",
        "(old.effective_id is distinct from new.effective_id\n                       or old.account_id",
        "(old.account_id",
        f"{SEGMENTATION}guards.py::test_governed_columns_need_a_cause_of_the_same_transaction",
    ),
    Mutant(
        "update() writes the status of a tier change without a cause",
        GUARDS,
        "when ((old.status, old.from_segment_id, old.to_segment_id, old.request_id, old.override_id)\n"
        "        is distinct from (new.status, new.from_segment_id,",
        "when ((old.from_segment_id, old.to_segment_id, old.request_id, old.override_id)\n"
        "        is distinct from (new.from_segment_id,",
        f"{GOVERNANCE}promises.py::test_no_setting_gets_round_a_cause",
    ),
    Mutant(
        "a trigger is removed",
        GUARDS,
        'for table in ("decision", "comment", "event")]',
        'for table in ("comment", "event")]',
        f"{SEGMENTATION}guards.py::test_lost_guards_are_noticed",
    ),
    Mutant(
        "a trigger that is switched off is not noticed",
        "segmentation/guards.py",
        "where t.tgenabled in ('O', 'A') and not",
        "where not",
        f"{SEGMENTATION}guards.py::test_lost_guards_are_noticed",
    ),
    Mutant(
        "nobody looks for lost triggers at the start",
        "config/schema.py",
        "    guards.check()\n",
        "",
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
        "governance/approvals.py",
        "    try:\n        with transaction.atomic():\n            if not _prepared(request, by=by):\n",
        '    _tell(request, "request_applied", f"Approved and done: {request.subject}", request.why)\n'
        "    try:\n        with transaction.atomic():\n            if not _prepared(request, by=by):\n",
        f"{GOVERNANCE}approvals.py::test_what_cannot_be_carried_out_says_why_and_may_be_tried_again",
    ),
    Mutant(
        "a segment changes without a row of history",
        "segmentation/assignments.py",
        "        held.overridden = overridden\n    held.save()\n",
        "        held.overridden = overridden\n    held.save_without_historical_record()\n",
        f"{GOVERNANCE}rebuilding.py::test_history_rebuilds_what_is_governed",
    ),
    Mutant(
        "a segment changes without a move",
        "segmentation/assignments.py",
        "    if before == segment:\n        return None\n",
        "    if before == segment or overridden is not None:\n        return None\n",
        f"{GOVERNANCE}rebuilding.py::test_history_rebuilds_what_is_governed",
    ),
    Mutant(
        "a tier change closes without a row of history",
        "governance/crossings.py",
        'kept as ({_kept("closed")})',
        'kept as (select 1)',
        f"{GOVERNANCE}rebuilding.py::test_history_rebuilds_what_is_governed",
    ),
    Mutant(
        "an expired request is decided",
        "governance/permissions.py",
        "if request.expires_at <= (at or timezone.now()):",
        "if False:",
        f"{GOVERNANCE}approvals.py::test_requests_expire_and_say_so",
    ),
    Mutant(
        "an override does not end on its date",
        "governance/overrides.py",
        "due = Override.objects.active().filter(expires_on__lte=at)",
        "due = Override.objects.active().filter(expires_on__lt=at)",
        f"{GOVERNANCE}overrides.py::test_at_its_end_the_rules_decide_at_once_where_they_apply_by_themselves",
    ),
    Mutant(
        "who leaves still counts",
        "governance/approvals.py",
        "if request.status in (_STATUS.APPROVED, _STATUS.FAILED) and not enough:",
        "if False:",
        f"{GOVERNANCE}people.py::test_who_leaves_no_longer_counts",
    ),
    Mutant(
        "approvals are not counted again before it is done",
        "governance/deciders.py",
        "return not any(part.missing for part in self.parts(request))",
        'return request.status == "approved" or not any(part.missing for part in self.parts(request))',
        f"{GOVERNANCE}approvals.py::test_approvals_are_counted_again_before_it_is_done",
    ),
    Mutant(
        "somebody stands in for who has requested it",
        "governance/deciders.py",
        "stands_in = [one for one in self.stands_in[person] if one not in self.left_out(request)]",
        "stands_in = self.stands_in[person]",
        f"{GOVERNANCE}approvals.py::test_nobody_stands_in_for_who_asked_nor_as_who_asked",
    ),
    Mutant(
        "a softer policy holds for what is open",
        "governance/approvals.py",
        "needed = _stricter(request.needed, requirement(kind, impact_of(request))[0])",
        "needed = requirement(kind, impact_of(request))[0]",
        f"{GOVERNANCE}approvals.py::test_open_requests_keep_the_stricter_policy",
    ),
    Mutant(
        "what is held is planned",
        "governance/transitions.py",
        "def _refuse_held(one):\n    if one.held_for:",
        "def _refuse_held(one):\n    if False:",
        f"{GOVERNANCE}transitions.py::test_what_is_held_is_not_planned_and_what_is_not_planned_is_not_asked_for",
    ),
    Mutant(
        "an override that waits does not hold the tier change",
        "governance/overrides.py",
        "if row.account_id in crossing:\n                transitions.hold(row.account, layer)\n",
        "if False:\n                transitions.hold(row.account, layer)\n",
        f"{GOVERNANCE}transitions.py::test_an_override_that_waits_holds_the_tier_change_and_a_no_lets_it_go_on",
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


def run(folder, *tests, migrated=True):
    """Run these tests of the copy, in a database of its own on the server of the tests; (exit code, what it said).

    migrated: it starts from the database of the tests that run, which saves most of the time, and not from an empty one.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    if migrated:
        environment["DEMARC_TEST_TEMPLATE"] = databases.unused(connection.settings_dict["NAME"])
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
        code, said = run(copy, mutant.test, migrated="/migrations/" not in mutant.file)
    finally:
        file.write_text(right)
    assert (code, f"FAILED {mutant.test}" in said) == (1, True), said
