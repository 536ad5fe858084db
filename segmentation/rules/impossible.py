"""Values in conditions and scoring tables that nothing can have: `status = 'chruned'`, `usage_change_30d < -20`.

Each is named with the nearest that can be. Pure.
"""

import difflib
from decimal import Decimal

from accounts.catalogue import CHOICES, FACTS
from segmentation.rules import tree

LISTED = 8  # values named where there are no more
PERCENT = 100
FAR = 10  # a share or a change of more than 1,000 % was meant in percent


def compared(root):
    """(name, the constant it is compared with) of each comparison of a condition's tree with a given value."""
    for node in root.walk():
        match node:
            case tree.Compare():
                pairs = [(node.left, node.right), (node.right, node.left)]
            case tree.Between():
                pairs = [(node.part, node.low), (node.part, node.high)]
            case tree.In():
                pairs = [(node.part, part) for part in node.several]
            case _:
                continue
        for name, constant in pairs:
            name, value = tree.bare(name), tree.constant(constant)
            if isinstance(name, tree.Name) and value is not None:
                yield name.name, value


def sentences(root, choices=None, *, fact_of=FACTS.get):
    """Say of each value of a condition's tree that nothing can have which is meant perhaps, a sentence each.

    choices: {name: the only texts it can be, or {text: what it is called}}, beside those of the catalogue. fact_of: name -> its Fact, or None.
    """
    found = (impossible(name, value, choices, fact_of=fact_of) for name, value in compared(root))
    return list(dict.fromkeys(filter(None, found)))


def impossible(name, value, choices=None, *, fact_of=FACTS.get):
    """Why nothing of this name can have the value, and what is nearest; "" where it can."""
    fact = fact_of(name)
    texts = (choices or {}).get(name, CHOICES.get(fact.name) if fact else None)
    if isinstance(value, str) and texts is not None:
        return "" if value in texts else _no_choice(name, value, texts)
    if isinstance(value, Decimal) and fact is not None:
        return _out_of_limits(name, value, fact)
    return ""


def _no_choice(name, value, texts):
    listed = f" It is one of {', '.join(sorted(texts))}." if len(texts) <= LISTED else ""
    by_small = {text.lower(): text for text in sorted(texts)}
    if isinstance(texts, dict):  # people write the name they see
        by_small |= {name.lower(): text for text, name in texts.items()}
    near = difflib.get_close_matches(value.lower(), by_small, n=1, cutoff=0)
    hint = f" Did you mean '{by_small[near[0]]}'?" if near else ""
    return f"{name} is never '{value}'.{listed}{hint}"


def _out_of_limits(name, value, fact):
    low, high = (None if bound is None else Decimal(bound) for bound in (fact.minimum, fact.maximum))
    in_percent = fact.type == "ratio" and fact.unit == "%"
    too_far = in_percent and high is None and abs(value) > FAR
    below, above = low is not None and value < low, high is not None and value > high
    if not (below or above or too_far):
        return ""
    if in_percent:
        meant = value / PERCENT
        fits = (low is None or meant >= low) and (high is None or meant <= high)
        nearest = meant if fits else (low if below else high)
        return (
            f"{name} is a ratio: {_plain(value)} is {value * PERCENT:,.0f} %. Did you mean {_plain(nearest)}?"
        )
    limit, word = (low, "at least") if below else (high, "at most")
    return f"{name} is never {_plain(value)}: it is {word} {_plain(limit)}. Did you mean {_plain(limit)}?"


def _plain(number):
    return f"{number.normalize():f}"
