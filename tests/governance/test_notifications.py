"""Notifications: the right people are told, why, once, with a link they can open."""

import ast
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from databases import unsigned
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from governing import approved, away, policy, request_of, someone
from segmenting import BY_ARR, DAY, account, change, layer_with, recompute

from accounts.models import Csm
from core.history import acting
from governance import events
from governance.models import Alert, AlertRule, Event, Notification, Outbox, Preference, Transition
from governance.news import notifications
from governance.signoff.impact import Impact
from segmentation.authoring import declarations
from segmentation.evaluation import causes
from segmentation.models import Cause

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def rules_as_needed(settings):
    """How rules become active is not what this is about."""
    settings.GATES = {}


def record(kind, text="It happened.", *, by=None, **options):
    """An event, recorded as verbs do."""
    with transaction.atomic(), acting(by=by, channel="admin"):
        return events.record(kind, text, **options)


def csm(name, **columns):
    """A CSM who logs in."""
    user = someone(name, "CSM", email=f"{name}@example.com")
    return Csm.objects.create(email=f"{name}@example.com", user=user, **columns)


def told():
    """{name: [text]} of everybody, after what waited was delivered."""
    notifications.deliver()
    lines = {}
    for line in Notification.objects.select_related("user").order_by("pk"):
        lines.setdefault(line.user.username, []).append(line.text)
    return lines


def test_every_kind_that_is_recorded_says_who_is_told():
    recorded = set()
    for path in [*ROOT.glob("governance/**/*.py"), *ROOT.glob("accounts/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("record", "_tell", "tell")):
                recorded |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    assert {kind for kind in recorded if isinstance(kind, str)} <= set(notifications.KINDS)


@pytest.mark.parametrize("accounts", [1, 2])
def test_a_name_of_any_length_keeps_nobody_from_being_told(db, accounts):
    someone("olga", "CS Ops")
    pool = Csm.objects.create(email="pool@example.com", name="P" * 200)
    layer, cleo = layer_with(BY_ARR), csm("cleo")
    for number in range(accounts):
        one = account(f"a{number}", name=f"{number}" + "n" * 399, csm=cleo)
        flagged = Transition(
            account=one, layer=layer, from_segment=layer.segments.get(key="high"), direction="down",
            to_segment=layer.segments.get(key="tech"), crossed_on=DAY, receiver=pool,
        )  # fmt: skip
        with transaction.atomic(), unsigned(), acting(label="tests"):
            causes.take(Cause.Kind.DECISION)
            flagged.save()
        record("transition_joint", account=one, layer=layer, about=flagged)
        record("transition_kept", account=one, layer=layer)
    assert set(told()) == {"cleo", "olga"}
    assert not Outbox.objects.exists()
    whys = list(Notification.objects.values_list("why", flat=True))
    assert all((len(why) == notifications.WHY and why.endswith("…")) or "them" in why for why in whys)


# -- requests


def test_a_request_tells_those_who_can_decide_it_and_nobody_else(db, noted):
    olga, vera, vito = someone("olga", "CS Ops"), someone("vera", "Approver"), someone("vito", "Approver")
    someone("aude", "Auditor")
    cleo = csm("cleo").user
    request_of(olga, impact=Impact(accounts=1, owners=(cleo.pk,)))
    assert set(told()) == {"vera", "vito", "cleo"}
    line = Notification.objects.get(user=vera)
    assert (line.why, line.urgent) == ("You can decide it as Approver.", True)
    line = Notification.objects.get(user=cleo)
    assert (line.why, line.urgent) == ("You look after it.", False)
    assert not Outbox.objects.exists()
    assert vito.notifications.count() == 1


def test_who_stands_in_is_told_in_place_of_who_is_away(db, noted):
    olga, vera, dora = someone("olga", "CS Ops"), someone("vera", "Approver"), someone("dora", "CSM")
    away(vera, dora)
    request_of(olga)
    assert "dora" in told()
    assert (
        Notification.objects.get(user=dora).why == "You can decide it as Approver, for somebody who is away."
    )


def test_a_request_nobody_can_decide_falls_to_cs_ops_and_says_so(db, noted):
    vera, _ = someone("vera", "Approver"), someone("olga", "CS Ops")
    policy("override", "Finance", 1, only=True)
    request_of(vera)
    assert set(told()) == {"olga"}
    line = Notification.objects.get(event__kind="request_stuck")
    assert "nobody active has the role Finance" in line.text
    assert line.urgent


def test_the_requester_hears_what_became_of_it(db, noted):
    olga, vera = someone("olga", "CS Ops"), someone("vera", "Approver")
    approved(request_of(olga), vera)
    told()
    lines = {line.event.kind: line for line in olga.notifications.select_related("event")}
    assert lines["request_applied"].why == "You asked for it."
    assert not vera.notifications.filter(event__kind="request_applied").exists()  # she did it


# -- accounts


@pytest.mark.parametrize("kind", ["transition_flagged", "override_expiring", "conflict_decided"])
def test_nobody_is_told_of_what_they_did_themselves(db, kind):
    cleo = csm("cleo")
    acme = account("acme", csm=cleo)
    record(kind, "By her.", by=cleo.user, account=acme)
    assert "cleo" not in told()
    record(kind, "By another.", account=acme)
    assert told()["cleo"] == ["By another."]


def test_a_recalculation_that_moves_many_is_one_line_a_person(db):
    layer = layer_with(BY_ARR, key="tier", policy="automatic", segments=["high", "tech"])
    cleo, cora = csm("cleo"), csm("cora")
    for number in range(30):
        account(f"a{number}", arr=200_000, csm=cora if number == 0 else cleo)
    recompute(DAY)
    assert told() == {}  # first segments are no news
    for one in layer.assignments.select_related("account"):
        change(one.account, arr=10)
    recompute(DAY + timedelta(days=1))
    assert told() == {
        "cleo": ["29 of your accounts changed their segment (Tier)."],
        "cora": ["a0 moved from High to Tech (Tier): the customer changed."],
    }
    line = Notification.objects.get(user=cleo.user)
    assert (line.why, line.count) == ("You look after them.", 29)
    page = page_of(line).content.decode()
    assert "a7 moved from High to Tech (Tier): the customer changed." in page
    assert "a0 moved" not in page  # another's
    web = Client()
    web.force_login(someone("cleo", "CSM", is_staff=True))


def test_one_line_grows_over_batches(db, monkeypatch):
    monkeypatch.setattr(notifications, "BATCH", 7)
    cleo = csm("cleo")
    for number in range(30):
        record("transition_flagged", f"{number}", account=account(f"a{number}", csm=cleo), data={"run": 4})
    assert told()["cleo"] == ["30 of your accounts crossed a boundary."]
    line = Notification.objects.get(user=cleo.user)
    assert (line.count, len(line.events)) == (30, 30)
    listed = {text for _, text, _ in notifications.about(line)}
    assert listed == {str(number) for number in range(30)}


@pytest.mark.parametrize(
    ("key", "primary", "why", "is_told"),
    [
        ("tier", True, "data", True),
        ("lifecycle", False, "data", True),
        ("health", False, "definition", True),
        ("value-tier", False, "data", False),
        ("value-tier", False, "provisional", True),
        ("tier", True, "transition", False),  # told by the tier change
        ("tier", True, "override", False),
    ],
)
def test_which_changes_of_segments_a_csm_is_told_of(db, key, primary, why, is_told):
    if not primary:
        layer_with(BY_ARR, key="first", segments=["high", "tech"])
    layer = layer_with(BY_ARR, key=key, policy="automatic", segments=["high", "tech"])
    account("acme", arr=1, csm=csm("cleo"))
    recompute(DAY)
    moved(layer, why)
    assert ("cleo" in told()) == is_told


def moved(layer, why):
    """Its only account goes up, for this reason."""
    move = layer.move_set.get()
    with transaction.atomic():
        move.pk, move.why, move.cause = None, why, causes.take(Cause.Kind.DECISION, reason="moved")
        move.from_segment, move.to_segment = move.to_segment, layer.segments.get(key="high")
        move.save()


def test_a_provisional_decision_on_an_account_nobody_looks_after_falls_to_cs_ops(db):
    someone("olga", "CS Ops")
    layer = layer_with(BY_ARR, segments=["high", "tech"])
    account("acme", arr=1)
    recompute(DAY)
    moved(layer, "provisional")
    assert told()["olga"] == ["acme moved from Tech to High (Tier): decided after the provisional period."]
    assert Notification.objects.get().why == "Nobody looks after acme, so CS Ops is told."


# -- alerts


def test_an_alert_on_an_account_nobody_looks_after_falls_to_cs_ops(db):
    someone("olga", "CS Ops"), someone("vera", "Approver")
    rule = AlertRule.objects.create(key="x", name="Sponsor departed", condition="arr > 1", urgent=True)
    acme = account("acme")
    alert = Alert.objects.create(rule=rule, account=acme, opened_on=DAY)
    data = {"audience": "csm", "urgent": True}
    record("alert_opened", "Sponsor departed.", account=acme, about=alert, data=data)
    assert set(told()) == {"olga"}
    line = Notification.objects.get()
    assert (line.text, line.urgent) == ("Sponsor departed: acme.", True)
    assert line.why == "Nobody looks after acme, so CS Ops is told."


# -- declared values

DECLARED = {"rules": [{"segment": "high", "when": "declared = 'high'"}, {"segment": "tech"}]}


def test_a_proposed_value_waits_for_those_who_confirm_but_not_for_the_proposer(db, settings):
    settings.GATES = {"declared": "governance.events.declared"}
    layer = layer_with(DECLARED, segments=["high", "tech"])
    olga, _, _ = someone("olga", "CS Ops"), someone("oskar", "CS Ops"), someone("aude", "Auditor")
    high = layer.segments.get(key="high")
    declarations.propose(account("acme"), high, by=olga, reason="They have merged")
    assert told() == {"oskar": ["High is proposed for acme (Tier)."]}
    line = Notification.objects.get()
    assert (line.why, line.urgent, line.event.reason) == ("You can confirm it.", True, "They have merged")
    assert page_of(line).status_code == 200
    more = [account(f"more{number}") for number in range(4)]
    declarations.propose_for(more, high, by=olga, reason="They too")
    assert told()["oskar"] == ["Values are proposed for 5 accounts (Tier)."]


# -- where it leads


def page_of(line):
    """The page that the person told gets to see behind its link."""
    line.user.is_staff = True
    line.user.save()
    web = Client()
    web.force_login(line.user)
    return web.get(line.link)


def test_every_link_answers_who_was_told(db, noted):
    """Whoever it is: a role that may not see the page is led to one it may."""
    olga, vera, ada = someone("olga", "CS Ops"), someone("vera", "Approver"), someone("ada", "Administrator")
    cleo = csm("cleo")
    acme = account("acme", csm=cleo)
    approved(request_of(olga, impact=Impact(accounts=1, owners=(cleo.user.pk,))), vera)
    record("role_changed", "Roles of cleo.", about=cleo.user, data={"user": cleo.user.pk})
    record("transition_kept", "Acme stays.", account=acme)
    rule = AlertRule.objects.create(key="x", name="Sponsor departed", condition="arr > 1")
    alert = Alert.objects.create(rule=rule, account=acme, opened_on=DAY)
    record("alert_opened", "Sponsor departed.", account=acme, about=alert, data={"audience": "csm"})
    notifications.deliver()
    lines = Notification.objects.select_related("user", "event")
    found = {(line.user.username, line.event.kind, line.link): page_of(line).status_code for line in lines}
    assert len(found) > 6
    assert set(found.values()) == {200}
    assert ("ada", "role_changed", f"/admin/auth/user/{cleo.user.pk}/change/") in found
    assert ("cleo", "role_changed", "/admin/inbox/") in found
    assert ada.notifications.exists()


# -- once


def test_what_a_dying_worker_began_is_told_once(db, monkeypatch):
    olga = someone("olga", "CS Ops")
    record("role_changed", data={"user": olga.pk})
    with monkeypatch.context() as patched:
        patched.setattr(notifications, "_tell_how_many", _die)
        with pytest.raises(SystemExit):
            notifications.deliver()
    assert (Notification.objects.count(), Outbox.objects.count()) == (0, 1)
    Outbox.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert notifications.deliver() == 1
    assert notifications.deliver() == 0
    assert Notification.objects.count() == 1


def _die(_):
    raise SystemExit("killed")


def test_an_event_that_cannot_be_told_holds_up_no_other(db, monkeypatch, caplog):
    olga = someone("olga", "CS Ops")
    bad = Event.objects.create(kind="unheard_of", text="?")
    record("role_changed", "Fine.", data={"user": olga.pk})
    assert notifications.deliver() == 1
    assert list(Outbox.objects.values_list("pk", flat=True)) == [bad.pk]
    assert "unheard_of" in caplog.text


def test_workers_at_once_tell_everything_once(real_db):
    olga = someone("olga", "CS Ops")
    for number in range(300):
        record("role_changed", str(number), data={"user": olga.pk})
    threads = [Thread(target=_deliver) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(olga.notifications.values_list("text", flat=True)) == sorted(map(str, range(300)))
    assert not Outbox.objects.exists()


def _deliver():
    try:
        notifications.deliver()
    finally:
        connection.close()


def test_an_event_belongs_to_the_transaction_of_what_happened(real_db):
    with pytest.raises(RuntimeError):
        events.record("role_changed", "Nothing happened.")
    with transaction.atomic():
        events.record("role_changed", "It was rolled back.")
        transaction.set_rollback(True)
    assert (Event.objects.count(), Outbox.objects.count()) == (0, 0)


# -- the inbox


@pytest.fixture
def web(db):
    """A browser of cleo, who looks after accounts and was told of two things."""
    cleo = csm("cleo").user
    cleo.is_staff = True
    cleo.save()
    for text in ("First", "Second"):
        record("role_changed", text, data={"user": cleo.pk})
    notifications.deliver()
    client = Client()
    client.force_login(cleo)
    return client


def test_the_inbox_shows_what_is_unread_and_why(web):
    page = web.get("/admin/inbox/").content.decode()
    assert "Second" in page
    assert "It is about you." in page
    assert "Inbox, 2 unread" in page
    line = Notification.objects.get(text="First")
    assert web.post("/admin/inbox/", {"line": line.pk}).status_code == 302
    page = web.get("/admin/inbox/").content.decode()
    assert "First" not in page
    assert "Inbox, 1 unread" in page
    assert "First" in web.get("/admin/inbox/?all").content.decode()
    web.post("/admin/inbox/")
    assert not Notification.objects.unread().exists()


def test_opening_a_line_reads_it_and_leads_to_the_thing(web):
    line = Notification.objects.get(text="First")
    answer = web.post("/admin/inbox/", {"line": line.pk, "open": "1"})
    assert answer.url == line.link
    line.refresh_from_db()
    assert line.read_at


def test_nobody_reads_the_lines_of_another(web):
    other = someone("olga", "CS Ops")
    record("role_changed", "Secret", data={"user": other.pk})
    notifications.deliver()
    line = Notification.objects.get(text="Secret")
    assert "Secret" not in web.get("/admin/inbox/?all").content.decode()
    assert web.get(f"/admin/inbox/{line.pk}/").status_code == 404
    assert web.post("/admin/inbox/", {"line": line.pk}).status_code == 404
    web.post("/admin/inbox/")
    line.refresh_from_db()
    assert line.read_at is None


@pytest.mark.parametrize("key", ["x", "-1", "99999999999999999999"])
def test_no_odd_line_breaks_the_inbox(web, key):
    assert web.post("/admin/inbox/", {"line": key}).status_code == 404


def test_a_person_chooses_how_to_be_told(web):
    assert web.post("/admin/inbox/preferences/", {"mail": "none"}).status_code == 302
    wish = Preference.objects.get()
    assert (wish.user.username, wish.mail) == ("cleo", "none")
    assert web.post("/admin/inbox/preferences/", {"mail": "weekly"}).status_code == 200
    assert Preference.objects.get().mail == "none"
