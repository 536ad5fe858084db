"""A process that is measured: one command a line in, one line of JSON out.

A process of its own, so that start-up is not measured and the peak of its memory is the work's.
"""

import importlib
import json
import os
import resource
import sys
import time
from datetime import date

import django
import polars as pl

AT = date(2026, 11, 22)


def read(keys):
    """COPY of the facts the rules use and of the layers' current assignments into Polars: what any recalculation reads."""
    from segmentation.evaluation import frames
    from segmentation.evaluation.run_rules import document_of
    from segmentation.models import Definition

    active = Definition.objects.filter(layer__key__in=keys, status="active")
    names = dict.fromkeys(fact for definition in active for fact in document_of(definition.pk).facts)
    everyone = {"first": 0, "last": 2**62}
    facts = frames.facts(names, at=AT, **everyone)
    for definition in active:
        query = f"select {', '.join(ASSIGNMENT)} from segmentation_assignment where layer_id = %(layer)s"
        frames.read(query, ASSIGNMENT, {"layer": definition.layer_id})
    return {"accounts": len(facts)}


ASSIGNMENT = {
    "id": pl.Int64,
    "account_id": pl.Int64,
    "computed_id": pl.Int64,
    "effective_id": pl.Int64,
    "definition_id": pl.Int64,
    "provisional_until": pl.Date,
    "reason": pl.String,
    "computed_since": pl.Date,
    "effective_since": pl.Date,
}


def run(keys):
    """A whole run, alone."""
    return work([start(keys)["run"]])


def start(keys):
    from segmentation.models import Layer
    from segmentation.runs import recalculation

    return {"run": recalculation.start(layers=Layer.objects.filter(key__in=keys), as_of=AT).pk}


def work(arguments):
    from segmentation.runs import recalculation

    report = recalculation.report(recalculation.work(int(arguments[0]), wait=True))
    counts = report["layers"].values()
    return {name: sum(layer[name] for layer in counts) for name in ("scanned", "changed", "moved")}


def preview(keys):
    """A whole impact preview of a layer's draft, alone."""
    from core.history import acting
    from segmentation.models import Layer
    from segmentation.previews import simulation

    draft = Layer.objects.get(key=keys[0]).definitions.get(status="draft")
    with acting(label="benchmark", channel="command"):
        made = simulation.start(draft, as_of=AT)
    report = simulation.report(simulation.work(made.pk, wait=True))
    return {"accounts": report["accounts"], "moved": report["moved"]["accounts"]}


VERBS = {"read": read, "run": run, "start": start, "work": work, "preview": preview}


def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from django.db import connection

    importlib.import_module("segmentation.tasks")  # imports are no part of the work

    connection.ensure_connection()
    print("ready", flush=True)
    for line in sys.stdin:
        verb, *arguments = line.split()
        started = time.perf_counter()
        result = VERBS[verb](arguments)
        result["seconds"] = time.perf_counter() - started
        result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
