"""Approvals on screen: the tabs, the page on which one request is decided, and what each person finds there."""

from datetime import timedelta
from decimal import Decimal

import pytest
from crossing import crossed, make_team
from django.utils import timezone
from governing import approved, away, failing, fresh, nobody_approves, policy, request_of, someone

from governance.changes import transition_requests, transitions
from governance.signoff import approvals
from governance.signoff.impact import Impact

LIST = "/admin/governance/approvalrequest/"
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("noted")]


@pytest.fixture
def people():
    policy("override", "Approver", only=True)
    roles = {"ops": "CS Ops", "vera": "Approver", "fred": "Finance", "cara": "CSM", "nora": "Auditor"}
    return {name: someone(name, role, is_staff=True) for name, role in roles.items()}


@pytest.fixture
def web(client, people):
    """`web(name)`: a browser in which that person is logged in."""

    def log_in(name):
        client.force_login(people[name])
        return client

    return log_in


def page_of(request):
    return f"{LIST}{request.pk}/change/"


def sent(client, request, verb, **fields):
    """The answer to a button of the page as it is now."""
    seen = fields.pop("seen", approvals.token(fresh(request)))
    return client.post(page_of(request), {"verb": verb, "seen": seen, **fields})


# -- the list


@pytest.mark.parametrize(
    ("name", "tab", "found"),
    [
        ("vera", "", {"waits"}),  # what waits for me, where nothing is asked for
        ("vera", "mine", {"waits"}),
        ("ops", "mine", set()),  # one's own
        ("fred", "mine", set()),  # another role
        ("ops", "requested", {"waits", "done"}),
        ("cara", "requested", set()),
        ("nora", "all", {"waits", "done"}),
        ("nora", "decided", {"done"}),
        ("vera", "whatever", {"waits"}),
    ],
)
def test_tabs(people, web, name, tab, found):
    request_of(people["ops"], key="1", subject="waits")
    approved(request_of(people["ops"], key="2", subject="done"), people["vera"])
    answer = web(name).get(LIST, {"tab": tab} if tab else {})
    assert {one.subject for one in answer.context["cl"].result_list} == found


def test_a_row_tells_impact_and_how_far_it_is(people, web):
    policy("override", "Finance", 2)
    one = request_of(people["ops"], impact=Impact(6, Decimal("1234567"), 2))
    late = timezone.now() - timedelta(days=1)
    assert fresh(one).due_at > late
    approved(one, people["vera"])
    answer = web("nora").get(LIST, {"tab": "all"}).content.decode()
    for text in ("Override", "ops", "1 of 1 Approver", "0 of 2 Finance", "$1.23M", "Waiting for approval"):
        assert text in answer


def test_the_list_takes_the_same_queries_for_many(people, web, django_assert_max_num_queries):
    counts = []
    for number in (1, 6):
        for each in range(number):
            request_of(people["ops"], key=f"{number}/{each}")
        browser = web("vera")
        browser.get(LIST)
        with django_assert_max_num_queries(22) as taken:
            browser.get(LIST)
        counts.append(len(taken))
    assert counts[0] == counts[1]


def test_a_decision_page_looks_up_once_who_may_decide(people, web, django_assert_max_num_queries):
    one = request_of(people["ops"])
    browser = web("vera")
    browser.get(page_of(one))
    with django_assert_max_num_queries(26):
        browser.get(page_of(one))


def test_the_export_is_the_tab_as_shown(people, web):
    request_of(people["ops"], key="1", subject="=waits")
    approved(request_of(people["ops"], key="2", subject="done"), people["vera"])
    browser = web("vera")
    mine = b"".join(browser.get(f"{LIST}export/").streaming_content).decode("utf-8-sig")
    everything = b"".join(browser.get(f"{LIST}export/?tab=all").streaming_content).decode("utf-8-sig")
    assert "'=waits" in mine
    assert "tab=mine" in mine
    assert "0 of 1 Approver" in mine
    assert "done" not in mine
    assert "done" in everything


# -- deciding


def test_an_approver_approves_on_the_page(people, web, noted):
    one = request_of(people["ops"], evidence="https://example.com/contract")
    browser = web("vera")
    shown = browser.get(page_of(one)).content.decode()
    for text in (
        "Acme: Low-Touch → High-Touch",
        "They have merged",
        'href="https://example.com/contract"',
        ">Approve<",
    ):
        assert text in shown
    assert sent(browser, one, "approve").status_code == 302
    assert fresh(one).status == "applied"
    assert noted == [("done", one.pk)]
    after = browser.get(page_of(one)).content.decode()
    assert "Approved, and done." in after
    assert ">Approve<" not in after


@pytest.mark.parametrize(
    ("verb", "status", "said"),
    [("ask", "changes_asked", "Say what has to change."), ("reject", "rejected", "Say why you reject this")],
)
def test_a_no_needs_a_reason(people, web, verb, status, said):
    one = request_of(people["ops"])
    browser = web("vera")
    refused = sent(browser, one, verb, reason=" ")
    assert refused.status_code == 409
    assert said in refused.content.decode()
    assert sent(browser, one, verb, reason="Which contract?").status_code == 302
    assert fresh(one).status == status
    assert "Which contract?" in web("ops").get(page_of(one)).content.decode()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ops", "You cannot decide your own request"),
        ("fred", "you do not have that role"),
        ("cara", "You look after an account of this request as its CSM"),
        ("nora", "you do not have that role"),
    ],
)
def test_whoever_may_not_decide_reads_why_and_finds_no_button(people, web, name, sentence):
    someone("cara", "Approver")
    one = request_of(people["ops"], impact=Impact(1, owners=(people["cara"].pk,)))
    browser = web(name)
    shown = browser.get(page_of(one)).content.decode()
    assert sentence in shown.replace("&#x27;", "'")
    assert 'value="approve"' not in shown
    refused = sent(browser, one, "approve")
    assert refused.status_code == 409
    assert fresh(one).status == "pending"


def test_a_decision_on_what_was_edited_meanwhile_is_refused_and_the_page_shown_anew(people, web):
    one = request_of(people["ops"])
    seen = approvals.token(one)
    changes = ["Acme: Low-Touch → Tech-Touch"]
    approvals.edit(
        one, content={"segment": "tech"}, changes=changes, impact=Impact(1), by=people["ops"], seen=seen
    )
    browser = web("vera")
    refused = sent(browser, one, "approve", seen=seen, reason="Fine with me")
    text = refused.content.decode()
    assert refused.status_code == 409
    assert "edited since you opened it" in text
    assert "Acme: Low-Touch → Tech-Touch" in text
    assert "Fine with me" in text  # what was typed is still there
    assert f'value="{approvals.token(fresh(one))}"' in text  # the next click is about what is shown
    assert fresh(one).status == "pending"


def test_a_second_click_approves_once(people, web):
    policy("override", "Finance")
    one = request_of(people["ops"])
    browser = web("vera")
    assert [sent(browser, one, "approve").status_code for _ in range(2)] == [302, 302]
    assert one.decisions.count() == 1
    assert "Still needed: 1 × Finance" in browser.get(page_of(one)).content.decode()


def test_whoever_stands_in_decides_and_the_page_tells_for_whom(people, web):
    away(people["vera"], people["cara"])
    one = request_of(people["ops"])
    assert sent(web("cara"), one, "approve").status_code == 302
    assert "cara for vera" in web("nora").get(page_of(one)).content.decode()


def test_a_request_nobody_can_decide_says_so(people, web):
    one = request_of(people["vera"])
    assert (
        "everybody in Approver has requested, edited or decided it"
        in web("ops").get(page_of(one)).content.decode()
    )


# -- the requester


def test_the_requester_withdraws_with_a_reason(people, web):
    one = request_of(people["ops"])
    browser = web("ops")
    assert sent(browser, one, "withdraw", reason="").status_code == 409
    assert sent(browser, one, "withdraw", reason="Not any more").status_code == 302
    assert fresh(one).status == "withdrawn"


def test_asked_for_changes_it_is_changed_or_sent_again(people, web):
    one = request_of(people["ops"])
    sent(web("vera"), one, "ask", reason="Which contract?")
    browser = web("ops")
    shown = browser.get(page_of(one)).content.decode()
    assert f'href="/noted/{one.pk}/">Change it<' in shown
    assert "vera asked for changes:" in shown
    assert sent(browser, one, "resubmit").status_code == 302
    assert fresh(one).status == "pending"


def test_what_failed_says_why_and_is_tried_again(people, web):
    failing.append("Acme is High-Touch already.")
    one = request_of(people["ops"])
    answer = (
        web("vera")
        .post(page_of(one), {"verb": "approve", "seen": approvals.token(one)}, follow=True)
        .content.decode()
    )
    assert "Acme is High-Touch already." in answer
    assert 'value="again"' not in answer  # not hers
    browser = web("ops")
    assert 'value="again"' in browser.get(page_of(one)).content.decode()
    failing.clear()
    assert sent(browser, one, "again").status_code == 302
    assert fresh(one).status == "applied"


def test_the_page_tells_what_changed_between_revisions_and_who_approved_before(people, web):
    policy("override", "Finance")
    one = approved(request_of(people["ops"]), people["vera"])
    changes = ["Globex: Low-Touch → High-Touch"]
    approvals.edit(
        one, content={}, changes=changes, impact=Impact(1), by=people["ops"], seen=approvals.token(one)
    )
    text = web("nora").get(page_of(one)).content.decode()
    for part in ("changed 1 time since", "New:</span> Globex", "No longer:</span> Acme", "Approved by vera"):
        assert part in text
    assert "0 of 1 approval" in text


def test_comments(people, web):
    one = request_of(people["ops"])
    assert sent(web("fred"), one, "comment", text="Since <b>when</b>?").status_code == 302
    assert "Since &lt;b&gt;when&lt;/b&gt;?" in web("ops").get(page_of(one)).content.decode()


@pytest.mark.parametrize("verb", ["", "delete", "carry_out"])
def test_an_unknown_step_does_nothing(people, web, verb):
    one = request_of(people["ops"])
    assert sent(web("vera"), one, verb).status_code == 409
    assert fresh(one).status == "pending"


def test_who_may_not_see_requests_sees_their_own(people, web, client):
    visitor = someone("visitor", is_staff=True)
    mine, other = request_of(visitor, key="1"), request_of(people["ops"], key="2")
    client.force_login(visitor)
    answers = [
        client.get(page_of(mine)),
        client.get(page_of(other)),
        client.get(LIST),
        client.get(f"{LIST}9/change/"),
    ]
    assert [one.status_code for one in answers] == [200, 403, 403, 404]


def test_where_nobody_has_to_approve_it_is_done_at_once(people, web):
    nobody_approves("override")
    one = request_of(people["ops"])
    assert one.status == "applied"
    assert "Needs nobody's approval." in web("ops").get(page_of(one)).content.decode()


# -- a request of many


def test_an_approver_takes_one_account_out_and_approves_the_rest(client, settings):
    settings.GATES, settings.AFTER_RUN = {}, []  # rules as they come
    team = make_team()
    rows = crossed(team, a=(50_000, 120_000), b=(50_000, 130_000), c=(50_000, 140_000))
    for row in rows.values():
        transitions.plan(row, by=team.ops, receiver=team.erik, success_plan="Grow", notice="Dear all")
    one = transition_requests.ask(list(rows.values()), by=team.ops, why="They have grown")
    client.force_login(team.vera)
    page = client.get(page_of(one)).content.decode()
    assert 'value="take_out"' in page
    assert all(f"/admin/governance/transition/{row.pk}/change/" in page for row in rows.values())
    for wrong in ({"transition": ""}, {"transition": str(rows["a"].pk), "reason": " "}):
        assert sent(client, one, "take_out", **wrong).status_code == 409
    given = {"transition": str(rows["a"].pk), "reason": "Talk to them first"}
    assert sent(client, one, "take_out", **given).status_code == 302
    assert (fresh(rows["a"]).status, fresh(one).accounts) == ("planned", 2)
    assert sent(client, one, "approve").status_code == 302
    assert [fresh(rows[name]).status for name in "bc"] == ["joint", "joint"]
    client.force_login(team.ops)
    assert 'value="take_out"' not in client.get(page_of(one)).content.decode()


def test_whoever_has_decided_goes_on_to_what_waits_next(people, web):
    first, second = (request_of(people["ops"], key=key, subject=f"request {key}") for key in "12")
    browser = web("vera")
    assert "Next for you to decide" not in browser.get(page_of(first)).content.decode(), "this one is first"
    sent(browser, first, "approve", reason="")
    page = browser.get(page_of(first))
    assert f'href="{page_of(second)}">Next for you to decide' in page.content.decode()
    sent(browser, second, "approve", reason="")
    assert "Next for you to decide" not in browser.get(page_of(second)).content.decode(), "nothing waits"
