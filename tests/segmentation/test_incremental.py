"""A recalculation leaves and counts the same whatever it found unchanged: tried with changes at random.

After each round of changes the same recalculation runs twice from the same state: once as if nothing had been evaluated
before (no fingerprints), once as it is. Both must leave the same rows and report the same counts; counted again from the
tables they are the same; and one more recalculation on that date changes nothing.
"""

import random
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from segmenting import answered, layer_with, person, recompute, state

from accounts.models import Account, Product, Signal, Usage
from segmentation import scopes
from segmentation.authoring import declarations, versions
from segmentation.evaluation import causes, run_rules
from segmentation.models import Assignment, AssignmentScore, Cause, Layer, Move

pytestmark = pytest.mark.django_db
DAY = date(2025, 6, 1)
MORE = ["rfm", "account-tier", "product-adoption", "revenue-health", "value-micro", "strategic-operational"]
# A chain over the whole portfolio: quintiles of another segmentation's score, the top by what comes of them, gated.
CHAIN = {
    "includes": ["churned"],
    "dimensions": [
        {
            "key": "worth",
            "criteria": [
                {"key": "rfm", "fact": "composite.rfm", "cells": "quintiles", "missing": "skip"},
                {"key": "arr", "cells": "quintiles", "missing": "assume 2"},
            ],
        }
    ],
    "rules": [
        {"segment": "high", "top": "4 by composite"},
        {"segment": "low", "when": "label.service_tier = 'high-touch' OR label.value_tier = 'enterprise'"},
        {"segment": "tech", "when": "composite > 1"},
    ],
}
# Decided by people, and young accounts follow.
GATED = {
    "dimensions": [
        {
            "key": "use",
            "maturity": {"after_days": "30", "needs_data_after_days": "90", "until_then": "assume 3"},
            "criteria": [
                {"key": "login_days_30d", "cells": ["20+", "10-19", "5-9", "1-4", "0"], "missing": "skip"}
            ],
        },
    ],
    "requires": ["employees"],
    "rules": [
        {"segment": "high", "when": "composite >= 4 OR arr >= 150000"},
        {"segment": "low", "when": "composite >= 3"},
        {"segment": "tech"},
    ],
}


def world(rng, count):
    versions.load_presets()
    olga = person()
    for key in MORE:
        draft = versions.open_version(Layer.objects.get(key=key))
        versions.activate(answered(draft), by=olga, reason="All")
    layer_with(GATED, key="gated")
    layer_with(CHAIN, key="chain")
    for number in range(count):
        one = Account.objects.create(external_id=f"a{number:03}", contract_start=date(2024, 1, 1))
        for change in (revenue, usage, of_a_product, start, industry):
            change(rng, one)


def industry(rng, one):
    one.industry = rng.choice(["SaaS", "Banking", "", "Retail"])
    one.employees = rng.choice([None, 5, 80, 400, 2000])
    one.save()


def revenue(rng, one):
    one.arr = rng.choice([None, Decimal(rng.randrange(300_000)), Decimal(50_000)])
    one.currency = rng.choice(["", "", "", "", "EUR"])
    one.save()


def usage(rng, one):
    facts = {
        "login_days_30d": rng.choice([None, rng.randrange(31)]),
        "feature_adoption": rng.choice([None, Decimal(rng.randrange(101)) / 100]),
        "integrations_live": rng.choice([None, 0, 1, 4]),
        "usage_change_30d": rng.choice([None, Decimal("-0.5"), Decimal("0.1")]),
        "tickets_90d": rng.choice([None, 0, 3, 12]),
        "nps": rng.choice([None, -20, 30, 70]),
        "last_active_at": rng.choice([None, DAY - timedelta(rng.randrange(60))]),
        "last_csm_contact": rng.choice([None, DAY - timedelta(rng.randrange(60))]),
    }
    Usage.objects.update_or_create(account=one, product=None, defaults=facts)


def of_a_product(rng, one):
    product, _ = Product.objects.get_or_create(key=rng.choice(["core", "extra"]))
    if rng.random() < 0.3:
        one.usage.filter(product=product).delete()
    else:
        facts = {"login_days_30d": rng.choice([None, rng.randrange(31)])}
        Usage.objects.update_or_create(account=one, product=product, defaults=facts)


def status(rng, one):
    one.status = rng.choice(["active", "active", "paused", "churned"])
    one.excluded = rng.random() < 0.1
    one.exclusion_reason = "Ours" if one.excluded else ""
    one.kind = rng.choice(["customer", "customer", "customer", "prospect"])
    one.save()


def start(rng, one):
    one.contract_start = rng.choice([date(2024, 1, 1), None, DAY - timedelta(rng.randrange(120))])
    one.save()


def signal(rng, one):
    kind = rng.choice(["first_workflow", "sponsor_departed", "new_use_case", "renewal_disengaged"])
    Signal.objects.get_or_create(account=one, signal=kind, at=DAY - timedelta(rng.randrange(60)))


def declared(rng, one):
    layer = Layer.objects.get(key="strategic-operational")
    cleo, otto = person("cleo", "propose_declaration"), person("otto", "confirm_declaration")
    segment = rng.choice(list(layer.segments.all()))
    if one.declarations.filter(status__in=["proposed", "confirmed"]).exists():
        return
    done = declarations.propose_for([one], segment, by=cleo, reason="They say so", from_date=DAY)
    if done.done:
        declarations.confirm_all(done.done[0], by=otto)


def moved_by_others(rng, one):
    """Do what an override will do: change the current segment past the rules, with a cause."""
    assignment = rng.choice([*one.assignments.all(), None])
    if assignment is None:
        return
    causes.take(Cause.Kind.DECISION)
    segment = rng.choice([*assignment.layer.segments.all(), None])
    if assignment.layer.key == "lifecycle":
        return  # it looks back, and only a Move says what was in force when
    Assignment.objects.filter(pk=assignment.pk).update(effective=segment)


def policy(rng, one):
    layer = rng.choice(list(Layer.objects.exclude(scope="product")))
    layer.policy = rng.choice(["automatic", "approval"])
    layer.save()


def new_rules(rng, one):
    key, document = rng.choice([("gated", GATED), ("chain", CHAIN)])
    layer = Layer.objects.get(key=key)
    changed = document | {"rules": [*document["rules"]]}
    limit = rng.choice(["4", "3.5", "4.5"])
    changed["rules"][0] = {"segment": "high", "when": f"composite >= {limit}"} | (
        {"top": f"{rng.randrange(1, 9)} by composite"} if key == "chain" else {}
    )
    current = layer.definitions.get(status="active")
    draft = versions.create_draft(layer, by=person())
    draft = versions.save_draft(draft, changed, by=person(), seen=draft.hash)
    if draft.hash == current.hash:
        versions.discard_draft(draft, by=person())
    else:
        versions.activate(answered(draft), by=person(), reason="Another", seen=draft.hash)


def no_usage_at_all(rng, one):
    Usage.objects.filter(product=None).update(nps=None)


CHANGES = [
    revenue,
    usage,
    of_a_product,
    status,
    status,
    start,
    signal,
    declared,
    moved_by_others,
    moved_by_others,
    industry,
]
RARE = [policy, new_rules, no_usage_at_all]


SAID = [
    "assignment__account__external_id", "assignment__layer__key", "assignment__product__key", "definition", "composite",
    "scores", "points", "rule", "distance", "thin", "assignment__computed__key", "assignment__effective__key",
    "assignment__definition", "assignment__reason", "assignment__provisional", "assignment__provisional_until",
    "assignment__computed_since", "assignment__effective_since",
]  # fmt: skip
MOVED = ["product__key", "from_segment__key", "to_segment__key", "why", "at", "evidence", "definition"]


def left(run):
    """Everything a run left and counted, as texts; but for what it wrote once more though it is the same."""
    counts = [
        (one.layer.key, one.left_out, one.cutoffs, sorted((one.counts | {"rescored": None}).items()))
        for one in run.layers.select_related("layer").order_by("layer")
    ]
    scores = AssignmentScore.objects.values_list(*SAID)
    moves = Move.objects.values_list("account__external_id", "layer__key", *MOVED)
    return {
        name: sorted(map(repr, rows))
        for name, rows in (
            ("counts", counts), ("scores", scores), ("moves", moves), ("history", state()["history"])
        )
    }  # fmt: skip


def from_scratch(**options):
    """The rows and counts of a recalculation that knows of no evaluation before; nothing of it stays."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("update segmentation_assignment set fingerprint = null")
        found = left(recompute(**options))
        transaction.set_rollback(True)
    return found


def check_counts(run):
    """Counted again in the tables, over whom the run was about."""
    for one in run.layers.filter(layer__scope=scopes.ACCOUNT.key).select_related("layer"):
        which = run_rules.accounts_of([run_rules.document_of(one.definition_id)])
        with connection.cursor() as cursor:
            cursor.execute(f"select a.id from accounts_account a where {which}")
            ids = [id for (id,) in cursor.fetchall()]
        rows = Assignment.objects.filter(layer=one.layer, account__in=ids)
        expected = {
            "scanned": len(ids),
            "segments": dict(Counter(rows.exclude(effective=None).values_list("effective__key", flat=True))),
            "differs": rows.differing().count(),
            "needs_data": rows.needs_data().count(),
            "provisional": rows.filter(provisional=True).count(),
            "thin": rows.filter(score__thin=True).count(),
        }
        assert {name: one.counts[name] for name in expected} == expected, one.layer.key
        assert rows.count() == len(ids)


LONG = [pytest.param(seed, 4, marks=pytest.mark.long) for seed in range(12)]


@pytest.mark.parametrize(("seed", "rounds"), [(0, 2), *LONG])
def test_what_is_left_and_counted_does_not_depend_on_what_was_unchanged(seed, rounds):
    rng, count = random.Random(seed), 30
    world(rng, count)
    clock = DAY
    recompute(clock)
    for _ in range(rounds):
        for _ in range(rng.choice([0, 3, 10])):
            rng.choice(CHANGES)(rng, Account.objects.get(external_id=f"a{rng.randrange(count):03}"))
        if rng.random() < 0.7:
            rng.choice(RARE)(rng, None)
        clock += timedelta(rng.choice([0, 0, 1, 3, 30, 70]))
        layers = None
        if rng.random() < 0.3:
            layers = rng.sample(list(Layer.objects.filter(definitions__status="active")), 3)
        options = {"at": clock, "layers": layers, "chunk": rng.choice([None, 7])}
        slow = from_scratch(**options)
        run = recompute(**options)
        assert left(run) == slow
        check_counts(run)
        again = recompute(clock, layers=layers)
        check_counts(again)
        for one in again.layers.select_related("layer"):
            written = {name: one.counts[name] for name in ("changed", "moved", "rescored", "lost")}
            assert not any(written.values()), (one.layer.key, written)
