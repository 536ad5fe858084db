"""The pages of declared values and jobs: who sees which button, what a refusal says, and nothing happens by a link."""

import html
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from segmenting import BY_ARR, account, layer_with, person

from segmentation.authoring import declarations
from segmentation.models import Declaration, Interview, JobToBeDone

RULES = {
    "rules": [
        {"segment": "strategic", "when": "declared = 'strategic'"},
        {"segment": "operational", "when": "declared = 'operational'"},
    ]
}
A, S = "/admin/accounts/account/", "/admin/segmentation/"
LIST, PROPOSE = f"{S}declaration/", f"{S}declaration/propose/"
WHY = "The reference of their industry"


@pytest.fixture
def layer(db):
    layer_with(BY_ARR, key="tier")  # the primary one, as people have it
    return layer_with(RULES, key="importance", policy="automatic", segments=["strategic", "operational"])


def web(name, *permissions):
    """A client of somebody with these permissions."""
    user = person(name, "view_account", *permissions)
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


def cleo():
    return web("cleo", "propose_declaration")


def oskar():
    return web("oskar", "propose_declaration", "confirm_declaration", "export_accounts")


def segment(layer, key="strategic"):
    return layer.segments.get(key=key)


def proposed(layer, one, by="cleo"):
    return declarations.propose(one, segment(layer), by=person(by, "propose_declaration"), reason=WHY)


def text(answer):
    body = re.sub(r"<(script|style).*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)))


def sent(layer, *accounts, key="strategic", **more):
    ids = ",".join(str(one.pk) for one in accounts)
    return {"accounts": ids, "layer": layer.key, "segment": segment(layer, key).pk, "reason": WHY} | more


def decision(one, verb="confirm", **more):
    seen = declarations.token(declarations.states(one.layer, [one.account_id]))
    return {"verb": verb, "seen": seen, "one": "1"} | more


def buttons(answer):
    return set(re.findall(r'name="verb" value="(\w+)"', answer.content.decode()))


# -- the account page


def test_proposed_and_confirmed_on_the_account_page(layer):
    acme, csm, ops = account("acme", name="Acme"), cleo(), oskar()
    url = f"{A}{acme.pk}/change/"
    assert "Nothing is declared" in text(csm.get(url))
    answer = csm.post(PROPOSE, sent(layer, acme, evidence="https://example.com/1"), follow=True)
    assert "Strategic is proposed for Acme" in text(answer)
    assert buttons(csm.get(url)) == {"withdraw"}
    assert buttons(ops.get(url)) == {"confirm", "reject", "withdraw"}
    one = Declaration.objects.get()
    answer = ops.post(f"{LIST}{one.pk}/change/", decision(one, reason="Agreed"), follow=True)
    assert "Strategic for Acme is confirmed. The next recalculation applies it." in text(answer)
    page = text(csm.get(url))
    for said in ("proposed by cleo, confirmed by oskar", WHY, "Agreed", "https://example.com/1"):
        assert said in page, said


def test_ones_own_proposal_has_no_button_but_a_sentence(layer):
    acme, ops = account("acme"), oskar()
    one = proposed(layer, acme, by="oskar")
    for url in (f"{A}{acme.pk}/change/", f"{LIST}{one.pk}/change/"):
        page = ops.get(url)
        assert buttons(page) == {"withdraw"}
        assert "You proposed this yourself: somebody else has to decide." in text(page)
    answer = ops.post(f"{LIST}{one.pk}/change/", decision(one))
    assert (answer.status_code, "You proposed this yourself" in text(answer)) == (409, True)
    one.refresh_from_db()
    assert one.status == "proposed"


def test_who_may_only_look_sees_values_and_no_forms(layer):
    acme = account("acme")
    one = proposed(layer, acme)
    page = web("vera").get(f"{A}{acme.pk}/change/")
    assert buttons(page) == set()
    assert "Strategic is proposed" in text(page)
    assert "not allowed to confirm" in text(page)
    assert PROPOSE not in page.content.decode()
    assert one.pk


def test_an_account_page_without_declared_layers_has_no_such_section(db):
    layer_with()
    page = cleo().get(f"{A}{account('acme').pk}/change/")
    assert 'id="declared"' not in page.content.decode()


# -- refusals


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"reason": " "}, "Say why"),
        ({"segment": ""}, "Choose a value"),
        ({"segment": "9" * 30}, "Choose a value"),
        ({"from_date": "31 Feb"}, "is not a date"),
        ({"from_date": "2999-01-01"}, "from today at the latest"),
        ({"seen": "x"}, "changed since you opened"),
    ],
)
def test_a_refusal_keeps_what_was_typed(layer, more, said):
    acme = account("acme")
    answer = cleo().post(PROPOSE, sent(layer, acme, evidence="What I typed") | more)
    assert answer.status_code == 409
    assert said in text(answer)
    assert "What I typed" in text(answer)
    assert not Declaration.objects.exists()


def test_a_page_looked_at_too_long_decides_nothing(layer):
    acme, ops = account("acme"), oskar()
    one = proposed(layer, acme)
    page = decision(one, reason="Agreed")
    declarations.reject(one, by=person("otto", "confirm_declaration"), reason="No")
    answer = ops.post(f"{LIST}{one.pk}/change/", page)
    assert (answer.status_code, "rejected already, by otto" in text(answer)) == (409, True)


def test_second_clicks_are_harmless(layer):
    acme, csm, ops = account("acme"), cleo(), oskar()
    seen = declarations.token(declarations.states(layer, [acme.pk]))
    for _ in range(2):
        assert csm.post(PROPOSE, sent(layer, acme, seen=seen)).status_code == 302
    one = Declaration.objects.get()
    page = decision(one)
    for _ in range(2):
        assert ops.post(f"{LIST}{one.pk}/change/", page).status_code == 302
    assert one.history.count() == 2


def test_replacing_a_proposal_is_one_step(layer):
    acme, csm = account("acme"), cleo()
    one = proposed(layer, acme)
    page = sent(layer, acme, key="operational", replaces=one.pk)
    page["seen"] = declarations.token(declarations.states(layer, [acme.pk]))
    for _ in range(2):
        assert csm.post(PROPOSE, page).status_code == 302
    found = Declaration.objects.order_by("pk").values_list("status", "segment__key")
    assert list(found) == [("replaced", "strategic"), ("proposed", "operational")]
    carl = web("carl", "propose_declaration").get(f"{PROPOSE}?accounts={acme.pk}&layer=importance")
    assert "Only cleo or somebody who confirms" in text(carl)


@pytest.mark.parametrize(
    ("url", "status"),
    [
        (f"{LIST}?q=%FF&layer=x&w=x&p=99999", 200),
        (f"{LIST}?layer=%00", 400),
        (f"{PROPOSE}?accounts=%00", 400),
        (f"{PROPOSE}?accounts=99999999999999999999", 404),
        (f"{LIST}999/change/", 404),
        (f"{LIST}99999999999999999999999/change/", 404),
    ],
)
def test_no_address_breaks_a_page(layer, url, status):
    assert cleo().get(url).status_code == status


def test_a_form_nobody_would_send_is_no_server_error(layer):
    one = proposed(layer, account("acme"))
    for post, status in (
        ({}, 409),
        ({"verb": "delete"}, 409),
        ({"verb": "withdraw", "on": "x"}, 409),
        ({"verb": "reject", "reason": "\x00"}, 400),
    ):
        assert oskar().post(f"{LIST}{one.pk}/change/", post).status_code == status
    one.refresh_from_db()
    assert one.status == "proposed"


def test_outsiders_are_refused_and_links_change_nothing(layer):
    acme = account("acme")
    one = proposed(layer, acme)
    outsider = web("vera")
    for url in (LIST, PROPOSE, f"{LIST}{one.pk}/change/", f"{LIST}{one.pk}/history/"):
        assert outsider.get(url).status_code == 403, url
        assert outsider.post(url).status_code == 403, url
    for url in (
        f"{PROPOSE}?accounts={acme.pk}&layer=importance",
        f"{LIST}{one.pk}/change/?verb=confirm",
        LIST,
    ):
        assert oskar().get(url).status_code == 200
    assert one.history.count() == 1


# -- many


def test_a_selection_of_accounts_is_proposed_and_decided_in_one_action_each(layer):
    accounts = [account(f"a{number}", name=f"Firm {number}") for number in range(5)]
    csm, ops = cleo(), oskar()
    chosen = {"action": "declare", "_selected_action": [one.pk for one in accounts[:4]]}
    page = csm.post(A, chosen)
    assert "Propose a value for 4 accounts" in text(page)
    assert not Declaration.objects.exists()
    [ids] = re.findall(r'name="accounts" value="([\d,]+)"', page.content.decode())
    answer = csm.post(PROPOSE, sent(layer) | {"accounts": ids}, follow=True)
    assert "Importance Strategic is proposed for 4 accounts." in text(answer)
    answer = csm.post(PROPOSE, sent(layer) | {"accounts": ids}, follow=True)
    assert "4 accounts are left as before: Strategic is proposed already" in text(answer)
    assert Declaration.objects.count() == 4
    first = Declaration.objects.first()
    page = ops.get(f"{LIST}{first.pk}/change/")
    assert "Strategic for 4 accounts" in text(page)
    [seen] = re.findall(r'name="seen" value="(\w+)"', page.content.decode())
    answer = ops.post(f"{LIST}{first.pk}/change/", {"verb": "confirm", "seen": seen}, follow=True)
    assert "is confirmed for 4 accounts" in text(answer)
    assert Declaration.objects.holding(timezone.localdate()).count() == 4


def test_one_of_many_is_decided_alone_and_the_rest_is_looked_at_again(layer):
    accounts = [account(f"a{number}") for number in range(3)]
    done = declarations.propose_for(
        accounts, segment(layer), by=person("cleo", "propose_declaration"), reason=WHY
    ).done
    ops = oskar()
    url = f"{LIST}{done[2].pk}/change/"
    [seen] = re.findall(r'name="seen" value="(\w+)"', ops.get(url).content.decode())
    ops.post(f"{LIST}{done[0].pk}/change/", decision(done[0], "reject", reason="Not this one"))
    assert Declaration.objects.proposed().count() == 2
    answer = ops.post(url, {"verb": "confirm", "seen": seen})
    assert (answer.status_code, "changed since you opened" in text(answer)) == (409, True)
    assert Declaration.objects.proposed().count() == 2


def test_a_search_does_not_make_a_decision_about_many_look_small(layer):
    accounts = [account(f"a{number}", name=f"Firm {number}") for number in range(3)]
    declarations.propose_for(accounts, segment(layer), by=person("cleo", "propose_declaration"), reason=WHY)
    assert "1 of 3 accounts" in text(oskar().get(f"{LIST}?q=Firm 1"))


def test_the_selection_is_offered_to_who_may_propose_only(layer):
    account("acme")
    assert 'value="declare"' in cleo().get(A).content.decode()
    assert 'value="declare"' not in web("vera").get(A).content.decode()


def test_proposals_come_first_and_a_filter_narrows_both(layer):
    acme, bolt = account("acme", name="Acme"), account("bolt", name="Bolt")
    proposed(layer, acme)
    declarations.confirm(proposed(layer, bolt), by=person("otto", "confirm_declaration"))
    ops = oskar()
    page = text(ops.get(LIST))
    assert page.index("Acme") < page.index("Bolt")
    narrowed = text(ops.get(f"{LIST}?q=bolt&layer=importance"))
    assert "Acme" not in narrowed
    assert "Nothing here waits for a decision." in narrowed


def test_an_export_is_the_list_as_shown(layer):
    acme, bolt = account("acme", name="=cmd()"), account("bolt", name="Bolt")
    proposed(layer, acme)
    declarations.confirm(proposed(layer, bolt), by=person("otto", "confirm_declaration"))
    ops = oskar()

    def rows(query=""):
        answer = ops.get(f"{LIST}export/{query}")
        return b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()[1:]

    assert [row.split(",")[:5] for row in rows()] == [
        ["acme", "'=cmd()", "Importance", "Strategic", "Proposed"],
        ["bolt", "Bolt", "Importance", "Strategic", "Confirmed"],
    ]
    [row] = rows("?q=bolt&layer=importance")
    assert row.endswith("search: bolt & layer=importance")
    assert web("vera").get(f"{LIST}export/").status_code == 403
    reader = web("rita", "view_declaration")
    assert reader.get(f"{LIST}export/").status_code == 403
    assert f"{LIST}export/" not in text(reader.get(LIST))
    page = ops.get(f"{LIST}?q=bolt&p=1").content.decode()
    assert f'href="{LIST}export/?q=bolt"' in page


def test_without_a_declared_segmentation_the_list_says_what_to_do(db):
    assert "No active segmentation goes by what people declare." in text(oskar().get(LIST))


def queries(client, url):
    client.get(url)  # what is looked up once is looked up now
    with CaptureQueriesContext(connection) as asked:
        assert client.get(url).status_code == 200
    return len(asked)


def test_as_many_queries_for_many_as_for_few(layer):
    by, ops = person("cleo", "propose_declaration"), oskar()

    def more(count, first):
        some = [account(f"a{number}") for number in range(first, first + count)]
        many = declarations.propose_for(some, segment(layer), by=by, reason=WHY).done
        declarations.confirm(many[0], by=person("otto", "confirm_declaration"))
        return [LIST, f"{LIST}{many[1].pk}/change/", f"{A}{some[0].pk}/change/"]

    few = [queries(ops, url) for url in more(3, 0)]
    assert [queries(ops, url) for url in more(60, 10)] == few


# -- jobs


@pytest.fixture
def chief(db):
    client = Client()
    client.force_login(User.objects.create_superuser("chief"))
    return client


INTERVIEWS = {
    "interviews-TOTAL_FORMS": "1",
    "interviews-INITIAL_FORMS": "0",
    "interviews-MIN_NUM_FORMS": "0",
    "interviews-MAX_NUM_FORMS": "1000",
    "interviews-0-held_on": "2026-05-01",
    "interviews-0-person": "Ada",
    "interviews-0-role": "Head of compliance",
    "interviews-0-notes": "Eleven weeks",
}


def test_a_job_is_written_down_with_its_interviews(layer, chief):
    form = chief.get(f"{S}jobtobedone/add/")
    assert "Importance: Strategic" in text(form)
    assert "Tier: High" not in text(form)
    job = {"segment": segment(layer).pk, "success_criteria": "Audit passed", "decks_updated_on": "2026-05-02"}
    assert chief.post(f"{S}jobtobedone/add/", job | INTERVIEWS).status_code == 302
    one = JobToBeDone.objects.get()
    assert (str(one), one.interviews.get().person) == ("Strategic", "Ada")
    page = text(chief.get(f"{S}jobtobedone/"))
    assert "1 job; 4 to 7 expected." in page
    assert "1 interview; 15 to 25 expected." in page
    for part in ("change", "history"):
        assert "Audit passed" in text(chief.get(f"{S}jobtobedone/{one.pk}/{part}/"))
    assert "Strategic" not in text(chief.get(f"{S}jobtobedone/add/")).split("Segment")[-1]


def test_an_unused_job_is_flagged_in_the_list(layer, chief):
    one = JobToBeDone.objects.create(segment=segment(layer))
    assert "Not used since" not in text(chief.get(f"{S}jobtobedone/"))
    JobToBeDone.objects.filter(pk=one.pk).update(edited_at=timezone.now() - timedelta(days=31))
    assert "Not used since" in text(chief.get(f"{S}jobtobedone/"))
    assert "not used for 30 days: Strategic ." in text(chief.get(LIST))
    Interview.objects.create(job=one, held_on="2026-05-01")
    assert "Not used since" not in text(chief.get(f"{S}jobtobedone/"))
