"""The data dictionary: every data field, what it means, and how complete and fresh it should be."""

from django.core.exceptions import PermissionDenied
from django.utils import timezone

from accounts.catalogue import FACTS, PROTECTED, SIGNAL_FAMILIES, SIGNALS
from accounts.quality import disputes, figures

from .governed import page

FAMILIES = {
    "firmographic": "The company",
    "contract": "Contract and revenue",
    "usage": "Product usage",
    "engagement": "Engagement and support",
}


def dictionary_view(request):
    if not request.user.has_perm("accounts.view_account"):
        raise PermissionDenied
    today = timezone.localdate()
    total, counts = figures.completeness(list(FACTS), at=today)
    records = disputes.records()
    families = [
        {
            "name": label,
            "rows": [
                _row(fact, counts[fact.name], total) | {"record": records.get(fact.name)}
                for fact in FACTS.values()
                if fact.family == key
            ],
        }
        for key, label in FAMILIES.items()
    ]
    return page(
        request,
        "accounts/data/dictionary.html",
        title="Data dictionary",
        families=families,
        events=_events(counts),
        protected=[FACTS[name].label for name in PROTECTED],
        may_see_records=request.user.has_perm("accounts.view_systemofrecord"),
        other_events=figures.unknown_signals(at=today),
        total=total,
        as_of=today,
    )


def _events(counts):
    """The kinds of account events by family, each with the fact that rules use and how many active customers had one."""
    return [
        {
            "name": label,
            "rows": [
                {"signal": signal, "accounts": counts[signal.fact]}
                for signal in SIGNALS.values()
                if signal.family == key
            ],
        }
        for key, label in SIGNAL_FAMILIES.items()
    ]


MOVED_BY = {"team": "the team", "itself": "by itself", "": "–"}


def _row(fact, number, total):
    share = figures.share(number, total)
    return {
        "fact": fact,
        "range": _range(fact),
        "moved_by": MOVED_BY[fact.moved_by],
        "known": number,
        "share": share,
        "wanted": fact.completeness,
        "short": share is not None and share < fact.completeness,
    }


def _range(fact):
    """The limits of a value, as people say them: a share from 0 to 1 is a percentage."""
    if fact.minimum is None:
        return ""
    sign = " %" if fact.unit == "%" else ""
    low, high = (
        None if bound is None else f"{bound * 100 if sign else bound}{sign}"
        for bound in (fact.minimum, fact.maximum)
    )
    return f"{low} or more" if high is None else f"{low} to {high}"
