"""The life of rules in a real browser: a file in, the difference in sentences, approval, rejection."""

import pytest
from governing import someone
from playwright.sync_api import expect
from segmenting import answered

from governance.models import ApprovalRequest
from segmentation.models import Definition
from segmentation.rules import files

pytestmark = pytest.mark.browser


def test_a_file_becomes_a_draft_is_compared_reviewed_and_rejected(window):
    page = window.page
    active = Definition.objects.get(layer__key="value-tier", status="active")
    window.visit(f"/admin/segmentation/definition/{active.pk}/change/")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export", exact=True).click()
    text = download.value.path().read_text(encoding="utf-8")
    assert text == files.write("value-tier", active.document)

    page.get_by_role("link", name="Rules", exact=True).first.click()
    page.get_by_role("link", name="Import a file").click()
    page.get_by_label("File (YAML)").set_input_files(
        {
            "name": "t.yaml",
            "mimeType": "application/yaml",
            "buffer": text.replace("100000", "120000").encode(),
        }
    )
    page.get_by_role("button", name="Import as a draft").click()
    expect(page.get_by_text("The file is version 2 of Value tier now")).to_be_visible()

    page.get_by_role("link", name="Compare").click()
    expect(page.locator("#sentences li")).to_have_text(["Enterprise: ARR 100000 → 120000"])
    for width in (1366, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert not window.sideways()
        expect(page.locator("#rows tbody tr")).to_contain_text("arr >= 120000")
    page.get_by_role("link", name="The other way round").click()
    expect(page.locator("#sentences li")).to_have_text(["Enterprise: ARR 120000 → 100000"])
    page.get_by_label("to").select_option("Version 2 (draft)")
    page.get_by_label("From").select_option("Version 2 (draft)")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("the same version twice")).to_be_visible()

    page.get_by_role("link", name="Version 2", exact=True).click()
    page.get_by_role("button", name="Save and send for approval").click()
    expect(page.locator("#checks").get_by_text("to acknowledge")).to_be_visible()
    answered(Definition.objects.get(layer=active.layer, version=2))
    page.get_by_label("Why", exact=True).fill("Fewer, better served")
    page.get_by_role("button", name="Send for approval").click()
    expect(page.locator("h1 .dm-badge")).to_have_text("Waiting for approval")
    expect(page.get_by_text("You cannot decide your own request")).to_be_visible()

    request = ApprovalRequest.objects.get()
    window.log_in_as(someone("vera", "Approver", is_staff=True))
    window.visit(f"/admin/governance/approvalrequest/{request.pk}/change/")
    for width in (1366, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert not window.sideways()
    page.get_by_label("Why you decide so").fill("Not this quarter")
    page.get_by_role("button", name="Reject").click()
    expect(page.locator("h1 .dm-badge")).to_have_text("Rejected")
    expect(page.get_by_text("“Not this quarter”").first).to_be_visible()
    page.get_by_role("link", name="What it is about").click()
    expect(page.locator("h1 .dm-badge")).to_have_text("Rejected")
    expect(page.get_by_role("button", name="Save the draft")).to_have_count(0)
    assert Definition.objects.get(pk=active.pk).status == "active"
