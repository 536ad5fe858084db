"""What rules may read, in words: data fields, the account's state on the layer, labels and scores of other layers. Pure."""

from accounts import catalogue

_STATE = {
    "previous": "Segment before",
    "days_in_stage": "Days in that segment",
    "declared": "Declared value",
    "composite": "Overall score",
}


def label(name, layer=""):
    """A term of rules as people read it. layer: what the segmentation it is of is called, where that is known."""
    if name in catalogue.FACTS:
        return catalogue.FACTS[name].label
    if name in _STATE:
        return _STATE[name]
    part, _, rest = name.partition(".")
    key, _, group = rest.partition(".")
    layer = layer or words(key)
    if part == "label":
        return layer
    if part == "composite":
        return f"{layer}: overall score"
    return f"{layer}: {words(group)}" if group else layer


def words(key):
    """A key as words: `value_tier` is Value tier."""
    return key.replace("_", " ").replace("-", " ").capitalize()
