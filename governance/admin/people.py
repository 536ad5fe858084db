"""People and their roles: who may log in, which roles they have and ask for, and who decides for whom while away."""

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.contrib.auth.validators import ASCIIUsernameValidator
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.admin.fields import Day, Line, Row, Text
from accounts.admin.governed import ByVerbs, GovernedAdmin, PlainAdmin, page
from accounts.admin.verbs import VerbForm, VerbPage, pressed, row
from core import badges, wording
from core.programs import is_program
from core.refusals import Refused
from governance.models import ApprovalRequest, Delegation, Event
from governance.signoff import approvals, deciders, delegations, logins, people, permissions
from governance.signoff.roles import ROLES

LIST = "admin:auth_user_changelist"
PAGE = "admin:auth_user_change"
REQUEST = "admin:governance_approvalrequest_change"
HAPPENED = 20  # events about a person on their page
HAPPENS = ["role_changed", "person_changed", "email_changed", "password_set", "login_locked", "lock_lifted",
           "program_made", "token_made", "token_rotated", "token_revoked"]  # fmt: skip

for model in (User, Group):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


SYSTEM = ("system", "nobody", "visitor", "demarc")


def _own_name(user):
    """A validator of the user name this person (None: a new one) is given."""

    def check(name):
        if user and name == user.username:
            return
        ASCIIUsernameValidator()(name)
        others = User.objects.exclude(pk=user.pk) if user else User.objects.all()
        if name.lower() in SYSTEM or others.filter(Q(username__iexact=name) | Q(email__iexact=name)).exists():
            raise ValidationError("This would be taken for somebody else: choose another name.")

    return check


class _PersonForm(VerbForm):
    def done(self, text):
        self.say(text)
        return reverse(PAGE, args=[self.thing.pk])


class RolesForm(_PersonForm):
    """The roles somebody shall have, and why: a request, or at set-up done at once."""

    at = {"request_reason_missing": "why"}
    role = forms.MultipleChoiceField(
        required=False, choices=[(name, name) for name in ROLES], widget=forms.CheckboxSelectMultiple
    )
    why = Text(rows=3, needed=True, help="The people who decide read it, and it is kept.")

    def start(self):
        wanted, waiting = set(self.page.held), self.page.waiting
        if waiting:
            wanted = (wanted | set(waiting.content["add"])) - set(waiting.content["remove"])
        return {"role": list(wanted), "why": waiting.why if waiting else ""}

    def carry_out(self):
        wanted, held = set(self.cleaned_data["role"]), set(self.page.held)
        arguments = {"add": wanted - held, "remove": (held - wanted) & set(ROLES), "by": self.by}
        if self.page.setting_up:
            people.set_up(self.thing, add=arguments["add"], by=self.by)
            return self.done(f"{self.thing.get_username()} has the role now.")
        arguments["why"] = self.cleaned_data["why"]
        if self.page.waiting:
            approval_request = people.change(self.page.waiting, seen=self.seen, **arguments)
        else:
            approval_request = people.ask(self.thing, **arguments)
        return answered(self.page.request, approval_request, reverse(PAGE, args=[self.thing.pk]))


class RolesPage(VerbPage):
    template = "governance/people/ask_roles.html"
    verbs = {"ask": RolesForm}

    def load(self, pk):
        user, by = row(User.objects.all(), pk, "person"), self.request.user
        self.setting_up = not people.set_up_refusal(by=by)
        if permissions.ask_role(user, by=by) and not self.setting_up:
            raise PermissionDenied
        self.held, self.waiting = people.roles_of(user), _open_request(user)
        return user

    def token(self):
        return approvals.token(self.waiting) if self.waiting else ""

    def context(self):
        return {
            "title": f"Roles of {self.thing.get_username()}",
            "original": self.thing,
            "person": self.thing,
            "held": self.held,
            "roles": ROLES,
            "waiting": self.waiting,
            "setting_up": self.setting_up,
        }


class _LoginForm(_PersonForm):
    part = "login"
    at = {"reason_missing": "reason"}
    reason = Text(needed=True)


class CloseForm(_LoginForm):
    def carry_out(self):
        people.deactivate(self.thing, by=self.by, **self.cleaned_data)
        return self.done(f"The login of {self.thing.get_username()} is closed.")


class OpenForm(_LoginForm):
    def carry_out(self):
        people.reactivate(self.thing, by=self.by, **self.cleaned_data)
        return self.done(f"The login of {self.thing.get_username()} is open again.")


class LoginPage(VerbPage):
    """Closes somebody's login, or opens it again."""

    template = "governance/people/login.html"
    verbs = {"close": CloseForm, "open": OpenForm}

    def load(self, pk):
        if permissions.manage_people(by=self.request.user):
            raise PermissionDenied
        return row(User.objects.all(), pk, "person")

    def context(self):
        check = permissions.deactivate if self.thing.is_active else permissions.reactivate
        return {
            "title": f"Login of {self.thing.get_username()}",
            "original": self.thing,
            "person": self.thing,
            "roles": people.roles_of(self.thing),
            "why_not": check(self.thing, by=self.request.user),
        }


@admin.register(User)
class UserAdmin(DjangoUserAdmin, PlainAdmin):
    """People who log in. Roles, and whether the login is open, are changed on pages of their own: with a reason."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    change_form_template = "governance/people/person.html"
    actions = None
    filter_horizontal = []
    list_filter = ["is_active", "groups"]
    list_display = ["username", "full_name", "email", "roles", "looks_after", "open"]
    list_select_related = ["csm"]
    readonly_fields = ["roles", "looks_after", "open", "last_login_shown"]
    fieldsets = [
        (None, {"fields": ["username", "first_name", "last_name", "email"]}),
        ("What they may do", {"fields": ["roles", "looks_after", "open", "last_login_shown"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["username", "usable_password", "password1", "password2", "email"],
                "description": "A new person has no role yet: ask for one on the next page."}),
    ]  # fmt: skip
    lookup_allowed = PlainAdmin.lookup_allowed

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("groups")

    def get_form(self, request, obj=None, **kwargs):
        """Names that read like another's are not taken: plain letters, nobody's e-mail address, not the system's."""
        form = super().get_form(request, obj, **kwargs)
        if "username" in form.base_fields:
            form.base_fields["username"].validators.append(_own_name(obj))
        return form

    def save_model(self, request, obj, form, change):
        """A new person may log in at once; what they may do there is for their roles to say."""
        if not change:
            obj.is_staff = True
        super().save_model(request, obj, form, change)

    # -- who may

    def has_change_permission(self, request, obj=None):
        """Only a superuser changes one: whoever sets a password could log in with it."""
        above = obj is not None and obj.is_superuser and not request.user.is_superuser
        return not above and super().has_change_permission(request, obj)

    def has_delete_permission(self, request, obj=None):
        if not super().has_delete_permission(request, obj):
            return False
        return obj is None or permissions.may(permissions.delete_person(obj, by=request.user))

    def get_deleted_objects(self, objs, request):
        """Leave out what goes with a person and is theirs alone: messages, absences."""
        listed, counts, _, protected = super().get_deleted_objects(objs, request)
        return listed, {what: counts[what] for what in counts if what == "users"}, set(), protected

    def delete_model(self, request, obj):
        people.delete(obj, by=request.user, reason="Deleted in the administration")

    def delete_view(self, request, object_id, extra_context=None):
        try:
            with transaction.atomic():
                return super().delete_view(request, object_id, extra_context)
        except Refused as refusal:
            messages.error(request, str(refusal))
            return HttpResponseRedirect(reverse(PAGE, args=[object_id]))

    def user_change_password(self, request, id, form_url=""):
        """Setting another person's password is kept and told: one could log in as them."""
        if (user := self.get_object(request, unquote(id))) is not None and is_program(user):
            raise PermissionDenied  # it comes by a token
        with transaction.atomic():
            answer = super().user_change_password(request, id, form_url)
            if request.method == "POST" and answer.status_code == 302:
                user = self.get_object(request, unquote(id))
                if user is not None and user.pk != request.user.pk:
                    people.password_set(user, by=request.user)
        return answer

    # -- the columns

    @admin.display(description="Name", ordering="last_name")
    def full_name(self, user):
        return user.get_full_name() or "–"

    @admin.display(description="Roles")
    def roles(self, user):
        names = [group.name for group in user.groups.all()] if user.pk else []
        named = [*(name for name in ROLES if name in names), *(name for name in names if name not in ROLES)]
        if user.is_superuser:
            named.append("superuser")
        return ", ".join(named) or "none yet"

    @admin.display(description="Looks after accounts as")
    def looks_after(self, user):
        csm = getattr(user, "csm", None)
        if csm is None:
            return "–"
        return format_html(
            '<a class="dm-link" href="{}">{}</a>', reverse("admin:accounts_csm_change", args=[csm.pk]), csm
        )

    @admin.display(description="Login", ordering="is_active")
    def open(self, user):
        return badges.badge("open", "ok") if user.is_active else badges.badge("closed", "bad")

    @admin.display(description="Last login", ordering="last_login")
    def last_login_shown(self, user):
        return wording.moment(user.last_login) or "never"

    # -- pages

    def get_urls(self):
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/roles/", wrap(RolesPage.as_view(admin=self)), name="auth_user_roles"),
            path("<int:pk>/login/", wrap(LoginPage.as_view(admin=self)), name="auth_user_login"),
            path("<int:pk>/lift/", wrap(self.lift_view), name="auth_user_lift"),
            *super().get_urls(),
        ]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        user = self.get_object(request, unquote(object_id))
        extra = {}
        if user is not None:
            about = Event.objects.filter(kind__in=HAPPENS, data__user=user.pk)
            extra = {
                "person": user,
                "may_set_password": self.has_change_permission(request, user) and not is_program(user),
                "is_program": is_program(user),
                "may_ask": permissions.may(permissions.ask_role(user, by=request.user)),
                "may_close": permissions.may(permissions.deactivate(user, by=request.user)),
                "may_open": permissions.may(permissions.reactivate(user, by=request.user)),
                "waiting": _open_request(user),
                "locks": logins.locks(user),
                "may_lift": permissions.may(permissions.lift_lock(user, by=request.user)),
                "happened": about.order_by("-pk")[:HAPPENED],
            }
        return super().change_view(request, object_id, form_url, extra | (extra_context or {}))

    def lift_view(self, request, pk):
        """Let somebody log in again whom wrong passwords have locked out."""
        user = row(User.objects.all(), pk, "person")
        if permissions.lift_lock(user, by=request.user):
            raise PermissionDenied
        page_of = reverse(PAGE, args=[user.pk])
        if request.method != "POST":
            return HttpResponseRedirect(page_of)
        message = f"{user.get_username()} can log in again."
        return pressed(request, lambda: logins.lift(user, by=request.user), message=message, to=page_of)


def _open_request(user):
    return ApprovalRequest.objects.open().filter(kind=people.KIND, key=f"role:{user.pk}").first()


def answered(request, approval_request, otherwise):
    """The address after something was asked for: of the request, or `otherwise` where it is done already."""
    if approval_request.status == ApprovalRequest.Status.APPLIED:
        messages.success(request, f"Done, and logged: {approval_request.subject}.")
        return otherwise
    messages.success(request, "Sent for approval. It takes effect once the right people have approved it.")
    return reverse(REQUEST, args=[approval_request.pk])


@admin.register(Group)
class RoleAdmin(ByVerbs, PlainAdmin):
    """Roles are the same in every organisation: they are read here, and given on a person's page."""

    list_display = ["name", "does", "members"]
    search_fields = ["name"]

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("user_set").order_by("name")

    def changelist_view(self, request, extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        order = {name: place for place, name in enumerate(ROLES)}
        groups = sorted(self.get_queryset(request), key=lambda group: order.get(group.name, len(order)))
        rows = [{"role": group, "does": self.does(group), "members": self.members(group)} for group in groups]
        return page(request, "governance/people/roles.html", title="Roles", model_admin=self, rows=rows)

    @admin.display(description="What it does")
    def does(self, group):
        return (
            ROLES[group.name].does
            if group.name in ROLES
            else "Made by your organisation, and decides about nothing."
        )

    @admin.display(description="Who has it")
    def members(self, group):
        names = sorted(user.get_username() for user in group.user_set.all() if user.is_active)
        more = len(names) - 5
        return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "") or "nobody"

    def change_view(self, request, object_id, form_url="", extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        group = self.get_object(request, unquote(object_id))
        if group is None:
            raise Http404("There is no such role.")
        held = group.permissions.select_related("content_type").order_by("name")
        reads = [
            permission.name.removeprefix("Can view ")
            for permission in held
            if permission.codename.startswith("view_")
        ]
        return page(
            request,
            "governance/people/role.html",
            title=group.name,
            model_admin=self,
            original=group,
            role=group,
            does=self.does(group),
            may=_together(
                permission.name.removeprefix("Can ")
                for permission in held
                if not permission.codename.startswith("view_")
            ),
            reads=reads,
            members=group.user_set.filter(is_active=True).order_by("username"),
            may_see_people=request.user.has_perm("auth.view_user"),
        )


def _together(sentences):
    """`add segment` and `change segment` as one: `add and change segment`; the others as they are."""
    verbs, others = {}, []
    for sentence in sentences:
        verb, _, what = sentence.partition(" ")
        if verb in ("add", "change", "delete") and " that " not in what:
            verbs.setdefault(what, []).append(verb)
        else:
            others.append(sentence)
    merged = [
        f"{' and '.join(filter(None, [', '.join(several[:-1]), several[-1]]))} {what}"
        for what, several in verbs.items()
    ]
    return sorted(others) + sorted(merged, key=lambda sentence: sentence.rpartition(" ")[2].lower())


class AbsenceForm(VerbForm):
    absent = Row("Who is away", gone="Choose who.", rows=User.objects.none(), empty=None)
    delegate = Row("Who decides instead", gone="Choose who.", missing="Choose who.", rows=User.objects.none())
    from_date = Day("First day", missing="Say which day is the first one.")
    until_date = Day("Last day", missing="Say which day is the last one.")
    reason = Line("Why (optional)")

    def prepare(self):
        active = User.objects.filter(is_active=True).order_by("username")
        delegates = active.exclude(groups__name__in=deciders.NEVER)
        self.fields["absent"].queryset = active
        self.fields["delegate"].queryset = (
            delegates if self.page.may_others else delegates.exclude(pk=self.by.pk)
        )
        self.fields["until_date"].between(timezone.localdate())

    def start(self):
        return {"absent": self.by.pk, "from_date": timezone.localdate()}

    def carry_out(self):
        absent = self.cleaned_data.pop("absent") or self.by
        made = delegations.enter(absent, by=self.by, **self.cleaned_data)
        self.say(f"{made.delegate.get_username()} decides for {made.absent.get_username()}.")
        return self.page.request.path


class StandInsPage(VerbPage):
    """People away now and later, and the form in which an absence is entered."""

    title = "Stand-ins"
    template = "governance/people/stand_ins.html"
    verbs = {"enter": AbsenceForm}

    def load(self):
        user = self.request.user
        self.may_others = user.has_perm("governance.add_delegation")
        self.may_enter = self.may_others or _decides(user)
        if not self.admin.has_view_permission(self.request):
            raise PermissionDenied
        if self.request.method == "POST" and not self.may_enter:
            raise PermissionDenied

    def context(self):
        today = timezone.localdate()
        absences = Delegation.objects.select_related("absent", "delegate").filter(until_date__gte=today)
        return {
            "rows": [
                {
                    "one": absence,
                    "now": absence.from_date <= today,
                    "may_end": permissions.may(permissions.end_absence(absence, by=self.request.user)),
                }
                for absence in absences.order_by("from_date", "pk")
            ],
            "may_enter": self.may_enter,
            "may_others": self.may_others,
        }


@admin.register(Delegation)
class DelegationAdmin(GovernedAdmin):
    """Stand-ins: who decides for whom while they are away. Everybody enters their own absence."""

    list_display = ["absent", "delegate", "from_date", "until_date", "reason"]

    def has_view_permission(self, request, obj=None):
        return super().has_view_permission(request) or _decides(request.user)

    def has_module_permission(self, request):
        return self.has_view_permission(request)

    def has_add_permission(self, request):
        return False  # on the page itself

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def get_urls(self):
        wrap = self.admin_site.admin_view
        end = path("<int:pk>/end/", wrap(self.end_view), name="governance_delegation_end")
        return [end, *super().get_urls()]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return HttpResponseRedirect(self._address("changelist"))

    def changelist_view(self, request, extra_context=None):
        return StandInsPage.as_view(admin=self)(request)

    def end_view(self, request, pk):
        there = Delegation.objects.filter(pk=pk).first()
        if request.method != "POST":
            return HttpResponseRedirect(self._address("changelist"))
        if there and permissions.end_absence(there, by=request.user):
            raise PermissionDenied
        return pressed(
            request,
            lambda: delegations.end(there or Delegation(pk=pk), by=request.user),
            message="Ended: nobody stands in any more.",
            to=self._address("changelist"),
        )


def _decides(user):
    return user.has_perm("governance.decide_request")
