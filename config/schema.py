"""Whether the database has what this version of the code asks of it: its migrations, and its guards."""

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from core import guards
from core.refusals import Refused


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
        raise Refused("database_behind", missing=missing)
    try:
        lost = guards.differences()
    finally:
        connection.close()
    if lost:
        raise Refused("database_unguarded", lost=lost)
