"""Checks: each with an example that is wrong in exactly that way, and one that is right."""

import os
import subprocess
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.urls import reverse
from segmenting import BY_ARR, layer_with, person, recompute
from waiting import PATIENCE

from accounts.models import Account, Csm, Usage
from core.refusals import Refused
from segmentation.authoring import checks, versions
from segmentation.authoring.checks.acknowledgements import acknowledge, earlier
from segmentation.authoring.checks.segments import says_no_play
from segmentation.authoring.checks.segments import tests as four_tests
from segmentation.evaluation import causes, frames
from segmentation.models import Cause, Definition, Layer, Segment, ServiceModel, Treatment
from segmentation.rules import document_text

EXAMPLES = Path(__file__).parent / "checks"
DAY = date(2026, 6, 1)
IDS = [check.id for check in checks.CHECKS]
MODELS = ["dedicated", "pool", "none"]  # of the first segment, the second, the others


def example(name):
    """The content of a file; every number is a text, as typed."""
    return document_text.from_yaml((EXAMPLES / f"{name}.yaml").read_text())


def world(told):
    """The draft, the layer and the accounts an example tells of; what it does not say is sound."""
    for kind in MODELS:
        ServiceModel.objects.get_or_create(key=kind, defaults={"name": kind.capitalize(), "csm_kind": kind})
    layer = Layer.objects.create(
        key="tier",
        name="Tier",
        primary=told.get("primary") != "false",
        decides=told.get("decides", ["channel"]),
    )
    given = [rule["segment"] for rule in told["document"]["rules"]]
    for place, key in enumerate(dict.fromkeys([*given, *told.get("segments", {})])):
        segment(layer, key, place, dict(told.get("segments", {}).get(key, {})))
    if "active" in told:
        in_use(layer, told["active"])
    if "other" in told:
        document = {"rules": told["other"].pop("rules", [{"segment": "any"}])}
        in_use(Layer.objects.create(key="other", name="Other", **told["other"]), document)
    observed = {name: ["crm", day] for name, day in told.get("observed", {}).items()}
    for group, one in enumerate(told.get("accounts", [])):
        accounts(group, dict(one), observed)
    return Definition.objects.create(layer=layer, version=2, document=told["document"])


def segment(layer, key, place, told):
    treatment = told.pop("treatment", {"service_model": MODELS[min(place, 2)]})
    told = {"name": key.replace("-", " ").capitalize(), "owner_role": "CS Ops"} | told
    if treatment != "none":
        treatment = {"channel": f"Channel of {key}"} | treatment
        if model := treatment.pop("service_model", None):
            treatment["service_model"] = ServiceModel.objects.get(key=model)
        told["treatment"] = Treatment.objects.create(key=f"{layer.key}-{key}", name=key, **treatment)
    Segment.objects.create(layer=layer, key=key, position=place, **told)


def in_use(layer, document):
    rules = Definition.objects.create(layer=layer, version=1, document=document, hash=f"of {layer}")
    causes.take(Cause.Kind.SETUP)
    Definition.objects.filter(pk=rules.pk).update(status="active")


def accounts(group, facts, observed):
    csm, _ = Csm.objects.get_or_create(email="cas@example.com")
    stored = {field.name for field in Account._meta.fields}
    own = {name: value for name, value in facts.items() if name in stored}
    usage = {name: value for name, value in facts.items() if name not in stored | {"count"}}
    for number in range(int(facts["count"])):
        made = Account.objects.create(
            external_id=f"c{group}-{number}",
            csm=csm,
            contract_start=date(2024, 1, 1),
            provenance=observed,
            **own,
        )
        if usage:
            Usage.objects.create(account=made, **usage)


def test_every_check_has_its_examples():
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == {
        f"{id}.{kind}" for id in IDS for kind in ("bad", "good")
    }
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("id", IDS)
def test_the_bad_example_is_found_and_nothing_else(db, id):
    report = checks.examine(world(example(f"{id}.bad")), at=DAY)
    assert {finding.check for finding in report.findings} == {id}, report.findings
    check = next(check for check in checks.CHECKS if check.id == id)
    assert all(finding.level == check.level for finding in report.findings)
    assert all(
        "{" not in finding.message and finding.message.endswith((".", ")", "?"))
        for finding in report.findings
    )


@pytest.mark.parametrize("id", IDS)
def test_the_good_example_is_not(db, id):
    report = checks.examine(world(example(f"{id}.good")), at=DAY)
    assert report.findings == []
    assert id in {result.check.id for result in report.passed}


# -- the presets


def test_the_presets_are_sound_before_there_are_accounts(db, monkeypatch):
    """All of them side by side, those that load inactive too."""
    keys = sorted({path.stem for path in versions.PRESETS.glob("*.yaml")} - {versions.SERVICE_MODELS})
    monkeypatch.setattr(versions, "ORDER", sorted(keys, key=lambda key: key != "service-tier"))
    versions.load_presets()
    needing = {check.id for check in checks.CHECKS if check.needs == "accounts"}
    for key in keys:
        report = versions.examine(Definition.objects.get(layer__key=key))
        assert report.errors == [], key
        assert needing <= {result.check.id for result in report.not_run}


def test_set_up_is_spared_the_warnings_but_not_the_errors(db, monkeypatch, tmp_path):
    broken = (
        (versions.PRESETS / "value-tier.yaml").read_text().replace("owner_role: CS Ops", 'owner_role: ""')
    )
    (tmp_path / "value-tier.yaml").write_text(broken)
    models = (versions.PRESETS / "service-models.yaml").read_text()
    (tmp_path / "service-models.yaml").write_text(models)
    monkeypatch.setattr(versions, "PRESETS", tmp_path)
    monkeypatch.setattr(versions, "ORDER", ["value-tier"])
    with pytest.raises(Refused, match="Nobody answers for Enterprise"):
        versions.load_presets()


# -- what can be decided about rules


def lint(*rules, **parts):
    return checks.lint({**parts, "rules": [dict(rule) for rule in rules]})


def rule(segment, when="", **parts):
    return {"segment": segment} | ({"when": when} if when else {}) | parts


@pytest.mark.parametrize(
    ("rules", "known", "unreachable"),
    [
        (["employees > 5 AND employees < 6", None], "", {0}),  # there is no half employee
        (["expansion_ratio > 5 AND expansion_ratio < 6", None], "", set()),
        (["nps > 100", None], "", {0}),  # what the data dictionary allows
        (["nps >= 100", None], "", set()),
        (["arr >= 10", "arr < 10", None], "", set()),  # the last is for those without ARR
        (["arr >= 10", "arr < 10", None], "arr", {2}),
        (["arr >= 10", "arr < 10", "arr IS NULL", None], "", {3}),
        (
            ["industry = 'a' OR industry = 'b'", "industry IN ('b', 'a')", None],
            "",
            set(),
        ),  # the same: told as that
        (["industry IN ('a', 'b')", "industry = 'b'", None], "", {1}),
        (["industry <> 'a'", "industry = 'b'", None], "", {1}),
        (["industry = 'a'", "industry <> 'a'", None], "industry", {2}),
        (["industry = 'a' AND industry = 'b'", None], "", {0}),
        (["arr >= 10 AND employees >= 10", "arr >= 20 AND employees >= 20", None], "", {1}),
        (["arr >= 10 AND employees >= 10", "arr >= 20", None], "", set()),
        (["arr >= 10 OR employees >= 10", "arr >= 20", None], "", {1}),
        (["NOT arr < 10", "arr BETWEEN 10 AND 20", None], "", {1}),
        (["contract_start < '2024-01-01'", "contract_start < DATE '2023-01-01'", None], "", {1}),
        (["success_plan_active", "success_plan_active IS TRUE AND arr > 5", None], "", {1}),
        (["arr + 0 >= 10", "arr >= 20", None], "", set()),  # true, but not to be decided
    ],
)
def test_rules_that_never_decide(rules, known, unreachable):
    report = lint(
        *[rule(f"s{place}", when or "") for place, when in enumerate(rules)],
        requires=[known] if known else [],
    )
    found = {int(one.about) for one in report.findings if one.check == "unreachable-rule"}
    assert found == unreachable, report.findings


def test_what_cannot_be_decided_is_said():
    report = lint(rule("a", "arr > acv"), rule("b", "arr > 5"), rule("c"))
    [result] = [one for one in report.results if one.check.id == "unreachable-rule"]
    assert result.status == "passed"
    assert result.note == "Not decided: rule 1 (a) compares more than data fields with given values."


def test_two_rules_that_cannot_be_told_apart_however_complicated():
    report = lint(rule("a", "arr > acv"), rule("b", "ARR  >  acv"), rule("c"))
    assert [one.check for one in report.errors] == ["same-rules"]


SCORED = {
    "dimensions": [
        {
            "key": "worth",
            "criteria": [{"key": "nps", "cells": ["50+", "", "", "", "< 50"], "missing": "skip"}],
        }
    ]
}


@pytest.mark.parametrize(
    ("when", "found"),
    [
        ("composite >= 5", set()),
        ("composite > 5", {"unreachable-rule"}),
        ("score.worth < 1", {"unreachable-rule"}),
        ("points.nps = 3", {"unreachable-rule"}),  # no cell earns it
        ("composite >= 1", {"always-true"}),
        ("points.nps >= 1", set()),  # where NPS is not known, it has no points
    ],
)
def test_scores_lie_within_what_the_cells_give(when, found):
    assert {one.check for one in lint(rule("a", when), rule("b"), **SCORED).errors} == found


def test_a_rule_for_some_stages_takes_nothing_from_the_others():
    report = lint(
        rule("a", "previous IS NULL"),
        rule("b", "arr > 0", **{"from": ["a"]}),
        rule("a", "arr > 10", **{"from": ["b"]}),
        rule("b", "arr > 10", **{"from": ["a"]}),
    )
    assert [(one.check, one.about) for one in report.errors] == [("unreachable-rule", "3")]


def test_the_top_accounts_leave_the_others_to_later_rules():
    assert not lint(rule("a", top="50 by arr"), rule("b", "arr > 5"), rule("c")).errors


def test_names_of_other_segmentations_are_looked_up(db):
    told = example("same-rules.good")
    Segment.objects.create(layer=Layer.objects.create(key="value-tier", name="Value"), key="smb", name="SMB")
    told["document"]["rules"][0]["when"] = "label.value_tier = 'enterprise'"
    definition = world(told)
    assert [one.check for one in checks.examine(definition, at=DAY).errors] == [
        "impossible-value",
        "unreachable-rule",
    ]


@pytest.mark.parametrize("text", ["", "rules: [", "a: *b", "x" * 300_000])
def test_any_text_can_be_linted(text):
    assert checks.lint(text).errors


# -- names, limits, the four tests


@pytest.mark.parametrize(
    ("name", "says_nothing"),
    [(name, True) for name in ("Segment A", "Tier 1", "Group 3", "B", "IV", "tier-2", "Other", "New segment")]
    + [
        (name, False)
        for name in ("High-Touch", "At risk", "1:many", "SMB", "Champion", "Dormant", "Onboarding", "5-5-5")
    ],
)
def test_names(name, says_nothing):
    assert says_no_play(name) is says_nothing


def test_limits_are_settings(db, settings):
    definition = world(example("segment-count.bad"))
    settings.FIXED = settings.FIXED | {"check_segments_from": 2}
    assert checks.examine(definition, at=DAY).findings == []


def test_limits_come_from_the_environment(spawn, tmp_path):
    code = "from config import settings; print(settings.FIXED['check_accounts_per_segment'])"
    process = spawn(
        "-c", code, env={**os.environ, "DEMARC_CHECK_ACCOUNTS_PER_SEGMENT": "30"}, stdout=subprocess.PIPE
    )
    assert process.communicate(timeout=PATIENCE)[0].strip() == "30"


def test_a_small_segment_people_declare_is_not_for_the_rules_to_widen(db):
    told = example("small-segment.bad")
    told["document"]["rules"].insert(0, {"segment": "strategic", "when": "declared = 'strategic'"})
    report = checks.examine(world(told), at=DAY)
    said = {one.key[1]: one.message for one in report.warnings if one.key[0] == "small-segment"}
    assert said["strategic"].endswith("propose it on an account’s page.")
    assert said["low-touch"].endswith("Widen its rule, or merge it into a neighbour.")


def test_the_four_tests_of_a_segment(db):
    told = example("small-segment.bad")
    told["segments"] = {
        "tech-touch": {"treatment": {"channel": ""}},
        "low-touch": {"treatment": {"service_model": "dedicated"}},
    }
    definition = world(told)
    Account.objects.filter(external_id__startswith="c0-1").update(csm=None)  # c0-1, c0-10, c0-11
    high, low, tech = four_tests(checks.examine(definition, at=DAY).subject)
    assert (high.accounts, high.substantial, high.contact_share) == (12, True, Fraction(9, 12))
    assert (low.accounts, low.substantial) == (9, False)
    assert (high.accessible, tech.accessible) == (True, False)
    assert all(one.actionable for one in (high, low, tech))
    Treatment.objects.filter(key="tier-low-touch").update(channel="Channel of high-touch")
    high, low, tech = four_tests(checks.examine(definition, at=DAY).subject)
    assert (high.actionable, high.like, low.like, tech.like) == (False, ("Low touch",), ("High touch",), ())


# -- acknowledging


@pytest.fixture
def draft(db):
    return world(example("segment-count.bad"))


def warnings(definition):
    return versions.examine(definition).unacknowledged


def activate(definition, by):
    return versions.activate(definition, by=by, reason="Go", seen=None)


def test_a_warning_is_answered_for_and_then_the_rules_become_active(draft):
    Definition.objects.filter(pk=draft.pk).update(hash=versions._hash(draft.document))
    olga = person()
    with pytest.raises(Refused, match=r"Acknowledge first, with a reason, .* 2 segments, too few"):
        activate(draft, olga)
    with pytest.raises(Refused, match="Say why"):
        acknowledge(draft, warnings(draft), reason=" ", by=olga)
    with pytest.raises(Refused, match="not allowed"):
        acknowledge(draft, warnings(draft), reason="x", by=person("otto", "view_definition"))
    acknowledge(draft, warnings(draft), reason="We are two people", by=olga)
    acknowledge(draft, versions.examine(draft).warnings, reason="We are only two", by=person("ida"))
    [kept] = draft.acknowledgements.all()
    assert (kept.reason, kept.by_label) == ("We are only two", "ida")
    assert kept.sentence.startswith("The rules give 2 segments")
    assert [one.reason for one in kept.history.order_by("pk")] == ["We are two people", "We are only two"]
    assert activate(draft, olga).status == "active"
    with pytest.raises(Refused, match="decided about"):
        acknowledge(draft, versions.examine(draft).warnings, reason="Later", by=olga)


def test_what_was_acknowledged_is_fixed_with_the_rules(draft):
    acknowledge(draft, warnings(draft), reason="Small", by=person())
    causes.take(Cause.Kind.SETUP)
    Definition.objects.filter(pk=draft.pk).update(status="active")
    for attempt in (
        lambda: draft.acknowledgements.update(reason="Other"),
        lambda: draft.acknowledgements.all().delete(),
        lambda: draft.acknowledgements.create(check_id="x", sentence="x", reason="x"),
    ):
        with pytest.raises(DatabaseError, match="cannot be changed"), transaction.atomic():
            attempt()


def test_another_number_is_another_warning(draft):
    acknowledge(draft, warnings(draft), reason="Two is enough", by=person())
    assert warnings(draft) == []
    one = {"rules": [{"segment": "tech-touch"}]}
    draft.document, draft.hash = one, ""
    draft.save()
    assert [finding.about for finding in warnings(draft)] == ["1"]


def test_the_reason_of_an_earlier_version_is_offered_again(draft):
    acknowledge(draft, warnings(draft), reason="Two is enough", by=person())
    causes.take(Cause.Kind.SETUP)
    Definition.objects.filter(pk=draft.pk).update(status="active")
    again = versions.create_draft(draft.layer, by=person())
    [finding] = warnings(again)
    assert earlier(again)[finding.key].reason == "Two is enough"


# -- the page


def page(name, definition):
    return reverse(f"admin:segmentation_definition_{name}", args=[definition.pk])


def test_the_page_shows_what_to_mend_and_takes_reasons(client, draft):
    olga = person("olga", "change_definition", "view_definition")
    User.objects.filter(pk=olga.pk).update(is_staff=True)
    client.force_login(User.objects.get(pk=olga.pk))
    assert page("checks", draft) in client.get(page("change", draft)).content.decode()
    shown = client.get(page("checks", draft), headers={"HX-Request": "true"}).content.decode()
    assert "1 warning to acknowledge" in shown
    assert "The rules give 2 segments" in shown
    assert "<html" not in shown
    assert client.get(page("acknowledge", draft)).status_code == 405
    for given, kept in (
        ({"reason": "x"}, 0),
        ({"warning": "segment-count/99", "reason": "x"}, 0),
        ({"warning": "segment-count/2", "reason": " "}, 0),
        ({"warning": "segment-count/2", "reason": "Two is enough", "activating": "1"}, 1),
    ):
        answer = client.post(page("acknowledge", draft), given)
        assert draft.acknowledgements.count() == kept
        if not kept:  # what was ticked and typed is there again
            assert answer.status_code == 409
            assert f">\n{given['reason']}</textarea>" in answer.content.decode()
            assert ("checked" in answer.content.decode()) == (given.get("warning") == "segment-count/2")
        else:
            assert (answer.status_code, answer["Location"]) == (
                302,
                reverse("ask_activation", args=[draft.pk]),
            )
    shown = client.get(page("checks", draft)).content.decode()
    assert "0 warnings to acknowledge" in shown
    assert "Two is enough" in shown
    assert "<html" in shown


def test_who_may_only_look_acknowledges_nothing(client, draft):
    ada = person("ada", "view_definition")
    User.objects.filter(pk=ada.pk).update(is_staff=True)
    client.force_login(User.objects.get(pk=ada.pk))
    assert (
        "textarea" not in client.get(page("checks", draft), headers={"HX-Request": "true"}).content.decode()
    )
    assert (
        client.post(page("acknowledge", draft), {"warning": "segment-count/2", "reason": "x"}).status_code
        == 403
    )
    assert not draft.acknowledgements.exists()


def test_rules_that_are_over_tell_what_was_acknowledged(client, draft, admin_user):
    acknowledge(draft, warnings(draft), reason="Two is enough", by=admin_user)
    causes.take(Cause.Kind.SETUP)
    for status in ("active", "retired"):
        Definition.objects.filter(pk=draft.pk).update(status=status)
    client.force_login(admin_user)
    shown = client.get(page("checks", draft)).content.decode()
    assert "Two is enough" in shown
    assert "passed" not in shown


# -- rules that look at more than facts


def test_segments_are_counted_whatever_the_rules_look_at(db):
    other = layer_with(BY_ARR, key="worth", policy="automatic")
    told = {
        "primary": "false",
        "document": {
            "rules": [
                {"segment": "named", "top": "2 by arr"},
                {"segment": "returning", "from": ["named"]},
                {"segment": "rich", "when": "label.worth = 'high'"},
                {"segment": "others"},
            ]
        },
        "accounts": [
            {"count": "3", "arr": "500"},
            {"count": "4", "arr": "200000"},
            {"count": "2", "arr": "300000"},
        ],
    }
    draft = world(told)
    recompute(DAY, layers=[other])
    portfolio = checks.examine(draft, at=DAY).subject.portfolio
    assert portfolio.counts == {"named": 2, "rich": 4, "others": 3}
    assert portfolio.contacts == portfolio.counts


def test_an_account_whose_values_cannot_be_computed_stops_no_check(db, monkeypatch):
    def broken(*args, **options):
        with connection.cursor() as cursor:
            cursor.execute("select 1 / 0")

    draft = world(example("small-segment.bad"))
    monkeypatch.setattr(frames, "facts", broken)
    report = checks.examine(draft, at=DAY)
    assert report.findings == []
    assert {"small-segment", "usage-lowers-coverage"} <= {result.check.id for result in report.not_run}


def test_a_circle_of_stages_nobody_comes_into_is_found():
    stages = [
        rule("new", "previous IS NULL"),
        rule("b", "arr > 1", **{"from": ["a"]}),
        rule("a", "arr > 2", **{"from": ["b"]}),
    ]
    report = lint(*stages)
    assert [(one.check, one.segments) for one in report.errors] == [
        ("unreachable-stage", ("a",)),
        ("unreachable-stage", ("b",)),
    ]
    assert not lint(*stages, rule("a", "previous = 'new' AND arr > 3")).errors


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "too few"),
        (2, "too few"),
        (3, ""),
        (8, ""),
        (9, "more than a team"),
        (15, "more than a team"),
        (16, "far more"),
    ],
)
def test_the_bands_of_segments(db, count, said):
    names = [f"play-{chr(97 + place) * 2}" for place in range(count)]
    rules = [{"segment": name, "when": f"arr >= {place}"} for place, name in enumerate(reversed(names), 1)]
    report = checks.examine(world({"document": {"requires": ["arr"], "rules": rules[::-1]}}), at=DAY)
    found = [one.message for one in report.findings if one.check == "segment-count"]
    assert len(found) == bool(said)
    assert all(said in message for message in found)
