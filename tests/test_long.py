"""`make test-long`: the sizes the targets name. A million accounts, checked against one hand-written SQL statement."""

import csv
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from django.db import connection, transaction

from accounts.models import Account, Usage
from benchmarks import portfolio
from benchmarks.__main__ import LAYER, load_layers
from benchmarks.statement import sql
from segmentation.models import Move
from segmentation.runs import recalculation

pytestmark = pytest.mark.long
MILLION = 1_000_000


def run(layer):
    return recalculation.report(
        recalculation.work(recalculation.start(layers=[layer], as_of=date(2026, 11, 22)).pk, wait=True)
    )


def changed_by_statement(layer):
    """How many assignments the statement would change: those on which it and the engine disagree."""
    definition = layer.definitions.get(status="active")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql(layer.pk, definition.pk))
        changed = cursor.rowcount
        transaction.set_rollback(True)
    return changed


def test_a_million_accounts_are_segmented_as_sql_would(real_db):
    portfolio.build(MILLION)
    layer = load_layers()
    first = run(layer)["layers"][LAYER]
    assert (first["scanned"], first["moved"], first["quarantined"]) == (MILLION, MILLION, 0)
    assert changed_by_statement(layer) == 0
    again = run(layer)["layers"][LAYER]
    assert (again["scanned"], again["changed"], again["moved"]) == (MILLION, 0, 0)
    portfolio.touch(0.01)
    assert changed_by_statement(layer) > 0
    touched = run(layer)["layers"][LAYER]
    assert 0 < touched["moved"] < MILLION / 100
    assert changed_by_statement(layer) == 0
    assert Move.objects.filter(layer=layer).count() == MILLION + touched["moved"]


RECIPE = """
as_of: 2026-11-22
currency: USD
sources:
  crm: {file: crm.csv}
accounts: |
  SELECT id AS external_id, name, industry, employees, arr FROM crm
usage: |
  SELECT id AS external_id, seen AS observed_at, logins AS login_days_30d FROM crm
"""


def import_accounts(folder: Path):
    command = [
        sys.executable,
        "manage.py",
        "import_accounts",
        str(folder / "recipe.yaml"),
        "--commit",
        "--json",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return {query.pop("query"): query for query in json.loads(done.stdout)["queries"]}


def test_a_million_rows_are_imported_once(real_db, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with (tmp_path / "crm.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "name", "industry", "employees", "arr", "seen", "logins"])
        for i in range(MILLION):
            rows.writerow(
                [
                    f"A{i}",
                    f"Company {i}",
                    ["SaaS", "Retail"][i % 2],
                    i % 5000,
                    f"{i % 90000}.50",
                    "2026-11-20",
                    i % 31,
                ]
            )
    created = {"rows": MILLION, "created": MILLION, "updated": 0, "unchanged": 0, "rejected": 0, "queued": 0}
    unchanged = {
        "rows": MILLION,
        "created": 0,
        "updated": 0,
        "unchanged": MILLION,
        "rejected": 0,
        "queued": 0,
    }
    assert import_accounts(tmp_path) == {"accounts": created, "usage": created}
    history = Account.history.count()
    assert import_accounts(tmp_path) == {"accounts": unchanged, "usage": unchanged}
    assert (Account.objects.count(), Usage.objects.count()) == (MILLION, MILLION)
    assert Account.history.count() == history
