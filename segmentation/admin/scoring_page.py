"""The scoring table and rules of a draft as a page shows them, whatever else is on it."""

from accounts.catalogue import FACTS
from segmentation import scopes
from segmentation.authoring import versions
from segmentation.models import Layer

from .scoring_form import fields, operators, row_problems, rows


def editor(definition, document, typed):
    """The values of templates/segmentation/rules/scoring_fields.html. typed: the form, where it is shown again."""
    layer = definition.layer
    offered = fields(document, layer, other_layers(layer))
    return {
        "table": rows(document, typed),
        "rows": {"fields": offered, "operators": operators()},
        "numbers": [field for field in offered if field["kind"] == "number"],
        "segments": list(layer.segments.order_by("position", "key")),
        "facts": facts(),
        "problems": all_problems(typed, document, layer),
    }


def facts():
    """The data fields, as they are chosen from."""
    return sorted(FACTS.values(), key=lambda fact: (fact.family, fact.label))


def other_layers(layer):
    """The other layers that rules may read."""
    others = Layer.objects.filter(scope__in=scopes.ONE_LABEL).exclude(pk=layer.pk)
    return others.prefetch_related("segments").order_by("position", "key")


def all_problems(typed, document, layer):
    """Whatever keeps a document from review, as [{"path", "message"}]; rows that cannot be read in place of their text."""
    wrong = row_problems(typed) if typed else []
    unreadable = {f"{problem['path'].removesuffix('.rows')}.when" for problem in wrong}
    found = [{"path": each.path, "message": each.message} for each in versions.blocks(layer, document)]
    return [problem for problem in found if problem["path"] not in unreadable] + wrong
