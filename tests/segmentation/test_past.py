"""On a date: each fact's latest value observed by then, as known today, under the rules of then."""

import json
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from importing import attempt
from segmenting import BY_ARR, activate, change, layer_with, person, recompute

from accounts import corrections
from accounts.models import Account, FactChange
from accounts.past import Past
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
    assert not done.said and not done.rejected, done.everything
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
    # Of terms that changed, those observed by then.
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
