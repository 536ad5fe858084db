"""A new segmentation, written together: what it is, its segments in order, and the draft of its first rules.

Nobody is in a segment of it before its rules are in force, so whoever defines segmentations writes all of it. From then on each
part changes in its own way.
"""

import hashlib
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Max, ProtectedError
from django.utils.text import slugify

from core.history import acting
from core.refusals import Refused, check
from segmentation.authoring import versions
from segmentation.evaluation import causes
from segmentation.models import Cause, Definition, Layer, Segment, ServiceModel, Treatment

NEEDED = [
    f"segmentation.{verb}"
    for verb in ("add_layer", "change_layer", "add_segment", "change_segment", "delete_segment", "add_treatment", "change_definition")
]  # fmt: skip
WHY = "A segmentation is set up"
APPLIES = ("policy", "primary")
FIRST_ROW = {"join": "all", "rows": [{"field": "", "operator": ">=", "values": [""]}]}
_KEY = 40  # characters
_Status = Definition.Status


@dataclass
class Row:
    """A segment as it is to be. segment: the one there is, None for a new one. service_model: of a new way of serving it."""

    name: str
    segment: Segment | None = None
    owner: User | None = None
    owner_role: str = ""
    treatment: Treatment | None = None
    service_model: ServiceModel | None = None


def may_write(by):
    return by is not None and by.has_perms(NEEDED)


def refusal(layer, *, by):
    """The Refused where this person may not write a segmentation here (None: a new one); None where they may."""
    if not may_write(by):
        return Refused("segmentation_not_allowed")
    statuses = set(layer.definitions.values_list("status", flat=True)) if layer else set()
    if _Status.IN_REVIEW in statuses:
        return Refused("segmentation_in_review", layer=layer)
    if statuses & {_Status.ACTIVE, _Status.RETIRED}:
        return Refused("segmentation_in_force", layer=layer)
    return None


def draft_of(layer):
    """The draft of its rules; None where there is none yet."""
    return layer.definitions.filter(status=_Status.DRAFT).first()


def token(layer):
    """A text that changes with anything that is written here."""
    told = [
        [getattr(layer, name) for name in ("name", "description", "scope", "policy", "primary", "decides")]
    ]
    told += layer.segments.order_by("pk").values_list(
        "pk", "name", "position", "owner", "owner_role", "treatment"
    )
    draft = draft_of(layer)
    return hashlib.sha256(repr([told, draft and draft.hash]).encode()).hexdigest()[:16]


@transaction.atomic
def write(layer, values, rows, *, by, removed=(), document=None, like="", seen=None):
    """Store a segmentation as far as it is written; None for layer: a new one. Returns the Layer.

    values: {column of Layer: value}. rows: of its segments, the highest first; removed: those that go. document: the rules as
    typed. like: the key of a ready segmentation that a new one starts as. seen: what `token` gave for the page.
    """
    check(refusal(layer, by=by))
    with acting(by=by, reason=WHY):
        if layer is None:
            last = Layer.objects.aggregate(last=Max("position"))["last"]
            layer = Layer(position=0 if last is None else last + 1)
            layer.key = _free_key(Layer.objects.all(), values["name"], "segmentation")
        else:
            layer = Layer.objects.select_for_update(no_key=True).get(pk=layer.pk)
            check(refusal(layer, by=by))
            if seen is not None and seen != token(layer):
                raise Refused("segmentation_stale", layer=layer)
        _set(layer, values)
        if like:
            versions.copy_preset(layer, like, by=by)
        _remove(removed)
        made = _segments(layer, rows)
        _rules(layer, document, made, {segment.key for segment in removed}, by=by)
        return layer


def _set(layer, values):
    changed = {name for name, value in values.items() if getattr(layer, name) != value}
    if changed & set(APPLIES) and layer.pk:
        causes.take(Cause.Kind.DECISION, reason="Before its rules are active")
    _store(layer, values)


def _store(row, values):
    """Save what is different; a row that stays as it is leaves no entry in its history."""
    if row.pk and all(getattr(row, name) == value for name, value in values.items()):
        return
    for name, value in values.items():
        setattr(row, name, value)
    row.save()


def _remove(segments):
    for segment in segments:
        try:
            segment.delete()
        except ProtectedError:
            raise Refused("segment_used", segment=segment) from None


def _segments(layer, rows):
    """Store the segments in this order; the keys of the new ones."""
    made = []
    for position, row in enumerate(rows):
        segment = row.segment or Segment(layer=layer)
        if segment.pk is None:
            segment.key = _free_key(layer.segments.all(), row.name, "segment")
            made.append(segment.key)
        treatment = row.treatment
        if row.service_model:
            treatment = _treatment(layer, row)
        owner = {"owner": row.owner, "owner_role": row.owner_role}
        _store(segment, {"name": row.name, "position": position, "treatment": treatment} | owner)
    return made


def _treatment(layer, row):
    name = f"{row.name} ({layer.name})"
    return Treatment.objects.create(
        key=_free_key(Treatment.objects.all(), name, "treatment"), name=name, service_model=row.service_model
    )


def _rules(layer, document, made, removed, *, by):
    """Store the rules as typed, with a rule begun for every segment that is new."""
    keys = list(layer.segments.order_by("position", "key").values_list("key", flat=True))
    draft = draft_of(layer)
    if draft is None:
        if not keys:
            return
        draft = versions.create_draft(layer, by=by)
    document = draft.document if document is None else document
    if removed or made:
        rules = [rule for rule in document.get("rules") or [] if rule.get("segment") not in removed]
        document = {**document, "rules": _begun(rules, made if rules else keys)}
    if document != draft.document:
        versions.save_draft(draft, document, by=by)


def _begun(rules, keys):
    """The rules with one for each of these segments, before the one that takes everybody else; the last of all takes them."""
    last = rules[-1:] if rules and not {"when", "rows", "from", "top"} & set(rules[-1]) else []
    rules = rules[: len(rules) - len(last)]
    rules += [{"segment": key, "rows": FIRST_ROW} for key in keys]
    if not last and rules and keys and len(rules) == len(keys):  # all of them begin here
        last = [{"segment": rules.pop()["segment"]}]
    return [*rules, *last]


def _free_key(rows, name, otherwise):
    """A key made of the name that no row has; it begins with a letter, as conditions ask of names."""
    base = slugify(name)[: _KEY - 4].strip("-_").replace("_", "-") or otherwise
    base = base if base[0].isalpha() else f"{otherwise[0]}-{base}"
    taken = set(rows.filter(key__startswith=base).values_list("key", flat=True))
    number = 1
    while (key := base if number == 1 else f"{base}-{number}") in taken:
        number += 1
    return key
