"""Small texts and files that would keep a machine busy for hours: each is refused in a sentence, and nothing is lost."""

import datetime
import os
import signal
import time
from pathlib import Path

import polars as pl
import pytest
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.urls import reverse
from importing import GOOD, attempt, recipe
from waiting import wait_until

from accounts import imports
from accounts.catalogue import KINDS, STATUSES, SUBSCRIPTION_STATUSES
from accounts.imports import queries, structure
from accounts.imports import recipe as recipes
from accounts.imports.errors import ImportFault
from accounts.models import Account, ImportBatch, ImportFile, Subscription

MANY = 200_000
FRAMES = {
    "crm": pl.DataFrame({"id": range(MANY), "k": [1] * MANY}),
    "bills": pl.DataFrame({"id": range(MANY), "n": range(MANY)}),
    "months": pl.DataFrame({"month": range(12)}),
}


def doubling(step):
    levels = "".join(f", t{n + 1} AS ({step.format(f't{n}')})" for n in range(20))
    return f"WITH t0 AS (SELECT id FROM crm){levels} SELECT * FROM t20"


def nested(opening, closing, times):
    return "SELECT " + opening * times + "1" + closing * times + " FROM crm"


PARSED = [  # what keeps the parser busy, each opening twice as long as the one before
    nested("array[", "]", 18),
    nested("array[", "]", 59),
    nested("int[", "]", 30),
    nested("list[", "]", 30),
    nested("date(", ")", 30),
    nested("varchar(", ")", 30),
    nested("struct(", ")", 30),
    nested("(", ")", 61),
    nested("[", "]", 61),
    "SELECT * FROM crm" + "".join(f" LEFT JOIN c{n}" for n in range(40)),
    "SELECT " + "NOT " * 5_000 + "id FROM crm",
]
LARGE = [
    ("SELECT x.id FROM crm x, crm y, crm z", "joins 'y' without a condition: 200,000 x 200,000 rows are 40,000,000,000"),
    ("SELECT x.id FROM crm x\nCROSS JOIN crm y", r"JOIN .. ON a.id = b.id \(line 2, column \d+\)"),
    ("SELECT x.id FROM crm x JOIN crm y ON true", "without a condition"),
    ("SELECT x.id FROM crm x JOIN crm y ON x.id = x.k", "without a condition"),
    ("SELECT x.id FROM crm x JOIN crm y ON x.id = 5 AND y.id = 7", "without a condition"),
    ("SELECT x.id FROM crm x JOIN crm y ON x.id = y.id OR 1 = 1", "without a condition"),
    ("SELECT x.id FROM crm x JOIN crm y ON x.id <> y.id", "without a condition"),
    ("SELECT x.id FROM crm x, bills y WHERE x.id = 5", "joins 'y' without"),
    ("SELECT x.id FROM crm x JOIN (crm y CROSS JOIN bills z) ON x.id = y.id", "joins 'z' without"),
    ("SELECT x.id FROM crm x, (SELECT id, MAX(n) AS n FROM bills GROUP BY id) t", "joins 't' without"),
    ("SELECT id FROM crm WHERE id IN (SELECT p.id FROM crm p, crm q)", "joins 'q' without"),
    ("SELECT id, (SELECT COUNT(*) FROM crm p, crm q) AS n FROM crm", "joins 'q' without"),
    ("WITH t AS (SELECT a.id FROM crm a, crm b) SELECT id FROM t", "joins 'b' without"),
    (doubling("SELECT * FROM {0} UNION ALL SELECT * FROM {0}"), "reads its sources 128 times"),
    (doubling("SELECT a.id FROM {0} a JOIN {0} b ON a.id = b.id"), "reads its sources 128 times"),
    (doubling("SELECT id FROM {0} WHERE id IN (SELECT id FROM {0})"), "reads its sources 128 times"),
    ("SELECT a.id FROM crm a" + "".join(f" JOIN crm c{n} ON c{n}.id = a.id" for n in range(41)), "has 41 joins; at most 40"),
    ("SELECT id FROM (" + " UNION ALL ".join(["SELECT id FROM crm"] * 42) + ") t", "has 41 unions"),
    ("WITH " + ", ".join(f"t{n} AS (SELECT 1 AS a)" for n in range(41)) + " SELECT id FROM crm", "has 41 WITH tables"),
    (nested("AVG(", ")", 30), "an AVG within an AVG"),
]  # fmt: skip
FINE = [
    ("SELECT x.id FROM crm x, bills y WHERE x.id = y.id AND y.n > 5", MANY - 6),
    ("SELECT crm.id FROM crm, bills WHERE k = n", MANY),
    ("SELECT x.id FROM crm x CROSS JOIN months", 12 * MANY),
    ("SELECT x.id FROM crm x, (SELECT MAX(n) AS n FROM bills) t", MANY),
    ("SELECT x.id FROM crm x, (SELECT n FROM bills LIMIT 3) t", 3 * MANY),
    ("SELECT id FROM crm NATURAL JOIN bills", MANY),
    ("SELECT crm.id FROM crm JOIN bills USING (id)", MANY),
    ("SELECT x.id FROM crm x JOIN bills y ON (x.id = y.id) AND 1 = 1", MANY),
]


def prepared(sql):
    return queries.prepare("accounts", sql, FRAMES, datetime.date(2026, 6, 30))


@pytest.mark.parametrize("sql", PARSED)
def test_what_keeps_the_parser_busy_is_not_parsed(sql):
    with pytest.raises(ImportFault, match=r"accounts query is nested too deeply \(line 1, column \d+\)"):
        prepared(sql)


@pytest.mark.parametrize(("sql", "said"), LARGE)
def test_what_would_be_endless_is_not_run(sql, said):
    with pytest.raises(ImportFault, match=said):
        prepared(sql)


@pytest.mark.parametrize(("sql", "rows"), FINE)
def test_joins_that_people_write_are_run(sql, rows):
    assert len(queries.run("accounts", prepared(sql), FRAMES, {})) == rows


GOOD_RECIPE = recipe({"crm.csv": GOOD})
RECIPES = [
    ("".join(f"{n:x}:\n" for n in range(33_000)), "(line 5000): there are more than 10,000 keys and values"),
    ("a: [" + "1," * 99_000 + "]", "there are more than 10,000 keys and values"),
    ("a: " + "[" * 5_000, "nested too deeply"),
    ("a: " + "{b: " * 41 + "}" * 41, "(line 1): it is nested too deeply, more than 40 levels"),
    ("a: &a [1]\nb: *a", "(line 2): write it out instead of *a"),
    ("a: !!int 1" + ":1" * 90_000, "types (!name) are not used here"),
    ("as_of: 1" + ":1" * 90_000, "not a date"),
    ("a: 2026-02-30", "not readable YAML: "),
    (GOOD_RECIPE.replace("sources:", "sources:\n" + "".join(f"  s{n}: crm.csv\n" for n in range(50))), "has 51 sources; at most 50"),
    (GOOD_RECIPE + "warnings:\n" + "".join(f"  w{n}: SELECT 1\n" for n in range(51)), "has 51 warnings; at most 50"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), RECIPES)
def test_a_recipe_has_limits(text, said):
    if text.startswith("as_of"):
        text = GOOD_RECIPE.replace("as_of: '2026-06-30'", text)
    with pytest.raises(ImportFault) as refusal:
        recipes.parse(text)
    assert said in str(refusal.value)
    assert len(str(refusal.value)) < 400_000


def test_keys_that_look_like_numbers_stay_as_they_are_written():
    text = GOOD_RECIPE.replace("file: crm.csv", "file: crm.csv\n    columns: {007: text, 1:30: text}")
    assert list(recipes.parse(text).sources["crm"].columns) == ["007", "1:30"]


def test_a_fault_of_a_query_says_where_in_the_recipe_it_begins(db, tmp_path):
    text = "as_of: 2026-06-30\ncurrency: USD\nsources: {crm: crm.csv}\naccounts: |\n  SELECT id FROM crmm\n"
    assert "The query begins in line 5 of the recipe." in attempt(tmp_path, text=text).said


def test_a_file_of_very_many_columns_is_not_read(db, tmp_path):
    head = ",".join(f"c{n}" for n in range(structure.MOST_COLUMNS + 1))
    assert "crm.csv, line 1: 2,001 columns; at most 2,000 are read" in attempt(tmp_path, head + "\n").said


# -- what cannot be foreseen ends with its process

ROWS = "id,name,arr\n" + "".join(f"A-{n},x,{n}\n" for n in range(20_000))
ALIKE = "(SELECT id, 1 AS k FROM crm)"


@pytest.mark.parametrize(
    ("limits", "sql", "said"),
    [
        (
            {"import_memory_mb": 250},
            f"SELECT x.id || y.id AS external_id FROM {ALIKE} x JOIN {ALIKE} y ON x.k = y.k",
            "The accounts query, from line 1 of the recipe, needs more than 250 MB of memory and was stopped. Probably a join",
        ),
        (
            {"import_memory_mb": 250},
            "WITH "
            + ", ".join(
                f"t{n} AS (SELECT id, name || name AS name FROM {f't{n - 1}' if n else 'crm'})" for n in range(30)
            )
            + " SELECT id AS external_id, name FROM t29",
            "needs more than 250 MB of memory",
        ),
        (
            {"import_seconds": 1, "import_memory_mb": 8_000},
            f"SELECT CAST(COUNT(*) AS TEXT) AS external_id FROM {ALIKE} x JOIN {ALIKE} y ON x.k = y.k JOIN {ALIKE} z ON y.k = z.k",
            "takes longer than 1 second and was stopped. Probably a join",
        ),
        ({"import_memory_mb": 110}, "SELECT id AS external_id FROM crm", "Reading crm.csv needs more than 110 MB"),
    ],
    ids=["alike", "text", "time", "file"],
)  # fmt: skip
def test_a_computation_without_end_is_stopped_and_says_so(db, tmp_path, settings, limits, sql, said):
    attempt(tmp_path, GOOD)
    settings.FIXED = settings.FIXED | limits
    text = ROWS if "seconds" in str(limits) or "110" not in said else ROWS * 20
    stopped = attempt(tmp_path, text, accounts=sql)
    assert said in stopped.said
    assert stopped.batch.status == ImportBatch.Status.FAILED
    assert Account.objects.count() == 2  # those of before


def test_the_process_that_computes_has_no_secrets_and_dies_with_whoever_started_it(spawn, tmp_path):
    os.mkfifo(tmp_path / "crm.csv")  # whoever opens it waits
    parent = spawn(
        "-c",
        "from accounts.imports import confinement as c; "
        f"c.compute(c.Computation({GOOD_RECIPE!r}, None, 'UTC', {{'crm.csv': {str(tmp_path / 'crm.csv')!r}}}, [], 1000, 60), print)",
        env={**os.environ, "DATABASE_URL": "postgres://me:secret@db/x", "SECRET_KEY": "secret"},
    )
    listed = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    child = int(wait_until(lambda: listed.read_text().split())[0])
    # Between its fork and its start it is still its parent.
    wait_until(lambda: b"accounts.imports.confinement" in Path(f"/proc/{child}/cmdline").read_bytes())
    environment = wait_until(lambda: Path(f"/proc/{child}/environ").read_bytes())
    assert b"secret" not in environment
    time.sleep(1)  # until it has asked to die with its parent
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not Path(f"/proc/{child}").exists())


# -- what is uploaded


@pytest.fixture
def web(client, db):
    client.force_login(get_user_model().objects.create_superuser("root", password="x"))
    return client


def upload(web, text=GOOD_RECIPE, files=(("crm.csv", GOOD),)):
    files = [SimpleUploadedFile(name, content.encode()) for name, content in files]
    sent = {"recipe": SimpleUploadedFile("recipe.yaml", text.encode()), "files": files}
    return web.post(reverse("admin:accounts_importbatch_upload"), sent)


UPLOADS = [
    ({"text": "x" * 200_001}, "The recipe is longer than 200,000 characters: it has 200,001."),
    ({"text": "x" * 1_000_000}, "The recipe is larger than 781 KB."),
    ({"files": [(f"{n}.csv", "id\n") for n in range(51)]}, "These are 51 files; at most 50 are taken at once."),
    ({"files": [("a.csv", "x" * 700_000), ("b.csv", "x" * 700_000)]}, "The files have 1.3 MB together, and at most 1 MB"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "said"), UPLOADS, ids=["long recipe", "huge recipe", "files", "size"])
def test_an_upload_has_limits(web, settings, given, said):
    settings.FIXED = settings.FIXED | {"import_mb": 1}
    answer = upload(web, **given)
    assert answer.status_code == 409
    assert said in answer.content.decode()
    assert not ImportBatch.objects.exists()
    assert not ImportFile.objects.exists()


def test_what_is_too_large_is_refused_before_it_is_read(client, db, settings):
    settings.FIXED = settings.FIXED | {"import_mb": 8}
    large, larger = ("crm.csv", "x" * (7 << 20)), ("crm.csv", "x" * (10 << 20))
    said = client.post("/admin/login/", {"file": SimpleUploadedFile(large[0], large[1].encode())})
    assert (said.status_code, "It has 7 MB, and at most 5 MB" in said.content.decode()) == (413, True)
    assert "import_accounts" not in said.content.decode()
    said = upload(client, files=[larger])
    assert (said.status_code, "It has 10 MB, and at most 8 MB" in said.content.decode()) == (413, True)
    assert "import_accounts" in said.content.decode()
    assert upload(client, files=[large]).status_code == 302  # to the login


def test_a_recipe_too_long_is_not_even_stored(db, tmp_path):
    with pytest.raises(imports.Refused, match="longer than 200,000 characters"):
        imports.create("x" * 200_001, {})
    (tmp_path / "recipe.yaml").write_text("x" * 1_000_000)
    with pytest.raises(CommandError, match="larger than 781 KB"):
        call_command("import_accounts", tmp_path / "recipe.yaml")
    assert not ImportBatch.objects.exists()


def test_a_long_recipe_is_shown_abridged_and_given_whole(web):
    text = GOOD_RECIPE + "# " + "x" * 20_000 + "the end"
    batch = imports.create(text, {"crm.csv": GOOD.encode()})
    page = web.get(reverse("admin:accounts_importbatch_change", args=[batch.pk])).content.decode()
    assert "as_of:" in page
    assert "the end" not in page
    assert f"{len(text) - 10_000:,} more characters are not shown" in page
    assert web.get(reverse("admin:accounts_importbatch_recipe", args=[batch.pk])).content.decode() == text


def test_the_computation_knows_what_the_models_know():
    assert list(KINDS) == Account.Kind.values
    assert list(STATUSES) == Account.Status.values
    assert list(SUBSCRIPTION_STATUSES) == Subscription.Status.values
