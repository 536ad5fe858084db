"""The subject of the checks: a document, its layer, and what is known about the portfolio."""

from dataclasses import dataclass, field
from functools import cached_property

from accounts import catalogue
from segmentation.authoring.checks import findings
from segmentation.authoring.checks.findings import NotRun
from segmentation.rules import definitions, document_text
from segmentation.rules.document import Document, DocumentErrors


@dataclass
class Subject:
    """`problems`: what keeps the text from being read as rules; `document` is None while there are any.

    labels: {key of a layer, with `_` for `-`: its segments' keys}; a layer that is not there may have any.
    """

    data: dict
    problems: list
    document: Document | None
    layer: object = None  # segmentation.models.Layer
    labels: dict = field(default_factory=dict)
    portfolio: object = None  # segmentation.authoring.checks.accounts.Portfolio

    @classmethod
    def read(cls, data, *, types=catalogue.TYPES, layer=None, segments=None, problems=None, **others):
        """A subject from plain data or YAML text. problems: what else is known to be wrong with it."""
        if layer is not None:
            segments = {segment.key for segment in layer.segments.all()}
        if isinstance(data, str):
            try:
                data = document_text.from_yaml(data)
            except DocumentErrors as errors:
                return cls({}, errors.problems, None, layer, **others)
        wrong = (
            definitions.problems(data, types=types, segments=segments) if problems is None else list(problems)
        )
        document = None
        if not wrong:
            document = definitions.parse(data, types=types, segments=segments)
        return cls(data, wrong, document, layer, **others)

    def ready(self, needs):
        """Itself, when what a check needs is there; NotRun otherwise."""
        if needs == findings.TEXT:
            return self
        if needs == findings.LAYER and self.layer is None:
            raise NotRun("Only known once the rules belong to a segmentation.")
        if self.document is None:
            raise NotRun("The rules cannot be read yet.")
        if needs == findings.ACCOUNTS and self.portfolio is None:
            raise NotRun("Only known on the portfolio.")
        if needs == findings.ACCOUNTS and not self.portfolio.accounts:
            raise NotRun("There are no accounts yet.")
        return self

    @cached_property
    def segments(self):
        """The layer's segments that the rules give, highest first."""
        given = {rule.segment for rule in self.document.rules}
        return [
            segment
            for segment in self.layer.segments.select_related("treatment__service_model", "owner")
            if segment.key in given
        ]

    @cached_property
    def choices(self):
        """{name in a condition: the only segments it can be, {key: name}}."""
        own = {segment.key: segment.name for segment in self.layer.segments.all()} if self.layer else None
        others = {f"label.{key}": segments for key, segments in self.labels.items()}
        return others | ({"previous": own, "declared": own} if own else {})

    def name_of(self, segment):
        """A segment (its key) as people call it."""
        return self.names.get(segment, segment)

    @cached_property
    def names(self):
        return dict(self.layer.segments.values_list("key", "name")) if self.layer else {}

    def rule_name(self, index):
        """`rule 2 (Low-Touch)`."""
        return f"rule {index + 1} ({self.name_of(self.document.rules[index].segment)})"


def label_of(fact):
    """A data field as people call it."""
    return catalogue.FACTS[fact].label if fact in catalogue.FACTS else fact
