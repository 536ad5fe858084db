"""Tokens of programs: who may come, as whom, and what a program never does."""

import re
from datetime import timedelta

import pytest
from calling import Caller, by_session, by_token, calling, problem, program, token_of
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from governing import deactivated, policy, request_of, someone
from refusing import refused
from segmenting import account, layer_with

from accounts.models import Account, Conflict, Refusal
from core.history import acting
from core.models import ServiceUser, Token
from governance.models import ApprovalRequest, Decision, Event, Transition
from governance.signoff import approvals, delegations, people, tokens
from governance.signoff.deciders import Desk
from segmentation.evaluation import causes
from segmentation.models import Cause, Declaration


@pytest.fixture
def ada(db):
    return someone("ada", "Administrator", is_staff=True)


# -- who may come


@pytest.mark.parametrize(
    "header", ["", "Basic abc", "Bearer", "Bearer dmc_", "Bearer dmc_k00001.x", "Bearer nonsense"]
)
def test_without_a_token_that_is_known_nobody_is_let_in(db, header):
    token_of(program("Integration"))
    answer = Caller(Client(), {"Authorization": header} if header else {}).get("accounts")
    problem(answer, 401, "credentials_wrong" if header else "credentials_missing")
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_a_token_lets_its_program_in_with_the_rights_of_its_roles(db):
    account("acme")
    caller = calling("Integration")
    assert [row["external_id"] for row in caller.get("accounts").json()["results"]] == ["acme"]
    problem(caller.get("overrides"), 403, "not_allowed")
    problem(calling(name="no-role").get("accounts"), 403, "not_allowed")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"revoked_at": timezone.now()}, "This token is revoked."),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "This token is expired."),
    ],
)
def test_a_token_that_has_ended_lets_nobody_in(db, columns, said):
    _, text = token_of(program("Integration"), **columns)
    assert problem(by_token(text).get("accounts"), 401, "credentials_wrong")["detail"] == said


def test_a_program_whose_login_is_closed_does_not_come_in(db):
    user = program("Integration")
    _, text = token_of(user)
    deactivated(user)
    problem(by_token(text).get("accounts"), 401, "credentials_wrong")


@pytest.mark.parametrize(
    ("networks", "address", "lets_in"),
    [
        (["10.0.0.0/8"], "10.2.3.4", True),
        (["10.0.0.0/8"], "192.0.2.7", False),
        (["10.0.0.0/8", "192.0.2.7/32"], "192.0.2.7", True),
        (["2001:db8::/32"], "2001:db8:1::5", True),
        (["2001:db8::/32"], "10.0.0.1", False),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", True),
        (["10.0.0.0/8"], "", False),
    ],
)
def test_a_token_may_be_for_some_networks_only(db, networks, address, lets_in):
    _, text = token_of(program("Integration"), networks=networks)
    answer = by_token(text, REMOTE_ADDR=address).get("accounts")
    if lets_in:
        assert answer.status_code == 200
    else:
        problem(answer, 403, "token_network")


def test_the_address_is_believed_to_a_declared_proxy_only(db, settings):
    _, text = token_of(program("Integration"), networks=["10.0.0.0/8"])
    forged = {"X-Forwarded-For": "10.0.0.1"}
    problem(by_token(text, REMOTE_ADDR="192.0.2.7").get("accounts", headers=forged), 403, "token_network")
    settings.ADDRESS_HEADER = "X-Forwarded-For"
    behind = by_token(text, REMOTE_ADDR="127.0.0.1")
    assert behind.get("accounts", headers=forged).status_code == 200
    invented = {"X-Forwarded-For": "10.0.0.1, 192.0.2.7"}
    problem(behind.get("accounts", headers=invented), 403, "token_network")


def test_when_and_from_where_a_token_was_used_is_noted(db):
    token, text = token_of(program("Integration"))
    by_token(text, REMOTE_ADDR="192.0.2.7").get("accounts")
    token.refresh_from_db()
    assert (token.last_used_from, token.last_used_at is not None) == ("192.0.2.7", True)
    assert Token.history.count() == 1  # of its making: use is no change


def test_a_token_that_reads_changes_nothing(db):
    caller = calling("Integration", writes=False)
    assert caller.get("accounts").status_code == 200
    body = {"source": "crm", "rows": [{"external_id": "acme"}]}
    problem(caller.post("accounts/bulk", body), 403, "token_reads_only")
    assert not Account.objects.exists()


def test_a_person_comes_by_their_session_and_changes_something_with_the_csrf_token_only(db):
    ops = someone("ops", "CS Ops", is_staff=True)
    caller = by_session(ops, enforce_csrf_checks=True)
    assert caller.get("accounts").status_code == 200
    problem(caller.post("products", {"key": "app"}), 403, "csrf_failed")
    caller.client.get("/admin/login/")
    caller.client.cookies["csrftoken"] = "a" * 32
    answer = caller.post("products", {"key": "app"}, headers={"X-CSRFToken": "a" * 32})
    assert answer.status_code == 201


def test_a_program_leaves_no_session_behind(db):
    answer = calling("CS Ops").post("products", {"key": "app"})
    assert (answer.status_code, dict(answer.cookies)) == (201, {})


# -- what is kept


def test_history_events_and_refusals_say_which_token_it_was(db, noted):
    acme = account("acme", name="Acme")
    user = program("CS Ops")
    token, text = token_of(user)
    caller = by_token(text)
    tag = caller.get(f"accounts/{acme.pk}")["ETag"]
    body = {"name": "Acme Inc", "reason": "They say so"}
    assert caller.patch(f"accounts/{acme.pk}", body, headers={"If-Match": tag}).status_code == 200
    row = acme.history.latest()
    said = (row.history_user_id, row.history_user_label, row.history_channel, row.history_change_reason)
    assert said == (user.pk, f"crm-sync (token {token.key})", "api", "They say so")
    request = request_of(someone("olga", "CS Ops"))
    problem(
        caller.post(f"approval-requests/{request.pk}/approve", {"seen": approvals.token(request)}),
        403,
        "program_decides_nothing",
    )
    refusal = Refusal.objects.get()
    assert (refusal.actor_label, refusal.channel, refusal.verb) == (
        f"crm-sync (token {token.key})",
        "api",
        "approvals.approve",
    )
    assert Decision.objects.count() == 0


# -- in the admin


@pytest.fixture
def web(ada):
    client = Client()
    client.force_login(ada)
    return client


def new_program(web, name="warehouse"):
    answer = web.post(
        reverse("admin:core_serviceuser_new"), {"name": name, "purpose": "Reads segments every night"}
    )
    assert answer.status_code == 302, answer.content
    return ServiceUser.objects.get(user__username=name)


def made_token(web, service, **sent):
    page = reverse("admin:core_serviceuser_page", args=[service.pk])
    seen = re.search(r'name="seen" value="([^"]*)"', web.get(page).content.decode())[1]
    body = {"verb": "make", "name": "Nightly", "networks": "", "seen": seen, **sent}
    return web.post(page, body)


def test_an_administrator_makes_a_program_and_a_token_that_is_told_once(web):
    service = new_program(web)
    answer = made_token(web, service, writes="on")
    text = re.search(r"dmc_[a-z0-9]+\.[\w-]+", answer.content.decode())[0]
    assert "no-store" in answer["Cache-Control"]
    page = web.get(reverse("admin:core_serviceuser_page", args=[service.pk])).content.decode()
    assert text not in page
    assert text.partition(".")[0] in page
    token = Token.objects.get()
    assert text.partition(".")[2] not in token.hash
    assert not service.user.has_usable_password()
    assert {"program_made", "token_made"} <= set(Event.objects.values_list("kind", flat=True))
    problem(by_token(text).get("accounts"), 403, "not_allowed")  # no role yet
    someone("warehouse", "Integration")
    assert by_token(text).get("accounts").status_code == 200


def test_a_second_click_makes_no_second_token(web):
    service = new_program(web)
    made_token(web, service)
    answer = made_token(web, service, seen="0")
    assert answer.status_code == 409
    assert Token.objects.count() == 1


def test_a_new_secret_makes_the_old_one_worthless_and_revoking_both(web):
    service = new_program(web)
    someone("warehouse", "Integration")
    old = re.search(r"dmc_[a-z0-9]+\.[\w-]+", made_token(web, service).content.decode())[0]
    page, token = reverse("admin:core_serviceuser_page", args=[service.pk]), Token.objects.get()
    answer = web.post(page, {"verb": "rotate", "token": token.pk, "reason": ""})
    new = re.search(r"dmc_[a-z0-9]+\.[\w-]+", answer.content.decode())[0]
    problem(by_token(old).get("accounts"), 401, "credentials_wrong")
    assert by_token(new).get("accounts").status_code == 200
    answer = web.post(page, {"verb": "revoke", "token": token.pk, "reason": ""})
    assert (answer.status_code, "Say why" in answer.content.decode()) == (409, True)
    assert web.post(page, {"verb": "revoke", "token": token.pk, "reason": "Lost"}).status_code == 302
    problem(by_token(new).get("accounts"), 401, "credentials_wrong")
    assert [row.history_type for row in Token.history.order_by("history_id")] == ["+", "~", "~"]
    assert {"token_rotated", "token_revoked"} <= set(Event.objects.values_list("kind", flat=True))


@pytest.mark.parametrize("role", ["CS Ops", "Auditor", "Integration", "Approver"])
def test_only_administrators_make_programs_and_tokens(web, role):
    service = new_program(web)
    other = Client()
    other.force_login(someone("otto", role, is_staff=True))
    assert other.post(reverse("admin:core_serviceuser_new"), {"name": "x", "purpose": "y"}).status_code == 403
    assert made_token_status(other, service) == 403
    assert Token.objects.count() == 0


def made_token_status(client, service):
    page = reverse("admin:core_serviceuser_page", args=[service.pk])
    return client.post(page, {"verb": "make", "name": "x", "networks": "", "seen": "0"}).status_code


def test_nobody_sets_a_password_for_a_program(web):
    service = new_program(web)
    assert web.get(reverse("admin:auth_user_password_change", args=[service.user_id])).status_code == 403
    sent = {"usable_password": "true", "password1": "correct horse 1", "password2": "correct horse 1"}
    assert (
        web.post(reverse("admin:auth_user_password_change", args=[service.user_id]), sent).status_code == 403
    )


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"name": ""}, "token_name_missing"),
        ({"networks": ["10.0.0.0/99"]}, "network_unreadable"),
        ({"networks": [f"10.0.{number}.0/24" for number in range(21)]}, "too_many_networks"),
        ({"expires_on": timezone.localdate() + timedelta(days=400)}, "token_day_unfit"),
        ({"seen": "7"}, "token_stale"),
    ],
)
def test_what_no_token_is_made_of(ada, sent, code):
    user = program("Integration")
    with refused(code):
        tokens.make(user, **{"by": ada, "name": "x"} | sent)


def test_the_limits_of_programs(ada):
    user = program("Integration")
    for _ in range(tokens.MOST):
        token, _ = tokens.make(user, by=ada, name="x")
    with refused("too_many_tokens"):
        tokens.make(user, by=ada, name="x")
    tokens.revoke(token, by=ada, reason="Lost")
    with refused("token_revoked_already"):
        tokens.rotate(token, by=ada)
    with refused("no_program"):
        tokens.make(ada, by=ada, name="x")
    with refused("program_name_taken"):
        tokens.make_user("ADA", by=ada, purpose="x")
    with refused("program_name_unfit"):
        tokens.make_user("ä b", by=ada, purpose="x")
    with refused("program_purpose_missing"):
        tokens.make_user("other", by=ada, purpose=" ")
    with refused("people_not_allowed"):
        tokens.make(user, by=someone("otto", "CS Ops"), name="x")
    with refused("program_decides_nothing"):
        tokens.make(user, by=program("Administrator", name="rogue"), name="x")
    deactivated(user)
    with refused("login_closed"):
        tokens.make(User.objects.get(pk=user.pk), by=ada, name="x")


# -- a program never decides, signs or completes


@pytest.fixture
def waiting(db):
    """A request that waits for an Approver, and a program that somehow has that role."""
    policy("override", "Approver", only=True)
    user = program("Approver", "CS Ops", name="rogue")
    return request_of(someone("olga", "CS Ops")), user


def test_a_program_decides_nothing_whatever_its_role(noted, waiting):
    request, user = waiting
    with refused("program_decides_nothing"):
        approvals.approve(request, by=user, seen=approvals.token(request))
    caller = by_token(token_of(user)[1])
    for verb in ("approve", "reject", "ask-changes"):
        body = {"seen": approvals.token(request)} | ({} if verb == "approve" else {"reason": "No"})
        problem(caller.post(f"approval-requests/{request.pk}/{verb}", body), 403, "program_decides_nothing")
    assert Decision.objects.count() == 0
    assert Desk([request]).could_approve(request) == set()


def test_a_person_decides_through_the_api_with_their_session(noted, waiting):
    request, _ = waiting
    caller = by_session(someone("vera", "Approver"))
    read = caller.get(f"approval-requests/{request.pk}").json()
    answer = caller.post(f"approval-requests/{request.pk}/approve", {"seen": "1:other"})
    assert answer.status_code == 409
    answer = caller.post(f"approval-requests/{request.pk}/approve", {"seen": read["token"]})
    assert (answer.status_code, answer.json()["status"]) == (200, "applied")


NEVER = "a program never decides, signs or completes"


def refused_by_the_database(sentence, sql, *values, by=None):
    """Hold that the database refuses it with this sentence, in a transaction whose cause is in somebody's name."""

    def execute():
        with transaction.atomic(), acting(by=by, label="" if by else "tests"), connection.cursor() as cursor:
            causes.take(Cause.Kind.DECISION)
            cursor.execute(sql, values)
            cursor.execute("set constraints all immediate")

    with pytest.raises(DatabaseError, match=sentence):
        execute()


def test_the_database_refuses_the_decision_of_a_program(real_db, noted):
    policy("override", "Approver", only=True)
    user, vera = program("Approver", name="rogue"), someone("vera", "Approver")
    request = request_of(someone("olga", "CS Ops"))
    sql = """insert into governance_decision (request_id, verdict, role, "by", by_label, on_behalf_of_label, hash, revision,
                                              reason, at)
             values (%s, 'approve', 'Approver', %s, 'x', '', %s, 1, '', now())"""
    refused_by_the_database(NEVER, sql, request.pk, user.pk, request.hash)
    refused_by_the_database(NEVER, sql, request.pk, vera.pk, request.hash, by=user)
    assert Decision.objects.count() == 0
    approvals.approve(request, by=vera, seen=approvals.token(request))


def test_the_approval_of_one_who_became_a_program_does_not_count(noted, waiting):
    request, _ = waiting
    policy("override", "Approver", 2, only=True)
    request = request_of(someone("olga", "CS Ops"), key="override:2")
    vera = someone("vera", "Approver")
    approvals.approve(request, by=vera, seen=approvals.token(request))
    assert Desk([request]).given(request)["Approver"] == {vera.pk}
    with transaction.atomic():
        causes.take(Cause.Kind.DECISION)
        ServiceUser.objects.create(user=vera, purpose="So it was all along")
    assert Desk([request]).given(request)["Approver"] == set()


def test_the_database_refuses_hand_overs_declarations_and_conflicts_by_a_program(real_db, settings):
    settings.GATES = {}
    user, layer, acme = program("CS Ops"), layer_with(), account("acme", arr=120_000, employees=2_000)
    high, tech = layer.segments.get(key="high"), layer.segments.get(key="tech")
    today, said = timezone.localdate(), {"account": acme, "layer": layer}
    with transaction.atomic(), acting(label="tests"):
        causes.take(Cause.Kind.DECISION)
        conflict = Conflict.objects.create(
            account=acme, fact="industry", proposed_source="crm", proposed_observed=today
        )
        declaration = Declaration.objects.create(**said, segment=high, reason="x", from_date=today)
        change = Transition.objects.create(
            **said, from_segment=high, to_segment=tech, direction="down", crossed_on=today
        )
    for table, row, columns in (
        (
            "accounts_conflict",
            conflict,
            "status = 'taken', decided_by_label = 'x', note = 'x', decided_at = now(), decided_by",
        ),
        ("segmentation_declaration", declaration, "status = 'confirmed', decided_at = now(), decided_by"),
    ):
        refused_by_the_database(NEVER, f"update {table} set {columns} = %s where id = %s", user.pk, row.pk)
    with connection.cursor() as cursor:  # where it goes from flagged, which the guard before this one refuses
        cursor.execute("drop trigger demarc_guard_transition on governance_transition")
    done = """update governance_transition set status = 'done', ended_at = now(), joint_from = now(), joint_until = now(),
                     ended_by = %s where id = %s"""
    refused_by_the_database(NEVER, done, user.pk, change.pk)
    refused_by_the_database(NEVER, done, None, change.pk, by=user)


def test_a_program_stays_one_and_stands_in_for_nobody(real_db):
    user, vera = program("CS Ops"), someone("vera", "Approver")
    token_of(user, revoked_at=timezone.now())
    for sentence, change in (
        ("tokens are revoked, not deleted", "delete from core_token"),
        (
            "who is a program stays one",
            "delete from core_serviceuser where user_id not in (select user_id from core_token)",
        ),
        ("a token that was revoked stays so", "update core_token set revoked_at = null"),
        ("a token that was revoked stays so", "update core_token set expires_at = now() + interval '9 days'"),
        ("a token keeps its key", "update core_token set key = 'other'"),
        ("no program is a superuser", "update auth_user set is_superuser = true"),
        ("core_historicaltoken is append-only", "update core_historicaltoken set name = 'x'"),
        ("core_change is append-only", "delete from core_change"),
        ("core_change is append-only", "update core_change set size = 7"),
    ):
        program(name="bare")
        if "core_change" in change:
            account(f"acme-{change[:6]}")
        refused_by_the_database(sentence, change)
    today = timezone.localdate()
    with refused("program_decides_nothing"):
        delegations.enter(vera, by=vera, delegate=user, from_date=today, until_date=today)
    insert = """insert into governance_delegation (absent_id, delegate_id, from_date, until_date, reason)
                values (%s, %s, current_date, current_date, '')"""
    refused_by_the_database(NEVER, insert, vera.pk, user.pk)


def test_a_program_gets_no_role_whose_people_decide(db, ada):
    user = program()
    with refused("role_unfit_for_program"):
        people.ask(user, by=ada, why="It is fast", add=["Approver"])
    assert (
        people.ask(user, by=ada, why="It syncs", add=["Integration"]).status == ApprovalRequest.Status.PENDING
    )


def test_a_person_who_leaves_takes_their_tokens_along(db, ada):
    user = program("Integration")
    token_of(user)
    people.delete(user, by=ada)
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate")
    assert not Token.objects.exists()
    assert Token.history.exists()
