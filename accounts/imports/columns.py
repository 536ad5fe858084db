"""Text columns become typed ones: as declared, as the queries use them, else by what all their values look like."""

import polars as pl

from core import texts as characters

from . import hints, notation, places
from .errors import ImportFault
from .structure import BLANKS, LINE, Rejection

MOSTLY = (
    0.5  # a text column of which this share are numbers or dates is worth a word when a query fails on it
)
EXAMPLES = 5  # named of what a warning counts
NUMBERS = {"integer", "number"}
DATES = {"date", "iso date"}
# The sign our own exports write before text that a spreadsheet would run (accounts.exports.safe).
GUARDED = r"^'('*[=+\-@\t\r\n])"


class _Column:
    """A column of a file on its way from text to values."""

    def __init__(self, source, name, texts, used):
        self.source, self.name, self.texts = source, name, texts
        self.key = source.name, name
        declared = source.columns.get(name)
        self.declared = declared.type if declared else None
        self.decimals = declared.decimals if declared else source.decimals
        self.dates = declared.dates if declared else source.dates
        self.used, self.kind, self.changed = used, None, None
        self.faults = []  # (which, reason, hint of a value)

    def type(self, zone):
        """The values; what is wrong with some is in `faults`."""
        if self.texts.str.starts_with("'").any():
            self.texts = self.texts.str.replace(GUARDED, "$1")
        self.kind = self._kind()
        if self.kind == "text" and _may_hide(self.texts):
            self._see()
            self.kind = self._kind()
        values = _convert(self.texts, self.kind, self.decimals, self.dates, zone)
        bad = self.texts.is_not_null() & values.is_null()
        if bad.any():
            self.faults.append((bad, _reason(self.kind, self.decimals, self.dates), self._hint))
        self._check_mixed(values)
        return values

    def _kind(self):
        if self.declared or self.key in self.used.texts:
            return self.declared or "text"
        return _infer(self.texts.drop_nulls(), self.decimals, self.dates)

    def _see(self):
        """Text as it is seen: without characters that nobody sees; an ID that has one is refused."""
        hidden = self.texts.str.contains(characters.INVISIBLE)
        if self.key in self.used.ids:
            self.faults.append((hidden, "a character nobody sees", characters.invisible))
        elif hidden.any():
            self.changed = hidden
            plain = self.texts.str.replace_all(f"[{characters.SPACES}]", " ")
            plain = plain.str.replace_all(characters.INVISIBLE, "").str.strip_chars(BLANKS)
            self.texts = plain.replace("", None)
        self.texts = self.texts.str.normalize("NFC")

    def _check_mixed(self, values):
        """Text that a query computes with as well must come out as it went in."""
        if self.declared or self.key not in self.used.mixed or self.kind in ("text", "integer", "nothing"):
            return
        changed = values.is_not_null() & (values.cast(pl.String) != self.texts)
        if changed.any():
            raise ImportFault(
                f"{self.name} in {self.source.file} is text or an ID, and a query computes with it as well, so {self.texts[changed.arg_max()]!r} "
                f"would be written differently: declare columns: {{{self.name}: text}} at source {self.source.name}, or {self.kind}."
            )

    def _hint(self, value):
        if self.kind in NUMBERS:
            return hints.for_number(value, self.key, self.decimals)
        return hints.for_date(value, self.key) if self.kind in DATES else ""

    def warning(self, lines):
        """The preview's warning of characters that were taken out."""
        if self.changed is None:
            return []
        found = [f"line {line}" for line in lines.filter(self.changed)[:EXAMPLES]]
        sentence = f"{self.source.file}: characters nobody sees were taken out of {self.name}"
        return [{"query": "files", "warning": sentence, "count": int(self.changed.sum()), "examples": found}]


def typed(source, number, texts, zone, used):
    """(typed frame with places, rejections, notes, warnings) of columns of text, which are taken out of `texts` one by one.

    number: the source's position in the recipe. used: the Lineage. A line with a value that its column's type cannot
    hold is rejected whole. notes: {column: sentence} on text columns that would have been numbers or dates but for some value.
    """
    lines, columns, faults, notes, warnings = texts.pop(LINE), {}, [], {}, []
    again = _header_again(texts)
    if again is not None:
        faults.append(
            ("", again, pl.repeat(", ".join(texts), len(lines), eager=True), "the header again", None)
        )
    ids = {key: texts[name] for key, name in _ids(source, used).items()}
    for name in list(texts):
        column = _Column(source, name, texts.pop(name), used)  # and with it its memory
        columns[name] = column.type(zone)
        faults += [
            (name, bad, column.texts, reason, hint) for bad, reason, hint in column.faults if bad.any()
        ]
        warnings += column.warning(lines)
        if column.kind == "text" and name not in source.columns and column.key not in used.texts:
            _note(notes, source, name, column.texts, lines)
    result = places.added(pl.DataFrame(columns), number, lines)
    if not faults:
        return result, [], notes, warnings
    rejected, left_out = [], pl.repeat(False, len(result), eager=True)
    for name, bad, values, reason, hint in faults:
        first = bad.fill_null(False) & ~left_out
        who = {key: column.filter(first) for key, column in ids.items()}
        rows = pl.DataFrame(who | {"line": lines.filter(first)}).iter_rows(named=True)
        for row, value in zip(rows, values.filter(first), strict=True):
            about = {key: each or "" for key, each in row.items()} | {"hint": hint(value) if hint else ""}
            rejected.append(
                Rejection(source.name, column=name, value=value, reason=reason, source=source.name, **about)
            )
        left_out = left_out | first
    rejected.sort(key=lambda rejection: rejection.line)
    return result.filter(~left_out), rejected, notes, warnings


def _may_hide(texts):
    """Whether there is more than plain letters, digits and signs."""
    return (
        texts.str.len_bytes().sum() != texts.str.len_chars().sum()
        or texts.str.contains(characters.CONTROLS).any()
    )


def _ids(source, used):
    """{external_id or subscription_id: the source's column that some query takes it from}."""
    found = {}
    for (_, name), (origin, column) in used.outputs.items():
        if origin == source.name and name in ("external_id", "subscription_id"):
            found.setdefault(name, column)
    return found


def _header_again(texts):
    """Which lines say the names of the columns once more, as files that were put together do; None where there is none."""
    same = None
    for name, column in texts.items():
        here = (column == name).fill_null(False)
        same = here if same is None else same & here
        if not same.any():
            return None
    return same


def _infer(texts, decimals, dates):
    if texts.is_empty():
        return "nothing"
    if texts.str.contains(notation.BOOLEAN).all():
        return "boolean"
    if texts.str.contains(notation.INTEGER).all():
        return "integer"
    if texts.str.contains(r"^-?0\d+$").any():
        return "text"  # 007 is a name
    if notation.looks_like_numbers(texts, decimals):
        return "number"
    if texts.str.contains(dates.shape).all():
        return "date"
    if texts.str.contains(notation.ISO_DATE).all():
        return "iso date"
    if (texts.str.contains(notation.ISO_TIME) | texts.str.contains(notation.ISO_DATE)).all():
        return "time"
    return "text"


def _convert(texts, kind, decimals, dates, zone):
    if kind == "nothing":
        return pl.Series(texts.name, [None] * len(texts), dtype=pl.Null)
    if kind == "boolean":
        return notation.to_booleans(texts).alias(texts.name)
    if kind == "integer":
        numbers = notation.to_numbers(texts, decimals)
        whole = numbers == numbers.cast(pl.Int64, strict=False)
        return (
            pl.select(pl.when(whole).then(numbers.cast(pl.Int64, strict=False))).to_series().alias(texts.name)
        )
    if kind == "number":
        return notation.to_numbers(texts, decimals).alias(texts.name)
    if kind == "date" and dates == notation.ISO:  # declared a date: the time of day is left out
        return notation.to_dates(texts.str.extract(r"^(\d{4}-\d{2}-\d{2})([T ].*)?$")).alias(texts.name)
    if kind in DATES:
        return notation.to_dates(texts, dates if kind == "date" else notation.ISO).alias(texts.name)
    if kind == "time":
        return notation.to_times(texts, zone).alias(texts.name)
    return texts


def _reason(kind, decimals, dates):
    if kind == "date":
        return f"not a date ({dates.shown})"
    if kind in ("iso date", "time"):
        return "not a date (YYYY-MM-DD)" if kind == "iso date" else "not an ISO time"
    if kind in NUMBERS:
        kind = "whole number" if kind == "integer" else "number"
        return f"not a {kind}" + ("" if decimals == notation.PLAIN_NUMBERS else " as declared")
    return "neither true nor false"


def _note(notes, source, name, texts, lines):
    """Remember why a column that looks like numbers or dates is text: a query that computes with it will fail."""
    filled = texts.is_not_null()
    for kind, shape in (("number", notation.PLAIN), ("date", notation.ISO_DATE)):
        fits = texts.str.contains(shape).fill_null(False)
        if filled.sum() > 0 and fits.sum() / filled.sum() >= MOSTLY:
            odd = filled & ~fits
            if odd.any():
                at = odd.arg_max()
                notes[name] = (
                    f"{name} in {source.file} is text because of {texts[at]!r} in line {lines[at]}; "
                    f"declare columns: {{{name}: {kind}}} to have such lines rejected"
                )
