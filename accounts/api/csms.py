"""CSMs: the people, pools and programmes that look after accounts."""

from rest_framework import serializers

from accounts.models import Csm
from core.api import queries
from core.api.resources import Listed, Resource, Saved, register


class CsmSerializer(serializers.ModelSerializer):
    class Meta:
        model = Csm
        fields = ["id", "email", "name", "kind"]


@register
class Csms(Saved, Listed, Resource):
    """The ones who look after accounts."""

    path = "csms"
    queryset = Csm.objects.all()
    serializer_class = CsmSerializer
    permissions = {
        "list": "accounts.view_csm",
        "retrieve": "accounts.view_csm",
        "create": "accounts.add_csm",
        "partial_update": "accounts.change_csm",
    }
    orderings = ("id", "email")
    filters = {
        "email": queries.text("email__iexact", most=254),
        "name": queries.text("name", most=200),
        "kind": queries.one_of(Csm.Kind, "kind"),
    }
