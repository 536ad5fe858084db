"""Rules: every version, and the draft as a scoring table with errors at the cell."""

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect, JsonResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from accounts.admin.governed import GovernedAdmin, page
from accounts.catalogue import FACTS, TYPES
from accounts.refusals import Refused
from segmentation import definitions, versions
from segmentation.models import Definition, Layer

from .scoring_form import read, rows

LIST = "admin:segmentation_definition_changelist"
PAGE = "admin:segmentation_definition_change"


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
            path("<int:pk>/check/", wrap(require_POST(self.check_view)), name=name("check")),
            path("<int:pk>/discard/", wrap(self.discard_view), name=name("discard")),
            path("<int:pk>/activate/", wrap(self.activate_view), name=name("activate")),
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
            "demarc/rules.html",
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
        if open_one := layer.definitions.filter(status=Definition.Status.DRAFT).first():
            messages.info(request, "A draft is open already; this is it.")
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
        key = unquote(object_id)
        one = self._get(int(key) if key.isdigit() else 0)
        seen, document, refusal = one.hash, one.document, ""
        if request.method == "POST":
            self._may_change(request)
            document, seen = read(request.POST), request.POST.get("seen", "")
            try:
                versions.save_draft(one, document, by=request.user, seen=seen)
            except Refused as error:
                refusal = str(error)
            else:
                if "activate" in request.POST:
                    return HttpResponseRedirect(
                        reverse("admin:segmentation_definition_activate", args=[one.pk])
                    )
                messages.success(request, "The draft is saved.")
                return HttpResponseRedirect(reverse(PAGE, args=[one.pk]))
        return self._table(request, one, document, seen, refusal)

    def _table(self, request, one, document, seen, refusal):
        draft = one.status == Definition.Status.DRAFT
        segments = list(one.layer.segments.order_by("position", "key"))
        return page(
            request,
            "demarc/scoring.html",
            title=str(one),
            model_admin=self,
            original=one,
            definition=one,
            table=rows(document),
            seen=seen,
            refusal=refusal,
            editable=draft and self.has_change_permission(request),
            may_activate=request.user.has_perm("segmentation.activate_definition"),
            segments=segments,
            facts=sorted(FACTS.values(), key=lambda fact: (fact.family, fact.label)),
            problems=_problems(document, segments) if draft else [],
            yaml=definitions.to_yaml(one.document) if one.document and not draft else "",
            status=409 if refusal else 200,
        )

    def check_view(self, request, pk):
        """What is wrong with what is typed now; nothing is saved."""
        self._may_change(request)
        one = self._get(pk)
        return JsonResponse({"problems": _problems(read(request.POST), one.layer.segments.all())})

    def discard_view(self, request, pk):
        self._may_change(request)
        draft = self._get(pk)
        if draft.status != Definition.Status.DRAFT:
            return self._no_draft(request, draft)
        if request.method == "POST":
            try:
                versions.discard_draft(draft, by=request.user, seen=request.POST.get("seen", ""))
            except Refused as refusal:
                messages.error(request, str(refusal))
                return HttpResponseRedirect(request.path)
            messages.success(
                request, f"The draft of {draft.layer} is discarded; the active rules are as before."
            )
            return HttpResponseRedirect(reverse(LIST))
        return page(
            request,
            "demarc/rules_discard.html",
            title="Discard",
            model_admin=self,
            original=draft,
            draft=draft,
        )

    def activate_view(self, request, pk):
        """Asks for the reason; the POST activates."""
        if not request.user.has_perm("segmentation.activate_definition"):
            raise PermissionDenied
        draft = self._get(pk)
        if draft.status != Definition.Status.DRAFT:
            return self._no_draft(request, draft)
        reason, refusal = request.POST.get("reason", "").strip(), ""
        if request.method == "POST":
            try:
                versions.activate(draft, by=request.user, reason=reason, seen=request.POST.get("seen", ""))
            except Refused as error:
                refusal = str(error)
            else:
                messages.success(request, _activated(request.user, draft))
                return HttpResponseRedirect(reverse(LIST))
        return page(
            request,
            "demarc/rules_activate.html",
            title="Activate",
            model_admin=self,
            original=draft,
            draft=draft,
            active=draft.layer.definitions.filter(status="active").first(),
            problems=versions.problems(draft),
            reason=reason,
            refusal=refusal,
            status=409 if refusal else 200,
        )

    def _may_change(self, request):
        if not self.has_change_permission(request):
            raise PermissionDenied

    def _get(self, pk):
        one = Definition.objects.select_related("layer").filter(pk=pk).first()
        if one is None:
            raise Http404("There is no such version.")
        return one

    def _no_draft(self, request, one):
        """Clicked twice, or decided by somebody else meanwhile."""
        messages.warning(request, f"{one} is {one.get_status_display().lower()} already, no draft any more.")
        return HttpResponseRedirect(reverse(PAGE, args=[one.pk]))


def _activated(user, draft):
    """The sentence after an activation, with the next step for those who may take it."""
    said = f"{draft.layer}: version {draft.version} is active. Nothing has changed for any account yet."
    if not user.has_perm("segmentation.recompute_layer"):
        return f"{said} The next recalculation applies it."
    link = reverse("admin:segmentation_run_start")
    return format_html('{} <a href="{}" style="text-decoration:underline">Recalculate now</a>', said, link)


def _layer(layer, found):
    return {
        "layer": layer,
        "active": next((one for one in found if one.status == "active"), None),
        "draft": next((one for one in found if one.status == "draft"), None),
        "retired": [one for one in found if one.status == "retired"][:10],
    }


def _problems(document, segments):
    keys = {one.key for one in segments}
    found = definitions.problems(document, types=TYPES, segments=keys)
    return [{"path": one.path, "message": one.message} for one in found]
