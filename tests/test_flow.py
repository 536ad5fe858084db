"""The whole story once: from a CRM export to a segment that is explained, changed and accounted for.

The people: Priya runs CS operations. She imports what the CRM and billing know, recalculates, and asks why. Then a
customer grows and another shrinks; the value tier moves at once, the service tier when Vera has approved it. Every step
of Priya's is the command she would type; what people decide in the web admin is the verb behind its button.
"""

import csv
import datetime
import io
import json
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from governing import someone

from accounts.models import Account
from core.refusals import Refused
from governance.changes import transition_requests, transitions
from governance.models import Event, Transition
from governance.signoff import approvals
from segmentation.models import Assignment, Move

JANUARY, FEBRUARY = "2026-01-15", "2026-02-15"

RECIPE = """
as_of: {as_of}
currency: USD
source_system: crm
sources:
  crm: {{file: crm.csv}}
  usage: {{file: usage.csv}}
accounts: >
  SELECT id AS external_id, name, industry, staff AS employees, country, stage AS growth_stage, arr, terms AS contract_type,
         since AS contract_start
  FROM crm
usage: >
  SELECT id AS external_id, day AS observed_at, logins AS login_days_30d, tickets AS tickets_90d, nps FROM usage
"""
CRM = """id,name,industry,staff,country,stage,arr,terms,since
N-1,Northwind,SaaS,2400,US,growth,180000,multi-year,2023-05-01
B-2,Birchwood,Retail,60,US,mature,45000,annual renewing,2023-05-01
J-3,Juniper,SaaS,2400,US,growth,120000,multi-year,2026-01-05
M-4,Maple,,,,,,,2023-05-01
"""
USAGE = """id,day,logins,tickets,nps
N-1,2026-01-14,21,1,62
B-2,2026-01-14,4,7,12
"""


@pytest.fixture
def alone():
    """Not alone: governance is at the gates."""


@pytest.fixture
def command(real_db):
    """Type a command; what it prints, as data if it is JSON."""

    def type(name, *arguments):
        out = io.StringIO()
        call_command(name, *arguments, stdout=out, stderr=io.StringIO())
        return json.loads(out.getvalue()) if "--json" in arguments else out.getvalue()

    return type


@pytest.fixture
def export(tmp_path):
    """Write what the CRM and the product know on a day; gives the recipe that reads it."""

    def write(as_of, crm, usage):
        folder = tmp_path / as_of
        folder.mkdir()
        (folder / "crm.csv").write_text(crm)
        (folder / "usage.csv").write_text(usage)
        (folder / "recipe.yaml").write_text(RECIPE.format(as_of=as_of))
        return str(folder / "recipe.yaml")

    return write


def tier(text):
    """{account: (by the rules, in force)} on the service tier, out of an export."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return {row["external_id"]: (row["computed_segment"], row["effective_segment"]) for row in rows}


def test_from_an_export_to_explained_segments(command, export):
    # Import. Without --commit it is a preview, and nothing is there yet.
    january = export(JANUARY, CRM, USAGE)
    preview = command("import_accounts", january, "--json")
    assert not Account.objects.exists()
    done = command("import_accounts", january, "--commit", "--json")
    assert [(query["query"], query["created"]) for query in done["queries"]] == [
        ("accounts", 4),
        ("usage", 2),
    ]
    assert preview["queries"] == done["queries"]

    # Run. The segmentations come ready-made; every account is scored on each of them.
    command("load_presets")
    run = command("recompute", "--as-of", JANUARY, "--json")
    assert run["status"] == "finished"
    assert run["layers"]["service-tier"]["scanned"] == 4
    assert run["layers"]["service-tier"]["moves"] == {"initial": 3}
    assert tier(command("export_assignments", "--layer", "service-tier")) == {
        "N-1": ("high-touch", "high-touch"),
        "B-2": ("low-touch", "low-touch"),
        "J-3": ("high-touch", "high-touch"),
        "M-4": ("", ""),
    }

    # Explain. Every number is there, and the parts add up to the score.
    why = command("explain", "Northwind", "--json")
    assert (why["effective_segment"], why["rule"]["when"], why["move"]["cause"]) == (
        "high-touch",
        "composite >= 4.0",
        "initial",
    )
    parts = [Decimal(group["contribution"]) for group in why["dimensions"]]
    assert sum(parts) == Decimal(why["composite"])
    [arr] = [row for group in why["dimensions"] for row in group["criteria"] if row["fact"] == "arr"]
    assert (arr["value_shown"], arr["source"], arr["cell"], arr["points"]) == ("$180,000", "crm", "$100K+", 5)

    # Juniper is ten days old: decided on what is known, provisionally. Maple lacks data, and that is said too.
    assert command("explain", "J-3", "--json")["provisional_until"] == "2026-02-04"
    assert command("explain", "M-4", "--json")["computed_segment"] is None
    assert "needs data" in command("explain", "M-4")

    # Change. A month later Northwind has shrunk, Birchwood has grown, and Juniper has hardly been used.
    crm = CRM.replace("180000,multi-year", "20000,month-to-month").replace("45000", "130000")
    usage = USAGE.replace("21,1,62", "3,12,-40") + "J-3,2026-02-14,0,25,-60\n"
    command("import_accounts", export(FEBRUARY, crm, usage), "--commit", "--json")
    run = command("recompute", "--as-of", FEBRUARY, "--json")

    # Computed differs. The service tier needs a decision, so Northwind keeps its tier, visibly. Juniper was only
    # provisional: that is decided at once. The value tier applies by itself: customers changed, we did not move the ruler.
    assert run["layers"]["service-tier"]["differs"] == 1
    assert tier(command("export_assignments", "--layer", "service-tier")) == {
        "N-1": ("low-touch", "high-touch"),
        "B-2": ("low-touch", "low-touch"),
        "J-3": ("low-touch", "low-touch"),
        "M-4": ("", ""),
    }
    why = command("explain", "N-1", "--json")
    assert why["differs"]["since"] == FEBRUARY
    assert "changes when somebody approves it" in why["differs"]["text"]
    assert command("explain", "J-3", "--json")["move"]["cause"] == "provisional"
    assert run["layers"]["value-tier"]["moves"] == {"data": 2}
    assert command("explain", "B-2", "--layer", "value-tier", "--json")["effective_segment"] == "enterprise"

    # History. The segment in force on a day, and its facts, can be asked for ever.
    then = command("explain", "B-2", "--layer", "value-tier", "--at", "2026-01-20", "--json")
    assert (then["effective_segment"], then["requires"][0]["value"]) == ("mid-market", "45000.00")
    early = command(
        "explain", "B-2", "--layer", "value-tier", "--at", "2026-01-14", "--json"
    )  # its use only is known
    assert (early["effective_segment"], early["requires"][0]["value"]) == (None, None)
    with pytest.raises(CommandError, match="on 13 Jan 2026: the first is of 14 Jan 2026"):
        command("explain", "B-2", "--layer", "value-tier", "--at", "2026-01-13")
    rows = Assignment.history.filter(account__external_id="B-2", layer__key="value-tier")
    segments = [row.effective.key for row in rows.order_by("history_id")]
    assert segments == ["mid-market", "enterprise"]
    rows = Account.history.filter(external_id="B-2").order_by("history_id")
    assert [row.arr for row in rows] == [45_000, 130_000]

    # And nobody can make it unhappen, nor change a segment without a cause.
    for attempt in (
        "update segmentation_move set why = 'data'",
        "delete from segmentation_historicalassignment",
    ):
        with (
            pytest.raises(DatabaseError, match="append-only"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(attempt)

    # Nothing happened since: the same again changes nothing.
    moves = Move.objects.count()
    again = command("recompute", "--as-of", FEBRUARY, "--json")
    assert {layer["changed"] for layer in again["layers"].values()} == {0}
    assert Move.objects.count() == moves
    assert Move.objects.latest("id").at == datetime.date.fromisoformat(FEBRUARY)

    # Sign-off. Northwind has crossed a boundary, so it is flagged. Priya plans the tier change and asks; she cannot approve
    # it herself, and nothing moves before Vera has.
    command("follow")
    priya, vera = someone("priya", "CS Ops"), someone("vera", "Approver")
    [northwind] = Transition.objects.filter(status="flagged", layer__key="service-tier")
    transitions.plan(northwind, by=priya, success_plan="Back to weekly use by summer")
    request = transition_requests.ask([northwind], by=priya, why="They have shrunk for good")
    with pytest.raises(Refused, match="You cannot decide your own request"):
        approvals.approve(request, by=priya, seen=approvals.token(request))
    assert tier(command("export_assignments", "--layer", "service-tier"))["N-1"] == (
        "low-touch",
        "high-touch",
    )
    approvals.approve(request, by=vera, seen=approvals.token(request), reason="Seen their usage")
    assert tier(command("export_assignments", "--layer", "service-tier"))["N-1"] == ("low-touch", "low-touch")
    assert command("explain", "N-1", "--json")["move"]["cause"] == "transition"

    # The people who flagged, asked and decided can be told for ever. A person completes the hand-over once joint coverage is done with.
    told = Event.objects.filter(account__external_id="N-1", about="transition").order_by("id")
    assert list(told.values_list("kind", "actor_label")) == [
        ("transition_flagged", "schedule"),
        ("transition_joint", "vera"),
    ]
    asked = Event.objects.filter(about="approvalrequest").order_by("id").values_list("kind", "actor_label")
    assert list(asked) == [
        ("request_opened", "priya"),
        ("request_approved", "vera"),
        ("request_applied", "vera"),
    ]
    northwind.refresh_from_db()
    assert (northwind.status, (northwind.joint_until - northwind.joint_from).days) == ("joint", 30)
