"""Assignments for other systems: every column, plain numbers, harmless text."""

import csv
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from django.core.management import CommandError, call_command
from segmenting import BY_ARR, account, layer_with, recompute
from waiting import PATIENCE

from accounts.models import Csm
from segmentation.models import Layer

COLUMNS = [
    "external_id", "layer", "computed_segment", "effective_segment", "composite", "score_worth", "score_behaviour",
    "provisional", "provisional_until", "unsegmented_reason", "thin_data", "definition", "computed_at",
]  # fmt: skip


@pytest.fixture
def world(db):
    layer_with()
    layer_with(BY_ARR, key="arr", policy="automatic")
    carl = Csm.objects.create(email="carl@example.com", name="Carl")
    account("acme", name="Acme", csm=carl, arr=120_000, employees=2_000, usage={"nps": 60, "tickets_90d": 0})
    account("new", arr=30_000, contract_start=date(2026, 5, 22))
    account("=cmd|' /C calc'!A0")
    account("churned", arr=1, status="churned")
    recompute()


def export(*arguments):
    out = io.StringIO()
    call_command("export_assignments", *arguments, stdout=out)
    return out.getvalue()


def test_csv(world):
    text = export("--layer", "tier")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == COLUMNS
    assert list(rows[0].values()) == [
        "acme", "tier", "high", "high", "5.000000000000", "5.000000000000", "5.000000000000",
        "false", "", "", "false", "1", "2026-06-01",
    ]  # fmt: skip
    assert list(rows[1].values()) == [
        "new", "tier", "low", "low", "3.000000000000", "3.000000000000", "", "true", "2026-06-21", "", "false", "1",
        "2026-06-01",
    ]  # fmt: skip
    assert rows[2]["external_id"] == "'=cmd|' /C calc'!A0"
    assert (rows[2]["computed_segment"], rows[2]["unsegmented_reason"]) == ("", "no facts:worth")
    assert len(rows) == 3


def test_json_lines(world):
    rows = [json.loads(line) for line in export("--format", "jsonl").splitlines()]
    assert {(row["external_id"], row["layer"]) for row in rows} >= {("acme", "tier"), ("acme", "arr")}
    assert len(rows) == 6
    acme = next(row for row in rows if (row["external_id"], row["layer"]) == ("acme", "tier"))
    assert list(acme) == COLUMNS
    assert (acme["composite"], acme["provisional"], acme["thin_data"], acme["definition"]) == (
        5.0,
        False,
        False,
        1,
    )
    arr = next(row for row in rows if (row["external_id"], row["layer"]) == ("new", "arr"))
    assert (arr["effective_segment"], arr["composite"], arr["score_worth"]) == ("tech", None, None)


def test_one_row_an_account(world):
    rows = list(csv.reader(io.StringIO(export("--wide"), newline="")))
    who = ["external_id", "account_name", "account_csm", "account_arr", "account_currency"]
    assert rows == [
        [*who, "arr", "arr_provisional", "arr_reason", "tier", "tier_provisional", "tier_reason"],
        ["acme", "Acme", "carl@example.com", "120000.00", "USD", "high", "false", "", "high", "false", ""],
        ["new", "", "", "30000.00", "USD", "tech", "false", "", "low", "true", ""],
        ["'=cmd|' /C calc'!A0", "", "", "", "", "", "false", rows[3][7], "", "false", "no facts:worth"],
    ]
    assert export("--wide", "--layer", "tier").splitlines()[0] == ",".join(
        [*who, "tier", "tier_provisional", "tier_reason"]
    )
    assert json.loads(export("--wide", "--format", "jsonl").splitlines()[1]) == {
        "external_id": "new", "account_name": "", "account_csm": None, "account_arr": "30000.00",
        "account_currency": "USD", "arr": "tech", "arr_provisional": False, "arr_reason": None, "tier": "low",
        "tier_provisional": True, "tier_reason": None,
    }  # fmt: skip


def test_to_a_file(world, tmp_path):
    path = tmp_path / "out.csv"
    export("--out", str(path))
    assert path.read_bytes().decode() == export()
    assert [one.name for one in tmp_path.iterdir()] == ["out.csv"]
    with pytest.raises(CommandError, match="cannot be written"):
        export("--out", str(tmp_path / "missing" / "out.csv"))


def test_to_a_pipe(world, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        export("--out", str(pipe))
        assert read.result(timeout=PATIENCE).decode() == export()
    assert pipe.is_fifo()


def test_before_anything_was_computed(db):
    assert (
        export()
        == "external_id,layer,computed_segment,effective_segment,composite,provisional,provisional_until,"
        "unsegmented_reason,thin_data,definition,computed_at\r\n"
    )
    Layer.objects.create(key="bare", name="Bare")
    assert export("--wide").endswith(",bare,bare_provisional,bare_reason\r\n")


def test_refusals(world):
    with pytest.raises(CommandError, match="There is no segmentation 'nope'"):
        export("--layer", "nope")
    with pytest.raises(CommandError, match="invalid choice"):
        export("--format", "xml")
