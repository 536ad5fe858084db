"""Delegations: who decides for whom while they are away (the rows are read by governance.signoff.deciders)."""

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from core.history import acting, actor
from core.organisation import organisation
from core.programs import needs_a_person
from core.refusals import Refused, verb
from core.wording import day
from governance import events
from governance.models import Delegation
from governance.signoff import permissions
from governance.signoff.deciders import NEVER
from segmentation.evaluation import causes
from segmentation.models import Cause


@verb
def enter(absent, *, by=None, delegate, from_date, until_date, reason=""):
    """Let `delegate` decide for `absent` from one day to another, both included. Returns the Delegation.

    A second click returns what the first one made.
    """
    permissions.check(permissions.enter_absence(absent, delegate, by=by))
    _check_dates(from_date, until_date)
    if delegate.pk == absent.pk:
        raise Refused("delegate_is_absent")
    with transaction.atomic(), acting(by=by, reason=reason.strip()):
        people = User.objects.select_for_update(no_key=True).in_bulk([absent.pk, delegate.pk])
        if delegate.pk not in people or not people[delegate.pk].is_active:
            raise Refused("delegate_cannot_log_in", delegate=delegate.get_username())
        permissions.check(needs_a_person(delegate))
        if not delegate.groups.exists():
            raise Refused("delegate_without_role", delegate=delegate.get_username())
        if never := delegate.groups.filter(name__in=NEVER).first():
            raise Refused("delegate_decides_nothing", delegate=delegate.get_username(), role=never.name)
        columns = {"delegate": delegate, "from_date": from_date, "until_date": until_date}
        if before := absent.delegated.filter(**columns).first():
            return before
        if other := absent.delegated.filter(from_date__lte=until_date, until_date__gte=from_date).first():
            raise Refused(
                "absence_overlaps",
                delegate=other.delegate.get_username(),
                from_date=other.from_date,
                until_date=other.until_date,
            )
        causes.take(Cause.Kind.DECISION, reason=reason.strip())
        made = Delegation.objects.create(absent=absent, reason=reason.strip(), **columns)
        _tell(made, f"{delegate.get_username()} decides for {absent.get_username()} "
              f"from {day(from_date)} to {day(until_date)}.")  # fmt: skip
        return made


@verb
def end(delegation, *, by=None, reason=""):
    """Nobody stands in any more, from now on; what was decided so stays decided."""
    with transaction.atomic(), acting(by=by, reason=reason.strip()):
        delegations = Delegation.objects.select_for_update(of=["self"]).select_related("absent", "delegate")
        delegation = delegations.filter(pk=delegation.pk).first()
        if delegation is None:
            raise Refused("absence_ended_already")
        permissions.check(permissions.end_absence(delegation, by=by))
        causes.take(Cause.Kind.DECISION, reason=reason.strip())
        _tell(
            delegation,
            f"{delegation.delegate.get_username()} does not decide for {delegation.absent.get_username()} any more.",
        )
        delegation.delete()


def _check_dates(from_date, until_date):
    if until_date < from_date:
        raise Refused("absence_ends_before_it_begins")
    if until_date < timezone.localdate():
        raise Refused("absence_is_over")
    most = organisation().stand_in_days_at_most
    if (until_date - from_date).days >= most:
        raise Refused("absence_too_long", most=most)


def _tell(delegation, text):
    events.record(
        "role_changed",
        text,
        about=delegation,
        reason=actor().reason,
        data={"user": delegation.delegate_id, "absent": delegation.absent_id},
    )
