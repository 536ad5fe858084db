"""Saved views above every list: save what is shown, open it with a click; rename, share and delete one's own."""

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.http import Http404, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import saved_views
from accounts.models import SavedView
from core import history
from core.raw_sql import within_seconds
from core.refusals import Refused
from core.wording import count, heading, plural

from .governed import page

SHOWN = 12  # above a list; all of them are on the page of views
SECONDS = 2  # the database counts for a view


class ViewForm(forms.Form):
    name = forms.CharField(max_length=80, error_messages={"required": "Give the view a name."})
    shared = forms.BooleanField(required=False)


def above(changes, request):
    """The views shown above a list, the one that is open, and whether there is one to save."""
    listing = changes.opts.label_lower
    present = _query(changes.model_admin, request, request.GET.urlencode())
    address = _address(changes.model_admin)
    views = list(saved_views.visible(listing, to=request.user))
    return {
        "listing": listing,
        "address": address,
        "present": present,
        "views": [_chip(view, request.user, address, present) for view in views[:SHOWN]],
        "more": max(0, len(views) - SHOWN),
        "is_saved": any(view.query == present for view in views),
        "manage": f"{reverse('saved_views')}?list={listing}",
    }


def _chip(view, user, address, present):
    return {
        "view": view,
        "url": f"{address}?{view.query}",
        "open": view.query == present,
        "by": "" if view.owner == user.pk else history.who(view, "owner"),
        "count": reverse("saved_view_count", args=[view.pk]),
    }


@require_http_methods(["GET", "HEAD", "POST"])
def views_view(request):
    """GET: the views of a list, to rename, share or delete; POST: save one."""
    listing = (request.POST or request.GET).get("list", "")
    model_admin = _list(request, listing)
    if request.method == "POST":
        return _save(request, listing, model_admin)
    address = _address(model_admin)
    views = [
        _chip(view, request.user, address, None)
        | {"may_change": saved_views.may_change(view, request.user), "what": _what(view)}
        for view in saved_views.visible(listing, to=request.user)
    ]
    title = f"Saved views: {heading(model_admin.opts.verbose_name_plural)}"
    context = {"title": title, "model_admin": model_admin, "views": views, "address": address}
    return page(request, "accounts/views/saved_views.html", **context)


def _save(request, listing, model_admin):
    text = _query(model_admin, request, request.POST.get("query", ""))
    form = ViewForm(request.POST)
    if form.is_valid():
        try:
            view, replaced = saved_views.save(listing, text, by=request.user, **form.cleaned_data)
        except Refused as refusal:
            messages.error(request, str(refusal))
        else:
            done = "now shows this list" if replaced else "is saved"
            messages.success(request, f"“{view}” {done}{_audience(view)}.")
    else:
        _tell(request, form)
    return HttpResponseRedirect(f"{_address(model_admin)}?{text}")


@require_safe
def count_view(request, pk):
    """Say how many lines a view finds; nothing where that takes too long, or its list knows a filter of it no more."""
    view = _view(request, pk)
    request.GET = QueryDict(view.query)
    try:
        with within_seconds(SECONDS):
            changes = _list(request, view.listing).get_changelist_instance(request)
            said = count(changes.result_count)
    except (DatabaseError, DisallowedModelAdminLookup, IncorrectLookupParameters, Refused, ValueError):
        said = ""
    return HttpResponse(said, content_type="text/plain; charset=utf-8")


@require_POST
def change_view(request, pk):
    view = _view(request, pk)
    form = ViewForm(request.POST)
    if form.is_valid():
        _done(
            request,
            lambda: saved_views.change(view, by=request.user, **form.cleaned_data),
            lambda: f"“{view}” is saved{_audience(view)}.",
        )
    else:
        _tell(request, form)
    return _back(view)


@require_POST
def delete_view(request, pk):
    view = _view(request, pk)
    _done(request, lambda: saved_views.delete(view, by=request.user), lambda: f"“{view}” is deleted.")
    return _back(view)


def _done(request, act, message):
    try:
        act()
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, message())


def _tell(request, form):
    for errors in form.errors.values():
        messages.error(request, " ".join(errors))


def _audience(view):
    return " and shared with everybody who sees this list" if view.shared else ""


def _back(view):
    return HttpResponseRedirect(f"{reverse('saved_views')}?list={view.listing}")


def _view(request, pk):
    """A view this person sees, of a list they may see."""
    view = SavedView.objects.filter(pk=pk).first()
    if view is None or not (view.shared or view.owner == request.user.pk):
        raise Http404("There is no such view; perhaps it was deleted.")
    _list(request, view.listing)
    return view


def _list(request, listing):
    """The admin of the list's model, for those who may see it."""
    for model, model_admin in admin.site._registry.items():
        if model._meta.label_lower == listing:
            if not model_admin.has_view_or_change_permission(request):
                raise PermissionDenied
            return model_admin
    raise Http404("There is no such list.")


def _address(model_admin):
    opts = model_admin.opts
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")


def _query(model_admin, request, text):
    return saved_views.query(text, allowed=lambda name: model_admin.lookup_allowed(name, "", request))


def _what(view):
    """search “acme” · 2 filters · columns of its own · an order of its own."""
    kept = QueryDict(view.query)
    filters = len([name for name in kept if name not in ("q", "o", "cols")])
    parts = [
        f"search “{kept['q']}”" if "q" in kept else "",
        plural(filters, "filter,filters") if filters else "",
    ]
    parts += ["columns of its own"] if "cols" in kept else []
    parts += ["an order of its own"] if "o" in kept else []
    return " · ".join(filter(None, parts))
