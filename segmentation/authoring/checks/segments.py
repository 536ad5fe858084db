"""Checks of the segments the rules give: who answers for them, how they are served, what they are called."""

import re
from dataclasses import dataclass

from django.db.models import Count

from accounts import gates
from accounts.quality import figures
from core.organisation import organisation
from core.wording import plural
from segmentation import treatments
from segmentation.authoring.checks.findings import NotRun, place
from segmentation.evaluation import run_rules
from segmentation.models import Declaration, Definition, Layer, Segment
from segmentation.rules import impossible


def _of(segment):
    return {"segment": segment.name, "segments": [segment.key]}


def no_treatment(subject):
    for segment in subject.segments:
        if segment.treatment is None:
            yield place(segment.key, **_of(segment))


def no_owner(subject):
    """A role counts: people come and go. Somebody whose login is closed answers for nothing."""
    for segment in subject.segments:
        answers = segment.owner is not None and segment.owner.is_active
        if not answers and not segment.owner_role.strip():
            yield place(segment.key, **_of(segment))


def no_service_model(subject):
    _primary(subject)
    for segment in subject.segments:
        if segment.treatment is not None and segment.treatment.service_model is None:
            yield place(segment.key, treatment=segment.treatment.name, **_of(segment))


def _primary(subject):
    if not subject.layer.primary:
        raise NotRun("Only the primary segmentation needs this.")


def decides_nothing(subject):
    if not subject.layer.decides and any(segment.treatment for segment in subject.segments):
        yield place("layer", layer=subject.layer.name)


def equal_treatments(subject):
    """Pairs of segments that are served alike in every respect: they may be one group."""
    served = {}
    for segment in subject.segments:
        if segment.treatment is None:
            continue
        first = served.setdefault(served_as(segment.treatment), segment)
        if first is not segment:
            yield place(
                f"{first.key}:{segment.key}",
                segments=[first.key, segment.key],
                first=first.name,
                second=segment.name,
                key=first.key,
            )


def served_as(treatment):
    """All that a treatment says, whatever it is called."""
    return tuple(getattr(treatment, name) for name in treatments.FIELDS)


def contested_fields(subject):
    """Find fields that another segmentation in use decides as well: nobody could tell which answer counts."""
    mine = set(subject.layer.decides)
    others = Layer.objects.filter(
        definitions__status=Definition.Status.ACTIVE, scope=subject.layer.scope
    ).exclude(pk=subject.layer.pk)
    for other in others.distinct():
        for name in treatments.FIELDS:
            if name in mine and name in other.decides:
                yield place(
                    f"{other.key}:{name}",
                    field=treatments.FIELDS[name].column,
                    layer=subject.layer.name,
                    other=other.name,
                )


# A letter, a number or a word that fits any group: nobody can tell from it what to do.
_CONTAINER = (
    r"segment|tier|group|class|cluster|category|bucket|level|band|type|cohort|set|grade|label|list|step|stage"
)
_ORDINAL = r"[a-z]|[0-9]+|[ivx]+|one|two|three|four|five"
_NO_PLAY = re.compile(
    rf"(?:(?:{_CONTAINER})s?[\s_\-#.:]*(?:{_ORDINAL})?|(?:{_ORDINAL})|(?:{_ORDINAL})[\s_\-]*(?:{_CONTAINER})"
    r"|others?|misc(?:ellaneous)?|rest|default|new(?:[\s_\-]+segment)?|unnamed|untitled|test|tbd|todo|n/a|unknown|none)",
    re.IGNORECASE,
)


def says_no_play(name):
    return bool(_NO_PLAY.fullmatch(name.strip()))


def nameless(subject):
    for segment in subject.segments:
        if says_no_play(segment.name):
            yield place(segment.key, **_of(segment))


def segment_count(subject):
    """How many segments the primary segmentation has, beside the bands."""
    _primary(subject)
    limits, count = organisation(), len(subject.segments)
    good = f"{limits.check_segments_from} to {limits.check_segments_to}"
    if count < limits.check_segments_from:
        why, next = "too few to serve customers differently", "Add a segment that is served in its own way."
    elif count > limits.check_segments_at_most:
        why, next = "far more than a team can serve differently", "Merge those that are served alike."
    elif count > limits.check_segments_to:
        why, next = "more than a team easily keeps apart", "Merge those that are served alike."
    else:
        return
    yield place(count, count=count, good=good, why=why, next=next)


# -- segments the rules give no more


def dropped(subject):
    """Segments that the active rules give and these do not, where something names them: it would wait for them for ever."""
    active = subject.layer.definitions.filter(status=Definition.Status.ACTIVE).first()
    if active is None:
        return
    before = {rule.segment for rule in run_rules.document_in(active).rules}
    keys = before - {rule.segment for rule in subject.document.rules}
    if not keys:
        return
    uses = [*_readers(subject.layer, keys), *_declared(subject.layer, keys)]
    uses += gates.consult("segments_used", subject.layer, keys) or []
    for key in sorted(keys):
        named = [(code, words) for used, code, words in uses if used == key]
        if named:
            codes = "+".join(dict.fromkeys(code for code, _ in named))
            yield place(
                f"{key}:{codes}",
                segments=[key],
                segment=subject.name_of(key),
                uses="; ".join(words for _, words in named),
            )


def _readers(layer, keys):
    """[(key, code, words)] of other segmentations whose active rules read one of these labels."""
    name = f"label.{run_rules.spoken(layer.key)}"
    active = Definition.objects.filter(status=Definition.Status.ACTIVE).exclude(layer=layer)
    for version in active.select_related("layer").order_by("layer__position", "layer__key"):
        read = _read(run_rules.document_in(version), name)
        for key in sorted(keys & read):
            yield key, f"reader-{version.layer.key}", f"the rules of {version.layer} read {name} = '{key}'"


def _read(document, name):
    """The texts that rules compare a name with, in conditions and in scoring tables."""
    roots = [rule.condition.root for rule in document.rules if rule.condition]
    read = {value for root in roots for other, value in impossible.compared(root) if other == name}
    for criterion in document.criteria:
        if criterion.fact == name and criterion.rubric:
            read |= {str(value) for cell in criterion.rubric.cells if cell for value in cell.values}
    return read


def _declared(layer, keys):
    """[(key, code, words)] of values that people declared."""
    rows = Declaration.objects.filter(
        layer=layer, segment__key__in=keys, status__in=["proposed", "confirmed"]
    )
    counts = rows.order_by("segment__key").values_list("segment__key").annotate(number=Count("pk"))
    for key, number in counts:
        yield key, "declared", plural(number, "declared value,declared values")


# -- the four tests of a segment


@dataclass(frozen=True)
class Tests:
    """Whether a segment is worth having: measurable, substantial, accessible, actionable.

    accounts, contacts: how many accounts the rules give it, and how many of those have a CSM; None where nobody looked.
    channel: where its customers are met; "" where nobody said. like: the segments that are served in the same way.
    """

    segment: Segment
    accounts: int | None
    contacts: int | None
    channel: str
    like: tuple
    minimum: int

    @property
    def measurable(self):
        return self.accounts is not None

    @property
    def substantial(self):
        return self.accounts is not None and self.accounts >= self.minimum

    @property
    def accessible(self):
        return bool(self.channel)

    @property
    def contact_share(self):
        return figures.share(self.contacts or 0, self.accounts)

    @property
    def actionable(self):
        return self.segment.treatment is not None and not self.like


def tests(subject):
    """The four tests of every segment the rules give."""
    counted = subject.portfolio is not None and subject.portfolio.accounts and subject.portfolio.counted
    served = {segment.key: segment.treatment and served_as(segment.treatment) for segment in subject.segments}
    elsewhere = _decided_elsewhere(subject.layer)
    for segment in subject.segments:
        like = [
            other.name
            for other in subject.segments
            if other is not segment and served[segment.key] and served[other.key] == served[segment.key]
        ]
        yield Tests(
            segment=segment,
            accounts=subject.portfolio.counts[segment.key] if counted else None,
            contacts=subject.portfolio.contacts[segment.key] if counted else None,
            channel=_channel(segment.treatment) or elsewhere,
            like=tuple(like),
            minimum=organisation().check_accounts_per_segment,
        )


def _decided_elsewhere(layer):
    """`by Service tier`, where another segmentation in use decides the channel; else ""."""
    if layer is None or "channel" in layer.decides:
        return ""
    others = Layer.objects.filter(decides__contains=["channel"], definitions__status=Definition.Status.ACTIVE)
    other = others.exclude(pk=layer.pk).order_by("-primary", "position", "key").first()
    return f"by {other}" if other else ""


def _channel(treatment):
    """The channel the treatment says, else its service model's."""
    if treatment is None:
        return ""
    model = treatment.service_model
    return treatment.channel or (getattr(model, treatments.FIELDS["channel"].model) if model else "")
