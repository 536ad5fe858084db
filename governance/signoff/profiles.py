"""Governance profiles: what an organisation starts from. Each is a set of approval policies, which people edit later."""

from dataclasses import asdict, dataclass
from decimal import Decimal

from django.contrib.auth.models import Group
from django.db import transaction

from core.history import acting, actor
from core.refusals import Refused, verb
from governance import events
from governance.models import ApprovalPolicy, ApprovalRequest, Profile
from governance.signoff import permissions
from governance.signoff.kinds import KINDS, NOBODY
from segmentation.evaluation import causes
from segmentation.models import Cause


@dataclass(frozen=True)
class Row:
    """One ApprovalPolicy; its columns. The role by name; ARR in the organisation's currency."""

    kind: str
    role: str = "Approver"
    approvals: int = 1
    min_accounts: int | None = None
    min_arr: Decimal | None = None
    min_csm_changes: int | None = None
    top_tier: bool = False
    due_days: int = 5
    expire_days: int = 30


PROFILES = {
    "light": [Row(kind, **NOBODY) for kind in KINDS],
    "standard": [Row(kind, **line) for kind, needs in KINDS.items() for line in needs.standard],
    "strict": [Row(kind, **line) for kind, needs in KINDS.items() for line in needs.strict],
}
DOES = {
    "light": "Nothing needs an approval: what CS Ops asks for is done at once, and logged.",
    "standard": "One other person decides; Finance too where much revenue is at stake.",
    "strict": "Two people decide about what matters most, and about bulk imports somebody from RevOps.",
}


@verb
def choose(name, *, by=None):
    """Start from another profile, its policies instead of those there are. Returns the Profile.

    At set-up only: once anything was asked for or decided, this is a policy request (governance.signoff.policies.ask_profile).
    """
    if name not in PROFILES:
        raise Refused("profile_not_there", name=name, profiles=list(PROFILES))
    permissions.check(permissions.choose_profile(by=by))
    with (
        transaction.atomic(),
        acting(by=by, reason=f"Profile {name} chosen at set-up"),
    ):
        profile = Profile.objects.select_for_update().get()
        if ApprovalRequest.objects.exists() or permissions.set_up_is_over():
            raise Refused("profile_needs_a_request")
        causes.take(Cause.Kind.SETUP, reason=actor().reason)
        put(profile, name)
        events.record("policy_changed", f"The governance profile is {profile}. {DOES[name]}", about=profile)
        return profile


def put(profile, name):
    """Write the profile and its policies, with history; the caller has locked the profile and taken a cause."""
    for policy in ApprovalPolicy.objects.select_for_update(of=["self"]):
        policy.delete()
    roles = {group.name: group for group in Group.objects.all()}
    for row in PROFILES[name]:
        ApprovalPolicy.objects.create(**asdict(row) | {"role": roles[row.role]})
    profile.name = name
    profile.save()
