"""The list of accounts as an address asks for it: its columns, its filter and its order; and the same as a file.

`cols` names the columns beside the account, `where` is a condition (reading.account_columns), `o` the columns it is put in
order by, with a minus for the last first: `o=-arr,label.health`.
"""

import re
from array import array
from dataclasses import replace
from functools import cached_property

from django.contrib.admin.views.main import ORDER_VAR
from django.utils import timezone

from accounts import revenue
from accounts.admin import downloads
from accounts.admin.governed import Changes
from core.refusals import Refused
from segmentation.models import Layer
from segmentation.reading import account_columns
from segmentation.rules.tree import ConditionError

COLUMNS, WHERE = "cols", "where"
ASKED = (COLUMNS, WHERE)
MOST = 30  # columns
# Columns the list has when nothing is asked for, and by what its admin shows them.
OWN = {
    "segment": "segment",
    "arr": "arr_shown",
    "csm": "manager",
    "kind": "kind",
    "status": "status",
    "external_id": "external_id",
}
FIRST = "title"
_NAMES = {shown: name for name, shown in OWN.items()} | {FIRST: "name"}
_BY_PLACE = re.compile(
    r"-?\d{1,3}(\.-?\d{1,3})*"
)  # as addresses and views said it before columns could be chosen


def primary_layer():
    """The id of the primary segmentation, None where there is none: a query with it needs no join to be narrow."""
    return Layer.objects.filter(primary=True).values_list("pk", flat=True).first()


class Cell:
    """A column of a data field, a label or a score, as Django's lists take it."""

    empty_value_display = "–"

    def __init__(self, column):
        self.column, self.__name__ = column, column.name.replace(".", "-")
        self.short_description, self.admin_order_field = column.label, column.name

    def __str__(self):
        return self.__name__

    def __call__(self, account):
        return self.column.shown(account.told[self.column.name], account.told["currency"])


class Asked:
    """Questions an address asks of the list: `names` of its columns, its `filter`, or the `problem` there is with that."""

    def __init__(self, given):
        self.where = given.get(WHERE, "").strip()
        self.chosen = list(dict.fromkeys(given.get(COLUMNS, "").split(",")))[:MOST]
        self.filter, self.problem = None, ""
        try:
            self.filter = account_columns.read(self.where) if self.where else None
        except ConditionError as error:
            self.problem = error.message

    @cached_property
    def columns(self):
        """{name: Column, or None for one of the list's own} of the columns beside the account, in their order."""
        there = account_columns.columns([name for name in self.chosen if name not in OWN])
        names = [name for name in self.chosen if name in OWN or name in there] or OWN
        return {name: there.get(name) for name in names}

    @cached_property
    def display(self):
        """The columns as the list's `list_display`."""
        return [FIRST, *(Cell(column) if column else OWN[name] for name, column in self.columns.items())]

    def check(self):
        """Refuse to go on with a filter that cannot be used."""
        if self.problem:
            raise Refused("filter_unusable", problem=self.problem)


def asked(request):
    """Read what the request asks of the list, once."""
    if not hasattr(request, "accounts_asked"):
        request.accounts_asked = Asked(request.GET)
    return request.accounts_asked


class AccountChanges(Changes):
    """The list. Only ids are put in order, and everything else, ARR too, is read of the accounts on the page."""

    order = ()  # [(Column, whether it is descending)] where the address asks for one

    def __init__(self, request, *arguments, **options):
        self.asked = asked(request)
        super().__init__(request, *arguments, **options)

    def get_filters_params(self, params=None):
        given = super().get_filters_params(params)
        return {name: value for name, value in given.items() if name not in ASKED}

    def get_queryset(self, request, exclude_parameters=None):
        found = super().get_queryset(request, exclude_parameters)
        if not self.asked.where:
            return found
        self.has_active_filters = True
        self.clear_all_filters_qs = self.get_query_string(remove=[*self.get_filters_params(), WHERE])
        if self.asked.problem:  # finds nothing rather than everything
            return found.none()
        return found.filter(pk__in=self.asked.filter.ids(timezone.localdate()))

    def get_results(self, request):
        super().get_results(request)
        shown = self.result_list.select_related(None).prefetch_related(None)
        if self.order:
            first, last = shown.query.low_mark, shown.query.high_mark
            most = None if last is None else last - first
            ids = self.in_order(first=first, most=most, count=self.result_count)
        else:
            ids = list(shown.values_list("pk", flat=True))
        accounts = self.model_admin.get_queryset(request)
        self.result_list = self.read(ids, accounts.select_related(*self.model_admin.list_select_related))

    def read(self, ids, accounts):
        """The accounts of these ids in their order, with all that the columns show. accounts: the queryset of all."""
        by_id, today = accounts.in_bulk(ids), timezone.localdate()
        found = [by_id[pk] for pk in ids if pk in by_id]
        contracted = revenue.contracted(ids, today)
        columns = [column for column in self.asked.columns.values() if column]
        told = account_columns.values(columns, ids, today) if columns else {}
        for account in found:
            account.arr_now, _, account.renewal_status = contracted[account.pk]
            account.told = told.get(account.pk, {})
        return found

    # -- the order

    def in_order(self, **which):
        return account_columns.in_order(self.queryset, self.order, timezone.localdate(), **which)

    def get_ordering(self, request, queryset):
        self.order = self._order()
        return ["-pk"] if self.order else super().get_ordering(request, queryset)

    def _order(self):
        given = self.params.get(ORDER_VAR, "")
        if _BY_PLACE.fullmatch(given):
            given = self._by_name(given.split("."))
        wanted = [(name.removeprefix("-"), name.startswith("-")) for name in given.split(",") if name]
        if not wanted:
            return []
        columns = account_columns.columns([name for name, _ in wanted])
        if any(name == "segment" for name, _ in wanted):
            primary = Layer.objects.filter(primary=True).prefetch_related("segments").first()
            columns |= (
                {"segment": replace(account_columns.label_of(primary), name="segment")} if primary else {}
            )
        return [(columns[name], descending) for name, descending in wanted if name in columns]

    def _by_name(self, places):
        """`-arr,csm` of the places of columns: what is no place is left out."""
        names = [(place, self._name(abs(int(place)))) for place in places]
        return ",".join("-" * place.startswith("-") + name for place, name in names if name)

    def _name(self, place):
        entry = self.list_display[place] if place < len(self.list_display) else ""
        return entry.column.name if isinstance(entry, Cell) else _NAMES.get(entry, OWN.get(entry, ""))

    def get_ordering_field_columns(self):
        if ORDER_VAR not in self.params:
            return super().get_ordering_field_columns()
        places = {self._name(place): place for place in range(len(self.list_display))}
        return {
            places[column.name]: "desc" if descending else "asc"
            for column, descending in self.order
            if column.name in places
        }

    def get_query_string(self, new_params=None, remove=None):
        """Django's own; columns are named, so that the order stays where others are chosen."""
        if new_params and new_params.get(ORDER_VAR):
            new_params = new_params | {ORDER_VAR: self._by_name(new_params[ORDER_VAR].split("."))}
        return super().get_query_string(new_params, remove)


# -- as a file


def _segment(account):
    state = account.primary_state[0] if account.primary_state else None
    return [
        state.effective.key if state and state.effective else "",
        state.computed.key if state and state.computed else "",
        state.reason if state else "",
        bool(state and state.provisional),
    ]


# The list's own columns in a file: their headers, and the cells of an account.
_FILED = {
    "segment": (["segment", "segment_by_the_rules", "needs_data", "provisional"], _segment),
    "arr": (["arr", "currency"], lambda account: account.arr_now.cells),
    "csm": (["csm"], lambda account: [account.csm.email if account.csm else ""]),
    "kind": (["kind"], lambda account: [account.kind]),
    "status": (["status"], lambda account: [account.status]),
    "external_id": ([], lambda account: []),  # stands first
}


def exported(changes):
    """Exactly the list as shown: search, filters, order and columns; the filter and the date are in each row."""
    filters = " & ".join(
        f"{key}={value}"
        for key, value in sorted(changes.params.items())
        if key not in ("p", "o", "q", COLUMNS)
    )
    if changes.query:
        filters = f"search: {changes.query}" + (f" & {filters}" if filters else "")
    parts = [
        _FILED[name] if column is None else _filed(column) for name, column in changes.asked.columns.items()
    ]
    header = ["external_id", "name", *(name for names, _ in parts for name in names)]
    rows = (
        [account.external_id, account.name, *(cell for _, cells in parts for cell in cells(account))]
        for account in _accounts(changes)
    )
    return downloads.csv_list(
        "accounts", header, rows, filters=filters or "all accounts", ends=("as_of", "filter")
    )


def _filed(column):
    def cells(account):
        value = account.told[column.name]
        return [value, account.told["currency"] if value is not None else ""][: len(names)]

    names = [column.name, f"{column.name}_currency"] if column.type == "money" else [column.name]
    return names, cells


def _accounts(changes):
    """All that are listed, a portion at a time."""
    ids = changes.in_order() if changes.order else changes.queryset.values_list("pk", flat=True)
    ids, accounts = array("q", ids), changes.root_queryset.select_related("csm")
    for start in range(0, len(ids), downloads.ROWS):
        yield from changes.read(ids[start : start + downloads.ROWS].tolist(), accounts)
