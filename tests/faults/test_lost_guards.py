"""A database that has lost a trigger (a dump without them, a person) is served by nobody."""

import subprocess

from django.db import connection
from waiting import PATIENCE

PARTS = {
    "web": ["-m", "gunicorn", "config.wsgi", "--no-control-socket", "--bind=127.0.0.1:0"],
    "worker": ["-m", "celery", "--quiet", "-A", "config", "worker", "--without-mingle", "--without-gossip"],
    "beat": ["-m", "celery", "--quiet", "-A", "config", "beat"],
}


def test_no_part_starts_without_the_guards(real_db, spawn, tmp_path):
    with connection.cursor() as cursor:
        cursor.execute("alter table segmentation_move disable trigger demarc_append_only")
    # Beat deletes a schedule file that it cannot read: it gets one that nobody misses.
    parts = PARTS | {"beat": [*PARTS["beat"], f"--schedule={tmp_path / 'schedule'}"]}
    started = {
        name: spawn(*command, env=real_db.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for name, command in parts.items()
    }
    for name, process in started.items():
        said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode, name
        assert (
            "does not keep what Demarc promises: trigger demarc_append_only on segmentation_move is not as"
            in said
        ), name
