"""Service users and their tokens: programs that come through the API."""

from datetime import timedelta

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max, Q
from django.http import HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers

from accounts.admin.fields import Day, Line, Row, Text, Tick
from accounts.admin.governed import ByVerbs, GovernedAdmin
from accounts.admin.verbs import VerbForm, VerbPage, row
from accounts.changes import entries
from core import badges, wording
from core.models import ServiceUser, Token
from governance.signoff import people, permissions, tokens

LIST = "admin:core_serviceuser_changelist"
PAGE = "admin:core_serviceuser_page"
HAPPENED = 20  # changes of tokens on the page
COLOURS = {"active": "ok", "expired": "warn", "revoked": "bad"}
READ, WRITE = "read", "write"


class NewForm(VerbForm):
    at = {
        "program_name_taken": "name",
        "program_name_unfit": "name",
        "program_purpose_missing": "purpose",
    }
    name = Line(
        "Name", missing="Choose a name.", most=100, help="As it is told in the audit trail: crm-sync."
    )
    purpose = Text("Which system is it, and what does it do here?", needed=True, most=400)

    def carry_out(self):
        user = tokens.make_user(by=self.by, **self.cleaned_data)
        self.say(f"{user.get_username()} is there. Ask for its role, and make a token.")
        return reverse(PAGE, args=[user.service.pk])


class NewPage(VerbPage):
    title = "Add a service user"
    template = "governance/programs/new.html"
    verbs = {"make": NewForm}

    def load(self):
        if permissions.manage_programs(by=self.request.user):
            raise PermissionDenied


class MakeForm(VerbForm):
    at = {
        "token_name_missing": "name",
        "token_day_unfit": "expires_on",
        "network_unreadable": "networks",
        "too_many_networks": "networks",
    }
    name = Line("What it is for", needed=True, most=100)
    writes = Tick("It may also change what the roles allow", help="Without it, the token only reads.")
    expires_on = Day("Valid until", help=f"At most {tokens.MOST_DAYS} days ahead.")
    networks = Line(
        "From these networks only (optional)",
        most=1_000,
        help="10.0.0.0/8, 192.0.2.7: several with commas. Behind a proxy, only where DEMARC_ADDRESS_HEADER says who called it.",
    )

    def prepare(self):
        today = timezone.localdate()
        self.fields["expires_on"].between(today, today + timedelta(days=tokens.MOST_DAYS))

    def start(self):
        return {"expires_on": timezone.localdate() + timedelta(days=tokens.DAYS)}

    def carry_out(self):
        sent = self.cleaned_data | {"networks": tokens.split(self.cleaned_data["networks"])}
        self.page.made = tokens.make(self.thing.user, by=self.by, seen=self.seen, **sent)
        return reverse(PAGE, args=[self.thing.pk])


class _TokenForm(VerbForm):
    part = "token"
    at = {"reason_missing": "reason", "token_day_unfit": "expires_on"}
    token = Row("Which token", gone="Choose a token.", missing="Choose a token.", rows=Token.objects.none())
    expires_on = Day(
        "Valid until, of a new secret", help=f"{tokens.DAYS} days from today where none is given."
    )
    reason = Text("Why it is revoked")

    def prepare(self):
        self.fields["token"].queryset = self.thing.tokens.filter(revoked_at=None)


class RotateForm(_TokenForm):
    def carry_out(self):
        sent = self.cleaned_data
        self.page.made = tokens.rotate(sent["token"], by=self.by, expires_on=sent["expires_on"])
        return reverse(PAGE, args=[self.thing.pk])


class RevokeForm(_TokenForm):
    def carry_out(self):
        token = tokens.revoke(self.cleaned_data["token"], by=self.by, reason=self.cleaned_data["reason"])
        self.say(f"The token {token.key} is worth nothing any more.")
        return reverse(PAGE, args=[self.thing.pk])


class ProgramPage(VerbPage):
    """A service user, its roles and its tokens. The text of a token is told in the answer that makes it, and never again."""

    template = "governance/programs/program.html"
    verbs = {"make": MakeForm, "rotate": RotateForm, "revoke": RevokeForm}
    made = None  # (token, its text)

    def load(self, pk):
        if not self.admin.has_view_permission(self.request):
            raise PermissionDenied
        self.may = permissions.may(permissions.manage_programs(by=self.request.user))
        if self.request.method == "POST" and not self.may:
            raise PermissionDenied
        return row(ServiceUser.objects.select_related("user"), pk, "service user")

    def token(self):
        return tokens.seen_of(self.thing)

    def post(self, request, **where):
        answer = super().post(request, **where)
        answer = self.show() if self.made else answer
        add_never_cache_headers(answer)
        return answer

    def context(self):
        user = self.thing.user
        history = Token.history.filter(user_id=self.thing.user_id).order_by("-history_date", "-history_id")
        pairs = [(each, each.prev_record) for each in history[:HAPPENED]]
        return {
            "title": user.get_username(),
            "original": self.thing,
            "program": self.thing,
            "roles": people.roles_of(user),
            "tokens": self.thing.tokens.order_by("revoked_at", "-pk"),
            "colours": COLOURS,
            "may": self.may,
            "made": self.made,
            "history": [
                entry | {"token": each} for each, before in pairs for entry in entries([each], before)
            ],
        }


@admin.register(ServiceUser)
class ServiceUserAdmin(ByVerbs, GovernedAdmin):
    """Programs. They are added, and their tokens made, on pages of their own."""

    list_display = ["name", "purpose", "tokens_shown", "used"]
    list_select_related = ["user"]
    search_fields = ["user__username", "purpose"]
    list_before_template = "governance/programs/list_before.html"
    empty_text = "A service user is a program that comes through the API: a CRM, a warehouse. It has a token and no password."

    def has_view_permission(self, request, obj=None):
        return request.user.has_perm("auth.view_user")

    def has_module_permission(self, request):
        return self.has_view_permission(request)

    def get_queryset(self, request):
        now = timezone.now()
        active = Count("tokens", filter=Q(tokens__revoked_at=None, tokens__expires_at__gt=now))
        return super().get_queryset(request).annotate(active=active, last_used=Max("tokens__last_used_at"))

    @admin.display(description="Name", ordering="user__username")
    def name(self, program):
        return program.user.get_username()

    @admin.display(description="Valid tokens", ordering="active")
    def tokens_shown(self, program):
        return badges.badge(wording.count(program.active), "ok" if program.active else "")

    @admin.display(description="Last used", ordering="last_used")
    def used(self, program):
        return wording.moment(program.last_used) or "never"

    def get_urls(self):
        wrap = self.admin_site.admin_view
        return [
            path("new/", wrap(NewPage.as_view(admin=self)), name="core_serviceuser_new"),
            path("one/<int:pk>/", wrap(ProgramPage.as_view(admin=self)), name="core_serviceuser_page"),
            *super().get_urls(),
        ]

    def changelist_view(self, request, extra_context=None):
        extra = {"may_add": permissions.may(permissions.manage_programs(by=request.user))}
        return super().changelist_view(request, extra | (extra_context or {}))

    def change_view(self, request, object_id, form_url="", extra_context=None):
        found = row(ServiceUser.objects.all(), object_id, "service user")
        return HttpResponseRedirect(reverse(PAGE, args=[found.pk]))
