"""One contract told twice makes an account look larger than it is: counted, never rejected."""

import pytest
from importing import attempt

from accounts.models import Subscription

pytestmark = pytest.mark.django_db

SQL = {
    "accounts": "SELECT DISTINCT id AS external_id FROM crm",
    "subscriptions": """SELECT id AS external_id, sub AS subscription_id, product, start AS start_date,
                               "end" AS end_date, arr, status FROM crm""",
}
COLUMNS = "id,sub,product,start,end,arr,status\n"
DOUBLE = "the same product, start and ARR as another subscription of the account: entered twice?"
OVERLAP = (
    "runs at the same time as another subscription of the account to the same product: both count towards ARR"
)
FILES = [  # rows of subscriptions; the import is of 2026-06-30
    (["A,S1,Core,2026-01-01,2027-01-01,100,active", "A,S2,Core,2026-01-01,2027-01-01,100,active"], DOUBLE),
    (["A,S1,Core,2026-01-01,,100,active", "A,S2,Core,2026-01-01,2027-01-01,100,past due"], DOUBLE),
    (["A,S1,,2026-01-01,,100,active", "A,S2,,2026-01-01,,100,active"], DOUBLE),
    (["A,S1,Core,2026-01-01,,100,active", "A,S2,Core,2026-03-01,2027-01-01,100,active"], OVERLAP),
    (["A,S1,Core,2026-01-01,,100,active", "A,S2,Core,2026-01-01,,200,active"], OVERLAP),
    (["A,S1,Core,2026-01-01,2026-12-02,100,active", "A,S2,Core,2026-12-01,,100,active"], OVERLAP),
    # No reason to worry:
    (["A,S1,Core,2026-01-01,,100,active", "A,S2,Extra,2026-01-01,,100,active"], None),
    (["A,S1,Core,2026-01-01,,100,active", "B,S2,Core,2026-01-01,,100,active"], None),
    (["A,S1,Core,2025-01-01,2026-12-01,100,active", "A,S2,Core,2026-12-01,,100,active"], None),
    (["A,S1,Core,2026-01-01,2026-06-30,100,active", "A,S2,Core,2026-01-01,2026-06-30,100,active"], None),
    (["A,S1,Core,2026-01-01,,100,active", "A,S2,Core,2026-01-01,,100,cancelled"], None),
    (["A,S1,Core,2026-01-01,,100,trial", "A,S2,Core,2026-01-01,,100,active"], None),
    (["A,S1,Core,2026-01-01,,0,active", "A,S2,Core,2026-01-01,,0,active"], None),  # adds nothing
    (["A,S1,,2026-01-01,,100,active", "A,S2,,2026-02-01,,100,active"], None),  # of an unknown product
]


@pytest.mark.parametrize(("rows", "warning"), FILES)
def test_what_looks_like_one_contract_is_counted(tmp_path, rows, warning):
    done = attempt(tmp_path, COLUMNS + "\n".join(rows) + "\n", **SQL)
    assert (done.said, done.ledger("subscriptions")) == ("", (2, 2, 0, 0, 0))
    expected = [("subscriptions", warning, 1, ["A: S2"])] if warning else []
    assert [tuple(one.values()) for one in done.batch.warnings] == expected


def test_one_that_was_imported_before_is_seen_too(tmp_path):
    first, second = FILES[0][0]
    attempt(tmp_path, COLUMNS + first + "\n", **SQL)
    attempt(tmp_path, COLUMNS + first.replace("A,S1", "Z,S9") + "\n", **SQL)
    done = attempt(tmp_path, COLUMNS + second + "\n", **SQL)
    assert [(one["warning"], one["examples"]) for one in done.batch.warnings] == [(DOUBLE, ["A: S2"])]
    assert Subscription.objects.count() == 3
