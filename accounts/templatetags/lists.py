"""What stands above every list of the admin: its saved views, and its export."""

from django import template

register = template.Library()


@register.inclusion_tag("demarc/above_list.html", takes_context=True)
def above_list(context, changes):
    from accounts.admin import list_exports, saved_views  # they need template tags while they are imported

    request = context["request"]
    found = saved_views.above(changes, request) | {"csrf_token": context.get("csrf_token")}
    return found | {"export_url": list_exports.address(changes, request)}
