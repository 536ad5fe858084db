"""The plan of a tier change: what it starts from, and what a request for approval says of it.

The content of a request is {"layer": id, "accounts": [ids], "transitions": [what is carried out of each]}; dates are ISO
texts. Ticks and notes made meanwhile are no part of it.
"""

from django.utils import timezone

from accounts import revenue
from core.wording import day, money, plural
from governance.models import CrossingPolicy
from governance.signoff.impact import of_accounts
from segmentation.reading import coverage

WITHIN = "transitions"  # the part of the content with a row for each


def start(transition):
    """{field: value} a plan begins with: the checklist, and what the customer is told."""
    return {"checklist": checklist(transition), "notice": notice(transition)}


def decided(transition):
    """{field: text} of how the customer is served after the change, whichever segmentation says so."""
    return coverage.decided(transition.account, transition.layer, transition.to_segment)


def checklist(transition):
    """[{"text", "done"}]: leave one segment, enter the other."""
    decides = transition.layer.decides
    before, after = transition.from_segment.treatment, transition.to_segment.treatment
    lines = _lines(before.play_on_exit) if before and "play_on_exit" in decides else []
    if transition.giver_id and transition.receiver_id not in (None, transition.giver_id):
        lines.append(_shared(transition))
    lines += _lines(after.play_on_entry) if after and "play_on_entry" in decides else []
    served = decided(transition)
    if template := served.get("success_plan_template"):
        lines.append(f"Success plan from the template: {template}")
    if served.get("onboarding", "None") != "None":
        lines.append(f"Onboarding: {served['onboarding']}")
    if touch := served.get("touch_frequency"):
        lines.append(f"Set up: {touch}")
    lines.append("Tell the customer who looks after them from now on")
    return [{"text": line, "done": False} for line in dict.fromkeys(lines)]


def _lines(text):
    return [line.strip(" -*") for line in (text or "").splitlines() if line.strip(" -*")]


def _shared(transition):
    return f"{transition.giver} hands over goals, contacts and open questions"


def notice(transition):
    """The text the customer gets, where nobody writes another."""
    touch = decided(transition).get("touch_frequency")
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
        "accounts": [transition.account_id for transition in transitions],
        WITHIN: [_content(transition) for transition in transitions],
    }


def _content(transition):
    return {
        "id": transition.pk,
        "layer": transition.layer_id,
        "from": transition.from_segment_id,
        "to": transition.to_segment_id,
        "giver": transition.giver_id,
        "receiver": transition.receiver_id,
        "joint_days": transition.joint_days,
        "applies_on": transition.applies_on and transition.applies_on.isoformat(),
        "success_plan": transition.success_plan,
        "notice": transition.notice,
        "notice_on": transition.notice_on and transition.notice_on.isoformat(),
        "notice_by": transition.notice_by,
        "checklist": [line["text"] for line in transition.checklist],
    }


def differs(transition, approved):
    """The name of the first field of a tier change that is not as it was approved; "" where all is."""
    now = _content(transition)
    return next((name for name in now if now[name] != approved.get(name)), "")


def subject(transitions):
    """`Acme: High-Touch → Low-Touch`; `20 tier changes on Service tier: 18 down, 2 up`."""
    if len(transitions) == 1:
        return str(transitions[0])[:400]
    down = sum(transition.direction == CrossingPolicy.Direction.DOWN for transition in transitions)
    parts = [
        f"{number} {word}" for number, word in ((down, "down"), (len(transitions) - down, "up")) if number
    ]
    return f"{len(transitions)} tier changes on {transitions[0].layer}: {', '.join(parts)}"


def changes(transitions):
    """Say what changes, a sentence or two for each."""
    arr = revenue.of([transition.account_id for transition in transitions], timezone.localdate())
    return [_sentence(transition, arr[transition.account_id]) for transition in transitions]


def _sentence(transition, arr):
    when = f"at the renewal on {day(transition.applies_on)}" if transition.applies_on else "on approval"
    worth = f" ({money(arr)} ARR)" if arr else ""
    sentence = (
        f"{transition.account}{worth} moves from {transition.from_segment} to {transition.to_segment} {when}."
    )
    if transition.receiver is None or transition.receiver_id == transition.account.csm_id:
        return (
            f"{sentence} {transition.account.csm} stays the CSM."
            if transition.account.csm
            else f"{sentence} It stays without a CSM."
        )
    joint = (
        f"after {plural(transition.joint_days, 'day,days')} of joint coverage"
        if transition.joint_days
        else "without joint coverage"
    )
    return f"{sentence} {transition.account.csm or 'Nobody'} hands over to {transition.receiver} {joint}."


def impact(transitions):
    """The reach of a request, as the policies of approval count it."""
    return of_accounts(
        [transition.account_id for transition in transitions],
        receivers={transition.account_id: transition.receiver_id for transition in transitions},
        segments=segments(transitions),
    )


def segments(transitions):
    """Ids of the segments they leave or enter."""
    return {pk for transition in transitions for pk in (transition.from_segment_id, transition.to_segment_id)}
