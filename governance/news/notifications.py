"""People told of what has happened, why, and with which link: KINDS says it for each kind of event.

Every event leaves an Outbox row (a trigger), which is work. `deliver` takes many at a time and writes Notification rows
in the transaction that deletes them, so that each event is told once whatever dies in between. Events that come in masses
(a recalculation that moves thousands) are one line a person.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Q
from django.utils import timezone
from django.utils.text import Truncator

from core import pages
from core.wording import plural
from core.work import LATER, Kind
from governance.models import Event, Mail, Notification, Outbox, Preference
from governance.news.audiences import (
    Context,
    Why,
    administrators,
    approvers,
    asker,
    asking,
    audience,
    concerned,
    csm,
    csm_or_ops,
    giver,
    may_confirm,
    ops,
    owners,
    planner,
    receiver,
    segment_owners,
    stewards,
)

BATCH = 1_000  # events worked in one transaction
LISTED = 1_000  # events that one line remembers
WHY = Notification._meta.get_field("why").max_length
DIGEST = time(8)  # in the organisation's zone
TOLD_LAYERS = {"lifecycle", "health"}  # beside the primary one: segmentations whose changes a CSM is told of


@dataclass(frozen=True)
class How:
    """The way one kind of event is told.

    label: what it is, for the page of preferences. at_once, later: who is told (governance.news.audiences), mailed at once for
    what waits on them, else with the day's digest; the first that names a person counts. many: what a line about several
    accounts says; `{count}` is "34 of your accounts", `{what}` the text of the first event; "": each is a line of its own.
    """

    label: str
    at_once: tuple[Callable, ...] = ()
    later: tuple[Callable, ...] = ()
    many: str = ""


KINDS = {
    # requests
    "request_opened": How("A request waits for approval", (approvers,), (owners,)),
    "request_edited": How("A request has changed and waits again", (approvers,), (asker,)),
    "request_approved": How("Somebody approved a request", (), (asker,)),
    "request_applied": How("A request was approved and done", (), (asker, owners)),
    "request_rejected": How("A request was rejected", (asking,), (owners,)),
    "changes_asked": How("Changes of a request are asked for", (asking,)),
    "request_withdrawn": How("A request was withdrawn", (), (asker, approvers, owners)),
    "request_expired": How("A request has expired", (asking,)),
    "request_failed": How("A request was approved, but failed", (asker, ops)),
    "request_escalated": How("A request is about to expire", (approvers, administrators), (asker,)),
    "request_recounted": How("A request needs another approval", (approvers,), (asker,)),
    "request_stuck": How("Nobody can decide a request", (ops,), (asker,)),
    "accounts_left": How("Somebody left who looks after accounts", (ops,)),
    # tier changes
    "transition_flagged": How("An account crossed a boundary", (), (csm, ops), "{count} crossed a boundary"),
    "transition_updated": How("A tier change has changed", (), (planner, csm), "The tier changes of {count} have changed"),
    "transition_closed": How("An account came back", (), (planner, csm), "{count} came back over their boundary"),
    "transition_kept": How("An account stays where it is", (), (csm,), "{count} stay where they are"),
    "transition_joint": How("Joint coverage has started", (receiver,), (giver, planner), "Joint coverage of {count} has started"),
    "transition_done": How("A hand-over is complete", (), (receiver, giver, planner), "The hand-over of {count} is complete"),
    "transition_overdue": How("Joint coverage should have ended", (planner, receiver, giver), (), "Joint coverage of {count} should have ended"),
    "transition_taken_out": How("An account was taken out of a request", (planner,), (csm,)),
    # overrides
    "override_started": How("An override is in force", (), (asker, csm), "Overrides of {count} are in force"),
    "override_ended": How("An override was ended", (), (asker, csm), "The overrides of {count} were ended"),
    "override_expired": How("An override has expired", (), (asker, csm), "The overrides of {count} have expired"),
    "override_expiring": How("An override is about to expire", (asking,), (csm,), "The overrides of {count} are about to expire"),
    "override_rejected": How("An override was refused", (), (asker, csm), "Overrides of {count} were refused"),
    # data and alerts
    "conflict_queued": How("Two sources disagree", (), (stewards,), "Sources disagree about {count}"),
    "conflict_decided": How("A disagreement between sources was decided", (), (csm,), "Values of {count} were decided about"),
    "alert_opened": How("An alert", (), (audience,), "{what}: {count}"),
    "alert_rule_wrong": How("An alert rule needs a change", (), (ops,)),
    "alert_acknowledged": How("Somebody has seen an alert"),
    # who may what
    "policy_changed": How("A policy has changed", (), (administrators, ops)),
    "role_changed": How("A role was given or taken", (), (concerned, administrators)),
    "how_we_serve_changed": How("How a segment in use is called or served has changed", (), (segment_owners,)),
    "person_changed": How("A person is called otherwise", (), (concerned, administrators)),
    "email_changed": How("The e-mail address of a person was changed", (concerned,), (administrators,)),
    "password_set": How("Somebody set another person's password", (concerned,), (administrators,)),
    "program_made": How("A service user was made", (), (administrators,)),
    "token_made": How("A token of a service user was made", (), (administrators,)),
    "token_rotated": How("A token of a service user has a new secret", (), (administrators,)),
    "token_revoked": How("A token of a service user was revoked", (), (administrators,)),
    "login_failed": How("Somebody typed a wrong password"),
    "login_locked": How("A login is locked after wrong passwords", (), (concerned, administrators)),
    "lock_lifted": How("The lock of a login was lifted", (), (concerned,)),
    "declaration_proposed": How("A value is proposed", (may_confirm,), (), "Values are proposed for {count}"),
}  # fmt: skip
# Changes of segments, by why; those by decisions are told by what decided them.
MOVES = {
    "data": How("An account changed its segment", (), (csm,), "{count} changed their segment"),
    "definition": How(
        "New rules moved an account", (), (csm,), "{count} are in another segment under the new rules"
    ),
    "both": How(
        "An account and the rules changed", (), (csm,), "{count} changed their segment under new rules"
    ),
    "cutoffs": How("Cut-offs moved an account", (), (csm,), "{count} are in another segment by new cut-offs"),
    "segmentation": How(
        "Another segmentation moved an account", (), (csm,), "{count} followed another segmentation"
    ),
    "policy": How("A segmentation applies by itself", (), (csm,), "{count} follow the rules now"),
    "provisional": How(
        "A provisional segment was decided",
        (),
        (csm_or_ops,),
        "{count} were decided about after the provisional period",
    ),
    "correction": How("A segment was corrected", (), (csm,), "The segments of {count} were corrected"),
}


# Events that are told before all others, as filters of the outbox: a recalculation of thousands does not keep them waiting.
URGENT = (
    {"event__data__urgent": True},
    {"event__kind__in": [kind for kind, how in KINDS.items() if how.at_once]},
)

# -- telling


@dataclass(frozen=True)
class Line:
    """That one person is told of one event."""

    user: object
    event: Event
    why: Why
    text: str
    link: str
    urgent: bool
    group: str
    many: str


def deliver(*, now=None):
    """Tell people of everything nobody was told of yet; returns how many events that were.

    An event that cannot be told is logged, tried again later, and holds up no other.
    """
    now = now or timezone.now()
    return sum(KIND.turns(now, at=now, **which) for which in (*URGENT, {}))


def _tell(outbox, now):
    ids = [row.pk for row in outbox]
    events = Event.objects.filter(pk__in=ids).select_related("account__csm__user", "layer").order_by("pk")
    context = Context(list(events))
    _write([line for event in context.events for line in _lines(event, context)], now)


KIND = Kind(parts=Outbox, do=_tell, most=BATCH, attempts=6, pauses=LATER, kept=False)


def _lines(event, context):
    how = _how(event, context)
    if how is None:
        return []
    text = sentence(event, context)
    group = _group(event, context) if how.many else ""
    reasons = {}
    for finders, urgent in ((how.at_once, True), (how.later, False)):
        for find in finders:
            for user, why in find(event, context).items():
                reasons.setdefault(user, (why, urgent or bool(event.data.get("urgent"))))
    by_rules = event.about == "move"  # who starts a recalculation has not moved the accounts
    return [
        Line(user, event, why, text, address(event, user, context), urgent, group, how.many)
        for user, (why, urgent) in reasons.items()
        if told_anyway(event, user) or (user.is_active and (by_rules or user.pk != event.actor))
    ]


def told_anyway(event, user):
    """Whether somebody may have taken over this person's login: told by mail whoever did it, read or not."""
    return "mail_to" in event.data and event.data.get("user") == user.pk


def _how(event, context):
    """How people are told of it; None where nobody is."""
    if event.kind != "move":
        return KINDS[event.kind]
    move = context.move(event)
    if move is None or not (move.layer.primary or move.layer.key in TOLD_LAYERS or move.why == "provisional"):
        return None
    return MOVES.get(move.why)


def _group(event, context):
    """The key of events that are told in one line: one kind, one segmentation, one recalculation, else one day."""
    move, kind, run = context.move(event), event.kind, event.data.get("run")
    if move is not None:
        kind, run = f"move {move.why}", move.cause.run
    if event.about == "alert":
        kind = f"alert {event.text}"[:80]
    together = f"run {run}" if run else f"{timezone.localdate(event.at)}"
    return f"{kind}, {event.layer_id or ''}, {together}"


def sentence(event, context):
    """Say what happened, in a sentence; a change of a segment is told from its row."""
    move = context.move(event)
    if event.about == "alert" and event.account:
        return f"{event.text.rstrip('.')}: {event.account}."
    if move is None:
        return event.text or f"{KINDS[event.kind].label}."
    who, why = event.account or "An account", move.get_why_display()
    why = why[:1].lower() + why[1:]
    if move.product_id:
        who = f"{who}, {move.product}"
    if move.to_segment is None:
        return f"{who} has no segment any more in {move.layer}: {why}."
    if move.from_segment is None:
        return f"{who} is in {move.to_segment} ({move.layer}): {why}."
    return f"{who} moved from {move.from_segment} to {move.to_segment} ({move.layer}): {why}."


def address(event, user, context):
    """The page about what happened that this person may see, as a path; else that of the account, else the inbox."""
    for name, key in ((event.about, event.about_id), ("account", event.account_id)):
        page = pages.find(name)
        if page and key is not None and context.may(user, page.permission):
            return page.address(key)
    return pages.address("inbox")


# -- writing

_INSERT = """
    insert into governance_notification as n (user_id, event_id, "group", count, events, text, why, link, urgent, created_at,
                                              mail_id)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_ONE = _INSERT + "on conflict (user_id, event_id) do nothing"
# More of the same. A line that was read or mailed has no group any more: what comes then is a new one.
_MANY = (
    _INSERT
    + f"""
    on conflict (user_id, "group") where "group" <> '' do update
       set count = n.count + excluded.count, events = (n.events || excluded.events)[1:{LISTED}],
           urgent = n.urgent or excluded.urgent, mail_id = (
               select id from governance_mail where id in (n.mail_id, excluded.mail_id) order by urgent desc, due, id limit 1)
    returning n.id, n.count
"""
)


def _write(lines, now):
    users = {line.user.pk: line.user for line in lines}
    wishes = {preference.pk: preference for preference in Preference.objects.filter(pk__in=users)}
    wishes |= {user: Preference(pk=user) for user in users if user not in wishes}
    together = _together(lines)
    mails = _mails({key: _wanted(some, wishes[key[0]], now) for key, some in together.items()})
    grown = {}
    with connection.cursor() as cursor:
        for key, some in sorted(together.items()):  # in order: two processes may meet
            row = _row(key[1], some, mails.get(key), now)
            if not key[1]:
                cursor.execute(_ONE, row)
                continue
            cursor.execute(_MANY, row)
            id, count = cursor.fetchone()
            if count > 1:
                grown[id] = (count, some[0])
    _tell_how_many(grown)


def _together(lines):
    """{(user, group, event where it is alone): [Line]}."""
    together = defaultdict(list)
    for line in lines:
        together[line.user.pk, line.group, 0 if line.group else line.event.pk].append(line)
    return together


def _row(group, some, mail, now):
    """The parameters of _INSERT; some: the lines it is about; mail: the id of the Mail it goes out with."""
    first, urgent = some[0], any(line.urgent for line in some)
    events = [line.event.pk for line in some[:LISTED]]
    why = _why_in_words(first.why, str(first.event.account))
    values = [first.user.pk, first.event.pk, group, len(some), events, first.text, why, first.link]
    return [*values, urgent, now, mail]


def _why_in_words(why, it):
    """Why a person is told, of an account by its name; a name may be longer than there is room."""
    return Truncator(why.sentence(it)).chars(WHY)


def _tell_how_many(grown):
    """Say of the rows ({id: (count, a Line of it)}) about how many they are, and link to the list of them."""
    rows = list(Notification.objects.filter(pk__in=grown).select_related("event__layer"))
    for row in rows:
        count, line = grown[row.pk]
        row.why = _why_in_words(line.why, "them")
        mine = line.why.code == "csm"
        accounts = f"{count:,} of your accounts" if mine else plural(count, "account,accounts")
        of = f" ({row.event.layer})" if row.event.layer else ""
        sentence = line.many.format(count=accounts, what=row.event.text.rstrip("."))
        row.text = f"{sentence}{of}."
        row.link = pages.address("inbox_line", row.pk)
    Notification.objects.bulk_update(rows, ["text", "why", "link"])


# -- mail

NO_ADDRESS = "No e-mail address is known."


def _wanted(some, wish, now):
    """The Mail that lines are to go out with, not saved, or None."""
    user, anyway = some[0].user, told_anyway(some[0].event, some[0].user)
    if not settings.MAILED or (wish.mail == Preference.Mail.NONE and not anyway):
        return None
    to = some[0].event.data["mail_to"] if anyway else ""
    mail = Mail(user=user, to=to, lane=f"{user.pk} {to}", urgent=any(line.urgent for line in some))
    if not (user.email or anyway):
        mail.status, mail.error = Mail.Status.FAILED, NO_ADDRESS
    elif wish.mail == Preference.Mail.AT_ONCE or mail.urgent:
        mail.due = now
    else:
        mail.due = next_digest(now)
    return mail


def _mails(wanted):
    """{key: the id of a Mail} for {key: the Mail wanted, or None}: one that is there and nobody has claimed, else a new one."""
    wanted = {key: mail for key, mail in wanted.items() if mail}
    lanes, dues = {mail.lane for mail in wanted.values()}, {mail.due for mail in wanted.values()}
    waiting = Q(status="pending", attempts=0, due__in=dues - {None}) | Q(status="failed", error=NO_ADDRESS)
    there = Mail.objects.filter(waiting, lane__in=lanes).select_for_update(skip_locked=True, no_key=True)
    mails = {_as_one(mail): mail for mail in there}
    new = {_as_one(mail): mail for mail in wanted.values() if _as_one(mail) not in mails}
    Mail.objects.bulk_create(new.values())
    return {key: (mails | new)[_as_one(mail)].pk for key, mail in wanted.items()}


def _as_one(mail):
    return mail.lane, mail.due, mail.urgent


def next_digest(now):
    """The next time digests are sent, after this moment."""
    local = timezone.localtime(now)
    first = local.date() if local.time() < DIGEST else local.date() + timedelta(days=1)
    return timezone.make_aware(datetime.combine(first, DIGEST))


# -- reading


def about(notification):
    """The events a line is about, newest first: [(Event, sentence, link)]."""
    ids = notification.events or [notification.event_id]
    events = Event.objects.filter(pk__in=ids).select_related("account__csm__user", "layer").order_by("-pk")
    context, user = Context(list(events)), notification.user
    return [(event, sentence(event, context), address(event, user, context)) for event in context.events]


def read(notifications, *, at=None):
    """Mark the lines of a queryset as read; returns how many were not."""
    return notifications.unread().update(read_at=at or timezone.now(), group="")


def unread(user):
    """How many lines wait for a person."""
    return Notification.objects.filter(user=user).unread().count()
