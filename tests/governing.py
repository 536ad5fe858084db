"""The start of tests of governance: people in roles, policies, requests; and a kind of request that only takes notes.

This module stands in for a kind's module: `KINDS[kind] = NOTED` (the fixture `noted` does it for overrides).
"""

from datetime import timedelta

from databases import unsigned
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.utils import timezone

from core.history import acting
from core.refusals import Refused
from governance.models import ApprovalPolicy, Delegation, Event
from governance.signoff import approvals
from governance.signoff.impact import Impact, stored
from governance.signoff.kinds import KindOfRequest
from segmentation.evaluation import causes
from segmentation.models import Cause

NOTED = KindOfRequest("governing", "Override", "Notes are taken.")
notes = []  # what the noted kind was told: (what, id of the request)
failing = []  # not empty: carrying out is refused with this sentence


def someone(name, *roles, **columns):
    """A person with these roles (names of groups); asked for again they get more roles."""
    with transaction.atomic(), unsigned(), acting(label="tests", reason="People of the tests"):
        causes.take(Cause.Kind.DECISION)
        user, _ = User.objects.get_or_create(username=name, defaults=columns)
        user.groups.add(*[Group.objects.get_or_create(name=role)[0] for role in roles])
    return User.objects.get(pk=user.pk)  # permissions are cached on the object


def without_role(user, role):
    """The person loses a role, as if somebody had taken it away in the database."""
    user.groups.through.objects.filter(user=user, group__name=role).delete()
    return User.objects.get(pk=user.pk)


def deactivated(user):
    with transaction.atomic(), acting(label="tests", reason="A login is closed"):
        causes.take(Cause.Kind.DECISION)
        User.objects.filter(pk=user.pk).update(is_active=False)
    return User.objects.get(pk=user.pk)


def policy(kind, role, approvals=1, **columns):
    """One more policy of this kind. `only=True`: those there are go first."""
    with transaction.atomic(), unsigned(), acting(label="tests", reason="Policies of the tests"):
        causes.take(Cause.Kind.DECISION)
        if columns.pop("only", False):
            ApprovalPolicy.objects.filter(kind=kind).delete()
        group, _ = Group.objects.get_or_create(name=role)
        return ApprovalPolicy.objects.create(kind=kind, role=group, approvals=approvals, **columns)


def no_policies(kind):
    """One Approver decides, as where no policy is."""
    with transaction.atomic(), unsigned(), acting(label="tests", reason="Policies of the tests"):
        causes.take(Cause.Kind.DECISION)
        ApprovalPolicy.objects.filter(kind=kind).delete()


def nobody_approves(kind):
    """As in a Light organisation."""
    return policy(kind, "Approver", 0, only=True)


def away(absent, delegate, *, days=7, since=0):
    """`delegate` stands in for `absent` from `since` days from today on; who has no role becomes a CSM for it."""
    if not delegate.groups.exists():
        someone(delegate.get_username(), "CSM")
    first = timezone.localdate() + timedelta(days=since)
    with transaction.atomic(), unsigned(), acting(label="tests", reason="Away"):
        causes.take(Cause.Kind.DECISION)
        return Delegation.objects.create(
            absent=absent, delegate=delegate, from_date=first, until_date=first + timedelta(days=days)
        )


def request_of(by, *, kind="override", key="override:1", impact=None, **columns):
    """A request of the noted kind, pending unless policies ask for nobody."""
    return approvals.submit(
        kind,
        **{
            "key": key,
            "subject": "Acme to High-Touch until 1 Sep 2026",
            "content": {"account": 1, "segment": "high"},
            "changes": ["Acme: Low-Touch → High-Touch"],
            "why": "They have merged",
            "impact": impact or Impact(accounts=1),
        }
        | columns,
        by=by,
    )


def approved(request, *people, at=None):
    """The request after these people have approved it."""
    for by in people:
        approvals.approve(fresh(request), by=by, seen=approvals.token(fresh(request)), at=at)
    return fresh(request)


def fresh(row):
    """The row as the database has it."""
    return type(row)._default_manager.get(pk=row.pk)


def kinds_of_events(about):
    """The kinds of the events about this row, the first first."""
    found = Event.objects.filter(about=about._meta.model_name, about_id=about.pk)
    return list(found.order_by("id").values_list("kind", flat=True))


# -- the noted kind


def carry_out(request, *, by, at):
    notes.append(("done", request.pk))
    if failing:
        raise Refused("import_fault", fault=failing[0])


def decided_against(request, *, verdict, by, reason):
    notes.append((verdict, request.pk))


def address(request):
    return f"/noted/{request.pk}/"


def impact(request):
    return stored(request)
