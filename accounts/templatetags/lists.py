"""The lists of the admin: what stands above each of them, and their rows."""

from dataclasses import dataclass
from datetime import date, time

from django import template
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import lookup_field
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import DateField, ForeignKey, TimeField
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import mark_safe
from unfold.templatetags.unfold_list import CHECKBOX_CLASSES, LINK_CLASSES, ROW_CLASSES, result_headers
from unfold.utils import display_for_field, display_for_value

register = template.Library()
LINK = " ".join(LINK_CLASSES)


@register.inclusion_tag("core/lists/above_list.html", takes_context=True)
def above_list(context, changes):
    from accounts.admin import list_exports, saved_views  # they need template tags while they are imported

    request = context["request"]
    above = saved_views.above(changes, request) | {"csrf_token": context.get("csrf_token")}
    return above | {"export_url": list_exports.address(changes, request)}


@register.inclusion_tag("core/lists/list_rows.html")
def list_rows(changes):
    """Show what unfold's own tag shows of a list only read; that one makes all headers for every row, twice the rest."""
    headers = list(result_headers(changes))
    return {
        "cl": changes,
        "result_headers": headers,
        "num_sorted_fields": sum(bool(header["sortable"] and header["sorted"]) for header in headers),
        "results": _rows(changes, headers),
    }


def _rows(changes, headers):
    """Each row's cells as HTML."""
    columns = list(_columns(changes, headers))
    back = None  # the filters to come back to, the same behind every address
    for row in changes.result_list:
        address = changes.url_for_result(row)
        if back is None:
            context = {"preserved_filters": changes.preserved_filters, "opts": changes.opts}
            back = add_preserved_filters(context, address).removeprefix(address)
        # Safe: each cell is escaped by format_html.
        yield mark_safe("".join(_cell(changes, row, column, address + back) for column in columns))


@dataclass(frozen=True)
class Column:
    """A column, with what every cell of it begins with. leads: its cells are links to the row's page."""

    name: str
    tag: str
    leads: bool
    classes: str
    label: str


def _columns(changes, headers):
    for name, header in zip(changes.list_display, headers, strict=True):
        leads = name in (changes.list_display_links or ())
        if name == "action_checkbox":
            yield Column(name, "td", leads, " ".join(CHECKBOX_CLASSES), "Select record")
        else:
            classes = " ".join([f"field-{name}", *ROW_CLASSES])
            yield Column(name, "th" if leads else "td", leads, classes, conditional_escape(header["text"]))


def _cell(changes, row, column, address):
    text, narrow = _shown(changes.model_admin, row, column.name)
    if column.leads:
        opens = format_html(' data-popup-opener="{}"', row.pk) if changes.is_popup else ""
        text = format_html('<a href="{}" class="{}"{}>{}</a>', address, LINK, opens, text)
    classes = f"{column.classes} nowrap" if narrow else column.classes
    cell = '<{0} class="{1}" data-label="{2}">{3}</{0}>'
    return format_html(cell, column.tag, classes, column.label, text)


def _shown(model_admin, row, name):
    """(what a cell shows, whether it stays on one line)."""
    empty = model_admin.get_empty_value_display()
    try:
        field, shown_by, value = lookup_field(name, row, model_admin)
    except ObjectDoesNotExist:
        return empty, False
    if field is None or field.auto_created:
        empty = getattr(shown_by, "empty_value_display", empty)
        narrow = isinstance(value, date | time)
        return display_for_value(value, empty, getattr(shown_by, "boolean", False)), narrow
    narrow = isinstance(field, DateField | TimeField | ForeignKey)
    if field.many_to_one:
        related = getattr(row, field.name)
        return (empty if related is None else related), narrow
    return display_for_field(value, field, empty), narrow
