"""Which page shows what: the admin of each app registers its pages, and whoever tells of something asks for the address."""

from dataclasses import dataclass

from django.urls import reverse
from django.utils.http import urlencode

_pages = {}


@dataclass(frozen=True)
class Page:
    """A page by the name of its URL, and the permission one needs to see it ("": none of its own)."""

    url: str
    permission: str = ""

    def address(self, *args, **query):
        return reverse(self.url, args=args) + (f"?{urlencode(query)}" if query else "")


def register(**named):
    """Add pages by their names: that of a row is called like its model, `transition`; a list `transitions`."""
    _pages.update(named)


def register_models(models):
    """Add the admin's pages of these models, `transition` and `transition_history`, where nobody registered another."""
    for model in models:
        opts = model._meta
        see = f"{opts.app_label}.view_{opts.model_name}"
        for name, page in ((opts.model_name, "change"), (f"{opts.model_name}_history", "history")):
            _pages.setdefault(name, Page(f"admin:{opts.app_label}_{opts.model_name}_{page}", see))


def find(name):
    """The Page of this name; None where nothing shows it."""
    return _pages.get(name)


def address(name, *args, **query):
    """The address of a page there is: `address("transition", 12)`, `address("transitions", state="open")`."""
    return _pages[name].address(*args, **query)
