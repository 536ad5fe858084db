"""History rows as people read them: who changed what, when and why, with its fields and values."""

from accounts.catalogue import FACTS
from core import history, wording

NAMES = {
    "layer": "segmentation",
    "hash": "content's mark",
    "computed": "segment by the rules",
    "effective": "current segment",
    "computed_since": "by the rules since",
    "effective_since": "current since",
}  # fields that are called otherwise on screen
KINDS = {"+": "Created", "~": "Changed", "-": "Deleted"}
MONEY = {fact.name for fact in FACTS.values() if fact.type == "money"}


def entries(rows, before=None):
    """History rows, newest first, as dicts: when, who, channel, reason, kind and the changed fields.

    Foreign keys are resolved with one query per related model.
    """
    return entries_of(zip(rows, [*rows[1:], before], strict=True) if rows else [])


def entries_of(pairs):
    """The same of pairs of a history row and the one before it (None: the first), of whatever objects."""
    changes = [(row, older, _changes(row, older)) for row, older in pairs]
    names = _names(changes)
    return [
        {
            "when": row.history_date,
            "who": history.who(row, "history_user") or "system",
            "channel": row.history_channel,
            "run": row.history_run,
            "reason": row.history_change_reason,
            "type": row.history_type,
            "kind": KINDS[row.history_type],
            "changes": [
                {
                    "field": NAMES.get(field.name, field.verbose_name.removesuffix(" label")),
                    "old": _shown(field, old, names, older),
                    "new": _shown(field, new, names, row),
                }
                for field, old, new in fields
            ],
        }
        for row, older, fields in changes
    ]


def _changes(row, older):
    changed, names = [], {field.name for field in row.tracked_fields}
    for field in row.tracked_fields:
        # When it was is said of the whole entry; of people, how they are called is said beside their number.
        if field.name == "edited_at" or f"{field.name}_label" in names:
            continue
        new = _kept(row, field, names)
        old = _kept(older, field, names) if older is not None and row.history_type == "~" else None
        empty = new in (None, "", {}, [])
        if (
            field.primary_key
            or (old == new)
            or (row.history_type == "+" and empty)
            or row.history_type == "-"
        ):
            continue
        changed.append((field, old, new))
    return changed


def _kept(row, field, names):
    """The value a history row holds; a person is told from others of the same name."""
    person = field.name.removesuffix("_label")
    if person != field.name and person in names:
        return history.who(row, person)
    return getattr(row, field.attname)


def _names(changes):
    """{(model, id): name} for all foreign keys that changed."""
    wanted = {}
    for _, _, fields in changes:
        for field, old, new in fields:
            if field.is_relation:
                wanted.setdefault(field.related_model, set()).update({old, new} - {None})
    return {
        (model, row.pk): str(row)
        for model, ids in wanted.items()
        for row in model._base_manager.filter(pk__in=ids)
    }


def _shown(field, value, names, row):
    if value in (None, "", {}, []):
        return "–"
    if field.name == "hash":
        return value[:12]  # enough to see that two are the same
    if field.is_relation:
        return names.get((field.related_model, value), f"no longer there ({value})")
    if field.choices:
        return dict(field.flatchoices).get(value, value)
    if isinstance(value, list) and hasattr(field, "base_field"):  # an array of chosen ones
        labels = dict(field.base_field.flatchoices)
        return ", ".join(str(labels.get(choice, choice)) for choice in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    kind = field.get_internal_type()
    if kind == "JSONField":
        return _listed(value)
    if kind == "DateField":
        return wording.day(value)
    if kind == "DateTimeField":
        return wording.moment(value)
    if field.name in MONEY:
        return wording.money(value, getattr(row, "currency", ""))
    if kind == "DecimalField":
        return f"{value:,f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:,}"
    return value


def _listed(value):
    """The content of a JSON column without its brackets: `ARR: 5000, NPS: 3`; the lines of a checklist, ticked or not."""
    if isinstance(value, dict) and "done" in value:
        return f"{'✓' if value['done'] else '–'} {value.get('text', '')}"
    if isinstance(value, dict):
        named = [
            (FACTS[key].label if key in FACTS else key.replace("_", " "), entry)
            for key, entry in value.items()
        ]
        return ", ".join(f"{name}: {_listed(entry)}" for name, entry in named)
    if isinstance(value, list):
        return "; ".join(_listed(entry) for entry in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else str(value)
