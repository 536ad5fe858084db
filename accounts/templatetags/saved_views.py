"""The saved views above a list of the admin."""

from django import template

register = template.Library()


@register.inclusion_tag("demarc/saved_views_above.html", takes_context=True)
def views_above(context, changes):
    from accounts.admin import saved_views  # the admin itself needs template tags while it is being imported

    request = context["request"]
    return saved_views.above(changes, request) | {"csrf_token": context.get("csrf_token")}
