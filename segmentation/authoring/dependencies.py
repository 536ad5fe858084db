"""Which segmentations read which others: what is refused, and the circle that would be closed."""

import difflib

from segmentation.evaluation import run_rules
from segmentation.models import Definition, Layer
from segmentation.rules.document import Problem


def problems(layer, document):
    """Find what keeps the rules of a layer from reading others as they do, as definitions.Problem."""
    others = _Others(layer, document)
    named = [
        Problem(_where(document, name), text) for name in document.others if (text := others.refuse(name))
    ]
    if not named and (circle := others.circle()):
        path = " → ".join(circle)
        named = [Problem("rules", f"These segmentations would read each other in a circle: {path}.")]
    return named


class _Others:
    """The layers there are, each with the rules it has (those being checked for its own)."""

    def __init__(self, layer, document):
        self.layer, self.document = layer, document
        self.layers = {run_rules.spoken(layer.key): layer for layer in Layer.objects.all()}
        active = Definition.objects.filter(status=Definition.Status.ACTIVE).select_related("layer")
        self.rules = {
            run_rules.spoken(definition.layer.key): run_rules.document_of(definition.pk)
            for definition in active
        }
        self.rules[run_rules.spoken(layer.key)] = document

    def refuse(self, name):
        """Why a name of another layer cannot be used, or None."""
        key = self.document.others[name]
        other = self.layers.get(key)
        if other is None:
            near = difflib.get_close_matches(key, self.layers, n=1)
            return f"There is no segmentation '{key}'." + (f" Did you mean '{near[0]}'?" if near else "")
        if other == self.layer:
            return f"'{name}' is of this segmentation itself. Its segment before is called 'previous'."
        if other.scoped.several:
            return f"{other} labels {other.scoped.names}: an account has several labels there."
        rules = self.rules.get(key)
        if rules is None:
            return f"{other} has no active rules. Activate those first."
        part, _, group = name.replace(f".{key}", "", 1).partition(".")
        if part == "composite" and not rules.weights:
            return f"{other} has no overall score."
        if part == "score" and group not in {dimension.key for dimension in rules.dimensions}:
            return f"{other} has no score group '{group}'."
        return None

    def circle(self):
        """The names along the circle these rules would close, or None."""
        start = run_rules.spoken(self.layer.key)
        path = self._way(start, start, set())
        return path and [self.layers[key].name for key in path]

    def _way(self, key, goal, seen):
        for other in self.rules[key].layers if key in self.rules else ():
            if other == goal:
                return [key, goal]
            if other not in seen:
                seen.add(other)
                if onward := self._way(other, goal, seen):
                    return [key, *onward]
        return None


def _where(document, name):
    """The path into the document of the first part that reads a name."""
    for place, dimension in enumerate(document.dimensions):
        for index, criterion in enumerate(dimension.criteria):
            if criterion.fact == name:
                return f"dimensions.{place}.criteria.{index}.fact"
            if criterion.missing.fact == name:
                return f"dimensions.{place}.criteria.{index}.missing"
    for index, rule in enumerate(document.rules):
        if rule.condition and name in rule.condition.names:
            return f"rules.{index}.when"
        if rule.top and rule.top.by == name:
            return f"rules.{index}.top"
    return "requires"
