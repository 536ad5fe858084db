"""Declared values: one proposes, another confirms, what held stays, and of two at once one is told."""

import threading
from datetime import date, timedelta
from itertools import product
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from refusing import refused
from segmenting import BY_ARR, account, answered, layer_with, person, recompute

from core.refusals import Refused
from segmentation.authoring import declarations, jobs_to_be_done, versions
from segmentation.models import Assignment, Declaration, Definition, Interview, JobToBeDone
from segmentation.rules import document_text

Status = Declaration.Status
RULES = {
    "rules": [
        {"segment": "strategic", "when": "declared = 'strategic'"},
        {"segment": "operational", "when": "declared = 'operational'"},
    ]
}
SEGMENTS = ["strategic", "operational", "spare"]
TODAY = timezone.localdate()
WHY = "They are the reference in their industry"


def days_ago(count):
    return timezone.localdate() - timedelta(days=count)


def cleo():
    """A CSM who proposes."""
    return person("cleo", "propose_declaration", "view_account")


def oskar():
    """CS Ops: proposes too, and confirms."""
    return person("oskar", "propose_declaration", "confirm_declaration")


def otto():
    return person("otto", "confirm_declaration")


@pytest.fixture
def layer(db):
    return declared_layer()


def declared_layer():
    return layer_with(RULES, key="importance", policy="automatic", segments=SEGMENTS)


def segment(layer, key="strategic"):
    return layer.segments.get(key=key)


def propose(layer, one=None, key="strategic", *, by=None, reason=WHY, **options):
    one = one or account()
    return declarations.propose(one, segment(layer, key), by=by or cleo(), reason=reason, **options)


def declaration_at(status, layer):
    """A declaration in this status, by the way people take."""
    one = propose(layer, from_date=days_ago(10))
    if status in (Status.CONFIRMED,):
        one = declarations.confirm(one, by=otto())
    if status == Status.REJECTED:
        one = declarations.reject(one, by=otto(), reason="No")
    if status == Status.WITHDRAWN:
        one = declarations.withdraw(one, by=cleo(), reason="Typed wrongly")
    if status == Status.REPLACED:
        declarations.replace(one, segment(layer, "operational"), by=cleo(), reason="Better")
        one.refresh_from_db()
    return one


def test_proposed_by_one_and_confirmed_by_another(layer):
    acme = account()
    one = propose(layer, acme, evidence="Call of 3 May", from_date=days_ago(5))
    assert (one.status, one.proposed_by_label, one.reason) == ("proposed", "cleo", WHY)
    assert not Declaration.objects.holding(TODAY).exists()
    done = declarations.confirm(one, by=oskar(), reason="Agreed in the weekly")
    assert (done.status, done.decided_by_label, done.decision_reason) == (
        "confirmed",
        "oskar",
        "Agreed in the weekly",
    )
    for at, holds in ((days_ago(6), False), (days_ago(5), True), (TODAY, True)):
        assert Declaration.objects.holding(at).exists() is holds, at
    rows = [
        (row.status, row.history_user_label, row.history_change_reason)
        for row in one.history.order_by("history_id")
    ]
    assert rows == [("proposed", "cleo", WHY), ("confirmed", "oskar", "Agreed in the weekly")]


# -- who may what


WAYS = declarations.STATUSES.moves
MOVES = {
    Status.CONFIRMED: lambda one, by, other: declarations.confirm(one, by=by),
    Status.REJECTED: lambda one, by, other: declarations.reject(one, by=by, reason="No"),
    Status.WITHDRAWN: lambda one, by, other: declarations.withdraw(one, by=by, reason="Mistaken"),
    Status.REPLACED: lambda one, by, other: declarations.replace(one, other, by=by, reason="Better"),
}


@pytest.mark.parametrize(("source", "target"), list(product(Status, MOVES)))
def test_a_status_goes_where_the_table_leads_and_nowhere_else(layer, source, target):
    one, zora = declaration_at(source, layer), person("zora", "propose_declaration", "confirm_declaration")
    # A value in force is replaced by confirming another one, tested below.
    allowed = (source, target) in WAYS - {("confirmed", "replaced")}
    if allowed:
        MOVES[target](one, zora, segment(layer, "operational"))
        assert Declaration.objects.get(pk=one.pk).status == target
    else:
        with pytest.raises(Refused, match=r"\.$"):
            MOVES[target](one, zora, segment(layer, "operational"))
        assert Declaration.objects.get(pk=one.pk).status == source


@pytest.mark.parametrize(("source", "target"), list(product(Status, Status)))
def test_the_database_keeps_the_same_table(layer, source, target):
    one = declaration_at(source, layer)
    now = timezone.now()
    changes = {"status": target}
    if target in (Status.CONFIRMED, Status.REJECTED) and one.decided_at is None:
        changes |= {"decided_at": now, "decided_by": 0}
    if target in (Status.WITHDRAWN, Status.REPLACED) and one.ended_at is None:
        changes |= {"ended_at": now}
        changes |= {"until_date": TODAY} if source == Status.CONFIRMED else {}
    allowed = source == target or (source, target) in WAYS
    row = Declaration.objects.filter(pk=one.pk)
    if allowed:
        assert row.update(**changes) == 1
    else:
        with pytest.raises(DatabaseError), transaction.atomic():
            row.update(**changes)


def test_the_documents_say_what_the_table_says():
    said = (Path(__file__).parents[2] / "docs" / "workflow.md").read_text()
    assert declarations.STATUSES.diagram() in said
    assert declarations.STATUSES.markdown() in said


@pytest.mark.parametrize(
    ("verb", "who", "refusal"),
    [
        ("propose", person, "not allowed to propose"),
        ("propose", otto, "not allowed to propose"),
        ("propose", cleo, None),
        ("propose", oskar, None),
        ("confirm", cleo, "not allowed to confirm"),
        ("confirm", otto, None),
        ("reject", cleo, "not allowed to confirm or reject"),
        ("reject", otto, None),
        ("withdraw", lambda: person("carl", "propose_declaration"), "Only cleo or somebody who confirms"),
        ("withdraw", cleo, None),
        ("withdraw", otto, None),
        ("end", cleo, "is in force: only somebody who confirms"),
        ("end", otto, None),
        ("replace", lambda: person("carl", "propose_declaration"), "Only cleo or somebody who confirms"),
        ("replace", oskar, None),
        ("replace", cleo, None),
    ],
)
def test_who_may_do_what(layer, verb, who, refusal):
    one, by = propose(layer), who()
    if verb == "end":
        declarations.confirm(one, by=otto())
    acts = {
        "propose": lambda: declarations.propose(account("b"), segment(layer), by=by, reason=WHY),
        "confirm": lambda: declarations.confirm(one, by=by),
        "reject": lambda: declarations.reject(one, by=by, reason="No"),
        "withdraw": lambda: declarations.withdraw(one, by=by, reason="Mistaken"),
        "end": lambda: declarations.withdraw(one, by=by, reason="They merged"),
        "replace": lambda: declarations.replace(one, segment(layer, "operational"), by=by, reason="Better"),
    }
    if refusal is None:
        acts[verb]()
    else:
        with pytest.raises(Refused, match=refusal):
            acts[verb]()


@pytest.mark.parametrize("verb", ["confirm", "reject"])
def test_nobody_decides_about_their_own_not_even_a_superuser(layer, verb):
    chief = User.objects.create_superuser("chief")
    for number, by in enumerate((oskar(), chief)):
        one = propose(layer, account(str(number)), by=by)
        for act in (verb, f"{verb}_all"):
            with pytest.raises(Refused, match="proposed this yourself: somebody else has to decide"):
                getattr(declarations, act)(one, by=by, reason="Mine")
        assert Declaration.objects.get(pk=one.pk).status == "proposed"
    with pytest.raises(DatabaseError, match="declaration_by_two_people"), transaction.atomic():
        Declaration.objects.filter(pk=one.pk).update(
            status="confirmed", decided_at=timezone.now(), decided_by=chief.pk
        )


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"reason": "  "}, "Say why"),
        ({"reason": "x" * 4001}, "4,000 characters"),
        ({"reason": "a\x00b"}, "cannot be stored"),
        ({"evidence": "a\x00b"}, "cannot be stored"),
        ({"from_date": TODAY + timedelta(days=2)}, "holds from today at the latest"),
        ({"key": "spare"}, "give nobody the segment Spare"),
    ],
)
def test_what_cannot_be_proposed_says_why(layer, options, refusal):
    with pytest.raises(Refused, match=refusal):
        propose(layer, **options)
    assert not Declaration.objects.exists()


def test_only_on_layers_whose_active_rules_read_what_is_declared(layer):
    plain = layer_with(BY_ARR, key="tier")
    with pytest.raises(Refused, match="Tier is not decided by people"):
        declarations.propose(account(), segment(plain, "high"), by=cleo(), reason=WHY)
    assert {one.key: [s.key for s in found] for one, found in declarations.choices().items()} == {
        "importance": ["strategic", "operational"]
    }


@pytest.mark.parametrize(
    ("condition", "reads"),
    [
        ("declared = 'x'", True),
        ("arr > 5 AND DECLARED IS NULL", True),
        ("industry = 'declared'", False),
        ("label.declared = 'x'", False),
        ("undeclared = 1", False),
        (None, False),
    ],
)
def test_which_conditions_read_what_is_declared(condition, reads):
    assert declarations.reads_declared({"rules": [{"segment": "x", "when": condition}]}) is reads


# -- one after another


def test_another_value_takes_over_on_its_day_and_the_past_stays(layer):
    acme = account()
    first = declarations.confirm(propose(layer, acme, from_date=days_ago(30)), by=otto())
    second = propose(layer, acme, "operational", from_date=days_ago(10))
    assert Declaration.objects.holding(TODAY).get() == first  # until somebody confirms
    declarations.confirm(second, by=otto())
    first.refresh_from_db()
    assert (first.status, first.until_date, first.end_reason) == (
        "replaced",
        days_ago(10),
        "Replaced by Operational",
    )
    held = {ago: Declaration.objects.holding(days_ago(ago)).get().segment.key for ago in (30, 11, 10, 0)}
    assert held == {30: "strategic", 11: "strategic", 10: "operational", 0: "operational"}
    declarations.withdraw(second, by=otto(), reason="Sold to a competitor", on=days_ago(2))
    assert not Declaration.objects.holding(days_ago(2)).exists()
    assert Declaration.objects.holding(days_ago(3)).get() == second


def test_a_correction_on_the_same_day_leaves_one_value(layer):
    acme = account()
    declarations.confirm(propose(layer, acme), by=otto())
    second = declarations.confirm(propose(layer, acme, "operational"), by=otto())
    assert Declaration.objects.holding(TODAY).get() == second


@pytest.mark.parametrize("ended", [False, True])
def test_what_held_is_not_rewritten(layer, ended):
    acme = account()
    first = declarations.confirm(propose(layer, acme, from_date=days_ago(30)), by=otto())
    if ended:
        with refused("declaration_end_out_of_range"):
            declarations.withdraw(first, by=otto(), reason="Over", on=days_ago(31))
        declarations.withdraw(first, by=otto(), reason="Over", on=days_ago(20))
    with pytest.raises(Refused, match="begins on that day at the earliest"):
        propose(layer, acme, "operational", from_date=days_ago(31 if not ended else 21))
    propose(layer, acme, "operational", from_date=days_ago(30 if not ended else 20))


def test_values_that_overlap_are_refused_by_the_database(layer):
    acme = account()
    first = declarations.confirm(propose(layer, acme, from_date=days_ago(30)), by=otto())
    declarations.withdraw(first, by=otto(), reason="Over", on=days_ago(10))
    rows = {"account": acme, "layer": layer, "segment": segment(layer), "reason": WHY}
    late = Declaration.objects.create(**rows, from_date=days_ago(15))
    with (
        pytest.raises(DatabaseError, match="declarations_one_after_another"),
        transaction.atomic(),
    ):
        Declaration.objects.filter(pk=late.pk).update(
            status="confirmed", decided_at=timezone.now(), decided_by=0
        )
    with pytest.raises(DatabaseError, match="one_proposed_declaration"), transaction.atomic():
        Declaration.objects.create(**rows, from_date=TODAY)


@pytest.mark.parametrize(
    "changes",
    [{"reason": "Other"}, {"from_date": date(2020, 1, 1)}, {"proposed_by_label": "x"}, {"evidence": "x"}],
)
def test_what_was_declared_never_changes(layer, changes):
    one = declarations.confirm(propose(layer), by=otto())
    with pytest.raises(DatabaseError, match="cannot be changed"), transaction.atomic():
        Declaration.objects.filter(pk=one.pk).update(**changes)
    with pytest.raises(DatabaseError, match="cannot be changed"), transaction.atomic():
        Declaration.objects.filter(pk=one.pk).update(decision_reason="Other")
    with pytest.raises(DatabaseError, match="not deleted"), transaction.atomic():
        Declaration.objects.filter(pk=one.pk).delete()


def test_a_declaration_begins_as_a_proposal_on_a_segment_of_its_layer(layer):
    other = layer_with(BY_ARR, key="tier")
    rows = {"account": account(), "layer": layer, "reason": WHY, "from_date": TODAY}
    confirmed = {"status": "confirmed", "decided_at": timezone.now(), "segment": segment(layer)}
    for wrong in (confirmed, {"segment": segment(other, "high")}):
        with (
            pytest.raises(DatabaseError, match=r"begins as a proposal|of another layer"),
            transaction.atomic(),
        ):
            Declaration.objects.create(**rows, **wrong)


def test_the_rules_see_what_held_on_their_day(layer):
    acme, bolt = account("acme"), account("bolt")
    declarations.confirm(propose(layer, acme, from_date=days_ago(30)), by=otto())
    declarations.confirm(propose(layer, acme, "operational", from_date=days_ago(10)), by=otto())
    propose(layer, bolt)  # waits

    def segments(at):
        recompute(at=at)
        found = Assignment.objects.filter(layer=layer).values_list("account__external_id", "effective__key")
        return dict(found)

    assert segments(days_ago(31)) == {"acme": None, "bolt": None}
    assert segments(days_ago(11)) == {"acme": "strategic", "bolt": None}
    assert segments(days_ago(10)) == {"acme": "operational", "bolt": None}
    declarations.withdraw(Declaration.objects.in_force().get(), by=otto(), reason="Sold", on=days_ago(2))
    assert segments(days_ago(3)) == {"acme": "operational", "bolt": None}
    assert segments(days_ago(2))["bolt"] is None


# -- second clicks and stale pages


def test_a_second_click_does_nothing_more(layer):
    acme = account()
    one = propose(layer, acme, seen=declarations.token(declarations.states(layer, [acme.pk])))
    again = propose(layer, acme, seen=declarations.token({}))
    assert one == again
    page = declarations.token(declarations.states(layer, [acme.pk]))
    for _ in range(2):
        declarations.confirm(one, by=otto(), seen=page)
    page = declarations.token(declarations.states(layer, [acme.pk]))
    for _ in range(2):
        declarations.withdraw(one, by=otto(), reason="Over", seen=page)
    assert one.history.count() == 3


def test_who_looked_at_something_else_is_told(layer):
    acme = account()
    page = declarations.token(declarations.states(layer, [acme.pk]))
    one = propose(layer, acme)
    with pytest.raises(Refused, match="changed since you opened"):
        propose(layer, acme, "operational", by=oskar(), seen=page)
    page = declarations.token(declarations.states(layer, [acme.pk]))
    other = declarations.replace(one, segment(layer, "operational"), by=cleo(), reason="Better")
    with pytest.raises(Refused, match="Strategic for acme is replaced already, by cleo"):
        declarations.confirm(one, by=otto(), seen=page)
    with pytest.raises(Refused, match="changed since you opened"):
        declarations.confirm(other, by=otto(), seen=page)


def test_rules_that_stopped_reading_it_are_not_fed(layer):
    from segmenting import activate

    one = propose(layer)
    activate(layer, {"rules": [{"segment": "strategic", "when": "arr > 5"}, {"segment": "operational"}]})
    with pytest.raises(Refused, match="not decided by people"):
        declarations.confirm(one, by=otto())
    declarations.reject(one, by=otto(), reason="The rules decide now")


# -- many at once


def test_one_value_for_many_is_one_action_and_one_decision(layer):
    accounts = [account(f"a{number}") for number in range(6)]
    declarations.confirm(propose(layer, accounts[0]), by=otto())
    propose(layer, accounts[1], "operational", by=oskar())
    outcome = declarations.propose_for(
        [*accounts, accounts[5]], segment(layer), by=cleo(), reason=WHY, evidence="List of the board"
    )
    assert [one.account.external_id for one in outcome.done] == ["a2", "a3", "a4", "a5"]
    assert sum(outcome.left.values()) == 2
    assert {sentence.split(" already")[0] for sentence in outcome.left} == {
        "Strategic is in force",
        "Operational is proposed",
    }
    first = outcome.done[0]
    assert declarations.together(first).count() == 4
    declarations.reject(outcome.done[3], by=otto(), reason="Not this one")
    decided = declarations.confirm_all(first, by=otto(), reason="As the board said")
    assert len(decided.done) == 3
    assert Declaration.objects.holding(TODAY).count() == 4
    assert Declaration.objects.proposed().get().account == accounts[1]
    with pytest.raises(Refused, match="decided already"):
        declarations.confirm_all(first, by=otto())


def test_too_many_at_once_are_refused(layer, monkeypatch):
    monkeypatch.setattr(declarations, "MOST", 2)
    many = [account(str(number)) for number in range(3)]
    with pytest.raises(Refused, match="At most 2 accounts at a time; these are 3"):
        declarations.propose_for(many, segment(layer), by=cleo(), reason=WHY)


# -- at the same moment


def at_once(*acts):
    """Each act in a thread of its own, all released together; their results, a Refused as its sentence."""
    ready, results = threading.Barrier(len(acts)), [None] * len(acts)

    def run(place, act):
        try:
            ready.wait()
            results[place] = act()
        except Refused as refused:
            results[place] = str(refused)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=entry) for entry in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_decide_at_once_and_there_is_one_outcome(real_db):
    layer, one_by, other_by = declared_layer(), otto(), person("zora", "confirm_declaration")
    proposals = [propose(layer, account(str(number))) for number in range(12)]
    for one in proposals:
        page = declarations.token(declarations.states(layer, [one.account_id]))
        results = at_once(
            lambda one=one, page=page: declarations.confirm(one, by=one_by, seen=page),
            lambda one=one, page=page: declarations.reject(one, by=other_by, reason="No", seen=page),
            lambda one=one, page=page: declarations.withdraw(one, by=cleo_of(one), reason="Mine", seen=page),
        )
        done = [result for result in results if isinstance(result, Declaration)]
        assert len(done) == 1, results
        one.refresh_from_db()
        assert one.status == done[0].status
        assert one.history.count() == 2
        told = ("already, by", "is in force: only somebody who confirms")
        assert all(
            result.endswith(".") and any(one in result for one in told)
            for result in results
            if isinstance(result, str)
        ), results


def cleo_of(one):
    return User.objects.get(pk=one.proposed_by)


def test_many_propose_and_one_value_is_there(real_db):
    layer, acme = declared_layer(), account()
    people = [person(f"p{number}", "propose_declaration") for number in range(6)]
    results = at_once(*[lambda by=by: propose(layer, acme, by=by) for by in people])
    assert sum(isinstance(result, Declaration) for result in results) == 1
    assert Declaration.objects.count() == 1
    assert all("is proposed already" in result for result in results if isinstance(result, str))


def test_a_double_click_at_the_same_moment(real_db):
    layer, acme, by = declared_layer(), account(), cleo()
    assert len({one.pk for one in at_once(*[lambda: propose(layer, acme, by=by)] * 4)}) == 1
    one = Declaration.objects.get()
    decider = otto()
    assert {done.pk for done in at_once(*[lambda: declarations.confirm(one, by=decider)] * 4)} == {one.pk}
    assert one.history.count() == 2


# -- jobs


def job(layer, **values):
    return JobToBeDone.objects.create(segment=segment(layer), **values)


def listed(one):
    return jobs_to_be_done.listed().get(pk=one.pk)


def test_a_job_nobody_used_for_30_days_is_flagged(layer):
    one = job(layer)
    assert jobs_to_be_done.unused(listed(one), at=TODAY + timedelta(days=29)) == ""
    assert "Not used since" in jobs_to_be_done.unused(listed(one), at=TODAY + timedelta(days=30))


@pytest.mark.parametrize(
    ("use", "used"),
    [
        (lambda one, layer: propose(layer), True),
        (lambda one, layer: propose(layer, key="operational"), False),
        (lambda one, layer: Interview.objects.create(job=one, held_on=date(2026, 1, 1)), True),
        (lambda one, layer: one.save(), True),
        (lambda one, layer: JobToBeDone.objects.update(decks_updated_on=TODAY), True),
        (lambda one, layer: None, False),
    ],
)
def test_what_counts_as_use(layer, use, used):
    one = job(layer)
    JobToBeDone.objects.update(edited_at=timezone.now() - timedelta(days=40))
    use(one, layer)
    assert (jobs_to_be_done.unused(listed(one), at=TODAY) == "") is used


def test_a_rejected_proposal_counts_from_its_proposal_only(layer):
    one, said = job(layer), propose(layer)
    declarations.reject(said, by=otto(), reason="No")
    assert listed(one).confirmed_last is None


@pytest.mark.parametrize(
    ("count", "talks", "levels"),
    [(3, 14, ["warn", "warn"]), (4, 15, ["ok", "ok"]), (7, 25, ["ok", "ok"]), (8, 26, ["warn", "warn"])],
)
def test_jobs_and_interviews_are_counted_with_a_verdict(count, talks, levels):
    found = [JobToBeDone() for _ in range(count)]
    for one in found:
        one.talks = None
    found[0].talks = talks
    assert [one.level for one in jobs_to_be_done.verdicts(found)] == levels


# -- presets


PRESETS = ["strategic-operational", "job-to-be-done", "psychographic"]


@pytest.mark.parametrize("key", PRESETS)
def test_a_declared_preset_loads_with_all_it_says(db, key):
    preset = document_text.from_yaml(versions._preset(key))
    versions.load_presets()
    draft = Definition.objects.get(layer__key=key)
    assert (draft.status, declarations.choices()) == ("draft", {})  # to be looked at before anybody declares
    versions.activate(answered(draft), by=person(), reason="We want it")
    [(layer, offered)] = declarations.choices().items()
    assert (layer.key, layer.decides) == (key, preset["decides"])
    assert [one.key for one in offered] == [one["key"] for one in preset["segments"]]
    told = [
        tuple(getattr(one.treatment, name) for name in layer.decides) for one in offered
    ]  # what it decides is said for each segment, and differs
    assert all(all(one) for one in told)
    assert len(set(told)) == len(offered)
    declared = declarations.propose(account(), offered[0], by=cleo(), reason=WHY)
    assert declarations.confirm(declared, by=otto()).status == "confirmed"


def test_the_jobs_of_the_preset_are_complete(db):
    with transaction.atomic():
        versions.load_preset(document_text.from_yaml(versions._preset("job-to-be-done")), 0)
    found = list(jobs_to_be_done.listed())
    assert [verdict.level for verdict in jobs_to_be_done.verdicts(found)] == [
        "ok",
        "warn",
    ]  # the interviews are yours
    assert all(getattr(one, name) for one in found for name in jobs_to_be_done.FIELDS)
    one = found[0]
    JobToBeDone.objects.filter(pk=one.pk).update(replaced_tool="Ours")
    jobs_to_be_done.load(one.segment, {"replaced_tool": "Other"})
    assert JobToBeDone.objects.get(pk=one.pk).replaced_tool == "Ours"
