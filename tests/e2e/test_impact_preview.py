"""An impact preview in a real browser, without a worker: the page itself carries it on."""

import re

import pytest
from playwright.sync_api import expect
from segmenting import person

from segmentation.authoring import versions
from segmentation.models import Assignment, Layer, Simulation

pytestmark = pytest.mark.browser


def test_a_draft_is_previewed_without_a_worker_read_taken_as_a_file_and_frozen(window):
    page = window.page
    layer = Layer.objects.get(key="value-tier")
    draft = versions.create_draft(layer, by=person())
    document = draft.document
    document["rules"][0]["when"] = "arr >= 150000"
    draft = versions.save_draft(draft, document, by=person())
    before = list(Assignment.objects.order_by("pk").values_list("pk", "effective", "computed", "fingerprint"))

    window.visit(f"/admin/segmentation/definition/{draft.pk}/change/")
    page.get_by_role("link", name="Impact preview", exact=True).click()
    page.get_by_role("button", name="Preview the impact").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("heading", name="From segment to segment")).to_be_visible()
    moved = Simulation.objects.get().result["counts"]["moves"]
    assert moved > 3
    expect(page.locator(".tile .big").first).to_have_text(str(moved))
    picture = page.get_by_role("img", name=re.compile("Enterprise to "))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (1366, 390):
            page.set_viewport_size({"width": width, "height": 900})
            assert not window.sideways()
            box = picture.bounding_box()
            assert box["width"] > 120
            assert box["height"] > 200
    page.set_viewport_size({"width": 1366, "height": 900})

    page.locator(".matrix td.moves a").first.click()
    expect(page.locator(".dm h1")).to_contain_text("from Enterprise to ")
    expect(page.locator("tbody tr")).to_have_count(moved)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as CSV").click()
    assert download.value.suggested_filename.startswith("impact-value-tier-version-2-")
    assert len(download.value.path().read_text().splitlines()) == moved + 1

    page.get_by_role("link", name="Back to the impact preview").click()
    page.get_by_label("What it is kept for").fill("For the board")
    page.get_by_role("button", name="Freeze").click()
    expect(page.get_by_text("“For the board”")).to_be_visible()
    expect(page.get_by_role("button", name="Freeze")).to_have_count(0)
    versions.save_draft(draft, draft.document | {"requires": ["employees"]}, by=person())
    page.reload()
    expect(page.locator("#changed")).to_contain_text("The rules were changed since this preview.")
    assert before == list(
        Assignment.objects.order_by("pk").values_list("pk", "effective", "computed", "fingerprint")
    )
