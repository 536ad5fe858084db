"""How segments are called and served leaves a row of history by every path: QuerySet.update, bulk_update, SQL, all of them."""

import pytest
from django.db import connection, transaction
from segmenting import layer_with

from core.history import acting
from segmentation.evaluation import causes
from segmentation.models import Cause, Interview, JobToBeDone, Layer, Segment, ServiceModel, Treatment


@pytest.fixture
def pool(real_db):
    with acting(label="olga"):
        return ServiceModel.objects.create(key="pool", name="Pool", channels="mail", cost_to_serve=100)


def told(row):
    """[(type, who, channel, why)] of its history, the oldest first."""
    rows = type(row).history.filter(id=row.pk).order_by("history_id")
    return list(
        rows.values_list("history_type", "history_user_label", "history_channel", "history_change_reason")
    )


def by_update(row):
    type(row).objects.filter(pk=row.pk).update(name="Other")


def by_bulk_update(row):
    row.name = "Other"
    type(row).objects.bulk_update([row], ["name"])


def by_sql(row):
    with connection.cursor() as cursor:
        cursor.execute(f"update {row._meta.db_table} set name = 'Other' where id = %s", [row.pk])


@pytest.mark.parametrize("change", [by_update, by_bulk_update, by_sql])
@pytest.mark.parametrize("model", [ServiceModel, Treatment])
def test_no_path_changes_one_without_history(real_db, model, change):
    row = model.objects.create(key="one", name="One")
    change(row)
    kinds = [kind for kind, *_ in told(row)]
    assert kinds == ["+", "~"]
    last = model.history.filter(id=row.pk).latest("history_id")
    assert (last.name, last.key, last.prev_record.name) == ("Other", "one", "One")
    assert last.diff_against(last.prev_record).changed_fields == ["name"]


def test_a_save_is_told_once_and_by_whom(pool):
    with acting(label="olga", reason="Mail is read by nobody"):
        pool.channels = "chat"
        pool.save()
    assert told(pool) == [
        ("+", "olga", "shell", ""),
        ("~", "olga", "shell", "Mail is read by nobody"),
    ]


def test_past_every_save_the_cause_of_the_transaction_is_who_did_it(pool):
    with transaction.atomic(), acting(label="olga", channel="command", reason="A new name"):
        causes.take(Cause.Kind.DECISION)
        by_update(pool)
    assert told(pool)[-1] == ("~", "olga", "command", "A new name")
    by_sql(pool)  # the same again: nothing changed
    assert len(told(pool)) == 2
    ServiceModel.objects.filter(pk=pool.pk).update(qbr="yearly")
    kind, who, channel, _ = told(pool)[-1]
    assert (kind, who.startswith("database role "), channel) == ("~", True, "database")


def test_saves_and_updates_of_one_transaction_are_each_told_once(pool):
    with transaction.atomic():
        pool.name = "First"
        pool.save()
        ServiceModel.objects.filter(pk=pool.pk).update(name="Second")
        ServiceModel.objects.filter(pk=pool.pk).update(name="Third")
    names = ServiceModel.history.filter(id=pool.pk).order_by("history_id").values_list("name", flat=True)
    assert list(names) == ["Pool", "First", "Third"]  # nobody ever saw the second


def test_one_that_comes_and_goes_past_the_models_is_told_too(pool):
    made = ServiceModel.objects.bulk_create([ServiceModel(key="digital", name="Digital")])[0]
    assert [kind for kind, *_ in told(made)] == ["+"]
    with connection.cursor() as cursor:
        cursor.execute("delete from segmentation_servicemodel where id = %s", [made.pk])
    assert [kind for kind, *_ in told(made)] == ["+", "-"]
    gone = ServiceModel.history.filter(id=made.pk).latest("history_id")
    assert gone.name == "Digital"
    with transaction.atomic():  # one that nobody ever saw
        ghost = ServiceModel.objects.bulk_create([ServiceModel(key="ghost", name="Ghost")])[0]
        ServiceModel.objects.filter(pk=ghost.pk)._raw_delete("default")
    assert told(ghost) == []


def test_what_is_rolled_back_is_not_told(pool):
    with transaction.atomic():
        by_update(pool)
        transaction.set_rollback(True)
    assert len(told(pool)) == 1


@pytest.mark.parametrize("model", [Layer, Segment, JobToBeDone, Interview])
def test_its_siblings_too(real_db, model):
    layer = layer_with()
    job = JobToBeDone.objects.create(segment=layer.segments.first())
    rows = {
        Layer: layer,
        Segment: layer.segments.last(),
        JobToBeDone: job,
        Interview: Interview.objects.create(job=job, held_on="2026-06-01"),
    }
    column = {Layer: "description", Segment: "description", JobToBeDone: "replaced_tool", Interview: "notes"}[
        model
    ]
    row, before = rows[model], len(told(rows[model]))
    with transaction.atomic(), acting(label="olga", reason="Tidied"):
        causes.take(Cause.Kind.DECISION)
        model.objects.filter(pk=row.pk).update(**{column: "Other"})
    assert told(row)[before:] == [("~", "olga", "shell", "Tidied")]
    assert getattr(model.history.filter(id=row.pk).latest("history_id"), column) == "Other"
