"""Tier changes without a person: after a recalculation, and on the day that comes."""

import logging

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from accounts import catalogue, revenue
from core.locking import locked
from core.refusals import Refused
from core.wording import day
from governance import chores
from governance.changes import crossings
from governance.changes.transition_requests import back_to_plan, bases_of, leave_requests, start
from governance.changes.transition_steps import (
    RELATED,
    Hold,
    Status,
    acting_for,
    end,
    held_refusal,
    locked_rows,
    plan_again,
    tell,
)
from governance.changes.transitions import unfinished
from governance.models import ApprovalRequest, Event, FollowedRun, Transition
from governance.signoff.deciders import Desk
from governance.signoff.requirements import needed_now, outgrown
from segmentation.evaluation import causes
from segmentation.models import Cause, Layer, Run, RunLayer

log = logging.getLogger(__name__)


def follow_ended():
    """Look at what the recalculations changed that have ended and that nobody has looked at; returns how many there were.

    One that cannot be looked at keeps no later one waiting: what is wrong with it is raised in the end, and it is tried again
    the next time.
    """
    seen, followed, failed = FollowedRun.objects.values("run"), 0, None
    for run in Run.objects.exclude(status=Run.Status.RUNNING).exclude(pk__in=seen).order_by("pk"):
        try:
            followed += follow(run) is not None
        except Exception as error:
            log.exception("Recalculation %s cannot be looked at", run.pk)
            failed = failed or error
    if failed:
        raise failed
    return followed


def follow(run):
    """Bring tier changes in step with what a recalculation that has ended says; {layer key: figures}, once.

    None where it was done before, or somebody does it just now. A layer that was recalculated again is left to that run.
    Changes a day has brought already stay, where the run's clock is before that day.
    """
    with transaction.atomic():
        ended = Run.objects.exclude(status=Run.Status.RUNNING).filter(pk=run.pk)
        run = ended.select_for_update(skip_locked=True, no_key=True).first()
        if run is None or FollowedRun.objects.filter(run=run.pk).exists():
            return None
        layers = _last_of(run)
        for layer in layers:
            crossings.lock(layer)
        at = max(run.as_of, chores.last(chores.TIER_CHANGES) or run.as_of)
        counts = {layer.key: vars(flag(layer, at, run=run)) for layer in layers}
        FollowedRun.objects.create(run=run.pk, counts=counts)
    return counts


def _last_of(run):
    later = RunLayer.objects.filter(run__gt=run.pk, run__status=Run.Status.FINISHED, running=False)
    return list(_followed().filter(runs__run=run).exclude(pk__in=later.values("layer")).order_by("pk"))


def _followed():
    """The segmentations that need approval, and those that did when something was flagged that is still undecided."""
    left = Transition.objects.open().exclude(status=Status.JOINT).values("layer")
    return Layer.objects.filter(Q(policy=Layer.Policy.APPROVAL) | Q(pk__in=left))


def flag(layer, at, *, run=None):
    """Bring the tier changes of a layer in step with what the rules say at the clock `at` (a date). Returns crossings.Seen."""
    released = _void(layer, at)
    seen = crossings.flag(layer, at, run=run)
    seen.closed += released
    return seen


def daily(at):
    """Do what goes by dates, on the day `at`: what was held or kept until now, approved for now, or should be complete."""
    for layer in _followed().order_by("pk"):
        flag(layer, at)
    remind(at)
    start_due(at)


def start_due(at):
    """Start the tier changes that were approved for a day that has come, each by itself; returns how many."""
    approved = Transition.objects.filter(
        status=Status.AWAITING, request__status=ApprovalRequest.Status.APPLIED
    )
    due = approved.filter(Q(applies_on=None) | Q(applies_on__lte=at)).select_related("layer").order_by("pk")
    quiet = crossings.quiet(due, at)
    started, failed = 0, []
    for transition in due:
        try:
            started += transition.pk not in quiet and _start_late(transition, at)
        except Exception:  # the others start all the same
            log.exception("The tier change %s could not be started", transition.pk)
            failed.append(transition.pk)
    if failed:
        raise RuntimeError(f"Tier changes that could not be started: {failed}")
    return started


def _start_late(awaiting, at):
    try:
        with transaction.atomic(), acting_for(None, awaiting.request.why):
            [transition] = locked_rows([awaiting])
            if (
                transition.status != Status.AWAITING
                or transition.request.status != ApprovalRequest.Status.APPLIED
            ):
                return False
            causes.take(Cause.Kind.DECISION, reason=transition.request.why)
            _check_approvals(transition.request)
            if transition.held_for:
                raise held_refusal(transition)
            start(transition, at, bases_of([transition], at)[transition.layer_id])
        return True
    except Refused as refusal:
        with transaction.atomic(), acting_for(None, str(refusal)):
            [transition] = locked_rows([awaiting])
            if transition.status == Status.AWAITING and transition.held_for != Hold.OVERRIDE:
                causes.take(Cause.Kind.DECISION, reason=str(refusal))
                back_to_plan(transition, str(refusal))
        return False


def _check_approvals(request):
    """Enough approvals still count, and they are enough for what the request reaches by now."""
    desk = Desk([request])
    if not desk.enough(request):
        raise Refused("approvals_do_not_count")
    now, _, needed = needed_now(request)
    grown = outgrown(request, now.measured("now", timezone.now()), needed)
    if grown and any(number > len(desk.given(request)[role]) for role, number in needed.items()):
        raise Refused("approved_for_less", grown=grown)


def remind(at):
    """Tell, once, of joint coverage that should have ended; returns of how many."""
    reminded = Event.objects.filter(kind="transition_overdue", about="transition").values("about_id")
    late = Transition.objects.filter(status=Status.JOINT, joint_until__lt=at).exclude(pk__in=reminded)
    with transaction.atomic():
        rows = list(locked(late.select_related(*RELATED)))
        for transition in rows:
            text = f"{transition.account}: joint coverage should have ended on {day(transition.joint_until)}."
            tell(transition, "transition_overdue", text, " ".join(unfinished(transition, at=at)))
    return len(rows)


# Tier changes that await approval, or their day, and are not what the rules say any more, or whose renewal has moved before it
# came; an override's are its own.
_VOID = f"""
    select t.id, e.status, coalesce(e.reason, case when m.moved then 'The renewal has moved.' end), m.moved
      from governance_transition t
      join accounts_account a on a.id = t.account_id
      left join lateral ({catalogue.SUBSCRIPTIONS_OF_ACCOUNT}) s
        on t.applies_on > %(at)s
     cross join lateral (select coalesce(t.applies_on > %(at)s
                                and t.applies_on is distinct from coalesce(a.renewal_date, s.next_end), false) as moved) m
      join segmentation_assignment z
        on z.account_id = t.account_id and z.layer_id = t.layer_id and z.product_id is null
      left join ({crossings.ENDING}) e on e.id = t.id
     where t.layer_id = %(layer)s and t.status = 'awaiting' and t.origin <> 'override'
       and (e.id is not null or m.moved
            or z.computed_id is not null
               and (z.effective_id, z.computed_id) is distinct from (t.from_segment_id, t.to_segment_id))
     order by t.id
"""


def _void(layer, at):
    """Take what is not what the rules say any more out of its request; returns how many tier changes were closed."""
    parameters = revenue.parameters(at) | {
        "layer": layer.pk,
        "first": 0,
        "last": 2**63 - 1,
        "statuses": [Status.AWAITING],
    }
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_VOID, parameters)
            outcomes = {id: outcome for id, *outcome in cursor.fetchall()}
        rows = [
            transition
            for transition in locked_rows(Transition.objects.filter(pk__in=outcomes))
            if transition.status == Status.AWAITING
        ]
        if not rows:
            return 0
        causes.take(Cause.Kind.RUN, reason="The rules do not say any more what was asked for")
        leave_requests(rows)
        closed = 0
        for transition in locked_rows(rows):
            status, reason, moved = outcomes[transition.pk]
            if status:
                transition.held_for, transition.held_until = Hold.NOTHING, None
                end(transition, status, reason)
                tell(
                    transition,
                    "transition_closed",
                    f"{transition.account}: the tier change to {transition.to_segment} is closed.",
                    reason,
                )
                closed += 1
                continue
            if transition.status == Status.AWAITING:  # else the request that was withdrawn did so
                plan_again(transition)
            if moved:  # else looking for crossings tells what the rules say now
                tell(
                    transition,
                    "transition_updated",
                    f"{transition} is back to planning, for the renewal has moved.",
                    reason,
                )
        return closed
