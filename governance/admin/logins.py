"""The pages that ask for a password, where too many wrong ones are told."""

import math

from django.contrib import admin
from django.contrib.auth import authenticate
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ValidationError
from django.urls import reverse_lazy
from django.utils import timezone
from unfold.forms import AdminOwnPasswordChangeForm, AuthenticationForm

from governance.signoff import logins


class LoginForm(AuthenticationForm):
    """Says of a lock what happened and until when; of a wrong password what Django says."""

    def get_invalid_login_error(self):
        return _locked(self.request) or super().get_invalid_login_error()


admin.site.login_form = LoginForm


def _locked(request):
    until = getattr(request, "locked_until", None)
    return until and ValidationError(logins.sentence(until), code="locked")


class OwnPasswordForm(AdminOwnPasswordChangeForm):
    """Asks for the old password as the login page does: who finds an open session cannot guess it here."""

    def __init__(self, *args, request, **options):
        super().__init__(*args, **options)
        self.request = request

    def clean_old_password(self):
        typed, name = self.cleaned_data["old_password"], self.user.get_username()
        if authenticate(self.request, username=name, password=typed) is None:
            message = self.error_messages["password_incorrect"]
            raise _locked(self.request) or ValidationError(message, code="password_incorrect")
        return typed


class OwnPasswordView(PasswordChangeView):
    """The page where people change their own password."""

    form_class = OwnPasswordForm
    success_url = reverse_lazy("admin:password_change_done")

    def get_form_kwargs(self):
        return super().get_form_kwargs() | {"request": self.request}

    def get_context_data(self, **context):
        return super().get_context_data(**admin.site.each_context(self.request), **context)


def answer(request, response, credentials):
    """The page as it is, with the status that tells programs to wait (settings.AXES_LOCKOUT_CALLABLE)."""
    response.status_code = 429
    seconds = (request.locked_until - timezone.now()).total_seconds()
    response["Retry-After"] = str(max(1, math.ceil(seconds)))
    return response
