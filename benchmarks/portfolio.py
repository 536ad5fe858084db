"""A portfolio of any size, made inside the database in seconds; the same for the same size."""

from django.db import connection

# share(i, k): evenly spread in [0, 1) for account i and fact k, the same on every machine
SHARE = "((hashint8extended({i}, {k}) & 1048575) / 1048576.0)"

ACCOUNTS = """
insert into accounts_account (
    external_id, name, domain, kind, status, excluded, exclusion_reason, industry, employees, country,
    growth_stage, contract_start, currency, contract_type, arr, expansion_ratio, strategic_importance,
    seats_licensed, custom, provenance, created_at)
select 'B' || lpad(i::text, 8, '0'), 'Company ' || i, 'c' || i || '.example.com', 'customer', 'active', false, '',
       case when {s1} < 0.9 then (array['SaaS','FinTech','Healthcare','Manufacturing','Retail','Education'])[1 + least(({s1} * 6.6)::int, 5)] end,
       case when {s2} < 0.85 then (10 ^ (0.8 + 3.2 * {s2}))::bigint end,
       (array['US','CA','GB','DE','FR','IN','BR'])[1 + floor({s3} * 7)::int],
       (array['growth','scale-up','established','mature','early-stage'])[1 + floor({s4} * 5)::int],
       date '2026-11-22' - 100 - ({s5} * 1500)::int,
       'USD',
       (array['multi-year','annual renewing','annual new','month-to-month','past due'])[1 + floor({s6} * 5)::int],
       round((10 ^ (3.3 + 2.4 * {s7}))::numeric, 2),
       case when {s8} < 0.7 then round((0.7 + 2 * {s8})::numeric, 2) end,
       (array['named logo','industry influencer','standard','commodity'])[1 + floor({s9} * 4)::int],
       10 + ({s10} * 300)::int, '{{}}', '{{}}', now()
  from generate_series(1, %s) i
"""
USAGE = """
insert into accounts_usage (account_id, active_users, login_days_30d, feature_adoption, workflow_maturity,
       integrations_live, tickets_90d, engagement_score, nps, provenance)
select id, (a.seats_licensed * {u1})::int, (30 * {u2})::int, round({u3}::numeric, 2), round((5 * {u4})::numeric, 1),
       (8 * {u5})::int, (20 * {u6} * {u6})::int, round((100 * {u7})::numeric, 1),
       case when {u8} < 0.4 then (500 * {u8} - 100)::int end, '{{}}'
  from accounts_account a where external_id like 'B%'
"""


def build(size):
    """Add `size` active customers with usage."""
    shares = {f"s{k}": SHARE.format(i="i", k=k) for k in range(1, 11)}
    shares |= {f"u{k}": SHARE.format(i="a.id", k=100 + k) for k in range(1, 9)}
    with connection.cursor() as cursor:
        cursor.execute(ACCOUNTS.format(**shares), [size])
        cursor.execute(
            "analyze accounts_account"
        )  # else each usage row looks for its account along the table
        cursor.execute(USAGE.format(**shares))
        cursor.execute("analyze accounts_account, accounts_usage")


def touch(share):
    """Change one behavioural fact of this share of the accounts."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"update accounts_usage set tickets_90d = (tickets_90d + 7) %% 21 where {SHARE.format(i='account_id', k=7)} < %s",
            [share],
        )
        changed = cursor.rowcount
        cursor.execute("vacuum analyze accounts_usage")
    return changed


def rescore():
    """Change every account's composite a little (one measure by one point); few cross a boundary."""
    with connection.cursor() as cursor:
        cursor.execute("""
            update accounts_account set growth_stage = case growth_stage
                when 'growth' then 'established' when 'scale-up' then 'established' when 'established' then 'growth'
                when 'mature' then 'early-stage' else 'mature' end""")
        cursor.execute("vacuum analyze accounts_account")
