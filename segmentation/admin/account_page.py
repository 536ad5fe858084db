"""The account page: the answer first, then what is next, why, how the customer is served and what happened."""

from dataclasses import dataclass
from datetime import date

from django import forms
from django.conf import settings
from django.db.models import Exists, OuterRef, Prefetch, prefetch_related_objects
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.module_loading import import_string

from accounts import revenue
from accounts.admin.fields import Choice, Day, Line
from accounts.catalogue import FACTS, SIGNALS, USAGE_FACTS
from accounts.models import Product
from accounts.quality import contradictions
from accounts.revenue import with_arr
from core.refusals import Refused
from segmentation import scopes, treatments
from segmentation.models import Assignment, Definition, Layer, Move
from segmentation.reading import coverage, explain, nesting, past, provisional, spelling
from segmentation.reading.past import History
from segmentation.rules import reasons

from .account_answer import growth, picture, scale, sentence, tiles
from .account_timeline import CAUSES, moves_of, timeline, with_gone

BUTTONS = 2  # at the top; the other actions are under a menu
NEXT = 4  # things that are next, before the rest of them folds
EVENTS = 12
EDIT, HISTORY = "admin:accounts_account_edit", "admin:accounts_account_history"


class Asked(forms.Form):
    """The address: whose explanation, on which day, and which part of the timeline."""

    layer, product = Line(), Line()
    at = Day("As of")
    cause = Choice("Why it happened", choices=CAUSES, empty="All")

    def clean_at(self):
        at, today = self.cleaned_data["at"], timezone.localdate()
        if at and at > today:
            raise forms.ValidationError("That date is still to come.")
        return at or today

    @property
    def shown(self):
        """{name: value}: today, where the day that is asked for is none to be shown."""
        self.is_valid()
        return {"at": timezone.localdate(), "layer": "", "product": "", "cause": ""} | self.cleaned_data


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


def context(request, account_id, accounts, *, may_edit=False):
    """Everything the page needs. The account is looked up in `accounts`; None if it is not there."""
    today = timezone.localdate()
    asked = Asked(request.GET or {"at": today.isoformat()}, auto_id="%s")
    shown = asked.shown
    at, cause = shown["at"], shown["cause"]
    then = at if at != today else None
    known = then if "known" in request.GET else None
    account = with_arr(accounts.select_related("csm", "parent"), at).filter(pk=account_id).first()
    if account is None:
        return None
    sold = Prefetch("subscriptions", queryset=revenue.contracts(at))
    prefetch_related_objects([account], "usage__product", sold)
    states = _states(account) if then is None else _states_on(account, then, known)
    layers = _layers({state.layer_id for state in states})
    layer = next((layer for layer in layers if layer.key == shown["layer"]), layers[0] if layers else None)
    subscriptions = list(account.subscriptions.all())
    products = _products(account, states, subscriptions)
    product = _product(layer, products, shown["product"])
    moves = moves_of(account)
    standing = _standing(layer, product, states, moves) if then is None and layer else None
    why, refusal = _why(account, layer, product, then, known, standing)
    lookup = _Labels(states, nesting.paths(), then)
    labels = [lookup.of(layer) for layer in layers if not layer.scoped.several]
    for row in products:
        tagged = [layer for layer in layers if layer.scoped.several and row["product"]]
        row["labels"] = [lookup.of(layer, row["product"]) for layer in tagged]
    renewal, renewal_status = revenue.renewals([account.pk], at)[account.pk]
    if then:
        account.arr_now, renewal, renewal_status = History(account, known=known).money(then)
    parts = _parts(request, account)
    deciding = _deciding(layers)
    lines = coverage.serve(
        account, at=then, targets=parts["becomes"], layers=deciding, states=None if then else states
    )
    line = scale(why, layer) if why else None
    actions = _actions(parts["actions"], account, may_edit)
    return {
        "account": account,
        "today": today,
        "asked": asked,
        "at": at,
        "past": then is not None,
        "known": known,
        "layer": layer,
        "product": product,
        "here": _query(layer, product),
        "label": layer and lookup.of(layer, product),
        "labels": labels,
        "tiles": tiles(labels),
        "primary": next((label.state for label in labels if label.layer.primary), None),
        "hold": layer and not product and parts["holds"].get(layer.pk),
        "next": parts["next"][:NEXT],
        "later": parts["next"][NEXT:],
        "badges": parts["badges"],
        "buttons": actions[:BUTTONS],
        "menu": actions[BUTTONS:],
        "why": why,
        "beside": [row for row in why["requires"] if not row["decides"]] if why else [],
        "refusal": refusal,
        "contradictions": contradictions.of_account(account, at),
        "scale": line,
        "sentence": sentence(why, line) if why else "",
        "picture": picture(_months(account, layer), line),
        "stale": _stale(why) if why else [],
        "renewal": renewal,
        "renewal_status": renewal_status,
        "ends": max((one.end_date for one in subscriptions if one.counts and one.end_date), default=None),
        "renewal_days": (renewal - at).days if renewal else None,
        "renewal_starts": next((each.text for each in lines if each.field.name == "renewal_lead_days"), ""),
        "growth": _growth(account, at),
        "products": products,
        "signals": _signals(account, at),
        "service": lines,
        "decided": bool(lines or deciding),
        "timeline": timeline(account, moves, parts["happened"], cause=cause),
        "cause": cause,
        "causes": [("", "All"), *CAUSES],
    }


def actions(request, account):
    """The actions this page offers the person about the account, as its buttons and its menu."""
    may_edit = request.user.has_perm("accounts.change_account")
    return _actions(_parts(request, account)["actions"], account, may_edit)


def _growth(account, at):
    """How the ARR of its contracts changed within a year, as a sentence; "" where it was imported as a number."""
    if account.arr is not None:
        return ""
    before = date(at.year - 1, at.month, min(at.day, 28))
    return growth(revenue.of([account.pk], before)[account.pk], account.arr_now)


def _months(account, layer):
    """[(date, score or None)] of the last twelve month ends."""
    return [(score.at, score.composite) for score in past.score_line(account, layer)] if layer else []


def _parts(request, account):
    """Parts that apps further right add about the account; settings.ACCOUNT_PAGE_PARTS tells what they may give."""
    given = [import_string(path)(request, account) or {} for path in settings.ACCOUNT_PAGE_PARTS]
    listed = {
        name: [entry for part in given for entry in part.get(name, [])]
        for name in ("actions", "badges", "next", "happened")
    }
    of_layers = {
        name: {layer: value for part in given for layer, value in part.get(name, {}).items()}
        for name in ("holds", "becomes")
    }
    listed["next"].sort(key=lambda entry: (entry["due"] is None, entry["due"]))
    return listed | of_layers


def _actions(actions, account, may_edit):
    """The actions, the most pressing first: what waits, then what people do most, then what they look up."""
    edit = {"label": "Correct data", "url": reverse(EDIT, args=[account.pk]), "icon": "edit"}
    history = {"label": "History", "url": reverse(HISTORY, args=[account.pk]), "icon": "history"}
    several = [*actions, *([edit] if may_edit else []), history]
    return sorted(several, key=lambda action: not action.get("primary"))


def _states(account):
    """The account's assignments on all segmentations, those of its products among them."""
    states = Assignment.objects.filter(account=account).select_related(*coverage.SERVED, "product")
    return list(provisional.with_settled(states))


def _states_on(account, at, known):
    """States in force on a date, as assignments that are nowhere stored: the move written last of those up to it."""
    moves = with_gone(Move.objects.filter(account_id=account.pk, at__lte=at))
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

    Each: product (or None), there (it has it), facts and their age, subscriptions that count and others.
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
                    "running": [each for each in bought if each.counts],
                    "others": [each for each in bought if not each.counts],
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
