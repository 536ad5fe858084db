"""The structural pass: bytes of a CSV file -> records of text, or what is wrong with it and on which line.

Faults after which no row can be trusted (unclosed quote, duplicate header, NUL, wrong encoding, empty file) fail
the file; a ragged row or an oversized cell is one rejected line.
"""

import codecs
import contextlib
import csv
import io
import re
from dataclasses import dataclass

import polars as pl

from core import texts

from .errors import ImportFault

LARGEST_CELL = 100_000  # characters
BATCH = 20_000  # records turned into columns at a time: Python's strings need ten times the memory of Polars'
CHUNK = 1 << 20
LONGEST_VALUE = 200  # characters kept of a rejected value
MOST_COLUMNS = 2_000
BLANKS = " \t\r\n\x0b\x0c"
LINE = "\0line"  # the column of line numbers; no file has a header with NUL

csv.field_size_limit(1 << 30)  # the limit above is ours, with a line number


@dataclass(frozen=True)
class Rejection:
    """One line of a file, or row of a query, that is left out, and why.

    reason: the same for all that are wrong in the same way. hint: what to do about this one. source: whose line it is.
    """

    origin: str
    line: int | None
    column: str
    value: str
    reason: str
    external_id: str = ""
    hint: str = ""
    source: str = ""
    subscription_id: str = ""


def shortened(value):
    """A rejected value as it is kept."""
    value = value.replace("\0", "")
    return value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}... ({len(value):,} characters)"


def read(source, stream):
    """({name: texts}, LINE among them, rejections, first lines of records to look at) of a seekable binary stream.

    The records to look at are rows that may be two, see `_perhaps_merged`. ImportFault if it is no table.
    """
    _check_bytes(source, stream)
    with _opened(source, stream) as (reader, lines):
        return _records(source, reader, lines)


def header(source, stream):
    """The names of the columns; none where the file is at fault, which `read` tells."""
    try:
        with _opened(source, stream) as (reader, lines):
            return _header(source, reader, lines)[0]
    except (ImportFault, UnicodeError):
        return []


def records(source, stream, wanted):
    """(the header, {line: cells}) of the records that begin in these lines of a file that has been read."""
    with _opened(source, stream) as (reader, lines):
        names, found = next(reader, []), {}
        if _separator(source, names):
            names = next(reader, [])
        lines.next_record()
        for record in reader:
            if lines.started in wanted:
                found[lines.started] = record
            lines.next_record()
        return names, found


@contextlib.contextmanager
def _opened(source, stream):
    stream.seek(0)
    lines = _Lines(io.TextIOWrapper(stream, encoding=_encoding(source), newline=""))
    reader = csv.reader(lines, delimiter=source.delimiter, strict=True)
    try:
        for _ in range(source.header - 1):  # lines above the header
            next(lines, None)
        lines.next_record()
        yield reader, lines
    except csv.Error as error:
        raise ImportFault(f"{_at(source, lines.started)}: {_explain(error)}") from error
    finally:
        lines.text.detach()  # the stream belongs to the caller


class _Lines:
    """The text's lines, with what csv.reader does not tell: where a record began and whether one is huge."""

    def __init__(self, text):
        self.text, self.number, self.started, self.huge, self.inside = text, 0, 1, False, []

    def __iter__(self):
        return self

    def __next__(self):
        line = next(self.text)
        self.number += 1
        self.inside.append(line)
        if len(line) > LARGEST_CELL:
            self.huge = True
        return line

    def next_record(self):
        """Begin a record; returns the physical lines of the one before."""
        before, self.inside, self.started, self.huge = self.inside, [], self.number + 1, False
        return before


def _records(source, reader, lines):
    header, cells = _header(source, reader, lines)
    width, parts, rejected, batch, numbers, merged = len(header), [], [], [], [], []
    shapes = []  # of the lines that are rejected: (line, cells, whether all of them say something)
    lines.next_record()
    for record in reader:
        if record:  # an empty line is none
            problem = _problem(source, header, cells, record, lines) if (
                len(record) != cells or cells > width or lines.huge or len(lines.inside) > 1
            ) else None  # fmt: skip
            if problem:
                rejected.append(problem)
                shapes.append((lines.started, len(record), all(cell.strip() for cell in record)))
            else:
                if len(lines.inside) > 1 and _perhaps_merged(source, cells, record):
                    merged.append(lines.started)
                batch.append(record if cells == width else record[:width])
                numbers.append(lines.started)
                if len(batch) == BATCH:
                    parts.append(_frame(header, batch, numbers))
                    batch, numbers = [], []
        lines.next_record()
    if not parts and len(shapes) > len(numbers):
        _check_title(source, header, shapes)
    parts.append(_frame(header, batch, numbers))
    return {column.name: column for column in pl.concat(parts).get_columns()}, rejected, merged


def _check_title(source, header, shapes):
    """ImportFault where no line fits below the first one, but below another: that is a report's title."""
    widths = [width for _, width, _ in shapes]
    usual = max(set(widths), key=widths.count, default=0)
    below = next((line for line, width, full in shapes if full and width == usual > len(header)), None)
    if below and shapes[-1][0] > below:
        raise ImportFault(
            f"{_at(source, source.header)}: {header[0][:80]!r} does not name the columns, no line below has as many cells; "
            f"if line {below} names them, declare header: {below}"
        )


def _perhaps_merged(source, cells, record):
    """Whether a record of several lines may be several rows, made one by a quote that is closed a line too late.

    Such a cell has swallowed a row's worth of delimiters with each line break. In a file of one or two columns prose with
    a comma looks the same, and prose without one is rare. There every such record is worth a look.
    """
    if cells < 3:
        return True
    return any(
        "\n" in cell
        and cell.count(source.delimiter) == cell.count("\n") * (cells - 1)
        and f"{source.delimiter} " not in cell
        for cell in record
    )


def _header(source, reader, lines):
    """(names, cells a record must have): a spreadsheet's empty columns at the right end have no name."""
    header = [texts.seen(name) for name in next(reader, [])]
    if separator := _separator(source, header):
        if separator[1] != source.delimiter:
            raise ImportFault(f'{_at(source, 1)}: {separator[0]!r}; declare delimiter: "{separator[1]}"')
        header = [texts.seen(name) for name in next(reader, [])]
    cells = len(header)
    while len(header) > 1 and not header[-1]:
        header.pop()
    if not any(header):
        raise ImportFault(f"{source.file} is empty: the first line must name the columns.")
    if len(header) > MOST_COLUMNS:
        raise ImportFault(
            f"{_at(source, lines.number)}: {len(header):,} columns; at most {MOST_COLUMNS:,} are read."
        )
    for position, name in enumerate(header, start=1):
        if not name:
            raise ImportFault(
                f"{_at(source, lines.number)}: column {position} has no name. If the names of the columns stand further "
                "down, declare that line at the source, such as header: 4"
            )
        if header.count(name) > 1:
            raise ImportFault(f"{_at(source, lines.number)}: the column {name!r} is there twice.")
    if len(header) == 1 and (other := next((mark for mark in ";\t|," if mark in header[0]), "")):
        shown = "tab" if other == "\t" else other
        raise ImportFault(
            f'{_at(source, lines.number)}: one column named {header[0][:80]!r}; declare delimiter: "{shown}"'
        )
    for name in source.columns:
        if name not in header:
            raise ImportFault(f"{source.file} has no column {name!r}; it has {', '.join(header)}.")
    return header, cells


def _separator(source, record):
    """Excel's first line, which says the delimiter, as a match."""
    return re.fullmatch(r"(?i)sep=(.?)", source.delimiter.join(record))


def _problem(source, header, cells, record, lines):
    """The rejection of an unusual record, or None if it is only unusual."""
    _check_swallowed(source, cells, lines)
    if len(record) != cells:
        hint = ""
        if cells == 1 or len(record) == 1:
            hint = "; is the delimiter declared?"
        text = source.delimiter.join(record)
        return Rejection(
            source.name, lines.started, "", text,
            "ragged row", hint=f"{len(record)} cells where the header has {cells}{hint}", source=source.name,
        )  # fmt: skip
    for position, cell in enumerate(record[len(header) :], start=len(header) + 1):
        if cell.strip():
            return Rejection(
                source.name, lines.started, "", cell, f"column {position} has no name", source=source.name
            )
    for name, cell in zip(header, record, strict=False):
        if len(cell) > LARGEST_CELL:
            return Rejection(
                source.name, lines.started, name, cell,
                f"the cell has more than {LARGEST_CELL:,} characters", hint=f"it has {len(cell):,}", source=source.name,
            )  # fmt: skip
    return None


def _check_swallowed(source, cells, lines):
    """A quote that is closed by the next quote far below swallows whole rows: seen by their delimiters."""
    if cells < 3:
        return
    between = lines.inside[1:-1]
    # Prose has a space after its commas, and not the same number of them in every line.
    rows = [
        line
        for line in between
        if line.count(source.delimiter) == cells - 1 and f"{source.delimiter} " not in line
    ]
    if 2 * len(rows) > len(between):
        raise ImportFault(
            f"{_at(source, lines.started)}: unclosed quote: the cell runs to line {lines.number} and the lines "
            'between look like rows. A quote inside a cell is written twice ("").'
        )


def _frame(header, records, numbers):
    columns = list(zip(*records, strict=True)) or [()] * len(header)
    named = {
        name: pl.Series(name, values, dtype=pl.String) for name, values in zip(header, columns, strict=True)
    }
    stripped = pl.all().str.strip_chars(BLANKS)  # others are no blanks to those who see them: see `columns`
    frame = pl.DataFrame(named).with_columns(stripped).with_columns(pl.all().replace("", None))
    return frame.with_columns(pl.Series(LINE, numbers, dtype=pl.Int64))


# Kinds of file that are no text, by their first bytes.
_KINDS = {
    b"PK\x03\x04": "a zipped file: an Excel workbook (XLSX) or an archive. Save the sheet as CSV, or unpack it, first",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (XLS). Save the sheet as CSV first",
    b"\x1f\x8b": "compressed with gzip. Unpack it first",
    b"BZh": "compressed with bzip2. Unpack it first",
    b"\xfd7zXZ": "compressed with xz. Unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd. Unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive. Unpack it first",
    b"%PDF": "a PDF. Export the table as CSV",
    b"PAR1": "a Parquet file. Export the table as CSV",
    b"ARROW1": "an Arrow file. Export the table as CSV",
    b"SQLite format": "an SQLite database. Export the table as CSV",
}
_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_MARKUP = re.compile(rb"\s*(<!doctype|<html|<\?xml|<table|\{\s*\"|\[\s*[\[{])", re.IGNORECASE)


def _check_bytes(source, stream):
    decoder = codecs.getincrementaldecoder(_encoding(source))()
    is_utf8 = _is_utf8(source)
    other = None if is_utf8 else codecs.getincrementaldecoder("utf-8")()
    line, size, first, wide = 1, 0, b"", False
    while chunk := stream.read(CHUNK):
        if not size:
            first = chunk[:CHUNK]
            _check_kind(source, first)
        size += len(chunk)
        try:
            text = decoder.decode(chunk)
        except UnicodeDecodeError as error:
            # error.object also holds what the decoder kept of the chunk before: never a line break
            line += error.object[: error.start].count(b"\n")
            raise ImportFault(_wrong_encoding(source, line, error, first)) from error
        if other:
            wide = wide or not chunk.isascii()
            try:
                other.decode(chunk)
            except UnicodeDecodeError:
                other = None
        if "\0" in text:
            line += text[: text.index("\0")].count("\n")
            likely = _likely(first)
            hint = f"; declare encoding: {likely}" if likely.startswith("utf-") else ""
            raise ImportFault(f"{_at(source, line)}: a NUL character{hint}.")
        line += text.count("\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise ImportFault(_wrong_encoding(source, line, error, first)) from error
    if not size:
        raise ImportFault(f"{source.file} is empty.")
    if other and wide:  # letters with accents, read one by one, would be two letters each
        raise ImportFault(
            f"{source.file} is declared as {source.encoding}, but its text is utf-8: declare encoding: utf-8"
        )


def _check_kind(source, first):
    for begin, kind in _KINDS.items():
        if first.startswith(begin):
            raise ImportFault(f"{source.file} is no CSV file: it is {kind}.")
    if _MARKUP.match(first.removeprefix(codecs.BOM_UTF8)):
        kind = "JSON" if first.lstrip()[:1] in b"{[" else "a web page or XML"
        raise ImportFault(f"{source.file} is no CSV file: it is {kind}. Export the table as CSV.")


def _likely(first):
    """The encoding that bytes which are not UTF-8 probably have."""
    for mark, encoding in _MARKS.items():
        if first.startswith(mark):
            return encoding
    low, high = first[0:2_000:2].count(0), first[1:2_000:2].count(0)
    if max(low, high) > len(first[:2_000]) // 4:
        return "utf-16-le" if high > low else "utf-16-be"
    return "cp1252"


def _wrong_encoding(source, line, error, first):
    byte = f"0x{error.object[error.start]:02x}" if error.start < len(error.object) else "the end"
    return (
        f"{_at(source, line)}: the text is not {source.encoding} ({byte}); "
        f"declare its encoding, for example encoding: {_likely(first)}"
    )


def _is_utf8(source):
    return codecs.lookup(source.encoding).name in ("utf-8", "utf-8-sig")


def _encoding(source):
    """A byte order mark belongs to the encoding, not to the first column's name."""
    return "utf-8-sig" if _is_utf8(source) else source.encoding


def _explain(error):
    if "end of data" in str(error):
        return "unclosed quote: a cell that begins with a quote never ends"
    if "expected after" in str(error):
        return f'a quote inside a cell must be written twice (""), or a quote is unclosed ({error})'
    return f"not readable as CSV ({error})"


def _at(source, line):
    return f"{source.file}, line {line}"
