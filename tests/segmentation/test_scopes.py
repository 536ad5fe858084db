"""Scopes, which are what a segmentation labels: each answers everything, and nothing else asks which one it is."""

import ast
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from django.db import IntegrityError, transaction
from segmenting import BY_ARR, DAY, account, layer_with, recompute

from accounts import catalogue
from segmentation import scopes
from segmentation.evaluation import frames, run_rules
from segmentation.models import Assignment, Layer, Move
from segmentation.previews import impact

ROOT = Path(__file__).parents[2]
EVERYONE = {"first": 0, "last": 2**62}
every_scope = pytest.mark.parametrize("scope", scopes.SCOPES.values(), ids=lambda scope: scope.key)

# A company and those one level below it, as an entry that only this test has.
FAMILY = replace(
    scopes.ACCOUNT,
    key="family",
    unit="family,families",
    name="family,families",
    active="family of an active customer,families of active customers",
    measured="families",
    may_be_primary=False,
    may_need_approval=False,
    joins={
        "x": """join (select coalesce(q.parent_id, q.id) as head, sum(q.arr) as arr, sum(q.acv) as acv,
                             sum(q.seats_licensed) as seats_licensed, min(q.renewal_date) as renewal_date,
                             null as contract_type, min(q.contract_start) as contract_start
                        from accounts_account q
                       where coalesce(q.parent_id, q.id) between %(first)s and %(last)s group by 1) x on x.head = a.id"""
    }
    | scopes.ACCOUNT.joins,
    there="true",
    whole="x.{}",
)


def modules():
    """(path, tree) of every module that is no migration, scopes.py aside."""
    for app in ("core", "accounts", "segmentation", "governance", "config"):
        for path in sorted((ROOT / app).rglob("*.py")):
            if "migrations" not in path.parts and path.name != "scopes.py":
                yield path.relative_to(ROOT), ast.parse(path.read_text())


def asks(node):
    """True where a piece of code asks which scope something has: `layer.scope == "product"`, `scope="product"`, ..."""
    if isinstance(node, ast.Compare):
        sides = [ast.unparse(side) for side in (node.left, *node.comparators)]
        named = any(side.endswith((".scope", '["scope"]', "['scope']")) or side == "scope" for side in sides)
        texts = any(
            isinstance(side, ast.Constant) and isinstance(side.value, str)
            for side in (node.left, *node.comparators)
        )
        return (named and texts) or any(side in ("scopes.ACCOUNT", "scopes.PRODUCT") for side in sides)
    if isinstance(node, ast.keyword):
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return node.arg is not None and node.arg.split("__")[-1] == "scope" and text
    return False


@pytest.mark.parametrize(
    ("code", "does"),
    [
        ("layer.scope == 'product'", True),
        ("'product' == told['scope']", True),
        ("scope == scopes.PRODUCT", True),
        ("Layer.objects.filter(scope='account')", True),
        ("Layer.objects.filter(layer__scope='account')", True),
        ("parent.layer.scope != self.layer.scope", False),
        ("layer.scoped.several", False),
        ("Layer.objects.filter(scope__in=scopes.ONE_LABEL)", False),
    ],
)
def test_code_that_asks_which_scope_is_found(code, does):
    assert any(asks(node) for node in ast.walk(ast.parse(code))) == does


def test_no_other_module_asks_which_scope_it_is():
    wrong = [f"{path}:{node.lineno}" for path, tree in modules() for node in ast.walk(tree) if asks(node)]
    assert wrong == []
    pages = (ROOT / "templates").rglob("*.html")
    assert [str(page) for page in pages if re.search(r"\.(scope|unit) ==|\.labelled", page.read_text())] == []


@every_scope
def test_every_scope_has_words_and_joins(scope):
    for pair in (scope.unit, scope.name, scope.active):
        one, many = pair.split(",")
        assert one
        assert many not in ("", one)
    assert scope.measured
    assert set(scope.joins) - {"x"} == {"u", "s", "g", "m", "p"}
    assert "x" not in list(scope.joins)[1:]  # the others name it
    assert bool(scope.there) == ("x" in scope.joins)
    assert [one.name for one in fields(scope) if getattr(scope, one.name) is None] == []
    for part in scope.parts:
        assert Assignment._meta.get_field(part).is_relation
        assert Move._meta.get_field(part).is_relation


@every_scope
def test_every_scope_can_be_chosen_and_is_found_again(scope):
    field = Layer._meta.get_field("scope")
    assert dict(field.choices)[scope.key].lower() == scope.units
    assert len(scope.key) <= field.max_length
    assert Layer(scope=scope.key).scoped is scope


def test_each_scope_gives_an_account_one_label_or_several():
    assert sorted([*scopes.ONE_LABEL, *scopes.SEVERAL_LABELS]) == sorted(scopes.SCOPES)
    assert scopes.parts_of([scopes.ACCOUNT, scopes.PRODUCT, scopes.PRODUCT]) == ("product",)


@pytest.mark.parametrize("scope", [*scopes.SCOPES.values(), FAMILY], ids=lambda scope: scope.key)
def test_every_fact_can_be_read_for_it(db, scope):
    account("acme", arr=1, usage={"nps": 1})
    for name in catalogue.FACTS:
        frames.any_known([name], at=DAY, scope=scope)
    total, known = frames.completeness(catalogue.FACTS, at=DAY, scope=scope)
    assert set(known) == set(catalogue.FACTS)
    assert all(0 <= count <= total for count in known.values())
    found = frames.facts(catalogue.FACTS, at=DAY, scope=scope, **EVERYONE)
    assert found.columns[:2] == ["id", "churned"]
    assert set(scope.columns) | set(catalogue.FACTS) | {"foreign"} <= set(found.columns)
    assert ("gone" in found.columns) == bool(scope.there)


@every_scope
@pytest.mark.parametrize(
    ("given", "may"),
    [({"primary": True}, "may_be_primary"), ({"policy": "approval"}, "may_need_approval")],
)
def test_the_database_allows_what_the_scope_allows(db, scope, given, may):
    Layer.objects.update(primary=False)
    try:
        with transaction.atomic():
            Layer.objects.create(key="new", name="New", scope=scope.key, **given)
            made = True
    except IntegrityError:
        made = False
    assert made == getattr(scope, may)


def test_one_more_scope_is_one_more_entry(db, monkeypatch):
    monkeypatch.setitem(scopes.SCOPES, FAMILY.key, FAMILY)
    head = account("head", arr=40_000)
    account("below", parent=head, arr=70_000)
    account("alone", arr=50_000)
    layer = layer_with(BY_ARR, key="family", policy="automatic", scope="family")
    counts = recompute().layers.get(layer=layer).counts
    assert counts["scanned"] == counts["accounts"] == 2
    held = Assignment.objects.filter(layer=layer).values_list("account__external_id", "effective__key")
    assert dict(held) == {"head": "high", "alone": "tech"}
    pinned = run_rules.of_layer(layer.runs.select_related("layer").get())
    seen = impact.look(pinned, at=DAY, **EVERYONE)
    assert seen.figures["counts"]["scanned"] == 2
    assert seen.figures["counts"]["moves"] == 0
