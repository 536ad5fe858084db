"""Checks: what is wrong with rules before anybody uses them.

Errors keep rules from becoming active; warnings must be acknowledged, with a reason. `table.CHECKS` lists them all.

    lint(data, *, layer=None, segments=None) -> Report    # needs no accounts: files, editors
    examine(definition, *, problems, at) -> Report        # everything, on the live portfolio

A Report has `findings`, `errors`, `warnings`, `unacknowledged`, `passed` and `not_run`. A Finding has `check` (its id),
`level`, `message` (a sentence with what to do next), `path` into the document and `about`.
"""

from accounts import catalogue
from segmentation.checks import findings
from segmentation.checks.findings import ERROR, WARNING, Check, Finding, Report, Result
from segmentation.checks.subject import Subject
from segmentation.checks.table import CHECKS

__all__ = ["CHECKS", "ERROR", "WARNING", "Check", "Finding", "Report", "Result", "lint"]


def lint(data, *, layer=None, segments=None, problems=None, types=catalogue.TYPES):
    """What can be said about rules without looking at accounts.

    data: a document as plain data or YAML text. layer: the Layer they are for, where it is there; without it what
    concerns its segments is not run, and `segments` (keys), where given, are those that rules may name.
    problems: of the text, where they are known already (definitions.Problem).
    """
    subject = Subject.read(data, layer=layer, segments=segments, problems=problems, types=types)
    return Report(tuple(findings.run(check, subject) for check in CHECKS))
