"""What the account page shows: who the customer is, its segments, why, how it is served and what happened."""

from datetime import date
from decimal import Decimal, InvalidOperation

from django.conf import settings
from django.utils import timezone

from accounts.admin.governed import entries
from accounts.catalogue import FACTS, SIGNALS
from accounts.refusals import Refused
from accounts.revenue import with_arr
from accounts.templatetags import shown
from segmentation import coverage, explain
from segmentation.models import Assignment, Definition, Layer, Move

TIMELINE = 40
CHANGES = 20
EVENTS = 12
SHOW = {"": "All", "moves": "Segment changes", "rules": "Rules", "data": "Account data"}


def context(account_id, accounts, *, layer_key="", at_text="", show=""):
    """Everything the page needs. The account is looked up in `accounts`; None if it is not there."""
    today = timezone.localdate()
    at, warning = _date(at_text, today)
    account = with_arr(accounts.select_related("csm", "parent"), at).filter(pk=account_id).first()
    if account is None:
        return None
    states = _states(account)
    layers = list(Layer.objects.order_by("-primary", "position", "key"))
    layer = next((one for one in layers if one.key == layer_key), layers[0] if layers else None)
    why, refusal = _why(account, layer, at if at != today else None)
    subscriptions = list(account.subscriptions.select_related("product"))
    renewal = account.renewal_date or _next_end(subscriptions, at)
    moves = _moves(account)
    lines = coverage.serve(account, at=at if at != today else None)
    return {
        "account": account,
        "currency": account.currency or settings.ORGANISATION_CURRENCY,
        "today": today,
        "at": at,
        "past": at != today,
        "date_warning": warning,
        "layers": layers,
        "layer": layer,
        "states": states,
        "primary": next((one for one in states if one.layer.primary), None),
        "differing": [one for one in states if _differs(one)],
        "why": why,
        "refusal": refusal,
        "scale": _scale(why, layer) if why else None,
        "stale": _stale(why) if why else [],
        "renewal": renewal,
        "renewal_days": (renewal - at).days if renewal else None,
        "subscriptions": [{"one": one, "runs": _runs(one, at)} for one in subscriptions],
        "signals": _signals(account, at),
        "usage": list(account.usage.select_related("product").order_by("product__key")),
        "service": _service(lines),
        "decided": bool(lines or coverage.deciding_layers()),
        "timeline": _timeline(account, moves, show),
        "show": show,
        "shows": SHOW,
    }


def _date(text, today):
    if not text:
        return today, ""
    try:
        at = date.fromisoformat(text)
    except ValueError:
        return today, f"“{text[:20]}” is not a date; today is shown."
    if at > today:
        return today, "That date is still to come; today is shown."
    return at, ""


def _states(account):
    return list(
        Assignment.objects.filter(account=account)
        .select_related("layer", "effective", "computed")
        .order_by("-layer__primary", "layer__position", "layer__key")
    )


def _differs(state):
    return state.computed_id and state.effective_id and state.computed_id != state.effective_id


def _why(account, layer, at):
    if layer is None:
        return None, "There is no segmentation yet."
    try:
        return explain.explain(account, layer, at=at), ""
    except Refused as refusal:
        return None, str(refusal)


def _stale(why):
    """Data fields of the explanation that are older than they should be."""
    rows = [row for group in why["dimensions"] for row in group["criteria"]] + why.get("requires", [])
    return [
        row
        for row in rows
        if row.get("observed")
        and row.get("age_days") is not None
        and row["fact"] in FACTS
        and row["age_days"] > FACTS[row["fact"]].refresh_days
    ]


def _runs(subscription, at):
    return (
        subscription.status in ("active", "past due")
        and subscription.start_date <= at
        and (subscription.end_date is None or subscription.end_date > at)
    )


def _next_end(subscriptions, at):
    ends = [one.end_date for one in subscriptions if one.end_date and _runs(one, at)]
    return min(ends, default=None)


def _scale(why, layer):
    """The deciding number against its boundaries, as shares of a bar; None where there is no one number."""
    boundaries = why.get("boundaries") or []
    terms = {one["term"] for one in boundaries}
    if len(terms) != 1:
        return None
    term = terms.pop()
    value, low, high = _term(why, term)
    if value is None:
        return None
    names = dict(layer.segments.values_list("key", "name"))
    above = {Decimal(one["threshold"]): names.get(one["segment"], one["segment"]) for one in boundaries}
    thresholds = sorted(above)
    if high is None:
        low, high = Decimal(0), max([value, *thresholds]) * Decimal("1.15")
    if high <= low:
        return None

    def place(number):
        return max(Decimal(0), min(Decimal(1), (number - low) / (high - low)))

    return {
        "term": term,
        "fill": place(value),
        "ticks": [
            {"place": place(number), "shown": _short(number, term), "segment": above[number]}
            for number in thresholds
        ],
    }


def _term(why, term):
    """(value, lowest, highest) of what the rules compare; highest None where there is no such thing."""
    if term == "composite":
        sums = [one for one in why["dimensions"] if one.get("scale") == "points"]
        if sums:
            return _number(why["composite"]), Decimal(0), Decimal(5 * len(sums[0]["criteria"]))
        return _number(why["composite"]), Decimal(1), Decimal(5)
    if term.startswith("score."):
        for one in why["dimensions"]:
            if f"score.{one['key']}" == term:
                count = len(one["criteria"])
                low, high = (count, 5 * count) if one.get("scale") == "points" else (1, 5)
                return _number(one["score"]), Decimal(low), Decimal(high)
        return None, None, None
    rows = [row for group in why["dimensions"] for row in group["criteria"]] + why.get("requires", [])
    value = next((_number(row["value"]) for row in rows if row["fact"] == term), None)
    return value, None, None


def _number(text):
    try:
        return Decimal(text) if text is not None else None
    except (InvalidOperation, TypeError):
        return None


def _short(number, term):
    if term in FACTS and FACTS[term].type == "money":
        return shown.money(number)
    if term == "composite" or term.startswith("score."):
        return f"{number.normalize():,.1f}" if number.normalize().as_tuple().exponent >= -1 else f"{number:f}"
    return f"{number.normalize():,f}"


def _signals(account, at):
    """The account's last events, newest first; `counts` where it had happened by the date."""
    known = account.signals.order_by("-at", "signal", "-id")[:EVENTS]
    names = {key: signal.label for key, signal in SIGNALS.items()}
    return [
        {
            "at": one.at,
            "label": names.get(one.signal, one.signal),
            "source": one.source,
            "counts": one.at <= at,
        }
        for one in known
    ]


def _service(lines):
    """How the customer is served, one part per segmentation that decides some of it, the one that counts first first.

    Each: layer, segment, the segment it becomes after an open change or None, and its lines.
    """
    parts = {}
    for line in lines:
        part = parts.setdefault(
            line.layer, {"layer": line.layer, "segment": line.segment, "becomes": None, "lines": []}
        )
        part["lines"].append(line)
        if line.because and line.because.layer_id == line.layer.pk:
            part["becomes"] = line.because
    return [parts[layer] for layer in sorted(parts, key=coverage.order)]


def _moves(account):
    """The account's last moves. Cut off here: with a LIMIT the planner may walk all moves there are, newest first."""
    moves = Move.objects.filter(account_id=account.pk).defer("evidence").order_by("-id")
    return list(moves.select_related("layer", "from_segment", "to_segment", "cause", "definition"))[:TIMELINE]


def _timeline(account, moves, show):
    """What happened, newest first: segment changes, rules that became active, changes of the account's data."""
    events = []
    if show in ("", "moves"):
        events += [{"kind": "move", "on": move.at, "id": move.pk, "move": move} for move in moves]
    if show in ("", "rules"):
        events += _activations(moves)
    if show in ("", "data"):
        events += _data_changes(account)
    return sorted(events, key=lambda event: (event["on"], event["id"]), reverse=True)[:TIMELINE]


def _activations(moves):
    """Rules that became active since the account's first segment; those of one day together."""
    moved = {move.definition_id for move in moves if move.why == Move.Why.DEFINITION}
    first = min((move.at for move in moves), default=timezone.localdate())
    found = Definition.objects.filter(activated_at__date__gte=first).select_related("layer")
    days = {}
    for one in found.order_by("-activated_at")[:TIMELINE]:
        on = timezone.localtime(one.activated_at).date()
        days.setdefault((on, one.activated_by_label, one.pk in moved), []).append(one)
    return [
        {"kind": "rules", "on": on, "id": rules[0].pk, "rules": rules, "by": by, "moved": changed}
        for (on, by, changed), rules in days.items()
    ]


def _data_changes(account):
    """Changes of the account's data by people and imports; the row before the oldest one is read for its diff."""
    rows = list(account.history.order_by("-history_date", "-history_id")[: CHANGES + 1])
    told = entries(rows[:CHANGES], rows[CHANGES] if len(rows) > CHANGES else None)
    return [
        {"kind": "data", "on": timezone.localtime(one["when"]).date(), "id": 0, "data": one}
        for one in told
        if one["kind"] == "Changed" and one["changes"]
    ]
