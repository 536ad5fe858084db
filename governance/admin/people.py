"""People and their roles: who may log in, which roles they have and ask for, and who decides for whom while away."""

from datetime import date

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

from accounts.admin.governed import ByVerbs, GovernedAdmin, PlainAdmin, page
from core import badges, wording
from core.refusals import Refused
from governance import approvals, deciders, delegations, logins, people, permissions
from governance.models import ApprovalRequest, Delegation, Event
from governance.roles import ROLES

LIST = "admin:auth_user_changelist"
PAGE = "admin:auth_user_change"
REQUEST = "admin:governance_approvalrequest_change"
HAPPENED = 20  # events about a person on their page
HAPPENS = ["role_changed", "person_changed", "email_changed", "password_set", "login_locked", "lock_lifted"]

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
        """What goes with a person is theirs alone: messages, absences."""
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
            path("<int:pk>/roles/", wrap(self.roles_view), name="auth_user_roles"),
            path("<int:pk>/login/", wrap(self.login_view), name="auth_user_login"),
            path("<int:pk>/lift/", wrap(self.lift_view), name="auth_user_lift"),
            *super().get_urls(),
        ]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        key = unquote(object_id)
        user = self._get(int(key)) if key.isdecimal() and len(key) < 10 else None
        extra = {}
        if user is not None:
            about = Event.objects.filter(kind__in=HAPPENS, data__user=user.pk)
            extra = {
                "person": user,
                "may_set_password": self.has_change_permission(request, user),
                "may_ask": permissions.may(permissions.ask_role(user, by=request.user)),
                "may_close": permissions.may(permissions.deactivate(user, by=request.user)),
                "may_open": permissions.may(permissions.reactivate(user, by=request.user)),
                "waiting": _open_request(user),
                "locks": logins.locks(user),
                "may_lift": permissions.may(permissions.lift_lock(user, by=request.user)),
                "happened": about.order_by("-pk")[:HAPPENED],
            }
        return super().change_view(request, object_id, form_url, extra | (extra_context or {}))

    def roles_view(self, request, pk):
        """Which roles somebody gets and loses, and why: a request, or at set-up done at once."""
        user = self._get(pk) or self._missing()
        permissions_refusal = permissions.ask_role(user, by=request.user)
        setting_up = not people.set_up_refusal(by=request.user)
        if permissions_refusal and not setting_up:
            raise PermissionDenied
        waiting, refusal = _open_request(user), permissions_refusal
        if request.method == "POST" and not refusal:
            try:
                return self._ask(request, user, waiting, setting_up)
            except Refused as refused:
                refusal, waiting = str(refused), _open_request(user)
        held = people.roles_of(user)
        wanted = request.POST.getlist("role") if request.method == "POST" else held
        if waiting and request.method != "POST":
            wanted = [
                one
                for one in ROLES
                if one in {*held, *waiting.content["add"]} - set(waiting.content["remove"])
            ]
        return page(
            request,
            "governance/people/ask_roles.html",
            title=f"Roles of {user.get_username()}",
            model_admin=self,
            original=user,
            person=user,
            roles=[{"name": name, "does": role.does, "held": name in held, "on": name in wanted} for name, role in ROLES.items()],
            waiting=waiting,
            seen=approvals.token(waiting) if waiting else "",
            why=request.POST.get("why", waiting.why if waiting else ""),
            setting_up=setting_up,
            refusal=refusal,
            status=409 if refusal else 200,
        )  # fmt: skip

    def _ask(self, request, user, waiting, setting_up):
        wanted, held = set(request.POST.getlist("role")), set(people.roles_of(user))
        said = {"add": wanted - held, "remove": (held - wanted) & set(ROLES)}
        if setting_up:
            people.set_up(user, by=request.user, add=said["add"])
            messages.success(request, f"{user.get_username()} has the role now.")
            return HttpResponseRedirect(reverse(PAGE, args=[user.pk]))
        why = request.POST.get("why", "")
        if waiting:
            seen = request.POST.get("seen", "")
            asked = people.change(waiting, by=request.user, seen=seen, why=why, **said)
        else:
            asked = people.ask(user, by=request.user, why=why, **said)
        return answered(request, asked, reverse(PAGE, args=[user.pk]))

    def login_view(self, request, pk):
        """Close somebody's login, or open it again; with a reason."""
        user = self._get(pk) or self._missing()
        check, verb = (
            (permissions.deactivate, people.deactivate)
            if user.is_active
            else (permissions.reactivate, people.reactivate)
        )
        if permissions.manage_people(by=request.user):
            raise PermissionDenied
        refusal = check(user, by=request.user)
        if request.method == "POST":
            try:
                verb(user, by=request.user, reason=request.POST.get("reason", ""))
                said = "closed" if user.is_active else "open again"
                messages.success(request, f"The login of {user.get_username()} is {said}.")
                return HttpResponseRedirect(reverse(PAGE, args=[user.pk]))
            except Refused as refused:
                refusal = str(refused)
        return page(
            request,
            "governance/people/login.html",
            title=f"Login of {user.get_username()}",
            model_admin=self,
            original=user,
            person=user,
            roles=people.roles_of(user),
            reason=request.POST.get("reason", ""),
            refusal=refusal,
            status=409 if refusal and request.method == "POST" else 200,
        )

    def lift_view(self, request, pk):
        """Let somebody log in again whom wrong passwords have locked out."""
        user = self._get(pk) or self._missing()
        if permissions.lift_lock(user, by=request.user):
            raise PermissionDenied
        if request.method == "POST":
            try:
                logins.lift(user, by=request.user)
                messages.success(request, f"{user.get_username()} can log in again.")
            except Refused as refused:
                messages.warning(request, str(refused))
        return HttpResponseRedirect(reverse(PAGE, args=[user.pk]))

    def _get(self, pk):
        return User.objects.filter(pk=pk).first()

    def _missing(self):
        raise Http404("There is no such person.")


def _open_request(user):
    return ApprovalRequest.objects.open().filter(kind="role", key=f"role:{user.pk}").first()


def answered(request, asked, otherwise):
    """After something was asked for: to the request, or back with the news where it is done already."""
    if asked.status == ApprovalRequest.Status.APPLIED:
        messages.success(request, f"Done, and logged: {asked.subject}.")
        return HttpResponseRedirect(otherwise)
    messages.success(request, "Sent for approval. It takes effect once the right people have approved it.")
    return HttpResponseRedirect(reverse(REQUEST, args=[asked.pk]))


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
        found = sorted(self.get_queryset(request), key=lambda one: order.get(one.name, len(order)))
        rows = [{"role": one, "does": self.does(one), "members": self.members(one)} for one in found]
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
        reads = [one.name.removeprefix("Can view ") for one in held if one.codename.startswith("view_")]
        return page(
            request,
            "governance/people/role.html",
            title=group.name,
            model_admin=self,
            original=group,
            role=group,
            does=self.does(group),
            may=_together(
                one.name.removeprefix("Can ") for one in held if not one.codename.startswith("view_")
            ),
            reads=reads,
            members=group.user_set.filter(is_active=True).order_by("username"),
            may_see_people=request.user.has_perm("auth.view_user"),
        )


def _together(sentences):
    """`add segment` and `change segment` as one: `add and change segment`; the others as they are."""
    verbs, rest = {}, []
    for one in sentences:
        verb, _, what = one.partition(" ")
        if verb in ("add", "change", "delete") and " that " not in what:
            verbs.setdefault(what, []).append(verb)
        else:
            rest.append(one)
    found = [
        f"{' and '.join(filter(None, [', '.join(several[:-1]), several[-1]]))} {what}"
        for what, several in verbs.items()
    ]
    return sorted(rest) + sorted(found, key=lambda one: one.rpartition(" ")[2].lower())


@admin.register(Delegation)
class DelegationAdmin(GovernedAdmin):
    """Who decides for whom while they are away. Everybody enters their own absence."""

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
        end = path(
            "<int:pk>/end/", self.admin_site.admin_view(self.end_view), name="governance_delegation_end"
        )
        return [end, *super().get_urls()]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return HttpResponseRedirect(self._address("changelist"))

    def changelist_view(self, request, extra_context=None):
        """Those away now and later, and the form; the POST enters an absence."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        may_others = request.user.has_perm("governance.add_delegation")
        if not may_others and not _decides(request.user) and request.method == "POST":
            raise PermissionDenied
        refusal = ""
        if request.method == "POST":
            try:
                return self._enter(request)
            except Refused as refused:
                refusal = str(refused)
        today = timezone.localdate()
        rows = Delegation.objects.select_related("absent", "delegate").order_by("from_date", "pk")
        rows = [
            {"one": one, "now": one.from_date <= today, "may_end": permissions.may(permissions.end_absence(one, by=request.user))}
            for one in rows.filter(until_date__gte=today)
        ]  # fmt: skip
        active = User.objects.filter(is_active=True).order_by("username")
        return page(
            request,
            "governance/people/stand_ins.html",
            title="Stand-ins",
            model_admin=self,
            rows=rows,
            may_enter=may_others or _decides(request.user),
            may_others=may_others,
            people=active,
            delegates=active.exclude(groups__name__in=deciders.NEVER),
            typed={name: request.POST.get(name, "") for name in ("absent", "delegate", "from_date", "until_date", "reason")},
            today=today,
            refusal=refusal,
            status=409 if refusal else 200,
        )  # fmt: skip

    def _enter(self, request):
        sent = request.POST
        absent = _person(sent.get("absent")) if sent.get("absent") else request.user
        made = delegations.enter(
            absent,
            by=request.user,
            delegate=_person(sent.get("delegate")),
            from_date=_date(sent.get("from_date"), "first"),
            until_date=_date(sent.get("until_date"), "last"),
            reason=sent.get("reason", "")[:400],
        )
        messages.success(request, f"{made.delegate.get_username()} decides for {made.absent.get_username()}.")
        return HttpResponseRedirect(self._address("changelist"))

    def end_view(self, request, pk):
        if request.method != "POST":
            return HttpResponseRedirect(self._address("changelist"))
        one = Delegation.objects.filter(pk=pk).first()
        if one is None:
            messages.warning(request, "This was ended already.")
            return HttpResponseRedirect(self._address("changelist"))
        if permissions.end_absence(one, by=request.user):
            raise PermissionDenied
        try:
            delegations.end(one, by=request.user)
            messages.success(request, "Ended: nobody stands in any more.")
        except Refused as refusal:
            messages.error(request, str(refusal))
        return HttpResponseRedirect(self._address("changelist"))


def _decides(user):
    return user.has_perm("governance.decide_request")


def _person(text):
    found = (
        User.objects.filter(pk=int(text)).first() if text and text.isdecimal() and len(text) < 10 else None
    )
    if found is None:
        raise Refused("person_not_chosen")
    return found


def _date(text, which):
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        raise Refused("absence_day_missing", which=which) from None
