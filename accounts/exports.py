"""CSV for people who open it in a spreadsheet: text that a spreadsheet would run is made harmless."""

import csv

from core.organisation import in_its_time

# NUL is no formula, but some readers drop it and then see what follows.
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0")


def safe(value):
    """The value as it may stand in a CSV cell: dangerous text gets a leading quote, numbers stay numbers.

    Text that begins with such quotes already gets one more, so that the import, which takes one off, gives back what was there.
    """
    return f"'{value}" if isinstance(value, str) and value.lstrip("'").startswith(DANGEROUS) else value


class _Echo:
    """A file for csv.writer that hands each line back."""

    def write(self, line):
        return line


def lines(header, rows, delimiter=","):
    """The lines of a CSV file, one by one, so that a million rows need no memory."""
    writer = csv.writer(_Echo(), lineterminator="\r\n", delimiter=delimiter)
    yield writer.writerow([safe(name) for name in header])
    with in_its_time():  # the page has been answered by then
        for row in rows:
            yield writer.writerow([safe(value) for value in row])
