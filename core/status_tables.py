"""Tables of statuses: where rows of a model may go, and who sends them there. Each is said once.

The verbs ask the table, and the guards of the database are rendered from it (`core.guards`). docs/workflow.md shows its
diagram and its steps, and the tests go through all of its pairs.
"""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Step:
    """One way a status may go. `who`: may take it, in words."""

    source: str
    target: str
    label: str
    who: str
    needs_reason: bool = False
    verb: str = ""


class StatusTable:
    """The steps of a model that has a `Status`, a TextChoices.

    begins: {status: how something comes into it, "" where that goes without saying}. who: the heading over who may.
    """

    def __init__(self, model, steps, *, begins, who="who"):
        self.model, self.statuses, self.steps = model, model.Status, tuple(steps)
        self.begins, self.who = begins, who

    @cached_property
    def moves(self):
        """{(source, target)}: the pairs some step leads through."""
        return {(step.source, step.target) for step in self.steps}

    @cached_property
    def ended(self):
        """The statuses nothing leads out of, in the order of the model."""
        sources = {step.source for step in self.steps}
        return [status for status in self.statuses if status not in sources]

    def ways(self, verb):
        """The steps of a verb."""
        return [step for step in self.steps if step.verb == verb]

    def diagram(self):
        """A Mermaid state diagram."""
        lines = [
            *(f'state "{status.label}" as {status}' for status in self.statuses),
            *(_arrow("[*]", status, label) for status, label in self.begins.items()),
            *(_arrow(step.source, step.target, step.label) for step in self.steps),
            *(_arrow(status, "[*]") for status in self.ended),
        ]
        return "\n".join(["stateDiagram-v2", *(f"    {line}" for line in lines)])

    def markdown(self):
        """A table of the steps. Its last column says which need a reason, where one of them does."""
        with_reasons = any(step.needs_reason for step in self.steps)
        heads = ["step", "from", "to", self.who, *(["reason"] if with_reasons else [])]
        lines = [_row(heads), f"|{'---|' * len(heads)}"]
        for step in self.steps:
            reason = "asked for" if step.needs_reason else "none needed"
            cells = [step.label, step.source.label, step.target.label, step.who]
            lines.append(_row([*cells, reason] if with_reasons else cells))
        return "\n".join(lines)


def _arrow(source, target, label=""):
    return f"{source} --> {target}{': ' if label else ''}{label}"


def _row(cells):
    return f"| {' | '.join(cells)} |"
