"""Tables of statuses: where something may go, and who sends it there; as the diagram and the table of docs/workflow.md."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One way a status may go. `who`: may take it, in words. The database keeps each of these tables too (demarc_guard_...)."""

    source: str
    target: str
    label: str
    who: str
    needs_reason: bool = False
    verb: str = ""


def diagram(statuses, steps, *, begins):
    """A Mermaid state diagram. begins: {status: how something comes into it, "" where that goes without saying}."""
    sources = {step.source for step in steps}
    lines = [
        *(f'state "{status.label}" as {status}' for status in statuses),
        *(_arrow("[*]", status, label) for status, label in begins.items()),
        *(_arrow(step.source, step.target, step.label) for step in steps),
        *(_arrow(status, "[*]") for status in statuses if status not in sources),
    ]
    return "\n".join(["stateDiagram-v2", *(f"    {line}" for line in lines)])


def _arrow(source, target, label=""):
    return f"{source} --> {target}{': ' if label else ''}{label}"


def table(steps, *, who="who"):
    """Markdown; who: the heading of that column. The last column says which need a reason, where one of them does."""
    with_reasons = any(step.needs_reason for step in steps)
    heads = ["step", "from", "to", who, *(["reason"] if with_reasons else [])]
    lines = [_row(heads), f"|{'---|' * len(heads)}"]
    for step in steps:
        reason = "asked for" if step.needs_reason else "none needed"
        cells = [step.label, step.source.label, step.target.label, step.who]
        lines.append(_row([*cells, reason] if with_reasons else cells))
    return "\n".join(lines)


def _row(cells):
    return f"| {' | '.join(cells)} |"
