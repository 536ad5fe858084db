"""A service user is known by its token. A person comes by the session of the web login, as Django's framework reads it."""

import hashlib
import ipaddress
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed

from core import addresses
from core.api.problems import Problem
from core.models import Token

PREFIX = "dmc_"
NOTED = timedelta(minutes=1)  # between two notes of when a token was used


class ByToken(BaseAuthentication):
    """`Authorization: Bearer dmc_<key>.<secret>`."""

    def authenticate(self, request):
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return None
        if scheme.lower() != "bearer":
            raise AuthenticationFailed("Send the token as `Authorization: Bearer dmc_...`.")
        token = _token(text.strip())
        _check(token)
        address = addresses.of(request)
        _check_network(token, address)
        _note(token, address)
        user = token.user.user
        user.known_program = True
        return user, token

    def authenticate_header(self, request):
        return 'Bearer realm="demarc"'


def _token(text):
    """The token whose key and secret these are. Nothing is told of which of the two was wrong."""
    key, _, secret = text.removeprefix(PREFIX).partition(".")
    found = None
    if text.startswith(PREFIX) and key.isascii() and key.isalnum() and len(key) <= 20:
        found = Token.objects.select_related("user__user").filter(key=key).first()
    given = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
    if found is None or not constant_time_compare(found.hash, given):
        raise AuthenticationFailed("This token is not known.")
    return found


def _check(token):
    if token.state != "active":
        raise AuthenticationFailed(f"This token is {token.state}.")
    if not token.user.user.is_active:
        raise AuthenticationFailed("The login of this service user is closed.")


def _check_network(token, address):
    if not token.networks:
        return
    inside = address is not None and any(
        address in ipaddress.ip_network(network) for network in token.networks
    )
    if not inside:
        raise Problem(403, "token_network")


def _note(token, address):
    """Note when it was used, and from where; once a minute, so that reading writes next to nothing."""
    now = timezone.now()
    due = Q(last_used_at=None) | Q(last_used_at__lt=now - NOTED)
    text = str(address) if address is not None else None
    Token.objects.filter(due, pk=token.pk).update(last_used_at=now, last_used_from=text)
