"""Assignments: the segment of an account on each segmentation, by the rules and in force, and why."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from accounts.api.exports import Exported
from accounts.models import Account, Product
from core.api import queries
from core.api.problems import Problem, invalid
from core.api.resources import Listed, Resource, register
from segmentation import scopes
from segmentation.models import DIFFERS, Assignment, Layer
from segmentation.reading import explain


class AssignmentSerializer(serializers.ModelSerializer):
    account = serializers.SlugRelatedField(slug_field="external_id", read_only=True)
    layer = serializers.SlugRelatedField(slug_field="key", read_only=True)
    product = serializers.SlugRelatedField(slug_field="key", read_only=True, allow_null=True)
    computed = serializers.SlugRelatedField(slug_field="key", read_only=True, allow_null=True)
    effective = serializers.SlugRelatedField(slug_field="key", read_only=True, allow_null=True)
    definition = serializers.IntegerField(source="definition.version", read_only=True)
    composite = serializers.DecimalField(
        max_digits=24, decimal_places=12, source="score.composite", read_only=True, allow_null=True
    )

    class Meta:
        model = Assignment
        fields = [
            "id", "account", "layer", "product", "computed", "effective", "computed_since", "effective_since", "provisional",
            "provisional_until", "overridden", "reason", "composite", "definition",
        ]  # fmt: skip


@register
class Assignments(Exported, Listed, Resource):
    """Segments of accounts: `computed` is what the rules say, `effective` what is in force."""

    path = "assignments"
    queryset = Assignment.objects.exclude(reason=scopes.GONE).select_related(
        "account", "layer", "product", "computed", "effective", "definition", "score"
    )
    serializer_class = AssignmentSerializer
    permissions = {
        "list": "segmentation.view_assignment",
        "retrieve": "segmentation.view_assignment",
        "export": ("segmentation.view_assignment", "accounts.export_accounts"),
        "explain": ("segmentation.view_assignment", "accounts.view_account"),
    }
    filters = {
        "account": queries.text("account__external_id", most=200, help="ID of the account."),
        "layer": queries.text("layer__key", most=50, help="Key of the segmentation."),
        "computed": queries.text("computed__key", most=50),
        "effective": queries.text("effective__key", most=50),
        "provisional": queries.flag("provisional"),
        "overridden": queries.flag("overridden"),
        "differs": queries.flag(help="Whether the rules say another segment than the one in force."),
        "needs_data": queries.flag("computed__isnull"),
    }
    action_filters = {
        "explain": {
            "account": queries.text(most=200, help="ID of the account; needed."),
            "layer": queries.text(
                most=50, help="Key of the segmentation; the primary one where it is not said."
            ),
            "product": queries.text(most=100, help="Key of the product, on a segmentation of products."),
            "at": queries.day(help="As of the end of this day; now where it is not said."),
            "known": queries.day(help="Only what had been recorded by the end of this day."),
        }
    }

    def narrowed(self, rows):
        if "differs" not in self.values:
            return rows
        return rows.filter(DIFFERS) if self.values["differs"] else rows.exclude(DIFFERS)

    @extend_schema(responses={200: OpenApiTypes.OBJECT})
    @action(detail=False, methods=["get"])
    def explain(self, request):
        """Tells why an account is in its segment, now or on a day: every number behind it."""
        given = self.values
        if "account" not in given:
            raise invalid("?account", "Say which account: ?account=its ID.")
        account = _one(Account, "account", external_id=given["account"])
        layer = _one(Layer, "layer", key=given["layer"]) if "layer" in given else None
        product = _one(Product, "product", key=given["product"]) if "product" in given else None
        told = explain.explain(account, layer, at=given.get("at"), known=given.get("known"), product=product)
        return Response(told)


def _one(model, name, **where):
    found = model.objects.filter(**where).first()
    if found is None:
        raise Problem(404, "not_found", f"There is no such {name}.")
    return found
