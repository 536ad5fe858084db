"""Texts people type: reasons, notes, explanations, answers. One limit, one check, whatever they are written for."""

import re
import unicodedata

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


# -- characters nobody sees

# Spaces that are no space to a computer, and what has no width at all: two texts that look the same are two.
SPACES = "\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_NOTHING = "\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\U000e0001-\U000e007f"
CONTROLS = "[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f]"
INVISIBLE = f"[{SPACES}{_NOTHING}]"


def seen(text):
    """The text as it is seen: composed (NFC), plain spaces, without characters that have no width."""
    text = re.sub(f"[{SPACES}]", " ", unicodedata.normalize("NFC", text))
    return re.sub(INVISIBLE, "", text).strip()


def invisible(text):
    """The first character nobody sees, with its name and its place: `ZERO WIDTH SPACE (U+200B) at character 4`; or ""."""
    found = re.search(INVISIBLE, text)
    if not found:
        return ""
    name = _NAMES.get(found[0]) or unicodedata.name(found[0], "a control character")
    return f"{name} (U+{ord(found[0]):04X}) at character {found.start() + 1}"


_NAMES = {"\ufeff": "BYTE ORDER MARK"}
