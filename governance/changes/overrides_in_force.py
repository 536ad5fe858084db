"""Overrides in force: ended by a person or on their day, told of before, and seen to disagree with the rules."""

import logging
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from core import texts
from core.history import acting, actor
from core.locking import locked
from core.organisation import organisation
from core.refusals import verb
from core.wording import day, plural
from governance import events
from governance.changes import override_transitions
from governance.changes.override_rows import (
    Status,
    acting_for,
    close,
    lock_accounts,
    locked_rows,
    not_in_force,
)
from governance.models import Override
from governance.signoff import permissions
from segmentation.evaluation import causes, decisions, run_rules
from segmentation.models import Assignment, Cause, Layer, Move

log = logging.getLogger(__name__)


@verb
def end(override, *, by, reason, at=None):
    """End an override before its date; from then on the segmentation's policy decides. Returns it."""
    permissions.check(permissions.end_override(override, by=by))
    reason = texts.needed(reason, "override_unexplained")
    with acting_for(by, reason):
        _end(override, Status.ENDED, reason, kind="override_ended", at=at or timezone.localdate())
    override.refresh_from_db()
    return override


def expire(at):
    """End the overrides whose date has come, each in a transaction of its own; returns how many. May run twice."""
    due = Override.objects.active().filter(expires_on__lte=at).select_related("account", "layer", "segment")
    ended, failed = 0, []
    for override in due.order_by("expires_on", "pk"):
        reason = f"It was to end on {day(override.expires_on)}."
        try:
            with transaction.atomic(), acting(label=actor().label, reason=reason):
                ended += _end(override, Status.EXPIRED, reason, kind="override_expired", at=at, by_clock=True)
        except Exception:  # the others end all the same
            log.exception("The override %s could not be ended", override.pk)
            failed.append(override.pk)
    if failed:
        raise RuntimeError(f"Overrides that could not be ended: {failed}")
    return ended


def end_gone(at):
    """End the overrides to segments that are no more, once the new rules have been applied; how many. May run twice."""
    gone, ended = run_rules.gone(), 0
    rows = Override.objects.active().filter(segment__key__in={key for _, key in gone})
    for override in rows.select_related("account", "layer", "segment").order_by("pk"):
        if (override.layer_id, override.segment.key) not in gone:
            continue
        states = Assignment.objects.filter(account=override.account_id, layer=override.layer_id, product=None)
        if (override.layer_id, states.values_list("computed__key", flat=True).first()) in gone:
            continue  # what the new rules say is not known yet
        reason = f"The rules of {override.layer} do not give {override.segment} any more."
        with transaction.atomic(), acting(label=actor().label, reason=reason):
            ended += _end(override, Status.ENDED, reason, kind="override_ended", at=at, by_clock=True)
    return ended


def remind(at):
    """Tell, once, of overrides that end soon (`organisation().override_reminder_days`); returns of how many."""
    soon = Override.objects.active().filter(
        reminded_at=None,
        expires_on__gt=at,
        expires_on__lte=at + timedelta(days=organisation().override_reminder_days),
    )
    with transaction.atomic():
        rows = list(locked(soon.select_related("account", "layer", "segment")))
        if rows:
            causes.take(Cause.Kind.DECISION, reason="A reminder of overrides that end")
        for row in rows:
            row.reminded_at = timezone.now()
            row.save()
            left = plural((row.expires_on - at).days, "day,days")
            text = f"The override of {row.account} to {row.segment} on {row.layer} ends in {left}, on {day(row.expires_on)}."
            events.record("override_expiring", text, account=row.account, layer=row.layer, about=row)
    return len(rows)


_DIFFERENT = """
    select o.id, case when z.computed_id is distinct from o.segment_id and z.computed_id is not null
                      then coalesce(o.disagrees_since, greatest(z.computed_since, o.started_on)) end as since
      from governance_override o
      join segmentation_assignment z
        on z.account_id = o.account_id and z.layer_id = o.layer_id and z.product_id is null
     where o.status = 'active' and o.layer_id = %(layer)s and o.started_on <= %(at)s
"""
_DISAGREE = f"""
    with locked as (
        select o.id, d.since from ({_DIFFERENT}) d join governance_override o on o.id = d.id
         where o.disagrees_since is distinct from d.since and o.status = 'active' order by o.id for update of o)
    update governance_override o set disagrees_since = l.since from locked l where o.id = l.id returning o.id
"""
_HISTORY = """
    insert into {table} ({columns}, history_date, history_type, history_user_id, history_user_label, history_channel,
                         history_change_reason)
    select {columns}, transaction_timestamp(), '~', %(user)s, %(label)s, %(channel)s, %(reason)s
      from governance_override where id = any(%(ids)s) order by id
"""


def disagree(layer, at):
    """Keep since when the rules of a layer have said something else than its overrides in force at the date.

    A few statements for any number of overrides; returns how many changed.
    """
    about = {"layer": layer.pk, "at": at}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"select exists (select from ({_DIFFERENT}) d join governance_override o on o.id = d.id "
            "where o.disagrees_since is distinct from d.since)",
            about,
        )
        if not cursor.fetchone()[0]:
            return 0
        reason = "The overrides were compared with what the rules say"
        causes.take(Cause.Kind.RUN, reason=reason)
        cursor.execute(_DISAGREE, about)
        ids = [id for (id,) in cursor.fetchall()]
        columns = ", ".join(field.column for field in Override._meta.concrete_fields)
        table = Override.history.model._meta.db_table
        who = {"user": actor().id, "label": actor().label, "channel": actor().channel, "reason": reason}
        cursor.execute(_HISTORY.format(table=table, columns=columns), who | {"ids": ids})
    return len(ids)


def _end(override, status, reason, *, kind, at, by_clock=False):
    """End one that is in force. Where it is not (any more): False where only its date has come, else that is refused."""
    layer = override.layer
    states, _ = lock_accounts(layer, [override.account_id])
    state = states[override.account_id]
    row = locked_rows(pk=override.pk).get()
    if row.status != Status.ACTIVE and by_clock:
        return False
    if row.status != Status.ACTIVE:
        raise not_in_force(row)
    causes.take(Cause.Kind.DECISION, reason=f"The override to {row.segment} ended. {reason}")
    close(row, status, reason, at=at)
    automatic = layer.policy == Layer.Policy.AUTOMATIC
    segment = state.computed if automatic else state.effective
    decisions.put(row.account, layer, segment, why=Move.Why.OVERRIDE, at=at, overridden=False)
    if not automatic:
        override_transitions.after_override(row, at=at)
    events.record(kind, _ended(row, state), account=row.account, layer=layer, about=row, reason=reason)
    return True


def _ended(row, state):
    """`The override of Acme to High on Service tier has ended. The rules say Low: ...`"""
    sentence = f"The override of {row.account} to {row.segment} on {row.layer} has ended."
    if state.computed_id in (None, row.segment_id):
        return sentence
    if row.layer.policy == Layer.Policy.AUTOMATIC:
        return f"{sentence} By the rules it is {state.computed} now."
    return f"{sentence} The rules say {state.computed}: that is put before people as a tier change."
