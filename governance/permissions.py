"""Who may what: one function per verb, which answers with the sentence that refuses, or "".

The same function hides the button (`may`) and stops the verb (`check`), whoever calls it.
"""

from django.db import connection
from django.utils import timezone

from accounts import history
from accounts.history import actor
from accounts.models import Account, Csm
from accounts.refusals import Refused
from accounts.templatetags.shown import day
from governance import deciders


def check(sentence):
    """Raise Refused with the sentence, unless it is empty: `check(approve(request, by=by))`."""
    if sentence:
        raise Refused(sentence)


def may(sentence):
    """True where nothing refuses: `may(approve(request, by=user))` shows the button."""
    return not sentence


def _needs(by, permission, sentence):
    if by is None or not by.is_active:
        return "Nobody is logged in."
    return "" if by.has_perm(permission) else sentence


# -- approvals


def decide(request, *, by, verdict="approve", at=None, desk=None):
    """Approve (or ask, or reject): people of a role it needs who have no part in it, superusers included.

    desk: the deciders.Desk that knows this request, where many are asked about.
    """
    if by is None or not by.is_active:
        return "Nobody is logged in."
    if request.status != "pending":
        return f"This request is {request.get_status_display().lower()}: there is nothing to decide now."
    if request.expires_at <= (at or timezone.now()):
        return f"This request expired on {day(request.expires_at)}. It has to be asked for again."
    if request.requester == by.pk:
        return f"You cannot decide your own request: somebody else in {_roles(request)} has to."
    if by.pk in request.editors:
        return (
            "You wrote or edited what is asked for here, so you cannot decide it: "
            f"somebody else in {_roles(request)} has to."
        )
    if by.pk in request.owners and request.kind == "role":
        return (
            f"This request is about you, so you cannot decide it: somebody else in {_roles(request)} has to."
        )
    desk = desk or deciders.Desk([request], at=at)
    if by.pk in desk.left_out(request):
        return (
            "You look after an account of this request as its CSM, so you cannot decide it: "
            f"somebody else in {_roles(request)} has to."
        )
    if said := desk.said(request, by.pk):
        return f"You have decided this already: {said.get_verdict_display().lower()}."
    seats = desk.seats(request, by.pk)
    if not seats:
        return _no_seat(request, by, desk)
    missing = {part.role for part in desk.parts(request) if part.missing}
    if verdict == "approve" and seats[0].role not in missing:
        return f"{seats[0].role} has approved this already; it waits for {_listed(sorted(missing))}."
    return ""


def _no_seat(request, by, desk):
    whose = {one.on_behalf_of: history.who(one, "by") for one in desk.decisions(request) if one.on_behalf_of}
    if by.pk in whose:
        return f"{whose[by.pk]} has decided this in your place already."
    absent = set(desk.stands_in[by.pk])
    if absent & desk.left_out(request):
        return (
            "You stand in for somebody who has requested or edited this or looks after an account of it: "
            f"somebody else in {_roles(request)} has to decide."
        )
    if any(one.by in absent or one.on_behalf_of in absent for one in desk.decisions(request)):
        return "Whoever you stand in for has decided this already."
    return f"This is decided by {_roles(request)}, and you do not have that role."


def _roles(request):
    return _listed(sorted(request.needed))


def _listed(names):
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or "nobody"


def edit_request(request, *, by):
    """Change what is asked for: who requested it, or CS Ops."""
    if not request.is_open:
        return f"This request is {request.get_status_display().lower()} and cannot be changed any more."
    return _theirs(request, by, "change")


def resubmit(request, *, by):
    """Hand it in again after changes were asked for: who requested it, or CS Ops."""
    if request.status != "changes_asked":
        return f"This request is {request.get_status_display().lower()}: nobody has asked for changes of it."
    return _theirs(request, by, "hand in")


def withdraw(request, *, by):
    """Take it back before it is done: who requested it, or CS Ops."""
    if not request.is_open:
        return f"This request is {request.get_status_display().lower()} and cannot be withdrawn any more."
    return _theirs(request, by, "withdraw")


def apply(request, *, by, at=None):
    """Carry it out now: what failed again, or what waited for its date. Who requested it, or CS Ops."""
    if request.status not in ("approved", "failed"):
        return f"This request is {request.get_status_display().lower()}: it cannot be carried out now."
    at = at or timezone.now()
    if request.apply_on and request.apply_on > timezone.localdate(at):
        return f"This request is carried out on {day(request.apply_on)}, not before."
    if request.status == "failed" and request.expires_at <= at:
        return f"This request expired on {day(request.expires_at)}. It has to be asked for again."
    return _theirs(request, by, "carry out")


def comment(request, *, by):
    """Say something about it: whoever sees requests, or has part in this one; auditors only look."""
    if by is None or not by.is_active:
        return "Nobody is logged in."
    if by.groups.filter(name__in=deciders.NEVER).exists():
        return "Auditors and integrations change nothing, and so write no comments."
    if request.requester == by.pk or by.has_perm("governance.view_approvalrequest"):
        return ""
    return "You are not allowed to see approval requests."


def _theirs(request, by, what):
    """The requester, an editor, CS Ops and administrators; the system where nobody asks (a task, a command)."""
    if by is None:
        return ""
    if not by.is_active:
        return "Nobody is logged in."
    if by.pk in (request.requester, *request.editors) or in_role(by, deciders.CS_OPS, deciders.ADMINISTRATOR):
        return ""
    return (
        f"Only {history.who(request, 'requester') or 'who requested this'} or CS Ops may {what} this request."
    )


def in_role(by, *roles):
    """Has one of these roles; a superuser has all but decides in none that way."""
    return by.is_superuser or by.groups.filter(name__in=roles).exists()


# -- tier changes


def plan_transition(*, by):
    """Triage, plan, keep, and ask for approval."""
    return _needs(
        by,
        "governance.plan_transition",
        "You are not allowed to triage and plan tier changes: CS Ops does that.",
    )


def complete_transition(transition, *, by):
    """Tick off and complete a hand-over: who gives the account away or takes it over, and those with the right."""
    if by is None or not by.is_active:
        return "Nobody is logged in."
    csms = (transition.receiver, transition.account.csm)
    if any(one is not None and one.user_id == by.pk for one in csms) or by.has_perm(
        "governance.complete_transition"
    ):
        return ""
    return "Only the CSMs of the hand-over or CS Ops may complete it."


# -- overrides


def request_override(accounts, *, by):
    """Those who plan tier changes ask for any account, a CSM for those they look after (accounts with their `csm`)."""
    if refusal := _needs(by, "governance.request_override", "You are not allowed to ask for overrides."):
        return refusal
    if by.has_perm("governance.plan_transition"):
        return ""
    others = [one for one in accounts if one.csm is None or one.csm.user_id != by.pk]
    if not others:
        return ""
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return f"You ask for overrides of the accounts you look after. {others[0]}{more} is looked after by somebody else: ask CS Ops."


def end_override(override, *, by):
    return _needs(
        by,
        "governance.plan_transition",
        "Only CS Ops ends an override before its date: ask them, and say why.",
    )


# -- conflicts


def resolve_conflict(*, by):
    return _needs(
        by,
        "accounts.resolve_conflict",
        "You are not allowed to decide which value counts: CS Ops or RevOps does.",
    )


def report_conflict(*, by):
    return _needs(by, "accounts.report_conflict", "You are not allowed to report wrong data: tell CS Ops.")


# -- alerts


def acknowledge_alerts(*, by):
    return _needs(by, "governance.acknowledge_alert", "You are not allowed to acknowledge alerts.")


def acknowledge_alert(alert, *, by):
    """CS Ops, and the account's CSM."""
    if refusal := acknowledge_alerts(by=by):
        return refusal
    csm = alert.account.csm
    if by.has_perm("governance.change_alertrule") or (csm is not None and csm.user_id == by.pk):
        return ""
    return f"Only CS Ops and the CSM of {alert.account} acknowledge its alerts."


def manage_alerts(*, by):
    """Those who define when people are alerted."""
    return _needs(by, "governance.change_alertrule", "You are not allowed to change alert rules.")


# -- policies and people


def at_the_machine(by):
    """A command without a person: the operator's rights are the machine's."""
    return by is None and actor().channel == "command"


def set_up_is_over():
    """Whether customers have segments and somebody is there to decide: the database lets nobody set anything up then."""
    with connection.cursor() as cursor:
        cursor.execute("select demarc_set_up_is_over()")
        return cursor.fetchone()[0]


def change_policies(*, by):
    return _needs(by, "governance.change_policies", "You are not allowed to ask for changes of policies.")


def choose_profile(*, by):
    return "" if at_the_machine(by) else change_policies(by=by)


def manage_people(*, by):
    return _needs(by, "auth.change_user", "Only administrators look after people and roles.")


def _above(user, by):
    return "Only a superuser changes a superuser." if user.is_superuser and not by.is_superuser else ""


def ask_role(user, *, by):
    """Ask for roles of somebody who can log in; an administrator may ask for their own, and others decide."""
    if refusal := manage_people(by=by):
        return refusal
    return "" if user.is_active else f"{user.get_username()} cannot log in: open the login first."


def deactivate(user, *, by):
    if refusal := manage_people(by=by):
        return refusal
    if user.pk == by.pk:
        return "You cannot close your own login: another administrator can."
    if refusal := _above(user, by):
        return refusal
    return "" if user.is_active else f"The login of {user.get_username()} is closed already."


def reactivate(user, *, by):
    if refusal := manage_people(by=by):
        return refusal
    if refusal := _above(user, by):
        return refusal
    return f"{user.get_username()} can log in already." if user.is_active else ""


def lift_lock(user, *, by):
    """Let somebody log in again after too many wrong passwords; on the machine, too."""
    return "" if at_the_machine(by) else manage_people(by=by)


def delete_person(user, *, by):
    if refusal := _needs(by, "auth.delete_user", "Only administrators delete people."):
        return refusal
    if user.pk == by.pk:
        return "You cannot delete yourself: another administrator can."
    return _above(user, by)


def declare(accounts, *, by):
    """Propose what holds for accounts: who plans tier changes for any, a CSM for those they look after."""
    if by is None or by.has_perm("governance.plan_transition"):
        return ""
    wanted = Account.objects.filter(pk__in=[one.pk for one in accounts])
    other = wanted.exclude(csm__in=Csm.objects.filter(user=by)).order_by("pk").first()
    if other is None:
        return ""
    return f"You propose values for the accounts you look after; {other} is looked after by somebody else: ask CS Ops."


def declare_gate(accounts, *, by):
    """settings.GATES["declare"]: asked by segmentation.declarations."""
    check(declare(accounts, by=by))


def ask_import(*, by):
    return _needs(by, "accounts.import_accounts", "You are not allowed to import accounts.")


def enter_absence(absent, delegate, *, by):
    """One's own; an administrator another person's, but never to stand in for them.

    An administrator makes logins and resets passwords. So who stands in at their word has a role that decides already.
    """
    if by is None or not by.is_active:
        return "Nobody is logged in."
    if absent.pk == by.pk:
        return ""
    if not by.has_perm("governance.add_delegation"):
        return "You enter your own absence; an administrator enters that of others."
    if delegate is not None and delegate.pk == by.pk:
        return f"You cannot make yourself stand in for {absent.get_username()}: choose somebody else."
    if delegate is not None and not delegate.groups.filter(permissions__codename="decide_request").exists():
        return (
            f"{delegate.get_username()} has no role that decides: choose somebody who has one, or ask "
            f"{absent.get_username()} to enter this."
        )
    return ""


def end_absence(delegation, *, by):
    if by is None or not by.is_active:
        return "Nobody is logged in."
    if delegation.absent_id == by.pk or by.has_perm("governance.delete_delegation"):
        return ""
    return "Only the person who is away or an administrator ends this."
