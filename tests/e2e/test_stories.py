"""Stories of people in customer success, each in a browser of their own: from an event to the account's page afterwards.

The people: Olga is CS Ops, Vera approves, Cleo looks after accounts (as the CSM Dana). The work of the worker and the
schedule is called here, with the day it is done on.
"""

import csv
import io
import re
from datetime import timedelta
from pathlib import Path

import pytest
from conflicting import BY_INDUSTRY
from crossing import TIERS, TODAY, crossed, make_team
from databases import unsigned
from django.contrib.auth.models import User
from django.core import mail as post
from django.core.management import call_command
from django.utils import timezone
from governing import policy, someone
from playwright.sync_api import expect
from segmenting import account, answered, change, granted, layer_with, recompute
from window import Window

from accounts.models import Account, Csm
from governance import tasks
from governance.changes import activations, transition_requests, transitions
from governance.models import ApprovalRequest, Transition
from governance.news import mail, notifications
from governance.signoff import approvals, due
from segmentation.authoring import versions
from segmentation.models import Definition
from segmentation.previews import simulation

pytestmark = pytest.mark.browser
RECIPE = """
as_of: {today}
currency: USD
source_system: crm
sources:
  crm: {{file: crm.csv}}
accounts: SELECT id AS external_id, industry FROM crm
"""
ANSWERS = {
    "Who decides about buying now?": "The hospital's CIO",
    "What will they use it for?": "Patient records",
    "Which contract holds, until when?": "Ours, until 2028",
}
ACCOUNT = "/admin/accounts/account/{}/change/"


@pytest.fixture
def alone():
    """Not alone: governance is at the gates, here as in the web server."""


@pytest.fixture
def rules(real_db, settings):
    """`rules(make, ...)` makes a segmentation whose rules are active from the start."""
    settings.AFTER_RUN = []

    def make(how, *args, **options):
        gates, settings.GATES = settings.GATES, {}
        made = how(*args, **options)
        settings.GATES = gates
        return made

    return make


@pytest.fixture
def sit_down(web_server, browser, settings):
    """`sit_down(person)`: their window, in which they are logged in; none may have had problems in the end."""
    settings.DEMARC_URL = web_server
    windows = []

    def open_(user):
        window = Window(browser, web_server)
        window.log_in_as(user)
        windows.append(window)
        return window

    yield open_
    assert [window.problems for window in windows] == [[] for _ in windows]


def people(**roles):
    """{name: role} become people with an e-mail address."""
    made = {name: someone(name, role, is_staff=True) for name, role in roles.items()}
    for name in made:
        User.objects.filter(username=name).update(email=f"{name}@example.com")
    return made


@pytest.fixture
def team(rules):
    """Olga, Vera and Cleo, and a tier by ARR: High from 100,000 on, Low from 10,000 on."""
    made = rules(make_team)
    people(ops="CS Ops", vera="Approver", cleo="CSM")
    return made


def mailed(user):
    """The mail this person gets by tomorrow morning, as one text."""
    notifications.deliver()
    mail.send_due(now=timezone.now() + timedelta(days=1))
    bodies = [one.body for one in post.outbox if one.to == [f"{user.username}@example.com"]]
    post.outbox.clear()
    return "\n".join(bodies)


def follow_link(window, text, sentence):
    """Open what the mail links to after this sentence."""
    links = re.findall(rf"{re.escape(sentence)}.*?\n(http\S+)", text, re.DOTALL)
    assert links, text
    assert links[0].startswith(window.site)
    window.visit(links[0].removeprefix(window.site))


def fits(window):
    """The page fits a wide screen and a telephone."""
    for width in (390, 1366):
        window.page.set_viewport_size({"width": width, "height": 900})
        assert not window.sideways()


def happened(window, one):
    """The timeline of an account's page, opened in this window."""
    window.visit(ACCOUNT.format(one.pk))
    return window.page.locator("ol.timeline > li")


def test_a_new_customer_is_provisional_and_decided_about_on_day_30(rules, sit_down):
    tier = rules(layer_with)
    who = people(ops="CS Ops", cleo="CSM")
    dana = Csm.objects.create(email="dana@example.com", name="Dana", user=who["cleo"])
    account("crowd", arr=60_000, employees=500, usage={"nps": 20, "tickets_90d": 3})
    acme = account(
        "acme", name="Acme", arr=120_000, employees=2_000, csm=dana, contract_start=TODAY - timedelta(days=30)
    )
    recompute(TODAY - timedelta(days=1))
    tasks.follow()
    ops, cleo = sit_down(who["ops"]), sit_down(who["cleo"])

    ops.visit("/admin/")
    ops.page.get_by_role("link", name="Settings").click()
    ops.page.get_by_role("link", name="Provisional accounts").click()
    row = ops.page.get_by_role("row", name="Acme")
    expect(row).to_contain_text("today")
    fits(ops)
    row.get_by_role("link", name="Acme").click()
    expect(ops.page.get_by_text(re.compile("^Provisional · "))).to_be_visible()

    change(acme, nps=-90, tickets_90d=50)
    recompute(TODAY)
    tasks.follow()
    sentence = "Acme moved from High to Low (Tier): decided after the provisional period."
    follow_link(cleo, mailed(who["cleo"]), sentence)
    expect(cleo.page.locator("#content h1")).to_have_text("Acme")
    expect(cleo.page.locator(".answer > section")).not_to_contain_text("Provisional")
    expect(happened(cleo, acme).first).to_contain_text("High → Low")
    fits(cleo)
    assert not Transition.objects.filter(layer=tier).exists()


def test_up_over_the_boundary_from_the_triage_to_another_csm(team, sit_down):
    one = crossed(team, acme=(50_000, 150_000))["acme"]
    ops, vera, cleo = sit_down(team.ops), sit_down(team.vera), sit_down(team.cleo)

    follow_link(cleo, mailed(team.cleo), "Acme")
    expect(cleo.page.get_by_text("Low → High").first).to_be_visible()
    ops.visit("/admin/")
    ops.page.get_by_role("link", name="Tier changes").first.click()
    ops.page.get_by_role("link", name="Start triage").click()
    fits(ops)
    ops.page.keyboard.press("Enter")
    ops.page.get_by_label("Who looks after the customer afterwards").select_option(str(team.erik.pk))
    ops.page.get_by_label("Why now, for those who approve").fill("They have tripled")
    ops.page.get_by_role("button", name="Ask for approval").click()
    expect(ops.page.locator("#content h1")).to_have_text("It is decided")

    request = ApprovalRequest.objects.get()
    ops.visit(f"/admin/governance/approvalrequest/{request.pk}/change/")
    expect(ops.page.get_by_text("You cannot decide your own request")).to_be_visible()
    expect(ops.page.get_by_role("button", name="Approve")).to_have_count(0)

    text = mailed(team.vera)
    follow_link(vera, text, "Acme: Low → High")
    expect(vera.page.get_by_text("They have tripled")).to_be_visible()
    fits(vera)
    vera.page.get_by_role("button", name="Approve").click()
    expect(vera.page.locator("#content h1 .dm-badge")).to_have_text("Approved and done")

    assert Account.objects.get(pk=one.account_id).csm == team.dana, (
        "the CSM changes when a person completes it"
    )
    cleo.visit(ACCOUNT.format(one.account_id))
    cleo.page.get_by_role("link", name="Transition, day 1 of 30").click()
    # `all` waits for nothing.
    expect(cleo.page.get_by_role("button", name="Save what is done")).to_be_visible()
    for box in cleo.page.get_by_role("checkbox").all():
        box.check()
    cleo.page.get_by_label("Customer told on").fill(TODAY.isoformat())
    cleo.page.get_by_role("button", name="Save what is done").click()
    expect(cleo.page.get_by_text("of the checklist not done")).to_have_count(0)
    cleo.page.get_by_label("Why it is completed all the same").fill("All said at their office")
    fits(cleo)
    cleo.page.get_by_role("button", name="Complete the hand-over").click()
    expect(cleo.page.get_by_text("is complete. CSM: Erik.")).to_be_visible()

    told = happened(ops, one.account)
    for sentence in (
        "Dana has handed over to Erik",
        "Dana and Erik look after it together",
        "Low → High",
        "“They have tripled”",
    ):
        expect(told.filter(has_text=sentence).first).to_be_visible()
    expect(ops.page.get_by_text("CSM: Erik")).to_be_visible()


def test_down_over_the_boundary_is_approved_now_and_applies_at_the_renewal(team, sit_down):
    renewal = TODAY + timedelta(days=1)
    one = crossed(team, acme=(50_000, 5_000, {"renewal_date": renewal}))["acme"]
    ops, vera, cleo = sit_down(team.ops), sit_down(team.vera), sit_down(team.cleo)

    ops.visit("/admin/governance/transition/board/")
    card = ops.page.get_by_role("article", name="Acme")
    expect(card).to_contain_text("would apply at the renewal")
    card.get_by_role("link", name="Plan", exact=True).click()
    ops.page.get_by_label("Why now, for those who approve").fill("They use a tenth of it")
    ops.page.get_by_role("button", name="Ask for approval").click()
    expect(ops.page.locator("#content h1 .dm-badge")).to_have_text("Waiting for approval")

    follow_link(vera, mailed(team.vera), "Acme: Low → Tech")
    vera.page.get_by_role("button", name="Approve").click()
    expect(vera.page.get_by_text("It is carried out on").first).to_be_visible()
    fits(vera)
    cleo.visit(ACCOUNT.format(one.account_id))
    expect(cleo.page.get_by_text("It has been approved.")).to_be_visible()
    chips = cleo.page.locator(".answer > section")
    expect(chips).to_contain_text("Low")

    tasks.sweep()
    one.refresh_from_db()
    assert one.status == "awaiting", "its day has not come"
    with unsigned():  # the database looks at its own clock: there is tomorrow only after 10 o'clock UTC
        due.apply_due(at=timezone.now() + timedelta(days=1))
    one.refresh_from_db()
    assert (one.status, one.joint_from) == ("joint", renewal)
    assert "Acme is Tech now." in mailed(team.cleo)
    told = happened(cleo, one.account)
    expect(told.filter(has_text="Low → Tech").first).to_be_visible()
    expect(told.filter(has_text="“They use a tenth of it”").first).to_be_visible()
    expect(cleo.page.locator(".answer > section")).to_contain_text("Tech")
    fits(cleo)


def test_an_acquisition_whose_segment_is_kept(rules, sit_down, tmp_path):
    rules(layer_with, BY_INDUSTRY, segments=["high", "low"])
    policy("override", "Approver", only=True)
    who = people(ops="CS Ops", vera="Approver", cleo="CSM")
    dana = Csm.objects.create(email="dana@example.com", name="Dana", user=who["cleo"])
    acme = account("acme", name="Acme", industry="Technology", employees=1200, csm=dana, arr=80_000)
    recompute(TODAY)
    ops, vera, cleo = (sit_down(who[name]) for name in ("ops", "vera", "cleo"))

    cleo.visit(ACCOUNT.format(acme.pk))
    cleo.page.get_by_role("link", name="Ask for an override").click()
    cleo.page.get_by_label("Segment", exact=True).select_option(label="High")
    page = cleo.page
    page.get_by_label("Reason", exact=True).select_option(label="Acquisition or merger")
    page.get_by_label("Explanation").fill("Bought by a hospital, and the team we serve stays")
    for question, answer in ANSWERS.items():
        page.get_by_label(question).fill(answer)
    fits(cleo)
    page.get_by_role("button", name="Ask for approval").click()
    expect(page.locator("#content h1 .dm-badge")).to_have_text("Waiting for approval")

    follow_link(vera, mailed(who["vera"]), "Acme")
    expect(vera.page.get_by_text("Bought by a hospital").first).to_be_visible()
    fits(vera)
    vera.page.get_by_role("button", name="Approve").click()
    expect(vera.page.locator("#content h1 .dm-badge")).to_have_text("Approved and done")

    (tmp_path / "crm.csv").write_text("id,industry\nacme,Healthcare\n")
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(today=TODAY))
    call_command("import_accounts", str(tmp_path / "recipe.yaml"), commit=True, stdout=io.StringIO())
    follow_link(ops, mailed(who["ops"]), "Acme")
    page = ops.page
    expect(page.get_by_role("heading", name="What is proposed").locator("..")).to_contain_text("Healthcare")
    page.get_by_label("Why you decide so").fill("They are a hospital now")
    for question, answer in ANSWERS.items():
        page.get_by_label(question).fill(answer)
    fits(ops)
    page.get_by_role("button", name="Take what is proposed").click()
    expect(page.get_by_text("1 value taken over")).to_be_visible()

    recompute(TODAY)
    tasks.follow()
    assert not Transition.objects.exists(), "what is pinned is not flagged"
    told = happened(cleo, acme)
    expect(cleo.page.get_by_text("By the rules Low since today; High is in force.")).to_be_visible()
    expect(cleo.page.get_by_text("An override holds it").first).to_be_visible()
    expect(told.filter(has_text="Industry is Healthcare").first).to_contain_text("They are a hospital now")
    fits(cleo)


def test_a_batch_of_twenty_from_which_one_is_taken_out(team, sit_down):
    names = [f"acme{number:02}" for number in range(20)]
    crossed(team, **dict.fromkeys(names, (50_000, 150_000)))
    ops, vera = sit_down(team.ops), sit_down(team.vera)

    ops.visit("/admin/governance/transition/board/")
    ops.page.get_by_role("link", name="Plan together: 20 to High").click()
    fits(ops)
    expect(ops.page.get_by_text("0 of 20 ticked")).to_be_visible()
    ops.page.get_by_role("button", name="All 20").click()
    ops.page.get_by_label("Why now, for those who approve").fill("The spring price list")
    ops.page.get_by_role("button", name="Ask for approval").click()
    expect(ops.page.locator("#content h1")).to_contain_text("20 tier changes on Tier: 20 up")

    follow_link(vera, mailed(team.vera), "20 tier changes on Tier: 20 up")
    vera.page.get_by_text("Take one account out of this request").click()
    vera.page.get_by_label("Account", exact=True).select_option(label="Acme07: Low → High")
    vera.page.get_by_label("Why", exact=True).fill("They are about to leave us")
    fits(vera)
    vera.page.get_by_role("button", name="Take it out").click()
    expect(vera.page.locator("#content h1")).to_contain_text("19 tier changes on Tier: 19 up")
    vera.page.get_by_role("button", name="Approve").click()
    expect(vera.page.locator("#content h1 .dm-badge")).to_have_text("Approved and done")

    statuses = Transition.objects.values_list("account__external_id", "status")
    assert dict(statuses) == dict.fromkeys(names, "joint") | {"acme07": "planned"}
    assert "Acme07: Low → High was taken out of a request." in mailed(team.ops)
    left = Account.objects.get(external_id="acme07")
    expect(happened(ops, left).filter(has_text="They are about to leave us").first).to_contain_text(
        "Taken out of a request"
    )
    other = Account.objects.get(external_id="acme08")
    expect(happened(ops, other).filter(has_text="Low → High").first).to_be_visible()
    expect(ops.page.get_by_role("link", name="Transition, day 1 of 30")).to_be_visible()


def test_an_auditor_takes_along_who_changed_a_tier(team, sit_down):
    one = crossed(team, acme=(50_000, 150_000))["acme"]
    audrey, vera = sit_down(team.audrey), sit_down(team.vera)
    transitions.plan(one, by=team.ops, receiver=team.erik)
    one.refresh_from_db()
    request = transition_requests.ask([one], by=team.ops, why="They have tripled")
    approvals.comment(request, by=team.ops, text="Erik knows them")
    vera.visit(f"/admin/governance/approvalrequest/{request.pk}/change/")
    vera.page.get_by_label("Why you decide so").fill("The contract says so")
    vera.page.get_by_role("button", name="Approve").click()
    expect(vera.page.locator("#content h1 .dm-badge")).to_have_text("Approved and done")

    audrey.visit("/admin/audit/")
    audrey.page.get_by_label("Search", exact=True).fill("Acme")
    audrey.page.get_by_role("button", name="Show").click()
    shown = audrey.page.locator("#trail")
    for word in ("They have tripled", "Erik knows them", "The contract says so"):
        expect(shown.get_by_text(word).first).to_be_visible()
    fits(audrey)
    with audrey.page.expect_download() as waiting:
        audrey.page.get_by_role("link", name="Export this list").click()
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text("utf-8-sig"))))
    said = {row["Reason"] or row["What"]: row["Who"] for row in rows}
    assert {said[why] for why in said if "They have tripled" in why} == {"ops"}
    assert {said[why] for why in said if "Erik knows them" in why} == {"ops"}
    assert {said[why] for why in said if "The contract says so" in why} == {"vera"}


def test_an_approver_sees_who_moves_by_new_rules_and_why(team, sit_down):
    """From the request to its movers, each with the cause, the ARR and the renewal, and back to the decision."""
    renewal = TODAY + timedelta(days=50)
    for name, arr in (("acme", 60_000), ("beta", 95_000), ("gamma", 20_000)):
        account(name, name=name.capitalize(), arr=arr, renewal_date=renewal, csm=team.dana)
    recompute(TODAY)
    olga = granted(team.ops, "change_definition", "preview_rules", "activate_definition")
    draft = versions.create_draft(team.layer, by=olga)
    lower = {"rules": [{"segment": "high", "when": "arr >= 60000"}, *TIERS["rules"][1:]]}
    draft = answered(versions.save_draft(draft, lower, by=olga, seen=draft.hash))
    simulation.work(simulation.start(draft, by=olga).pk, wait=True)
    request = activations.ask(draft, by=olga, why="Sixty thousand pays for a CSM", seen=draft.hash)

    vera = sit_down(team.vera)
    follow_link(vera, mailed(team.vera), "Tier")
    expect(vera.page.get_by_text("Sixty thousand pays for a CSM").first).to_be_visible()
    rules = vera.page.locator("#content")
    for word in ("Acme", "Beta", "$60,000", "$95,000"):
        expect(rules.get_by_text(word).first).to_be_visible()
    fits(vera)
    vera.page.get_by_role("link", name="Who gets another segment by these rules: 2").click()
    expect(vera.page.get_by_text("Beta").first).to_be_visible()
    vera.page.go_back()
    vera.page.get_by_role("button", name="Approve").click()
    expect(vera.page.locator("#content h1 .dm-badge")).to_have_text("Approved and done")
    assert Definition.objects.get(layer=team.layer, status="active").pk == draft.pk
    assert request.pk == ApprovalRequest.objects.get().pk


def test_three_of_forty_are_planned_together_in_the_weekly_meeting(team, sit_down):
    names = [f"acme{number:02}" for number in range(40)]
    others = {"csm": team.erik}
    crossed(
        team,
        **{
            name: (
                50_000,
                150_000 + number,
                others if number < 3 else {},
            )
            for number, name in enumerate(names)
        },
    )
    one = Account.objects.get(external_id="acme01")
    Account.objects.filter(pk=one.pk).update(
        name="Northwind Robotics International Holdings and Logistics GmbH"
    )
    ops, vera = sit_down(team.ops), sit_down(team.vera)

    ops.visit("/admin/governance/transition/board/")
    ops.page.get_by_role("link", name="Plan together: 40 to High").click()
    expect(ops.page.get_by_text("0 of 40 ticked")).to_be_visible()
    fits(ops)
    ops.page.get_by_role("button", name="All 40").click()
    expect(ops.page.get_by_text("40 of 40 ticked")).to_be_visible()
    ops.page.get_by_role("button", name="None").click()
    expect(ops.page.get_by_text("0 of 40 ticked")).to_be_visible()
    ops.page.get_by_label("Why now, for those who approve").fill("Erik's three have grown")
    ops.page.get_by_label("Tick those of").select_option(label="Erik (3)")
    expect(ops.page.get_by_text("3 of 40 ticked")).to_be_visible()
    ops.page.get_by_role("checkbox", name="Acme00", exact=True).uncheck()
    expect(ops.page.get_by_text("2 of 40 ticked")).to_be_visible()
    ops.page.get_by_role("checkbox", name="Acme39", exact=True).check()
    fits(ops)
    ops.page.get_by_role("button", name="Ask for approval").click()
    expect(ops.page.locator("#content h1")).to_contain_text("3 tier changes on Tier: 3 up")

    follow_link(vera, mailed(team.vera), "3 tier changes on Tier: 3 up")
    fits(vera)
    vera.page.get_by_role("button", name="Approve").click()
    expect(vera.page.locator("#content h1 .dm-badge")).to_have_text("Approved and done")
    statuses = dict(Transition.objects.values_list("account__external_id", "status"))
    joint = {name for name, status in statuses.items() if status == "joint"}
    assert joint == {"acme01", "acme02", "acme39"}
    assert set(statuses.values()) == {"joint", "flagged"}
