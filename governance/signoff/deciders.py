"""The people who can decide about a request: of the roles it needs, or standing in for those; and who may not."""

from collections import defaultdict
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.db.models import Func, IntegerField
from django.utils import timezone

from governance.models import ApprovalRequest, CountedApproval, Decision, Delegation

CS_OPS, ADMINISTRATOR, APPROVER = "CS Ops", "Administrator", "Approver"
NEVER = (
    "Auditor",
    "Integration",
)  # decide about nothing, for nobody: these look, and those are other systems


@dataclass(frozen=True)
class Seat:
    """The seat somebody decides from: a role, and the absent person (id) they stand in for, if they do."""

    role: str
    on_behalf_of: int | None = None


@dataclass(frozen=True)
class Part:
    """How far a request is in one role: `given` of `needed` approvals; `left`: how many people could still give one."""

    role: str
    needed: int
    given: int
    left: int

    @property
    def missing(self):
        return max(self.needed - self.given, 0)


class Desk:
    """The people of each role and their stand-ins on a day, for these requests: six queries, however many they are."""

    def __init__(self, requests, *, at=None):
        self.requests = requests = list(requests)
        today = timezone.localdate(at or timezone.now())
        roles = {role for request in requests for role in request.needed}
        self.members = defaultdict(set)  # role: ids of active people
        held = User.groups.through.objects.filter(
            group__name__in=roles, user__is_active=True, user__service=None
        )
        for role, user in held.values_list("group__name", "user_id"):
            self.members[role].add(user)
        self.stands_in = defaultdict(list)  # id of a delegate: ids of the absent people
        away = Delegation.objects.filter(from_date__lte=today, until_date__gte=today)
        away = away.filter(absent__is_active=True, delegate__is_active=True).order_by("id")
        away = away.exclude(delegate__groups__name__in=NEVER).filter(delegate__service=None)
        self.names = {}  # id of an absent person: their name
        for delegate, absent, name in away.values_list("delegate_id", "absent_id", "absent__username"):
            self.stands_in[delegate].append(absent)
            self.names[absent] = name
        self._decisions = defaultdict(list)
        revisions = {request.pk: request.revision for request in requests}
        for decision in Decision.objects.filter(request__in=list(revisions)).order_by("id"):
            if decision.revision == revisions[decision.request_id]:
                self._decisions[decision.request_id].append(decision)
        by_now = Func("pk", function="demarc_owners", output_field=ArrayField(IntegerField()))
        owners = ApprovalRequest.objects.filter(pk__in=revisions).values_list("pk", by_now)
        self._owners = {request: set(people) for request, people in owners}
        self._given = defaultdict(lambda: defaultdict(set))
        for counted in CountedApproval.objects.filter(request__in=revisions):
            self._given[counted.request_id][counted.role].add(counted.person)

    def left_out(self, request):
        """Ids of those who never decide about it: who requested it, edited it, or looks after its accounts as CSM.

        Whoever did when it was asked for, and whoever does now.
        """
        stored = {request.requester, *request.editors, *request.owners}
        return (stored | self._owners.get(request.pk, set())) - {None}

    def decisions(self, request):
        """Everything said about the request as it is now, the first first."""
        return self._decisions[request.pk]

    def decision_of(self, request, person):
        """The decision of this person (id) about the request as it is now; None where there is none."""
        return next((decision for decision in self.decisions(request) if decision.by == person), None)

    def given(self, request):
        """{role: ids of the people whose approval counts}; a delegate's counts as that of the person away."""
        return self._given[request.pk]

    def parts(self, request):
        """A Part for each role the request needs."""
        given, out = self.given(request), self.left_out(request)
        gone = {decision.on_behalf_of or decision.by for decision in self.decisions(request)}
        return [
            Part(role, number, len(given[role]), len(self.members[role] - out - gone))
            for role, number in request.needed.items()
            if number
        ]

    def enough(self, request):
        return not any(part.missing for part in self.parts(request))

    def seats(self, request, person):
        """The seats this person (id) could decide from, those in roles with approvals missing first."""
        if person in self.left_out(request) or self.decision_of(request, person):
            return []
        gone = {decision.on_behalf_of or decision.by for decision in self.decisions(request)}
        parts = sorted(self.parts(request), key=lambda part: not part.missing)
        stands_in = [absent for absent in self.stands_in[person] if absent not in self.left_out(request)]
        return [
            Seat(part.role, None if who == person else who)
            for part in parts
            for who in (person, *stands_in)
            if who in self.members[part.role] and who not in gone
        ]

    def could_approve(self, request):
        """Ids of the people who could approve it now, delegates included."""
        missing = [part.role for part in self.parts(request) if part.missing]
        people = set().union(*(self.members[role] for role in missing), self.stands_in)
        return {
            person for person in people if any(seat.role in missing for seat in self.seats(request, person))
        }

    def nobody_can(self, request):
        """Why this request waits for somebody there is not, as a sentence; "" where people can decide it."""
        for part in self.parts(request):
            if part.missing > part.left:
                return (
                    f"{part.missing} more approval{'s' if part.missing > 1 else ''} of {part.role} {'are' if part.missing > 1 else 'is'}"
                    f" needed, but {_who_is_left(part, self.members[part.role])}. CS Ops sees to it: give the role to somebody"
                    " who has no part in this, or withdraw the request."
                )
        return ""


def _who_is_left(part, members):
    if not members:
        return f"nobody active has the role {part.role}"
    if not part.left:
        return f"everybody in {part.role} has requested, edited or decided it, or looks after its accounts"
    return f"only {part.left} of the {len(members)} people in {part.role} could still decide"
