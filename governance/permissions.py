"""Who may what: one function per verb, which answers with the sentence that refuses, or "".

The same function hides the button (`may`) and stops the verb (`check`), whoever calls it.
"""

from accounts.refusals import Refused


def check(sentence):
    """Raise Refused with the sentence, unless it is empty: `check(approve(request, by=by))`."""
    if sentence:
        raise Refused(sentence)


def may(sentence):
    """True where nothing refuses: `may(approve(request, by=user))` shows the button."""
    return not sentence


def _needs(by, permission, sentence):
    if by is None or not by.is_active:
        return "Nobody is logged in."
    return "" if by.has_perm(permission) else sentence


# -- approvals


# -- tier changes


# -- overrides


# -- alerts


# -- policies and people
