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
from segmentation.admin.scoring_form import UNFINISHED, operators
from segmentation.rules.condition_rows import RowErrors, kind_of, read_rows, to_rows, to_text

CHECK = "admin:governance_alertrule_check"


def offered(terms):
    """The terms rows are made of, as their script reads them."""
    return {"operators": operators(), "fields": [term | {"kind": kind_of(term["type"])} for term in terms]}


def _types(terms):
    return {term["name"]: term["type"] for term in terms}


def typed(data, name="condition"):
    """(SQL text, what is wrong with its rows as sentences) of what a form sent; rows count before text."""
    rows = data.get(f"{name}.rows", "")
    if not rows:
        return data.get(name, "").strip(), []
    try:
        return to_text(read_rows(rows), _types(alerts.terms())), []
    except RowErrors as errors:
        return UNFINISHED, [message for _, message in errors.problems]


def checked(data):
    """Check the condition as it is typed now, and give it as text and as rows; nothing is saved."""
    text, wrong = typed(data)
    problems = wrong or (
        alerts.problems(text, days=number(data.get("days"))) if text else ["Say when people are alerted."]
    )
    return {
        "problems": [{"path": "condition.rows", "message": message} for message in wrong],
        "rules": [{"when": text, "rows": None if wrong else to_rows(text, _types(alerts.terms()))}],
        "said": " ".join(problems)
        or f"This condition can be used. {holds_now(text, number(data.get('days')))}".strip(),
    }


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
        terms, value = alerts.terms(), value or ""
        group = to_rows(value, _types(terms)) if value else {"join": "all", "rows": []}
        context = {
            "name": name,
            "value": "" if value == UNFINISHED else value,
            "edited": self.edited,
            "group": group,
        }
        return render_to_string(
            "governance/alerts/condition.html", context | {"check": reverse(CHECK), "offered": offered(terms)}
        )


class RuleForm(forms.ModelForm):
    def clean(self):
        given = super().clean()
        if "condition" in given:
            _, wrong = typed(self.data)
            if problems := wrong or alerts.problems(given["condition"], days=given.get("days")):
                raise ValidationError({"condition": problems})
        return given
