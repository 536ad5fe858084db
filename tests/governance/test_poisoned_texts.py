"""Whatever people typed, into whichever column: it never becomes part of the page itself, and no page runs it."""

import json
import logging
import re

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, models, transaction
from django.test import Client
from django.utils import timezone
from worlds import addresses, url_of

from accounts.models import ImportFile, Refusal, RejectedRow, Signal, Subscription
from config.middleware import CONTENT_SECURITY_POLICY
from governance.models import Comment, Decision
from governance.news import mail
from governance.signoff.roles import ROLES
from segmentation.models import Acknowledgement, Interview, Quarantined

# A column gets the longest that it has room for and that its checks let through.
POISON = (
    "\"><script src=//x.y/a.js></script><img src=x onerror=alert(1)>'",
    '"><script src=//x.y/a.js></script>',
    '"><img src=x>',
    "<b x>",
)
UNESCAPED = re.compile(rb".{,60}(?:<script src=//x|<img src=x|<b x>).{,20}", re.DOTALL)
# Values pages find something by or calculate with: with anything else in it there would be no page to look at.
READ = {
    "time_zone",
    "key",
    "fact",
    "currency",
    "hash",
    "check_id",
    "about",
    "listing",
    "codename",
    "verb",
    "model",
    "why",
    "query",
}
READ |= {"channel", "kind", "step", "recipe", "condition", "needed", "group", "link", "password"}
TABLES_LEFT_OUT = {
    "auth_permission",
    "django_content_type",
    "django_session",
    "auth_group",
    "django_admin_log",
}
SENTENCES = {
    "name",
    "text",
    "label",
    "description",
    "note",
    "reason",
    "why",
    "subject",
    "sentence",
    "title",
    "user",
}
# Beside every address as it is: what is only shown where somebody asks for it.
ASKED = {
    "admin:accounts_account_change": "show=moves&layer=tier",
    "admin:accounts_account_changelist": "segment=high&_popup=1",
    "admin:governance_approvalrequest_changelist": "tab=all",
    "admin:governance_transition_triage": "round=on",
    "admin:index": "segment=high",
    "admin:search": "extended=1&s=t",
    "audit": "kind=all",
    "inbox": "all=1",
}


def columns():
    """[(table, field)] of all that somebody may have typed something into."""
    found = [
        (model._meta.db_table, field)
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and model._meta.db_table not in TABLES_LEFT_OUT
        for field in model._meta.concrete_fields
        if isinstance(field, (models.CharField, models.TextField, models.JSONField)) and not field.choices
    ]
    return [(table, field) for table, field in found if field.column not in READ or _is_sentence(field)]


def _is_sentence(field):
    return field.column == "why" and field.max_length != 12  # a tier change's is a code


def poisoned(value, poison, said=True):
    """JSON with the poison in each text that is a sentence, and in none that names or calculates something."""
    if isinstance(value, dict):
        return {name: poisoned(one, poison, name in SENTENCES) for name, one in value.items()}
    if isinstance(value, list):
        return [poisoned(one, poison, said) for one in value]
    return poison if said and isinstance(value, str) else value


def put(cursor, table, field):
    """How many rows have the poison in this column now."""
    for poison in POISON:
        try:
            with transaction.atomic():
                return _put(cursor, f'"{table}"', f'"{field.column}"', field, poison)
        except DatabaseError:  # too long, or a check
            continue
    return 0


def _put(cursor, table, column, field, poison):
    if not isinstance(field, models.JSONField):
        other = " || ctid::text" if field.max_length else ""  # no two are the same
        cursor.execute(f"UPDATE {table} SET {column} = %s{other}", [poison])
        return cursor.rowcount
    cursor.execute(f"SELECT id, {column} FROM {table} WHERE {column} IS NOT NULL")
    rows = [(json.loads(text), key) for key, text in cursor.fetchall()]
    changed = [(json.dumps(new), key) for old, key in rows if (new := poisoned(old, poison)) != old]
    cursor.executemany(f"UPDATE {table} SET {column} = %s WHERE id = %s", changed)
    return len(changed)


def more(made):
    """A row of each kind the world has none of, so that there is something to poison."""
    today, who = timezone.localdate(), {"by": 1, "by_label": "x"}
    request, run, batch = made["approvalrequest"], made["run"], made["importbatch"]
    Comment.objects.create(request=request, text="x", **who)
    Decision.objects.create(
        request=request, verdict="approve", role="Approver", hash=request.hash, revision=1, reason="x", **who
    )
    Quarantined.objects.create(run=run, layer=made["layer"], account=made["account"], reason="x")
    RejectedRow.objects.create(
        batch=batch, origin="x", line=1, external_id="x", column="x", value="x", reason="x"
    )
    ImportFile.objects.create(batch=batch, name="x", content=b"")
    Interview.objects.create(
        job=made["jobtobedone"], held_on=today, account=made["account"], person="x", notes="x"
    )
    Refusal.objects.create(verb="people.ask", subject="x", sentence="x", actor=1)
    Signal.objects.create(account=made["account"], signal="x", at=today, source="x")
    Acknowledgement.objects.create(
        definition=made["definition"], check_id="no-owner", sentence="x", reason="x"
    )
    Subscription.objects.create(
        account=made["account"], product=made["product"], subscription_id="x", start_date=today, arr=1
    )


@pytest.fixture
def everything(world):
    """A world in which every text is poison."""
    made, users = world
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in {table for table, _ in columns()}:
            cursor.execute(f'ALTER TABLE "{table}" DISABLE TRIGGER USER')
        more(made)
        reached = [(table, field.column) for table, field in columns() if put(cursor, table, field)]
    assert len(reached) > 330, sorted(reached)
    User.objects.create(username="chief", is_staff=True, is_superuser=True)
    return made, users | {"superuser": User.objects.get(username="chief")}


# Everybody's pages are the same templates: every day the one who sees all of them and one who sees little.
WHO = ["superuser", "CSM", *(pytest.param(role, marks=pytest.mark.long) for role in ROLES if role != "CSM")]


@pytest.mark.parametrize("role", WHO)
def test_no_page_lets_a_text_be_more_than_a_text(everything, role, monkeypatch):
    made, users = everything
    monkeypatch.setattr(logging.getLogger("django.request"), "disabled", True)  # a trace for each no
    client = Client(raise_request_exception=False)
    client.force_login(users[role])
    broken, read = {}, 0
    for name, arguments in addresses():
        url = url_of(name, arguments, made)
        for address in [url, f"{url}?{ASKED[name]}"] if name in ASKED else [url]:
            answer = client.get(address)
            page = b"".join(answer.streaming_content) if answer.streaming else answer.content
            assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
            if answer.status_code == 500:
                broken[address] = 500
            elif answer.headers["Content-Type"].startswith("text/html") and (hits := UNESCAPED.findall(page)):
                broken[address] = hits[:2]
            read += answer.status_code == 200 and b"x.y/a.js" in page
    assert broken == {}
    assert read > (60 if role == "superuser" else 30)  # pages that show some of it


def test_no_mail_lets_a_text_be_more_than_a_text(everything):
    made, _ = everything
    made["notification"].refresh_from_db()
    [(html, kind)] = mail.message(User.objects.first(), [made["notification"]]).alternatives
    assert kind == "text/html"
    assert "x.y/a.js" in html
    assert not UNESCAPED.search(html.encode())


def test_only_own_files_are_run():
    policy = dict(line.split(" ", 1) for line in CONTENT_SECURITY_POLICY.split("; "))
    assert policy["script-src"] == "'self' 'unsafe-eval'"  # no inline script, no other host
    assert policy["default-src"] == policy["form-action"] == policy["base-uri"] == "'self'"
    assert policy["object-src"] == policy["frame-ancestors"] == "'none'"


@pytest.mark.parametrize("address", ["/", "/admin/login/", "/nowhere/", "/admin/?q=%00"])
def test_every_answer_says_what_may_be_loaded(client, db, address):
    assert client.get(address).headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
