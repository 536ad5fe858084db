"""Account events where people look for them: the account's page and the data dictionary."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from segmenting import account

from accounts.catalogue import SIGNALS
from accounts.models import Signal


@pytest.fixture
def page(db, client):
    """The words of a page, as somebody who may do everything sees it."""
    client.force_login(User.objects.create_superuser("chief", "chief@example.com", "x"))

    def words(url):
        text = client.get(url).content.decode()
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))

    return words


def happened(one, key, days_ago, source="crm"):
    at = timezone.localdate() - timedelta(days=days_ago)
    Signal.objects.create(account=one, signal=key, at=at, source=source)
    return at


def test_the_account_page_shows_its_events_newest_first(page):
    one = account("acme")
    happened(one, "first_workflow", 90)
    happened(one, "sponsor_departed", 10, "signal platform")
    happened(one, "moved office", 40, "")
    happened(account("other"), "formal_pause", 1)
    words = page(f"/admin/accounts/account/{one.pk}/change/")
    places = [words.index(label) for label in ("Sponsor departed", "moved office", "First workflow")]
    assert places == sorted(places)
    assert "signal platform" in words
    assert "Formal pause" not in words


def test_an_event_after_the_date_asked_for_is_marked(page):
    one = account("acme")
    happened(one, "first_workflow", 90)
    happened(one, "sponsor_departed", 10)
    day = timezone.localdate() - timedelta(days=30)
    words = page(f"/admin/accounts/account/{one.pk}/change/?at={day}")
    assert re.search(r"Sponsor departed \(not yet on", words)
    assert not re.search(r"First workflow \(not yet on", words)


def test_an_account_without_events_has_no_section_for_them(page):
    assert "Account events" not in page(f"/admin/accounts/account/{account('acme').pk}/change/")


def test_the_dictionary_tells_every_event_and_how_many_had_it(page):
    for name in ("one", "two"):
        happened(account(name), "reference_given", 3)
    happened(account("three"), "moved office", 3)
    happened(account("four"), "formal_pause", -1)  # to come
    words = page("/admin/data-dictionary/")
    assert all(f"{signal.label} {signal.help}" in words for signal in SIGNALS.values())
    assert "Advocacy days_since_reference_given 2" in words
    assert "Risk days_since_formal_pause 0" in words
    assert "moved office imported, not known here moved office Other not usable 1" in words


def test_the_dictionary_tells_what_a_value_must_lie_within(page):
    words = page("/admin/data-dictionary/")
    assert "feature_adoption ratio, % 0 % to 100 %" in words
    assert "usage_change_30d ratio, % -100 % or more" in words
    assert "time_in_product number, hours a user a month 0 to 744" in words
    assert "nps integer -100 to 100" in words
    assert "last_qbr date given" in words
