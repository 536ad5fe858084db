"""Accounts: the facts that are known of each. Labels and scores are assignments, so that none of this is stale by a recalculation."""

from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema
from rest_framework import serializers

from accounts import catalogue, corrections
from accounts.models import Account, Csm, Usage
from core import texts
from core.api import queries
from core.api.resources import Listed, Resource, register
from core.locking import locked

from .bulk import TakesRows
from .exports import Exported

FIRST = (
    "id",
    "external_id",
    "name",
    "domain",
    "parent",
    "kind",
    "status",
    "excluded",
    "exclusion_reason",
    "csm",
)
OWN = tuple(name for name in catalogue.ACCOUNT_FACTS if name not in FIRST)
USAGE = tuple(catalogue.USAGE_FACTS)


def _usage_field(name):
    field = Usage._meta.get_field(name)
    kinds = {"BigIntegerField": serializers.IntegerField, "DateField": serializers.DateField}
    if kind := kinds.get(field.get_internal_type()):
        return kind(read_only=True, allow_null=True)
    places = {"max_digits": field.max_digits, "decimal_places": field.decimal_places}
    return serializers.DecimalField(read_only=True, allow_null=True, **places)


class _Own(serializers.ModelSerializer):
    """Facts of the account itself: its parent by ID, its CSM by e-mail address."""

    parent = serializers.SlugRelatedField(
        slug_field="external_id", queryset=Account.objects.all(), allow_null=True, required=False
    )
    csm = serializers.SlugRelatedField(
        slug_field="email", queryset=Csm.objects.all(), allow_null=True, required=False
    )


class AccountSerializer(_Own):
    class Meta:
        model = Account
        fields = [*FIRST, *OWN, "custom", "created_at"]

    def get_fields(self):
        return super().get_fields() | {name: _usage_field(name) for name in USAGE}


class Correction(_Own):
    """Facts that are set, and why; the others stay."""

    reason = serializers.CharField(max_length=texts.LONGEST, write_only=True)

    class Meta:
        model = Account
        fields = [*(name for name in FIRST if name not in ("id", "external_id")), *OWN, "reason"]


@register
class Accounts(TakesRows, Exported, Listed, Resource):
    """Customer companies."""

    path, takes = "accounts", "accounts"
    queryset = Account.objects.select_related("csm", "parent").prefetch_related(
        Prefetch("usage", Usage.objects.filter(product=None), to_attr="whole")
    )
    serializer_class = AccountSerializer
    permissions = {
        "list": "accounts.view_account",
        "retrieve": "accounts.view_account",
        "partial_update": "accounts.change_account",
        "bulk": "accounts.import_accounts",
        "export": ("accounts.view_account", "accounts.export_accounts"),
    }
    orderings = ("id", "external_id", "name", "created_at")
    filters = {
        "external_id": queries.text("external_id", most=200),
        "name": queries.text("name"),
        "search": queries.text("name__icontains", most=100, help="Part of the name."),
        "domain": queries.text("domain"),
        "kind": queries.one_of(Account.Kind, "kind"),
        "status": queries.one_of(Account.Status, "status"),
        "excluded": queries.flag("excluded"),
        "csm": queries.text("csm__email__iexact", most=254, help="E-mail address of the CSM."),
        "parent": queries.text("parent__external_id", most=200, help="ID of the parent."),
        "created_since": queries.moment("created_at__gte"),
    }

    def filled(self, found):
        for account in found:
            usage = account.whole[0] if account.whole else None
            for name in USAGE:
                setattr(account, name, getattr(usage, name, None))
        return found

    def told(self, row):
        return super().told(self.filled([row])[0])

    @extend_schema(request=Correction, responses=AccountSerializer)
    def partial_update(self, request, pk=None):
        """Correct facts: known from hand, as of today. A protected one of another system waits for a decision."""
        sent = self.sent(Correction, partial=True, needed=["reason"])
        reason = sent.pop("reason")
        if "parent" in sent:
            corrections.lock_parents()  # before the account
        account = self.current()
        self.check(account, sent)
        corrections.correct(account, sent, by=request.user, reason=reason)
        return self.changed(account)

    def current(self):
        """Its usage is told too, and is locked with it."""
        account = super().current()
        list(locked(Usage.objects.filter(account=account, product=None)))
        return account
