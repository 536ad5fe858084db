"""Contracts of an import: whether the end of one is its last day, or the first day on which it no longer runs.

Demarc keeps the first day on which it no longer runs. Systems write both, and a day of difference is a day without ARR
between a contract and the one that renews it. So the recipe says it, and where the rows tell that it has to, it is asked.
"""

import datetime

import polars as pl

from .errors import ImportFault

LAST_DAY, DAY_AFTER = "last day", "day after"
ENDS = (LAST_DAY, DAY_AFTER)
TELLING = 10  # of a hundred contracts that another one follows: so many follow on the next day where ends are last days
EXAMPLES = 5
LATEST = datetime.date.max


def ended(frame, ends):
    """(the subscriptions with their ends as Demarc keeps them, warnings).

    ends: LAST_DAY, DAY_AFTER, or "" where the recipe does not say; ImportFault where the rows tell that it has to.
    """
    if not {"start_date", "end_date"} <= set(frame.columns) or ends == DAY_AFTER:
        return frame, []
    if ends == LAST_DAY:
        after = pl.col("end_date") + pl.duration(days=1)
        return frame.with_columns(
            end_date=pl.when(pl.col("end_date") < LATEST).then(after).otherwise("end_date")
        ), []
    return frame, _asked(frame)


def _asked(frame):
    whose = [name for name in ("external_id", "product") if name in frame.columns]
    follows = pl.col("start_date").shift(-1).over(whose, order_by="start_date") - pl.col("end_date")
    followed = frame.with_columns(days=follows.dt.total_days()).filter(pl.col("days") >= 0)
    next_day = followed.filter(pl.col("days") == 1).sort("external_id", "subscription_id")
    if next_day.is_empty():
        return []
    same_day = (followed["days"] == 0).sum()
    count, of = len(next_day), len(followed)
    if count > same_day and count * 100 >= of * TELLING:
        first = next_day.row(0, named=True)
        raise ImportFault(
            f"Does a contract run on its end_date? In {count:,} of {of:,} contracts that another one follows, that begins "
            f"on the day after ({first['external_id']}: {first['subscription_id']} ends on {first['end_date']}). Say it in "
            f"the recipe: `contract_end: {LAST_DAY}`, or `contract_end: {DAY_AFTER}` where it runs no longer on that day. "
            "Otherwise whoever renews has no ARR for a day."
        )
    examples = [
        f"{row['external_id']}: {row['subscription_id']}"
        for row in next_day.head(EXAMPLES).iter_rows(named=True)
    ]
    return [{"query": "subscriptions", "warning": UNDECLARED, "count": count, "examples": examples}]


UNDECLARED = (
    "another contract begins on the day after: say in the recipe whether the end is its last day, such as "
    f"`contract_end: {LAST_DAY}`"
)
