"""Segmentations there are already decide what their treatments say; what two of them say, the first one decides."""

from django.db import migrations
from django.utils import timezone

# What a treatment could say before; the service model is the primary segmentation's.
SAID = [
    "service_model_id", "touch_frequency", "channel", "support_sla", "renewal_motion", "renewal_lead_days",
    "expansion_play",
]  # fmt: skip


def decide(apps, schema_editor):
    Layer = apps.get_model("segmentation", "Layer")
    taken = set()
    for layer in Layer.objects.order_by("-primary", "position", "key"):
        rows = layer.segments.exclude(treatment=None).values_list(*[f"treatment__{name}" for name in SAID])
        said = [name for name, values in zip(SAID, zip(*rows)) if any(value not in (None, "") for value in values)]
        names = [name.removesuffix("_id") for name in said if layer.primary or name != "service_model_id"]
        layer.decides = [name for name in names if name not in taken]
        if layer.decides:
            taken |= set(layer.decides)
            layer.save()
            _remember(apps, layer)


def _remember(apps, layer):
    history = apps.get_model("segmentation", "HistoricalLayer")
    columns = {field.attname: getattr(layer, field.attname) for field in layer._meta.concrete_fields}
    history.objects.create(
        **columns,
        history_type="~",
        history_date=timezone.now(),
        history_user_label="system",
        history_channel="migration",
        history_change_reason="What this segmentation's treatments say already",
    )


class Migration(migrations.Migration):
    dependencies = [("segmentation", "0008_how_we_serve")]
    operations = [migrations.RunPython(decide, migrations.RunPython.noop)]
