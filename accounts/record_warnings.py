"""Warnings about records that are written: they look wrong and may be right; counted, with examples."""

from core.organisation import organisation

from . import revenue
from .catalogue import CURRENCY, SUBSCRIPTIONS_OF_ACCOUNT
from .models import Subscription

EXAMPLES = 5
# Dates of what has happened already; none of them is after the import's.
HAPPENED = {
    "contract_start": "customer since a date", "last_qbr": "last business review", "last_active_at": "last active",
    "last_csm_contact": "last CSM contact",
}  # fmt: skip


def run_sql(cursor, statement, **values):
    cursor.execute(statement, values or None)


def warning(cursor, sentence, query, **values):
    """[{warning, count, examples}] of what the query finds (one text column), or []."""
    run_sql(
        cursor,
        f"select count(*), (array_agg(found order by found))[1:{EXAMPLES}] from ({query}) as q (found)",
        **values,
    )
    count, examples = cursor.fetchone()
    return [{"warning": sentence, "count": count, "examples": examples}] if count else []


def of_accounts(cursor, given, origin):
    warnings = warning(
        cursor, "older than what is known already: the newer value stays",
        "select external_id from planned where late",
    )  # fmt: skip
    warnings += _later_dates(cursor, [name for name in given if name in HAPPENED], origin)
    if "currency" in given:
        warnings += warning(
            cursor, _foreign(),
            "select external_id from staged where currency <> %(ours)s", ours=organisation().currency,
        )  # fmt: skip
    return warnings


def _foreign():
    return (
        f"money in another currency than {organisation().currency}: no segment by money until it is converted"
    )


def of_contracts(cursor, origin):
    """Contracts in another currency than the organisation's, and accounts whose contracts that run are in several."""
    warnings = warning(
        cursor, _foreign(),
        f"select distinct b.external_id from planned b where {CURRENCY} <> %(currency)s and b.arr > 0",
        **revenue.parameters(origin.observed),
    )  # fmt: skip
    return warnings + warning(
        cursor, "contracts in several currencies: their amounts are not added up, and there is no segment by ARR",
        f"""select a.external_id from (select distinct account_id as id from planned) p join accounts_account a using (id)
             cross join lateral ({SUBSCRIPTIONS_OF_ACCOUNT}) s
             where a.arr is null and s.currency <> s.other_currency""",
        **revenue.parameters(origin.observed),
    )  # fmt: skip


def of_overlaps(cursor, origin):
    """Subscriptions that may be one contract told twice: both count towards ARR, so the account looks larger than it is.

    Looked for among all that the accounts of this import hold, imported before or now, and that has not ended.
    A subscription counts once, beside those of its account and product that began before it (or that day, with a smaller ID).
    """
    paid = [
        status.value
        for status in (
            Subscription.Status.ACTIVE,
            Subscription.Status.PAST_DUE,
            Subscription.Status.CANCELLED,
        )
    ]
    run_sql(cursor,
        """create temp table beside on commit drop as
           select account_id, subscription_id, start_date, product_id,
                  row_number() over (partition by account_id, product_id, start_date, arr, currency
                                     order by subscription_id) > 1 as double,
                  max(coalesce(end_date, 'infinity')) over (partition by account_id, product_id
                      order by start_date, subscription_id
                      rows between unbounded preceding and 1 preceding) > start_date as overlaps
             from accounts_subscription b
            where account_id in (select account_id from planned) and status = any(%(paid)s) and arr > 0
              and (status <> 'cancelled' or end_date is not null)
              and coalesce(end_date, 'infinity') > greatest(start_date, %(observed)s::date)""",
        paid=paid, observed=origin.observed,
    )  # fmt: skip
    overlapping = """select a.external_id || ': ' || b.subscription_id from beside b
                 join accounts_account a on a.id = b.account_id where {} order by 1"""
    warnings = warning(
        cursor, "the same product, start and ARR as another subscription of the account: entered twice?",
        overlapping.format("b.double"),
    )  # fmt: skip
    warnings += warning(
        cursor, "runs at the same time as another subscription of the account to the same product: both count towards ARR",
        overlapping.format("b.overlaps and not b.double and b.product_id is not null"),
    )  # fmt: skip
    run_sql(cursor, "drop table beside")
    return warnings


def of_usage(cursor, behaviour, origin):
    warnings = warning(
        cursor, "observed after the import's date",
        "select external_id from staged where observed_at > %(observed)s", observed=origin.observed,
    )  # fmt: skip
    warnings += warning(
        cursor, "usage before the account's first subscription",
        """select s.external_id from staged s join accounts_account a using (external_id)
             join (select account_id, min(start_date) as first from accounts_subscription group by 1) b
               on b.account_id = a.id
            where s.observed_at < b.first""",
    )  # fmt: skip
    return warnings + _later_dates(cursor, [name for name in behaviour if name in HAPPENED], origin)


def _later_dates(cursor, names, origin):
    """Dates that cannot have come yet when they were observed."""
    warnings = []
    for name in names:
        warnings += warning(
            cursor, f"{HAPPENED[name]} after the import's date",
            f"select external_id from staged where {name} > %(observed)s", observed=origin.observed,
        )  # fmt: skip
    return warnings
