"""Planned and asked for in one go: one tier change by its page, or many as one request."""

from core.refusals import Refused, verb
from governance.changes import plans, transition_requests, transition_steps, transitions
from governance.models import Transition

Status = Transition.Status


@verb
def plan_and_ask(transition, *, by, why, seen=None, **plan):
    """Plan one tier change (see transitions.plan) and ask for its approval, both or neither. Returns the request."""
    return transition_requests.ask([transitions.plan(transition, by=by, seen=seen, **plan)], by=by, why=why)


@verb
def ask(
    chosen,
    *,
    by,
    why,
    receivers,
    joint_days,
    success_plan="",
    notice="",
    notice_on=None,
    notice_by="",
    seen=None,
):
    """Plan those of these tier changes that are flagged, all alike, and ask for approval of all of them. Returns the request.

    receivers: {transition id: Csm, or None where the CSM stays}. notice: "" gives each account its own text. Tier changes
    planned already are asked for as they are planned. seen: {transition id: transition_steps.token}.
    """
    query = Transition.objects.filter(pk__in=[transition.pk for transition in chosen])
    related = [
        "account__csm",
        "from_segment__treatment",
        "to_segment__treatment__service_model",
        "giver",
        "layer",
    ]
    rows = list(query.select_related(*related).order_by("pk"))
    if not rows:
        raise Refused("account_missing")
    for transition in rows:
        if seen is not None and seen.get(transition.pk) != transition_steps.token(transition):
            raise Refused("transition_among_them_stale", account=transition.account)
        if transition.status == Status.FLAGGED:
            transition.receiver = receivers.get(transition.pk)
            transitions.plan(
                transition,
                by=by,
                receiver=transition.receiver,
                joint_days=joint_days,
                success_plan=success_plan,
                notice=notice or plans.notice(transition),
                notice_on=notice_on,
                notice_by=notice_by,
            )
    return transition_requests.ask(rows, by=by, why=why)
