"""The start of tests of the API: programs with tokens, people with sessions, and calls that say JSON."""

import json
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.utils import timezone
from governing import someone

from core.history import acting
from core.models import ServiceUser, Token
from governance.signoff import tokens
from segmentation.evaluation import causes
from segmentation.models import Cause

V1 = "/api/v1/"
PROBLEM = "application/problem+json"


def program(*roles, name="crm-sync"):
    """A service user with these roles, as if others had decided so."""
    if not User.objects.filter(username=name).exists():
        with transaction.atomic(), acting(label="tests"):
            causes.take(Cause.Kind.DECISION)
            user = User(username=name)
            user.set_unusable_password()
            user.save()
            ServiceUser.objects.create(user=user, purpose="Tests")
    return someone(name, *roles)


def token_of(user, *, writes=True, **columns):
    """(a Token of this service user, its text)."""
    secret = "s" * 43
    made = {
        "key": f"k{Token.objects.count() + 1:05}",
        "name": "tests",
        "expires_at": timezone.now() + timedelta(days=1),
        "hash": tokens.hash_of(secret),
    }
    with transaction.atomic(), acting(label="tests"):
        causes.take(Cause.Kind.DECISION)
        token = Token.objects.create(**made | columns, user_id=user.pk, writes=writes)
    return token, f"dmc_{token.key}.{secret}"


@dataclass
class Caller:
    """Somebody who calls the API: `caller.get("accounts", name="Acme")`."""

    client: Client
    headers: dict

    def call(self, method, path, body=None, *, headers=None, **query):
        content = body if isinstance(body, bytes | str) or body is None else json.dumps(body)
        return self.client.generic(
            method,
            V1 + path,
            content or "",
            content_type="application/json" if body is not None else "application/octet-stream",
            query_params=query or None,
            headers={**self.headers, **(headers or {})},
        )

    def get(self, path, *, headers=None, **query):
        return self.call("GET", path, headers=headers, **query)

    def post(self, path, body=None, *, headers=None):
        return self.call("POST", path, body, headers=headers)

    def patch(self, path, body, *, headers=None):
        return self.call("PATCH", path, body, headers=headers)


def by_token(text, **environment):
    """A Caller with this token. environment: of the request, such as REMOTE_ADDR."""
    return Caller(Client(**environment), {"Authorization": f"Bearer {text}"})


def calling(*roles, name="crm-sync", writes=True):
    """A Caller that is a program with these roles."""
    return by_token(token_of(program(*roles, name=name), writes=writes)[1])


def by_session(user, **options):
    """A Caller that is a person in a browser."""
    client = Client(**options)
    client.force_login(user)
    return Caller(client, {})


def problem(answer, status, code):
    """The problem of an answer, which is this one."""
    assert (answer.status_code, answer.get("Content-Type")) == (status, PROBLEM), answer.content[:400]
    told = answer.json()
    assert (told["status"], told["code"]) == (status, code), told
    assert told["detail"]
    return told
