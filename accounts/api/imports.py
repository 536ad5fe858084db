"""Imports: what was read, what it did or would do, and both ledgers."""

from rest_framework import serializers

from accounts.models import ImportBatch
from core.api import queries
from core.api.resources import Listed, Resource, register


class ImportSerializer(serializers.ModelSerializer):
    files = serializers.ListField(child=serializers.DictField(), read_only=True)
    queries = serializers.ListField(child=serializers.DictField(), read_only=True)
    warnings = serializers.ListField(child=serializers.DictField(), read_only=True)

    class Meta:
        model = ImportBatch
        fields = [
            "id", "name", "status", "as_of", "error", "files", "queries", "warnings", "created_at", "created_by_label",
            "committed_by_label", "finished_at",
        ]  # fmt: skip


@register
class Imports(Listed, Resource):
    """Imports of files. Rows that are sent through the API are none: each request answers for itself."""

    path = "imports"
    queryset = ImportBatch.objects.defer("recipe")
    serializer_class = ImportSerializer
    permissions = {"list": "accounts.view_importbatch", "retrieve": "accounts.view_importbatch"}
    orderings = ("id", "created_at")
    filters = {"status": queries.one_of(ImportBatch.Status, "status")}
