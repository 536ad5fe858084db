"""The condition of an alert rule as rows of field, operator and value, as rules are written; SQL where rows cannot say it."""

from django import forms
from django.core.exceptions import ValidationError
from django.db import DatabaseError
from django.template.loader import render_to_string
from django.urls import reverse

from accounts.admin.fields import number
from core.wording import plural
from governance.changes import alerts
from governance.models import AlertRule
from segmentation.admin import condition_form

CHECK = "admin:governance_alertrule_check"
EMPTY = "No condition yet: add one, so that the rule says when people are alerted."


def typed(data, name="condition"):
    """(SQL text, what is wrong with its rows as sentences) of what a form sent."""
    return condition_form.typed(data, name, _types)


def _types():
    return {term["name"]: term["type"] for term in alerts.terms()}


def checked(data):
    """Check the condition as it is typed now, and give it as text and as rows; nothing is saved."""
    text, wrong = typed(data)
    problems = wrong or (
        alerts.problems(text, days=number(data.get("days"))) if text else ["Say when people are alerted."]
    )
    said = " ".join(problems)
    said = said or f"This condition can be used. {holds_now(text, number(data.get('days')))}".strip()
    return condition_form.answer("condition", text, wrong, _types(), said)


def holds_now(condition, days):
    """`It holds on 12 of 150 accounts now.`; "" where that cannot be counted in time."""
    try:
        holding, counted, total = alerts.count_now(AlertRule(condition=condition, days=days))
    except DatabaseError:
        return ""
    if counted < total:
        about = round(holding * total / counted)
        return f"It holds on about {plural(about, 'account,accounts')} of {total:,} now, by a sample of {counted:,}."
    return f"It holds on {holding:,} of {plural(total, 'account,accounts')} now."


class ConditionInput(forms.Widget):
    """A text area, and with JavaScript rows instead; `edited`: the rows as they were sent, where they were refused."""

    edited = ""

    def value_from_datadict(self, data, files, name):
        self.edited = data.get(f"{name}.rows", "")
        return typed(data, name)[0]

    def value_omitted_from_data(self, data, files, name):
        return name not in data

    def render(self, name, value, attrs=None, renderer=None):
        context = condition_form.shown(
            name, value or "", alerts.terms(), check=reverse(CHECK), empty=EMPTY, edited=self.edited
        )
        return render_to_string("core/condition.html", context)


class RuleForm(forms.ModelForm):
    def clean(self):
        given = super().clean()
        if "condition" in given:
            _, wrong = typed(self.data)
            if problems := wrong or alerts.problems(given["condition"], days=given.get("days")):
                raise ValidationError({"condition": problems})
        return given
