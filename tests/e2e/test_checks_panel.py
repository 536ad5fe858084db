"""Checks in a real browser: an error leads to its cell, a warning is acknowledged, and then the rules are sent for approval."""

import pytest
from segmenting import person

from segmentation.authoring import versions
from segmentation.models import Definition, Layer

pytestmark = pytest.mark.browser


def test_from_what_is_wrong_to_rules_that_wait_for_approval(window):
    page = window.page
    layer = Layer.objects.get(key="service-tier")
    draft = versions.create_draft(layer, by=person())
    broken = draft.document | {"rules": [*draft.document["rules"]]}
    broken["dimensions"][1]["criteria"][0]["cells"][0] = "31+"
    broken["dimensions"][1]["criteria"][0]["cells"][1] = "12-30"
    versions.save_draft(draft, broken, by=person())

    window.visit(f"/admin/segmentation/definition/{draft.pk}/change/")
    checks = page.locator("#checks")
    checks.get_by_text("no value from 0 to 30 falls into the cell '31+'").wait_for()
    checks.get_by_role("link", name="Go there").first.click()
    cell = page.locator("[name='dimensions.1.criteria.0.cells.0']")
    assert cell.evaluate("one => one === document.activeElement")
    cell.fill("20+")
    page.locator("[name='dimensions.1.criteria.0.cells.1']").fill("12-19")
    page.get_by_role("button", name="Save the draft").click()

    checks.get_by_text("0 errors").wait_for()
    boxes = checks.get_by_role("checkbox")
    count = boxes.count()
    assert count
    boxes.first.check()
    checks.get_by_label("Why these rules are used all the same").fill("We have not connected it yet")
    checks.get_by_role("button", name="Acknowledge").click()
    checks.get_by_text("“We have not connected it yet”, chief").wait_for()
    for box in checks.get_by_role("checkbox").all():
        box.check()
    checks.get_by_label("Why these rules are used all the same").fill("Known, and watched")
    checks.get_by_role("button", name="Acknowledge").click()
    checks.get_by_text("0 warnings to acknowledge").wait_for()

    page.get_by_role("button", name="Save and send for approval").click()
    page.get_by_label("Why").fill("Tidied up")
    page.get_by_role("button", name="Send for approval").click()
    page.get_by_text("Waiting for approval").first.wait_for()
    draft.refresh_from_db()
    assert draft.status == "in_review"
    assert Definition.objects.get(pk=draft.pk).acknowledgements.count() == count
