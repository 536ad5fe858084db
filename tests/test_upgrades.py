"""A database of every version there has been is migrated to this one, and holds what it held. `make dump` makes one."""

import gzip
import subprocess
import sys
from pathlib import Path

import databases
import pytest
from django.apps import apps
from django.db import connection

from accounts.models import Account
from config import database, embedded
from core import guards
from governance.models import Event
from segmentation.models import Assignment, Move

ROOT = Path(__file__).parents[1]
DUMPS = sorted((ROOT / "tests" / "dumps").glob("*.sql.gz"))


@pytest.fixture(params=DUMPS, ids=lambda dump: dump.name.removesuffix(".sql.gz"))
def earlier(request, django_db_setup, django_db_blocker):
    """The demonstration of an earlier version, in a database of its own; its URL."""
    name = f"{connection.settings_dict['NAME']}_earlier"
    with databases.copied("template0", name=name), databases.using(name, django_db_blocker):
        if connection.pg_version < 180000:
            pytest.skip("the dumps are of the embedded server, PostgreSQL 18")
        connection.close()
        url = database.to_url(connection.settings_dict)
        restore = [embedded.programs() / "psql", "--quiet", "--set=ON_ERROR_STOP=1", url]
        subprocess.run(
            restore,
            input=gzip.decompress(request.param.read_bytes()),
            check=True,
            stdout=subprocess.DEVNULL,
        )
        yield url


@pytest.mark.parametrize(
    ("made", "dumped"),
    [
        (
            "(((kind)::text = ANY ((ARRAY['a b'::character varying, 'c'::character varying])::text[])))",
            "(((kind)::text = ANY (ARRAY[('a b'::character varying)::text, ('c'::character varying)::text])))",
        ),
        ("(((a IS NULL) OR (b > 1)) OR (NOT c))", "((a IS NULL) OR (b > 1) OR (NOT c))"),
    ],
)
def test_what_a_dump_writes_in_another_way_is_the_same(made, dumped):
    assert guards._plain(made) == guards._plain(dumped)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("(((a > 1) AND (b > 1)) OR c)", "((a > 1) AND ((b > 1) OR c))"),
        ("(NOT (a OR b))", "((NOT a) OR b)"),
        ("(kind = 'a')", "(kind = '(a)')"),
        ("(kind = 'a OR b')", "(kind = 'a or b')"),
    ],
)
def test_what_means_something_else_is_not(one, other):
    assert guards._plain(one) != guards._plain(other)


def test_a_database_of_an_earlier_version_is_migrated(earlier, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", earlier)
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], cwd=ROOT, check=True)
    assert guards.differences() == []
    assert all(model.objects.count() > 500 for model in (Account, Assignment, Move, Event))
    for model in apps.get_models():
        model._base_manager.first()  # each column is there
