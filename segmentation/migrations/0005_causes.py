"""Moves tell more exactly why: both, the cut-offs, another segmentation, or that it applies by itself now."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("segmentation", "0004_movers_of_both")]

    operations = [
        migrations.AlterField(
            model_name="move",
            name="why",
            field=models.CharField(
                choices=[
                    ("initial", "First segment"),
                    ("data", "The customer changed"),
                    ("definition", "The rules changed"),
                    ("both", "The customer and the rules changed"),
                    ("cutoffs", "The cut-offs over all accounts moved"),
                    ("segmentation", "Another segmentation changed"),
                    ("policy", "It applies by itself now"),
                    ("provisional", "Decided after the provisional period"),
                    ("transition", "A tier change was approved"),
                    ("override", "An override"),
                    ("correction", "A correction"),
                ],
                max_length=12,
            ),
        ),
    ]
