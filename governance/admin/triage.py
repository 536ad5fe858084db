"""A round of triage: which tier changes it goes through, where somebody is in it, and what it came to."""

from collections import Counter
from dataclasses import dataclass, replace

from django.db.models import Count
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode

from governance.changes import board
from governance.models import Transition

TRIAGE = "admin:governance_transition_triage"
TOGETHER = "admin:governance_transition_together"
ROUND = 500  # tier changes in one round
Status = Transition.Status


@dataclass(frozen=True)
class Round:
    """One round of triage: the tier changes (ids) it began with, in their order, and which of them is looked at.

    `ways`: {id: status} of them by now. It is kept in the session, so that what is decided keeps its number.
    """

    ids: list
    current: int | None
    ways: dict
    query: str

    @classmethod
    def of(cls, request, filters, query, wanted):
        """The round this person is in; a new one where it does not go on. wanted: the id looked at, or None."""
        kept = request.session.get("triage") or {}
        ids = kept.get("ids", []) if kept.get("query") == query else []
        goes_on = wanted in ids or (wanted is None and "round" in request.GET)
        if not goes_on:
            ids = list(board.to_decide(filters).values_list("pk", flat=True)[:ROUND])
            if wanted is not None and wanted not in ids:
                ids = [wanted, *ids]
            request.session["triage"] = {"query": query, "ids": ids}
        rows = Transition.objects.filter(pk__in=ids).values_list("pk", "status", "held_for")
        ways = {pk: "held" if held and status == Status.FLAGGED else status for pk, status, held in rows}
        round_ = cls(ids, wanted, ways, query)
        return round_ if wanted is not None else replace(round_, current=round_.after(None))

    @property
    def place(self):
        return self.ids.index(self.current) + 1

    @property
    def decided(self):
        return sum(status != Status.FLAGGED for status in self.ways.values())

    @property
    def share(self):
        return self.decided / len(self.ids) if self.ids else 0

    def after(self, current):
        """The next one to decide, the first ones after the last; None where all are decided."""
        start = self.ids.index(current) + 1 if current in self.ids else 0
        order = self.ids[start:] + self.ids[:start]
        return next((pk for pk in order if self.ways.get(pk) == Status.FLAGGED and pk != current), None)

    @property
    def after_this(self):
        return self.after(self.current)

    @property
    def next(self):
        """The one after this, decided or not."""
        return self.ids[self.place] if self.place < len(self.ids) else None

    @property
    def before(self):
        return self.ids[self.place - 2] if self.place > 1 else None

    def address(self, pk):
        """The page of one of them; of None, of what is left."""
        parameters = "&".join(filter(None, [self.query, f"one={pk}" if pk else "round=on"]))
        return f"{reverse(TRIAGE)}?{parameters}"

    @property
    def links(self):
        """{name: address} of the pages around this one."""
        return {
            "next": self.next and self.address(self.next),
            "before": self.before and self.address(self.before),
            "here": self.address(self.current),
            "back": self.address(self.after_this) if self.current else "",
        }

    def became(self):
        """[(status in words, how many)] of what was decided."""
        labels = {**dict(Status.choices), "held": "Held"}
        counts = Counter(labels[status] for status in self.ways.values() if status != Status.FLAGGED)
        return counts.most_common()


def planned(rounds):
    """[(layer, how many, address)]: what this round planned and may be asked for as one request."""
    rows = Transition.objects.filter(pk__in=rounds.ids, status=Status.PLANNED)
    counts = rows.values_list("layer__key", "layer__name").annotate(n=Count("pk"))
    counts = counts.order_by("layer__position", "layer__key")
    return [
        (name, n, f"{reverse(TOGETHER)}?{urlencode({'layer': key, 'status': 'planned'})}")
        for key, name, n in counts
    ]


def back(request):
    """Where in triage this page was opened from, "" where it was not: no other address is gone back to."""
    address = (request.POST if request.method == "POST" else request.GET).get("back", "")
    ours = address.startswith(reverse(TRIAGE)) and url_has_allowed_host_and_scheme(address, None)
    return address if ours else ""


def with_back(url, request):
    """The address of the page after this one, which leads back to triage where this one does."""
    way_back = back(request)
    return f"{url}?{urlencode({'back': way_back})}" if way_back else url
