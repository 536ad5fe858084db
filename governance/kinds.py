"""The kinds of request: what approvals, policies and pages have to know of each is said here, once.

A further kind is an entry here, its value in `governance.models.Kind`, and a module that does what `governance.approvals`
calls. docs/adding.md lists the files.
"""

from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module

from governance.models import Kind

MUCH = Decimal(1_000_000)  # of ARR, as the methodology's largest band


NOBODY = {"role": "CS Ops", "approvals": 0}  # has to approve: it is done at once, and logged


@dataclass(frozen=True)
class KindOfRequest:
    """module: does what approvals calls. standard, strict: the lines of these profiles, each what is not as usual of a
    profiles.Row, which is one approval by an Approver; Light has NOBODY everywhere.

    about_accounts: it reaches accounts, whose number and ARR are told. about_a_person: whoever it owns gets something.
    whole_portfolio: to count what it reaches takes a look at everybody. sets_policies: what is asked for meanwhile waits.
    """

    module: str
    standard: tuple = ({},)
    strict: tuple = ({},)
    about_accounts: bool = True
    about_a_person: bool = False
    whole_portfolio: bool = False
    sets_policies: bool = False

    def verbs(self):
        """The module, where `impact`, `carry_out` and the others are."""
        return import_module(self.module)


KINDS = {
    Kind.DEFINITION: KindOfRequest(
        "governance.activations",
        strict=({"approvals": 2}, {"role": "RevOps"}, {"role": "Finance", "min_arr": MUCH}),
        whole_portfolio=True,
    ),
    Kind.TIER_CHANGE: KindOfRequest(
        "governance.transitions",
        standard=({}, {"role": "Finance", "min_arr": MUCH}),
        strict=({}, {"approvals": 2, "top_tier": True}, {"role": "Finance", "min_arr": MUCH / 4}),
    ),
    Kind.OVERRIDE: KindOfRequest(
        "governance.overrides",
        standard=({}, {"role": "Finance", "min_arr": MUCH}),
        strict=({}, {"approvals": 2, "top_tier": True}, {"role": "Finance", "min_arr": MUCH / 4}),
    ),
    Kind.POLICY: KindOfRequest(
        "governance.policies", strict=({"approvals": 2},), about_accounts=False, sets_policies=True
    ),
    Kind.ROLE: KindOfRequest(
        "governance.people", strict=({}, {"role": "RevOps"}), about_accounts=False, about_a_person=True
    ),
    Kind.IMPORT: KindOfRequest(
        "governance.import_gate",
        standard=(NOBODY,),
        strict=({"role": "RevOps", "due_days": 2, "expire_days": 7},),
    ),
}


def of(request):
    """What its kind needs."""
    return KINDS[request.kind]
