"""Recipe SQL: what it may say, and that it counts exactly."""

import datetime
from decimal import Decimal

import polars as pl
import pytest

from accounts.imports import queries
from accounts.imports.errors import ImportFault

AS_OF = datetime.date(2026, 6, 30)
FRAMES = {
    "crm": pl.DataFrame(
        {
            "id": [1, 2, 3],
            "n": [1, 0, 7],
            "text": ["01/02/2024", "b", None],
            "day": [datetime.date(2026, 6, 1), datetime.date(2026, 1, 1), None],
            "Closed On": ["a", "b", "c"],
            "End": [1, 2, 3],
            "empty": pl.Series([None, None, None], dtype=pl.Null),
            "price": pl.Series([Decimal("29.10"), Decimal("79.05"), None], dtype=pl.Decimal(38, 6)),
        }
    ),
}
REFUSED = [
    ("SELECT * FROM read_csv('/etc/passwd')", "may not use READ_CSV"),
    ("SELECT * FROM '/etc/passwd'", "no source '/etc/passwd'"),
    ('SELECT * FROM "/etc/passwd"', "no source '/etc/passwd'"),
    ("SELECT * FROM crm JOIN read_parquet('x') p ON true", "may not"),
    ("SELECT * FROM range(1000000000)", "may not"),
    ("SELECT * FROM generate_series(1, 1000000000)", "may not"),
    ("SELECT * FROM unnest([1, 2]) AS t", "may not"),
    ("SELECT * FROM (VALUES (1)) AS t", "may not"),
    ("SELECT (SELECT MAX(x) FROM read_csv('/etc/passwd')) FROM crm", "may not use READ_CSV"),
    ("WITH t AS (SELECT * FROM scan_csv('x')) SELECT * FROM t", "may not"),
    ("SELECT read_csv('/etc/passwd') FROM crm", "may not use READ_CSV"),
    ("SELECT * FROM pg_catalog.pg_user", "may not read from"),
    ("SELECT * FROM customers", "no source 'customers'"),
    ("SELECT * FROM crmm", "did you mean crm?"),
    ("WITH crm AS (SELECT 1) SELECT * FROM crm", "already the name of a source"),
    ("WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a FROM t) SELECT * FROM t", "recursive"),
    ("SELECT 1 UNION SELECT 2", "one SELECT"),
    ("DROP TABLE crm", "one SELECT"),
    ("SELECT 1; DROP TABLE crm", "one SELECT"),
    ("SELECT * INTO x FROM crm", "may not use"),
    ("SELECT CAST(text AS DATE) FROM crm", "may not turn text into a date"),
    ("SELECT text::date FROM crm", "may not turn text into a date"),
    ("SELECT TRY_CAST(text AS TIMESTAMP) FROM crm", "may not turn text into a date"),
    ("SELECT CAST('01/02/2024' AS DATE) FROM crm", "may not turn text into a date"),
    ("SELECT DATE(text) FROM crm", "may not turn text into a date"),
    ("SELECT strptime(text, '%m/%d/%Y') FROM crm", "may not turn text into a date"),
    ("SELECT datetime(text) FROM crm", "may not turn text into a date"),
    ("SELECT to_timestamp(text, 'x') FROM crm", "may not turn text into a date"),
    ("SELECT LPAD(text, 1000000000, 'x') FROM crm", "may not use LPAD"),
    ("SELECT RPAD(text, n, 'x') FROM crm", "may not use RPAD"),
    ("SELECT NOW() FROM crm", ":as_of is the import's date"),
    ("SELECT id FROM crm WHERE day < CURRENT_DATE", ":as_of is the import's date"),
    ("SELECT RANDOM() FROM crm", "may not use"),
    ("SELECT id, n AS id FROM crm", "gives the column 'id' twice"),
    ("SELECT ID FROM crm", 'The accounts query: there is no column "ID"; did you mean "id"? There are: id, n, text, day,'),
    ("SELECT c.prize FROM crm c", 'no column in c "prize"; did you mean "price"? There are: id, n, text'),
    ("WITH t AS (SELECT id AS key, n FROM crm) SELECT t.kye FROM t JOIN crm c ON c.id = t.key",
     'no column in t "kye"; did you mean "key"? There are: key, n.'),
    ("SELECT id FROM crm WHERE zzzz = 1", 'there is no column "zzzz". There are: id, n'),
    ("SELECT cmr.id FROM crm c JOIN crm ON crm.id = c.id", 'no source or alias "cmr"; did you mean "crm"? There are: c, crm.'),
    ("SELECT id FROM Crm", "did you mean crm?"),
    ("SELECT Closed On AS day FROM crm", 'in double quotes: "Closed On"'),
    ("SELECT id FROM crm WHERE day - DATE '2026-01-01' > 30", "compare dates with dates"),
    ("SELECT id FROM crm WHERE (:as_of - day) > 30", "compare dates with dates"),
    ("SELECT :today FROM crm", "unknown placeholder :today"),
    ("SELECT AVG(DISTINCT n) FROM crm", "instead of this AVG"),
    ("SELECT " + "(" * 300 + "1" + ")" * 300 + " FROM crm", "too deeply"),
    ("SELECT " + "(" * 10_000 + "1" + ")" * 10_000 + " FROM crm", "too deeply"),
    ("SELECT 1 FROM crm -- " + "x" * 50_000, "longer than"),
    ("SELECT 'unclosed FROM crm", "not readable SQL"),
    ("SELECT a.id FROM crm a JOIN crm b ON a.id = b.text", "declared as text in both"),
    ("SELECT LOWER(empty) + ROUND(empty, 2) FROM crm", "empty is empty: declare its type"),
]  # fmt: skip
RESULTS = [
    ("SELECT n / 3 AS x FROM crm WHERE id = 1", Decimal("0.333333333333")),
    ("SELECT n / 0 AS x FROM crm WHERE id = 1", None),
    ("SELECT 1 / n / 4 AS x FROM crm WHERE id = 3", Decimal("0.035714285714")),
    ("SELECT (1 - n / 100) * 100 AS x FROM crm WHERE id = 3", Decimal("93")),
    ("SELECT AVG(n) AS x FROM crm", Decimal("2.666666666667")),
    ("SELECT AVG(n / 2) AS x FROM crm", Decimal("1.333333333333")),
    ("SELECT SUM(12 * price * (1 - 15 / 100)) AS x FROM crm", Decimal("1103.13")),
    ("SELECT price * 0.1 AS x FROM crm WHERE id = 1", Decimal("2.91")),
    ("SELECT COUNT(*) AS x FROM crm WHERE day > :as_of - INTERVAL '30 days'", 1),
    ("SELECT MAX(CAST(day AS DATE)) AS x FROM crm", datetime.date(2026, 6, 1)),
    ("SELECT :as_of AS x FROM crm LIMIT 1", AS_OF),
    ("SELECT :as_of - day AS x FROM crm WHERE id = 1", datetime.timedelta(days=29)),
    ("WITH t AS (SELECT id FROM crm UNION ALL SELECT id FROM crm) SELECT COUNT(*) AS x FROM t", 6),
    ("SELECT LOWER(empty) AS x FROM crm WHERE id = 1", None),
    ("SELECT empty + INTERVAL '1 day' AS x FROM crm WHERE id = 1", None),
    ("SELECT SUM(empty) AS x FROM crm", None),
    ("SELECT COUNT(b.id) AS x FROM crm a LEFT JOIN crm b ON b.id = a.empty", 0),
    ("SELECT End AS x FROM crm WHERE id = 1", 1),
    ("SELECT (SELECT MAX(b.n) FROM crm b WHERE b.id = a.id) AS x FROM crm a WHERE a.id = 3", 7),
    ("SELECT x FROM (SELECT COUNT(DISTINCT n) AS x FROM crm) AS t", 3),
]


@pytest.mark.parametrize(("sql", "said"), REFUSED)
def test_refused(sql, said):
    with pytest.raises(ImportFault, match=said.replace("(", r"\(").replace("?", r"\?")):
        queries.run("accounts", queries.prepare("accounts", sql, FRAMES, AS_OF), FRAMES, {})


@pytest.mark.parametrize(("sql", "value"), RESULTS)
def test_result(sql, value):
    found = queries.run("accounts", queries.prepare("accounts", sql, FRAMES, AS_OF), FRAMES, {})
    assert found["x"].to_list() == [value]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a.k, a.v FROM some a LEFT JOIN others b ON b.k = a.k",
        "SELECT a.k, b.v FROM some a JOIN others b ON b.k = a.k",
        "SELECT k, SUM(v) AS v FROM some GROUP BY k",
    ],
)
def test_rows_come_in_the_same_order_each_time(sql):
    """The first of two rows with one key is imported: it must be the one that the preview showed."""
    frames = {
        "some": pl.DataFrame({"k": [f"a{n * 7919 % 5000}" for n in range(20_000)], "v": range(20_000)}),
        "others": pl.DataFrame({"k": [f"a{n * 31 % 6000}" for n in range(6_000)], "v": range(6_000)}),
    }
    ready = queries.prepare("accounts", sql, frames, AS_OF)
    first, *others = [queries.run("accounts", ready, frames, {}).rows() for _ in range(6)]
    assert all(one == first for one in others)


def test_the_order_of_the_file_and_the_one_asked_for_stay():
    frames = {"crm": pl.DataFrame({"id": [3, 1, 2]})}
    for sql, expected in (
        ("SELECT id AS x FROM crm WHERE id <> 1", [3, 2]),
        ("SELECT a.id AS x FROM crm a JOIN crm b ON a.id = b.id ORDER BY a.id DESC", [3, 2, 1]),
    ):
        found = queries.run("accounts", queries.prepare("accounts", sql, frames, AS_OF), frames, {})
        assert found["x"].to_list() == expected


def test_the_place_is_told():
    with pytest.raises(ImportFault, match=r"line 2, column \d+"):
        queries.prepare("accounts", "SELECT id\nFROM crmm", FRAMES, AS_OF)
