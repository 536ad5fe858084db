"""Answers that are kept, so that a request sent twice is done once (draft-ietf-httpapi-idempotency-key-header).

The answer is stored in the transaction of its effect: either both are there, or neither. Refusals are not stored: whoever
mends what was refused sends it again. A lock that ends with the transaction tells that the first one is still going on.
"""

import hashlib
import json
from datetime import timedelta

from django.db import connection, transaction
from django.http import HttpResponse
from django.utils import timezone
from rest_framework import renderers

from core.api.problems import Problem
from core.models import Answer

KEPT = timedelta(hours=24)
LONGEST = 200
CLEANED = 100  # answers that have ended, taken away with each new one
_CLEAN = """delete from core_answer where id in (
    select id from core_answer where at < %s order by at limit %s for update skip locked)"""


def once(request, effect):
    """The answer of `effect()`, in one transaction; with an Idempotency-Key the one there was, if it was done already."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        with transaction.atomic():
            return effect()
    if not (0 < len(key) <= LONGEST and key.isascii() and key.isprintable()):
        raise Problem(400, "idempotency_key_wrong")
    asked = _fingerprint(request)
    with transaction.atomic():
        _alone(request.user.pk, key)
        kept = Answer.objects.filter(user=request.user.pk, key=key, at__gt=timezone.now() - KEPT).first()
        if kept is None:
            response = effect()
            _keep(request, key, asked, response)
            return response
    if kept.asked != asked:
        raise Problem(422, "idempotency_other_request")
    headers = {**kept.headers, "Idempotency-Replayed": "true"}
    return HttpResponse(kept.body, status=kept.status, content_type="application/json", headers=headers)


def _fingerprint(request):
    """The digest of everything that was asked: by which method, where, with which body."""
    request.data  # noqa: B018 - read, so that there is a digest of it
    about = [request.method, request.get_full_path(), request.headers.get("If-Match", "")]
    return hashlib.sha256(json.dumps([*about, getattr(request, "digest", "")]).encode()).hexdigest()


def _alone(user, key):
    with connection.cursor() as cursor:
        cursor.execute(
            "select pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"idempotency {user} {key}"]
        )
        [free] = cursor.fetchone()
    if not free:
        raise Problem(409, "idempotency_in_flight", headers={"Retry-After": "1"})


def _keep(request, key, asked, response):
    Answer.objects.filter(user=request.user.pk, key=key).delete()  # one that has ended
    body = "" if response.data is None else renderers.JSONRenderer().render(response.data).decode()
    headers = {name: value for name, value in response.items() if name in ("ETag", "Location")}
    Answer.objects.create(
        user=request.user.pk, key=key, asked=asked, status=response.status_code, headers=headers, body=body
    )
    with connection.cursor() as cursor:
        cursor.execute(_CLEAN, [timezone.now() - KEPT, CLEANED])
