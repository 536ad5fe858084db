"""Usage of long ago: of a month that ended more than 90 days ago one row an account is kept, the values at its end.

The row says from which day on it stands for others (`thinned_from`), so that a date among those is not answered with it.
"""

from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Max

from accounts.models import FactChange
from accounts.past import DAYS

STEP = 10_000  # accounts of a transaction

# Rows of a month of which there are several. Learnt lately: they wait, which spares looking at the newest rows of everybody.
_MONTHS = """
    create temp table months on commit drop as
    select * from (
        select id, account_id, product, observed, source, "values", learnt_at, coalesce(thinned_from, observed) as first,
               date_trunc('month', observed) as month,
               count(*) over (partition by account_id, product, date_trunc('month', observed)) as rows
          from accounts_factchange
         where home = 'usage' and account_id between %(first)s and %(last)s
           and learnt_at < %(at)s::date - 30 and observed < %(before)s) m
     where rows > 1
"""
_KEEP = """
    insert into accounts_factchange (account_id, home, product, observed, source, "values", learnt_at, thinned_from)
    select m.account_id, 'usage', m.product, m.until, m.source, v.vals, m.learnt_at, m.first
      from (select account_id, product, month, max(observed) as until, max(learnt_at) as learnt_at, min(first) as first,
                   (array_agg(source order by observed desc, id desc))[1] as source
              from months group by account_id, product, month) m
     cross join lateral (
           select jsonb_object_agg(t.key, t.value) as vals
             from (select distinct on (e.key) e.key, e.value from months n cross join lateral jsonb_each(n."values") e
                    where (n.account_id, n.month) = (m.account_id, m.month) and n.product is not distinct from m.product
                    order by e.key, n.observed desc, n.id desc) t) v
"""


def monthly(at):
    """On the first day of a month, what is due."""
    if at.day == 1:
        thin(at)


def thin(at):
    """Put each month that ended more than 90 days before into one row."""
    before = (at - timedelta(days=DAYS)).replace(day=1)
    last = FactChange.objects.aggregate(last=Max("account_id"))["last"] or 0
    for first in range(1, last + 1, STEP):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_MONTHS, {"at": at, "before": before, "first": first, "last": first + STEP - 1})
            if cursor.rowcount:
                cursor.execute("create index on months (account_id, month)")
                cursor.execute("analyze months")
                cursor.execute(_KEEP)
                cursor.execute("delete from accounts_factchange c using months m where c.id = m.id")
            cursor.execute("drop table months")
