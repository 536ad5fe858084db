"""Impact previews: started from a version of the rules, followed while they are worked, read, frozen, taken as a file."""

from decimal import Decimal

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import JsonResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from accounts.admin import downloads
from accounts.admin.fields import Day, Line, number
from accounts.admin.governed import PlainAdmin, page
from accounts.admin.verbs import VerbForm, VerbPage, row
from core import badges, history, wording
from segmentation.models import Definition, Simulation
from segmentation.previews import impact, simulation
from segmentation.reading import portfolio
from segmentation.rules import reasons

from . import flow

PAGE = "admin:segmentation_simulation_change"
NOBODY = "none"  # in an address: no segment
FIRST, PAGED = 10, 50  # movers on the preview's page, and on a page of their own


@admin.register(Simulation)
class SimulationAdmin(PlainAdmin):
    list_display = ["number", "state", "of", "as_of_shown", "started", "moved", "kept"]
    list_filter = ["status", "layer"]
    list_select_related = ["layer"]
    empty_text = "Open a version of the rules and choose “Impact preview”: it changes nothing."

    def has_view_permission(self, request, obj=None):
        """It names accounts and their ARR."""
        user = request.user
        sees = user.has_perm("segmentation.view_simulation") or simulation.may(user)
        return sees and user.has_perm("accounts.view_account")

    def has_module_permission(self, request):
        return self.has_view_permission(request)

    def has_add_permission(self, request):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def empty_step(self, request):
        return "Look at the rules", reverse("admin:segmentation_definition_changelist")

    def get_queryset(self, request):
        return super().get_queryset(request).defer("document")

    def get_urls(self):
        wrap = self.admin_site.admin_view
        name = "segmentation_simulation_{}".format
        return [
            path("start/", wrap(StartPage.as_view(admin=self)), name=name("start")),
            path("<int:pk>/progress/", wrap(self.progress_view), name=name("progress")),
            path(
                "<int:pk>/cancel/",
                wrap(require_POST(PreviewPage.as_view(admin=self, verb="cancel"))),
                name=name("cancel"),
            ),
            path(
                "<int:pk>/freeze/",
                wrap(require_POST(PreviewPage.as_view(admin=self, verb="freeze"))),
                name=name("freeze"),
            ),
            path("<int:pk>/movers/", wrap(self.movers_view), name=name("movers")),
            path("<int:pk>/movers.csv", wrap(self.csv_view), name=name("csv")),
            *super().get_urls(),
        ]

    # -- the list

    @admin.display(description="Impact preview", ordering="pk")
    def number(self, preview):
        return f"No. {preview.pk}"

    @admin.display(description="Status", ordering="status")
    def state(self, preview):
        return badges.status(preview)

    @admin.display(description="Rules", ordering="layer")
    def of(self, preview):
        return _of(preview)

    @admin.display(description="As of", ordering="as_of")
    def as_of_shown(self, preview):
        return wording.day(preview.as_of)

    @admin.display(description="Started", ordering="started_at")
    def started(self, preview):
        return f"{wording.moment(preview.started_at)} · {history.who(preview, 'started_by')}"

    @admin.display(description="Segment changes")
    def moved(self, preview):
        return wording.count(
            impact.numbers(preview.result)["changed"]["accounts"] if preview.result else None
        )

    @admin.display(description="Frozen", ordering="frozen_at")
    def kept(self, preview):
        return preview.note or "–"

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return PreviewPage.as_view(admin=self)(request, pk=unquote(object_id))

    def progress_view(self, request, pk):
        """How far it is. Where no worker is, a started preview goes on here too: it is the same whoever works it."""
        preview = self._get(request, pk)
        if preview.status == Simulation.Status.RUNNING:
            simulation.carry(preview)
        state = simulation.progress(preview)
        return JsonResponse(
            {
                "ended": state["status"] != Simulation.Status.RUNNING,
                "begun": state["done"] > 0,
                "done": state["done"],
                "of": state["of"],
                "step": f"{state['accounts_done']:,} of {state['accounts']:,} accounts",
            }
        )

    def movers_view(self, request, pk):
        """Everybody of one of the two questions, or those of one cell of its matrix; the most ARR first."""
        preview = self._get(request, pk)
        narrowed, in_words = _narrowed(preview, request.GET)
        which = narrowed["which"]
        place = number(request.GET.get("p"), most=999_999) or 1
        movers = simulation.movers(preview, **narrowed, offset=(place - 1) * PAGED, limit=PAGED + 1)
        kept = request.GET.copy()
        kept.pop("p", None)
        return page(
            request,
            "segmentation/previews/movers.html",
            title="Segment changes",
            model_admin=self,
            original=preview,
            one=preview,
            of=_of(preview),
            asked=QUESTIONS[which],
            other=next((key, text) for key, text in QUESTIONS.items() if key != which),
            kept=_kept(preview, which),
            said=in_words,
            query=kept.urlencode(),
            movers=named(preview, movers[:PAGED]),
            number=place,
            more=len(movers) > PAGED,
            may_export=request.user.has_perm("accounts.export_accounts"),
        )

    def csv_view(self, request, pk):
        if not request.user.has_perm("accounts.export_accounts"):
            raise PermissionDenied
        preview = self._get(request, pk)
        narrowed, _ = _narrowed(preview, request.GET)
        return downloads.csv(simulation.file_name(preview), simulation.movers_csv(preview, **narrowed))

    def _get(self, request, pk):
        if not self.has_view_permission(request):
            raise PermissionDenied
        return row(Simulation.objects.select_related("layer"), pk, "impact preview")


# -- starting


class StartForm(VerbForm):
    as_of = Day(
        "As of", needed=True, help="The date of the last recalculation, unless you choose another one."
    )

    def start(self):
        return {"as_of": simulation.default_date(self.thing.layer)}

    def carry_out(self):
        made = simulation.start(self.thing, by=self.by, **self.cleaned_data)
        return reverse(PAGE, args=[made.pk])


class StartPage(VerbPage):
    """A page that asks: nothing is worked by following a link."""

    title = "Impact preview"
    template = "segmentation/previews/start.html"
    verbs = {"start": StartForm}

    def load(self):
        if not simulation.may(self.request.user):
            raise PermissionDenied
        return row(Definition.objects.select_related("layer"), self.sent("definition"), "version")

    def context(self):
        return {"definition": self.thing, "before": self.thing.layer.simulations.defer("document")[:5]}


# -- one preview


class FreezeForm(VerbForm):
    at = {"preview_note_missing": "note"}
    note = Line("What it is kept for", needed=True, most=1_000)

    def carry_out(self):
        simulation.freeze(self.thing, by=self.by, **self.cleaned_data)
        self.say("Frozen: from now on nobody can change it.")
        return reverse(PAGE, args=[self.thing.pk])


class CancelForm(VerbForm):
    def carry_out(self):
        simulation.cancel(self.thing, by=self.by)
        self.say("Cancelled.")
        return reverse(PAGE, args=[self.thing.pk])


class PreviewPage(VerbPage):
    template = "segmentation/previews/preview.html"
    verbs = {"freeze": FreezeForm, "cancel": CancelForm}

    def load(self, pk):
        preview = self.admin._get(self.request, pk)
        if self.request.method == "POST" and not simulation.may(self.request.user):
            raise PermissionDenied
        return preview

    def context(self):
        preview, report = self.thing, simulation.report(self.thing)
        running, user = preview.status == Simulation.Status.RUNNING, self.request.user
        return {
            "title": str(preview),
            "original": preview,
            "one": preview,
            "of": _of(preview),
            "definition": Definition.objects.filter(pk=preview.definition_id).first(),
            "changed": simulation.changed(preview),
            "progress": simulation.progress(preview) if running else None,
            "may_start": simulation.may(user),
            "may_export": user.has_perm("accounts.export_accounts"),
            "report": report,
            "active": preview.layer.scoped.active,
            "movers": named(preview, simulation.movers(preview, which="changed", limit=FIRST))
            if preview.result
            else [],
            "kept": _kept(preview, "changed"),
            **(_read(preview, report) if preview.result else {}),
        }


def _of(preview):
    return (
        f"{preview.layer}, version {preview.version}"
        if preview.version
        else f"{preview.layer}, rules of a file"
    )


# The two questions, each with the words for its accounts.
QUESTIONS = {
    "changed": "Another segment by these rules",
    "moved": "In another segment than now",
}


def _kept(preview, which):
    """False for a preview of before the accounts of both questions were kept."""
    changed = preview.result and impact.numbers(preview.result)["changed"]["accounts"]
    return which == "moved" or not changed or preview.parts.exclude(rules_to=[]).exists()


def _names(preview):
    """{segment's id, None for none: its name when the preview was made}."""
    return {row["id"]: row["name"] for row in preview.result.get("segments", [])} | {None: "No segment"}


def named(preview, movers):
    """Movers (rows of `simulation.movers`) with the names of their segments and their ARR as Money."""
    names = _names(preview)
    others = simulation.others([(row["account"], row["arr"]) for row in movers], preview.as_of)
    return [
        row
        | {"source": names.get(row["source"]), "target": names.get(row["target"])}
        | {"arr": others.get(row["account"], row["arr"])}
        for row in movers
    ]


def _narrowed(preview, parameters):
    """(what `simulation.movers` is narrowed to, the same in words) of an address; what is not known there is no filter."""
    keys = {row["key"]: row["id"] for row in preview.result.get("segments", [])} | {NOBODY: None}
    names = _names(preview)
    narrowed = {
        side: keys[parameters[name]]
        for side, name in (("source", "from"), ("target", "to"))
        if parameters.get(name) in keys
    }
    words = {"source": "from", "target": "to"}
    which = parameters.get("which") if parameters.get("which") in QUESTIONS else "moved"
    return narrowed | {"which": which}, " ".join(
        f"{words[side]} {names[id]}" for side, id in narrowed.items()
    )


# -- the numbers as the page shows them


def _read(preview, report):
    names = {row["key"]: row["name"] for row in preview.result["segments"]} | {None: "No segment"}
    cells = {(row["from"], row["to"]): row["accounts"] for row in report["in_force"]}
    link = reverse("admin:segmentation_simulation_movers", args=[preview.pk])
    coverage, largest = report["coverage"], report["concentration"]
    return {
        "matrix": _matrix(report["in_force"], names, link, "moved"),
        "by_rules": _matrix(report["by_rules"], names, link, "changed"),
        "picture": flow.draw(cells, names),
        "coverage_verdict": portfolio.coverage_verdict(coverage["after"]),
        "concentration_verdict": portfolio.concentration_verdict(largest["after"]),
        "reasons": [
            (reasons.text(code), count)
            for code, count in sorted(report["reasons"].items(), key=lambda pair: (-pair[1], pair[0]))
        ],
        "nearest": [
            boundary
            | {"accounts": [row | {"segment": names.get(row["segment"])} for row in boundary["accounts"]]}
            for boundary in report["nearest"]
        ],
        "staffed": _together(report["service_models"]),
        "unstaffed": ", ".join(
            row["name"] for row in report["service_models"] if row["name"] and not row["staff"]
        ),
    }


def _matrix(rows, names, link, which):
    """Rows and columns of a table; those that nobody is in are left out."""
    by_way = {(row["from"], row["to"]): row for row in rows}
    sources = [key for key in names if any(source == key for source, _ in by_way)]
    targets = [key for key in names if any(target == key for _, target in by_way)]
    lines = []
    for source in sources:
        cells = [_cell(by_way.get((source, target)), source, target, link, which) for target in targets]
        lines.append(
            {"name": names[source], "cells": cells, **_sum(row for row in rows if row["from"] == source)}
        )
    return {
        "targets": [names[key] for key in targets],
        "lines": lines,
        "sums": [_sum(row for row in rows if row["to"] == target) for target in targets],
        "total": _sum(rows),
    }


def _cell(row, source, target, link, which):
    if row is None:
        return None
    query = f"from={source or NOBODY}&to={target or NOBODY}&which={which}"
    address = f"{link}?{query}" if source != target else ""
    return row | {"stays": source == target, "link": address}


def _sum(rows):
    rows = list(rows)
    return {
        "accounts": sum(row["accounts"] for row in rows),
        "arr": sum(Decimal(row["arr"]) for row in rows),
        "other_currency": sum(row["other_currency"] for row in rows),
    }


def _together(models):
    """Accounts and ARR of all service models, before and after."""
    return {side: sum(row[side]["accounts"] for row in models) for side in ("before", "after")}
