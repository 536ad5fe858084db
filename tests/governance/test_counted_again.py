"""An amount is counted again at the decision and before it is carried out: the stricter wins, nobody is taken off."""

from datetime import timedelta
from decimal import Decimal

import pytest
from crossing import TODAY, crossed, make_team, text, web
from crossing import fresh as fresh_change
from databases import unsigned
from governing import approved, fresh, policy, someone
from overriding import Portfolio
from segmenting import change

from accounts.models import Subscription
from core.money import Money
from governance.changes import followup, transition_requests, transitions
from governance.models import Event
from governance.signoff import due
from governance.signoff.impact import of_accounts

M = 1_000_000


@pytest.fixture(autouse=True)
def rules_as_they_come(settings):
    settings.GATES, settings.AFTER_RUN = {}, []


@pytest.fixture
def here(begun):
    return begun(counted)


def counted():
    found = Portfolio(policy="approval")
    policy("override", "Approver", only=True)
    policy("override", "Finance", min_arr=M)
    return found


def of(request):
    return f"/admin/governance/approvalrequest/{request.pk}/change/"


def sold(account, arr, currency, **columns):
    """A contract that runs these days."""
    columns = {"start_date": TODAY - timedelta(days=30)} | columns
    return Subscription.objects.create(
        account=account, subscription_id=f"{currency}{arr}", arr=arr, currency=currency, **columns
    )


def test_the_approver_alone_does_not_apply_what_finance_has_a_say_in_by_now(here):
    change(here.beta, arr=900_000)
    request = here.ask(here.beta, segment="low")
    assert request.needed == {"Approver": 1}
    change(here.beta, arr=1_300_000)  # as an import does
    page = text(web(here.vera).get(of(request)))
    assert "It reaches further than when it was counted last." in page
    assert "1 account, $900,000 ARR" in page
    assert "1 account, $1,300,000 ARR. By that Finance has a say too." in page
    request = approved(request, here.vera)
    assert (request.status, request.needed) == ("pending", {"Approver": 1, "Finance": 1})
    told = Event.objects.get(kind="request_recounted", about_id=request.pk)
    assert "$900,000 ARR" in told.reason
    assert "$1,300,000 ARR" in told.reason
    page = text(web(here.vera).get(of(request)))
    assert "When it was asked for" in page
    assert "When somebody decided" in page
    change(here.beta, arr=1)  # nobody who is needed is taken off
    assert approved(request, someone("fay", "Finance")).status == "applied"
    assert fresh(request).needed == {"Approver": 1, "Finance": 1}


@pytest.fixture
def team(begun):
    return begun(team_with_finance)


def team_with_finance():
    found = make_team()
    policy("tier_change", "Finance", min_arr=M)
    return found


def down(team, renewal, **names):
    """Tier changes down that wait for the renewal, planned."""
    rows = crossed(
        team,
        **{
            name: (400_000, 50_000, {"renewal_date": renewal if day else None}) for name, day in names.items()
        },
    )
    return [transitions.plan(row, by=team.ops, receiver=team.erik) for row in rows.values()]


def grow(one, arr):
    """Its contract is another one: the rules say the same of it still."""
    return Subscription.objects.create(
        account=one.account, subscription_id="more", arr=arr, currency="GBP", start_date=TODAY
    )


def test_what_is_approved_for_a_later_day_is_counted_again_before_it(team):
    renewal = TODAY + timedelta(days=40)
    [one] = down(team, renewal, acme=True)
    request = approved(transition_requests.ask([one], by=team.ops, why="Smaller"), team.vera)
    assert (request.status, request.needed) == ("approved", {"Approver": 1})
    due.apply_due(request.requested_at)
    assert fresh(request).status == "approved"
    grow(one, 990_000)
    due.apply_due(request.requested_at + timedelta(days=1))  # not on its day, when it would be late
    request = fresh(request)
    assert (request.status, request.needed) == ("pending", {"Approver": 1, "Finance": 1})
    assert [entry["when"] for entry in request.measured] == ["asked", "waiting"]
    assert approved(request, someone("fay", "Finance")).status == "approved"


def test_so_is_one_of_several_whose_day_comes_after_the_others(team):
    """The request is carried out for the first: what it needs stays written, and the later one is not started."""
    renewal = TODAY + timedelta(days=40)
    rows = down(team, renewal, now=False, later=True)
    request = approved(transition_requests.ask(rows, by=team.ops, why="Smaller"), team.vera)
    assert request.status == "applied"
    later = next(row for row in rows if row.account.external_id == "later")
    assert fresh_change(later).status == "awaiting"
    grow(later, 990_000)
    with unsigned():
        followup.start_due(renewal)
    assert fresh_change(later).status == "planned"
    reason = Event.objects.filter(about="transition", about_id=later.pk).latest("pk").reason
    assert reason.startswith("It reaches further than what was approved.")
    assert "By that Finance has a say too." in reason


# -- several currencies


def test_a_contract_in_another_currency_reaches_every_threshold(here):
    """On an account of ours, whether or not its ARR was imported; both amounts are told."""
    sold(here.beta, 990_000, "GBP")
    request = here.ask(here.beta, segment="low")
    assert (request.needed, request.arr) == ({"Approver": 1, "Finance": 1}, 5_000)
    assert request.money == Money({"USD": Decimal(5_000), "GBP": Decimal(990_000)})
    page = text(web(here.vera).get(of(request)))
    assert "$5K + £990K (mixed)" in page
    assert "$5K + £990K (mixed)" in text(web(here.vera).get("/admin/governance/approvalrequest/"))


def test_also_when_it_was_taken_away_just_before_asking(here):
    contract = sold(here.beta, 990_000, "GBP")
    contract.end_date = TODAY - timedelta(days=1)
    contract.status = "expired"
    contract.save()
    counted = of_accounts([here.beta.pk])
    assert (counted.foreign, counted.others) == (True, Money())
    assert here.ask(here.beta, segment="low").needed == {"Approver": 1, "Finance": 1}


def test_a_trial_or_what_has_ended_is_no_money(here):
    sold(here.beta, 990_000, "GBP", status="trial")
    sold(here.beta, 990_000, "EUR", start_date="2020-01-01", end_date="2021-01-01")
    assert here.ask(here.beta, segment="low").needed == {"Approver": 1}


def test_pieces_of_one_request_reach_as_far_as_one_of_them(here):
    """Pieces are told of as one request; one of them in another currency makes all of it that."""
    sold(here.beta, 9_000, "GBP")
    here.ask(here.beta, segment="low")
    page = text(web(here.vera).get(of(here.ask(here.acme))))
    assert "has asked for 2 requests of this kind within 7 days" in page
    assert "Finance" in page


def test_an_edit_keeps_what_another_currency_had_asked_for(here):
    contract = sold(here.beta, 990_000, "GBP")
    request = here.ask(here.beta, segment="low")
    contract.delete()
    assert approved(request, here.vera).needed == {"Approver": 1, "Finance": 1}
