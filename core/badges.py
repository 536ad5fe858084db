"""Badges: a word with a colour that says how it stands, the same in lists and on pages."""

from django.utils.html import format_html

# The look of a status, a verdict or a kind of entry: ok, warn (waits for somebody), bad, brand (under way), or plain.
COLOURS = {
    # statuses
    "acknowledged": "brand",
    "active": "ok",
    "applied": "ok",
    "approved": "brand",
    "awaiting": "warn",
    "changes_asked": "warn",
    "checking": "brand",
    "committed": "ok",
    "confirmed": "ok",
    "done": "ok",
    "draft": "warn",
    "failed": "bad",
    "finished": "ok",
    "flagged": "warn",
    "in_review": "warn",
    "joint": "brand",
    "open": "warn",
    "pending": "warn",
    "planned": "brand",
    "previewed": "warn",
    "proposed": "warn",
    "rejected": "bad",
    "requested": "warn",
    "running": "brand",
    "taken": "ok",
    "waiting": "brand",
    # verdicts
    "approve": "ok",
    "ask": "warn",
    "reject": "bad",
    # entries of the audit trail, and of a comparison
    "decision": "brand",
    "event": "ok",
    "refusal": "bad",
    "added": "ok",
    "removed": "bad",
    # the colours themselves
    "ok": "ok",
    "warn": "warn",
    "bad": "bad",
    "brand": "brand",
}


def badge(text, of="", *, title="", url=""):
    """A badge as HTML. of: the status it tells, or a colour; url: where it leads."""
    tag, leads = ("a", format_html(' href="{}"', url)) if url else ("span", "")
    more = format_html(' title="{}"', title) if title else ""
    return format_html(
        '<{0} class="dm-badge {1}"{2}{3}>{4}</{0}>', tag, COLOURS.get(of, ""), leads, more, text
    )


def status(row, field="status"):
    """The badge of a row's status, or of another of its fields with choices."""
    return badge(getattr(row, f"get_{field}_display")(), getattr(row, field))
