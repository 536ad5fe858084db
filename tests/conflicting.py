"""The start of tests of conflicts: Acme, a technology company as the CRM says, and rules that go by the industry."""

from datetime import date

import polars as pl
from django.db import transaction

from accounts import catalogue, records
from accounts.models import Account, Conflict, SourceSystem, SystemOfRecord
from core.history import acting

JUNE = date(2026, 6, 1)
JULY = date(2026, 7, 1)
# Technology is worth 5 points and high, Finance 4 and high too, Healthcare 1 and low.
BY_INDUSTRY = {
    "dimensions": [
        {
            "key": "fit",
            "name": "Fit",
            "criteria": [
                {
                    "key": "industry",
                    "cells": ["Technology, Software", "Finance", "Retail", "Media", "*"],
                    "missing": "skip",
                },
                {
                    "key": "employees",
                    "cells": ["1,000+", "500-999", "100-499", "50-99", "< 50"],
                    "missing": "skip",
                },
            ],
        }
    ],
    "rules": [{"segment": "high", "when": "score.fit >= 4"}, {"segment": "low"}],
}


def record_of(fact, source):
    """The source has the last word on the fact."""
    system, _ = SourceSystem.objects.get_or_create(key=source, defaults={"name": source})
    SystemOfRecord.objects.update_or_create(fact=fact, defaults={"source": system})


def bring(source, *rows, at=JUNE, batch=None):
    """Upsert accounts ({external_id, ...facts}) as an import of this source does. Returns the Outcome."""
    columns = {name: catalogue.TYPES.get(name, "text") for row in rows for name in row}
    schema = {
        "nr": pl.Int64,
        **{
            name: catalogue.DTYPES["boolean" if kind == "boolean" else kind] for name, kind in columns.items()
        },
    }
    frame = pl.DataFrame([{"nr": nr, **row} for nr, row in enumerate(rows)], schema=schema)
    with transaction.atomic(), acting(label=source, channel="import", reason=f"Import of {source}"):
        return records.upsert_accounts(frame, columns, records.Origin(source, at, "USD", batch))


def known(external_id, fact):
    """(value, source, day) of a fact as it is known now."""
    one = Account.objects.select_related("parent").get(external_id=external_id)
    value = one.parent.external_id if fact == "parent" and one.parent else getattr(one, fact)
    return (value, *one.provenance.get(fact, (None, None)))


def conflicts(*names):
    """All conflicts, oldest first, as tuples of these fields."""
    names = names or (
        "account__external_id",
        "fact",
        "held_value",
        "proposed_value",
        "proposed_source",
        "status",
    )
    return list(Conflict.objects.order_by("pk").values_list(*names))


def gate(asked, *args):
    """As governance's, where every change matters and nobody has pinned anything."""
    if asked == "weigh":
        return {row: ["It matters"] for row in args[0]["row"]}
    return None
