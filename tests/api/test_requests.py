"""Everything every resource does the same: problems, parameters, bodies, versions, pages, keys, limits."""

from datetime import timedelta

import pytest
from calling import by_session, calling, problem
from django.utils import timezone
from segmenting import account

from accounts.models import Account, Product
from core.api import bodies, pages
from core.models import Answer
from governance.signoff.roles import ROLES


@pytest.fixture
def ops(db):
    return calling("CS Ops")


# -- parameters


@pytest.mark.parametrize(
    ("query", "code", "pointer"),
    [
        ({"nmae": "Acme"}, "parameter_unknown", "?nmae"),
        ({"name__exact": "x"}, "parameter_unknown", "?name__exact"),
        ({"kind": "whale"}, "invalid", "?kind"),
        ({"excluded": "maybe"}, "invalid", "?excluded"),
        ({"limit": "0"}, "invalid", "?limit"),
        ({"limit": str(pages.MOST + 1)}, "invalid", "?limit"),
        ({"limit": "٣"}, "invalid", "?limit"),
        ({"ordering": "employees"}, "invalid", "?ordering"),
        ({"name": "\x00"}, "text_unstorable", "?name"),
        ({"name": ["a", "b"]}, "parameter_twice", "?name"),
        ({"created_since": "9" * 50}, "invalid", "?created_since"),
        ({"created_since": "yesterday"}, "invalid", "?created_since"),
        ({"created_since": "2026-01-01T00:00:00"}, "invalid", "?created_since"),
    ],
)
def test_lists_take_the_parameters_they_know_and_no_other(ops, query, code, pointer):
    told = problem(ops.get("accounts", **query), 400, code)
    assert [error["pointer"] for error in told["errors"]] == [pointer]


@pytest.mark.parametrize(
    "cursor", ["x", "e30", "WyJpZCIsIDEsIDFd" + "a", "WyJuYW1lIiwgIngiLCAxXQ", "[]", "WyJpZCIsICJ4IiwgInkiXQ"]
)
def test_a_cursor_is_one_that_was_given(ops, cursor):
    problem(ops.get("accounts", cursor=cursor), 400, "cursor_wrong")


def test_filters_filter(ops):
    account("acme", name="Acme", kind="trial")
    account("zeta", name="Zeta", excluded=True, exclusion_reason="Ours")

    def ids(**query):
        return [row["external_id"] for row in ops.get("accounts", **query).json()["results"]]

    assert ids() == ["acme", "zeta"]
    assert (ids(kind="trial"), ids(excluded="true"), ids(search="et"), ids(name="Acme")) == (
        ["acme"],
        ["zeta"],
        ["zeta"],
        ["acme"],
    )
    assert ids(ordering="-name") == ["zeta", "acme"]


# -- pages


def test_a_walk_by_pages_meets_each_row_once_whatever_comes_and_goes(ops):
    for number in range(25):
        account(f"a{number:02}", name=f"Name {number % 3}")
    met, cursor = [], {}
    while True:
        page = ops.get("accounts", ordering="name", limit="4", **cursor).json()
        met += [row["external_id"] for row in page["results"]]
        account(f"new{len(met)}", name="AAA")
        if page["cursor"] is None:
            assert page["next"] is None
            break
        assert f"cursor={page['cursor']}" in page["next"]
        cursor = {"cursor": page["cursor"]}
    assert sorted(met) == [f"a{number:02}" for number in range(25)]
    assert met == list(
        Account.objects.exclude(name="AAA").order_by("name", "pk").values_list("external_id", flat=True)
    )


# -- bodies


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "body_not_json"),
        (b'{"key": "a", "key": "b"}', 400, "body_not_json"),
        (b'{"key": NaN}', 400, "body_not_json"),
        (b'{"key": 1e999}', 400, "body_not_json"),
        (b'{"key": "\xff"}', 400, "body_not_json"),
        (b'{"key": ' + b"9" * 5_000 + b"}", 400, "body_not_json"),
        (b'{"key": "a\\u0000b"}', 400, "text_unstorable"),
        (b'{"key": "\\ud800"}', 400, "text_unstorable"),
        (b'{"k\\u0000": 1}', 400, "text_unstorable"),
        (b"[" * 100_000 + b"]" * 100_000, 400, "body_nested_too_deeply"),
        (b'{"key": ' + b"[" * 20 + b"]" * 20 + b"}", 400, "body_nested_too_deeply"),
        (b"[]", 400, "invalid"),
        (b"7", 400, "invalid"),
        (b"null", 400, "invalid"),
        (b'"text"', 400, "invalid"),
        (b'{"key": ""}', 400, "invalid"),
        (b"{}", 400, "invalid"),
        (b'{"key": ["x"]}', 400, "invalid"),
        (b'{"kye": "x"}', 400, "invalid"),
        (b'{"key": "' + b"x" * 10_000_000 + b'"}', 413, "body_too_large"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bodies_that_are_refused(ops, body, status, code):
    problem(ops.post("products", body), status, code)
    assert not Product.objects.exists()


def test_a_pair_of_halves_is_a_character(ops):
    assert ops.post("products", b'{"key": "\\ud83d\\ude00"}').status_code == 201
    assert Product.objects.get().key == "😀"


def test_numbers_keep_their_decimals():
    assert str(bodies.read(b"[0.10]")[0]) == "0.10"


def test_a_body_that_is_no_json_is_refused(ops):
    answer = ops.client.post("/api/v1/products", {"key": "a"}, headers=ops.headers)
    problem(answer, 415, "media_type_unknown")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
def test_a_method_an_address_does_not_have(ops, method):
    problem(ops.call(method, "accounts"), 405, "method_not_allowed")


def test_addresses_that_are_not_there(ops):
    problem(ops.get("accounts/999999"), 404, "not_found")
    problem(ops.get("accounts/99999999999999999999"), 404, "not_found")
    problem(ops.get("accounts/%00"), 404, "not_found")
    problem(ops.get("nothing"), 404, "not_found")
    problem(ops.get("facts/nothing"), 404, "not_found")


def test_it_answers_in_json_only(ops):
    problem(ops.get("accounts", headers={"Accept": "text/html"}), 406, "not_acceptable")


def test_a_cookie_with_nul_is_no_server_error(ops):
    ops.client.cookies["sessionid"] = "a\x00b"
    assert ops.get("accounts").status_code in (200, 400)


# -- versions


def test_what_is_known_already_is_not_sent_again(ops):
    acme = account("acme", name="A" * 300)
    answer = ops.get(f"accounts/{acme.pk}", headers={"Accept-Encoding": "gzip"})
    tag = answer["ETag"]
    assert tag.startswith('"')
    again = ops.get(f"accounts/{acme.pk}", headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", tag)
    Account.objects.filter(pk=acme.pk).update(name="B")
    assert ops.get(f"accounts/{acme.pk}", headers={"If-None-Match": tag}).status_code == 200


def test_nobody_changes_what_they_have_not_seen(ops):
    acme = account("acme", name="Acme")
    body = {"name": "Other", "reason": "So they say"}
    problem(ops.patch(f"accounts/{acme.pk}", body), 428, "if_match_missing")
    tag = ops.get(f"accounts/{acme.pk}")["ETag"]
    problem(ops.patch(f"accounts/{acme.pk}", body, headers={"If-Match": '"other"'}), 412, "stale")
    problem(ops.patch(f"accounts/{acme.pk}", body, headers={"If-Match": f"W/{tag}"}), 412, "stale")
    answer = ops.patch(f"accounts/{acme.pk}", body, headers={"If-Match": tag})
    assert (answer.status_code, answer.json()["name"]) == (200, "Other")
    assert answer["ETag"] == ops.get(f"accounts/{acme.pk}")["ETag"] != tag
    problem(ops.patch(f"accounts/{acme.pk}", body, headers={"If-Match": tag}), 412, "stale")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "x"}, "/reason"),
        ({"name": "x", "reason": ""}, "/reason"),
        ({"employees": -1, "reason": "x"}, ""),
        ({"employees": 10**30, "reason": "x"}, "/employees"),
        ({"excluded": True, "reason": "x"}, ""),
        ({"csm": "nobody@example.com", "reason": "x"}, "/csm"),
        ({"parent": "nobody", "reason": "x"}, "/parent"),
        ({"external_id": "other", "reason": "x"}, "/external_id"),
        ({"nps": 5, "reason": "x"}, "/nps"),
        ({"kind": "whale", "reason": "x"}, "/kind"),
        ({"arr": "1e5000", "reason": "x"}, "/arr"),
        ({"renewal_date": "soon", "reason": "x"}, "/renewal_date"),
    ],
)
def test_a_correction_that_cannot_be_says_where(ops, body, pointer):
    acme = account("acme", name="Acme")
    tag = ops.get(f"accounts/{acme.pk}")["ETag"]
    told = problem(ops.patch(f"accounts/{acme.pk}", body, headers={"If-Match": tag}), 400, "invalid")
    assert pointer in [error["pointer"] for error in told["errors"]]


def test_a_circle_of_parents_is_refused(ops):
    acme = account("acme")
    child = account("child", parent=acme)
    tag = ops.get(f"accounts/{acme.pk}")["ETag"]
    answer = ops.patch(f"accounts/{acme.pk}", {"parent": "child", "reason": "x"}, headers={"If-Match": tag})
    assert answer.status_code in (400, 409)
    child.refresh_from_db()
    assert Account.objects.get(pk=acme.pk).parent is None


# -- sent twice


def test_a_request_sent_twice_is_done_once(ops):
    key = {"Idempotency-Key": "k1"}
    first = ops.post("products", {"key": "app"}, headers=key)
    again = ops.post("products", {"key": "app"}, headers=key)
    assert (first.status_code, again.status_code, again["Idempotency-Replayed"]) == (201, 201, "true")
    assert (first.json(), first["ETag"], first["Location"]) == (
        again.json(),
        again["ETag"],
        again["Location"],
    )
    assert Product.objects.count() == 1


def test_a_key_is_for_one_request_of_one_user(ops):
    key = {"Idempotency-Key": "k1"}
    ops.post("products", {"key": "app"}, headers=key)
    problem(ops.post("products", {"key": "other"}, headers=key), 422, "idempotency_other_request")
    problem(ops.post("csms", {"email": "a@example.com"}, headers=key), 422, "idempotency_other_request")
    other = calling("CS Ops", name="other")
    assert other.post("products", {"key": "second"}, headers=key).status_code == 201


def test_a_refusal_is_not_kept(ops):
    key = {"Idempotency-Key": "k1"}
    problem(ops.post("products", {"key": ""}, headers=key), 400, "invalid")
    assert ops.post("products", {"key": "app"}, headers=key).status_code == 201


def test_a_kept_answer_ends_after_a_day(ops):
    key = {"Idempotency-Key": "k1"}
    ops.post("products", {"key": "app"}, headers=key)
    Answer.objects.update(at=timezone.now() - timedelta(hours=25))
    assert ops.post("products", {"key": "second"}, headers=key).status_code == 201
    assert Answer.objects.count() == 1


@pytest.mark.parametrize("key", ["", "x" * 201, "ä"])
def test_a_key_that_is_none(ops, key):
    problem(
        ops.post("products", {"key": "app"}, headers={"Idempotency-Key": key}), 400, "idempotency_key_wrong"
    )


# -- limits


def test_more_calls_than_a_minute_has_are_put_off(ops, settings):
    settings.API_CALLS = 2
    assert [ops.get("products").status_code for _ in range(2)] == [200, 200]
    answer = ops.get("products")
    problem(answer, 429, "too_many_requests")
    assert 1 <= int(answer["Retry-After"]) <= 61
    assert calling("CS Ops", name="other").get("products").status_code == 200


# -- every resource


READABLE = [
    "accounts", "csms", "products", "source-systems", "subscriptions", "facts", "signals", "layers", "segments",
    "service-models", "treatments", "definitions", "assignments", "moves", "transitions", "overrides", "approval-requests",
    "alerts", "runs", "changes", "imports", "audit",
]  # fmt: skip


def test_each_role_reads_what_its_pages_show(world):
    _, users = world
    seen = {}
    for role in ROLES:
        caller = by_session(users[role])
        for path in READABLE:
            answer = caller.get(path)
            assert answer.status_code in (200, 403), (role, path, answer.content)
            seen[role, path] = answer.status_code == 200
            rows = answer.json().get("results", []) if path != "facts" and seen[role, path] else []
            if rows and "id" in rows[0]:
                single = caller.get(f"{path}/{rows[0]['id']}")
                assert (single.status_code, single.json()) == (200, rows[0])
    integration = {path for path in READABLE if seen["Integration", path]}
    assert integration == set(READABLE) - {"transitions", "overrides", "approval-requests", "alerts", "audit"}
    assert all(seen["Auditor", path] for path in READABLE)
