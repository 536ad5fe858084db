"""`import_accounts RECIPE`: preview, or with --commit import. Data goes to stdout, progress and reasons to stderr."""

import datetime
import getpass
import json
import sys
from pathlib import Path

from django.core.management.base import CommandError

from accounts import imports
from accounts.imports import recipe as recipes
from accounts.imports.rejects import COLUMNS as REJECTED
from accounts.models import ImportBatch
from core import commands
from core.wording import plural

SHOWN = 20  # rejected rows
IN_JSON = 1000
WAIT = {True: "wait", False: "would wait"}


class Command(commands.Command):
    help = (
        "Preview what a recipe (a YAML file) and its files would import, or import them with --commit. "
        "--json prints import, name, status, as_of, files (lines = read + rejected), queries (rows = created + updated "
        "+ unchanged + rejected), warnings, summary (rejected rows by reason), rejected (the first 1,000), rejected_total and error."
    )

    def add_arguments(self, parser):
        parser.add_argument("recipe", type=Path)
        parser.add_argument("--commit", action="store_true", help="import, all or nothing")
        parser.add_argument(
            "--skip-rejected",
            action="store_true",
            help="with --commit: import the good rows, leave out the rejected",
        )
        parser.add_argument("--as-of", type=_date, help="the date of the export, instead of the recipe's")
        parser.add_argument(
            "--rejected", type=Path, metavar="FOLDER",
            help="write the rejected lines of each file there, to be mended and imported by the same recipe",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *args, **options):
        path = Path(options["recipe"])
        try:
            with path.open("rb") as file:
                text = recipes.read(file)
        except (OSError, imports.Refused) as error:
            raise CommandError(f"{path} cannot be read: {error}") from error
        files = {file: path.parent / file for file in recipes.file_names(text)}
        batch = imports.create(
            text, files, label=_person(), name=path.parent.name if path.stem == "recipe" else path.stem,
            as_of=options["as_of"],
        )  # fmt: skip
        refusal = self.run(batch, options)
        if options["rejected"]:
            self.write_rejected(batch, options["rejected"])
        if options["json"]:
            self.stdout.write(json.dumps(_summary(batch, refusal), default=str))
        else:
            self.show(batch)
        if refusal:
            raise CommandError(refusal)

    def run(self, batch, options):
        """Why nothing was imported or can be, or None."""
        try:
            if options["commit"]:
                imports.commit(batch, skip_rejected=options["skip_rejected"])
            else:
                imports.preview(batch)
        except imports.Refused as refusal:
            return str(refusal)
        return batch.error or None

    def write_rejected(self, batch, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for file, _ in imports.files_to_mend(batch):
            path = folder / Path(file).name
            _write(path, imports.lines_to_mend(batch, file), imports.encoding_of(batch, file))
            self.stderr.write(f"Rejected lines of {file}: {path}")

    def show(self, batch):
        say = self.stdout.write
        say(f"{ImportBatch.Status(batch.status).label} (import {batch.pk}, as of {batch.as_of})")
        for ledger in batch.files:
            say(
                f"  {ledger['file']}: {ledger['lines']:,} lines = {ledger['read']:,} read + {ledger['rejected']:,} rejected"
            )
        for ledger in batch.queries:
            say(
                "  {query}: {rows:,} rows = {created:,} created + {updated:,} updated + {unchanged:,} unchanged "
                "+ {rejected:,} rejected".format(**ledger)
            )
        if queued := sum(ledger.get("queued", 0) for ledger in batch.queries):
            say(
                f"  {queued:,} of the values {WAIT[batch.status == ImportBatch.Status.COMMITTED]} for a decision"
            )
        for ledger in batch.queries:
            for kind, names in ledger.get("made", {}).items():
                if names:
                    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
                    say(f"  new, {plural(len(names), f'{kind},{kind}s')}: {', '.join(names[:SHOWN])}{more}")
        for warning in batch.warnings:
            say(
                f"  warning, {warning['query']}: {warning['warning']}: {warning['count']:,} (such as {', '.join(warning['examples'])})"
            )
        for group in imports.summary(batch):
            such = f" (such as: {group['example']})" if group["example"] else ""
            say(
                f"  {plural(group['rows'], 'row,rows')} of {group['origin']} rejected: {group['sentence']}{such}"
            )
        rejected = batch.rejected.all()
        for row in rejected[:SHOWN]:
            place = [f"{row.file} line {row.line}"] if row.line else []
            place += [f"account {row.external_id}"] if row.external_id else []
            place += [f"subscription {row.subscription_id}"] if row.subscription_id else []
            what = f"{row.column} = {row.value!r}" if row.column else repr(row.value)
            advice = f"; {row.hint}" if row.hint else ""
            say(f"  rejected, {', '.join(place) or row.origin}: {what}: {row.reason}{advice}")
        if (more := rejected.count() - SHOWN) > 0:
            say(f"  ... and {more:,} more rejected")


def _write(path, lines, encoding):
    with path.open("w", encoding=encoding, newline="") as file:
        file.writelines(lines)


def _date(text):
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{text!r} is not a date such as 2025-12-31") from error


def _person():
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return Path(sys.argv[0]).name


def _summary(batch, refusal):
    rejected = batch.rejected.values("origin", *REJECTED)
    return {
        "import": batch.pk,
        "name": batch.name,
        "status": batch.status,
        "as_of": batch.as_of,
        "files": batch.files,
        "queries": batch.queries,
        "warnings": batch.warnings,
        "rejected": list(rejected[:IN_JSON]),
        "rejected_total": rejected.count(),
        "summary": [
            {"rows": group["rows"], "of": group["origin"], "reason": group["sentence"]}
            for group in imports.summary(batch)
        ],
        "error": refusal,
    }
