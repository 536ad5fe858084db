"""Whether the database has what this version of the code asks of it: its migrations, and its guards."""

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts.refusals import Refused
from core import guards

NAMED = 3


def unapplied():
    """The migrations that this version has and the database has not, `accounts.0004_account_by_name`, in order."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def check():
    """Refuse to start on a database that is behind, or has lost a guard; the connection is closed afterwards.

    Migrations first: a table that is not there yet has no triggers either.
    """
    try:
        missing = unapplied()
    finally:
        connection.close()  # processes fork after this
    if missing:
        raise Refused(
            f"The database lacks {_counted(missing)}: apply what is missing with `manage.py migrate`, "
            "or start with `make run`, which does."
        )
    try:
        lost = guards.differences()
    finally:
        connection.close()
    if lost:
        more = f", and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        raise Refused(
            f"The database does not keep what Demarc promises: {', '.join(lost[:NAMED])}{more}. `manage.py guards` lists "
            "it all; `manage.py guards --install` puts functions and triggers back."
        )


def _counted(missing):
    number = "1 migration" if len(missing) == 1 else f"{len(missing)} migrations"
    more = ", ..." if len(missing) > NAMED else ""
    return f"{number} of this version ({', '.join(missing[:NAMED])}{more})"
