"""Facts and events as the feed of changes tells them: the new values, of which day, from where."""

from accounts.models import Account, Csm, FactChange, Product, Signal, Subscription
from core.api.changes import tells


def facts(ids):
    """{id: the values that changed} of FactChanges; null is a value that is known no more."""
    rows = list(FactChange.objects.filter(pk__in=ids))
    names = _names(rows)
    return {
        row.pk: {
            "account": names["account_id"].get(row.account_id),
            "home": row.home,
            "product": names["product_id"].get(row.product),
            "subscription": names["subscription"].get(row.subscription),
            "observed": row.observed,
            "source": row.source,
            "learnt_at": row.learnt_at,
            "values": {
                name.removesuffix("_id"): _value(names.get(name), value) for name, value in row.values.items()
            },
        }
        for row in rows
    }


def _value(names, value):
    if value == []:
        return None
    return value if names is None else names.get(value)


def _names(rows):
    """{column: {id: what other systems call it}} of all that the rows refer to."""
    wanted = {name: set() for name in ("account_id", "parent_id", "product_id", "csm_id", "subscription")}
    for row in rows:
        wanted["account_id"].add(row.account_id)
        wanted["product_id"].add(row.product)
        wanted["subscription"].add(row.subscription)
        for name in ("parent_id", "product_id", "csm_id"):
            value = row.values.get(name)
            wanted[name] |= {value} if isinstance(value, int) else set()
    models = {
        "account_id": (Account, "external_id"),
        "parent_id": (Account, "external_id"),
        "product_id": (Product, "key"),
        "csm_id": (Csm, "email"),
        "subscription": (Subscription, "subscription_id"),
    }
    return {
        name: dict(model.objects.filter(pk__in=wanted[name] - {None}).values_list("pk", column))
        for name, (model, column) in models.items()
    }


def signals(ids):
    rows = Signal.objects.filter(pk__in=ids).select_related("account")
    return {
        row.pk: {"account": row.account.external_id, "signal": row.signal, "at": row.at, "source": row.source}
        for row in rows
    }


tells("facts", "accounts.view_account", facts)
tells("signal", "accounts.view_signal", signals)
