"""`core.wording` for templates, and the little they need beside it."""

from django import template

from core import badges, history, wording

register = template.Library()
for name in (
    "ago", "arrows", "article", "cell", "coming", "compared", "count", "day", "heading", "localday", "matched",
    "moment", "money", "percent", "plural", "shortmoney", "since", "timeuntil_days",
):  # fmt: skip
    register.filter(name, getattr(wording, name))


register.filter("status", badges.status)


@register.simple_block_tag
def badge(content, of="", **about):
    """`{% badge "warn" %}Thin data{% endbadge %}`: see core.badges."""
    return badges.badge(content.strip(), of, **about)


@register.inclusion_tag("core/field.html")
def field(field):
    """`{% field form.reason %}`."""
    return {"field": field}


@register.filter
def who(row, column):
    """`{{ request|who:"requester" }}`: how a row names a person, told from others of the same name."""
    return history.who(row, column) if row else ""


@register.filter
def hundredths(share):
    """A share as a CSS width."""
    return f"{max(0, min(100, float(share or 0) * 100)):.2f}%"


@register.filter
def item(mapping, key):
    return mapping.get(key) if mapping else None


@register.filter
def worth(position):
    """The points of a scoring table's cell, counted from 1: 5, 4, 3, 2, 1."""
    return 6 - position
