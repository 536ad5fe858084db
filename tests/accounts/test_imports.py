"""The effect of an import on what is known: ledgers, provenance, history, and nothing twice."""

import datetime
from decimal import Decimal

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from importing import GOOD, attempt

from accounts import imports
from accounts.models import Account, Csm, ImportBatch, Subscription, Usage

pytestmark = pytest.mark.django_db

Status = ImportBatch.Status
EVERYTHING = {
    "crm.csv": "id,name,csm,parent,nps,since\n"
    "007,Seven,jane.doe@example.com,,41,2024-02-29\n"
    "A-1,One,jane.doe@example.com,007,,2025-01-01\n"
    "A-2,Two,,A-1,-100,\n",
    "billing.csv": "id,sub,product,start,end,arr,seats\n"
    "007,S-1,Core,2024-02-29,,100000.01,10\n"
    "007,S-2,Extra,2026-01-01,2027-01-01,50.5,\n"
    "A-1,S-1,Core,2025-01-01,,7,\n",
    "product.csv": "id,product,day,users,logins\n"
    "007,,2026-06-01,9,20\n007,Core,2026-06-01,8,\n007,,2026-06-29,10,\nA-1,,2020-01-01,,3\n",
    "events.csv": "id,what,day\n007,first_workflow,2024-05-01\nA-2,executive_escalation,2026-07-01\n",
}
SQL = {
    "accounts": "SELECT id AS external_id, name, csm, parent, nps, since AS contract_start FROM crm",
    "subscriptions": "SELECT id AS external_id, sub AS subscription_id, product, start AS start_date, "
    '"end" AS end_date, arr, seats AS seats_licensed FROM billing',
    "usage": "SELECT id AS external_id, product, day AS observed_at, users AS active_users, "
    "logins AS login_days_30d FROM product",
    "signals": "SELECT id AS external_id, what AS signal, day AS at FROM events",
}


def history():
    """(model, type, channel, label) of every history row, oldest first."""
    return [
        (model.__name__, row.history_type, row.history_channel, row.history_user_label)
        for model in (Account, Csm, Subscription)
        for row in model.history.order_by("history_date", "history_id")
    ]


def test_everything_once(tmp_path):
    done = attempt(tmp_path, EVERYTHING, **SQL)
    assert done.said == ""
    assert [done.ledger(query) for query in SQL] == [
        (3, 3, 0, 0, 0),
        (3, 3, 0, 0, 0),
        (4, 2, 2, 0, 0),  # the NPS of the CRM made a row for 007 already
        (2, 2, 0, 0, 0),
    ]
    seven, one, two = Account.objects.order_by("external_id")
    assert (seven.external_id, one.parent, two.parent, two.csm) == ("007", seven, one, None)
    assert (one.csm.name, one.csm.email) == ("Jane Doe", "jane.doe@example.com")
    assert (seven.kind, seven.status, seven.currency) == ("customer", "active", "USD")
    assert seven.provenance["contract_start"] == ["import", "2026-06-30"]
    assert "csm" not in two.provenance
    assert {each.arr for each in Subscription.objects.all()} == {
        Decimal("100000.01"),
        Decimal("50.5"),
        Decimal(7),
    }
    usage = Usage.objects.get(account=seven, product=None)
    # Each fact's newest observation stays; the later row of the same source says that logins are not known any more.
    assert (usage.active_users, usage.login_days_30d, usage.nps) == (10, None, 41)
    assert usage.provenance["active_users"] == ["import", "2026-06-29"]
    assert Usage.objects.get(account=seven, product__key="Core").active_users == 8
    assert {warning["warning"]: warning["count"] for warning in done.batch.warnings} == {
        "usage before the account's first subscription": 1,
        "event dated after the import's date": 1,
    }


def test_twice_changes_nothing_and_writes_no_history(tmp_path):
    attempt(tmp_path, EVERYTHING, **SQL)
    before = history()
    again = attempt(tmp_path, EVERYTHING, **SQL)
    assert [again.ledger(query) for query in SQL] == [
        (3, 0, 0, 3, 0),
        (3, 0, 0, 3, 0),
        (4, 0, 0, 4, 0),
        (2, 0, 0, 2, 0),
    ]
    assert history() == before


def test_history_says_who_how_and_why(tmp_path):
    first = attempt(tmp_path, EVERYTHING, **SQL)
    assert history() == [
        *[("Account", "+", "import", "ops")] * 3,
        ("Csm", "+", "import", "ops"),
        *[("Subscription", "+", "import", "ops")] * 3,
    ]
    changed = EVERYTHING | {
        "crm.csv": EVERYTHING["crm.csv"].replace("One", "Uno").replace(",A-1,-100", ",007,-100")
    }
    second = attempt(tmp_path, changed, **SQL)
    assert second.ledger() == (3, 0, 2, 1, 0)
    one = Account.objects.get(external_id="A-1")
    newest, oldest = one.history.order_by("-history_date")
    assert (oldest.name, newest.name, newest.history_type) == ("One", "Uno", "~")
    assert (oldest.history_run, newest.history_run) == (first.batch.pk, second.batch.pk)
    assert newest.history_change_reason == f"Import {second.batch.pk}: test"
    assert newest.diff_against(oldest).changed_fields == ["name"]
    assert (
        Account.objects.get(external_id="A-2").history.first().parent_id
        == Account.objects.get(external_id="007").pk
    )


def test_a_newer_observation_of_the_same_value_is_fresher_without_history(tmp_path):
    attempt(tmp_path)
    later = attempt(tmp_path, at=datetime.date(2026, 7, 31))
    assert later.ledger() == (2, 0, 0, 2, 0)
    assert Account.objects.first().provenance["arr"] == ["import", "2026-07-31"]
    assert Account.history.count() == 2


def test_an_older_export_does_not_overwrite_a_newer_one(tmp_path):
    attempt(tmp_path)
    late = attempt(tmp_path, GOOD.replace("1000", "1"), at=datetime.date(2026, 5, 31))
    assert late.ledger() == (2, 0, 0, 2, 0)
    assert late.batch.warnings[0]["warning"].startswith("older than what is known already")
    assert Account.objects.get(external_id="A-1").arr == 1000


@pytest.mark.parametrize("commit", [False, True])
def test_an_export_of_a_day_to_come_is_refused(tmp_path, commit):
    """It would be newer than all that is imported until then, and stay."""
    today = timezone.localdate()
    attempt(tmp_path, at=today)
    later = attempt(tmp_path, GOOD.replace("1000", "1"), at=today + datetime.timedelta(days=1), commit=commit)
    assert later.batch.status == Status.FAILED
    assert f"as_of is {today + datetime.timedelta(days=1)}, a day still to come" in later.said
    assert Account.objects.get(external_id="A-1").arr == 1_000


@pytest.mark.parametrize(("source", "kept"), [("import", None), ("enrichment", Decimal(1000))])
def test_an_empty_cell_clears_only_what_the_same_source_said(tmp_path, source, kept):
    attempt(tmp_path)
    attempt(tmp_path, GOOD.replace("1000", ""), source_system=source)
    assert Account.objects.get(external_id="A-1").arr == kept


def test_columns_that_are_not_given_are_left_alone(tmp_path):
    attempt(tmp_path, GOOD.replace("name", "status").replace("One", "paused").replace("Two", "active"),
            accounts="SELECT id AS external_id, status, arr FROM crm")  # fmt: skip
    attempt(tmp_path)
    assert Account.objects.get(external_id="A-1").status == "paused"


def test_rows_that_are_not_in_the_file_are_left_alone(tmp_path):
    attempt(tmp_path)
    attempt(tmp_path, "id,name,arr\nA-2,Two,5\n")
    assert Account.objects.get(external_id="A-1").arr == 1000


def test_a_preview_counts_the_same_and_writes_nothing(tmp_path):
    preview = attempt(tmp_path, EVERYTHING, commit=False, **SQL)
    assert preview.batch.status == Status.PREVIEWED
    assert not Account.objects.exists()
    assert not history()
    commit = attempt(tmp_path, EVERYTHING, **SQL)
    assert (preview.batch.queries, preview.batch.files) == (commit.batch.queries, commit.batch.files)
    assert preview.batch.warnings == commit.batch.warnings


def test_good_rows_may_be_imported_without_the_rejected_ones(tmp_path):
    bad = GOOD + "A-3,Three,x\nA-4,Four\nA-2,Two,2000.50\n"
    refused = attempt(tmp_path, bad)
    assert refused.batch.status == Status.PREVIEWED
    assert not Account.objects.exists()
    done = attempt(tmp_path, bad, skip_rejected=True)
    assert done.batch.status == Status.COMMITTED
    assert [done.batch.files[0][name] for name in ("lines", "read", "rejected")] == [5, 4, 1]
    assert done.ledger() == (4, 2, 0, 0, 2)
    assert [row[:3] for row in done.rejected] == [
        ("crm", 5, ""), ("accounts", "A-3", "arr"), ("accounts", "A-2", "external_id"),
    ]  # fmt: skip
    assert Account.objects.get(external_id="A-2").name == "Two"


def test_rejected_rows_are_a_file_that_a_spreadsheet_may_open(tmp_path):
    refused = attempt(tmp_path, "id,name,arr\nA-1,One,=1+1\n")
    lines = list(imports.rejected_csv(refused.batch))
    assert lines == [
        "origin,file,line,external_id,subscription_id,column,value,reason,hint\r\n",
        "accounts,crm.csv,2,A-1,,arr,'=1+1,not a number,\r\n",
    ]


NOTATIONS = [  # options of the source, a cell, the fact, the value
    ({}, '"1234.5"', "arr", Decimal("1234.5")),
    ({}, "0.1", "arr", Decimal("0.1")),
    ({}, ".5", "feature_adoption", Decimal("0.5")),
    ({"decimal": ","}, '"1.234,5"', "arr", Decimal("1234.5")),
    ({"decimal": ","}, "1234", "arr", Decimal(1234)),
    ({"decimal": "1,23,456.78"}, '"1,00,000"', "arr", Decimal(100_000)),
    ({"decimal": "1,234.56"}, '"1,234,567.89"', "arr", Decimal("1234567.89")),
    ({"decimal": "1 234,56"}, '"12 345,6"', "arr", Decimal("12345.6")),
    ({"dates": "DD/MM/YYYY"}, "03/04/2025", "contract_start", datetime.date(2025, 4, 3)),
    ({"dates": "%m/%d/%Y"}, "03/04/2025", "contract_start", datetime.date(2025, 3, 4)),
    ({"columns": {"x": "DD.MM.YY"}}, "3.4.25", "contract_start", datetime.date(2025, 4, 3)),
    ({}, "2025-04-03T23:59:59", "contract_start", datetime.date(2025, 4, 3)),
    ({}, "2025-04-03T23:59:59+02:00", "contract_start", datetime.date(2025, 4, 3)),
    ({"columns": {"x": "date"}}, "2025-04-03 10:00", "contract_start", datetime.date(2025, 4, 3)),
    ({}, "00123", "region", "00123"),
    ({}, "12345678901234567890", "region", "12345678901234567890"),
    ({}, "12.50", "region", "12.50"),
    ({"columns": {"x": "text"}}, "12.50", "region", "12.50"),
    ({}, "eur", "currency", "EUR"),
    ({}, "Paused", "status", "paused"),
    ({}, "TRUE", "excluded", True),
    ({}, '"a ""quoted"" word,\nand a line"', "region", 'a "quoted" word,\nand a line'),
    ({"encoding": "cp1252"}, "Zürich".encode("cp1252"), "region", "Zürich"),
    ({"delimiter": ";"}, "a,b", "region", "a,b"),
    ({"delimiter": "tab"}, "a,b", "region", "a,b"),
]


@pytest.mark.parametrize(("options", "cell", "fact", "value"), NOTATIONS)
def test_notation(tmp_path, settings, options, cell, fact, value):
    settings.FIXED = settings.FIXED | {
        "time_zone": "UTC"
    }  # a time with an offset is of the organisation's day
    mark = {"tab": b"\t"}.get(options.get("delimiter"), options.get("delimiter", ",").encode())
    cell = cell if isinstance(cell, bytes) else cell.encode()
    content = b"id" + mark + b"x\r\nA-1" + mark + cell + b"\r\n"
    done = attempt(
        tmp_path,
        {"crm.csv": content},
        crm=options,
        accounts=f"SELECT id AS external_id, x AS {fact} FROM crm",
    )
    assert done.everything == ""
    account = Account.objects.get()
    holder = account if hasattr(account, fact) else account.usage.get()
    assert getattr(holder, fact) == value


def test_a_byte_order_mark_is_no_part_of_the_first_header(tmp_path):
    assert attempt(tmp_path, {"crm.csv": b"\xef\xbb\xbf" + GOOD.encode()}).said == ""


def test_what_spreadsheets_write_is_read(tmp_path):
    """Excel's first line, columns without a name at the right end, cells of several lines, Windows line ends."""
    text = 'sep=;\nid;name;arr;;\nA-1;"One, Inc.;\n5, Main St;\nBerlin";"1.234,56";;\nA-2;Zwei;2,5;;\n'
    content = text.replace("\n", "\r\n").encode("cp1252")
    done = attempt(
        tmp_path, {"crm.csv": content}, crm={"encoding": "cp1252", "delimiter": ";", "decimal": ","}
    )
    assert (done.said, done.ledger()) == ("", (2, 2, 0, 0, 0))
    assert list(Account.objects.values_list("external_id", "arr").order_by("pk")) == [
        ("A-1", Decimal("1234.56")),
        ("A-2", Decimal("2.50")),
    ]


def test_an_address_of_several_lines_is_no_unclosed_quote(tmp_path):
    done = attempt(tmp_path, 'id,name,arr\nA-1,"Main St 5,\nBuilding 2, Floor 3, x\nBerlin, Germany",5\n')
    assert (done.said, done.ledger()) == ("", (1, 1, 0, 0, 0))


def test_whole_numbers_of_any_width(tmp_path):
    sql = "SELECT id AS external_id, EXTRACT(YEAR FROM day) AS employees, EXTRACT(YEAR FROM day) AS arr FROM crm"
    done = attempt(tmp_path, "id,day\nA-1,2024-05-01\n", accounts=sql)
    assert (done.said, Account.objects.get().employees, Account.objects.get().arr) == ("", 2024, 2024)


def test_what_the_reasons_advise_works(tmp_path):
    sql = """SELECT id AS external_id, NULLIF(REPLACE(price, '$', ''), 'N/A') AS arr,
                    REPLACE(share, '%', '') / 100 AS feature_adoption FROM crm"""
    done = attempt(tmp_path, "id,price,share\nA-1,$5.50,40%\nA-2,N/A,\n", accounts=sql)
    assert done.said == ""
    assert list(Account.objects.order_by("pk").values_list("arr", flat=True)) == [Decimal("5.50"), None]
    assert Usage.objects.get().feature_adoption == Decimal("0.4")


def test_a_million_dollars_are_rounded_as_on_paper(tmp_path):
    attempt(tmp_path, "id,name,arr\nA-1,One,1000000.005\n")
    assert Account.objects.get().arr == Decimal("1000000.01")


def test_an_account_in_another_currency_keeps_it(tmp_path):
    sql = "SELECT id AS external_id, currency, arr FROM crm"
    attempt(tmp_path, "id,currency,arr\nA-1,EUR,5\nA-2,,6\n", accounts=sql, currency="GBP")
    assert dict(Account.objects.values_list("external_id", "currency")) == {"A-1": "EUR", "A-2": "GBP"}


def test_an_excluded_account_always_has_a_reason(tmp_path):
    sql = "SELECT id AS external_id, excluded FROM crm"
    attempt(tmp_path, "id,excluded\nA-1,TRUE\nA-2,\n", accounts=sql, source_system="crm")
    assert list(Account.objects.order_by("external_id").values_list("excluded", "exclusion_reason")) == [
        (True, "Excluded in crm"), (False, ""),
    ]  # fmt: skip


def test_unknown_parents_are_warned_of(tmp_path):
    sql = "SELECT id AS external_id, parent FROM crm"
    done = attempt(tmp_path, "id,parent\nA-1,A-1\nA-2,nobody\n", accounts=sql)
    assert (done.said, done.batch.warnings[0]["count"]) == ("", 2)


def test_what_happens_to_an_import_by_its_status(tmp_path):
    done = attempt(tmp_path).batch
    for verb in (imports.preview, imports.commit, imports.give_up):
        with pytest.raises(imports.Refused, match="Imported"):
            verb(done)
    preview = attempt(tmp_path, commit=False).batch
    imports.give_up(preview)
    with pytest.raises(imports.Refused, match="Given up"):
        imports.commit(preview)


CELLS = st.one_of(
    st.sampled_from(["", "A-1", "A-2", "007", "1", "-1", "2.5", "NaN", "1,5", "2025-01-01", "x"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
)
ROWS = st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=8)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_no_row_is_lost_between_the_ledgers(tmp_path, rows):
    """Every line is read or rejected, every row created, updated, unchanged or rejected; and each rejection is told."""
    text = "id,name,arr\n" + "".join(
        ",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows
    )
    held = Account.objects.count()
    done = attempt(tmp_path, text, skip_rejected=True)
    if done.batch.status == Status.FAILED:
        assert done.said
        assert Account.objects.count() == held
        return
    [file] = done.batch.files
    total, created, updated, unchanged, rejected = done.ledger()
    assert file["lines"] == len(rows) == file["read"] + file["rejected"]
    assert total == file["read"] == created + updated + unchanged + rejected
    assert len(done.rejected) == file["rejected"] + rejected
    assert Account.objects.count() == held + created


def test_money_in_another_currency_is_imported_with_a_warning(tmp_path):
    files = {"crm.csv": "id,arr,cur\nA,100,EUR\nB,100,USD\n"}
    done = attempt(tmp_path, files, accounts="SELECT id AS external_id, arr, cur AS currency FROM crm")
    assert done.ledger("accounts") == (2, 2, 0, 0, 0)
    [warning] = done.batch.warnings
    assert warning["warning"].startswith("money in another currency than USD")
    assert (warning["count"], warning["examples"]) == (1, ["A"])
