"""The portfolio in numbers, each with the methodology's verdict."""

from datetime import timedelta
from fractions import Fraction

from django.conf import settings
from django.db import connection
from django.db.models import Count, Min
from django.utils import timezone

from accounts import quality
from accounts.catalogue import TYPES
from accounts.revenue import ARR_OF_SUBSCRIPTIONS
from segmentation.definitions import Document
from segmentation.models import Cause, Move, Segment

# The share of each tier, highest first, that the methodology calls healthy.
BANDS = [
    (Fraction(15, 100), Fraction(25, 100)),
    (Fraction(40, 100), Fraction(55, 100)),
    (Fraction(25, 100), Fraction(35, 100)),
]

_OVERVIEW = f"""
    select z.effective_id, count(*),
           coalesce(sum(coalesce(a.arr, s.arr)) filter (where a.currency in ('', %(currency)s)), 0),
           count(*) filter (where a.currency not in ('', %(currency)s)),
           count(*) filter (where z.provisional),
           count(*) filter (where z.computed_id <> z.effective_id),
           count(*) filter (where z.id is not null and z.computed_id is null),
           count(*) filter (where c.thin),
           count(*) filter (where z.id is null)
      from accounts_account a
      left join ({ARR_OF_SUBSCRIPTIONS} group by b.account_id) s on s.account_id = a.id
      left join segmentation_assignment z on z.account_id = a.id and z.layer_id = %(layer)s
      left join segmentation_assignmentscore c on c.assignment_id = z.id
     where {quality.ACTIVE}
     group by z.effective_id
"""
_COUNTS = ["accounts", "arr", "other_currency", "provisional", "differs", "needs_data", "thin", "untouched"]


def overview(layer, *, at):
    """Active customers on a layer at the date: totals, and accounts and ARR per segment; two queries."""
    with connection.cursor() as cursor:
        cursor.execute(
            _OVERVIEW,
            {"at": at, "layer": layer.pk if layer else None, "currency": settings.ORGANISATION_CURRENCY},
        )
        rows = {row[0]: dict(zip(_COUNTS, row[1:], strict=True)) for row in cursor.fetchall()}
    total = {name: sum(row[name] for row in rows.values()) for name in _COUNTS}
    none = dict.fromkeys(_COUNTS, 0)
    segments = [
        {"segment": segment, **rows.get(segment.pk, none)}
        for segment in Segment.objects.filter(layer=layer).order_by("position", "key")
    ]
    most = max([one["accounts"] for one in segments], default=0)
    most_arr = max([one["arr"] for one in segments], default=0)
    for one in segments:
        one["share"] = quality.share(one["accounts"], total["accounts"])
        one["bar"] = quality.share(one["accounts"], most)
        one["arr_bar"] = one["arr"] / most_arr if most_arr else None
    without = rows.get(None, none)["accounts"]
    return total | {"segments": segments, "without": without, "segmented": total["accounts"] - without}


def distribution(segments):
    """Three tiers beside their bands; nothing for a layer with more or fewer segments."""
    if len(segments) != len(BANDS):
        return []
    return [
        one | {"low": low, "high": high, "verdict": _band(one["share"], low, high)}
        for one, (low, high) in zip(segments, BANDS, strict=True)
    ]


def _band(share, low, high):
    if share is None:
        return None
    if share > Fraction(60, 100):
        return ("bad", "far above the band")
    if low <= share <= high:
        return ("ok", "within the band")
    return ("warn", "below the band" if share < low else "above the band")


def coverage_verdict(share):
    return _verdict(share, Fraction(95, 100), Fraction(80, 100))


def completeness_verdict(share):
    return _verdict(share, Fraction(85, 100), Fraction(60, 100))


def concentration_verdict(share):
    if share is None:
        return None
    return ("warn", "above 60 %") if share > Fraction(60, 100) else ("ok", "60 % or less")


def _verdict(share, good, fair):
    """(class, words) of a share; half-open, unrounded."""
    if share is None:
        return None
    if share >= good:
        return ("ok", f"good, {int(good * 100)} % or more")
    if share >= fair:
        return ("warn", f"warning, below {int(good * 100)} %")
    return ("bad", f"poor, below {int(fair * 100)} %")


def facts_of(definition):
    """The stored and derived data fields the rules use, in their order."""
    if definition is None:
        return []
    return list(Document.parse(definition.document, types=TYPES).facts)


def moves_since_yesterday():
    """[{layer, why, moves}] written since yesterday 0:00 in the organisation's zone.

    By the cause rows, which are few: one a transaction.
    """
    yesterday = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    first = Cause.objects.filter(at__gte=yesterday).aggregate(first=Min("id"))["first"]
    if first is None:
        return []
    found = (
        Move.objects.filter(cause_id__gte=first)
        .order_by()
        .values("layer__name", "layer__position", "why")
        .annotate(moves=Count("pk"))
        .order_by("layer__position", "layer__name", "why")
    )
    return [
        {"layer": one["layer__name"], "why": Move.Why(one["why"]).label, "moves": one["moves"]}
        for one in found
    ]
