"""Whether the promises the database makes are still in force: a restored dump, or a person, can lose them."""

from importlib import import_module

from django.apps import apps
from django.db import connection
from django.utils.module_loading import module_has_submodule

from accounts.refusals import Refused

APPEND_ONLY = ("demarc_append_only", "demarc_no_truncate")
TRIGGERS = {
    "accounts_refusal": APPEND_ONLY,
    "accounts_conflict": ("demarc_guard_conflict",),
    "accounts_account": ("demarc_no_parent_circle_insert", "demarc_no_parent_circle_update"),
    "segmentation_assignment": (
        "demarc_effective_insert",
        "demarc_effective_update",
        "demarc_effective_delete",
        "demarc_no_truncate",
    ),
    "segmentation_layer": ("demarc_layer_scope", "demarc_layer_policy"),
    "segmentation_segment": (
        "demarc_segment_circle",
        "demarc_segment_order_insert",
        "demarc_segment_order_update",
        "demarc_segment_order_delete",
    ),
    "segmentation_definition": (
        "demarc_guard_definition",
        "demarc_activate_insert",
        "demarc_activate_update",
        "demarc_no_truncate",
    ),
    "segmentation_acknowledgement": ("demarc_guard_acknowledgement", "demarc_no_truncate"),
    "segmentation_declaration": ("demarc_guard_declaration", "demarc_no_truncate"),
    "segmentation_simulation": ("demarc_guard_simulation", "demarc_no_truncate"),
    "segmentation_simulationpart": ("demarc_guard_simulation_part", "demarc_no_truncate"),
    "segmentation_cause": (*APPEND_ONLY, "demarc_stamp_cause"),
    "segmentation_move": (*APPEND_ONLY, "demarc_stamp_move"),
}
CONSTRAINTS = {
    ("segmentation_definition", "definition_weights_bearable"),
    ("segmentation_definition", "definition_weights_complete"),
}


def expected():
    """Every (table, trigger) there has to be: those each app names, and those of all history tables."""
    named = []
    for app in apps.get_app_configs():
        if module_has_submodule(app.module, "guards"):
            named += import_module(f"{app.name}.guards").TRIGGERS.items()
    for model in apps.get_models():
        if hasattr(model, "history_type") or hasattr(model, "history_id"):
            named.append((model._meta.db_table, APPEND_ONLY))
    return {(table, trigger) for table, triggers in named for trigger in triggers}


def missing():
    """What is not there or switched off, as sentences; empty when all is well."""
    with connection.cursor() as cursor:
        cursor.execute(
            """select c.relname, t.tgname from pg_trigger t join pg_class c on c.oid = t.tgrelid
                where t.tgenabled in ('O', 'A') and not t.tgisinternal and pg_table_is_visible(c.oid)"""
        )
        triggers = set(cursor.fetchall())
        cursor.execute(
            """select c.relname, k.conname from pg_constraint k join pg_class c on c.oid = k.conrelid
                where k.convalidated and pg_table_is_visible(c.oid)"""
        )
        constraints = set(cursor.fetchall())
    lost = [f"trigger {name} on {table}" for table, name in sorted(expected() - triggers)]
    return lost + [f"constraint {name} on {table}" for table, name in sorted(CONSTRAINTS - constraints)]


def check():
    """Refuse to start without the guards; called by the web server, workers and the beat before they serve."""
    try:
        lost = missing()
    finally:
        connection.close()  # processes fork after this
    if lost:
        raise Refused(
            f"The database has lost {len(lost)} of its guards: {', '.join(lost)}. "
            "Restore them from a dump made with its triggers, or run the migrations on an empty database."
        )
