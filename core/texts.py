"""Texts people type: reasons, notes, explanations, answers. One limit, one check, whatever they are written for."""

from core.refusals import Refused

LONGEST = 4_000  # characters


def text(typed):
    """The text without blanks around it."""
    typed = (typed or "").strip()
    if len(typed) > LONGEST:
        raise Refused("text_too_long", most=LONGEST)
    if "\x00" in typed:
        raise Refused("text_unstorable")
    return typed


def needed(typed, otherwise="reason_missing"):
    """The same of a text somebody has to write; `otherwise`: the code of the refusal where they did not."""
    typed = text(typed)
    if not typed:
        raise Refused(otherwise)
    return typed
