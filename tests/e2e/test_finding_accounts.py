"""The list of accounts in a real browser: columns and filter are chosen, saved, done something with; two lines on a telephone."""

import re

import pytest
from playwright.sync_api import expect

from accounts.models import Account, SavedView

pytestmark = pytest.mark.browser
LONG = "Northwind Robotics International Holdings and Logistics GmbH"


def test_accounts_are_found_saved_and_acted_on(window):
    page = window.page
    Account.objects.filter(external_id="c00050").update(name=LONG)
    window.visit("/admin/accounts/account/")
    expect(
        page.get_by_text(re.compile(r"^As of .* · 60 accounts, ARR \$[\d,]+"))
    ).to_be_visible()  # by itself
    page.get_by_role("link", name="Columns and filter").click()
    page.get_by_role("button", name="+ Condition").press("Enter")
    page.get_by_label("Data field").select_option("arr")
    page.get_by_label("What is asked").select_option("between")
    page.get_by_label("Value 1").fill("50000")
    page.get_by_label("Value 2").fill("9000000")
    expect(page.locator("#counted")).to_have_text(re.compile(r"It finds \d+ of 60 accounts\."))
    number = re.search(r"\d+", page.locator("#counted").inner_text())[0]
    page.get_by_label("Renewal date", exact=True).check()
    page.get_by_label("Kind", exact=True).uncheck()
    page.get_by_role("button", name="Show the list").click()
    expect(page.get_by_text(f"{number} accounts, ARR")).to_be_visible()
    expect(page.get_by_text("Only where ARR")).to_be_visible()
    expect(page.locator("thead")).to_contain_text("Renewal date")
    expect(page.locator("thead")).not_to_contain_text("Kind")
    page.locator("thead").get_by_role("link", name="Renewal date").click()
    expect(page.locator("th.column-renewal_date.sorted")).to_be_visible()
    page.get_by_text("Save this view").click()
    page.get_by_label("Name", exact=True).fill("Large ones")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("link", name=f"Large ones {number}")).to_be_visible()
    assert "renewal_date" in SavedView.objects.get().query

    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": 390, "height": 844})
        assert not window.sideways()
        heights = page.locator("#result_list .data-row").evaluate_all(
            "all => all.map(one => one.offsetHeight)"
        )
        assert max(heights) <= 66  # two lines
        page.set_viewport_size({"width": 1366, "height": 900})
        assert not window.sideways()

    page.locator("input.action-select").first.check()
    page.get_by_label("Select action to run").select_option(label="Exclude")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("heading", name="Exclude: 1 account")).to_be_visible()
    page.get_by_label("Why they are excluded").fill("Ours")
    page.get_by_role("button", name="Exclude for 1 account").click()
    expect(page.get_by_text("1 account: excluded.")).to_be_visible()
    expect(page.get_by_text("Only where ARR")).to_be_visible()  # the list as it was
    assert Account.objects.get(excluded=True).exclusion_reason == "Ours"
