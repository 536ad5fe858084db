"""The impact of other rules: looked at a range of accounts at a time, added up, and told with the verdicts.

Nothing is written. Money is in the organisation's currency; accounts with money in another one are counted, and left
out of every sum of ARR.
"""

from collections import Counter
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from itertools import zip_longest

import polars as pl

from accounts.models import Account, Product
from accounts.quality import figures
from segmentation.authoring import versions
from segmentation.evaluation import engine, frames, in_force
from segmentation.evaluation.ranges import Range
from segmentation.models import Segment
from segmentation.reading import coverage, portfolio
from segmentation.rules import terms
from segmentation.rules.document import Boundary
from segmentation.rules.rubric import literal

NEAREST = 20  # accounts told of each boundary
BESIDES = ("arr", "status")  # facts that are read beside those of the rules


@dataclass(frozen=True)
class Seen:
    """The figures of a range of accounts (JSON; `add` sums them), and who would change the segment.

    figures: `force` {(segment now, segment then, active customer): [accounts, ARR, accounts in another currency]} and
    `rules` {(by the rules now, then): ...} as lists of what is left and right of the colon; segments are ids. `rules`
    leaves out whom an override pins; `pinned` is the same of those. `counts` and `reasons`: {name: accounts}. `nearest`:
    a list per boundary of [distance, account, product, value, segment by the rules then, ARR], distance and value in
    10^-12.
    movers: a frame with `id`, `product`, `source`, `target` (in force now, and then), `rules_source`, `rules_target` (by the
    rules in use and by these, where these change it), `arr`.
    """

    figures: dict
    movers: pl.DataFrame


def look(layer, *, at, first, last, which=None):
    """Look at what a layer's rules (a LayerRules) would make of the accounts with ids from `first` to `last`; a Seen.

    which: accounts to look at, as `frames.facts` takes it, where the rules before are about others too.
    """
    part = Range([layer], at=at, first=first, last=last, which=which, besides=BESIDES)
    span = {"first": first, "last": last, "parts": layer.scope.parts}
    standing = frames.states(layer.id, since=layer.document.stays, **span)
    inputs = part.inputs(layer, standing=standing)
    result = engine.evaluate(layer.document, inputs, at, left_out=layer.left_out)
    both = pl.concat([inputs, result.drop(set(result.columns) & set(inputs.columns))], how="horizontal")
    values = [
        engine.as_score(boundary.term, layer.document).alias(f"value.{place}")
        for place, boundary in enumerate(boundaries(layer.document))
    ]
    computed = pl.col("segment").replace_strict(layer.segments, default=None, return_dtype=pl.Int64)
    rows = both.select(*layer.keys, "provisional", "reason", *values, computed=computed)
    rows = rows.join(standing, on=layer.keys, how="left", maintain_order="left")
    rows = rows.join(_money(part, layer), on=layer.keys, how="left", maintain_order="left")
    rows = rows.with_columns(then=in_force.will_be(layer, approved=True)).with_columns(
        moves=pl.col("then").ne_missing(pl.col("old_effective"))
    )
    figures = {
        "force": _tally(rows, ["old_effective", "then", "active"]),
        "rules": _tally(rows.filter(~in_force.PINNED), ["old_computed", "computed"]),
        "pinned": _tally(rows.filter(in_force.PINNED), ["old_computed", "computed"]),
        "counts": _counts(rows, layer) | {"not_covered": _not_covered(part, rows, standing, layer)},
        "reasons": dict(rows["reason"].drop_nulls().value_counts(name="n").iter_rows()),
        "nearest": [
            _nearest(rows, place, boundary, layer)
            for place, boundary in enumerate(boundaries(layer.document))
        ],
    }
    return Seen(figures, _movers(rows, layer))


def boundaries(document):
    """The numbers that the rules compare a term with, each once, in their order."""
    by_number = {}
    for rule in document.rules:
        for comparison in rule.condition.comparisons if rule.condition else ():
            if comparison.term is not None and comparison.op not in ("=", "<>"):
                boundary = Boundary(
                    comparison.term, comparison.op, Decimal(comparison.threshold).scaleb(-12), rule.segment
                )
                by_number.setdefault((comparison.term, comparison.threshold), boundary)
    return list(by_number.values())


def _money(part, layer):
    """`arr` where it can be summed, `foreign` where it is in another currency, and `active` customers."""
    foreign = pl.col("foreign").is_not_null()
    return part.facts(layer.scope).select(
        *layer.keys,
        foreign=foreign,
        arr=pl.when(~foreign).then("arr"),
        active=pl.col("status") == "active",
    )


def _tally(rows, keys):
    """[*keys, accounts, ARR as text, accounts in another currency] for every combination there is."""
    sums = rows.group_by(keys).agg(pl.len(), pl.col("arr").sum(), pl.col("foreign").sum())
    return [[*key, count, str(arr), foreign] for *key, count, arr, foreign in sums.iter_rows()]


def _counts(rows, layer):
    """Accounts before (as the last recalculation left them) and then; one that was never evaluated is `new`."""
    evaluated = pl.col("old_provisional").is_not_null()
    waits = pl.col("moves") & in_force.will_be(layer).ne_missing(pl.col("then"))
    stays = in_force.PINNED & in_force.unpinned(layer, approved=True).ne_missing(pl.col("old_effective"))
    return rows.select(
        scanned=pl.len(),
        new=(~evaluated).sum(),
        provisional_before=pl.col("old_provisional").sum(),
        provisional=pl.col("provisional").sum(),
        needs_data_before=(evaluated & pl.col("old_computed").is_null()).sum(),
        needs_data=pl.col("computed").is_null().sum(),
        moves=pl.col("moves").sum(),
        waits=waits.sum(),
        pinned=stays.sum(),
    ).row(0, named=True)


def _not_covered(part, rows, standing, layer):
    """Accounts with a segment whom the rules before are about, and these are not."""
    everyone = part.facts(layer.scope)
    if len(everyone) == len(rows):
        return 0
    held = standing.filter(pl.col("old_effective").is_not_null())
    return len(everyone.join(rows, on=layer.keys, how="anti").join(held, on=layer.keys, how="semi"))


def _nearest(rows, place, boundary, layer):
    """The accounts with a segment whose value is nearest to the boundary, on either side of it."""
    value, threshold = pl.col(f"value.{place}"), literal(int(boundary.threshold.scaleb(12)), pl.Int128)
    segmented = rows.filter(value.is_not_null() & pl.col("computed").is_not_null())
    segmented = segmented.select(
        "id", layer.product.alias("product"), value.alias("value"), "computed", "arr"
    )
    if segmented.is_empty():
        return []
    segmented = segmented.with_columns(away=(pl.col("value") - threshold).abs())
    farthest = segmented["away"].bottom_k(NEAREST).max()
    near = segmented.filter(pl.col("away") <= farthest).sort("away", "id", "product").head(NEAREST)
    return [
        [away, id, product, value, segment, _text(arr)]
        for away, id, product, value, segment, arr in near.select(
            "away", "id", "product", "value", "computed", "arr"
        ).iter_rows()
    ]


def _text(amount):
    return None if amount is None else str(amount)


def _movers(rows, layer):
    changed = ~in_force.PINNED & pl.col("computed").ne_missing(pl.col("old_computed"))
    return rows.filter(pl.col("moves") | changed).select(
        *layer.keys,
        source="old_effective",
        target="then",
        rules_source=pl.when(changed).then("old_computed"),
        rules_target=pl.when(changed).then("computed"),
        arr="arr",
    )


# -- adding up


def add(parts):
    """The figures of ranges (see Seen) as those of all of them."""
    parts = [part for part in parts if part["counts"]]  # in some, nobody could be evaluated
    counts, reasons = Counter(), Counter()
    for part in parts:
        counts.update(part["counts"])
        reasons.update(part["reasons"])
    tables = [part["nearest"] for part in parts]
    return {
        "force": _summed(part["force"] for part in parts),
        "rules": _summed(part["rules"] for part in parts),
        "pinned": _summed(part.get("pinned", []) for part in parts),
        "counts": dict(counts),
        "reasons": dict(reasons),
        "nearest": [_first(lists) for lists in zip(*tables, strict=True)],
    }


def _summed(tallies):
    sums = {}
    for tally in tallies:
        for *key, accounts, arr, foreign in tally:
            before = sums.get(tuple(key), (0, Decimal(0), 0))
            sums[tuple(key)] = (before[0] + accounts, before[1] + Decimal(arr), before[2] + foreign)
    ordered = sorted(sums.items(), key=lambda pair: [(part is None, part) for part in pair[0]])
    return [[*key, accounts, str(arr), foreign] for key, (accounts, arr, foreign) in ordered]


def _first(lists):
    rows = [row for rows in lists for row in rows]
    return sorted(rows, key=lambda row: (row[0], row[1], row[2] or 0))[:NEAREST]


# -- what it comes to


def result(layer, document, figures):
    """Keep an impact preview so that it can be read when segments, staff and prices are others.

    layer: the Layer; document: its pinned Document; figures: of the whole portfolio. Returns plain data: `segments` in
    their order, the `figures` without what is told otherwise, `boundaries` with the accounts by name, and `service`, a
    row per service model where the layer decides it.
    """
    segments = list(Segment.objects.filter(layer=layer).order_by("position", "key"))
    return {
        "primary": layer.primary,
        "unit": layer.scoped.unit,
        "segments": [{"id": segment.pk, "key": segment.key, "name": segment.name} for segment in segments],
        **{name: figures[name] for name in ("force", "rules", "pinned", "counts", "reasons")},
        "boundaries": _boundaries(layer, document, figures["nearest"] or [[]] * len(boundaries(document))),
        "service": _service(layer, figures["force"]),
    }


def _boundaries(layer, document, nearest):
    accounts = Account.objects.in_bulk({row[1] for rows in nearest for row in rows})
    products = Product.objects.in_bulk({row[2] for rows in nearest for row in rows if row[2]})
    names, entries = versions.labels(layer), []
    for boundary, rows in zip(boundaries(document), nearest, strict=True):
        called = terms.term(boundary.term, document.freeze(), names=names)
        entries.append(
            {
                "term": called[:1].upper() + called[1:],
                "op": boundary.op,
                "threshold": _plain(boundary.threshold),
                "segment": boundary.segment,
                "accounts": [_near(row, accounts, products) for row in rows],
            }
        )
    return entries


def _near(row, accounts, products):
    away, id, product, value, segment, arr = row
    account = accounts.get(id)
    return {
        "account": id,
        "external_id": account.external_id if account else "",
        "name": str(account) if account else "",
        "product": str(products[product]) if product in products else "",
        "away": _plain(Decimal(away).scaleb(-12)),
        "value": _plain(Decimal(value).scaleb(-12)),
        "away_shown": _shown(Decimal(away).scaleb(-12)),
        "value_shown": _shown(Decimal(value).scaleb(-12)),
        "segment": segment,
        "arr": arr,
    }


def _shown(number):
    """Two decimals, cut off: what is almost a boundary is not shown as it."""
    cut = number.quantize(Decimal("0.01"), ROUND_FLOOR)
    return "less than 0.01" if 0 < number < Decimal("0.01") else f"{Decimal(_plain(cut)):,f}"


def _plain(number):
    """`4.0` rather than `4.000000000000`, exact otherwise."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def segment_totals(force, *, then, active=False):
    """{segment id, or None: (accounts, ARR, accounts in another currency)}, now or then; `active` customers only."""
    sums = {}
    for source, target, is_active, accounts, arr, foreign in force:
        if is_active or not active:
            key = target if then else source
            before = sums.get(key, (0, Decimal(0), 0))
            sums[key] = (before[0] + accounts, before[1] + Decimal(arr), before[2] + foreign)
    return sums


def _service(layer, force):
    """Active customers of each service model, before and then; [] where the layer does not decide it."""
    if not layer.primary or "service_model" not in layer.decides:
        return []
    sides = {}
    for name, then in (("before", False), ("after", True)):
        counts = {key: sums[:2] for key, sums in segment_totals(force, then=then, active=True).items()}
        sides[name] = {weight.model: weight for weight in coverage.weigh(counts)}
    models = list(dict.fromkeys([*sides["before"], *sides["after"]]))
    return [_weights(model, sides["before"].get(model), sides["after"].get(model)) for model in models]


def _weights(model, before, after):
    def figures_of(weight):
        weight = weight or coverage.Weight(model, 0, Decimal(0))
        return {
            "accounts": weight.accounts,
            "arr": str(weight.arr),
            "cost": _text(weight.cost),
            "needed": weight.needed,
            "verdict": weight.verdict,
        }

    return {
        "key": model.key if model else None,
        "name": model.name if model else None,
        "band": model.band if model else "–",
        "staff": _text(model.staff) if model else None,
        "before": figures_of(before),
        "after": figures_of(after),
    }


def named(rows):
    """Accounts that were set aside ([id, reason]) by name."""
    rows = list(rows)
    accounts = Account.objects.in_bulk([id for id, _ in rows])
    return [
        {"account": id, "name": str(accounts[id]) if id in accounts else "", "reason": reason}
        for id, reason in rows
    ]


# -- telling


def numbers(result):
    """Tell what was kept (see `result`) in numbers for people and programs: plain data, segments by their keys.

    `distribution`, `coverage` and `concentration` are of active customers, everything else of all evaluated accounts.
    Shares are Fractions. Two questions, each with its accounts: `changed` are those for which these rules say another segment
    than those in use, and no override pins them: the number of a request. `moved` are those that would be in another segment
    than they are in now, whatever rules said so first. `moved.pinned`: those that would move, were they not pinned.
    """
    keys = _keys(result)
    counts, force = Counter(result["counts"]), result["force"]
    in_force = _summed([[[source, then, *amounts] for source, then, _, *amounts in force]])
    moved = [row for row in in_force if row[0] != row[1]]
    return {
        "unit": result["unit"],
        "accounts": counts["scanned"],
        "changed": _together(row for row in result["rules"] if row[0] != row[1]),
        "moved": _together(moved) | {"wait_for_approval": counts["waits"], "pinned": counts["pinned"]},
        "in_force": _matrix(in_force, keys),
        "by_rules": _matrix(_summed([result["rules"], result.get("pinned", [])]), keys),
        **_shares(result),
        "service_models": result["service"],
        "cost_to_serve": _costs(result["service"]),
        "provisional": {"before": counts["provisional_before"], "after": counts["provisional"]},
        "needs_data": {"before": counts["needs_data_before"], "after": counts["needs_data"]},
        "reasons": result["reasons"],
        "new": counts["new"],
        "not_covered": counts["not_covered"],
        "nearest": [_by_key(boundary, keys) for boundary in result["boundaries"]],
        "set_aside": result["set_aside"],
    }


def _together(rows):
    """The accounts and ARR of rows [from, to, accounts, ARR, accounts in another currency]."""
    rows = list(rows)
    return {
        "accounts": sum(row[2] for row in rows),
        "arr": str(sum((Decimal(row[3]) for row in rows), Decimal(0))),
        "other_currency": sum(row[4] for row in rows),
    }


def reach(result):
    """Rows (as those of `by_rules`) where these rules say otherwise than those in use, without accounts an override pins."""
    return _matrix([row for row in result["rules"] if row[0] != row[1]], _keys(result))


def _keys(result):
    return {segment["id"]: segment["key"] for segment in result["segments"]} | {None: None}


def _by_key(boundary, keys):
    accounts = [row | {"segment": keys.get(row["segment"])} for row in boundary["accounts"]]
    return boundary | {"accounts": accounts}


def _matrix(rows, keys):
    names = ["from", "to", "accounts", "arr", "other_currency"]
    return [
        dict(zip(names, [keys.get(source), keys.get(then), *amounts], strict=True))
        for source, then, *amounts in rows
    ]


def _shares(result):
    """How active customers are spread over the segments, before and then, and what follows from it."""
    sides = {
        name: segment_totals(result["force"], then=name == "after", active=True)
        for name in ("before", "after")
    }
    totals = {name: sum(row[0] for row in by_segment.values()) for name, by_segment in sides.items()}
    none = (0, Decimal(0), 0)
    bands = portfolio.BANDS if result["primary"] and len(result["segments"]) == len(portfolio.BANDS) else []
    distribution = []
    for segment, band in zip_longest(result["segments"], bands):
        row = {"segment": segment["key"], "name": segment["name"], "band": band}
        for name, by_segment in sides.items():
            accounts, arr, foreign = by_segment.get(segment["id"], none)
            share = figures.share(accounts, totals[name])
            row[name] = {"accounts": accounts, "arr": str(arr), "other_currency": foreign, "share": share}
            row[name]["verdict"] = portfolio.band_verdict(share, *band) if band else None
        distribution.append(row)
    coverage_of = {
        name: figures.share(totals[name] - by_segment.get(None, none)[0], totals[name])
        for name, by_segment in sides.items()
    }
    largest = {
        name: max(
            [row[name]["share"] for row in distribution if row[name]["share"] is not None], default=None
        )
        for name in sides
    }
    return {
        "active": totals["after"],
        "distribution": distribution,
        "coverage": coverage_of,
        "concentration": largest,
    }


def _costs(service):
    """The yearly cost of serving the active customers, before and then; `unknown`: accounts of models without a cost."""
    by_side = {}
    for name in ("before", "after"):
        costs = [Decimal(row[name]["cost"]) for row in service if row[name]["cost"] is not None]
        unknown = sum(row[name]["accounts"] for row in service if row[name]["cost"] is None)
        by_side[name] = {"cost": str(sum(costs)) if costs else None, "unknown": unknown}
    return by_side
