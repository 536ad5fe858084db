"""The portfolio in numbers, each with the methodology's verdict."""

from collections import Counter
from datetime import timedelta
from fractions import Fraction

from django.core.cache import cache
from django.db import connection
from django.db.models import Count, Max, Q
from django.utils import timezone

from accounts import catalogue, revenue
from accounts.models import Account, ImportBatch
from accounts.quality import figures
from core.money import Money
from segmentation.models import Move, RunLayer, Segment
from segmentation.rules import definitions

# The share of each tier, highest first, that the methodology calls healthy.
BANDS = [
    (Fraction(15, 100), Fraction(25, 100)),
    (Fraction(40, 100), Fraction(55, 100)),
    (Fraction(25, 100), Fraction(35, 100)),
]

_ACCOUNTS = f"""
    select z.effective_id, {revenue.OF_ACCOUNT}, sum(a.arr), count(*),
           count(*) filter (where z.provisional),
           count(*) filter (where z.computed_id <> z.effective_id),
           count(*) filter (where z.id is not null and z.computed_id is null),
           count(*) filter (where z.id is null)
      from accounts_account a
      left join segmentation_assignment z on z.account_id = a.id and z.layer_id = %(layer)s and z.product_id is null
     where {figures.ACTIVE}
     group by 1, 2
"""
_COUNTS = ["accounts", "provisional", "differs", "needs_data", "untouched"]
_NONE = dict.fromkeys(_COUNTS, 0) | {"money": Money()}

# ARR of accounts for which none was imported: as the catalogue's, but summed at once and not account by account.
_SUBSCRIPTIONS = f"""
    select z.effective_id, {catalogue.CURRENCY}, sum(b.arr)
      from {catalogue.COUNTING}
      join accounts_account a on a.id = b.account_id
      left join segmentation_assignment z on z.account_id = a.id and z.layer_id = %(layer)s and z.product_id is null
     where a.arr is null and {figures.ACTIVE}
     group by 1, 2
"""


KEPT = 60  # seconds


def overview(layer, *, at, after=0):
    """Active customers on a layer at the date: totals, and accounts and ARR per segment; at most six queries.

    `left_out`: which accounts are not counted. `money` is the ARR; `arr` what of it is in the organisation's currency, and `other_currency` the rest.

    The accounts are counted anew where what was counted is from before `after`; see `kept`. `counted_at` says when.
    """
    last = last_run(layer)
    (rows, left_out), counted_at = kept(
        "segments", lambda: (_per_segment(layer, at), _left_out()), layer=layer, at=at, last=last, after=after
    )
    total = _with_money(
        {name: sum((row[name] for row in rows.values()), zero) for name, zero in _NONE.items()}
    )
    segments = [
        {"segment": segment, **_with_money(rows.get(segment.pk, _NONE))}
        for segment in Segment.objects.filter(layer=layer).order_by("position", "key")
    ]
    most = max([segment["accounts"] for segment in segments], default=0)
    most_arr = max([segment["arr"] for segment in segments], default=0)
    for segment in segments:
        segment["share"] = figures.share(segment["accounts"], total["accounts"])
        segment["bar"] = figures.share(segment["accounts"], most)
        segment["arr_bar"] = segment["arr"] / most_arr if most_arr else None
    without = rows.get(None, _NONE)["accounts"]
    return total | {
        "segments": segments,
        "without": without,
        "left_out": left_out,
        "segmented": total["accounts"] - without,
        "thin": last.counts.get("thin", 0) if last else 0,  # as the last recalculation counted them
        "counted_at": counted_at,
    }


def _per_segment(layer, at):
    """{id of the segment, None for those without one: its counts}; reads every account."""
    parameters = revenue.parameters(at) | {"layer": layer.pk if layer else None}
    rows, amounts = {}, {}
    with connection.cursor() as cursor:
        cursor.execute(_ACCOUNTS, parameters)
        for segment, currency, arr, *counts in cursor.fetchall():
            before = rows.get(segment, _NONE)
            rows[segment] = {name: before[name] + count for name, count in zip(_COUNTS, counts, strict=True)}
            amounts.setdefault(segment, []).append((currency, arr or 0))
        cursor.execute(_SUBSCRIPTIONS, parameters)
        for segment, currency, arr in cursor.fetchall():
            amounts[segment].append((currency, arr))
    return {segment: row | {"money": Money.of(amounts[segment])} for segment, row in rows.items()}


def _left_out():
    """[(which, how many)] of the accounts that are no active customers, so that nobody misses them."""
    with connection.cursor() as cursor:
        cursor.execute(_LEFT_OUT)
        counts = dict(cursor.fetchall())
    labels = {
        key: label.lower()
        for key, label in [("excluded", "excluded"), *Account.Status.choices, *Account.Kind.choices]
    }
    return [(label, counts[key]) for key, label in labels.items() if key in counts]


_LEFT_OUT = f"""
    select case when a.kind <> 'customer' then a.kind when a.excluded then 'excluded' else a.status end, count(*)
      from accounts_account a where not ({figures.ACTIVE}) group by 1
"""


def _with_money(row):
    return row | {"arr": row["money"].ours, "other_currency": row["money"].others}


def completeness(rules, *, at, after=0):
    """(share of active customers by data field the rules use, when it was counted); at most four queries."""
    layer = rules.layer if rules else None

    def shares():
        names = facts_of(rules)
        total, counts = figures.completeness(names, at=at)
        return {name: figures.share(counts[name], total) for name in names}

    what = f"completeness-{rules.pk if rules else None}"
    return kept(what, shares, layer=layer, at=at, last=last_run(layer), after=after)


def kept(what, count, *, layer, at, last, after):
    """(what `count()` gives, when it was counted), for a minute from this process' memory.

    A million accounts take a second to count, and most visits find nothing new. So figures are kept under a key that
    changes with everything that changes accounts by the thousand. It has the layer's `last` recalculation and the
    imports, both as the database has them, and the day. Edits of one person are in no key. `after` is when the visitor
    last changed something (seconds; see config.middleware): whoever did sees figures counted since. Others may see them
    a minute late, which is why a page shows the time. Kept by each process for itself, nothing has to be cleared.
    """
    imports = ImportBatch.objects.aggregate(
        number=Count("pk", filter=_IMPORTED), last=Max("finished_at", filter=_IMPORTED)
    )
    state = [layer and layer.pk, at, last and last.run_id, last and last.run.finished_at, *imports.values()]
    key = ":".join(
        [what, *(value.isoformat() if hasattr(value, "isoformat") else str(value) for value in state)]
    )
    counted = cache.get(key)
    if counted is None or counted[1].timestamp() <= after:
        counted_at = timezone.now()  # before counting: what changes meanwhile may not be in it
        counted = count(), counted_at
        cache.set(key, counted, KEPT)
    return counted


_IMPORTED = Q(status=ImportBatch.Status.COMMITTED)


def last_run(layer):
    """The layer's part of its last recalculation that ended; of one layer they end one after the other."""
    ended = RunLayer.objects.filter(layer=layer, running=False)
    return ended.select_related("run").order_by("-run_id").first()


def distribution(segments):
    """Three tiers beside their bands; nothing for a layer with more or fewer segments."""
    if len(segments) != len(BANDS):
        return []
    return [
        segment | {"low": low, "high": high, "verdict": band_verdict(segment["share"], low, high)}
        for segment, (low, high) in zip(segments, BANDS, strict=True)
    ]


def band_verdict(share, low, high):
    """(class, words) of a share against its band."""
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
    return list(definitions.parse(definition.document, types=catalogue.TYPES).facts)


def moves_since_yesterday():
    """[{layer, moves, causes, first}] of the recalculations that ended since yesterday 0:00 in the organisation's zone.

    `causes` is [(why in words, how many)], the most frequent first. First segments are no changes: `first` counts them.
    """
    yesterday = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    ended = RunLayer.objects.filter(run__finished_at__gte=yesterday).select_related("layer")
    totals = {}
    for run_layer in ended.order_by("layer__position", "layer__key"):
        for why, number in sorted(run_layer.counts.get("moves", {}).items()):
            totals.setdefault(run_layer.layer.name, Counter())[Move.Why(why)] += number
    changes = []
    for layer, numbers in totals.items():
        first = numbers.pop(Move.Why.INITIAL, 0)
        causes = [(why.label, number) for why, number in numbers.most_common() if number]
        changes.append({"layer": layer, "moves": numbers.total(), "causes": causes, "first": first})
    return changes
