"""Pages about versions of rules: their steps, comparison, and files in and out."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from segmenting import BY_ARR, answered, layer_with, person

from segmentation import files, versions
from segmentation.models import Definition

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


def test_from_draft_through_review_to_active(web, layer, draft):
    page = text(web.get(f"{S}{draft.pk}/change/"))
    assert "Save and submit for review…" in page
    asked = web.get(f"{S}{draft.pk}/submit/")
    assert "High: ARR 100000 → 80000" in text(asked)
    assert web.post(f"{S}{draft.pk}/submit/", {"seen": draft.hash, "reason": " "}).status_code == 409
    assert web.post(f"{S}{draft.pk}/submit/", {"seen": draft.hash, "reason": "Softer"}).status_code == 302
    one = Definition.objects.get(pk=draft.pk)
    assert (one.status, one.reason, one.submitted_by_label) == ("in_review", "Softer", "ida")
    page = text(web.get(f"{S}{draft.pk}/change/"))
    for label in ("Back to draft…", "Reject…", "Activate…"):
        assert label in page
    assert "“Softer”" in page
    assert "Save the draft" not in page
    answered(one)
    answer = web.post(f"{S}{draft.pk}/activate/", {"seen": one.hash, "reason": "Agreed"}, follow=True)
    assert answer.status_code == 200
    assert Definition.objects.get(pk=draft.pk).status == "active"


def test_rejected_and_returned(web, draft):
    draft = versions.submit(draft, by=person(), reason="Softer")
    web.post(f"{S}{draft.pk}/withdraw/", {"seen": draft.hash})
    assert Definition.objects.get(pk=draft.pk).status == "draft"
    draft = versions.submit(Definition.objects.get(pk=draft.pk), by=person(), reason="Again")
    stale = web.post(f"{S}{draft.pk}/reject/", {"seen": "other", "reason": "No"})
    assert "since you opened them" in text(stale)
    answer = web.post(f"{S}{draft.pk}/reject/", {"seen": draft.hash, "reason": "Too soft"}, follow=True)
    assert "version 2 is rejected; the active rules are as before" in text(answer)
    assert "“Too soft”" in text(web.get(S))
    again = web.post(f"{S}{draft.pk}/reject/", {"seen": draft.hash, "reason": "No"}, follow=True)
    assert "this step is not open any more" in text(again)


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        ("change_definition", {"submit", "withdraw"}),
        ("activate_definition", {"reject", "activate"}),
        (None, set()),
    ],
)
def test_steps_are_offered_to_who_may_take_them(client, draft, permission, allowed):
    web = visitor(client, "otto", *filter(None, [permission]))
    draft = versions.submit(draft, by=person(), reason="Softer")
    page = text(web.get(f"{S}{draft.pk}/change/"))
    for verb in ("withdraw", "reject", "activate"):
        assert (f"{S}{draft.pk}/{verb}/" in page) == (verb in allowed)
    for verb in ("submit", "withdraw", "reject", "activate"):
        status = web.post(f"{S}{draft.pk}/{verb}/", {"seen": "stale", "reason": "x"}).status_code
        assert (status == 403) == (verb not in allowed)
    assert Definition.objects.get(pk=draft.pk).status == "in_review"


def test_looking_at_a_step_takes_none(web, draft):
    for verb in ("submit", "activate"):
        assert web.get(f"{S}{draft.pk}/{verb}/", {"reason": "x"}).status_code == 200
    assert Definition.objects.get(pk=draft.pk).status == "draft"
    versions.submit(draft, by=person(), reason="Softer")
    for verb in ("withdraw", "reject", "activate"):
        assert web.get(f"{S}{draft.pk}/{verb}/", {"reason": "x"}).status_code == 200
    assert Definition.objects.get(pk=draft.pk).status == "in_review"


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
    "given", [{}, {"new": "x"}, {"new": "9" * 30}, {"old": "1", "new": "\x00"}, {"new": "²"}]
)
def test_versions_that_are_not_there_are_not_compared(web, layer, given):
    assert web.get(f"{S}compare/", given).status_code == 404


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
