"""Jobs to be done: each with the interviews it was learned from, and whether anybody works with it."""

from django import forms
from django.contrib import admin
from django.utils import timezone
from unfold.admin import StackedInline

from accounts.admin.governed import GovernedAdmin
from accounts.admin.suggestions import Suggested
from core import badges
from core.wording import day
from segmentation.authoring import declarations, jobs_to_be_done
from segmentation.models import Interview, JobToBeDone, Segment

ROWS = {"success_criteria": 3, "proof_points": 3, "expansion_path": 3, "notes": 3}


class InterviewInline(Suggested, StackedInline):
    model = Interview
    fields = [("held_on", "account"), ("person", "role"), "notes"]
    autocomplete_fields = ["account"]
    extra = 0
    verbose_name = "interview"

    def formfield_for_dbfield(self, field, request, **options):
        form_field = super().formfield_for_dbfield(field, request, **options)
        return _rows(form_field, field.name)


@admin.register(JobToBeDone)
class JobToBeDoneAdmin(GovernedAdmin):
    list_display = ["title", "segmentation", "interviews_shown", "decks", "use"]
    list_before_template = "segmentation/jobs/list_before.html"
    search_fields = ["segment__name", "segment__key", "statement"]
    empty_text = "A job belongs to a segment of a segmentation people declare."
    inlines = [InterviewInline]
    fields = ["segment", *jobs_to_be_done.FIELDS, "decks_updated_on"]

    def get_queryset(self, request):
        return jobs_to_be_done.listed()

    def get_readonly_fields(self, request, obj=None):
        return ["segment"] if obj else []

    def formfield_for_foreignkey(self, field, request, **options):
        if field.name == "segment":
            offered = [
                segment.pk for segments in declarations.choices(drafts=True).values() for segment in segments
            ]
            options["queryset"] = Segment.objects.filter(pk__in=offered, job=None).select_related("layer")
            options["form_class"] = _SegmentChoice
        return super().formfield_for_foreignkey(field, request, **options)

    def formfield_for_dbfield(self, field, request, **options):
        form_field = super().formfield_for_dbfield(field, request, **options)
        return _rows(form_field, field.name)

    def changelist_view(self, request, extra_context=None):
        extra = {"verdicts": _verdicts(), "unused_after": jobs_to_be_done.UNUSED_AFTER}
        return super().changelist_view(request, extra | (extra_context or {}))

    @admin.display(description="Job", ordering="segment__name")
    def title(self, job):
        return job.segment.name

    @admin.display(description="Segmentation", ordering="segment__layer")
    def segmentation(self, job):
        return job.segment.layer

    @admin.display(description="Interviews")
    def interviews_shown(self, job):
        return job.talks or 0

    @admin.display(description="Decks and talk tracks", ordering="decks_updated_on")
    def decks(self, job):
        verdict = jobs_to_be_done.decks(job, at=timezone.localdate())
        return badges.badge(verdict.text, verdict.level)

    @admin.display(description="Used")
    def use(self, job):
        if flag := jobs_to_be_done.unused(job, at=timezone.localdate()):
            return badges.badge(flag.split(":")[0], "warn", title=flag)
        return day(jobs_to_be_done.last_used(job))


class _SegmentChoice(forms.ModelChoiceField):
    def label_from_instance(self, segment):
        return f"{segment.layer}: {segment}"


def _rows(field, name):
    if field is not None and name in ROWS:
        field.widget.attrs["rows"] = ROWS[name]
    return field


def _verdicts():
    """[(segmentation, its verdicts)] for those with jobs_to_be_done."""
    by_layer = {}
    for job in jobs_to_be_done.listed():
        by_layer.setdefault(job.segment.layer, []).append(job)
    return [(layer, jobs_to_be_done.verdicts(of_layer)) for layer, of_layer in by_layer.items()]
