"""What people are told when something may not be done."""


class Refused(Exception):
    """A refusal; `str()` of it is the sentence for the person. Pages, commands and the API translate it, nobody else."""
