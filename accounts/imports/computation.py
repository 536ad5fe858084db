"""From a recipe and its files to typed rows, and what there is to say about them. No database: see `confinement`."""

import contextlib
import datetime
from dataclasses import dataclass, field
from pathlib import PurePath

import polars as pl
from sqlglot import exp

from . import columns, contracts, facts, lineage, queries, structure
from . import recipe as recipes
from .errors import ImportFault

EXAMPLES = 5  # named of what a warning counts


@dataclass(frozen=True)
class Result:
    """The rows of one of the recipe's queries, typed, and how many of it are rejected already."""

    query: str
    frame: pl.DataFrame
    rejected: int


@dataclass
class Computed:
    """The outcome of a recipe, as far as it went: with a `fault` there are no results."""

    fault: str = ""
    sources: list = field(default_factory=list)  # their names
    as_of: datetime.date | None = None
    currency: str = ""
    source_system: str = ""
    steps: int = 0  # of the whole import, storing included
    files: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    rejected: list = field(default_factory=list)
    results: list = field(default_factory=list)


def compute(text, *, as_of, zone, open_file, tell):
    """The Computed of a recipe's text.

    open_file(source) gives its binary stream; tell(step, done, of, query) hears what is done next, and of a query its
    name for a sentence.
    """
    computed = Computed()
    try:
        recipe = recipes.parse(text, as_of=as_of)
        computed.as_of, computed.currency = recipe.as_of, recipe.currency
        computed.source_system = recipe.source_system
        computed.sources = list(recipe.sources)
        computed.steps = len(recipe.sources) + 2 * len(recipe.queries)
        used = lineage.trace(recipe, _headers(recipe, open_file))
        frames, notes = _read_files(recipe, zone, open_file, tell, computed, used)
        computed.results = _results(recipe, frames, notes, tell, computed, used)
    except ImportFault as fault:
        computed.fault = str(fault)
    return computed


def _headers(recipe, open_file):
    """{source: names of its columns}, as far as there are any: what is wrong with a file is told when it is read."""
    headers = {}
    for name, source in recipe.sources.items():
        with contextlib.suppress(ImportFault), open_file(source) as stream:
            headers[name] = structure.header(source, stream)
    return headers


def _read_files(recipe, zone, open_file, tell, computed, used):
    """(typed frames by source, notes on their columns); all files at fault are told at once."""
    frames, notes, faults = {}, {}, []
    for number, source in enumerate(recipe.sources.values()):
        tell(f"Reading {PurePath(source.file).name}", number, computed.steps)
        try:
            with open_file(source) as stream:
                texts, ragged, merged = structure.read(source, stream)
            frame, bad, column_notes, warnings = columns.typed(source, number, texts, zone, used)
        except ImportFault as fault:
            faults.append(str(fault))
            continue
        frames[source.name] = frame
        notes |= column_notes
        computed.rejected += [*ragged, *bad]
        computed.warnings += [*_merged_warning(source.file, merged), *warnings]
        read, left_out = len(frame), len(ragged) + len(bad)
        computed.files.append(
            {
                "source": source.name,
                "file": source.file,
                "delimiter": source.delimiter,
                "encoding": source.encoding,
                "above": source.header - 1,
                "lines": read + left_out,
                "read": read,
                "rejected": left_out,
            }
        )
    if faults:
        raise ImportFault("\n".join(faults))
    return frames, notes


def _merged_warning(file, lines):
    """Values over several lines: mostly notes and addresses, but an unclosed quote makes one row of two."""
    if not lines:
        return []
    sentence = (
        f"{PurePath(file).name}: the value in line {lines[0]} goes over several lines; "
        "if these are two rows, a quote is not closed there"
    )
    examples = [f"line {line}" for line in lines[:EXAMPLES]]
    return [{"query": "files", "warning": sentence, "count": len(lines), "examples": examples}]


def _results(recipe, frames, notes, tell, computed, used):
    """The Results in the order of storing; the recipe's own warnings are counted here too."""
    run = _Runs(recipe, frames, notes, tell, computed)
    prepared = {name: run.prepare(name, sql) for name, sql in recipe.queries.items()}
    results = []
    for name, sql in prepared.items():
        context = facts.Context(recipe, used, queries.parse(name, recipe.queries[name], {}))
        frame, rejected, warnings = facts.typed(facts.QUERIES[name], run.rows(name, sql), context)
        computed.warnings += [*warnings, *_lacking(name, context.tree, computed)]
        computed.rejected += rejected
        if name == "subscriptions":
            frame, asked = contracts.ended(frame, recipe.contract_end)
            computed.warnings += asked
        results.append(Result(name, frame, len(rejected)))
        if name == "accounts" and frame.is_empty() and not computed.rejected:
            raise ImportFault("The accounts query gives no row.")
    for sentence, sql in recipe.warnings.items():
        rows = run.rows(sentence, run.prepare(sentence, sql))
        if len(rows):
            examples = [str(value) for value in rows.to_series(0).sort().head(EXAMPLES)]
            computed.warnings.append(
                {"query": "files", "warning": sentence, "count": len(rows), "examples": examples}
            )
    return results


def _lacking(query, tree, computed):
    """A warning of a query that adds up lines of which some are rejected: mended by themselves, they make a sum of their own."""
    left_out = {ledger["source"]: ledger for ledger in computed.files if ledger["rejected"]}
    if not left_out or not queries.adds_up(tree):
        return []
    read = sorted({table.name for table in tree.find_all(exp.Table)} & left_out.keys())
    return [
        {
            "query": query,
            "warning": f"adds up lines of {left_out[name]['file']}, of which some are rejected: what they say is missing in it",
            "count": left_out[name]["rejected"],
            "examples": [],
        }
        for name in read
    ]


class _Runs:
    """The queries of one recipe; what is wrong with one says where in the recipe it begins."""

    def __init__(self, recipe, frames, notes, tell, computed):
        self.recipe, self.frames, self.notes, self.tell = recipe, frames, notes, tell
        self.steps, self.done = computed.steps, len(recipe.sources)

    def prepare(self, name, sql):
        try:
            return queries.prepare(name, sql, self.frames, self.recipe.as_of)
        except ImportFault as fault:
            raise self._placed(name, fault) from fault

    def rows(self, name, sql):
        self.tell(f"Computing {name}", self.done, self.steps, f"The {name} query{self._place(name)}")
        self.done = min(self.done + 1, self.steps)
        try:
            return queries.run(name, sql, self.frames, self.notes)
        except ImportFault as fault:
            raise self._placed(name, fault) from fault

    def _place(self, name):
        line = self.recipe.lines.get(name)
        return f", from line {line} of the recipe," if line else ""

    def _placed(self, name, fault):
        line = self.recipe.lines.get(name)
        return ImportFault(f"{fault} The query begins in line {line} of the recipe." if line else str(fault))
