"""Alerts: the list, the page about one with its acknowledgement, the rules that open them, and the account's own."""

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import BooleanField, Case, Count, Q, When
from django.http import JsonResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import DropdownFilter, RelatedDropdownFilter

from accounts.admin.fields import Text
from accounts.admin.governed import ByVerbs, Changes, GovernedAdmin, page
from accounts.admin.verbs import VerbForm, VerbPage, row
from accounts.revenue import with_arr, with_arr_order
from core import badges, history
from core.wording import day, money, plural
from governance.changes import alerts
from governance.models import Alert, AlertRule
from governance.signoff import permissions

from .account_actions import AcknowledgePage
from .alert_form import ConditionInput, RuleForm, checked

LIST = "admin:governance_alert_changelist"
PAGE = "admin:governance_alert_change"
HOLDS = "admin:governance_alertrule_holds"
ACCOUNT = "admin:accounts_account_change"
NAMED = 3  # reasons why some were left out
ENDED = 10  # resolved alerts in an account's timeline
UNRESOLVED = Q(status__in=["open", "acknowledged"])


def _whether(condition):
    return Case(When(condition, then=True), default=False, output_field=BooleanField())


WAITS = _whether(Q(status="open"))


class StateFilter(DropdownFilter):
    """By status: whoever only looks after accounts begins with the alerts of theirs."""

    title = "status"
    parameter_name = "state"

    def lookups(self, request, model_admin):
        chosen = (
            request.method == "POST" and request.POST.get("select_across", "0") == "0"
        )  # lines, ticked one by one
        begins = "mine" if _sees_their_own(request.user) and not chosen else "unresolved"
        labels = {"mine": "Of my accounts, not resolved", "unresolved": "Not resolved"}
        self.begins, self.all_option = begins, ["", labels.pop(begins)]
        return [*labels.items(), *Alert.Status.choices, ("all", "All")]

    def queryset(self, request, queryset):
        wanted = self.value() or self.begins
        if wanted == "mine":
            return queryset.filter(UNRESOLVED, account__csm__user=request.user)
        if wanted in Alert.Status.values:
            return queryset.filter(status=wanted)
        return queryset if wanted == "all" else queryset.filter(UNRESOLVED)


def _sees_their_own(user):
    return hasattr(user, "csm") and not user.has_perm("governance.change_alertrule")


class AlertChanges(Changes):
    """The list, a line an account: its most pressing alert, with the others of it that are listed too."""

    exported = None  # the alerts themselves, a row each

    @property
    def counted(self):
        """`329 accounts, 566 alerts`."""
        alerts_behind = plural(self.exported.count(), "alert,alerts")
        return f"{plural(self.result_count, 'account,accounts')}, {alerts_behind}"

    def get_queryset(self, request, exclude_parameters=None):
        self.exported = super().get_queryset(request, exclude_parameters)
        first = Alert.objects.filter(pk__in=self.exported.order_by().values("pk")).annotate(waits=WAITS)
        first = first.order_by("account_id", "-waits", "-rule__urgent", "opened_on", "pk").distinct(
            "account_id"
        )
        return self.exported.filter(pk__in=first.values("pk"))

    def get_results(self, request):
        super().get_results(request)
        self.result_list = list(self.result_list)
        ids = [alert.account_id for alert in self.result_list]
        together = {}
        for alert in self.exported.filter(account__in=ids).order_by(
            "-waits", "-rule__urgent", "opened_on", "pk"
        ):
            together.setdefault(alert.account_id, []).append(alert)
        for alert in self.result_list:
            alert.together = together.get(alert.account_id, [alert])


@admin.register(Alert)
class AlertAdmin(ByVerbs, GovernedAdmin):
    """The list of alerts that hold now: one's own first, then what is urgent, then by the ARR at stake."""

    list_display = ["title", "reasons", "state", "arr_shown", "opened", "csm", "seen_by"]
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

    def get_urls(self):
        acknowledge = self.admin_site.admin_view(AcknowledgePage.as_view(admin=self))
        return [
            path("acknowledge/", acknowledge, name="governance_alert_acknowledge"),
            *super().get_urls(),
        ]

    def get_changelist(self, request, **kwargs):
        return AlertChanges

    def get_queryset(self, request):
        """With what the list is put in order by."""
        mine = Q(account__csm__user=request.user)
        rows = Alert.objects.select_related("account").annotate(mine=_whether(mine), waits=WAITS)
        today = timezone.localdate()
        return with_arr(with_arr_order(rows, today), today)

    def get_ordering(self, request):
        return ["-mine", "-waits", "-rule__urgent", "-arr_order", "account__name", "pk"]

    def has_acknowledge_permission(self, request):
        return permissions.may(permissions.acknowledge_alerts(by=request.user))

    @admin.action(description="Acknowledge all alerts of these accounts", permissions=["acknowledge"])
    def acknowledge(self, request, queryset):
        """All listed alerts of the chosen lines; those of somebody else's accounts are told of and do not keep the others."""
        listed = self.get_changelist_instance(request).exported
        chosen = listed.filter(account__in=queryset.order_by().values("account"))
        done, left = alerts.acknowledge_all(chosen, by=request.user)
        if done:
            messages.success(request, f"{plural(done, 'alert is,alerts are')} acknowledged.")
        if left:
            reasons = list(dict.fromkeys(left))
            more = len(reasons) - NAMED
            said = " ".join(reasons[:NAMED]) + (
                f" And {plural(more, 'more reason,more reasons')}." if more > 0 else ""
            )
            messages.warning(request, f"{plural(len(left), 'alert was,alerts were')} left out: {said}")

    @admin.display(description="Account", ordering="account__name")
    def title(self, alert):
        return format_html('<a href="{}">{}</a>', reverse(PAGE, args=[alert.pk]), alert.account)

    @admin.display(description="Why", ordering="rule__name")
    def reasons(self, alert):
        """Each alert of the account that is listed, the urgent ones marked; in an export each has a row of its own."""
        reasons = format_html_join(
            ", ",
            '<a class="dm-link" href="{}">{}</a>{}',
            (
                (reverse(PAGE, args=[each.pk]), each.rule, " (urgent)" if each.rule.urgent else "")
                for each in getattr(alert, "together", [alert])
            ),
        )
        return format_html("<span>{}</span>", reasons)

    @admin.display(description="ARR", ordering="arr_order")
    def arr_shown(self, alert):
        return money(alert.arr_now)

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
            "evidence": alerts.in_words(alert),
            "may": alert.status == "open" and permissions.may(refusal),
            "may_not": refusal if alert.status == "open" else "",
            "others": alert.account.alerts.filter(UNRESOLVED)
            .exclude(pk=alert.pk)
            .select_related("rule")[:10],
        }


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
            said=alerts.condition_in_words(rule.condition),
            broken=broken,
            count=count,
            accounts=accounts,
            today=timezone.localdate(),
        )

    @admin.display(description="When")
    def says(self, rule):
        return f"{rule.description} {alerts.condition_in_words(rule.condition)}".strip()

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
    """The account's alerts on its page: those that hold are next, the last ones in the timeline."""
    if not request.user.has_perm("governance.view_alert"):
        return {}
    rows = account.alerts.select_related("rule")
    holding = list(rows.filter(UNRESOLVED).order_by("opened_on", "id"))
    ended = list(rows.filter(status="resolved")[:ENDED])
    return {
        "next": [_next(alert) for alert in holding],
        "happened": [entry for alert in [*holding, *ended] for entry in _happened(alert)],
    }


def _next(alert):
    state = f"since {day(alert.opened_on)}" + (", acknowledged" if alert.status == "acknowledged" else "")
    return {
        "title": f"Alert: {alert.rule.name}",
        "text": f"{alert.rule.description.rstrip('.')}, {state}."
        if alert.rule.description
        else f"{state.capitalize()}.",
        "due": None,
        "url": reverse(PAGE, args=[alert.pk]),
        "button": "Look at it",
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
