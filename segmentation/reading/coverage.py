"""How customers are served: the lines of one account, what every segment gets, and the people and money it takes.

Each active segmentation decides some fields of a treatment (`Layer.decides`). Where two say the same field, the one that
stands first counts: the primary one, then by position. The primary segmentation decides the service model, and so who
looks after how many accounts. Plays are of a segment: each segmentation that decides them says its own. A segmentation of products says what is done for each of an account's products: it stands
beside the answer for the account and contests nothing.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

import polars as pl
from django.db import connection
from django.db.models import Exists, OuterRef

from accounts import catalogue, revenue
from accounts.models import Csm
from accounts.quality import figures
from core.money import Money
from segmentation import scopes, treatments
from segmentation.evaluation import frames
from segmentation.models import Assignment, Definition, JobToBeDone, Layer, Move, Segment, ServiceModel
from segmentation.reading import portfolio

_ACTIVE = Definition.objects.filter(layer=OuterRef("pk"), status=Definition.Status.ACTIVE)


def deciding_layers(*, of=scopes.ONE_LABEL):
    """The active segmentations that decide something, the one that counts first first. of: keys of scopes."""
    layers = Layer.objects.filter(Exists(_ACTIVE), scope__in=of).exclude(decides=[])
    return sorted(layers, key=order)


def order(layer):
    """Sorts layers as deciding_layers does."""
    return (not layer.primary, layer.position, layer.key)


def contested(layers):
    """{field name: the layers that decide it}, of those that more than one of these layers decides."""
    deciding = {
        name: [layer for layer in layers if name in layer.decides]
        for name, field in treatments.FIELDS.items()
        if not field.each
    }
    return {name: deciders for name, deciders in deciding.items() if len(deciders) > 1}


# -- one account


@dataclass(frozen=True)
class Line:
    """One thing a customer gets: what, from which segment of which layer, and what it becomes after an open change."""

    field: treatments.Field
    text: str
    layer: Layer
    segment: Segment
    becomes: str = ""
    because: Segment | None = None  # the segment that brings what it becomes


def serve(account, *, at=None, targets=None, layers=None, states=None):
    """The lines that answer "how do we serve this customer", in the order of the table.

    Now: by the segments in force, each line with what it becomes where another segment is to come: the one that
    `targets` {layer id: Segment, or None where nothing changes} names, else the one the rules say. On a date: by the
    segments in force then, as they are served today; below stand the jobs to be done. Three queries; four on a date.

    layers: as deciding_layers, and states: the account's assignments related as SERVED, from whoever has read them.
    """
    layers = deciding_layers() if layers is None else layers
    if at is not None:
        held = _labels_on(account, layers, at)
    else:
        held = _labels_now(layers, _states(account, layers) if states is None else states)
    coming = (targets or {}) if at is None else {}
    now = _lines({layer: effective for layer, (effective, _) in held.items()})
    then = _lines(
        {layer: coming.get(layer.pk, computed) or effective for layer, (effective, computed) in held.items()}
    )
    lines = []
    places = {field.name: place for place, field in enumerate(treatments.LINES)}
    for key in sorted({**now, **then}, key=lambda key: places[key[0]]):
        line, after = now.get(key), then.get(key)
        if line is None:
            line = Line(after.field, "", after.layer, held[after.layer][0] or after.segment)
        if after is None:
            lines.append(_becoming(line, NOTHING, None))
        elif after.text != line.text:
            lines.append(_becoming(line, after.text, after.segment))
        else:
            lines.append(line)
    return [*lines, *_jobs(held)]


def _jobs(held):
    """The lines of the jobs to be done of the segments in force."""
    layers = {effective.pk: layer for layer, (effective, _) in held.items() if effective}
    for job in JobToBeDone.objects.filter(segment__in=layers).select_related("segment"):
        for field in treatments.JOB:
            if text := getattr(job, field.name):
                yield Line(field, text, layers[job.segment_id], job.segment)


def becoming(account, layer, segment):
    """The lines as `serve` tells them, where nothing but the segment of one layer changes."""
    layers = deciding_layers()
    return serve(account, layers=layers, targets={other.pk: None for other in layers} | {layer.pk: segment})


def decided(account, layer, segment):
    """{name of a field: its text} of how an account is served with that segment of a layer; plays are left out."""
    lines = [line for line in becoming(account, layer, segment) if not line.field.each]
    told = {line.field.name: line.becomes or line.text for line in lines}
    return {name: text for name, text in told.items() if text != NOTHING}


def decided_of_many(name, *, first, last):
    """The value of one field for a range of accounts, as `serve` decides it: a frame with `id` and the field.

    Where several segmentations in use say it, the one that counts first counts; what says nothing is passed over.
    """
    layers = [layer for layer in deciding_layers() if name in layer.decides]
    values = Segment.objects.filter(layer__in=layers).exclude(treatment=None)
    values = {
        pk: value for pk, value in values.values_list("pk", f"treatment__{name}") if value not in (None, "")
    }
    dtype = pl.Int64 if name == "renewal_lead_days" else pl.String
    told = pl.DataFrame(schema={"id": pl.Int64, name: dtype})
    for layer in layers:
        standing = frames.standing(layer.pk, first=first, last=last)
        says = pl.col("old_effective").replace_strict(values, default=None, return_dtype=dtype)
        says = standing.select("id", says.alias(name)).drop_nulls()
        told = pl.concat([told, says.join(told, on="id", how="anti")])
    return told


NOTHING = "nothing is said"


def _becoming(line, text, segment):
    return Line(line.field, line.text, line.layer, line.segment, text, segment)


_SERVED = "treatment__service_model"
SERVED = (f"effective__{_SERVED}", f"computed__{_SERVED}")


def _states(account, layers):
    return Assignment.objects.filter(account=account, layer__in=layers).select_related(*SERVED)


def _labels_now(layers, states):
    """{layer: (segment in force, segment by the rules)}, in the order of the layers."""
    labels = {state.layer_id: (state.effective, state.computed) for state in states}
    if nowhere := [
        state.layer_id for state in states if not state.effective_id and state.reason == NO_INDUSTRY
    ]:
        labels |= dict.fromkeys(nowhere, (_smb(),) * 2)
    return {layer: labels[layer.pk] for layer in layers if layer.pk in labels}


NO_INDUSTRY = "missing:industry"


def _smb():
    """The segment whose playbook serves an account of an unknown industry, where the playbooks go by industry."""
    smb = Segment.objects.filter(key="smb").exclude(treatment=None).select_related(_SERVED, "layer")
    return smb.order_by("layer__position", "layer__key").first()


def _labels_on(account, layers, at):
    """As _held on a date: the move written last of those dated on or before it."""
    moves = Move.objects.filter(account_id=account.pk, layer__in=layers, at__lte=at).order_by(
        "layer_id", "-id"
    )
    ids = dict(moves.distinct("layer_id").values_list("layer_id", "to_segment_id"))
    segments = Segment.objects.select_related(_SERVED).in_bulk([pk for pk in ids.values() if pk])
    return {layer: (segments.get(ids[layer.pk]),) * 2 for layer in layers if layer.pk in ids}


def _lines(labels):
    """{(field name, layer where each says its own): Line} of what these segments give.

    labels: {layer: segment or None}, what counts first first.
    """
    lines = {}
    for name, field in treatments.FIELDS.items():
        candidates = [
            (layer, segment, text)
            for layer, segment in labels.items()
            if name in layer.decides and (text := _text(field, segment))
        ]
        if field.each:
            lines |= {
                (name, layer.pk): Line(field, text, layer, segment) for layer, segment, text in candidates
            }
        elif candidates:
            layer, segment, text = candidates[0]
            lines[name, None] = Line(field, text, layer, segment)
    return lines | _from_the_model(lines)


def _text(field, segment):
    treatment = segment and segment.treatment
    return field.shown(getattr(treatment, field.name)) if treatment else ""


def _from_the_model(lines):
    """The lines a service model says: its own, and those the treatments left to it."""
    if ("service_model", None) not in lines:
        return {}
    line = lines["service_model", None]
    model = line.segment.treatment.service_model
    left = {
        field: field.model
        for field in treatments.FIELDS.values()
        if field.model and (field.name, None) not in lines
    }
    texts = {field: _of_the_model(model, field.name) for field in treatments.MODEL}
    texts |= {field: _of_the_model(model, column) for field, column in left.items()}
    return {
        (field.name, None): Line(field, text, line.layer, line.segment)
        for field, text in texts.items()
        if text
    }


def _of_the_model(model, column):
    return model.get_csm_kind_display() if column == "csm_kind" else getattr(model, column)


# -- every segment


@dataclass(frozen=True)
class Row:
    """One field for each segment of a layer; `first`: the layer that decides it before this one."""

    field: treatments.Field
    cells: list  # [(segment, text)]
    first: Layer | None = None


@dataclass(frozen=True)
class Offer:
    """The part one layer decides: its segments and a row per field."""

    layer: Layer
    segments: list
    rows: list

    def for_customers(self):
        """Only what customers may read, what counts, and what is said."""
        rows = [
            row
            for row in self.rows
            if row.field.customer and row.first is None and any(text for _, text in row.cells)
        ]
        return Offer(self.layer, self.segments, rows)


def offers(*, for_customers=False):
    """The Offers to every segment, one per deciding layer, those of parts of accounts last; three queries.

    For customers: without internal fields, only what counts, and only what is said.
    """
    of_accounts = deciding_layers()
    layers = of_accounts + deciding_layers(of=scopes.SEVERAL_LABELS)
    segments = {layer.pk: [] for layer in layers}
    rows = Segment.objects.filter(layer__in=layers).select_related(_SERVED, "owner")
    for segment in rows.order_by("position", "key"):
        segments[segment.layer_id].append(segment)
    first = {name: deciders[0] for name, deciders in contested(of_accounts).items()}
    listed = []
    for layer in layers:
        before = first if layer in of_accounts else {}
        listed.append(Offer(layer, segments[layer.pk], list(_rows(layer, segments[layer.pk], before))))
    if for_customers:
        listed = [offer.for_customers() for offer in listed]
    return [offer for offer in listed if offer.rows]


def _rows(layer, segments, first):
    with_models = "service_model" in layer.decides
    for field in treatments.LINES:
        if field in treatments.MODEL:
            if with_models:
                yield Row(field, [(segment, _of_its_model(segment, field.name)) for segment in segments])
        elif field.name in layer.decides:
            left = field.model if with_models else ""
            cells = [
                (segment, _text(field, segment) or (left and _of_its_model(segment, left)))
                for segment in segments
            ]
            before = first.get(field.name, layer)
            yield Row(field, cells, first=None if before == layer else before)


def _of_its_model(segment, column):
    model = segment.treatment and segment.treatment.service_model
    return _of_the_model(model, column) if model else ""


# -- people and money


@dataclass(frozen=True)
class Weight:
    """Accounts of one service model (None: of segments that name none), and what they pay.

    cost: per year, None where the model does not say what an account costs. least, most: CSMs needed at the upper and at
    the lower end of the band, exact; most is None where the band has no lower end.
    """

    model: ServiceModel | None
    accounts: int
    arr: Decimal

    @property
    def cost(self):
        each = self.model and self.model.cost_to_serve
        return None if each is None else self.accounts * each

    @property
    def low(self):
        return self.model and self.model.accounts_per_csm_min

    @property
    def high(self):
        return self.model and self.model.accounts_per_csm_max

    @property
    def banded(self):
        return bool(self.low or self.high)

    @property
    def least(self):
        return Fraction(self.accounts, self.high) if self.high else Fraction(0)

    @property
    def most(self):
        return Fraction(self.accounts, self.low) if self.low else None

    @property
    def needed(self):
        return needed([self])

    @property
    def verdict(self):
        """(class, words) of the CSMs there are against those needed; None where either is not known."""
        staff = self.model and self.model.staff
        if staff is None or not self.banded:
            return None
        if staff < ceil(self.least):
            return ("bad", f"{_number(ceil(self.least) - staff)} too few")
        if self.most is not None and staff > ceil(self.most):
            return ("warn", f"{_number(staff - ceil(self.most))} more than needed")
        return ("ok", "enough")


@dataclass(frozen=True)
class CsmLoad:
    """The load of one CSM, or of nobody (None): a Weight per service model."""

    csm: Csm | None
    weights: list

    @property
    def accounts(self):
        return sum(weight.accounts for weight in self.weights)

    @property
    def arr(self):
        return sum(weight.arr for weight in self.weights)

    @property
    def verdict(self):
        """(class, words) against the bands of the service models these accounts are served by."""
        if self.csm is None:
            return _nobody(self.weights)
        if self.csm.kind == Csm.Kind.DIGITAL:
            return ("", "the programme serves them")
        banded = [weight for weight in self.weights if weight.banded]
        if not banded:
            return ("", "no band is said")
        if self.csm.kind == Csm.Kind.POOL:
            number = needed(banded)
            return (
                "",
                f"a pool that takes {number} CSM{'' if number.endswith(' 1') or number == '1' else 's'}",
            )
        return _against(banded[0]) if len(banded) == 1 else _against_all(banded)


def _nobody(weights):
    dedicated = [
        weight
        for weight in weights
        if weight.model and weight.model.csm_kind == ServiceModel.CsmKind.DEDICATED
    ]
    missing = sum(weight.accounts for weight in dedicated)
    if not missing:
        return ("", "none needs a CSM of its own")
    return ("bad", f"{missing:,} should have a CSM of {'its' if missing == 1 else 'their'} own")


def _against(weight):
    """One person with accounts of one service model."""
    band = f"the band of {weight.model.band}"
    if weight.high and weight.accounts > weight.high:
        return ("bad", f"over: {weight.accounts - weight.high:,} more than {band}")
    if weight.low and weight.accounts < weight.low:
        return ("warn", f"under: {weight.low - weight.accounts:,} fewer than {band}")
    return ("ok", f"within {band}")


def _against_all(weights):
    """One person with accounts of several: each account is its share of a CSM's work."""
    least = sum(weight.least for weight in weights)
    most = None if any(weight.most is None for weight in weights) else sum(weight.most for weight in weights)
    if least > 1:
        return ("bad", f"over: the work of {_tenths(least)} CSMs at least")
    if most is not None and most < 1:
        return ("warn", f"under: {_tenths(most)} of a CSM’s work at most")
    return ("ok", "within the bands together")


def needed(weights):
    """CSMs these accounts take, in words: `2 to 6`, `up to 3`, `4 or more`."""
    banded = [weight for weight in weights if weight.banded]
    if not banded:
        return "–"
    least = ceil(sum(weight.least for weight in banded))
    if any(weight.most is None for weight in banded):
        return f"{least:,} or more"
    most = ceil(sum(weight.most for weight in banded))
    if least == most:
        return f"{most:,}"
    return f"{least:,} to {most:,}" if least else f"up to {most:,}"


def _number(number):
    return f"{Decimal(number).normalize():,f}"


def _tenths(share):
    """Away from 1, so that what is over never reads as 1.0."""
    tenths = ceil(share * 10) if share > 1 else floor(share * 10)
    return f"{tenths / 10:,.1f}"


def weigh(counts):
    """[Weight] per service model, in their order, and one without a model where there are such accounts.

    counts: {id of a segment of the primary layer, or None: (accounts, ARR)}. Two queries.
    """
    return _Models().weigh(counts)


class _Models:
    """The service models, and which of them serves a segment; read once."""

    def __init__(self):
        self.models = list(ServiceModel.objects.all())
        served = Segment.objects.filter(layer__primary=True, layer__decides__contains=["service_model"])
        self.of = dict(served.values_list("pk", "treatment__service_model"))

    def weigh(self, counts, *, idle=True):
        """idle: with the models that serve nobody."""
        sums = {}
        for segment, (accounts, arr) in counts.items():
            model = self.of.get(segment)
            before = sums.get(model, (0, Decimal(0)))
            sums[model] = (before[0] + accounts, before[1] + arr)
        none = (0, Decimal(0))
        weights = [
            Weight(model, *sums.get(model.pk, none)) for model in self.models if idle or model.pk in sums
        ]
        return weights + ([Weight(None, *sums[None])] if None in sums else [])


@dataclass(frozen=True)
class Load:
    """Active customers by service model and by CSM, at a date; `foreign`: Money in other currencies, which is not in the ARR."""

    weights: list
    csms: list
    foreign: Money
    counted_at: datetime

    @property
    def accounts(self):
        return sum(weight.accounts for weight in self.weights)

    @property
    def arr(self):
        return sum(weight.arr for weight in self.weights)

    @property
    def cost(self):
        costs = [weight.cost for weight in self.weights if weight.cost is not None]
        return sum(costs) if costs else None

    @property
    def uncosted(self):
        """Accounts whose cost nobody has said."""
        return sum(weight.accounts for weight in self.weights if weight.cost is None)

    @property
    def needed(self):
        return needed(self.weights)

    @property
    def staff(self):
        sizes = [
            weight.model.staff for weight in self.weights if weight.model and weight.model.staff is not None
        ]
        return sum(sizes) if sizes else None


def load(*, at, after=0):
    """The Load of active customers; a fixed number of queries. after: see portfolio.kept."""
    layer = Layer.objects.filter(primary=True).first()
    counts, counted_at = portfolio.kept(
        "coverage", lambda: _count(layer, at), layer=layer, at=at, last=portfolio.last_run(layer), after=after
    )
    models, by_segment, by_csm = _Models(), {}, {}
    for (segment, csm), (accounts, arr, _) in counts.items():
        before = by_segment.get(segment, (0, Decimal(0)))
        by_segment[segment] = (before[0] + accounts, before[1] + arr)
        by_csm.setdefault(csm, {})[segment] = (accounts, arr)
    people = Csm.objects.in_bulk([csm for csm in by_csm if csm])
    csms = [CsmLoad(people.get(csm), models.weigh(of_csm, idle=False)) for csm, of_csm in by_csm.items()]
    return Load(
        weights=models.weigh(by_segment),
        csms=sorted(csms, key=_urgency),
        foreign=sum((foreign for _, _, foreign in counts.values()), Money()),
        counted_at=counted_at,
    )


_KINDS = {"bad": 0, "warn": 1, "ok": 2, "": 3}


def _urgency(load):
    """Over the band first, then under, within, and those with none; the most ARR first."""
    return (_KINDS[load.verdict[0]], -load.arr, str(load.csm or ""), load.csm.pk if load.csm else 0)


_OF_PRIMARY = """left join segmentation_assignment z
                   on z.account_id = a.id and z.layer_id = %(layer)s and z.product_id is null"""
_COUNT = f"""
    select z.effective_id, a.csm_id, {revenue.OF_ACCOUNT}, count(*), coalesce(sum(a.arr), 0)
      from accounts_account a {_OF_PRIMARY}
     where {figures.ACTIVE}
     group by 1, 2, 3
"""
# ARR of accounts for which none was imported; see portfolio.
_SUBSCRIPTIONS = f"""
    select z.effective_id, a.csm_id, {catalogue.CURRENCY}, 0, sum(b.arr)
      from {catalogue.COUNTING} join accounts_account a on a.id = b.account_id {_OF_PRIMARY}
     where a.arr is null and {figures.ACTIVE}
     group by 1, 2, 3
"""


def _count(layer, at):
    """{(segment, csm): (accounts, ARR, Money in other currencies)}; reads every account."""
    parameters = revenue.parameters(at) | {"layer": layer and layer.pk}
    counts, amounts = Counter(), {}
    with connection.cursor() as cursor:
        for query in (_COUNT, _SUBSCRIPTIONS):
            cursor.execute(query, parameters)
            for segment, csm, currency, accounts, arr in cursor.fetchall():
                counts[segment, csm] += accounts
                amounts.setdefault((segment, csm), []).append((currency, arr))
    money = {key: Money.of(rows) for key, rows in amounts.items()}
    return {key: (accounts, money[key].ours, money[key].others) for key, accounts in counts.items()}
