"""The work that waits for somebody: told on home, each with the page on which it is done."""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, F, Q, Value
from django.utils import timezone

from accounts import revenue
from accounts.models import Account, Conflict
from accounts.quality import figures
from core import pages
from core.organisation import organisation
from governance.models import Alert, ApprovalRequest, Event, Notification, Override, Transition
from governance.signoff import inbox
from segmentation.models import Assignment, Declaration, Move

CHANGES = 8  # changes named
Status = Transition.Status


@dataclass(frozen=True)
class Waiting:
    """Something that waits for this person: what it is, how many, what to do about it, and where.

    besides: how many there are beside these that need nothing of this person now.
    """

    what: str
    number: int
    does: str
    button: str
    url: str
    presses: bool = True
    besides: str = ""


def waiting(user, *, at):
    """The work that waits for this person now, the most pressing first. As many queries for any number of rows."""
    today = timezone.localdate(at)
    rows = [*_requests(user, at)]
    if user.has_perm("governance.plan_transition"):
        rows += _planning(today)
    csm = getattr(user, "csm", None)
    if csm is not None:
        rows += _own_accounts(csm, today)
    rows += _decisions(user)
    rows.append(
        Waiting("Unread messages", Notification.objects.filter(user=user).unread().count(),
                "What happened to what you ask for and look after.", "Read", pages.address("inbox"), presses=False)
    )  # fmt: skip
    return [row for row in rows if row.number]


def _requests(user, at):
    mine = ApprovalRequest.objects.filter(requester=user.pk, status__in=["changes_asked", "failed"])
    rows = []
    desk = None
    if user.has_perm("governance.decide_request") or user.delegations.exists():
        desk = inbox.open_desk(at)
        number = len(inbox.awaiting_ids(user, at=at, desk=desk))
        rows.append(
            Waiting(
                "Requests to decide",
                number,
                "They wait for your approval.",
                "Decide",
                pages.address("approvalrequests", tab="mine"),
            )
        )
    rows.append(
        Waiting("Your requests that came back", mine.count(), "Changes are asked for, or they could not be carried out.",
                "Look at them", pages.address("approvalrequests", tab="requested"))
    )  # fmt: skip
    if user.has_perm("governance.plan_transition"):
        desk = desk or inbox.open_desk(at)
        stuck = sum(bool(desk.nobody_can(request)) for request in desk.requests)
        rows.append(
            Waiting("Requests nobody can decide", stuck, "The role they need has nobody left: give it to somebody.",
                    "Look at them", pages.address("approvalrequests", tab="all", status__exact="pending"))
        )  # fmt: skip
    return rows


def _planning(today):
    """The work of CS Ops: triage, plans, care."""
    counted = Transition.objects.open().aggregate(
        flagged=Count("pk", filter=Q(status=Status.FLAGGED, held_for="")),
        planned=Count("pk", filter=Q(status=Status.PLANNED, held_for="")),
        awaiting=Count("pk", filter=Q(status=Status.AWAITING, held_for="")),
        held=Count("pk", filter=~Q(held_for="")),
        over=Count("pk", filter=Q(status=Status.JOINT, joint_until__lt=today)),
    )
    expiring = Override.objects.active().filter(
        expires_on__lte=today + timedelta(days=organisation().override_reminder_days)
    )
    numbers = _numbers(expiring=expiring, left=Account.objects.active().filter(csm__user__is_active=False))
    board = pages.address("board")
    return [
        Waiting("Tier changes to triage", counted["flagged"], "Plan them, or keep the account where it is.", "Triage",
                pages.address("triage"), besides=_besides(counted)),
        Waiting("Plans to send for approval", counted["planned"], "Planned, and nobody has been asked yet.", "Open the board", board),
        Waiting("Joint coverage to end", counted["over"], "Its days are over and the hand-over is not complete.", "Open the board", board),
        Waiting("Overrides that end soon", numbers["expiring"], f"Within {organisation().override_reminder_days} days: renew them, or let the rules decide.",
                "Look at them", pages.address("overrides", state="expiring")),
        Waiting("Accounts looked after by nobody who can log in", numbers["left"], "The login of their CSM is closed: give them to somebody else.",
                "Look at them", pages.address("accounts", csm="closed", **figures.ACTIVE_LISTED)),
    ]  # fmt: skip


def _numbers(**querysets):
    """{name: the number of its rows} of several querysets in one query."""
    first, *others = [
        rows.order_by().values(what=Value(name)).annotate(number=Count("pk")).values_list("what", "number")
        for name, rows in querysets.items()
    ]
    return dict(first.union(*others, all=True))


def _besides(counted):
    """Where the other accounts are that the rules put into another segment."""
    words = {"held": "held", "planned": "planned", "awaiting": "awaiting approval"}
    places = [f"{counted[name]:,} {what}" for name, what in words.items() if counted[name]]
    return f"Besides these: {', '.join(places)}." if places else ""


def _own_accounts(csm, today):
    """The work of a CSM."""
    open_ = Transition.objects.filter(Q(account__csm=csm) | Q(receiver=csm), status=Status.JOINT)
    expiring = Override.objects.active().filter(
        account__csm=csm, expires_on__lte=today + timedelta(days=organisation().override_reminder_days)
    )
    alerts = Alert.objects.filter(account__csm=csm, status=Alert.Status.OPEN)
    return [
        Waiting("Alerts on your accounts", alerts.count(), "Look at the account, and say what you do about it.",
                "Look at them", pages.address("alerts", state="mine")),
        Waiting("Hand-overs you take part in", open_.count(), "Joint coverage: the plan's steps are yours to do.",
                "Open the board", pages.address("board", mine=1)),
        Waiting("Overrides of your accounts that end soon", expiring.count(), "Ask again if the reason still holds.",
                "Look at them", pages.address("overrides", state="expiring", csm=csm.pk)),
        Waiting("Your accounts in another segment than the rules say", _differ(csm), "The account's page says what holds it.",
                "Look at them", pages.address("accounts", csm=csm.pk, state="differs", **figures.ACTIVE_LISTED)),
    ]  # fmt: skip


def _differ(csm):
    """As the list of accounts counts them: active customers, on the primary segmentation."""
    assignments = Assignment.objects.filter(
        layer__primary=True, computed__isnull=False, effective__isnull=False
    )
    assignments = assignments.filter(account__in=Account.objects.active().filter(csm=csm))
    return assignments.exclude(computed=F("effective")).count()


def _decisions(user):
    """Decisions that are taken without a request."""
    rows = []
    if user.has_perm("accounts.resolve_conflict"):
        rows.append(
            Waiting("Values two sources disagree about", Conflict.objects.open().count(), "They would change a segment: keep ours, or take theirs.",
                    "Decide", pages.address("conflicts"))
        )  # fmt: skip
    if user.has_perm("segmentation.confirm_declaration"):
        proposed = Declaration.objects.proposed().exclude(proposed_by=user.pk)
        rows.append(
            Waiting("Declared values to confirm", proposed.count(), "Somebody has proposed them.",
                    "Decide", pages.address("declarations"))
        )  # fmt: skip
    return rows


def after_run(run):
    """[(layer, how many tier changes wait for triage, how many of them this run flagged or changed)]; of its layers."""
    flagged = Transition.objects.filter(status=Status.FLAGGED, held_for="", layer__runs__run=run)
    rows = flagged.order_by("layer__position", "layer__key").values_list("layer__key", "layer__name")
    return list(rows.annotate(number=Count("pk"), by_run=Count("pk", filter=Q(run=run.pk))))


# -- for a CSM, and for an auditor


def own(csm, *, at):
    """{csm, accounts, arr, segments, without (a segment), url, changes} of the accounts this CSM looks after; six queries."""
    accounts = Account.objects.active().filter(csm=csm)
    total = {"accounts": accounts.count(), "arr": revenue.total(accounts, timezone.localdate(at))}
    held = Assignment.objects.filter(layer__primary=True, account__in=accounts)
    named = ("effective__key", "effective__name")
    segments = (
        held.exclude(effective=None).order_by("effective__position", "effective__key").values_list(*named)
    )
    moves = Move.objects.filter(account__csm=csm, at__gt=timezone.localdate(at) - timedelta(days=30))
    moves = moves.exclude(why=Move.Why.INITIAL).select_related(
        "account", "layer", "from_segment", "to_segment"
    )
    segments = list(segments.annotate(accounts=Count("pk")))
    return {
        "csm": csm,
        **total,
        "url": pages.address("accounts", csm=csm.pk, **figures.ACTIVE_LISTED),
        "segments": segments,
        "without": total["accounts"] - sum(accounts for *_, accounts in segments),
        "changes": moves.order_by("-id")[:CHANGES],
    }


def recorded(*, at):
    """The first look of somebody who audits: [(what, how many since yesterday, kinds of events)]."""
    since = at - timedelta(days=1)
    counted = dict(
        Event.objects.filter(at__gte=since).order_by().values_list("kind").annotate(number=Count("pk"))
    )
    return [(what, sum(counted.get(kind, 0) for kind in kinds)) for what, kinds in RECORDED]


RECORDED = [
    ("Segments changed", ["move"]),
    ("Requests opened", ["request_opened"]),
    ("Requests carried out", ["request_applied"]),
    ("Requests rejected, withdrawn or expired", ["request_rejected", "request_withdrawn", "request_expired"]),
    ("Overrides begun or ended", ["override_started", "override_ended", "override_expired"]),
    ("Policies changed", ["policy_changed"]),
    ("How segments are called and served changed", ["how_we_serve_changed"]),
    (
        "Roles, logins and tokens changed",
        ["role_changed", "program_made", "token_made", "token_rotated", "token_revoked"],
    ),
]


def step(rows):
    """(sentence, button, address) of the first thing that waits, for the one prominent button; None where nothing does."""
    first = next((row for row in rows if row.presses), None)
    return first and (f"{first.what}: {first.number:,}. {first.does}", first.button, first.url)
