"""Source systems: where facts come from."""

from rest_framework import serializers

from accounts.models import SourceSystem
from core.api import queries
from core.api.resources import Listed, Resource, Saved, register


class SourceSystemSerializer(serializers.ModelSerializer):
    class Meta:
        model = SourceSystem
        fields = ["id", "key", "name"]


@register
class SourceSystems(Saved, Listed, Resource):
    """The systems facts come from. They come with the first rows a system sends, too."""

    path = "source-systems"
    queryset = SourceSystem.objects.all()
    serializer_class = SourceSystemSerializer
    permissions = {
        "list": "accounts.view_sourcesystem",
        "retrieve": "accounts.view_sourcesystem",
        "create": "accounts.add_sourcesystem",
        "partial_update": "accounts.change_sourcesystem",
    }
    orderings = ("id", "key")
    filters = {"key": queries.text("key", most=50)}
