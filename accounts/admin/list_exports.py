"""A list as it is shown (search, filters, order, columns), as CSV; each row tells the filter and the date."""

import html
from datetime import date, datetime

from django.contrib.admin.utils import label_for_field, lookup_field
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags
from django.utils.text import slugify

from core.wording import heading

from . import downloads


def address(changes, request):
    """Where the shown list is exported; "" for an empty list, for one that offers its own, and for who may not."""
    admin = changes.model_admin
    if not getattr(admin, "exports_list", False) or not changes.result_count or not admin.may_export(request):
        return ""
    opts = changes.opts
    url = reverse(f"admin:{opts.app_label}_{opts.model_name}_export")
    return f"{url}?{request.GET.urlencode()}".rstrip("?")


def answer(changes):
    """The whole list, all of its pages, a portion at a time."""
    columns = [name for name in changes.list_display if name != "action_checkbox"]
    header = [label_for_field(name, changes.model, changes.model_admin) for name in columns]
    rows = (
        [_cell(name, shown, changes.model_admin) for name in columns]
        for shown in changes.exported.iterator(chunk_size=downloads.ROWS)
    )
    name = slugify(heading(changes.opts.verbose_name_plural))
    return downloads.csv_list(name, map(_first_large, header), rows, filters=filters(changes))


def filters(changes):
    """`search: acme & status__exact=failed`, as the list's address has it; `everything` without any."""
    named = sorted(
        (name, value) for name, values in changes.get_filters_params().items() for value in values if value
    )
    parts = [f"search: {changes.query}"] if changes.query else []
    return " & ".join([*parts, *(f"{name}={value}" for name, value in named)]) or "everything"


def _cell(name, shown, model_admin):
    """The text of a column, without its looks."""
    field, _, value = lookup_field(name, shown, model_admin)
    if field is not None and getattr(field, "flatchoices", None):
        return dict(field.flatchoices).get(value, value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return timezone.localtime(value).isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    if hasattr(value, "__html__"):
        return html.unescape(strip_tags(value))
    return value if value is None or isinstance(value, (int, float)) else str(value)


def _first_large(text):
    return text[:1].upper() + text[1:]
