"""The base of every admin page of ours: safe lists, refusals as messages, and a read-only history."""

from functools import cache

from django.contrib import admin, messages
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import PROTECT
from django.http import Http404, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin, checkbox
from unfold.views import ChangeList

from accounts.changes import entries
from accounts.models import Account
from core.refusals import Refused
from core.wording import article, heading, plural

from . import list_exports
from .fields import TYPED
from .suggestions import Suggested, check_search

HISTORY_PAGE = 50


def page(request, template, *, title, model_admin=None, status=200, **context):
    """A page of our own in the admin's frame."""
    if model_admin is not None:
        context |= {"opts": model_admin.model._meta}
    context |= {**admin.site.each_context(request), "title": title}
    request.current_app = admin.site.name
    return TemplateResponse(request, template, context, status=status)


class Changes(ChangeList):
    """A list that counts once, and offers to show all only when something is filtered out."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.title = heading(self.opts.verbose_name_plural)

    @property
    def counted(self):
        """How many lines there are, in words."""
        return plural(self.result_count, f"{self.opts.verbose_name},{self.opts.verbose_name_plural}")

    @property
    def exported(self):
        """The rows of an export: all that is listed."""
        return self.queryset

    def get_results(self, request):
        super().get_results(request)
        self.empty_step = None if self.result_count else self.model_admin.empty_step(request)
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count


@cache
def _checkbox():
    """A row's box with a place for its id: drawn once, as a widget's template takes as long as the rest of the row."""
    return checkbox.render(ACTION_CHECKBOX_NAME, "{}")


class PlainAdmin(Suggested, ModelAdmin):
    """Lists accept the filters they offer and nothing else; nothing is deleted in bulk, and nothing in use at all.

    `empty_text` says under an empty list what to do next. about_accounts: rows tell facts of accounts without a field that
    leads to one; where there is such a field they do anyway. exports_list: a button exports the list as it is shown.
    """

    empty_text = ""
    about_accounts = False
    exports_list = True

    formfield_overrides = TYPED
    list_per_page = 50
    list_filter_submit = False
    show_full_result_count = False
    actions = None
    compressed_fields = True

    def get_changelist(self, request, **kwargs):
        return Changes

    @admin.display(description=ModelAdmin.action_checkbox.short_description)
    def action_checkbox(self, obj):
        return format_html(_checkbox(), obj.pk)

    def empty_step(self, request):
        """(button, address) of what to do about an empty list, or None."""
        if not self.has_add_permission(request):
            return None
        return f"Add {article(self.opts.verbose_name)}", self._address("add")

    def lookup_allowed(self, lookup, value, request=None):
        """Only the list's own filters: any other lookup of the address would reach the database as typed."""
        return lookup in self.allowed_lookups()

    def allowed_lookups(self):
        names = [entry[0] if isinstance(entry, tuple) else entry for entry in self.list_filter]
        return {
            f"{name}{suffix}"
            for name in names
            if isinstance(name, str)
            for suffix in ("__exact", "__id__exact")
        }

    def get_urls(self):
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        export = path("export/", self.admin_site.admin_view(self.export_view), name=name)
        return [export, *super().get_urls()]

    def get_search_results(self, request, queryset, search_term):
        check_search(search_term)
        return super().get_search_results(request, queryset, search_term)

    def may_export(self, request):
        """Rows that are about accounts leave Demarc by whoever may export accounts."""
        about = self.about_accounts or any(
            field.related_model is Account for field in self.opts.concrete_fields
        )
        if about and not request.user.has_perm("accounts.export_accounts"):
            return False
        return self.has_view_or_change_permission(request)

    def export_view(self, request):
        if not self.may_export(request):
            raise PermissionDenied
        return self.filtered(request, lambda: list_exports.answer(self.get_changelist_instance(request)))

    def changelist_view(self, request, extra_context=None):
        listed = super().changelist_view
        return self.filtered(request, lambda: listed(request, extra_context))

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        name = self.opts.verbose_name
        title = {"title": "Edit" if object_id else f"Add {name}"}
        try:
            return super().changeform_view(request, object_id, form_url, title | (extra_context or {}))
        except Refused as refusal:  # what somebody else did between the form's check and the saving
            messages.error(request, str(refusal))
            return HttpResponseRedirect(request.path)

    def get_object(self, request, object_id, from_field=None):
        """Django's own; an address that says `_to_field=` names no field."""
        return super().get_object(request, object_id, from_field or None)

    def _changeform_view(self, request, object_id, form_url, extra_context):
        """A form that is sent waits for whoever is changing its row, and never writes back what was there before."""
        if request.method == "POST" and (row := self.get_object(request, unquote(object_id or ""))):
            self.model._base_manager.select_for_update(no_key=True).filter(pk=row.pk).first()
        return super()._changeform_view(request, object_id, form_url, extra_context)

    def delete_view(self, request, object_id, extra_context=None):
        row = self.get_object(request, unquote(object_id))
        if row is not None and self.has_delete_permission(request, row) and (users := in_use(row)):
            messages.error(request, f"{row} cannot be deleted: {users} it. Change those first.")
            return HttpResponseRedirect(self._address("change", row.pk))
        return super().delete_view(request, object_id, extra_context)

    def _get_obj_does_not_exist_redirect(self, request, opts, object_id):
        messages.warning(request, f"This {opts.verbose_name} is not there any more; perhaps it was deleted.")
        return HttpResponseRedirect(self._address("changelist"))

    def _address(self, page, *args):
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=args)

    def filtered(self, request, answer):
        """Give the answer of `answer()`; where the address asks for something unknown, the whole list and a sentence."""
        try:
            return answer()
        except Refused as refusal:
            messages.warning(request, str(refusal))
        except (DisallowedModelAdminLookup, IncorrectLookupParameters, ValueError):
            messages.warning(request, "That filter is not known here; the whole list is shown.")
        return HttpResponseRedirect(self._address("changelist"))


def in_use(row):
    """`12 accounts use`, or "": what refers to a row so that it cannot be deleted."""
    for relation in row._meta.related_objects:
        if relation.on_delete is not PROTECT:
            continue
        others = relation.related_model
        if number := others._base_manager.filter(**{relation.field.name: row}).count():
            names = f"{others._meta.verbose_name},{others._meta.verbose_name_plural}"
            return f"{plural(number, names)} {'uses' if number == 1 else 'use'}"
    return ""


class ByVerbs:
    """A model written by verbs, on pages of their own: no form, action or inline of the admin writes it."""

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


class GovernedAdmin(PlainAdmin):
    """A model whose every change is kept: who, when, how, why, and what it was before."""

    def history_view(self, request, object_id, extra_context=None):
        shown = self.get_object(request, unquote(object_id))
        if shown is None:
            raise Http404
        if not self.has_view_or_change_permission(request, shown):
            raise PermissionDenied
        pages = Paginator(shown.history.order_by("-history_date", "-history_id"), HISTORY_PAGE)
        rows = pages.get_page(request.GET.get("p"))
        return page(
            request,
            "core/history.html",
            title="History",
            model_admin=self,
            object=shown,
            rows=rows,
            entries=entries(list(rows), self._before(shown, rows)),
        )

    def _before(self, shown, rows):
        """The entry before the last one on this page, to tell what changed in that one."""
        last = list(rows)[-1:] or [None]
        return last[0] and last[0].prev_record
