"""A new segmentation from its name to a request for approval, on one page and in fewer than 25 clicks."""

import re

import pytest
from governing import someone
from playwright.sync_api import expect

from governance.models import ApprovalRequest
from segmentation.models import Definition, Layer

pytestmark = pytest.mark.browser
LONG = "Customers of our partners in the north and in the south, 2026"  # 61 characters


class Hand:
    """A person at the page, whose clicks are counted: to choose from a list takes two. From field to field they go by Tab."""

    def __init__(self, page):
        self.page, self.clicks = page, 0

    def click(self, target):
        target.click()
        self.clicks += 1

    def choose(self, target, **what):
        target.select_option(**what)
        self.clicks += 2


def serve(page, hand, number, **what):
    hand.choose(page.locator(f"[name='segment-{number}-served']"), **what)


def fits(window):
    for dark in (False, True):
        window.page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", dark)
        for width in (390, 1366):
            window.page.set_viewport_size({"width": width, "height": 900})
            assert not window.sideways()


def primary(page):
    """The words of the prominent buttons that can be seen."""
    return [one.inner_text() for one in page.locator(".dm .btn.primary").all() if one.is_visible()]


def test_a_new_segmentation_on_one_page(window):
    page, hand = window.page, Hand(window.page)
    window.log_in_as(someone("olga", "CS Ops", is_staff=True))
    window.visit("/admin/")
    hand.click(page.get_by_role("link", name="Segmentations", exact=True))
    hand.click(page.get_by_role("link", name="New segmentation"))
    page.get_by_label("Name").fill(LONG)
    assert primary(page) == ["Save and go on to the segments"]
    fits(window)
    hand.click(page.get_by_role("button", name="Save and go on to the segments"))

    for number, name in enumerate(["Northern stars", "Steady partners", "Self-served"]):
        page.locator(f"[name='segment-{number}-name']").fill(name)
        serve(page, hand, number, index=number + 1)
    assert primary(page) == ["Save and go on to the rules"]
    fits(window)
    hand.click(page.get_by_role("button", name="Save and go on to the rules"))

    assert primary(page) == ["Save and check"]
    for number, least in enumerate(["$100K", "25,000"]):
        rule = page.locator("[data-rule]").nth(number)
        hand.choose(rule.get_by_label("Data field"), value="arr")
        rule.get_by_label("Value").fill(least)
        expect(rule.locator("[data-count]")).to_contain_text(re.compile(r"Matches \d+ account"))
    expect(page.locator("#summary")).to_contain_text("Nothing to mend")
    fits(window)
    page.get_by_label("Data fields without which").fill("arr")
    hand.click(page.get_by_role("button", name="Save and check"))

    checks = page.locator("#checks")
    expect(checks.get_by_text("to acknowledge")).to_be_visible()
    expect(checks.locator("summary").first).to_contain_text(
        re.compile(r"Northern stars: \d+ · Steady partners: \d+")
    )
    assert primary(page) == ["Save and acknowledge"]
    for box in checks.get_by_role("checkbox").all():
        hand.click(box)
    checks.get_by_label("Why these rules are used all the same").fill("A first cut, to be watched")
    fits(window)
    hand.click(page.get_by_role("button", name="Save and acknowledge"))

    expect(page.get_by_text("Complete. On the next page")).to_be_visible()
    assert primary(page) == ["Save and send for approval…"]
    fits(window)
    hand.click(page.get_by_role("button", name="Save and send for approval"))
    page.get_by_label("Why", exact=True).fill("Partners need their own service")
    hand.click(page.get_by_role("button", name="Send for approval"))
    expect(page.locator("h1 .dm-badge")).to_have_text("Waiting for approval")
    assert hand.clicks < 25

    layer = Layer.objects.get(name=LONG)
    definition = Definition.objects.get(layer=layer)
    assert definition.status == "in_review"
    assert [rule.get("when") for rule in definition.document["rules"]] == [
        "arr >= 100000",
        "arr >= 25000",
        None,
    ]
    assert set(layer.segments.values_list("owner__username", flat=True)) == {"olga"}
    assert ApprovalRequest.objects.get().requester_label == "olga"


def test_no_button_loses_what_was_typed_in_another_step(window):
    page = window.page
    window.visit("/admin/segmentation/layer/add/")
    page.get_by_label("Name").fill("Partners")
    page.get_by_label("Start from").select_option("value-tier")
    page.get_by_role("button", name="Save and go on to the segments").click()
    layer = Layer.objects.get(name="Partners")
    expect(page.locator("#checks")).to_contain_text("passed")
    page.locator("#about > summary").click()
    page.get_by_label("What it is for").fill("Typed, not saved")
    page.get_by_label("Why these rules are used all the same").fill("Half a reason")
    page.get_by_role("button", name="Save and go on to the segments").click()
    expect(page.get_by_text("Saved.", exact=True)).to_be_visible()
    expect(page.get_by_label("Why these rules are used all the same")).to_have_value("Half a reason")
    layer.refresh_from_db()
    assert layer.description == "Typed, not saved"

    page.locator("#rules-step > summary").click()
    rule = page.locator("[data-rule]").first
    rule.get_by_role("button", name="+ Condition").click()
    page.locator("#segments-step > summary").click()
    page.locator("[name='segment-3-name']").fill("Embassies")
    page.get_by_role("button", name="Save and add a row").click()
    expect(page.locator("[name='segment-4-name']")).to_have_count(1)
    assert layer.segments.filter(name="Embassies").exists()
    assert layer.definitions.get().document["rules"][0]["rows"]["rows"][1]["field"] == ""
    expect(page.locator("[data-rule]").first.get_by_label("Data field")).to_have_count(2)
    assert window.problems == []


def test_if_missing_is_chosen(window):
    page = window.page
    page.get_by_role("link", name="Rules", exact=True).first.click()
    page.get_by_role("button", name="Start a draft from version 1").first.click()
    cell = page.locator("[data-row]").nth(1).locator("td.missing")
    choice = cell.get_by_label("If missing")
    expect(cell.get_by_label("The field that is rated instead")).to_be_hidden()
    choice.select_option("rate")
    expect(page.get_by_text("Say which data field is rated instead")).to_be_visible()
    cell.get_by_label("The field that is rated instead").select_option("arr")
    cell.get_by_label("Instead: 5 points").fill("$100K+")
    cell.get_by_label("Instead: 1 point").fill("< $100K")
    expect(page.locator("#summary")).to_contain_text("Nothing to mend")
    page.set_viewport_size({"width": 390, "height": 844})
    assert window.sideways() == []
    page.get_by_role("button", name="Save the draft").click()
    expect(page.get_by_text("The draft is saved.")).to_be_visible()
    criterion = Definition.objects.get(status="draft", layer__key="service-tier").document["dimensions"][0][
        "criteria"
    ][1]
    assert criterion["missing"] == "rate arr: $100K+ = 5, < $100K = 1"
