"""Ends and renewals in a year that stands for none (9999-12-31) are left open, as an import leaves them now."""

from datetime import date

from django.db import migrations
from django.utils import timezone

NO_END = date(2200, 1, 1)  # accounts.catalogue.NO_END, as it was
REASON = "A date so far away is no end"


def leave_open(apps, schema_editor):
    for name, column in (("Subscription", "end_date"), ("Account", "renewal_date")):
        model = apps.get_model("accounts", name)
        history = apps.get_model("accounts", f"Historical{name}")
        kept = {field.attname for field in history._meta.concrete_fields}
        columns = [field.attname for field in model._meta.concrete_fields if field.attname in kept]
        for row in model.objects.filter(**{f"{column}__gte": NO_END}).iterator():
            setattr(row, column, None)
            row.save(update_fields=[column])
            history.objects.create(
                **{column: getattr(row, column) for column in columns},
                history_date=timezone.now(),
                history_type="~",
                history_user_label="upgrade",
                history_channel="upgrade",
                history_change_reason=REASON,
            )


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_rejected_rows")]
    operations = [migrations.RunPython(leave_open, migrations.RunPython.noop)]
