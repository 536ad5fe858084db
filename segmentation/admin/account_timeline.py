"""The history of an account, newest first: segment changes, decisions, rules becoming active, changes of its data."""

from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.utils import timezone

from accounts.changes import entries
from core import history
from segmentation import scopes
from segmentation.models import Declaration, Definition, Move

SHOWN = 40
CHANGES = 20
# Why something happened: what the page can be narrowed to.
CAUSES = [("data", "The customer changed"), ("rules", "The rules changed"), ("people", "People decided")]
Why = Move.Why
OF_MOVES = {
    Why.DEFINITION: "rules",
    Why.BOTH: "rules",
    Why.CUTOFFS: "rules",
    Why.POLICY: "rules",
    Why.TRANSITION: "people",
    Why.OVERRIDE: "people",
    Why.CORRECTION: "people",
}


def moves_of(account):
    """The account's moves, newest first. Not cut off: with a LIMIT the planner may walk all moves there are."""
    moves = with_gone(Move.objects.filter(account_id=account.pk)).order_by("-id")
    related = ["layer", "product", "from_segment", "to_segment", "cause", "definition"]
    return list(moves.select_related(*related).defer("evidence", "definition__document"))


def with_gone(moves):
    """Moves, each with what its evidence says of a product that is no longer there, and without the rest of it."""
    return moves.defer("evidence").annotate(
        gone=KeyTextTransform(scopes.GONE, KeyTransform("facts", "evidence"))
    )


def timeline(account, moves, happened, *, cause=""):
    """The last events. moves: as `moves_of`; happened: decisions that others tell of; cause: one of CAUSES, "" for all."""
    events = []
    if cause in ("", "people"):
        events += [{"kind": "decision", "id": 0} | entry for entry in [*happened, *_declared(account)]]
    shown = [move for move in moves if cause in ("", OF_MOVES.get(move.why, "data"))]
    events += [{"kind": "move", "on": move.at, "id": move.pk, "move": move} for move in shown[:SHOWN]]
    if cause in ("", "rules"):
        events += _activations(moves)
    if cause in ("", "data"):
        events += _data_changes(account)
    return sorted(events, key=lambda event: (event["on"], event["id"]), reverse=True)[:SHOWN]


def _declared(account):
    """Values people proposed and decided: the account's declared ones."""
    rows = account.declarations.select_related("layer", "segment").order_by("-id")[:SHOWN]
    return [entry for declaration in rows for entry in _declaration_entries(declaration)]


def _declaration_entries(declaration):
    about = {"text": f"{declaration.layer} {declaration.segment}"}
    yield about | {
        "on": timezone.localdate(declaration.proposed_at),
        "title": "Proposed",
        "who": history.who(declaration, "proposed_by"),
        "reason": declaration.reason,
    }
    if declaration.decided_at:
        yield about | {
            "on": timezone.localdate(declaration.decided_at),
            "title": "Rejected" if declaration.status == Declaration.Status.REJECTED else "Confirmed",
            "who": history.who(declaration, "decided_by"),
            "reason": declaration.decision_reason,
        }
    if declaration.ended_at:
        yield about | {
            "on": timezone.localdate(declaration.ended_at),
            "title": declaration.get_status_display(),
            "who": history.who(declaration, "ended_by"),
            "reason": declaration.end_reason,
        }


def _activations(moves):
    """Rules that became active since the account's first segment; those of one day together."""
    by_rules = (Why.DEFINITION, Why.BOTH, Why.INITIAL)
    moved = {move.definition_id for move in moves if move.why in by_rules}
    first = min((move.at for move in moves), default=timezone.localdate())
    definitions = (
        Definition.objects.filter(activated_at__date__gte=first).select_related("layer").defer("document")
    )
    days = {}
    for definition in definitions.order_by("-activated_at", "-pk")[:SHOWN]:
        on = timezone.localtime(definition.activated_at).date()
        days.setdefault((on, history.who(definition, "activated_by"), definition.pk in moved), []).append(
            definition
        )
    return [
        {"kind": "rules", "on": on, "id": rules[0].pk, "rules": rules, "by": by, "moved": changed}
        for (on, by, changed), rules in days.items()
    ]


def _data_changes(account):
    """Changes of the account's data by people and imports; the row before the oldest one is read for its diff."""
    rows = list(account.history.order_by("-history_date", "-history_id")[: CHANGES + 1])
    changes = entries(rows[:CHANGES], rows[CHANGES] if len(rows) > CHANGES else None)
    return [
        {"kind": "data", "on": timezone.localtime(entry["when"]).date(), "id": 0, "data": entry}
        for entry in changes
        if entry["type"] == "~" and entry["changes"]
    ]
