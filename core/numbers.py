"""Numbers as people type them: `$100K`, `25,000`, `25 lakh`, `40%`, `1.5x`. One reader for forms, conditions and scoring tables.

Pure. Files have notations of their own, which a recipe declares (`accounts.imports.notation`).
"""

import re
from dataclasses import dataclass
from decimal import Decimal

_SUFFIXES = {
    "k": 3, "thousand": 3, "m": 6, "mn": 6, "million": 6, "b": 9, "bn": 9, "billion": 9,
    "l": 5, "lakh": 5, "lakhs": 5, "lac": 5, "lacs": 5, "cr": 7, "crore": 7, "crores": 7,
}  # fmt: skip
_PLAIN = r"[0-9]+"
_GROUPED = r"[0-9]{1,3}(?:,[0-9]{3})+"  # 1,000,000
_INDIAN = r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}"  # 10,00,000
_DIGITS = rf"(?:(?:{_INDIAN}|{_GROUPED}|{_PLAIN})(?:\.[0-9]+)?|\.[0-9]+)"
_SUFFIX = "|".join(sorted(_SUFFIXES, key=len, reverse=True))
# A number within a longer text, such as both ends of a range.
PATTERN = rf"-?\s*[$€£₹]?\s*-?{_DIGITS}\s*(?:(?:{_SUFFIX})\b)?\s*[%x]?"
_PARTS = re.compile(
    rf"(?P<sign>-)?\s*(?P<currency>[$€£₹])?\s*(?P<sign2>-)?(?P<digits>{_DIGITS})"
    rf"\s*(?P<suffix>{_SUFFIX})?\s*(?P<unit>[%x])?",
    re.IGNORECASE,
)
_GAP = re.compile(r"(?<=[0-9])[ \u00a0\u202f'\u2019](?=[0-9]{3}(?![0-9]))")


@dataclass(frozen=True)
class Typed:
    """A number that was typed. value: 0.4 of `40%`. step: what its last digit counts, 1000 of `99K`. currency, unit: signs."""

    value: Decimal
    step: Decimal
    currency: str = ""
    unit: str = ""  # % or x

    @property
    def text(self):
        """The number in plain digits: 100000 of `$100K`."""
        text = f"{self.value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text


def tidy(text):
    """The same with plain minus signs, and commas where a space or an apostrophe stands between groups of digits."""
    text = text.strip().replace("\u2212", "-").replace("\u2013", "-").replace("\u2014", "-")
    return _GAP.sub(",", text)


def read(text):
    """The Typed number a text is; None where it is none."""
    match = _PARTS.fullmatch(tidy(text))
    if not match or (match["sign"] and match["sign2"]):
        return None
    digits = match["digits"].replace(",", "")
    exponent = _SUFFIXES.get((match["suffix"] or "").lower(), 0) - (2 if match["unit"] == "%" else 0)
    value = Decimal(digits).scaleb(exponent)
    value = -value if match["sign"] or match["sign2"] else value
    step = Decimal(1).scaleb(exponent - len(digits.partition(".")[2]))
    # + 0: no negative zero
    return Typed(value + 0, step, match["currency"] or "", (match["unit"] or "").lower())


def plain(text):
    """A number in plain digits, `0.4` for `40%`; what is none, or is plain already, as it was typed."""
    typed = None if re.fullmatch(r"\s*-?[0-9]*\.?[0-9]*\s*", text) else read(text)
    return text if typed is None or typed.currency else typed.text
