"""The start of tests of tier changes' pages: a gated layer, people in roles, CSMs, and accounts that have crossed."""

import html
import re
from dataclasses import dataclass
from datetime import timedelta

from databases import unsigned
from django.db import transaction
from django.test import Client
from django.utils import timezone
from governing import policy, someone
from segmenting import account, by_now, change, layer_with, recompute

from accounts.models import Account, Csm
from governance.changes import followup, transition_steps
from governance.models import CrossingPolicy, Transition
from segmentation.evaluation import causes
from segmentation.models import Cause, ServiceModel, Treatment

TODAY = timezone.localdate()
DAY = TODAY - timedelta(days=10)
TIERS = {
    "rules": [
        {"segment": "high", "when": "arr >= 100000"},
        {"segment": "low", "when": "arr >= 10000"},
        {"segment": "tech", "when": "arr >= 0"},
    ]
}
BANDS = {"high": (1, 3, "dedicated"), "low": (2, 10, "pool"), "tech": (20, None, "none")}
T = "/admin/governance/transition/"
BOARD, TRIAGE, TOGETHER = f"{T}board/", f"{T}triage/", f"{T}together/"


@dataclass
class Team:
    """Ops plans, Vera approves, Cleo is a CSM, Audrey audits; Dana (Cleo), Erik, the pool and the programme have accounts."""

    layer: object
    ops: object
    vera: object
    cleo: object
    audrey: object
    dana: Csm
    erik: Csm
    pool: Csm
    digital: Csm


def make_team():
    layer = layer_with(
        TIERS, decides=("touch_frequency", "play_on_entry", "play_on_exit", "success_plan_template")
    )
    for segment, (low, high, kind) in BANDS.items():
        model = ServiceModel.objects.create(
            key=segment, name=segment, accounts_per_csm_min=low, accounts_per_csm_max=high, csm_kind=kind
        )
        with unsigned():
            Treatment.objects.filter(key=f"tier-{segment}").update(
                service_model=model, play_on_entry=f"Welcome to {segment}", success_plan_template="Goals"
            )
    policy("tier_change", "Approver", only=True)
    people = {"ops": "CS Ops", "vera": "Approver", "cleo": "CSM", "audrey": "Auditor"}
    logins = {name: someone(name, role, is_staff=True) for name, role in people.items()}
    csms = {
        "dana": Csm.objects.create(email="dana@x.test", name="Dana", user=logins["cleo"]),
        "erik": Csm.objects.create(email="erik@x.test", name="Erik"),
        "pool": Csm.objects.create(email="pool@x.test", name="Pool", kind="pool"),
        "digital": Csm.objects.create(email="digital@x.test", name="Programme", kind="digital"),
    }
    return Team(layer, **logins, **csms)


def crossed(team, **accounts):
    """Accounts that have crossed: {name: (ARR before, ARR now, other columns)}. Returns their tier changes by name."""
    for name, (before, _, *more) in accounts.items():
        account(
            name, **({"name": name.capitalize(), "arr": before, "csm": team.dana} | (more[0] if more else {}))
        )
    recompute(by_now(DAY))
    for name, (_, after, *_) in accounts.items():
        change(Account.objects.get(external_id=name), arr=after)
    recompute(by_now(DAY + timedelta(days=1)))
    followup.follow_ended()
    return {one.account.external_id: one for one in Transition.objects.open().select_related("account")}


def down_at_once(team, **columns):
    """Downgrades do not wait for the renewal."""
    with transaction.atomic(), unsigned():
        causes.take(Cause.Kind.DECISION, reason="tests")
        return CrossingPolicy.objects.create(layer=team.layer, direction="down", **columns)


def web(user):
    client = Client()
    client.force_login(user)
    return client


def page_of(one):
    return f"{T}{one.pk}/change/"


def sent(one, verb, /, **more):
    """The data that the form of one tier change sends."""
    one.refresh_from_db()
    plan = {
        "receiver": "", "joint_days": "30", "success_plan": "Grow", "notice": "Dear all", "lines": "Call\nMeet", "notes": "",
        "notice_on": "", "notice_by": "Dana", "why": "They have grown",
    }  # fmt: skip
    return (
        {"verb": verb, "seen": transition_steps.token(one)} | (plan if verb in ("plan", "ask") else {}) | more
    )


def text(answer):
    body = re.sub(r"<(script|style).*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)))


def verbs(answer):
    """The buttons of forms that decide something."""
    return set(re.findall(r'name="verb" value="(\w+)"', answer.content.decode()))


def fresh(one):
    return Transition.objects.select_related("account__csm", "request").get(pk=one.pk)
