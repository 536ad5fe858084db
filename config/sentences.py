"""Sentences for whoever runs Demarc, told when it refuses to start."""

from core.refusals import register
from core.wording import plural

NAMED = 3  # migrations or guards named in a sentence


def _database_behind(missing):
    """The database lacks {missing}: apply what is missing with `manage.py migrate`, or start with `make run`."""
    more = ", ..." if len(missing) > NAMED else ""
    named = (
        f"{plural(len(missing), 'migration,migrations')} of this version ({', '.join(missing[:NAMED])}{more})"
    )
    return f"The database lacks {named}: apply what is missing with `manage.py migrate`, or start with `make run`, which does."


def _database_unguarded(lost):
    """The database does not keep what Demarc promises: {lost}."""
    more = f", and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    return (
        f"The database does not keep what Demarc promises: {', '.join(lost[:NAMED])}{more}. `manage.py guards` lists "
        "it all; `manage.py guards --install` puts functions and triggers back."
    )


register({"database_behind": _database_behind, "database_unguarded": _database_unguarded})
