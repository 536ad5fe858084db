"""Errors that make an import fail as a whole: no row of it can be trusted."""

from accounts import sentences  # noqa: F401  the process that reads files starts without the apps
from core.refusals import Refused


class ImportFault(Refused):
    """A fault of a file or of the recipe, told with the place where it is."""

    def __init__(self, fault):
        super().__init__("import_fault", fault=fault)
