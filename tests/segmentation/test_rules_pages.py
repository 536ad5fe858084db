"""Pages about versions of rules: their steps, comparison, and files in and out."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from segmenting import BY_ARR, layer_with, person

from segmentation.authoring import versions
from segmentation.models import Definition
from segmentation.rules import files

S = "/admin/segmentation/definition/"
NEXT = {"rules": [{"segment": "high", "when": "arr >= 80000"}, {"segment": "tech", "when": "arr >= 0"}]}


@pytest.fixture
def layer(db):
    return layer_with(BY_ARR)


@pytest.fixture
def draft(layer):
    return versions.save_draft(versions.create_draft(layer, by=person()), NEXT, by=person())


def visitor(client, name="ida", *permissions):
    who = person(name, "view_definition", *permissions)
    who.is_staff = True
    who.save()
    client.force_login(who)
    return client


@pytest.fixture
def web(db, client):
    return visitor(client, "ida", "change_definition", "activate_definition")


def text(answer):
    return answer.content.decode()


def test_a_draft_is_saved_and_leads_to_where_it_is_sent_for_approval(web, draft):
    assert "Save and send for approval…" in text(web.get(f"{S}{draft.pk}/change/"))
    answer = web.post(f"{S}{draft.pk}/change/", {"rules.0.segment": "high", "seen": draft.hash, "send": "1"})
    assert answer["Location"] == reverse("ask_activation", args=[draft.pk])


@pytest.mark.parametrize(
    ("permission", "offered"), [("change_definition", True), ("activate_definition", False), (None, False)]
)
def test_only_who_may_change_rules_sends_them(client, draft, permission, offered):
    web = visitor(client, "otto", *filter(None, [permission]))
    assert ("send for approval…" in text(web.get(f"{S}{draft.pk}/change/"))) == offered
    answer = web.post(reverse("ask_activation", args=[draft.pk]), {"seen": draft.hash, "reason": "x"})
    assert (answer.status_code == 403) != offered


def test_what_is_in_review_cannot_be_edited_and_says_why_it_is(web, draft):
    versions.submit(draft, by=person(), reason="Softer")
    page = text(web.get(f"{S}{draft.pk}/change/"))
    assert "“Softer”" in page
    assert "Save the draft" not in page


def test_any_two_versions_are_compared(web, layer, draft):
    active = layer.definitions.get(version=1)
    page = text(web.get(f"{S}compare/", {"old": active.pk, "new": draft.pk}))
    assert "High: ARR 100000 → 80000" in page
    assert "Rule 1 › condition" in page
    assert "High: ARR 80000 → 100000" in text(web.get(f"{S}compare/", {"old": draft.pk, "new": active.pk}))
    assert "High: ARR 100000 → 80000" in text(
        web.get(f"{S}compare/", {"new": draft.pk})
    )  # with the active one
    assert "same version twice" in text(web.get(f"{S}compare/", {"old": draft.pk, "new": draft.pk}))
    assert 'name="old"' in text(web.get(S))
    other = layer_with(BY_ARR, key="other").definitions.get()
    answer = web.get(f"{S}compare/", {"old": other.pk, "new": draft.pk}, follow=True)
    assert "rules of two segmentations" in text(answer)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 404),
        ({"new": "x"}, 404),
        ({"new": "9" * 30}, 404),
        ({"old": "1", "new": "\x00"}, 400),
        ({"new": "²"}, 404),
    ],
)
def test_versions_that_are_not_there_are_not_compared(web, layer, given, status):
    assert web.get(f"{S}compare/", given).status_code == status


def test_a_version_is_downloaded_and_uploaded_again(web, layer):
    active = layer.definitions.get()
    answer = web.get(f"{S}{active.pk}/export/")
    assert answer["Content-Disposition"] == 'attachment; filename="tier-1.yaml"'
    assert text(answer) == files.write("tier", BY_ARR)
    said = upload(web, answer.content)
    assert "version 1 of Tier (active) says the same" in text(said)
    said = upload(web, answer.content.replace(b"100000", b"80000"))
    assert "The file is version 2 of Tier now, a new draft" in text(said)
    made = Definition.objects.get(version=2)
    assert (made.document["rules"][0]["when"], made.created_by_label) == ("arr >= 80000", "ida")


def upload(web, content):
    return web.post(f"{S}import/", {"file": SimpleUploadedFile("rules.yaml", content)}, follow=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"key: teir\ndocument: {}\n",
            "There is no segmentation &#x27;teir&#x27;. Did you mean &#x27;tier&#x27;? There are: tier.",
        ),
        (b"key: tier\ndocument:\n  rules: x\n", "Line 3: &#x27;rules&#x27; must be a list."),
        (b"\xff", "not UTF-8"),
        (b"a" * 5_000_000, "larger than"),
        (b"key: tier\ndocument: !x {}\n", "types (!name) are not used here"),
    ],
)
def test_an_upload_that_is_no_definition_says_why(web, layer, content, message):
    answer = upload(web, content)
    assert answer.status_code == 409
    assert message in text(answer)
    assert Definition.objects.count() == 1


def test_no_file_and_no_permission(web, client, layer):
    assert "Choose a file first" in text(web.post(f"{S}import/", {}))
    outsider = visitor(client, "otto")
    assert outsider.get(f"{S}import/").status_code == 403
    assert outsider.post(f"{S}import/", {}).status_code == 403
    assert outsider.get(f"{S}{layer.definitions.get().pk}/export/").status_code == 200
