"""A further kind of request, added as docs/adding.md says: this module is its module, and it is entered in KINDS.

"name": an account is called otherwise once somebody else has said yes.
"""

import pytest
from django.db import DatabaseError, connection, transaction
from governing import NOTED, approved, fresh, kinds_of_events, someone
from overriding import Portfolio

from accounts import corrections
from accounts.models import Account
from core import guards, pages
from core.refusals import Refused
from governance.models import Event, RequestAccount
from governance.signoff import approvals, kinds
from governance.signoff.impact import of_accounts
from segmentation.evaluation import causes
from segmentation.models import Cause

KIND = "name"
NEEDS = kinds.KindOfRequest(__name__, "Name", "A customer is called otherwise.", strict=({"approvals": 2},))
REQUESTS = "/admin/governance/approvalrequest/"


# -- its module


def ask(account, name, *, by, why):
    """Ask that an account gets this name."""
    return approvals.submit(
        KIND,
        key=f"name:{account.pk}",
        subject=f"{account}: to be called {name}",
        content={"accounts": [account.pk], "name": name},
        changes=[f"{account} is called {name}."],
        why=why,
        by=by,
        impact=of_accounts([account.pk]),
    )


def impact(request):
    """How far it reaches today."""
    return of_accounts(request.account_ids())


def carry_out(request, *, by, at):
    """Give it the name."""
    [account] = Account.objects.filter(pk__in=request.account_ids())
    corrections.correct(account, {"name": request.content["name"]}, by=by, reason=request.why)


def decided_against(request, *, verdict, by, reason):
    """Nothing was held for it."""


def address(request):
    """The page of the account."""
    return pages.address("account", *request.account_ids())


GUARD = """
create function demarc_sign_off_name() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if not {schema}.demarc_signed_off('name', jsonb_build_object('accounts', jsonb_build_array(new.id), 'name', new.name)) then
        perform {schema}.demarc_refuse_unsigned('a customer gets a name by an approved request that names it');
    end if;
    return new;
end
$$;
create trigger demarc_sign_off_name before update on accounts_account
    for each row when (old.name <> new.name) execute function demarc_sign_off_name();
"""


# -- what comes of it


@pytest.fixture
def here(really_begun, settings, monkeypatch):
    """The kind is entered and the guards are put in anew, as its migration would; Acme is Carl's, Beta nobody's."""
    settings.GATES = {gate: path for gate, path in settings.GATES.items() if gate != "rules"}
    portfolio = really_begun(Portfolio)
    monkeypatch.setitem(kinds.KINDS, KIND, NEEDS)
    with transaction.atomic(), connection.cursor() as cursor:
        guards.install(guards.render("governance") + GUARD, cursor)
    return portfolio


def test_asked_for_approved_and_carried_out(here):
    request = ask(here.beta, "Beta Group", by=here.olga, why="They have merged")
    assert (request.status, request.needed, request.accounts, request.arr) == (
        "pending",
        {"Approver": 1},
        1,
        5_000,
    )
    assert list(RequestAccount.objects.values_list("request", "account")) == [(request.pk, here.beta.pk)]
    assert approved(request, here.vera).status == "applied"
    written = here.beta.history.first()
    assert (written.name, written.history_user_label, written.history_change_reason) == (
        "Beta Group",
        "vera",
        "They have merged",
    )
    assert kinds_of_events(request) == ["request_opened", "request_approved", "request_applied"]
    assert {event.data["kind"] for event in Event.objects.filter(about="approvalrequest")} == {KIND}


def test_whoever_looks_after_the_account_does_not_decide(here):
    carl = someone("carl", "Approver")
    request = ask(here.acme, "Acme Group", by=here.olga, why="They have merged")
    assert request.owners == [carl.pk]
    with pytest.raises(Refused, match="look after an account"):
        approved(request, carl)


def test_a_no_leaves_the_name(here):
    request = ask(here.beta, "Beta Group", by=here.olga, why="They have merged")
    approvals.reject(request, by=here.vera, seen=approvals.token(request), reason="Not yet")
    assert fresh(here.beta).name == "Beta"


def renamed(account, name):
    """Past the verbs, with a cause of one's own."""
    with transaction.atomic():
        causes.take(Cause.Kind.DECISION, reason="Because")
        Account.objects.filter(pk=account.pk).update(name=name)


def test_nobody_gets_round_it(here):
    approved(ask(here.beta, "Beta Group", by=here.olga, why="They have merged"), here.vera)
    for name in ("Gamma", "Beta"):
        with pytest.raises(DatabaseError, match="a customer gets a name by an approved request"):
            renamed(here.beta, name)


def test_the_pages_show_it(here, client):
    request = ask(here.beta, "Beta Group", by=here.olga, why="They have merged")
    client.force_login(here.vera)
    assert b"Beta: to be called Beta Group" in client.get(REQUESTS).content
    page = client.get(f"{REQUESTS}{request.pk}/change/").content
    assert b"Beta is called Beta Group." in page
    assert b"Name \xc2\xb7 requested by" in page
    assert address(request).encode() in page
    [waits] = [one for one in client.get(address(request)).context["next"] if one["title"] == request.subject]
    assert waits["text"] == "Waiting for approval."
    sent = {"verb": "approve", "seen": approvals.token(request)}
    assert b"Approved, and done." in client.post(f"{REQUESTS}{request.pk}/change/", sent, follow=True).content
    policies = client.get("/admin/governance/approvalpolicy/").content
    assert b"A customer is called otherwise." in policies


def test_of_a_kind_there_is_not_nobody_asks(real_db, monkeypatch):
    monkeypatch.setitem(kinds.KINDS, "gift", NOTED)
    with pytest.raises(Refused, match="no such kind of request"):
        approvals.submit(
            "gift", key="1", subject="A gift", content={}, changes=[], why="Because", by=someone("ops"), impact=of_accounts([])
        )  # fmt: skip
