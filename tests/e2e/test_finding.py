"""Ctrl+K in a real browser: by keyboard from anywhere to an account and why it is where it is; and on a telephone."""

import re

import pytest
from governing import someone
from playwright.sync_api import expect

from accounts.models import Account
from segmentation.models import Run

pytestmark = pytest.mark.browser
LONG = "Northwind Robotics International Holdings and Logistics GmbH"


@pytest.fixture
def northwind(segmented):
    Account.objects.filter(external_id="c00050").update(name=LONG, domain="northwind.example")
    return Account.objects.get(external_id="c00050")


def field(page):
    return page.get_by_role("combobox", name="Find")


def test_an_account_by_ctrl_k_and_why_it_is_where_it_is_within_one_screen(window, northwind):
    page = window.page
    page.set_viewport_size({"width": 1366, "height": 768})
    window.visit("/admin/segmentation/run/")
    page.keyboard.press("Control+k")
    expect(field(page)).to_be_focused()
    expect(page.get_by_role("option", name="Recalculate", exact=True)).to_be_visible()  # what one may do
    page.keyboard.type("northw")
    first = page.get_by_role("option").first
    expect(first).to_contain_text(LONG)
    expect(first).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("option", name="Ask for an override")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/account/{northwind.pk}/change/$"))
    answer = page.locator(".answer > section")
    expect(answer).to_contain_text(re.compile(r"Service tier\s+(High|Low|Tech)-Touch\s+in force since"))
    expect(answer).to_contain_text(re.compile(r"Why: Overall score \d\.\d\d is (at least|below)"))
    box = answer.bounding_box()
    assert box["y"] + box["height"] <= 768  # without scrolling


def test_arrows_enter_escape_and_nothing_found(window, northwind):
    page = window.page
    window.visit("/admin/accounts/account/")
    page.get_by_placeholder("Name, account ID or web domain").focus()
    page.keyboard.press("Control+k")  # also from within a field
    expect(field(page)).to_be_focused()
    page.keyboard.type("recalc")
    expect(page.get_by_role("option")).to_have_count(2)  # the action, and the page of recalculations
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option").nth(1)).to_have_attribute("aria-selected", "true")
    expect(field(page)).to_have_attribute(
        "aria-activedescendant", page.get_by_role("option").nth(1).get_attribute("id")
    )
    page.keyboard.press("ArrowDown")  # round and round
    expect(page.get_by_role("option").nth(0)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/run/start/$"))
    assert Run.objects.count() == 1  # a page that asks

    page.keyboard.press("Meta+k")
    page.keyboard.type("zzzz")
    expect(page.get_by_text("Nothing found for “zzzz”.")).to_be_visible()
    page.keyboard.press("Enter")  # opens nothing
    page.keyboard.press("Escape")
    expect(page.locator("#search")).to_be_hidden()
    expect(page).to_have_url(re.compile("/run/start/$"))
    page.keyboard.press("Control+k")
    page.keyboard.type("c00050")
    page.keyboard.press("Enter")  # faster than the answer
    expect(page).to_have_url(re.compile(f"/account/{northwind.pk}/change/$"))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1366, 390])
def test_by_a_button_at_both_widths_in_both_themes(window, northwind, theme, width):
    page = window.page
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 844})
    window.visit("/admin/")
    page.get_by_role("button", name="Find anything").click()
    expect(field(page)).to_be_focused()
    field(page).fill("northwind")
    option = page.get_by_role("option", name=re.compile(LONG)).first
    expect(option).to_be_visible()
    assert not window.sideways()
    dialog, line = page.locator("#search").bounding_box(), option.bounding_box()
    assert dialog["x"] >= 0
    assert dialog["x"] + dialog["width"] <= width
    assert line["x"] + line["width"] <= dialog["x"] + dialog["width"]
    page.get_by_role("button", name="Close the search").click()
    expect(page.locator("#search")).to_be_hidden()
    expect(page.get_by_role("button", name="Find anything")).to_be_focused()


def test_a_csm_finds_no_more_than_a_csm_may(window, northwind):
    page = window.page
    window.log_in_as(someone("cleo", "CSM", is_staff=True))
    window.visit("/admin/")
    page.keyboard.press("Control+k")
    page.keyboard.type("recalculate")
    expect(page.get_by_text("Nothing found for “recalculate”.")).to_be_visible()
    field(page).fill("northwind")
    expect(page.get_by_role("option", name=re.compile(LONG)).first).to_be_visible()
    expect(page.get_by_role("option", name="Correct data")).to_have_count(0)
