"""Permissions: one function per verb, which answers with the Refused, or None.

The same function hides the button (`may`) and stops the verb (`check`), whoever calls it.
"""

from django.db import connection
from django.utils import timezone

from accounts.models import Account, Csm
from core import history
from core.history import actor
from core.programs import needs_a_person
from core.refusals import Refused, check
from governance.signoff import deciders, kinds


def may(refusal):
    """True where nothing refuses: `may(approve(request, by=user))` shows the button."""
    return refusal is None


def _needs(by, permission, code):
    if by is None or not by.is_active:
        return Refused("not_logged_in")
    return None if by.has_perm(permission) else Refused(code)


# -- approvals


def decide(request, *, by, verdict="approve", at=None, desk=None):
    """Approve (or ask, or reject): people of a role it needs who have no part in it, superusers included.

    desk: the deciders.Desk that knows this request, where many are asked about.
    """
    if by is None or not by.is_active:
        return Refused("not_logged_in")
    if refusal := needs_a_person(by):
        return refusal
    if request.status != "pending":
        return _in_status("request_not_pending", request)
    if request.expires_at <= (at or timezone.now()):
        return Refused("request_expired", expires_at=request.expires_at)
    if request.requester == by.pk:
        return _for_others("request_of_your_own", request)
    if by.pk in request.editors:
        return _for_others("request_edited_by_you", request)
    if by.pk in request.owners and kinds.of(request).about_a_person:
        return _for_others("request_about_you", request)
    desk = desk or deciders.Desk([request], at=at)
    if by.pk in desk.left_out(request):
        return _for_others("request_about_your_account", request)
    if decision := desk.decision_of(request, by.pk):
        return Refused("request_decided_by_you", verdict=decision.get_verdict_display())
    seats = desk.seats(request, by.pk)
    if not seats:
        return _no_seat(request, by, desk)
    missing = {part.role for part in desk.parts(request) if part.missing}
    if verdict == "approve" and seats[0].role not in missing:
        return Refused("role_has_approved", role=seats[0].role, missing=sorted(missing))
    return None


def _no_seat(request, by, desk):
    whose = {
        decision.on_behalf_of: history.who(decision, "by")
        for decision in desk.decisions(request)
        if decision.on_behalf_of
    }
    if by.pk in whose:
        return Refused("request_decided_in_your_place", who=whose[by.pk])
    absent = set(desk.stands_in[by.pk])
    if absent & desk.left_out(request):
        return _for_others("absent_has_part_in_request", request)
    if any(decision.by in absent or decision.on_behalf_of in absent for decision in desk.decisions(request)):
        return Refused("absent_has_decided")
    return _for_others("request_needs_another_role", request)


def _for_others(code, request):
    return Refused(code, roles=sorted(request.needed))


def _in_status(code, request):
    return Refused(code, status=request.get_status_display())


def edit_request(request, *, by):
    """Change what is asked for: who requested it, or CS Ops."""
    if not request.is_open:
        return _in_status("request_not_editable", request)
    return _theirs(request, by, "change")


def resubmit(request, *, by):
    """Hand it in again after changes were asked for: who requested it, or CS Ops."""
    if request.status != "changes_asked":
        return _in_status("request_without_asked_changes", request)
    return _theirs(request, by, "hand in")


def withdraw(request, *, by):
    """Take it back before it is done: who requested it, or CS Ops."""
    if not request.is_open:
        return _in_status("request_not_withdrawable", request)
    return _theirs(request, by, "withdraw")


def apply(request, *, by, at=None):
    """Carry it out now: what failed again, or what waited for its date. Its requester may, or CS Ops."""
    if refusal := needs_a_person(by):
        return refusal
    if request.status not in ("approved", "failed"):
        return _in_status("request_not_approved", request)
    at = at or timezone.now()
    if request.apply_on and request.apply_on > timezone.localdate(at):
        return Refused("request_applies_later", apply_on=request.apply_on)
    if request.status == "failed" and request.expires_at <= at:
        return Refused("request_expired", expires_at=request.expires_at)
    return _theirs(request, by, "carry out")


def comment(request, *, by):
    """Say something about it: whoever sees requests, or has part in this one; auditors only look."""
    if by is None or not by.is_active:
        return Refused("not_logged_in")
    if by.groups.filter(name__in=deciders.NEVER).exists():
        return Refused("comments_of_no_decider")
    if request.requester == by.pk or by.has_perm("governance.view_approvalrequest"):
        return None
    return Refused("requests_not_visible")


def _theirs(request, by, what):
    """The requester, an editor, CS Ops and administrators; the system where nobody asks (a task, a command)."""
    if by is None:
        return None
    if not by.is_active:
        return Refused("not_logged_in")
    if by.pk in (request.requester, *request.editors) or in_role(by, deciders.CS_OPS, deciders.ADMINISTRATOR):
        return None
    return Refused("request_of_another", requester=history.who(request, "requester"), step=what)


def in_role(by, *roles):
    """Has one of these roles; a superuser has all but decides in none that way."""
    return by.is_superuser or by.groups.filter(name__in=roles).exists()


# -- tier changes


def plan_transition(*, by):
    """Triage, plan, keep, and ask for approval."""
    return _needs(
        by,
        "governance.plan_transition",
        "planning_not_allowed",
    )


def complete_transition(transition, *, by):
    """Tick off and complete a hand-over: who gives the account away or takes it over, and those with the right."""
    if by is None or not by.is_active:
        return Refused("not_logged_in")
    if refusal := needs_a_person(by):
        return refusal
    csms = (transition.receiver, transition.account.csm)
    if any(csm is not None and csm.user_id == by.pk for csm in csms) or by.has_perm(
        "governance.complete_transition"
    ):
        return None
    return Refused("handover_of_others")


# -- overrides


def request_override(accounts, *, by):
    """Ask for an override: whoever plans tier changes for any account, a CSM for their own (accounts with their `csm`)."""
    if refusal := _needs(by, "governance.request_override", "overrides_not_allowed"):
        return refusal
    if by.has_perm("governance.plan_transition"):
        return None
    others = [account for account in accounts if account.csm is None or account.csm.user_id != by.pk]
    if not others:
        return None
    return Refused("override_for_another_account", account=others[0], more=len(others) - 1)


def end_override(override, *, by):
    return _needs(
        by,
        "governance.plan_transition",
        "ending_overrides_not_allowed",
    )


# -- conflicts


def resolve_conflict(*, by):
    return needs_a_person(by) or _needs(by, "accounts.resolve_conflict", "conflicts_not_allowed")


def report_conflict(*, by):
    return _needs(by, "accounts.report_conflict", "reporting_not_allowed")


# -- alerts


def acknowledge_alerts(*, by):
    return _needs(by, "governance.acknowledge_alert", "alerts_not_allowed")


def acknowledge_alert(alert, *, by):
    """CS Ops, and the account's CSM."""
    if refusal := acknowledge_alerts(by=by):
        return refusal
    csm = alert.account.csm
    if by.has_perm("governance.change_alertrule") or (csm is not None and csm.user_id == by.pk):
        return None
    return Refused("alert_of_another_account", account=alert.account)


def manage_alerts(*, by):
    """Define when people are alerted."""
    return _needs(by, "governance.change_alertrule", "alert_rules_not_allowed")


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
    return _needs(by, "governance.change_policies", "policies_not_allowed")


def choose_profile(*, by):
    return None if at_the_machine(by) else change_policies(by=by)


def manage_programs(*, by):
    """Make service users and their tokens, change and revoke them: a person does, and no program for another one."""
    return needs_a_person(by) or manage_people(by=by)


def manage_people(*, by):
    return _needs(by, "auth.change_user", "people_not_allowed")


def _above(user, by):
    return Refused("superuser_needed") if user.is_superuser and not by.is_superuser else None


def ask_role(user, *, by):
    """Ask for roles of somebody who can log in; an administrator may ask for their own, and others decide."""
    if refusal := manage_people(by=by):
        return refusal
    return None if user.is_active else Refused("login_closed", user=user.get_username())


def deactivate(user, *, by):
    if refusal := manage_people(by=by):
        return refusal
    if user.pk == by.pk:
        return Refused("login_of_your_own")
    if refusal := _above(user, by):
        return refusal
    return None if user.is_active else Refused("login_closed_already", user=user.get_username())


def reactivate(user, *, by):
    if refusal := manage_people(by=by):
        return refusal
    if refusal := _above(user, by):
        return refusal
    return Refused("login_open_already", user=user.get_username()) if user.is_active else None


def lift_lock(user, *, by):
    """Let somebody log in again after too many wrong passwords; on the machine, too."""
    return None if at_the_machine(by) else manage_people(by=by)


def delete_person(user, *, by):
    if refusal := _needs(by, "auth.delete_user", "deleting_people_not_allowed"):
        return refusal
    if user.pk == by.pk:
        return Refused("deleting_yourself")
    return _above(user, by)


def declare(accounts, *, by):
    """Propose what holds for accounts: who plans tier changes for any, a CSM for those they look after."""
    if by is None or by.has_perm("governance.plan_transition"):
        return None
    wanted = Account.objects.filter(pk__in=[account.pk for account in accounts])
    other = wanted.exclude(csm__in=Csm.objects.filter(user=by)).order_by("pk").first()
    if other is None:
        return None
    return Refused("declaration_for_another_account", account=other)


def declare_gate(accounts, *, by):
    """settings.GATES["declare"]: asked by segmentation.declarations."""
    check(declare(accounts, by=by))


def ask_import(*, by):
    return _needs(by, "accounts.import_accounts", "imports_not_allowed")


def enter_absence(absent, delegate, *, by):
    """One's own; an administrator another person's, but never to stand in for them.

    An administrator makes logins and resets passwords. So who stands in at their word has a role that decides already.
    """
    if by is None or not by.is_active:
        return Refused("not_logged_in")
    if absent.pk == by.pk:
        return None
    if not by.has_perm("governance.add_delegation"):
        return Refused("absence_of_another")
    if delegate is not None and delegate.pk == by.pk:
        return Refused("delegate_is_yourself", absent=absent.get_username())
    if delegate is not None and not delegate.groups.filter(permissions__codename="decide_request").exists():
        return Refused(
            "delegate_does_not_decide", delegate=delegate.get_username(), absent=absent.get_username()
        )
    return None


def end_absence(delegation, *, by):
    if by is None or not by.is_active:
        return Refused("not_logged_in")
    if delegation.absent_id == by.pk or by.has_perm("governance.delete_delegation"):
        return None
    return Refused("ending_absence_not_allowed")
