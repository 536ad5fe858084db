"""People at work in the web admin, in a real browser: look around, ask why, recalculate, import, edit rules."""

import re

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from segmenting import answered
from waiting import wait_until

from accounts.models import Account, ImportBatch
from segmentation.authoring import versions
from segmentation.models import Definition, Layer, Run

pytestmark = pytest.mark.browser

RECIPE = """\
as_of: 2026-06-01
currency: USD
source_system: crm
sources:
  crm: {file: crm.csv}
accounts: |
  SELECT id AS external_id, name, arr FROM crm
"""
ROWS = "id,name,arr\nN-1,Cobalt Foods,120000\nN-2,Birch Labs,12 apples\n" + "".join(
    f"N-{number},Foods {number},{number}000\n" for number in range(3, 8)
)


def test_from_logging_in_to_why_to_a_recalculation(window, spawn_worker):
    page = window.page
    spawn_worker()
    page.context.clear_cookies()
    window.log_in()
    expect(page.get_by_role("heading", name="The portfolio")).to_be_visible()
    page.get_by_role("link", name="Accounts", exact=True).click()
    page.get_by_placeholder("Name, account ID or web domain").fill("northwind")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Northwind Robotics").click()
    expect(page.get_by_role("heading", name=re.compile("Why: Service tier, rules version 1"))).to_be_visible()
    page.locator("summary.group", has_text="Firmographic").click()
    expect(page.get_by_role("row", name=re.compile("^Industry SaaS"))).to_contain_text("5")
    expect(page.get_by_text("Overall score").first).to_be_visible()
    page.get_by_label("as of").fill("2020-01-01")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("on 1 Jan 2020").first).to_be_visible()
    page.locator("summary", has_text=re.compile("^All . labels")).click()
    page.get_by_role("link", name="Value tier", exact=False).first.click()
    page.get_by_role("link", name="Settings").click()
    page.get_by_role("link", name="Recalculations").click()
    page.get_by_role("link", name="Recalculate").click()
    assert Run.objects.count() == 1  # the link asks only
    page.get_by_role("button", name="Recalculate").click()
    expect(page.get_by_role("heading", name="What came of it")).to_be_visible()
    expect(page.locator("h1 .dm-badge")).to_have_text("Finished")  # by itself: live progress
    run = Run.objects.latest("id")
    assert (run.started_by_label, run.channel, run.accounts) == ("chief", "admin", 60)


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_every_menu_page_at_both_widths_in_both_themes(window, theme):
    account = Account.objects.get(external_id="c00050")
    draft = versions.create_draft(Layer.objects.get(primary=True), by=User.objects.get(username="chief"))
    pages = window.menu()
    assert len(pages) >= 14
    pages += [
        f"/admin/accounts/account/{account.pk}/change/",
        f"/admin/accounts/account/{account.pk}/edit/",
        f"/admin/accounts/account/{account.pk}/history/",
        f"/admin/segmentation/run/{Run.objects.get().pk}/change/",
        f"/admin/segmentation/definition/{draft.pk}/change/",
        "/admin/accounts/importbatch/upload/",
    ]
    page, found = window.page, {}
    page.emulate_media(color_scheme=theme)
    for path in pages:
        window.visit(path)
        expect(page.locator("html.dark")).to_have_count(int(theme == "dark"))
        for width in (1366, 390):
            page.set_viewport_size({"width": width, "height": 900})
            if wide := window.sideways():
                found[path, width] = wide
    assert found == {}


def test_one_screen_says_why_an_account_is_where_it_is(window):
    """Without scrolling, with a name of sixty characters, in both themes and widths."""
    page, account = window.page, Account.objects.get(external_id="c00050")
    Account.objects.filter(pk=account.pk).update(
        name="Northwind Robotics International Holdings and Logistics GmbH"
    )
    window.visit("/admin/accounts/account/?q=northwind")
    page.get_by_role("link", name="Northwind Robotics").click()
    answer = page.locator(".answer > section")
    for theme, width, height in [
        ("light", 1366, 768),
        ("dark", 1366, 768),
        ("light", 390, 844),
        ("dark", 390, 844),
    ]:
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("scrollTo(0, 0)")
        assert not window.sideways()
        expect(answer).to_contain_text(re.compile(r"Service tier\s+(High|Low|Tech)-Touch\s+in force since"))
        expect(answer).to_contain_text(re.compile(r"Overall score \d\.\d\d: \d\.\d\d from"))
        expect(answer).to_contain_text(re.compile(r"Why: Overall score \d\.\d\d is (at least|below)"))
        expect(answer.locator(".way").first).to_contain_text(re.compile("-Touch (if|is far)"))
        box = answer.bounding_box()
        assert box["y"] + box["height"] <= height
        heading = page.locator("#content h1").bounding_box()
        assert heading["width"] > min(width - 40, 600)  # it never collapses
        assert heading["height"] < 90
        assert page.locator(".head .btn").count() == 3  # two, and the menu
    page.set_viewport_size({"width": 1366, "height": 768})
    beside = page.locator(".beside")
    expect(beside).to_contain_text(re.compile("Lifecycle.*Health.*Renewal.*ARR.*12 months", re.S))
    box = beside.bounding_box()
    assert box["y"] + box["height"] <= 768
    page.get_by_label("More actions").click()
    page.get_by_role("link", name="History").click()
    expect(page).to_have_url(re.compile("/history/$"))


def test_the_menu_and_the_theme_are_reached_by_keyboard(window):
    page = window.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.set_viewport_size({"width": 390, "height": 900})
    expect(page.locator("#nav-sidebar")).to_be_hidden()
    button = page.get_by_role("button", name="Menu").locator("visible=true")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#nav-sidebar")).to_be_visible()


def test_an_import_is_previewed_then_committed(window, spawn_worker):
    page = window.page
    spawn_worker()
    page.get_by_role("link", name="Imports").click()
    page.get_by_role("link", name="Import accounts").click()
    page.get_by_label("Recipe").set_input_files(
        {"name": "recipe.yaml", "mimeType": "text/yaml", "buffer": RECIPE.encode()}
    )
    page.get_by_label("Data files").set_input_files(
        [{"name": "crm.csv", "mimeType": "text/csv", "buffer": ROWS.encode()}]
    )
    expect(page.get_by_label("Name")).to_have_value("")  # choosing files fills in nothing else
    page.get_by_role("button", name="Check the files").click()
    good = page.get_by_role("button", name="Import the good rows, leave 1 out")
    expect(good).to_be_visible()
    expect(page.get_by_text("This is a preview: nothing has been saved.")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("12 apples"))).to_be_visible()
    assert not Account.objects.filter(external_id="N-1").exists()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all").click()
    assert "12 apples" in download.value.path().read_text()
    good.click()
    expect(page.get_by_text("The segments follow with the next recalculation.")).to_be_visible()
    assert Account.objects.get(external_id="N-1").arr == 120_000
    batch = ImportBatch.objects.get()
    assert (batch.created_by_label, batch.name) == ("chief", "crm.csv")


def test_errors_stand_at_the_cell_as_one_types(window):
    page = window.page
    page.get_by_role("link", name="Rules", exact=True).click()
    page.get_by_role("button", name="Start a draft from version 1").first.click()
    expect(page.locator("#summary")).to_contain_text("Nothing to mend")
    page.get_by_role("button", name="Save the draft").click()
    expect(page.get_by_text("The draft is saved.")).to_be_visible()
    draft = Definition.objects.get(status="draft", layer__key="service-tier")
    active = Definition.objects.get(status="active", layer=draft.layer)
    assert draft.document == active.document  # loading and saving changes nothing

    cell = page.locator("[name='dimensions.0.criteria.0.cells.1']")
    cell.fill("500-99")
    expect(cell).to_have_attribute("aria-invalid", "true")
    note = page.locator(f"#{cell.get_attribute('aria-describedby')}")
    expect(note).to_contain_text("starts above its end")
    assert note.evaluate(
        "one => one.closest('td').contains(document.querySelector(`[name='dimensions.0.criteria.0.cells.1']`))"
    )
    page.get_by_role("button", name="Save the draft").click()  # drafts may be incomplete
    expect(cell).to_have_value("500-99")
    expect(cell).to_have_attribute("aria-invalid", "true")
    cell.fill("500-999")
    expect(cell).not_to_have_attribute("aria-invalid", "true")
    page.locator("[data-rule]").first.get_by_role("button", name="Advanced (SQL)").click()
    page.locator("[name='rules.0.when']").fill("composite >= 3.9")
    expect(page.locator("#summary")).to_contain_text("Nothing to mend")
    page.get_by_role("button", name="Save and send for approval").click()
    expect(page.locator("#checks").get_by_text("to acknowledge")).to_be_visible()
    answered(Definition.objects.get(pk=draft.pk))
    page.get_by_label("Why", exact=True).fill("Fewer in the middle")
    page.get_by_role("button", name="Send for approval").click()
    expect(page.locator("h1 .dm-badge")).to_have_text("Waiting for approval")
    assert Definition.objects.get(status="in_review", layer=draft.layer).reason == "Fewer in the middle"


def test_a_measure_without_its_data_field_is_not_complete(window):
    page = window.page
    page.get_by_role("link", name="Rules", exact=True).click()
    page.get_by_role("button", name="Start a draft from version 1").first.click()
    field = page.locator("[name='dimensions.0.criteria.1.fact']")
    field.select_option("")
    expect(page.get_by_text("Choose a data field.")).to_be_visible()
    field.select_option("industry")
    expect(page.locator("#summary")).to_contain_text("Nothing to mend")
    assert page.locator("[name='dimensions.0.criteria.1.key']").input_value() == "industry"


def test_a_recalculation_without_a_worker_says_so(window):
    page = window.page
    page.clock.install()
    window.visit("/admin/segmentation/run/start/")
    page.get_by_role("button", name="Recalculate").dblclick()
    expect(page.get_by_text("Working: 0 of 60 accounts")).to_be_visible()
    assert Run.objects.count() == 2  # the one of the fixture, and one for two clicks
    told = page.get_by_text("perhaps none is running")
    wait_until(lambda: page.clock.run_for(2_000) or told.is_visible())
