"""The bell on every page."""

from django import template

from governance.news import notifications

register = template.Library()


@register.simple_tag
def unread_lines(user):
    """How many lines of the inbox this person has not read; 0 for visitors."""
    return notifications.unread(user) if user.is_authenticated else 0
