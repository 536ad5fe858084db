"""Settings come from the environment and name what is missing."""

import os
import runpy
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import database
from config.celery import beat_schedule
from core.kept import keeping
from core.models import Settings
from segmentation.tasks import night

SETTINGS = Path(__file__).resolve().parent.parent / "config" / "settings.py"
OURS = (
    "DEMARC_",
    "DATABASE_URL",
    "CELERY_BROKER_URL",
    "SECRET_KEY",
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_",
    "DEBUG",
    "EMAIL_",
)
PRODUCTION = {
    "DEMARC_ENV": "production",
    "SECRET_KEY": "x" * 60,
    "ALLOWED_HOSTS": "demarc.example.com, www.example.com",
    "DATABASE_URL": "postgres://demarc@db.example.com/demarc",
}


@pytest.fixture
def read(monkeypatch):
    """`read(NAME=value, ...)` reads the settings with just these variables set."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)

    def run(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(SETTINGS))

    return run


def test_nothing_needs_to_be_set_for_development(read):
    settings = read()
    assert settings["DATABASES"]["default"]["ENGINE"] == "config.postgres"
    assert settings["DEBUG"] is False
    assert (settings["TIME_ZONE"], settings["FIXED"]) == ("UTC", {})


def test_production_names_all_that_is_missing_at_once(read):
    with pytest.raises(ImproperlyConfigured) as refusal:
        read(DEMARC_ENV="production")
    assert str(refusal.value) == "SECRET_KEY is not set; ALLOWED_HOSTS is not set; DATABASE_URL is not set"


def test_production_is_secure(read):
    settings = read(**PRODUCTION)
    assert settings["ALLOWED_HOSTS"] == ["demarc.example.com", "www.example.com"]
    assert settings["SECURE_SSL_REDIRECT"] is True
    assert settings["SESSION_COOKIE_SECURE"] is True
    assert "SECURE_PROXY_SSL_HEADER" not in settings  # without a proxy that strips it, anybody can send it


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DEMARC_ENV", "prod", "DEMARC_ENV is 'prod', not development or production"),
        ("DEMARC_TIME_ZONE", "Mars/Base", "DEMARC_TIME_ZONE is 'Mars/Base'"),
        ("DEMARC_CURRENCY", "usd", "DEMARC_CURRENCY is 'usd'"),
        ("DEMARC_QUEUE", "x" * 41, "DEMARC_QUEUE is "),
        ("DATABASE_URL", "mysql://a@b/c", "DATABASE_URL: expected postgres://"),
        ("DATABASE_URL", "postgres://a@b/", "DATABASE_URL: expected postgres://"),
        ("DEBUG", "yes", "DEBUG is 'yes', not 0 or 1"),
        ("EMAIL_URL", "mail.example.com", "EMAIL_URL: expected smtp://"),
        ("EMAIL_URL", "smtp://mail.example.com", "EMAIL_FROM is not set"),
        (
            "DEMARC_ADDRESS_HEADER",
            "X-Real-IP:",
            "DEMARC_ADDRESS_HEADER is 'X-Real-IP:', not the name of a header",
        ),
        ("DEMARC_PROXIES", "0", "DEMARC_PROXIES is '0'"),
        ("DEMARC_URL", "demarc.example.com", "DEMARC_URL is 'demarc.example.com', not an address"),
    ],
)
def test_a_wrong_value_is_named(read, name, value, sentence):
    with pytest.raises(ImproperlyConfigured, match=sentence):
        read(**{name: value})


@pytest.mark.parametrize(
    "url",
    [
        "postgres://demarc:se%2Fcret%40x@db.example.com:6432/demarc?sslmode=require",
        "postgres://demarc@db.example.com/demarc",
        "postgres://demarc:pw@%2Fvar%2Frun%2Fpostgresql/demarc",
    ],
)
def test_a_database_url_there_and_back(url):
    assert database.to_url(database.from_url(url)) == url


def test_a_database_url_is_unquoted():
    settings = database.from_url("postgresql://u:a%2Fb@h:6432/n?sslmode=require")
    assert (settings["PASSWORD"], settings["PORT"], settings["OPTIONS"]) == (
        "a/b",
        "6432",
        {"sslmode": "require"},
    )


@pytest.mark.parametrize(
    ("zone", "hours"), [("UTC", {2}), ("Asia/Kolkata", {20}), ("America/New_York", {6, 7})]
)
def test_the_nightly_run_is_at_night_where_the_organisation_is(zone, hours):
    with keeping(organisation=Settings(time_zone=zone)):
        assert night() in hours


def test_every_scheduled_task_exists():
    from config import celery

    celery.loader.import_default_modules()
    assert {entry["task"] for entry in beat_schedule().values()} <= set(celery.tasks)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.com", ("mail.example.com", 25, "", "", False, False)),
        ("smtp+tls://olga:p%40ss@mail.example.com", ("mail.example.com", 587, "olga", "p@ss", True, False)),
        ("smtps://mail.example.com:4650", ("mail.example.com", 4650, "", "", False, True)),
    ],
)
def test_a_mail_server_is_one_address(read, url, expected):
    settings = read(EMAIL_URL=url, EMAIL_FROM="Demarc <demarc@example.com>")
    names = ("HOST", "PORT", "HOST_USER", "HOST_PASSWORD", "USE_TLS", "USE_SSL")
    assert tuple(settings[f"EMAIL_{name}"] for name in names) == expected
    assert settings["MAILED"] is True


def test_mail_is_printed_in_development_and_none_is_sent_in_production_without_a_server(read):
    assert read()["EMAIL_BACKEND"].endswith("console.EmailBackend")
    settings = read(**PRODUCTION)
    assert settings["EMAIL_BACKEND"].endswith("dummy.EmailBackend")
    assert settings["MAILED"] is False


def test_who_mails_from_production_says_where_its_links_lead(read):
    with pytest.raises(ImproperlyConfigured, match="DEMARC_URL is not set"):
        read(**PRODUCTION, EMAIL_URL="smtp://mail.example.com", EMAIL_FROM="demarc@example.com")
