"""The fact catalogue: every typed, named thing Demarc may know about an account.

The names are the interface: recipes, rules, the API and exports use them. Pure Python; no Django.
"""

import difflib
import re
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
# The values of models.Account.Kind, .Status and models.Subscription.Status, where there are no models.
KINDS = ("customer", "trial", "internal", "test")
STATUSES = ("active", "paused", "churned")
SUBSCRIPTION_STATUSES = ("active", "past due", "trial", "paused", "cancelled", "expired")
CHOICES = {"kind": KINDS, "status": STATUSES}  # facts that have one of these values and no other


@dataclass(frozen=True)
class Fact:
    """One entry of the catalogue.

    `home` says where the value is held: `account` (a column of Account), `usage` (a column of Usage) or
    `derived` (`sql`, over the aliases a = account, u = its usage, s = its subscriptions' summary, g = its signals'
    summary, m = its manager (CSM), p = its parent, and the clock `%(at)s`; `{arr}` is a column of WHOLE). A stored fact
    with `sql` is completed by it where nothing was imported.
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


@dataclass(frozen=True)
class Signal:
    """A kind of account event. Its last occurrence is the fact `days_since_<key>`."""

    key: str
    label: str
    family: str
    help: str = ""

    @property
    def fact(self):
        return f"days_since_{self.key}"


SIGNAL_FAMILIES = {
    "adoption": "Adoption and growth",
    "risk": "Risk",
    "recovery": "Recovery",
    "advocacy": "Advocacy",
}
# Whatever else is imported is kept and shown, but no rule can speak of it.
_SIGNALS = [
    Signal("first_workflow", "First workflow", "adoption", "the first workflow that ran successfully"),
    Signal("first_outcome", "First business outcome", "adoption", "the first result the customer bought it for"),
    Signal("new_use_case", "New use case", "adoption", "used for something it was not bought for"),
    Signal("cross_team_adoption", "Cross-team adoption", "adoption", "another team or department began to use it"),
    Signal("sponsor_departed", "Sponsor departed", "risk", "the executive sponsor left or changed roles"),
    Signal("executive_escalation", "Executive escalation", "risk", "the customer complained to our executives"),
    Signal("formal_pause", "Formal pause", "risk", "the customer asked to stop the work for a while"),
    Signal("renewal_disengaged", "Renewal disengaged", "risk", "no answer, or a refusal, about the renewal"),
    Signal("churn_reported", "Churn reported", "risk", "the customer gave notice or was reported as lost"),
    Signal("sponsor_replaced", "New sponsor", "recovery", "there is an executive sponsor again"),
    Signal("escalation_resolved", "Escalation resolved", "recovery", "the customer agrees that it is settled"),
    Signal("renewal_resumed", "Renewal conversation resumed", "recovery", "they talk about the renewal again"),
    Signal("reference_given", "Reference given", "advocacy", "a reference call, a case study, a public review"),
]  # fmt: skip
SIGNALS = {signal.key: signal for signal in _SIGNALS}


def _since(signal):
    return Fact(
        signal.fact, f"Days since: {signal.label.lower()}", "integer", home="derived", unit="days", family="signals",
        refresh_days=7, completeness=0.0, sql=f"%(at)s::date - g.{signal.key}", help=signal.help,
    )  # fmt: skip


# The one sentence there is to say about the renewal; the days of grace are a setting.
_RENEWAL = """case when s.overdue then 'overdue'
                      when s.lost then 'lost'
                      when coalesce({renewal_date}, s.next_end) > %(at)s::date then 'due'
                      when coalesce({renewal_date}, s.next_end) > %(at)s::date - %(grace)s::int then 'overdue'
                      when s.ended is not null or s.first_start is null and {renewal_date} is not null
                      then 'not renewed' end"""


def _facts():
    text = {"type": "text"}
    contract = {"family": "contract", "refresh_days": 1}
    usage = {"home": "usage", "family": "usage", "refresh_days": 2}
    engagement = {"home": "usage", "family": "engagement", "refresh_days": 2}
    # Facts the account team knows: with the account, so that people can correct it.
    team = {"family": "engagement", "refresh_days": 31}
    count = {"type": "integer", "minimum": 0}
    share = {"type": "ratio", "unit": "%", "minimum": 0, "maximum": 1}
    active_users = "u.active_users"
    seats = "coalesce({seats_licensed}, s.seats)"
    arr = "coalesce({arr}, s.arr)"
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
        Fact("ownership", "Ownership", **text, refresh_days=92, help="public, private, PE-backed, ..."),
        Fact("language", "Language", **text, refresh_days=365),
        Fact("timezone", "Time zone", **text, refresh_days=365),
        Fact("data_residency", "Data residency", **text, refresh_days=365, help="where its data has to be kept"),
        Fact("fit_score", "Fit score", "number", unit="of 100", minimum=0, maximum=100),
        Fact("csm", "CSM", **text, sql="m.email", completeness=0.95),
        Fact("contract_start", "Customer since", "date", **contract),
        Fact("renewal_date", "Renewal date", "date", **contract, sql="coalesce({renewal_date}, s.next_end)"),
        Fact(
            "renewal_status", "Renewal", home="derived", **text, **contract, completeness=0.0, sql=_RENEWAL,
            help="due, overdue (in the days of grace), not renewed (after them), lost (cancelled)",
        ),
        Fact("currency", "Currency", **text, **contract, completeness=1.0),
        Fact("contract_type", "Contract type", **text, **contract, sql="coalesce({contract_type}, s.contract_type)"),
        Fact("arr", "ARR", "money", unit="a year", **contract, minimum=0, completeness=0.95, sql=arr),
        Fact("acv", "ACV", "money", unit="a year", **contract, minimum=0),
        Fact(
            "expansion_ratio", "Expansion potential", "ratio", unit="x", **contract, minimum=0,
            help="potential ARR / current ARR",
        ),
        Fact("lifetime_value", "Lifetime value", "money", **(contract | {"refresh_days": 31}), minimum=0),
        Fact("success_package", "Success package", **text, **contract, help="the service that was bought"),
        Fact("strategic_importance", "Strategic importance", **text, refresh_days=92),
        Fact("seats_licensed", "Licensed seats", **count, unit="seats", **contract, sql=seats),
        Fact("stakeholders", "Stakeholders", **count, unit="people", **team, help="people we are in touch with"),
        Fact("economic_buyer_left", "Economic buyer left", "boolean", **team),
        Fact("success_plan_active", "Success plan active", "boolean", **team),
        Fact("last_qbr", "Last business review", "date", **(team | {"refresh_days": 92})),
        Fact("active_users", "Active users, 30 days", **count, unit="people", **usage),
        Fact("last_active_at", "Last active", "date", **usage),
        Fact("login_days_30d", "Days with a login, 30 days", **count, unit="days", maximum=30, **usage),
        Fact("feature_adoption", "Feature adoption", **share, **usage),
        Fact("feature_breadth", "Features used", **count, unit="features", **usage),
        Fact("workflow_maturity", "Workflow maturity", "number", unit="of 5", minimum=0, maximum=5, **usage),
        Fact("integrations_live", "Integrations live", **count, **usage),
        Fact("departments_using", "Departments using it", **count, unit="departments", **usage),
        Fact(
            "time_in_product", "Time in product", "number", unit="hours a user a month", minimum=0, maximum=744, **usage,
            help="hours of an active user in the last 30 days",
        ),
        Fact(
            "usage_change_30d", "Usage change, 30 days", "ratio", unit="%", minimum=-1, **usage,
            help="-0.4 is 40 % less than in the 30 days before",
        ),
        Fact("tickets_open", "Open tickets", **count, unit="tickets", **engagement),
        Fact("tickets_90d", "Tickets, 90 days", **count, unit="tickets", **engagement),
        Fact("escalations_90d", "Escalations, 90 days", **count, **engagement),
        Fact(
            "time_to_resolution", "Time to resolution", "number", unit="hours", minimum=0, **engagement,
            help="of the tickets of the last 90 days, on average",
        ),
        Fact("nps", "NPS", "integer", minimum=-100, maximum=100, **(engagement | {"refresh_days": 183})),
        Fact("csat", "CSAT", "number", unit="of 5", minimum=0, maximum=5, **(engagement | {"refresh_days": 92})),
        Fact("engagement_score", "Engagement score", "number", unit="of 100", minimum=0, maximum=100, **engagement),
        Fact(
            "intent_score", "Intent score", "number", unit="of 100", minimum=0, maximum=100,
            **(engagement | {"refresh_days": 7}), help="how much they look for more, such as by a signal platform",
        ),
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
            sql="%(at)s::date - coalesce({contract_start}, s.first_start)",
            help="from customer since, else the first subscription",
        ),
        Fact(
            "days_to_renewal", "Days to renewal", "integer", home="derived", unit="days", family="contract",
            sql="coalesce({renewal_date}, s.next_end) - %(at)s::date",
        ),
        Fact(
            "days_since_csm_contact", "Days since CSM contact", "integer", home="derived", unit="days",
            family="engagement", sql="%(at)s::date - u.last_csm_contact",
        ),
        Fact(
            "days_since_qbr", "Days since business review", "integer", home="derived", unit="days",
            family="engagement", sql="%(at)s::date - a.last_qbr",
        ),
        Fact(
            "days_since_last_active", "Days since last active", "integer", home="derived", unit="days",
            family="usage", sql="%(at)s::date - u.last_active_at",
        ),
        Fact(
            "days_since_contract_ended", "Days since contract ended", "integer", home="derived", unit="days",
            family="contract", completeness=0.0, sql="%(at)s::date - s.ended",
            help="since the last subscription ended; nothing while one is running",
        ),
        Fact(
            "arr_growth_12m", "ARR growth, 12 months", "ratio", home="derived", unit="%", family="contract",
            sql="round((s.arr - s.arr_12m_ago) / nullif(s.arr_12m_ago, 0), 6)",
            help="from subscriptions, today against a year before",
        ),
        *[_since(signal) for signal in _SIGNALS],
    ]  # fmt: skip


FACTS = {fact.name: fact for fact in _facts()}
TYPES = {fact.name: fact.type for fact in FACTS.values()}
ACCOUNT_FACTS = [fact.name for fact in FACTS.values() if fact.home == "account"]
# Facts that segments stand on and several systems claim to know: not overwritten by just anyone (accounts.quality.disputes).
PROTECTED = ("industry", "parent", "employees", "country")
# And who looks after an account, where people have decided that: with a hand-over, or on its page.
DISPUTED = (*PROTECTED, "csm")
USAGE_FACTS = [fact.name for fact in FACTS.values() if fact.home == "usage"]
# Columns imported for the whole account: of a part of it, such as one product, they say nothing.
WHOLE = ("arr", "acv", "seats_licensed", "renewal_date", "contract_type", "contract_start")
MONEY_FACTS = frozenset(fact.name for fact in FACTS.values() if fact.type == "money") | {"arr_growth_12m"}

# A contract counts from its start until its end (the day from which it no longer runs). One that was cancelled does too;
# one whose end nobody knows then does not. One that was not cancelled goes on for the days of grace, unless a contract of
# the same product has begun by then that may be its renewal. Trials, paused and expired ones never count.
_RUNS = """(b.start_date <= {at} and (b.status in ('active', 'past due') and (b.end_date is null or b.end_date > {at})
                                     or b.status = 'cancelled' and b.end_date > {at}))"""
_ENDED_LATELY = """(b.start_date <= {at} and b.status in ('active', 'past due')
                    and b.end_date <= {at} and b.end_date > {at} - %(grace)s::int)"""
_NOT_RENEWED = """not exists (
                 select from accounts_subscription n
                  where n.account_id = b.account_id and n.product_id is not distinct from b.product_id
                    and n.status <> 'trial' and n.start_date > b.start_date and n.start_date <= {at}
                    and n.start_date >= b.end_date - %(grace)s::int
                    and n.start_date > {at} - 2 * %(grace)s::int)"""  # which follows, and is known beforehand
_COUNTS = f"(case when {_RUNS} then true when {_ENDED_LATELY} then {_NOT_RENEWED} else false end)"
_TODAY, _A_YEAR_AGO = "%(at)s::date", "(%(at)s::date - interval '12 months')::date"
# SQL over a subscription b at the clock: true where it counts. Its parameters, and those of all SQL here: revenue.parameters.
ACTIVE_NOW, _ACTIVE_A_YEAR_AGO = _COUNTS.format(at=_TODAY), _COUNTS.format(at=_A_YEAR_AGO)
# SQL of those b that count, of all there are: in two parts, each of which PostgreSQL reads fast.
COUNTING = f"""(select b.* from accounts_subscription b where {_RUNS}
                 union all
                select b.* from accounts_subscription b where {_ENDED_LATELY} and {_NOT_RENEWED}) b""".format(
    at=_TODAY
)
# The same of having its product, which trials, paused and expired contracts give too while they run.
HAD = f"""({ACTIVE_NOW} or b.status <> 'cancelled' and b.start_date <= %(at)s::date
           and (b.end_date is null or b.end_date > %(at)s::date))"""
_NOW, _YEAR_AGO = "b.runs", "b.ran"
CURRENCY = "coalesce(nullif(b.currency, ''), %(currency)s)"


def _in_one_currency(which, then):
    """SQL: `then` where the amounts of the subscriptions (b) for which `which` holds are in one currency, else NULL."""
    which = f"filter (where {which})"
    return f"case when min(b.code) {which} is not distinct from max(b.code) {which} then {then} end"


def subscription_summary(by, where="true"):
    """SQL of what subscriptions (b) come to at the clock, by some of their columns; where: which of them.

    Amounts in several currencies are not added up: their sum is not known, and `currency` is not `other_currency`.
    """
    now, ago = f"sum(b.arr) filter (where {_NOW})", f"sum(b.arr) filter (where {_YEAR_AGO})"
    return f"""
    select {by},
           {_in_one_currency(_NOW, f"coalesce({now}, 0)")} as arr,
           {_in_one_currency(f"{_NOW} or {_YEAR_AGO}", f"coalesce({ago}, 0)")} as arr_12m_ago,
           min(b.code) filter (where {_NOW}) as currency,
           max(b.code) filter (where {_NOW}) as other_currency,
           sum(b.seats_licensed) filter (where {_NOW}) as seats,
           min(b.start_date) as first_start,
           min(b.end_date) filter (where {_NOW} and b.status <> 'cancelled') as next_end,
           bool_or({_NOW} and b.end_date <= %(at)s::date) as overdue,
           bool_or(b.status = 'cancelled') and not bool_or({_NOW} and b.status <> 'cancelled') as lost,
           case when not bool_or({_NOW}) then max(b.end_date) filter (where b.end_date <= %(at)s::date and b.status <> 'trial') end as ended,
           case when bool_or({_NOW} and b.status = 'past due') then 'past due'
                when bool_or({_NOW} and b.contract_type <> '') then
                    (array_agg(b.contract_type order by b.arr desc nulls last, b.id) filter (where {_NOW} and b.contract_type <> ''))[1]
                when bool_or({_NOW} and b.end_date - b.start_date > 366) then 'multi-year'
                when bool_and(coalesce(b.end_date - b.start_date <= 62, false)) filter (where {_NOW}) then 'month-to-month'
                when bool_or({_NOW}) and bool_or(b.end_date <= %(at)s::date and b.status <> 'trial') then 'annual renewing'
                when bool_or({_NOW}) and bool_or(b.start_date < %(at)s::date - 366 and b.status <> 'trial') then 'annual renewing'
                when bool_or({_NOW}) then 'annual new'
           end as contract_type
      from (select b.*, {ACTIVE_NOW} as runs, {_ACTIVE_A_YEAR_AGO} as ran,
                   case when b.arr > 0 then {CURRENCY} end collate "C" as code
              from accounts_subscription b where {where} offset 0) b
     group by {by}
"""


SUBSCRIPTION_SUMMARY = subscription_summary("b.account_id")
SUBSCRIPTIONS_OF_ACCOUNT = subscription_summary(
    "b.account_id", "b.account_id = a.id"
)  # of a, for a lateral join
# The last occurrence of each kind of event up to the clock; what a query does not ask for, PostgreSQL leaves out.
_LAST = ",\n           ".join(f"max(e.at) filter (where e.signal = '{key}') as {key}" for key in SIGNALS)
SIGNAL_SUMMARY = f"""
    select e.account_id,
           {_LAST}
      from accounts_signal e
     where e.at <= %(at)s::date
"""


def label(name):
    """The label of a fact; a name that is no longer in the catalogue is its own label."""
    return FACTS[name].label if name in FACTS else name


def dtype(name):
    """The Polars type of a fact."""
    return DTYPES[TYPES[name]]


def sql(name, *, whole="a.{}"):
    """The SQL expression that gives the fact's value at the clock (aliases as in `Fact`).

    whole: where a column of WHOLE stands.
    """
    if not (expression := FACTS[name].sql):
        expression = (
            f"{{{name}}}" if name in WHOLE else f"{'u' if FACTS[name].home == 'usage' else 'a'}.{name}"
        )
    return expression.format(**{column: whole.format(column) for column in WHOLE})


@cache
def nearest(name):
    """The catalogue's name closest to a mistyped one, or None."""
    matches = difflib.get_close_matches(name.lower(), FACTS, n=1, cutoff=0.6)
    return matches[0] if matches else None


@cache
def nearest_signal(key):
    """The event in the catalogue that an unknown one was probably meant to be, or None."""
    words = re.findall(r"[a-z0-9]+", key.lower())
    matches = [
        each for each in SIGNALS if words and set(words) <= set(each.split("_"))
    ]  # escalation is executive_escalation
    matches = matches or difflib.get_close_matches("_".join(words), SIGNALS, n=1, cutoff=0.7)
    return matches[0] if matches else None
