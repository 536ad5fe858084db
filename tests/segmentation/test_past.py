"""On a date: each fact's latest value observed by then, as known today, under the rules of then."""

import json
import random
from datetime import date, timedelta
from decimal import Decimal
from importlib import import_module
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from importing import attempt
from segmenting import BY_ARR, RULES, activate, layer_with, person, recompute

from accounts import corrections, thinning
from accounts.models import Account, FactChange
from accounts.past import Past
from segmentation.models import Layer
from segmentation.reading import explain, past

JAN, FEB, MAR = date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31)
TODAY = timezone.localdate()
USAGE = "SELECT id AS external_id, product, day AS observed_at, nps, tickets_90d FROM use"
SUBSCRIPTIONS = "SELECT id AS external_id, sub AS subscription_id, start AS start_date, end_ AS end_date, arr, currency FROM subs"


def bring(folder, at, rows="", **more):
    """Import accounts (`id,arr` lines) as of a day, and usage or subscriptions beside them."""
    files = {"crm.csv": "id,arr\n" + (rows or "acme,2000\n")}
    queries = {"accounts": "SELECT id AS external_id, arr FROM crm"}
    for name, query, header in (
        ("use", USAGE, "id,product,day,nps,tickets_90d"),
        ("subs", SUBSCRIPTIONS, "id,sub,start,end_,arr,currency"),
    ):
        if name in more:
            files[f"{name}.csv"] = f"{header}\n{more[name]}"
            queries |= {"usage" if name == "use" else "subscriptions": query}
    done = attempt(folder, files, at=at, source_system=more.get("source", "crm"), **queries)
    assert not done.everything
    return Account.objects.get(external_id="acme")


def told(account, layer=None, **options):
    return json.loads(json.dumps(explain.explain(account, layer, **options)))


def arr(why):
    row = why["requires"][0]
    return (row["value"], row["observed"], row["learnt"])


def test_each_date_has_its_own_value(db, tmp_path):
    """The worked example: 2,000 for 31 January, 9,000 for 28 February, 3,000 for 31 March."""
    layer_with(BY_ARR, policy="automatic")
    bring(tmp_path, JAN, "acme,2000\n")
    recompute(JAN)
    bring(tmp_path, FEB, "acme,9000\n")
    acme = bring(tmp_path, MAR, "acme,3000\n")
    now = TODAY.isoformat()
    assert [arr(told(acme, at=day)) for day in (JAN, FEB - timedelta(days=1), FEB, MAR)] == [
        ("2000.00", "2026-01-31", now),
        ("2000.00", "2026-01-31", now),
        ("9000.00", "2026-02-28", now),
        ("3000.00", "2026-03-31", now),
    ]
    recompute(MAR)
    plain, then = told(acme), told(acme, at=MAR)
    assert then.pop("evidence")["facts"][0] == {
        "key": "arr", "name": "ARR", "value_shown": "$2,000", "source": "crm", "observed": "2026-01-31", "differs": True,
    }  # fmt: skip
    assert (plain.pop("evidence"), arr(plain)) == (None, ("3000.00", "2026-03-31", now))
    assert then == plain
    out = StringIO()
    call_command("explain", "acme", "--at", "2026-02-28", stdout=out)
    for part in (
        "as of 2026-02-28",
        "$9,000",
        "0 d",
        f"learnt on {now}",
        "Since 2026-01-31",
        "decided on",
        "ARR $2,000 (differs)",
    ):
        assert part in out.getvalue()


def test_what_had_been_recorded_by_then(db, tmp_path):
    layer_with(BY_ARR, policy="automatic")
    acme = bring(tmp_path, JAN)
    yesterday = TODAY - timedelta(days=1)
    with pytest.raises(explain.Refused, match="by what had been recorded until"):
        told(acme, at=MAR, known=yesterday)
    why = told(acme, at=MAR, known=TODAY)
    assert (arr(why), why["known"]) == (("2000.00", "2026-01-31", TODAY.isoformat()), TODAY.isoformat())
    assert told(acme, known=TODAY)["as_of"] == TODAY.isoformat()


def test_an_older_file_that_comes_late(db, tmp_path):
    """It changes nothing of today, and what it says of its day becomes known; told again it adds nothing."""
    layer_with(BY_ARR, policy="automatic")
    bring(tmp_path, JAN, "acme,2000\n")
    bring(tmp_path, MAR, "acme,2000\n")  # the same was seen again
    for _ in range(2):
        acme = bring(tmp_path, FEB, "acme,9000\n")
        assert acme.arr == 2000
        assert [arr(told(acme, at=day))[:2] for day in (JAN, FEB, MAR, TODAY)] == [
            ("2000.00", "2026-01-31"),
            ("9000.00", "2026-02-28"),
            ("2000.00", "2026-03-31"),
            ("2000.00", "2026-03-31"),
        ]
        rows = [(row.observed, row.values["arr"]) for row in FactChange.objects.filter(values__has_key="arr")]
        assert rows == [(JAN, 2000), (FEB, 9000), (MAR, 2000)]


def test_usage_of_each_day_and_product(db, tmp_path):
    acme = bring(
        tmp_path,
        MAR,
        use="acme,,2026-03-01,5,1\nacme,,2026-03-02,5,2\nacme,,2026-03-03,,3\nacme,chat,2026-03-02,9,\n",
    )
    bring(tmp_path, MAR, use="acme,,2026-02-01,8,7\nacme,chat,2026-02-01,7,1\n")  # late
    acme = Account.objects.get(pk=acme.pk)
    days = [date(2026, 2, 1), date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)]
    rows = past.History(acme).facts(["nps", "tickets_90d"], days)
    assert [(rows[day]["nps"], rows[day]["tickets_90d"]) for day in days] == [
        (8, 7),
        (5, 1),
        (5, 2),
        (None, 3),
    ]
    chat = acme.usage.get(product__key="chat")
    snapshots = [Past(acme, product=chat.product_id).on(MAR - timedelta(days=days)) for days in (0, 31)]
    assert [snapshot.usage for snapshot in snapshots] == [
        {"nps": 9, "tickets_90d": 1},
        {"nps": 7, "tickets_90d": 1},
    ]


def test_a_contract_that_was_learnt_later(db, tmp_path):
    """A renewal of 1 July that arrived on 16 July counts from 1 July, and says when we learnt it."""
    layer_with(BY_ARR, policy="automatic")
    acme = bring(tmp_path, date(2026, 6, 1), "acme,\n", subs="acme,s1,2025-07-01,2026-07-01,50000,USD\n")
    bring(tmp_path, date(2026, 7, 16), "acme,\n", subs="acme,s2,2026-07-01,2027-07-01,120000,USD\n")
    acme = Account.objects.get(pk=acme.pk)
    assert [arr(told(acme, at=day))[0] for day in (date(2026, 6, 30), date(2026, 7, 1), date(2026, 7, 20))] == [
        "50000.00", "120000.00", "120000.00",
    ]  # fmt: skip
    why = told(acme, at=date(2026, 7, 1))
    assert why["requires"][0]["learnt"] == TODAY.isoformat()
    assert why["requires"][0]["age_days"] is None  # observed after that day
    assert why["computed_segment"] == "high"
    # Where terms changed, those observed by then count.
    bring(tmp_path, date(2026, 8, 1), "acme,\n", subs="acme,s2,2026-07-01,2027-07-01,90000,USD\n")
    acme = Account.objects.get(pk=acme.pk)
    assert [arr(told(acme, at=day))[0] for day in (date(2026, 7, 20), date(2026, 8, 1))] == [
        "120000.00",
        "90000.00",
    ]


def test_every_way_a_fact_is_written(db, tmp_path):
    acme = bring(tmp_path, JAN)
    corrections.correct(acme, {"arr": Decimal(7), "employees": 3}, by=person(), reason="It is so")
    acme.refresh_from_db()
    Account.objects.filter(pk=acme.pk).update(arr=8)  # past all verbs
    acme.refresh_from_db()
    acme.country, acme.provenance["country"] = "DE", ["crm", "2026-02-01"]
    acme.save()
    rows = FactChange.objects.filter(account=acme).values_list("observed", "source", "values")
    assert [row for row in rows if row[2].keys() & {"arr", "country"}][1:] == [
        (TODAY, "manual", {"arr": 7.0, "employees": 3}),
        (TODAY, "manual", {"arr": 8.0}),
        (date(2026, 2, 1), "crm", {"country": "DE"}),
    ]
    for wrong in ("update accounts_factchange set source = 'x'", "delete from accounts_factchange"):
        with (
            pytest.raises(DatabaseError, match="append-only"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(wrong)


def test_seen_again_is_no_change(db, tmp_path):
    acme = bring(tmp_path, JAN)
    count = FactChange.objects.count()
    bring(tmp_path, FEB)
    assert FactChange.objects.count() == count
    assert Past(Account.objects.get(pk=acme.pk)).on(MAR).stamps["arr"].observed == FEB
    assert Past(Account.objects.get(pk=acme.pk)).on(FEB - timedelta(days=1)).stamps["arr"].observed == JAN


def test_the_last_import_is_now(db, tmp_path):
    """Whatever came in whatever order: --at on the last import's date says what plain explain says."""
    layer_with(RULES)
    chance = random.Random(12)
    last = date(2026, 4, 1)
    for turn in range(8):
        at = last if turn == 7 else last - timedelta(days=chance.randrange(40))
        rows = [f"acme,{chance.choice(['', 500, 30_000, 120_000])}\n"]
        days = {(chance.choice(["", "chat"]), at - timedelta(days=chance.randrange(9))) for _ in range(3)}
        use = [
            f"acme,{product},{day},{chance.choice(['', 0, 60])},{chance.randrange(9)}\n"
            for product, day in days
        ]
        acme = bring(tmp_path, at, rows[0], use="".join(use), source=chance.choice(["crm", "billing"]))
        if turn == 4:
            last = max(last, at)
    recompute(last)
    plain, then = told(acme), told(acme, at=last)
    assert (plain.pop("evidence"), bool(then.pop("evidence"))) == (None, True)
    assert then == plain


def test_the_line_of_scores_is_what_is_explained(db, tmp_path):
    """At the ends of months, with gaps where nothing can be said; a constant number of queries."""
    layer = layer_with(RULES)
    ends = past._month_ends(TODAY, 12)
    assert (len(ends), ends[-1] <= TODAY, ends[-1] + timedelta(days=1)) == (
        12,
        True,
        (ends[-1] + timedelta(days=1)).replace(day=1),
    )
    bring(tmp_path, ends[6], "acme,30000\n", use=f"acme,,{ends[6]},60,3\n")
    recompute(ends[6])
    acme = bring(tmp_path, ends[9], "acme,120000\n")
    change_rules = json.loads(json.dumps(RULES))
    change_rules["rules"][0]["when"] = "composite >= 4.9"
    activate(layer, change_rules)
    recompute(ends[10])
    line = past.score_line(acme, layer)
    assert [point.at for point in line] == ends
    assert [point.composite is None for point in line] == [True] * 6 + [False] * 6
    for point in line[6:]:
        why = told(acme, at=point.at)
        assert (why["composite"], why["computed_segment"]) == (str(point.composite), point.segment)
    assert [point.segment for point in line[6:]] == ["low"] * 3 + ["high"] + ["low"] * 2
    with CaptureQueriesContext(connection) as few:
        past.score_line(Account.objects.get(pk=acme.pk), Layer.objects.get(pk=layer.pk), months=3)
    with CaptureQueriesContext(connection) as many:
        past.score_line(Account.objects.get(pk=acme.pk), Layer.objects.get(pk=layer.pk), months=24)
    for q in many.captured_queries:
        print("QQ", q["sql"][:150])
    assert len(few) <= len(many) <= 20


def test_usage_of_long_ago_is_kept_of_one_day_a_month(db, tmp_path):
    """Days among those that went are "not kept"; ends of months and the last 90 days are as they were."""
    layer_with(RULES)
    months = [(TODAY - timedelta(days=200)).replace(day=1), (TODAY - timedelta(days=40)).replace(day=1)]
    days = [month + timedelta(days=place) for month in months for place in (2, 9, 20)]
    use = [f"acme,,{day},{place},{place}\n" for place, day in enumerate(days)]
    acme = bring(tmp_path, days[0] - timedelta(days=9), "acme,30000\n", use="".join(use))
    before = {day: told(acme, at=day) for day in [*days[2:], *(day + timedelta(days=1) for day in days[2:])]}
    thinning.thin(TODAY)
    assert FactChange.objects.filter(home="usage").count() == 6  # what was learnt lately waits
    with transaction.atomic(), connection.cursor() as cursor:  # as if it had been learnt then
        cursor.execute("alter table accounts_factchange disable trigger demarc_fact_change_stays")
        cursor.execute("update accounts_factchange set learnt_at = observed")
        cursor.execute("alter table accounts_factchange enable always trigger demarc_fact_change_stays")
    for _ in range(2):
        thinning.thin(TODAY)
        kept = FactChange.objects.filter(home="usage").values_list("observed", "thinned_from", "values")
        assert sorted(kept) == [
            (days[2], days[0], {"nps": 2, "tickets_90d": 2}),
            *(
                (day, None, {"nps": place, "tickets_90d": place})
                for place, day in enumerate(days)
                if place > 2
            ),
        ]
    why = told(acme, at=days[1])
    assert [row["value_shown"] for row in why["dimensions"][1]["criteria"]] == ["not kept", "not kept"]
    assert "Not kept for this day: NPS and Tickets, 90 days." in why["notes"][1]
    for day, whole in before.items():
        assert told(acme, at=day)["composite"] == whole["composite"]
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("delete from accounts_factchange where thinned_from is not null")


def test_products_and_stages_on_a_date(db, tmp_path):
    """Rules about a product, about where an account comes from, and about another segmentation, as they were then."""
    base = layer_with(BY_ARR, policy="automatic")
    reading = {
        "rules": [
            {"segment": "high", "when": "label.tier = 'high' and score.none.worth is null"},
            {"segment": "tech"},
        ]
    }
    reading["rules"][0]["when"] = "label.tier = 'high'"
    other = layer_with(reading, key="other")
    bring(tmp_path, JAN, "acme,2000\n", use="acme,chat,2026-01-31,9,1\n")
    recompute(JAN)
    acme = bring(tmp_path, FEB, "acme,200000\n", use="acme,chat,2026-02-28,60,1\n")
    recompute(FEB)
    assert [told(acme, other, at=day)["computed_segment"] for day in (JAN, FEB - timedelta(days=1), FEB)] == [
        "tech",
        "tech",
        "high",
    ]
    assert told(acme, base, at=FEB)["move"]["cause"] == "data"


def test_what_history_knows_becomes_the_first_changes(db, tmp_path):
    """A database from before: values of then from history, of now as they are held."""
    bring(tmp_path, JAN, "acme,2000\n", use="acme,,2026-01-31,5,1\n", subs="acme,s1,2026-01-01,,10,USD\n")
    bring(tmp_path, FEB, "acme,9000\n", subs="acme,s1,2026-01-01,,20,USD\n")
    acme = bring(
        tmp_path, MAR, "acme,9000\n", use="acme,,2026-03-31,6,1\n", subs="acme,s1,2026-01-01,,20,USD\n"
    )
    corrections.correct(acme, {"employees": 3}, by=person(), reason="It is so")
    acme.refresh_from_db()
    days = [JAN, FEB, MAR, TODAY]
    with_changes = [Past(acme).on(day) for day in days]
    begin = import_module("accounts.migrations.0007_fact_changes").begin
    with connection.cursor() as cursor:
        cursor.execute("alter table accounts_factchange disable trigger demarc_fact_change_stays")
        cursor.execute("delete from accounts_factchange")
        begin(None, cursor)
    from_history = [Past(acme).on(day) for day in days]
    for one, other in zip(with_changes, from_history, strict=True):
        assert (one.account, one.subscriptions) == (other.account, other.subscriptions)
        assert {key: stamp.observed for key, stamp in one.stamps.items() if key in other.stamps} == {
            key: stamp.observed for key, stamp in other.stamps.items()
        }
    now = {"nps": 6, "tickets_90d": 1}
    assert [snapshot.usage for snapshot in from_history] == [{}, {}, now, now]
