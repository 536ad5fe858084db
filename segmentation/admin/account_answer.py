"""The answer at the top of an account's page: its number on a line, the sentence why, and the tiles beside it."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from accounts import catalogue
from core import wording
from segmentation.rules import terms

WIDE, HIGH = 120, 44  # the picture of twelve months
ROOM = Decimal("0.25")  # above the highest score of the picture, and below the lowest
# A segmentation has a tile where it decides one of these, the first that does: the lifecycle, and the health.
TILES = ("play_on_entry", "success_metrics")


@dataclass(frozen=True)
class Scale:
    """The one number that the rules compare, between the lowest and the highest it can be, with their boundaries."""

    name: str
    shown: str
    value: Decimal
    low: Decimal
    high: Decimal
    boundaries: tuple  # (threshold, sign, name of the segment, threshold as shown), upwards

    def place(self, number):
        """A share of the line."""
        return max(Decimal(0), min(Decimal(1), (number - self.low) / (self.high - self.low)))

    @property
    def fill(self):
        return self.place(self.value)

    @property
    def ticks(self):
        return [
            {"place": (place := self.place(at)), "shown": shown, "segment": segment, "side": _side(place)}
            for at, _, segment, shown in self.boundaries
        ]

    @property
    def text(self):
        """`Overall score 3.24 is at least 2.5 and below 4.0.`"""
        over = [self.above(*boundary) for boundary in self.boundaries]
        lower = [
            ("at least" if sign in (">=", "<") else "above", shown)
            for (_, sign, _, shown), above in zip(self.boundaries, over, strict=True)
            if above
        ]
        upper = [
            ("below" if sign in (">=", "<") else "at most", shown)
            for (_, sign, _, shown), above in zip(self.boundaries, over, strict=True)
            if not above
        ]
        bounds = [" ".join(bound) for bound in [*lower[-1:], *upper[:1]]]
        return f"{self.name} {self.shown} is {' and '.join(bounds)}."

    def above(self, threshold, sign, *_):
        return self.value >= threshold if sign in (">=", "<") else self.value > threshold


def _side(place):
    """Where a boundary stands so near an end of the line that its text would leave the page."""
    return "late" if place > Decimal("0.7") else "early" if place < Decimal("0.2") else ""


def scale(why, layer):
    """The Scale of an explanation; None where the rules compare no one number."""
    boundaries = why["boundaries"]
    compared = {boundary["term"] for boundary in boundaries}
    if len(compared) != 1 or any(boundary["op"] in ("=", "<>") for boundary in boundaries):
        return None
    [term] = compared
    name, value, shown, ends = _number(why, term)
    if value is None:
        return None
    names = {segment.key: segment.name for segment in layer.segments.all()}
    told = {}
    for boundary in boundaries:
        at = Decimal(boundary["threshold"])
        told.setdefault(at, (at, boundary["op"], names.get(boundary["segment"]), _short(at, term)))
    low, high = ends or (Decimal(0), max([value, *told]) * Decimal("1.15"))
    return (
        Scale(name, shown, value, low, high, tuple(told[at] for at in sorted(told))) if high > low else None
    )


def _number(why, term):
    """(name, value, as shown, the lowest and the highest it can be or None) of what the rules compare."""
    groups = why["dimensions"]
    if term == "composite":
        sums = [group for group in groups if group["scale"] == "points"]
        most = 5 * len(sums[0]["criteria"]) if sums else 5
        value = why["composite"] and Decimal(why["composite"])
        return terms.label(term), value, why["composite_shown"], (Decimal(not sums), Decimal(most))
    for group in groups:
        if term == f"score.{group['key']}":
            count = len(group["criteria"]) if group["scale"] == "points" else 1
            value = group["score"] and Decimal(group["score"])
            return f"{group['name']} score", value, group["score_shown"], (Decimal(count), Decimal(5 * count))
    rows = [row for group in groups for row in group["criteria"]] + why["requires"]
    row = next((row for row in rows if row["fact"] == term), None)
    try:
        value = Decimal(row["value"])
    except (InvalidOperation, TypeError):
        return "", None, "", None
    return row["name"], value, row["value_shown"], None


def _short(number, term):
    if term in catalogue.FACTS and catalogue.FACTS[term].type == "money":
        return wording.money(number)
    plain = f"{number.normalize():,f}"
    of_scores = term == "composite" or term.startswith("score.")
    return f"{plain}.0" if of_scores and "." not in plain else plain


def sentence(why, scale):
    """Why the rules give the segment, in one sentence."""
    if why["reason_text"]:
        return why["reason_text"]
    if scale:
        return scale.text
    rule = why["rule"]
    return (
        f"{wording.compared(rule['text'])}."
        if rule and rule["index"] is not None
        else "It stays: no rule applies."
    )


# -- beside it


def tiles(labels):
    """The labels that have a tile, in order."""
    shown = []
    for field in TILES:
        deciding = (label for label in labels if field in label.layer.decides and not label.layer.primary)
        shown += [label for label in [next(deciding, None)] if label and label not in shown]
    return shown


def growth(then, now):
    """How one Money became another, as a sentence; "" where that cannot be said."""
    if not then.only or now.only is None or then.currency != now.currency:
        return ""
    share = (now.only - then.only) / then.only
    if not share:
        return "as a year ago"
    return f"{'up' if share > 0 else 'down'} {wording.percent(abs(share))} in a year"


def picture(scores, scale):
    """The line of some months as paths of an SVG: a path for each stretch without a gap. scores: [(date, score or None)].

    None where there is no score at all.
    """
    known = [score for _, score in scores if score is not None]
    if not known:
        return None
    low, high = min(known) - ROOM, max(known) + ROOM
    levels = [at for at, *_ in scale.boundaries if low <= at <= high] if scale else []

    def down(score):
        return round(float(HIGH - 2 - (score - low) / (high - low) * (HIGH - 4)), 1)

    stretches, before = [], None
    for place, (_, score) in enumerate(scores):
        across = round(place * WIDE / max(len(scores) - 1, 1), 1)
        if score is not None and before is None:
            stretches.append([])
        if score is not None:
            stretches[-1].append(f"{across} {down(score)}")
        before = score
    return {
        "paths": [f"M{' L'.join(stretch)}{' h.01' if len(stretch) == 1 else ''}" for stretch in stretches],
        "levels": [down(level) for level in levels],
        "first": scores[0][0],
        "last": scores[-1][0],
        "text": "; ".join(
            f"{wording.day(day)} {'not known' if score is None else f'{score:.2f}'}" for day, score in scores
        ),
    }
