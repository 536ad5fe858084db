"""Uses of a segment besides rules: overrides, tier changes, requests and alert rules. Stands at the gate `segments_used`."""

from collections import Counter

from core.wording import plural
from governance.changes import alerts
from governance.models import ApprovalRequest, Override, Transition
from governance.signoff import kinds
from segmentation.models import Segment

_WORDS = {
    "override": "override in force,overrides in force",
    "asked": "override asked for,overrides asked for",
    "transition": "open tier change to it,open tier changes to it",
    "request": "open request,open requests",
}


def gate(layer, keys):
    """[(key, code, words)] of what names one of these segments of a layer, the same code for the same kind of thing."""
    uses = [
        (key, code, plural(number, _WORDS[code]))
        for (code, key), number in sorted(
            _counts(layer, keys).items(), key=lambda use: list(_WORDS).index(use[0][0])
        )
    ]
    for rule, named in alerts.naming(layer, keys):
        uses += [(key, f"alert-{rule.key}", f"the alert rule “{rule}”") for key in sorted(named)]
    return uses


def _counts(layer, keys):
    """{(code, key): how many}."""
    counts = Counter()
    segments = dict(Segment.objects.filter(layer=layer, key__in=keys).values_list("pk", "key"))
    overrides = Override.objects.filter(segment__in=segments)
    for code, rows in (("override", overrides.active()), ("asked", overrides.requested())):
        counts.update((code, segments[pk]) for pk in rows.values_list("segment", flat=True))
    changes = Transition.objects.open().filter(to_segment__in=segments)
    counts.update(("transition", segments[pk]) for pk in changes.values_list("to_segment", flat=True))
    naming = [kind for kind, needs in kinds.KINDS.items() if needs.has("segments")]
    for request in ApprovalRequest.objects.open().filter(kind__in=naming):
        named = kinds.of(request).verbs().segments(request)
        counts.update(("request", segments[pk]) for pk in named if pk in segments)
    return counts
