"""Checks on the page of a version: what to mend, what to answer for, what passed, and the four tests of its segments."""

from django import forms
from django.core.exceptions import PermissionDenied
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from accounts.admin.fields import Text, Tick
from accounts.admin.verbs import VerbForm, VerbPage, row
from accounts.catalogue import label
from core.refusals import Refused
from segmentation.authoring import checks, versions
from segmentation.authoring.checks import accounts, acknowledgements, segments
from segmentation.models import Definition
from segmentation.reading import portfolio

PAGE = "admin:segmentation_definition_change"
SHOWN = ("draft", "in_review", "active")  # those decided against, or over, only tell what was acknowledged
VALUES_SHOWN = 20  # of a measure
DATA = ("incomplete-field", "stale-field", "dimension-without-data")


def urls(model_admin, wrap):
    """The addresses of the checks, below a version's own."""

    def address(name, view):
        return path(
            f"<int:pk>/{name}/", wrap(view), {"model_admin": model_admin}, f"segmentation_definition_{name}"
        )

    return [address("checks", checks_view), address("acknowledge", require_POST(checks_view))]


def checks_view(request, pk, model_admin):
    """The checks of a version: as part of its page, or as a page of their own."""
    view = ChecksPage(admin=model_admin)
    view.setup(request, pk=pk)
    if "HX-Request" not in request.headers:
        return view.dispatch(request, pk=pk)
    definition = view.load(pk)
    form = AcknowledgeForm(definition, request.user, page=view)
    return render(
        request, "segmentation/checks/checks.html", {"form": form, **context_of(request, definition)}
    )


class AcknowledgeForm(VerbForm):
    """Answers for the chosen warnings, all with one reason. Warnings that are gone meanwhile need no answer."""

    at = {"warnings_unexplained": "reason"}
    warning = forms.MultipleChoiceField(required=False)
    reason = Text("Why these rules are used all the same", needed=True, help="For the warnings you ticked. It is kept with the version, for everybody who asks later.")  # fmt: skip
    activating = Tick()  # whoever acknowledges goes back there

    def prepare(self):
        self.fields["reason"].widget.attrs["id"] = "answer"
        self.fields["warning"].valid_value = lambda value: True

    def carry_out(self):
        chosen = self.cleaned_data["warning"]
        warnings = chosen_of(self.page.request, self.thing, chosen)
        if not warnings:
            raise Refused("warnings_not_chosen")
        acknowledgements.acknowledge(self.thing, warnings, reason=self.cleaned_data["reason"], by=self.by)
        self.say("Acknowledged. It is kept with this version.")
        if self.cleaned_data["activating"]:
            return reverse("ask_activation", args=[self.thing.pk])
        return f"{reverse(PAGE, args=[self.thing.pk])}#checks"


class ChecksPage(VerbPage):
    """The checks of a version as a page of their own, where warnings are answered for."""

    title = "Checks"
    template = "segmentation/checks/page.html"
    verbs = {"acknowledge": AcknowledgeForm}

    def load(self, pk):
        if self.request.method == "POST" and not acknowledgements.may_acknowledge(self.request.user):
            raise PermissionDenied
        if not self.admin.has_view_permission(self.request):
            raise PermissionDenied
        return row(Definition.objects.select_related("layer"), pk, "version")

    def context(self):
        return {"original": self.thing, **context_of(self.request, self.thing)}


def _name(finding):
    """A warning in a form: the check and what it is about."""
    return "/".join(finding.key)


def chosen_of(request, definition, names):
    """The warnings of these names that there are."""
    report, _ = _report(request, definition)
    return [warning for warning in report.warnings if _name(warning) in names]


def _report(request, definition):
    """(what the checks say, when the accounts were looked at): kept as long as nothing they read has changed."""
    looked_at = []

    def look(document, *, layer, at):
        measured, when = portfolio.kept(
            f"checks-{definition.hash}",
            lambda: accounts.measure(document, layer=layer, at=at),
            layer=layer,
            at=at,
            last=portfolio.last_run(layer),
            after=request.session.get("acted_at", 0),
        )
        looked_at.append(when)
        return measured

    report = checks.examine(definition, problems=versions.problems(definition), look=look)
    return report, looked_at[0]


def context_of(request, definition):
    context = {
        "definition": definition,
        "acknowledged": definition.acknowledgements.all(),
        "activating": "activating" in request.GET or "activating" in request.POST,
        "may_acknowledge": definition.status in acknowledgements.OPEN
        and acknowledgements.may_acknowledge(request.user),
    }
    if definition.status not in SHOWN:
        return context
    report, counted_at = _report(request, definition)
    by_key = {segment.key: segment for segment in definition.layer.segments.all()}
    earlier = acknowledgements.earlier(definition)

    def row(finding):
        return {
            "finding": finding,
            "name": _name(finding),
            "links": _links(finding, definition, by_key),
            "answer": report.acknowledged.get(finding.key),
            "earlier": earlier.get(finding.key),
        }

    open_ones = [row(warning) for warning in report.unacknowledged]
    return context | {
        "report": report,
        "portfolio": report.subject.portfolio,
        "counted_at": counted_at,
        "errors": [row(error) for error in report.errors],
        "open": open_ones,
        "answered": [row(warning) for warning in report.warnings if warning.key in report.acknowledged],
        "uncelled": _uncelled(report.subject),
        "tests": list(segments.tests(report.subject)) if report.subject.document else [],
    }


def _uncelled(subject):
    """[(measure, where its values fall, [(value, accounts)], how many more)] of texts that no cell names."""
    listed = []
    for criterion in subject.document.criteria if subject.document else ():
        found = subject.portfolio.uncelled.get(criterion.key)
        if not found:
            continue
        rest = any(cell is not None and cell.rest for cell in criterion.rubric.cells)
        values = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
        where = "anything else (*)" if rest else "no cell"
        name = criterion.name or label(criterion.fact)
        listed.append((name, where, values[:VALUES_SHOWN], len(values[VALUES_SHOWN:])))
    return listed


def _links(finding, definition, by_key):
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
        served = {by_key[key].treatment for key in finding.segments if key in by_key}
        return [
            (treatment.name, reverse("admin:segmentation_treatment_change", args=[treatment.pk]))
            for treatment in sorted(filter(None, served), key=str)
        ]
    return [
        (by_key[key].name, reverse("admin:segmentation_segment_change", args=[by_key[key].pk]))
        for key in finding.segments
        if key in by_key
    ]
