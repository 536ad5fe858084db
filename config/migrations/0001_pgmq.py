"""The message queue's functions and tables, for the broker-less default.

Its SQL cannot be run twice: skipped where the schema exists already (for instance as PostgreSQL's extension).
"""

from django.db import migrations
from pgmq.install import get_embedded_install_sql


def install(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('pgmq.meta') IS NULL")
        if cursor.fetchone()[0]:
            cursor.execute(get_embedded_install_sql())


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [migrations.RunPython(install, migrations.RunPython.noop)]
