"""Beside an explanation on a date: the move in force then with its evidence, what was computed, and what is missing."""

from datetime import date
from decimal import Decimal

from django.utils import timezone

from accounts.past import DAYS
from core import wording
from segmentation.evaluation import run_rules
from segmentation.models import Assignment


def assignment_on(account, layer, product, at, known):
    """The Assignment as it had been computed for the account as of a date, as its history has it; None before the first."""
    assignment = Assignment.objects.filter(account=account.pk, layer=layer, product=product).values("pk")
    rows = Assignment.history.filter(id__in=assignment, computed_since__lte=at, history_date__date__lte=known)
    rows = list(rows.select_related("computed").order_by("history_id"))
    if not rows:
        return None
    rows[-1].settled = any(
        row.effective_id and (row.overridden or (not row.provisional and row.computed_id)) for row in rows
    )
    return rows[-1]


def notes(case):
    """Sentences about what is not of that date."""
    if case.early:
        activated = wording.day(timezone.localdate(case.definition.activated_at))
        yield f"No rules were in force on {wording.day(case.as_of)}: this is what the first ones say, of {activated}."
    if lost := [case.term_name(name) for name in case.document.facts if name in case.not_kept]:
        yield (
            f"Not kept for this day: {wording.listed(lost)}. Usage is kept of every day for {DAYS} days, before that of one "
            "day a month. The score counts without it."
        )


def evidence(case):
    """The evidence of the move in force on a date, fact by fact; `differs`: something else is known of the date."""
    if not case.dated or case.move is None:
        return None
    texts, sources = (case.move.evidence.get(name, {}) for name in ("facts", "sources"))
    types = run_rules.document_of(case.move.definition_id).types
    rows = []
    for name in (name for name in texts if name in types):
        value = _read(texts[name], types[name])
        source, observed = sources.get(name) or (None, None)
        rows.append(
            {
                "key": name,
                "name": case.term_name(name),
                "value_shown": case.shown(name, value),
                "source": source,
                "observed": observed and observed[:10],
                "differs": name in case.facts and value != case.facts[name],
            }
        )
    return {"at": case.move.at.isoformat(), "definition": case.move.definition.version, "facts": rows}


def _read(text, kind):
    """A fact's value out of its text, as the catalogue types it."""
    if text is None or kind == "text":
        return text
    readers = {"integer": int, "date": date.fromisoformat, "boolean": lambda text: text == "true"}
    return readers.get(kind, Decimal)(text)
