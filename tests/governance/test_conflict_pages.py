"""The pages of conflicts: both values side by side, decided alone or alike, told on the account's page; and who may what."""

from threading import Barrier, Thread

import pytest
from conflicting import BY_INDUSTRY, JULY, bring, conflicts, known, record_of
from django.db import connection
from django.test import Client
from django.utils import timezone
from governing import someone
from segmenting import layer_with, recompute

from accounts.models import Account, Conflict
from core.refusals import Refused
from governance.changes import conflicts as decisions
from governance.models import Event

C = "/admin/accounts/conflict/"
ANSWERS = {"buying_centre": "The board", "use_case": "The same", "contract": "Until 2028"}
SAID = ANSWERS | {"note": "They were bought"}


def client_of(name, *roles):
    client = Client()
    client.user = someone(name, *roles, is_staff=True)
    client.force_login(client.user)
    return client


def portfolio(*names):
    """Technology companies of which the warehouse says that they are in healthcare."""
    layer_with(BY_INDUSTRY, key="fit", policy="automatic")
    bring(
        "crm",
        *[
            {"external_id": name, "name": name.title(), "industry": "Technology", "employees": 2000}
            for name in names
        ],
    )
    recompute(at=timezone.localdate())
    record_of("industry", "crm")
    bring("warehouse", *[{"external_id": name, "industry": "Healthcare"} for name in names], at=JULY)


@pytest.fixture(autouse=True)
def only_facts(settings):
    """Rules are put in force here without asking for approval."""
    settings.GATES = {"facts": settings.GATES["facts"]}


@pytest.fixture
def waiting(db):
    portfolio("acme", "beta")
    return list(Conflict.objects.order_by("account__external_id"))


def test_one_is_looked_at_and_decided(waiting):
    olga, one = client_of("petra", "CS Ops"), waiting[0]
    listed = olga.get(C).content.decode()
    assert "Fit by the rules: High → Low, and 1 more" in listed
    shown = olga.get(f"{C}{one.pk}/change/").content.decode()
    for text in (
        "Technology",
        "Healthcare",
        "Fit: Industry 5 → 1 point",
        "Who decides about buying now?",
        "Keep what we have",
    ):
        assert text in shown
    refused = olga.post(f"{C}{one.pk}/change/", ANSWERS | {"verb": "take", "note": " "})
    assert (refused.status_code, b"Say why" in refused.content, b"Until 2028" in refused.content) == (
        409,
        True,
        True,
    )
    seen = decisions.token(one)
    assert olga.post(f"{C}{one.pk}/change/", SAID | {"verb": "take", "seen": seen}).status_code == 302
    assert known("acme", "industry")[0] == "Healthcare"
    assert "They were bought" in olga.get(f"{C}{one.pk}/change/").content.decode()
    assert "They were bought" in olga.get(f"{C}{one.pk}/history/").content.decode()
    again = olga.post(f"{C}{one.pk}/change/", SAID | {"verb": "keep", "seen": seen})
    assert (again.status_code, b"decided already" in again.content) == (409, True)


def test_several_are_decided_alike(waiting):
    olga = client_of("petra", "CS Ops")
    chosen = {"action": "decide_alike", "_selected_action": [one.pk for one in waiting]}
    asked = olga.post(C, chosen)
    assert asked.status_code == 302
    page = olga.get(asked.url).content.decode()
    assert "2 conflicts, decided alike" in page
    sent = {
        "ids": ",".join(str(one.pk) for one in waiting),
        "seen": " ".join(map(decisions.token, waiting)),
        "verb": "keep",
    }
    assert olga.post(f"{C}decide/", SAID | sent).status_code == 302
    assert conflicts("status", "decided_by_label") == [("kept", "petra")] * 2
    assert b"None of these waits" in olga.post(C, chosen, follow=True).content


def test_a_page_that_was_opened_before_the_value_changed_decides_nothing(waiting):
    olga, one = client_of("petra", "CS Ops"), waiting[0]
    seen = decisions.token(one)
    bring("crm", {"external_id": "acme", "industry": "Finance"}, at=JULY.replace(day=9))
    refused = olga.post(f"{C}{one.pk}/change/", SAID | {"verb": "keep", "seen": seen})
    assert (refused.status_code, b"has changed since you opened the page" in refused.content) == (409, True)
    assert Conflict.objects.get(pk=one.pk).status == "open"


@pytest.mark.parametrize(
    ("roles", "sees", "decides", "reports"),
    [
        (["CS Ops"], True, True, True),
        (["RevOps"], True, True, True),
        (["CSM"], True, False, True),
        (["Auditor"], True, False, False),
        (["Approver"], True, False, False),
        ([], False, False, False),
    ],
)
def test_who_may_what(waiting, roles, sees, decides, reports):
    client, one = client_of("pat", *roles), waiting[0]
    assert (client.get(C).status_code == 200) == sees
    shown = client.get(f"{C}{one.pk}/change/")
    assert (shown.status_code == 200) == sees
    assert (b"Keep what we have" in shown.content) == decides
    report = {"account": one.account_id, "fact": "employees", "value": "12", "reason": "Their site"}
    assert (client.post(f"{C}report/", report).status_code == 302) == reports
    assert Conflict.objects.filter(proposed_source="reported").exists() == reports
    sent = client.post(f"{C}{one.pk}/change/", SAID | {"verb": "take", "seen": decisions.token(one)})
    assert (sent.status_code == 302) == decides
    assert (Conflict.objects.get(pk=one.pk).status == "taken") == decides
    assert client.get(f"{C}{one.pk}/delete/").status_code == 403
    if sees:
        account = client.get(f"/admin/accounts/account/{one.account_id}/change/").content
        assert (b"Report wrong data" in account) == reports


def test_the_account_tells_what_waits_and_what_was_decided(waiting):
    olga, one = client_of("petra", "CS Ops"), waiting[0]
    page = f"/admin/accounts/account/{one.account_id}/change/"
    told = olga.get(page).content.decode()
    assert "1 value waits for a decision" in told
    assert "Industry: we have Technology (crm), warehouse says Healthcare." in told
    decisions.keep([one], by=olga.user, note="The warehouse is wrong", answers=ANSWERS)
    shown = olga.get(page).content.decode()
    assert "waits for a decision" not in shown
    assert "Industry stays Technology" in shown


def test_a_report_that_cannot_be_used_is_told_at_the_form(waiting):
    carl, one = client_of("carl", "CSM"), waiting[0]
    form = carl.get(f"{C}report/?account={one.account_id}").content.decode()
    assert "Employees: 2,000" in form
    sent = {"account": one.account_id, "fact": "employees", "value": "many", "reason": "Their site"}
    refused = carl.post(f"{C}report/", sent)
    assert (refused.status_code, "“many” is no value" in refused.content.decode()) == (409, True)
    assert "Their site" in refused.content.decode()
    assert carl.get(f"{C}report/?account=0").status_code == 404


def test_a_correction_that_waits_says_so(waiting):
    olga = client_of("petra", "CS Ops")
    one = Account.objects.get(external_id="beta")
    edit = f"/admin/accounts/account/{one.pk}/edit/"
    form = olga.get(edit).context["adminform"].form
    sent = {name: "" if (value := form.initial.get(name)) is None else value for name in form.fields}
    sent |= {"excluded": ""} | {"industry": "Retail", "region": "West", "reason": "Their site"}
    answer = olga.post(edit, sent, follow=True)
    assert "Industry: waits for a decision" in answer.content.decode()
    assert (known("beta", "industry")[0], known("beta", "region")[0]) == ("Technology", "West")


def test_the_list_takes_a_fixed_number_of_queries(waiting, django_assert_max_num_queries):
    olga = client_of("petra", "CS Ops")
    olga.get(C)
    bring("crm", *[{"external_id": f"c{n}", "industry": "Technology", "employees": 2000} for n in range(20)])
    bring("warehouse", *[{"external_id": f"c{n}", "industry": "Media"} for n in range(20)], at=JULY)
    assert Conflict.objects.count() == 22
    with django_assert_max_num_queries(12):
        olga.get(C)


# -- at the same moment


def at_once(*works):
    """The outcome of functions that start at the same moment: what each gave, or its refusal."""
    barrier, results = Barrier(len(works)), [None] * len(works)

    def run(place, work):
        try:
            barrier.wait()
            results[place] = work()
        except Refused as refused:
            results[place] = refused
        finally:
            connection.close()

    threads = [Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_two_who_decide_at_once_one_is_told(real_db):
    names = [f"a{number}" for number in range(10)]
    portfolio(*names)
    olga, rita = someone("olga", "CS Ops"), someone("rita", "RevOps")
    for one in Conflict.objects.order_by("pk"):
        results = at_once(
            lambda one=one: decisions.keep([one], by=olga, note="At once", answers=ANSWERS),
            lambda one=one: decisions.take([one], by=rita, note="At once", answers=ANSWERS),
        )
        assert sum(isinstance(result, Refused) for result in results) == 1
        found = Conflict.objects.get(pk=one.pk)
        value = Account.objects.get(pk=one.account_id).industry
        assert (found.status, value) in [("kept", "Technology"), ("taken", "Healthcare")]
        assert found.history.count() == 2
    assert Event.objects.filter(kind="conflict_decided").count() == 10


def test_an_import_and_a_decision_at_once_leave_one_truth(real_db):
    """A newer proposal comes while somebody takes the older one: whichever is first, nothing is lost and nothing is twice."""
    names = [f"a{number}" for number in range(10)]
    portfolio(*names)
    olga = someone("olga", "CS Ops")
    for one in Conflict.objects.select_related("account").order_by("pk"):
        row = {"external_id": one.account.external_id, "industry": "Retail"}
        results = at_once(
            lambda one=one: decisions.take([one], by=olga, note="At once", answers=ANSWERS),
            lambda row=row: bring("vendor", row, at=JULY.replace(day=9)),
        )
        first, second = Conflict.objects.filter(account=one.account_id).order_by("pk")
        assert (second.proposed_value, second.status) == ("Retail", "open")
        value = Account.objects.get(pk=one.account_id).industry
        if isinstance(results[0], Refused):
            assert (first.status, second.held_value, value) == ("superseded", "Technology", "Technology")
        else:
            assert (first.status, second.held_value, value) == ("taken", "Healthcare", "Healthcare")
