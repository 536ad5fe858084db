"""The account list's search (name, account ID, web domain) by trigrams, where PostgreSQL has them.

pg_trgm comes with PostgreSQL and may be created by the database's owner; without it, or without that right, the
search reads all accounts, as before, and `migrate accounts 0002 && migrate accounts` tries again later.

Measured at 300,000 accounts: a search takes 1 to 30 ms instead of 300 to 600. The cost: an import of 100,000 new
accounts took 22 s instead of 18, one that only makes facts fresher 12.5 s instead of 9.5: some 0.03 ms a row of work in
the background, for a page that people wait for.

The indexes are of the expression Django's icontains uses, and of no model: whether they are there differs from database to database.
"""

from django.db import DatabaseError, migrations, transaction

COLUMNS = ["name", "external_id", "domain"]
INDEX = "create index if not exists account_search_{0} on accounts_account using gin (upper({0}::text) {1}.gin_trgm_ops)"


def index(apps, schema_editor):
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        try:
            with transaction.atomic(using=connection.alias):
                cursor.execute("create extension if not exists pg_trgm")
        except DatabaseError as error:
            print(
                f"\n  The account search has no index: {str(error).splitlines()[0]}. It works, but slower above 100,000 accounts."
            )
            return
        cursor.execute(
            "select quote_ident(nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace where extname = 'pg_trgm'"
        )
        schema = cursor.fetchone()[0]
        for column in COLUMNS:
            cursor.execute(INDEX.format(column, schema))
        cursor.execute(f"analyze accounts_account ({', '.join(COLUMNS)})")


def drop(apps, schema_editor):
    for column in COLUMNS:
        schema_editor.execute(f"drop index if exists account_search_{column}")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_guards")]
    operations = [migrations.RunPython(index, drop)]
