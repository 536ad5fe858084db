"""The flow picture of an impact preview: bars for the segments before and after, a ribbon for everybody between them.

Only the ribbons are drawn; they may be stretched to any width, while the names beside them stay text of the page.
"""

from dataclasses import dataclass

HEIGHT = 280  # of all accounts together
LABEL = 38  # room for a name and a number
GAP = 8


@dataclass(frozen=True)
class Bar:
    """A segment on one side: its place and height, in pixels from the top."""

    name: str
    accounts: int
    top: float
    height: float


@dataclass(frozen=True)
class Ribbon:
    """Accounts that go from one segment to another, or stay: an outline between 0 and 100 across."""

    outline: str
    kind: str  # stay, move
    in_words: str


@dataclass(frozen=True)
class Picture:
    height: float
    left: list
    right: list
    ribbons: list

    @property
    def in_words(self):
        """The picture in words."""
        return ". ".join(ribbon.in_words for ribbon in self.ribbons)


def draw(cells, segments):
    """The Picture of a matrix; None of nobody.

    cells: {(segment before, after): accounts}; segments: {segment: name} in their order. Segments nobody has on either
    side are left out.
    """
    total = sum(cells.values())
    if not total:
        return None
    sides = [_sums(cells, 0), _sums(cells, 1)]
    there = [segment for segment in segments if any(side.get(segment) for side in sides)]
    left, right = (dict(_bars(there, segments, side, total)) for side in sides)
    ribbons = list(_ribbons(cells, there, left, right, HEIGHT / total))
    height = max(bar.top + max(bar.height, LABEL) for bar in [*left.values(), *right.values()])
    # Accounts that move lie on top of accounts that stay.
    ribbons.sort(key=lambda ribbon: ribbon.kind == "move")
    return Picture(round(height), list(left.values()), list(right.values()), ribbons)


def _sums(cells, side):
    sums = {}
    for pair, accounts in cells.items():
        sums[pair[side]] = sums.get(pair[side], 0) + accounts
    return sums


def _bars(there, segments, sums, total):
    top = 0.0
    for segment in there:
        accounts = sums.get(segment, 0)
        height = max(HEIGHT * accounts / total, 3 if accounts else 1)
        yield segment, Bar(segments[segment], accounts, round(top, 1), round(height, 1))
        top += max(height, LABEL) + GAP


def _ribbons(cells, there, left, right, scale):
    out = {segment: left[segment].top for segment in there}
    into = {segment: right[segment].top for segment in there}
    for source in there:
        for target in there:
            accounts = cells.get((source, target), 0)
            if accounts:
                thick = max(accounts * scale, 1)
                in_words = _in_words(left[source].name, right[target].name, accounts, stays=source == target)
                kind = "stay" if source == target else "move"
                yield Ribbon(_outline(out[source], into[target], thick), kind, in_words)
                out[source] += accounts * scale
                into[target] += accounts * scale


def _outline(start, end, thick):
    a, b, c, d = (f"{number:.1f}" for number in (start, end, end + thick, start + thick))
    return f"M0,{a} C50,{a} 50,{b} 100,{b} L100,{c} C50,{c} 50,{d} 0,{d} Z"


def _in_words(source, target, accounts, *, stays):
    many = f"{accounts:,}"
    return f"{source}, unchanged: {many}" if stays else f"{source} to {target}: {many}"
