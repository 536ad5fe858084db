"""`make bench`: every row of docs/benchmarks.md that exists, at several sizes in one go, as ratios in the same run.

    python -m benchmarks [--sizes 100000 1000000] [--out benchmarks/results]

Writes results.json and results.png, and a table to stdout. Works in databases of its own, dropped at the end.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import django
import psycopg

ROOT = Path(__file__).resolve().parent.parent
LAYER = "thirteen"
EIGHT_LAYERS_UP_TO = 200_000  # their first run takes eight times as long, and is not what is measured


def log(text):
    print(text, file=sys.stderr, flush=True)


# -- databases and processes


@contextmanager
def database(name, *, keep=False):
    """A fresh database on the server in use, dropped afterwards; this process and its children use it. keep: one that is there."""
    from config import database as addresses
    from config import embedded

    server = chief = os.environ.get("DATABASE_URL")
    if server is None:  # its role may not make databases
        server, chief = embedded.start(ROOT / ".demarc").url, embedded.superuser(ROOT / ".demarc").url
    settings = addresses.from_url(server)
    url = addresses.to_url(settings | {"NAME": name})
    chief = addresses.to_url(addresses.from_url(chief) | {"NAME": "postgres"})
    with psycopg.connect(chief, autocommit=True) as admin:
        if not keep:
            admin.execute(f"drop database if exists {name} with (force)")
            admin.execute(f'create database {name} owner "{settings["USER"]}"')
        os.environ["DATABASE_URL"] = url
        try:
            yield
        finally:
            if not keep:
                admin.execute(f"drop database if exists {name} with (force)")
            if "DATABASE_URL" in os.environ:
                os.environ["DATABASE_URL"] = server


class Worker:
    """benchmarks/worker.py in a process of its own."""

    def __init__(self):
        command = [sys.executable, "-m", "benchmarks.worker"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(
                "A benchmark worker did not start; run `python -m benchmarks.worker` to see why."
            )

    def tell(self, *words):
        print(*words, file=self.process.stdin, flush=True)

    def result(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("A benchmark worker ended early.")
        return json.loads(line)

    def do(self, *words):
        self.tell(*words)
        return self.result()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def once(*words):
    """One command in a fresh process."""
    worker = Worker()
    try:
        return worker.do(*words)
    finally:
        worker.close()


def together(count, run):
    """The same run by several processes at once: the slowest decides."""
    workers = [Worker() for _ in range(count)]
    for worker in workers:
        worker.tell("work", run)
    results = [worker.result() for worker in workers]
    for worker in workers:
        worker.close()
    return {
        "seconds": max(result["seconds"] for result in results),
        "peak_mib": max(result["peak_mib"] for result in results),
    }


# -- what is measured


def measure(size):
    """All rows at one size. Returns {row: {...}}; seconds are medians of what was repeated."""
    from django.db import connection

    from benchmarks import portfolio

    rows = Told()
    log(f"{size:,} accounts: building the portfolio")
    portfolio.build(size)
    layer = load_layers()

    def full():
        connection.close()
        return once("run", LAYER)

    rows["first run"] = full()
    vacuum()
    full()
    rows["read"] = best(lambda: once("read", LAYER))
    rows["nothing changed"] = best(full)
    draft(layer)
    rows["preview of a draft"] = best(lambda: once("preview", LAYER))
    rows["1 % changed"] = best(lambda: (portfolio.touch(0.01), full())[1], times=2)
    vacuum()
    portfolio.rescore()
    rows["100 % rescored, one worker"] = full()
    vacuum()
    portfolio.rescore()
    connection.close()
    worker = Worker()
    run = worker.do("start", LAYER)["run"]
    worker.close()
    rows["100 % rescored, two workers"] = together(2, run)
    vacuum()
    rows["one SQL statement, nothing changed"] = best(lambda: statement(layer), times=2)
    if size <= EIGHT_LAYERS_UP_TO:
        keys = eight_layers()
        once("run", *keys)
        vacuum()
        rows["eight layers, nothing changed"] = best(lambda: once("run", *keys), times=2)
    for name, row in (in_memory(min(size, 200_000)) | pages()).items():
        rows[name] = row
    return rows


class Told(dict):
    """Rows that are told as soon as they are measured: a million accounts take a quarter of an hour."""

    def __setitem__(self, name, row):
        log(f"  {name}: {row}")
        super().__setitem__(name, row)


def best(action, times=3):
    """The median of some repetitions, with the highest memory."""
    results = [action() for _ in range(times)]
    result = dict(results[-1])
    result["seconds"] = statistics.median(each["seconds"] for each in results)
    if "peak_mib" in result:
        result["peak_mib"] = max(each["peak_mib"] for each in results)
    return result


def vacuum():
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("vacuum analyze")


def load_layers():
    """The presets, and a layer with the 13 measures of the targets."""
    from core.history import acting
    from segmentation.authoring import versions
    from segmentation.models import Layer
    from segmentation.rules.document_text import from_yaml

    versions.load_presets()
    service_tier = Layer.objects.get(key="service-tier")
    document = from_yaml((ROOT / "benchmarks" / "thirteen.yaml").read_text())
    with acting(label="benchmark", channel="command"):
        return copy_layer(service_tier, LAYER, document)


def draft(layer):
    """A draft of the layer with one boundary moved: some 5 % of the accounts would change the segment."""
    import copy

    from django.contrib.auth import get_user_model

    from segmentation.authoring import versions

    by, _ = get_user_model().objects.get_or_create(username="benchmark", is_staff=True, is_superuser=True)
    made = versions.create_draft(layer, by=by)
    document = copy.deepcopy(made.document)
    document["rules"][0]["when"] = "composite >= 3.9"
    versions.save_draft(made, document, by=by)


def copy_layer(source, key, document):
    """A further layer with a source's segments, under the given rules, as a preset is loaded: its first rules need nobody's sign-off."""
    from segmentation.authoring import versions
    from segmentation.models import Layer

    segments = [
        {
            "key": segment.key,
            "name": segment.name,
            "owner_role": segment.owner_role,
            "treatment": {"key": segment.treatment.key},
        }
        for segment in source.segments.select_related("treatment").order_by("position")
    ]
    preset = {"key": key, "name": key, "policy": "automatic", "segments": segments, "document": document}
    versions.load_preset(preset, 50)
    return Layer.objects.get(key=key)


def eight_layers():
    """The eight presets that load active: six by value and fit, lifecycle and health."""
    from segmentation.models import Layer

    keys = Layer.objects.filter(definitions__status="active").exclude(key=LAYER)
    return list(keys.values_list("key", flat=True))


def statement(layer):
    """The hand-written SQL statement, on the same data; what it writes is what differs (nothing)."""
    from django.db import connection, transaction

    from benchmarks.statement import sql

    definition = layer.definitions.get(status="active")
    with transaction.atomic(), connection.cursor() as cursor:
        started = time.perf_counter()
        cursor.execute(sql(layer.pk, definition.pk))
        seconds = time.perf_counter() - started
        changed = cursor.rowcount
        transaction.set_rollback(True)
    if changed:
        raise RuntimeError(f"The SQL statement disagrees with the engine on {changed} accounts.")
    return {"seconds": seconds}


def in_memory(size):
    """Evaluation alone, the frame in memory, against two engines that work account by account."""
    from accounts import catalogue
    from benchmarks import peers
    from segmentation.evaluation import engine, frames
    from segmentation.rules import definitions

    document = definitions.parse(peers.DOCUMENT, types=catalogue.TYPES)
    frame = frames.facts(["employees", "arr"], at=None, first=0, last=2**62).head(size).drop("foreign")
    started = time.perf_counter()
    ours = engine.evaluate(document, frame, None)["segment"]
    rows = {"evaluation alone: Demarc": {"seconds": time.perf_counter() - started, "accounts": size}}
    sample = frame.head(min(size, 20_000))  # they take long; the rate is what counts
    for name, peer in (("flagsmith-flag-engine", peers.flagsmith), ("zen-engine", peers.zen_engine)):
        started = time.perf_counter()
        theirs = peer(sample)
        rows[f"evaluation alone: {name}"] = {
            "seconds": time.perf_counter() - started,
            "accounts": len(sample),
        }
        if theirs != ours.head(len(sample)).to_list():
            raise RuntimeError(f"{name} does not agree with the engine.")
    return rows


def pages():
    """Account list, account page and home through Django's own stack: 95th percentile of 20 loads, and queries."""
    from django.contrib.auth import get_user_model
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext
    from django.urls import reverse

    from accounts.models import Account

    client = Client()
    client.force_login(get_user_model().objects.get(username="benchmark"))
    middle = Account.objects.order_by("pk")[Account.objects.count() // 2].pk
    addresses = {
        "home": reverse("admin:index"),
        "account list": reverse("admin:accounts_account_changelist"),
        "account page": reverse("admin:accounts_account_change", args=[middle]),
    }
    rows = {}
    for name, address in addresses.items():
        times = []
        for _ in range(20):
            with CaptureQueriesContext(connection) as queries:
                started = time.perf_counter()
                response = client.get(address, follow=True)
                times.append(time.perf_counter() - started)
            if response.status_code != 200:
                raise RuntimeError(f"{address} answers {response.status_code}")
        rows[f"page: {name}"] = {"p95": sorted(times)[18], "queries": len(queries)}
    return rows


# -- what is shown


def table(results):
    """The rows that have a target: measured, target, met or not."""
    lines = ["| accounts | work | measured | target | met |", "| ---: | --- | ---: | ---: | --- |"]
    for size, rows in results.items():
        for work, value, target, met in judged(rows):
            lines.append(f"| {int(size):,} | {work} | {value} | {target} | {'yes' if met else 'no'} |")
    return "\n".join(lines)


def judged(rows):
    """(work, measured, target, met) of design section 8."""
    read = rows["read"]["seconds"]

    def against_read(name, limit):
        ratio = rows[name]["seconds"] / read
        return (f"{name}, against read", f"{ratio:.2f} x", f"<= {limit} x", ratio <= limit)

    yield against_read("nothing changed", 1.5)
    yield against_read("1 % changed", 2)
    yield against_read("100 % rescored, one worker", 8)
    yield against_read("100 % rescored, two workers", 5)
    if "eight layers, nothing changed" in rows:
        yield against_read("eight layers, nothing changed", 4)
    ratio = rows["preview of a draft"]["seconds"] / rows["nothing changed"]["seconds"]
    yield ("preview of a draft, against the full run", f"{ratio:.2f} x", "<= 1 x", ratio <= 1)
    faster = rows["one SQL statement, nothing changed"]["seconds"] / rows["nothing changed"]["seconds"]
    yield ("nothing changed, against one SQL statement", f"{faster:.2f} x faster", ">= 1.5 x", faster >= 1.5)
    ours = rows["evaluation alone: Demarc"]
    for name in ("flagsmith-flag-engine", "zen-engine"):
        theirs = rows[f"evaluation alone: {name}"]
        faster = (theirs["seconds"] / theirs["accounts"]) / (ours["seconds"] / ours["accounts"])
        yield (f"evaluation alone, against {name}", f"{faster:.0f} x faster", ">= 50 x", faster >= 50)
    peak = max(row.get("peak_mib", 0) for name, row in rows.items() if "read" not in name)
    yield ("memory of a worker", f"{peak:.0f} MiB", "< 512 MiB", peak < 512)
    for name, row in rows.items():
        if name.startswith("page: "):
            p95 = row["p95"] * 1000
            yield (f"{name}, p95", f"{p95:.0f} ms, {row['queries']} queries", "< 500 ms", p95 < 500)
    yield ("read", f"{read:.2f} s", "the base", True)
    yield ("first run", f"{rows['first run']['seconds']:.1f} s", "reported", True)


def plot(results, path):
    """Bars of the ratios against read, one colour a size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = ["nothing changed", "1 % changed", "100 % rescored, two workers", "100 % rescored, one worker"]
    names += ["eight layers, nothing changed", "one SQL statement, nothing changed"]
    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    names = [name for name in names if all(name in rows for rows in results.values())]
    height = 0.8 / len(results)
    for index, (size, rows) in enumerate(results.items()):
        ratios = [rows[name]["seconds"] / rows["read"]["seconds"] for name in names]
        places = [place + index * height for place in range(len(names))]
        bars = axes.barh(places, ratios, height, label=f"{int(size):,} accounts")
        axes.bar_label(bars, fmt="%.2f x", padding=3)
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xlabel("time, as a multiple of reading the same facts and assignments")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    results = {}
    for size in options.sizes:
        with database("demarc_bench"):
            command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
            subprocess.run(command, cwd=ROOT, check=True)
            # A process for each size: settings read the database's address once.
            inner = [sys.executable, "-c", f"from benchmarks.__main__ import inside; inside({size})"]
            output = subprocess.run(inner, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
            results[str(size)] = json.loads(output)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    plot(results, options.out / "results.png")
    print(table(results))


def inside(size):
    """One size, in a database that is there; JSON on stdout."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ.setdefault("ALLOWED_HOSTS", "testserver")
    django.setup()
    print(json.dumps(measure(size)))


if __name__ == "__main__":
    main()
