"""Home: what changed, the portfolio in numbers, the last recalculation and the next step."""

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.module_loading import import_string

from accounts.catalogue import FACTS
from accounts.models import Account, ImportBatch
from accounts.quality import figures
from segmentation.models import Definition, Layer, Run
from segmentation.reading import portfolio

from .runs import duration


def dashboard(request, context):
    """The context of admin/index.html. The same number of queries for any number of accounts."""
    context |= {"title": "Home", "may_view": request.user.has_perm("accounts.view_account")}
    if not context["may_view"]:
        return context
    layer = Layer.objects.filter(primary=True).first()
    today, after = timezone.localdate(), _last_act(request)
    numbers = portfolio.overview(layer, at=today, after=after)
    changes = portfolio.moves_since_yesterday()
    run = Run.objects.exclude(status=Run.Status.CANCELLED).first()
    parts = [import_string(path)(request) for path in settings.HOME_PARTS]
    return context | {
        "parts": parts,
        "layer": layer,
        "numbers": numbers,
        "tiles": _tiles(numbers),
        "tiers": portfolio.distribution(numbers["segments"]),
        "changes": [one for one in changes if one["moves"]],
        "first": [(one["layer"], one["first"]) for one in changes if one["first"]],
        "attention": _attention(numbers),
        "run": run,
        "run_took": duration(run) if run else "",
        "step": _set_up(request.user, numbers, run)
        or next((part["step"] for part in parts if part["step"]), None)
        or _next_step(numbers),
        "counted_url": counted(),
    }


def counted(**filters):
    """The list of accounts, narrowed to what shares and totals are of: active customers, none excluded."""
    return f"{reverse(_ACCOUNTS)}?{urlencode(figures.ACTIVE_LISTED | filters)}"


def completeness_view(request):
    """The parts of home that count every data field of every account: fetched once home itself is there."""
    if not request.user.has_perm("accounts.view_account"):
        raise PermissionDenied
    rules = Definition.objects.filter(layer__primary=True, status="active").select_related("layer").first()
    shares, counted_at = portfolio.completeness(rules, at=timezone.localdate(), after=_last_act(request))
    rows = _completeness(shares)
    share = sum(row["share"] for row in rows) / len(rows) if rows else None
    verdict = portfolio.completeness_verdict(share)
    context = {"rows": rows, "share": share, "verdict": verdict, "counted_at": counted_at}
    return render(request, "segmentation/coverage/completeness.html", context)


def _last_act(request):
    """When the visitor last changed something, in seconds; config.middleware keeps it."""
    return request.session.get("acted_at", 0)


def _tiles(numbers):
    coverage = figures.share(numbers["segmented"], numbers["accounts"])
    largest = max(
        [segment["share"] for segment in numbers["segments"] if segment["share"] is not None], default=None
    )
    return {
        "coverage": (coverage, portfolio.coverage_verdict(coverage)),
        "concentration": (largest, portfolio.concentration_verdict(largest)),
    }


def _completeness(shares):
    """[{fact, share, verdict}] for the data fields the primary segmentation's rules use, the poorest first."""
    rows = [
        {"fact": FACTS[name], "share": share, "verdict": portfolio.completeness_verdict(share)}
        for name, share in shares.items()
        if share is not None
    ]
    return sorted(rows, key=lambda row: row["share"])


def _attention(numbers):
    """[(what, how many, the list of them, whether it asks for something, what it means)]."""
    thin = urlencode({"kind__exact": "customer", "excluded__exact": 0, "state": "thin"})
    return [
        ("Rules say another segment", numbers["differs"], counted(state="differs"), True, "To triage, held, planned, awaiting approval, kept, or under an override."),
        ("Needs data", numbers["needs_data"], counted(state="needs-data"), True, "The rules cannot decide; the page says what is missing."),
        ("Provisional", numbers["provisional"], counted(state="provisional"), False, "Too new to judge; decided by itself later."),
        ("Thin data", numbers["thin"], f"{reverse(_ACCOUNTS)}?{thin}", True, "More than half of the measures are rated without own data. As last recalculated, paused customers among them."),
    ]  # fmt: skip


def _set_up(user, numbers, run):
    """(sentence, button, address) of what has to be there first, for who may see to it; None once it is."""
    if not numbers["accounts"]:
        if Account.objects.exists():
            return "No account is an active customer yet.", "Look at the accounts", reverse(_ACCOUNTS)
        if ImportBatch.objects.filter(status="previewed").exists():
            return "An import waits for your decision.", "Look at the preview", reverse(_IMPORTS)
        if not user.has_perm("accounts.import_accounts"):
            return None
        return (
            "There are no accounts yet. Bring them in from a CRM export: you see everything before it is saved.",
            "Import your accounts",
            reverse("admin:accounts_importbatch_upload"),
        )
    if run is None or numbers["untouched"] == numbers["accounts"]:
        if not Definition.objects.filter(status="active").exists():
            return (
                "There are no rules yet.",
                "Set up the rules",
                reverse("admin:segmentation_definition_changelist"),
            )
        if user.has_perm("segmentation.recompute_layer"):
            return "No account has a segment yet.", "Recalculate", reverse("admin:segmentation_run_start")
    return None


def _next_step(numbers):
    """(sentence, button, address) of what the figures ask for, or None."""
    if numbers["differs"]:
        subject = "account is" if numbers["differs"] == 1 else "accounts are"
        return (
            f"{numbers['differs']:,} {subject} served in another segment than the rules say.",
            "Look at them",
            counted(state="differs"),
        )
    if numbers["needs_data"]:
        subject = "account needs" if numbers["needs_data"] == 1 else "accounts need"
        return (
            f"{numbers['needs_data']:,} {subject} data.",
            "Look at them",
            counted(state="needs-data"),
        )
    return None


_ACCOUNTS = "admin:accounts_account_changelist"
_IMPORTS = "admin:accounts_importbatch_changelist"
