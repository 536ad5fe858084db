"""Databases of the tests' server besides the one that pytest-django makes."""

import contextlib
import os
import time
from pathlib import Path

import psycopg
from django.db import connection, connections

from config import embedded


def unused(name):
    """The migrated database no test has used: what tests give up leaves dead rows behind, and figures about them."""
    return f"{name}_unused"


def migrated(run):
    """The database that all others of a run are copies of."""
    return f"test_{run}_migrated"


@contextlib.contextmanager
def copied(template, name=None):
    """A copy of a database nobody is in (25 ms), dropped at the end; its name."""
    name = name or f"{template[:40]}_{time.monotonic_ns()}"
    with server() as there:
        there.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield name
    finally:
        # PostgreSQL itself may be at work in it, which only a superuser ends.
        with superuser("postgres") as chief:
            chief.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextlib.contextmanager
def using(name, blocker):
    """Django's connections go to that database."""
    before = connection.settings_dict["NAME"]
    with blocker.unblock():
        connections.close_all()
        connection.settings_dict["NAME"] = name
        try:
            yield
        finally:
            connections.close_all()
            connection.settings_dict["NAME"] = before


NOBODY_SIGNS = """
    create or replace function demarc_refuse_unsigned(sentence text) returns void language sql as 'select null::void'
"""


def without_sign_off():
    """From now on this database takes what matters from whoever has a cause, as if there were no governance."""
    with connection.cursor() as cursor:
        cursor.execute(NOBODY_SIGNS)


@contextlib.contextmanager
def unsigned():
    """Within, what a test starts from needs nobody's sign-off; afterwards the database keeps to what it did before."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_get_functiondef('demarc_refuse_unsigned'::regproc)")
        [before] = cursor.fetchone()
        cursor.execute(NOBODY_SIGNS)
    try:
        yield
    finally:
        if not (connection.in_atomic_block and connection.needs_rollback):
            with connection.cursor() as cursor:
                cursor.execute(before)


def guarded(name, *files):
    """Put these guards (paths of SQL files) into that database, and take out the triggers they do not know."""
    parameters = {**connection.get_connection_params(), "dbname": name}
    with psycopg.connect(**_used(parameters)) as there:
        triggers = "select tgrelid::regclass::text, tgname from pg_trigger where tgname like 'demarc%'"
        for table, trigger in there.execute(triggers).fetchall():
            there.execute(f"drop trigger {trigger} on {table}")
        for file in files:
            there.execute(file.read_text().replace("{schema}", "public"))


@contextlib.contextmanager
def superuser(name):
    """A connection to that database as who may do anything: the application's own role is no superuser."""
    parameters = {**connection.get_connection_params(), "dbname": name}
    secret = Path(os.environ.get("DEMARC_HOME", ""), embedded.SUPERUSER_PASSWORD)
    if connection.settings_dict["USER"] == embedded.NAME and secret.is_file():
        parameters |= {"user": embedded.SUPERUSER, "password": secret.read_text()}
    with psycopg.connect(**_used(parameters), autocommit=True) as chief:
        yield chief


@contextlib.contextmanager
def server():
    """A connection to the server that is in none of the tests' databases."""
    parameters = {**connection.get_connection_params(), "dbname": "postgres"}
    with psycopg.connect(**_used(parameters), autocommit=True) as server:
        yield server


def _used(parameters):
    return {
        key: parameters[key] for key in ("host", "port", "user", "password", "dbname") if parameters.get(key)
    }
