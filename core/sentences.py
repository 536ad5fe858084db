"""Sentences people are told when something is refused, whatever it is about."""

from core.refusals import register

_FASTER = (
    "Somebody else has changed the same in the same moment. Nothing of this was saved: look at it again."
)
register({
    "changed_in_the_same_moment": _FASTER,
    "guarded_by_the_database": "The database does not accept it: {said}. Nothing of this was saved: look at it again.",
    "not_logged_in": "Nobody is logged in.",
    "program_decides_nothing": "A program never decides, signs or completes: a person does, with a login of their own.",
    "reason_missing": "Say why: the reason is kept for everybody who asks later.",
    "reference_gone": "Something it refers to is not there any more. Nothing of this was saved: look at it again.",
    "step_not_chosen": "Choose what to do with it.",
    "text_too_long": "A text may have {most:,} characters.",
    "text_unstorable": "The text contains a character that cannot be stored.",
})  # fmt: skip
