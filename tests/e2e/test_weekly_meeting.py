"""Tier changes in a real browser: the weekly meeting by keyboard, a plan, another person's approval, the hand-over."""

from datetime import timedelta

import pytest
from governing import policy, someone
from playwright.sync_api import expect
from segmenting import DAY, recompute

from accounts.models import Account, Csm
from governance.changes import board, followup
from governance.models import ApprovalRequest, Transition

pytestmark = pytest.mark.browser


@pytest.fixture
def flagged(segmented):
    """The tier changes to decide, the most revenue first, after the customers have grown."""
    policy("tier_change", "Approver", only=True)
    dana = Csm.objects.create(email="dana@x.test", name="Dana")
    Csm.objects.create(email="erik@x.test", name="Erik")
    Account.objects.update(arr=400_000, employees=5_000, csm=dana)
    recompute(DAY + timedelta(days=1))
    followup.follow_ended()
    rows = list(board.to_decide())
    assert len(rows) > 2
    return rows


def test_the_weekly_meeting_by_keyboard_and_what_comes_of_it(flagged, window):
    page = window.page
    window.log_in_as(someone("ops", "CS Ops", is_staff=True))
    window.visit("/admin/")
    page.get_by_role("link", name="Tier changes").first.click()
    expect(page.locator("#content h1")).to_have_text("Tier changes")
    for width in (390, 1366):
        page.set_viewport_size({"width": width, "height": 900})
        assert not window.sideways()
    page.get_by_role("link", name="Start triage").click()
    of = len(flagged)
    expect(page.get_by_text(f"1 of {of} · 0 decided")).to_be_visible()

    page.keyboard.press("j")
    expect(page.get_by_text(f"2 of {of} · 0 decided")).to_be_visible()
    page.keyboard.press("k")
    expect(page.get_by_text(f"1 of {of} · 0 decided")).to_be_visible()
    page.keyboard.press("u")
    why = page.get_by_label("Why it is kept")
    expect(why).to_be_focused()
    page.keyboard.type("They just leave us")  # j, k and u are letters here
    expect(why).to_have_value("They just leave us")
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_text(f"2 of {of} · 1 decided")).to_be_visible()
    kept = Transition.objects.get(status="kept")
    assert (kept.pk, kept.end_reason) == (flagged[0].pk, "They just leave us")

    page.keyboard.press("Enter")
    page.get_by_label("Who looks after the customer afterwards").select_option(
        value=str(Csm.objects.get(name="Erik").pk)
    )
    for width in (390, 1366):
        page.set_viewport_size({"width": width, "height": 900})
        assert not window.sideways()
    page.get_by_label("Why now, for those who approve").fill("They have grown")
    page.get_by_role("button", name="Ask for approval").click()
    expect(page.get_by_text(f"3 of {of} · 2 decided")).to_be_visible()
    request = ApprovalRequest.objects.get()
    one = Transition.objects.get(request=request)
    assert (one.pk, one.status) == (flagged[1].pk, "awaiting")

    window.log_in_as(someone("vera", "Approver", is_staff=True))
    window.visit("/admin/governance/transition/board/")
    page.locator("#lane-awaiting").get_by_role("link").first.click()
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#content h1 .dm-badge")).to_have_text("Approved and done")
    one.refresh_from_db()
    assert (one.status, one.account.csm.name) == ("joint", "Dana")

    window.log_in_as(someone("ops"))
    window.visit(f"/admin/accounts/account/{one.account_id}/change/")
    page.get_by_role("link", name="Transition, day 1 of 30").click()
    page.get_by_label("Why it is completed all the same").fill("All said at their office")
    page.get_by_role("button", name="Complete the hand-over").click()
    expect(page.get_by_text("is complete. CSM: Erik.")).to_be_visible()
    assert Account.objects.get(pk=one.account_id).csm.name == "Erik"
