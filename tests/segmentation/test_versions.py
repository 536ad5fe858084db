"""The life of rules: draft, active, retired; who may, with what reason, and never twice."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from databases import unsigned
from django.db import connection, transaction
from segmenting import BY_ARR, RULES, account, activate, answered, layer_with, person, recompute

from core.refusals import Refused
from segmentation.authoring import versions
from segmentation.authoring.checks import acknowledgements
from segmentation.models import Cause, Definition, Layer, Segment, ServiceModel, Treatment


@pytest.fixture
def layer(db):
    return layer_with()


def test_from_draft_to_active(layer):
    olga = person()
    draft = versions.create_draft(layer, by=olga)
    assert (draft.version, draft.status, draft.created_by_label) == (2, "draft", "olga")
    assert draft.document == layer.definitions.get(status="active").document
    draft = versions.save_draft(draft, BY_ARR, by=olga, seen=draft.hash)
    with pytest.raises(Refused, match=r"Acknowledge first, with a reason, .* 2 segments, too few"):
        versions.activate(draft, by=olga, reason="Simpler", seen=draft.hash)
    active = versions.activate(answered(draft), by=olga, reason="Simpler", seen=draft.hash)
    assert (active.status, active.reason, active.activated_by_label) == ("active", "Simpler", "olga")
    assert [rule | {"key": None} for rule in active.document["rules"]] == [
        rule | {"key": None} for rule in BY_ARR["rules"]
    ]
    assert all(
        rule["key"] for rule in active.document["rules"]
    )  # what makes it the same rule in the next version
    before = layer.definitions.get(version=1)
    assert (before.status, before.retired_at is not None) == ("retired", True)
    assert Cause.objects.latest("id").kind == Cause.Kind.DECISION
    history = active.history.first()
    assert (history.status, history.history_change_reason, history.history_user_label) == (
        "active",
        "Simpler",
        "olga",
    )


def test_drafts_may_be_incomplete_but_not_become_active(layer):
    olga = person()
    draft = versions.create_draft(layer, by=olga)
    broken = {
        "weights": {"worth": "0.5", "behaviour": "0.6"},
        "dimensions": RULES["dimensions"],
        "rules": [{"segment": "hgih"}],
    }
    draft = versions.save_draft(draft, broken, by=olga)
    assert {problem.path for problem in versions.problems(draft)} == {"weights", "rules.0.segment"}
    with pytest.raises(Refused, match=r"not complete: .*The weights add up to 1\.1"):
        versions.activate(draft, by=olga, reason="Try")
    assert layer.definitions.get(status="active").version == 1


@pytest.mark.parametrize(
    ("permissions", "reason", "refusal"),
    [
        (["change_definition"], "Because", "not allowed to activate"),
        (["activate_definition"], "  ", "Say why"),
        (["activate_definition"], "Because", None),
    ],
)
def test_activation_needs_a_permission_and_a_reason(layer, permissions, reason, refusal):
    draft = versions.create_draft(layer, by=person())
    who = person("ida", *permissions)
    if refusal:
        with pytest.raises(Refused, match=refusal):
            versions.activate(draft, by=who, reason=reason)
        assert Definition.objects.get(pk=draft.pk).status == "draft"
    else:
        assert versions.activate(draft, by=who, reason=reason).activated_by == who.pk


def test_outsiders(layer):
    outsider = person("otto", "view_definition")
    draft = versions.create_draft(layer, by=person())
    for verb in (
        lambda: versions.create_draft(layer, by=outsider),
        lambda: versions.save_draft(draft, {}, by=outsider),
        lambda: versions.discard_draft(draft, by=outsider),
        lambda: versions.discard_draft(draft, by=None),
        lambda: versions.activate(draft, by=None, reason="x"),
    ):
        with pytest.raises(Refused, match="not allowed"):
            verb()


def test_a_segment_needs_a_treatment(layer):
    Segment.objects.filter(key="low").update(treatment=None)
    draft = versions.create_draft(layer, by=person())
    with pytest.raises(Refused, match="not complete: Low does not say how its customers are served"):
        versions.activate(draft, by=person(), reason="x")
    draft = versions.save_draft(draft, BY_ARR, by=person())  # which does not use it
    versions.activate(answered(draft), by=person(), reason="x")


def test_one_draft_at_a_time(layer):
    draft = versions.create_draft(layer, by=person())
    with pytest.raises(Refused, match="has a draft already"):
        versions.create_draft(layer, by=person())
    versions.discard_draft(draft, by=person())
    with pytest.raises(Refused, match="has been discarded"):
        versions.save_draft(draft, {}, by=person())
    assert versions.create_draft(layer, by=person()).version == 2


def test_a_stale_page(layer):
    olga = person()
    draft = versions.create_draft(layer, by=olga)
    seen = draft.hash
    versions.save_draft(draft, BY_ARR, by=person("ida"), seen=seen)
    for verb in (
        lambda: versions.save_draft(draft, RULES, by=olga, seen=seen),
        lambda: versions.discard_draft(draft, by=olga, seen=seen),
        lambda: versions.activate(draft, by=olga, reason="x", seen=seen),
    ):
        with pytest.raises(Refused, match="since you opened them"):
            verb()


def test_a_document_written_past_the_verbs_is_stale(layer):
    draft = versions.create_draft(layer, by=person())
    Definition.objects.filter(pk=draft.pk).update(document=BY_ARR)
    with pytest.raises(Refused, match="since you opened them"):
        versions.activate(draft, by=person(), reason="x", seen=draft.hash)


@pytest.mark.parametrize(
    ("document", "refusal"),
    [
        ({"weights": {"a": "-0.1"}}, "not negative"),
        ({"weights": {"a": "NaN"}}, "not negative, not NaN"),
        ({"rules": [{"segment": "a\x00"}]}, "cannot be stored"),
        ({"rules": [{"segment": "\ud800"}]}, "cannot be stored"),
        ({"rules": float("nan")}, "cannot be stored"),
        ({"rules": "x" * 300_000}, "longer than"),
    ],
)
def test_what_cannot_be_stored(layer, document, refusal):
    draft = versions.create_draft(layer, by=person())
    with pytest.raises(Refused, match=refusal):
        versions.save_draft(draft, document, by=person())
    assert Definition.objects.get(pk=draft.pk).document == draft.document


def test_who_changes_rules_does_not_keep_others_from_naming_their_segmentation(real_db):
    """Every row about a segmentation locks it weakly when it is committed: a recalculation and a draft met in a deadlock."""
    layer, olga = layer_with(), person()
    draft = versions.create_draft(layer, by=olga)
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        draft = versions.save_draft(draft, BY_ARR, by=olga, seen=draft.hash)
        acknowledgements.acknowledge(draft, versions.examine(draft).unacknowledged, reason="Small", by=olga)
        assert pool.submit(lock_weakly, layer).result() == layer.pk


def lock_weakly(layer):
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("select id from segmentation_layer where id = %s for key share nowait", [layer.pk])
            return cursor.fetchone()[0]
    finally:
        connection.close()


def test_a_double_click_activates_once(real_db):
    layer, olga = layer_with(), person()
    draft = versions.create_draft(layer, by=olga)
    outcomes = []

    def click():
        try:
            outcomes.append(versions.activate(draft, by=olga, reason="Go", seen=draft.hash).status)
        except Refused as refusal:
            outcomes.append(str(refusal))
        finally:
            connection.close()

    threads = [threading.Thread(target=click) for _ in range(6)]
    with unsigned():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(outcomes) == [
        "Version 2 is active; only a draft or rules in review can be activated."
    ] * 5 + ["active"]
    assert Definition.history.filter(version=2, status="active").count() == 1


# -- presets


ACTIVE = versions.ORDER[:8]  # up to lifecycle and health; the others are drafts to look at


def test_presets_are_loaded_and_loading_again_changes_nothing(db):
    done = versions.load_presets()
    assert done == {"created": versions.ORDER, "left": []}
    statuses = dict(Definition.objects.values_list("layer__key", "status"))
    assert statuses == {key: "active" if key in ACTIVE else "draft" for key in versions.ORDER}
    assert Cause.objects.latest("id").kind == Cause.Kind.SETUP
    assert Layer.objects.get(primary=True).key == "service-tier"
    assert dict(Layer.objects.values_list("key", "policy")) == {
        key: "approval" if key == "service-tier" else "automatic" for key in versions.ORDER
    }
    assert ServiceModel.objects.count() == 3
    assert not Segment.objects.filter(treatment=None).exists()
    assert Segment.objects.get(key="enterprise-strategic").parent.layer.key == "value-tier"
    for definition in Definition.objects.all():
        assert versions.problems(definition) == []
    counts = [model.history.count() for model in (Layer, Segment, Treatment, ServiceModel, Definition)]
    assert versions.load_presets() == {"created": [], "left": versions.ORDER}
    assert counts == [
        model.history.count() for model in (Layer, Segment, Treatment, ServiceModel, Definition)
    ]
    assert recompute().status == "finished"  # without accounts


def test_presets_leave_what_people_made(db):
    versions.load_presets()
    layer = Layer.objects.get(key="value-tier")
    Segment.objects.filter(layer=layer, key="smb").update(name="Small")
    Treatment.objects.filter(key="value-tier-smb").update(name="Mailings")
    Layer.objects.filter(pk=layer.pk).update(position=7, name="Worth")
    rules = {"rules": [{"segment": "smb"}]}
    activate(layer, rules)
    versions.load_presets()
    layer.refresh_from_db()
    assert (layer.name, layer.position, layer.definitions.get(status="active").version) == (
        "Worth",
        7,
        2,
    )
    assert Segment.objects.get(layer=layer, key="smb").name == "Small"
    assert Treatment.objects.get(key="value-tier-smb").name == "Mailings"


def test_presets_beside_a_primary_layer_of_ones_own(db):
    layer_with()
    versions.load_presets()
    assert Layer.objects.get(primary=True).key == "tier"


def test_preset_tiers(db):
    """The boundaries of the methodology, through the database."""
    from segmentation.models import Assignment

    versions.load_presets()
    cases = [
        (99_999.99, "mid-market"),
        (100_000, "enterprise"),
        (25_000, "mid-market"),
        (24_999.99, "smb"),
        (0, "smb"),
    ]
    for number, (arr, _) in enumerate(cases):
        account(f"a{number}", arr=str(arr))
    recompute()
    found = Assignment.objects.filter(layer__key="value-tier").order_by("account__external_id")
    assert list(found.values_list("effective__key", flat=True)) == [segment for _, segment in cases]
