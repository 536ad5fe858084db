"""The plan of a tier change: what it starts from, and what a request for approval says of it.

The content of a request is {"layer": id, "accounts": [ids], "transitions": [what is carried out of each]}; dates are ISO
texts. Ticks and notes made meanwhile are no part of it.
"""

from core.wording import day, money, plural
from governance.models import CrossingPolicy
from governance.signoff.impact import of_accounts

# Lines of the checklist, from what the target segment's treatment and service model say.
FROM_TREATMENT = ["play_on_entry", "success_plan_template", "touch_frequency"]
WITHIN = "transitions"  # the part of the content with a row for each


def start(transition):
    """{field: value} a plan begins with: the checklist of the segments' treatments, and what the customer is told."""
    return {"checklist": checklist(transition), "notice": notice(transition)}


def checklist(transition):
    """[{"text", "done"}]: leave one segment, enter the other."""
    before, after = transition.from_segment.treatment, transition.to_segment.treatment
    lines = _lines(before and before.play_on_exit)
    if transition.giver_id and transition.receiver_id not in (None, transition.giver_id):
        lines.append(_shared(transition))
    if after:
        lines += _lines(after.play_on_entry)
        if after.success_plan_template:
            lines.append(f"Success plan from the template: {after.success_plan_template}")
        if after.service_model and after.service_model.onboarding not in ("", "None"):
            lines.append(f"Onboarding: {after.service_model.onboarding}")
        if after.touch_frequency:
            lines.append(f"Set up: {after.touch_frequency}")
    lines.append("Tell the customer who looks after them from now on")
    return [{"text": line, "done": False} for line in dict.fromkeys(lines)]


def _lines(text):
    return [line.strip(" -*") for line in (text or "").splitlines() if line.strip(" -*")]


def _shared(transition):
    return f"{transition.giver} hands over goals, contacts and open questions"


def notice(transition):
    """The text the customer gets, where nobody writes another."""
    treatment = transition.to_segment.treatment
    touch = treatment and (
        treatment.touch_frequency or (treatment.service_model and treatment.service_model.check_in)
    )
    served = f" From then on: {touch[:1].lower()}{touch[1:]}." if touch else ""
    who = f" {transition.receiver} will be there for you." if transition.receiver_id else ""
    return (
        f"Dear {transition.account} team, the way we look after you is changing.{served}{who} "
        "Until then nothing changes, and you hear from us before it does."
    )


# -- what a request says


def content(transitions):
    """The content of a request: all that is carried out once it is approved."""
    return {
        "layer": transitions[0].layer_id,
        "accounts": [one.account_id for one in transitions],
        WITHIN: [_content(one) for one in transitions],
    }


def _content(one):
    return {
        "id": one.pk,
        "layer": one.layer_id,
        "from": one.from_segment_id,
        "to": one.to_segment_id,
        "giver": one.giver_id,
        "receiver": one.receiver_id,
        "joint_days": one.joint_days,
        "applies_on": one.applies_on and one.applies_on.isoformat(),
        "success_plan": one.success_plan,
        "notice": one.notice,
        "notice_on": one.notice_on and one.notice_on.isoformat(),
        "notice_by": one.notice_by,
        "checklist": [line["text"] for line in one.checklist],
    }


def differs(one, approved):
    """The name of the first field of a tier change that is not as it was approved; "" where all is."""
    now = _content(one)
    return next((name for name in now if now[name] != approved.get(name)), "")


def subject(transitions):
    """`Acme: High-Touch → Low-Touch`; `20 tier changes on Service tier: 18 down, 2 up`."""
    if len(transitions) == 1:
        return str(transitions[0])[:400]
    down = sum(one.direction == CrossingPolicy.Direction.DOWN for one in transitions)
    parts = [
        f"{number} {word}" for number, word in ((down, "down"), (len(transitions) - down, "up")) if number
    ]
    return f"{len(transitions)} tier changes on {transitions[0].layer}: {', '.join(parts)}"


def changes(transitions):
    """Say what changes, a sentence or two for each."""
    return [_sentence(one) for one in transitions]


def _sentence(one):
    when = f"at the renewal on {day(one.applies_on)}" if one.applies_on else "on approval"
    worth = f" ({money(one.arr, one.account.currency)} ARR)" if one.arr is not None else ""
    said = f"{one.account}{worth} moves from {one.from_segment} to {one.to_segment} {when}."
    if one.receiver is None or one.receiver_id == one.account.csm_id:
        return (
            f"{said} {one.account.csm} stays the CSM."
            if one.account.csm
            else f"{said} It stays without a CSM."
        )
    joint = (
        f"after {plural(one.joint_days, 'day,days')} of joint coverage"
        if one.joint_days
        else "without joint coverage"
    )
    return f"{said} {one.account.csm or 'Nobody'} hands over to {one.receiver} {joint}."


def impact(transitions):
    """The reach of a request, as the policies of approval count it."""
    return of_accounts(
        [one.account_id for one in transitions],
        receivers={one.account_id: one.receiver_id for one in transitions},
        segments=segments(transitions),
    )


def segments(transitions):
    """Ids of the segments they leave or enter."""
    return {pk for one in transitions for pk in (one.from_segment_id, one.to_segment_id)}
