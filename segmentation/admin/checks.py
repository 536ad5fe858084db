"""Checks on the page of a version: what to mend, what to answer for, what passed, and the four tests of its segments."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from accounts.admin.governed import page
from core.refusals import Refused
from segmentation import checks, portfolio, versions
from segmentation.checks import accounts, acknowledgements, segments
from segmentation.models import Definition

PAGE = "admin:segmentation_definition_change"
SHOWN = ("draft", "in_review", "active")  # those decided against, or over, only tell what was acknowledged
DATA = ("incomplete-field", "stale-field", "dimension-without-data")


def urls(model_admin, wrap):
    """The addresses of the checks, below a version's own."""

    def address(name, view):
        return path(
            f"<int:pk>/{name}/", wrap(view), {"model_admin": model_admin}, f"segmentation_definition_{name}"
        )

    return [address("checks", checks_view), address("acknowledge", require_POST(acknowledge_view))]


def checks_view(request, pk, model_admin):
    """The checks of a version: as part of its page, or as a page of their own."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    definition = get_object_or_404(Definition.objects.select_related("layer"), pk=pk)
    found = _context(request, definition)
    if "HX-Request" in request.headers:
        return render(request, "segmentation/checks/checks.html", found)
    return page(
        request,
        "segmentation/checks/page.html",
        title="Checks",
        model_admin=model_admin,
        original=definition,
        **found,
    )


def acknowledge_view(request, pk, model_admin):
    """Answers for the chosen warnings, all with one reason."""
    definition = get_object_or_404(Definition.objects.select_related("layer"), pk=pk)
    chosen = set(request.POST.getlist("warning"))
    activating = request.POST.get("activating") == "1"
    page_name = "ask_activation" if activating else PAGE
    back = f"{reverse(page_name, args=[pk])}{'' if activating else '#checks'}"
    try:
        if not acknowledgements.may_acknowledge(request.user):
            raise PermissionDenied
        warnings = [one for one in _report(request, definition)[0].warnings if _name(one) in chosen]
        if not warnings:
            raise Refused("warnings_not_chosen")
        reason = request.POST.get("reason", "")
        acknowledgements.acknowledge(definition, warnings, reason=reason, by=request.user)
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, "Acknowledged. It is kept with this version.")
    return HttpResponseRedirect(back)


def _name(finding):
    """A warning in a form: the check and what it is about."""
    return "/".join(finding.key)


def _report(request, definition):
    """(what the checks say, when the accounts were looked at): kept as long as nothing they read has changed."""
    looked_at = []

    def look(document, *, layer, at):
        found, when = portfolio.kept(
            f"checks-{definition.hash}",
            lambda: accounts.measure(document, layer=layer, at=at),
            layer=layer,
            at=at,
            last=portfolio.last_run(layer),
            after=request.session.get("acted_at", 0),
        )
        looked_at.append(when)
        return found

    report = checks.examine(definition, problems=versions.problems(definition), look=look)
    return report, looked_at[0]


def _context(request, definition):
    found = {
        "definition": definition,
        "acknowledged": definition.acknowledgements.all(),
        "activating": request.GET.get("activating") == "1",  # whoever acknowledges goes back there
        "may_acknowledge": definition.status in acknowledgements.OPEN
        and acknowledgements.may_acknowledge(request.user),
    }
    if definition.status not in SHOWN:
        return found
    report, counted_at = _report(request, definition)
    known = {one.key: one for one in definition.layer.segments.all()}
    earlier = acknowledgements.earlier(definition)

    def row(finding):
        return {
            "finding": finding,
            "name": _name(finding),
            "links": _links(finding, definition, known),
            "answer": report.acknowledged.get(finding.key),
            "earlier": earlier.get(finding.key),
        }

    open_ones = [row(one) for one in report.unacknowledged]
    return found | {
        "report": report,
        "portfolio": report.subject.portfolio,
        "counted_at": counted_at,
        "errors": [row(one) for one in report.errors],
        "open": open_ones,
        "answered": [row(one) for one in report.warnings if one.key in report.acknowledged],
        "tests": list(segments.tests(report.subject)) if report.subject.document else [],
    }


def _links(finding, definition, known):
    """[(text, address)] of where it is mended."""
    if finding.check == "contested-field":
        return [
            (definition.layer.name, reverse("admin:segmentation_layer_change", args=[definition.layer_id]))
        ]
    if finding.check in DATA:
        return [("Data dictionary", reverse("data_dictionary"))]
    if finding.path:
        return [("Go there", f"{reverse(PAGE, args=[definition.pk])}#{finding.path}")]
    if finding.check in ("no-service-model", "equal-treatments"):
        served = {known[key].treatment for key in finding.segments if key in known}
        return [
            (one.name, reverse("admin:segmentation_treatment_change", args=[one.pk]))
            for one in sorted(filter(None, served), key=str)
        ]
    return [
        (known[key].name, reverse("admin:segmentation_segment_change", args=[known[key].pk]))
        for key in finding.segments
        if key in known
    ]
