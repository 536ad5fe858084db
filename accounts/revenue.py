"""Money of accounts: their ARR, as the catalogue defines it, as Money.

An imported ARR counts, else the subscriptions, each in its currency. Nothing of two currencies is added up.
"""

import json
import re
from decimal import Decimal

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import BooleanField, DecimalField, JSONField

from accounts import catalogue
from accounts.models import Subscription
from core import raw_sql
from core.money import Money
from core.organisation import organisation

# SQL: the currency of the money of an account `a`.
OF_ACCOUNT = "coalesce(nullif(a.currency, ''), %(currency)s)"
# SQL over an account `a` and its subscriptions' summary `s`: the currencies of its money where that is not all in the
# organisation's, `EUR` or `EUR, USD`; else NULL.
FOREIGN = f"""case when {OF_ACCOUNT} <> %(currency)s then {OF_ACCOUNT}
                   when s.currency <> s.other_currency then s.currency || ', ' || s.other_currency
                   when s.currency <> %(currency)s then s.currency end"""


def parameters(at):
    """The parameters of the SQL of this module, and of the catalogue's: the clock, and what the organisation has set."""
    settings = organisation()
    return {"at": at, "currency": settings.currency, "grace": settings.renewal_grace_days}


# The ARR of an account a: {currency: amount} as JSON.
_AMOUNTS = f"""case when a.arr is not null then jsonb_build_object({OF_ACCOUNT}, a.arr::text) else (
    select jsonb_object_agg(x.currency, x.arr::text) from (
        select {catalogue.CURRENCY} as currency, coalesce(sum(b.arr) filter (where {catalogue.ACTIVE_NOW}), 0) as arr
          from accounts_subscription b where b.account_id = a.id group by 1) x) end"""
# A number to put accounts in order: the ARR, of one in several currencies its largest contract, 0 where none is known.
_ORDER = f"""coalesce(a.arr, (
    select case when min({catalogue.CURRENCY}) = max({catalogue.CURRENCY}) then sum(b.arr) else max(b.arr) end
      from accounts_subscription b where b.account_id = a.id and {catalogue.ACTIVE_NOW}), 0)"""


class _MoneyField(JSONField):
    """A JSON object of amounts, as Money."""

    def from_db_value(self, value, expression, connection):
        return Money.of((json.loads(value) if isinstance(value, str) else value or {}).items())


def contracts(at):
    """Subscriptions, each with `counts` (towards its account's ARR at the date) and `had` (so that it has the product)."""
    sql = {"counts": catalogue.ACTIVE_NOW, "had": catalogue.HAD}
    fields = {
        name: _raw(text, at, BooleanField(), "b", "accounts_subscription") for name, text in sql.items()
    }
    return Subscription.objects.select_related("product").annotate(**fields)


_RENEWALS = f"""
    select a.id, {_AMOUNTS}, {catalogue.sql("renewal_date")}, {catalogue.sql("renewal_status")} from accounts_account a
      left join lateral ({catalogue.SUBSCRIPTIONS_OF_ACCOUNT}) s on true where a.id = any(%(ids)s)
"""


def contracted(ids, at):
    """{id: (its ARR as Money; the day of its renewal, or None; the fact `renewal_status`)} at the date; one query."""
    with connection.cursor() as cursor:
        cursor.execute(_RENEWALS, parameters(at) | {"ids": list(ids)})
        return {
            id: (
                Money.of((json.loads(amounts) if isinstance(amounts, str) else amounts or {}).items()),
                *said,
            )
            for id, amounts, *said in cursor.fetchall()
        }


def renewals(ids, at):
    """{id: (the day of its renewal, or None; what there is to say of it, as the fact `renewal_status`)} at the date."""
    return {id: said[1:] for id, said in contracted(ids, at).items()}


def with_arr(accounts, at):
    """The queryset with `arr_now`: the ARR of each account at the date, as Money."""
    return accounts.annotate(arr_now=_raw(_AMOUNTS, at, _MoneyField()))


def with_arr_order(accounts, at):
    """The queryset with `arr_order`: a number to put accounts in the order of their ARR."""
    return accounts.annotate(arr_order=_raw(_ORDER, at, DecimalField(max_digits=20, decimal_places=2)))


def _raw(sql, at, field, alias="a", table="accounts_account"):
    """An expression of Django's of SQL over a table's alias."""
    return raw_sql.expression(re.sub(rf"\b{alias}\.", f"{table}.", sql), parameters(at), field)


_OF = f"""
    select a.id, {OF_ACCOUNT}, a.arr from accounts_account a where a.id = any(%(ids)s) and a.arr is not null
     union all
    select b.account_id, {catalogue.CURRENCY}, coalesce(sum(b.arr) filter (where b.counts), 0)
      from (select b.*, {catalogue.ACTIVE_NOW} as counts
              from accounts_subscription b where b.account_id = any(%(ids)s) offset 0) b
      join accounts_account a on a.id = b.account_id and a.arr is null
     group by 1, 2
"""


def of(ids, at):
    """{id: Money} of the ARR of some accounts at the date; empty Money where it is not known."""
    rows = {id: [] for id in ids}
    with connection.cursor() as cursor:
        cursor.execute(_OF, parameters(at) | {"ids": list(rows)})
        for id, currency, amount in cursor.fetchall():
            rows[id].append((currency, amount))
    return {id: Money.of(amounts) for id, amounts in rows.items()}


_TOTAL = f"""
    {{chosen}}
    select {OF_ACCOUNT}, sum(a.arr) from {{accounts}} where a.arr is not null group by 1
     union all
    select {catalogue.CURRENCY}, sum(b.arr)
      from {{accounts}} join accounts_subscription b on b.account_id = a.id
     where (a.arr is null or %(besides)s and {catalogue.CURRENCY} <> %(currency)s) and b.arr > 0 and {catalogue.ACTIVE_NOW}
     group by 1
"""


def total(accounts, at, *, besides=False):
    """Money of the ARR of a queryset of accounts at the date.

    besides: also of contracts in other currencies that run beside an imported ARR, which may or may not have them in it.
    """
    chosen, which, values = "", "accounts_account a", {}
    if raw_sql.narrowed(accounts):
        try:
            ids, values = raw_sql.ids(accounts)
        except EmptyResultSet:
            return Money.of([("", 0)])
        chosen, which = f"with chosen (id) as ({ids})", "chosen join accounts_account a on a.id = chosen.id"
    with connection.cursor() as cursor:
        cursor.execute(
            _TOTAL.format(chosen=chosen, accounts=which),
            parameters(at) | {"besides": besides} | values,
        )
        return Money.of([("", 0), *cursor.fetchall()])


# Each moment of the last days at which the history of an account or of a subscription says something else, and what it
# said then. The day the ARR is asked about tells which of them run.
_HIGHEST = f"""
with moments as (
    select id as account_id, %(since)s as at from unnest(%(accounts)s::bigint[]) id
    union
    select id, history_date from accounts_historicalaccount
     where id = any(%(accounts)s) and history_date > %(since)s
    union
    select account_id, history_date from accounts_historicalsubscription
     where account_id = any(%(accounts)s) and history_date > %(since)s)
select m.account_id, max(case when own.arr is null then running.arr
                              when own.currency = %(currency)s then own.arr else 0 end),
       coalesce(bool_or(own.arr > 0 and own.currency <> %(currency)s or running.others), false)
  from moments m
  left join lateral (
       select a.arr, {OF_ACCOUNT} as currency from accounts_historicalaccount a
        where a.id = m.account_id and a.history_date <= m.at
        order by a.history_date desc, a.history_id desc limit 1) own on true
  left join lateral (
       select sum(b.arr) filter (where {catalogue.CURRENCY} = %(currency)s) as arr,
              bool_or(b.arr > 0 and {catalogue.CURRENCY} <> %(currency)s) as others
         from (select distinct on (h.id) h.* from accounts_historicalsubscription h
                where h.account_id = m.account_id and h.history_date <= m.at
                order by h.id, h.history_date desc, h.history_id desc) b
        where b.history_type <> '-' and {catalogue.ACTIVE_NOW}) running on true
 group by m.account_id
"""


def highest(accounts, at, *, since):
    """(ARR, whether there was money in another currency beside it) of accounts (ids) together, since that moment.

    The ARR is the sum of the highest that was recorded for each in the organisation's currency.
    """
    with connection.cursor() as cursor:
        cursor.execute(_HIGHEST, parameters(at) | {"accounts": list(accounts), "since": since})
        rows = cursor.fetchall()
    return sum((arr or Decimal(0) for _, arr, _ in rows), Decimal(0)), any(others for *_, others in rows)
