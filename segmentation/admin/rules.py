"""Rules: every version, the draft as a scoring table with errors at the cell, its steps, comparison and files."""

from difflib import get_close_matches

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.http import Http404, HttpResponseRedirect, JsonResponse
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from accounts import gates
from accounts.admin import downloads
from accounts.admin.fields import number
from accounts.admin.governed import GovernedAdmin, page
from accounts.admin.verbs import VerbForm, VerbPage, row
from core import wording
from core.refusals import Refused
from segmentation.authoring import rule_counts, versions
from segmentation.models import Definition, Layer
from segmentation.rules import comparison, document_text, files, terms

from . import checks
from .scoring_form import fields, read, row_problems, rows
from .scoring_page import all_problems, editor, facts, other_layers

LIST = "admin:segmentation_definition_changelist"
PAGE = "admin:segmentation_definition_change"
SHOWN = 20  # problems of a file
SEND = "ask_activation"  # of governance: how rules become active


@admin.register(Definition)
class DefinitionAdmin(GovernedAdmin):
    def has_add_permission(self, request):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def get_urls(self):
        wrap = self.admin_site.admin_view
        name = "segmentation_definition_{}".format
        return [
            path("draft/", wrap(require_POST(self.draft_view)), name=name("draft")),
            path("compare/", wrap(self.compare_view), name=name("compare")),
            path("import/", wrap(ImportPage.as_view(admin=self)), name=name("import")),
            path("<int:pk>/export/", wrap(self.file_view), name=name("export")),
            path("<int:pk>/check/", wrap(require_POST(self.check_view)), name=name("check")),
            path("<int:pk>/counts/", wrap(require_POST(self.counts_view)), name=name("counts")),
            path("<int:pk>/discard/", wrap(DiscardPage.as_view(admin=self)), name=name("discard")),
            *checks.urls(self, wrap),
            *super().get_urls(),
        ]

    def changelist_view(self, request, extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        layers = Layer.objects.order_by("-primary", "position", "key")
        versions_of = {}
        for definition in Definition.objects.defer("document").order_by("-version"):
            versions_of.setdefault(definition.layer_id, []).append(definition)
        return page(
            request,
            "segmentation/rules/list.html",
            title="Rules",
            model_admin=self,
            layers=[_layer(layer, versions_of.get(layer.pk, [])) for layer in layers],
            may_change=self.has_change_permission(request),
        )

    def draft_view(self, request):
        self._may_change(request)
        layer = Layer.objects.filter(key=request.POST.get("layer", "")).first()
        if layer is None:
            raise Http404
        if open_one := versions.open_version(layer):
            status = "A draft is open" if open_one.status == "draft" else "A version is in review"
            messages.info(request, f"{status} already; this is it.")
            return HttpResponseRedirect(reverse(PAGE, args=[open_one.pk]))
        try:
            draft = versions.create_draft(layer, by=request.user)
        except Refused as refusal:
            messages.error(request, str(refusal))
            return HttpResponseRedirect(reverse(LIST))
        return HttpResponseRedirect(reverse(PAGE, args=[draft.pk]))

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """The scoring table. A POST saves the draft; what was typed is shown again if it cannot be saved."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        definition = self._get(unquote(object_id))
        seen, document, refusal = definition.hash, definition.document, ""
        if request.method == "POST":
            self._may_change(request)
            document, seen = read(request.POST), request.POST.get("seen", "")
            try:
                if row_problems(request.POST):
                    raise Refused("condition_unreadable")
                versions.save_draft(definition, document, by=request.user, seen=seen)
            except Refused as error:
                refusal = str(error)
            else:
                if "send" in request.POST:
                    return HttpResponseRedirect(reverse(SEND, args=[definition.pk]))
                messages.success(request, "The draft is saved.")
                return HttpResponseRedirect(reverse(PAGE, args=[definition.pk]))
        return self._table(request, definition, document, seen, refusal)

    def _table(self, request, definition, document, seen, refusal):
        draft = definition.status == Definition.Status.DRAFT
        typed = request.POST if request.method == "POST" else None
        shown = editor(definition, document, typed) if draft else {"table": rows(document), "facts": facts()}
        return page(
            request,
            "segmentation/rules/scoring.html",
            title=str(definition),
            model_admin=self,
            original=definition,
            definition=definition,
            told_rules=[] if draft else terms.rules(document, names=versions.labels(definition.layer)),
            seen=seen,
            refusal=refusal,
            editable=draft and self.has_change_permission(request),
            may_send=any(step.verb == "submit" for step in versions.steps(definition, by=request.user)),
            sign_off=gates.consult("rules_page", definition, user=request.user),
            others=definition.layer.definitions.exclude(pk=definition.pk).exists(),
            may_change=self.has_change_permission(request),
            **shown,
            yaml=document_text.to_yaml(definition.document) if definition.document and not draft else "",
            status=409 if refusal else 200,
        )

    def check_view(self, request, pk):
        """Say what is wrong with what is typed now, and give its conditions as text and as rows; nothing is saved."""
        self._may_change(request)
        definition, document = self._get(pk), read(request.POST)
        return JsonResponse({
            "problems": all_problems(request.POST, document, definition.layer),
            "rules": [{"when": rule.get("when", ""), "rows": rule["rows"]} for rule in rows(document)["rules"]],
            "fields": fields(document, definition.layer, other_layers(definition.layer)),
        })  # fmt: skip

    def counts_view(self, request, pk):
        """How many accounts each rule of what is typed now is about; nothing is saved."""
        self._may_change(request)
        definition, at = self._get(pk), timezone.localdate()
        try:
            document = read(request.POST)
            tally = rule_counts.count(document, definition.layer, at=at)
        except DatabaseError:
            return JsonResponse({"said": "The accounts could not be counted.", "rules": []})
        if tally is None:
            return JsonResponse({"said": "Accounts are counted once the rules are complete.", "rules": []})
        pairs = zip(document["rules"], tally.rules, strict=True)
        return JsonResponse(
            {"said": _counted(tally, at), "rules": [_beside_rule(tally, *pair) for pair in pairs]}
        )

    def compare_view(self, request):
        """Show what is different between two versions of a segmentation: sentences first, rows second."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        new = self._named(request, "new")
        old = self._named(request, "old") if "old" in request.GET else _before(new)
        if old.layer_id != new.layer_id:
            messages.warning(request, "These are rules of two segmentations; choose two versions of one.")
            return HttpResponseRedirect(reverse(LIST))
        return page(
            request,
            "segmentation/rules/compare.html",
            title="Compare",
            model_admin=self,
            layer=new.layer,
            old=old,
            new=new,
            versions=new.layer.definitions.defer("document"),
            comparison=_compared(old, new),
        )

    def _named(self, request, name):
        return self._get(number(request.GET.get(name)))

    def file_view(self, request, pk):
        """The version as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        definition = self._get(pk)
        return downloads.yaml(
            f"{definition.layer.key}-{definition.version}.yaml",
            files.write(definition.layer.key, definition.document),
        )

    def _may_change(self, request):
        if not self.has_change_permission(request):
            raise PermissionDenied

    def _get(self, pk):
        return row(Definition.objects.select_related("layer"), pk, "version")


class DiscardForm(VerbForm):
    def carry_out(self):
        versions.discard_draft(self.thing, by=self.by, seen=self.seen)
        self.say(f"The draft of {self.thing.layer} is discarded; the active rules are as before.")
        return reverse(LIST)


class DiscardPage(VerbPage):
    title = "Discard"
    template = "segmentation/rules/discard.html"
    verbs = {"discard": DiscardForm}

    def load(self, pk):
        self.admin._may_change(self.request)
        return self.admin._get(pk)

    def elsewhere(self):
        """Clicked twice, or decided by somebody else meanwhile."""
        if self.thing.status == Definition.Status.DRAFT:
            return ""
        status = self.thing.get_status_display().lower()
        messages.warning(self.request, f"{self.thing} is {status} already, no draft any more.")
        return reverse(PAGE, args=[self.thing.pk])

    def token(self):
        return self.thing.hash

    def context(self):
        return {"original": self.thing, "draft": self.thing}


class ImportForm(VerbForm):
    file = forms.FileField(
        label="File (YAML)",
        error_messages={"required": "Choose a file first."},
        widget=forms.FileInput(attrs={"accept": ".yaml,.yml,text/yaml,application/yaml"}),
    )

    def clean_file(self):
        try:
            return files.read(self.cleaned_data["file"].read(files.MAX_BYTES + 1))
        except files.FileErrors as errors:
            problems = [(line, message) for line, _, message in errors.problems]
            raise forms.ValidationError([f"Line {line}: {message}" if line else message for line, message in problems[:SHOWN]]) from None  # fmt: skip

    def carry_out(self):
        draft, done = versions.put_draft(self.layer(), self.cleaned_data["file"].document, by=self.by)
        if done == "equal":
            status = draft.get_status_display().lower()
            self.say(
                f"Nothing to do: version {draft.version} of {draft.layer} ({status}) says the same.",
                messages.INFO,
            )
        else:
            what = "a new draft" if done == "created" else "the draft, in place of what it said before"
            self.say(f"The file is version {draft.version} of {draft.layer} now, {what}.")
        return reverse(PAGE, args=[draft.pk])

    def layer(self):
        key = self.cleaned_data["file"].key
        layer = Layer.objects.filter(key=key).first()
        if layer is None:
            keys = list(Layer.objects.values_list("key", flat=True))
            near = get_close_matches(key, keys, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise Refused("file_of_unknown_layer", key=key, hint=hint, layers=", ".join(keys) or "none")
        return layer


class ImportPage(VerbPage):
    """A file becomes a draft."""

    title = "Import rules"
    template = "segmentation/rules/import.html"
    verbs = {"import": ImportForm}

    def load(self):
        self.admin._may_change(self.request)


def _compared(old, new):
    return comparison.compare(old.document, new.document, names=versions.labels(new.layer))


def _before(definition):
    """The version to compare with when nobody says: the active one, else the one before, else itself."""
    others = definition.layer.definitions.exclude(pk=definition.pk)
    active = others.filter(status=Definition.Status.ACTIVE).first()
    return active or others.filter(version__lt=definition.version).first() or definition


def _layer(layer, versions):
    return {
        "layer": layer,
        "active": next((version for version in versions if version.status == "active"), None),
        "open": next((version for version in versions if version.status in ("draft", "in_review")), None),
        "past": [version for version in versions if version.status in ("retired", "rejected")][:10],
        "all": versions,
    }


def _counted(tally, at):
    """Say what the counts are of."""
    if not tally.total:
        return "There are no accounts to count."
    of = f"Counted on {wording.plural(tally.total, 'account,accounts')}"
    if tally.sampled:
        of = f"Estimated from a sample of {tally.counted:,} of {tally.total:,} accounts"
    sentence = f"{of} as of {wording.day(at)}."
    if tally.rest:
        sentence += f" No rule applies to {_amount(tally, tally.rest)}."
    return sentence + (
        f" Without enough data for any rule: {_amount(tally, tally.needs)}." if tally.needs else ""
    )


def _beside_rule(tally, rule, counts):
    """The words beside a rule; "" where it is not complete."""
    if counts is None or not tally.total:
        return ""
    matches, decides = counts
    if not {"when", "from", "top"} & set(rule):
        return f"Takes the rest: {_amount(tally, decides)}"
    matching = f"Matches {_amount(tally, matches)}"
    if matches == decides:
        return matching
    return f"{matching}, decides {_number(tally, decides)}: the rules before it take the others"


def _amount(tally, count):
    return f"{_number(tally, count)} {wording.plural(count, tally.unit).split(' ', 1)[1]}"


def _number(tally, count):
    if not tally.sampled:
        return f"{count:,}"
    about = round(count * tally.total / tally.counted) if tally.counted else 0
    return f"about {about:,}"
