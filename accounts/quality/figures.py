"""How complete what is known about accounts is."""

from fractions import Fraction

from django.db import connection

from accounts import revenue
from accounts.catalogue import FACTS, SIGNAL_SUMMARY, SIGNALS, SUBSCRIPTION_SUMMARY, sql

# Whoever totals and shares are of, as SQL, and as the filters of the list of accounts that a number leads to.
ACTIVE = "a.kind = 'customer' and a.status = 'active' and not a.excluded"
ACTIVE_LISTED = {"kind__exact": "customer", "status__exact": "active", "excluded__exact": 0}


def completeness(names, *, at):
    """(active customers, {fact: how many of them have it}) for these facts at the date, in one query."""
    counts = ", ".join(f"count({_filled(name)})" for name in names)
    joins = {
        " s.": f"left join ({SUBSCRIPTION_SUMMARY}) s on s.account_id = a.id",
        " g.": f"left join ({SIGNAL_SUMMARY} group by e.account_id) g on g.account_id = a.id",
        " u.": "left join accounts_usage u on u.account_id = a.id and u.product_id is null",
    }
    text = " " + counts.replace("(", "( ").replace("::", " ::")
    wanted = " ".join(join for alias, join in joins.items() if alias in text)
    query = (
        f"select count(*) {',' if counts else ''} {counts} from accounts_account a {wanted} where {ACTIVE}"
    )
    with connection.cursor() as cursor:
        cursor.execute(query, revenue.parameters(at))
        total, *numbers = cursor.fetchone()
    return total, dict(zip(names, numbers, strict=True))


def unknown_signals(*, at, most=50):
    """[{key, accounts}] of events up to the date that are not in the catalogue, the most frequent first."""
    query = """select signal, count(distinct account_id) from accounts_signal
                where signal <> all(%s) and at <= %s group by signal order by 2 desc, signal limit %s"""
    with connection.cursor() as cursor:
        cursor.execute(query, [list(SIGNALS), at, most])
        return [{"key": key, "accounts": accounts} for key, accounts in cursor.fetchall()]


# Known when the link is there: no need to look up what it points to.
_LINKS = {"parent": "a.parent_id", "csm": "a.csm_id"}


def _filled(name):
    if name in _LINKS:
        return _LINKS[name]
    return f"nullif({sql(name)}, '')" if FACTS[name].type == "text" else sql(name)


def share(part, whole):
    """The exact share, None where there is nothing to take it of."""
    return Fraction(part, whole) if whole else None
