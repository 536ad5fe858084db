"""The account list's search uses an index where PostgreSQL has trigrams, and works where it has none."""

import importlib
import time

import databases
import pytest
from django.contrib import admin
from django.db import connection
from django.db.models import Q

from accounts.models import Account

pytestmark = pytest.mark.django_db

migration = importlib.import_module("accounts.migrations.0003_search")


def indexes():
    with connection.cursor() as cursor:
        cursor.execute("select indexname from pg_indexes where indexname like 'account_search%' order by 1")
        return [name for (name,) in cursor.fetchall()]


def run(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def trigrams():
    with connection.cursor() as cursor:
        cursor.execute("select 1 from pg_available_extensions where name = 'pg_trgm'")
        if not cursor.fetchone():
            pytest.skip("this PostgreSQL comes without pg_trgm")


def test_the_search_uses_the_indexes(trigrams):
    assert indexes() == ["account_search_domain", "account_search_external_id", "account_search_name"]
    run("set local enable_seqscan = off")
    run("set local enable_indexscan = off")
    wanted = Q()
    for column in admin.site.get_model_admin(Account).search_fields:
        wanted |= Q(**{f"{column}__icontains": "acme"})
    plan = Account.objects.filter(wanted).order_by().explain()
    assert all(name in plan for name in indexes())


@pytest.fixture
def without_rights():
    """A role that this database's owner can become, and that may create nothing in it."""
    role = f"without_rights_{time.monotonic_ns()}"
    with databases.superuser(connection.settings_dict["NAME"]) as chief:
        chief.execute(f'create role {role}; grant {role} to "{connection.settings_dict["USER"]}"')
        yield role
        chief.execute(f"drop role {role}")


def test_without_the_right_to_trigrams_there_is_no_index_and_a_sentence(trigrams, without_rights, capsys):
    with connection.schema_editor() as editor:
        migration.drop(None, editor)
        run("drop extension pg_trgm")
        run(f"set local role {without_rights}")
        migration.index(None, editor)
        run("reset role")
        assert indexes() == []
        assert "The account search has no index: permission denied" in capsys.readouterr().out
        migration.index(None, editor)
    assert len(indexes()) == 3


@pytest.mark.parametrize("number", [3, 600])
def test_the_search_finds_all_there_are_in_order(rf, admin_user, number):
    Account.objects.bulk_create(
        Account(external_id=f"A-{n:04}", name=f"Acme {n:04}", domain="x.example.com") for n in range(number)
    )
    Account.objects.create(external_id="B", name="Other")
    request = rf.get("/", {"q": "ACME"})
    request.user = admin_user
    found = admin.site.get_model_admin(Account).get_changelist_instance(request)
    assert found.result_count == number
    assert [account.name for account in found.result_list][:3] == ["Acme 0000", "Acme 0001", "Acme 0002"]
