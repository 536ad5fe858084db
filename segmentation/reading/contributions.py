"""How much each score group and measure adds to the composite.

Exact fractions are shared out so that the parts of 12 decimals add up to the composite, and the shown parts of two
decimals to the composite as shown. The largest remainders get what is left. Pure.
"""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

UNIT = Fraction(1, 10**12)


class Contributions:
    """The contributions of a Document's parts to the composite of one row of the engine's result.

    places: the decimals the composite is shown with.
    """

    def __init__(self, document, row, places=2):
        self.parts, self.used, self.places = {}, {}, places
        if row["composite"] is None:
            return
        present = [
            dimension for dimension in document.dimensions if row[f"score.{dimension.key}"] is not None
        ]
        total = sum(document.weights[dimension.key] for dimension in present)
        exact, inside = {}, {}
        for dimension in present:
            share = Fraction(document.weights[dimension.key]) / Fraction(total)
            self.used[dimension.key] = share
            inside[dimension.key] = _inside(dimension, row, share)
            exact[dimension.key] = sum(inside[dimension.key].values())
        composite = Fraction(row["composite"])
        shown = Fraction(1, 10**places)
        for place, whole in ((UNIT, composite), (shown, Fraction(rounded(row["composite"], places)))):
            for key, units in _allot(exact, whole / place, place).items():
                self.parts.setdefault((False, key), []).append(units * place)
                for criterion, part in _allot(inside[key], units, place).items():
                    self.parts.setdefault((True, criterion), []).append(part * place)

    def of(self, key, *, criterion=False):
        """The part a score group (or a measure) adds, as texts of 12 and of a few decimals; None where there is no composite."""
        fine, coarse = self.parts.get((criterion, key), (None, None))
        return {
            "contribution": None if fine is None else f"{_decimal(fine):.12f}",
            "contribution_shown": None if coarse is None else f"{_decimal(coarse):.{self.places}f}",
        }

    def weight_used(self, key, weights):
        """The weight of a score group after the others were left out, as text."""
        if key not in self.used:
            return "0" if self.used else None
        if self.used[key] == weights[key]:
            return f"{weights[key]:f}"
        return f"{round(_decimal(self.used[key]), 12):f}"


def rounded(score, places=2):
    """A score as it is shown: two decimals, where no more are asked for."""
    return score.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)


def places_apart(score, boundaries):
    """How many decimals tell a score from its boundaries, at least two: 3.9958 is not 4.00, where that decides."""
    for places in range(2, 13):
        shown = rounded(score, places)
        if all((shown < edge, shown == edge) == (score < edge, score == edge) for edge in boundaries):
            return places
    return 12


def _inside(dimension, row, share):
    """{criterion: its exact part of the composite}; nothing for one that was skipped."""
    points = {
        criterion.key: (row[f"points.{criterion.key}"], Fraction(criterion.weight))
        for criterion in dimension.criteria
    }
    weights = sum(weight for value, weight in points.values() if value is not None)
    divisor = 1 if dimension.scale == "points" else weights
    return {key: share * weight * (value or 0) / divisor for key, (value, weight) in points.items()}


def _allot(exact, units, place):
    """Whole units that add up to `units`, each as near to its exact part as can be."""
    floors = {key: int(value / place) for key, value in exact.items()}
    left = int(units) - sum(floors.values())
    nearest = sorted(exact, key=lambda key: floors[key] - exact[key] / place)  # largest remainder first
    for key in [key for key in nearest if exact[key]][:left]:
        floors[key] += 1
    return floors


def _decimal(fraction):
    return Decimal(fraction.numerator) / Decimal(fraction.denominator)
