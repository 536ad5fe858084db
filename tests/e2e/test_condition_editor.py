"""A condition without code, in a real browser: rows and groups, their counts, the same thing as SQL."""

import re

import pytest
from playwright.sync_api import expect

from governance.models import AlertRule
from segmentation.models import Definition

pytestmark = pytest.mark.browser


@pytest.fixture
def draft(window):
    """The page of a draft of the value tier (by ARR)."""
    page = window.page
    page.get_by_role("link", name="Rules", exact=True).click()
    card = page.locator("section, article, .card").filter(has=page.get_by_text("Value tier", exact=True)).last
    card.get_by_role("button", name=re.compile("Start a draft")).click()
    expect(page.locator("#counted")).to_contain_text("Counted on 60 accounts as of")
    return page


def rule(page, index=0):
    return page.locator("[data-rule]").nth(index)


def test_a_condition_is_made_of_rows_by_keyboard_alone(draft):
    first = rule(draft)
    expect(first.get_by_label("Data field")).to_have_value("arr")
    expect(first.get_by_label("What is asked")).to_have_value(">=")
    before = first.locator("[data-count]").inner_text()
    assert before.startswith("Matches ")

    first.get_by_role("button", name="+ Condition").first.press("Enter")
    field = first.get_by_label("Data field").nth(1)
    expect(field).to_be_focused()
    field.select_option("employees")
    expect(field).to_be_focused()  # drawn anew, and still where one was
    draft.keyboard.press("Tab")
    draft.keyboard.press("Tab")
    draft.keyboard.type("5oo")
    expect(first.get_by_text("'5oo' is no number")).to_be_visible()
    first.get_by_label("Value").nth(1).fill("500")
    expect(draft.locator("#summary")).to_contain_text("Nothing to mend")
    expect(first.locator("[data-count]")).not_to_have_text(before)

    first.get_by_role("button", name="+ Group").press("Enter")
    group = first.locator(".rows.group")
    group.get_by_label("Data field").select_option("industry")
    group.get_by_label("What is asked").select_option("in")
    group.get_by_label("Value").fill("SaaS")
    group.get_by_role("button", name="+ value").press("Enter")
    draft.keyboard.type("it's, new")
    group.get_by_role("button", name="+ Condition").press("Enter")
    group.get_by_label("Data field").nth(1).select_option("renewal_date")
    group.get_by_label("What is asked").nth(1).select_option("unknown")
    expect(draft.locator("#summary")).to_contain_text("Nothing to mend")
    draft.get_by_role("button", name="Save the draft").click()
    expect(draft.get_by_text("The draft is saved.")).to_be_visible()
    saved = Definition.objects.get(status="draft", layer__key="value-tier").document["rules"][0]["when"]
    assert saved == (
        "arr >= 100000 AND employees >= 500 AND (industry IN ('SaaS', 'it''s, new') OR renewal_date IS NULL)"
    )
    expect(rule(draft).locator(".rows.group").get_by_label("Value 2")).to_have_value("it's, new")


def test_rows_and_sql_are_two_views_of_one_thing(draft):
    first = rule(draft)
    first.get_by_role("button", name="Advanced (SQL)").click()
    text = first.get_by_label("Condition", exact=True)
    expect(text).to_have_value("arr >= 100000")
    text.fill("industry = 'SaaS' OR arr > 5 AND employees < 10")
    first.get_by_role("button", name="As rows").click()
    expect(first.locator("[aria-label='How the rows are joined']")).to_have_value("any")
    expect(first.get_by_label("Data field")).to_have_count(3)
    first.get_by_role("button", name="Advanced (SQL)").click()
    text.fill("arr > employees * 3")
    first.get_by_role("button", name="As rows").click()
    expect(first.get_by_text("This condition says more than rows can show; it stays SQL.")).to_be_visible()
    expect(text).to_have_value("arr > employees * 3")
    draft.get_by_role("button", name="Save the draft").click()
    expect(draft.get_by_text("The draft is saved.")).to_be_visible()
    expect(rule(draft).get_by_text("This condition says more than rows can show.")).to_be_visible()
    assert (
        Definition.objects.get(status="draft", layer__key="value-tier").document["rules"][0]["when"]
        == "arr > employees * 3"
    )


def test_an_unfinished_row_is_saved_in_the_draft_and_blocks(draft):
    first = rule(draft)
    first.get_by_role("button", name="+ Condition").first.click()
    expect(first.get_by_text("Choose a data field.", exact=True)).to_be_visible()
    first.get_by_role("button", name="Advanced (SQL)").click()
    expect(first.get_by_text("Finish the rows first.")).to_be_visible()
    draft.get_by_role("button", name="Save the draft").click()
    expect(draft.get_by_text("The draft is saved.")).to_be_visible()
    expect(rule(draft).get_by_label("Data field")).to_have_count(2)
    expect(draft.locator("#summary")).to_contain_text("1 thing is to be mended")
    rule(draft).get_by_label("Data field").nth(1).select_option("employees")
    rule(draft).get_by_label("Value").nth(1).fill("1,000")
    expect(draft.locator("#summary")).to_contain_text("Nothing to mend")


def test_limits_have_their_own_fields_and_all_fits_a_telephone(draft, window):
    last = rule(draft, 1)
    last.get_by_text("Limits: coming from, top N").click()
    last.get_by_label("Only the top so many accounts").fill("x")
    expect(last.get_by_text("is not known. Write for example: 50 by arr")).to_be_visible()
    last.get_by_label("Only the top so many accounts").fill("7")
    last.get_by_label("Ranked by").select_option("arr")
    last.get_by_label("Enterprise").check()
    expect(draft.locator("#summary")).to_contain_text("Nothing to mend")
    draft.get_by_role("button", name="Save the draft").click()
    expect(draft.get_by_text("The draft is saved.")).to_be_visible()
    saved = Definition.objects.get(status="draft", layer__key="value-tier").document["rules"][1]
    assert (saved["from"], saved["top"]) == (["enterprise"], "7 by arr")

    draft.set_viewport_size({"width": 390, "height": 844})
    rule(draft).get_by_role("button", name="+ Group").click()
    for dark in (False, True):
        draft.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", dark)
        assert window.sideways() == []


def test_an_alert_rule_is_made_of_rows_too(window):
    page = window.page
    window.visit("/admin/governance/alertrule/add/")
    page.get_by_label("Name").fill("Large and ramping")
    for number, (field, value) in enumerate([("arr", "100000"), ("label.lifecycle", "ramping")]):
        page.get_by_role("button", name="+ Condition").click()
        row = page.locator(".condition-row").nth(number)
        row.get_by_label("Data field").select_option(field)
        expect(page.locator("#counted")).to_have_text("Give a value.")
        given = row.get_by_label("Value")
        given.select_option(value) if "." in field else given.fill(value)
    expect(page.locator("#counted")).to_contain_text("This condition can be used. It holds on")
    page.set_viewport_size({"width": 390, "height": 844})
    assert window.sideways() == []
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url("**/alertrule/")
    assert AlertRule.objects.get().condition == "arr >= 100000 AND label.lifecycle = 'ramping'"


def test_a_list_typed_into_one_box_is_taken_apart_when_it_was_meant_as_several(draft):
    first = rule(draft)
    first.get_by_label("Data field").select_option("country")
    first.get_by_label("What is asked").select_option("in")
    apart = first.get_by_role("button", name="One value; make it")
    first.get_by_label("Value").fill("US")
    expect(apart).to_be_hidden()
    first.get_by_label("Value").fill("US, CA, GB")
    expect(apart).to_have_text("One value; make it 3")
    apart.click()
    values = first.locator(".values input")
    expect(values).to_have_count(3)
    assert [one.input_value() for one in values.all()] == ["US", "CA", "GB"]

    draft.get_by_label("Add a data field").select_option("tickets_90d")
    draft.get_by_label("Add a data field").select_option("country")
    expect(draft.get_by_label("Data fields without which")).to_have_value("arr, tickets_90d, country")
    draft.get_by_role("button", name="Save the draft").click()
    expect(draft.get_by_text("The draft is saved.")).to_be_visible()
    document = Definition.objects.get(status="draft", layer__key="value-tier").document
    assert document["requires"] == ["arr", "tickets_90d", "country"]
    assert document["rules"][0]["when"] == "country IN ('US', 'CA', 'GB')"
