"""The record of refusals, in the audit trail."""

from accounts.models import Refusal
from core.history import actor


def record(verb, about, by, refusal):
    """Keep a refusal. about: what the verb was about; by: who was refused, if anybody."""
    who = actor()
    meta = getattr(about, "_meta", None)
    Refusal.objects.create(
        verb=verb,
        model=meta.label_lower if meta else "",
        object_id=about.pk if meta and isinstance(about.pk, int) else None,
        subject=str(about)[:400] if meta else "",
        code=refusal.code,
        sentence=str(refusal),
        actor=by.pk if by is not None else who.id,
        actor_label=who.label if by is None or by.pk == who.id else by.get_username(),
        channel=who.channel,
    )
