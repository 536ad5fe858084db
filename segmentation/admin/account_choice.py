"""The page on which the columns and the filter of the list of accounts are chosen. It leads back to the list as chosen."""

from django import forms
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.http import JsonResponse
from django.urls import reverse
from django.utils import timezone

from accounts.admin.verbs import VerbForm, VerbPage
from accounts.models import Account
from core.raw_sql import within_seconds
from core.wording import count, plural
from segmentation.reading import account_columns
from segmentation.rules.tree import ConditionError

from . import condition_form
from .account_list import COLUMNS, MOST, OWN, WHERE, Asked

LIST = "admin:accounts_account_changelist"
CHECK = "admin:accounts_account_choice_check"
OWN_LABELS = {
    "segment": "Segment",
    "arr": "ARR",
    "csm": "CSM",
    "kind": "Kind",
    "status": "Status",
    "external_id": "Account ID",
}
EMPTY = "All accounts. Add a condition to narrow the list."


def terms(columns):
    """The columns as terms of a condition: see condition_form.offered."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "label": column.label,
            "family": column.family,
            "unit": column.unit,
            "choices": [list(pair) for pair in column.choices.items()],
        }
        for column in columns.values()
    ]


def types():
    return {name: column.type for name, column in account_columns.offered().items()}


def typed(data):
    """(the condition as text, what is wrong with it as sentences) of what a form sent."""
    text, wrong = condition_form.typed(data, WHERE, types)
    if wrong or not text:
        return text, wrong
    try:
        return text, account_columns.read(text).doubts()
    except ConditionError as error:
        return text, [error.message]


def check_view(request):
    """Say what is wrong with the condition as it is typed now, or how many accounts it finds."""
    text, problems = typed(request.POST)
    rows_wrong = problems if text == condition_form.UNFINISHED else []
    said = " ".join(problems) or found(text)
    return JsonResponse(condition_form.answer(WHERE, text, rows_wrong, types(), said))


def found(text):
    """`It finds 12 of 150 accounts.`; "" where that cannot be counted in time."""
    accounts = Account.objects.all()
    try:
        with within_seconds():
            total = accounts.count()
            if not text:
                return f"All {plural(total, 'account,accounts')}."
            number = accounts.filter(pk__in=account_columns.read(text).ids(timezone.localdate())).count()
    except DatabaseError:
        return ""
    return f"It finds {count(number)} of {plural(total, 'account,accounts')}."


class ChoiceForm(VerbForm):
    cols = forms.MultipleChoiceField(required=False)

    def prepare(self):
        self.fields["cols"].choices = [(name, name) for name in (*OWN, *self.page.offered)]

    def clean_cols(self):
        """Keep the order of the columns that were there before."""
        chosen, before = self.cleaned_data["cols"], self.page.asked.columns
        if len(chosen) > MOST:
            raise forms.ValidationError(f"At most {MOST} columns.")
        return [name for name in before if name in chosen] + [name for name in chosen if name not in before]

    def clean(self):
        self.text, problems = typed(self.data)
        for problem in problems:
            self.add_error(None, problem)
        return super().clean()

    def carry_out(self):
        kept = self.page.request.GET.copy()
        for name in ("p", "all", COLUMNS, WHERE):
            kept.pop(name, None)
        chosen = self.cleaned_data["cols"]
        if chosen and chosen != list(OWN):
            kept[COLUMNS] = ",".join(chosen)
        if self.text:
            kept[WHERE] = self.text
        return f"{reverse(LIST)}?{kept.urlencode()}".rstrip("?")


class ChoicePage(VerbPage):
    """The columns and the filter of the list whose address follows that of this page."""

    title = "Columns and filter"
    template = "segmentation/account/choice.html"
    verbs = {"choose": ChoiceForm}

    def load(self):
        if not self.admin.has_view_or_change_permission(self.request):
            raise PermissionDenied
        self.asked = Asked(self.request.GET)
        self.offered = account_columns.offered()
        return self.asked

    def context(self):
        sent = self.request.POST if self.request.method == "POST" else None
        ticked = sent.getlist("cols") if sent else list(self.asked.columns)
        text = typed(sent)[0] if sent else self.asked.where
        edited = sent.get(f"{WHERE}.rows", "") if sent else ""
        families = {"Of the list": [(name, OWN_LABELS[name], name in ticked) for name in OWN]}
        for name, column in self.offered.items():
            if name not in (*OWN, "name"):
                families.setdefault(column.family, []).append((name, column.label, name in ticked))
        condition = condition_form.shown(
            WHERE, text, terms(self.offered), check=reverse(CHECK), empty=EMPTY, edited=edited
        )
        return {
            "families": families,
            "condition": condition,
            "problem": "" if sent else self.asked.problem,
            "list": f"{reverse(LIST)}?{self.request.GET.urlencode()}",
        }
