"""The pages of overrides: who sees and may send what, what the form says before, and how few queries they take."""

import html
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from governing import approved, fresh, nobody_approves, someone
from overriding import gated_portfolio
from segmenting import account, change, recompute

from governance.changes import followup, override_cases, overrides, overrides_in_force
from governance.models import ApprovalRequest, Override
from governance.signoff import approvals

LIST = "/admin/governance/override/"
ASK = f"{LIST}ask/"
ACCOUNTS = "/admin/accounts/account/"


@pytest.fixture(autouse=True)
def rules_by_hand(settings):
    """How rules are signed off is tested elsewhere."""
    settings.GATES = {gate: path for gate, path in settings.GATES.items() if gate != "rules"}


@pytest.fixture
def here(begun):
    return begun(gated_portfolio)


def as_(user):
    client = Client()
    client.force_login(user)
    return client


def text(answer, status=200):
    assert answer.status_code == status, answer.status_code
    return html.unescape(answer.content.decode())


def of(account):
    return reverse("admin:accounts_account_change", args=[account.pk])


def form(here, *accounts, segment="low", **said):
    """The form of somebody who asks for these accounts, as it is typed."""
    typed = {
        "accounts": ",".join(str(one.pk) for one in accounts),
        "segment": here.segment(segment).pk,
        "reason_code": "strategic",
        "text": "They will be large",
        "expires_on": "",
    }
    return typed | said


# -- asking


def test_the_account_page_leads_to_the_form_which_says_what_will_happen(here):
    web = as_(here.olga)
    assert f"{ASK}?accounts={here.beta.pk}" in text(web.get(of(here.beta)))
    assert "Which segment?" in text(web.get(ASK, {"accounts": here.beta.pk}))
    said = text(web.get(ASK, {"accounts": here.beta.pk, "segment": here.segment("low").pk}))
    assert "Beta moves from Tech to Low; by the rules it is Tech." in said
    assert "1 × Approver" in said
    assert "Service of tech</span> → Service of low" in said, "what changes for the customer"
    assert "a tier change is flagged" in said
    assert "The hand-over" in said
    pinned = text(web.get(ASK, {"accounts": here.acme.pk, "segment": here.segment("high").pk}))
    assert "For the customer:</b> nothing changes" in pinned
    assert "The hand-over" not in pinned


def test_what_is_sent_becomes_a_request(here):
    answer = as_(here.olga).post(ASK, form(here, here.beta, receiver=here.csm.pk, notice="Carl will call"))
    request = ApprovalRequest.objects.get()
    assert answer.url == reverse("admin:governance_approvalrequest_change", args=[request.pk])
    assert request.content["plan"] == {
        "receiver": here.csm.pk,
        "success_plan": "",
        "notice": "Carl will call",
    }
    assert request.overrides.get().expires_on.isoformat() == request.content["expires_on"]
    said = text(as_(here.olga).get(of(here.beta)))
    assert "Override waits for approval" in said
    assert "an override to Low waits for approval" in said


def test_where_nobody_has_to_approve_the_form_says_so(here):
    nobody_approves("override")
    web = as_(here.olga)
    assert "nobody has to approve it" in text(
        web.get(ASK, {"accounts": here.beta.pk, "segment": here.segment("low").pk})
    )
    answer = web.post(ASK, form(here, here.beta), follow=True)
    assert "The override is in force: no approval was needed." in text(answer)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"text": ""}, "Say why"),
        ({"expires_on": "soon"}, "“soon” is not a date"),
        ({"reason_code": "acquisition"}, "answer the three questions"),
        ({"segment": ""}, "Choose a segment"),
        ({"segment": "9" * 30}, "Choose a segment"),
    ],
)
def test_a_refusal_is_said_on_the_form_with_what_was_typed(here, typed, sentence):
    said = text(as_(here.olga).post(ASK, form(here, here.beta, evidence="Contract 17") | typed), 409)
    assert sentence in said
    assert "segment" in typed or "Contract 17" in said
    assert not Override.objects.exists()


def test_several_accounts_are_asked_for_from_their_list(here):
    web = as_(here.olga)
    gamma = account("gamma", name="Gamma", arr=150_000)
    recompute(at=here.today)
    change(gamma, arr=2_000)
    recompute(at=here.today)
    chosen = {"action": "override", "_selected_action": [here.acme.pk, here.beta.pk, gamma.pk]}
    answer = web.post(reverse("admin:accounts_account_changelist"), chosen)
    assert answer.url == f"{ASK}?accounts={here.acme.pk},{here.beta.pk},{gamma.pk}"
    said = text(web.get(answer.url + f"&segment={here.segment('tech').pk}"))
    assert "1 account cannot be asked for" in said
    assert "Gamma: the rules say Tech already" in said
    everybody = form(here, here.acme, here.beta, gamma, segment="tech")
    assert "the rules say Tech already" in text(web.post(ASK, everybody), 409), "not sent silently"
    web.post(ASK, everybody | {"leave_out": "1"})
    assert set(Override.objects.values_list("account__name", flat=True)) == {"Acme", "Beta"}


def test_an_earlier_no_is_shown_where_the_same_is_asked_again(here):
    request = here.ask(here.beta)
    approvals.reject(request, by=here.vera, seen=approvals.token(request), reason="Too small still")
    again = {"accounts": here.beta.pk, "segment": here.segment("low").pk}
    said = text(as_(here.olga).get(ASK, again))
    assert "It was asked for before" in said
    assert "“Too small still”" in said
    other = again | {"segment": here.segment("high").pk}
    assert "Too small still" not in text(as_(here.olga).get(ASK, other))


def test_a_csm_is_offered_it_for_the_accounts_they_look_after(here):
    web = as_(here.carl)
    assert "Ask for an override" in text(web.get(of(here.acme)))
    assert "Ask for an override" not in text(web.get(of(here.beta)))
    assert "looked after by somebody else" in text(web.get(ASK, {"accounts": here.beta.pk}))
    assert "looked after by somebody else" in text(web.post(ASK, form(here, here.beta)), 409)
    assert web.post(ASK, form(here, here.acme)).status_code == 302


@pytest.mark.parametrize(
    ("role", "sees", "exports", "asks"),
    [
        ("CS Ops", 200, 200, 200),
        ("CSM", 200, 403, 200),
        ("Approver", 200, 200, 403),
        ("Auditor", 200, 200, 403),
        ("", 403, 403, 403),
    ],
)
def test_who_sees_exports_and_asks(here, role, sees, exports, asks):
    one = here.pin(here.acme, segment="high")
    web = as_(someone("sam", *([role] if role else []), is_staff=True))
    assert web.get(LIST).status_code == sees
    assert web.get(f"{LIST}export/").status_code == exports
    assert web.get(f"{LIST}{one.pk}/change/").status_code == sees
    assert web.get(f"{LIST}{one.pk}/history/").status_code == sees
    assert web.get(ASK, {"accounts": here.acme.pk}).status_code == asks
    assert web.post(ASK, form(here, here.beta)).status_code in ((302, 409) if asks == 200 else (403,))
    web.post(f"{LIST}{one.pk}/change/", {"reason": "Not needed"})
    assert fresh(one).status == ("ended" if role == "CS Ops" else "active")


def test_addresses_that_name_nothing(here):
    web = as_(here.olga)
    assert web.get(ASK).url == "/admin/accounts/account/"
    assert web.get(ASK, {"accounts": "x,99999999,%00"}).url == "/admin/accounts/account/"
    assert web.get(f"{LIST}999/change/").status_code == 404
    assert web.get(f"{LIST}999/edit/").status_code == 404
    assert web.get(f"{LIST}{'9' * 30}/change/").status_code == 404
    assert web.get(f"{LIST}{'9' * 30}/edit/").status_code == 404


# -- changing what was asked for


def test_the_request_leads_to_the_form_while_it_may_be_changed(here):
    request = here.ask(here.beta, evidence="Contract 17", plan=override_cases.Plan(notice="Hello"))
    address = overrides.address(request)
    assert address == f"{LIST}{request.overrides.get().pk}/edit/"
    web = as_(here.olga)
    said = text(web.get(address))
    assert "They will be large" in said
    assert "Contract 17" in said
    assert "Hello" in said
    typed = form(here, here.beta, segment="high", text="They are large", seen=approvals.token(request))
    assert "not the request as it is" in text(web.post(address, typed | {"seen": "1:old"}), 409)
    assert web.post(address, typed).status_code == 302
    request = fresh(request)
    assert (request.revision, request.why, request.top_tier) == (2, "They are large", True)

    approved(request, here.vera)

    assert overrides.address(fresh(request)) == f"{LIST}{request.overrides.get().pk}/change/"
    assert web.get(address).url == overrides.address(fresh(request))


# -- the list, the page and the account's page


def test_the_page_of_one_says_what_holds_and_ends_it_by_a_post_with_a_reason(here):
    one = here.pin(here.acme, segment="low")
    address = f"{LIST}{one.pk}/change/"
    said = text(as_(here.olga).get(address, {"reason": "By a link"}))
    assert "They will be large" in said
    assert "the rules have disagreed since today" in said
    assert "Ask to extend it" in said
    assert fresh(one).status == "active"
    assert "Only CS Ops ends an override" in text(as_(here.carl).get(address))
    assert "Say why" in text(as_(here.olga).post(address, {"reason": ""}), 409)
    assert as_(here.olga).post(address, {"reason": "Signed"}).status_code == 302
    assert "“Signed”" in text(as_(here.olga).get(address))


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ("active", {"Acme", "Beta"}),
        ("requested", {"Gamma"}),
        ("expiring", {"Beta"}),
        ("disagreeing", {"Acme"}),
        ("ended", {"Delta"}),
        ("nonsense", {"Acme", "Beta", "Gamma", "Delta"}),
    ],
)
def test_the_list_finds_what_needs_a_look(here, state, named):
    gamma, delta = account("gamma", name="Gamma", arr=1), account("delta", name="Delta", arr=1)
    recompute(at=here.today)
    here.pin(here.acme, segment="low")
    here.pin(here.beta, segment="tech", expires_on=here.today + timedelta(days=10))
    here.ask(gamma)
    overrides_in_force.end(here.pin(delta), by=here.olga, reason="Not needed")
    listed = as_(here.olga).get(LIST, {"state": state}).context["cl"].result_list
    assert {str(one.account) for one in listed} == named


def test_the_list_narrows_to_a_csm_and_is_exported_as_shown(here):
    here.pin(here.acme, segment="low")
    here.pin(here.beta)
    web = as_(here.olga)
    everybody = {"Acme", "Beta"}
    nobody = ("x", "²", "9" * 30, str(here.csm.pk + 1))
    for wanted, named in [(here.csm.pk, {"Acme"}), ("none", {"Beta"}), *((one, everybody) for one in nobody)]:
        pinned, accounts = (
            web.get(url, {"csm": wanted}).context["cl"].result_list for url in (LIST, ACCOUNTS)
        )
        assert {str(one.account) for one in pinned} == {str(one) for one in accounts} == named, wanted
    lines = (
        b"".join(web.get(f"{LIST}export/", {"csm": here.csm.pk}).streaming_content)
        .decode("utf-8-sig")
        .splitlines()
    )
    assert lines[0].startswith("Account,Segmentation,Segment,Status,Reason,Ends,Rules disagree,CSM,Asked by")
    assert lines[1].startswith("Acme,Tier,High → Low,In force,Strategic importance,")
    assert len(lines) == 2


def test_the_account_page_says_what_holds_and_what_happened(here):
    web = as_(here.carl)
    one = here.pin(here.acme, segment="high", text="Their contract says so")
    said = text(web.get(of(here.acme)))
    assert "Override until" in said
    assert "Tier stays High, whatever the rules say" in said, "told though the rules agree"
    change(here.acme, arr=3_000)
    followup.follow(recompute(at=here.today))
    overrides_in_force.disagree(here.layer, at=here.today)
    said = text(web.get(of(here.acme)))
    assert "An override holds it since" in said
    assert "The rules have disagreed since today." in said
    assert "becomes" not in said, "nothing is to come while it is pinned"
    overrides_in_force.end(one, by=here.olga, reason="The contract was changed")
    said = text(web.get(of(here.acme), {"cause": "people"}))
    assert "Override ended early" in said
    assert "The contract was changed" in said


def queries(web, url, data=None):
    web.get(url, data)  # what is looked up once for all
    with CaptureQueriesContext(connection) as captured:
        assert web.get(url, data).status_code == 200
    return len(captured)


def test_more_rows_take_no_more_queries(here):
    web = as_(here.olga)
    accounts = [account(f"n{number}", name=f"N{number}", arr=10) for number in range(12)]
    recompute(at=here.today)
    one = here.pin(accounts[0])
    few, page = queries(web, LIST), queries(web, of(accounts[0]))
    segment = here.segment("low").pk
    asking = queries(web, ASK, {"accounts": f"{accounts[1].pk},{accounts[2].pk}", "segment": segment})
    everybody = ",".join(str(found.pk) for found in accounts[1:])
    assert queries(web, ASK, {"accounts": everybody, "segment": segment}) == asking
    here.pin(*accounts[1:])
    approved(here.ask(accounts[0]), here.vera)
    approved(here.ask(accounts[0]), here.vera)
    assert fresh(one).status == "replaced"
    assert queries(web, LIST) == few
    assert queries(web, of(accounts[0])) == page
