"""Why this transaction may write governed columns: one Cause row for it, demanded by triggers (design section 6)."""

from django.db import connection
from django.db.models import Func

from core.history import actor
from segmentation.models import Cause, XactId


def take(kind, *, run=None, reason=""):
    """This transaction's cause: the one it has, else a new one in the name of who acts.

    `run`: the Run that acts; its people and reason are recorded. Must be called inside a transaction.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("A cause belongs to a transaction, and there is none.")
    here = {
        "xid": Func(function="pg_current_xact_id", output_field=XactId()),
        "at": Func(function="transaction_timestamp"),
    }
    return Cause.objects.filter(**here).first() or Cause.objects.create(kind=kind, **_who(run, reason))


def of_facts(*, by_hand=False):
    """The cause of facts that are written (settings.GATES["facts_written"]): who looks after an account may be among them."""
    take(Cause.Kind.DECISION if by_hand else Cause.Kind.IMPORT)


def _who(run, reason):
    if run:
        return {
            "run": run.pk,
            "actor": run.started_by,
            "actor_label": run.started_by_label,
            "channel": run.channel,
            "reason": reason or run.reason,
        }
    return {"reason": reason or actor().reason}
