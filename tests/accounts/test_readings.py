"""Readings of files: each kind of fault that people met, told or taken for what it is, with its siblings."""

import gzip
from datetime import date
from decimal import Decimal

import pytest
import yaml
from reading import Reading

from accounts import exports
from accounts.imports import notation

HEAD = "id,name,arr\n"


def amounts(cell, **options):
    quoted = '"' + cell.replace('"', '""') + '"'
    return Reading(f"{HEAD}A-1,One,{quoted}\n", **options)


# -- numbers

NO_GROUPS = [  # a declared notation, what is none of its numbers
    (",", "0.900"),
    (",", "00.125"),
    (",", "0.900,5"),
    (",", "00,125"),
    ("1,234.56", "0,125"),
    ("1,234.56", "01,125"),
    ("1,23,456.78", "0,12,345"),
    ("1 234,56", "0 125"),
    ("$1,234.56", "$0,125"),
    (",", "-0.900"),
    ("1,234.56", "\u22120,125"),
]


@pytest.mark.parametrize(("declared", "cell"), NO_GROUPS)
def test_no_group_of_digits_begins_with_nothing(declared, cell):
    assert notation.read(cell, notation.decimals(declared, "")) is None
    read = amounts(cell, crm={"columns": {"arr": {"decimal": declared}}})
    assert read.rejected == [("crm", 2, "A-1", "arr", "not a number as declared")]


WRITTEN = [  # a cell, the sample that takes it, its number
    ("$12,500", "$1,234.56", 12500),
    ("-$12,500.5", "$1,234.56", Decimal("-12500.5")),
    ("€ 1.234,50", "€1.234,56", Decimal("1234.5")),
    ("1.234,50 kr", "1.234,56kr", Decimal("1234.5")),
    ("12 500", "1 234.56", 12500),
    ("12\u202f500", "1 234.56", 12500),
    ("1\u2019234.50", "1'234.56", Decimal("1234.5")),
    ("(1,234)", "(1,234.56)", -1234),
    ("1234-", "1234.56-", -1234),
    ("85%", "1234.56%", Decimal("0.85")),
    ("12,5 %", "1.234,56%", Decimal("0.125")),
    ("1.2M", "1234.56M", 1_200_000),
    ("3bn", "1234.56bn", 3_000_000_000),
    ("1,2k", "1.234,56k", 1_200),
    ("1,00,000", "1,23,456.78", 100_000),
]


@pytest.mark.parametrize(("cell", "sample", "number"), WRITTEN)
def test_the_advice_about_a_number_works(cell, sample, number):
    """A hint that is followed leads to the number, not to another hint."""
    cell = f"{cell}"
    [refused] = amounts(cell).computed.rejected
    assert f'"{sample}"' in refused.hint
    assert "crm" in refused.hint
    followed = Reading(
        f'{HEAD}A-1,One,"{cell}"\n', crm={"columns": {"arr": {"decimal": sample}}},
        accounts="SELECT id AS external_id, arr AS usage_change_30d FROM crm" if number != abs(number) else
                 "SELECT id AS external_id, arr AS expansion_ratio FROM crm",
    )  # fmt: skip
    if number < -1:
        assert followed.rejected == [("crm", 2, "A-1", "usage_change_30d", "Usage change, 30 days below -1")]
    else:
        assert followed.rows()[0][1] == number


def test_a_number_that_may_be_two_is_told_with_both():
    [hint] = amounts("12,500").hints
    assert '"1,234.56"}} if this is 12500' in hint
    assert '"1.234,56"}} if this is 12.5' in hint


@pytest.mark.parametrize(("cell", "number"), [("\u22125.5", "-5.5"), ("\u20135", "-5"), ("+5", "5")])
def test_a_typographic_minus_is_a_minus(cell, number):
    sql = "SELECT id AS external_id, arr AS nps FROM crm" if "." not in cell else None
    read = amounts(cell, accounts=sql or "SELECT id AS external_id, arr FROM crm")
    if sql:
        assert read.rows() == [("A-1", int(number))]
    else:
        assert read.rejected[0][-1] == "ARR below 0"


@pytest.mark.parametrize("cell", ["1e5", "1.23E+12"])
def test_what_a_spreadsheet_has_shortened_is_said(cell):
    assert "a spreadsheet has shortened it" in amounts(cell).hints[0]


# -- dates

DATES = [  # a cell, what is to be declared, the day
    ("45000", "excel", date(2023, 3, 15)),
    ("45000.75", "excel", date(2023, 3, 15)),
    ("1760000000", "epoch", date(2025, 10, 9)),
    ("1760000000123", "epoch", date(2025, 10, 9)),
    ("2026-03", "YYYY-MM", date(2026, 3, 1)),
    ("03/2026", "MM/YYYY", date(2026, 3, 1)),
    ("Mar 2026", "MMM YYYY", date(2026, 3, 1)),
    ("13/04/2025", "DD/MM/YYYY", date(2025, 4, 13)),
    ("04/13/2025", "MM/DD/YYYY", date(2025, 4, 13)),
    ("3.4.2025 9:05", "DD.MM.YYYY HH:mm", date(2025, 4, 3)),
    ("12-Mar-2026", "DD-MMM-YYYY", date(2026, 3, 12)),
    ("20260304", "YYYYMMDD", date(2026, 3, 4)),
]
SINCE = "SELECT id AS external_id, since AS contract_start FROM crm"


@pytest.mark.parametrize(("cell", "declared", "day"), DATES)
def test_the_advice_about_a_date_works(cell, declared, day):
    text = f"id,since\nA-1,{cell}\n"
    [refused] = Reading(text, accounts=SINCE).computed.rejected
    assert (refused.line, refused.column) == (2, "contract_start")
    assert f'columns: {{since: {{dates: "{declared}"}}}} at source crm' in refused.hint
    assert Reading(text, accounts=SINCE, crm={"columns": {"since": {"dates": declared}}}).rows() == [
        ("A-1", day)
    ]


def test_a_day_that_may_be_two_is_told_with_both():
    [hint] = Reading("id,since\nA-1,03/04/2025\n", accounts=SINCE).hints
    assert '"DD/MM/YYYY"}} if this is 2025-04-03' in hint
    assert '"MM/DD/YYYY"}} if this is 2025-03-04' in hint


@pytest.mark.parametrize("second", ["2026-03-03 9:05", "2026-03-03T09:05:11.5", "2026-03-03 09:05"])
def test_dates_and_times_together_are_dates(second):
    read = Reading(f"id,since\nA-1,2026-03-03\nA-2,{second}\n", accounts=SINCE)
    assert read.rows("contract_start") == [(date(2026, 3, 3),)] * 2


# -- ids and text are never numbers

TEXTS = [
    "10.1",
    "10.10",
    "417",
    "00417",
    "500.0",
    "TRUE",
    "1e5",
    "2026-01-01",
    "-0",
    "0.5",
    "12345678901234567890",
]


@pytest.mark.parametrize("others", [[], ["A-1"], ["1"], ["1.5"], ["FALSE"]])
@pytest.mark.parametrize("text", TEXTS)
def test_an_id_is_what_the_file_says_whatever_else_is_in_it(text, others):
    """Also where it goes through a common table, a join and a union; and so is a name."""
    ids = [text, *others]
    crm = "id,label\n" + "".join(f"{each},{each}\n" for each in ids)
    sql = """WITH c AS (SELECT id AS key, MAX(label) AS label FROM crm GROUP BY id UNION ALL SELECT id, label FROM crm WHERE label IS NULL)
             SELECT c.key AS external_id, COALESCE(c.label, b.account) AS name, UPPER(b.account) AS region
               FROM c LEFT JOIN billing b ON b.account = c.key"""
    read = Reading({"crm.csv": crm, "billing.csv": f"account,arr\n{text},5\n"}, accounts=sql)
    assert read.fault == ""
    assert set(read.rows("external_id", "name")) == {(each, each) for each in ids}
    assert dict(read.rows("external_id", "region"))[text] == text.upper()


def test_two_ids_that_are_one_number_are_two():
    assert Reading(HEAD + "10.1,a,1\n10.10,b,2\n").rows("external_id") == [("10.1",), ("10.10",)]


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ("CAST(id AS DECIMAL(10,0))", "1000"),
        ("CAST(id AS DECIMAL(10,2))", "1000"),
        ("CAST(id AS DOUBLE)", "1000"),
        ("CAST(id AS BIGINT)", "1000"),
        ("CAST(id AS DECIMAL(10,2)) / 8", "125"),
        ("CAST(id AS DECIMAL(10,2)) / 400", "2.5"),
    ],
)
def test_a_computed_id_loses_no_zero(made, text):
    assert Reading(HEAD + "1000,a,1\n", accounts=f"SELECT {made} AS external_id FROM crm").rows() == [(text,)]


def test_numbers_that_are_computed_with_stay_numbers():
    sql = """SELECT id AS external_id, seats AS seats_licensed, 2 * seats AS employees, CASE WHEN flag THEN 'paused' ELSE 'active' END AS status
               FROM crm WHERE seats > 1 AND NOT gone"""
    read = Reading("id,seats,flag,gone\n007,5,TRUE,FALSE\n8,1,TRUE,FALSE\n", accounts=sql)
    assert read.rows() == [("007", 5, 10, "paused")]


def test_text_that_is_computed_with_has_to_be_declared():
    sql = "SELECT id AS external_id, id * 2 AS employees FROM crm"
    assert (
        "declare columns: {id: text} at source crm, or number" in Reading("id\n10.10\n", accounts=sql).fault
    )
    assert Reading("id\n10\n", accounts=sql).rows() == [("10", 20)]


# -- twins

TWINS = HEAD + "A-1,One,1\nA-2,Two,2\nA-1,Uno,5\n"


def test_of_two_with_one_key_neither_is_taken_unless_the_recipe_says_which():
    read = Reading(TWINS)
    assert read.rows("external_id") == [("A-2",)]
    assert read.rejected == [("crm", line, "A-1", "external_id", "duplicate key") for line in (2, 4)]
    assert [hint.partition(";")[0] for hint in read.hints] == [
        "line 4 of crm says something else", "line 2 of crm says something else",
    ]  # fmt: skip
    assert "twins: {accounts: last}" in read.hints[0]


@pytest.mark.parametrize(
    ("which", "name"), [("last", "Uno"), ({"largest": "arr"}, "Uno"), ({"newest": "changed"}, "One")]
)
def test_which_of_them_wins(which, name):
    text = "id,name,arr,changed\nA-1,One,1,2026-02-01\nA-2,Two,2,\nA-1,Uno,5,2026-01-01\n"
    sql = "SELECT id AS external_id, name, arr, changed FROM crm" if "newest" in which else None
    read = Reading(text, twins={"accounts": which}, **({"accounts": sql} if sql else {}))
    assert (read.fault, read.rejected) == ("", [])
    assert dict(read.rows("external_id", "name"))["A-1"] == name
    assert [(each["count"], each["examples"]) for each in read.warnings] == [(1, ["A-1"])]


def test_where_none_wins_all_are_refused():
    text = HEAD + "A-1,One,5\nA-1,Uno,5\nA-1,Un,1\n"
    assert len(Reading(text, twins={"accounts": {"largest": "arr"}}).rejected) == 3


def test_rows_that_say_the_same_are_one():
    read = Reading(HEAD + "A-1,One,1\nA-1,One,1\n")
    assert (read.rows("external_id"), read.rejected) == (
        [("A-1",)], [("crm", 3, "A-1", "external_id", "duplicate key")],
    )  # fmt: skip
    assert read.hints == ["line 2 of crm says the same"]


@pytest.mark.parametrize(
    ("twins", "said"),
    [
        ({"account": "last"}, "no query 'account'"),
        ({"accounts": "first"}, "write last, {newest: a column}"),
        ({"accounts": {"newest": "changed"}}, "gives no column 'changed'"),
        ({"accounts": {"newest": "name"}}, "neither a date nor a number"),
        ("last", "not a mapping"),
    ],
)
def test_twins_that_cannot_be_settled_so(twins, said):
    assert said in Reading(TWINS, twins=twins).fault


# -- characters nobody sees

HIDDEN = ["\u200b", "\u00ad", "\u00a0", "\ufeff", "\u2060", "\u200e", "\x07", "\u202f"]


@pytest.mark.parametrize("hidden", HIDDEN)
def test_an_id_with_a_character_nobody_sees_is_refused_and_other_text_loses_it(hidden):
    text = f"id,name,owner\nA-1,One,x@example.com\nA{hidden}-2,T{hidden}wo,y@example.com\nA-3,Th{hidden}ree,z{hidden}@example.com\n"
    read = Reading(text, accounts="SELECT id AS external_id, name, owner AS csm FROM crm")
    assert read.rejected == [
        ("crm", 3, f"A{hidden}-2", "id", "a character nobody sees"),
        ("crm", 4, "A-3", "owner", "a character nobody sees"),
    ]
    assert f"U+{ord(hidden):04X}) at character 2" in read.hints[0]
    [warning] = read.warnings
    assert "taken out of name" in warning["warning"]
    assert (warning["count"], warning["examples"]) == (2, ["line 3", "line 4"])


def test_other_text_is_as_it_is_seen_and_so_is_a_header():
    text = "i\u200bd,na\u00admoe\u0301\nA-1,Ca\u00adfe\u0301\u00a0Co\u200b\n"
    read = Reading(text, accounts='SELECT id AS external_id, "namoé" AS name FROM crm')
    assert read.rows() == [("A-1", "Café Co")]


def test_an_id_made_by_the_query_is_looked_at_too():
    read = Reading(HEAD + "A-1,o,1\n", accounts="SELECT CONCAT(id, CHR(8203)) AS external_id FROM crm")
    assert read.fault or read.rejected[0][-1] == "a character nobody sees"


def test_a_recipe_with_a_character_nobody_sees_says_where():
    said = Reading(HEAD, text="as_of: 2026-06-30\naccounts: SELECT\u200b id\n").fault
    assert "line 2: ZERO WIDTH SPACE (U+200B) at character 17" in said


@pytest.mark.parametrize("again", ["id,name,arr", "id, name ,arr", '"id","name","arr"'])
def test_a_header_that_comes_again_is_refused(again):
    read = Reading(f"{HEAD}A-1,One,1\n{again}\nA-2,Two,2\n")
    assert [(line, reason) for _, line, _, _, reason in read.rejected] == [(3, "the header again")]
    assert read.rows("external_id", "arr") == [("A-1", 1), ("A-2", 2)]


# -- quotes of our own


@pytest.mark.parametrize("name", ["=1+1 Ltd", "-5", "@home", "+49", "'=x", "''@y", "'tis", "plain"])
def test_what_our_exports_guard_comes_back_as_it_was(name):
    """However often it goes out and comes in."""
    for _ in range(3):
        text = "".join(exports.lines(["id", "name", "n"], [[name, name, 1]]))
        read = Reading(text, accounts="SELECT id AS external_id, name FROM crm")
        assert read.rows() == [(name, name)]


# -- the recipe


@pytest.mark.parametrize(
    "word", ["on", "no", "1", "yes", "off", "null", "~", "2026-01-01", "y", "0x10", "1_000"]
)
def test_a_name_in_a_recipe_is_a_name(word):
    written = f"columns: {{{word}: text, id: text}}"
    text = f'as_of: 2026-06-30\ncurrency: USD\nsources:\n  crm: {{file: crm.csv, {written}}}\naccounts: SELECT id AS external_id, "{word}" AS name FROM crm\n'
    assert Reading({"crm.csv": f"id,{word}\n1,2.50\n"}, text=text).rows() == [("1", "2.50")]


@pytest.mark.parametrize("word", ["on", "no", "order"])
def test_a_source_may_be_called_as_sql_calls_something(word):
    keys = {"as_of": "2026-06-30", "currency": "USD", "sources": {"x": {"file": "crm.csv"}}}
    text = yaml.safe_dump(keys | {"accounts": f'SELECT id AS external_id FROM "{word}"'}).replace(
        "  x:", f"  {word}:"
    )
    assert Reading("id\n1\n", text=text).rows() == [("1",)]
    bare = Reading("id\n1\n", text=text.replace(f'"{word}"', word))
    assert bare.fault == "" or f'in double quotes: "{word}"' in bare.fault


NAMES = {
    "company_name": "name", "customer_industry": "industry", "account_id": "external_id", "sector": "industry",
    "owner_email": "csm", "headcount": "employees", "total_arr": "arr", "industri": "industry",
}  # fmt: skip


@pytest.mark.parametrize(("name", "meant"), NAMES.items())
def test_an_unknown_name_leads_to_the_right_one(name, meant):
    fault = Reading(HEAD + "A,b,1\n", accounts=f"SELECT id AS external_id, name AS {name} FROM crm").fault
    assert f"did you mean {meant!r}?" in fault


TWO = {"crm.csv": "id,name\nA-1,One\n", "more.csv": "id,name\nA-2,Two\nA-1,One\n"}


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT id AS external_id, name FROM crm UNION SELECT id, name FROM more", 2),
        (
            "WITH m AS (SELECT id, name FROM more WHERE id = 'A-2') SELECT id AS external_id, name FROM crm UNION ALL SELECT * FROM m",
            2,
        ),
        ("SELECT DISTINCT ON (id) id AS external_id, name FROM more ORDER BY id", 2),
        ("SELECT DISTINCT ON (external_id) id AS external_id, name FROM more", 2),
        ("SELECT DISTINCT id AS external_id, name FROM more", 2),
    ],
)
def test_queries_people_write_are_taken(sql, rows):
    read = Reading(TWO, accounts=sql)
    assert (read.fault, len(read.rows("external_id"))) == ("", rows)


def test_the_first_of_each_is_the_one_that_was_asked_for():
    text = "id,name,day\nA-1,Old,2026-01-01\nA-2,Two,2026-01-01\nA-1,New,2026-02-01\n"
    sql = "SELECT DISTINCT ON (id) id AS external_id, name FROM crm ORDER BY id, day DESC"
    assert set(Reading(text, accounts=sql).rows()) == {("A-1", "New"), ("A-2", "Two")}
    assert (
        "needs the name of each column" in Reading(text, accounts="SELECT DISTINCT ON (id) * FROM crm").fault
    )


# -- what is no table


def test_title_lines_above_the_header_are_told_with_the_line_of_the_header():
    for title in ("Accounts of June\n\nmade by ops\n", "Report,,\n,,\nof June,,\n"):
        text = f"{title}{HEAD}A-1,One,1\nA-2,Two,2\n"
        assert "declare header: 4" in Reading(text).fault
        assert Reading(text, crm={"header": "4"}).rows("external_id") == [("A-1",), ("A-2",)]
    refused = Reading(text + "A-3,Three,x\n", crm={"header": "4"})
    assert refused.rejected == [("crm", 7, "A-3", "arr", "not a number")]


KINDS = [
    (b"PK\x03\x04rest", "a zipped file: an Excel workbook (XLSX) or an archive"),
    (b"\xd0\xcf\x11\xe0rest", "an old Excel workbook (XLS)"),
    (gzip.compress(b"id,name\n", mtime=0), "compressed with gzip"),
    (b"PAR1rest", "a Parquet file"),
    (b"<!DOCTYPE html><html>", "a web page"),
    (b'[{"id": 1}]', "JSON"),
    (b"%PDF-1.7", "a PDF"),
]


@pytest.mark.parametrize(("content", "said"), KINDS)
def test_a_file_that_is_no_text_is_told_what_it_is(content, said):
    assert f"crm.csv is no CSV file: it is {said}" in Reading({"crm.csv": content}).fault


@pytest.mark.parametrize(
    ("written", "declared", "said"),
    [
        ("cp1252", "utf-8", "encoding: cp1252"),
        ("utf-16", "utf-8", "encoding: utf-16"),
        ("utf-16-le", "utf-8", "encoding: utf-16-le"),
        ("utf-16-be", "cp1252", "encoding: utf-16-be"),
        ("utf-8", "cp1252", "its text is utf-8"),
        ("utf-8", "iso-8859-1", "its text is utf-8"),
    ],
)
def test_a_file_in_another_encoding_is_told_which(written, declared, said):
    content = (HEAD + "A-1,Zürich,1\n").encode(written)
    assert said in Reading({"crm.csv": content}, crm={"encoding": declared}).fault


# -- where a row comes from

FILES = {
    "crm.csv": "id,name\nA-1,One\nA-2,Two\nA-3,Three\n",
    "health.csv": "account,csat,day\nA-3,3,2026-01-01\nA-2,9,2026-01-02\nA-2,4,2026-01-01\n",
}
PLACED = [  # a query of the accounts, whose CSAT of A-2 is above 5: where that is said to be
    ("SELECT c.id AS external_id, h.csat FROM crm c JOIN health h ON h.account = c.id AND h.day = '2026-01-02'", None),
    ("SELECT account AS external_id, csat FROM health WHERE csat > 4", ("health", 3)),
    ("SELECT c.id AS external_id, h.csat FROM crm c LEFT JOIN health h ON h.account = c.id AND h.csat > 4", ("health", 3)),
    ("SELECT c.id AS external_id, MAX(h.csat) AS csat FROM crm c JOIN health h ON h.account = c.id GROUP BY c.id", ("health", 3)),
    ("""WITH last AS (SELECT *, ROW_NUMBER() OVER (PARTITION BY account ORDER BY day DESC) AS n FROM health)
        SELECT account AS external_id, csat FROM last WHERE n = 1""", ("health", 3)),
    ("SELECT account AS external_id, csat FROM health WHERE csat > 4 UNION ALL SELECT id, 1 FROM crm WHERE id = 'A-1'", ("health", 3)),
    ("SELECT DISTINCT account AS external_id, csat FROM health WHERE csat > 4", ("health", 3)),
    ("SELECT x.id AS external_id, x.csat FROM (SELECT account AS id, csat FROM health) AS x WHERE x.csat > 4", ("health", 3)),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "place"), PLACED)
def test_a_row_that_a_query_rejects_is_told_with_its_line(sql, place):
    read = Reading(FILES, accounts=sql)
    if place is None:
        return  # days are compared with text: refused, and told
    assert read.fault == ""
    assert read.rejected == [(*place, "A-2", "csat", "CSAT above 5")]


def test_a_sum_that_lacks_rejected_lines_is_told():
    text = "id,name,arr\nA-1,One,1\nA-1,One\nA-2,Two,2\n"
    added = Reading(text, accounts="SELECT id AS external_id, SUM(arr) AS arr FROM crm GROUP BY id")
    [warning] = added.warnings
    assert (warning["count"], warning["warning"].partition(",")[0]) == (1, "adds up lines of crm.csv")
    assert Reading(text).warnings == []


def test_the_line_travels_through_no_query_that_it_would_change():
    sql = "SELECT id AS external_id FROM crm NATURAL JOIN (SELECT account AS id FROM health WHERE csat = 3) AS h"
    for query, rows in (
        (sql, 1),
        ("SELECT * FROM (SELECT id AS external_id FROM crm UNION SELECT account FROM health) AS every", 3),
        ("SELECT id AS external_id FROM crm WHERE id IN (SELECT account FROM health)", 2),
        ("SELECT COUNT(*) AS external_id FROM (SELECT DISTINCT account FROM health) AS d", 1),
    ):
        read = Reading(FILES, accounts=query)
        assert (read.fault, len(read.rows("external_id"))) == ("", rows)
