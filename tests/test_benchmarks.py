"""The benchmarks set themselves up as they are meant to, at a small size: sign-off must not stop what they start from."""

from datetime import date

from django.db import connection, transaction

from benchmarks import portfolio
from benchmarks.__main__ import LAYER, draft, load_layers
from benchmarks.statement import sql
from segmentation.models import Definition
from segmentation.runs import recalculation

FEW = 300


def test_the_layer_of_the_benchmarks_is_in_force_and_agrees_with_sql(real_db):
    portfolio.build(FEW)
    layer = load_layers()
    run = recalculation.start(layers=[layer], as_of=date(2026, 11, 22))
    told = recalculation.report(recalculation.work(run.pk, wait=True))["layers"][LAYER]
    assert (told["scanned"], told["moved"], told["quarantined"]) == (FEW, FEW, 0)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql(layer.pk, layer.definitions.get(status="active").pk))
        assert cursor.rowcount == 0
        transaction.set_rollback(True)
    draft(layer)
    assert list(layer.definitions.order_by("version").values_list("status", flat=True)) == [
        Definition.Status.ACTIVE,
        Definition.Status.DRAFT,
    ]
