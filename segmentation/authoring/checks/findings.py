"""Checks and the findings they make."""

from dataclasses import dataclass, field
from functools import cached_property

ERROR, WARNING = "error", "warning"
FOUND, PASSED, NOT_RUN = "found", "passed", "not run"

# The subjects of a check: the text alone, rules that can be read, the segmentation they belong to, its accounts.
TEXT, RULES, LAYER, ACCOUNTS = "text", "rules", "layer", "accounts"


@dataclass(frozen=True)
class Check:
    """One row of the table.

    title: what is made sure, as on a list. sentence: what is wrong and what to do next, with the {words} of what was
    found. find: subject -> what was `found`, `undecided` places among it. needs: TEXT, RULES, LAYER or ACCOUNTS.
    """

    id: str
    level: str
    needs: str
    title: str
    sentence: str
    find: object = field(repr=False)


@dataclass(frozen=True)
class Place:
    """A place where something is wrong. `about` names it as long as it is the same thing, whatever the numbers."""

    about: str
    path: str = ""  # into the document, like `rules.2.when`
    segments: tuple = ()  # keys
    words: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Undecided:
    """A place where the check cannot tell, and does not guess."""

    what: str


class NotRun(Exception):
    """The check has nothing to look at; the message says why."""


def place(about, *, path="", segments=(), **words):
    return Place(str(about), path, tuple(segments), words)


@dataclass(frozen=True)
class Finding:
    """One thing wrong, for a person. A warning is acknowledged by its `key`."""

    check: str
    level: str
    message: str
    about: str = ""
    path: str = ""
    segments: tuple = ()

    @property
    def key(self):
        return self.check, self.about


@dataclass(frozen=True)
class Result:
    """The outcome of one check. `note`: why it was not run, or what could not be decided."""

    check: Check
    status: str
    findings: tuple = ()
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The outcome of all checks, in the order of the table. `acknowledged`: {key of a finding: Acknowledgement}."""

    results: tuple
    acknowledged: dict = field(default_factory=dict)
    subject: object = field(default=None, repr=False)  # what was looked at

    @cached_property
    def findings(self):
        return [finding for result in self.results for finding in result.findings]

    @property
    def errors(self):
        return [finding for finding in self.findings if finding.level == ERROR]

    @property
    def warnings(self):
        return [finding for finding in self.findings if finding.level == WARNING]

    @property
    def unacknowledged(self):
        return [finding for finding in self.warnings if finding.key not in self.acknowledged]

    @property
    def passed(self):
        return [result for result in self.results if result.status == PASSED]

    @property
    def not_run(self):
        return [result for result in self.results if result.status == NOT_RUN]


def run(check, subject):
    """The Result of one check."""
    try:
        places = list(check.find(subject.ready(check.needs)))
    except NotRun as reason:
        return Result(check, NOT_RUN, note=str(reason))
    undecided = [entry.what for entry in places if isinstance(entry, Undecided)]
    findings = tuple(
        Finding(
            check.id,
            check.level,
            check.sentence.format(**entry.words),
            entry.about,
            entry.path,
            entry.segments,
        )
        for entry in places
        if isinstance(entry, Place)
    )
    note = f"Not decided: {'; '.join(undecided)}." if undecided else ""
    return Result(check, FOUND if findings else PASSED, findings, note)
