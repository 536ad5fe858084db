"""People and roles, and the small lists accounts refer to."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.models import Csm, Product, SourceSystem

from .governed import GovernedAdmin, PlainAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, PlainAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    actions = None
    list_filter = ["is_staff", "is_superuser", "is_active", "groups"]
    list_display = ["username", "first_name", "last_name", "email", "is_staff"]

    lookup_allowed = PlainAdmin.lookup_allowed


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, PlainAdmin):
    actions = None


@admin.register(Csm)
class CsmAdmin(GovernedAdmin):
    list_display = ["name", "email", "kind", "user"]
    list_filter = ["kind"]
    list_select_related = ["user"]
    search_fields = ["name", "email"]
    autocomplete_fields = ["user"]


@admin.register(Product)
class ProductAdmin(PlainAdmin):
    list_display = ["key", "name"]
    search_fields = ["key", "name"]


@admin.register(SourceSystem)
class SourceSystemAdmin(PlainAdmin):
    list_display = ["key", "name"]
    search_fields = ["key", "name"]
