"""The coverage model: what every segment gets, and the people and money it takes. One version of it is for customers."""

from django.core.exceptions import PermissionDenied
from django.urls import reverse
from django.utils import timezone

from accounts.admin.governed import page
from segmentation.models import Layer, Segment
from segmentation.reading import coverage

from .home import counted

MAY = ["accounts.view_account", "segmentation.view_servicemodel"]
CSMS = 100


def coverage_view(request):
    """For the team. The same number of queries for any number of accounts and CSMs."""
    _may(request)
    load = coverage.load(at=timezone.localdate(), after=request.session.get("acted_at", 0))
    csms = load.csms if "all" in request.GET else load.csms[:CSMS]
    return page(
        request,
        "segmentation/coverage/coverage.html",
        title="Coverage model",
        offers=coverage.offers(),
        load=load,
        weights=[
            {"one": weight, "url": counted(service_model=_key(weight.model))} for weight in load.weights
        ],
        csms=[
            {"one": csm_load, "url": counted(csm=csm_load.csm.pk if csm_load.csm else "none")}
            for csm_load in csms
        ],
        more=len(load.csms) - len(csms),
        customers_url=counted(),
        empty=_empty(),
    )


def customers_view(request):
    """Show what may be handed to customers: no cost, no discount, no people's load, nothing internal."""
    _may(request)
    return page(
        request,
        "segmentation/coverage/customers.html",
        title="How we serve our customers",
        offers=coverage.offers(for_customers=True),
        today=timezone.localdate(),
    )


def _may(request):
    if not request.user.has_perms(MAY):
        raise PermissionDenied


def _key(model):
    return model.key if model else "none"


def _empty():
    """(sentence, button, address) where no active segmentation decides anything yet."""
    if coverage.deciding_layers():
        return None
    layer = Layer.objects.order_by("-primary", "position", "key").first()
    if layer is None or not Segment.objects.exclude(treatment=None).exists():
        return (
            "No segment says yet how its customers are served.",
            "Look at the segments",
            reverse("admin:segmentation_segment_changelist"),
        )
    return (
        "No segmentation in use says yet which part of the service it decides.",
        f"Choose it for {layer}",
        reverse("admin:segmentation_layer_change", args=[layer.pk]),
    )
