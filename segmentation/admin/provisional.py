"""Provisional accounts, those due first: who decides soon, what is missing, and an export of exactly what is shown."""

from itertools import islice

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.utils import timezone

from accounts.admin import downloads
from accounts.admin.fields import number
from accounts.admin.governed import page
from accounts.models import Csm
from segmentation.models import Layer
from segmentation.reading import provisional

PER_PAGE = 50
SOON = 7  # days
EXPORTED = [
    "Account ID",
    "Account",
    "CSM",
    "Segmentation",
    "Segment",
    "Since",
    "Customer since",
    "Due",
    "Days left",
]
EXPORTED += ["What is missing", "Then"]


def provisional_view(request):
    """The list; the same number of queries for any number of accounts."""
    filters = _Filters(request)
    today = timezone.localdate()
    rows = filters.rows()
    pages = Paginator(rows, PER_PAGE).get_page(request.GET.get("p"))
    soon = rows.filter(provisional_until__lte=today + timezone.timedelta(days=SOON)).count()
    return page(
        request,
        "segmentation/provisional/provisional.html",
        title="Provisional accounts",
        asked=filters,
        rows=pages,
        told=provisional.of_rows(pages, today),
        today=today,
        soon=soon,
        within=SOON,
    )


def export_view(request):
    """All pages of what is shown, as CSV; each row tells the filter and the date."""
    if not request.user.has_perm("accounts.export_accounts"):
        raise PermissionDenied
    filters, today = _Filters(request), timezone.localdate()
    rows = (_exported(entry) for entry in _all(filters.rows(), today))
    return downloads.csv_list("provisional-accounts", EXPORTED, rows, filters=filters.in_words)


def _all(rows, today):
    portions = _portions(rows.iterator(chunk_size=downloads.ROWS), downloads.ROWS)
    return (entry for portion in portions for entry in provisional.of_rows(portion, today))


def _portions(rows, size):
    """Lists of up to `size` of the rows."""
    while portion := list(islice(rows, size)):
        yield portion


def _exported(entry):
    row, account = entry.assignment, entry.assignment.account
    cells = [account.external_id, account.name, account.csm or "", row.layer, row.effective or ""]
    cells += [row.effective_since or "", entry.started or "", entry.due]
    return [*map(str, cells), entry.days_left, entry.missing, entry.then]


class _Filters:
    """The filter in the address: a segmentation, a CSM (an id, `none` or `me`), a name."""

    def __init__(self, request):
        if not request.user.has_perm("accounts.view_account"):
            raise PermissionDenied
        here = Layer.objects.filter(assignments__provisional=True).distinct()
        self.layers = list(here.order_by("position", "key"))
        self.layer = next((layer for layer in self.layers if layer.key == request.GET.get("layer")), None)
        some = Q(accounts__assignments__provisional=True)
        csms = Csm.objects.annotate(some=Count("accounts", filter=some)).filter(some__gt=0)
        self.csms = list(csms.order_by("name", "email")[:500])
        self.me = getattr(request.user, "csm", None)
        self.csm = self._csm(request.GET.get("csm", ""))
        self.q = request.GET.get("q", "")[:100].strip()
        self.may_export = request.user.has_perm("accounts.export_accounts")

    def _csm(self, wanted):
        if wanted == "none" or (wanted == "me" and self.me):
            return wanted
        return wanted if Csm.objects.filter(pk=number(wanted)).exists() else ""

    def rows(self):
        rows = provisional.waiting()
        if self.layer:
            rows = rows.filter(layer=self.layer)
        if self.csm:
            of = {"none": None, "me": self.me}
            rows = rows.filter(account__csm=of[self.csm] if self.csm in of else int(self.csm))
        if self.q:
            rows = rows.filter(Q(account__name__icontains=self.q) | Q(account__external_id=self.q))
        return rows

    @property
    def in_words(self):
        """The filter in words, for the export."""
        parts = {"segmentation": self.layer and self.layer.key, "csm": self.csm, "search": self.q}
        return " & ".join(f"{name}={value}" for name, value in parts.items() if value) or "everything"

    @property
    def something(self):
        return bool(self.layer or self.csm or self.q)
