"""Definitions as files: what is typed comes back as typed, byte by byte, and what is no definition is refused."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from segmenting import RULES

from segmentation.rules import definitions, document_text, files

PRESETS = Path(definitions.__file__).parent / "presets"
AWKWARD = [
    "yes", "no", "on", "null", "~", "", "0.40", "1e5", "007", "0x1F", ".5", "-", "- a", "a: b", "#x", "a #b", "'q'", '"q"',
    "a\nb", "a\n\nb\n", "\n", " \n a", "a \nb", " x", "x ", "\ta", "%x", "@x", "`x`", "{a}", "[a]", "&a", "*a", "!a", "|", ">",
    "?", "? a", "2026-01-01", "é", "日本", "\u2028", "\x85", "\ufeff", "😀", "a\r\nb", "1,000+", "< 50", "*", "---", "...", "=",
    "<<", "\\", "\u00a0", "\x7f", "$50K-$99K", "x" * 300, "word " * 60,
]  # fmt: skip
TEXT = (
    st.sampled_from(AWKWARD)
    | st.lists(st.sampled_from(AWKWARD), max_size=3).map("".join)
    | st.text("ab \n:#-'\"\\", max_size=20)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
)
TEXTS = st.lists(TEXT, max_size=3)


def parts(**optional):
    return st.fixed_dictionaries({}, optional=optional)


DOCUMENT = parts(
    weights=st.dictionaries(TEXT, TEXT, max_size=3),
    requires=TEXTS,
    dimensions=st.lists(
        parts(
            key=TEXT, name=TEXT, scale=TEXT, maturity=st.dictionaries(TEXT, TEXT, max_size=2),
            criteria=st.lists(parts(key=TEXT, fact=TEXT, weight=TEXT, cells=TEXT | TEXTS, missing=TEXT), max_size=2),
        ),
        max_size=2,
    ),
    rules=st.lists(parts(key=TEXT, segment=TEXT, when=TEXT, top=TEXT, **{"from": TEXTS}), max_size=3),
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(DOCUMENT)
@example(RULES)
@example({"rules": [{"key": "low", "segment": "low"}, {"key": "own", "segment": "low"}]})
def test_a_round_trip_changes_no_byte(document):
    text = files.write("tier", document)
    found = files.read(text.encode())
    assert (found.key, files.write(found.key, found.document)) == ("tier", text)
    assert document_text.short(found.document) == document_text.short(document)


def test_numbers_stay_as_typed_and_weights_stand_alone():
    lines = files.write("tier", {"weights": {"behavioural": "0.40", "value": "0.60"}}).splitlines()
    assert lines == ["key: tier", "document:", "  weights:", "    behavioural: 0.40", "    value: 0.60"]


def test_the_order_is_the_one_people_read_whatever_the_database_keeps():
    by_length = {
        "rules": [{"when": "arr > 5", "segment": "low"}],
        "weights": {"a": "1"},
        "dimensions": [{"key": "a"}],
    }
    assert list(files.read(files.write("tier", by_length)).document) == ["weights", "dimensions", "rules"]
    assert "- segment: low\n      when: arr > 5" in files.write("tier", by_length)


def test_keys_that_people_gave_are_kept_and_those_from_the_segment_are_not_written():
    own = {"rules": [{"key": "big", "segment": "high", "when": "arr > 5"}, {"key": "low", "segment": "low"}]}
    assert "key: big" in files.write("tier", own)
    plain = {
        "rules": [{"key": "high", "segment": "high", "when": "arr > 5"}, {"key": "low", "segment": "low"}]
    }
    assert files.write("tier", plain).count("key:") == 1


def test_a_draft_may_hold_what_is_no_text():
    text = files.write("tier", {"requires": [True, None, 5], "rules": None, "weights": {"a": 0.5}})
    assert files.read(text).document == {"weights": {"a": "0.5"}, "requires": ["true", "", "5"]}


def test_presets_are_read_for_their_rules():
    for path in PRESETS.glob("*.yaml"):
        if path.stem == "service-models":
            continue
        found = files.read(path.read_bytes())
        assert found.key == path.stem
        assert "segments" in found.left
        assert found.segments
        assert found.document["rules"]


def test_places():
    found = files.read(
        "key: tier\ndocument:\n  dimensions:\n    - key: a\n      criteria:\n        - key: arr\n"
    )
    assert found.line("dimensions.0.criteria.0.key") == 6
    assert found.line("dimensions.0.criteria.0.cells.3") == 6  # not there: what is round it
    assert found.line("") == 2


GOOD = "key: tier\ndocument:\n"


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", None, "needs two parts"),
        (b"just text", None, "needs two parts"),
        (b"rules:\n- segment: a\n", None, "under 'document:'"),
        (b"key: Tier!\ndocument: {}\n", 1, "must be the key of a segmentation"),
        (b"key: tier\ndocument: x\n", 2, "'document' must have named parts"),
        (b"key: tier\ndocument: {}\nhash: abc\n", 3, "'hash' is not known here"),
        (b"key: tier\ndocument: {}\nsegmnets: []\n", 3, "Did you mean 'segments'"),
        (f"{GOOD}  rules: x\n".encode(), 3, "'rules' must be a list"),
        (f"{GOOD}  rules:\n    - a\n".encode(), 4, "This entry must have named parts"),
        (f"{GOOD}  rules:\n    - segment: [a]\n".encode(), 4, "'segment' must be a single text"),
        (f"{GOOD}  weights: [a]\n".encode(), 3, "'weights' must have named parts"),
        (f"{GOOD}  dimensions:\n    - criteria:\n        - cells: {{a: b}}\n".encode(), 5, "'cells' must be a single text"),
        (f"{GOOD}  rules: &a []\n  requires: *a\n".encode(), None, r"\(line 4\): .* references"),
        (b"key: tier\ndocument: !!python/object:os.system {}\n", None, r"\(line 2\): types"),
        (b"key: tier\ndocument: !!int 5\n", None, "types"),
        (b"key: tier\nkey: other\ndocument: {}\n", None, r"\(line 2\): 'key' is there twice"),
        (b"key: tier\n? [a]\n: b\n", None, "cannot be read"),
        (b"key: tier\n---\nkey: other\n", None, "expected a single document"),
        (b"key: 'tier\n", None, r"cannot be read \(line 2\)"),
        (b"key: tier\ndocument: " + b"[" * 5_000, None, "nested too deeply"),
        (b"key: tier\ndocument: \xe9\n", 2, "not UTF-8"),
        (b"key: tier\n\x00", None, "cannot be read"),
        (b"a" * 5_000_000, None, "larger than"),
        (b"a" * 300_000, None, "longer than"),
    ],
)  # fmt: skip
def test_what_is_refused(content, line, message):
    with pytest.raises(files.FileErrors, match=message) as refusal:
        files.read(content)
    assert refusal.value.problems[0][0] == line
