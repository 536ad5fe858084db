"""From files and a recipe to stored facts: structural pass -> typed columns -> SQL -> preview -> commit.

The verbs are loaded when they are first used: the process that only computes (see `confinement`) needs no database.
"""

from importlib import import_module

from core.refusals import Refused as Refused

VERBS = ("ask_commit", "commit", "create", "give_up", "preview", "rejected_csv", "sweep", "wake", "work")


def __getattr__(name):
    if name in VERBS:
        return getattr(import_module(".batches", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
