"""An import's reading, computed here and now: files as text, a recipe as keywords; no database and no child process."""

import io

from importing import recipe

from accounts.imports import computation


class Reading:
    """The outcome of a recipe over files: `rows` of a query's columns, `rejected` and what is said of it."""

    def __init__(self, files, text=None, **keys):
        files = files if isinstance(files, dict) else {"crm.csv": files}
        content = {name: each if isinstance(each, bytes) else each.encode() for name, each in files.items()}
        self.computed = computation.compute(
            text or recipe(files, **keys),
            as_of=None,
            zone="UTC",
            open_file=lambda source: io.BytesIO(content[source.file]),
            tell=lambda *_: None,
        )
        self.fault, self.warnings = self.computed.fault, self.computed.warnings

    def rows(self, *columns, query="accounts"):
        frame = next(each.frame for each in self.computed.results if each.query == query)
        return frame.select(columns or [name for name in frame.columns if name.isidentifier()]).rows()

    @property
    def rejected(self):
        """(source, line, account, column, reason) of the rejected rows."""
        return [
            (each.source, each.line, each.external_id, each.column, each.reason)
            for each in self.computed.rejected
        ]

    @property
    def hints(self):
        return [each.hint for each in self.computed.rejected]
