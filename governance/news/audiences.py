"""The people who have to do with an event, and why: what governance.news.notifications.KINDS names.

Each of the public functions takes an event and the `Context` of its batch, and answers {User: Why they are told}.
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

    def sentence(self, it):
        """The sentence. it: the account, or "them"."""
        return WHY[self.code].format(it=it, **self.about)


WHY = {
    "absent_asker": "Who asked for it is not there any more, so CS Ops is told.",
    "absent_csm": "Nobody looks after {it}, so CS Ops is told.",
    "absent_csm_login": "{csm}, who looks after {it}, does not log in, so CS Ops is told.",
    "absent_giver": "{giver}, who hands {it} over, does not log in, so CS Ops is told.",
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


class Context:
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
        ids |= {transition.planned_by for transition in self._transitions.values()}
        ids |= {
            transition.override.requested_by
            for transition in self._transitions.values()
            if transition.override
        }
        ids |= {override.requested_by for override in self._overrides.values()}
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


def approvers(event, context):
    """People who could approve the request now."""
    request = context.request(event)
    could = sorted(context.desk.could_approve(request)) if request else []
    return {context.people[id]: _seat(request, id, context) for id in could if id in context.people}


def _seat(request, id, context):
    seat = context.desk.seats(request, id)[0]
    return Why("can_decide_instead" if seat.on_behalf_of else "can_decide", {"role": seat.role})


def asker(event, context):
    """The person who asked for it."""
    subject = context.request(event) or context.override(event)
    id = getattr(subject, "requester", None) or getattr(subject, "requested_by", None)
    return _named(context.people.get(id), Why("asker"))


def asking(event, context):
    """The person who asked for it and has to do something now; CS Ops where they have left."""
    askers = {user: why for user, why in asker(event, context).items() if user.is_active}
    return askers or _ops(context, "absent_asker")


def owners(event, context):
    """The CSMs of the accounts a request is about; of a role, whoever gets it."""
    request = context.request(event)
    people = [context.people.get(id) for id in request.owners] if request else []
    code = "csm_of_some"
    if request and kinds.of(request).about_a_person:
        code = "concerned"
    elif request and request.accounts == 1:
        code = "csm_of_one"
    return {user: Why(code) for user in people if user}


# -- of accounts and tier changes


def csm(event, context):
    """The CSM who looks after the account."""
    account = event.account
    return _named(account and account.csm and account.csm.user, Why("csm"))


def audience(event, context):
    """Whom the rule of an alert names ({"audience"}); CS Ops where nobody looks after the account."""
    if event.data.get("audience") == AlertRule.Audience.CS_OPS:
        return ops(event, context)
    return csm_or_ops(event, context)


def csm_or_ops(event, context):
    """The CSM who looks after the account; CS Ops where nobody does who logs in."""
    account = event.account
    return _csm_or_ops(account and account.csm, context, "csm") or _ops(context, "absent_csm")


def _csm_or_ops(csm, context, role):
    """A CSM who logs in, told why ("csm", "giver" or "receiver"); CS Ops for one who does not, nobody for no CSM."""
    if csm is None:
        return {}
    if csm.user is None or not csm.user.is_active:
        code, word = ("absent_csm_login", "csm") if role == "csm" else (f"absent_{role}", role)
        return _ops(context, code, **{word: csm})
    return {csm.user: Why(role)}


def planner(event, context):
    """The person who planned the tier change; CS Ops where nobody did."""
    transition = context.transition(event)
    user = context.people.get(transition.planned_by) if transition else None
    if user is None or not user.is_active:
        return _ops(context, "absent_planner")
    return {user: Why("planner")}


def receiver(event, context):
    """The CSM who takes the account over; CS Ops where that is somebody who does not log in."""
    transition = context.transition(event)
    return _csm_or_ops(transition and transition.receiver, context, "receiver")


def giver(event, context):
    """The CSM who hands the account over; CS Ops where that is somebody who does not log in."""
    transition = context.transition(event)
    return _csm_or_ops(transition and transition.giver, context, "giver")


# -- of segments


def segment_owners(event, context):
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
    return dict.fromkeys(context.role(APPROVER), Why("approver")) | owned


# -- of roles


def ops(event, context):
    return _ops(context, "cs_ops")


def _ops(context, code, **about):
    return dict.fromkeys(context.role(CS_OPS), Why(code, about))


def administrators(event, context):
    return dict.fromkeys(context.role(ADMINISTRATOR), Why("administrator"))


def stewards(event, context):
    """People who decide which source is right."""
    return dict.fromkeys([*context.role(CS_OPS), *context.role(REVOPS)], Why("steward"))


def may_confirm(event, context):
    """People who confirm declared values."""
    return dict.fromkeys(context.confirmers, Why("can_confirm"))


def concerned(event, context):
    """The person an event names ({"user": id})."""
    return _named(context.people.get(event.data.get("user")), Why("concerned"))
