"""Why: the same numbers everywhere, contributions that add up, and the right answer for any date."""

import json
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from segmenting import BY_ARR, DAY, RULES, account, activate, change, layer_with, portfolio, recompute

from accounts.models import Account
from core.refusals import Refused
from segmentation.authoring import versions
from segmentation.evaluation import causes, decisions
from segmentation.models import Assignment, Cause, Layer, Move, Segment
from segmentation.reading import explain
from segmentation.rules import reasons


@pytest.fixture
def layer(db):
    """A layer, and somebody about whom everything is known."""
    layer = layer_with()
    account("crowd", arr=60_000, employees=500, usage={"nps": 20, "tickets_90d": 3})
    return layer


def told(one, layer=None, **options):
    """The explanation, having been through JSON."""
    return json.loads(json.dumps(explain.explain(one, layer, **options)))


def command(*arguments):
    out = StringIO()
    call_command("explain", *arguments, stdout=out)
    return out.getvalue()


def row(why, key):
    [found] = [one for group in why["dimensions"] for one in group["criteria"] if one["key"] == key]
    return found


def test_now(layer):
    acme = account(
        name="Acme",
        arr=120_000,
        employees=500,
        provenance={"arr": ["billing", "2026-05-22"]},
        usage={"nps": 10},
    )
    recompute()
    why = told(acme)
    assert (why["account"], why["layer"]["key"]) == ({"external_id": "acme", "name": "Acme"}, "tier")
    assert (why["as_of"], why["definition"]) == ("2026-06-01", {"version": 1})
    assert (why["computed_segment"], why["effective_segment"], why["differs"]) == ("low", "low", None)
    # worth (5 + 4) / 2 = 4.5, behaviour (3 + 3) / 2 = 3
    assert (why["composite"], why["composite_shown"]) == ("3.750000000000", "3.75")
    assert row(why, "arr") == {
        "key": "arr",
        "name": "ARR",
        "fact": "arr",
        "layer": None,
        "value": "120000.00",
        "value_shown": "$120,000",
        "source": "billing",
        "observed": "2026-05-22",
        "age_days": 10,
        "learnt": date.today().isoformat(),  # after the clock
        "cells": ["$100K+", "$50K-$99K", "$25K-$49K", "$10K-$24K", "< $10K"],
        "cell": "$100K+",
        "points": 5,
        "weight": "1",
        "contribution": "1.250000000000",
        "contribution_shown": "1.25",
        "fallback": None,
    }
    assert row(why, "tickets_90d")["fallback"] == {
        "kind": "assume",
        "text": "Not known: counts as 3.",
        "brief": "counts as 3",
    }
    assert (row(why, "tickets_90d")["value"], row(why, "tickets_90d")["points"]) == (None, 3)
    assert why["rule"] == {
        "index": 1,
        "segment": "low",
        "when": "composite >= 2.5",
        "text": "Rule 2: Overall score (3.75) >= 2.5",
    }
    assert [(one["threshold"], one["segment"]) for one in why["boundaries"]] == [
        ("4.000000000000", "high"),
        ("2.500000000000", "low"),
    ]
    assert (why["up"], why["down"], why["distance"]) == ("0.250000000000", "1.250000000000", "0.250000000000")
    assert [(one["gap_shown"], one["segment_name"], one["text"]) for one in why["nearest"].values()] == [
        ("0.25", "High", "High if NPS reached 20."),
        ("1.25", "Tech", "Tech if ARR fell below $10,000 and Tickets, 90 days were 20 or more."),
    ]
    assert why["nearest"]["up"]["ways"] == [
        {
            "segment": "high",
            "segment_name": "High",
            "cells": 1,
            "value": "4.000000000000",
            "steps": [
                {
                    "fact": "nps",
                    "name": "NPS",
                    "value": "10",
                    "value_shown": "10",
                    "verb": "reached",
                    "to": "20",
                    "cells": 1,
                }
            ],
        }
    ]
    assert (why["move"]["cause"], why["move"]["at"], why["move"]["to"]) == ("initial", "2026-06-01", "low")


def test_what_follows_from_subscriptions_has_their_source_and_age(layer):
    acme = account(employees=500, usage={"nps": 10})
    acme.subscriptions.create(
        subscription_id="s1",
        start_date=date(2024, 1, 1),
        arr=90_000,
        source="billing",
        observed=date(2026, 5, 30),
    )
    recompute()
    for why in (told(acme), told(acme, at=DAY)):
        arr = row(why, "arr")
        assert (arr["value_shown"], arr["source"]) == ("$90,000", "billing, subscriptions")
        assert (arr["observed"], arr["age_days"]) == ("2026-05-30", 2)


def test_the_smallest_step_that_is_enough(layer):
    acme = account(arr=120_000, employees=None, usage={"tickets_90d": 3})  # 5 and 4
    other = account("other", arr=30_000, employees=100, usage={"nps": None, "tickets_90d": 0})  # 3 and 5: 4.0
    third = account("third", arr=30_000, employees=100, usage={"tickets_90d": 5})  # 3 and 3
    fourth = account("fourth", arr=10_000, employees=50, usage={"tickets_90d": 5})  # 2 and 3
    recompute()
    assert told(acme)["nearest"]["up"] is None  # at the top
    assert told(other)["nearest"]["up"] is None
    assert nearest(third) == ("1.00", "High if Tickets, 90 days fell below 2.")
    assert nearest(fourth) == ("1.50", "High if Employees reached 500 and Tickets, 90 days fell below 2.")


def nearest(account, layer=None):
    up = told(account, layer)["nearest"]["up"]
    return up["gap_shown"], up["text"]


def test_the_nearest_way_on_a_layer_about_one_fact(layer):
    by_arr, acme = layer_with(BY_ARR, key="arr"), account(arr=45_000)
    recompute()
    assert nearest(acme, by_arr) == ("$55,000", "High if ARR reached $100,000.")
    assert [one["fact"] for one in told(acme, by_arr)["requires"]] == ["arr"]
    assert told(acme, by_arr)["rule"]["text"] == "Rule 2: ARR ($45,000) >= 0"


def test_contributions_add_up(layer):
    """To the composite of 12 decimals, and the shown ones to the shown one; weights are scaled up where a group is left out."""
    thirds = json.loads(json.dumps(RULES))
    thirds["weights"] = {"worth": "0.3333", "behaviour": "0.6667"}
    thirds["dimensions"][0]["criteria"][0]["weight"] = "0.7"
    thirds["dimensions"][1]["criteria"].append(
        {"key": "csat", "cells": ["4+", "3+", "2+", "1+", "< 1"], "missing": "skip"}
    )
    activate(layer, thirds)
    accounts = portfolio(45)
    recompute()
    checked = 0
    for one in accounts:
        why = told(one)
        score = Assignment.objects.get(account=one).score
        assert why["composite"] == (str(score.composite) if score.composite is not None else None)
        if why["composite"] is None:
            continue
        checked += 1
        for shown, composite in (("contribution", "composite"), ("contribution_shown", "composite_shown")):
            groups = [group for group in why["dimensions"] if group[shown] is not None]
            assert sum(Decimal(group[shown]) for group in groups) == Decimal(why[composite])
            for group in groups:
                rows = [one for one in group["criteria"] if one[shown] is not None]
                assert sum(Decimal(one[shown]) for one in rows) == Decimal(group[shown])
        used = [Decimal(group["weight_used"]) for group in why["dimensions"]]
        assert abs(sum(used) - 1) < Decimal("0.000000001")
    assert checked > 30


def test_needs_data(layer):
    acme = account(employees=10, usage={"nps": 0})
    recompute()
    why = told(acme)
    assert (why["computed_segment"], why["effective_segment"], why["composite"]) == (None, None, None)
    assert (why["unsegmented_reason"], why["reason_text"]) == (
        "missing:arr",
        "ARR is not known, and the rules need it.",
    )
    assert (why["rule"], why["nearest"], why["move"]) == (None, {"up": None, "down": None}, None)
    assert row(why, "arr")["fallback"]["kind"] == "needs data"


def test_provisional(layer):
    acme = account(arr=120_000, employees=2_000, contract_start=date(2026, 5, 22))
    recompute()
    why = told(acme)
    assert (why["provisional"], why["provisional_until"]) == (True, "2026-06-21")
    worth, behaviour = why["dimensions"]
    assert (worth["weight"], worth["weight_used"], behaviour["weight_used"]) == ("0.5", "1.000000000000", "0")
    assert behaviour["left_out"] == "Left out: the account is provisional until 21 Jun 2026."
    assert worth["contribution"] == why["composite"]


def test_computed_differs(layer):
    acme = account(arr=120_000, employees=2_000, usage={"nps": 60})
    recompute()
    change(acme, arr=1_000, employees=10)
    recompute(DAY + timedelta(days=3))
    why = told(acme)
    assert (why["computed_segment"], why["effective_segment"]) == ("low", "high")
    assert (why["computed_since"], why["effective_since"]) == ("2026-06-04", "2026-06-01")
    assert why["differs"] == {
        "since": "2026-06-04",
        "text": "The rules give Low; the current segment is High, and it changes when somebody approves it.",
    }


def test_three_dates_under_two_versions(db):
    """--at answers on the facts and under the rules of then, with the move then in force."""
    layer = layer_with(BY_ARR, policy="automatic")
    acme = account(arr=120_000, provenance={"arr": ["crm", "2026-01-10"]})
    recompute(date(2026, 1, 10))
    change(acme, arr=45_000, seen=date(2026, 2, 10))
    recompute(date(2026, 2, 10))
    activate(
        layer,
        {"rules": [{"segment": "high", "when": "arr >= 40000"}, {"segment": "tech"}]},
        reason="Lower bar",
    )
    recompute(date(2026, 3, 10))
    change(acme, arr=7, name="Renamed", seen=date(2026, 4, 2))
    answers = []
    for day in (date(2026, 1, 31), date(2026, 2, 10), date(2026, 4, 1)):
        why = told(acme, at=day)
        answers.append(
            (
                why["as_of"],
                why["effective_segment"],
                why["computed_segment"],
                why["move"]["cause"],
                why["definition"]["version"],
                why["requires"][0]["value"],
                why["rule"]["when"],
            )
        )
    assert answers == [
        ("2026-01-31", "high", "high", "initial", 1, "120000.00", "arr >= 100000"),
        ("2026-02-10", "tech", "tech", "data", 1, "45000.00", "arr >= 0"),
        ("2026-04-01", "high", "high", "definition", 2, "45000.00", "arr >= 40000"),
    ]
    assert told(acme)["requires"][0]["value"] == "7.00"  # now
    with pytest.raises(Refused, match="Nothing was known of acme on 9 Jan 2026: the first is of 10 Jan 2026"):
        explain.explain(acme, at=date(2026, 1, 9))


def test_a_late_correction_is_in_force_from_its_date(db):
    """In force on a date: the last written move dated on or before it."""
    layer_with(BY_ARR, policy="automatic")
    acme = account(arr=120_000)
    recompute(date(2026, 3, 1))
    with transaction.atomic():  # written later, dated earlier
        causes.take(Cause.Kind.DECISION, reason="It was so from February on")
        tech = Segment.objects.get(key="tech")
        decisions.put(acme, tech.layer, tech, why=Move.Why.CORRECTION, at=date(2026, 2, 1))
    assert told(acme, at=date(2026, 3, 15))["effective_segment"] == "tech"
    assert told(acme, at=date(2026, 2, 15))["effective_segment"] == "tech"


def test_the_last_day_is_today_for_every_kind_of_value(db):
    """On the day of the last recalculation --at says what plain explain says, on every ready segmentation."""
    versions.load_presets()
    accounts = portfolio(6)
    texts = {
        "industry": "SaaS, Cloud",
        "growth_stage": "growth",
        "strategic_importance": '"standard"',
        "country": "",
    }
    Account.objects.update(**texts, provenance={key: ["crm", DAY.isoformat()] for key in texts})
    recompute()
    for one in Account.objects.filter(pk__in=[each.pk for each in accounts]):
        for layer in Layer.objects.filter(definitions__status="active"):
            assignment = Assignment.objects.get(account=one, layer=layer)
            if assignment.effective:
                then, now = told(one, layer, at=DAY), told(one, layer)
                evidence = {row["key"]: row for row in then.pop("evidence")["facts"]}
                assert now.pop("evidence") is None
                assert then == now
                assert not [row for row in evidence.values() if row["differs"]]
                for row in then["requires"]:
                    if row["value"] is not None:
                        assert evidence[row["key"]]["value_shown"] == row["value_shown"]


def test_who_is_not_scored_and_what_cannot_be_read(layer):
    from django.db import connection

    acme = account(arr=1, usage={"nps": 1}, status="churned")
    bad = account("bad", arr=1)
    with connection.cursor() as cursor:
        cursor.execute("update accounts_account set arr = 'NaN' where id = %s", [bad.pk])
    recompute()
    assert told(acme)["scope"].startswith("The rules are not applied to this account (customer, churned)")
    with pytest.raises(Refused, match="The data of bad cannot be evaluated"):
        explain.explain(bad)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("missing:nps", "NPS is not known, and the rules need it."),
        ("no facts:worth", "Nothing is known for the score group Worth."),
        (
            "currency:EUR",
            "Its money is in EUR, not in the organisation's currency (Settings: currency); amounts are not converted yet.",
        ),
        ("overflow:1", "A number in rule 2 is too large to be compared."),
        ("no rule", "No rule applies."),
        ("", ""),
    ],
)
def test_reasons(code, text):
    assert reasons.text(code) == text


# -- the command


def test_the_command_tells_the_same(layer):
    acme = account(name="Acme", arr=120_000, employees=500, usage={"nps": 10})
    recompute()
    assert json.loads(command("acme", "--json")) == told(acme)
    assert json.loads(command("Acme", "--json", "--layer", "tier", "--at", "2026-06-01")) == told(
        acme, at=DAY
    )
    text = command("acme")
    for part in (
        "Acme (acme) on Tier",
        "$120,000",
        "Not known: counts as 3.",
        "3.75",
        "0.25 away: High if NPS reached 20.",
        "First segment",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["nobody"], "no account with the ID or name 'nobody'.$"),
        (["twin"], r"name 'twin'. Did you mean one \(Twin\) or two \(Twin\)\?"),
        (["ACME"], r"Did you mean acme\?"),
        (["Twin"], r"Several accounts are called 'Twin' \(such as one, two\)"),
        (["acme", "--layer", "nope"], "There is no segmentation 'nope'. There are: tier"),
        (["acme", "--layer", "teir"], "Did you mean 'tier'?"),
        (["acme", "--at", "yesterday"], "'yesterday' is not a date"),
        (
            ["acme", "--at", "2020-01-01"],
            "Nothing was known of acme on 1 Jan 2020: the first is of 30 May 2026",
        ),
    ],
)
def test_the_command_refuses(layer, arguments, refusal):
    account(provenance={"arr": ["crm", "2026-05-30"]}, arr=5)
    account("one", name="Twin"), account("two", name="Twin")
    with pytest.raises(CommandError, match=refusal):
        command(*arguments)
