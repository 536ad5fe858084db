"""Small imports for the tests: files as text, a recipe as keywords, and what came of it."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from accounts import imports
from accounts.models import ImportBatch

GOOD = "id,name,arr\nA-1,One,1000\nA-2,Two,2000.50\n"
SQL = {"accounts": "SELECT id AS external_id, name, arr FROM crm"}


@dataclass
class Attempt:
    """Everything a person is told: the refusal, and the rejected rows as (origin, place, column, value, reason)."""

    batch: ImportBatch
    said: str

    @property
    def rejected(self):
        return [
            (row.origin, row.line or row.external_id, row.column, row.value, row.reason)
            for row in self.batch.rejected.all()
        ]

    @property
    def everything(self):
        return "\n".join([self.said, *(" ".join(map(str, row)) for row in self.rejected)])

    def ledger(self, query="accounts"):
        found = next(each for each in self.batch.queries if each["query"] == query)
        return tuple(found[key] for key in ("rows", "created", "updated", "unchanged", "rejected"))


def recipe(files, **more):
    """A recipe's text over these files; keywords override its keys, `crm=` and such the options of a source."""
    sources = {Path(file).stem: {"file": file} | more.pop(Path(file).stem, {}) for file in files}
    return yaml.safe_dump({"as_of": "2026-06-30", "currency": "USD", "sources": sources} | SQL | more)


def attempt(folder, files=GOOD, *, commit=True, skip_rejected=False, at=None, text=None, **more):
    """Import `files` (the text of crm.csv, or {name: text or bytes}) by a recipe of these keys."""
    files = files if isinstance(files, dict) else {"crm.csv": files}
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    text = text or recipe(files, **more)
    batch = imports.create(text, {name: folder / name for name in files}, label="ops", name="test", as_of=at)
    try:
        if commit:
            imports.commit(batch, skip_rejected=skip_rejected)
        else:
            imports.preview(batch)
    except imports.Refused as refusal:
        return Attempt(batch, str(refusal))
    return Attempt(batch, batch.error)
