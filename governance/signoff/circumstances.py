"""Circumstances a decider should know besides what a request says, as sentences.

A request is told in names and figures of its day. Its requester could have changed both just before. A segment or an
account was called otherwise, an ARR was higher, a request was rejected, or one was cut into small ones.
"""

from datetime import timedelta
from itertools import groupby, pairwise

from django.db.models import Count, Q, Sum

from accounts.models import Account
from core import history
from core.wording import day, listed, money, plural
from governance.models import ApprovalRequest, Event
from governance.signoff import kinds
from governance.signoff.impact import LATELY, Impact, of_late
from governance.signoff.requirements import requirement
from segmentation.models import Segment

RENAMED = timedelta(days=90)
TOGETHER = timedelta(days=7)
MOST = 10  # sentences of a sort
_STATUS = ApprovalRequest.Status
_ENDED = (_STATUS.REJECTED, _STATUS.WITHDRAWN, _STATUS.EXPIRED)


def sentences(request, *, at):
    """The sentences, the most telling first; empty for most requests."""
    accounts, kind, since = request.account_ids(), kinds.of(request), at - RENAMED
    return [
        *_renamed(Segment, kind.verbs().segments(request) if kind.has("segments") else (), since),
        *_renamed(Account, accounts, since),
        *_people_renamed(request, since),
        *_worth_more(request, accounts),
        *_asked_before(request, accounts, since),
        *_asked_beside(request, at),
    ]


def _renamed(model, ids, since):
    """Sentences about renamed rows: the name now, the others since that moment, and who gave the last one."""
    rows = model.history.filter(id__in=ids).order_by("id", "history_id")
    rows = rows.only("id", "name", "history_date", "history_user_id", "history_user_label")
    sentences = []
    for _, versions in groupby(rows, key=lambda row: row.id):
        versions = list(versions)
        changes = [
            (before.name, row)
            for before, row in pairwise(versions)
            if before.name != row.name and row.history_date >= since
        ]
        others = dict.fromkeys(name for name, _ in changes if name != versions[-1].name)
        if others:
            last = changes[-1][1]
            who = history.named(last.history_user_id, last.history_user_label) or "somebody"
            sentences.append(
                f"“{last.name}” was called {listed(f'“{name}”' for name in others)} within the last {RENAMED.days} days: "
                f"renamed by {who}, last on {day(last.history_date)}."
            )
    return sentences[:MOST]


def _people_renamed(request, since):
    if not kinds.of(request).about_a_person:
        return []
    renamed = Event.objects.filter(kind="person_changed", at__gte=since, data__user=request.content["user"])
    return [
        f"{row.text} By {history.who(row, 'actor') or 'somebody'}, {day(row.at)}."
        for row in renamed.order_by("-id")[:MOST]
    ]


def _worth_more(request, accounts):
    highest = of_late(accounts)[0] if accounts and request.is_open else 0
    if highest <= request.arr:
        return []
    return [
        f"The ARR of these accounts was up to {money(highest)} within the last {LATELY.days} days, and "
        f"{money(request.arr)} is counted now: approvals are needed for the higher one."
    ]


def _asked_before(request, accounts, since):
    """Requests of this kind about the same that came to nothing."""
    naming = ApprovalRequest.objects.naming(accounts).values("pk")
    same = ApprovalRequest.objects.filter(Q(key=request.key) | Q(pk__in=naming), kind=request.kind)
    earlier = same.filter(status__in=_ENDED, ended_at__gte=since)
    rows = earlier.exclude(pk=request.pk).order_by("-ended_at")[:MOST]
    return [
        f"Asked for before: “{row.subject}” was {row.get_status_display().lower()} on {day(row.ended_at)}"
        + (
            f" ({history.who(row, 'ended_by') or 'by itself'}: “{row.end_reason}”)."
            if row.end_reason
            else "."
        )
        for row in rows
    ]


def _asked_beside(request, at):
    """Others of the same person and kind of these days, where all of them as one would need more."""
    if request.requester is None or not request.is_open:
        return []
    others = ApprovalRequest.objects.filter(
        kind=request.kind, requester=request.requester, requested_at__gte=at - TOGETHER
    ).exclude(Q(pk=request.pk) | Q(status__in=_ENDED))
    more = others.aggregate(
        accounts=Sum("accounts", default=0),
        arr=Sum("arr", default=0),
        changes=Sum("csm_changes", default=0),
        top=Count("pk", filter=Q(top_tier=True)),
        foreign=Count("pk", filter=Q(other_currency=True)),
    )
    together = Impact(
        accounts=request.accounts + more["accounts"],
        arr=request.arr + more["arr"],
        csm_changes=request.csm_changes + more["changes"],
        top_tier=request.top_tier or more["top"] > 0,
        foreign=request.other_currency or more["foreign"] > 0,
    )
    needed, *_ = requirement(request.kind, together)
    roles = [role for role, number in needed.items() if number > request.needed.get(role, 0)]
    if not roles:
        return []
    number = plural(others.count() + 1, "request,requests")
    return [
        f"{history.who(request, 'requester')} has asked for {number} of this kind within {TOGETHER.days} days, "
        f"{money(together.arr)} together. As one request they would need more approvals of {listed(roles)}."
    ]
