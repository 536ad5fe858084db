"""Checks: what is wrong with rules before anybody uses them.

Errors keep rules from becoming active; warnings must be acknowledged, with a reason. `table.CHECKS` lists them all.

    lint(data, *, layer=None, segments=None) -> Report    # needs no accounts: files, editors
    examine(definition) -> Report                         # everything, on the live portfolio

A Report has `findings`, `errors`, `warnings`, `unacknowledged`, `passed` and `not_run`. A Finding has `check` (its id),
`level`, `message` (a sentence with what to do next), `path` into the document and `about`.
"""

from django.utils import timezone

from accounts import catalogue
from segmentation.authoring.checks import accounts, findings
from segmentation.authoring.checks.findings import ERROR, WARNING, Check, Finding, Report, Result
from segmentation.authoring.checks.subject import Subject
from segmentation.authoring.checks.table import CHECKS
from segmentation.evaluation import run_rules
from segmentation.models import Layer
from segmentation.runs import recalculation

__all__ = ["CHECKS", "ERROR", "WARNING", "Check", "Finding", "Report", "Result", "Subject", "examine", "lint"]


def lint(data, *, layer=None, segments=None, problems=None, types=catalogue.TYPES):
    """Say about rules what can be said without looking at accounts.

    data: a document as plain data or YAML text. layer: the Layer they are for, where it is there; without it what
    concerns its segments is not run, and `segments` (keys), where given, are those that rules may name.
    problems: of the text, where they are known already (definitions.Problem).
    """
    labels = labels_there_are() if layer is not None else {}
    return _report(
        Subject.read(data, layer=layer, segments=segments, problems=problems, types=types, labels=labels)
    )


def examine(definition, *, problems=None, at=None, look=accounts.measure):
    """Everything about a version, on the live portfolio: seconds for a million accounts.

    problems: of its text, with what only other segmentations tell (versions.problems). at: the clock, a date; that of
    the layer's last recalculation when not given. look: how the accounts are looked at; for who keeps what was found.
    """
    layer = definition.layer
    subject = Subject.read(definition.document, layer=layer, problems=problems, labels=labels_there_are())
    clock = at or clock_of(layer)
    subject.portfolio = look(subject.document, layer=layer, at=clock)
    acknowledged = {
        (acknowledgement.check_id, acknowledgement.about): acknowledgement
        for acknowledgement in definition.acknowledgements.all()
    }
    return _report(subject, acknowledged)


def clock_of(layer):
    """The day the portfolio is looked at: that of the layer's last recalculation, or today."""
    last = recalculation.latest(layer)
    return last.as_of if last else timezone.localdate()


def labels_there_are():
    """{key of a layer as conditions write it: {key of a segment: its name}}, without those that are no more."""
    gone = run_rules.gone()
    layers = Layer.objects.prefetch_related("segments")
    return {
        run_rules.spoken(layer.key): {
            segment.key: segment.name
            for segment in layer.segments.all()
            if (layer.pk, segment.key) not in gone
        }
        for layer in layers
    }


def _report(subject, acknowledged=None):
    results = tuple(findings.run(check, subject) for check in CHECKS)
    return Report(results, acknowledged or {}, subject)
