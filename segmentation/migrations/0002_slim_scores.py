"""Scores and points as arrays, and only the indexes that queries use."""

import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models

import django.contrib.postgres.fields


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_initial'),
        ('segmentation', '0001_initial'),
    ]

    operations = [
        migrations.RemoveField(
            model_name='assignmentscore',
            name='assignment',
        ),
        migrations.RemoveIndex(
            model_name='assignment',
            name='assignment_differs',
        ),
        migrations.AlterField(
            model_name='assignment',
            name='account',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='assignments', to='accounts.account'),
        ),
        migrations.AlterField(
            model_name='assignment',
            name='computed',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='segmentation.segment'),
        ),
        migrations.AlterField(
            model_name='assignment',
            name='definition',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to='segmentation.definition'),
        ),
        migrations.AlterField(
            model_name='assignment',
            name='effective',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='assignments', to='segmentation.segment'),
        ),
        migrations.AlterField(
            model_name='assignment',
            name='layer',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='assignments', to='segmentation.layer'),
        ),
        migrations.AlterField(
            model_name='cause',
            name='run',
            field=models.BigIntegerField(db_index=True, null=True),
        ),
        migrations.AlterField(
            model_name='move',
            name='account',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='moves', to='accounts.account'),
        ),
        migrations.AlterField(
            model_name='move',
            name='definition',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to='segmentation.definition'),
        ),
        migrations.AlterField(
            model_name='move',
            name='from_segment',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='segmentation.segment'),
        ),
        migrations.AlterField(
            model_name='move',
            name='layer',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to='segmentation.layer'),
        ),
        migrations.AlterField(
            model_name='move',
            name='to_segment',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='segmentation.segment'),
        ),
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(condition=models.Q(('computed__isnull', False), ('effective__isnull', False), models.Q(('computed', models.F('effective')), _negated=True)), fields=['layer', 'account'], name='assignment_differs'),
        ),
        migrations.AddIndex(
            model_name='move',
            index=django.contrib.postgres.indexes.BrinIndex(fields=['written_at'], name='move_written'),
        ),
        migrations.DeleteModel(
            name='AssignmentScore',
        ),
        migrations.CreateModel(
            name='AssignmentScore',
            fields=[
                ('assignment', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='score', serialize=False, to='segmentation.assignment')),
                ('composite', models.DecimalField(decimal_places=12, max_digits=24, null=True)),
                ('scores', django.contrib.postgres.fields.ArrayField(base_field=models.DecimalField(decimal_places=12, max_digits=24, null=True), default=list, size=None)),
                ('points', django.contrib.postgres.fields.ArrayField(base_field=models.SmallIntegerField(null=True), default=list, size=None)),
                ('rule', models.SmallIntegerField(null=True)),
                ('distance', models.DecimalField(decimal_places=12, max_digits=32, null=True)),
                ('thin', models.BooleanField(default=False)),
                ('computed_at', models.DateField()),
                ('definition', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to='segmentation.definition')),
            ],
        ),
    ]
