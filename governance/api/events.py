"""Events as the feed of changes tells them: what happened, who did it, and through what."""

from core.api.changes import tells
from governance.models import Event


def events(ids):
    rows = Event.objects.filter(pk__in=ids).select_related("account", "layer")
    return {
        row.pk: {
            "event": row.kind,
            "account": row.account.external_id if row.account_id and row.account else None,
            "layer": row.layer.key if row.layer_id and row.layer else None,
            "about": row.about,
            "about_id": row.about_id,
            "text": row.text,
            "reason": row.reason,
            "actor": row.actor_label,
            "channel": row.channel,
        }
        for row in rows
    }


tells("event", "governance.view_audit", events)
