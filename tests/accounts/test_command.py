"""`import_accounts` as a script sees it: data on stdout, everything else on stderr, the exit code."""

import json
import subprocess
import sys

import pytest
from django.conf import settings
from importing import GOOD, recipe

from accounts.models import Account


@pytest.fixture
def command(real_db, tmp_path):
    def run(text, *options):
        (tmp_path / "crm.csv").write_text(text)
        (tmp_path / "recipe.yaml").write_text(recipe({"crm.csv": text}))
        return subprocess.run(
            [sys.executable, "manage.py", "import_accounts", str(tmp_path / "recipe.yaml"), *options],
            cwd=settings.BASE_DIR, capture_output=True, text=True,
        )  # fmt: skip

    return run


MANY = "id,name,arr\n" + "".join(f"M-{n},Many,{n}\n" for n in range(9))
CALLS = [  # file, options, exit code, status, accounts there afterwards
    (GOOD, [], 0, "previewed", 0),
    (GOOD, ["--commit"], 0, "committed", 2),
    (GOOD + "A-3,Three,x\n", [], 0, "previewed", 0),
    (GOOD + "A-3,Three,x\n", ["--commit"], 1, "previewed", 0),
    (GOOD + "A-3,Three,x\n", ["--commit", "--skip-rejected"], 1, "failed", 0),  # a third of it
    (MANY + "A-3,Three,x\n", ["--commit", "--skip-rejected"], 0, "committed", 9),
    ("", ["--commit"], 1, "failed", 0),
]


@pytest.mark.parametrize(("text", "options", "code", "status", "accounts"), CALLS)
def test_command(command, text, options, code, status, accounts):
    done = command(text, *options, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["status"]) == (code, status)
    assert (told["error"] or "") in done.stderr
    assert bool(told["error"]) == bool(code)
    assert told["rejected_total"] == len(told["rejected"]) == text.count(",x\n")
    assert Account.objects.count() == accounts


def test_what_a_person_reads(command):
    done = command(GOOD + "A-3,Three,x\n", "--as-of", "2026-07-01")
    assert done.stdout.splitlines()[1:] == [
        "  crm.csv: 3 lines = 3 read + 0 rejected",
        "  accounts: 3 rows = 2 created + 0 updated + 0 unchanged + 1 rejected",
        "  1 row of accounts rejected: arr: not a number (such as: NULLIF(column, 'x') in the query takes it as empty)",
        "  rejected, crm.csv line 4, account A-3: arr = 'x': not a number; "
        "NULLIF(column, 'x') in the query takes it as empty",
    ]
    assert "as of 2026-07-01" in done.stdout
    assert "Reading crm.csv" in done.stderr
