"""Suggestions a field makes while somebody types into it, and how much may be searched for there and in lists."""

from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.contrib.admin.widgets import AutocompleteSelect
from django.http import JsonResponse

from core.refusals import Refused

from .fields import number

# A search of 1,800 words takes half a minute: each is looked for in each column.
WORDS, LENGTH = 10, 200


def check_search(text):
    """Refuse a search that nobody types and everybody would wait for."""
    if len(text) > LENGTH or len(text.split()) > WORDS:
        raise Refused("search_too_long", words=WORDS, length=LENGTH)


class Suggestions(AutocompleteJsonView):
    """The answer to what was typed into such a field; a refusal is seen where the suggestions are."""

    def get(self, request, *args, **kwargs):
        try:
            return super().get(request, *args, **kwargs)
        except Refused as refusal:
            choice = {"id": None, "text": str(refusal), "disabled": True}
            return JsonResponse({"results": [choice], "pagination": {"more": False}})


class KnownOnly(AutocompleteSelect):
    """Django's field of suggestions; an address or a form may name anything as chosen, and only numbers are looked up."""

    def optgroups(self, name, value, attr=None):
        numbers = [key for key in map(number, value) if key is not None]
        return super().optgroups(name, numbers, attr)


class Suggested:
    """For admins and inlines with `autocomplete_fields`."""

    def formfield_for_foreignkey(self, db_field, request, **options):
        if db_field.name in self.get_autocomplete_fields(request):
            options.setdefault("widget", KnownOnly(db_field, self.admin_site, using=options.get("using")))
        return super().formfield_for_foreignkey(db_field, request, **options)
