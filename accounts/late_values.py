"""Values that an import tells of a day before what we have: what we have stays, and what was so on that day becomes known."""

from accounts.record_warnings import run_sql

# Home of a change: its table, and what a row of it (x) is about: account, product, subscription; the stamp of a column.
_HOMES = {
    "account": ("accounts_account", "x.id, null::bigint, null::bigint", "x.provenance -> {fact}"),
    "usage": ("accounts_usage", "x.account_id, x.product_id, null::bigint", "x.provenance -> {fact}"),
    "subscription": (
        "accounts_subscription",
        "x.account_id, null::bigint, x.id",
        "jsonb_build_array(x.source, x.observed)",
    ),
}
_FACT = "case k.key when 'csm_id' then 'csm' when 'parent_id' then 'parent' else k.key end"
_SAME = """(c.account_id, c.home) = (l.account, %(home)s)
       and c.product is not distinct from l.product and c.subscription is not distinct from l.subscription"""
# The newest values that are known of what a row is about; between the two a condition on the changes.
_KNOWN = f"""
    lateral (select coalesce(jsonb_object_agg(t.key, t.value), '{{}}') as vals
               from (select distinct on (e.key) e.key, e.value
                       from (select * from accounts_factchange c where {_SAME}) c cross join lateral jsonb_each(c."values") e"""
_NEWEST = "order by e.key, c.observed desc nulls last, c.id desc) t) known"


def note(cursor, home, origin, day="%(observed)s::date"):
    """Note what rows of `planned` say of a day (SQL) before what we have.

    Only what differs from what was known of that day. Where the value that stays was only seen again since, it is noted
    once more, as of the day it was seen last: the older one would else be taken for it.
    """
    table, about, stamp = _HOMES[home]
    given = {"home": home, "source": origin.source, "observed": origin.observed}
    cursor.execute(
        f"""create temp table late on commit drop as
            select p.id, p.nr, y.*, {day} as day, p.told_late as told
              from planned p join {table} x on x.id = p.id, lateral (select {about}) y (account, product, subscription)
             where p.told_late <> '{{}}'""",
        given,
    )
    if cursor.rowcount:
        run_sql(
            cursor,
            """update late set told = jsonb_strip_nulls(told || jsonb_build_object('parent_id',
                      (select b.id from accounts_account b where b.external_id = told ->> 'parent_id')))
                where told ? 'parent_id'""",
        )
        cursor.execute(
            f"""insert into accounts_factchange (account_id, home, product, subscription, observed, source, "values")
                select l.account, %(home)s, l.product, l.subscription, l.day, %(source)s, n.told
                  from late l
                 cross join {_KNOWN} where coalesce(c.observed <= l.day, true) {_NEWEST}
                 cross join lateral (select jsonb_object_agg(k.key, k.value) as told from jsonb_each(l.told) k
                                      where k.value is distinct from known.vals -> k.key) n
                 where n.told is not null order by l.nr""",
            given,
        )
        cursor.execute(
            f"""insert into accounts_factchange (account_id, home, product, subscription, observed, source, "values", learnt_at)
                select l.account, %(home)s, l.product, l.subscription, (s.stamp ->> 1)::date, coalesce(s.stamp ->> 0, ''),
                       jsonb_object_agg(s.key, s.held),
                       min(coalesce((select max(c.learnt_at) from accounts_factchange c
                                      where {_SAME} and c."values" -> s.key = s.held), now()))
                  from late l join {table} x on x.id = l.id
                 cross join {_KNOWN} {_NEWEST}
                 cross join lateral (select to_jsonb(x) as held offset 0) j
                 cross join lateral (select k.key, {stamp.format(fact=_FACT)} as stamp,
                                            coalesce(nullif(j.held -> k.key, 'null'), '[]') as held
                                       from jsonb_object_keys(l.told) k (key)) s
                 where s.held is distinct from known.vals -> s.key
                 group by l.nr, l.account, l.product, l.subscription, s.stamp order by l.nr""",
            given,
        )
    run_sql(cursor, "drop table late")
