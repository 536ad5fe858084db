"""The recipes under examples/ on the data they are for."""

import datetime
import importlib.util
import json
from decimal import Decimal

import polars as pl
import pytest
import yaml
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from accounts import catalogue, revenue
from accounts.models import Account, ImportBatch, RejectedRow, Signal, Usage
from segmentation.evaluation import frames

pytestmark = pytest.mark.django_db

VALUE_TIER = [100_000, 25_000, 0]
FIVE_TIERS = [250_000, 80_000, 25_000, 5_000, 0]
SETS = [  # independent of this code: computed from the CSV files
    ("ravenstack", "2024-12-31", 500, "121915296.00", [416, 72, 12], [185, 251, 52, 10, 2]),
    ("flowstack", "2026-07-25", 5_000, "4437777.00", [0, 0, 5_000], [0, 0, 0, 214, 4_786]),
]
FAULTS = {
    "ravenstack": [("usage dated before its subscription starts", 19_142), ("ticket dated before the account's sign-up", 1_077),
                   ("usage id used more than once", 21), ("account flagged as churned", 110),
                   ("the same product, start and ARR as another subscription of the account: entered twice?", 15),
                   ("runs at the same time as another subscription of the account to the same product: "
                    "both count towards ARR", 2_444)],
    "flowstack": [("ticket dated after the as-of date", 2_016), ("usage dated after the as-of date", 958),
                  ("subscription that is not Active ends after the as-of date", 147)],
}  # fmt: skip


def arr_of_all(as_of):
    """ARR of every account at that date, as the catalogue has it; 0 without an active subscription."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"select coalesce({catalogue.sql('arr')}, 0) from accounts_account a left join "
            f"({catalogue.SUBSCRIPTION_SUMMARY}) s on s.account_id = a.id",
            revenue.parameters(as_of),
        )
        return [arr for (arr,) in cursor.fetchall()]


def tiers(values, floors):
    counts = [0] * len(floors)
    for value in values:
        counts[next(index for index, floor in enumerate(floors) if value >= floor)] += 1
    return counts


@pytest.mark.data
@pytest.mark.parametrize(("name", "as_of", "accounts", "total", "three", "five"), SETS)
def test_published_set(published_data, capsys, name, as_of, accounts, total, three, five):
    call_command(
        "import_accounts", str(settings.BASE_DIR / "examples" / name / "recipe.yaml"), commit=True, json=True
    )
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["rejected_total"]) == ("committed", 0)
    assert [(each["warning"], each["count"]) for each in told["warnings"]] == FAULTS[name]
    assert Account.objects.active().count() == accounts
    values = arr_of_all(as_of)
    assert sum(values) == Decimal(total)
    assert tiers(values, VALUE_TIER) == three
    assert tiers(values, FIVE_TIERS) == five


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location(
        "generate", settings.BASE_DIR / "examples" / "sample" / "generate.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sample(tmp_path, generate):
    before, now = generate.write(tmp_path, datetime.date(2026, 3, 1))
    for recipe in (before, now):
        call_command("import_accounts", str(recipe), commit=True, verbosity=0)
    older, newer = ImportBatch.objects.order_by("id")
    assert yaml.safe_load(before.read_text())["as_of"] == older.as_of == datetime.date(2025, 12, 31)
    assert newer.queries[0]["updated"] > 10
    active = Account.objects.active()
    assert active.count() >= 500
    assert active.filter(contract_start__gt=datetime.date(2026, 1, 30)).count() == generate.SORTS["new"]
    assert {account.csm.email.partition("@")[2] for account in active.exclude(csm=None)} == {"example.com"}


# The needs of later segmentations to tell accounts apart: (a condition over the facts today, how many at least).
VARIETY = [
    ("account_age_days <= 30", 15),
    ("account_age_days <= 150 and days_since_first_workflow is not null", 10),
    ("days_since_first_outcome is not null", 100),
    ("days_since_new_use_case <= 90", 10),
    ("days_since_cross_team_adoption <= 90", 10),
    ("days_since_reference_given is not null and nps >= 50", 5),
    ("days_since_sponsor_departed <= 90", 10),
    ("days_since_sponsor_replaced < days_since_sponsor_departed", 5),
    ("economic_buyer_left", 10),
    ("usage_change_30d <= -0.3", 10),
    ("tickets_90d >= 15", 10),
    ("days_since_formal_pause <= 90", 10),
    ("days_since_renewal_disengaged <= 60", 3),
    ("days_since_executive_escalation <= 60", 3),
    ("days_since_renewal_resumed <= 60", 3),
    ("status = 'churned' and days_since_contract_ended <= 60", 5),
    ("status = 'churned' and days_since_contract_ended > 60", 5),
    ("days_since_churn_reported is not null and status = 'active' and arr > 0", 8),
    ("login_days_30d = 0 and days_since_last_active > 30", 10),
    ("login_days_30d >= 20 and days_since_last_active <= 3", 50),
    ("login_days_30d >= 20 and days_since_last_active >= 9 and arr >= 100000", 3),
    ("login_days_30d <= 5 and days_since_last_active <= 2 and arr <= 16000", 2),
    ("feature_breadth >= 25 and seat_use >= 0.6 and workflow_maturity >= 3 and integrations_live >= 3", 40),
    ("arr_growth_12m > 0.05", 30),
    ("arr_growth_12m < -0.05", 30),
    ("abs(arr_growth_12m) <= 0.05", 30),
    ("fit_score >= 60 and intent_score >= 60", 30),
    ("fit_score >= 60 and intent_score < 60", 30),
    ("fit_score < 60 and intent_score >= 60", 30),
    ("fit_score < 60 and intent_score < 60", 30),
    ("arr >= 50000 and engagement_score >= 60", 30),
    ("arr >= 50000 and engagement_score < 40", 10),
    ("arr < 25000 and engagement_score >= 60", 10),
    ("arr < 25000 and engagement_score < 40", 30),
    ("ownership = 'public'", 20),
    ("ownership = 'PE-backed'", 20),
    ("tech_stack like '%Salesforce%'", 50),
    ("region = 'EMEA' and data_residency = 'EU'", 30),
    ("success_plan_active and days_since_qbr <= 90", 30),
    ("missed_check_ins >= 2", 10),
    ("time_to_resolution > 48", 10),
]


def test_the_sample_has_something_for_every_segmentation(tmp_path, generate):
    day = datetime.date(2026, 3, 1)
    for recipe in generate.write(tmp_path, day):
        call_command("import_accounts", str(recipe), commit=True, verbosity=0)
    frame = frames.facts(list(catalogue.FACTS), at=day, first=0, last=2**62, which="true")
    customers = frame.filter(pl.col.kind == "customer")
    counts = {text: customers.sql(f"select * from self where {text}").height for text, _ in VARIETY}
    assert {text: counts[text] for text, least in VARIETY if counts[text] < least} == {}
    products = Usage.objects.exclude(product=None).values_list("product__key", flat=True)
    assert set(products) == {"Platform", "Analytics", "Automation"}
    assert not set(Signal.objects.values_list("signal", flat=True)) - set(catalogue.SIGNALS)
    assert not RejectedRow.objects.exists()


def test_the_sample_is_the_same_for_the_same_date(tmp_path, generate):
    def contents(name):
        generate.write(tmp_path / name, datetime.date(2026, 3, 1))
        return {
            path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")
        }

    assert contents("one") == contents("two")
