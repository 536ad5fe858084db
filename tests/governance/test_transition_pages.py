"""The pages of tier changes: who sees and may do what, one request for many, triage, and nothing happens by a link."""

import html
import re
from datetime import timedelta

import pytest
from crossing import (
    BOARD,
    TODAY,
    TOGETHER,
    TRIAGE,
    T,
    crossed,
    down_at_once,
    fresh,
    make_team,
    page_of,
    sent,
    text,
    verbs,
    web,
)
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from governing import approved, nobody_approves, policy, someone

from accounts.models import Account
from core.refusals import Refused
from governance.changes import followup, transition_requests, transition_steps, transitions
from governance.models import ApprovalRequest, Transition
from governance.signoff import approvals
from segmentation.models import Assignment

A = "/admin/accounts/account/"


@pytest.fixture
def begin(begun, settings):
    settings.GATES, settings.AFTER_RUN = {}, []  # rules as they come
    return begun


@pytest.fixture
def team(request, begin):
    return request.getfixturevalue("both")[0] if "one" in request.fixturenames else begin(make_team)


@pytest.fixture
def both(begin):
    return begin(team_and_one)


@pytest.fixture
def one(both):
    return both[1]


def team_and_one():
    team = make_team()
    return team, crossed(team, a=(50_000, 120_000))["a"]


def planned(team, one, **plan):
    return transitions.plan(
        one, by=team.ops, **{"receiver": team.erik, "success_plan": "Grow", "notice": "Dear all"} | plan
    )


def asked(team, *rows):
    for one in rows:
        planned(team, one)
    return transition_requests.ask(rows, by=team.ops, why="They have grown")


def joint(team, one):
    approved(asked(team, one), team.vera)
    return fresh(one)


def account_page(user, one):
    return web(user).get(f"{A}{one.account_id}/change/")


# -- who


def test_nothing_happens_by_a_link_and_without_the_right(team, one):
    pages = [BOARD, TRIAGE, f"{TRIAGE}?one={one.pk}", page_of(one), f"{T}{one.pk}/history/", T]
    for user in (team.ops, team.vera, team.cleo, team.audrey):
        client = web(user)
        assert [client.get(url).status_code for url in pages] == [200] * len(pages), user
        assert client.get(TOGETHER).status_code == (200 if user == team.ops else 403)
    outsider = web(someone("outsider", is_staff=True))
    assert [outsider.get(url).status_code for url in [*pages, TOGETHER]] == [403] * (len(pages) + 1)
    assert Client().get(BOARD).status_code == 302
    assert fresh(one).status == "flagged"


def test_who_only_looks_has_no_buttons_and_is_told_why(team, one):
    for user in (team.vera, team.cleo, team.audrey):
        page = web(user).get(page_of(one))
        assert verbs(page) == set()
        assert "CS Ops does that" in text(page)
        assert "Start triage" not in text(web(user).get(BOARD))
        for verb in ("plan", "ask", "keep", "fix", "unplan"):
            more = (
                {"reason": "I want it", "until": str(TODAY + timedelta(days=9))}
                if verb in ("keep", "fix")
                else {}
            )
            answer = web(user).post(page_of(one), sent(one, verb, **more))
            assert (answer.status_code, fresh(one).status) == (409, "flagged"), (user, verb)
    assert web(team.cleo).post(TRIAGE, sent(one, "keep", one=one.pk, reason="No")).status_code == 409
    assert web(team.ops).post(page_of(one), {"verb": "drop"}).status_code == 409
    assert fresh(one).status == "flagged"


# -- the plan


def test_a_plan_starts_from_who_has_room_and_from_how_the_segment_is_served(team, one):
    page = web(team.ops).get(page_of(one))
    plan = page.context["forms"]["plan"].initial
    assert plan["receiver"] == team.dana  # of the right kind and not over the band: she keeps it
    assert plan["lines"].splitlines()[:2] == ["Welcome to high", "Success plan from the template: Goals"]
    assert plan["notice"].startswith("Dear A team")
    assert "Erik: 1 account, the band is 1 to 3" in text(page)
    assert "ARR $50,000 → $120,000" in text(page)
    assert "Low if ARR fell below $100,000." in text(page)


def test_a_plan_is_saved_then_sent_for_approval(team, one):
    answer = web(team.ops).post(page_of(one), sent(one, "plan", receiver=team.erik.pk))
    assert answer.url == page_of(one)
    now = fresh(one)
    assert (now.status, now.receiver, now.joint_days, now.success_plan) == ("planned", team.erik, 30, "Grow")
    assert [line["text"] for line in now.checklist] == ["Call", "Meet"]
    page = web(team.ops).get(page_of(one))
    assert {"plan", "ask", "unplan"} <= verbs(page)
    answer = web(team.ops).post(page_of(one), sent(one, "ask", receiver=team.erik.pk))
    [request] = ApprovalRequest.objects.filter(kind="tier_change")
    assert answer.url == f"/admin/governance/approvalrequest/{request.pk}/change/"
    assert (fresh(one).status, request.why, request.csm_changes) == ("awaiting", "They have grown", 1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"why": ""}, "Say why you ask for this."),
        ({"joint_days": "many"}, "Joint coverage is a number of days."),
        ({"joint_days": "999"}, "Joint coverage lasts 0 to 365 days."),
        ({"notice_on": "tomorrow"}, "“tomorrow” is not a date."),
        ({"receiver": "987654"}, "This CSM is not there any more"),
        ({"seen": "flagged:long ago"}, "has changed since you opened the page"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said_and_nothing_of_it_is_kept(team, one, wrong, said):
    answer = web(team.ops).post(page_of(one), sent(one, "ask", **{"success_plan": "Typed text"} | wrong))
    assert answer.status_code == 409
    assert said in text(answer)
    assert "Typed text" in text(answer)  # shown again, not lost
    assert (fresh(one).status, ApprovalRequest.objects.count()) == ("flagged", 0)


def test_editing_while_it_waits_voids_approvals_and_the_page_says_so_before(team, one):
    policy("tier_change", "Approver", 2, only=True)
    request = asked(team, one)
    approvals.approve(request, by=team.vera, seen=approvals.token(request))
    page = web(team.ops).get(page_of(one))
    assert "approvals given so far do not count any more" in text(page)
    assert verbs(page) == {"plan", "tick"}
    same = {"receiver": team.erik.pk, "success_plan": "Grow", "notice": "Dear all", "notice_by": ""}
    same["lines"] = "\n".join(line["text"] for line in fresh(one).checklist)
    web(team.ops).post(page_of(one), sent(one, "plan", **same))
    request.refresh_from_db()
    assert request.revision == 1  # nothing was changed
    web(team.ops).post(page_of(one), sent(one, "plan", **same | {"joint_days": "60"}))
    request.refresh_from_db()
    assert (request.revision, request.status, fresh(one).joint_days) == (2, "pending", 60)


def test_what_a_request_of_many_says_an_approver_takes_one_out_and_approves_the_rest(team):
    rows = crossed(team, a=(50_000, 120_000), b=(50_000, 130_000), c=(50_000, 140_000))
    request = asked(team, *rows.values())
    page = web(team.vera).get(page_of(rows["a"]))
    assert verbs(page) == {"take_out"}
    assert "with 2 other accounts" in text(page)
    assert "take_out" not in verbs(web(team.ops).get(page_of(rows["a"])))
    out = sent(rows["a"], "take_out", seen_request=approvals.token(request), reason="Talk to them first")
    assert web(team.vera).post(page_of(rows["a"]), out).status_code == 302
    request.refresh_from_db()
    assert (fresh(rows["a"]).status, request.accounts, request.status) == ("planned", 2, "pending")
    approved(request, team.vera)
    assert [fresh(rows[name]).status for name in "abc"] == ["planned", "joint", "joint"]
    listed = web(team.ops).get(f"{T}?request__id__exact={request.pk}")
    assert {row.account.external_id for row in listed.context["cl"].result_list} == {"b", "c"}


# -- what a form has to say of the tier change it was about


def walked(team, one, status):
    """This tier change in that status."""
    if status == "planned":
        planned(team, one)
    elif status == "joint":
        joint(team, one)
    return fresh(one)


UNTIL = str(TODAY + timedelta(days=9))


@pytest.mark.parametrize("token", [None, "", "flagged:long ago"])
@pytest.mark.parametrize(
    ("status", "verb", "typed"),
    [
        ("flagged", "plan", {"success_plan": "Typed text"}),
        ("planned", "ask", {"why": "Typed text"}),
        ("flagged", "keep", {"reason": "Typed text", "until": UNTIL}),
        ("planned", "fix", {"reason": "Typed text", "until": UNTIL}),
        ("planned", "unplan", {"reason": "Typed text"}),
        ("planned", "tick", {"notes": "Typed text"}),
        ("joint", "tick", {"notes": "Typed text"}),
        ("joint", "complete", {"reason": "Typed text"}),
    ],
)
def test_no_form_goes_without_the_token_of_its_page(team, one, status, verb, typed, token):
    before = walked(team, one, status).history.count()
    form = sent(one, verb, **typed)
    form = form | {"seen": token} if token is not None else {k: v for k, v in form.items() if k != "seen"}
    answer = web(team.ops).post(page_of(one), form)
    assert answer.status_code == 409
    assert str(Refused("transition_stale")) in text(answer)
    assert "Typed text" in text(answer)
    assert (fresh(one).status, fresh(one).history.count()) == (status, before)
    assert web(team.ops).post(page_of(one), sent(one, verb, **typed)).status_code == 302


@pytest.mark.parametrize("verb", ["keep", "fix"])
def test_triage_neither(team, one, verb):
    where, typed = f"{TRIAGE}?one={one.pk}", {"one": one.pk, "reason": "Typed text", "until": UNTIL}
    answer = web(team.ops).post(where, {"verb": verb} | typed)
    assert (answer.status_code, fresh(one).status) == (409, "flagged")
    assert str(Refused("transition_stale")) in text(answer)
    assert "Typed text" in text(answer)
    assert web(team.ops).post(where, sent(one, verb, **typed)).status_code == 302


def test_taking_out_goes_by_the_token_of_the_request(team):
    rows = crossed(team, a=(50_000, 120_000), b=(50_000, 130_000))
    request = asked(team, *rows.values())
    client, where = web(team.vera), page_of(rows["a"])
    for more in ({}, {"seen_request": ""}):
        answer = client.post(where, {"verb": "take_out", "reason": "Typed text"} | more)
        assert (answer.status_code, fresh(rows["a"]).status) == (409, "awaiting")
        assert "Typed text" in text(answer)
    out = {"verb": "take_out", "reason": "Typed text", "seen_request": approvals.token(request)}
    assert client.post(where, out).status_code == 302


def test_ticks_stay_with_their_lines_when_the_checklist_has_changed(team, one):
    planned(team, one, checklist=["Call", "Meet"])
    old = sent(one, "tick", done=["Meet"], noticed_on=str(TODAY), notes="")
    planned(team, fresh(one), checklist=["Write", "Call", "Meet"])
    answer = web(team.ops).post(page_of(one), old)
    assert answer.status_code == 409
    assert [line["ticked"] for line in answer.context["forms"]["tick"].lines()] == [False, False, True]
    assert answer.context["forms"]["tick"]["noticed_on"].value() == str(TODAY)
    web(team.ops).post(page_of(one), old | {"seen": transition_steps.token(fresh(one))})
    assert [line["done"] for line in fresh(one).checklist] == [False, False, True]


# -- joint coverage


def test_ticked_off_then_completed_and_only_then_the_csm_changes(team, one):
    one = joint(team, one)
    page = web(team.ops).get(page_of(one))
    assert verbs(page) == {"tick", "complete"}
    assert "Erik becomes the CSM of A, instead of Dana." in text(page)
    assert "The customer has not been told." in text(page)
    lines = [line["text"] for line in one.checklist]
    ticked = sent(one, "tick", done=lines[:1], notes="Good talk")
    assert web(team.ops).post(page_of(one), ticked).status_code == 302
    assert [line["done"] for line in fresh(one).checklist] == [True] + [False] * (len(lines) - 1)

    history = text(web(team.ops).get(f"{T}{one.pk}/history/"))
    assert "✓ Dana hands over goals, contacts and open questions; – Welcome to high" in history
    assert "Planned by – ops" in history  # the name, without the number it is kept with

    answer = web(team.ops).post(page_of(one), sent(one, "complete"))
    assert answer.status_code == 409
    assert "Finish that first, or say why" in text(answer)
    assert Account.objects.get(pk=one.account_id).csm == team.dana

    web(team.ops).post(page_of(one), sent(one, "tick", done=lines, noticed_on=str(TODAY), notes=""))
    Transition.objects.filter(pk=one.pk).update(joint_until=TODAY)
    page = web(team.ops).get(page_of(one))
    assert "Everything is done." in text(page)
    assert web(team.ops).post(page_of(one), sent(one, "complete")).status_code == 302
    assert (fresh(one).status, fresh(one).account.csm) == ("done", team.erik)
    assert verbs(web(team.ops).get(page_of(one))) == set()


def test_the_csm_of_the_hand_over_completes_it_others_only_look(team, one):
    one = joint(team, one)
    assert verbs(web(team.audrey).get(page_of(one))) == set()
    assert web(team.audrey).post(page_of(one), sent(one, "complete", reason="I say so")).status_code == 409
    assert "complete" in verbs(web(team.cleo).get(page_of(one)))
    assert web(team.cleo).post(page_of(one), sent(one, "complete", reason="All said")).status_code == 302
    assert fresh(one).status == "done"


# -- triage


def test_the_address_of_a_tier_change_there_is_not_says_so(team):
    crossed(team, acme=(50_000, 5_000))
    for pk in ("0", "999999"):
        assert web(team.ops).get(f"{TRIAGE}?one={pk}").status_code == 404


def test_through_the_flagged_ones(team):
    rows = crossed(team, a=(50_000, 120_000), b=(50_000, 140_000), c=(50_000, 130_000))
    client = web(team.ops)
    page = client.get(TRIAGE)
    assert (page.context["one"], page.context["rounds"].place) == (rows["b"], 1)  # the most revenue first
    assert "1 of 3 · 0 decided" in text(page)
    kept = client.post(
        f"{TRIAGE}?one={rows['b'].pk}", sent(rows["b"], "keep", one=rows["b"].pk, reason="They leave")
    )
    assert kept.url == f"{TRIAGE}?one={rows['c'].pk}"
    assert (fresh(rows["b"]).status, fresh(rows["b"]).end_reason) == ("kept", "They leave")
    page = client.get(kept.url)
    assert "2 of 3 · 1 decided" in text(page)

    back = page.context["rounds"].links["back"]
    planned_ = client.post(page_of(rows["c"]), sent(rows["c"], "plan", back=back))
    assert planned_.url == back == f"{TRIAGE}?one={rows['a'].pk}"
    until = TODAY + timedelta(days=7)
    fixed = client.post(
        f"{TRIAGE}?one={rows['a'].pk}",
        sent(rows["a"], "fix", one=rows["a"].pk, reason="ARR twice", until=str(until)),
    )
    assert (fresh(rows["a"]).kept_until, fresh(rows["a"]).end_reason) == (
        until,
        "The data are to be corrected: ARR twice",
    )
    done = client.get(fixed.url)
    assert "All 3 are decided" in text(done)
    assert "2 kept, 1 planned." in text(done)
    assert "Ask for approval of 1 planned" in text(done)


def test_an_override_asked_for_in_triage_leads_back_to_the_next_one(team):
    rows = crossed(team, a=(50_000, 120_000), b=(50_000, 140_000))
    policy("override", "Approver", only=True)
    client, after = web(team.ops), f"{TRIAGE}?one={rows['a'].pk}"
    link = f'<a class="btn quiet" href="{after}">Back to triage</a>'
    triage = client.get(TRIAGE).content.decode()
    form = re.search(r'href="([^"]*override/ask/[^"]*)" data-key="o"', triage)[1]
    shown = client.get(html.unescape(form)).content.decode()
    assert link in shown
    assert (
        shown.count(f'<input type="hidden" name="back" value="{after}">') == 2
    )  # also of the choice of a segment
    typed = {"accounts": rows["b"].account_id, "segment": rows["b"].from_segment_id, "back": after}
    refused = client.post("/admin/governance/override/ask/", typed)
    assert (refused.status_code, link in refused.content.decode()) == (409, True)
    typed |= {"reason_code": "strategic", "text": "They leave", "expires_on": TODAY + timedelta(days=30)}
    asked = client.post("/admin/governance/override/ask/", typed, follow=True)
    assert asked.context["one"].kind == "override"
    assert link.replace("quiet", "primary") in asked.content.decode()
    assert "2 of 2 · 1 decided" in text(client.get(after))


def test_an_override_leads_back_nowhere_else(team, one):
    policy("override", "Approver", only=True)
    typed = {"accounts": one.account_id, "segment": one.from_segment_id, "reason_code": "strategic",
             "text": "They leave", "expires_on": TODAY + timedelta(days=30)}  # fmt: skip
    for back in ("https://evil.test/", "//evil.test/", "/admin/logout/", f"https://evil.test{TRIAGE}"):
        assert "Back to triage" not in text(
            web(team.ops).get("/admin/governance/override/ask/", typed | {"back": back})
        )
    answer = web(team.ops).post(
        "/admin/governance/override/ask/", typed | {"back": "//evil.test/"}, follow=True
    )
    assert answer.redirect_chain[-1][0].endswith("/change/")
    assert "Back to triage" not in text(answer)


def test_triage_refuses_without_a_reason_and_what_somebody_else_has_decided(team, one):
    client = web(team.ops)
    where = f"{TRIAGE}?one={one.pk}"
    answer = client.post(where, sent(one, "keep", one=one.pk, reason=" "))
    assert answer.status_code == 409
    assert "Say why the segment is kept" in text(answer)
    answer = client.post(where, sent(one, "fix", one=one.pk, reason="ARR", until=""))
    assert "Say until when the data will be right" in text(answer)
    stale = sent(one, "keep", one=one.pk, reason="They leave")
    planned(team, one)
    answer = client.post(where, stale)
    assert (answer.status_code, fresh(one).status) == (409, "planned")
    assert "has changed since you opened the page" in text(answer)
    assert "They leave" in text(answer)  # to be sent again, knowing of the plan


def test_triage_says_what_was_said_no_to_before(team, one):
    transitions.keep([one], by=team.ops, reason="They leave soon", until=TODAY + timedelta(days=1))
    followup.daily(TODAY + timedelta(days=2))
    again = Transition.objects.open().get()
    page = web(team.ops).get(f"{TRIAGE}?one={again.pk}")
    assert "“They leave soon”" in text(page)


def test_the_way_back_leads_nowhere_else(team, one):
    for back in ("https://evil.test/", "//evil.test/", "/admin/logout/"):
        answer = web(team.ops).post(page_of(one), sent(one, "plan", back=back))
        assert answer.url == page_of(one)


# -- many as one request


def together(team, rows, *, only=None, **more):
    data = {f"seen-{one.pk}": transition_steps.token(one) for one in map(fresh, rows.values())}
    data |= {f"receiver-{one.pk}": str(team.erik.pk) for one in rows.values()}
    chosen = [one.pk for name, one in rows.items() if only is None or name in only]
    return data | {"one": chosen, "joint_days": "20", "why": "They have grown", "notice_by": "Dana"} | more


def test_many_are_planned_alike_and_asked_for_once(team):
    rows = crossed(team, a=(50_000, 120_000), b=(5_000, 130_000), c=(50_000, 140_000), d=(50_000, 150_000))
    planned(team, rows["d"], receiver=None, joint_days=5)
    page = web(team.ops).get(f"{TOGETHER}?layer=tier&direction=up&to=high")
    assert [row["card"].transition.account.external_id for row in page.context["rows"]] == [
        "d",
        "c",
        "b",
        "a",
    ]
    assert [row["on"] for row in page.context["rows"]] == [False] * 4
    answer = web(team.ops).post(TOGETHER, together(team, rows, only="abd"))
    [request] = ApprovalRequest.objects.all()
    assert answer.url.endswith(f"/approvalrequest/{request.pk}/change/")
    assert (request.accounts, request.arr, request.csm_changes) == (3, 400_000, 2)
    found = {name: fresh(one) for name, one in rows.items()}
    assert {name: one.status for name, one in found.items()} == {
        "a": "awaiting",
        "b": "awaiting",
        "c": "flagged",
        "d": "awaiting",
    }
    assert (found["a"].joint_days, found["d"].joint_days) == (20, 5)  # what was planned stays as planned
    assert found["b"].notice.startswith("Dear B team")
    assert "Erik will be there for you" in found["b"].notice
    approved(request, team.vera)
    effective = Assignment.objects.filter(account__external_id__in="abd").values_list(
        "effective__key", flat=True
    )
    assert set(effective) == {"high"}


def test_nothing_is_ticked_until_somebody_ticks_it_and_what_was_stays(team):
    erik = {"csm": team.erik}
    rows = crossed(
        team,
        a=(50_000, 120_000),
        b=(5_000, 130_000, erik),
        d=(5_000, 140_000, {"csm": None}),
    )
    page = web(team.ops).get(f"{TOGETHER}?layer=tier")
    assert "0 of 3 ticked" in text(page)
    assert " checked" not in page.content.decode().split("Which accounts")[1].split("</section>")[0]
    ticks = {row["card"].transition.account.external_id: row["of"].split() for row in page.context["rows"]}
    low, tech, high = (team.layer.segments.get(key=key).pk for key in ("low", "tech", "high"))
    assert ticks == {
        "a": [f"csm-{team.dana.pk}", f"way-{low}-{high}"],
        "b": [f"csm-{team.erik.pk}", f"way-{tech}-{high}"],
        "d": ["csm-none", f"way-{tech}-{high}"],
    }
    offered = {
        heading: [(words, number) for _, words, number in parts] for heading, parts in page.context["those"]
    }
    assert offered["From → to"] == [("Tech → High", 2), ("Low → High", 1)]
    assert sorted(offered["Accounts of"]) == [("Dana", 1), ("Erik", 1), ("No CSM", 1)]
    chosen = web(team.ops).get(
        f"{TOGETHER}?layer=tier&accounts={rows['a'].account_id}"
    )  # in the list of accounts
    assert [row["on"] for row in chosen.context["rows"]] == [True]
    again = web(team.ops).post(f"{TOGETHER}?layer=tier", together(team, rows, only="ad", why=""))
    assert again.status_code == 409
    assert {row["card"].transition.account.external_id for row in again.context["rows"] if row["on"]} == {
        "a",
        "d",
    }
    assert "2 of 3 ticked" in text(again)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"why": ""}, "Say why you ask for this."),
        ({"one": []}, "Choose at least one account."),
        ({"joint_days": ""}, "Joint coverage is a number of days."),
        ({"stale": True}, "has changed since you opened the page"),
        ({"stale": False}, "has changed since you opened the page"),
    ],
)
def test_all_of_them_or_none(team, more, said):
    rows = crossed(team, a=(50_000, 120_000), b=(50_000, 130_000))
    data = together(team, rows, **{key: value for key, value in more.items() if key != "stale"})
    if "stale" in more:
        data |= {f"seen-{rows['b'].pk}": "flagged:long ago" if more["stale"] else ""}
    answer = web(team.ops).post(f"{TOGETHER}?layer=tier", data)
    assert answer.status_code == 409
    assert said in text(answer)
    assert ({fresh(one).status for one in rows.values()}, ApprovalRequest.objects.count()) == ({"flagged"}, 0)


def test_only_who_plans_asks_for_many(team):
    rows = crossed(team, a=(50_000, 120_000), b=(50_000, 130_000))
    assert web(team.cleo).post(TOGETHER, together(team, rows)).status_code == 403
    assert ApprovalRequest.objects.count() == 0


# -- the account's page


def test_the_account_says_what_holds_it_and_what_comes_next(team, one):
    page = account_page(team.cleo, one)
    assert re.search("By the rules High since .{,12}; Low is in force.", text(page))
    assert "Tier changes need approval." in text(page)
    assert "The customer changed: ARR $50,000 → $120,000." in text(page)
    assert "Next: CS Ops decides in triage." in text(page)
    assert "Tier change flagged" in text(page)
    assert "Plan the tier change" not in text(page)
    assert "Plan the tier change" in text(account_page(team.ops, one))

    request = asked(team, one)
    page = text(account_page(team.cleo, one))
    assert "It waits for approval, asked by ops." in page
    assert "“They have grown”" in page
    assert "Service of low becomes Service of high" in page
    approved(request, team.vera)
    page = text(account_page(team.cleo, one))
    assert "Transition, day 1 of 30" in page
    assert "Dana and Erik look after the customer until" in page
    assert "Next: Erik becomes the CSM once the hand-over is completed." in page
    assert "becomes Service of" not in page


def test_a_held_one_says_for_what_and_until_when(team):
    down_at_once(team, hold_days=30)
    [one] = crossed(team, a=(50_000, 5_000)).values()
    page = text(account_page(team.cleo, one))
    assert "It is held until" in page
    assert "the rules have not said so long enough" in page
    assert "Next: it is looked at again on" in page
    assert verbs(web(team.ops).get(page_of(one))) == set()


def test_after_a_no_nothing_is_to_come_and_the_reason_is_on_the_timeline(team, one):
    transitions.keep([one], by=team.ops, reason="They leave soon")
    page = text(account_page(team.cleo, one))
    assert "becomes Service of" not in page
    assert "“They leave soon”" in page
    assert "ops" in page
    only = text(web(team.cleo).get(f"{A}{one.account_id}/change/?cause=data"))
    assert "They leave soon" not in only


def test_one_more_tier_change_costs_the_account_page_no_query(team, one):
    def queries():
        client = web(team.ops)
        url = f"{A}{one.account_id}/change/"
        client.get(url)
        with CaptureQueriesContext(connection) as taken:
            client.get(url)
        return len(taken)

    before = queries()
    transitions.keep([one], by=team.ops, reason="They leave soon", until=TODAY + timedelta(days=1))
    followup.daily(TODAY + timedelta(days=2))
    assert Transition.objects.filter(account=one.account_id).count() == 2
    assert queries() == before


def test_an_empty_round_says_so(team):
    assert "Nothing to decide" in text(web(team.ops).get(TRIAGE))
    assert "Nothing here can be planned." in text(web(team.ops).get(TOGETHER))
    assert web(team.ops).get(f"{TRIAGE}?one=999999").status_code == 404
    assert web(team.ops).get(f"{T}999999/change/").status_code == 404


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("open", {"a", "b"}), ("flagged", {"a"}), ("planned", {"b"}), ("held", set()), ("x", {"a", "b", "c"})],
)
def test_the_list_of_accounts_by_tier_change(team, wanted, found):
    rows = crossed(team, a=(50_000, 120_000), b=(50_000, 130_000), c=(50_000, 50_000))
    planned(team, rows["b"])
    listed = web(team.cleo).get(f"{A}?tier_change={wanted}")
    assert {one.external_id for one in listed.context["cl"].result_list} == found


def test_where_nobody_has_to_approve_it_is_carried_out_at_once_and_the_button_says_so(team, one):
    assert "Carry it out" not in text(web(team.ops).get(page_of(one)))
    nobody_approves("tier_change")
    page = text(web(team.ops).get(page_of(one)))
    assert "Carry it out" in page
    assert "Nobody has to approve it" in page
    client = web(team.ops)
    answer = client.post(page_of(one), sent(one, "ask", receiver=team.erik.pk), follow=True)
    assert "Done: nobody has to approve it." in text(answer)
    assert fresh(one).status == "joint"


def test_more_accounts_cost_the_pages_of_many_no_query(team):
    def queries(url):
        client = web(team.ops)
        client.get(url)
        with CaptureQueriesContext(connection) as taken:
            client.get(url)
        return len(taken)

    crossed(team, a=(50_000, 120_000), b=(50_000, 130_000))
    few = [queries(TOGETHER), queries(TRIAGE)]
    more = {f"c{n}": (50_000, 120_000 + n, {"csm": None if n % 2 else team.erik}) for n in range(6)}
    assert len(crossed(team, **more)) == 8
    assert [queries(TOGETHER), queries(TRIAGE)] == few
