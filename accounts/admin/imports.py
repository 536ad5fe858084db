"""Imports: upload a recipe and its files, look at the preview, commit or give up; history."""

from functools import partial
from pathlib import PurePath

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models.functions import Left, Length
from django.http import Http404, JsonResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from accounts import gates, imports
from accounts.catalogue import FACTS
from accounts.imports import recipe as recipes
from accounts.models import ImportBatch
from core import badges, history, wording, workers
from core.organisation import organisation
from core.refusals import Refused

from . import downloads
from .fields import Day, Line
from .governed import ByVerbs, PlainAdmin, page
from .verbs import VerbForm, VerbPage, pressed, row

PAGE = "admin:accounts_importbatch_change"
WORKING = ("waiting", "checking", "committing")
MOST_FILES = 50
REJECTED_SHOWN = 20
MADE_SHOWN = 30
RECIPE_SHOWN = 10_000  # characters


class SeveralFiles(forms.FileField):
    """One or more uploaded files."""

    def __init__(self, **options):
        super().__init__(widget=_SeveralFilesInput(), **options)

    def clean(self, data, initial=None):
        return [super(SeveralFiles, self).clean(file, initial) for file in data or [None]]


class _SeveralFilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class UploadForm(VerbForm):
    recipe = forms.FileField(label="Recipe", help_text="The YAML file that says what each column means.")
    files = SeveralFiles(
        label="Data files", help_text="All CSV files the recipe names; the names must be the same."
    )
    as_of = Day(
        "As of (optional)", help="The day the data is from. Leave empty to use the one in the recipe."
    )
    name = Line("Name (optional)", help="For the list of imports; else the names of the files.")

    like = None  # an import whose files are taken over where they do not come anew

    def clean_recipe(self):
        try:
            return recipes.read(self.cleaned_data["recipe"])
        except Refused as refusal:
            raise forms.ValidationError(str(refusal)) from None

    def clean_files(self):
        files = self.cleaned_data["files"]
        if len(files) > MOST_FILES:
            raise forms.ValidationError(
                f"These are {len(files)} files; at most {MOST_FILES} are taken at once."
            )
        names = [file.name for file in files]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise forms.ValidationError(f"{twice[0]} is there twice.")
        size = sum(file.size for file in files)
        most = organisation().import_mb
        if size > most << 20:
            raise forms.ValidationError(
                f"The files have {size / 2**20:,.1f} MB together, and at most {most:,} MB are taken here. "
                "Larger ones go by the command import_accounts."
            )
        return {file.name: file.read() for file in files}

    def carry_out(self):
        given = self.cleaned_data
        name = given["name"] or (self.like.name if self.like else ", ".join(given["files"])[:400])
        batch = imports.create(
            given["recipe"], given["files"], by=self.by, name=name, as_of=given["as_of"], like=self.like
        )
        transaction.on_commit(partial(workers.wake, "accounts.tasks.work", batch.pk))
        return reverse(PAGE, args=[batch.pk])


class AgainForm(UploadForm):
    """The same recipe and files, with what has been mended."""

    recipe = forms.CharField(
        label="Recipe",
        widget=forms.Textarea(attrs={"rows": 18, "class": "code", "spellcheck": "false"}),
        help_text="As it was. Mend it here.",
    )
    files = SeveralFiles(
        label="Mended files (optional)",
        required=False,
        help_text="Files of the same name take the place of those that are kept.",
    )

    def prepare(self):
        self.like = self.thing

    def start(self):
        return {
            "recipe": self.thing.recipe,
            "as_of": recipes.as_of_instead(self.thing.recipe, self.thing.as_of),
        }

    def clean_recipe(self):
        return self.cleaned_data["recipe"].replace("\r\n", "\n")

    def clean_files(self):
        self.cleaned_data["files"] = [file for file in self.cleaned_data["files"] if file]
        return super().clean_files()


class AgainPage(VerbPage):
    """An import that did not go as it should, once more: its files are still there."""

    title = "Mend an import"
    template = "accounts/imports/upload.html"
    verbs = {"upload": AgainForm}

    def load(self, pk):
        self.admin._may_import(self.request)
        batch = row(ImportBatch.objects, pk, "import")
        if not batch.uploads.exists():
            raise Http404
        return batch

    def context(self):
        kept = self.thing.uploads.order_by("name").values_list("name", flat=True)
        return {"facts": FACTS.values(), "kept": list(kept), "like": self.thing}


class UploadPage(VerbPage):
    title = "Import accounts"
    template = "accounts/imports/upload.html"
    verbs = {"upload": UploadForm}

    def load(self):
        self.admin._may_import(self.request)

    def context(self):
        return {"facts": FACTS.values()}


def _may_take_out(user):
    """Rejected rows tell of accounts: for who imports and mends them, and who may take accounts out."""
    return any(user.has_perm(f"accounts.{right}") for right in ("import_accounts", "export_accounts"))


@admin.register(ImportBatch)
class ImportAdmin(ByVerbs, PlainAdmin):
    list_display = ["title", "state", "as_of_shown", "rows", "rejected_rows", "who", "finished"]
    list_filter = ["status"]
    search_fields = ["name"]
    list_before_template = "accounts/imports/list_before.html"
    empty_text = "Take an export of your CRM as CSV files, and a recipe that says what the columns mean."

    def get_queryset(self, request):
        return super().get_queryset(request).defer("recipe")

    def get_urls(self):
        wrap = self.admin_site.admin_view
        name = "accounts_importbatch_{}".format
        return [
            path("upload/", wrap(UploadPage.as_view(admin=self)), name=name("upload")),
            path("<int:pk>/again/", wrap(AgainPage.as_view(admin=self)), name=name("again")),
            path("<int:pk>/rejected/lines/", wrap(self.lines_view), name=name("lines")),
            path("<int:pk>/progress/", wrap(self.progress_view), name=name("progress")),
            path("<int:pk>/recipe/", wrap(self.recipe_view), name=name("recipe")),
            path("<int:pk>/rejected/", wrap(self.rejected_view), name=name("rejected")),
            path("<int:pk>/commit/", wrap(require_POST(self.commit_view)), name=name("commit")),
            path("<int:pk>/give-up/", wrap(require_POST(self.give_up_view)), name=name("give_up")),
            *super().get_urls(),
        ]

    @admin.display(description="Import", ordering="pk")
    def title(self, batch):
        return f"No. {batch.pk} {batch.name}"

    @admin.display(description="Status", ordering="status")
    def state(self, batch):
        return badges.status(batch)

    @admin.display(description="As of", ordering="as_of")
    def as_of_shown(self, batch):
        return wording.day(batch.as_of) or "–"

    @admin.display(description="Rows")
    def rows(self, batch):
        return wording.count(sum(ledger["rows"] for ledger in batch.queries))

    @admin.display(description="Rejected")
    def rejected_rows(self, batch):
        return wording.count(rejected(batch))

    @admin.display(description="By", ordering="created_by_label")
    def who(self, batch):
        return history.who(batch, "created_by") or "–"

    @admin.display(description="When", ordering="created_at")
    def finished(self, batch):
        return wording.moment(batch.finished_at or batch.created_at)

    def changelist_view(self, request, extra_context=None):
        extra = {"may_import": request.user.has_perm("accounts.import_accounts")}
        return super().changelist_view(request, extra | (extra_context or {}))

    def change_view(self, request, object_id, form_url="", extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        batch = self._get(unquote(object_id))
        return page(
            request,
            "accounts/imports/import.html",
            summary=imports.summary(batch),
            to_mend=imports.files_to_mend(batch),
            too_many=_too_many(batch),
            kept=batch.uploads.exists(),
            has_subscriptions=batch.rejected.exclude(subscription_id="").exists(),
            made=_made(batch),
            title=str(batch),
            model_admin=self,
            original=batch,
            batch=batch,
            working=batch.status in WORKING,
            recipe_rest=batch.recipe_length - len(batch.recipe_start),
            rejected_count=rejected(batch),
            rejected=Paginator(batch.rejected.order_by("pk"), REJECTED_SHOWN).get_page(request.GET.get("p")),
            may_import=request.user.has_perm("accounts.import_accounts"),
            may_take_out=_may_take_out(request.user),
            approval=gates.consult("import_page", batch, by=request.user),
            changes=sum(ledger["created"] + ledger["updated"] for ledger in batch.queries),
            queued=sum(ledger.get("queued", 0) for ledger in batch.queries),
        )

    def progress_view(self, request, pk):
        if not self.has_view_permission(request):
            raise PermissionDenied
        batch = self._get(pk)
        return JsonResponse(
            {
                "ended": batch.status not in WORKING,
                "begun": bool(batch.progress.get("step")),
                "step": batch.progress.get("step", ""),
                "done": batch.progress.get("done", 0),
                "of": batch.progress.get("of", 0),
            }
        )

    def recipe_view(self, request, pk):
        if not self.has_view_permission(request):
            raise PermissionDenied
        batch = self._get(pk)
        return downloads.yaml(f"recipe-{batch.pk}.yaml", batch.recipe)

    def rejected_view(self, request, pk):
        """The rejected rows as a file."""
        if not (_may_take_out(request.user) and self.has_view_permission(request)):
            raise PermissionDenied
        batch = self._get(pk)
        return downloads.csv(f"rejected-{batch.pk}.csv", imports.rejected_csv(batch))

    def lines_view(self, request, pk):
        """The rejected lines of a file, to be mended and imported again."""
        if not (_may_take_out(request.user) and self.has_view_permission(request)):
            raise PermissionDenied
        batch, file = self._get(pk), request.GET.get("file", "")
        if file not in dict(imports.files_to_mend(batch)):
            raise Http404
        lines, encoding = imports.lines_to_mend(batch, file), imports.encoding_of(batch, file)
        return downloads.csv(PurePath(file).name, lines, encoding)

    def commit_view(self, request, pk):
        self._may_import(request)
        batch, skip = self._get(pk), "skip_rejected" in request.POST
        commit = partial(imports.ask_commit, batch, by=request.user, skip_rejected=skip)
        return pressed(request, commit, to=reverse(PAGE, args=[batch.pk]))

    def give_up_view(self, request, pk):
        self._may_import(request)
        batch = self._get(pk)
        return pressed(
            request, partial(imports.give_up, batch, by=request.user), to=reverse(PAGE, args=[batch.pk])
        )

    def _may_import(self, request):
        if not request.user.has_perm("accounts.import_accounts"):
            raise PermissionDenied

    def _get(self, pk):
        parts = {"recipe_start": Left("recipe", RECIPE_SHOWN), "recipe_length": Length("recipe")}
        return row(ImportBatch.objects.defer("recipe").annotate(**parts), pk, "import")


def rejected(batch):
    """Rejected lines and rows of both ledgers."""
    return sum(ledger["rejected"] for ledger in [*batch.files, *batch.queries])


def _too_many(batch):
    """Why the good rows cannot be imported without the others, or ""."""
    try:
        imports.check_rejected(batch, skip_rejected=True)
    except Refused as refusal:
        return str(refusal)
    return ""


def _made(batch):
    """[(`3 new CSMs`, the first of them, how many more)] of what an import makes beside its records."""
    made = {}
    for ledger in batch.queries:
        for kind, names in ledger.get("made", {}).items():
            made.setdefault(kind, []).extend(names)
    return [
        (wording.plural(len(names), f"new {kind},new {kind}s"), names[:MADE_SHOWN], len(names[MADE_SHOWN:]))
        for kind, names in made.items()
        if names
    ]
