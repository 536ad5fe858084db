"""The process in which an import is computed: a child with limits on memory and time, and without database or secrets.

Whatever a recipe or a file does to the parser, the engine or Python, only this process dies of it, and the import says
so. A child by `subprocess`: Celery's workers are daemons, which may not use multiprocessing, and Polars has threads,
which do not survive a fork. Files pass as open, unnamed ones: nothing is left behind by whoever is killed.
"""

import contextlib
import ctypes
import datetime
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

import polars as pl

from .computation import Computed, Result
from .computation import compute as compute_here
from .errors import ImportFault
from .recipe import QUERIES
from .structure import Rejection, shortened

ROOT = Path(__file__).resolve().parents[2]
DIE_WITH_PARENT = 1  # Linux: prctl(PR_SET_PDEATHSIG)
OUT_OF_MEMORY = 3  # exit code
REJECTED = "rejected"  # beside the queries: the file of rejected rows
LAST_WORDS = 4_000  # bytes of its complaints that are looked at
# Nothing else of the environment is the child's business.
KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "POLARS_MAX_THREADS",
)
_TEXTS = ("origin", "column", "value", "reason", "external_id", "hint", "source", "subscription_id")
_REJECTION = dict.fromkeys(_TEXTS, pl.String) | {"line": pl.Int64}


@dataclass(frozen=True)
class Computation:
    """A computation to do. paths: {file as the recipe writes it: where it lies}; uploads: (name, bytes) of the others."""

    recipe: str
    as_of: datetime.date | None
    zone: str
    paths: dict
    uploads: Iterable
    memory_mb: int
    seconds: int


def compute(wanted, progress):
    """The Computed of a Computation, by a child process; a `fault` says where it needs more than it may have.

    progress(step, done, of) is called on the way.
    """
    with contextlib.ExitStack() as stack:
        results = {name: stack.enter_context(tempfile.TemporaryFile()) for name in (*QUERIES, REJECTED)}
        uploads = {name: stack.enter_context(_unnamed(content)) for name, content in wanted.uploads}
        complaints = stack.enter_context(tempfile.TemporaryFile())
        child = stack.enter_context(_started([*results.values(), *uploads.values()], complaints))
        stack.callback(child.kill)  # whatever happens here
        _send(child, wanted, uploads, results)
        at, outcome = {"step": "Reading the recipe"}, None
        for line in child.stdout:
            message = json.loads(line)
            if "outcome" in message:
                outcome = message["outcome"]
            else:
                at = message
                progress(message["step"], message["done"], message["of"])
        code = child.wait()
        if outcome is None:
            return Computed(fault=_why(code, _end_of(complaints), at, wanted))
        return _received(outcome, results)


def _unnamed(content):
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(content)
    file.seek(0)
    return file


def _started(files, complaints):
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        pass_fds=[file.fileno() for file in files],
        cwd=ROOT,
        env={name: os.environ[name] for name in KEPT if name in os.environ} | {"RUST_BACKTRACE": "0"},
    )


def _send(child, wanted, uploads, results):
    """Tell the child what to do, and which open file is which. A child that is gone already says why by its exit code."""
    task = {
        "recipe": wanted.recipe,
        "as_of": str(wanted.as_of) if wanted.as_of else None,
        "zone": wanted.zone,
        "memory_mb": wanted.memory_mb,
        "seconds": wanted.seconds,
        "paths": wanted.paths,
        "uploads": {name: file.fileno() for name, file in uploads.items()},
        "results": {name: file.fileno() for name, file in results.items()},
    }
    with contextlib.suppress(BrokenPipeError), child.stdin as stream:
        stream.write(json.dumps(task).encode())


def _received(outcome, files):
    """The Computed that a child told of: small things as text, rows in the open files."""
    as_of, ended = outcome.pop("as_of"), outcome.pop("results")
    rejected = [Rejection(**row) for row in _read(files[REJECTED]).iter_rows(named=True)]
    results = [Result(name, _read(files[name]), count) for name, count in ended]
    as_of = as_of and datetime.date.fromisoformat(as_of)
    return Computed(**outcome, as_of=as_of, rejected=rejected, results=results)


def _read(file):
    file.seek(0)
    return pl.read_ipc(file)


def _end_of(file):
    file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_WORDS))
    return file.read().decode(errors="replace").strip()


def _why(code, complaints, at, wanted):
    """The sentence about a child that ended without an outcome. Raises RuntimeError where it is a fault of ours."""
    what = at.get("query") or at["step"]
    if code == -signal.SIGALRM:
        return _needs(
            f"{what} takes longer than {wanted.seconds:,} second{'s' * (wanted.seconds != 1)}",
            at,
            "DEMARC_IMPORT_SECONDS",
        )
    if code in (OUT_OF_MEMORY, -signal.SIGKILL) or "memory allocation of" in complaints:
        return _needs(
            f"{what} needs more than {wanted.memory_mb:,} MB of memory", at, "DEMARC_IMPORT_MEMORY_MB"
        )
    last = complaints.rpartition("\n")[2][:300]
    if code > 0:
        raise RuntimeError(last)
    return f"{what} broke off with {signal.Signals(-code).name}: {last or 'no reason was given'}."


def _needs(too_much, at, variable):
    likely = (
        "Probably a join has no condition that fits, or multiplies its rows."
        if at.get("query")
        else "The files or the recipe are too large for one import: make several of them."
    )
    return f"{too_much} and was stopped. {likely} Whoever runs Demarc may allow more by {variable}."


# -- in the child


def main():
    """Read what to do, do it, tell how it goes: a JSON object a line."""
    wanted = json.load(sys.stdin)
    teller = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whoever else writes there
    _confine(wanted["memory_mb"], wanted["seconds"])
    try:
        computed = compute_here(
            wanted["recipe"],
            as_of=wanted["as_of"] and datetime.date.fromisoformat(wanted["as_of"]),
            zone=wanted["zone"],
            open_file=lambda source: _open(source, wanted["paths"], wanted["uploads"]),
            tell=lambda step, done, of, query="": _tell(teller, step=step, done=done, of=of, query=query),
        )
        _write(computed, wanted["results"])
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    _tell(teller, outcome=_small_parts(computed))


def _confine(memory_mb, seconds):
    """The limits, from here on. Data is what is written to: Polars' threads reserve far more address space than they use."""
    for kind, amount in ((resource.RLIMIT_DATA, memory_mb << 20), (resource.RLIMIT_CORE, 0)):
        hardest = resource.getrlimit(kind)[1]
        amount = amount if hardest == resource.RLIM_INFINITY else min(amount, hardest)
        resource.setrlimit(kind, (amount, amount))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    signal.alarm(seconds)  # nobody handles it: it ends the process, whatever runs


def _tell(teller, **message):
    teller.write(json.dumps(message) + "\n")


def _open(source, paths, uploads):
    if source.file in paths:
        try:
            return Path(paths[source.file]).open("rb")
        except OSError as error:
            raise ImportFault(f"{source.file} cannot be read: {error.strerror}.") from error
    name = PurePath(source.file).name
    if name not in uploads:
        raise ImportFault(f"The file {name} of source {source.name!r} is not there.")
    stream = open(uploads[name], "rb", closefd=False)  # noqa: SIM115 - the caller closes it; several sources may read it
    stream.seek(0)
    return stream


def _write(computed, files):
    rejected = [asdict(each) | {"value": shortened(each.value)} for each in computed.rejected]
    frames = {REJECTED: pl.DataFrame(rejected, schema=_REJECTION, orient="row")}
    frames |= {result.query: result.frame for result in computed.results}
    for name, frame in frames.items():
        with open(files[name], "wb", closefd=False) as stream:
            frame.write_ipc(stream)


def _small_parts(computed):
    parts = vars(computed) | {
        "as_of": computed.as_of and computed.as_of.isoformat(),
        "results": [(result.query, result.rejected) for result in computed.results],
    }
    del parts["rejected"]
    return parts


if __name__ == "__main__":
    main()
