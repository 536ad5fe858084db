"""Values that an import tells of a day before what we have: what we have stays, and what was so on that day becomes known."""

from accounts.record_warnings import run_sql

# Home of a change: its table, and what a row of it (x) is about: account, product, subscription; the stamp of a column.
_LATE = {
    "account": ("accounts_account", "x.id, null::bigint, null::bigint", "x.provenance -> {fact}"),
    "usage": ("accounts_usage", "x.account_id, x.product_id, null::bigint", "x.provenance -> {fact}"),
    "subscription": (
        "accounts_subscription",
        "x.account_id, null::bigint, x.id",
        "jsonb_build_array(x.source, x.observed)",
    ),
}
_FACT = "case k.key when 'csm_id' then 'csm' when 'parent_id' then 'parent' else k.key end"
_OF_COLUMN = """from accounts_factchange c
     where (c.account_id, c.home) = (l.account, %(home)s) and c."values" ? k.key
       and c.product is not distinct from l.product and c.subscription is not distinct from l.subscription"""
_LAST = "order by c.observed desc nulls last, c.id desc limit 1"


def note(cursor, home, origin, day="%(observed)s::date"):
    """Note what rows of `planned` say of a day before what we have: the values stay, and that day's become known.

    Only what differs from what was known of that day. Where the value that stays was only seen again since, it is noted
    once more, as of the day it was seen last: the older one would else be taken for it.
    """
    table, about, stamp = _LATE[home]
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
                  from late l cross join lateral (
                       select jsonb_object_agg(k.key, k.value) as told from jsonb_each(l.told) k
                        where k.value is distinct from (
                              select c."values" -> k.key {_OF_COLUMN} and coalesce(c.observed <= l.day, true) {_LAST})) n
                 where n.told is not null order by l.nr""",
            given,
        )
        cursor.execute(
            f"""insert into accounts_factchange (account_id, home, product, subscription, observed, source, "values", learnt_at)
                select l.account, %(home)s, l.product, l.subscription, (s.stamp ->> 1)::date, coalesce(s.stamp ->> 0, ''),
                       jsonb_object_agg(k.key, s.held), min(coalesce(s.learnt_at, now()))
                  from late l join {table} x on x.id = l.id
                 cross join lateral jsonb_object_keys(l.told) k (key)
                 cross join lateral (
                       select {stamp.format(fact=_FACT)} as stamp, v.held,
                              (select max(c.learnt_at) {_OF_COLUMN} and c."values" -> k.key = v.held) as learnt_at
                         from (select coalesce(nullif(to_jsonb(x) -> k.key, 'null'), '[]') as held) v) s
                 where s.held is distinct from (select c."values" -> k.key {_OF_COLUMN} {_LAST})
                 group by l.nr, l.account, l.product, l.subscription, s.stamp order by l.nr""",
            given,
        )
    run_sql(cursor, "drop table late")
