"""Why an account needs data: the engine's reason codes as sentences."""

from segmentation.rules import terms


def text(code, document=None):
    """A sentence for a reason code of the engine."""
    kind, _, what = (code or "").partition(":")
    if kind == "missing":
        return f"{terms.label(what)} is not known, and the rules need it."
    if kind == "no cell":
        return f"The value of {terms.label(what)} is in no cell of the scoring table, and the rules need one."
    if kind == "no facts":
        named = (
            [dimension.name for dimension in document.dimensions if dimension.key == what and dimension.name]
            if document
            else []
        )
        return f"Nothing is known for the score group {named[0] if named else terms.words(what)}."
    if kind == "currency" and "," in what:
        return (
            f"Its contracts are in {' and '.join(what.split(', '))} (mixed): amounts of several currencies are not added up, "
            "and not converted yet."
        )
    if kind == "currency":
        return f"Its money is in {what}, not in the organisation's currency (Settings: currency); amounts are not converted yet."
    if kind == "overflow":
        return f"A number in rule {int(what) + 1} is too large to be compared."
    sentences = {
        "": "",
        "no rule": "No rule applies.",
        "gone": "The account does not have this product any more.",
    }
    return sentences.get(kind, code)
