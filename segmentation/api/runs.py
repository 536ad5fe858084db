"""Recalculations: what ran and what came of it; and the way to start one."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from core import texts
from core.api import queries
from core.api.resources import Listed, Resource, register
from segmentation.models import Layer, Run
from segmentation.runs import recalculation


class OfLayer(serializers.Serializer):
    layer = serializers.CharField(source="layer.key")
    definition = serializers.IntegerField(source="definition.version")
    counts = serializers.DictField()
    warnings = serializers.ListField(child=serializers.CharField())


class RunSerializer(serializers.ModelSerializer):
    layers = OfLayer(many=True, read_only=True)

    class Meta:
        model = Run
        fields = [
            "id", "status", "trigger", "as_of", "started_at", "finished_at", "started_by_label", "reason", "accounts", "layers",
        ]  # fmt: skip


class Start(serializers.Serializer):
    layers = serializers.ListField(
        child=serializers.SlugRelatedField(slug_field="key", queryset=Layer.objects.all()),
        required=False,
        min_length=1,
        max_length=100,
        help_text="Keys; all with active rules where none is named.",
    )
    as_of = serializers.DateField(required=False, help_text="Today where it is not said.")
    reason = serializers.CharField(max_length=texts.LONGEST, required=False)


@register
class Runs(Listed, Resource):
    """Recalculations."""

    path = "runs"
    queryset = Run.objects.prefetch_related("layers__layer", "layers__definition")
    serializer_class = RunSerializer
    permissions = {
        "list": "segmentation.view_run",
        "retrieve": "segmentation.view_run",
        "create": "segmentation.recompute_layer",
    }
    orderings = ("id", "started_at")
    filters = {
        "status": queries.one_of(Run.Status, "status"),
        "trigger": queries.one_of(Run.Trigger, "trigger"),
    }

    @extend_schema(request=Start, responses={201: RunSerializer})
    def create(self, request):
        """Starts one; workers carry it out. `GET /runs/{id}` tells how far it is."""
        sent = self.sent(Start)
        run = recalculation.start(by=request.user, **sent)
        answer = Response(self.told(self.rows().get(pk=run.pk)), 201)
        answer["Location"] = request.build_absolute_uri(f"{request.path}/{run.pk}")
        return answer
