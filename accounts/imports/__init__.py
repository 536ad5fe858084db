"""From files and a recipe to stored facts: structural pass -> typed columns -> SQL -> preview -> commit.

The verbs are loaded when they are first used: the process that only computes (see `confinement`) needs no database.
"""

from importlib import import_module

from core.refusals import Refused as Refused

VERBS = {
    "batches": (
        "ask_commit",
        "check_rejected",
        "commit",
        "create",
        "give_up",
        "preview",
        "sweep",
        "wake",
        "work",
    ),
    "rejects": ("encoding_of", "files_to_mend", "lines_to_mend", "rejected_csv", "summary"),
}


def __getattr__(name):
    for module, verbs in VERBS.items():
        if name in verbs:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
