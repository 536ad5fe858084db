"""Cases of an override: what it would mean for each account it is asked for; nothing is written."""

from dataclasses import dataclass, field
from datetime import date

from accounts.models import Account, Csm
from core import history
from core.refusals import Refused
from core.wording import day
from governance.changes.override_rows import Status
from governance.models import Override, Transition
from governance.signoff.impact import of_accounts
from segmentation.models import Assignment, Layer, Segment

ANSWERS = ("buying_centre", "use_case", "contract")  # the three questions after an acquisition


@dataclass(frozen=True)
class Plan:
    """How a customer is handed over when the override changes the segment: the new CSM (None: stays), and what is said."""

    receiver: Csm | None = None
    success_plan: str = ""
    notice: str = ""


@dataclass(frozen=True)
class Wanted:
    """The override asked for: the segment, why, and until when (the day it ends)."""

    segment: Segment
    reason_code: str
    text: str
    expires_on: date
    evidence: str = ""
    buying_centre: str = ""
    use_case: str = ""
    contract: str = ""
    plan: Plan = field(default_factory=Plan)

    def columns(self):
        """The columns an Override keeps of it."""
        values = {
            name: getattr(self, name) for name in ("reason_code", "text", "evidence", "expires_on", *ANSWERS)
        }
        return {"segment": self.segment, **values}


@dataclass
class Case:
    """An account beside the segment that is asked for it: what it is now, and what stands in the way."""

    account: Account  # with its csm
    segment: Segment
    state: Assignment | None = None
    requested: Override | None = None  # waits for approval
    active: Override | None = None  # in force
    refused: Override | None = None  # the last time this segment was asked for, and the answer was no
    handover: Transition | None = None  # in joint coverage

    @property
    def moves(self):
        """The segment in force changes."""
        return self.state is not None and self.state.effective_id != self.segment.pk

    @property
    def planned(self):
        """It changes on a segmentation that needs approval: as a tier change, with a plan."""
        return self.moves and self.segment.layer.policy == Layer.Policy.APPROVAL

    @property
    def obstacle(self):
        """The Refused that stands in its way; None where it can be asked for."""
        account, segment, layer = self.account, self.segment, self.segment.layer
        if has_left(account):
            return Refused("override_of_no_customer", account=account)
        if self.state is None:
            return Refused("account_without_segment", account=account, layer=layer)
        if self.requested:
            return Refused(
                "override_requested_already",
                account=account,
                requester=history.who(self.requested, "requested_by"),
                segment=self.requested.segment,
                requested_at=self.requested.requested_at,
            )
        if self.moves and self.state.computed_id == segment.pk:
            active = self.active and self.active.segment
            return Refused(
                "override_needless", account=account, segment=segment, active=active, policy=layer.policy
            )
        if self.planned and self.handover:
            return Refused("override_in_handover", account=account, joint_until=self.handover.joint_until)
        return None

    @property
    def sentence(self):
        """Say what would change, and what the rules say: `Acme moves from Low to High; by the rules it is Low.`"""
        before, computed = self.state.effective, self.state.computed
        by_rules = f"by the rules it is {computed}" if computed else "the rules lack data to decide"
        if self.moves:
            outcome = f"moves from {before or 'no segment'} to {self.segment}; {by_rules}."
        elif computed == before:
            outcome = f"stays {self.segment}, as the rules say now, also when they change their mind."
        else:
            outcome = f"stays {self.segment}; {by_rules}."
        replaced = f" Its override until {day(self.active.expires_on)} is replaced." if self.active else ""
        return f"{self.account} {outcome}{replaced}"


def has_left(account):
    return account.excluded or account.kind != Account.Kind.CUSTOMER


def look(accounts, segment):
    """A Case for each of the accounts, in the order of their ids; nothing is written."""
    return cases_of([account.pk for account in accounts], segment)


def cases_of(ids, segment):
    accounts = Account.objects.filter(pk__in=ids)
    cases = {account.pk: Case(account, segment) for account in accounts.select_related("csm").order_by("pk")}
    states = Assignment.objects.filter(layer=segment.layer_id, product=None, account__in=cases)
    for state in states.select_related("effective", "computed"):
        cases[state.account_id].state = state
    joint = Transition.objects.filter(
        layer=segment.layer_id, account__in=cases, status=Transition.Status.JOINT
    )
    for transition in joint:
        cases[transition.account_id].handover = transition
    for override in Override.objects.filter(layer=segment.layer_id, account__in=cases).order_by("pk"):
        case = cases[override.account_id]
        if override.status == Status.REQUESTED:
            case.requested = override
        elif override.status == Status.ACTIVE:
            case.active = override
        elif override.started_on is None and override.segment_id == segment.pk:
            case.refused = override
    return list(cases.values())


def impact_on(cases, plan=None):
    """The reach of the request, as the policies of approval count it."""
    receiver = plan.receiver.pk if plan and plan.receiver else None
    return of_accounts(
        [case.account.pk for case in cases],
        receivers={case.account.pk: receiver for case in cases if case.planned},
        segments={
            pk for case in cases for pk in (case.segment.pk, case.state and case.state.effective_id) if pk
        },
    )
