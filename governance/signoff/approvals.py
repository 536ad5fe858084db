"""Requests and what people say about them: asked for, edited, approved by enough people of the right roles, or not.

Every verb locks the request's row first, then checks, then writes: of two people at once one is first, and the other is
told. Whoever also locks what a request is about (a tier change, an override, rules) locks the request before it.

`by` is the acting user; None is the system, which nobody refuses, but which never decides. `seen` is what `token` gave for
the request that person was looking at. A request carries its content in the form its kind defines (governance.signoff.kinds).
"""

import json
from datetime import timedelta

from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from core import history
from core.history import actor
from core.refusals import Refused, verb
from governance.models import ApprovalRequest, Comment, Decision
from governance.signoff import kinds, permissions
from governance.signoff.carrying_out import go_on
from governance.signoff.deciders import Desk
from governance.signoff.impact import stored
from governance.signoff.requests import acting_for, clean, end, locked, name, needed_text, tell
from governance.signoff.requirements import hold_policies, measure, requirement, stricter
from segmentation.evaluation import causes
from segmentation.models import Cause

KEEP = object()  # an argument that was not given: as it is
_STATUS, _VERDICT = ApprovalRequest.Status, Decision.Verdict


def token(request):
    """The token of the request on a page: a decision made there is refused once there is a newer one."""
    return f"{request.revision}:{request.hash}"


# -- asking


@verb
def submit(
    kind, *, key, subject, content, changes, why, by, impact, evidence="", simulation=None, apply_on=None, authors=()
):  # fmt: skip
    """Ask for something: the ApprovalRequest, carried out at once where nobody has to approve it.

    key: what it is about; one open request per kind and key. content: plain data, what will be carried out (see
    governance.signoff.kinds). changes: what changes, in sentences. apply_on: not before this day. authors: ids of those who wrote
    what is asked for, whoever asks: they count as its editors. Whether the person may ask for this the kind's module has
    checked.
    """
    why = needed_text(why, "request_reason_missing")
    content = _plain(content)
    now = timezone.now()
    with acting_for(by, why):
        hold_policies(kind)
        requester = by.pk if by else actor().id
        needed, due_days, expire_days = requirement(kind, impact, by=requester)
        causes.take(Cause.Kind.DECISION, reason=why)
        request = _create(
            kind=kind,
            key=key,
            subject=subject[:400],
            content=content,
            hash=_fingerprint(content),
            changes=[str(sentence) for sentence in changes],
            why=why,
            evidence=clean(evidence),
            requester=requester,
            requester_label=by.get_username() if by else actor().label,
            requested_at=now,
            simulation=simulation,
            needed=needed,
            due_at=now + timedelta(days=due_days),
            expires_at=now + timedelta(days=expire_days),
            apply_on=apply_on,
            editors=sorted({*authors} - {None, requester}),
            owners=sorted(impact.owners),
            **impact.figures(),
            measured=[impact.measured("asked", now)],
        )
        tell(
            request, "request_opened", f"{request.requester_label} asks for approval: {request.subject}", why
        )
        go_on(request, by=by, at=now)
    return request


def _create(**columns):
    same = ApprovalRequest.objects.open().filter(kind=columns["kind"], key=columns["key"])
    try:
        with transaction.atomic():
            if not same.exists():
                return ApprovalRequest.objects.create(**columns)
    except IntegrityError as error:  # somebody else asked in the same moment
        if error.__cause__.diag.constraint_name != "one_open_request":
            raise
    waiting = same.first()
    if waiting is None:
        raise Refused("request_changed_in_the_same_moment")
    raise Refused(
        "request_open_already",
        requester=history.who(waiting, "requester"),
        requested_at=waiting.requested_at,
        status=waiting.get_status_display(),
    )


def _fingerprint(content):
    """The SHA-256 of a content, as the database works it out."""
    with connection.cursor() as cursor:
        cursor.execute("select demarc_fingerprint(%s::jsonb)", [json.dumps(content)])
        return cursor.fetchone()[0]


@verb
def edit(request, *, content, changes, impact, by, seen=None, subject=None, why=None, evidence=None, simulation=KEEP,
         apply_on=KEEP, authors=()):  # fmt: skip
    """Change what is asked for: a new revision, which nobody has approved yet; who did it is an editor from now on.

    Saving what is there already changes nothing. An open request never comes to need fewer approvals than before.
    """
    content = _plain(content)
    with acting_for(by, why or request.why):
        request = locked(request)
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
    reason = needed_text(reason, "taking_out_unexplained")
    content = _plain(content)
    with acting_for(by, reason):
        request = locked(request)
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
    remaining = iter(whole)
    return all(entry in remaining for entry in part)


def _revise(request, content, changes, impact, *, by, texts, others=None, narrowed="", authors=()):
    fresh = {column: clean(text) for column, text in texts.items() if text is not None}
    fresh |= {column: value for column, value in (others or {}).items() if value is not KEEP}
    if fresh.get("why") == "":
        raise Refused("request_reason_missing")
    hold_policies(request.kind)
    hash = _fingerprint(content)
    if hash == request.hash and all(getattr(request, column) == value for column, value in fresh.items()):
        return request
    causes.take(Cause.Kind.DECISION, reason=narrowed or fresh.get("why", request.why))
    before = request.changes
    request.content, request.hash, request.changes = content, hash, [str(sentence) for sentence in changes]
    for column, value in (fresh | impact.figures()).items():
        setattr(request, column, value)
    wrote = {*authors, by.pk if by and not narrowed else None}
    request.editors += sorted(wrote - {None, request.requester, *request.editors})
    request.owners = sorted({*request.owners, *impact.owners})
    request.measured = [*request.measured, impact.measured("edited", timezone.now())]
    _new_revision(request, requirement(request.kind, impact))
    new, gone = _differences(before, request.changes)
    did = "took something out" if narrowed else "edited"
    text = f"{name(by)} {did}, earlier approvals do not count any more: {request.subject}"
    tell(request, "request_edited", text, narrowed or request.why, new=new, gone=gone)
    go_on(request, by=by, at=timezone.now())
    return request


def _new_revision(request, requirement):
    """The next revision, which waits for approval, with the days it has from now on."""
    needed, due_days, expire_days = requirement
    now = timezone.now()
    request.needed = stricter(request.needed, needed)
    request.due_at, request.expires_at = now + timedelta(days=due_days), now + timedelta(days=expire_days)
    request.revision, request.status = request.revision + 1, _STATUS.PENDING
    request.failure, request.escalated_at = "", None
    request.save()


@verb
def resubmit(request, *, by, seen=None):
    """Hand it in again as it is, after changes were asked for: a new revision, so that everybody may decide again."""
    with acting_for(by, request.why):
        request = locked(request)
        permissions.check(permissions.resubmit(request, by=by))
        _check_seen(request, by, seen)
        causes.take(Cause.Kind.DECISION, reason=request.why)
        hold_policies(request.kind)
        measure(request, "edited", timezone.now())
        _new_revision(request, requirement(request.kind, stored(request)))
        tell(request, "request_edited", f"{name(by)} hands in again: {request.subject}", request.why)
        go_on(request, by=by, at=timezone.now())
    return request


@verb
def comment(request, *, by, text):
    """Say something about a request; it stays as written."""
    permissions.check(permissions.comment(request, by=by))
    text = needed_text(text, "comment_missing")
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
def ask_for_changes(request, *, by, seen, reason, at=None):
    """Ask for changes: it goes back to who requested it; the Decision."""
    reason = needed_text(reason, "asked_changes_missing")
    return _decide(request, _VERDICT.ASK, by=by, seen=seen, reason=reason, at=at)


@verb
def reject(request, *, by, seen, reason, at=None):
    """Say no, with a reason; what is in force stays as it is. The Decision."""
    reason = needed_text(reason, "rejection_unexplained")
    return _decide(request, _VERDICT.REJECT, by=by, seen=seen, reason=reason, at=at)


def _decide(request, verdict, *, by, seen, reason, at):
    at = at or timezone.now()
    reason = clean(reason)
    with acting_for(by, reason or request.why):
        request = locked(request)
        if earlier := _said_before(request, verdict, by, seen):
            return earlier
        desk = Desk([request], at=at)
        if request.is_open:
            _check_seen(request, by, seen)
        permissions.check(permissions.decide(request, by=by, verdict=verdict, at=at, desk=desk))
        if verdict == _VERDICT.APPROVE and kinds.of(request).has("check"):
            kinds.of(request).verbs().check(request)
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
    grown = measure(request, "decided", at)
    desk = Desk([request], at=at)
    parts = desk.parts(request)
    given, needed = sum(min(part.given, part.needed) for part in parts), sum(part.needed for part in parts)
    text = f"{_decider(decision)} approved ({given} of {needed}): {request.subject}"
    tell(request, "request_approved", text, decision.reason, given=given, needed=needed)
    go_on(request, by=by, at=at, desk=desk, grown=grown)


def _after_ask(request, decision, *, by, at):
    causes.take(Cause.Kind.DECISION, reason=decision.reason)
    request.status = _STATUS.CHANGES_ASKED
    request.save()
    kinds.of(request).verbs().decided_against(request, verdict="ask", by=by, reason=decision.reason)
    tell(
        request, "changes_asked", f"{_decider(decision)} asks for changes: {request.subject}", decision.reason
    )


def _after_rejection(request, decision, *, by, at):
    text = f"{_decider(decision)} rejected: {request.subject}"
    end(request, _STATUS.REJECTED, "reject", by=by, at=at, reason=decision.reason, text=text)


_AFTER = {
    _VERDICT.APPROVE: _after_approval,
    _VERDICT.ASK: _after_ask,
    _VERDICT.REJECT: _after_rejection,
}


@verb
def withdraw(request, *, by, reason, at=None):
    """Take an open request back; what it was about is free again."""
    reason = needed_text(reason, "withdrawal_unexplained")
    with acting_for(by, reason):
        request = locked(request)
        permissions.check(permissions.withdraw(request, by=by))
        text = f"{name(by)} withdrew: {request.subject}"
        end(request, _STATUS.WITHDRAWN, "withdraw", by=by, at=at or timezone.now(), reason=reason, text=text)
    return request


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


def _decider(decision):
    instead = f" for {decision.on_behalf_of_label}" if decision.on_behalf_of else ""
    return f"{history.who(decision, 'by')}{instead} ({decision.role})"


def _check_seen(request, by, seen):
    if by is not None and seen != token(request):
        raise _changed_since(request, seen)


def _changed_since(request, seen):
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
    """(what is new, what is gone) of two lists of sentences."""
    new = [sentence for sentence in after if sentence not in before]
    return new, [sentence for sentence in before if sentence not in after]
