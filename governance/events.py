"""Events: rows written in the transaction that did what they tell. Whom to tell is found out afterwards (notifications)."""

from django.db import connection

from governance.models import Event


def record(kind, text, *, account=None, layer=None, about=None, reason="", data=None):
    """Write an event in the caller's transaction, in the name of who acts (core.history). Returns the Event.

    kind: one of governance.news.notifications.KINDS. text: what happened, a sentence. about: the model instance it is about
    (an ApprovalRequest, a Transition, an Override, an Alert, ...).
    """
    if not connection.in_atomic_block:
        raise RuntimeError("An event belongs to the transaction of what happened, and there is none.")
    return Event.objects.create(
        kind=kind,
        text=text,
        account=account,
        layer=layer,
        about=about._meta.model_name if about is not None else "",
        about_id=about.pk if about is not None else None,
        reason=reason,
        data=data or {},
    )


def declared(declaration):
    """The gate `declared`: a value was proposed for an account, and waits for somebody else."""
    record(
        "declaration_proposed",
        f"{declaration.segment} is proposed for {declaration.account} ({declaration.layer}).",
        account=declaration.account,
        layer=declaration.layer,
        about=declaration,
        reason=declaration.reason,
    )
