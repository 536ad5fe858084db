"""Verbs of governance for the accounts chosen in their list: plan, ask for an override, acknowledge (settings.ACCOUNT_LIST_ACTIONS).

An action is a function as Django's lists take it; its `may(user)` says for whom.
"""

from django.contrib import admin, messages
from django.http import HttpResponseRedirect
from django.urls import reverse

from accounts.admin.fields import Text
from core.wording import plural
from governance.changes import alerts, overrides, transition_requests
from governance.models import Alert, Transition
from governance.signoff import permissions
from segmentation.admin.in_bulk import BulkForm, BulkPage, asking, too_many

TOGETHER = "admin:governance_transition_together"
OVERRIDE = "admin:governance_override_ask"
_TO_PLAN = (Transition.Status.FLAGGED, Transition.Status.PLANNED)


def _ids(keys):
    return ",".join(str(key) for key in keys)


@admin.action(description="Plan the tier changes together")
def plan(model_admin, request, queryset):
    """The page on which tier changes are planned together, for those of the chosen accounts that have one to plan."""
    waiting = Transition.objects.filter(
        account__in=queryset.order_by().values("pk"), status__in=_TO_PLAN, held_for=""
    )
    first = (
        waiting.order_by("-layer__primary", "layer__position", "layer__key").select_related("layer").first()
    )
    if first is None:
        messages.warning(request, "None of these accounts has a tier change that is flagged or planned.")
        return None
    keys = waiting.filter(layer=first.layer).values_list("account", flat=True)
    keys = list(keys.distinct()[: transition_requests.MOST + 1])
    if len(keys) > transition_requests.MOST:
        messages.error(request, too_many(transition_requests.MOST))
        return None
    if without := queryset.count() - len(keys):
        said = plural(without, "chosen account has,chosen accounts have")
        messages.warning(
            request,
            f"{said} no tier change of {first.layer} to plan and {'is' if without == 1 else 'are'} not below.",
        )
    return HttpResponseRedirect(f"{reverse(TOGETHER)}?layer={first.layer.key}&accounts={_ids(keys)}")


plan.may = lambda user: permissions.may(permissions.plan_transition(by=user))


@admin.action(description="Ask for an override")
def override(model_admin, request, queryset):
    """The page that asks; what is sent from there is a request for approval."""
    keys = list(queryset.order_by("name", "pk").values_list("pk", flat=True)[: overrides.MOST + 1])
    return HttpResponseRedirect(f"{reverse(OVERRIDE)}?accounts={_ids(keys)}")


override.may = lambda user: user.has_perm("governance.request_override")


class AcknowledgeForm(BulkForm):
    button = "Acknowledge the alerts"
    note = Text("What you do about them (optional)")

    def carry_out(self):
        done, left = alerts.acknowledge_all(
            self.page.open_alerts(), by=self.by, note=self.cleaned_data["note"]
        )
        if done:
            self.say(f"{plural(done, 'alert is,alerts are')} acknowledged.")
        for sentence in dict.fromkeys(left):
            self.say(
                f"{plural(left.count(sentence), 'alert was,alerts were')} left out: {sentence}",
                messages.WARNING,
            )
        if not done and not left:
            self.say("No alert is open on these accounts.", messages.WARNING)
        return self.page.back


class AcknowledgePage(BulkPage):
    title = "Acknowledge alerts"
    url = "admin:governance_alert_acknowledge"
    verbs = {"acknowledge": AcknowledgeForm}

    def may(self):
        return permissions.may(permissions.acknowledge_alerts(by=self.request.user))

    def open_alerts(self):
        return Alert.objects.filter(
            status=Alert.Status.OPEN, account__in=[account.pk for account in self.thing]
        )

    @property
    def says(self):
        number = self.open_alerts().count()
        return f"{plural(number, 'open alert,open alerts')} on them, all rules together. Alerts of accounts you may not acknowledge for are left out, and you are told."


@admin.action(description="Acknowledge their alerts")
def acknowledge(model_admin, request, queryset):
    """The page that says how many alerts that are."""
    return asking(AcknowledgePage, model_admin, request, queryset)


acknowledge.may = lambda user: permissions.may(permissions.acknowledge_alerts(by=user))
