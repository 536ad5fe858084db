"""The changes of facts are kept (accounts/guards/4_fact_changes.sql). Their first rows come from history.

History says when a value was written, not of which day it is: that is the import's date, else the day it was written, and none
after what the provenance says. Usage has none: only the newest values are there.
"""

import django.db.models.deletion
from django.db import migrations, models

LEARNT = models.Func(function="transaction_timestamp")

# Each history row, the row as it is now after the last of them, and what differs from the one before.
_CHANGED = """
    with told as (
        select {owner} as account, h.id, h.history_id, h.history_date as at, h.history_run as run,
               h.history_type as type, h.history_channel as channel, to_jsonb(h) as told
          from {history} h join {table} n on n.id = h.id
        union all
        select {now_owner}, n.id, null, coalesce((select max(h.history_date) from {history} h where h.id = n.id), {created}),
               null, '~', '', to_jsonb(n)
          from {table} n),
    steps as (
        select t.*, lag(told) over w as before, row_number() over w = 1 as first
          from told t window w as (partition by id order by at, history_id nulls last)),
    changed as (
        select s.account, s.id, s.history_id, s.at, s.run, s.channel, s.first, e.key,
               case when e.value = 'null' then '[]' else e.value end as value,
               lead(s.id) over (partition by s.id, e.key order by s.at, s.history_id nulls last) is null as last
          from steps s cross join lateral jsonb_each(s.told) e
         where e.key <> all ({beside}) and e.key not like 'history\\_%'
           and e.value is distinct from coalesce(s.before -> e.key, 'null'))
"""

ACCOUNTS = _CHANGED.format(
    owner="h.id",
    now_owner="n.id",
    history="accounts_historicalaccount",
    table="accounts_account",
    created="n.created_at",
    beside="array['id', 'external_id', 'provenance', 'created_at']",
) + """,
    stamped as (
        select c.*, p.source as held_by, p.observed as held_of, coalesce(i.as_of, case when not c.first then c.at::date end) as day
          from changed c
          join accounts_account a on a.id = c.id
          left join accounts_importbatch i on i.id = c.run
         cross join lateral (select a.provenance -> case c.key when 'csm_id' then 'csm' when 'parent_id' then 'parent' else c.key end) q (stamp)
         cross join lateral (select q.stamp ->> 0, (q.stamp ->> 1)::date) p (source, observed)),
    dated as (
        select *, least(day, held_of) as observed,
               case when last and held_by is not null then held_by when channel = 'admin' then 'manual' else '' end as source
          from stamped)
    insert into accounts_factchange (account_id, home, observed, source, "values", learnt_at)
    select account, 'account', observed, source, jsonb_object_agg(key, value), at
      from dated group by account, at, history_id, observed, source order by at, history_id nulls last
"""

SUBSCRIPTIONS = _CHANGED.format(
    owner="h.account_id",
    now_owner="n.account_id",
    history="accounts_historicalsubscription",
    table="accounts_subscription",
    created="coalesce(n.observed, n.start_date)",
    beside="array['id', 'account_id', 'subscription_id', 'source', 'observed']",
) + """
    insert into accounts_factchange (account_id, home, subscription, observed, source, "values", learnt_at)
    select c.account, 'subscription', c.id,
           least(coalesce(i.as_of, case when not c.first then c.at::date end, b.observed), b.observed), b.source,
           jsonb_object_agg(c.key, c.value), c.at
      from changed c
      join accounts_subscription b on b.id = c.id
      left join accounts_importbatch i on i.id = c.run
     group by c.account, c.id, c.at, c.history_id, c.first, i.as_of, b.observed, b.source
     order by c.at, c.history_id nulls last
"""

USAGE = """
    insert into accounts_factchange (account_id, home, product, observed, source, "values", learnt_at)
    select u.account_id, 'usage', u.product_id, s.observed, coalesce(s.source, ''), s.vals, coalesce(s.observed, a.created_at)
      from accounts_usage u
      join accounts_account a on a.id = u.account_id
     cross join lateral (
           select (u.provenance -> e.key ->> 1)::date as observed, u.provenance -> e.key ->> 0 as source,
                  jsonb_object_agg(e.key, e.value) as vals
             from jsonb_each(jsonb_strip_nulls(to_jsonb(u) - array['id', 'account_id', 'product_id', 'provenance'])) e
            group by 1, 2) s
     order by s.observed nulls first, u.id
"""


def begin(apps, schema_editor):
    for statement in (ACCOUNTS, SUBSCRIPTIONS, USAGE):
        schema_editor.execute(statement, None)
    schema_editor.execute("analyze accounts_factchange", None)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_no_end")]
    operations = [
        # In two steps: when the events there are were learnt is not known.
        migrations.AddField(
            "signal", "learnt_at", models.DateTimeField(editable=False, null=True)
        ),
        migrations.AlterField(
            "signal", "learnt_at", models.DateTimeField(db_default=LEARNT, editable=False, null=True)
        ),
        migrations.CreateModel(
            name="FactChange",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "home",
                    models.CharField(
                        choices=[("account", "Account"), ("usage", "Usage"), ("subscription", "Subscription")],
                        max_length=12,
                    ),
                ),
                ("product", models.BigIntegerField(null=True)),
                ("subscription", models.BigIntegerField(null=True)),
                ("observed", models.DateField(null=True)),
                ("source", models.CharField(blank=True, max_length=200)),
                ("values", models.JSONField()),
                ("learnt_at", models.DateTimeField(db_default=LEARNT)),
                ("thinned_from", models.DateField(null=True)),
                (
                    "account",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="fact_changes",
                        to="accounts.account",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "default_permissions": [],
                "indexes": [models.Index(fields=["account", "learnt_at"], name="fact_change_of_account")],
            },
        ),
        migrations.RunPython(begin, migrations.RunPython.noop),
    ]
