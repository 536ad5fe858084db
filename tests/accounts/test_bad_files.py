"""A clear error, at the right place, and nothing written: every fault of a file or of a recipe is one line here."""

import json

import pytest
from django.core.management import call_command
from importing import GOOD, attempt, recipe

from accounts.models import Account, Csm, ImportBatch, Product

pytestmark = pytest.mark.django_db

HEAD = "id,name,arr\n"
FILES = [  # the file at fault, what is said about it
    (HEAD + 'A-1,"One,1\nA-2,Two,2\n', "crm.csv, line 2: unclosed quote"),
    (HEAD + 'A-1,One,1\nA-2,"Two,2\nA-3,Three,3\nA-4,Four,4\nA-5,Fi"ve,5\n', "crm.csv, line 3: "),
    (HEAD + 'A-1,"One,1\nA-2,Two,2\nA-3,Three",3\n', "crm.csv, line 2: unclosed quote"),
    (HEAD + 'A-1,"One"x,1\n', "line 2: a quote inside a cell must be written twice"),
    (HEAD + "A-1,One\nA-2,Two,2\n", "crm 2  A-1,One ragged row; 2 cells where the header has 3"),
    (HEAD + "A-1,One,1,extra\n", "ragged row; 4 cells where the header has 3"),
    ("id,name,arr,name\nA-1,One,1,x\n", "line 1: the column 'name' is there twice"),
    ("id,,arr\nA-1,One,1\n", "line 1: column 2 has no name"),
    ("id,name,arr,,\nA-1,One,1,,x\n", "crm 2  x column 5 has no name"),
    ("id,name,arr,,\nA-1,One,1\n", "ragged row; 3 cells where the header has 5"),
    ("id;name;arr\nA-1;One;1\n", "line 1: one column named 'id;name;arr'; declare delimiter: \";\""),
    ("sep=;\nid;name;arr\nA-1;One;1\n", "line 1: 'sep=;'; declare delimiter: \";\""),
    (HEAD + ",One,1\n", "external_id  external_id is missing"),
    (HEAD + '"  ",One,1\n', "external_id is missing"),
    ("", "crm.csv is empty"),
    ("\n\n", "crm.csv is empty"),
    (HEAD, "The accounts query gives no row"),
    (HEAD + "A-1,O\0ne,1\n", "crm.csv, line 2: a NUL character"),
    ((HEAD + "A-1,One,1\nA-2,Zürich,1\n").encode("cp1252"), "crm.csv, line 3: the text is not utf-8 (0xfc)"),
    ((HEAD + "A-1,One,1\n").encode("utf-16"), "declare its encoding, for example encoding: utf-16"),
    (HEAD + 'A-1,One,"1,00,000"\n', 'A-1 arr 1,00,000 not a number; declare columns: {arr: {decimal: "1,23,456.78"}} at source crm'),
    (HEAD + 'A-1,One,1\nA-2,Two,"1,00,000"\n', "accounts A-2 arr 1,00,000"),
    (HEAD + "A-1,One,NaN\n", "A-1 arr NaN not a number"),
    (HEAD + "A-1,One,inf\n", "not a number"),
    (HEAD + "A-1,One,1e5\n", "not a number"),
    (HEAD + "A-1,One,-0.01\n", "A-1 arr -0.010000 ARR below 0"),
    (HEAD + "A-1,One,1000000000000000000\n", "the number is too large"),
    (HEAD + f"A-1,{'x' * 200_000},1\n", "the cell has more than 100,000 characters; it has 200,000"),
    (HEAD + f'A-1,"{"x" * 200_000}",1\n', "crm 2 name x"),
    (HEAD + f"A-1,{'x' * 401},1\n", "longer than 400 characters"),
    (HEAD + "A-1,One,1\nA-1,Again,2\n", "accounts A-1 external_id A-1 duplicate key; line 3 of crm says something else"),
]  # fmt: skip
QUERIES = [  # a cell, the fact it is read as, what is said about it
    ("03/04/2025", "contract_start", "A-1 contract_start 03/04/2025 not a date as YYYY-MM-DD; declare"),
    ("2025-02-30", "contract_start", "crm A-1 x 2025-02-30 not a date (YYYY-MM-DD)"),
    ("XXX", "currency", "unknown currency"),
    ("US", "currency", "unknown currency"),
    ("EURO", "currency", "unknown currency; did you mean 'EUR'?"),
    ("actve", "status", "unknown status; did you mean 'active'?"),
    ("partner", "kind", "unknown kind; it is customer, trial, internal, test"),
    ("2.5", "employees", "not a whole number"),
    ("-1", "employees", "Employees below 0"),
    ("101", "nps", "NPS above 100"),
    ("-101", "nps", "NPS below -100"),
    ("1.2", "feature_adoption", "Feature adoption above 1"),
    ("not an address", "csm", "no CSM is called so; write the e-mail address"),
    ("40%", "feature_adoption", '{x: {decimal: "1234.56%"}} at source crm'),
    ("N/A", "arr", "NULLIF(column, 'N/A') in the query"),
    ("$5", "arr", '{x: {decimal: "$1234.56"}} at source crm'),
    ("9223372036854775808", "employees", "the number is too large"),
    ("maybe", "excluded", "neither true nor false"),
]
RECIPES = [  # keys of the recipe, what is said about them
    ({"accounts": "SELECT id AS external_id, 1 AS industri FROM crm"}, "unknown fact 'industri'; did you mean 'industry'"),
    ({"accounts": "SELECT id FROM crm"}, "unknown fact 'id'; did you mean 'external_id'"),
    ({"accounts": "SELECT id AS external_id, 1 AS seat_use FROM crm"}, "seat_use is computed by Demarc"),
    ({"accounts": "SELECT name FROM crm"}, "gives no column 'external_id'"),
    ({"usage": "SELECT id AS external_id, 1 AS industry FROM crm"}, "industry belongs into the accounts query"),
    ({"subscriptions": "SELECT id AS external_id, id AS subscription_id, arr FROM crm"}, "no column 'start_date'"),
    ({"souces": {}}, "Unknown key 'souces' in the recipe; did you mean 'sources'?"),
    ({"crm": {"delimeter": ";"}}, "Unknown key 'delimeter' in source 'crm'; did you mean 'delimiter'?"),
    ({"crm": {"columns": {"arr": "nubmer"}}}, "nubmer"),
    ({"crm": {"columns": {"arrr": "number"}}}, "crm.csv has no column 'arrr'; it has id, name, arr"),
    ({"crm": {"encoding": "utf-9"}}, "unknown encoding 'utf-9'"),
    ({"crm": {"delimiter": ";;"}}, "not one character"),
    ({"crm": {"decimal": "comma"}}, "decimal is 'comma'"),
    ({"crm": {"dates": "DD/MM"}}, "dates is 'DD/MM'"),
    ({"crm": {"file": "other.csv"}}, "other.csv"),
    ({"crm": {"dates": ["DD/MM/YYYY"]}}, "source 'crm': dates is one value"),
    ({"crm": {"columns": {"arr": {"type": ["number"]}}}}, "type is one value"),
    ({"currency": ["USD"]}, "the recipe: currency is one value"),
    ({"as_of": None}, "has no as_of"),
    ({"as_of": "30.06.2026"}, "as_of is '30.06.2026'"),
    ({"currency": None}, "has no currency"),
    ({"currency": "DOLLAR"}, "'DOLLAR'"),
    ({"accounts": None}, "The recipe has no accounts"),
    ({"accounts": "SELEC id"}, "must be one SELECT"),
    ({"accounts": "SELECT id FROM crm WHERE ("}, "not readable SQL, line 1"),
    ({"accounts": "SELECT id AS external_id, SUM(name) AS arr FROM crm GROUP BY id"}, "The accounts query"),
]  # fmt: skip


def nothing_written():
    return not any(model.objects.exists() for model in (Account, Csm, Product))


@pytest.mark.parametrize(("content", "said"), FILES)
def test_a_bad_file_is_refused(tmp_path, content, said):
    refused = attempt(tmp_path, content)
    assert said in refused.everything
    assert refused.said
    assert refused.batch.status != ImportBatch.Status.COMMITTED
    assert nothing_written()


@pytest.mark.parametrize(("cell", "fact", "said"), QUERIES)
def test_a_bad_value_is_refused(tmp_path, cell, fact, said):
    refused = attempt(
        tmp_path, f"id,x\nA-1,{cell}\nA-2,\n", accounts=f"SELECT id AS external_id, x AS {fact} FROM crm"
    )
    assert said in refused.everything
    assert len(refused.rejected) == 1
    assert nothing_written()


@pytest.mark.parametrize(("keys", "said"), RECIPES)
def test_a_bad_recipe_is_refused(tmp_path, keys, said):
    refused = attempt(tmp_path, GOOD, **keys)
    assert said in refused.said
    assert refused.batch.status == ImportBatch.Status.FAILED
    assert nothing_written()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("as_of: [", "not readable YAML (line 1)"),
        ("- a\n- b", "not a YAML mapping"),
        ("as_of: 2026-01-01\nas_of: 2026-01-02", "'as_of' is there twice"),
        ("a: &a [*a]", "not readable YAML (line 1): write it out instead of *a"),
        ("a: &a {x: 1}\nb: {<<: *a}", "(line 2): write it out instead of *a"),
        ("!!python/object/apply:os.system [ls]", "not readable YAML"),
    ],
)
def test_a_recipe_that_is_none(tmp_path, text, said):
    assert said in attempt(tmp_path, text=text).said


def test_all_files_at_fault_are_told_at_once(tmp_path):
    said = attempt(tmp_path, {"crm.csv": "", "billing.csv": "id,id\n"}).said
    assert "crm.csv is empty" in said
    assert "the column 'id' is there twice" in said


def test_a_fault_in_one_query_leaves_the_others_unwritten(tmp_path):
    refused = attempt(
        tmp_path,
        {"crm.csv": GOOD, "events.csv": "id,at\nA-1,2026-01-01\nA-9,2026-01-01\n"},
        signals="SELECT id AS external_id, 'call' AS signal, at FROM events",
    )
    assert refused.rejected == [("signals", "A-9", "external_id", "A-9", "no account with this ID")]
    assert "1 row is rejected" in refused.said
    assert nothing_written()


def test_what_belongs_to_a_rejected_account_says_so(tmp_path):
    refused = attempt(
        tmp_path,
        {"crm.csv": HEAD + "A-1,One,-1\nA-2,Two,2\n", "events.csv": "id,at\nA-1,2026-01-01\n"},
        signals="SELECT id AS external_id, 'call' AS signal, at FROM events",
    )
    assert [row[-1] for row in refused.rejected] == ["ARR below 0", "its account is rejected"]


def test_a_text_column_that_is_nearly_numbers_says_which_line(tmp_path):
    said = attempt(
        tmp_path,
        "id,arr\nA-1,1\nA-2,2\nA-3,n/a\n",
        accounts="SELECT id AS external_id, 12 * arr AS arr FROM crm",
    ).said
    assert "arr in crm.csv is text because of 'n/a' in line 4; declare columns: {arr: number}" in said


def test_recipe_text_is_shown_as_given(tmp_path):
    assert attempt(tmp_path, commit=False).batch.recipe == recipe({"crm.csv": GOOD})


MERGED = [  # a file, the lines in which a value begins that may be two rows
    ('id,name\nA-1,"One\nA-2,5"\nA-3,Three\n', [2]),
    ('id,name\nA-1,One\nA-2,"Two\nA-3,3"\nA-4,"Four\nA-5,5"\n', [3, 5]),
    ('id,name,arr\nA-1,"One,1\nA-2,Two",2\n', [2]),
    ('id,name\nA-1,"One\r\nA-2,5"\r\n', [2]),
    ('id,name,arr\nA-1,"Main St 5,\nBuilding 2, x",2\n', []),
    ('id,name,arr\nA-1,"Main St 5\nBerlin",2\n', []),
    ('id,name\nA-1,"One, or another"\n', []),
]


@pytest.mark.parametrize(("content", "lines"), MERGED)
def test_a_value_over_several_lines_may_be_two_rows(tmp_path, content, lines):
    seen = attempt(tmp_path, content, commit=False, accounts="SELECT id AS external_id, name FROM crm")
    assert seen.batch.status == ImportBatch.Status.PREVIEWED
    assert [(one["query"], one["count"], one["examples"]) for one in seen.batch.warnings] == (
        [("files", len(lines), [f"line {line}" for line in lines])] if lines else []
    )
    for one in seen.batch.warnings:
        assert one["warning"].startswith(f"crm.csv: the value in line {lines[0]} goes over several lines")


def test_values_over_several_lines_are_told_per_file(tmp_path, capsys):
    content = 'id,name\nA-1,"One\nA-2,5"\n'
    for name in ("crm.csv", "more.csv"):
        (tmp_path / name).write_text(content)
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe(["crm.csv", "more.csv"], accounts="SELECT id AS external_id, name FROM crm"))
    call_command("import_accounts", str(path), json=True)
    told = json.loads(capsys.readouterr().out)["warnings"]
    assert [one["warning"].partition(" goes")[0] for one in told] == [
        "crm.csv: the value in line 2", "more.csv: the value in line 2",
    ]  # fmt: skip
