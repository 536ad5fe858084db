"""Who a web request acts for, and when a visitor last changed something."""

import time

from accounts.history import acting, naming
from governance import logins


def acting_person(get_response):
    """Everything written while a request is answered is recorded as done by its user, through the admin."""

    def middleware(request):
        user = getattr(request, "user", None)
        known = user if user is not None and user.is_authenticated else None
        with acting(by=known, label="" if known else "visitor", channel="admin"), naming():
            return get_response(request)

    return middleware


def last_act(get_response):
    """The moment of a person's last POST, kept in the session as `acted_at`.

    Whoever has just changed something is never shown figures from before. In the session, since the next request may
    be answered by another process.
    """

    def middleware(request):
        answer = get_response(request)
        if request.method == "POST" and request.user.is_authenticated:  # not who has just logged out
            request.session["acted_at"] = time.time()
        return answer

    return middleware


def known_browser(get_response):
    """Whoever has just logged in is known by this browser from now on."""

    def middleware(request):
        answer = get_response(request)
        logins.remember_browser(request, answer)
        return answer

    return middleware
