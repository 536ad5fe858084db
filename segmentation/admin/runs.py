"""Recalculations: what ran, what came of it, and the button that starts one."""

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import JsonResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts.admin.fields import Day, Line
from accounts.admin.governed import PlainAdmin, page
from accounts.admin.verbs import VerbForm, VerbPage, row
from core import badges, history, wording
from core.refusals import Refused
from segmentation.models import Assignment, Layer, Move, Run
from segmentation.runs import recalculation

ACCOUNTS = "admin:accounts_account_changelist"
PAGE = "admin:segmentation_run_change"


@admin.register(Run)
class RunAdmin(PlainAdmin):
    list_display = ["number", "state", "trigger", "as_of_shown", "started", "took", "what", "accounts_shown"]
    list_filter = ["status", "trigger"]
    list_before_template = "segmentation/runs/list_before.html"
    empty_text = "The first one gives every customer its segments; it needs accounts and active rules."

    def has_add_permission(self, request):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("layers__layer")

    def get_urls(self):
        wrap = self.admin_site.admin_view
        return [
            path("start/", wrap(StartPage.as_view(admin=self)), name="segmentation_run_start"),
            path("<int:run_id>/progress/", wrap(self.progress_view), name="segmentation_run_progress"),
            *super().get_urls(),
        ]

    @admin.display(description="Recalculation", ordering="pk")
    def number(self, run):
        return f"No. {run.pk}"

    @admin.display(description="Status", ordering="status")
    def state(self, run):
        return badges.status(run)

    @admin.display(description="As of", ordering="as_of")
    def as_of_shown(self, run):
        return wording.day(run.as_of)

    @admin.display(description="Started", ordering="started_at")
    def started(self, run):
        return f"{wording.moment(run.started_at)} · {history.who(run, 'started_by')}"

    @admin.display(description="Duration")
    def took(self, run):
        return duration(run)

    @admin.display(description="Segment changes")
    def what(self, run):
        return wording.count(sum(run_layer.counts.get("moved", 0) for run_layer in run.layers.all()))

    @admin.display(description="Accounts", ordering="accounts")
    def accounts_shown(self, run):
        return wording.count(run.accounts)

    def changelist_view(self, request, extra_context=None):
        extra = {"may_start": request.user.has_perm("segmentation.recompute_layer")}
        return super().changelist_view(request, extra | (extra_context or {}))

    def change_view(self, request, object_id, form_url="", extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        run = row(Run.objects.all(), unquote(object_id))
        quarantined = run.quarantined.select_related("account", "layer").order_by("pk")
        return page(
            request,
            "segmentation/runs/run.html",
            title=str(run),
            model_admin=self,
            original=run,
            run=run,
            took=duration(run),
            layers=[
                _layer(run_layer)
                for run_layer in run.layers.select_related("layer", "definition").order_by("layer")
            ],
            progress=recalculation.progress(run),
            steps=_steps(request, run) if run.status == Run.Status.FINISHED else [],
            quarantined=Paginator(quarantined, 50).get_page(request.GET.get("p")),
        )

    def progress_view(self, request, run_id):
        if not self.has_view_permission(request):
            raise PermissionDenied
        run = row(Run.objects.all(), run_id)
        state = recalculation.progress(run)
        return JsonResponse(
            {
                "ended": run.status != Run.Status.RUNNING,
                "begun": run.parts.exclude(status="pending").exists(),
                "done": state["done"] + state["failed"],
                "of": state["of"],
                "step": f"{state['accounts_done']:,} of {state['accounts']:,} accounts",
            }
        )


class StartForm(VerbForm):
    layer = forms.MultipleChoiceField(
        label="Segmentations", required=False, widget=forms.CheckboxSelectMultiple
    )
    as_of = Day("As of", help="Left empty: today, where there are data as new as the settings ask.")
    reason = Line("Why (optional)")
    at = {"facts_are_old": "as_of", "clock_goes_back": "as_of", "clock_in_the_future": "as_of"}

    def prepare(self):
        self.fields["layer"].choices = [
            (layer.key, f"{layer} · {layer.get_policy_display().lower()}") for layer in self.thing
        ]

    def start(self):
        return {"layer": [layer.key for layer in self.thing]}

    def carry_out(self):
        chosen = [layer for layer in self.thing if layer.key in self.cleaned_data["layer"]]
        try:
            wanted = {name: self.cleaned_data[name] for name in ("reason", "as_of")}
            run = recalculation.start(layers=chosen, by=self.by, **wanted)
        except Refused as refusal:  # a second click leads to what the first one did
            run = Run.objects.filter(status=Run.Status.RUNNING).first()
            if run is None:
                raise
            self.say(str(refusal), messages.ERROR)
        return reverse(PAGE, args=[run.pk])


class StartPage(VerbPage):
    """A page that asks: nothing changes by following a link."""

    title = "Recalculate"
    template = "segmentation/runs/start.html"
    verbs = {"start": StartForm}

    def load(self):
        if not self.request.user.has_perm("segmentation.recompute_layer"):
            raise PermissionDenied
        return Layer.objects.filter(definitions__status="active").distinct()

    def context(self):
        return {"layers": self.thing, "today": timezone.localdate()}


def duration(run):
    """1.4 s; 3 min 20 s; so far while it runs."""
    seconds = ((run.finished_at or timezone.now()) - run.started_at).total_seconds()
    text = f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return text if run.finished_at else f"{text} so far"


def _steps(request, run):
    """[{text, help, url, button}] of what to do now, counted now: what other apps say, accounts that need data, else the list."""
    steps = [step for part in settings.RUN_PAGE_PARTS for step in import_string(part)(request, run)]
    if not request.user.has_perm("accounts.view_account"):
        return steps
    accounts = reverse(ACCOUNTS)
    layer = run.layers.filter(layer__primary=True).select_related("layer").first()
    lacking = Assignment.objects.needs_data().filter(layer=layer.layer, product=None).count() if layer else 0
    if lacking:
        text = f"{wording.plural(lacking, 'account needs,accounts need')} data on {layer.layer}"
        help_text = "The rules cannot decide; the account's page says what is missing."
        url = f"{accounts}?state=needs-data"
        steps.append({"text": text, "help": help_text, "url": url, "button": "Look at them"})
    nothing = "Nothing of this waits for anybody: look at the accounts and their segments"
    return steps or [{"text": nothing, "help": "", "url": accounts, "button": "Accounts"}]


def _layer(run_layer):
    """A segmentation of a run: the rules it used, its numbers, its segments and its warnings."""
    counts, per_segment = run_layer.counts, run_layer.counts.get("segments", {})
    segments = run_layer.layer.segments.order_by("position", "key")
    return {
        "layer": run_layer.layer,
        "definition": run_layer.definition,
        "warnings": run_layer.warnings,
        "counts": counts,
        "moves": [(Move.Why(why).label, number) for why, number in counts.get("moves", {}).items() if number],
        "segments": [(segment.name, per_segment.get(segment.key, 0)) for segment in segments],
    }
