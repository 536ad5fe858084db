"""Tier changes beside overrides: held or closed by them, and carried out as one where another segment comes in force."""

from django.utils import timezone

from accounts import revenue
from core.locking import locked
from core.refusals import Refused
from core.wording import day
from governance.changes import crossings, plans
from governance.changes.transition_requests import await_request, leave_request, put_in_force
from governance.changes.transition_steps import RELATED, Hold, Origin, Status, day_of, end, locked_rows, tell
from governance.models import Transition
from governance.signoff import crossing_policies
from segmentation.evaluation import causes
from segmentation.models import Cause


def hold(account, layer):
    """An override of the account waits for approval: its open tier change waits for that. Returns it, or None."""
    transition = _open_alone(account, layer)
    if transition and transition.status != Status.JOINT and transition.held_for != Hold.OVERRIDE:
        transition.held_for, transition.held_until = Hold.OVERRIDE, None
        transition.save()
    return transition


def resume(account, layer):
    """The override was not approved: what waited for it goes on, held by what its policy says from the next look on."""
    transition = _open_alone(account, layer)
    if transition and transition.held_for == Hold.OVERRIDE:
        transition.held_for = Hold.NOTHING
        transition.save()
        # One that was held from the beginning has been told to nobody.
        if transition.status == Status.FLAGGED:
            text = f"{transition.account}: no override came of it, so the tier change to {transition.to_segment} is to be decided."
            tell(transition, "transition_flagged", text)
    return transition


def supersede(override, *, at):
    """An override comes into force: the open tier change of the account is closed. Joint coverage goes on."""
    transition = _open(override.account, override.layer)
    if transition is None or transition.status == Status.JOINT:
        return
    reason = f"An override to {override.segment} is in force until {day(override.expires_on)}."
    causes.take(Cause.Kind.DECISION, reason=reason)
    if transition.status == Status.AWAITING and transition.request.is_open:
        leave_request([transition], reason)
        transition.refresh_from_db()
    transition.held_for, transition.held_until = Hold.NOTHING, None
    end(transition, Status.CLOSED, reason)
    tell(
        transition,
        "transition_closed",
        f"{transition.account}: the tier change to {transition.to_segment} is closed.",
        reason,
    )


def from_override(override, *, plan, by, at):
    """The tier change that an approved override to another segment is carried out as. Returns it, in joint coverage.

    plan: has `receiver` (a Csm or None: the CSM stays), `success_plan`, `notice`. The caller moves the segment.
    """
    on, account = day_of(at), override.account
    supersede(override, at=on)
    if override.from_segment is None:  # nobody gives it away
        return None
    if (open_ := _open(account, override.layer)) is not None:
        raise Refused(
            "account_being_handed_over",
            account=account,
            from_segment=open_.from_segment,
            to_segment=open_.to_segment,
            joint_until=open_.joint_until,
        )
    causes.take(Cause.Kind.DECISION, reason=override.text)
    direction = crossings.direction(override.from_segment, override.segment)
    transition = Transition(
        account=account,
        layer=override.layer,
        from_segment=override.from_segment,
        to_segment=override.segment,
        direction=direction,
        status=Status.PLANNED,
        origin=Origin.OVERRIDE,
        override=override,
        crossed_on=on,
        arr=revenue.of([account.pk], on)[account.pk].only,
        giver=account.csm,
        receiver=plan.receiver,
        success_plan=plan.success_plan,
        notice=plan.notice,
        joint_days=crossing_policies.in_both_directions(override.layer)[direction].joint_days,
        planned_by=override.requested_by,
        planned_by_label=override.requested_by_label,
        planned_at=timezone.now(),
    )
    transition.checklist = plans.checklist(transition)
    transition.save()
    await_request(transition, override.request)
    put_in_force(transition, on)
    return transition


def after_override(override, *, at):
    """An override has ended on a gated layer: where the rules say another segment, a tier change is flagged."""
    return crossings.flag_account(
        override.account, override.layer, day_of(at), origin=Origin.EXPIRY, override=override
    )


def _open_alone(account, layer):
    """The open tier change, locked without the request it awaits: that is not touched."""
    open_transitions = Transition.objects.open().filter(account=account, layer=layer)
    return locked(open_transitions.select_related(*RELATED)).first()


def _open(account, layer):
    """The open tier change of an account on a layer, locked; None where there is none."""
    pk = Transition.objects.open().filter(account=account, layer=layer).values_list("pk", flat=True).first()
    return locked_rows(Transition.objects.filter(pk=pk))[0] if pk else None
