"""A recipe: which files hold what, how they are written, and the SQL that makes accounts of them."""

import datetime
import difflib
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import PurePath

import yaml

from accounts import currency, plain_yaml
from core import texts

from . import contracts, notation
from .errors import ImportFault

QUERIES = ("accounts", "subscriptions", "usage", "signals")  # in the order in which they are stored
KEYS = ("as_of", "currency", "source_system", "contract_end", "sources", *QUERIES, "twins", "warnings")
SOURCE_KEYS = ("file", "header", "encoding", "delimiter", "decimal", "dates", "columns")
COLUMN_KEYS = ("type", "decimal", "dates")
COLUMN_TYPES = ("text", "integer", "number", "date", "time", "boolean")
SAME_TYPE = {"decimal": "number", "money": "number", "ratio": "number", "string": "text", "bool": "boolean"}
LONGEST = 200_000  # characters of a recipe
MOST_BYTES = 4 * LONGEST  # UTF-8 has at most four a character
MOST_SOURCES = 50
MOST_WARNINGS = 50  # each is a query of its own


@dataclass(frozen=True)
class Column:
    """A column whose type or notation is declared; type None: found out from its values."""

    type: str | None
    decimals: notation.Decimals
    dates: notation.Dates


@dataclass(frozen=True)
class Source:
    name: str
    file: str
    header: int = 1  # the line that names the columns
    encoding: str = "utf-8"
    delimiter: str = ","
    decimals: notation.Decimals = notation.PLAIN_NUMBERS
    dates: notation.Dates = notation.ISO
    columns: dict[str, Column] = field(default_factory=dict)


@dataclass(frozen=True)
class Twins:
    """Which of several rows with one key wins: the last one, or the one with the most in a column of the query."""

    which: str  # last, newest or largest
    column: str = ""


@dataclass(frozen=True)
class Recipe:
    as_of: datetime.date
    currency: str
    source_system: str
    sources: dict[str, Source]
    queries: dict[str, str]
    contract_end: str = ""  # one of contracts.ENDS, where it says
    twins: dict[str, Twins] = field(default_factory=dict)  # by query; without one both are refused
    warnings: dict[str, str] = field(default_factory=dict)  # sentence -> SELECT of what it is true of
    lines: dict[str, int] = field(default_factory=dict)  # query or sentence -> line in which its SQL begins


def parse(text, *, as_of=None):
    """The recipe in a YAML text; `as_of` overrides its own. ImportFault says what is wrong and what was meant."""
    data = _load(text)
    _check_keys(data, KEYS, "the recipe")
    _check_single(data, ("as_of", "currency", "source_system", "contract_end"), "the recipe")
    for key in ("sources", "accounts"):
        if not data.get(key):
            raise ImportFault(f"The recipe has no {key}.")
    return Recipe(
        as_of=as_of or _as_of(data.get("as_of")),
        currency=_currency(data.get("currency")),
        source_system=_source_system(data.get("source_system") or "import"),
        contract_end=_contract_end(data.get("contract_end") or ""),
        sources=_sources(data["sources"]),
        queries={name: _text(data[name], name) for name in QUERIES if data.get(name) is not None},
        twins=_twins(data.get("twins") or {}, data),
        warnings=_warnings(data.get("warnings") or {}),
        lines=_lines(text),
    )


def file_names(text):
    """The files a recipe asks for, as it writes them; none where the recipe cannot be read."""
    try:
        return [source.file for source in _sources(_load(text).get("sources")).values()]
    except ImportFault:
        return []


def as_of_instead(text, as_of):
    """The date an import was given instead of its recipe's; None where it is the recipe's."""
    try:
        return None if parse(text).as_of == as_of else as_of
    except ImportFault:
        return None


class _Loader(plain_yaml.Loader):
    """Dates are dates, and nothing is a number or a yes: a column may be called 007, on or no, and `1:1:1` is no sum of sixties.

    A name is as it is written, whatever else YAML takes it for.
    """

    def construct_mapping(self, node, deep=False):
        if isinstance(node, yaml.MappingNode):
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep=deep)


_OTHERS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "merge", "value"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, shape) for tag, shape in resolvers if tag not in _OTHERS]
    for first, resolvers in plain_yaml.Loader.yaml_implicit_resolvers.items()
}


def check_size(text):
    """ImportFault where a text is too long to be a recipe: longer ones are not even kept."""
    if len(text) > LONGEST:
        raise ImportFault(
            f"The recipe is longer than {LONGEST:,} characters: it has {len(text):,}. A recipe says what the columns "
            "mean; the data are files of their own."
        )


def read(file):
    """The text of a binary file; a file that cannot be a recipe is not read to its end. Raises ImportFault."""
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ImportFault(
            f"The recipe is larger than {MOST_BYTES >> 10:,} KB. A recipe says what the columns mean; the data are files of their own."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ImportFault("The recipe is not a text file in UTF-8.") from None
    check_size(text)
    return text


def _load(text):
    check_size(text)
    text = unicodedata.normalize("NFC", text).removeprefix("\ufeff")
    _check_seen(text)
    try:
        data = plain_yaml.load(text, _Loader)
    except plain_yaml.Unreadable as error:
        place = f" (line {error.line})" if error.line else ""
        raise ImportFault(f"The recipe is not readable YAML{place}: {error.problem}") from error
    if not isinstance(data, dict):
        raise ImportFault("The recipe is not a YAML mapping of as_of, currency, sources and accounts.")
    return data


def _check_seen(text):
    """ImportFault at a character nobody sees: in a name or in SQL it is another name. Spaces may be part of a notation."""
    for number, line in enumerate(text.split("\n"), start=1):
        plain = re.sub(f"[{texts.SPACES}]", "", line) if "decimal" in line else line
        if not plain.isascii() and (found := texts.invisible(plain)):
            raise ImportFault(
                f"The recipe has a character nobody sees in line {number}: {found}. Write that place again."
            )


def _lines(text):
    """{query, or sentence of a warning: the line of the recipe in which its SQL begins}."""
    root = plain_yaml.compose(text, _Loader)
    parts = {key.value: (key, value) for key, value in root.value if isinstance(key, yaml.ScalarNode)}
    pairs = [parts[name] for name in QUERIES if name in parts]
    if isinstance(warnings := parts.get("warnings", (None, None))[1], yaml.MappingNode):
        pairs += warnings.value
    return {key.value: _begin(value) for key, value in pairs if isinstance(key, yaml.ScalarNode)}


def _begin(value):
    """A block (`|`) is marked in the line above it."""
    block = isinstance(value, yaml.ScalarNode) and value.style in ("|", ">")
    return value.start_mark.line + (2 if block else 1)


def _check_keys(data, keys, where):
    for key in data:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it knows {', '.join(keys)}"
            raise ImportFault(f"Unknown key {str(key)!r} in {where}{hint}")


def _check_single(data, keys, where):
    for key in keys:
        if isinstance(data.get(key), (list, dict, set)):
            raise ImportFault(f"{where}: {key} is one value, not a list or a mapping.")


def _as_of(value):
    if isinstance(value, str):
        try:
            value = datetime.date.fromisoformat(value)
        except ValueError:
            raise ImportFault(f"as_of is {value!r}, not a date such as 2025-12-31.") from None
    if isinstance(value, datetime.datetime):
        value = value.date()
    if not isinstance(value, datetime.date):
        raise ImportFault("The recipe has no as_of: the date on which its files were exported.")
    return value


def _currency(value):
    if value not in currency.CODES:
        problem = f"The currency is {value!r}" if value else "The recipe has no currency"
        raise ImportFault(
            f"{problem}; write the ISO code of the amounts in its files, such as USD or EUR. "
            "Segments by money need the one of the organisation (Settings: currency)."
        )
    return value


def _source_system(value):
    if not isinstance(value, str) or not re.fullmatch(r"[-a-zA-Z0-9_]{1,50}", value):
        raise ImportFault(f"source_system is {value!r}; use letters, digits, - and _, such as crm.")
    return value


def _contract_end(value):
    if value and value not in contracts.ENDS:
        hint = (
            f"write {contracts.LAST_DAY!r} where it runs on that day, {contracts.DAY_AFTER!r} where no longer"
        )
        raise ImportFault(f"contract_end is {value!r}; {hint}.")
    return value


def _text(value, where):
    if not isinstance(value, str) or not value.strip():
        raise ImportFault(f"{where} is not a text.")
    return value


def _warnings(data):
    if not isinstance(data, dict):
        raise ImportFault("warnings is not a mapping of sentences to SELECTs.")
    if len(data) > MOST_WARNINGS:
        raise ImportFault(f"The recipe has {len(data):,} warnings; at most {MOST_WARNINGS} are counted.")
    return {str(sentence): _text(sql, f"warnings, {sentence}") for sentence, sql in data.items()}


def _twins(data, recipe):
    """`twins: {accounts: last, subscriptions: {newest: changed_on}, usage: {largest: active_users}}`."""
    if not isinstance(data, dict):
        raise ImportFault("twins is not a mapping such as {accounts: last}.")
    twins = {}
    for query, which in data.items():
        if query not in QUERIES or recipe.get(query) is None:
            raise ImportFault(f"twins: the recipe has no query {query!r}.")
        if which == "last":
            twins[query] = Twins("last")
            continue
        [(how, column)] = which.items() if isinstance(which, dict) and len(which) == 1 else [(None, None)]
        if how not in ("newest", "largest") or not isinstance(column, str):
            raise ImportFault(f"twins, {query}: write last, {{newest: a column}} or {{largest: a column}}.")
        twins[query] = Twins(how, column)
    return twins


def _sources(data):
    if not isinstance(data, dict) or not data:
        raise ImportFault("sources is not a mapping of names to files.")
    if len(data) > MOST_SOURCES:
        raise ImportFault(f"The recipe has {len(data):,} sources; at most {MOST_SOURCES} are read.")
    return {name: _source(name, value) for name, value in data.items()}


def _source(name, data):
    where = f"source {name!r}"
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", name):
        raise ImportFault(f"{where}: use a name of letters, digits and _, which SQL can say without quotes.")
    if isinstance(data, str):
        data = {"file": data}
    if not isinstance(data, dict):
        raise ImportFault(f"{where} is not a mapping such as {{file: accounts.csv}}.")
    _check_keys(data, SOURCE_KEYS, where)
    data = {key: value for key, value in data.items() if value is not None}
    _check_single(data, ("header", "encoding", "delimiter", "decimal", "dates"), where)
    decimals = notation.decimals(data.get("decimal", "."), where)
    dates = notation.dates(data.get("dates", "ISO"), where)
    return Source(
        name=name,
        file=_file(data.get("file"), where),
        header=_line(data.get("header", "1"), where),
        encoding=_encoding(data.get("encoding", "utf-8"), where),
        delimiter=_delimiter(data.get("delimiter", ","), where),
        decimals=decimals,
        dates=dates,
        columns=_columns(data.get("columns") or {}, where, decimals, dates),
    )


def _file(value, where):
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ImportFault(f"{where} has no file.")
    return str(PurePath(value))


def _line(value, where):
    if not re.fullmatch(r"[1-9]\d{0,3}", str(value)):
        raise ImportFault(f"{where}: header is {value!r}, not the number of the line that names the columns.")
    return int(value)


def _encoding(value, where):
    try:
        "".encode(str(value))
        b"".decode(str(value))
    except (LookupError, UnicodeError, TypeError, AssertionError):
        raise ImportFault(
            f"{where}: unknown encoding {value!r}; for example utf-8, cp1252, utf-16."
        ) from None
    return str(value)


def _delimiter(value, where):
    value = {"tab": "\t", r"\t": "\t"}.get(value, value)
    if not isinstance(value, str) or len(value) != 1 or value in '"\r\n\0':
        raise ImportFault(f"{where}: delimiter is {value!r}, not one character such as , or ; or tab.")
    return value


def _columns(data, where, decimals, dates):
    if not isinstance(data, dict):
        raise ImportFault(f"{where}: columns is not a mapping of column names to types.")
    return {
        str(name): _column(f"{where}, column {name!r}", value, decimals, dates)
        for name, value in data.items()
    }


def _column(where, data, decimals, dates):
    if isinstance(data, str):
        data = {"type": data} if SAME_TYPE.get(data, data) in COLUMN_TYPES else {"dates": data}
    if not isinstance(data, dict):
        raise ImportFault(f"{where} is not a type such as number, text or date.")
    _check_keys(data, COLUMN_KEYS, where)
    _check_single(data, COLUMN_KEYS, where)
    kind = SAME_TYPE.get(data.get("type"), data.get("type"))
    if kind is None:
        kind = "date" if "dates" in data else "number" if "decimal" in data else None
    if kind is not None and kind not in COLUMN_TYPES:
        near = difflib.get_close_matches(str(kind), COLUMN_TYPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(COLUMN_TYPES)}"
        raise ImportFault(f"{where}: unknown type {kind!r}; {hint}")
    return Column(
        type=kind,
        decimals=notation.decimals(data["decimal"], where) if "decimal" in data else decimals,
        dates=notation.dates(data["dates"], where) if "dates" in data else dates,
    )
