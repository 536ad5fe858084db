"""Steps that the page of a finished recalculation offers, to whom, with the numbers of the pages they lead to."""

from datetime import timedelta

import pytest
from crossing import DAY, TODAY, crossed, make_team, web
from segmenting import account, change, layer_with, recompute

from accounts.models import Account
from governance.changes import followup
from segmentation.models import Run

RUN = "/admin/segmentation/run/"


@pytest.fixture
def team(begun, settings):
    settings.GATES, settings.AFTER_RUN = {}, []
    return begun(make_team)


def page(user, run):
    return web(user).get(f"{RUN}{run.pk}/change/").content.decode()


def last():
    return Run.objects.order_by("pk").last()


def test_cs_ops_goes_to_triage_and_others_to_the_board(team):
    crossed(team, a=(50_000, 120_000), b=(60_000, 130_000))
    offered = page(team.ops, last())
    assert "2 tier changes wait for triage on Tier." in offered
    assert "Flagged, or brought up to date, by this recalculation." in offered
    assert (
        '<a class="btn primary" href="/admin/governance/transition/triage/?layer=tier">Triage</a>' in offered
    )
    others = page(team.vera, last())
    assert '"/admin/governance/transition/board/?layer=tier">Open the board</a>' in others
    assert "triage/?layer=tier" not in others


def test_it_says_which_of_them_are_its_own(team):
    crossed(team, a=(50_000, 120_000), b=(60_000, 60_000))
    change(Account.objects.get(external_id="b"), arr=130_000)
    recompute(DAY + timedelta(days=2))
    followup.follow_ended()
    assert "1 of them flagged, or brought up to date, by this recalculation." in page(team.ops, last())
    recompute(DAY + timedelta(days=3))
    followup.follow_ended()
    assert "Flagged by earlier recalculations; this one added none." in page(team.ops, last())


def test_accounts_without_data_are_the_next_step_where_nothing_is_flagged(team):
    account("a", arr=None)
    account("b", arr=None)
    account("c", arr=120_000)
    run = recompute()
    offered = page(team.ops, run)
    assert "2 accounts need data on Tier." in offered
    assert '"/admin/accounts/account/?state=needs-data">Look at them</a>' in offered
    listed = web(team.ops).get("/admin/accounts/account/?state=needs-data")
    assert listed.context["cl"].result_count == 2


def test_with_nothing_to_do_it_leads_to_the_accounts(team):
    account("c", arr=120_000)
    offered = page(team.ops, recompute(TODAY))
    assert "Nothing of this waits for anybody" in offered
    assert '<a class="btn primary" href="/admin/accounts/account/">Accounts</a>' in offered


def test_only_its_own_segmentations_count_and_only_once_it_is_finished(team):
    crossed(team, a=(50_000, 120_000))
    size = layer_with({"rules": [{"segment": "high", "when": "arr >= 0"}]}, key="size", policy="automatic")
    run = recompute(DAY + timedelta(days=2), layers=[size])
    assert "for triage on Tier" not in page(team.ops, run)
    Run.objects.filter(pk=run.pk).update(status="failed")
    assert "What to do next" not in page(team.ops, run)


def test_as_many_questions_to_the_database_for_many(team, django_assert_max_num_queries):
    taken = []
    for names in ("ab", "cdefgh"):
        crossed(team, **dict.fromkeys(names, (50_000, 120_000)))
        page(team.ops, last())
        with django_assert_max_num_queries(60) as queries:
            page(team.ops, last())
        taken.append(len(queries))
    assert taken[0] == taken[1]
