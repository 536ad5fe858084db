"""Alerts: the list, the page about one with its acknowledgement, the rules that open them, and the account's own."""

from decimal import Decimal, InvalidOperation

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q
from django.http import JsonResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import DropdownFilter, RelatedDropdownFilter

from accounts.admin.fields import Text
from accounts.admin.governed import ByVerbs, GovernedAdmin, page
from accounts.admin.verbs import VerbForm, VerbPage, row
from core import badges, history
from core.refusals import Refused
from core.wording import day, plural
from governance.changes import alerts
from governance.models import Alert, AlertRule
from governance.signoff import permissions

from .alert_form import ConditionInput, RuleForm, checked

LIST = "admin:governance_alert_changelist"
PAGE = "admin:governance_alert_change"
HOLDS = "admin:governance_alertrule_holds"
ACCOUNT = "admin:accounts_account_change"
MOST = 500  # acknowledged at a time
ENDED = 10  # resolved alerts in an account's timeline
UNRESOLVED = Q(status__in=["open", "acknowledged"])


class StateFilter(DropdownFilter):
    title = "status"
    parameter_name = "state"

    def lookups(self, request, model_admin):
        return [("mine", "Of my accounts, not resolved"), *Alert.Status.choices, ("all", "All")]

    def queryset(self, request, queryset):
        wanted = self.value()
        if wanted == "mine":
            return queryset.filter(UNRESOLVED, account__csm__user=request.user)
        if wanted in Alert.Status.values:
            return queryset.filter(status=wanted)
        return queryset if wanted == "all" else queryset.filter(UNRESOLVED)


@admin.register(Alert)
class AlertAdmin(ByVerbs, GovernedAdmin):
    """The list of alerts: first those that hold now; resolved ones are a filter away."""

    list_display = ["title", "rule", "state", "opened", "csm", "seen_by"]
    list_display_links = None
    list_filter = [StateFilter, ("rule", RelatedDropdownFilter)]
    list_select_related = ["account__csm", "rule"]
    search_fields = ["account__name", "account__external_id"]
    search_help_text = "Account or account ID"
    actions = ["acknowledge"]
    empty_text = "No alert is open. Alert rules are evaluated after each recalculation and every morning."

    def allowed_lookups(self):
        return super().allowed_lookups() | {"state", "rule__id__exact"}

    def empty_step(self, request):
        return "Look at the alert rules", reverse("admin:governance_alertrule_changelist")

    def has_acknowledge_permission(self, request):
        return permissions.may(permissions.acknowledge_alerts(by=request.user))

    @admin.action(description="Acknowledge", permissions=["acknowledge"])
    def acknowledge(self, request, queryset):
        """One by one: those that are somebody else's, or have been seen to, are told of and do not keep the others."""
        done, refused = 0, []
        for alert in queryset.select_related("account__csm").order_by("pk")[:MOST]:
            try:
                alerts.acknowledge(alert, by=request.user)
                done += 1
            except Refused as error:
                refused.append(str(error))
        if done:
            messages.success(request, f"{plural(done, 'alert is,alerts are')} acknowledged.")
        if refused:
            left = plural(len(refused), "alert was,alerts were")
            messages.warning(request, f"{left} left out: {' '.join(dict.fromkeys(refused[:3]))}")

    @admin.display(description="Account", ordering="account__name")
    def title(self, alert):
        return format_html('<a href="{}">{}</a>', reverse(PAGE, args=[alert.pk]), alert.account)

    @admin.display(description="Status", ordering="status")
    def state(self, alert):
        return badges.status(alert)

    @admin.display(description="Since", ordering="opened_on")
    def opened(self, alert):
        return day(alert.opened_on)

    @admin.display(description="CSM", ordering="account__csm__name")
    def csm(self, alert):
        return alert.account.csm or "–"

    @admin.display(description="Acknowledged by", ordering="acknowledged_by_label")
    def seen_by(self, alert):
        return history.who(alert, "acknowledged_by") or "–"

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return AlertPage.as_view(admin=self)(request, pk=unquote(object_id))


class AcknowledgeForm(VerbForm):
    note = Text("What you do about it (optional)", rows=3)

    def carry_out(self):
        alerts.acknowledge(self.thing, by=self.by, **self.cleaned_data)
        self.say(f"{self.thing.rule} for {self.thing.account} is acknowledged.")
        return reverse(PAGE, args=[self.thing.pk])


class AlertPage(VerbPage):
    """An alert: what holds, and since when."""

    template = "governance/alerts/alert.html"
    verbs = {"acknowledge": AcknowledgeForm}

    def load(self, pk):
        if not self.admin.has_view_permission(self.request):
            raise PermissionDenied
        return row(Alert.objects.select_related("rule", "account__csm"), pk)

    def context(self):
        alert = self.thing
        refusal = permissions.acknowledge_alert(alert, by=self.request.user)
        return {
            "title": str(alert),
            "one": alert,
            "evidence": [(term, _rounded(value)) for term, value in alerts.in_words(alert.evidence)],
            "may": alert.status == "open" and permissions.may(refusal),
            "may_not": refusal if alert.status == "open" else "",
            "others": alert.account.alerts.filter(UNRESOLVED)
            .exclude(pk=alert.pk)
            .select_related("rule")[:10],
        }


def _rounded(value):
    """Scores are kept with twelve decimals; two are enough to read."""
    try:
        long = "." in str(value) and len(str(value).partition(".")[2]) > 2
        return f"{Decimal(str(value)):.2f}" if long else value
    except InvalidOperation:
        return value


@admin.register(AlertRule)
class AlertRuleAdmin(GovernedAdmin):
    form = RuleForm
    list_display = ["name", "says", "who", "active", "unresolved", "works"]
    list_filter = ["active"]
    search_fields = ["name", "key", "condition"]
    prepopulated_fields = {"key": ["name"]}
    fields = ["name", "key", "description", "condition", "days", "audience", "urgent", "active"]
    empty_text = "A rule says when people are alerted about an account."

    def get_queryset(self, request):
        return (
            super()
            .get_queryset(request)
            .annotate(held=Count("alerts", filter=Q(alerts__status__in=["open", "acknowledged"])))
        )

    def get_prepopulated_fields(self, request, obj=None):
        return {} if obj else self.prepopulated_fields

    def get_readonly_fields(self, request, obj=None):
        return ["key", "holds_on"] if obj else []

    def get_fields(self, request, obj=None):
        return [*self.fields, "holds_on"] if obj else self.fields

    def has_delete_permission(self, request, obj=None):
        unused = obj is None or not obj.alerts.exists()
        return unused and super().has_delete_permission(request, obj)

    def get_form(self, request, obj=None, change=False, **options):
        helps = {
            "condition": "People are alerted where this holds. As SQL it may compare data fields with each other, too.",
            "days": "How many days ago “before” in the condition means; empty where the condition does not use it.",
            "urgent": "By e-mail at once, else with the day's digest.",
            "active": "A rule that is not active opens no alerts; those that are open stay.",
        }
        return super().get_form(request, obj, change, help_texts=helps, **options)

    def get_urls(self):
        wrap = self.admin_site.admin_view
        return [
            path("check/", wrap(require_POST(self.check_view)), name="governance_alertrule_check"),
            path("<int:pk>/holds/", wrap(self.holds_view), name="governance_alertrule_holds"),
            *super().get_urls(),
        ]

    def formfield_for_dbfield(self, db_field, request, **options):
        field = super().formfield_for_dbfield(db_field, request, **options)
        if db_field.name == "condition":
            field.widget = ConditionInput()
        return field

    def check_view(self, request):
        """Say what is wrong with the condition as it is typed now."""
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied
        return JsonResponse(checked(request.POST))

    def save_model(self, request, obj, form, change):
        if "held" in obj.__dict__:
            del obj.__dict__["held"]
        alerts.save_rule(obj, by=request.user)

    def holds_view(self, request, pk):
        """On which accounts the rule holds today, before or after it is active."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        rule = row(AlertRule.objects.all(), pk)
        broken = alerts.problems(rule.condition, days=rule.days)
        count, accounts = (0, []) if broken else alerts.holding_now(rule)
        return page(
            request,
            "governance/alerts/holds.html",
            title=f"Where {rule} holds",
            model_admin=self,
            one=rule,
            broken=broken,
            count=count,
            accounts=accounts,
            today=timezone.localdate(),
        )

    @admin.display(description="When")
    def says(self, rule):
        return format_html("{} <code>{}</code>", rule.description, rule.condition)

    @admin.display(description="Tells", ordering="audience")
    def who(self, rule):
        return f"{rule.get_audience_display()}{', at once' if rule.urgent else ''}"

    @admin.display(description="Not resolved", ordering="held")
    def unresolved(self, rule):
        address = f"{reverse(LIST)}?rule__id__exact={rule.pk}"
        return format_html('<a class="dm-link" href="{}">{}</a>', address, rule.held) if rule.held else "–"

    @admin.display(description="")
    def works(self, rule):
        if rule.error:
            return badges.badge("look at its condition", "bad", title=rule.error)
        return ""

    @admin.display(description="Holds on")
    def holds_on(self, rule):
        link = format_html(
            '<a class="dm-link" href="{}">See where it holds today</a>', reverse(HOLDS, args=[rule.pk])
        )
        return format_html("{}<div>{}</div>", link, rule.error) if rule.error else link


def account_part(request, account):
    """The account's alerts on its page: those that hold as badges, the last ones in the timeline."""
    if not request.user.has_perm("governance.view_alert"):
        return {}
    rows = account.alerts.select_related("rule")
    holding = list(rows.filter(UNRESOLVED).order_by("opened_on", "id"))
    ended = list(rows.filter(status="resolved")[:ENDED])
    return {
        "badges": [
            ("warn" if alert.status == "open" else "", alert.rule.name, reverse(PAGE, args=[alert.pk]))
            for alert in holding
        ],
        "happened": [entry for alert in [*holding, *ended] for entry in _happened(alert)],
    }


def _happened(alert):
    address = reverse(PAGE, args=[alert.pk])
    yield {
        "on": alert.opened_on,
        "title": f"Alert: {alert.rule.name}",
        "text": alert.rule.description,
        "who": "",
        "reason": "",
        "url": address,
    }
    if alert.acknowledged_at:
        yield {
            "on": timezone.localdate(alert.acknowledged_at),
            "title": f"Alert acknowledged: {alert.rule.name}",
            "text": "",
            "who": history.who(alert, "acknowledged_by"),
            "reason": alert.note,
            "url": address,
        }
    if alert.resolved_on:
        yield {
            "on": alert.resolved_on,
            "title": f"Alert resolved: {alert.rule.name}",
            "text": "It holds no more.",
            "who": "",
            "reason": "",
            "url": address,
        }


def summary(user):
    """How many alerts wait for this person: (number, sentence, address); for home."""
    waiting = Alert.objects.filter(status="open")
    if not user.has_perm("governance.change_alertrule"):
        waiting = waiting.filter(account__csm__user=user)
    count = waiting.count()
    return count, plural(count, "open alert,open alerts"), f"{reverse(LIST)}?state=open"
