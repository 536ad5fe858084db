"""The people who have to do with an event, and why: what governance.news.notifications.KINDS names.

Each of the public functions takes an event and what is `Known` of its batch, and answers {User: Why they are told}.
"""

from dataclasses import dataclass, field
from functools import cached_property

from django.contrib.auth.models import User

from governance.models import AlertRule, ApprovalRequest, Override, Transition
from governance.signoff import kinds
from governance.signoff.deciders import ADMINISTRATOR, APPROVER, CS_OPS, Desk
from segmentation.models import Move, Segment

REVOPS = "RevOps"


@dataclass(frozen=True)
class Why:
    """Why somebody is told: a code of WHY, and what its sentence names."""

    code: str
    about: dict = field(default_factory=dict)

    def said(self, it):
        """The sentence. it: the account, or "them"."""
        return WHY[self.code].format(it=it, **self.about)


WHY = {
    "absent_asker": "Who asked for it is not there any more, so CS Ops is told.",
    "absent_csm": "Nobody looks after {it}, so CS Ops is told.",
    "absent_planner": "Nobody has planned it, so CS Ops is told.",
    "absent_receiver": "{receiver}, who takes {it} over, does not log in, so CS Ops is told.",
    "administrator": "You are an administrator.",
    "approver": "You approve what changes about segments.",
    "asker": "You asked for it.",
    "can_confirm": "You can confirm it.",
    "can_decide": "You can decide it as {role}.",
    "can_decide_instead": "You can decide it as {role}, for somebody who is away.",
    "concerned": "It is about you.",
    "cs_ops": "You are in CS Ops.",
    "csm": "You look after {it}.",
    "csm_of_one": "You look after it.",
    "csm_of_some": "You look after an account of it.",
    "giver": "You hand {it} over.",
    "planner": "You planned it.",
    "receiver": "You take {it} over.",
    "segment_owner": "You own the segment {segment}.",
    "steward": "You decide which source is right.",
}


class Known:
    """Everything the events of a batch are about, read with a few queries however many they are."""

    def __init__(self, events):
        self.events = events
        self._groups, self._may = {}, {}

    def _about(self, name, rows):
        ids = {event.about_id for event in self.events if event.about == name} - {None}
        return rows.in_bulk(ids) if ids else {}

    @cached_property
    def _requests(self):
        return self._about("approvalrequest", ApprovalRequest.objects)

    @cached_property
    def _transitions(self):
        people = ("receiver__user", "giver__user", "override")
        return self._about("transition", Transition.objects.select_related(*people))

    @cached_property
    def _overrides(self):
        return self._about("override", Override.objects)

    @cached_property
    def _moves(self):
        beside = ("layer", "product", "from_segment", "to_segment", "cause")
        return self._about("move", Move.objects.select_related(*beside))

    @cached_property
    def desk(self):
        """The people who can decide about the requests of this batch."""
        return Desk(self._requests.values())

    @cached_property
    def people(self):
        """{id: User} of those that requests, plans, overrides and events name."""
        ids = {event.data.get("user") for event in self.events}
        for request in self._requests.values():
            ids |= {request.requester, *request.owners, *self.desk.could_approve(request)}
        ids |= {one.planned_by for one in self._transitions.values()}
        ids |= {one.override.requested_by for one in self._transitions.values() if one.override}
        ids |= {one.requested_by for one in self._overrides.values()}
        return User.objects.in_bulk({id for id in ids if isinstance(id, int)})

    def request(self, event):
        return self._requests.get(event.about_id) if event.about == "approvalrequest" else None

    def transition(self, event):
        return self._transitions.get(event.about_id) if event.about == "transition" else None

    def override(self, event):
        return self._overrides.get(event.about_id) if event.about == "override" else None

    def move(self, event):
        return self._moves.get(event.about_id) if event.about == "move" else None

    @cached_property
    def confirmers(self):
        """People whose roles let them confirm declared values."""
        people = User.objects.with_perm("segmentation.confirm_declaration", include_superusers=False)
        return list(people.order_by("pk"))

    def may(self, user, permission):
        """Whether a person has a permission."""
        if (user.pk, permission) not in self._may:
            self._may[user.pk, permission] = user.has_perm(permission)
        return self._may[user.pk, permission]

    def role(self, name):
        """The active people of a role."""
        if name not in self._groups:
            self._groups[name] = list(User.objects.filter(groups__name=name, is_active=True).order_by("pk"))
        return self._groups[name]


def _named(user, why):
    return {user: why} if user else {}


# -- of requests


def approvers(event, known):
    """People who could approve the request now."""
    request = known.request(event)
    could = sorted(known.desk.could_approve(request)) if request else []
    return {known.people[id]: _seat(request, id, known) for id in could if id in known.people}


def _seat(request, id, known):
    seat = known.desk.seats(request, id)[0]
    return Why("can_decide_instead" if seat.on_behalf_of else "can_decide", {"role": seat.role})


def asker(event, known):
    """The person who asked for it."""
    asked = known.request(event) or known.override(event)
    id = getattr(asked, "requester", None) or getattr(asked, "requested_by", None)
    return _named(known.people.get(id), Why("asker"))


def asking(event, known):
    """The person who asked for it and has to do something now; CS Ops where they have left."""
    found = {user: why for user, why in asker(event, known).items() if user.is_active}
    return found or _ops(known, "absent_asker")


def owners(event, known):
    """The CSMs of the accounts a request is about; of a role, whoever gets it."""
    request = known.request(event)
    found = [known.people.get(id) for id in request.owners] if request else []
    code = "csm_of_some"
    if request and kinds.of(request).about_a_person:
        code = "concerned"
    elif request and request.accounts == 1:
        code = "csm_of_one"
    return {user: Why(code) for user in found if user}


# -- of accounts and tier changes


def csm(event, known):
    """The CSM who looks after the account."""
    account = event.account
    return _named(account and account.csm and account.csm.user, Why("csm"))


def audience(event, known):
    """Whom the rule of an alert names ({"audience"}); CS Ops where nobody looks after the account."""
    if event.data.get("audience") == AlertRule.Audience.CS_OPS:
        return ops(event, known)
    return csm_or_ops(event, known)


def csm_or_ops(event, known):
    """The CSM who looks after the account; CS Ops where nobody does who logs in."""
    return csm(event, known) or _ops(known, "absent_csm")


def planner(event, known):
    """The person who planned the tier change; CS Ops where nobody did."""
    transition = known.transition(event)
    found = known.people.get(transition.planned_by) if transition else None
    if found is None or not found.is_active:
        return _ops(known, "absent_planner")
    return {found: Why("planner")}


def receiver(event, known):
    """The CSM who takes the account over; CS Ops where that is somebody who does not log in."""
    transition = known.transition(event)
    found = transition.receiver if transition else None
    if found is None:
        return {}
    if found.user is None:
        return _ops(known, "absent_receiver", receiver=found)
    return {found.user: Why("receiver")}


def giver(event, known):
    """The CSM who hands the account over."""
    transition = known.transition(event)
    found = transition.giver if transition else None
    return _named(found and found.user, Why("giver"))


# -- of segments


def segment_owners(event, known):
    """Owners of the segments an event is about, and the approvers."""
    about = {
        "segment": "pk",
        "treatment": "treatment",
        "servicemodel": "treatment__service_model",
        "layer": "layer",
    }
    segments = Segment.objects.filter(**{about[event.about]: event.about_id}, owner__is_active=True)
    owned = {
        segment.owner: Why("segment_owner", {"segment": segment})
        for segment in segments.select_related("owner")
    }
    return dict.fromkeys(known.role(APPROVER), Why("approver")) | owned


# -- of roles


def ops(event, known):
    return _ops(known, "cs_ops")


def _ops(known, code, **about):
    return dict.fromkeys(known.role(CS_OPS), Why(code, about))


def administrators(event, known):
    return dict.fromkeys(known.role(ADMINISTRATOR), Why("administrator"))


def stewards(event, known):
    """People who decide which source is right."""
    return dict.fromkeys([*known.role(CS_OPS), *known.role(REVOPS)], Why("steward"))


def may_confirm(event, known):
    """People who confirm declared values."""
    return dict.fromkeys(known.confirmers, Why("can_confirm"))


def concerned(event, known):
    """The person an event names ({"user": id})."""
    return _named(known.people.get(event.data.get("user")), Why("concerned"))
