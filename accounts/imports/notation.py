"""How numbers, dates and yes/no are written in a file, and how text of that notation becomes typed values.

Numbers are plain (`1234.5`) and dates ISO (`2025-04-03`) unless a recipe declares otherwise:
`decimal: ","` or a sample such as `"1.234,56"`, `"1,23,456.78"`; `dates: DD/MM/YYYY` or `"%d/%m/%Y"`.
"""

import datetime
import re
from dataclasses import dataclass
from functools import cache

import polars as pl

from .errors import ImportFault

SCALE = 12  # decimals kept of a number in a file
NUMBER = pl.Decimal(38, 6)
LONG_NUMBER = pl.Decimal(38, SCALE)
INTEGER = r"^-?(0|[1-9]\d{0,17})$"  # a leading zero or a nineteenth digit makes it an identifier
PLAIN = r"^-?(0|[1-9]\d{0,23})?(\.\d+)?$"
ISO_DATE = r"^\d{4}-\d{2}-\d{2}$"
ISO_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?$"
BOOLEAN = r"(?i)^(true|false)$"
TRUTH = {"true": True, "yes": True, "y": True, "1": True, "false": False, "no": False, "n": False, "0": False}

_SEPARATORS = r"[.,' \u00a0\u202f]"
_SAMPLE = re.compile(rf"\d{{1,3}}(?:(?P<thousands>{_SEPARATORS})\d{{2,3}})*(?P<mark>[.,])\d+")
_TOKENS = {
    "YYYY": "%Y", "YY": "%y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "M": "%m", "DD": "%d", "D": "%d",
    "HH": "%H", "mm": "%M", "SS": "%S",
}  # fmt: skip
_SHAPES = {
    "%Y": r"\d{4}", "%y": r"\d{2}", "%m": r"\d{1,2}", "%d": r"\d{1,2}", "%b": r"[A-Za-z]{3,4}\.?",
    "%B": r"[A-Za-z]{3,9}", "%H": r"\d{1,2}", "%M": r"\d{2}", "%S": r"\d{2}",
}  # fmt: skip


@dataclass(frozen=True)
class Decimals:
    """A way of writing numbers: the decimal mark, the mark between groups of digits, and the shape of it all."""

    mark: str = "."
    thousands: str = ""
    shape: str = PLAIN


@dataclass(frozen=True)
class Dates:
    """A way of writing dates: the strptime format and the shape it takes."""

    format: str = "%Y-%m-%d"
    shape: str = ISO_DATE
    shown: str = "YYYY-MM-DD"


PLAIN_NUMBERS, ISO = Decimals(), Dates()


def decimals(declared, where):
    """`"."`, `","` or a sample number -> Decimals; ImportFault names `where` it was declared."""
    declared = str(declared)
    if declared == ".":
        return PLAIN_NUMBERS
    if declared == ",":
        declared = "1.234,56"
    match = _SAMPLE.fullmatch(declared)
    if not match or match["thousands"] == match["mark"]:
        raise ImportFault(
            f'{where}: decimal is {declared!r}; write ",", "." or a sample such as "1.234,56" or "1,23,456.78"'
        )
    mark, between = re.escape(match["mark"]), match["thousands"]
    if not between:
        return Decimals(match["mark"], "", rf"^-?\d{{1,24}}({mark}\d+)?$")
    gap = r"[ \u00a0\u202f]" if between in " \u00a0\u202f" else re.escape(between)
    groups = rf"\d{{1,3}}({gap}\d{{3}})+"
    if re.search(rf"{re.escape(between)}\d\d{re.escape(between)}\d{{3}}", declared):  # lakh and crore
        groups = rf"\d{{1,2}}({gap}\d{{2}})*{gap}\d{{3}}"
    return Decimals(match["mark"], gap, rf"^-?({groups}|\d{{1,24}})?({mark}\d+)?$")


@cache
def dates(declared, where):
    """`DD/MM/YYYY` or `%d/%m/%Y` -> Dates; ImportFault names `where` it was declared."""
    if declared in ("ISO", "iso", "YYYY-MM-DD", "%Y-%m-%d"):
        return ISO
    template = str(declared)
    if "%" not in template:
        template = re.sub(
            "YYYY|YY|MMMM|MMM|MM|M|DD|D|HH|mm|SS", lambda match: _TOKENS[match[0]], str(declared)
        )
    parts = re.split(r"(%[A-Za-z])", template)
    codes = set(parts[1::2])
    try:
        datetime.date(2025, 3, 4).strftime(template)
        shape = "".join(_SHAPES[part] if index % 2 else re.escape(part) for index, part in enumerate(parts))
    except (KeyError, ValueError):
        shape = ""
    if not shape or not codes & {"%Y", "%y"} or "%d" not in codes or not codes & {"%m", "%b", "%B"}:
        raise ImportFault(f"{where}: dates is {declared!r}; write for example DD/MM/YYYY or %d/%m/%Y")
    return Dates(template, f"^{shape}$", str(declared))


def looks_like_numbers(texts, how):
    return texts.str.contains(how.shape).all() and texts.str.contains(r"\d").all()


def to_numbers(texts, how=PLAIN_NUMBERS):
    """Texts -> Decimal (exact; beyond 12 decimals rounded); null where a text is no number of that notation."""
    if how.thousands:
        good = texts.str.contains(how.shape) & texts.str.contains(r"\d")
        plain = texts.str.replace_all(how.thousands, "").str.replace(how.mark, ".", literal=True)
    else:
        good = texts.str.contains(how.shape) & texts.str.contains(r"\d")
        plain = texts if how.mark == "." else texts.str.replace(how.mark, ".", literal=True)
    plain = pl.select(pl.when(good).then(plain)).to_series()
    places = plain.str.extract(r"\.(\d+)$").str.len_chars().max() or 0
    return plain.cast(NUMBER if places <= 6 else LONG_NUMBER, strict=False)


def to_dates(texts, how=ISO):
    """Texts -> Date; null where a text is no date of that notation (31 February included)."""
    good = texts.str.contains(how.shape)
    texts = pl.select(pl.when(good).then(texts)).to_series()
    if any(code in how.format for code in ("%H", "%M", "%S")):
        return texts.str.to_datetime(how.format, strict=False).dt.date()
    return texts.str.to_date(how.format, strict=False)


def to_times(texts, zone):
    """ISO times -> naive Datetime in the organisation's zone; a time without an offset is taken as it stands."""
    offset = texts.str.contains(r"(Z|[+-]\d{2}:?\d{2})$")
    clock = texts.str.replace("T", " ", literal=True).str.replace(r"(Z|[+-]\d{2}:?\d{2})$", "")
    clock = pl.select(
        pl.when(clock.str.count_matches(":") < 2).then(clock + ":00").otherwise(clock)
    ).to_series()
    naive = clock.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
    if not offset.any():
        return naive
    sign = texts.str.extract(r"([+-])\d{2}:?\d{2}$")
    hours = texts.str.extract(r"[+-](\d{2}):?\d{2}$").cast(pl.Int64)
    minutes = texts.str.extract(r"[+-]\d{2}:?(\d{2})$").cast(pl.Int64)
    frame = pl.DataFrame({"naive": naive, "offset": offset, "sign": sign, "h": hours, "m": minutes})
    shift = pl.duration(hours=pl.col("h").fill_null(0), minutes=pl.col("m").fill_null(0))
    utc = pl.when(pl.col("sign") == "-").then(pl.col("naive") + shift).otherwise(pl.col("naive") - shift)
    local = utc.dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.replace_time_zone(None)
    return frame.select(pl.when(pl.col("offset")).then(local).otherwise(pl.col("naive"))).to_series()


def to_booleans(texts):
    return texts.str.to_lowercase().replace_strict(TRUTH, default=None, return_dtype=pl.Boolean)
