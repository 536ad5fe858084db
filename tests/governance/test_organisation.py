"""The settings of the organisation: asked for, approved, kept; and what the environment fixes stands above them."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from databases import unsigned
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from governing import approved, nobody_approves, someone
from segmenting import account

from core.history import acting
from core.kept import keeping
from core.models import FIELDS, Settings
from core.organisation import in_its_time, organisation
from core.refusals import Refused
from core.wording import money
from governance.models import ApprovalRequest, Event
from governance.news import mail
from governance.signoff import policies
from segmentation.evaluation import causes
from segmentation.models import Cause

LIST, ASK = reverse("admin:core_settings_changelist"), reverse("admin:core_settings_policy")


@pytest.fixture
def ops(db):
    return someone("ops", "CS Ops", is_staff=True)


@pytest.fixture
def vera(db):
    return someone("vera", "Approver", is_staff=True)


@pytest.fixture
def nothing_fixed(settings):
    settings.FIXED = {}


@pytest.fixture
def page(ops, nothing_fixed):
    client = Client()
    client.force_login(ops)
    return client


def already(**values):
    """Settings there are before a test begins."""
    with transaction.atomic(), unsigned(), acting(label="tests", reason="A start"):
        causes.take(Cause.Kind.DECISION)
        return Settings.objects.create(**values)


def typed(**changed):
    return policies.of_settings() | {"why": "We bill in euros", "seen": ""} | changed


def test_the_environment_can_fix_each_setting():
    from config.settings import FIXABLE

    assert tuple(FIXABLE) == FIELDS


def test_before_anybody_sets_anything_the_defaults_hold(db, nothing_fixed):
    assert (organisation().currency, organisation().time_zone, organisation().import_mb) == (
        "USD",
        "UTC",
        200,
    )
    assert not Settings.objects.exists()


def test_another_setting_is_asked_for_and_holds_once_approved(ops, vera, nothing_fixed):
    request = policies.ask(policies.for_settings({"currency": "EUR"}), by=ops, why="We bill in euros")
    assert request.changes[0] == "Currency: EUR. (Until now: USD.)"
    assert organisation().currency == "USD"
    with keeping():
        assert money(5) == "$5"
        approved(request, vera)
        assert money(5) == "€5", "what was kept for this request is asked anew"
    row = Settings.objects.get().history.get()
    assert (row.currency, row.history_user_id) == ("EUR", vera.pk)
    assert Event.objects.get(kind="policy_changed").reason == "We bill in euros"


def test_another_currency_reaches_every_customer(ops, nothing_fixed):
    account(arr=2_000), account("zeta", arr=3_000)
    impact = policies.for_settings({"currency": "EUR"}).impact
    assert (impact.accounts, impact.arr) == (2, Decimal(5_000))
    assert policies.for_settings({"name": "Acorn"}).impact.accounts == 0


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"currency": "XXQ"}, "currency_unknown"),
        ({"currency": "eur"}, "policy_invalid"),
        ({"time_zone": "Mars/Base"}, "policy_invalid"),
        ({"check_completeness": 101}, "policy_invalid"),
        ({"check_segments_from": 9}, "policy_invalid"),
        ({"override_days": 366, "override_days_at_most": 365}, "policy_invalid"),
        ({"import_mb": 0}, "policy_invalid"),
        ({"currency": "USD"}, "policy_is_so_already"),
    ],
)
def test_what_cannot_be_set(db, nothing_fixed, values, code):
    with pytest.raises(Refused) as refusal:
        policies.for_settings(values)
    assert refusal.value.code == code


def test_what_the_environment_fixes_is_not_asked_for(db, settings):
    settings.FIXED = {"currency": "GBP"}
    assert organisation().currency == "GBP"
    with pytest.raises(Refused) as refusal:
        policies.for_settings({"currency": "EUR"})
    assert refusal.value.code == "policy_is_so_already"


def test_settings_that_changed_meanwhile_are_asked_for_again(ops, vera, nothing_fixed):
    request = policies.ask(policies.for_settings({"name": "Acorn"}), by=ops, why="So we are called")
    already(import_mb=300)
    assert approved(request, vera).status == ApprovalRequest.Status.FAILED
    assert organisation().name == ""


def test_days_are_counted_in_the_time_zone_of_the_organisation(db, nothing_fixed):
    already(time_zone="Pacific/Auckland")
    late = datetime(2026, 6, 30, 13, tzinfo=UTC)
    with in_its_time():
        assert timezone.localtime(late).date().isoformat() == "2026-07-01"
    assert timezone.localtime(late).date().isoformat() == "2026-06-30"


def test_a_page_and_a_task_are_in_its_time(page, monkeypatch):
    already(time_zone="Asia/Kolkata")
    seen = []
    monkeypatch.setattr("governance.admin.settings._shown", lambda holds, name: seen.append(_zone()))
    page.get(LIST)
    assert set(seen) == {"Asia/Kolkata"}
    seen.clear()

    from config import celery

    @celery.task(name="tests.zone")
    def zone():
        seen.append(_zone())

    zone.apply()
    assert seen == ["Asia/Kolkata"]


def test_times_in_a_file_are_in_its_time_too(page):
    """A file is written after the page has been answered."""
    already(time_zone="Asia/Kolkata")
    written = b"".join(page.get(reverse("audit_export") + "?kind=change").streaming_content).decode(
        "utf-8-sig"
    )
    assert "+05:30" in written


def _zone():
    return timezone.get_current_timezone_name()


def _written(write, kind):
    with transaction.atomic():
        if kind:
            causes.take(kind, reason="Forged")
        write()


def test_nobody_gets_round_the_sign_off(real_db):
    already(name="Acorn")
    for write in (
        lambda: Settings.objects.update(currency="EUR"),
        lambda: Settings.objects.get().delete(),
        lambda: Settings.history.model.objects.all().delete(),
        lambda: connection.cursor().execute("truncate core_settings"),
    ):
        for kind in (None, Cause.Kind.DECISION):
            with pytest.raises(DatabaseError):
                _written(write, kind)
    ops, vera = someone("ops", "CS Ops"), someone("vera", "Approver")
    request = policies.ask(policies.for_settings({"import_mb": 300}), by=ops, why="Larger files")
    approved(request, vera)
    row = Settings.objects.get()
    assert (row.name, row.import_mb, row.history.count()) == ("Acorn", 300, 2)


def test_the_page_says_what_holds_and_what_is_fixed(page, settings):
    settings.FIXED = {"time_zone": "Europe/Berlin"}
    said = page.get(LIST).content.decode()
    assert "Europe/Berlin" in said
    assert "by DEMARC_TIME_ZONE" in said
    form = page.get(ASK).content.decode()
    assert "Fixed where Demarc runs, by DEMARC_TIME_ZONE." in form


def test_the_form_asks_and_then_changes_what_was_asked(page, vera):
    answer = page.post(ASK, typed(currency="EUR"), follow=True)
    assert "Sent for approval" in answer.content.decode()
    request = ApprovalRequest.objects.get()
    assert request.content["values"]["currency"] == "EUR"
    form = page.get(ASK)
    assert "has asked for this already" in form.content.decode()
    page.post(ASK, typed(currency="CHF", seen=form.context["seen"]))
    request.refresh_from_db()
    assert request.content["values"]["currency"] == "CHF"
    approved(request, vera)
    assert organisation().currency == "CHF"


def test_what_was_typed_stays_where_it_is_refused(page):
    answer = page.post(ASK, typed(currency="XXQ", name="Acorn", why="Because"))
    said = answer.content.decode()
    assert answer.status_code == 409
    assert "XXQ is not the code of a currency" in said
    assert 'value="Acorn"' in said
    assert "Because" in said
    assert "There is nothing to ask for" not in said
    same = page.post(ASK, typed())
    assert "This is how it is already" in same.content.decode()


def test_where_nobody_has_to_approve_it_is_done_at_once(page):
    nobody_approves("policy")
    answer = page.post(ASK, typed(name="Acorn"), follow=True)
    assert "Done, and logged" in answer.content.decode()
    assert "Acorn" in page.get("/admin/inbox/").content.decode(), "the name stands on every page"


def test_mails_say_whose_they_are(vera):
    already(name="Acorn")
    assert "Demarc of Acorn" in mail.message(vera, []).body
