"""Segmentations, segments, service models and how we serve: plain forms."""

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IS_POPUP_VAR
from django.db import models
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.views.decorators.http import require_GET
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts.admin.fields import number
from core import badges
from core.organisation import organisation
from segmentation import treatments
from segmentation.admin import one_page
from segmentation.admin.reasons import ReasonedAdmin
from segmentation.authoring import segmentations
from segmentation.evaluation import causes
from segmentation.models import Cause, Layer, Segment, ServiceModel, Treatment
from segmentation.reading import coverage, nesting

APPLIES = ("policy", "primary")
KEY_HELP = "The short name in exports, recipes and commands. It cannot be changed later."


class SegmentationFilter(admin.RelatedFieldListFilter):
    """A layer is called segmentation on screen."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.title = "segmentation"


@admin.register(Layer)
class LayerAdmin(ReasonedAdmin):
    list_display = ["name", "rules", "labels", "applies", "main"]
    fields = ["name", "key", "description", "scope", "policy", "primary", "position", "decides"]
    search_fields = ["name", "key"]
    prepopulated_fields = {"key": ["name"]}
    list_before_template = "segmentation/one_page/list_before.html"

    def get_queryset(self, request):
        layers = super().get_queryset(request).prefetch_related("segments", "definitions")
        return layers.annotate(writable=models.Value(segmentations.may_write(request.user)))

    def get_urls(self):
        wrap = self.admin_site.admin_view
        setup = wrap(one_page.SetUpPage.as_view(admin=self))
        return [
            path("<int:pk>/setup/", setup, name="segmentation_layer_setup"),
            path(
                "<int:pk>/checked/",
                wrap(require_GET(one_page.checked_view)),
                name="segmentation_layer_checked",
            ),
            *super().get_urls(),
        ]

    def changelist_view(self, request, extra_context=None):
        may = {"may_write": segmentations.may_write(request.user)}
        return super().changelist_view(request, may | (extra_context or {}))

    def add_view(self, request, form_url="", extra_context=None):
        """A new segmentation is made on one page; the small form is for the window beside another form."""
        if IS_POPUP_VAR in request.GET or IS_POPUP_VAR in request.POST:
            return super().add_view(request, form_url, extra_context)
        return one_page.SetUpPage.as_view(admin=self)(request)

    def get_prepopulated_fields(self, request, obj=None):
        return {} if obj else self.prepopulated_fields

    def get_readonly_fields(self, request, obj=None):
        """How it applies is people's to decide together, once it has rules that are active."""
        if obj is None:
            return []
        return ["key", "nested", "rules", *([*APPLIES, "change_applies"] if _in_force(obj) else [])]

    def get_fields(self, request, obj=None):
        if obj is None:
            return self.fields
        fields = [*self.fields[:3], "nested", "rules", *self.fields[3:]]
        if _in_force(obj) and request.user.has_perm("governance.change_policies"):
            fields.insert(fields.index(APPLIES[-1]) + 1, "change_applies")
        return fields

    def write(self, request, obj, form, change):
        if {*APPLIES} & {*form.changed_data} and change:
            causes.take(Cause.Kind.DECISION, reason="Before its rules are active")
        super().write(request, obj, form, change)

    @admin.display(description="Who decides that")
    def change_applies(self, layer):
        return _ask_for_another(layer, "Ask for another way…")

    def get_changeform_initial_data(self, request):
        """A new segmentation comes last, until somebody says otherwise."""
        return {"position": _next(Layer.objects.all())} | super().get_changeform_initial_data(request)

    def has_delete_permission(self, request, obj=None):
        return False

    def get_form(self, request, obj=None, change=False, **options):
        helps = {
            "key": KEY_HELP,
            "scope": "What gets a label: an account, or each product an account has. It stays once labels are given.",
            "policy": "What happens when the rules give an account another segment.",
            "position": "Where it stands in lists: the lowest number first.",
        }
        labels = {"scope": "What it labels"}
        form = super().get_form(request, obj, change, help_texts=helps, labels=labels, **options)
        if "decides" in form.base_fields:  # not for who may only look
            form.base_fields["decides"].choices = _choices(obj)
        return form

    def formfield_for_dbfield(self, db_field, request, **options):
        if db_field.name != "decides":
            return super().formfield_for_dbfield(db_field, request, **options)
        return forms.MultipleChoiceField(
            choices=treatments.CHOICES,
            required=False,
            widget=UnfoldAdminCheckboxSelectMultipleWidget,
            label="Decides",
            help_text="Which part of “How we serve” counts for this segmentation's segments. Leave to others what they decide.",
        )

    @admin.display(description="Primary", ordering="primary")
    def main(self, layer):
        return badges.badge("primary", "brand") if layer.primary else ""

    @admin.display(description="Segments")
    def labels(self, layer):
        return " · ".join(segment.name for segment in layer.segments.all()) or "–"

    @admin.display(description="Segments")
    def nested(self, layer):
        """Each with what it is part of."""
        paths = nesting.paths()
        segments = layer.segments.order_by("position", "key")
        rows = [
            (
                reverse("admin:segmentation_segment_change", args=[segment.pk]),
                paths.get(segment.pk, segment.name),
            )
            for segment in segments
        ]
        listed = format_html_join("", '<div><a class="dm-link" href="{}">{}</a></div>', rows)
        add = f"{reverse('admin:segmentation_segment_add')}?layer={layer.pk}"
        return format_html('{}<div><a class="dm-link" href="{}">Add a segment</a></div>', listed, add)

    @admin.display(description="Changes", ordering="policy")
    def applies(self, layer):
        return layer.get_policy_display()

    @admin.display(description="Rules")
    def rules(self, layer):
        """The active version and the open one, each a click away."""
        by_status = {definition.status: definition for definition in layer.definitions.all()}
        active, waiting, draft = (by_status.get(status) for status in ("active", "in_review", "draft"))
        if layer.writable and not (active or waiting or "retired" in by_status):
            setup = reverse("admin:segmentation_layer_setup", args=[layer.pk])
            text = "a draft is open" if draft else "none yet"
            return format_html('<a class="dm-link" href="{}">{}, continue</a>', setup, text)
        if not (active or waiting or draft):
            start = reverse("admin:segmentation_definition_changelist")
            return format_html('<a class="dm-link" href="{}">none yet</a>', start)
        parts = [
            (reverse("admin:segmentation_definition_change", args=[definition.pk]), words)
            for definition, words in (
                (active, f"version {active.version}" if active else ""),
                (waiting, "one is in review"),
                (draft, "a draft is open"),
            )
            if definition
        ]
        links = format_html_join(", ", '<a class="dm-link" href="{}">{}</a>', parts)
        # One element: on a phone a cell is a row of what it holds, with gaps between.
        return format_html("<span>{}{}</span>", "" if active else "none yet, ", links)


def _ask_for_another(layer, text):
    address = reverse("admin:governance_approvalpolicy_layer", args=[layer.pk])
    return format_html('<a class="dm-link" href="{}">{}</a>', address, text)


def _in_force(layer):
    return layer.definitions.filter(status="active").exists()


def _next(siblings):
    last = siblings.aggregate(last=models.Max("position"))["last"]
    return 0 if last is None else last + 1


def _choices(layer):
    """The fields of a treatment, each with the other active segmentations that decide it."""
    others = [other for other in coverage.deciding_layers() if other != layer]
    deciders = {
        name: ", ".join(other.name for other in others if name in other.decides) for name in treatments.FIELDS
    }
    return [
        (name, f"{label} (decided by {deciders[name]})" if deciders[name] else label)
        for name, label in treatments.CHOICES
    ]


@admin.register(Segment)
class SegmentAdmin(ReasonedAdmin):
    list_display = ["name", "segmentation", "part_of", "serves", "owner"]
    list_filter = [("layer", SegmentationFilter)]
    list_select_related = ["layer", "parent__layer", "treatment__service_model", "owner"]
    search_fields = ["name", "key"]
    autocomplete_fields = ["layer", "treatment", "owner"]
    prepopulated_fields = {"key": ["name"]}

    def get_prepopulated_fields(self, request, obj=None):
        return {} if obj else self.prepopulated_fields

    def get_readonly_fields(self, request, obj=None):
        """Which segment is above which is people's to decide together, once the segmentation has rules that are active."""
        if obj is None:
            return []
        return ["key", "segmentation", *(["position", "change_order"] if _in_force(obj.layer) else [])]

    def get_fields(self, request, obj=None):
        first = "segmentation" if obj else "layer"
        may = obj and _in_force(obj.layer) and request.user.has_perm("governance.change_policies")
        place = ["position", *(["change_order"] if may else [])]
        return [first, "name", "key", "description", *place, "parent", "owner", "owner_role", "treatment"]

    def write(self, request, obj, form, change):
        if not change and _in_force(obj.layer):
            obj.position = _next(obj.layer.segments)
        super().write(request, obj, form, change)

    @admin.display(description="Another order")
    def change_order(self, segment):
        return _ask_for_another(segment.layer, "Ask for another order…")

    def get_form(self, request, obj=None, change=False, **options):
        place = "Its place in the segmentation: the highest segment first. Where rules are active, a new one comes last."
        helps = {"key": KEY_HELP, "position": place}
        helps |= {"treatment": "What customers in this segment get."}
        helps |= {"parent": "The larger segment it is a part of, of this segmentation or another one."}
        labels = {"layer": "Segmentation", "treatment": "How we serve", "parent": "Part of"}
        return super().get_form(request, obj, change, help_texts=helps, labels=labels, **options)

    def formfield_for_foreignkey(self, db_field, request, **options):
        field = super().formfield_for_foreignkey(db_field, request, **options)
        if db_field.name == "parent":  # segments of different segmentations may be called the same
            field.queryset = Segment.objects.select_related("layer")
            field.label_from_instance = lambda segment: f"{segment.layer}: {segment}"
        return field

    def get_changeform_initial_data(self, request):
        """A new segment of a segmentation comes after those it has."""
        given = super().get_changeform_initial_data(request)
        if number(given.get("layer")) is None:
            given.pop("layer", None)
        siblings = (
            Segment.objects.filter(layer=given["layer"]) if "layer" in given else Segment.objects.none()
        )
        return {"position": _next(siblings)} | given

    @admin.display(description="Part of", ordering="parent")
    def part_of(self, segment):
        return f"{segment.parent.layer}: {segment.parent}" if segment.parent else ""

    @admin.display(description="Segmentation", ordering="layer")
    def segmentation(self, segment):
        return segment.layer

    def has_delete_permission(self, request, obj=None):
        return False

    @admin.display(description="How we serve", ordering="treatment")
    def serves(self, segment):
        return segment.treatment or badges.badge("not said yet", "warn")


@admin.register(ServiceModel)
class ServiceModelAdmin(ReasonedAdmin):
    list_display = ["name", "csm_kind", "load", "check_in", "qbr", "onboarding", "staff"]
    fields = [
        "name",
        "key",
        "csm_kind",
        "accounts_per_csm_min",
        "accounts_per_csm_max",
        "staff",
        "cost_to_serve",
    ]
    fields += ["check_in", "qbr", "onboarding", "channels", "description"]
    search_fields = ["name", "key"]
    prepopulated_fields = {"key": ["name"]}

    def get_prepopulated_fields(self, request, obj=None):
        return {} if obj else self.prepopulated_fields

    def get_readonly_fields(self, request, obj=None):
        return ["key"] if obj else []

    def get_form(self, request, obj=None, change=False, **options):
        helps = {
            "key": KEY_HELP,
            "accounts_per_csm_max": "Left empty, there is no upper end.",
            "cost_to_serve": f"In {organisation().currency}. Never shown to customers.",
            "staff": "Full-time equivalents. The coverage model and impact previews hold it against the number needed.",
        }
        return super().get_form(request, obj, change, help_texts=helps, **options)

    @admin.display(description="Accounts per CSM", ordering="accounts_per_csm_min")
    def load(self, model):
        return model.band


@admin.register(Treatment)
class TreatmentAdmin(ReasonedAdmin):
    list_display = ["name", "service_model", "says", "used_by"]
    list_select_related = ["service_model"]
    search_fields = ["name", "key"]
    prepopulated_fields = {"key": ["name"]}

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("segments__layer")

    def get_prepopulated_fields(self, request, obj=None):
        return {} if obj else self.prepopulated_fields

    def get_readonly_fields(self, request, obj=None):
        return ["key"] if obj else []

    def get_fieldsets(self, request, obj=None):
        parts = [(None, {"fields": ["name", "key"], "description": _counting(obj)})]
        parts += [
            (group, {"fields": [field.name for field in fields]}) for group, fields in treatments.grouped()
        ]
        return [*parts, ("For the team", {"fields": ["notes"]})]

    def get_form(self, request, obj=None, change=False, **options):
        helps = {field.name: field.help for field in treatments.FIELDS.values()} | {"key": KEY_HELP}
        return super().get_form(request, obj, change, help_texts=helps, **options)

    def formfield_for_dbfield(self, db_field, request, **options):
        field = super().formfield_for_dbfield(db_field, request, **options)
        if isinstance(db_field, models.TextField):
            field.widget.attrs["rows"] = 3  # there are many of them
        return field

    @admin.display(description="Says")
    def says(self, treatment):
        labels = [
            field.label
            for name, field in treatments.FIELDS.items()
            if field.shown(getattr(treatment, f"{name}_id" if field.primary else name))
        ]
        return ", ".join(labels) or "–"

    @admin.display(description="Segments served so")
    def used_by(self, treatment):
        return " · ".join(f"{segment.name} ({segment.layer})" for segment in treatment.segments.all()) or "–"


def _counting(treatment):
    """Which of the fields count, in a sentence."""
    layers = {segment.layer for segment in treatment.segments.select_related("layer")} if treatment else set()
    parts = [
        f"{layer}: {', '.join(treatments.FIELDS[name].column for name in layer.decides) or 'nothing yet'}"
        for layer in sorted(layers, key=coverage.order)
    ]
    if not parts:
        return "Only what the segmentation of its segments decides counts here."
    return f"Only what the segmentation decides counts here. {'; '.join(parts)}."
