"""Saved views: a list's search, filters and order under a name, one's own or shared with everybody who sees the list."""

from django.db.models import Case, Q, Value, When
from django.http import QueryDict

from accounts.models import SavedView
from core.refusals import Refused

PASSING = {"p", "all", "e"}  # of a list's address: which page of it is open, and that an address was refused


def query(text, *, allowed):
    """The part of a list's address worth keeping, in an order of its own, so that two can be compared.

    allowed(name): whether the list knows a filter of this name; "q" and "o", search and order, it always does.
    """
    given = QueryDict(text)
    kept = QueryDict(mutable=True)
    for name in sorted(given):
        values = [value for value in given.getlist(name) if value]
        if values and name not in PASSING and (name in ("q", "o") or allowed(name)):
            kept.setlist(name, values)
    return kept.urlencode()


def visible(listing, *, to):
    """The views of this list that the person sees: their own first, then those others share."""
    own = Case(When(owner=to.pk, then=Value(0)), default=Value(1))
    return SavedView.objects.filter(Q(owner=to.pk) | Q(shared=True), listing=listing).order_by(
        own, "name", "pk"
    )


def may_change(view, user):
    """Whoever saved it; what is shared also who looks after shared views."""
    return view.owner == user.pk or (view.shared and user.has_perm("accounts.manage_savedviews"))


def save(listing, text, *, name, shared, by):
    """Keep a list's address (from `query`) under a name; one's own view of that name is replaced. (view, replaced)."""
    if not text:
        raise Refused("saved_view_empty")
    if len(text) > SavedView._meta.get_field("query").max_length:
        raise Refused("saved_view_too_long")
    view, created = SavedView.objects.update_or_create(
        owner=by.pk,
        listing=listing,
        name__iexact=name,
        defaults={"name": name, "query": text, "shared": shared, "owner_label": by.get_username()[:200]},
    )
    return view, not created


def change(view, *, name, shared, by):
    """Rename a view, share it or keep it to oneself again."""
    _check(view, by)
    others = SavedView.objects.filter(owner=view.owner, listing=view.listing).exclude(pk=view.pk)
    if others.filter(name__iexact=name).exists():
        raise Refused("saved_view_exists", name=name)
    view.name, view.shared = name, shared
    view.save(update_fields=["name", "shared"])


def delete(view, *, by):
    _check(view, by)
    view.delete()


def _check(view, by):
    if not may_change(view, by):
        raise Refused("saved_view_of_another", owner=view.owner_label)
