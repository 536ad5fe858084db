"""Fields of forms, and the ids of addresses: what is typed is understood, or said to be wrong where it stands."""

from datetime import date
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django import forms
from django.test import RequestFactory

from accounts.admin.fields import Amount, Choice, Day, Line, Text, Whole, ids, number
from accounts.admin.verbs import VerbForm, VerbPage
from core import texts
from core.refusals import Refused


@pytest.mark.parametrize(
    ("field", "typed", "value"),
    [
        (Day(), "2026-11-22", date(2026, 11, 22)),
        (Day(), " ", None),
        (Whole(), "50,000", 50_000),
        (Whole(), "", None),
        (Amount(), "0.25", Decimal("0.25")),
        (Line(), "  a line ", "a line"),
        (Choice(choices=[("a", "A")]), "b", "b"),  # it is for the verb to say that there is no such
    ],
)
def test_what_is_typed_is_understood(field, typed, value):
    assert field.clean(typed) == value


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        (Day(), "soon", "“soon” is not a date."),
        (Day(), "2026-02-30", "“2026-02-30” is not a date."),
        (Day(missing="Say when."), "", "Say when."),
        (Whole(), "many", "“many” is not a number."),
        (Whole(), "1.5", "“1.5” is not a number."),
        (Whole(), "-1", "A number from 0."),
        (Whole(most=20), "21", "From 0 to 20."),
        (Whole(wrong="Days, please."), "x", "Days, please."),
        (Whole(), "9" * 40, "A number from 0."),
        (
            Amount(),
            "€1M",
            "“€1M” has the sign of another currency: amounts are in USD here, and none is converted.",
        ),
        (
            Whole(),
            "£500,000",
            "“£500,000” has the sign of another currency: amounts are in USD here, and none is converted.",
        ),
        (Amount(most=10_000), "NaN", "This is not a number."),
        (Amount(most=10_000), "1e9", "From 0 to 10,000."),
        (Line(most=3), "long", "At most 3 characters."),
        (Text(), "x" * (texts.LONGEST + 1), "At most 4,000 characters."),
    ],
)
def test_what_is_wrong_is_said(field, typed, said):
    with pytest.raises(forms.ValidationError) as error:
        field.clean(typed)
    assert error.value.messages == [said]


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "²", "١", "1_0", " 1", "9" * 30, str(2**63)])
def test_no_id(text):
    assert number(text) is None


def test_ids_of_an_address():
    assert ids("1,2,x,,3") == [1, 2, 3]
    assert number("0") == 0
    assert number(str(2**63 - 1)) == 2**63 - 1
    assert number("12", most=11) is None
    assert number(None) is None


# -- a page with verbs


class KeepForm(VerbForm):
    part = "decide"
    at = {"reason_missing": "reason"}
    reason = Text(needed=True)

    def carry_out(self):
        texts.needed(self.cleaned_data["reason"])
        if self.seen != "now":
            raise Refused("changed_in_the_same_moment")
        return "/kept/"


class TakeForm(KeepForm):
    def carry_out(self):
        return "/taken/"


class Page(VerbPage):
    template = "none.html"
    verbs = {"keep": KeepForm, "take": TakeForm}

    def load(self):
        return object()

    def token(self):
        return "now"


@pytest.fixture
def send(monkeypatch):
    """The answer of a page; where the page is shown again, what its template is given."""

    def shown(request, template, **context):
        return SimpleNamespace(**context, request=request)

    monkeypatch.setattr("accounts.admin.verbs.page", shown)

    def send(data=None, view=Page, **options):
        make = RequestFactory()
        request = make.get("/") if data is None else make.post("/", data)
        request.user = None
        return view.as_view(**options)(request)

    return send


def test_a_page_is_shown_with_its_forms_and_the_token_of_its_thing(send):
    shown = send()
    assert (shown.status, shown.refused, shown.seen, list(shown.forms)) == (200, "", "now", ["decide"])
    assert shown.form is shown.forms["decide"]


def test_a_verb_is_carried_out_and_leads_on(send):
    answer = send({"verb": "keep", "reason": "So", "seen": "now"})
    assert (answer.status_code, answer.url) == (302, "/kept/")
    assert send({"verb": "take", "reason": ""}).url == "/taken/"


def test_a_refusal_stands_at_its_field_and_what_was_typed_stays(send):
    shown = send({"verb": "keep", "reason": "  ", "seen": "now"})
    assert shown.status == 409
    assert shown.form["reason"].errors == ["Say why: the reason is kept for everybody who asks later."]
    assert shown.refused  # and above, that nothing was done


def test_a_stale_page_is_refused_once_and_then_has_the_token_of_now(send):
    shown = send({"verb": "keep", "reason": "So", "seen": "then"})
    assert (shown.status, shown.form["reason"].value(), shown.seen) == (409, "So", "now")
    assert shown.refused.startswith("Somebody else has changed the same")
    assert send({"verb": "keep", "reason": "So", "seen": shown.seen}).url == "/kept/"


@pytest.mark.parametrize("verb", [{}, {"verb": "dance"}])
def test_a_verb_that_is_none_does_nothing(send, verb):
    shown = send(verb | {"reason": "So", "seen": "now"})
    assert (shown.status, shown.refused) == (409, "Choose what to do with it.")


def test_an_address_may_name_the_verb(send):
    assert send({"reason": ""}, verb="take").url == "/taken/"
