"""Small imports for the tests: files as text, a recipe as keywords, and what came of it."""

import contextlib
import json
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import yaml
from django.conf import settings
from django.test import override_settings

from accounts import imports
from accounts.imports import confinement
from accounts.imports.recipe import QUERIES
from accounts.models import ImportBatch

GOOD = "id,name,arr\nA-1,One,1000\nA-2,Two,2000.50\n"
SQL = {"accounts": "SELECT id AS external_id, name, arr FROM crm"}


def computed_here(wanted, progress):
    """As `confinement.compute`, in this process: all but the child and its limits."""
    with contextlib.ExitStack() as stack:
        names = (*QUERIES, confinement.REJECTED)
        results = {name: stack.enter_context(tempfile.TemporaryFile()) for name in names}
        uploads = {
            name: stack.enter_context(confinement._unnamed(content)) for name, content in wanted.uploads
        }
        computed = confinement.compute_here(
            wanted.recipe,
            as_of=wanted.as_of and date.fromisoformat(str(wanted.as_of)),
            zone=wanted.zone,
            open_file=lambda source: confinement._open(source, wanted.paths, _numbers(uploads)),
            tell=lambda step, done, of, query="": progress(step, done, of),
        )
        confinement._write(computed, _numbers(results))
        told = json.loads(json.dumps(confinement._small_parts(computed)))
        return confinement._received(told, results)


def _numbers(files):
    return {name: file.fileno() for name, file in files.items()}


@dataclass
class Attempt:
    """Everything a person is told: the refusal, and the rejected rows as (origin, account or line, column, value, reason)."""

    batch: ImportBatch
    said: str

    @property
    def rejected(self):
        return [
            (row.origin, row.external_id or row.line, row.column, row.value, row.reason)
            for row in self.batch.rejected.all()
        ]

    @property
    def everything(self):
        hints = [f"; {row.hint}" if row.hint else "" for row in self.batch.rejected.all()]
        rows = [" ".join(map(str, row)) + hint for row, hint in zip(self.rejected, hints, strict=True)]
        return "\n".join([self.said, *rows])

    @property
    def places(self):
        """(file, line, account, subscription) of the rejected rows."""
        return list(self.batch.rejected.values_list("file", "line", "external_id", "subscription_id"))

    def ledger(self, query="accounts"):
        found = next(each for each in self.batch.queries if each["query"] == query)
        return tuple(found[key] for key in ("rows", "created", "updated", "unchanged", "rejected"))


def recipe(files, **more):
    """A recipe's text over these files; keywords override its keys, `crm=` and such the options of a source."""
    sources = {Path(file).stem: {"file": file} | more.pop(Path(file).stem, {}) for file in files}
    return yaml.safe_dump({"as_of": "2026-06-30", "currency": "USD", "sources": sources} | SQL | more)


def attempt(folder, files=GOOD, *, commit=True, skip_rejected=False, at=None, text=None, most=100, **more):
    """Import `files` (the text of crm.csv, or {name: text or bytes}) by a recipe of these keys.

    most: the share of rejected rows that may be left out, in %.
    """
    files = files if isinstance(files, dict) else {"crm.csv": files}
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    text = text or recipe(files, **more)
    batch = imports.create(text, {name: folder / name for name in files}, label="ops", name="test", as_of=at)
    try:
        with override_settings(FIXED=settings.FIXED | {"import_rejected": most}):
            if commit:
                imports.commit(batch, skip_rejected=skip_rejected)
            else:
                imports.preview(batch)
    except imports.Refused as refusal:
        return Attempt(batch, str(refusal))
    return Attempt(batch, batch.error)
