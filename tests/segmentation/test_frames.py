"""Reading a range of accounts: what comes out, and how PostgreSQL gets at it."""

import pytest
from django.db import connection
from segmenting import DAY, account, layer_with, portfolio, recompute

from accounts import catalogue
from segmentation.evaluation import frames

EVERYONE = {"first": 0, "last": 2**62}


@pytest.fixture
def plans(monkeypatch):
    """The plans of what is read from here on, as text."""
    found, read = [], frames.read

    def explained(query, schema, parameters):
        with connection.cursor() as cursor:
            cursor.execute(f"explain {query}", parameters)
            found.append("\n".join(line for (line,) in cursor.fetchall()))
        return read(query, schema, parameters)

    monkeypatch.setattr(frames, "read", explained)
    return found


def test_ranges_are_joined_whole_right_after_an_import(db, plans):
    """Nothing is known of the tables yet, and each range passes for one row: nested loops would be n x n."""
    layer = layer_with()
    portfolio(300)
    recompute()
    plans.clear()
    frames.facts(["arr", "nps", "contract_type", "csm"], at=DAY, **EVERYONE)
    assert frames.standing(layer.pk, **EVERYONE).height == 300
    assert frames.assignments(layer.pk, **EVERYONE).height == 300
    assert frames.assignments(layer.pk + 1, **EVERYONE).height == 0
    assert len(plans) == 3  # nothing is read of a layer without assignments
    assert not any("Nested Loop" in plan for plan in plans)
    with connection.cursor() as cursor:  # and nobody else is concerned
        cursor.execute("show enable_nestloop")
        assert cursor.fetchone() == ("on",)


def test_parents_are_looked_up_one_by_one(db, plans):
    """They are anywhere in the table: joined whole, each chunk would read all of it."""
    above = account("above")
    account("acme", parent=above)
    found = frames.facts(["parent"], at=DAY, **EVERYONE)
    assert found["parent"].to_list() == [None, "above"]
    assert "(id = a.parent_id)" in plans[0]  # once an account; how is the planner's choice
    assert "Hash Cond: (q.id = a.parent_id)" not in plans[0]


def test_every_fact_can_be_read(db):
    account("acme", arr=1, usage={"nps": 1})
    found = frames.facts(catalogue.FACTS, at=DAY, **EVERYONE)
    assert found.height == 1
    assert {name: found.schema[name] for name in catalogue.FACTS} == {
        name: catalogue.dtype(name) for name in catalogue.FACTS
    }
