"""Requests and what people say about them: asked for, approved by enough people of the right roles, carried out.

Every verb locks the request's row first, then checks, then writes: of two people at once one is first, and the other is
told. Whoever also locks what a request is about (a tier change, an override, rules) locks the request before it.

`by` is the acting user; None is the system, which nobody refuses, but which never decides. `seen` is what `token` gave for
the request that person was looking at. A request carries its content in the form its kind defines; its kind's module (governance.kinds)

    carry_out(request, *, by, at)     does it, all or nothing; a Refused is shown as the reason of the failure
    impact(request)                   the Impact as of today
    decided_against(request, *, verdict, by, reason)    lets go of what it was about: `reject`, `ask`, `withdraw`, `expire`
    address(request)                  the URL of what it is about
"""

import json
import logging
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import F
from django.utils import timezone

from accounts import revenue
from accounts.models import Account
from core import history
from core.history import acting, actor
from core.organisation import organisation
from core.refusals import Refused, verb
from core.status_tables import StatusTable, Step
from core.wording import day
from governance import events, kinds, permissions
from governance.deciders import Desk
from governance.kinds import KINDS
from governance.models import ApprovalRequest, Comment, Decision, Event
from segmentation import causes
from segmentation.models import Cause

log = logging.getLogger(__name__)

SOON = timedelta(days=2)  # before a request expires, everybody who could decide it is told
# Advisory lock: held shared by who asks, alone by who changes a policy; the guards take it too.
POLICIES = 18116683
LATELY = timedelta(days=30)
LONGEST = 4_000  # characters of a reason or a comment
KEEP = object()  # an argument that was not given: as it is
_STATUS, _VERDICT = ApprovalRequest.Status, Decision.Verdict


# -- the status table


_DECIDER = "people of the roles it needs who have no part in it"
_OWN = "who requested or edited it, CS Ops"
_CLOCK = "by itself"
STATUSES = StatusTable(
    ApprovalRequest,
    [
        Step(_STATUS.PENDING, _STATUS.APPLIED, "Approve, the last one needed", _DECIDER, verb="approve"),
        Step(_STATUS.PENDING, _STATUS.APPROVED, "Approve, to be carried out later", _DECIDER, verb="approve"),
        Step(_STATUS.PENDING, _STATUS.FAILED, "Approved, cannot be carried out", _DECIDER, verb="approve"),
        Step(_STATUS.PENDING, _STATUS.CHANGES_ASKED, "Ask for changes", _DECIDER, True, verb="ask"),
        Step(_STATUS.PENDING, _STATUS.REJECTED, "Reject", _DECIDER, True, verb="reject"),
        Step(_STATUS.CHANGES_ASKED, _STATUS.PENDING, "Edit, or hand in again", _OWN, verb="resubmit"),
        Step(
            _STATUS.APPROVED,
            _STATUS.APPLIED,
            "Its date has come, or a worker has done it",
            _CLOCK,
            verb="apply",
        ),
        Step(_STATUS.APPROVED, _STATUS.FAILED, "Cannot be carried out", _CLOCK, verb="apply"),
        Step(_STATUS.FAILED, _STATUS.APPLIED, "Try again", _OWN, verb="apply"),
        Step(_STATUS.FAILED, _STATUS.APPROVED, "Try again, a worker does it", _OWN, verb="apply"),
        Step(_STATUS.APPROVED, _STATUS.PENDING, "Edit, or too few approvals count", _OWN, verb="edit"),
        Step(_STATUS.FAILED, _STATUS.PENDING, "Edit, or too few approvals count", _OWN, verb="edit"),
        *(
            Step(status, _STATUS.WITHDRAWN, "Withdraw", _OWN, True, verb="withdraw")
            for status in (_STATUS.PENDING, _STATUS.CHANGES_ASKED, _STATUS.APPROVED, _STATUS.FAILED)
        ),
        *(
            Step(status, _STATUS.EXPIRED, "Nobody decided in time", _CLOCK, verb="expire")
            for status in (_STATUS.PENDING, _STATUS.CHANGES_ASKED, _STATUS.FAILED)
        ),
    ],
    begins={_STATUS.PENDING: ""},
)


# -- what is asked for, and who has to say yes


@dataclass(frozen=True)
class Impact:
    """How far a request reaches. owners: ids of the users who look after an account of it as CSM.

    foreign: money in another currency is part of it, which `arr` does not count: every threshold of ARR counts as reached.
    of_late: the highest ARR these accounts had in the last LATELY days; thresholds count it, whoever changed it before asking.
    roles: whose own say it changes; each of them approves it too.
    """

    accounts: int = 0
    arr: Decimal = Decimal(0)
    csm_changes: int = 0
    top_tier: bool = False
    owners: tuple = ()
    foreign: bool = False
    of_late: Decimal = Decimal(0)
    roles: tuple = ()


def requirement(kind, impact, *, by=None):
    """({role: approvals}, days until due, days until it expires) for a request of this kind and impact.

    By the policies there are, as the database itself works it out (demarc_required, which holds every request to it). by:
    who asks.
    """
    return _required(kind, impact, by.pk if by else None)


def _required(kind, impact, requester):
    arr = max(impact.arr, impact.of_late)
    figures = [impact.accounts, arr, impact.csm_changes, impact.top_tier, impact.foreign]
    with connection.cursor() as cursor:
        cursor.execute(
            "select needed, due_days, expire_days from demarc_required(%s, %s, %s, %s, %s, %s, %s)",
            [str(kind), *figures, requester],
        )
        needed, due_days, expire_days = cursor.fetchone()
    return _stricter(json.loads(needed), dict.fromkeys(impact.roles, 1)), due_days, expire_days


def of_late(accounts):
    """The highest ARR these accounts (ids) had together in the last days; money in other currencies apart, as in `arr`."""
    ours = Account.objects.filter(pk__in=accounts, currency__in=("", organisation().currency))
    ids, since = list(ours.values_list("pk", flat=True)), timezone.now() - LATELY
    highest = revenue.highest(ids, timezone.localdate(), since=since)
    return sum((arr or Decimal(0) for arr in highest.values()), Decimal(0))


def hold_policies(kind):
    """Keep policies as they are until the end of the transaction; a kind that sets them waits for all others."""
    shared = "" if KINDS[kind].sets_policies else "_shared"
    with connection.cursor() as cursor:
        cursor.execute(f"select pg_advisory_xact_lock{shared}(%s)", [POLICIES])


def _stricter(one, other):
    """Of each role the higher number."""
    return {role: max(one.get(role, 0), other.get(role, 0)) for role in sorted({*one, *other})}


def address(request):
    """The URL of the page about what it is about; "" where there is none."""
    return _module(request).address(request)


def token(request):
    """What a page remembers of the request it shows: a decision made on it is refused once there is a newer one."""
    return f"{request.revision}:{request.hash}"


def standing(request, *, desk=None):
    """How far it is in each role it needs: a list of deciders.Part."""
    return (desk or Desk([request])).parts(request)


def nobody_can(request, *, desk=None):
    """Why it waits for somebody there is not, a sentence for CS Ops; "" where people can decide it."""
    if request.status != _STATUS.PENDING:
        return ""
    return (desk or Desk([request])).nobody_can(request)


def could_approve(request, *, at=None):
    """Ids of the users who could approve it now, delegates included."""
    return Desk([request], at=at).could_approve(request) if request.status == _STATUS.PENDING else set()


def awaiting(user, *, at=None):
    """Requests this person could approve now, as a queryset. Few queries, however many wait."""
    return ApprovalRequest.objects.filter(pk__in=awaiting_ids(user, at=at))


def awaiting_ids(user, *, at=None, desk=None):
    """The same as ids. desk: that of all requests that wait (`open_desk`), where the caller has it already."""
    at = at or timezone.now()
    desk = desk or open_desk(at)
    return [
        request.pk
        for request in desk.requests
        if permissions.may(permissions.decide(request, by=user, at=at, desk=desk))
    ]


def open_desk(at):
    """The desk of all requests that wait for a decision at this moment."""
    pending = ApprovalRequest.objects.pending().filter(expires_at__gt=at)
    return Desk(pending.defer("content", "changes"), at=at)


# -- asking


@verb
def open(
    kind, *, key, subject, content, changes, why, by, impact, evidence="", simulation=None, apply_on=None, authors=()
):  # fmt: skip
    """Ask for something: the ApprovalRequest, carried out at once where nobody has to approve it.

    key: what it is about; one open request per kind and key. content: plain data, what will be carried out. changes: what
    changes, in sentences. apply_on: not before this day. authors: ids of those who wrote what is asked for, whoever asks:
    they count as its editors. Whether the person may ask for this the kind's module has checked.
    """
    why = _said(why, "request_reason_missing")
    content = _plain(content)
    now = timezone.now()
    with _acting(by, why):
        hold_policies(kind)
        requester = by.pk if by else actor().id
        needed, due_days, expire_days = _required(kind, impact, requester)
        hash, owners = _worked_out(kind, content)
        causes.take(Cause.Kind.DECISION, reason=why)
        request = _create(
            kind=kind,
            key=key,
            subject=subject[:400],
            content=content,
            hash=hash,
            changes=[str(one) for one in changes],
            why=why,
            evidence=_clean(evidence),
            requester=requester,
            requester_label=by.get_username() if by else actor().label,
            requested_at=now,
            simulation=simulation,
            needed=needed,
            due_at=now + timedelta(days=due_days),
            expires_at=now + timedelta(days=expire_days),
            apply_on=apply_on,
            editors=sorted({*authors} - {None, requester}),
            owners=sorted({*impact.owners, *owners}),
            **_figures(impact),
            measured=[_measured(impact, "asked", now)],
        )
        _tell(
            request, "request_opened", f"{request.requester_label} asks for approval: {request.subject}", why
        )
        _go_on(request, by=by, at=now)
    return request


def _create(**columns):
    known = ApprovalRequest.objects.open().filter(kind=columns["kind"], key=columns["key"])
    try:
        with transaction.atomic():
            if not known.exists():
                return ApprovalRequest.objects.create(**columns)
    except IntegrityError as error:  # somebody else asked in the same moment
        if error.__cause__.diag.constraint_name != "one_open_request":
            raise
    found = known.first()
    if found is None:
        raise Refused("request_changed_in_the_same_moment")
    raise Refused(
        "request_open_already",
        requester=history.who(found, "requester"),
        requested_at=found.requested_at,
        status=found.get_status_display(),
    )


def _worked_out(kind, content):
    """(fingerprint, owners) of a content, as the database works them out."""
    text = json.dumps(content)
    with connection.cursor() as cursor:
        cursor.execute(
            "select demarc_fingerprint(%s::jsonb), demarc_owners(%s, %s::jsonb)", [text, str(kind), text]
        )
        return cursor.fetchone()


def _figures(impact):
    return {
        "accounts": impact.accounts,
        "arr": impact.arr,
        "csm_changes": impact.csm_changes,
        "top_tier": impact.top_tier,
        "other_currency": impact.foreign,
    }


def _measured(impact, when, at):
    """An entry of `measured`: what was counted, when, and at which step (asked, edited, decided)."""
    return {"when": when, "at": at.isoformat(), **_figures(impact) | {"arr": f"{impact.arr:.2f}"}}


@verb
def edit(request, *, content, changes, impact, by, seen=None, subject=None, why=None, evidence=None, simulation=KEEP,
         apply_on=KEEP, authors=()):  # fmt: skip
    """Change what is asked for: a new revision, which nobody has approved yet; who did it is an editor from now on.

    Saving what is there already changes nothing. An open request never comes to need fewer approvals than before.
    """
    content = _plain(content)
    with _acting(by, why or request.why):
        request = _locked(request)
        permissions.check(permissions.edit_request(request, by=by))
        _check_seen(request, by, seen)
        return _revise(
            request,
            content,
            changes,
            impact,
            by=by,
            texts={"subject": subject and subject[:400], "why": why, "evidence": evidence},
            others={"simulation": simulation, "apply_on": apply_on},
            authors=authors,
        )


@verb
def narrow(request, *, content, changes, impact, by, seen, reason, subject=None):
    """An approver takes something out of a request of many: a new revision, which the same person may still approve.

    content: that of the request with entries of its lists left out, and nothing else changed.
    """
    reason = _said(reason, "taking_out_unexplained")
    content = _plain(content)
    with _acting(by, reason):
        request = _locked(request)
        permissions.check(permissions.decide(request, by=by, verdict="ask"))
        _check_seen(request, by, seen)
        if not _only_less(request.content, content):
            raise Refused("request_not_narrowed")
        texts = {"subject": subject and subject[:400]}
        return _revise(request, content, changes, impact, by=by, texts=texts, narrowed=reason)


def _only_less(before, after):
    """Some list has fewer entries, in the same order and not none, and all else is the same."""
    if before == after or before.keys() != after.keys():
        return False
    return all(after[name] == value or _is_part(after[name], value) for name, value in before.items())


def _is_part(part, whole):
    if not (isinstance(part, list) and isinstance(whole, list) and part):
        return False
    rest = iter(whole)
    return all(one in rest for one in part)


def _revise(request, content, changes, impact, *, by, texts, others=None, narrowed="", authors=()):
    fresh = {name: _clean(text) for name, text in texts.items() if text is not None}
    fresh |= {name: value for name, value in (others or {}).items() if value is not KEEP}
    if fresh.get("why") == "":
        raise Refused("request_reason_missing")
    hold_policies(request.kind)
    hash, owners = _worked_out(request.kind, content)
    if hash == request.hash and all(getattr(request, name) == value for name, value in fresh.items()):
        return request
    causes.take(Cause.Kind.DECISION, reason=narrowed or fresh.get("why", request.why))
    before = request.changes
    request.content, request.hash, request.changes = content, hash, [str(one) for one in changes]
    for name, value in (fresh | _figures(impact)).items():
        setattr(request, name, value)
    wrote = {*authors, by.pk if by and not narrowed else None}
    request.editors += sorted(wrote - {None, request.requester, *request.editors})
    request.owners = sorted({*request.owners, *impact.owners, *owners})
    request.measured = [*request.measured, _measured(impact, "edited", timezone.now())]
    _new_revision(request, requirement(request.kind, impact))
    new, gone = _differences(before, request.changes)
    did = "took something out" if narrowed else "edited"
    text = f"{_name(by)} {did}, earlier approvals do not count any more: {request.subject}"
    _tell(request, "request_edited", text, narrowed or request.why, new=new, gone=gone)
    _go_on(request, by=by, at=timezone.now())
    return request


def _new_revision(request, requirement):
    """The next revision, which waits for approval, with the days it has from now on."""
    needed, due_days, expire_days = requirement
    now = timezone.now()
    request.needed = _stricter(request.needed, needed)
    request.due_at, request.expires_at = now + timedelta(days=due_days), now + timedelta(days=expire_days)
    request.revision, request.status = request.revision + 1, _STATUS.PENDING
    request.failure, request.escalated_at = "", None
    request.save()


@verb
def resubmit(request, *, by, seen=None):
    """Hand it in again as it is, after changes were asked for: a new revision, so that everybody may decide again."""
    with _acting(by, request.why):
        request = _locked(request)
        permissions.check(permissions.resubmit(request, by=by))
        _check_seen(request, by, seen)
        causes.take(Cause.Kind.DECISION, reason=request.why)
        hold_policies(request.kind)
        _measure(request, "edited", timezone.now())
        _new_revision(request, requirement(request.kind, impact_of(request)))
        _tell(request, "request_edited", f"{_name(by)} hands in again: {request.subject}", request.why)
        _go_on(request, by=by, at=timezone.now())
    return request


def impact_of(request):
    """The Impact a request is held to: the highest figures of all that was counted of it."""
    stored = (request.accounts, request.arr, request.csm_changes, request.top_tier, tuple(request.owners))
    return Impact(*stored, foreign=request.other_currency)


def count(request):
    """What it reaches now, as an entry of `measured`."""
    return _measured(_module(request).impact(request), "now", timezone.now())


def _measure(request, when, at):
    """Count what it reaches as of today. Where that is more than was counted before, it needs what that needs.

    What cannot be counted cannot be carried out either, which will say why.
    """
    try:
        now, before = _module(request).impact(request), impact_of(request)
    except Refused:
        return
    entry = _measured(now, when, at)
    known = (request.measured, request.owners, request.needed)
    if {**request.measured[-1], "when": when, "at": entry["at"]} != entry:
        request.measured = [*request.measured, entry]
    highest = replace(
        now,
        accounts=max(now.accounts, before.accounts),
        arr=max(now.arr, before.arr),
        csm_changes=max(now.csm_changes, before.csm_changes),
        top_tier=now.top_tier or before.top_tier,
        foreign=now.foreign or before.foreign,
    )
    for name, value in _figures(highest).items():
        setattr(request, name, value)
    request.owners = sorted({*request.owners, *now.owners, *_worked_out(request.kind, request.content)[1]})
    request.needed = _stricter(request.needed, requirement(request.kind, highest)[0])
    if known != (request.measured, request.owners, request.needed):
        request.save()


@verb
def comment(request, *, by, text):
    """Say something about a request; it stays as written."""
    permissions.check(permissions.comment(request, by=by))
    text = _said(text, "comment_missing")
    return Comment.objects.create(request=request, text=text, by=by.pk, by_label=by.get_username())


# -- deciding


@verb
def approve(request, *, by, seen, reason="", at=None):
    """Say yes to exactly what was seen; the Decision. With the last one needed it is carried out, or waits for its date.

    Where it cannot be carried out the decision stays, and the request says why (status failed). Approving twice gives the
    same Decision.
    """
    return _decide(request, _VERDICT.APPROVE, by=by, seen=seen, reason=reason, at=at)


@verb
def ask(request, *, by, seen, reason, at=None):
    """Ask for changes: it goes back to who requested it; the Decision."""
    reason = _said(reason, "asked_changes_missing")
    return _decide(request, _VERDICT.ASK, by=by, seen=seen, reason=reason, at=at)


@verb
def reject(request, *, by, seen, reason, at=None):
    """Say no, with a reason; what is in force stays as it is. The Decision."""
    reason = _said(reason, "rejection_unexplained")
    return _decide(request, _VERDICT.REJECT, by=by, seen=seen, reason=reason, at=at)


def _decide(request, verdict, *, by, seen, reason, at):
    at = at or timezone.now()
    reason = _clean(reason)
    with _acting(by, reason or request.why):
        request = _locked(request)
        if said := _said_before(request, verdict, by, seen):
            return said
        desk = Desk([request], at=at)
        if request.is_open:
            _check_seen(request, by, seen)
        permissions.check(permissions.decide(request, by=by, verdict=verdict, at=at, desk=desk))
        seat = desk.seats(request, by.pk)[0]
        decision = Decision.objects.create(
            request=request,
            verdict=verdict,
            role=seat.role,
            by=by.pk,
            by_label=by.get_username(),
            on_behalf_of=seat.on_behalf_of,
            on_behalf_of_label=desk.names.get(seat.on_behalf_of, ""),
            hash=request.hash,
            revision=request.revision,
            reason=reason,
            at=at,
        )
        _AFTER[verdict](request, decision, by=by, at=at)
    decision.request = request
    return decision


def _said_before(request, verdict, by, seen):
    """A second click on the same button: what the first one said."""
    if by is None or seen != token(request):
        return None
    return request.decisions.filter(revision=request.revision, by=by.pk, verdict=verdict).first()


def _after_approval(request, decision, *, by, at):
    causes.take(Cause.Kind.DECISION, reason=request.why)
    _measure(request, "decided", at)
    desk = Desk([request], at=at)
    parts = desk.parts(request)
    given, needed = sum(min(part.given, part.needed) for part in parts), sum(part.needed for part in parts)
    text = f"{_decider(decision)} approved ({given} of {needed}): {request.subject}"
    _tell(request, "request_approved", text, decision.reason, given=given, needed=needed)
    _go_on(request, by=by, at=at, desk=desk)


def _after_ask(request, decision, *, by, at):
    causes.take(Cause.Kind.DECISION, reason=decision.reason)
    request.status = _STATUS.CHANGES_ASKED
    request.save()
    _module(request).decided_against(request, verdict="ask", by=by, reason=decision.reason)
    _tell(
        request, "changes_asked", f"{_decider(decision)} asks for changes: {request.subject}", decision.reason
    )


def _after_rejection(request, decision, *, by, at):
    text = f"{_decider(decision)} rejected: {request.subject}"
    _end(request, _STATUS.REJECTED, "reject", by=by, at=at, reason=decision.reason, text=text)


_AFTER = {
    _VERDICT.APPROVE: _after_approval,
    _VERDICT.ASK: _after_ask,
    _VERDICT.REJECT: _after_rejection,
}
_ENDS = {"reject": "request_rejected", "withdraw": "request_withdrawn", "expire": "request_expired"}


def _end(request, status, verdict, *, by, at, reason, text):
    causes.take(Cause.Kind.DECISION, reason=reason)
    request.status, request.end_reason = status, reason
    _sign(request, by, at)
    request.save()
    _module(request).decided_against(request, verdict=verdict, by=by, reason=reason)
    _tell(request, _ENDS[verdict], text, reason)


@verb
def withdraw(request, *, by, reason, at=None):
    """Take an open request back; what it was about is free again."""
    reason = _said(reason, "withdrawal_unexplained")
    with _acting(by, reason):
        request = _locked(request)
        permissions.check(permissions.withdraw(request, by=by))
        text = f"{_name(by)} withdrew: {request.subject}"
        _end(request, _STATUS.WITHDRAWN, "withdraw", by=by, at=at or timezone.now(), reason=reason, text=text)
    return request


# -- carrying out


@verb
def apply(request, *, by=None, at=None):
    """Carry out what is approved and due, or try again what failed. Approvals are counted once more before."""
    at = at or timezone.now()
    with _acting(by, request.why):
        request = _locked(request)
        permissions.check(permissions.apply(request, by=by, at=at))
        causes.take(Cause.Kind.DECISION, reason=request.why)
        _measure(request, "carried out", at)
        _go_on(request, by=by, at=at)
    return request


def _go_on(request, *, by, at, desk=None):
    """From where it is as far as its approvals go: back to waiting, to waiting for its date, or done."""
    desk = desk or Desk([request], at=at)
    if not desk.enough(request):
        if request.status != _STATUS.PENDING:
            _back(request)
        _say_who_is_missing(request, desk)
    elif request.apply_on and request.apply_on > timezone.localdate(at):
        _wait(request)
    else:
        _carry_out(request, by=by, at=at)


def _wait(request):
    """It is approved, and its day or a worker's part in it is still to come."""
    if request.status != _STATUS.APPROVED:
        request.status, request.failure = _STATUS.APPROVED, ""
        request.save()


def _prepared(request, *, by):
    """What takes a worker's time is done before a request can be carried out; most take none."""
    prepare = getattr(_module(request), "prepare", None)
    return prepare is None or prepare(request, by=by)


def _carry_out(request, *, by, at):
    """All or nothing: what fails leaves the request with the reason, and no trace else."""
    try:
        with transaction.atomic():
            if not _prepared(request, by=by):
                return _wait(request)
            request.status, request.failure = _STATUS.APPLIED, ""
            _sign(request, by, at)
            request.save()
            _module(request).carry_out(request, by=by, at=at)
            connection.check_constraints()  # what else would be found out at the commit
            _tell(request, "request_applied", f"Approved and done: {request.subject}", request.why)
    except Exception as error:
        reason = _told(error, request)
        request.refresh_from_db()
        request.status, request.failure = _STATUS.FAILED, reason
        request.save()
        _tell(
            request, "request_failed", f"Approved, but it could not be carried out: {request.subject}", reason
        )


def _told(error, request):
    if isinstance(error, Refused):
        return str(error)
    log.exception("Request %s cannot be carried out", request.pk)
    if isinstance(error, DatabaseError):
        sentence = str(error).split("\n")[0]
        return (
            f"The database does not accept it: {sentence}. Try again; if it stays, withdraw it and ask anew."
        )
    return "Something went wrong in Demarc itself; it is in the log. Try again, or tell whoever runs it."


def _back(request):
    """Approvals were given that do not count any more: it waits again."""
    request.status, request.failure = _STATUS.PENDING, ""
    request.save()
    text = f"Waits for approval again, for not all who approved it may still decide: {request.subject}"
    _tell(request, "request_recounted", text, "")


def _say_who_is_missing(request, desk):
    """An event for CS Ops where nobody could decide; once for a revision."""
    sentence = desk.nobody_can(request)
    known = Event.objects.filter(about="approvalrequest", about_id=request.pk, kind="request_stuck")
    if sentence and not known.filter(data__revision=request.revision).exists():
        _tell(request, "request_stuck", f"{request.subject}: {sentence}", "")


@verb
def recount(what, *, by=None, at=None):
    """Count approvals again: of one request, or of all a person (a User) has decided. Returns those that wait again.

    Called where somebody is deactivated, or gets or loses a role. What has too few left waits for approval again; what has
    enough again goes on.
    """
    at = at or timezone.now()
    if isinstance(what, ApprovalRequest):
        found = [what]
    else:
        mine = Decision.objects.filter(by=what.pk) | Decision.objects.filter(on_behalf_of=what.pk)
        found = ApprovalRequest.objects.open().filter(pk__in=mine.values("request")).order_by("pk")
    return [request for one in found if (request := _recount(one, by=by, at=at))]


def _recount(request, *, by, at):
    """The request if it waits for approval again, else None."""
    with _acting(by, request.why):
        request = _locked(request)
        desk = Desk([request], at=at)
        enough = desk.enough(request)
        if request.status in (_STATUS.APPROVED, _STATUS.FAILED) and not enough:
            causes.take(Cause.Kind.DECISION, reason=request.why)
            _back(request)
            return request
        if request.status == _STATUS.PENDING and enough and request.expires_at > at:
            causes.take(Cause.Kind.DECISION, reason=request.why)
            _measure(request, "carried out", at)
            _go_on(request, by=by, at=at)
    return None


@verb
def tighten(kind, *, by=None, at=None):
    """After a change of policy: open requests of this kind need what is stricter of old and new."""
    reason = "The policy changed"
    with _acting(by, reason):
        # Who holds one just now waits for this change of policy, or counts again before it carries anything out.
        open_requests = ApprovalRequest.objects.open().filter(kind=kind).order_by("pk")
        for request in open_requests.select_for_update(skip_locked=True):
            needed = _stricter(request.needed, requirement(kind, impact_of(request))[0])
            if not request.is_open or needed == request.needed:
                continue
            causes.take(Cause.Kind.DECISION, reason=reason)
            request.needed = needed
            request.save()
            desk = Desk([request], at=at)
            if request.status in (_STATUS.APPROVED, _STATUS.FAILED) and not desk.enough(request):
                _back(request)
            if request.status == _STATUS.PENDING:
                _say_who_is_missing(request, desk)


# -- what the clock does


def apply_due(at):
    """Carry out what was approved for a day that has come, and count approvals again; how many were carried out."""
    today = timezone.localdate(at)
    approved = list(ApprovalRequest.objects.filter(status=_STATUS.APPROVED).order_by("pk"))
    due = [one for one in approved if not one.apply_on or one.apply_on <= today]
    begun = Decision.objects.filter(verdict=_VERDICT.APPROVE, revision=F("request__revision"))
    begun = ApprovalRequest.objects.pending().filter(pk__in=begun.values("request")).order_by("pk")
    for request in [*(one for one in approved if one not in due), *begun]:
        _try(recount, request, at=at)
    return sum(_try(_apply_due, one, at=at) for one in due)


def _apply_due(request, *, at):
    return apply(request, at=at).status == _STATUS.APPLIED


def expire(at):
    """End the requests nobody decided in time; how many."""
    late = ApprovalRequest.objects.filter(status__in=_EXPIRING, expires_at__lte=at).order_by("pk")
    return sum(_try(_expire, one, at=at) for one in late)


_EXPIRING = [step.source for step in STATUSES.ways("expire")]


@verb
def _expire(request, *, by=None, at):
    reason = f"Nobody decided it until {day(request.expires_at)}."
    with _acting(by, reason):
        request = _locked(request)
        if request.status not in _EXPIRING or request.expires_at > at:
            return False  # decided or edited in the meantime
        text = f"Expired: {request.subject}"
        _end(request, _STATUS.EXPIRED, "expire", by=by, at=at, reason=reason, text=text)
    return True


def escalate(at):
    """Tell of the requests that expire soon, once: delegates and everybody of the roles they need; how many."""
    soon = ApprovalRequest.objects.pending().filter(
        escalated_at=None, expires_at__gt=at, expires_at__lte=at + SOON
    )
    return sum(_try(_escalate, one, at=at) for one in soon.order_by("pk"))


@verb
def _escalate(request, *, by=None, at):
    with _acting(by, "It expires soon"):
        request = _locked(request)
        if request.status != _STATUS.PENDING or request.escalated_at:
            return False  # decided, or told of, in the meantime
        causes.take(Cause.Kind.DECISION, reason="It expires soon")
        request.escalated_at = at
        request.save()
        desk = Desk([request], at=at)
        people = sorted(desk.could_approve(request))
        text = f"Expires on {day(request.expires_at)} and waits for a decision: {request.subject}"
        _tell(request, "request_escalated", text, "", people=people)
        _say_who_is_missing(request, desk)
    return True


def _try(step, request, *, at):
    """What the step says; one request that cannot does not keep the others."""
    try:
        return bool(step(request, at=at))
    except Refused:  # a person was faster
        return False
    except Exception:
        log.exception("%s of request %s failed", step.__name__, request.pk)
        return False


# -- small parts


def _plain(content):
    """The content as it comes back from the database: dates and decimals are texts."""
    try:
        text = json.dumps(content, cls=DjangoJSONEncoder, allow_nan=False)
        json.dumps(
            content, cls=DjangoJSONEncoder, ensure_ascii=False
        ).encode()  # half a surrogate pair is no text
    except ValueError:
        raise Refused("request_unstorable") from None
    if "\\u0000" in text:
        raise Refused("request_text_unstorable")
    return json.loads(text)


def _clean(text):
    text = (text or "").replace("\0", "").strip()
    if len(text) > LONGEST:
        raise Refused("text_too_long", most=LONGEST)
    return text


def _said(text, otherwise):
    """A text somebody has to write; `otherwise`: the code of the refusal where they did not."""
    text = _clean(text)
    if not text:
        raise Refused(otherwise)
    return text


@contextmanager
def _acting(by, reason):
    who = actor()
    if (
        by is None and who.id is not None
    ):  # nobody asks in person: it is the system's doing, told by its channel
        who = type(who)(channel=who.channel)
    with acting(by=by, label="" if by else who.label, reason=reason):
        yield


def _locked(request):
    if kinds.of(request).sets_policies:
        hold_policies(request.kind)
    return ApprovalRequest.objects.select_for_update().get(pk=request.pk)


def _module(request):
    return kinds.of(request).verbs()


def _sign(request, by, at):
    request.ended_at = at
    request.ended_by = by.pk if by else None
    request.ended_by_label = _name(by)


def _name(by):
    return by.get_username() if by else actor().label


def _decider(decision):
    instead = f" for {decision.on_behalf_of_label}" if decision.on_behalf_of else ""
    return f"{history.who(decision, 'by')}{instead} ({decision.role})"


def _tell(request, kind, text, reason, **data):
    data |= {"request": request.pk, "kind": request.kind, "revision": request.revision}
    return events.record(kind, text, about=request, reason=reason, data=data)


def _check_seen(request, by, seen):
    if by is not None and seen != token(request):
        raise changed_since(request, seen)


def changed_since(request, seen):
    """The Refused for whoever saw another request than there is: it says what was edited since that token."""
    revision = str(seen or "").partition(":")[0]
    then = None
    if revision.isdecimal() and len(revision) < 9:
        rows = ApprovalRequest.history.filter(id=request.pk, revision=int(revision))
        then = rows.order_by("-history_id").first()
    if then is None or then.revision == request.revision:
        return Refused("request_stale")
    edits = ApprovalRequest.history.filter(id=request.pk, revision=request.revision)
    edit = edits.order_by("history_id").first()
    new, gone = _differences(then.changes, request.changes)
    texts = (then.why, then.evidence, then.subject) == (request.why, request.evidence, request.subject)
    return Refused(
        "request_edited",
        editor=history.who(edit, "history_user") if edit else "",
        edited_at=edit.history_date if edit else None,
        new=new,
        gone=gone,
        same=texts and then.hash == request.hash,
    )


def _differences(before, after):
    return [one for one in after if one not in before], [one for one in before if one not in after]
