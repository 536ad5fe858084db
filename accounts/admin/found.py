"""Found by Ctrl+K: CSMs, and what people do with the data of accounts."""

from django.db.models import Q

from accounts.models import Csm
from core import pages, search
from core.pages import Page
from core.search import Action, Found, Group

search.register_actions(
    Action("Import accounts", Page("admin:accounts_importbatch_upload", "accounts.import_accounts"), "upload_file", "upload load data csv file"),
    Action("Add a CSM", Page("admin:accounts_csm_add", "accounts.add_csm"), "badge", "new create person"),
    Action("Add a product", Page("admin:accounts_product_add", "accounts.add_product"), "inventory_2", "new create"),
)  # fmt: skip


def csms(request, text):
    """CSMs: their accounts."""
    if not request.user.has_perms(["accounts.view_csm", "accounts.view_account"]):
        return []
    found = Csm.objects.filter(Q(name__icontains=text) | Q(email__icontains=text)).order_by("name", "email")
    return [
        Group(
            "CSMs",
            [
                Found(
                    str(csm), f"{csm.email} · their accounts", pages.address("accounts", csm=csm.pk), "badge"
                )
                for csm in found[: search.SHOWN]
            ],
        )
    ]


search.register(60, csms)
