"""A new segmentation on one page: its steps, what is kept of it, and who may write it."""

import json
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from governing import deactivated
from segmenting import BY_ARR, account, answered, layer_with, layer_without_rules, person

from accounts.catalogue import TYPES
from core.refusals import Refused
from segmentation.authoring import segmentations, versions
from segmentation.authoring.segmentations import FIRST_ROW, Row
from segmentation.models import Assignment, Definition, Layer, Segment, ServiceModel, Treatment
from segmentation.rules import definitions, document_text, files

ADD = "/admin/segmentation/layer/add/"
ABOUT = {"about-name": "Partner tier", "about-scope": "account", "about-policy": "automatic"}


def setup(layer, part="setup"):
    return reverse(f"admin:segmentation_layer_{part}", args=[layer.pk])


class Form(HTMLParser):
    """The fields a browser without JavaScript would send of the page's own form."""

    def __init__(self, answer):
        super().__init__()
        self.sent, self.name, self.inside, self.template, self.text = {}, None, False, 0, None
        self.feed(answer.content.decode())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "form":
            self.inside = found.get("id") in ("scoring", "setup")
        self.template += tag == "template"
        if not self.inside or self.template or not (found.get("name") or tag == "option"):
            return
        if tag == "input" and (found.get("type") not in ("checkbox", "radio") or "checked" in found):
            self.sent[found["name"]] = found.get("value", "")
        if tag == "textarea":
            self.text = found["name"]
            self.sent[self.text] = ""
        if tag == "select":
            self.name = found["name"]
            self.sent.setdefault(self.name, "")
        if tag == "option" and "selected" in found:
            self.sent[self.name] = found.get("value", "")

    def handle_data(self, data):
        if self.text:
            self.sent[self.text] += data.lstrip("\r\n")

    def handle_endtag(self, tag):
        self.text = None
        self.inside = self.inside and tag != "form"
        self.template -= tag == "template"


@pytest.fixture
def chief(db, client):
    client.force_login(User.objects.create_superuser("chief"))
    return client


@pytest.fixture
def models(db):
    """Two service models."""
    return [ServiceModel.objects.create(key=name.lower(), name=name) for name in ("Named", "Pooled")]


def begun(chief):
    answer = chief.post(ADD, ABOUT)
    assert answer.status_code == 302
    layer = Layer.objects.get(name="Partner tier")
    assert answer["Location"] == setup(layer)
    return layer


def with_segments(chief, models):
    layer = begun(chief)
    sent = Form(chief.get(setup(layer))).sent
    sent |= {"segment-0-name": "Gold", "segment-0-served": f"model-{models[0].pk}"}
    sent |= {
        "segment-1-name": "Silver",
        "segment-1-owner": "role-CS Ops",
        "segment-1-served": f"model-{models[1].pk}",
    }
    assert chief.post(setup(layer), sent | {"go": "segments"}).status_code == 302
    return layer


def saved(chief, layer, **typed):
    sent = Form(chief.get(setup(layer))).sent | typed
    answer = chief.post(setup(layer), sent)
    assert answer.status_code == 302, answer.context["refused"]
    return segmentations.draft_of(layer)


def row(*parts):
    field, operator, *values = parts
    return {"field": field, "operator": operator, "values": values}


def rows(*rows, join="all"):
    return json.dumps({"join": join, "rows": list(rows)})


# -- step by step


def test_the_first_step_makes_it_and_leads_to_the_second(chief):
    page = chief.get(ADD)
    assert page.context["next"] == "about"
    assert page.content.decode().count("btn primary") == 1
    layer = begun(chief)
    assert (layer.key, layer.policy, layer.position) == ("partner-tier", "automatic", 0)
    page = chief.get(setup(layer))
    assert page.context["next"] == "segments"
    assert page.context["steps"]["rules"]["state"] == "not yet"
    assert page.content.decode().count("btn primary") == 1
    assert layer.history.latest().history_user_label == "chief"


def test_a_name_is_needed_and_what_was_typed_stays(chief):
    answer = chief.post(ADD, ABOUT | {"about-name": "", "about-description": "For partners"})
    assert answer.status_code == 409
    assert "Give the segmentation a name." in answer.content.decode()
    assert "For partners" in answer.content.decode()
    assert not Layer.objects.exists()


def test_segments_have_owners_and_are_served_and_rules_begin_with_a_row_for_each(chief, models):
    layer = with_segments(chief, models)
    gold, silver = layer.segments.order_by("position")
    assert (gold.name, gold.owner.username, gold.owner_role) == ("Gold", "chief", "")
    assert (silver.key, silver.owner, silver.owner_role) == ("silver", None, "CS Ops")
    assert [each.treatment.service_model for each in (gold, silver)] == models
    assert gold.treatment.name == "Gold (Partner tier)"
    draft = segmentations.draft_of(layer)
    assert draft.document["rules"] == [{"segment": "gold", "rows": FIRST_ROW}, {"segment": "silver"}]
    page = chief.get(setup(layer))
    assert page.context["next"] == "rules"
    assert page.context["steps"]["rules"]["todo"] == ["Choose a data field."]
    assert page.content.decode().count("btn primary") == 1


def test_rules_as_rows_are_saved_and_then_it_is_checked(chief, models):
    layer = with_segments(chief, models)
    draft = saved(chief, layer, **{"rules.0.rows": rows(row("arr", ">=", "$100K")), "go": "rules"})
    assert draft.document["rules"] == [{"segment": "gold", "when": "arr >= 100000"}, {"segment": "silver"}]
    account("acme", arr=200_000)
    account("tiny", arr=5)
    page = chief.get(setup(layer))
    assert page.context["next"] == "checks"
    assert [step["state"] for step in page.context["steps"].values()] == ["done"] * 3
    checked = chief.get(setup(layer, "checked")).content.decode()
    assert "1 account" in checked
    assert "to answer</" in checked
    assert "Complete" not in checked
    assert "Once every warning is answered." in checked


def test_warnings_are_acknowledged_there_and_then_it_is_complete(chief, models):
    layer = with_segments(chief, models)
    saved(chief, layer, **{"rules.0.rows": rows(row("arr", ">=", "5")), "requires": "arr"})
    checked = chief.get(setup(layer, "checked"))
    names = [each["name"] for each in checked.context["open"]]
    assert names
    sent = Form(chief.get(setup(layer))).sent | {"warning": names, "go": "acknowledge", "reason": ""}
    refused = chief.post(setup(layer), sent)
    assert refused.status_code == 409
    assert "checked" in refused.content.decode()  # the warnings are still ticked
    assert chief.post(setup(layer), sent | {"reason": "A start"}).status_code == 302
    checked = chief.get(setup(layer, "checked"))
    assert checked.context["complete"]
    assert "Save and send for approval…" in checked.content.decode()
    assert checked.content.decode().count("btn primary") == 1
    asked = chief.post(setup(layer), Form(chief.get(setup(layer))).sent | {"go": "ask"})
    assert asked["Location"] == reverse("ask_activation", args=[segmentations.draft_of(layer).pk])


def test_a_ready_one_to_start_from_is_copied_and_stays_as_it_is(chief):
    versions.load_presets()
    before = Layer.objects.get(key="value-tier")
    chief.post(ADD, ABOUT | {"about-like": "value-tier"})
    layer = Layer.objects.get(name="Partner tier")
    assert list(layer.segments.values_list("name", "treatment")) == list(
        before.segments.values_list("name", "treatment")
    )
    assert layer.decides == before.decides
    active = before.definitions.get(status="active")
    [draft] = layer.definitions.all()
    parsed = [definitions.parse(each.document, types=TYPES).freeze() for each in (active, draft)]
    assert draft.status == "draft"
    assert parsed[0] == parsed[1]
    assert chief.get(setup(layer)).context["next"] == "checks"
    sent = Form(chief.get(setup(layer))).sent
    assert chief.post(setup(layer), sent).status_code == 302  # saving changes nothing
    assert definitions.parse(segmentations.draft_of(layer).document, types=TYPES).freeze() == parsed[0]


# -- drafts


def test_an_unfinished_row_is_kept_in_the_draft_and_blocks(chief, models):
    layer = with_segments(chief, models)
    half = [
        row("arr", ">=", "100000"),
        row("", ">=", ""),
        {"join": "any", "rows": [row("industry", "=", "")]},
    ]
    draft = saved(chief, layer, **{"rules.0.rows": rows(*half)})
    assert draft.document["rules"][0] == {"segment": "gold", "rows": {"join": "all", "rows": half}}
    page = chief.get(setup(layer))
    assert page.context["steps"]["rules"]["todo"] == ["Choose a data field.", "Give a value."]
    assert [each["path"] for each in page.context["problems"]] == ["rules.0.rows.1", "rules.0.rows.2.0"]
    again = saved(chief, layer)  # without JavaScript, nothing touched
    assert again.document == draft.document
    with pytest.raises(Refused, match="not complete") as refused:
        versions.submit(again, by=person(), reason="x")
    assert refused.value.code == "rules_incomplete"
    typed = saved(chief, layer, **{"rules.0.when": "arr > 5"})  # a condition typed instead
    assert typed.document["rules"][0] == {"segment": "gold", "when": "arr > 5"}


def test_a_draft_with_unfinished_rows_is_a_file_and_is_compared(chief, models):
    layer = with_segments(chief, models)
    draft = segmentations.draft_of(layer)
    text = files.write(layer.key, draft.document)
    assert files.read(text).document == draft.document
    assert document_text.from_yaml(document_text.to_yaml(draft.document)) == draft.document
    rows = definitions.problems(draft.document, types=TYPES)
    assert [each.path for each in rows] == ["rules.0.rows.0"]


def test_rows_that_became_a_condition_are_one():
    """A name may be there later, such as points of a measure that is added."""
    group = {"join": "all", "rows": [row("arr", ">=", "$1M")]}
    document = definitions.parse({"rules": [{"segment": "gold", "rows": group}]}, types=TYPES)
    assert document.freeze()["rules"] == [{"key": "gold", "segment": "gold", "when": "arr >= 1000000"}]


def test_rows_that_cannot_be_read_are_refused_and_nothing_else_is_written(chief, models):
    layer = with_segments(chief, models)
    sent = Form(chief.get(setup(layer))).sent | {"about-name": "Other", "rules.0.rows": '{"join": 1}'}
    answer = chief.post(setup(layer), sent)
    assert answer.status_code == 409
    assert "cannot be read" in answer.context["refused"]
    layer.refresh_from_db()
    assert layer.name == "Partner tier"


def test_segments_are_put_in_order_added_and_removed(chief, models):
    layer = with_segments(chief, models)
    saved(chief, layer, **{"rules.0.rows": rows(row("arr", ">=", "9"))})
    typed = {
        "segment-2-name": "Bronze",
        "segment-2-place": "1",
    }
    draft = saved(chief, layer, **typed)
    assert list(layer.segments.order_by("position").values_list("name", flat=True)) == [
        "Bronze",
        "Gold",
        "Silver",
    ]
    assert [rule["segment"] for rule in draft.document["rules"]] == ["gold", "bronze", "silver"]
    [place] = [key for key, value in Form(chief.get(setup(layer))).sent.items() if value == "Silver"]
    draft = saved(chief, layer, **{place.replace("name", "remove"): "on"})
    assert list(layer.segments.order_by("position").values_list("name", flat=True)) == ["Bronze", "Gold"]
    assert [rule["segment"] for rule in draft.document["rules"]] == ["gold", "bronze"]


def test_a_row_without_a_name_is_told_and_nothing_typed_is_lost(chief, models):
    layer = begun(chief)
    sent = Form(chief.get(setup(layer))).sent
    sent |= {
        "segment-0-name": "Gold",
        "segment-1-served": f"model-{models[0].pk}",
        "about-description": "Typed",
    }
    answer = chief.post(setup(layer), sent)
    assert answer.status_code == 409
    text = answer.content.decode()
    assert "Give the segment a name." in text
    again = Form(answer).sent
    assert (again["segment-0-name"], again["about-description"]) == ("Gold", "Typed")
    assert again["segment-1-served"] == f"model-{models[0].pk}"
    assert not layer.segments.exists()


def test_what_was_typed_survives_a_refusal_in_every_step(chief, models):
    layer = with_segments(chief, models)
    sent = Form(chief.get(setup(layer))).sent
    Segment.objects.filter(layer=layer, key="gold").update(name="Platinum")  # somebody else
    sent |= {"about-description": "Mine", "rules.0.rows": rows(row("arr", ">=", "")), "reason": "Because"}
    answer = chief.post(setup(layer), sent)
    assert answer.status_code == 409
    assert "Somebody changed Partner tier" in answer.context["refused"]
    again = Form(answer).sent
    assert again["about-description"] == "Mine"
    assert again["segment-0-name"] == "Gold"
    assert json.loads(again["rules.0.rows"])["rows"] == [row("arr", ">=", "")]
    assert chief.post(setup(layer), again).status_code == 302  # in place of theirs
    assert layer.segments.get(key="gold").name == "Gold"


def test_rules_that_somebody_else_began_meanwhile_are_not_wiped(chief, models):
    layer = begun(chief)
    sent = Form(chief.get(setup(layer))).sent | {"segment-0-name": "Bronze"}
    segmentations.write(layer, {"name": layer.name}, [Row("Gold"), Row("Silver")], by=User.objects.get())
    theirs = {"rules": [{"segment": "gold", "when": "arr > 7"}, {"segment": "silver"}]}
    versions.save_draft(segmentations.draft_of(layer), theirs, by=User.objects.get())
    answer = chief.post(setup(layer), sent)
    assert answer.status_code == 409
    assert chief.post(setup(layer), Form(answer).sent).status_code == 302
    rules = segmentations.draft_of(layer).document["rules"]
    assert [rule["segment"] for rule in rules] == ["gold", "bronze", "silver"]
    assert rules[0]["when"] == "arr > 7"
    assert layer.segments.count() == 3


def test_a_button_of_a_later_step_only_saves_where_there_are_no_rules_yet(chief):
    layer = begun(chief)
    for go in ("ask", "acknowledge"):
        answer = chief.post(setup(layer), Form(chief.get(setup(layer))).sent | {"go": go})
        assert answer["Location"] == setup(layer)


def test_an_owner_whose_login_is_closed_stays_until_another_is_chosen(chief, models):
    layer = with_segments(chief, models)
    gone = User.objects.create_user("gone", is_staff=True)
    Segment.objects.filter(key="gold").update(owner=gone)
    deactivated(gone)
    assert "Choose who owns Gold." in chief.get(setup(layer)).context["steps"]["segments"]["todo"]
    saved(chief, layer)
    assert layer.segments.get(key="gold").owner == gone


# -- who, and when no more


def test_only_who_defines_segmentations_writes_one(client, db):
    viewer = person("viewer", "view_layer", "change_definition")
    viewer.is_staff = True
    viewer.save()
    client.force_login(viewer)
    layer = layer_without_rules()
    for address in (ADD, setup(layer), setup(layer, "checked")):
        assert client.get(address).status_code == 403
    assert "New segmentation" not in client.get("/admin/segmentation/layer/").content.decode()
    with pytest.raises(Refused) as refused:
        segmentations.write(None, {"name": "x"}, [], by=viewer)
    assert refused.value.code == "segmentation_not_allowed"


@pytest.mark.parametrize(
    ("state", "code"), [("active", "segmentation_in_force"), ("in_review", "segmentation_in_review")]
)
def test_what_is_in_force_or_waits_is_not_written_here(chief, state, code):
    if state == "active":
        layer = layer_with(BY_ARR)
    else:
        layer = layer_without_rules()
        draft = versions.save_draft(versions.create_draft(layer, by=person()), BY_ARR, by=person())
        versions.submit(answered(draft), by=person(), reason="x")
    answer = chief.get(setup(layer))
    assert answer["Location"] == reverse("admin:segmentation_layer_change", args=[layer.pk])
    chief_user = User.objects.get(username="chief")
    with pytest.raises(Refused) as refused:
        segmentations.write(layer, {"name": "x"}, [], by=chief_user)
    assert refused.value.code == code


def test_a_segment_that_others_are_part_of_is_not_removed(chief, models):
    layer = with_segments(chief, models)
    gold, silver = layer.segments.order_by("position")
    Segment.objects.filter(pk=silver.pk).update(parent=gold)
    sent = Form(chief.get(setup(layer))).sent | {"segment-0-remove": "on"}
    answer = chief.post(setup(layer), sent)
    assert answer.status_code == 409
    assert "Gold is used elsewhere" in answer.context["refused"]
    assert layer.segments.count() == 2


def test_keys_are_made_of_names(db):
    chief = User.objects.create_superuser("chief")
    names = ["Tier", "Tier", "2nd tier", "Уровень"]
    layers = [segmentations.write(None, {"name": name}, [], by=chief) for name in names]
    assert [layer.key for layer in layers] == ["tier", "tier-2", "s-2nd-tier", "segmentation"]
    segmentations.write(layers[0], {"name": "Tier"}, [Row("A"), Row("A"), Row("1:1")], by=chief)
    assert list(layers[0].segments.values_list("key", flat=True)) == ["a", "a-2", "s-11"]


def test_saving_what_is_as_it_was_leaves_no_history(chief, models):
    layer = with_segments(chief, models)
    before = [layer.history.count(), *(each.history.count() for each in layer.segments.all())]
    treatments = Treatment.objects.count()
    saved(chief, layer)
    assert [layer.history.count(), *(each.history.count() for each in layer.segments.all())] == before
    assert Treatment.objects.count() == treatments


def test_the_list_leads_there_and_on_with_what_is_begun(chief, client):
    layer = begun(chief)
    page = chief.get("/admin/segmentation/layer/").content.decode()
    assert f'href="{ADD}">New segmentation</a>' in page
    assert f'href="{setup(layer)}">none yet, continue</a>' in page
    viewer = person("viewer", "view_layer")
    viewer.is_staff = True
    viewer.save()
    client.force_login(viewer)
    page = client.get("/admin/segmentation/layer/").content.decode()
    assert "continue</a>" not in page
    assert ">none yet</a>" in page


def test_queries_do_not_grow_with_what_there_is(chief, models):
    layer = with_segments(chief, models)

    def queries():
        with CaptureQueriesContext(connection) as seen:
            chief.get(setup(layer))
        return len(seen)

    queries()
    few = queries()
    rows = [Row(f"Kind {number}", treatment=Treatment.objects.first()) for number in range(20)]
    current = [
        Row(each.name, each, each.owner, each.owner_role, each.treatment) for each in layer.segments.all()
    ]
    segmentations.write(layer, {"name": layer.name}, [*current, *rows], by=User.objects.get(username="chief"))
    assert queries() <= few
    assert few < 60
    assert not Assignment.objects.exists()
    assert Definition.objects.count() == 1
