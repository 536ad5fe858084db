"""The fact catalogue: every typed, named thing Demarc may know about an account.

The names are the interface: recipes, rules, the API and exports use them. Pure Python; no Django.
"""

import difflib
from dataclasses import dataclass
from functools import cache

import polars as pl

DTYPES = {
    "text": pl.String,
    "integer": pl.Int64,
    "money": pl.Decimal(38, 2),
    "ratio": pl.Decimal(38, 6),
    "number": pl.Decimal(38, 6),
    "date": pl.Date,
    "boolean": pl.Boolean,
}


@dataclass(frozen=True)
class Fact:
    """One entry of the catalogue.

    `home` says where the value is held: `account` (a column of Account), `usage` (a column of Usage) or
    `derived` (`sql`, over the aliases a = account, u = its usage, s = its subscriptions' summary, m = its
    manager (CSM), p = its parent, and the clock `%(at)s`). A stored fact with `sql` is completed by it where nothing was imported.
    `refresh_days`: older than this is stale. `completeness`: the share of active customers that should have it.
    `minimum` / `maximum`: what a stored value must lie within.
    """

    name: str
    label: str
    type: str
    home: str = "account"
    unit: str = ""
    family: str = "firmographic"
    refresh_days: int = 31
    completeness: float = 0.60
    minimum: int | None = None
    maximum: int | None = None
    sql: str = ""
    help: str = ""


def _facts():
    text = {"type": "text"}
    contract = {"family": "contract", "refresh_days": 1}
    usage = {"home": "usage", "family": "usage", "refresh_days": 2}
    engagement = {"home": "usage", "family": "engagement", "refresh_days": 2}
    count = {"type": "integer", "minimum": 0}
    share = {"type": "ratio", "unit": "%", "minimum": 0, "maximum": 1}
    active_users = "u.active_users"
    seats = "coalesce(a.seats_licensed, s.seats)"
    arr = "coalesce(a.arr, s.arr)"
    return [
        Fact("external_id", "Account ID", **text, completeness=1.0),
        Fact("name", "Name", **text, completeness=1.0),
        Fact("domain", "Web domain", **text),
        Fact("parent", "Parent account", **text, completeness=0.0, sql="p.external_id"),
        Fact("kind", "Kind", **text, completeness=1.0),
        Fact("status", "Status", **text, completeness=1.0),
        Fact("industry", "Industry", **text, completeness=0.80),
        Fact("employees", "Employees", **count, unit="people", completeness=0.80),
        Fact("annual_revenue", "Annual revenue", "money", minimum=0),
        Fact("country", "Country", **text, completeness=0.80),
        Fact("billing_country", "Billing country", **text),
        Fact("region", "Region", **text),
        Fact("growth_stage", "Growth stage", **text),
        Fact("tech_stack", "Technology", **text),
        Fact("csm", "CSM", **text, sql="m.email", completeness=0.95),
        Fact("contract_start", "Customer since", "date", **contract),
        Fact("renewal_date", "Renewal date", "date", **contract, sql="coalesce(a.renewal_date, s.next_end)"),
        Fact("currency", "Currency", **text, **contract, completeness=1.0),
        Fact("contract_type", "Contract type", **text, **contract, sql="coalesce(a.contract_type, s.contract_type)"),
        Fact("arr", "ARR", "money", unit="a year", **contract, minimum=0, completeness=0.95, sql=arr),
        Fact("acv", "ACV", "money", unit="a year", **contract, minimum=0),
        Fact(
            "expansion_ratio", "Expansion potential", "ratio", unit="x", **contract, minimum=0,
            help="potential ARR / current ARR",
        ),
        Fact("strategic_importance", "Strategic importance", **text, refresh_days=92),
        Fact("seats_licensed", "Licensed seats", **count, unit="seats", **contract, sql=seats),
        Fact("active_users", "Active users, 30 days", **count, unit="people", **usage),
        Fact("login_days_30d", "Days with a login, 30 days", **count, unit="days", maximum=30, **usage),
        Fact("feature_adoption", "Feature adoption", **share, **usage),
        Fact("feature_breadth", "Features used", **count, unit="features", **usage),
        Fact("workflow_maturity", "Workflow maturity", "number", unit="of 5", minimum=0, maximum=5, **usage),
        Fact("integrations_live", "Integrations live", **count, **usage),
        Fact(
            "usage_change_30d", "Usage change, 30 days", "ratio", unit="%", minimum=-1, **usage,
            help="-0.4 is 40 % less than in the 30 days before",
        ),
        Fact("tickets_open", "Open tickets", **count, unit="tickets", **engagement),
        Fact("tickets_90d", "Tickets, 90 days", **count, unit="tickets", **engagement),
        Fact("escalations_90d", "Escalations, 90 days", **count, **engagement),
        Fact("nps", "NPS", "integer", minimum=-100, maximum=100, **(engagement | {"refresh_days": 183})),
        Fact("csat", "CSAT", "number", unit="of 5", minimum=0, maximum=5, **(engagement | {"refresh_days": 92})),
        Fact("engagement_score", "Engagement score", "number", unit="of 100", minimum=0, maximum=100, **engagement),
        Fact("onboarding_completion", "Onboarding completed", **share, **engagement),
        Fact("missed_check_ins", "Missed check-ins", **count, **engagement),
        Fact("last_csm_contact", "Last CSM contact", "date", **engagement),
        Fact(
            "seat_use", "Seats in use", "ratio", home="derived", unit="%", family="usage",
            sql=f"round({active_users}::numeric / nullif({seats}, 0), 6)",
            help="active users / licensed seats",
        ),
        Fact(
            "account_age_days", "Account age", "integer", home="derived", unit="days", family="contract",
            sql="%(at)s::date - coalesce(a.contract_start, s.first_start)",
            help="from customer since, else the first subscription",
        ),
        Fact(
            "days_to_renewal", "Days to renewal", "integer", home="derived", unit="days", family="contract",
            sql="coalesce(a.renewal_date, s.next_end) - %(at)s::date",
        ),
        Fact(
            "days_since_csm_contact", "Days since CSM contact", "integer", home="derived", unit="days",
            family="engagement", sql="%(at)s::date - u.last_csm_contact",
        ),
        Fact(
            "arr_growth_12m", "ARR growth, 12 months", "ratio", home="derived", unit="%", family="contract",
            sql="round((s.arr - s.arr_12m_ago) / nullif(s.arr_12m_ago, 0), 6)",
            help="from subscriptions, today against a year before",
        ),
    ]  # fmt: skip


FACTS = {fact.name: fact for fact in _facts()}
TYPES = {fact.name: fact.type for fact in FACTS.values()}
ACCOUNT_FACTS = [fact.name for fact in FACTS.values() if fact.home == "account"]
USAGE_FACTS = [fact.name for fact in FACTS.values() if fact.home == "usage"]
MONEY_FACTS = frozenset(fact.name for fact in FACTS.values() if fact.type == "money") | {"arr_growth_12m"}

# What a subscription is worth at the clock: started, not ended (the end date itself is exclusive) and neither
# cancelled nor a trial. An account without any subscription has no summary row, so its ARR is unknown, not 0.
_ACTIVE = "b.status in ('active', 'past due') and b.start_date <= {at} and (b.end_date is null or b.end_date > {at})"
_NOW = _ACTIVE.format(at="%(at)s::date")
ACTIVE_NOW = _NOW  # for sums over subscriptions b
_YEAR_AGO = _ACTIVE.format(at="(%(at)s::date - interval '12 months')::date")
SUBSCRIPTION_SUMMARY = f"""
    select b.account_id,
           coalesce(sum(b.arr) filter (where {_NOW}), 0) as arr,
           coalesce(sum(b.arr) filter (where {_YEAR_AGO}), 0) as arr_12m_ago,
           sum(b.seats_licensed) filter (where {_NOW}) as seats,
           min(b.start_date) as first_start,
           min(b.end_date) filter (where {_NOW}) as next_end,
           case when bool_or({_NOW} and b.status = 'past due') then 'past due'
                when bool_or({_NOW} and b.contract_type <> '') then
                    (array_agg(b.contract_type order by b.arr desc nulls last, b.id) filter (where {_NOW} and b.contract_type <> ''))[1]
                when bool_or({_NOW} and b.end_date - b.start_date > 366) then 'multi-year'
                when bool_and(coalesce(b.end_date - b.start_date <= 62, false)) filter (where {_NOW}) then 'month-to-month'
                when bool_or({_NOW}) and bool_or(b.end_date <= %(at)s::date and b.status <> 'trial') then 'annual renewing'
                when bool_or({_NOW}) and bool_or(b.start_date < %(at)s::date - 366 and b.status <> 'trial') then 'annual renewing'
                when bool_or({_NOW}) then 'annual new'
           end as contract_type
      from accounts_subscription b
"""


def dtype(name):
    """The Polars type of a fact."""
    return DTYPES[TYPES[name]]


def sql(name):
    """The SQL expression that gives the fact's value at the clock (aliases as in `Fact`)."""
    fact = FACTS[name]
    return fact.sql or f"{'u' if fact.home == 'usage' else 'a'}.{name}"


@cache
def nearest(name):
    """The catalogue's name closest to a mistyped one, or None."""
    found = difflib.get_close_matches(name.lower(), FACTS, n=1, cutoff=0.6)
    return found[0] if found else None
