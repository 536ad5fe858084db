"""The audit trail: everything that is kept, the newest first, searched, filtered, paged and exported; then beside now."""

import csv
import io
from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from governing import approved, policy, request_of, someone
from overriding import Portfolio
from segmenting import BY_ARR, account, activate, change, layer_with, layer_without_rules, person, recompute

from accounts import corrections
from core.history import acting
from core.refusals import Refused
from governance.changes import overrides
from governance.reading import audit
from governance.reading.audit import Filters
from governance.signoff import approvals
from governance.signoff import people as leaving
from segmentation.authoring import versions
from segmentation.models import Acknowledgement, Run

pytestmark = pytest.mark.django_db
TRAIL = "/admin/audit/"


@pytest.fixture
def people(noted):
    return {name: someone(name, role, is_staff=True) for name, role in ROLES.items()}


ROLES = {"ops": "CS Ops", "vera": "Approver", "nora": "Auditor", "cara": "CSM"}


@pytest.fixture
def web(client, people):
    client.force_login(people["nora"])
    return client


def found(**asked):
    """[(kind, who, what, text)] of the whole trail."""
    return [(one.kind, one.who, one.what, one.text) for one in audit.all_entries(Filters(**asked))]


def corrected(one, *, by, reason, **facts):
    with acting(by=by, channel="admin", reason=reason):
        for name, value in facts.items():
            setattr(one, name, value)
        one.save()


def test_it_holds_what_every_table_tells(people):
    acme = account("acme", name="Acme", arr=1)
    corrected(acme, by=people["ops"], reason="Called them", industry="SaaS")
    one = request_of(people["ops"])
    approvals.comment(one, by=people["vera"], text="Which contract?")
    with pytest.raises(Refused):
        approvals.approve(one, by=people["ops"], seen=approvals.token(one))
    approved(one, people["vera"])
    trail = found()
    subject = "Acme to High-Touch until 1 Sep 2026"
    for entry in (
        ("Change", "ops", "Changed account", "Acme"),
        ("Change", "ops", "Created approval request", subject),
        ("Decision", "vera", "Approved", f"{subject} (as Approver)"),
        ("Comment", "vera", "Comment", subject),
        ("Cause", "tests", "Gave the reason for governed changes (decision)", ""),
    ):
        assert entry in trail
    [refused] = [one for one in trail if one[0] == "Refused"]
    assert refused[1] == "ops"
    assert "You cannot decide your own request" in refused[3]


def test_every_history_table_is_read():
    """Also one that comes with a later version: it is found by itself, and the statement is understood."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select table_name from information_schema.columns where column_name = 'history_change_reason'"
        )
        tables = {row[0] for row in cursor.fetchall()}
    read = {one.history._meta.db_table for one in audit.sources() if one.history}
    assert tables <= read
    for kind in audit.KINDS:
        audit.entries(Filters(text="x", kind=kind))


def test_what_was_changed_stands_with_it(people):
    acme = account("acme", name="Acme", industry="Retail")
    corrected(acme, by=people["ops"], reason="Called them", industry="SaaS")
    [entry] = [
        one
        for one in audit.all_entries(Filters(person="OPS", kind="change"))
        if one.what == "Changed account"
    ]
    assert entry.changes == [("industry", "Retail", "SaaS")]
    assert (entry.reason, entry.channel) == ("Called them", "Web admin")
    assert entry.link == f"/admin/accounts/account/{acme.pk}/history/"


def test_pages_follow_one_another_without_a_gap_also_within_one_moment(people):
    for number in range(10):
        approved(request_of(people["ops"], key=str(number), subject=f"No. {number}"), people["vera"])
    whole, after, pages = found(), "", []
    while True:
        entries, after = audit.entries(Filters(), after=after, limit=4)
        pages += [(one.kind, one.who, one.what, one.text) for one in entries]
        if not after:
            break
    assert pages == whole
    assert len(whole) > 40


@pytest.mark.parametrize(
    ("asked", "there", "not_there"),
    [
        ({"text": "Globex"}, "Globex", "Acme"),
        ({"text": "called THEM"}, "Acme", "Globex"),  # a reason
        ({"text": "100% sure"}, "Acme", "Globex"),
        ({"text": "100%sure"}, None, "Acme"),  # what people type is no pattern
        ({"person": "cara"}, "Globex", "Acme"),
        ({"channel": "admin"}, "Acme", "Globex"),
        ({"kind": "change"}, "Acme", None),
        ({"kind": "run"}, None, "Acme"),
    ],
)
def test_search_and_filters(people, asked, there, not_there):
    acme, globex = account("a", name="Acme"), account("b", name="Globex")
    corrected(acme, by=people["ops"], reason="Called them, 100% sure", industry="SaaS")
    with acting(by=people["cara"], reason="Heard it"):
        globex.industry = "Retail"
        globex.save()
    texts = {one[3] for one in found(**asked)}
    assert there is None or there in texts
    assert not_there not in texts


def test_days_are_the_organisations_and_both_are_included(people):
    request_of(people["ops"])
    today = timezone.localdate()
    assert found(since=today, until=today)
    assert not found(since=today + timedelta(days=1))
    assert not found(until=today - timedelta(days=1))


def test_a_recalculation_is_one_line_and_an_account_shows_each_row_of_it(people, settings):
    gates, settings.GATES = settings.GATES, {}
    layer_with(BY_ARR, policy="automatic")
    settings.GATES = gates
    acme, globex = account("a", name="Acme", arr=120_000), account("b", name="Globex", arr=120_000)
    recompute()
    change(acme, arr=5)
    change(globex, arr=5)
    recompute()
    runs = [one for one in found() if one[0] == "Recalculation"]
    assert len(runs) == Run.objects.count() == 2
    assert not {"Segment change", "Changed assignment", "Created assignment"} & {one[2] for one in found()}
    rows = found(text="Acme")
    assert ("Segment change", "Acme, Tier") in [one[2:] for one in rows]
    [moved] = [one for one in audit.all_entries(Filters(text="Acme")) if one.what == "Segment change"]
    assert ("current segment", "High", "Tech") in moved.changes
    assert not [one for one in rows if "Globex" in one[3]]


def test_whoever_asks_about_an_account_reads_every_word_said_about_its_requests(client, people, settings):
    """Two approvals, a comment, an edit and a no: each is one entry, in the trail, its file and the account's timeline."""
    settings.GATES = {}
    here = Portfolio(policy="approval")
    finn = someone("finn", "Finance", is_staff=True)
    policy("override", "Approver")
    policy("override", "Finance")
    beside = here.ask(here.beta)
    approvals.reject(beside, by=here.vera, seen=approvals.token(beside), reason="Too small")
    request = here.ask(here.acme)
    approvals.comment(request, by=here.vera, text="Which contract?")
    overrides.change(
        request, by=here.olga, seen=approvals.token(request), segment=here.segment("tech"),
        reason_code="strategic", text="They will be larger",
    )  # fmt: skip
    approved(request, here.vera, finn)
    rows = audit.all_entries(Filters(text="acme"))
    said = [(one.who, one.what, one.reason, one.changes) for one in rows if "equest" in one.link][::-1]
    assert [entry[:3] for entry in said] == [
        ("olga", "Created approval request", "They will be large"),
        ("vera", "Comment", "Which contract?"),
        ("olga", "Changed approval request", "They will be larger"),
        ("vera", "Approved", ""),
        ("finn", "Approved", ""),
        ("finn", "Changed approval request", "They will be larger"),
    ]
    [edited, *_] = said[2][3]
    assert edited[0] == "what is asked for"
    assert "Low" in edited[1]
    assert "Tech" in edited[2]
    client.force_login(here.olga)
    page = client.get(f"/admin/accounts/account/{here.acme.pk}/change/?show=decisions").content.decode()
    for entry in ("Approved as Approver", "Approved as Finance", "Which contract?", "Approval asked for"):
        assert page.count(entry) == 1, entry
    assert "Too small" not in page


def test_acknowledged_warnings_say_which(people, settings):
    settings.GATES = {}
    layer = layer_without_rules()
    activate(layer, BY_ARR)
    acknowledgement = Acknowledgement.objects.filter(definition__layer=layer).first()
    [entry] = list(audit.all_entries(Filters(text=acknowledgement.sentence)))
    assert (entry.what, entry.text) == ("Created acknowledged warning", acknowledgement.sentence)
    assert entry.reason == "Small on purpose"


@pytest.mark.parametrize(("name", "status"), [("nora", 200), ("ops", 200), ("vera", 403), ("cara", 403)])
def test_who_may_see_it(client, people, name, status):
    acme = account("acme")
    client.force_login(people[name])
    pages = [
        reverse("audit"),
        reverse("audit_export"),
        reverse("audit_rules"),
        reverse("audit_account", args=[acme.pk]),
    ]
    assert [client.get(url).status_code for url in pages] == [status] * 4
    assert ("Then and now" in client.get(f"/admin/accounts/account/{acme.pk}/change/").content.decode()) == (
        status == 200
    )


def test_the_page_and_the_file_say_the_same(web, people):
    request_of(people["ops"], subject="=1+1")
    page = web.get(TRAIL, {"person": "ops", "kind": "change"}).content.decode()
    assert "=1+1" in page
    assert "person=ops&amp;kind=change" in page  # the export's address
    lines = (
        b"".join(web.get(f"{TRAIL}export/?person=ops&kind=change").streaming_content)
        .decode("utf-8-sig")
        .splitlines()
    )
    assert len(lines) == 2
    assert "'=1+1" in lines[1]
    assert "kind=change & person=ops" in lines[1]


def test_the_page_leaves_causes_out_until_they_are_chosen_and_the_file_has_them(web, people):
    approved(request_of(people["ops"]), people["vera"])
    badge = '<span class="dm-badge ">Cause</span>'
    page = web.get(TRAIL).content.decode()
    assert badge not in page
    assert "Causes are left out here" in page
    assert "Approved" in page
    for kind in ("all", "cause"):
        page = web.get(TRAIL, {"kind": kind}).content.decode()
        assert badge in page
        assert "Causes are left out here" not in page
    for kind in ("", "all"):
        file = b"".join(web.get(f"{TRAIL}export/?kind={kind}").streaming_content).decode("utf-8-sig")
        assert ",Cause," in file


@pytest.mark.parametrize(("words", "first", "last"), [("Yesterday", 1, 1), ("Last 7 days", 6, 0)])
def test_days_are_chosen_with_one_click_and_the_filter_stays(web, people, words, first, last):
    today = timezone.localdate()
    days = f"since={today - timedelta(days=first)}&amp;until={today - timedelta(days=last)}"
    page = web.get(TRAIL, {"person": "ops", "after": "x"}).content.decode()
    assert f'<a class="chip" href="?person=ops&amp;{days}">{words}</a>' in page
    chosen = web.get(f"{TRAIL}?{days.replace('&amp;', '&')}").content.decode()
    assert f'<a class="chip on" href="?{days}" aria-current="true">{words}</a>' in chosen


def test_the_page_takes_the_same_queries_for_many(web, people, django_assert_max_num_queries):
    taken = []
    for number in (1, 8):
        for each in range(number):
            approved(request_of(people["ops"], key=f"{number}/{each}"), people["vera"])
        web.get(TRAIL)
        with django_assert_max_num_queries(60) as queries:
            web.get(TRAIL)
        taken.append(len(queries))
    assert taken[0] == taken[1]


@pytest.mark.parametrize(
    "given",
    ["q=%FF", "kind=x", "channel=x", "since=x", "since=9999-12-31", "until=0001-01-01", "until=9999-12-31", "after=x",
     "after=2026-01-01T00:00:00%2B00:00|1|x", "after=2026-13-01T00:00:00%2B00:00|1|1", "q=%ED%A0%80", "q=\\"],
)  # fmt: skip
def test_no_address_typed_by_hand_breaks_it(web, people, given):
    request_of(people["ops"])
    assert web.get(f"{TRAIL}?{given}").status_code == 200


def test_a_search_that_takes_too_long_is_refused_with_what_to_do(web, monkeypatch):
    monkeypatch.setattr(audit, "PATIENCE", "20ms")
    asleep = "select now() as at, 1 as row, pg_sleep(1)::text as who, 0 as person, '' as channel, '' as verb, '' as model,"
    asleep += " null::bigint as object, null::bigint as account, '' as text, '' as reason"
    monkeypatch.setattr(audit, "sources", lambda: (audit.Source("comment", asleep),))
    assert "Narrow it" in web.get(TRAIL).content.decode()
    assert "Narrow it" in web.get(f"{TRAIL}export/?kind=comment", follow=True).content.decode()


# -- then and now


def test_an_account_on_a_date_beside_today(web, people):
    seen = ["crm", "2026-01-31"]
    acme = account(
        "acme", name="Acme", industry="Retail", employees=5, provenance={"industry": seen, "employees": seen}
    )
    corrections.correct(acme, {"employees": 50}, by=people["ops"], reason="Grown")
    today = timezone.localdate()
    assert audit.account_on(acme, date(2026, 1, 30)) is None
    assert audit.useful_date(acme) == today - timedelta(days=1)
    rows = audit.account_on(acme, today - timedelta(days=1))
    facts = {name: (then, learnt, now) for name, then, learnt, now in rows}
    assert facts["Employees"] == ("5", today.isoformat(), "50")
    assert facts["Industry"] == ("Retail", today.isoformat(), "Retail")
    address = reverse("audit_account", args=[acme.pk])
    page = web.get(address).content.decode()  # opens on the day before the last change
    assert "2 data fields are different" in page  # the age is another, too
    assert f'value="{today - timedelta(days=1)}"' in page
    page = web.get(address, {"at": f"{today - timedelta(days=1)}", "known": "on"}).content.decode()
    assert "Nothing was known of this account" in page


def test_rules_on_a_date_beside_today(web, people, settings):
    settings.GATES = {}
    layer = layer_with(BY_ARR)
    olga = person()
    draft = versions.create_draft(layer, by=olga)
    other = {"rules": [{"segment": "high", "when": "arr >= 80000"}, {"segment": "tech", "when": "arr >= 0"}]}
    draft = versions.save_draft(draft, other, by=olga)
    page = web.get(reverse("audit_rules")).content.decode()
    assert "It still is." in page
    before = timezone.localdate() - timedelta(days=1)
    assert audit.rules_on(layer, before) is None
    assert (
        "No rules were active."
        in web.get(reverse("audit_rules"), {"at": before.isoformat()}).content.decode()
    )
    assert audit.rules_on(layer, timezone.localdate()).version == 1


@pytest.mark.parametrize("at", ["x", "", "9999-12-31", "0001-01-01"])
def test_no_date_typed_by_hand_breaks_it(web, at):
    acme = account("acme")
    for url in (reverse("audit_rules"), reverse("audit_account", args=[acme.pk])):
        assert web.get(url, {"at": at}).status_code == 200
    assert web.get(reverse("audit_account", args=[10**9])).status_code == 404


# -- one name, two people


@pytest.fixture
def two_veras(people):
    """(who was called vera and is vera.k now, who is called vera since): each has said something about a request."""
    first, second = people["vera"], someone("max", "Approver", is_staff=True)
    request = request_of(people["ops"], subject="About Acme")
    approvals.comment(request, by=first, text="The first one's.")
    first.username = "vera.k"
    first.save()
    second.username = "vera"
    second.save()
    approvals.comment(request, by=second, text="The second one's.")
    return first, second, request


def said_by(**asked):
    entries, _ = audit.entries(Filters(kind="comment", **asked))
    return [(one.named, one.person, one.reason) for one in entries]


def test_a_name_that_was_anothers_is_told_apart_in_the_trail(two_veras):
    first, second, _ = two_veras
    once = f"vera (person {first.pk}, now called vera.k)"
    both = [("vera", second.pk, "The second one's."), (once, first.pk, "The first one's.")]
    assert said_by() == both
    assert said_by(person="vera") == both
    assert said_by(person=f"#{first.pk}") == both[1:]
    assert said_by(person=f"#{second.pk}") == both[:1]
    assert said_by(person="#") == said_by(person="#0") == said_by(person="#1x") == []


def test_the_file_has_the_name_of_the_time_and_the_number_beside_it(two_veras, web):
    first, second, _ = two_veras
    answer = web.get("/admin/audit/export/?kind=comment")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))
    found = [(row["Who"], row["Person"], row["Reason"]) for row in rows]
    assert found == [
        ("vera", str(second.pk), "The second one's."),
        ("vera", str(first.pk), "The first one's."),
    ]


def test_pages_tell_them_apart(two_veras, web):
    first, second, request = two_veras
    once = f"vera (person {first.pk}, now called vera.k)"
    for address in ("/admin/audit/?kind=comment", f"/admin/governance/approvalrequest/{request.pk}/change/"):
        shown = web.get(address).content.decode()
        assert once in shown, address
        assert shown.count("now called") == 1, address
    assert f"#{second.pk}<" in web.get("/admin/audit/").content.decode()


def test_somebody_deleted_and_somebody_new_of_that_name_are_two(people, web):
    vera, acme = people["vera"], account("acme", name="Acme", arr=1)
    corrected(acme, by=vera, reason="Was wrong", name="Acme Ltd")
    leaving.delete(vera, by=someone("admin", "Administrator"), reason="Left")
    other = someone("max", "Approver")
    other.username = "vera"
    other.save()
    corrected(acme, by=other, reason="Was right", name="Acme")
    shown = web.get(f"/admin/accounts/account/{acme.pk}/history/").content.decode()
    assert f"· vera (person {vera.pk}, deleted) ·" in shown
    assert "· vera ·" in shown
    entries, _ = audit.entries(Filters(text="Was "))
    assert {(one.named, one.reason) for one in entries if one.kind == "Change"} >= {
        (f"vera (person {vera.pk}, deleted)", "Was wrong"),
        ("vera", "Was right"),
    }


def test_however_many_people_are_named_their_names_are_read_once(two_veras, web):
    request = two_veras[2]
    address = f"/admin/governance/approvalrequest/{request.pk}/change/"
    web.get(address)
    with CaptureQueriesContext(connection) as few:
        web.get(address)
    for number in range(20):
        approvals.comment(request, by=someone(f"person{number}", "Approver"), text=f"No. {number}")
    with CaptureQueriesContext(connection) as many:
        web.get(address)
    assert len(many) <= len(few)
