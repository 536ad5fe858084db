"""The login page, where too many wrong passwords are told."""

import math

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.forms import AuthenticationForm

from governance import logins


class LoginForm(AuthenticationForm):
    """Says of a lock what happened and until when; of a wrong password what Django says."""

    def get_invalid_login_error(self):
        until = getattr(self.request, "locked_until", None)
        if until is None:
            return super().get_invalid_login_error()
        return ValidationError(logins.sentence(until), code="locked")


admin.site.login_form = LoginForm


def answer(request, response, credentials):
    """The page as it is, with the status that tells programs to wait (settings.AXES_LOCKOUT_CALLABLE)."""
    response.status_code = 429
    seconds = (request.locked_until - timezone.now()).total_seconds()
    response["Retry-After"] = str(max(1, math.ceil(seconds)))
    return response
