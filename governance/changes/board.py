"""The board of tier changes: what waits for whom, in lanes, read with the same number of queries however much there is."""

from dataclasses import dataclass, replace
from datetime import date, datetime, time
from fractions import Fraction

from django.db.models import Count, F, Max, Q
from django.utils import timezone

from accounts import revenue
from accounts.models import Account
from core.money import Money
from governance.changes import crossings, loads
from governance.models import ApprovalRequest, Transition
from governance.signoff.deciders import Desk
from segmentation.models import Layer, Run
from segmentation.reading import causes
from segmentation.reading.causes import Attribution

CARDS = 8  # in a lane; all of them are in the list
Status = Transition.Status
_RELATED = [
    "account__csm",
    "layer",
    "from_segment",
    "to_segment__treatment__service_model",
    "giver",
    "receiver",
]
_RELATED += ["request"]


@dataclass(frozen=True)
class Filters:
    """Which tier changes are looked at. csm: an id, "none", or ""; user: whoever wants only their own (as CSM), or None.

    accounts: only those of these (ids).
    """

    layer: Layer | None = None
    direction: str = ""
    csm: str = ""
    user: object = None
    accounts: tuple = ()

    def __bool__(self):
        return any((self.layer, self.direction, self.csm, self.user, self.accounts))

    def of(self, transitions):
        """The queryset, narrowed."""
        if self.layer:
            transitions = transitions.filter(layer=self.layer)
        if self.direction:
            transitions = transitions.filter(direction=self.direction)
        if self.accounts:
            transitions = transitions.filter(account__in=self.accounts)
        if self.csm == "none":
            transitions = transitions.filter(account__csm=None)
        elif self.csm:
            transitions = transitions.filter(Q(account__csm=self.csm) | Q(receiver=self.csm))
        if self.user:
            transitions = transitions.filter(Q(account__csm__user=self.user) | Q(receiver__user=self.user))
        return transitions


def to_decide(filters=None):
    """Flagged ones that nothing holds, the most revenue first: what triage goes through."""
    flagged = (filters or Filters()).of(Transition.objects.filter(status=Status.FLAGGED, held_for=""))
    return flagged.order_by(F("arr").desc(nulls_last=True), "id")


def held(filters=None):
    """Tier changes that wait for a day or for somebody else before anybody decides."""
    return (filters or Filters()).of(Transition.objects.open().exclude(held_for=""))


# -- one tier change


@dataclass(frozen=True)
class Card:
    """A tier change as the board tells it.

    arr: today's. cause: what moved it (segmentation.reading.causes), None where nothing can be said any more. gives,
    takes: the loads.Load of the CSM there is, and of the receiver.
    """

    transition: Transition
    today: date
    arr: Money
    cause: Attribution | None = None
    gives: loads.Load | None = None
    takes: loads.Load | None = None

    @property
    def up(self):
        return self.transition.direction == "up"

    @property
    def stays(self):
        """The CSM stays."""
        return self.transition.receiver_id in (None, self.transition.account.csm_id)

    @property
    def over(self):
        """The receiver would have more accounts than the band allows."""
        load = self.takes
        return bool(load and load.high and load.expected > load.high)

    @property
    def ticked(self):
        return sum(bool(line.get("done")) for line in self.transition.checklist)

    @property
    def share(self):
        return Fraction(self.ticked, len(self.transition.checklist)) if self.transition.checklist else None

    @property
    def day(self):
        """The how manieth day of joint coverage it is, the first one being 1."""
        return (self.today - self.transition.joint_from).days + 1

    @property
    def late(self):
        return self.transition.status == Status.JOINT and self.transition.joint_until <= self.today

    @property
    def covered(self):
        """How much of the joint coverage has passed."""
        return min(Fraction(1), Fraction(max(self.day - 1, 0), max(self.transition.joint_days, 1)))

    @property
    def lacks(self):
        return lacks(self.transition)

    @property
    def why(self):
        """Its origin, where that is not the rules: an override that ended, the end of the provisional period."""
        return (
            "" if self.transition.origin == Transition.Origin.RULES else self.transition.get_origin_display()
        )

    @property
    def brief(self):
        """Why it was flagged, in a line."""
        return ": ".join(filter(None, [self.why, self.cause.brief if self.cause else ""]))


def lacks(transition):
    """Say what a plan under way still lacks: [`2 of 4 to do`, `customer not told`]."""
    undone = sum(not line.get("done") for line in transition.checklist)
    lacking = [f"{undone} of {len(transition.checklist)} to do"] if undone else []
    if not transition.success_plan:
        lacking.append("success plan missing")
    if transition.notice and not transition.noticed_on:
        lacking.append("customer not told")
    return lacking


def cards(transitions, *, today):
    """[Card] of these tier changes, in their order."""
    return cards_of(transitions.select_related(*_RELATED).defer("request__content"), today=today)


def cards_of(rows, *, today):
    """The same of tier changes that have been read with what belongs to them."""
    rows = list(rows)
    ids = [transition.account_id for transition in rows]
    people = {
        csm.pk: csm for transition in rows for csm in (transition.account.csm, transition.receiver) if csm
    }
    loaded = loads.loads(people.values())
    arr, told = revenue.of(ids, today), causes_of(rows)
    return [
        Card(
            transition,
            today,
            arr[transition.account_id],
            told.get(transition.pk),
            loaded.get(transition.account.csm_id),
            _beside_band(loaded.get(transition.receiver_id), transition.to_segment),
        )
        for transition in rows
    ]


def _beside_band(load, segment):
    """The load beside the band of what serves the segment; the load alone where that is not known."""
    model = segment.treatment and segment.treatment.service_model
    if load is None or model is None:
        return load
    return replace(load, low=model.accounts_per_csm_min, high=model.accounts_per_csm_max)


def causes_of(transitions):
    """{id: Attribution} of tier changes whose segment has not moved yet."""
    by_layer, told = {}, {}
    for transition in transitions:
        if transition.status in (*crossings.UNDECIDED, Status.AWAITING):
            by_layer.setdefault(transition.layer, []).append(transition)
    for layer, some in by_layer.items():
        attributed = causes.of_accounts(layer, [transition.account for transition in some])
        told |= {one.pk: attributed[one.account_id] for one in some if one.account_id in attributed}
    return told


# -- the lanes


@dataclass(frozen=True)
class Lane:
    """`count` tier changes (or requests, `Ask`s) of which `cards` are shown."""

    key: str
    name: str
    count: int
    cards: list

    @property
    def left_out(self):
        return self.count - len(self.cards)


@dataclass(frozen=True)
class Ask:
    """A request that waits, and its tier changes: `names` of the first, how many, which way."""

    request: ApprovalRequest
    count: int
    directions: list  # [(from, to, how many)]
    account: Account | None  # where it is about one
    parts: list  # deciders.Part
    nobody: str


@dataclass(frozen=True)
class Group:
    """Flagged ones that go the same way, and can be planned together."""

    layer: str  # its key
    direction: str
    to: str  # key of the segment
    segment: str  # its name
    count: int


@dataclass(frozen=True)
class Board:
    lanes: list
    flagged: int
    to_decide: int
    arr: Money  # of those to decide
    held: list  # [(what they wait for, how many)]
    group: Group | None
    done: dict  # up, down, median (days, None where there is none)
    as_of: date | None  # of the last recalculation

    @property
    def held_count(self):
        return sum(count for _, count in self.held)

    @property
    def held_flagged(self):
        return self.flagged - self.to_decide

    @property
    def anything(self):
        return bool(self.held or self.done["count"] or any(lane.count for lane in self.lanes))


def board(filters, *, at):
    """The Board as of the moment `at`."""
    today = timezone.localdate(at)
    open_transitions = filters.of(Transition.objects.open())
    counts = open_transitions.values("status", "held_for").order_by().annotate(n=Count("pk"))
    counts = {(row["status"], row["held_for"]): row["n"] for row in counts}
    waiting = to_decide(filters)

    def count(status):
        return sum(n for (row_status, _), n in counts.items() if row_status == status)

    decide = counts.get((Status.FLAGGED, ""), 0)
    planned = open_transitions.filter(status=Status.PLANNED).order_by("-planned_at", "id")
    joint = open_transitions.filter(status=Status.JOINT).order_by("joint_until", "id")
    asks, requests = _asks(filters, at)
    on_flagged, on_planned, on_joint = _lanes([waiting, planned, joint], today)
    lanes = [
        Lane("flagged", "Flagged", decide, on_flagged),
        Lane("planned", "Planned", count(Status.PLANNED), on_planned),
        Lane("awaiting", "Awaiting approval", requests, asks),
        Lane("joint", "Joint coverage", count(Status.JOINT), on_joint),
    ]
    labels = dict(Transition.Hold.choices)
    return Board(
        lanes=lanes,
        flagged=count(Status.FLAGGED),
        to_decide=decide,
        arr=revenue.total(Account.objects.filter(pk__in=waiting.values("account")), today),
        held=sorted(_held(counts, labels), key=lambda row: (-row[1], row[0])),
        group=_group(waiting),
        done=done(filters, today),
        as_of=Run.objects.filter(status="finished").aggregate(at=Max("as_of"))["at"],
    )


def _lanes(lanes, today):
    """The first [Card] of each lane. The ids first: what belongs to them is joined to these few, once for all lanes."""
    ids = [list(lane.values_list("pk", flat=True)[:CARDS]) for lane in lanes]
    shown = cards(Transition.objects.filter(pk__in=[pk for lane in ids for pk in lane]), today=today)
    by_id = {card.transition.pk: card for card in shown}
    return [[by_id[pk] for pk in lane if pk in by_id] for lane in ids]


def _held(counts, labels):
    reasons = {}
    for (_, hold), n in counts.items():
        if hold:
            reasons[labels[hold]] = reasons.get(labels[hold], 0) + n
    return list(reasons.items())


def _group(waiting):
    """The largest group of at least two; None where there is none."""
    groups = waiting.order_by().values_list("layer__key", "direction", "to_segment__key", "to_segment__name")
    groups = groups.annotate(n=Count("pk"))
    first = groups.filter(n__gt=1).order_by("-n", "layer__key", "to_segment__key").first()
    return Group(*first) if first else None


def _asks(filters, at):
    """([Ask] shown, how many requests there are)."""
    waiting = filters.of(Transition.objects.filter(status=Status.AWAITING, request__isnull=False))
    rows = waiting.order_by().values("request").annotate(n=Count("pk"), account=Max("account"))
    counts = {row["request"]: row for row in rows}
    requests = list(ApprovalRequest.objects.filter(pk__in=counts).order_by("due_at", "id")[:CARDS])
    ways = {}
    moves = waiting.filter(request__in=requests).order_by()
    moves = moves.values_list("request", "from_segment__name", "to_segment__name").annotate(n=Count("pk"))
    for request, *way in moves.order_by("-n", "from_segment__name", "to_segment__name"):
        ways.setdefault(request, []).append(tuple(way))
    single = [row["account"] for row in rows if row["n"] == 1]
    accounts = Account.objects.select_related("csm").in_bulk(single)
    desk = Desk(requests, at=at)
    asks = [
        Ask(
            request,
            counts[request.pk]["n"],
            ways.get(request.pk, []),
            accounts.get(counts[request.pk]["account"]) if counts[request.pk]["n"] == 1 else None,
            desk.parts(request),
            desk.nobody_can(request) if request.status == "pending" else "",
        )
        for request in requests
    ]
    return asks, len(counts)


def quarter(today):
    """The first day of the calendar quarter."""
    return date(today.year, (today.month - 1) // 3 * 3 + 1, 1)


def done(filters, today):
    """Tier changes carried out this quarter: how many up and down, and the median of days from flagged to done."""
    start = timezone.make_aware(datetime.combine(quarter(today), time.min))
    ended = filters.of(Transition.objects.filter(status=Status.DONE, ended_at__gte=start))
    rows = list(ended.order_by().values_list("direction", "flagged_at", "ended_at"))
    days = sorted((ended_at - flagged_at).days for _, flagged_at, ended_at in rows)
    return {
        "up": sum(direction == "up" for direction, *_ in rows),
        "down": sum(direction == "down" for direction, *_ in rows),
        "count": len(rows),
        "median": days[len(days) // 2] if days else None,
        "since": quarter(today),
    }
