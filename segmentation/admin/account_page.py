"""The account page: who the customer is, its segments, why, how it is served and what happened."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation

from django.conf import settings
from django.db.models import Exists, OuterRef, Prefetch, prefetch_related_objects
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.module_loading import import_string

from accounts import revenue
from accounts.catalogue import FACTS, SIGNALS, USAGE_FACTS
from accounts.changes import entries
from accounts.models import Product
from accounts.quality import contradictions
from accounts.revenue import with_arr
from core import history, wording
from core.refusals import Refused
from segmentation import scopes, treatments
from segmentation.models import Assignment, Declaration, Definition, Layer, Move
from segmentation.reading import coverage, explain, nesting, provisional, spelling
from segmentation.reading.past import History
from segmentation.rules import reasons

CHIPS = 4  # labels at the top; all of them are in a table below
TIMELINE = 40
CHANGES = 20
EVENTS = 12
SHOW = {
    "": "All",
    "moves": "Segment changes",
    "decisions": "Decisions",
    "rules": "Rules",
    "data": "Account data",
}


@dataclass(frozen=True)
class Label:
    """A segmentation and what an account, or one of its products, is on it. `state`: its Assignment, None before the first."""

    layer: Layer
    product: Product | None
    state: Assignment | None
    path: str  # the segment in force, with what it is part of
    query: str  # the address of its explanation on this page

    @property
    def name(self):
        return f"{self.layer} of {self.product}" if self.product else self.layer.name

    @property
    def differs(self):
        state = self.state
        return bool(
            state and state.computed_id and state.effective_id and state.computed_id != state.effective_id
        )

    @property
    def waits(self):
        """Say what keeps the segment in force."""
        state = self.state
        state.layer = self.layer
        waits = explain.waits_for(state, state.computed_id, provisional=state.provisional)
        return f"{explain.WAITS[waits].format(state.effective.name)}."

    @property
    def serves(self):
        """[(what, text)] of what the segmentation decides for its segment."""
        effective = self.state and self.state.effective
        treatment = effective and effective.treatment
        values = [
            (treatments.FIELDS[name], getattr(treatment, name)) for name in self.layer.decides if treatment
        ]
        return [(field.label, text) for field, value in values if (text := field.shown(value))]

    @property
    def why_not(self):
        """Why it needs data, as a sentence."""
        lacking = self.state and not self.state.computed_id
        return reasons.text(self.state.reason) if lacking else ""


def context(
    request, account_id, accounts, *, layer_key="", product_key="", at_text="", known_then=False, show=""
):
    """Everything the page needs. The account is looked up in `accounts`; None if it is not there."""
    today = timezone.localdate()
    at, warning = _date(at_text, today)
    then = at if at != today else None
    known = then if known_then else None
    account = with_arr(accounts.select_related("csm", "parent"), at).filter(pk=account_id).first()
    if account is None:
        return None
    sold = Prefetch("subscriptions", queryset=revenue.contracts(at))
    prefetch_related_objects([account], "usage__product", sold)
    states = _states(account) if then is None else _states_on(account, then, known)
    layers = _layers({state.layer_id for state in states})
    layer = next((layer for layer in layers if layer.key == layer_key), layers[0] if layers else None)
    subscriptions = list(account.subscriptions.all())
    products = _products(account, states, subscriptions)
    product = _product(layer, products, product_key)
    moves = _moves(account)
    standing = _standing(layer, product, states, moves) if then is None and layer else None
    why, refusal = _why(account, layer, product, then, known, standing)
    lookup = _Labels(states, nesting.paths(), then)
    labels = [lookup.of(layer) for layer in layers if not layer.scoped.several]
    chips = [label for place, label in enumerate(labels) if place < CHIPS or label.layer == layer]
    for row in products:
        tagged = [layer for layer in layers if layer.scoped.several and row["product"]]
        row["labels"] = [lookup.of(layer, row["product"]) for layer in tagged]
        chips += [label for label in row["labels"] if (label.layer, label.product) == (layer, product)]
    renewal, renewal_status = revenue.renewals([account.pk], at)[account.pk]
    if then:
        account.arr_now, renewal, renewal_status = History(account, known=known).money(then)
    parts = _parts(request, account)
    deciding = _deciding(layers)
    lines = coverage.serve(
        account, at=then, targets=parts["becomes"], layers=deciding, states=None if then else states
    )
    return {
        "account": account,
        "today": today,
        "at": at,
        "past": then is not None,
        "known": known,
        "date_warning": warning,
        "layer": layer,
        "product": product,
        "here": _query(layer, product),
        "labels": labels,
        "chips": chips,
        "primary": next((label.state for label in labels if label.layer.primary), None),
        "differing": [(label, parts["holds"].get(label.layer.pk)) for label in labels if label.differs],
        "open_elsewhere": [
            hold
            for label in labels
            if not label.differs and (hold := parts["holds"].get(label.layer.pk)) and hold.get("title")
        ],
        "parts": parts,
        "why": why,
        "beside": [row for row in why["requires"] if not row["decides"]] if why else [],
        "refusal": refusal,
        "contradictions": contradictions.of_account(account, at),
        "scale": _scale(why, layer) if why else None,
        "stale": _stale(why) if why else [],
        "renewal": renewal,
        "renewal_status": renewal_status,
        "ends": max((one.end_date for one in subscriptions if one.counts and one.end_date), default=None),
        "renewal_days": (renewal - at).days if renewal else None,
        "products": products,
        "signals": _signals(account, at),
        "service": _service(lines),
        "decided": bool(lines or deciding),
        "timeline": _timeline(account, moves[:TIMELINE], show, parts["happened"]),
        "show": show,
        "shows": SHOW,
    }


def _parts(request, account):
    """Parts that apps further right add about the account; settings.ACCOUNT_PAGE_PARTS tells what they may give."""
    given = [import_string(path)(request, account) or {} for path in settings.ACCOUNT_PAGE_PARTS]
    listed = {
        name: [entry for part in given for entry in part.get(name, [])]
        for name in ("actions", "badges", "notices", "happened")
    }
    of_layers = {
        name: {layer: value for part in given for layer, value in part.get(name, {}).items()}
        for name in ("holds", "becomes")
    }
    return listed | of_layers | {"cards": [part for part in given if part.get("template")]}


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
    """The account's assignments on all segmentations, those of its products among them."""
    states = Assignment.objects.filter(account=account).select_related(*coverage.SERVED, "product")
    return list(provisional.with_settled(states))


def _states_on(account, at, known):
    """States in force on a date, as assignments that are nowhere stored: the move written last of those up to it."""
    moves = _with_gone(Move.objects.filter(account_id=account.pk, at__lte=at))
    moves = moves.filter(written_at__date__lte=known) if known else moves
    moves = moves.order_by("layer_id", "product_id", "-id").distinct("layer_id", "product_id")
    return [
        Assignment(
            layer_id=move.layer_id,
            product=move.product,
            computed=move.to_segment,
            effective=move.to_segment,
            effective_since=move.at,
            reason=scopes.GONE if move.gone else "",
        )
        for move in moves.select_related("product", "to_segment__treatment")
    ]


def _with_gone(moves):
    """Moves, each with what its evidence says of a product that is no longer there, and without the rest of it."""
    return moves.defer("evidence").annotate(
        gone=KeyTextTransform(scopes.GONE, KeyTransform("facts", "evidence"))
    )


def _layers(used):
    """The segmentations in use, the primary one first: those with active rules, and those (ids) that gave labels here."""
    active = Definition.objects.filter(layer=OuterRef("pk"), status=Definition.Status.ACTIVE)
    layers = Layer.objects.annotate(active=Exists(active)).order_by("-primary", "position", "key")
    return [layer for layer in layers if layer.active or layer.pk in used]


def _deciding(layers):
    """As coverage.deciding_layers, of the segmentations in use."""
    deciding = [layer for layer in layers if layer.active and layer.decides and not layer.scoped.several]
    return sorted(deciding, key=coverage.order)


class _Labels:
    """The segments of an account and its products on each segmentation, and where on this page each is explained."""

    def __init__(self, states, paths, at):
        self.states = {(state.layer_id, state.product_id): state for state in states}
        self.paths, self.at = paths, at

    def of(self, layer, product=None):
        state = self.states.get((layer.pk, product and product.pk))
        effective = state and state.effective
        path = self.paths.get(effective.pk, effective.name) if effective else ""
        return Label(layer, product, state, path, _query(layer, product, at=self.at))


def _query(layer, product=None, *, at=None):
    """The part of the address that says whose explanation is shown."""
    parameters = {
        "layer": layer.key if layer else "",
        "product": product and product.key,
        "at": at and at.isoformat(),
    }
    return urlencode({name: value for name, value in parameters.items() if value})


def _product(layer, products, key):
    """The product whose label is explained: the one asked for, else the first one with a label; None on other layers."""
    if layer is None or not layer.scoped.several:
        return None
    sold = [row["product"] for row in products if row["product"]]
    return next((product for product in sold if product.key == key), sold[0] if sold else None)


def _products(account, states, subscriptions):
    """The products of the account, one by one: those it has now first, what belongs to no product last.

    Each: product (or None), there (it has it), facts and their age, subscriptions as revenue.contracts gives them.
    """
    usage = {row.product_id: row for row in account.usage.all()}
    products = {row.product_id: row.product for row in [*usage.values(), *subscriptions]}
    products |= {state.product_id: state.product for state in states if state.product_id}
    rows = []
    for key, product in products.items():
        bought = [subscription for subscription in subscriptions if subscription.product_id == key]
        used = usage.get(key) if product else None  # that of the whole account stands with the measures
        if product or bought:
            rows.append(
                {
                    "product": product,
                    "there": any(subscription.had for subscription in bought) if bought else used is not None,
                    "facts": _usage_facts(used) if used else [],
                    "observed": _observed(used) if used else None,
                    "subscriptions": bought,
                }
            )
    return sorted(
        rows, key=lambda row: (row["product"] is None, not row["there"], str(row["product"]).casefold())
    )


def _usage_facts(usage):
    return [
        (FACTS[name].label, spelling.spelt(name, value))
        for name in USAGE_FACTS
        if (value := getattr(usage, name)) is not None
    ]


def _observed(usage):
    """(source, day) of what was observed last."""
    return max(
        (tuple(origin) for origin in usage.provenance.values() if origin[1]),
        key=lambda origin: origin[1],
        default=None,
    )


def _standing(layer, product, states, moves):
    """The Standing that explain would read once more; moves: all there are, the newest first."""
    wanted = (layer.pk, product and product.pk)
    return explain.Standing(
        next((state for state in states if (state.layer_id, state.product_id) == wanted), None),
        next((move for move in moves if (move.layer_id, move.product_id) == wanted), None),
    )


def _why(account, layer, product, at, known, standing):
    if layer is None:
        return None, "There is no segmentation yet."
    if product is None and layer.scoped.several:
        return (
            None,
            f"This segmentation labels the {layer.scoped.names} of an account, and this one has none.",
        )
    try:
        return explain.explain(account, layer, at=at, known=known, product=product, standing=standing), ""
    except Refused as refusal:
        return None, str(refusal)


def _stale(why):
    """Names of data fields of the explanation that are older than they should be."""
    rows = [row for group in why["dimensions"] for row in group["criteria"]] + why.get("requires", [])
    return [
        row["name"]
        for row in rows
        if row.get("observed")
        and row.get("age_days") is not None
        and row["fact"] in FACTS
        and row["age_days"] > FACTS[row["fact"]].refresh_days
    ]


def _scale(why, layer):
    """The deciding number against its boundaries, as shares of a bar; None where there is no one number."""
    boundaries = why.get("boundaries") or []
    terms = {boundary["term"] for boundary in boundaries}
    if len(terms) != 1:
        return None
    term = terms.pop()
    value, low, high = _term(why, term)
    if value is None:
        return None
    names = {segment.key: segment.name for segment in layer.segments.all()}
    above = {
        Decimal(boundary["threshold"]): names.get(boundary["segment"], boundary["segment"])
        for boundary in boundaries
    }
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
            {
                "place": place(number),
                "shown": _short(number, term),
                "segment": above[number],
                "side": _side(place(number)),
            }
            for number in thresholds
        ],
    }


def _side(place):
    """Where a boundary stands so near an end of the bar that its text would leave the page."""
    return "late" if place > Decimal("0.7") else "early" if place < Decimal("0.2") else ""


def _term(why, term):
    """(value, lowest, highest) of what the rules compare; highest None where there is no such thing."""
    if term == "composite":
        sums = [group for group in why["dimensions"] if group.get("scale") == "points"]
        if sums:
            return _number(why["composite"]), Decimal(0), Decimal(5 * len(sums[0]["criteria"]))
        return _number(why["composite"]), Decimal(1), Decimal(5)
    if term.startswith("score."):
        for dimension in why["dimensions"]:
            if f"score.{dimension['key']}" == term:
                count = len(dimension["criteria"])
                low, high = (count, 5 * count) if dimension.get("scale") == "points" else (1, 5)
                return _number(dimension["score"]), Decimal(low), Decimal(high)
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
        return wording.money(number)
    if term == "composite" or term.startswith("score."):
        return f"{number.normalize():,.1f}" if number.normalize().as_tuple().exponent >= -1 else f"{number:f}"
    return f"{number.normalize():,f}"


def _signals(account, at):
    """The account's last events, newest first; `counts` where it had happened by the date."""
    events = account.signals.order_by("-at", "signal", "-id")[:EVENTS]
    names = {key: signal.label for key, signal in SIGNALS.items()}
    return [
        {
            "at": event.at,
            "label": names.get(event.signal, event.signal),
            "source": event.source,
            "counts": event.at <= at,
        }
        for event in events
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
    """The account's moves, newest first. Not cut off: with a LIMIT the planner may walk all moves there are."""
    moves = _with_gone(Move.objects.filter(account_id=account.pk)).order_by("-id")
    related = ["layer", "product", "from_segment", "to_segment", "cause", "definition"]
    return list(moves.select_related(*related).defer("evidence", "definition__document"))


def _timeline(account, moves, show, happened):
    """All that happened, newest first: segment changes, decisions, rules becoming active, changes of the account's data."""
    events = []
    if show in ("", "decisions"):
        events += [{"kind": "decision", "id": 0} | entry for entry in [*happened, *_declared(account)]]
    if show in ("", "moves"):
        events += [{"kind": "move", "on": move.at, "id": move.pk, "move": move} for move in moves]
    if show in ("", "rules"):
        events += _activations(moves)
    if show in ("", "data"):
        events += _data_changes(account)
    return sorted(events, key=lambda event: (event["on"], event["id"]), reverse=True)[:TIMELINE]


def _declared(account):
    """Values people proposed and decided: the account's declared ones."""
    rows = account.declarations.select_related("layer", "segment").order_by("-id")[:TIMELINE]
    return [entry for declaration in rows for entry in _declaration_entries(declaration)]


def _declaration_entries(declaration):
    about = {"text": f"{declaration.layer} {declaration.segment}"}
    yield about | {
        "on": timezone.localdate(declaration.proposed_at),
        "title": "Proposed",
        "who": history.who(declaration, "proposed_by"),
        "reason": declaration.reason,
    }
    if declaration.decided_at:
        yield about | {
            "on": timezone.localdate(declaration.decided_at),
            "title": "Rejected" if declaration.status == Declaration.Status.REJECTED else "Confirmed",
            "who": history.who(declaration, "decided_by"),
            "reason": declaration.decision_reason,
        }
    if declaration.ended_at:
        yield about | {
            "on": timezone.localdate(declaration.ended_at),
            "title": declaration.get_status_display(),
            "who": history.who(declaration, "ended_by"),
            "reason": declaration.end_reason,
        }


def _activations(moves):
    """Rules that became active since the account's first segment; those of one day together."""
    by_rules = (Move.Why.DEFINITION, Move.Why.BOTH, Move.Why.INITIAL)
    moved = {move.definition_id for move in moves if move.why in by_rules}
    first = min((move.at for move in moves), default=timezone.localdate())
    definitions = (
        Definition.objects.filter(activated_at__date__gte=first).select_related("layer").defer("document")
    )
    days = {}
    for definition in definitions.order_by("-activated_at", "-pk")[:TIMELINE]:
        on = timezone.localtime(definition.activated_at).date()
        days.setdefault((on, history.who(definition, "activated_by"), definition.pk in moved), []).append(
            definition
        )
    return [
        {"kind": "rules", "on": on, "id": rules[0].pk, "rules": rules, "by": by, "moved": changed}
        for (on, by, changed), rules in days.items()
    ]


def _data_changes(account):
    """Changes of the account's data by people and imports; the row before the oldest one is read for its diff."""
    rows = list(account.history.order_by("-history_date", "-history_id")[: CHANGES + 1])
    changes = entries(rows[:CHANGES], rows[CHANGES] if len(rows) > CHANGES else None)
    return [
        {"kind": "data", "on": timezone.localtime(entry["when"]).date(), "id": 0, "data": entry}
        for entry in changes
        if entry["type"] == "~" and entry["changes"]
    ]
