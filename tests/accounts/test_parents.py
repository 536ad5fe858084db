"""No company is part of itself, by whatever way it is told."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from importing import attempt

from accounts import corrections, parents, records
from accounts.models import Account, Csm
from core.refusals import Refused

pytestmark = pytest.mark.django_db

SQL = "SELECT id AS external_id, parent FROM crm"


def parents_of():
    return dict(Account.objects.values_list("external_id", "parent__external_id"))


def given(folder, text, **more):
    return attempt(folder, "id,parent\n" + text, accounts=SQL, **more)


def chain(*names):
    """Accounts, each the parent of the next; returns the last one."""
    parent = None
    for name in names:
        parent = Account.objects.create(external_id=name, name=f"{name} Inc", parent=parent)
    return parent


BACK = "its parents lead back to itself: "
CIRCLES = [  # accounts held (each the parent of the next), the file, rejected rows, parents afterwards
    ("", "A,B\nB,A\nC,\n",
     [("A", "B", BACK + "A → B → A"), ("B", "A", BACK + "B → A → B")], {"C": None}),
    ("AB", "A,B\n", [("A", "B", BACK + "A → B → A")], {"A": None, "B": "A"}),
    ("ABC", "A,C\nD,C\n", [("A", "C", BACK + "A → C → B → A")], {"A": None, "B": "A", "C": "B", "D": "C"}),
    ("", "A,B\nB,A\nC,B\n",
     [("A", "B", BACK + "A → B → A"), ("B", "A", BACK + "B → A → B"), ("C", "B", parents.PARENT_REJECTED)], {}),  # below it
    # A keeps its old parent C, as its row closes a circle with B's; then C's row closes one with the old parent.
    ("CA", "A,B\nB,A\nC,A\n",
     [("A", "B", BACK + "A → B → A"), ("B", "A", BACK + "B → A → B"), ("C", "A", BACK + "C → A → C")],
     {"A": "C", "C": None}),
    ("", "A,B\nB,C\nC,D\nD,E\nE,F\nF,G\nG,H\nH,A\n",
     [(x, y, BACK + " → ".join(["ABCDEFGHABCDEF"[i : i + 6][j] for j in range(6)]) + f" → ... → {x}")
      for i, (x, y) in enumerate(zip("ABCDEFGH", "BCDEFGHA", strict=True))], {}),
]  # fmt: skip


@pytest.mark.parametrize(("held", "text", "rejected", "after"), CIRCLES)
def test_an_import_refuses_the_rows_that_close_a_circle(tmp_path, held, text, rejected, after):
    chain(*held)
    done = given(tmp_path, text, skip_rejected=True)
    assert sorted(done.rejected) == sorted(
        ("accounts", name, "parent", value, reason) for name, value, reason in rejected
    )
    rows, created, updated, unchanged, left_out = done.ledger()
    assert rows == text.count("\n") == created + updated + unchanged + left_out
    assert left_out == len(rejected)
    assert parents_of() == after


def test_a_group_may_be_turned_round(tmp_path):
    given(tmp_path, "A,\nB,A\n")
    assert given(tmp_path, "A,B\nB,\n").said == ""
    assert parents_of() == {"A": "B", "B": None}


def test_nothing_of_a_refused_row_is_written(tmp_path):
    sql = "SELECT id AS external_id, parent, csm FROM crm"
    attempt(tmp_path, "id,parent,csm\nA,B,a@example.com\nB,A,b@example.com\nC,,c@example.com\n",
            accounts=sql, skip_rejected=True)  # fmt: skip
    assert [csm.email for csm in Csm.objects.all()] == ["c@example.com"]
    assert Account.history.count() == 1


def test_what_belongs_to_a_refused_account_says_so(tmp_path):
    files = {"crm.csv": "id,parent\nA,B\nB,A\nC,\n", "events.csv": "id,at\nA,2026-01-01\nC,2026-01-01\n"}
    sql = "SELECT id AS external_id, 'call' AS signal, at FROM events"
    done = attempt(tmp_path, files, accounts=SQL, signals=sql, skip_rejected=True)
    assert ("signals", "A", "external_id", "A", "its account is rejected") in done.rejected
    assert done.ledger("signals") == (2, 1, 0, 0, 1)


def test_an_older_export_closes_no_circle_with_what_it_may_not_change(tmp_path):
    given(tmp_path, "A,\nB,A\n", at="2026-07-31")
    late = given(tmp_path, "A,B\nB,\n", at="2026-06-30", source_system="other")
    assert [row[1] for row in late.rejected] == ["A"]
    assert parents_of() == {"A": None, "B": "A"}


def test_so_many_levels_are_a_mistake(tmp_path):
    rows = "A0,\n" + "".join(f"A{n},A{n - 1}\n" for n in range(1, parents.LEVELS + 2))
    done = given(tmp_path, rows, skip_rejected=True)
    assert done.rejected == [("accounts", "A101", "parent", "A100", parents.TOO_DEEP)]
    assert Account.objects.count() == parents.LEVELS + 1


def test_many_groups_take_a_few_queries(tmp_path, django_assert_max_num_queries):
    rows = "".join(f"G{n},\nA{n},G{n}\nX{n},Y{n}\nY{n},X{n}\n" for n in range(500))
    with django_assert_max_num_queries(120):
        done = given(tmp_path, rows, skip_rejected=True)
    assert done.ledger() == (2_000, 1_000, 0, 0, 1_000)


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_the_database_refuses_a_circle_whoever_writes(levels):
    last = chain(*"ABCDE"[:levels])
    top = Account.objects.get(external_id="A")
    with pytest.raises(IntegrityError, match="account A would be part of itself"), transaction.atomic():
        Account.objects.filter(pk=top.pk).update(parent=last)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(  # both halves in one statement
            "insert into accounts_account (id, external_id, name, kind, status, excluded, exclusion_reason, currency, "
            "custom, provenance, created_at, parent_id) select id, id::text, '', 'customer', 'active', false, '', '', "
            "'{}', '{}', now(), 3800003 - id from generate_series(1900001, 1900002) id"
        )
    with pytest.raises(IntegrityError, match="more than 100 levels"), transaction.atomic():
        chain(*(f"L{n}" for n in range(150)))


def test_a_correction_refuses_a_circle(admin_client, admin_user):
    last = chain("A", "B", "C")
    top = Account.objects.get(external_id="A")
    with pytest.raises(ValidationError, match="A Inc → C Inc → B Inc → A Inc"):
        Account(pk=top.pk, external_id="A", parent=last).clean()
    form = {"name": "A Inc", "kind": "customer", "status": "active", "parent": last.pk, "reason": "merger"}
    page = admin_client.post(reverse("admin:accounts_account_edit", args=[top.pk]), form)
    assert (
        "This cannot be the parent: its parents lead back to itself: A Inc → C Inc" in page.content.decode()
    )
    with pytest.raises(Refused, match="C Inc cannot be the parent"):
        corrections.correct(top, {"parent": last}, by=admin_user, reason="merger")
    assert parents_of() == {"A": None, "B": "A", "C": "B"}
    fine = Account.objects.create(external_id="D", name="D Inc")
    corrections.correct(top, {"parent": fine}, by=admin_user, reason="merger")
    assert parents_of()["A"] == "D"


def test_the_planner_is_told_of_many_new_accounts_before_their_parents_are_looked_up(tmp_path):
    """Else it takes them for the few there were before, and compares each with each: hours for 200,000."""
    with CaptureQueriesContext(connection) as queries:
        given(tmp_path, "G,\n" + "".join(f"A{n},G\n" for n in range(records.SEVERAL)))
    statements = [query["sql"].strip() for query in queries]
    told = next(n for n, sql in enumerate(statements) if sql.startswith("analyze accounts_account"))
    asked = next(n for n, sql in enumerate(statements) if sql.startswith("with wanted"))
    assert told < asked
    assert Account.objects.filter(parent__external_id="G").count() == records.SEVERAL
