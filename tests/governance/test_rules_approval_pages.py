"""How rules become active on screen: sent for approval with their impact, decided by somebody else; at once in a Light organisation."""

import re
from decimal import Decimal

import pytest
from django.utils.html import escape
from governing import nobody_approves, policy, someone
from segmenting import BY_ARR, account, answered, change, draft_of, layer_with, layer_without_rules, recompute

from accounts.models import Account
from governance.models import ApprovalRequest
from governance.signoff import approvals
from segmentation.authoring import versions
from segmentation.models import Definition, Simulation
from segmentation.previews import simulation

S = "/admin/segmentation/definition/"
NEXT = {"rules": [{"segment": "high", "when": "arr >= 80000"}, {"segment": "tech", "when": "arr >= 0"}]}
pytestmark = pytest.mark.django_db


@pytest.fixture
def people(db):
    policy("definition", "Approver", only=True)
    return {
        name: someone(name, role, is_staff=True)
        for name, role in {"ops": "CS Ops", "vera": "Approver"}.items()
    }


@pytest.fixture
def layer(people, settings):
    """A layer with active rules, and the gate shut from now on."""
    gates, settings.GATES = settings.GATES, {}
    for number, arr in enumerate((120_000, 90_000, 85_000, 10_000)):
        account(f"a{number}", arr=Decimal(arr))
    made = layer_with(BY_ARR)
    recompute()
    settings.GATES = gates
    return made


@pytest.fixture
def draft(layer, people):
    made = versions.create_draft(layer, by=people["ops"])
    return answered(versions.save_draft(made, NEXT, by=people["ops"]))


@pytest.fixture
def web(client, people):
    def log_in(name):
        client.force_login(people[name])
        return client

    return log_in


def previewed(draft, by):
    """A finished preview of the draft."""
    made = simulation.start(draft, by=by)
    while Simulation.objects.get(pk=made.pk).status == "running":
        simulation.carry(made)
    return Simulation.objects.get(pk=made.pk)


def ask(web, draft, **fields):
    draft.refresh_from_db()
    return web.post(
        f"/admin/rules/{draft.pk}/ask/", {"seen": draft.hash, "reason": "Softer", **fields}, follow=True
    )


def text(answer):
    return answer.content.decode().replace("&#x27;", "'")


def test_from_the_draft_to_the_active_rules(web, people, draft):
    browser = web("ops")
    assert "Save and send for approval…" in text(browser.get(f"{S}{draft.pk}/change/"))
    page = text(browser.get(f"/admin/rules/{draft.pk}/ask/"))
    for part in ("To be decided by 1 × Approver", "High: ARR 100000 → 80000", "Work out the impact first"):
        assert part in page
    assert "Sent for approval to 1 × Approver" in text(ask(browser, draft))
    page = text(browser.get(f"{S}{draft.pk}/change/"))
    assert "Waiting for approval" in page
    assert "0 of 1 Approver" in page
    assert "Save the draft" not in page
    request = ApprovalRequest.objects.get()
    assert f'href="/admin/governance/approvalrequest/{request.pk}/change/">See the request<' in page
    browser = web("vera")
    assert ">Decide</a>" in text(browser.get(f"{S}{draft.pk}/change/"))
    decided = {"verb": "approve", "seen": approvals.token(request)}
    browser.post(f"/admin/governance/approvalrequest/{request.pk}/change/", decided)
    draft.refresh_from_db()
    assert (draft.status, draft.reason) == ("active", "Softer")
    assert ">How it was decided</a>" in text(browser.get(f"{S}{draft.pk}/change/"))


def test_the_preview_is_shown_attached_and_frozen(web, people, draft):
    made = previewed(draft, people["ops"])
    browser = web("ops")
    assert f"/admin/rules/{draft.pk}/ask/?simulation={made.pk}" in text(
        browser.get(f"/admin/segmentation/simulation/{made.pk}/change/")
    )
    page = text(browser.get(f"/admin/rules/{draft.pk}/ask/?simulation={made.pk}"))
    assert "<b>2 accounts</b> of 4 get another segment by these rules ($175K ARR)" in page
    ask(browser, draft, simulation=made.pk)
    request = ApprovalRequest.objects.get()
    assert (request.simulation_id, request.accounts, request.arr) == (made.pk, 2, Decimal(175_000))
    made.refresh_from_db()
    assert made.frozen_at
    shown = text(browser.get(f"/admin/governance/approvalrequest/{request.pk}/change/"))
    assert f"/admin/segmentation/simulation/{made.pk}/change/" in shown
    assert "Who gets another segment by these rules: 2" in shown
    assert "Who would be in another segment than now" not in shown, "they are the same"


def test_request_and_preview_agree_on_one_number_and_the_other_question_has_its_own(web, people, draft):
    """One account waits for a change since before: these rules do not change it, and it is in another segment now."""
    change(Account.objects.get(external_id="a3"), arr=Decimal(120_000))
    recompute()
    made = previewed(draft, people["ops"])
    browser = web("ops")
    ask(browser, draft, simulation=made.pk)
    request = ApprovalRequest.objects.get()
    assert request.accounts == 2
    preview = text(browser.get(f"/admin/segmentation/simulation/{made.pk}/change/"))
    assert 'Another segment by these rules</span><span class="big">2</span>' in preview
    assert 'In another segment than now</span><span class="big">3</span>' in preview
    shown = text(browser.get(f"/admin/governance/approvalrequest/{request.pk}/change/"))
    assert "It counts" not in shown
    for which, words, number in (
        ("changed", "Who gets another segment by these rules", 2),
        ("moved", "Who would be in another segment than now", 3),
    ):
        movers = f"/admin/segmentation/simulation/{made.pk}/movers/?which={which}"
        assert f'href="{movers}">{words}: {number}</a>' in shown
        listed = text(browser.get(movers))
        assert listed.count('scope="row" data-label="Account"') == number
        assert bool(re.search(r">\s*a3\s*<", listed, re.IGNORECASE)) == (which == "moved")


def test_a_preview_of_what_the_draft_said_before_is_not_attached(web, people, draft):
    made = previewed(draft, people["ops"])
    other = {"rules": [{"segment": "high", "when": "arr >= 70000"}, {"segment": "tech", "when": "arr >= 0"}]}
    answered(versions.save_draft(draft, other, by=people["ops"]))
    browser = web("ops")
    assert "There is no impact preview of exactly these rules" in text(
        browser.get(f"/admin/rules/{draft.pk}/ask/")
    )
    refused = ask(browser, draft, simulation=made.pk)
    assert refused.status_code == 409
    assert "of other rules" in text(refused)


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"reason": " "}, "Say why"), ({"seen": "other"}, "Somebody changed these rules since you opened them")],
)
def test_a_refusal_stands_on_the_page_and_nothing_is_sent(web, draft, fields, said):
    refused = ask(web("ops"), draft, **fields)
    assert refused.status_code == 409
    assert said in text(refused)
    assert not ApprovalRequest.objects.exists()


def test_asked_for_changes_it_is_a_draft_again_and_goes_back_to_the_same_request(web, people, draft):
    browser = web("ops")
    ask(browser, draft)
    request = ApprovalRequest.objects.get()
    approvals.ask_for_changes(
        request, by=people["vera"], seen=approvals.token(request), reason="Not below 85,000"
    )
    page = text(browser.get(f"{S}{draft.pk}/change/"))
    assert "vera asked for changes: “Not below 85,000”" in page
    assert "Save the draft" in page
    assert "for which changes were asked" in text(browser.get(f"/admin/rules/{draft.pk}/ask/"))
    ask(browser, draft)
    assert ApprovalRequest.objects.get().status == "pending"


def test_looking_sends_nothing_and_what_waits_leads_to_its_request(web, draft):
    browser = web("ops")
    browser.get(f"/admin/rules/{draft.pk}/ask/", {"reason": "x", "seen": draft.hash})
    assert Definition.objects.get(pk=draft.pk).status == "draft"
    ask(browser, draft)
    request = ApprovalRequest.objects.get()
    for method in (browser.get, browser.post):
        answer = method(f"/admin/rules/{draft.pk}/ask/")
        assert answer["Location"] == f"/admin/governance/approvalrequest/{request.pk}/change/"


def test_in_a_light_organisation_the_same_button_activates(web, draft):
    nobody_approves("definition")
    browser = web("ops")
    assert "Save and activate…" in text(browser.get(f"{S}{draft.pk}/change/"))
    assert "Nobody has to approve this" in text(browser.get(f"/admin/rules/{draft.pk}/ask/"))
    assert "version 2 is active" in text(ask(browser, draft))
    assert ApprovalRequest.objects.get().status == "applied"


def test_unfinished_rules_are_not_sent(web, people, layer):
    made = versions.create_draft(layer, by=people["ops"])
    versions.save_draft(made, {"rules": [{"segment": "high", "when": "arr >="}]}, by=people["ops"])
    browser = web("ops")
    page = text(browser.get(f"/admin/rules/{made.pk}/ask/"))
    assert "to be mended first" in page
    assert ">Send for approval</button>" not in page
    assert ask(browser, made).status_code == 409


def test_whoever_decides_reads_first_rules_whole_and_what_was_acknowledged(web, people):
    made = answered(draft_of(layer_without_rules(), NEXT))
    [warning, *_] = made.acknowledgements.all()
    ask(web("ops"), made)
    request = ApprovalRequest.objects.get()
    page = web("vera").get(f"/admin/governance/approvalrequest/{request.pk}/change/").content.decode()
    for said in (
        "gets its first rules",
        "New rule 1: High when ARR",
        "New rule 2: Tech when ARR",
        escape(warning.sentence),
        "“Small on purpose”, olga",
        "Without one it expires on",
    ):
        assert said in page, said
