"""People and their roles: asked for, decided by others, carried out here. And people who leave.

A role is given and taken by a request (kind "role"); only at set-up, while nobody there is could decide such a request,
it is given at once. A role's rights are the same everywhere (governance.signoff.roles).
"""

from contextlib import contextmanager

from django.contrib.auth.models import Group, User
from django.db import transaction

from accounts.models import Csm
from core import pages, texts
from core.history import acting, actor
from core.programs import is_program
from core.refusals import Refused, verb
from core.wording import plural
from governance import events
from governance.models import ApprovalRequest, Decision, Delegation
from governance.signoff import approvals, permissions
from governance.signoff.carrying_out import left, left_to_change
from governance.signoff.impact import Impact
from governance.signoff.requirements import requirement
from governance.signoff.roles import OF_PROGRAMS, ROLES
from segmentation.evaluation import causes
from segmentation.models import Cause

KIND = "role"
ADMINISTRATOR = "Administrator"


def roles_of(user):
    """The names of the roles this person has, in the order of governance.signoff.roles.ROLES."""
    held = set(user.groups.values_list("name", flat=True))
    return [name for name in ROLES if name in held]


# -- asking


@verb
def ask(user, *, by=None, why, add=(), remove=()):
    """Ask that somebody gets and loses these roles (names). Returns the ApprovalRequest."""
    permissions.check(permissions.ask_role(user, by=by))
    add, remove = _wanted(user, add, remove)
    _check_stays_administered(user, remove)
    return approvals.submit(
        KIND,
        key=f"role:{user.pk}",
        subject=f"Roles of {user.get_username()}: {_short(add, remove)}",
        content={"user": user.pk, "add": add, "remove": remove},
        changes=sentences(user, add, remove),
        why=why,
        by=by,
        impact=Impact(owners=(user.pk,)),  # nobody decides about their own roles
    )


@verb
def change(request, *, by=None, seen, add=(), remove=(), why=None):
    """Change what an open role request asks for."""
    # Before the person, as whoever carries it out does.
    ApprovalRequest.objects.select_for_update().get(pk=request.pk)
    user = _user(request)
    permissions.check(permissions.ask_role(user, by=by))
    add, remove = _wanted(user, add, remove)
    _check_stays_administered(user, remove)
    return approvals.edit(
        request,
        content={"user": user.pk, "add": add, "remove": remove},
        changes=sentences(user, add, remove),
        impact=Impact(owners=(user.pk,)),
        subject=f"Roles of {user.get_username()}: {_short(add, remove)}",
        by=by,
        seen=seen,
        why=why,
    )


def sentences(user, add, remove):
    """Say what changes, a sentence each."""
    given = [f"{user.get_username()} gets the role {name}: {ROLES[name].does}" for name in add]
    return given + [f"{user.get_username()} loses the role {name}." for name in remove]


def _short(add, remove):
    return ", ".join([*(f"+ {name}" for name in add), *(f"− {name}" for name in remove)])


def _wanted(user, add, remove):
    """The roles to add and to remove that change anything, in order."""
    held = roles_of(user)
    if unknown := {*add, *remove} - set(ROLES):
        raise Refused("role_unknown", role=sorted(unknown)[0])
    if both := set(add) & set(remove):
        raise Refused("role_given_and_taken", role=sorted(both)[0])
    if is_program(user) and (unfit := [name for name in ROLES if name in add and name not in OF_PROGRAMS]):
        raise Refused("role_unfit_for_program", role=unfit[0], roles=list(OF_PROGRAMS))
    add = [name for name in ROLES if name in add and name not in held]
    remove = [name for name in ROLES if name in remove and name in held]
    if not add and not remove:
        raise Refused("roles_held_already", user=user.get_username())
    return add, remove


# -- what approvals calls (governance.signoff.kinds)


def impact(request):
    return Impact(owners=(request.content["user"],))


def check(request):
    """Refuse to approve a role for somebody whose login is closed."""
    user = User.objects.filter(pk=request.content["user"]).first()
    if request.content["add"] and user and not user.is_active:
        raise Refused("person_not_active", user=user.get_username())


def carry_out(request, *, by, at):
    """Give and take the roles, in the transaction that says the request is done."""
    user, content = _user(request), request.content
    add, remove = _wanted(user, content["add"], content["remove"])
    if add and not user.is_active:
        raise Refused("person_not_active", user=user.get_username())
    if (add, remove) != (content["add"], content["remove"]):
        raise Refused("roles_changed", user=user.get_username())
    _check_stays_administered(user, remove)
    _put(user, add, remove, reason=request.why, about=request)


def decided_against(request, *, verdict, by, reason):
    """Nothing was held for it."""


def address(request):
    return pages.address("user_roles", request.content["user"])


def _user(request):
    user = User.objects.select_for_update(no_key=True).filter(pk=request.content["user"]).first()
    if user is None:
        raise Refused("person_gone")
    return user


def _put(user, add, remove, *, reason, about=None):
    causes.take(Cause.Kind.DECISION, reason=reason)
    groups = {group.name: group for group in Group.objects.filter(name__in=[*add, *remove])}
    user.groups.add(*(groups[name] for name in add))
    user.groups.remove(*(groups[name] for name in remove))
    events.record(
        "role_changed",
        f"Roles of {user.get_username()}: {_short(add, remove)}.",
        about=about or user,
        reason=reason,
        data={"user": user.pk, "label": user.get_username(), "add": list(add), "remove": list(remove)},
    )
    if remove:
        left(user, remove)


# -- at set-up


def set_up_refusal(*, by):
    """The Refused where roles are not simply given any more; None while nobody there is could decide a role request.

    Without a person (on the machine) also later, when everybody who could decide has left.
    """
    machine = permissions.at_the_machine(by)
    if not machine and not (by is not None and by.is_active and by.is_superuser):
        return Refused("roles_need_a_request")
    needed, _, _ = requirement(KIND, Impact())
    deciders = User.objects.filter(groups__name__in=needed)
    if machine:
        deciders = deciders.filter(is_active=True)
    if deciders.exists() or (not machine and Decision.objects.exists()):
        return Refused("roles_are_decided")
    return None


@verb
def set_up(user, *, by=None, add):
    """Give somebody roles at once, while nobody there is could decide about them: by a superuser, or on the machine."""
    permissions.check(set_up_refusal(by=by))
    _set_up({user: add}, by)


@verb
def set_up_together(roles, *, by=None):
    """Give several people their first roles at once ({User: [names]}): after the first Approver somebody decides.

    People who have them already are left as they are.
    """
    wanted = {user: [name for name in names if name not in roles_of(user)] for user, names in roles.items()}
    wanted = {user: names for user, names in wanted.items() if names}
    if wanted:
        permissions.check(set_up_refusal(by=by))
        _set_up(wanted, by)


def _set_up(wanted, by):
    reason = "Set-up: there is nobody yet who could decide"
    for user, names in wanted.items():
        with _acting_on(user, by, reason, kind=Cause.Kind.SETUP) as person:
            add, _ = _wanted(person, names, ())
            _put(person, add, [], reason=reason)


# -- people who leave, and come back


@verb
def deactivate(user, *, by=None, reason):
    """Close somebody's login; their approvals of open requests do not count any more. Roles stay, for a return."""
    with _acting_on(user, by, reason) as user:
        permissions.check(permissions.deactivate(user, by=by))
        _check_stays_administered(user, [ADMINISTRATOR])
        user.is_active = False
        user.save(update_fields=["is_active"])
        _tell(user, f"The login of {user.get_username()} is closed.")
        _leave(user)
        return user


@verb
def reactivate(user, *, by=None, reason):
    """Open somebody's login again, without the roles they had: those are asked for anew."""
    with _acting_on(user, by, reason) as user:
        permissions.check(permissions.reactivate(user, by=by))
        held = roles_of(user)
        if held:
            _put(user, [], held, reason=reason)
        user.is_active = True
        user.save(update_fields=["is_active"])
        _tell(user, f"The login of {user.get_username()} is open again, without roles.")
        return user


@verb
def delete(user, *, by=None, reason="Deleted"):
    """Delete a person. Their deeds stay, by their name; open requests count without them."""
    with _acting_on(user, by, reason) as user:
        permissions.check(permissions.delete_person(user, by=by))
        _check_stays_administered(user, [ADMINISTRATOR])
        if user.is_active:  # so that what they approved is counted anew while they are still known
            user.is_active = False
            user.save(update_fields=["is_active"])
            _leave(user)
        for delegation in Delegation.objects.filter(absent=user) | Delegation.objects.filter(delegate=user):
            delegation.delete()
        looked_after = getattr(user, "csm", None)
        if looked_after is not None:
            looked_after.user = None
            looked_after.save()
        events.record(
            "role_changed",
            f"{user.get_username()} was deleted.",
            reason=reason,
            data={"user": user.pk, "label": user.get_username()},
        )
        user.delete()


def _leave(user):
    """Tell CS Ops what is left without a person: requests nobody can decide, changes nobody makes, accounts, hand-overs."""
    left(user, roles_of(user))
    left_to_change(user)
    csm = Csm.objects.filter(user=user).first()
    accounts = csm.accounts.filter(excluded=False).count() if csm else 0
    coming = csm.receiving.open().count() if csm else 0
    if accounts or coming:
        counts = [plural(accounts, "account,accounts")] if accounts else []
        counts += [plural(coming, "open hand-over,open hand-overs")] if coming else []
        text = f"{csm} does not log in any more: {' and '.join(counts)} to give to somebody else."
        events.record("accounts_left", text, about=csm, reason=actor().reason)


# -- names, addresses and passwords


def password_set(user, *, by):
    """Keep that somebody set another person's password: they could log in as them now. The person is mailed."""
    with transaction.atomic(), acting(by=by):
        text = f"{by.get_username()} set a new password for {user.get_username()}."
        _tell(user, text, kind="password_set", **_to(user.email))


NAMED = ("username", "first_name", "last_name", "email")


def before_save(sender, instance, update_fields=None, raw=False, **_):
    """Remember how a person was called, for `after_save`. Django's own model has no save of ours to write it into."""
    changed = raw is False and (update_fields is None or set(NAMED) & set(update_fields))
    rows = User.objects.filter(pk=instance.pk) if changed and instance.pk else User.objects.none()
    instance.was_named = rows.values(*NAMED).first()


def after_save(sender, instance, **_):
    """Tell of another name or address, whoever saved it: a form, a command, a shell."""
    was, user = instance.__dict__.pop("was_named", None), instance
    if was is None:
        return
    now = {name: getattr(user, name) for name in NAMED}
    changes = {name: [was[name], now[name]] for name in NAMED if was[name] != now[name]}
    with transaction.atomic():
        if "email" in changes:
            old, new = (address or "none" for address in changes.pop("email"))
            text = f"The e-mail address of {user.get_username()} was {old} and is {new} now."
            _tell(
                user,
                text,
                kind="email_changed",
                changes={"email": [was["email"], user.email]},
                **_to(was["email"]),
            )
        if changes:
            _tell(user, _renamed(was, now), kind="person_changed", changes=changes)


def _renamed(was, now):
    named = {"username": "login", "first_name": "first name", "last_name": "last name"}
    changes = [
        f"{label} {was[name] or 'none'} → {now[name] or 'none'}"
        for name, label in named.items()
        if was[name] != now[name]
    ]
    return f"{was['username']} is called otherwise: {', '.join(changes)}."


def _to(address):
    """Where it is mailed at once whatever the person wishes; nowhere else where no address is known."""
    return {"mail_to": address} if address else {}


def _tell(user, text, kind="role_changed", **data):
    events.record(
        kind,
        text,
        about=user,
        reason=actor().reason,
        data={"user": user.pk, "label": user.get_username(), **data},
    )


def _check_stays_administered(user, loses):
    """The last person who looks after people and roles keeps doing so, or nobody could give the role again."""
    if ADMINISTRATOR not in loses or not user.is_active or ADMINISTRATOR not in roles_of(user):
        return
    # Lock first: two administrators may remove one another at the same moment.
    others = User.objects.filter(is_active=True, groups__name=ADMINISTRATOR).exclude(pk=user.pk)
    Group.objects.select_for_update().get(name=ADMINISTRATOR)
    if not others.exists():
        raise Refused("last_administrator", user=user.get_username())


@contextmanager
def _acting_on(user, by, reason, *, kind=Cause.Kind.DECISION):
    """The person, locked, in one transaction with a cause, in the name of who acts."""
    reason = texts.needed(reason)
    with (
        transaction.atomic(),
        acting(by=by, label="" if by else actor().label, reason=reason),
    ):
        person = User.objects.select_for_update(no_key=True).filter(pk=user.pk).first()
        if person is None:
            raise Refused("person_gone")
        causes.take(kind, reason=reason)
        yield person
