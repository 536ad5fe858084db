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
    """People who log in. Nobody deletes themselves: the last one would lock the door from outside."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    actions = None
    list_filter = ["is_staff", "is_superuser", "is_active", "groups"]
    list_display = ["username", "first_name", "last_name", "email", "is_staff"]

    lookup_allowed = PlainAdmin.lookup_allowed

    def save_model(self, request, obj, form, change):
        """A new person may log in at once; what they may do there is for their groups to say."""
        if not change:
            obj.is_staff = True
        super().save_model(request, obj, form, change)

    def has_delete_permission(self, request, obj=None):
        return obj != request.user and super().has_delete_permission(request, obj)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, PlainAdmin):
    actions = None
    empty_text = "A group is a role: permissions that several people have, such as approver or auditor."


@admin.register(Csm)
class CsmAdmin(GovernedAdmin):
    empty_text = "CSMs come with an import (the column csm, an e-mail address), or are added here."
    list_display = ["name", "email", "kind", "user"]
    list_filter = ["kind"]
    list_select_related = ["user"]
    search_fields = ["name", "email"]
    autocomplete_fields = ["user"]


@admin.register(Product)
class ProductAdmin(PlainAdmin):
    empty_text = "Products come with the subscriptions of an import, or are added here."
    list_display = ["key", "name"]
    search_fields = ["key", "name"]


@admin.register(SourceSystem)
class SourceSystemAdmin(PlainAdmin):
    empty_text = "The systems data comes from, such as a CRM. They come with an import, or are added here."
    list_display = ["key", "name"]
    search_fields = ["key", "name"]
