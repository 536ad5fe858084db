"""What makes an import fail as a whole: no row of it can be trusted."""

from accounts.refusals import Refused


class ImportFault(Refused):
    """A fault of a file or of the recipe; `str()` is the sentence for the person."""
