"""The audit trail on screen and as a file, and what was so on a date beside today."""

from dataclasses import replace
from datetime import date, timedelta
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from accounts.admin import downloads
from accounts.admin.governed import page
from accounts.models import Account
from core.refusals import Refused
from governance.reading import audit
from segmentation.authoring import versions
from segmentation.models import Layer
from segmentation.rules import comparison

HEADER = ["When", "Kind", "Who", "Person", "Channel", "What", "About", "Changes", "Reason"]


def audit_view(request):
    """The list: search, filters, and a page at a time."""
    _check(request)
    filters, warnings = _filters(request.GET)
    filters = replace(filters, causes=request.GET.get("kind") == "all")
    entries, following, refusal = [], "", ""
    try:
        entries, following = audit.entries(filters, after=request.GET.get("after", ""))
    except Refused as refused:
        refusal = str(refused)
    kept = {name: value for name, value in request.GET.items() if name != "after" and value}
    today = timezone.localdate()
    return page(
        request,
        "governance/audit/trail.html",
        title="Audit trail",
        asked=filters,
        found=entries,
        filtered=bool(kept),
        later=bool(request.GET.get("after")),
        newest=f"?{urlencode(kept)}",
        following=f"?{urlencode(kept | {'after': following})}" if following else "",
        export=f"{reverse('audit_export')}?{urlencode(kept)}",
        kinds=audit.KINDS.items(),
        channels=audit.CHANNELS.items(),
        days=_quick_days(filters, kept, today),
        warnings=[*warnings, *filter(None, [refusal])],
        today=today,
    )


def _quick_days(filters, kept, today):
    """[(days in words, address, whether they are chosen)], with the rest of the filter as it is."""
    yesterday = today - timedelta(days=1)
    quick = [("Yesterday", yesterday, yesterday), ("Last 7 days", today - timedelta(days=6), today)]
    return [
        (
            words,
            f"?{urlencode(kept | {'since': since, 'until': until})}",
            (filters.since, filters.until) == (since, until),
        )
        for words, since, until in quick
    ]


def export_view(request):
    """All that the filter finds, causes too, as CSV; each row tells the filter and the date."""
    _check(request)
    filters, _ = _filters(request.GET)
    try:  # what takes too long is refused now, not in the middle of the file
        audit.entries(filters, limit=1)
    except Refused as refusal:
        messages.error(request, str(refusal))
        return HttpResponseRedirect(f"{reverse('audit')}?{request.GET.urlencode()}")
    rows = (_exported(entry) for entry in audit.all_entries(filters))
    return downloads.csv_list("audit-trail", HEADER, rows, filters=filters.words())


def account_view(request, pk):
    """Show what was known of an account on a date, and its segments, beside today."""
    _check(request)
    account = Account.objects.filter(pk=pk).first()
    if account is None:
        raise Http404("There is no such account.")
    typed = request.GET.get("at") or audit.useful_date(account).isoformat()
    at, warning = _date(typed)
    known = at if "known" in request.GET else None
    facts = audit.account_on(account, at, known=known)
    then, now = audit.labels_on(account, at, known=known), audit.labels_on(account, timezone.localdate())
    return page(
        request,
        "governance/audit/account.html",
        title=f"{account}: then and now",
        account=account,
        at=at,
        known=known,
        today=timezone.localdate(),
        warnings=[warning] if warning else [],
        there=facts is not None,
        facts=facts or [],
        differing=sum(before != after for _, before, _, after in facts or []),
        labels=[
            (
                f"{layer} of {product}" if product else layer,
                then.get((layer, product)),
                now.get((layer, product)),
            )
            for layer, product in sorted(
                {**then, **now}, key=lambda pair: (pair[0].position, str(pair[1] or ""))
            )
        ],
    )


def account_part(request, account):
    """The way there from the account's page, with the day that is shown there."""
    if not request.user.has_perm(audit.PERMISSION):
        return {}
    at = request.GET.get("at", "")
    address = reverse("audit_account", args=[account.pk]) + (f"?{urlencode({'at': at})}" if at else "")
    return {"actions": [{"label": "Then and now", "url": address, "icon": "compare"}]}


def rules_view(request):
    """Which rules were active on a date, beside today, and what is different in sentences."""
    _check(request)
    at, warning = _date(request.GET.get("at", ""))
    rows = [_rules(layer, at) for layer in Layer.objects.order_by("-primary", "position", "key")]
    return page(
        request,
        "governance/audit/rules.html",
        title="Rules: then and now",
        at=at,
        today=timezone.localdate(),
        warnings=[warning] if warning else [],
        rows=[row for row in rows if row["then"] or row["now"]],
        without=[row["layer"] for row in rows if not (row["then"] or row["now"])],
    )


def _rules(layer, at):
    then, now = audit.rules_on(layer, at), audit.rules_on(layer, timezone.localdate())
    sentences = []
    if then and now and then.pk != now.pk:
        sentences = comparison.compare(then.document, now.document, names=versions.labels(layer)).sentences
    return {"layer": layer, "then": then, "now": now, "sentences": sentences}


def _check(request):
    if not request.user.has_perm(audit.PERMISSION):
        raise PermissionDenied


def _filters(given):
    """(audit.Filters, sentences about what was not understood) of an address."""
    typed = {name: given.get(name, "").strip()[:200] for name in ("q", "person")}
    days, warnings = {}, []
    for name in ("since", "until"):
        days[name], warning = _day(given.get(name, ""))
        warnings += [warning] if warning else []
    choices = {"kind": audit.KINDS, "channel": audit.CHANNELS}
    chosen = {name: given.get(name) if given.get(name) in among else "" for name, among in choices.items()}
    return audit.Filters(text=typed["q"], person=typed["person"], **chosen, **days), warnings


def _day(text):
    try:
        day = date.fromisoformat(text) if text else None
        if day and not 1900 <= day.year <= 9000:  # days before and after are counted
            raise ValueError
        return day, ""
    except ValueError:
        return None, f"“{text[:20]}” is not a date, and was left out."


def _date(text):
    """(a day up to today, why it is not the one asked for)."""
    day, warning = _day(text)
    today = timezone.localdate()
    if day and day > today:
        return today, "That date is still to come; today is shown."
    return day or today, f"“{text[:20]}” is not a date; today is shown." if warning else ""


def _exported(entry):
    changes = "; ".join(
        f"{name}: {before} → {after}" if before else f"{name}: {after}"
        for name, before, after in entry.changes
    )
    when = timezone.localtime(entry.at).isoformat(timespec="seconds")
    return [
        when,
        entry.kind,
        entry.who,
        entry.person,
        entry.channel,
        entry.what,
        entry.text,
        changes,
        entry.reason,
    ]
