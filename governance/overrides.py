"""Segments that people pin against the rules: asked for with a reason, approved, in force until a date.

The rules go on computing. While an override is in force no recalculation moves the account on that segmentation; since
when the rules have said something else is kept beside it. When it ends the segmentation's policy decides: one that
applies by itself follows the rules at once, on one that needs approval a tier change is flagged.
"""

import hashlib
import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta

from django.db import connection, transaction
from django.utils import timezone

from accounts.locking import locked
from accounts.models import Account, Csm
from accounts.revenue import with_arr
from core import history, pages, texts
from core.history import acting, actor
from core.organisation import organisation
from core.refusals import Refused, verb
from core.status_tables import StatusTable, Step
from core.wording import day, plural
from governance import approvals, events, permissions, transitions
from governance.impact import of_accounts
from governance.models import ApprovalRequest, Override, Transition
from segmentation import causes, decisions
from segmentation.models import Assignment, Cause, Layer, Move, Segment

log = logging.getLogger(__name__)

Status = Override.Status
KIND = "override"
MOST = 200  # accounts in one request
ANSWERS = ("buying_centre", "use_case", "contract")  # the three questions after an acquisition


# -- the status table


_DECIDER, _CLOCK = "the people who decide about its request", "by itself"
STATUSES = StatusTable(
    Override,
    [
        Step(Status.REQUESTED, Status.ACTIVE, "Approved", _DECIDER),
        Step(Status.REQUESTED, Status.REJECTED, "Reject", _DECIDER),
        Step(Status.REQUESTED, Status.WITHDRAWN, "Withdraw, or not decided in time", "who asked, CS Ops"),
        Step(Status.ACTIVE, Status.EXPIRED, "Its date has come", _CLOCK),
        Step(Status.ACTIVE, Status.ENDED, "End it early", "somebody with `plan_transition`"),
        Step(Status.ACTIVE, Status.REPLACED, "Another one is approved", _DECIDER),
    ],
    begins={Status.REQUESTED: "Ask"},
)


# -- what is asked for


@dataclass(frozen=True)
class Plan:
    """How a customer is handed over when the override changes the segment: the new CSM (None: stays), and what is said."""

    receiver: Csm | None = None
    success_plan: str = ""
    notice: str = ""


@dataclass(frozen=True)
class Wanted:
    """What is asked for: the segment, why, and until when (the day it ends)."""

    segment: Segment
    reason_code: str
    text: str
    expires_on: date
    evidence: str = ""
    buying_centre: str = ""
    use_case: str = ""
    contract: str = ""
    plan: Plan = field(default_factory=Plan)

    def columns(self):
        """What an Override keeps of it."""
        said = {
            name: getattr(self, name) for name in ("reason_code", "text", "evidence", "expires_on", *ANSWERS)
        }
        return {"segment": self.segment, **said}


@dataclass
class Case:
    """An account beside the segment that is asked for it: what it is now, and what stands in the way."""

    account: Account  # with its csm, and `arr_now`
    segment: Segment
    state: Assignment | None = None
    requested: Override | None = None  # waits for approval
    active: Override | None = None  # in force
    refused: Override | None = None  # the last time this segment was asked for, and the answer was no
    handover: Transition | None = None  # in joint coverage

    @property
    def moves(self):
        """The segment in force changes."""
        return self.state is not None and self.state.effective_id != self.segment.pk

    @property
    def planned(self):
        """It changes on a segmentation that needs approval: as a tier change, with a plan."""
        return self.moves and self.segment.layer.policy == Layer.Policy.APPROVAL

    @property
    def obstacle(self):
        """The Refused that stands in its way; None where it can be asked for."""
        account, segment, layer = self.account, self.segment, self.segment.layer
        if _left(account):
            return Refused("override_of_no_customer", account=account)
        if self.state is None:
            return Refused("account_without_segment", account=account, layer=layer)
        if self.requested:
            return Refused(
                "override_requested_already",
                account=account,
                requester=history.who(self.requested, "requested_by"),
                segment=self.requested.segment,
                requested_at=self.requested.requested_at,
            )
        if self.moves and self.state.computed_id == segment.pk:
            active = self.active and self.active.segment
            return Refused(
                "override_needless", account=account, segment=segment, active=active, policy=layer.policy
            )
        if self.planned and self.handover:
            return Refused("override_in_handover", account=account, joint_until=self.handover.joint_until)
        return None

    @property
    def sentence(self):
        """What would change, and what the rules say: `Acme moves from Low to High; by the rules it is Low.`"""
        before, computed = self.state.effective, self.state.computed
        by_rules = f"by the rules it is {computed}" if computed else "the rules lack data to decide"
        if self.moves:
            said = f"moves from {before or 'no segment'} to {self.segment}; {by_rules}."
        elif computed == before:
            said = f"stays {self.segment}, as the rules say now, also when they change their mind."
        else:
            said = f"stays {self.segment}; {by_rules}."
        replaced = f" Its override until {day(self.active.expires_on)} is replaced." if self.active else ""
        return f"{self.account} {said}{replaced}"


def _left(account):
    return account.excluded or account.kind != Account.Kind.CUSTOMER


def look(accounts, segment):
    """A Case for each of the accounts, in the order of their ids; nothing is written."""
    return _cases([account.pk for account in accounts], segment)


def _cases(ids, segment):
    accounts = with_arr(Account.objects.filter(pk__in=ids), timezone.localdate())
    cases = {one.pk: Case(one, segment) for one in accounts.select_related("csm").order_by("pk")}
    states = Assignment.objects.filter(layer=segment.layer_id, product=None, account__in=cases)
    for state in states.select_related("effective", "computed"):
        cases[state.account_id].state = state
    joint = Transition.objects.filter(
        layer=segment.layer_id, account__in=cases, status=Transition.Status.JOINT
    )
    for one in joint:
        cases[one.account_id].handover = one
    for one in Override.objects.filter(layer=segment.layer_id, account__in=cases).order_by("pk"):
        case = cases[one.account_id]
        if one.status == Status.REQUESTED:
            case.requested = one
        elif one.status == Status.ACTIVE:
            case.active = one
        elif one.started_on is None and one.segment_id == segment.pk:
            case.refused = one
    return list(cases.values())


def impact_on(cases, plan=None):
    """What the request touches, as the policies of approval count it."""
    receiver = plan.receiver.pk if plan and plan.receiver else None
    return of_accounts(
        [case.account.pk for case in cases],
        receivers={case.account.pk: receiver for case in cases if case.planned},
        segments={
            pk for case in cases for pk in (case.segment.pk, case.state and case.state.effective_id) if pk
        },
    )


@verb
def ask(
    accounts, layer, segment, *, by, reason_code, text, evidence="", expires_on=None, buying_centre="", use_case="",
    contract="", plan=None,
):  # fmt: skip
    """Ask that these accounts (at most MOST) are pinned to the segment until a date (by `organisation().override_days` where none is given).

    One ApprovalRequest for all of them, which is returned; the open tier changes of the accounts wait for it.
    """
    accounts = list(Account.objects.filter(pk__in=[one.pk for one in accounts]).select_related("csm"))
    permissions.check(permissions.request_override(accounts, by=by))
    answers = {"buying_centre": buying_centre, "use_case": use_case, "contract": contract}
    wanted = _wanted(layer, segment, reason_code, text, evidence, expires_on, answers, plan)
    if not 0 < len(accounts) <= MOST:
        raise Refused("too_many_overrides", most=MOST, count=len(accounts))
    with _acting(by, wanted.text):
        _, crossing = _lock(layer, [one.pk for one in accounts])
        cases = look(accounts, segment)
        _refuse(cases)
        causes.take(Cause.Kind.DECISION, reason=wanted.text)
        rows = [_request(case, wanted) for case in cases]
        for row in rows:
            if row.account_id in crossing:
                transitions.hold(row.account, layer)
        request = approvals.submit(
            KIND,
            key=_key(layer, accounts),
            subject=_subject(cases, wanted),
            content=_content(rows, wanted),
            changes=_changes(cases, wanted),
            why=wanted.text,
            evidence=wanted.evidence,
            by=by,
            impact=impact_on(cases, wanted.plan),
        )
        for row in Override.objects.filter(pk__in=[row.pk for row in rows], request=None):
            row.request = request
            row.save()
    return request


@verb
def change(
    request, *, by, seen, segment, reason_code, text, evidence="", expires_on=None, buying_centre="", use_case="",
    contract="", plan=None,
):  # fmt: skip
    """Change what an open request asks for, for the same accounts: approvals given so far are void."""
    permissions.check(permissions.edit_request(request, by=by))
    answers = {"buying_centre": buying_centre, "use_case": use_case, "contract": contract}
    wanted = _wanted(segment.layer, segment, reason_code, text, evidence, expires_on, answers, plan)
    with _acting(by, wanted.text):
        ApprovalRequest.objects.select_for_update().get(pk=request.pk)
        accounts = [row.account for row in request.overrides.requested().select_related("account")]
        _lock(segment.layer, [one.pk for one in accounts])
        rows = _requested(request)
        if not rows:
            raise Refused("override_decided_already")
        if rows[0].layer_id != segment.layer_id:
            raise Refused("override_of_another_segmentation", layer=rows[0].layer, segment=segment)
        cases = look(accounts, segment)
        for case in cases:
            case.requested = None  # that is this one
        _refuse(cases)
        causes.take(Cause.Kind.DECISION, reason=wanted.text)
        for row, case in zip(rows, cases, strict=True):
            for name, value in {**wanted.columns(), "from_segment": case.state.effective}.items():
                setattr(row, name, value)
            row.save()
        return approvals.edit(
            request,
            subject=_subject(cases, wanted),
            content=_content(rows, wanted),
            changes=_changes(cases, wanted),
            why=wanted.text,
            evidence=wanted.evidence,
            impact=impact_on(cases, wanted.plan),
            by=by,
            seen=seen,
        )


def _wanted(layer, segment, reason_code, text, evidence, expires_on, answers, plan):
    if segment.layer_id != layer.pk:
        raise Refused("segment_of_another_segmentation", segment=segment, layer=layer)
    if layer.scoped.several:
        raise Refused("override_of_products", layer=layer)
    if reason_code not in Override.Reason.values:
        raise Refused("override_reason_not_chosen")
    today = timezone.localdate()
    expires_on = expires_on or today + timedelta(days=organisation().override_days)
    latest = today + timedelta(days=organisation().override_days_at_most)
    if not today < expires_on <= latest:
        raise Refused("override_end_impossible", latest=latest)
    answers = {name: texts.text(answer) for name, answer in answers.items()}
    if reason_code == Override.Reason.ACQUISITION and not all(answers.values()):
        raise Refused("override_acquisition_unanswered")
    return Wanted(
        segment=segment,
        reason_code=reason_code,
        text=texts.needed(text, "override_unexplained"),
        evidence=texts.text(evidence),
        expires_on=expires_on,
        plan=plan or Plan(),
        **answers,
    )


def _refuse(cases):
    obstacles = [one.obstacle for one in cases if one.obstacle]
    if len(obstacles) == 1:
        raise obstacles[0]
    if obstacles:
        raise Refused("overrides_impossible", obstacles=obstacles)


def _request(case, wanted):
    by = actor()
    return Override.objects.create(
        account=case.account,
        layer=wanted.segment.layer,
        from_segment=case.state.effective,
        requested_by=by.id,
        requested_by_label=by.label,
        **wanted.columns(),
    )


def _key(layer, accounts):
    ids = ",".join(str(pk) for pk in sorted(one.pk for one in accounts))
    return f"override:{layer.key}:{hashlib.sha256(ids.encode()).hexdigest()[:32]}"


def _subject(cases, wanted):
    whom = str(cases[0].account)[:200] if len(cases) == 1 else plural(len(cases), "account,accounts")
    return f"{whom}: {wanted.segment.layer} {wanted.segment} until {day(wanted.expires_on)}"


def _content(rows, wanted):
    plan = {"receiver": wanted.plan.receiver and wanted.plan.receiver.pk} | {
        name: getattr(wanted.plan, name) for name in ("success_plan", "notice")
    }
    return {
        "layer": wanted.segment.layer_id,
        "segment": wanted.segment.pk,
        "expires_on": wanted.expires_on.isoformat(),
        "plan": plan,
        "accounts": [row.account_id for row in rows],
        "overrides": [{"id": row.pk, "from": row.from_segment_id} for row in rows],
        **{name: getattr(wanted, name) for name in ("reason_code", "text", "evidence", *ANSWERS)},
    }


def _changes(cases, wanted):
    """What changes, in sentences: for each account, then until when and what comes then, and what else was said."""
    layer, plan = wanted.segment.layer, wanted.plan
    said = [case.sentence for case in cases]
    if plan.receiver:
        handed = [case for case in cases if case.planned and case.account.csm_id != plan.receiver.pk]
        said += [
            f"{case.account} is handed over from {case.account.csm or 'nobody'} to {plan.receiver}, with joint coverage."
            for case in handed
        ]
    then = f"a tier change is flagged where the rules say another segment than {wanted.segment}"
    if layer.policy == Layer.Policy.AUTOMATIC:
        then = "the rules decide again"
    said.append(f"It ends on {day(wanted.expires_on)}; then {then}.")
    asked = [(Override._meta.get_field(name).verbose_name, getattr(wanted, name)) for name in ANSWERS]
    planned = any(case.planned for case in cases)
    asked += [("Success plan:", plan.success_plan), ("The customer is told:", plan.notice)] if planned else []
    return said + [f"{question} {answer}" for question, answer in asked if answer]


# -- decided about: what governance.kinds names


def impact(request):
    """How far it reaches today (governance.impact)."""
    segment = Segment.objects.select_related("layer").get(pk=request.content["segment"])
    return impact_on(_cases(request.account_ids(), segment), _plan(request.content["plan"]))


def segments(request):
    """Ids of the segments it names."""
    rows = request.overrides.values_list("from_segment", "segment")
    return {pk for pair in rows for pk in pair if pk}


def carry_out(request, *, by, at):
    """Put the overrides of an approved request in force, all or none."""
    content, at = request.content, timezone.localdate(at)
    layer = Layer.objects.get(pk=content["layer"])
    ids = request.account_ids()
    states, _ = _lock(layer, ids)
    rows = {row.pk: row for row in _locked(pk__in=[one["id"] for one in content["overrides"]])}
    active = {row.account_id: row for row in _locked(account__in=ids, layer=layer, status=Status.ACTIVE)}
    if date.fromisoformat(content["expires_on"]) <= at:
        raise Refused("override_over_already", expires_on=content["expires_on"])
    plan = _plan(content["plan"])
    causes.take(Cause.Kind.DECISION, reason=request.why)
    for one in content["overrides"]:
        row = rows[one["id"]]
        _check_still(row, states.get(row.account_id), content, one)
    known = decisions.known_of(ids, layer, at=at)
    for one in content["overrides"]:
        row = rows[one["id"]]
        if before := active.get(row.account_id):
            _close(before, Status.REPLACED, f"Replaced by the override to {row.segment}.", at=at)
        _start(row, states[row.account_id], request, plan, known, by=by, at=at)


def _check_still(row, state, content, one):
    """What is put in force is what was approved, and from where it was approved."""
    approved = (content["segment"], content["expires_on"], content["reason_code"], content["text"])
    if (row.segment_id, row.expires_on.isoformat(), row.reason_code, row.text) != approved:
        raise Refused("override_not_as_approved", account=row.account)
    if state is None:
        raise Refused("override_without_segment", account=row.account, layer=row.layer)
    if _left(row.account):
        raise Refused("override_account_left", account=row.account)
    # Where the rules apply by themselves the segment may have moved meanwhile; what was approved is where it stays.
    if row.layer.policy == Layer.Policy.APPROVAL and state.effective_id != one["from"]:
        raise Refused(
            "override_segment_moved",
            account=row.account,
            layer=row.layer,
            now=state.effective,
            then=row.from_segment,
        )


def _start(row, state, request, plan, known, *, by, at):
    _go(row, Status.ACTIVE)
    row.request, row.started_on, row.from_segment = request, at, state.effective
    if state.computed_id not in (None, row.segment_id):
        row.disagrees_since = max(at, state.computed_since)
    row.save()
    if state.effective_id != row.segment_id and row.layer.policy == Layer.Policy.APPROVAL:
        transitions.from_override(row, plan=plan, by=by, at=at)
    else:
        transitions.supersede(row, at=at)
    why = Move.Why.OVERRIDE
    decisions.put(row.account, row.layer, row.segment, why=why, at=at, overridden=True, known=known)
    text = f"{row.account} is {row.segment} on {row.layer} by an override until {day(row.expires_on)}."
    events.record("override_started", text, account=row.account, layer=row.layer, about=row, reason=row.text)


def decided_against(request, *, verdict, by, reason):
    """Let go of the accounts of a request that was rejected, withdrawn or has expired; after `ask` they wait on."""
    if verdict == "ask":
        return
    ended = {
        "reject": (Status.REJECTED, "was rejected"),
        "withdraw": (Status.WITHDRAWN, "was withdrawn"),
        "expire": (Status.WITHDRAWN, "was not decided in time"),
    }
    status, told = ended[verdict]
    layer = Layer.objects.get(pk=request.content["layer"])
    _, crossing = _lock(layer, request.account_ids())
    causes.take(Cause.Kind.DECISION, reason=reason)
    for row in _requested(request):
        _close(row, status, reason or f"The request {told}.", at=timezone.localdate())
        if row.account_id in crossing:
            transitions.resume(row.account, layer)
        text = f"The override of {row.account} to {row.segment} on {row.layer} {told}."
        events.record(
            "override_rejected", text, account=row.account, layer=row.layer, about=row, reason=reason
        )


def address(request):
    """The page to change what is asked for while that may be changed, else the one about the (first) override."""
    first = request.overrides.order_by("pk").first()
    if first is None:
        return pages.address("overrides")
    editable = request.is_open and first.status == Status.REQUESTED
    return pages.address("override_request" if editable else "override", first.pk)


def _plan(content):
    receiver = Csm.objects.filter(pk=content["receiver"]).first() if content["receiver"] else None
    if content["receiver"] and receiver is None:
        raise Refused("override_csm_gone")
    return Plan(receiver, content["success_plan"], content["notice"])


# -- in force


@verb
def end(override, *, by, reason, at=None):
    """End an override before its date; from then on the segmentation's policy decides. Returns it."""
    permissions.check(permissions.end_override(override, by=by))
    reason = texts.needed(reason, "override_unexplained")
    with _acting(by, reason):
        _end(override, Status.ENDED, reason, kind="override_ended", at=at or timezone.localdate())
    override.refresh_from_db()
    return override


def expire(at):
    """End the overrides whose date has come, each in a transaction of its own; returns how many. May run twice."""
    due = Override.objects.active().filter(expires_on__lte=at).select_related("account", "layer", "segment")
    ended, failed = 0, []
    for one in due.order_by("expires_on", "pk"):
        reason = f"It was to end on {day(one.expires_on)}."
        try:
            with transaction.atomic(), acting(label=actor().label, reason=reason):
                ended += _end(one, Status.EXPIRED, reason, kind="override_expired", at=at, by_clock=True)
        except Exception:  # the others end all the same
            log.exception("The override %s could not be ended", one.pk)
            failed.append(one.pk)
    if failed:
        raise RuntimeError(f"Overrides that could not be ended: {failed}")
    return ended


def remind(at):
    """Tell, once, of overrides that end soon (`organisation().override_reminder_days`); returns of how many."""
    soon = Override.objects.active().filter(
        reminded_at=None,
        expires_on__gt=at,
        expires_on__lte=at + timedelta(days=organisation().override_reminder_days),
    )
    with transaction.atomic():
        rows = list(locked(soon.select_related("account", "layer", "segment")))
        if rows:
            causes.take(Cause.Kind.DECISION, reason="A reminder of overrides that end")
        for row in rows:
            row.reminded_at = timezone.now()
            row.save()
            left = plural((row.expires_on - at).days, "day,days")
            text = f"The override of {row.account} to {row.segment} on {row.layer} ends in {left}, on {day(row.expires_on)}."
            events.record("override_expiring", text, account=row.account, layer=row.layer, about=row)
    return len(rows)


_DIFFERENT = """
    select o.id, case when z.computed_id is distinct from o.segment_id and z.computed_id is not null
                      then coalesce(o.disagrees_since, greatest(z.computed_since, o.started_on)) end as since
      from governance_override o
      join segmentation_assignment z
        on z.account_id = o.account_id and z.layer_id = o.layer_id and z.product_id is null
     where o.status = 'active' and o.layer_id = %(layer)s and o.started_on <= %(at)s
"""
_DISAGREE = f"""
    with locked as (
        select o.id, d.since from ({_DIFFERENT}) d join governance_override o on o.id = d.id
         where o.disagrees_since is distinct from d.since and o.status = 'active' order by o.id for update of o)
    update governance_override o set disagrees_since = l.since from locked l where o.id = l.id returning o.id
"""
_HISTORY = """
    insert into {table} ({columns}, history_date, history_type, history_user_id, history_user_label, history_channel,
                         history_change_reason)
    select {columns}, transaction_timestamp(), '~', %(user)s, %(label)s, %(channel)s, %(reason)s
      from governance_override where id = any(%(ids)s) order by id
"""


def disagree(layer, at):
    """Keep since when the rules of a layer have said something else than its overrides in force at the date.

    A few statements for any number of overrides; returns how many changed.
    """
    about = {"layer": layer.pk, "at": at}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"select exists (select from ({_DIFFERENT}) d join governance_override o on o.id = d.id "
            "where o.disagrees_since is distinct from d.since)",
            about,
        )
        if not cursor.fetchone()[0]:
            return 0
        reason = "What the rules say was compared with the overrides"
        causes.take(Cause.Kind.RUN, reason=reason)
        cursor.execute(_DISAGREE, about)
        ids = [id for (id,) in cursor.fetchall()]
        columns = ", ".join(one.column for one in Override._meta.concrete_fields)
        table = Override.history.model._meta.db_table
        who = {"user": actor().id, "label": actor().label, "channel": actor().channel, "reason": reason}
        cursor.execute(_HISTORY.format(table=table, columns=columns), who | {"ids": ids})
    return len(ids)


def _end(override, status, reason, *, kind, at, by_clock=False):
    """End one that is in force. Where it is not (any more): False where only its date has come, else that is refused."""
    layer = override.layer
    states, _ = _lock(layer, [override.account_id])
    state = states[override.account_id]
    row = _locked(pk=override.pk).get()
    if row.status != Status.ACTIVE and by_clock:
        return False
    if row.status != Status.ACTIVE:
        raise _not_in_force(row)
    causes.take(Cause.Kind.DECISION, reason=f"The override to {row.segment} ended. {reason}")
    _close(row, status, reason, at=at)
    automatic = layer.policy == Layer.Policy.AUTOMATIC
    segment = state.computed if automatic else state.effective
    decisions.put(row.account, layer, segment, why=Move.Why.OVERRIDE, at=at, overridden=False)
    if not automatic:
        transitions.after_override(row, at=at)
    events.record(kind, _ended(row, state), account=row.account, layer=layer, about=row, reason=reason)
    return True


def _ended(row, state):
    """`The override of Acme to High on Service tier has ended. The rules say Low: ...`"""
    said = f"The override of {row.account} to {row.segment} on {row.layer} has ended."
    if state.computed_id in (None, row.segment_id):
        return said
    if row.layer.policy == Layer.Policy.AUTOMATIC:
        return f"{said} By the rules it is {state.computed} now."
    return f"{said} The rules say {state.computed}: that is put before people as a tier change."


# -- what the verbs share


@contextmanager
def _acting(by, reason):
    with transaction.atomic(), acting(by=by, reason=reason):
        yield


def _lock(layer, accounts):
    """Lock what the accounts (ids) have on the layer: requests of tier changes, tier changes, assignments, each by id.

    Whoever decides about tier changes locks in the same order. Returns ({account id: Assignment}, ids of the accounts with
    an open tier change).
    """
    about = {"layer": layer.pk, "account__in": list(accounts)}
    changes = Transition.objects.open().filter(**about)
    awaited = changes.filter(status=Transition.Status.AWAITING).values("request")
    list(ApprovalRequest.objects.filter(pk__in=awaited).select_for_update().order_by("pk").values_list("pk"))
    crossing = set(changes.select_for_update().order_by("pk").values_list("account", flat=True))
    found = Assignment.objects.filter(product=None, **about).select_related("computed", "effective")
    return {one.account_id: one for one in locked(found)}, crossing


def _locked(**about):
    rows = Override.objects.filter(**about).select_related("account", "layer", "segment", "from_segment")
    return locked(rows).order_by("account_id")


def _requested(request):
    """The overrides of a request that wait for approval, locked, in the order of their accounts."""
    return list(_locked(request=request, status=Status.REQUESTED))


def _go(row, to):
    """Send an override to a status, if the table of statuses has that way."""
    if (row.status, to) not in STATUSES.moves:
        raise (
            Refused("override_in_force_already", account=row.account)
            if row.status == Status.ACTIVE
            else _not_in_force(row)
        )
    row.status = to


def _not_in_force(row):
    return Refused("override_not_in_force", account=row.account, status=row.get_status_display())


def _close(row, status, reason, *, at):
    _go(row, status)
    row.ended_on, row.end_reason = at, reason
    row.ended_by, row.ended_by_label = actor().id, actor().label
    row.save()
