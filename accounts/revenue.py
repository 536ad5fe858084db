"""Money of accounts: their ARR, as the catalogue defines it, and which of it is in the organisation's currency.

Amounts in another currency are told of, and never added.
"""

from django.db import connection
from django.db.models import DecimalField, Q
from django.db.models.expressions import RawSQL

from accounts import catalogue
from core.organisation import organisation

ARR_OF_SUBSCRIPTIONS = f"""
    select b.account_id, coalesce(sum(b.arr) filter (where {catalogue.ACTIVE_NOW}), 0) as arr
      from accounts_subscription b
"""


OURS = "a.currency in ('', %(currency)s)"  # SQL: the money of account `a` is in the organisation's currency; see `parameters`


def parameters():
    """The parameters of the SQL in `OURS`."""
    return {"currency": organisation().currency}


def ours(path=""):
    """The same as a Q; path: that leads to the account, `account__`."""
    return Q(**{f"{path}currency__in": ["", organisation().currency]})


def currency_of(account):
    """The code of the currency an account's money is in."""
    return account.currency or organisation().currency


def with_arr(accounts, at):
    """The queryset with `arr_now`: the ARR of each account at the date, None where it is not known."""
    arr = f"""(coalesce(accounts_account.arr, (select x.arr from ({ARR_OF_SUBSCRIPTIONS}
               where b.account_id = accounts_account.id group by b.account_id) x)))"""
    sql = arr.replace("%(at)s", "%s")
    return accounts.annotate(
        arr_now=RawSQL(
            sql, [at] * sql.count("%s"), output_field=DecimalField(max_digits=20, decimal_places=2)
        )
    )


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
select m.account_id, max(coalesce(own.arr, running.arr))
  from moments m
  left join lateral (
       select h.arr from accounts_historicalaccount h where h.id = m.account_id and h.history_date <= m.at
        order by h.history_date desc, h.history_id desc limit 1) own on true
  left join lateral (
       select sum(b.arr) as arr
         from (select distinct on (h.id) h.* from accounts_historicalsubscription h
                where h.account_id = m.account_id and h.history_date <= m.at
                order by h.id, h.history_date desc, h.history_id desc) b
        where b.history_type <> '-' and {catalogue.ACTIVE_NOW}) running on true
 group by m.account_id
"""


def highest(accounts, at, *, since):
    """{id: the highest ARR that was recorded for the account since that moment}, None where none was known."""
    with connection.cursor() as cursor:
        cursor.execute(_HIGHEST, {"accounts": list(accounts), "at": at, "since": since})
        return dict(cursor.fetchall())
