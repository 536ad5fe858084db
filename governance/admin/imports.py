"""The page that asks for an import where imports need an approval."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.urls import reverse

from accounts.admin.fields import Text, Tick
from accounts.admin.imports import rejected
from accounts.admin.verbs import VerbForm, VerbPage, row
from accounts.models import ImportBatch
from governance.changes import import_gate
from governance.signoff import permissions

from .people import answered

PAGE = "admin:accounts_importbatch_change"


class AskForm(VerbForm):
    at = {"request_reason_missing": "why", "rejected_rows_unanswered": "skip_rejected"}
    skip_rejected = Tick()
    why = Text(rows=3, needed=True, help="The people who decide read it, and it is kept.")

    def carry_out(self):
        approval_request = import_gate.ask(self.thing, by=self.by, **self.cleaned_data)
        return answered(self.page.request, approval_request, reverse(PAGE, args=[self.thing.pk]))


class AskPage(VerbPage):
    title = "Ask for an import"
    template = "governance/approvals/ask_import.html"
    verbs = {"ask": AskForm}

    def load(self, pk):
        if permissions.ask_import(by=self.request.user):
            raise PermissionDenied
        return row(ImportBatch.objects.all(), pk, "import")

    def elsewhere(self):
        offered = import_gate.on_import_page(self.thing, by=self.request.user)
        if self.request.method == "POST" or (offered and not offered["request"]):
            return ""
        return offered["request_url"] if offered else reverse(PAGE, args=[self.thing.pk])

    def context(self):
        return {
            "original": self.thing,
            "batch": self.thing,
            "sentences": import_gate.sentences(self.thing),
            "rejected": rejected(self.thing),
        }


def ask_view(request, pk):
    return AskPage.as_view(admin=admin.site._registry[ImportBatch])(request, pk=pk)
