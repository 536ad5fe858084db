"""Programs and their tokens: who may make them, and what becomes of them.

A service user is a user without a password, for one system. Its rights are those of its roles, which are asked for and
decided as anybody's; a token may be narrower (reading only, from some networks, until a day), never wider. Its secret is told
once and kept as its SHA-256: it has 256 bits, so nobody guesses it, and whoever reads the table has nothing to log in with.
"""

import hashlib
import ipaddress
import re
import secrets
from contextlib import contextmanager
from datetime import datetime, time, timedelta

from django.contrib.auth.models import User
from django.contrib.auth.validators import ASCIIUsernameValidator
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from core import texts
from core.history import acting, actor
from core.models import ServiceUser, Token
from core.refusals import Refused, verb
from governance import events
from governance.signoff import permissions
from segmentation.evaluation import causes
from segmentation.models import Cause

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
KEY = 8  # characters of a key
DAYS, MOST_DAYS = 90, 366  # a token is valid for, and at most
MOST = 20  # tokens of a service user that are not revoked
NETWORKS = 20
SYSTEM = ("system", "nobody", "visitor", "demarc")


def hash_of(secret):
    return hashlib.sha256(secret.encode()).hexdigest()


# -- service users


@verb
def make_user(name, *, by=None, purpose):
    """A service user of this name; its roles are asked for on its page as a person's. The User."""
    permissions.check(permissions.manage_programs(by=by))
    purpose = texts.needed(purpose, "program_purpose_missing")[:400]
    with _acting(by, purpose):
        user = User(username=_name(name), is_staff=False)
        user.set_unusable_password()
        user.save()
        ServiceUser.objects.create(user=user, purpose=purpose)
        _tell(user, "program_made", f"The service user {user.get_username()} was made.", purpose)
    return user


def _name(name):
    name = texts.text(name)
    try:
        ASCIIUsernameValidator()(name)
    except ValidationError:
        raise Refused("program_name_unfit") from None
    taken = User.objects.filter(Q(username__iexact=name) | Q(email__iexact=name)).exists()
    if taken or len(name) > 100 or name.lower() in SYSTEM:
        raise Refused("program_name_taken")
    return name


# -- tokens


@verb
def make(user, *, by=None, name, writes=False, expires_on=None, networks=(), seen=None):
    """(a new token of a service user, the text that is told once). expires_on: its last day, in DAYS where none is given."""
    permissions.check(permissions.manage_programs(by=by))
    name = texts.needed(name, "token_name_missing")[:100]
    with _acting(by, name):
        service = _locked(user)
        if seen is not None and seen != seen_of(service):
            raise Refused("token_stale")
        if not user.is_active:
            raise Refused("login_closed", user=user.get_username())
        if service.tokens.filter(revoked_at=None).count() >= MOST:
            raise Refused("too_many_tokens", most=MOST)
        secret = _secret()
        token = Token.objects.create(
            key=_key(),
            user=service,
            name=name,
            hash=hash_of(secret),
            writes=bool(writes),
            expires_at=_until(expires_on),
            networks=networks_of(networks),
        )
        _tell(user, "token_made", f"A token of {user.get_username()} was made: {_told(token)}.", name, token)
    return token, _text(token, secret)


@verb
def rotate(token, *, by=None, expires_on=None):
    """(the token, its new text): the secret it had is worth nothing from now on."""
    permissions.check(permissions.manage_programs(by=by))
    with _acting(by, "A new secret"):
        token = _fresh(token)
        secret = _secret()
        token.hash, token.rotated_at, token.expires_at = hash_of(secret), timezone.now(), _until(expires_on)
        token.save()
        who = token.user.user
        _tell(
            who,
            "token_rotated",
            f"A token of {who.get_username()} has a new secret: {_told(token)}.",
            "",
            token,
        )
    return token, _text(token, secret)


@verb
def revoke(token, *, by=None, reason):
    """A token is worth nothing any more, and stays so."""
    permissions.check(permissions.manage_programs(by=by))
    reason = texts.needed(reason)
    with _acting(by, reason):
        token = _fresh(token)
        token.revoked_at = timezone.now()
        token.save()
        who = token.user.user
        _tell(
            who,
            "token_revoked",
            f"A token of {who.get_username()} was revoked: {_told(token)}.",
            reason,
            token,
        )
    return token


def seen_of(service):
    """The mark that the form which makes a token sends along: of two clicks one makes it."""
    return str(service.tokens.order_by("pk").values_list("pk", flat=True).last() or 0)


def networks_of(texts_typed):
    """Networks as they are kept: `10.0.0.0/8`; one address is a network too."""
    found = []
    for typed in texts_typed:
        try:
            found.append(str(ipaddress.ip_network(typed.strip(), strict=False)))
        except ValueError:
            raise Refused("network_unreadable", typed=typed[:50]) from None
    if len(found) > NETWORKS:
        raise Refused("too_many_networks", most=NETWORKS)
    return list(dict.fromkeys(found))


def split(typed):
    """The texts of a field of several: by commas, blanks or lines."""
    return [part for part in re.split(r"[\s,;]+", typed or "") if part]


def _until(day):
    """The end of a day that is not too far away, in the organisation's time."""
    today = timezone.localdate()
    day = day or today + timedelta(days=DAYS)
    if not today <= day <= today + timedelta(days=MOST_DAYS):
        raise Refused("token_day_unfit", most=MOST_DAYS)
    return timezone.make_aware(datetime.combine(day + timedelta(days=1), time()))


def _key():
    return "".join(secrets.choice(ALPHABET) for _ in range(KEY))


def _secret():
    return secrets.token_urlsafe(32)


def _text(token, secret):
    return f"dmc_{token.key}.{secret}"


def _told(token):
    what = "reads and writes" if token.writes else "reads"
    return f"{token.name} ({token.key}), {what}"


def _locked(user):
    service = ServiceUser.objects.select_for_update().filter(user=user.pk).first()
    if service is None:
        raise Refused("no_program", user=user.get_username())
    return service


def _fresh(token):
    token = Token.objects.select_for_update(of=["self"]).select_related("user__user").get(pk=token.pk)
    if token.revoked_at:
        raise Refused("token_revoked_already")
    return token


@contextmanager
def _acting(by, reason):
    """In one transaction with a cause, in the name of who acts."""
    with transaction.atomic(), acting(by=by, label="" if by else actor().label, reason=reason):
        causes.take(Cause.Kind.DECISION, reason=reason)
        yield


def _tell(user, kind, text, reason, token=None):
    data = {"user": user.pk, "label": user.get_username()} | ({"token": token.key} if token else {})
    events.record(kind, text, about=user, reason=reason, data=data)
