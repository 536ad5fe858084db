"""The sources of an account's values of now that stand in no provenance: contracts; and the day a value was learnt."""

from datetime import date

from accounts.past import Past, learnt_after


def of_contracts(account, product, at):
    """{fact: [source, observed]} of what follows from subscriptions."""
    return _subscriptions(account, product) | _derived(account, product, at)


def _subscriptions(account, product):
    """The source and age of what follows from subscriptions: those of the one observed last."""
    subscriptions = [
        subscription
        for subscription in account.subscriptions.all()
        if product is None or subscription.product_id == product.pk
    ]
    if not subscriptions:
        return {}
    newest = max(
        subscriptions,
        key=lambda subscription: (subscription.observed is not None, subscription.observed, subscription.pk),
    )
    return {"subscriptions": [newest.source, newest.observed.isoformat() if newest.observed else None]}


DERIVED = "derived from the dates"


def _derived(account, product, at):
    """The source of a contract type that nobody told, or told without saying whether it is new or renewing."""
    stated = account.contract_type if product is None else ""
    own = [row for row in account.subscriptions.all() if product is None or row.product_id == product.pk]
    running = [row for row in own if row.start_date <= at and (row.end_date is None or row.end_date > at)]
    if not stated and any(row.status == "past due" for row in running):
        return {}
    said = [stated] if stated else [row.contract_type for row in running if row.contract_type]
    if any(text.strip().lower() != "annual" for text in said) or not (said or running):
        return {}
    return {"contract_type": [f"{said[0]}, new or renewing {DERIVED}" if said else DERIVED, None]}


def learnt(account, product, clock):
    """{fact: the day (ISO) its value was learnt} where that was after the clock."""
    if not learnt_after(account, clock):
        return {}
    snapshot = Past(account, product=product and product.pk).on(date.max)
    return snapshot.learnt(clock) if snapshot else {}
