"""What every admin page of ours shares: safe lists, refusals as messages, and a read-only history."""

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

from accounts import history
from accounts.catalogue import FACTS
from accounts.models import Account
from core.refusals import Refused
from core.wording import article, heading, plural

from . import list_exports
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
    leads to one; where there is such a field they do anyway.
    """

    empty_text = ""
    about_accounts = False

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
        if request.method == "POST" and (found := self.get_object(request, unquote(object_id or ""))):
            self.model._base_manager.select_for_update(no_key=True).filter(pk=found.pk).first()
        return super()._changeform_view(request, object_id, form_url, extra_context)

    def delete_view(self, request, object_id, extra_context=None):
        found = self.get_object(request, unquote(object_id))
        if found is not None and self.has_delete_permission(request, found) and (users := in_use(found)):
            messages.error(request, f"{found} cannot be deleted: {users} it. Change those first.")
            return HttpResponseRedirect(self._address("change", found.pk))
        return super().delete_view(request, object_id, extra_context)

    def _get_obj_does_not_exist_redirect(self, request, opts, object_id):
        messages.warning(request, f"This {opts.verbose_name} is not there any more; perhaps it was deleted.")
        return HttpResponseRedirect(self._address("changelist"))

    def _address(self, page, *args):
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=args)

    def filtered(self, request, answer):
        """What `answer()` gives; where the address asks for something unknown, the whole list and a sentence."""
        try:
            return answer()
        except Refused as refusal:
            messages.warning(request, str(refusal))
        except (DisallowedModelAdminLookup, IncorrectLookupParameters, ValueError):
            messages.warning(request, "That filter is not known here; the whole list is shown.")
        return HttpResponseRedirect(self._address("changelist"))


def in_use(found):
    """`12 accounts use`, or "": what refers to a row so that it cannot be deleted."""
    for relation in found._meta.related_objects:
        if relation.on_delete is not PROTECT:
            continue
        others = relation.related_model
        if number := others._base_manager.filter(**{relation.field.name: found}).count():
            names = f"{others._meta.verbose_name},{others._meta.verbose_name_plural}"
            return f"{plural(number, names)} {'uses' if number == 1 else 'use'}"
    return ""


class ByVerbs:
    """Of a model that verbs write, on pages of their own: no form, action or inline of the admin does."""

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
            "demarc/history.html",
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


NAMES = {"layer": "segmentation", "hash": "content's mark"}  # fields that are called otherwise on screen
KINDS = {"+": "Created", "~": "Changed", "-": "Deleted"}
MONEY = {fact.name for fact in FACTS.values() if fact.type == "money"}


def entries(rows, before=None):
    """History rows, newest first, as dicts: when, who, channel, reason, kind and the changed fields.

    Foreign keys are resolved with one query per related model.
    """
    return told(zip(rows, [*rows[1:], before], strict=True) if rows else [])


def told(pairs):
    """The same of pairs of a history row and the one before it (None: the first), of whatever objects."""
    changes = [(row, older, _changes(row, older)) for row, older in pairs]
    names = _names(changes)
    return [
        {
            "when": row.history_date,
            "who": history.who(row, "history_user") or "system",
            "channel": row.history_channel,
            "run": row.history_run,
            "reason": row.history_change_reason,
            "type": row.history_type,
            "kind": KINDS[row.history_type],
            "changes": [
                {
                    "field": NAMES.get(field.name, field.verbose_name.removesuffix(" label")),
                    "old": _shown(field, old, names),
                    "new": _shown(field, new, names),
                }
                for field, old, new in fields
            ],
        }
        for row, _, fields in changes
    ]


def _changes(row, older):
    found, names = [], {field.name for field in row.tracked_fields}
    for field in row.tracked_fields:
        # When it was is said of the whole entry; of people, how they are called is said beside their number.
        if field.name == "edited_at" or f"{field.name}_label" in names:
            continue
        new = _kept(row, field, names)
        old = _kept(older, field, names) if older is not None and row.history_type == "~" else None
        empty = new in (None, "", {}, [])
        if (
            field.primary_key
            or (old == new)
            or (row.history_type == "+" and empty)
            or row.history_type == "-"
        ):
            continue
        found.append((field, old, new))
    return found


def _kept(row, field, names):
    """What a history row holds; of people how they are told from others of the same name."""
    person = field.name.removesuffix("_label")
    if person != field.name and person in names:
        return history.who(row, person)
    return getattr(row, field.attname)


def _names(changes):
    """{(model, id): name} for all foreign keys that changed."""
    wanted = {}
    for _, _, fields in changes:
        for field, old, new in fields:
            if field.is_relation:
                wanted.setdefault(field.related_model, set()).update({old, new} - {None})
    return {
        (model, found.pk): str(found)
        for model, ids in wanted.items()
        for found in model._base_manager.filter(pk__in=ids)
    }


def _shown(field, value, names):
    from core import wording

    if value in (None, "", {}, []):
        return "–"
    if field.name == "hash":
        return value[:12]  # enough to see that two are the same
    if field.is_relation:
        return names.get((field.related_model, value), f"no longer there ({value})")
    if field.choices:
        return dict(field.flatchoices).get(value, value)
    if isinstance(value, list) and hasattr(field, "base_field"):  # an array of chosen ones
        labels = dict(field.base_field.flatchoices)
        return ", ".join(str(labels.get(one, one)) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    kind = field.get_internal_type()
    if kind == "JSONField":
        return _listed(value)
    if kind == "DateField":
        return wording.day(value)
    if kind == "DateTimeField":
        return wording.moment(value)
    if field.name in MONEY:
        return wording.money(value)
    if kind == "DecimalField":
        return f"{value:,f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:,}"
    return value


def _listed(value):
    """What a JSON column holds, without its brackets: `ARR: 5000, NPS: 3`; of a checklist its lines, ticked or not."""
    if isinstance(value, dict) and "done" in value:
        return f"{'✓' if value['done'] else '–'} {value.get('text', '')}"
    if isinstance(value, dict):
        named = [
            (FACTS[key].label if key in FACTS else key.replace("_", " "), one) for key, one in value.items()
        ]
        return ", ".join(f"{name}: {_listed(one)}" for name, one in named)
    if isinstance(value, list):
        return "; ".join(_listed(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else str(value)
