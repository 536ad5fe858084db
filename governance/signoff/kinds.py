"""The kinds of request: what approvals, policies, profiles and pages have to know of each is said here, once.

A further kind is an entry here and its module, with these functions:

    carry_out(request, *, by, at)     does it, all or nothing; a Refused is shown as the reason of the failure
    impact(request)                   the Impact as of today (governance.signoff.impact)
    decided_against(request, *, verdict, by, reason)    lets go of what it was about: `reject`, `ask`, `withdraw`, `expire`
    address(request)                  the URL of what it is about; "" where there is none

and, where it has them,

    prepare(request, *, by)           what takes a worker's time before it can be carried out; True once that is done
    segments(request)                 ids of the segments it names
    check(request)                    raises Refused where nobody may approve it as it stands: whom it names has left

What is asked for is the request's `content`, plain data of the kind's own form. Two of its keys mean the same for all
kinds: `accounts`, ids of the accounts it names (RequestAccount has a row for each), and `user`, the person it is about.
Whoever looks after one of these accounts, or is that person, does not decide it.
"""

from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module

MUCH = Decimal(1_000_000)  # of ARR, as the methodology's largest band


NOBODY = {"role": "CS Ops", "approvals": 0}  # has to approve: it is done at once, and logged


@dataclass(frozen=True)
class KindOfRequest:
    """module: does what is told above. label: what it is called. does: what happens by it, a sentence. standard, strict: the
    lines of these profiles, each what is not as usual of a profiles.Row, which is one approval by an Approver; Light has
    NOBODY everywhere.

    about_accounts: it reaches accounts, whose number and ARR are told. about_a_person: whoever it owns gets something.
    whole_portfolio: to count what it reaches takes a look at everybody. sets_policies: what is asked for meanwhile waits.
    """

    module: str
    label: str
    does: str
    standard: tuple = ({},)
    strict: tuple = ({},)
    about_accounts: bool = True
    about_a_person: bool = False
    whole_portfolio: bool = False
    sets_policies: bool = False

    def verbs(self):
        """The module, where `impact`, `carry_out` and the others are."""
        return import_module(self.module)

    def has(self, verb):
        """Whether its module has a function that not every kind needs."""
        return hasattr(self.verbs(), verb)


KINDS = {
    "definition": KindOfRequest(
        "governance.changes.activations",
        "Rules",
        "New rules of a segmentation become active.",
        strict=({"approvals": 2}, {"role": "RevOps"}, {"role": "Finance", "min_arr": MUCH}),
        whole_portfolio=True,
    ),
    "tier_change": KindOfRequest(
        "governance.changes.transition_requests",
        "Tier change",
        "Accounts move to another segment of a segmentation that needs approval.",
        standard=({}, {"role": "Finance", "min_arr": MUCH}),
        strict=({}, {"approvals": 2, "top_tier": True}, {"role": "Finance", "min_arr": MUCH / 4}),
    ),
    "override": KindOfRequest(
        "governance.changes.overrides",
        "Override",
        "A segment is pinned for an account against the rules.",
        standard=({}, {"role": "Finance", "min_arr": MUCH}),
        strict=({}, {"approvals": 2, "top_tier": True}, {"role": "Finance", "min_arr": MUCH / 4}),
    ),
    "policy": KindOfRequest(
        "governance.signoff.policies",
        "Policy",
        "One of the policies of this page changes.",
        strict=({"approvals": 2},),
        about_accounts=False,
        sets_policies=True,
    ),
    "role": KindOfRequest(
        "governance.signoff.people",
        "Role",
        "Somebody gets or loses a role.",
        strict=({}, {"role": "RevOps"}),
        about_accounts=False,
        about_a_person=True,
    ),
    "import": KindOfRequest(
        "governance.changes.import_gate",
        "Import",
        "An import that was looked at is carried out.",
        standard=(NOBODY,),
        strict=({"role": "RevOps", "due_days": 2, "expire_days": 7},),
    ),
}


def of(request):
    """The Kind of a request."""
    return KINDS[request.kind]


def choices():
    """(kind, label) of each, for columns of models."""
    return [(kind, needs.label) for kind, needs in KINDS.items()]
