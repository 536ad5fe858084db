"""The rows an import rejected, for people: a summary by reason, the list of them, and the lines to mend and import again."""

from django.db.models import Count, Min

from accounts import catalogue, exports

COLUMNS = ("file", "line", "external_id", "subscription_id", "column", "value", "reason", "hint")


def summary(batch):
    """[{rows, origin, sentence, example: what to do about one, hints: how many there are}] of the rejected rows by reason, those of the most rows first."""
    groups = (
        batch.rejected.values("origin", "column", "reason")
        .annotate(rows=Count("pk"), example=Min("hint"), hints=Count("hint", distinct=True), first=Min("pk"))
        .order_by("-rows", "first")
    )
    return [group | {"sentence": _sentence(group["column"], group["reason"])} for group in groups]


def _sentence(column, reason):
    """`CSAT above 5`; `arr: not a number`."""
    named = not column or reason.startswith((catalogue.label(column), column))
    return reason if named else f"{column}: {reason}"


def rejected_csv(batch):
    """The lines of a CSV file of all rejected rows, safe to open in a spreadsheet."""
    return exports.lines(["origin", *COLUMNS], batch.rejected.values_list("origin", *COLUMNS).iterator())


def files_to_mend(batch):
    """[(file, rejected lines)] of the files whose rejected lines can be mended and imported again."""
    lines = batch.rejected.exclude(record=None).values("file").annotate(lines=Count("line", distinct=True))
    return [(row["file"], row["lines"]) for row in lines.order_by("file")]


def encoding_of(batch, file):
    return _ledger(batch, file)["encoding"]


def _ledger(batch, file):
    return next(each for each in batch.files if each["file"] == file)


def lines_to_mend(batch, file):
    """The lines of a CSV file: the rejected lines of one file of the import as they are there, below its header."""
    ledger = _ledger(batch, file)
    rows = batch.rejected.filter(file=file).exclude(record=None).order_by("line", "pk").distinct("line")
    cells = rows.values_list("record", flat=True).iterator()
    yield from ["\r\n"] * ledger["above"]  # for the recipe the header stands where it stood
    yield from exports.lines(ledger["header"], cells, delimiter=ledger["delimiter"])
