"""A condition in a form: rows of field, operator and value, with JavaScript; else SQL text. The template is core/condition.html."""

from segmentation.rules.condition_rows import RowErrors, kind_of, read_rows, to_rows, to_text

from .scoring_form import UNFINISHED, operators


def offered(terms):
    """The terms rows are made of ([{"name", "type", "label", "family", "unit", "choices"}]), as their script reads them."""
    return {"operators": operators(), "fields": [term | {"kind": kind_of(term["type"])} for term in terms]}


def typed(data, name, types):
    """(SQL text, what is wrong with its rows as sentences) of what a form sent; rows count before text.

    types(): {name: type} of what rows may ask about.
    """
    rows = data.get(f"{name}.rows", "")
    if not rows:
        return data.get(name, "").strip(), []
    try:
        return to_text(read_rows(rows), types()), []
    except RowErrors as errors:
        return UNFINISHED, [message for _, message in errors.problems]


def shown(name, text, terms, *, check, empty, edited=""):
    """Context for the template. check: the address that says what is wrong. empty: what no rows mean. edited: rows as sent."""
    types = {term["name"]: term["type"] for term in terms}
    return {
        "name": name,
        "value": "" if text == UNFINISHED else text,
        "edited": edited,
        "group": to_rows(text, types) if text else {"join": "all", "rows": []},
        "check": check,
        "empty": empty,
        "offered": offered(terms),
    }


def answer(name, text, wrong, types, said):
    """The answer to a check, as the script reads it; `said`: a sentence."""
    return {
        "problems": [{"path": f"{name}.rows", "message": message} for message in wrong],
        "rules": [{"when": text, "rows": None if wrong else to_rows(text, types)}],
        "said": said,
    }
