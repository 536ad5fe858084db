"""From files and a recipe to stored facts: structural pass -> typed columns -> SQL -> preview -> commit."""

from accounts.refusals import Refused

from .batches import ask_commit, commit, create, give_up, preview, rejected_csv, sweep, work

__all__ = ["Refused", "ask_commit", "commit", "create", "give_up", "preview", "rejected_csv", "sweep", "work"]
