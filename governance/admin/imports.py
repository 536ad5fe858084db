"""The page that asks for an import where imports need an approval."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.urls import reverse

from accounts.admin.governed import page
from accounts.models import ImportBatch
from core.refusals import Refused
from governance import import_gate, permissions

from .people import answered

PAGE = "admin:accounts_importbatch_change"


def ask_view(request, pk):
    if permissions.ask_import(by=request.user):
        raise PermissionDenied
    batch = ImportBatch.objects.filter(pk=pk).first()
    if batch is None:
        raise Http404("There is no such import.")
    offered = import_gate.on_import_page(batch, by=request.user)
    if request.method != "POST" and (offered is None or offered["request"]):
        return HttpResponseRedirect(offered["request_url"] if offered else reverse(PAGE, args=[pk]))
    refusal = ""
    if request.method == "POST":
        try:
            asked = import_gate.ask(
                batch, by=request.user, why=request.POST.get("why", ""), skip_rejected="skip_rejected" in request.POST
            )  # fmt: skip
            return answered(request, asked, reverse(PAGE, args=[pk]))
        except Refused as refused:
            refusal = str(refused)
    return page(
        request,
        "governance/approvals/ask_import.html",
        title="Ask for an import",
        model_admin=admin.site._registry[ImportBatch],
        original=batch,
        batch=batch,
        sentences=import_gate.sentences(batch),
        rejected=sum(one["rejected"] for one in [*batch.files, *batch.queries]),
        why=request.POST.get("why", ""),
        refusal=refusal,
        status=409 if refusal else 200,
    )
