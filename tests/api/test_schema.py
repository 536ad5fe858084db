"""The OpenAPI document: it is what the snapshot says, and answers are what it says. Written anew by `OPENAPI=1 pytest tests/api/test_schema.py`."""

import csv
import io
import json
import os
import re
from pathlib import Path

import jsonschema
import pytest
from calling import V1, by_session, calling
from django.contrib.staticfiles import finders
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.validation import validate_schema
from governing import someone
from segmenting import account, layer_with, recompute

from accounts.api import exports
from core.api.problems import CODES
from core.api.resources import RESOURCES
from core.api.schema import markdown
from governance.signoff.roles import ROLES

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = ROOT / "docs" / "openapi.yaml"


@pytest.fixture(scope="module")
def schema():
    return SchemaGenerator().get_schema(request=None, public=True)


def test_the_document_is_valid_and_as_it_was(schema):
    validate_schema(schema)
    text = OpenApiYamlRenderer().render(schema, renderer_context={}).decode()
    if os.environ.get("OPENAPI"):
        SNAPSHOT.write_text(text)
    assert text == SNAPSHOT.read_text(), "the API has changed: additive only, and written down with OPENAPI=1"


def test_every_operation_says_how_it_fails_and_what_permission_it_needs(schema):
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert {"400", "401", "403", "429"} <= set(operation["responses"]), (method, path)
    for resource in RESOURCES:
        actions = {each.__name__ for each in resource.get_extra_actions()}
        actions |= {
            name for name in ("list", "retrieve", "create", "partial_update") if hasattr(resource, name)
        }
        assert actions == set(resource.permissions), resource
        assert resource.__doc__
        assert resource.path == resource.path.lower()


def test_answers_are_as_the_document_says(schema, world):
    _, _ = world
    someone("all", *ROLES)
    caller = by_session(someone("all", *ROLES))
    whole = {"components": schema["components"]}
    seen = 0
    for path, operations in schema["paths"].items():
        if "get" not in operations or path.endswith(("/explain", "/export")):
            continue
        url = path.removeprefix(V1)
        if "{" in url:
            listed = caller.get(url.partition("/")[0]).json()
            rows = listed if isinstance(listed, list) else listed["results"]
            if not rows:
                continue
            url = url.replace("{id}", str(rows[0].get("id") or rows[0]["name"]))
        answer = caller.get(url)
        assert answer.status_code == 200, (url, answer.content)
        said = operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator(whole | said).validate(answer.json())
        seen += 1
    assert seen > 35


def test_why_an_account_is_where_it_is_is_told_now_and_on_a_day(world):
    made, users = world
    caller = by_session(users["CSM"])
    told = caller.get("assignments/explain", account="acme").json()
    assert (told["account"]["external_id"], told["layer"]["key"]) == ("acme", made["layer"].key)
    then = caller.get("assignments/explain", account="acme", at="2025-01-01").json()
    assert (then["as_of"], then["notes"] != []) == ("2025-01-01", True)
    assert caller.get("assignments/explain").status_code == 400
    assert caller.get("assignments/explain", account="nobody").status_code == 404
    assert caller.get("assignments/explain", account="acme", layer="nothing").status_code == 404


def test_the_page_about_it_asks_nobody_else_for_anything(db):
    client = Client()
    page = client.get("/api/v1/docs")
    html = page.content.decode()
    named = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert named
    for address in named:
        assert not address.startswith(("http:", "https:", "//")), address
        if address.startswith("/static/"):
            assert finders.find(address.removeprefix("/static/")), address
        else:
            assert client.get(address).status_code == 200
    assert not re.search(r"<script(?![^>]*src=)[^>]*>\s*\S", html), (
        "the content security policy has no script within"
    )
    assert client.get("/api/v1/schema").status_code == 200


def test_the_documentation_lists_the_codes():
    assert markdown() in (ROOT / "docs" / "api.md").read_text()
    text = "".join(path.read_text() for app in ("core", "accounts") for path in (ROOT / app).rglob("*.py"))
    assert [code for code in CODES if text.count(f'"{code}"') < 2] == []


def test_a_recalculation_is_started_by_whoever_may(world):
    made, users = world
    body = {"layers": [made["layer"].key], "reason": "New facts"}
    assert by_session(users["CSM"]).post("runs", body).status_code == 403
    answer = by_session(users["CS Ops"]).post("runs", body)
    assert (answer.status_code, answer.json()["reason"]) == (201, "New facts")
    again = by_session(users["CS Ops"]).post("runs", body)
    assert (again.status_code, again.json()["code"]) == (409, "layer_in_recalculation")
    assert by_session(users["CS Ops"]).post("runs", {"layers": ["nothing"]}).status_code == 400


def test_an_alert_is_acknowledged_by_its_csm_and_cs_ops(world):
    made, users = world
    alert = made["alert"]
    answer = by_session(users["CSM"]).post(f"alerts/{alert.pk}/acknowledge", {"note": "Seen"})
    assert (answer.status_code, answer.json()["code"]) == (403, "alert_of_another_account")
    answer = by_session(users["CS Ops"]).post(f"alerts/{alert.pk}/acknowledge", {"note": "Seen"})
    assert (answer.status_code, answer.json()["status"], answer.json()["note"]) == (
        200,
        "acknowledged",
        "Seen",
    )


def test_a_program_sees_facts_and_segments_and_sends_facts(world):
    account("zeta")
    caller = calling("Integration", name="sync")
    assert caller.get("assignments", account="acme").json()["results"]
    assert caller.get("moves", account="acme").json()["results"]
    body = {"source": "crm", "rows": [{"external_id": "zeta", "employees": 4}]}
    assert caller.post("accounts/bulk", body).status_code == 200


# -- whole lists


def test_a_whole_list_is_had_as_lines(world):
    _, users = world
    caller = by_session(users["Auditor"])
    for path in ("accounts", "assignments", "moves"):
        answer = caller.get(f"{path}/export", headers={"Accept": "application/x-ndjson"})
        lines = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]
        assert lines == caller.get(path, limit="1000").json()["results"]
        answer = caller.get(f"{path}/export", format="csv")
        text = b"".join(
            line if isinstance(line, bytes) else line.encode() for line in answer.streaming_content
        ).decode()
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["id"] for row in rows] == [str(line["id"]) for line in lines]
        assert answer["Content-Disposition"].endswith(f'{path}.csv"')
    assert caller.get("accounts/export", format="xls").status_code == 400
    assert caller.get("accounts/export", limit="5").status_code == 400
    assert by_session(users["CSM"]).get("accounts/export").status_code == 403


def test_formulas_in_a_csv_file_are_text(world):
    _, users = world
    account("evil", name="=1+1")
    answer = by_session(users["Auditor"]).get("accounts/export", format="csv", external_id="evil")
    text = b"".join(
        line if isinstance(line, bytes) else line.encode() for line in answer.streaming_content
    ).decode()
    assert "'=1+1" in text


def test_an_export_goes_on_over_its_parts(db, monkeypatch):
    monkeypatch.setattr(exports, "ROWS", 3)
    for number in range(10):
        account(f"a{number}")
    answer = by_session(someone("nora", "Auditor")).get("accounts/export")
    lines = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]
    assert [line["external_id"] for line in lines] == [f"a{number}" for number in range(10)]


# -- the audit trail, and overrides


def test_the_audit_trail_is_read_to_its_end(world):
    _, users = world
    caller = by_session(users["Auditor"])
    whole = caller.get("audit", limit="1000").json()
    assert whole["after"] is None
    met, after = [], {}
    while after is not None:
        page = caller.get("audit", limit="7", **after).json()
        met += page["results"]
        after = page["after"] and {"after": page["after"]}
    assert met == whole["results"]
    assert {row["kind"] for row in caller.get("audit", kind="event").json()["results"]} == {"event"}
    assert caller.get("audit", person="olga", channel="shell", since="2026-01-01").status_code == 200
    assert caller.get("audit", since="9999-12-31").status_code == 400


def test_an_override_is_asked_for_and_others_decide(db, settings):
    gates, settings.GATES = settings.GATES, {}
    layer = layer_with()
    settings.GATES = gates
    acme = account("acme", arr=120_000, employees=2_000, usage={"nps": 60})
    recompute()
    caller = calling("CS Ops")
    body = {
        "accounts": ["acme"],
        "layer": layer.key,
        "segment": "tech",
        "reason_code": "strategic",
        "text": "They wish so",
    }
    answer = caller.post("overrides", body)
    assert (answer.status_code, answer.json()["status"]) == (201, "pending"), answer.content
    [row] = caller.get("overrides", account="acme").json()["results"]
    assert (row["segment"], row["status"], row["request"]) == ("tech", "requested", answer.json()["id"])
    assert acme.overrides.get().history.latest().history_channel == "api"
    for wrong, pointer in (
        ({"segment": "none"}, "/segment"),
        ({"accounts": ["nobody"]}, "/accounts/0"),
        ({"text": ""}, "/text"),
    ):
        told = caller.post("overrides", body | wrong).json()
        assert pointer in [error["pointer"] for error in told["errors"]], told
    assert caller.post("overrides", body).status_code == 409  # it waits already
    assert calling("Integration", name="other").post("overrides", body).status_code == 403
