"""The life of a layer's rules: draft, active, retired; and the presets, which come with their first version."""

import hashlib
import json
from functools import wraps
from pathlib import Path

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from accounts import catalogue
from accounts.history import acting, actor
from accounts.refusals import Refused
from segmentation import causes, definitions, treatments
from segmentation.definitions import Document, DocumentErrors
from segmentation.models import Cause, Definition, Layer, Segment, ServiceModel, Treatment

PRESETS = Path(__file__).parent / "presets"
SERVICE_MODELS = "service-models"
ORDER = [
    "service-tier",
    "firmographic-points",
    "value-points",
    "value-tier",
    "value-tier-five",
    "value-tier-size",
]
STALE = "Somebody changed these rules since you opened them. Open them again and look at what is there now."


# -- drafts


def _as(by):
    """Written in this person's name, through the channel they came by."""
    return acting(by=by, channel=actor().channel, reason=actor().reason)


def _edits_rules(verb):
    """Only who may change rules does; in one transaction, in their name."""

    @wraps(verb)
    def wrapper(*args, by, **kwargs):
        if by is None or not by.has_perm("segmentation.change_definition"):
            raise Refused("You are not allowed to change rules.")
        with transaction.atomic(), _as(by):
            return verb(*args, by=by, **kwargs)

    return wrapper


@_edits_rules
def create_draft(layer, *, by):
    """A draft that starts as a copy of the active rules (or empty). Refused when there is one."""
    Layer.objects.select_for_update().get(pk=layer.pk)
    if layer.definitions.filter(status=Definition.Status.DRAFT).exists():
        raise Refused(f"{layer} has a draft already. Continue with it, or discard it first.")
    active = layer.definitions.filter(status=Definition.Status.ACTIVE).first()
    return _new_version(layer, active.document if active else {})


def _new_version(layer, document):
    last = layer.definitions.aggregate(last=Max("version"))["last"] or 0
    return Definition.objects.create(layer=layer, version=last + 1, document=document, hash=_hash(document))


@_edits_rules
def save_draft(draft, document, *, by, seen=None):
    """Store a draft's document, finished or not. seen: the hash of what the person was looking at."""
    draft = _locked(draft, seen)
    _check_storable(document)
    draft.document, draft.hash = document, _hash(document)
    try:
        with transaction.atomic():
            draft.save()
    except IntegrityError:
        raise Refused("A weight must be a number from 0; not negative, not NaN.") from None
    return draft


@_edits_rules
def discard_draft(draft, *, by, seen=None):
    """Throw a draft away; its history stays."""
    _locked(draft, seen).delete()


def _locked(draft, seen):
    """The draft as it is now, locked; Refused when it is none any more, or not what the person saw."""
    Layer.objects.select_for_update().get(pk=draft.layer_id)
    found = Definition.objects.select_for_update().filter(pk=draft.pk).first()
    if found is None:
        raise Refused("This draft has been discarded.")
    if found.status != Definition.Status.DRAFT:
        raise Refused(f"Version {found.version} is {found.get_status_display().lower()}, no draft any more.")
    if seen is not None and found.hash != seen:
        raise Refused(STALE)
    return found


def _check_storable(document):
    try:
        text = json.dumps(document, allow_nan=False)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, TypeError, RecursionError):
        raise Refused("The rules contain something that cannot be stored.") from None
    if "\\u0000" in text:
        raise Refused("The rules contain a character that cannot be stored.")
    if len(text) > definitions.MAX_TEXT:
        raise Refused(f"The rules are longer than {definitions.MAX_TEXT:,} characters.")


def _hash(document):
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


# -- activation


def problems(definition):
    """Everything that keeps these rules from becoming active, as definitions.Problem; the segments are the layer's."""
    keys = set(definition.layer.segments.values_list("key", flat=True))
    return definitions.problems(definition.document, types=catalogue.TYPES, segments=keys)


def activate(draft, *, by, reason, seen=None):
    """Make a draft the active rules; the version before it retires in the same transaction. Returns the definition.

    Needs the permission segmentation.activate_definition and a reason. seen: the hash of what the person was looking at.
    """
    if by is None or not by.has_perm("segmentation.activate_definition"):
        raise Refused("You are not allowed to activate rules.")
    if not reason.strip():
        raise Refused("Say why these rules are activated.")
    with transaction.atomic(), acting(by=by, channel=actor().channel, reason=reason):
        found = _locked(draft, seen)
        if found.hash != _hash(found.document):  # written past save_draft
            raise Refused(STALE)
        _check_treatments(found)
        return _activate(found, Cause.Kind.DECISION, reason)


def _check_treatments(definition):
    """A segment is a group plus what is done differently for it."""
    used = {rule.segment for rule in _parsed(definition).rules}
    without = definition.layer.segments.filter(key__in=used, treatment=None).values_list("name", flat=True)
    if without:
        raise Refused(f"Say first how these segments are served (their treatment): {', '.join(without)}.")


def _parsed(definition):
    keys = set(definition.layer.segments.values_list("key", flat=True))
    try:
        return Document.parse(definition.document, types=catalogue.TYPES, segments=keys)
    except DocumentErrors as errors:
        count = len(errors.problems)
        more = f" (and {count - 1} more)" if count > 1 else ""
        raise Refused(f"These rules are not complete: {errors.problems[0].message}{more}") from None


def _activate(draft, kind, reason):
    document, now, who = _parsed(draft), timezone.now(), actor()
    causes.take(kind, reason=reason)
    for before in Definition.objects.filter(layer=draft.layer_id, status=Definition.Status.ACTIVE):
        before.status, before.retired_at = Definition.Status.RETIRED, now
        before.save()
    draft.document, draft.hash = document.freeze(), document.hash
    draft.status, draft.reason, draft.activated_at = Definition.Status.ACTIVE, reason, now
    draft.activated_by, draft.activated_by_label = who.id, who.label
    draft.save()
    return draft


# -- presets


def load_presets():
    """Create the layers of the preset library, each with its first version active, where they are not there yet.

    Never touches what is there: a layer that has a version of its rules is left as people made it.
    Returns {"created": [layer keys], "left": [layer keys]}.
    """
    done = {"created": [], "left": []}
    reason = "Preset of the library"
    with transaction.atomic(), acting(label=actor().label, channel=actor().channel, reason=reason):
        for position, key in enumerate(ORDER):
            created = _load(definitions.from_yaml(_preset(key)), position, reason)
            done["created" if created else "left"].append(key)
    return done


def _preset(name):
    return (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")


def _load(preset, position, reason):
    """Load one layer; False when it has rules already."""
    primary = preset.get("primary") == "true" and not Layer.objects.filter(primary=True).exists()
    layer, _ = Layer.objects.get_or_create(
        key=preset["key"],
        defaults={
            "name": preset["name"],
            "description": preset.get("description", ""),
            "policy": preset["policy"],
            "primary": primary,
            "position": position,
            "decides": _decides(preset, primary),
        },
    )
    Layer.objects.select_for_update().get(pk=layer.pk)
    if layer.definitions.exists():
        return False
    for place, segment in enumerate(preset["segments"]):
        _load_segment(layer, segment, place)
    _activate(_new_version(layer, preset["document"]), Cause.Kind.SETUP, reason)
    return True


def _decides(preset, primary):
    """What the preset decides of a treatment; what drives coverage only where it is the primary segmentation."""
    names = preset.get("decides", [])
    return [name for name in names if primary or not treatments.FIELDS[name].primary]


def _load_segment(layer, preset, position):
    if layer.segments.filter(key=preset["key"]).exists():
        return
    preset = dict(preset)
    treatment = _load_treatment(preset.pop("treatment"))
    Segment.objects.create(layer=layer, position=position, treatment=treatment, **preset)


def _load_treatment(preset):
    if found := Treatment.objects.filter(key=preset["key"]).first():
        return found
    preset = dict(preset)
    if model := preset.pop("service_model", None):
        preset["service_model"] = _load_service_model(model)
    return Treatment.objects.create(**preset)


def _load_service_model(key):
    if found := ServiceModel.objects.filter(key=key).first():
        return found
    [preset] = [
        one for one in definitions.from_yaml(_preset(SERVICE_MODELS))["service_models"] if one["key"] == key
    ]
    return ServiceModel.objects.create(**preset)
