"""Imports by real workers, and what is left of one whose process is killed."""

import signal
import subprocess
import sys
import threading
from datetime import timedelta

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone
from importing import GOOD, recipe
from waiting import wait_until

from accounts import imports, records, tasks
from accounts.imports import batches
from accounts.models import Account, ImportBatch

Status = ImportBatch.Status


def upload(text=GOOD, **keys):
    return imports.create(recipe({"crm.csv": text}, **keys), {"crm.csv": text.encode()}, label="ops")


def becomes(batch, status):
    def there():
        batch.refresh_from_db()
        return batch.status == status

    return wait_until(there)


def test_a_worker_checks_and_commits_an_upload(real_db, spawn_worker):
    spawn_worker()
    person = get_user_model().objects.create_user("ops")
    batch = upload()
    tasks.work.delay_on_commit(batch.pk)
    becomes(batch, Status.PREVIEWED)
    assert batch.queries[0]["created"] == 2
    assert not Account.objects.exists()
    imports.ask_commit(batch, by=person)
    with pytest.raises(imports.Refused, match=r"Saving|Imported"):
        imports.ask_commit(ImportBatch.objects.get(pk=batch.pk), by=person)
    becomes(batch, Status.COMMITTED)
    assert Account.objects.count() == 2
    assert not batch.uploads.exists()
    tasks.work(batch.pk)  # a message may come twice
    assert Account.history.count() == 2
    assert {row.history_user_id for row in Account.history.all()} == {person.pk}


def test_rejected_rows_have_to_be_agreed_to(real_db):
    batch = upload(GOOD + "A-3,Three,x\n")
    imports.preview(batch)
    with pytest.raises(imports.Refused, match="1 row"):
        imports.ask_commit(batch, by=None)


def killed_while_saving(real_db, spawn, *arguments):
    """Run a command that imports, and kill -9 it once it has written within its transaction."""
    with psycopg.connect(real_db.url) as other:
        # A row of ours that the import has to wait for: its accounts are written by then, but not committed.
        other.execute("lock table accounts_signal in access exclusive mode")
        short = real_db.environment | {"DEMARC_LEASE": "1"}
        process = spawn(*arguments, env=short, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        with psycopg.connect(real_db.url, autocommit=True) as watch:
            wait_until(lambda: watch.execute(waiting).fetchone()[0] or process.poll() is not None)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()


EVENTS = {"signals": "SELECT id AS external_id, 'call' AS signal, DATE '2026-01-01' AS at FROM crm"}


def test_a_killed_command_leaves_nothing_and_is_told_of(real_db, spawn, tmp_path):
    (tmp_path / "crm.csv").write_text(GOOD)
    (tmp_path / "recipe.yaml").write_text(recipe({"crm.csv": GOOD}, **EVENTS))
    command = ("manage.py", "import_accounts", tmp_path / "recipe.yaml", "--commit")
    killed_while_saving(real_db, spawn, *command)
    batch = ImportBatch.objects.get()
    assert batch.status == Status.COMMITTING
    assert not Account.objects.exists()
    wait_until(lambda: imports.sweep() == 0)
    batch.refresh_from_db()
    assert batch.status == Status.FAILED
    assert "ended before it was done" in batch.error
    again = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "2 created" in again.stdout
    assert Account.objects.count() == Account.history.count() == 2


def test_what_a_killed_worker_left_is_done_by_the_next(real_db, spawn):
    batch = upload(**EVENTS)
    imports.preview(batch)
    imports.ask_commit(batch, by=None)
    killed_while_saving(
        real_db,
        spawn,
        "-c",
        f"import django; django.setup(); from accounts import imports; imports.work({batch.pk})",
    )
    assert not Account.objects.exists()
    wait_until(lambda: imports.sweep() == 0)
    batch.refresh_from_db()
    assert (batch.status, Account.objects.count()) == (Status.COMMITTED, 2)


def test_an_import_that_keeps_killing_its_worker_is_given_up(real_db):
    batch = upload()
    ImportBatch.objects.filter(pk=batch.pk).update(status=Status.CHECKING)
    lost = timezone.now() - timedelta(minutes=1)
    batch.parts.update(status="claimed", attempts=3, leased_until=lost)
    imports.sweep()
    batch.refresh_from_db()
    assert batch.status == Status.FAILED
    assert batch.error == "Given up: 3 workers were lost at it. Nothing was imported."


def test_of_many_commits_at_once_one_happens(real_db):
    batch = upload()
    imports.preview(batch)
    said = []

    def commit():
        try:
            imports.commit(ImportBatch.objects.get(pk=batch.pk))
            said.append("done")
        except imports.Refused as refusal:
            said.append(str(refusal))
        finally:
            connection.close()

    threads = [threading.Thread(target=commit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said.count("done") == 1
    assert all("worked on already" in each or "Imported" in each for each in said if each != "done")
    assert Account.history.count() == 2


def test_progress_is_seen_while_it_works(real_db):
    batch = upload(**EVENTS)
    with psycopg.connect(real_db.url) as other:
        other.execute("lock table accounts_signal in access exclusive mode")
        thread = threading.Thread(target=lambda: (imports.preview(batch), connection.close()))
        thread.start()

        def seen():
            return ImportBatch.objects.get(pk=batch.pk).progress.get("step") == "Saving signals"

        wait_until(seen)
    thread.join()
    assert ImportBatch.objects.get(pk=batch.pk).progress == {}


def analyzed():
    """How often each table was analysed by command, not by autovacuum; accounts are within an import, too."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select relname, analyze_count from pg_stat_user_tables where analyze_count > 0 and relname <> 'accounts_account'"
        )
        return dict(cursor.fetchall())


def test_a_large_import_renews_what_the_planner_knows(real_db):
    def imported(first, last, *, commit=True):
        rows = "".join(f"A-{n},Account {n},{n}\n" for n in range(first, last))
        batch = upload("id,name,arr\n" + rows)
        (imports.commit if commit else imports.preview)(batch)
        return analyzed()

    before = imported(0, 5)
    assert imported(0, records.MANY + 5, commit=False) == before
    after = imported(0, records.MANY + 5)
    tables = ["accounts_historicalaccount", "accounts_usage"]
    assert after == before | {table: before.get(table, 0) + 1 for table in tables}
    assert imported(0, records.MANY + 5) == after  # nothing written, nothing to count


def test_statistics_that_cannot_be_renewed_undo_no_import(real_db, monkeypatch):
    monkeypatch.setattr(records, "MANY", 1)
    with connection.cursor() as cursor:  # an index whose expression fails while it is analysed
        cursor.execute(
            "create function fails(text) returns text language plpgsql immutable as $$ begin "
            "if current_query() like 'analyze%' then raise 'disk full'; end if; return $1; end $$"
        )
        cursor.execute("create index on accounts_account (fails(external_id))")
    batch, told = upload(), []
    monkeypatch.setattr(batches.log, "warning", lambda event, **known: told.append(known["error"]))
    imports.commit(batch)
    batch.refresh_from_db()
    assert (batch.status, batch.error) == (Status.COMMITTED, "")
    assert any("disk full" in error for error in told)
