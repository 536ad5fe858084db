"""Segments that people pin against the rules: asked for with a reason, approved, in force until a date.

The rules go on computing. While an override is in force no recalculation moves the account on that segmentation. The day
since when the rules have said something else is kept beside it. When it ends the segmentation's policy decides: one that
applies by itself follows the rules at once, on one that needs approval a tier change is flagged.
"""

import hashlib
import logging
from datetime import date, timedelta

from django.utils import timezone

from accounts.corrections import check_csm
from accounts.models import Account, Csm
from core import pages, texts
from core.history import actor
from core.organisation import organisation
from core.refusals import Refused, verb
from core.wording import day, plural
from governance import events
from governance.changes import override_transitions
from governance.changes.override_cases import ANSWERS, Plan, Wanted, cases_of, has_left, impact_on, look
from governance.changes.override_rows import (
    Status,
    acting_for,
    close,
    go,
    lock_accounts,
    locked_rows,
    requested_rows,
)
from governance.models import ApprovalRequest, Override
from governance.signoff import approvals, permissions
from segmentation.evaluation import causes, decisions, run_rules
from segmentation.models import Cause, Layer, Move, Segment

log = logging.getLogger(__name__)

KIND = "override"
MOST = 200  # accounts in one request


@verb
def ask(
    accounts, layer, segment, *, by, reason_code, text, evidence="", expires_on=None, buying_centre="", use_case="",
    contract="", plan=None,
):  # fmt: skip
    """Ask that these accounts (at most MOST) are pinned to the segment until a date (by `organisation().override_days` where none is given).

    One ApprovalRequest for all of them, which is returned; the open tier changes of the accounts wait for it.
    """
    accounts = list(Account.objects.filter(pk__in=[account.pk for account in accounts]).select_related("csm"))
    permissions.check(permissions.request_override(accounts, by=by))
    answers = {"buying_centre": buying_centre, "use_case": use_case, "contract": contract}
    wanted = _wanted(layer, segment, reason_code, text, evidence, expires_on, answers, plan)
    if not 0 < len(accounts) <= MOST:
        raise Refused("too_many_overrides", most=MOST, count=len(accounts))
    with acting_for(by, wanted.text):
        _, crossing = lock_accounts(layer, [account.pk for account in accounts])
        cases = look(accounts, segment)
        _refuse(cases)
        causes.take(Cause.Kind.DECISION, reason=wanted.text)
        rows = [_request(case, wanted) for case in cases]
        for row in rows:
            if row.account_id in crossing:
                override_transitions.hold(row.account, layer)
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
    with acting_for(by, wanted.text):
        ApprovalRequest.objects.select_for_update().get(pk=request.pk)
        accounts = [row.account for row in request.overrides.requested().select_related("account")]
        lock_accounts(segment.layer, [account.pk for account in accounts])
        rows = requested_rows(request)
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
    run_rules.check_there(segment)
    if layer.scoped.several:
        raise Refused("override_of_products", layer=layer)
    if reason_code not in Override.Reason.values:
        raise Refused("override_reason_not_chosen")
    today = timezone.localdate()
    expires_on = expires_on or today + timedelta(days=organisation().override_days)
    latest = today + timedelta(days=organisation().override_days_at_most)
    if not today < expires_on <= latest:
        raise Refused("override_end_impossible", latest=latest)
    plan = plan or Plan()
    check_csm(plan.receiver)
    answers = {name: texts.text(answer) for name, answer in answers.items()}
    if reason_code == Override.Reason.ACQUISITION and not all(answers.values()):
        raise Refused("override_acquisition_unanswered")
    return Wanted(
        segment=segment,
        reason_code=reason_code,
        text=texts.needed(text, "override_unexplained"),
        evidence=texts.text(evidence),
        expires_on=expires_on,
        plan=plan,
        **answers,
    )


def _refuse(cases):
    obstacles = [case.obstacle for case in cases if case.obstacle]
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
    ids = ",".join(str(pk) for pk in sorted(account.pk for account in accounts))
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
    """Say what changes: for each account, then until when and what comes then, and what else was said."""
    layer, plan = wanted.segment.layer, wanted.plan
    sentences = [case.sentence for case in cases]
    if plan.receiver:
        handed = [case for case in cases if case.planned and case.account.csm_id != plan.receiver.pk]
        sentences += [
            f"{case.account} is handed over from {case.account.csm or 'nobody'} to {plan.receiver}, with joint coverage."
            for case in handed
        ]
    then = f"a tier change is flagged where the rules say another segment than {wanted.segment}"
    if layer.policy == Layer.Policy.AUTOMATIC:
        then = "the rules decide again"
    sentences.append(f"It ends on {day(wanted.expires_on)}; then {then}.")
    questions = [(Override._meta.get_field(name).verbose_name, getattr(wanted, name)) for name in ANSWERS]
    planned = any(case.planned for case in cases)
    questions += (
        [("Success plan:", plan.success_plan), ("The customer is told:", plan.notice)] if planned else []
    )
    return sentences + [f"{question} {answer}" for question, answer in questions if answer]


# -- decided about: what governance.signoff.kinds names


def impact(request):
    """How far it reaches today (governance.signoff.impact)."""
    segment = Segment.objects.select_related("layer").get(pk=request.content["segment"])
    return impact_on(cases_of(request.account_ids(), segment), _plan(request.content["plan"]))


def segments(request):
    """Ids of the segments it names."""
    rows = request.overrides.values_list("from_segment", "segment")
    return {pk for pair in rows for pk in pair if pk}


def check(request):
    """Refuse to approve a segment that is no more, and a hand-over to somebody who does nothing here any more."""
    run_rules.check_there(Segment.objects.select_related("layer").get(pk=request.content["segment"]))
    check_csm(Csm.objects.filter(pk=request.content["plan"]["receiver"]).first())


def carry_out(request, *, by, at):
    """Put the overrides of an approved request in force, all or none."""
    content, at = request.content, timezone.localdate(at)
    layer = Layer.objects.get(pk=content["layer"])
    ids = request.account_ids()
    states, _ = lock_accounts(layer, ids)
    rows = {row.pk: row for row in locked_rows(pk__in=[entry["id"] for entry in content["overrides"]])}
    active = {row.account_id: row for row in locked_rows(account__in=ids, layer=layer, status=Status.ACTIVE)}
    if date.fromisoformat(content["expires_on"]) <= at:
        raise Refused("override_over_already", expires_on=content["expires_on"])
    plan = _plan(content["plan"])
    check(request)
    causes.take(Cause.Kind.DECISION, reason=request.why)
    for entry in content["overrides"]:
        row = rows[entry["id"]]
        _check_still(row, states.get(row.account_id), content, entry)
    basis = decisions.basis_of(ids, layer, at=at)
    for entry in content["overrides"]:
        row = rows[entry["id"]]
        if before := active.get(row.account_id):
            close(before, Status.REPLACED, f"Replaced by the override to {row.segment}.", at=at)
        _start(row, states[row.account_id], request, plan, basis, by=by, at=at)


def _check_still(row, state, content, entry):
    """Check that what is put in force is what was approved, and from where it was approved."""
    approved = (content["segment"], content["expires_on"], content["reason_code"], content["text"])
    if (row.segment_id, row.expires_on.isoformat(), row.reason_code, row.text) != approved:
        raise Refused("override_not_as_approved", account=row.account)
    if state is None:
        raise Refused("override_without_segment", account=row.account, layer=row.layer)
    if has_left(row.account):
        raise Refused("override_account_left", account=row.account)
    # Where the rules apply by themselves the segment may have moved meanwhile; what was approved is where it stays.
    if row.layer.policy == Layer.Policy.APPROVAL and state.effective_id != entry["from"]:
        raise Refused(
            "override_segment_moved",
            account=row.account,
            layer=row.layer,
            now=state.effective,
            then=row.from_segment,
        )


def _start(row, state, request, plan, basis, *, by, at):
    go(row, Status.ACTIVE)
    row.request, row.started_on, row.from_segment = request, at, state.effective
    if state.computed_id not in (None, row.segment_id):
        row.disagrees_since = max(at, state.computed_since)
    row.save()
    if state.effective_id != row.segment_id and row.layer.policy == Layer.Policy.APPROVAL:
        override_transitions.from_override(row, plan=plan, by=by, at=at)
    else:
        override_transitions.supersede(row, at=at)
    why = Move.Why.OVERRIDE
    decisions.put(row.account, row.layer, row.segment, why=why, at=at, overridden=True, basis=basis)
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
    status, outcome = ended[verdict]
    layer = Layer.objects.get(pk=request.content["layer"])
    _, crossing = lock_accounts(layer, request.account_ids())
    causes.take(Cause.Kind.DECISION, reason=reason)
    for row in requested_rows(request):
        close(row, status, reason or f"The request {outcome}.", at=timezone.localdate())
        if row.account_id in crossing:
            override_transitions.resume(row.account, layer)
        text = f"The override of {row.account} to {row.segment} on {row.layer} {outcome}."
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
