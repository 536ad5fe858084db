"""Which source has the last word on which data field."""

from django import forms
from django.contrib import admin
from unfold.widgets import UnfoldAdminSelectWidget

from accounts.catalogue import FACTS, PROTECTED, label
from accounts.models import SystemOfRecord

from .governed import GovernedAdmin

GIVEN = [fact for fact in FACTS if FACTS[fact].home != "derived" and fact not in ("external_id", *PROTECTED)]


class RecordForm(forms.ModelForm):
    """Protected data fields first: those are held back; of the others it is good to know."""

    fact = forms.ChoiceField(
        label="Data field",
        choices=[
            ("", "Choose …"),
            ("Protected", [(fact, label(fact)) for fact in PROTECTED]),
            ("Others", [(fact, label(fact)) for fact in GIVEN]),
        ],
        widget=UnfoldAdminSelectWidget,
        help_text="A value of a protected data field from another source waits for a decision where it would change a "
        "score or a segment. Others are imported from any source.",
    )

    class Meta:
        model = SystemOfRecord
        fields = ["fact", "source"]


@admin.register(SystemOfRecord)
class SystemOfRecordAdmin(GovernedAdmin):
    form = RecordForm
    list_display = ["field", "source", "protected"]
    list_select_related = ["source"]
    empty_text = "Without one, a data field is imported from any source. Name who has the last word on industry, parent, employees and country first."

    @admin.display(description="Data field", ordering="fact")
    def field(self, record):
        return label(record.fact)

    @admin.display(description="Other sources")
    def protected(self, record):
        return (
            "propose only, where it matters to a segment" if record.fact in PROTECTED else "are imported too"
        )
