"""How numbers, dates and yes/no are written in a file, and how text of that notation becomes typed values.

Numbers are plain (`1234.5`) and dates ISO (`2025-04-03`) unless a recipe declares otherwise:
`decimal: ","` or a sample such as `"1.234,56"`, `"1,23,456.78"`, `"$1,234.56"`, `"(1,234.56)"`, `"12.5%"`, `"1.2M"`;
`dates: DD/MM/YYYY`, `"%d/%m/%Y"`, `YYYY-MM` (its first day), `excel` or `epoch`.
"""

import datetime
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

import polars as pl

from .errors import ImportFault

SCALE = 12  # decimals kept of a number in a file
NUMBER = pl.Decimal(38, 6)
LONG_NUMBER = pl.Decimal(38, SCALE)
SIGNS = "[-+\u2212\u2013]"  # a minus may be typographic, or the dash that a word processor makes of it
INTEGER = r"^-?(0|[1-9]\d{0,17})$"  # a leading zero or a nineteenth digit makes it an identifier
WHOLE = r"(?:0|[1-9]\d{0,23})"
PLAIN = rf"^{SIGNS}?{WHOLE}?(\.\d+)?$"
ISO_DATE = r"^\d{4}-\d{2}-\d{2}$"
ISO_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{1,2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?$"
BOOLEAN = r"(?i)^(true|false)$"
TRUTH = {"true": True, "yes": True, "y": True, "1": True, "false": False, "no": False, "n": False, "0": False}

_SEPARATORS = r"[.,'\u2019 \u00a0\u202f]"
_GAPS = {" ": r"[ \u00a0\u202f]", "'": r"['\u2019]"}
_ALIKE = {"\u00a0": " ", "\u202f": " ", "\u2019": "'"}
_AFFIX = r"[^\d\s().,'\u2019+%\u2212\u2013-]{1,4}"  # a currency's sign or code
_CORE = rf"\d+(?:{_SEPARATORS}\d{{2,3}})*(?:[.,]\d+)?"
# A number with what may stand around it: a currency, a percent sign, K, M or B, and a minus in its several places.
_WRITTEN = re.compile(
    rf"(?P<open>\()?(?P<sign>{SIGNS})?\s?(?P<before>{_AFFIX})?\s?(?P<sign2>{SIGNS})?(?P<core>{_CORE})"
    rf"(?:\s?(?P<times>K|k|M|m|B|bn)(?![^\W\d_]))?(?:\s?(?P<after>%|{_AFFIX}))?(?P<close>\))?(?P<trail>[-\u2212])?"
)
_SAMPLE = re.compile(
    rf"\d{{1,3}}(?:(?P<thousands>{_SEPARATORS})\d{{2,3}})*(?P<mark>[.,])\d+|\d+((?P<only>[.,])\d+)?"
)
_TIMES = {"k": 3, "m": 6, "b": 9, "bn": 9}
_SAMPLES = ("1234.56", "1,234.56", "1.234,56", "1 234.56", "1 234,56", "1'234.56", "1'234,56", "1,23,456.78")
_TOKENS = {
    "YYYY": "%Y", "YY": "%y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "M": "%m", "DD": "%d", "D": "%d",
    "HH": "%H", "mm": "%M", "SS": "%S",
}  # fmt: skip
_SHAPES = {
    "%Y": r"\d{4}", "%y": r"\d{2}", "%m": r"\d{1,2}", "%d": r"\d{1,2}", "%b": r"[A-Za-z]{3,4}\.?",
    "%B": r"[A-Za-z]{3,9}", "%H": r"\d{1,2}", "%M": r"\d{2}", "%S": r"\d{2}",
}  # fmt: skip
EXCEL, EPOCH = "excel", "epoch"
EXCEL_BEGINS = datetime.date(1899, 12, 30)


@dataclass(frozen=True)
class Decimals:
    """A way of writing numbers: the decimal mark, the mark between groups of digits, and the shape of it all.

    around: whether anything but digits, marks and a minus in front may be part of it, such as a currency sign.
    """

    mark: str = "."
    thousands: str = ""
    shape: str = PLAIN
    around: bool = False


@dataclass(frozen=True)
class Dates:
    """A way of writing dates: the strptime format and the shape it takes."""

    format: str = "%Y-%m-%d"
    shape: str = ISO_DATE
    shown: str = "YYYY-MM-DD"


PLAIN_NUMBERS, ISO = Decimals(), Dates()
_COUNTED = {
    EXCEL: Dates(EXCEL, r"^\d{1,5}([.,]\d+)?$", "a day number of Excel"),
    EPOCH: Dates(EPOCH, r"^-?(\d{9,10}|\d{12,13})$", "seconds or milliseconds since 1970"),
}


def decimals(declared, where):
    """`"."`, `","` or a sample number -> Decimals; ImportFault names `where` it was declared."""
    declared = str(declared)
    if declared == ".":
        return PLAIN_NUMBERS
    if declared == ",":
        declared = "1.234,56"
    written = _WRITTEN.fullmatch(declared)
    match = written and _SAMPLE.fullmatch(written["core"])
    if (
        not match
        or match["thousands"] == match["mark"] is not None
        or bool(written["open"]) != bool(written["close"])
    ):
        raise ImportFault(
            f'{where}: decimal is {declared!r}; write ",", "." or a sample such as "1.234,56", "1,23,456.78" or "$1,234.56"'
        )
    mark, between = match["mark"] or match["only"] or ".", match["thousands"]
    number = WHOLE
    if gap := between and _GAPS.get(_ALIKE.get(between, between), re.escape(between)):
        groups = rf"[1-9]\d{{0,2}}({gap}\d{{3}})+"
        if re.search(
            rf"{re.escape(between)}\d\d{re.escape(between)}\d{{3}}", written["core"]
        ):  # lakh and crore
            groups = rf"[1-9]\d?({gap}\d{{2}})*{gap}\d{{3}}"
        number = rf"({groups}|{WHOLE})"
    number = rf"{number}?({re.escape(mark)}\d+)?"
    around = {
        name: part
        for name, part in written.groupdict().items()
        if part and name not in ("core", "sign", "sign2")
    }
    if not around:
        return Decimals(mark, gap or "", rf"^{SIGNS}?{number}$")
    return Decimals(mark, gap or "", _shape_around(number, around), around=True)


def _shape_around(number, around):
    """The shape of numbers with what a sample has around it; none of it has to be there."""
    before = re.escape(around.get("before", ""))
    after = rf"(\s?{re.escape(around['after'])})?" if "after" in around else ""
    times = r"(\s?(?i:k|m|b|bn))?" if "times" in around else ""
    front = rf"({SIGNS}?|{SIGNS}?\s?{before}\s?|{before}\s?{SIGNS})" if before else f"{SIGNS}?"
    shapes = [f"{front}{number}{times}{after}"]
    bare = rf"({before}\s?)?{number}{times}{after}"
    if "open" in around:
        shapes.append(rf"\({bare}\)")
    if "trail" in around:
        shapes.append(rf"{bare}[-\u2212]")
    return f"^({'|'.join(shapes)})$"


@cache
def dates(declared, where):
    """`DD/MM/YYYY` or `%d/%m/%Y` -> Dates; ImportFault names `where` it was declared."""
    if declared in ("ISO", "iso", "YYYY-MM-DD", "%Y-%m-%d"):
        return ISO
    if declared in _COUNTED:
        return _COUNTED[declared]
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
    if not shape or not codes & {"%Y", "%y"} or not codes & {"%m", "%b", "%B"}:
        raise ImportFault(f"{where}: dates is {declared!r}; write for example DD/MM/YYYY or %d/%m/%Y")
    return Dates(template, f"^{shape}$", str(declared))


def looks_like_numbers(texts, how):
    return texts.str.contains(how.shape).all() and texts.str.contains(r"\d").all()


def to_numbers(texts, how=PLAIN_NUMBERS):
    """Texts -> Decimal (exact; beyond 12 decimals rounded); null where a text is no number of that notation."""
    good = texts.str.contains(how.shape) & texts.str.contains(r"\d")
    plain = pl.select(pl.when(good).then(texts)).to_series()
    if how.around:
        return pl.Series([text and _number_around(text, how) for text in plain], dtype=LONG_NUMBER)
    if how.thousands:
        plain = plain.str.replace_all(how.thousands, "")
    if how.mark != ".":
        plain = plain.str.replace(how.mark, ".", literal=True)
    if plain.str.contains("[+\u2212\u2013]").any():
        plain = plain.str.replace("[\u2212\u2013]", "-").str.replace("+", "", literal=True)
    places = plain.str.extract(r"\.(\d+)$").str.len_chars().max() or 0
    return plain.cast(NUMBER if places <= 6 else LONG_NUMBER, strict=False)


def _number_around(text, how):
    """The Decimal of a text that has the shape; None where it is too large."""
    written = _WRITTEN.fullmatch(text) or {"core": text, "times": None, "after": None}
    digits = re.sub(rf"[^\d{how.mark}]", "", written["core"]).replace(how.mark, ".")
    number = Decimal(digits).scaleb(
        _TIMES.get((written["times"] or "").lower(), 0) - 2 * (written["after"] == "%")
    )
    number = -number if re.search("[-\u2212\u2013(]", text) else number
    return number if abs(number) < 10**24 else None


def read(value, how):
    """The number one text is in this notation, or None."""
    return to_numbers(pl.Series([value]), how)[0]


def samples(value, but=None):
    """{number: a sample by which `decimal:` takes this text for it}: how it may be meant, in another notation than `but`."""
    written = _WRITTEN.fullmatch(value.strip())
    if not written:
        return {}
    part = {name: each or "" for name, each in written.groupdict().items()}
    ways = {}
    for base in _SAMPLES:
        sample = "".join(
            [part["open"], part["before"], base, part["times"], part["after"], part["close"], part["trail"]]
        )
        how = decimals(sample, "")
        if how != but and (number := read(value.strip(), how)) is not None:
            ways.setdefault(number.normalize(), sample)
    return ways


def to_dates(texts, how=ISO):
    """Texts -> Date; null where a text is no date of that notation (31 February included)."""
    good = texts.str.contains(how.shape)
    texts = pl.select(pl.when(good).then(texts)).to_series()
    if how.format == EXCEL:
        days = texts.str.extract(r"^(\d+)").cast(pl.Int32, strict=False)
        return pl.select(pl.lit(EXCEL_BEGINS) + pl.duration(days=days)).to_series()
    if how.format == EPOCH:
        numbers = texts.cast(pl.Int64, strict=False)
        seconds = pl.select(
            pl.when(numbers.abs() >= 10**11).then(numbers // 1000).otherwise(numbers)
        ).to_series()
        return pl.from_epoch(seconds, time_unit="s").dt.date()
    if not re.search("%[dj]", how.format):  # a month is its first day
        return (texts + " 1").str.to_date(f"{how.format} %d", strict=False)
    if any(code in how.format for code in ("%H", "%M", "%S")):
        return texts.str.to_datetime(how.format, strict=False).dt.date()
    return texts.str.to_date(how.format, strict=False)


# The shapes of dates by which a notation is advised: a text may be meant in each of those it fits.
_DATES = (
    "DD/MM/YYYY", "MM/DD/YYYY", "DD.MM.YYYY", "DD-MM-YYYY", "MM-DD-YYYY", "YYYY/MM/DD", "DD/MM/YY", "MM/DD/YY", "DD.MM.YY",
    "DD MMM YYYY", "DD-MMM-YYYY", "DD-MMM-YY", "DD MMMM YYYY", "MMM DD, YYYY", "MMMM DD, YYYY", "YYYYMMDD",
    "YYYY-MM", "MM/YYYY", "MMM YYYY", "MMMM YYYY", "MMM-YY",
)  # fmt: skip
_CLOCKS = ("", " HH:mm", " HH:mm:SS", "THH:mm", "THH:mm:SS")


def date_samples(value):
    """{date: what `dates:` declares so that this text is it}: how it may be meant."""
    value, ways = value.strip(), {}
    if re.fullmatch(r"[2-6]\d{4}([.,]\d+)?", value):  # 1954 to 2091
        ways[to_dates(pl.Series([value]), _COUNTED[EXCEL])[0]] = EXCEL
    if re.fullmatch(r"1\d{9}|1\d{12}", value):
        ways[to_dates(pl.Series([value]), _COUNTED[EPOCH])[0]] = EPOCH
    for day in _DATES:
        for clock in _CLOCKS:
            try:
                found = to_dates(pl.Series([value]), dates(day + clock, ""))[0]
            except pl.exceptions.PolarsError:
                continue
            if found is not None:
                ways.setdefault(found, day + clock)
    return ways


def to_times(texts, zone):
    """ISO times -> naive Datetime in the organisation's zone; a time without an offset is taken as it stands."""
    offset = texts.str.contains(r"(Z|[+-]\d{2}:?\d{2})$")
    clock = texts.str.replace("T", " ", literal=True).str.replace(r"(Z|[+-]\d{2}:?\d{2})$", "")
    if not clock.str.len_chars().is_in([16, 19]).all():  # a day alone is its midnight, 9:05 is 09:05
        clock = clock.str.replace(r" (\d):", " 0$1:").str.replace(r"^(\S+)$", "$1 00:00")
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
