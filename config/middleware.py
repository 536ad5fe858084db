"""Middleware: what a browser may load, what and how much a request may hold, who acts, and a visitor's last change."""

import time
from itertools import chain

from django.contrib.auth import SESSION_KEY
from django.http import HttpResponse
from django.middleware.gzip import GZipMiddleware
from django.shortcuts import render
from django.urls import reverse

from core.api import bodies
from core.api.problems import Problem
from core.history import acting
from core.organisation import in_its_time, organisation
from core.refusals import refused_by
from governance.signoff import logins

# Alpine, which the theme is made with, evaluates its attributes and sets styles; nothing else is let in.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'self'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ]
)


def content_security_policy(get_response):
    """Browsers run scripts of our own files only: no page has a script within, so text that gets into one does nothing."""

    def middleware(request):
        answer = get_response(request)
        answer.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return answer

    return middleware


class gzip(GZipMiddleware):
    """Answers are zipped, but for those with a strong ETag: zipped they would be others, and the tag a weak one."""

    def process_response(self, request, response):
        if response.get("ETag", "").startswith('"'):
            return response
        return super().process_response(request, response)


API = "/api/"


def no_nul(get_response):
    """No text in a database has a NUL: whatever is sent with one is refused here, for every page at once.

    So is a form in another encoding, which no browser sends. A page cannot say that: it would read the form again.
    """

    def middleware(request):
        if request.path_info.startswith(API):  # it reads bodies and parameters itself
            if any("\x00" in text for text in request.COOKIES.values()):
                return Problem(400, "text_unstorable").plain()
            return get_response(request)
        if request.content_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
            return HttpResponse(NOT_UTF_8, status=400, content_type="text/plain; charset=utf-8")
        pairs = (pair for sent in (request.GET, request.POST) for pair in sent.lists())
        texts = (text for name, values in pairs for text in (name, *values))
        if any("\x00" in text for text in chain(texts, request.COOKIES.values())):
            return render(request, "400.html", {"sentence": NUL}, status=400)
        return get_response(request)

    return middleware


NOT_UTF_8 = "Forms are sent as UTF-8. Nothing was changed.\n"
NUL = "A NUL character is in it, which no text here can have. Nothing was changed: go back and take it out."


class Refusals:
    """A page says itself what it refuses; where somebody else was faster than its checks, this says it."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, request, error):
        refusal = refused_by(error)
        return refusal and render(request, "409.html", {"sentence": str(refusal)}, status=409)


MOST_MB = 5  # of a request that brings no files to import
ROOM = 1 << 20  # bytes beside the files: the recipe, and what stands between the parts


def size_limit(get_response):
    """Refuse what is too large before it is read: the check of the form's token writes all of it to the disk first."""

    def middleware(request):
        length = request.META.get("CONTENT_LENGTH") or "0"
        size = int(length) if length.isdecimal() else 0  # without a length nothing is read
        if request.path_info.startswith(API):
            small = size <= bodies.LARGEST
            return get_response(request) if small else Problem(413, "body_too_large").plain()
        if size <= MOST_MB << 20:
            return get_response(request)
        is_import = request.path == reverse("admin:accounts_importbatch_upload")
        most = organisation().import_mb if is_import else MOST_MB
        if size <= (most << 20) + ROOM:
            return get_response(request)
        context = {"size": f"{size / 2**20:,.0f}", "most": f"{most:,}", "is_import": is_import}
        return render(request, "413.html", context, status=413)

    return middleware


def acting_person(get_response):
    """Everything written while a request is answered is recorded as done by its user, through the admin."""

    def middleware(request):
        user = getattr(request, "user", None)
        person = user if user is not None and user.is_authenticated else None
        with acting(by=person, label="" if person else "visitor", channel="admin"), in_its_time():
            return get_response(request)

    return middleware


def last_act(get_response):
    """The moment of a person's last POST, kept in the session as `acted_at`.

    Whoever has just changed something is never shown figures from before. In the session, since the next request may
    be answered by another process.
    """

    def middleware(request):
        answer = get_response(request)
        # Not who has just logged out, nor a program that has no session.
        if request.method == "POST" and SESSION_KEY in request.session:
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
