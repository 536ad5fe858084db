"""Wrong passwords: counted, told, and after a few of them a lock that ends by itself or is lifted.

An attempt counts before its password is looked at, so a hundred at once get no more tries than one after another. Counts are
rows of django-axes, one for each account, address and browser. docs/adr/0016 says why these limits.
"""

import ipaddress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from axes.backends import AxesBackend
from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Group, User
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.crypto import get_random_string, salted_hmac

from core import addresses
from core.history import acting, actor
from core.models import ServiceUser
from core.organisation import organisation
from core.refusals import Refused, verb
from core.wording import moment
from governance import events
from governance.signoff import permissions

# Things counted together, and how many wrong passwords each may have; browsers a person has used count apart.
HERE, ACCOUNT, ADDRESS = ("username", "ip_address"), ("username",), ("ip_address",)
STRANGERS = {HERE: 5, ACCOUNT: 30, ADDRESS: 50}
KNOWN = {ACCOUNT: 5}
COOKIE = "known_browser"
COOKIE_DAYS = 90
NOWHERE = "0.0.0.0"  # the address of whoever comes without one: a socket, a shell


@dataclass
class Attempt:
    """Somebody tries to log in. `name`: the user name, of an unknown one its mark; `browser`: "" for one not seen before."""

    name: str
    user: User | None
    address: str
    browser: str
    at: datetime
    until: datetime | None = None  # locked until then
    reached: list = field(
        default_factory=list
    )  # the limits that this attempt reaches, should its password be wrong

    @property
    def limits(self):
        return KNOWN if self.browser else STRANGERS

    @property
    def who(self):
        """How it is told: what was typed may be a password, so an unknown name is not repeated."""
        return self.name if self.user else "an unknown login"


class Handler(AxesDatabaseHandler):
    """Does nothing when axes hears of an attempt: Backend has counted and told it already."""

    def user_login_failed(self, *about, **attempt): ...

    def user_logged_in(self, *about, **attempt): ...

    def user_logged_out(self, *about, **attempt): ...


class Backend(AxesBackend):
    """Users and passwords of the database, as far as there is no lock."""

    def authenticate(self, request, username=None, password=None, **kwargs):
        typed = kwargs.get(User.USERNAME_FIELD) if username is None else username
        if typed is None or password is None:
            return None
        attempt = _attempt(request, typed)
        _count(attempt)
        if attempt.until:
            _say(request, attempt.until)
            raise PermissionDenied("Too many wrong passwords.")
        user = ModelBackend.authenticate(self, request, username=attempt.name, password=password)
        if user is None:
            _failed(request, attempt)
            return None
        _forget(attempt)
        if request is not None:
            request.logged_in_as = user
        return user

    def get_user(self, user_id):
        """The user of a session, with what every page asks: the names of their roles, and whether they are a program."""
        users = User.objects.annotate(
            role_names=ArraySubquery(Group.objects.filter(user=OuterRef("pk")).values("name")),
            known_program=Exists(ServiceUser.objects.filter(user=OuterRef("pk"))),
        )
        user = users.filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None


def _attempt(request, typed):
    user = User.objects.filter(username=typed).first() if _storable(typed) else None
    # The same unknown name gets the same mark, which does not tell what was typed. No user name has a space.
    name = user.get_username() if user else f"unknown {salted_hmac(__name__, repr(typed)).hexdigest()[:20]}"
    return Attempt(name, user, address_of(request), _browser(request, user), timezone.now())


def _storable(typed):
    """Whether a user could be called so: the database refuses NUL and half characters, and no name is longer."""
    longest = User._meta.get_field(User.USERNAME_FIELD).max_length
    return isinstance(typed, str) and typed.isprintable() and len(typed) <= longest


def _say(request, until):
    """Leave word for the login page and for the middleware that answers with "too many requests"."""
    if request is not None:
        request.axes_locked_out, request.locked_until = True, until


def address_of(request):
    """Where a request comes from: the connection, or the header settings.ADDRESS_HEADER that a trusted proxy writes.

    An address of IPv6 counts as its network of 64 bits, which is what one visitor has.
    """
    address = addresses.of(request) if request is not None else None
    if address is None:
        return NOWHERE
    if address.version == 6:
        address = ipaddress.ip_network((address, 64), strict=False).network_address
    return str(address)


# -- counting


def _count(attempt):
    """Count the attempt, unless it is locked: `until`, and the limits it reaches, are written into it."""
    with transaction.atomic():
        _one_at_a_time(attempt)
        rows = _rows(Q(username=attempt.name) | Q(ip_address=attempt.address), attempt.at, attempt.browser)
        counts = {}
        for limit_of in attempt.limits:
            together = [row for row in rows if all(row[part] == _part(attempt, part) for part in limit_of)]
            counts[limit_of] = sum(row["failures"] for row in together)
            ends = _ends(together, attempt.limits[limit_of])
            attempt.until = max(filter(None, [attempt.until, ends]), default=None)
        if attempt.until is None:
            attempt.reached = [limit for limit, most in attempt.limits.items() if counts[limit] + 1 == most]
            _add(attempt)


def _part(attempt, part):
    return {"username": attempt.name, "ip_address": attempt.address}[part]


def _one_at_a_time(attempt):
    """Attempts at one account, or from one address, are counted one after another; always in this order."""
    with connection.cursor() as cursor:
        for name in (f"login of {attempt.name}", f"login from {attempt.address}"):
            cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])


def _rows(which, at, browser=None):
    """The wrong passwords that still count, the oldest first; of one browser, or of all."""
    rows = AccessAttempt.objects.filter(which, attempt_time__gt=at - _lock_out()).order_by("attempt_time")
    rows = rows if browser is None else rows.filter(user_agent=browser)
    return [
        {"username": row.username, "ip_address": row.ip_address, "browser": row.user_agent,
         "failures": row.failures_since_start, "at": row.attempt_time}
        for row in rows
    ]  # fmt: skip


def _lock_out():
    """The time after the last wrong password in which it counts."""
    return timedelta(minutes=organisation().lockout_minutes)


def _ends(rows, limit):
    """When so many of these have ended that fewer than the limit are left; None where they are fewer now."""
    left, until = sum(row["failures"] for row in rows), None
    for row in rows:
        if left < limit:
            break
        left, until = left - row["failures"], row["at"] + _lock_out()
    return until


_ADD = """
    insert into axes_accessattempt as a (username, ip_address, user_agent, http_accept, path_info, get_data, post_data,
                                         attempt_time, failures_since_start)
    values (%(name)s, %(address)s, %(browser)s, '', '', '', '', %(at)s, 1)
    on conflict (username, ip_address, user_agent) do update
       set failures_since_start = case when a.attempt_time > %(ended)s then a.failures_since_start + 1 else 1 end,
           attempt_time = excluded.attempt_time
"""
# Beside, so that a visitor who tries many names leaves nothing for long.
_CLEAN = """
    delete from axes_accessattempt where id in (
        select id from axes_accessattempt where attempt_time <= %(ended)s limit 1000 for update skip locked)
"""


def _add(attempt):
    given = {"name": attempt.name, "address": attempt.address, "browser": attempt.browser, "at": attempt.at}
    with connection.cursor() as cursor:
        for sql in (_ADD, _CLEAN):
            cursor.execute(sql, given | {"ended": attempt.at - _lock_out()})


def _forget(attempt):
    """After the right password, what was wrong before from here; not what others do elsewhere, nor with other names."""
    rows = AccessAttempt.objects.filter(username=attempt.name, user_agent=attempt.browser)
    if not attempt.browser:
        rows = rows.filter(ip_address=attempt.address)
    rows.delete()


# -- telling


def _failed(request, attempt):
    with transaction.atomic():
        _record(attempt, "login_failed", f"A wrong password for {attempt.who} from {_from(attempt.address)}.")
        for limit_of in attempt.reached:
            until = attempt.at + _lock_out()
            _record(attempt, "login_locked", _locked(attempt, limit_of, until), about=limit_of != ADDRESS)
            _say(request, until)


def _record(attempt, kind, text, *, about=True):
    person = attempt.user if about else None
    data = {"address": attempt.address}
    if person is not None:
        data |= {"user": person.pk, "label": person.get_username()}
    events.record(kind, text, about=person, data=data)


def _from(address):
    return "an unknown address" if address == NOWHERE else address


def _locked(attempt, limit_of, until):
    which = {
        HERE: f"for {attempt.who} from {_from(attempt.address)}",
        ACCOUNT: f"for {attempt.who} from several addresses; browsers used before are not locked",
        ADDRESS: f"from {_from(attempt.address)} for several logins; browsers used before are not locked",
    }[limit_of]
    if attempt.browser:
        which = f"for {attempt.who} in a browser used before"
    return f"Locked until {moment(until)}: {attempt.limits[limit_of]} wrong passwords {which}."


def sentence(until):
    """The sentence of the login page while there is a lock; the same for accounts that are there and that are not."""
    return (
        f"Too many wrong passwords. Logging in is locked until {moment(until)}; before that no password is looked at. "
        "An administrator can lift the lock of an account earlier."
    )


# -- locks of a person


def locks(user, *, at=None):
    """The locks of a person now, a sentence each, with when it ends: [(sentence, until)]."""
    rows = _rows(Q(username=user.get_username()), at or timezone.now())
    strangers = [row for row in rows if not row["browser"]]
    candidates = [
        (f"No login from {_from(address)}", _ends(part, STRANGERS[HERE]))
        for address, part in _grouped(strangers, "ip_address").items()
    ]
    candidates.append(
        ("No login with a browser that was not used before", _ends(strangers, STRANGERS[ACCOUNT]))
    )
    used = _grouped([row for row in rows if row["browser"]], "browser")
    candidates += [
        ("No login with a browser used before", _ends(part, KNOWN[ACCOUNT])) for part in used.values()
    ]
    return [(sentence, until) for sentence, until in candidates if until]


def _grouped(rows, by):
    groups = {}
    for row in rows:
        groups.setdefault(row[by], []).append(row)
    return groups


@verb
def lift(user, *, by=None):
    """Let a person log in again at once: their wrong passwords are forgotten."""
    permissions.check(permissions.lift_lock(user, by=by))
    with acting(by=by, label="" if by else actor().label):
        if not locks(user):
            raise Refused("login_not_locked", user=user.get_username())
        AccessAttempt.objects.filter(username=user.get_username()).delete()
        events.record(
            "lock_lifted",
            f"The lock of {user.get_username()} after wrong passwords was lifted.",
            about=user,
            data={"user": user.pk, "label": user.get_username()},
        )


# -- browsers a person has used


def _browser(request, user):
    """The mark of a browser this person has logged in with; "" for any other."""
    if request is None or user is None:
        return ""
    mark = request.get_signed_cookie(
        COOKIE, default="", salt=_salt(user), max_age=timedelta(days=COOKIE_DAYS)
    )
    return f"browser {mark}" if mark else ""


def remember_browser(request, response):
    """Give the browser a mark after a login: strangers' wrong passwords cannot lock its person out there."""
    user = getattr(request, "logged_in_as", None)
    if user is None or user.pk != request.user.pk:
        return
    response.set_signed_cookie(
        COOKIE,
        get_random_string(20),
        salt=_salt(request.user),  # with the password as it is now
        max_age=timedelta(days=COOKIE_DAYS),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _salt(user):
    """Another one for each person and password: a new password forgets the browsers."""
    return f"{COOKIE} {user.pk} {user.get_session_auth_hash()}"
