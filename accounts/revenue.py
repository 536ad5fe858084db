"""ARR of accounts in querysets, as the catalogue defines it."""

from django.db.models import DecimalField
from django.db.models.expressions import RawSQL

from accounts import catalogue

ARR_OF_SUBSCRIPTIONS = f"""
    select b.account_id, coalesce(sum(b.arr) filter (where {catalogue.ACTIVE_NOW}), 0) as arr
      from accounts_subscription b
"""


def with_arr(accounts, at):
    """The queryset with `arr_now`: the ARR of each account at the date, None where it is not known."""
    one = f"""(coalesce(accounts_account.arr, (select x.arr from ({ARR_OF_SUBSCRIPTIONS}
               where b.account_id = accounts_account.id group by b.account_id) x)))"""
    sql = one.replace("%(at)s", "%s")
    return accounts.annotate(
        arr_now=RawSQL(
            sql, [at] * sql.count("%s"), output_field=DecimalField(max_digits=20, decimal_places=2)
        )
    )
