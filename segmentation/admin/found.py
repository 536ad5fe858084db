"""Found by Ctrl+K: accounts with what can be done with them, segments, and what people do about segments."""

from django.db.models import Q

from accounts import lookup
from core import pages, search
from core.pages import Page
from core.search import Action, Found, Group
from segmentation.models import Layer, Segment

from . import account_page

search.register_actions(
    Action("Recalculate", Page("admin:segmentation_run_start", "segmentation.recompute_layer"), "calculate", "recompute score run now"),
    Action("Add a segmentation", Page("admin:segmentation_layer_add", "segmentation.add_layer"), "layers", "new create"),
    Action("Add how we serve a segment", Page("admin:segmentation_treatment_add", "segmentation.add_treatment"), "volunteer_activism", "new create treatment"),
    Action("Add a service model", Page("admin:segmentation_servicemodel_add", "segmentation.add_servicemodel"), "support_agent", "new create"),
)  # fmt: skip


def accounts(request, text):
    """Accounts, and where one of them is meant, what this person may do with it."""
    if not request.user.has_perm("accounts.view_account"):
        return []
    hits = lookup.find(text, most=search.SHOWN)
    lines = [
        Found(str(account), _beside(account), pages.address("account", account.pk), "domain")
        for account in hits.accounts
    ]
    groups = [Group("Accounts", lines, _note(hits))]
    meant = [account for account in hits.accounts if lookup.is_called(account, text)] or hits.accounts
    if len(meant) == 1:
        groups.append(_with(request, meant[0]))
    return groups


def _beside(account):
    csm = f"CSM: {account.csm}" if account.csm else "no CSM"
    external_id = account.external_id if account.name else ""
    return " · ".join(filter(None, [external_id, account.domain, csm]))


def _note(hits):
    if hits.cut:
        return "Too many accounts have these letters somewhere: type more of the name."
    return "More accounts fit: type more of the name." if hits.more else ""


def _with(request, account):
    actions = account_page.actions(request, account)
    return Group(
        f"With {account}", [Found(action["label"], "", action["url"], action["icon"]) for action in actions]
    )


def segments(request, text):
    """Segments and segmentations."""
    lines = []
    if request.user.has_perm("segmentation.view_segment"):
        named = Segment.objects.filter(Q(name__icontains=text) | Q(key__icontains=text))
        named = named.select_related("layer").order_by("-layer__primary", "layer__position", "position")
        lines += [
            Found(segment.name, f"segment of {segment.layer}", SEGMENT.address(segment.pk), "category")
            for segment in named[: search.SHOWN]
        ]
    if request.user.has_perm("segmentation.view_layer"):
        layers = Layer.objects.filter(Q(name__icontains=text) | Q(key__icontains=text))
        lines += [
            Found(layer.name, "segmentation", LAYER.address(layer.pk), "layers")
            for layer in layers.order_by("-primary", "position")[: search.SHOWN]
        ]
    return [Group("Segments", lines)]


SEGMENT = Page("admin:segmentation_segment_change")
LAYER = Page("admin:segmentation_layer_change")
search.register(10, accounts)
search.register(50, segments)
