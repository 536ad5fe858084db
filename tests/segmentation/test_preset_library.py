"""The preset library: where its numbers come from, and whether its labels are reached, on the sample and on published data."""

import re
from datetime import date, timedelta
from itertools import takewhile

import library
import pytest
import yaml
from django.conf import settings

from examples.sample import generate
from segmentation import treatments
from segmentation.authoring.versions import ORDER, PRESETS
from segmentation.evaluation import frames

DAY = date(2025, 7, 15)

# -- where the numbers come from

ORIGIN = re.compile(r"\b(methodology|ours)\b")
NUMBER = re.compile(r"(?<![\w.])\d")  # not those in names


class Preset:
    """A preset with its lines: what is written on and above each of its parts."""

    def __init__(self, key):
        self.text = (PRESETS / f"{key}.yaml").read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.document = child(yaml.compose(self.text), "document")

    def decided(self):
        """(what it is, its node, what it is written in) of everything with numbers by which accounts are told apart."""
        for dimension in items(child(self.document, "dimensions")):
            criteria = child(dimension, "criteria")
            for criterion in criteria.value:
                yield f"measure {child(criterion, 'key').value}", criterion, criteria
            if maturity := child(dimension, "maturity"):
                yield "maturity", maturity, maturity
        if weights := child(self.document, "weights"):
            yield "weights", weights, weights
        rules = child(self.document, "rules")
        for number, rule in enumerate(rules.value, start=1):
            yield f"rule {number}", rule, rules

    def unexplained(self):
        """Numbers without a comment that says where they come from: on the line, above it, or at `rules:`, `criteria:`."""
        for name, node, around in self.decided():
            lines = self.lines[slice(*span(node))]
            typed = [line.partition(" #")[0] for line in lines]
            numbers = any(NUMBER.search(line) or "quintiles" in line for line in typed)
            said = [line.partition("#")[2] for line in lines] + self.above(node) + self.head(around)
            if numbers and not ORIGIN.search(" ".join(said)):
                yield name

    def above(self, node):
        """The comments right above a part."""
        line = node.start_mark.line if isinstance(node, yaml.Node) else node
        return list(takewhile(lambda text: text.startswith("#"), map(str.strip, self.lines[line - 1 :: -1])))

    def head(self, node):
        """The comment at the key that a part is the value of, and those above it."""
        line = node.start_mark.line - len(self.above(node)) - 1
        return [self.lines[line].partition("#")[2], *self.above(line)]


def child(node, key):
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def items(node):
    return node.value if node else []


def span(node):
    """The first line of a node, and the one after its last."""
    last = node
    while isinstance(last, (yaml.MappingNode, yaml.SequenceNode)):
        last = last.value[-1][1] if isinstance(last, yaml.MappingNode) else last.value[-1]
    return node.start_mark.line, last.end_mark.line + (last.end_mark.column > 0)


@pytest.mark.parametrize("key", ORDER)
def test_every_number_in_a_preset_says_where_it_comes_from(key):
    assert list(Preset(key).unexplained()) == []


def test_the_documentation_lists_every_preset():
    rows = {}
    for line in (settings.BASE_DIR / "docs" / "segmentations.md").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\| (.+?) `([\w-]+)`(?: \(.+\))? \| (.+) \| (.+) \| .+ \|$", line):
            rows[found[2]] = (found[1], found[3], found[4])
    assert list(rows) == ORDER
    for key, row in rows.items():
        preset = yaml.safe_load(Preset(key).text)
        decides = ", ".join(str(treatments.FIELDS[name].label) for name in preset["decides"])
        assert row == (preset["name"], decides, ", ".join(one["name"] for one in preset["segments"]))


# -- whether its labels are reached


@pytest.fixture
def library_in_use(db):
    library.load()


def test_every_label_is_reached_on_the_sample(library_in_use, tmp_path):
    before, now = generate.write(tmp_path, DAY)
    library.import_set(before)
    library.declare(each=3, from_date=DAY - timedelta(days=generate.APART))
    library.recompute(DAY - timedelta(days=generate.APART))
    library.import_set(now)
    run = library.recompute(DAY)
    reached = library.reached()
    assert {layer for layer, _ in reached} == set(ORDER)
    assert [label for label, accounts in reached.items() if not accounts] == []
    # what a demonstration is to show of the service tier
    tier = run.layers.get(layer__primary=True).counts
    assert min(tier["needs_data"], tier["provisional"], tier["differs"]) > 0
    assert sum(tier["segments"].values()) >= 0.9 * tier["scanned"]


# -- what the documentation says of published data

PUBLISHED = settings.BASE_DIR / "docs" / "published-data.md"
OUT_OF_REACH = "out of reach: "


def told(column):
    """{(layer, label): the cell} of the table in the documentation."""
    lines = PUBLISHED.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    header, _, *rows = rows
    return {(row[0], row[1]): row[header.index(column)] for row in rows}


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("ravenstack", date(2024, 12, 31)),
        pytest.param("flowstack", date(2026, 7, 25), marks=pytest.mark.long),
    ],
)
def test_the_documentation_tells_what_published_data_reach(published_data, library_in_use, name, day):
    library.import_set(settings.BASE_DIR / "examples" / name / "recipe.yaml")
    library.recompute(day)
    cells, reached = told(name), library.reached()
    assert list(cells) == list(reached)
    assert {one: cell for one, cell in cells.items() if not cell.startswith(OUT_OF_REACH)} == {
        one: f"{accounts:,}" for one, accounts in reached.items() if accounts
    }
    missing = {fact for cell in cells.values() for fact in re.findall(r"`(\w+)`", cell)}
    assert missing
    assert [fact for fact in sorted(missing) if frames.any_known([fact], at=day)] == []
