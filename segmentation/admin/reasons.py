"""Forms about segments in use ask why they are changed: the owner and the approvers are told."""

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.admin.governed import GovernedAdmin
from core.history import acting
from segmentation.evaluation import causes
from segmentation.models import Cause, Definition, Layer, Segment, ServiceModel, Treatment

_OF = {  # where the active rules of what a row is used for are found
    Layer: "layer",
    Segment: "layer__segments",
    Treatment: "layer__segments__treatment",
    ServiceModel: "layer__segments__treatment__service_model",
}


def in_use(row):
    """Whether customers are segmented by active rules that this row is part of."""
    active = Definition.objects.filter(status=Definition.Status.ACTIVE)
    return row.pk is not None and active.filter(**{_OF[type(row)]: row}).exists()


class ReasonedForm(forms.ModelForm):
    why = forms.CharField(
        required=False,
        max_length=1_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Customers are in these segments: the owner and the approvers are told of the change and why.",
    )

    def clean(self):
        data = super().clean()
        if in_use(self.instance) and {*self.changed_data} - {"why"} and not data.get("why", "").strip():
            self.add_error("why", "Say why: the owner and the approvers read it.")
        return data


class ReasonedAdmin(GovernedAdmin):
    """A model whose rows may be in use: a change of one that is has a reason."""

    form = ReasonedForm

    def get_fieldsets(self, request, obj=None):
        fieldsets = [
            (name, options | {"fields": [field for field in options["fields"] if field != "why"]})
            for name, options in super().get_fieldsets(request, obj)
        ]
        asks = obj is not None and self.has_change_permission(request, obj) and in_use(obj)
        return [*fieldsets, (None, {"fields": ["why"]})] if asks else fieldsets

    def save_model(self, request, obj, form, change):
        why = form.cleaned_data.get("why", "").strip()
        with acting(by=request.user, channel="admin", reason=why):
            if why:
                causes.take(Cause.Kind.DECISION, reason=why)
            self.write(request, obj, form, change)

    def write(self, request, obj, form, change):
        """Save the row, in the name and for the reason of who does."""
        super().save_model(request, obj, form, change)
