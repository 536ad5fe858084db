"""The life of a layer's rules, from draft to retired; and the presets, which come with their first version."""

import hashlib
import json
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from accounts import catalogue, gates
from core.history import acting, actor
from core.refusals import Refused
from core.status_tables import StatusTable, Step
from segmentation import scopes, treatments
from segmentation.authoring import checks, dependencies, jobs_to_be_done
from segmentation.evaluation import causes
from segmentation.models import Assignment, Cause, Definition, Layer, Segment, ServiceModel, Treatment
from segmentation.rules import definitions, document_text, terms
from segmentation.rules.document import DocumentErrors

PRESETS = Path(__file__).parents[1] / "rules" / "presets"
SERVICE_MODELS = "service-models"
ORDER = [
    "service-tier",
    "firmographic-points",
    "value-points",
    "value-tier",
    "value-tier-five",
    "value-tier-size",
    "lifecycle",
    "health",
    "lifecycle-five",
    "usage-behaviour",
    "revenue-health",
    "fit-intent",
    "rfm",
    "trajectory",
    "account-tier",
    "value-micro",
    "product-adoption",
    "strategic-operational",
    "job-to-be-done",
    "psychographic",
    "technographic",
    "geographic",
    "ownership",
]


# -- the status table


_EDIT, _DECIDE = "segmentation.change_definition", "segmentation.activate_definition"
_EDITOR, _DECIDER = f"`{_EDIT}`", f"`{_DECIDE}`"
_STATUS = Definition.Status
STATUSES = StatusTable(
    Definition,
    [
        Step(_STATUS.DRAFT, _STATUS.IN_REVIEW, "Submit for review", _EDITOR, True, verb="submit"),
        Step(_STATUS.IN_REVIEW, _STATUS.DRAFT, "Back to draft", _EDITOR, verb="withdraw"),
        Step(_STATUS.IN_REVIEW, _STATUS.REJECTED, "Reject", _DECIDER, True, verb="reject"),
        Step(_STATUS.IN_REVIEW, _STATUS.ACTIVE, "Activate", _DECIDER, True, verb="activate"),
        Step(_STATUS.DRAFT, _STATUS.ACTIVE, "Activate", _DECIDER, True, verb="activate"),
        Step(_STATUS.ACTIVE, _STATUS.RETIRED, "A newer one is activated", "none of its own", verb="retire"),
    ],
    begins={_STATUS.DRAFT: ""},
    who="permission",
)
PERMISSIONS = {"submit": _EDIT, "withdraw": _EDIT, "reject": _DECIDE, "activate": _DECIDE}
DONE = {"submit": "submitted", "withdraw": "returned to draft", "reject": "rejected", "activate": "activated"}


def steps(definition, *, by):
    """The steps this person may take with this version now."""
    own = {verb for verb, permission in PERMISSIONS.items() if by.has_perm(permission)}
    return [step for step in STATUSES.steps if step.source == definition.status and step.verb in own]


# -- drafts


def _as(by):
    """Written in this person's name, through the channel they came by."""
    return acting(by=by, reason=actor().reason)


def _edits_rules(verb):
    """Only who may change rules does; in one transaction, in their name."""

    @wraps(verb)
    def wrapper(*args, by, **kwargs):
        if by is None or not by.has_perm("segmentation.change_definition"):
            raise Refused("rules_not_allowed")
        with transaction.atomic(), _as(by):
            return verb(*args, by=by, **kwargs)

    return wrapper


@_edits_rules
def create_draft(layer, *, by):
    """A draft that starts as a copy of the active rules (or empty). Refused when there is one, or one in review."""
    Layer.objects.select_for_update(no_key=True).get(pk=layer.pk)
    if version := open_version(layer):
        raise Refused(_OPEN[version.status], layer=layer, version=version.version)
    active = layer.definitions.filter(status=Definition.Status.ACTIVE).first()
    return _new_version(layer, active.document if active else {})


_OPEN = {
    _STATUS.DRAFT: "draft_there_already",
    _STATUS.IN_REVIEW: "version_in_review",
}


def open_version(layer):
    """The layer's draft, or its version in review; None when there is neither."""
    return layer.definitions.filter(status__in=_OPEN).first()


def put_draft(layer, document, *, by=None):
    """Make a document that came from outside the layer's draft; an open draft is replaced by it.

    Returns (definition, done): `created`, `replaced`, or `equal` with the active version or the draft that says the
    same already. Without a person only through the command line, where the operator's rights are the machine's.
    """
    if by is None and actor().channel == "command":
        with transaction.atomic():
            return _put_draft(layer, document)
    return _put_draft_as(layer, document, by=by)


@_edits_rules
def _put_draft_as(layer, document, *, by):
    return _put_draft(layer, document)


def _put_draft(layer, document):
    Layer.objects.select_for_update(no_key=True).get(pk=layer.pk)
    version = open_version(layer)
    active = layer.definitions.filter(status=Definition.Status.ACTIVE).first()
    for existing in filter(None, (version, active)):
        if says_the_same(layer, existing.document, document):
            return existing, "equal"
    if version is None:
        _check_storable(document)
        return _store(lambda: _new_version(layer, document)), "created"
    if version.status != Definition.Status.DRAFT:
        raise Refused(_OPEN[version.status], layer=layer, version=version.version)
    return _fill(version, document), "replaced"


def labels(layer=None):
    """The labels of the parts of a definition of this layer (None: one that is not here)."""
    segments = dict(layer.segments.values_list("key", "name")) if layer else {}
    facts = {fact.name: fact.label for fact in catalogue.FACTS.values()}
    return terms.Names(segments, facts, dict(Layer.objects.values_list("key", "name")))


def says_the_same(layer, document, other):
    """Whether two documents come to the same, whatever defaults either of them spells out."""
    return _canonical(layer, document) == _canonical(layer, other)


def _canonical(layer, document):
    keys = set(layer.segments.values_list("key", flat=True))
    try:
        return definitions.parse(document, types=catalogue.TYPES, segments=keys).freeze()
    except DocumentErrors:  # unfinished: as it was typed
        return document_text.to_yaml(document)


def _new_version(layer, document):
    last = layer.definitions.aggregate(last=Max("version"))["last"] or 0
    return Definition.objects.create(layer=layer, version=last + 1, document=document, hash=_hash(document))


@_edits_rules
def save_draft(draft, document, *, by, seen=None):
    """Store a draft's document, finished or not. seen: the hash of what the person was looking at."""
    return _fill(_locked_draft(draft, seen), document)


def _fill(draft, document):
    _check_storable(document)
    draft.document, draft.hash = document, _hash(document)
    return _store(lambda: draft.save() or draft)


def _store(write):
    try:
        with transaction.atomic():
            return write()
    except IntegrityError:
        raise Refused("weight_invalid") from None


@_edits_rules
def discard_draft(draft, *, by, seen=None):
    """Throw a draft away; its history stays."""
    _locked_draft(draft, seen).delete()


def _locked_draft(draft, seen):
    """The draft as it is now, locked; Refused when it is none any more, or not what the person saw."""
    draft = _locked(draft)
    if draft.status != Definition.Status.DRAFT:
        raise Refused("definition_not_a_draft", version=draft.version, status=draft.get_status_display())
    return _as_seen(draft, seen)


def _locked(version):
    # no_key: rows that name the layer are written meanwhile; whoever writes one may hold what is waited for here.
    Layer.objects.select_for_update(no_key=True).get(pk=version.layer_id)
    # of: in their usual order rules come by their segmentation, whose row would be locked with them.
    version = Definition.objects.select_for_update(of=["self"]).filter(pk=version.pk).first()
    if version is None:
        raise Refused("definition_discarded_already")
    return version


def _as_seen(version, seen):
    if seen is not None and version.hash != seen:
        raise Refused("definition_stale")
    return version


def _check_storable(document):
    try:
        text = json.dumps(document, allow_nan=False)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, TypeError, RecursionError):
        raise Refused("definition_unstorable") from None
    if "\\u0000" in text:
        raise Refused("definition_text_unstorable")
    if len(text) > document_text.MAX_TEXT:
        raise Refused("definition_too_long", most=document_text.MAX_TEXT)


def _hash(document):
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


# -- review and activation


def problems(definition):
    """Everything that is wrong with the text of these rules, as document.Problem; the segments are the layer's."""
    return _problems(definition.layer, definition.document)


def _problems(layer, data):
    keys = set(layer.segments.values_list("key", flat=True))
    try:
        document = definitions.parse(data, types=catalogue.TYPES, segments=keys)
    except DocumentErrors as errors:
        return errors.problems
    return dependencies.problems(layer, document)


def blocks(layer, document):
    """Everything that keeps a document (plain data) from review, warnings left aside: findings with a path and a message."""
    problems = _problems(layer, document)
    return problems or checks.lint(document, layer=layer, problems=[]).errors


def submit(draft, *, by, reason, seen=None):
    """Hand a draft without errors in for review: from now on its document is fixed. Returns the definition."""
    with _step("submit", draft, by=by, reason=reason, seen=seen) as draft:
        _check_ready(draft)
        document = _parsed(draft)
        draft.document, draft.hash = document.freeze(), document.hash
        return _enter(draft, _STATUS.IN_REVIEW, "submitted")


def withdraw(version, *, by, reason="", seen=None):
    """Take a version out of review: it is a draft again."""
    with _step("withdraw", version, by=by, reason=reason, seen=seen) as version:
        version.submitted_at, version.submitted_by, version.submitted_by_label = None, None, ""
        return _enter(version, _STATUS.DRAFT)


def reject(version, *, by, reason, seen=None):
    """Decide against a version in review. It stays readable; the active rules are as before."""
    with _step("reject", version, by=by, reason=reason, seen=seen) as version:
        return _enter(version, _STATUS.REJECTED, "rejected")


def activate(version, *, by, reason, seen=None):
    """Make a version in review, or a draft, the active rules; the version before it retires in the same transaction.

    Refused with the first errors of the checks, and while warnings are not acknowledged. Needs the permission
    segmentation.activate_definition and a reason. seen: the hash of what the person was looking at. Returns the
    definition.
    """
    with _step("activate", version, by=by, reason=reason, seen=seen) as version:
        _check_ready(version)
        _check_answered(version)
        return _activate(version, Cause.Kind.DECISION)


@contextmanager
def _step(verb, version, *, by, reason, seen):
    """The version, locked, where this person may take this step with it now; in one transaction, in their name.

    Where somebody stands at the gate `rules`, they refuse, or answer True where the step has been signed off.
    """
    ways = STATUSES.ways(verb)
    signed_off = gates.consult(
        "rules", verb, version, by=by
    )  # others decided it: who carries it out needs no right of their own
    if not signed_off and (by is None or not by.has_perm(PERMISSIONS[verb])):
        raise Refused("rules_step_not_allowed", step=verb)
    if ways[0].needs_reason and not reason.strip():
        raise Refused("rules_reason_missing", done=DONE[verb])
    label = "" if by else actor().label
    with transaction.atomic(), acting(by=by, label=label, reason=reason.strip()):
        version = _locked(version)
        if version.status not in [step.source for step in ways]:
            expected = " or ".join(sorted(_CALLED[step.source] for step in ways))
            status = version.get_status_display().lower()
            raise Refused(
                "rules_step_impossible",
                version=version.version,
                status=status,
                sources=expected,
                done=DONE[verb],
            )
        if version.hash != _hash(version.document):  # written past save_draft
            raise Refused("definition_stale")
        yield _as_seen(version, seen)


_CALLED = {_STATUS.DRAFT: "a draft", _STATUS.IN_REVIEW: "rules in review"}


def _enter(version, status, stamp=""):
    """Give the version its new status, for the acting person's reason; `stamp`: the columns that say when and who."""
    who, now = actor(), timezone.now()
    causes.take(Cause.Kind.DECISION, reason=who.reason)
    version.status, version.reason = status, who.reason
    if stamp:
        for name, value in ((f"{stamp}_at", now), (f"{stamp}_by", who.id), (f"{stamp}_by_label", who.label)):
            setattr(version, name, value)
    version.save()
    return version


def examine(definition):
    """The checks of a version on the live portfolio, what only other segmentations tell included."""
    return checks.examine(definition, problems=problems(definition))


def _check_ready(version):
    """Check that rules can be reviewed or activated: no check finds an error. It takes no accounts."""
    errors = checks.lint(version.document, layer=version.layer, problems=problems(version)).errors
    if errors:
        raise Refused("rules_incomplete", problems=[error.message for error in errors])


def _check_answered(version):
    """Somebody answers for every warning."""
    warnings = examine(version).unacknowledged
    if warnings:
        raise Refused("warnings_unanswered", warnings=[warning.message for warning in warnings])


def _parsed(definition):
    keys = set(definition.layer.segments.values_list("key", flat=True))
    try:
        return definitions.parse(definition.document, types=catalogue.TYPES, segments=keys)
    except DocumentErrors as errors:
        raise Refused("rules_incomplete", problems=[problem.message for problem in errors.problems]) from None


def _activate(version, kind):
    """Activate, for the acting person's reason. Reviewed rules are taken as they are."""
    if version.status == _STATUS.DRAFT:
        document = _parsed(version)
        version.document, version.hash = document.freeze(), document.hash
    causes.take(kind, reason=actor().reason)
    for before in Definition.objects.filter(layer=version.layer_id, status=_STATUS.ACTIVE):
        before.status, before.retired_at = _STATUS.RETIRED, timezone.now()
        before.save()
    return _enter(version, _STATUS.ACTIVE, "activated")


# -- presets


def load_presets():
    """Create the layers of the preset library where they are not there yet, each with a first version of its rules.

    That version is active, or a draft to be looked at where the preset says `inactive: true` or customers have segments
    already. Never touches what is
    there: a layer that has a version of its rules is left as people made it.
    Returns {"created": [layer keys], "left": [layer keys]}.
    """
    done = {"created": [], "left": []}
    reason = "Preset of the library"
    with transaction.atomic(), acting(label=actor().label, reason=reason):
        for position, key in enumerate(ORDER):
            created = load_preset(document_text.from_yaml(_preset(key)), position)
            done["created" if created else "left"].append(key)
    return done


@lru_cache
def library():
    """{key: what a ready segmentation says}, in the order of the menu; not to be changed."""
    return {key: document_text.from_yaml(_preset(key)) for key in ORDER}


def _preset(name):
    return (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")


@transaction.atomic
def load_preset(preset, position):
    """Load one layer as a preset describes it, its rules active while nobody has a segment; False when it has rules already."""
    primary = preset.get("primary") == "true" and not Layer.objects.filter(primary=True).exists()
    layer, _ = Layer.objects.get_or_create(
        key=preset["key"],
        defaults={
            "name": preset["name"],
            "description": preset.get("description", ""),
            "policy": preset["policy"],
            "scope": preset.get("scope", scopes.ACCOUNT.key),
            "primary": primary,
            "position": position,
            "decides": _decides(preset, primary),
        },
    )
    Layer.objects.select_for_update(no_key=True).get(pk=layer.pk)
    if layer.definitions.exists():
        return False
    for place, segment in enumerate(preset["segments"]):
        _load_segment(layer, segment, place)
    version = _new_version(layer, preset["document"])
    in_use = Assignment.objects.exclude(effective=None).exists()  # set-up is over: by approval only
    if preset.get("inactive") != "true" and not in_use:
        _check_ready(version)  # its warnings are for the people who will use it
        _activate(version, Cause.Kind.SETUP)
    return True


@_edits_rules
def copy_preset(layer, key, *, by):
    """Give a layer of people's own the segments of a ready one, what it decides, and its rules as a draft."""
    preset = library()[key]
    layer.decides = _decides(preset, layer.primary)
    layer.save()
    for place, segment in enumerate(preset["segments"]):
        _load_segment(layer, segment, place)
    return _new_version(layer, preset["document"])


def _decides(preset, primary):
    """The fields of a treatment the preset decides; those that drive coverage only where it is the primary segmentation."""
    names = preset.get("decides", [])
    return [name for name in names if primary or not treatments.FIELDS[name].primary]


def _load_segment(layer, preset, position):
    if layer.segments.filter(key=preset["key"]).exists():
        return
    preset = dict(preset)
    job = preset.pop("job", None)
    treatment = _load_treatment(preset.pop("treatment"))
    if above := preset.pop("parent", None):  # a segment of a layer loaded before: "value-tier/enterprise"
        layer_key, _, key = above.rpartition("/")
        preset["parent"] = Segment.objects.filter(layer__key=layer_key or layer.key, key=key).first()
    segment = Segment.objects.create(layer=layer, position=position, treatment=treatment, **preset)
    if job:
        jobs_to_be_done.load(segment, job)


def _load_treatment(preset):
    if treatment := Treatment.objects.filter(key=preset["key"]).first():
        return treatment
    preset = dict(preset)
    if model := preset.pop("service_model", None):
        preset["service_model"] = _load_service_model(model)
    return Treatment.objects.create(**preset)


def _load_service_model(key):
    if model := ServiceModel.objects.filter(key=key).first():
        return model
    [preset] = [
        entry
        for entry in document_text.from_yaml(_preset(SERVICE_MODELS))["service_models"]
        if entry["key"] == key
    ]
    return ServiceModel.objects.create(**preset)
