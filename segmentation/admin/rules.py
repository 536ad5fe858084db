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
from accounts.catalogue import FACTS, TYPES
from core import wording
from core.refusals import Refused
from segmentation import scopes
from segmentation.authoring import rule_counts, versions
from segmentation.models import Definition, Layer
from segmentation.rules import comparison, definitions, document_text, files, terms

from . import checks
from .scoring_form import fields, operators, read, row_problems, rows

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
        for one in Definition.objects.defer("document").order_by("-version"):
            versions_of.setdefault(one.layer_id, []).append(one)
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
        one = self._get(unquote(object_id))
        seen, document, refusal = one.hash, one.document, ""
        if request.method == "POST":
            self._may_change(request)
            document, seen = read(request.POST), request.POST.get("seen", "")
            try:
                if wrong := row_problems(request.POST, document):
                    raise Refused("condition_unfinished", problem=wrong[0]["message"])
                versions.save_draft(one, document, by=request.user, seen=seen)
            except Refused as error:
                refusal = str(error)
            else:
                if "send" in request.POST:
                    return HttpResponseRedirect(reverse(SEND, args=[one.pk]))
                messages.success(request, "The draft is saved.")
                return HttpResponseRedirect(reverse(PAGE, args=[one.pk]))
        return self._table(request, one, document, seen, refusal)

    def _table(self, request, one, document, seen, refusal):
        draft = one.status == Definition.Status.DRAFT
        segments = list(one.layer.segments.order_by("position", "key"))
        typed = request.POST if request.method == "POST" else None
        offered = fields(document, one.layer, _others(one.layer)) if draft else []
        return page(
            request,
            "segmentation/rules/scoring.html",
            title=str(one),
            model_admin=self,
            original=one,
            definition=one,
            table=rows(document, typed),
            rows={"fields": offered, "operators": operators()},
            told_rules=[] if draft else terms.rules(document, names=versions.labels(one.layer)),
            numbers=[field for field in offered if field["kind"] == "number"],
            seen=seen,
            refusal=refusal,
            editable=draft and self.has_change_permission(request),
            may_send=any(step.verb == "submit" for step in versions.steps(one, by=request.user)),
            sign_off=gates.ask("rules_page", one, user=request.user),
            others=one.layer.definitions.exclude(pk=one.pk).exists(),
            may_change=self.has_change_permission(request),
            segments=segments,
            facts=sorted(FACTS.values(), key=lambda fact: (fact.family, fact.label)),
            problems=_all_problems(typed, document, segments) if draft else [],
            yaml=document_text.to_yaml(one.document) if one.document and not draft else "",
            status=409 if refusal else 200,
        )

    def check_view(self, request, pk):
        """Say what is wrong with what is typed now, and give its conditions as text and as rows; nothing is saved."""
        self._may_change(request)
        one, document = self._get(pk), read(request.POST)
        segments = list(one.layer.segments.all())
        return JsonResponse({
            "problems": _all_problems(request.POST, document, segments),
            "rules": [{"when": rule.get("when", ""), "rows": rule["rows"]} for rule in rows(document)["rules"]],
            "fields": fields(document, one.layer, _others(one.layer)),
        })  # fmt: skip

    def counts_view(self, request, pk):
        """How many accounts each rule of what is typed now is about; nothing is saved."""
        self._may_change(request)
        one, at = self._get(pk), timezone.localdate()
        try:
            document = read(request.POST)
            found = rule_counts.count(document, one.layer, at=at)
        except DatabaseError:
            return JsonResponse({"said": "The accounts could not be counted.", "rules": []})
        if found is None:
            return JsonResponse({"said": "Accounts are counted once the rules are complete.", "rules": []})
        pairs = zip(document["rules"], found.rules, strict=True)
        return JsonResponse({"said": _counted(found, at), "rules": [_said(found, *pair) for pair in pairs]})

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
        one = self._get(pk)
        return downloads.yaml(f"{one.layer.key}-{one.version}.yaml", files.write(one.layer.key, one.document))

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
        found = Layer.objects.filter(key=key).first()
        if found is None:
            keys = list(Layer.objects.values_list("key", flat=True))
            near = get_close_matches(key, keys, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise Refused("file_of_unknown_layer", key=key, hint=hint, layers=", ".join(keys) or "none")
        return found


class ImportPage(VerbPage):
    """A file becomes a draft."""

    title = "Import rules"
    template = "segmentation/rules/import.html"
    verbs = {"import": ImportForm}

    def load(self):
        self.admin._may_change(self.request)


def _compared(old, new):
    return comparison.compare(old.document, new.document, names=versions.labels(new.layer))


def _before(one):
    """The version to compare with when nobody says: the active one, else the one before, else itself."""
    others = one.layer.definitions.exclude(pk=one.pk)
    active = others.filter(status=Definition.Status.ACTIVE).first()
    return active or others.filter(version__lt=one.version).first() or one


def _layer(layer, found):
    return {
        "layer": layer,
        "active": next((one for one in found if one.status == "active"), None),
        "open": next((one for one in found if one.status in ("draft", "in_review")), None),
        "past": [one for one in found if one.status in ("retired", "rejected")][:10],
        "all": found,
    }


def _others(layer):
    """The other layers that rules may read."""
    others = Layer.objects.filter(scope__in=scopes.ONE_LABEL).exclude(pk=layer.pk)
    return others.prefetch_related("segments").order_by("position", "key")


def _counted(found, at):
    """Say what the counts are of."""
    if not found.total:
        return "There are no accounts to count."
    of = f"Counted on {wording.plural(found.total, 'account,accounts')}"
    if found.sampled:
        of = f"Estimated from a sample of {found.counted:,} of {found.total:,} accounts"
    said = f"{of} as of {wording.day(at)}."
    if found.rest:
        said += f" No rule applies to {_amount(found, found.rest)}."
    return said + (
        f" Without enough data for any rule: {_amount(found, found.needs)}." if found.needs else ""
    )


def _said(found, rule, counts):
    """The words beside a rule; "" where it is not complete."""
    if counts is None or not found.total:
        return ""
    matches, decides = counts
    if not {"when", "from", "top"} & set(rule):
        return f"Takes the rest: {_amount(found, decides)}"
    said = f"Matches {_amount(found, matches)}"
    if matches == decides:
        return said
    return f"{said}, decides {_number(found, decides)}: the rules before it take the others"


def _amount(found, count):
    return f"{_number(found, count)} {wording.plural(count, found.unit).split(' ', 1)[1]}"


def _number(found, count):
    if not found.sampled:
        return f"{count:,}"
    about = round(count * found.total / found.counted) if found.counted else 0
    return f"about {about:,}"


def _all_problems(typed, document, segments):
    """The problems of a document, with those of rows in place of what their unfinished text would give."""
    wrong = row_problems(typed, document) if typed else []
    unfinished = {f"{one['path'].split('.rows')[0]}.when" for one in wrong}
    return [one for one in _problems(document, segments) if one["path"] not in unfinished] + wrong


def _problems(document, segments):
    keys = {one.key for one in segments}
    found = definitions.problems(document, types=TYPES, segments=keys)
    return [{"path": one.path, "message": one.message} for one in found]
