"""Every governed field, tried through every way in: refused and unchanged, or done by a verb with history.

`governed_fields.txt` says of each field of each model that keeps history (or only grows) whether it is governed: a new
field without a line there fails. `write_matrix.txt` is what came out, checked in; write both anew with
`WRITE_MATRIX=1 pytest tests/governance/test_write_matrix.py` and read the difference.
"""

import contextlib
import csv
import io
import json
import os
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from databases import unsigned
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.core import serializers
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management import call_command
from django.core.serializers.base import DeserializationError
from django.db import DatabaseError, connection, models, transaction
from django.http import Http404
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from governing import someone
from segmenting import DAY, RULES, account, change, layer_with, recompute

from accounts.imports.errors import ImportFault
from accounts.models import Conflict, Csm, Refusal, SourceSystem, SystemOfRecord
from core.api.resources import RESOURCES
from core.history import acting
from core.models import ServiceUser, Settings, Token
from core.refusals import Refused
from governance.changes import alerts, crossings, overrides, transitions
from governance.models import (
    AlertRule,
    ApprovalPolicy,
    ApprovalRequest,
    CrossingPolicy,
    Delegation,
    Override,
    Transition,
)
from governance.signoff import approvals
from segmentation.evaluation import causes
from segmentation.models import (
    Acknowledgement,
    Assignment,
    Cause,
    Declaration,
    Definition,
)

HERE = Path(__file__).parent
FIELDS, MATRIX = HERE / "governed_fields.txt", HERE / "write_matrix.txt"
REFUSALS = (DatabaseError, Refused, ValidationError, PermissionDenied, Http404, NoReverseMatch, RuntimeError)
REFUSALS += (ImportFault, DeserializationError, TypeError)  # what cannot even be tried that way


# -- which fields


def kept():
    """The models of ours that keep a history, or only grow; by label, without the history tables themselves."""
    append_only = {"segmentation.cause", "segmentation.move", "governance.decision", "governance.comment"}
    append_only |= {"governance.event", "accounts.refusal"}
    found = [
        model
        for model in apps.get_models()
        if model._meta.label_lower in append_only
        or (hasattr(model, "history") and not hasattr(model, "history_type"))
    ]
    return sorted(found, key=lambda model: model._meta.label_lower)


def columns(model):
    return [field for field in model._meta.concrete_fields if not field.primary_key]


def ruled():
    """{"app.model.field": "governed" or "free"}"""
    lines = [line.split() for line in FIELDS.read_text().splitlines() if line and not line.startswith("#")]
    return dict(lines)


def test_every_field_has_a_rule():
    known = {f"{model._meta.label_lower}.{field.name}" for model in kept() for field in columns(model)}
    rules = ruled()
    assert sorted(known - set(rules)) == [], "say in governed_fields.txt whether these are governed or free"
    assert sorted(set(rules) - known) == [], "these are not there any more"
    assert set(rules.values()) == {"governed", "free"}


# -- a row of everything


@pytest.fixture
def world(real_db, settings):
    """{label of the model: a row of it}, all committed: no transaction of a test has their cause."""
    gates, settings.GATES = settings.GATES, {}
    other, layer = layer_with(RULES, key="other"), layer_with(key="tier")
    settings.GATES = gates
    vera, ops, chief = someone("vera", "Approver"), someone("ops", "CS Ops"), someone("chief")
    robot = someone("robot")
    User.objects.filter(pk=chief.pk).update(is_staff=True)
    with transaction.atomic(), unsigned(), acting(label="tests"):
        causes.take(Cause.Kind.DECISION)
        User.objects.filter(pk=chief.pk).update(is_superuser=True)
        ApprovalPolicy.objects.filter(kind="override").update(approvals=2)
        CrossingPolicy.objects.create(layer=other, direction="up")
        Settings.objects.create(name="Acorn")
        service = ServiceUser.objects.create(user=robot, purpose="The CRM")
        Token.objects.create(key="k1", user=service, name="Nightly", hash="x", expires_at=timezone.now())
        Delegation.objects.create(absent=vera, delegate=ops, from_date=DAY, until_date=DAY)
    csm = Csm.objects.create(email="csm@example.com", user=ops)
    acme = account(arr=120_000, employees=2_000, csm=csm, usage={"nps": 60})
    zeta = account("zeta", arr=120_000, employees=2_000, usage={"nps": 60})
    recompute(DAY)
    change(acme, arr=500, employees=5)
    recompute(DAY + timedelta(days=1))
    crossings.flag(layer, DAY + timedelta(days=1))
    transitions.plan(Transition.objects.get(), by=ops, receiver=csm)
    high = layer.segments.first()
    overrides.ask(
        [zeta],
        layer,
        high,
        by=ops,
        reason_code="strategic",
        text="Named",
        expires_on=date.today() + timedelta(days=30),
    )
    request = Override.objects.get().request
    approvals.approve(request, by=vera, seen=approvals.token(request))
    approvals.comment(request, by=ops, text="Soon, please")
    with transaction.atomic():
        draft = Definition.objects.create(layer=layer, version=2)
        Acknowledgement.objects.create(definition=draft, check_id="x", sentence="Few.", reason="New")
        Declaration.objects.create(account=acme, layer=layer, segment=high, reason="Named", from_date=DAY)
        crm = SourceSystem.objects.create(key="crm", name="CRM")
        SystemOfRecord.objects.create(fact="industry", source=crm)
        Conflict.objects.create(account=acme, fact="industry", proposed_source="crm", proposed_observed=DAY)
        Refusal.objects.create(verb="versions.activate", sentence="No.")
        AlertRule.objects.create(key="calm", name="Calm", condition="nps > 0")
    alerts.evaluate(DAY)
    rows = {model._meta.label_lower: model._default_manager.order_by("pk").last() for model in kept()}
    rows["segmentation.definition"] = layer.definitions.get(status="active")
    rows["segmentation.assignment"] = Assignment.objects.get(account=acme, layer=layer)
    rows["accounts.account"] = acme  # whose hand-over is planned
    rows["governance.approvalrequest"] = ApprovalRequest.objects.get(pk=request.pk)
    return rows


# -- the ways in


def another(row, field):
    """A value of this field's type that the row does not have."""
    value = getattr(row, field.attname)
    if field.is_relation:
        others = field.related_model._default_manager.exclude(pk=value)
        found = others.values_list("pk", flat=True).first()
        return found if found is not None else (None if value is not None else 1)
    if field.choices:
        return next(choice for choice, _ in field.flatchoices if choice != value)
    kind = field.get_internal_type()
    if isinstance(field, models.BooleanField):
        return not value
    if isinstance(field, models.DateTimeField):
        return (value or datetime.fromisoformat("2026-01-01T00:00:00+00:00")) + timedelta(days=400)
    if isinstance(field, models.DateField):
        return (value or DAY) + timedelta(days=400)
    if isinstance(field, models.DecimalField):
        return (value or Decimal(0)) + 1
    if "Integer" in kind or kind == "AutoField":
        return (value or 0) + 1
    if isinstance(field, models.JSONField):
        return {"forged": True}
    if kind == "ArrayField":
        return [4711]
    if kind == "XactId":
        return "4711"
    return f"x{value or ''}"[: field.max_length or 99]


def put(row, field, value):
    setattr(row, field.attname, value)
    return row


def save(row, field, value):
    put(type(row)._default_manager.get(pk=row.pk), field, value).save()


def update(row, field, value):
    type(row)._base_manager.filter(pk=row.pk).update(**{field.attname: value})


def bulk_update(row, field, value):
    found = put(type(row)._base_manager.get(pk=row.pk), field, value)
    type(row)._base_manager.bulk_update([found], [field.name])


def raw_sql(row, field, value):
    value = field.get_db_prep_save(value, connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f'update {row._meta.db_table} set "{field.column}" = %s where "{row._meta.pk.column}" = %s',
            [value, row.pk],
        )


def loaddata(row, field, value):
    """`manage.py loaddata`: the command that writes any row."""
    found = put(type(row)._base_manager.get(pk=row.pk), field, value)
    text = serializers.serialize("json", [found])
    path = HERE / f".matrix-{os.getpid()}.json"
    path.write_text(text)
    try:
        call_command("loaddata", str(path), verbosity=0, stdout=io.StringIO())
    finally:
        path.unlink()


def shown(value):
    return (
        value.isoformat()
        if isinstance(value, date | datetime)
        else ""
        if value is None
        else json.dumps(value)
        if isinstance(value, dict | list)
        else str(value)
    )


def posted(row, changes):
    """The data that a form of this row would send, with these fields ({field: value}) changed."""
    data = {one.name: shown(getattr(row, one.attname)) for one in columns(type(row))}
    data |= {field.name: shown(value) for field, value in changes.items()}
    data = {name: text for name, text in data.items() if text != "False"}
    return data | {"_save": "Save", "seen": "", "reason": "Forged", "post": "yes"}


def address(row, page, *args):
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}", args=args)


class Ways:
    """The ways through the web, as a superuser."""

    def __init__(self):
        self.client = Client(raise_request_exception=False)
        self.client.force_login(User.objects.get(username="chief"))

    def admin_add(self, row, changes):
        self.client.post(address(row, "add"), posted(row, changes))

    def admin_change(self, row, changes):
        self.client.post(address(row, "change", row.pk), posted(row, changes))

    def admin_list(self, row, changes):
        """As if the list could be edited."""
        data = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": row.pk, "form-0-pk": row.pk}
        data |= {f"form-0-{name}": text for name, text in posted(row, changes).items()}
        self.client.post(address(row, "changelist"), data | {"_save": "Save"})

    def admin_action(self, row, changes):
        data = posted(row, changes) | {"action": "delete_selected", "_selected_action": row.pk}
        self.client.post(address(row, "changelist"), data)

    def admin_inline(self, row, changes):
        """As part of the page of each row it belongs to."""
        for one in row._meta.concrete_fields:
            parent = getattr(row, one.name, None) if one.is_relation else None
            if parent is None or type(parent) not in admin.site._registry:
                continue
            prefix = one.remote_field.get_accessor_name() or row._meta.model_name
            data = {f"{prefix}-TOTAL_FORMS": 1, f"{prefix}-INITIAL_FORMS": 1, f"{prefix}-0-id": row.pk}
            data |= {f"{prefix}-0-{name}": text for name, text in posted(row, changes).items()}
            page = address(parent, "change", parent.pk)
            self.client.post(page, posted(parent, {}) | data)

    def history_url(self, row, changes):
        """The page of the history, and that of one entry of it as django-simple-history would have it."""
        page = address(row, "history", row.pk)
        self.client.post(page, posted(row, changes))
        last = row.history.first().pk if hasattr(row, "history") else 1
        for entry in (f"{page}{last}/", f"{page.removesuffix('/')}/{last}/"):
            self.client.post(entry, posted(row, changes))

    def api(self, row, changes):
        """The API: what is told of it sent back otherwise, and one more sent."""
        path = next(
            (one.path for one in RESOURCES if one.queryset is not None and one.queryset.model is type(row)),
            "",
        )
        body = {field.name: shown(value) for field, value in changes.items()} | {"reason": "Forged"}
        url = f"/api/v1/{path or row._meta.model_name}"
        tag = self.client.get(f"{url}/{row.pk}").get("ETag", "*")
        self.client.patch(f"{url}/{row.pk}", body, content_type="application/json", headers={"If-Match": tag})
        self.client.post(url, body, content_type="application/json")


def import_file(row, changes):
    """A file of accounts with columns of these names."""
    from accounts import imports

    recipe = "name: forged\nsource: crm\nas_of: 2026-06-02\nfiles:\n  accounts:\n    file: accounts.csv\n"
    rows = [["external_id", *(field.name for field in changes)], ["acme", *map(shown, changes.values())]]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    batch = imports.create(recipe, {"accounts.csv": text.getvalue().encode()}, label="tests")
    imports.preview(batch)
    imports.commit(batch)


FIELD = {
    "save": save,
    "update()": update,
    "bulk_update": bulk_update,
    "raw SQL": raw_sql,
    "command": loaddata,
}


def whole(way):
    """A way that takes a field as one that takes {field: value}."""
    return lambda row, changes: [way(row, field, value) for field, value in changes.items()]


def ways():
    """{name: (way, whether each field is tried by itself; else all of a row at once, which is a page less a field)}"""
    web = Ways()
    names = ("admin_add", "admin_change", "admin_list", "admin_action", "admin_inline", "history_url", "api")
    return {
        **{name: (whole(way), True) for name, way in FIELD.items()},
        **{name.replace("_", " "): (getattr(web, name), False) for name in names},
        "import": (import_file, False),
        "delete": (lambda row, changes: type(row)._base_manager.get(pk=row.pk).delete(), False),
    }


# -- trying


def state(row):
    """The row as the database has it, with all of its columns; None once it is gone. And how many there are."""
    model = type(row)
    found = (
        model._base_manager.filter(pk=row.pk)
        .values(*[field.attname for field in model._meta.concrete_fields])
        .first()
    )
    return found, model._base_manager.count()


def histories(row):
    """The number of history rows of its kind: one that is added has a history of its own."""
    return type(row).history.count() if hasattr(row, "history") else 0


def attempt(way, row, changes):
    """{field: `refused` (something said no), `ignored` (nothing happened), `done` (changed, with history), or what went wrong}."""
    before, told, refused = state(row), histories(row), False
    with transaction.atomic():
        try:
            with transaction.atomic(), contextlib.redirect_stderr(io.StringIO()):
                way(row, changes)
        except REFUSALS:
            refused = True
        after, with_history = state(row), histories(row) > told
        transaction.set_rollback(True)
    return {field: _outcome(field, before, after, refused, with_history) for field in changes}


def _outcome(field, before, after, refused, with_history):
    (row, number), (now, numbers) = before, after
    if now is not None and now[field.attname] == row[field.attname] and number == numbers:
        return "refused" if refused else "ignored"
    return "done" if with_history else "CHANGED WITHOUT HISTORY"


def test_governed_fields_are_refused_or_done_with_history(world):
    rules, found = ruled(), {}
    for model in kept():
        label, row = model._meta.label_lower, world[model._meta.label_lower]
        governed = [field for field in columns(model) if rules.get(f"{label}.{field.name}") == "governed"]
        if not governed:
            continue
        changes = {field: another(row, field) for field in governed}
        for name, (way, singly) in ways().items():
            for some in [{field: changes[field]} for field in governed] if singly else [changes]:
                for field, outcome in attempt(way, row, some).items():
                    found[f"{label}.{field.name} | {name}"] = outcome
    lines = [f"{cell} | {outcome}" for cell, outcome in sorted(found.items())]
    if os.environ.get("WRITE_MATRIX"):
        MATRIX.write_text("\n".join(lines) + "\n")
    assert [line for line in lines if line.endswith("WITHOUT HISTORY")] == []
    assert len(lines) >= 300
    assert lines == MATRIX.read_text().splitlines()
