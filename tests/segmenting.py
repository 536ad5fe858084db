"""The start of tests of segmentation: a small layer with active rules, accounts with facts, a recalculation."""

from datetime import date
from decimal import Decimal

from databases import unsigned
from django.contrib.auth.models import Permission, User
from django.db import transaction

from accounts.models import Account, Usage
from core.history import acting
from segmentation.authoring import versions
from segmentation.authoring.checks import acknowledgements
from segmentation.evaluation import causes
from segmentation.models import Assignment, Cause, Layer, Segment, ServiceModel, Treatment
from segmentation.runs import recalculation

DAY = date(2026, 6, 1)

# Two score groups of two measures; behaviour counts after 30 days.
RULES = {
    "weights": {"worth": "0.5", "behaviour": "0.5"},
    "dimensions": [
        {
            "key": "worth",
            "name": "Worth",
            "criteria": [
                {
                    "key": "arr",
                    "cells": ["$100K+", "$50K-$99K", "$25K-$49K", "$10K-$24K", "< $10K"],
                    "missing": "needs data",
                },
                {
                    "key": "employees",
                    "cells": ["1,000+", "500-999", "100-499", "50-99", "< 50"],
                    "missing": "skip",
                },
            ],
        },
        {
            "key": "behaviour",
            "name": "Behaviour",
            "maturity": {"after_days": "30", "needs_data_after_days": "90", "until_then": "skip"},
            "criteria": [
                {"key": "nps", "cells": ["50+", "20-49", "0-19", "-30--1", "< -30"], "missing": "skip"},
                {"key": "tickets_90d", "cells": ["0-1", "2-4", "5-9", "10-19", "20+"], "missing": "assume 3"},
            ],
        },
    ],
    "rules": [
        {"segment": "high", "when": "composite >= 4.0"},
        {"segment": "low", "when": "composite >= 2.5"},
        {"segment": "tech"},
    ],
}
SEGMENTS = ["high", "low", "tech"]
BY_ARR = {"rules": [{"segment": "high", "when": "arr >= 100000"}, {"segment": "tech", "when": "arr >= 0"}]}


def person(name="olga", *permissions):
    """A user with these permissions of segmentation; both about rules when none is named."""
    user, _ = User.objects.get_or_create(username=name)
    return granted(user, *(permissions or ("change_definition", "activate_definition")))


def granted(user, *permissions):
    """The user, with these permissions besides those they have."""
    with transaction.atomic(), unsigned():
        causes.take(Cause.Kind.DECISION, reason="Rights are given")
        user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    return User.objects.get(pk=user.pk)  # permissions are cached on the object


def layer_with(document=RULES, **columns):
    """A layer with these rules active (see `layer_without_rules`): as set-up does it, while that is not over."""
    layer = layer_without_rules(**columns)
    if Assignment.objects.exclude(effective=None).exists():
        activate(layer, document)
    else:
        preset = {"key": layer.key, "name": layer.name, "policy": layer.policy, "segments": []}
        with unsigned(), acting(by=person(), reason="First rules"):
            versions.load_preset(preset | {"document": document}, layer.position)
    return layer


def layer_without_rules(
    *, key="tier", policy=None, segments=SEGMENTS, scope="account", decides=("touch_frequency",)
):
    """A layer with its segments, which needs approval if it can; only the primary one decides something."""
    policy = policy or ("approval" if scope == "account" else "automatic")
    primary = scope == "account" and not Layer.objects.filter(primary=True).exists()
    layer = Layer.objects.create(
        key=key,
        name=key.capitalize(),
        policy=policy,
        primary=primary,
        scope=scope,
        decides=list(decides) if primary else [],
    )
    model, _ = ServiceModel.objects.get_or_create(key="any", name="Any model")
    for position, segment in enumerate(segments):
        service = f"Service of {segment}"
        treatment = Treatment.objects.create(
            key=f"{key}-{segment}", name=service, service_model=model, touch_frequency=service
        )
        Segment.objects.create(
            layer=layer,
            key=segment,
            name=segment.capitalize(),
            position=position,
            treatment=treatment,
            owner_role="CS Ops",
        )
    return layer


def activate(layer, document, *, reason="First rules"):
    """Give the layer new active rules, as a person does."""
    olga = person()
    draft = versions.create_draft(layer, by=olga)
    draft = versions.save_draft(draft, document, by=olga, seen=draft.hash)
    with unsigned():
        return versions.activate(answered(draft), by=olga, reason=reason, seen=draft.hash)


def draft_of(layer, document):
    """A draft of these rules, not activated."""
    by = person()
    draft = versions.create_draft(layer, by=by)
    return versions.save_draft(draft, document, by=by, seen=draft.hash)


def answered(draft):
    """The draft, after somebody has acknowledged all that the checks warn of."""
    warnings = versions.examine(draft).unacknowledged
    if warnings:
        acknowledgements.acknowledge(draft, warnings, reason="Small on purpose", by=person())
    return draft


def account(external_id="acme", *, usage=None, **facts):
    """A customer since 2024 with these facts; `usage` are the behavioural ones."""
    made = Account.objects.create(**{"external_id": external_id, "contract_start": date(2024, 1, 1)} | facts)
    if usage is not None:
        Usage.objects.create(account=made, **usage)
    return made


def change(account, *, seen=None, **facts):
    """Change facts of an account, and its usage where they live there. seen: the day its own are of."""
    stored = {field.name for field in Account._meta.fields}
    own = {key: value for key, value in facts.items() if key in stored}
    if seen:
        provenance = Account.objects.get(pk=account.pk).provenance
        own["provenance"] = provenance | {key: ["crm", seen.isoformat()] for key in own}
    Account.objects.filter(pk=account.pk).update(**own)
    rest = {key: value for key, value in facts.items() if key not in stored}
    if rest:
        Usage.objects.update_or_create(account=account, product=None, defaults=rest)


def by_now(at):
    """The day `at`, or the one recalculations have got to already: their clock never goes back."""
    return max(at, recalculation.newest_clock() or at)


def recompute(at=DAY, **options):
    """One whole recalculation, worked here."""
    return recalculation.work(recalculation.start(as_of=at, **options).pk, wait=True)


def portfolio(count, *, first=0):
    """Accounts of every kind in a fixed order: all tiers, some new, some without data."""
    accounts = Account.objects.bulk_create(
        Account(
            external_id=f"c{number:05}",
            contract_start=date(2026, 5, 20) if number % 9 == 0 else date(2024, 1, 1),
            arr=None if number % 13 == 0 else Decimal(number * 7919 % 200_000),
            employees=None if number % 5 == 0 else number * 31 % 1500,
        )
        for number in range(first, first + count)
    )
    Usage.objects.bulk_create(
        Usage(account=one, nps=None if number % 4 == 0 else number * 17 % 150 - 60, tickets_90d=number % 25)
        for number, one in enumerate(accounts, first)
        if number % 9 and number % 11
    )
    return accounts


def state():
    """Everything a recalculation leaves behind, without ids: to compare two of them."""
    from segmentation.models import Assignment, Move

    whose = ("account__external_id", "layer__key", "product__key")  # with the id, no two rows tie
    assignments = Assignment.objects.order_by(*whose).values_list(
        *whose, "computed__key", "effective__key", "provisional", "provisional_until", "reason", "computed_since",
        "effective_since", "score__composite", "score__scores", "score__points", "score__rule", "score__distance",
        "score__thin",
    )  # fmt: skip
    moves = Move.objects.order_by(*whose, "id").values_list(
        *whose, "from_segment__key", "to_segment__key", "why", "at", "evidence"
    )
    history = Assignment.history.order_by(*whose, "history_id").values_list(
        *whose, "computed__key", "effective__key", "history_type"
    )
    return {"assignments": list(assignments), "moves": list(moves), "history": list(history)}
