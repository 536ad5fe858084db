"""Fields of the forms of Demarc's own pages, and the ids of an address."""

from datetime import date

from django import forms
from django.db import models
from django.forms.models import ModelChoiceIterator
from unfold.widgets import UnfoldAdminTextInputWidget

from core import numbers, texts, wording

LARGEST = 2**63 - 1  # an id
OFFERED = 500  # rows to choose from
OTHER_CURRENCY = "other_currency"  # the code of an error


class _Field:
    """needed: the browser asks for it, and where it is missing all the same the verb says so. missing: the form says this.

    width: of the input, as CSS.
    """

    def __init__(self, label="", *, needed=False, missing="", help="", width="", **options):
        super().__init__(label=label, required=bool(missing), help_text=help, **options)
        self.error_messages |= {"required": missing} if missing else {}
        self.widget.attrs |= {"required": True} if needed else {}
        self.widget.attrs |= {"style": f"max-width:{width}"} if width else {}


class Line(_Field, forms.CharField):
    """A line of text."""

    def __init__(self, label="", *, most=400, **options):
        super().__init__(label, max_length=most, **options)
        self.error_messages |= {"max_length": f"At most {most:,} characters."}


class Text(Line):
    """Text of several lines, such as a reason."""

    def __init__(self, label="Why", *, rows=2, most=texts.LONGEST, **options):
        super().__init__(label, most=most, widget=forms.Textarea(attrs={"rows": rows}), **options)


class Day(_Field, forms.DateField):
    """A day, as browsers send it."""

    def __init__(self, label="", *, width="180px", **options):
        super().__init__(label, width=width, widget=forms.DateInput(attrs={"type": "date"}), **options)

    def between(self, first=None, last=None):
        """Offer only these days; whether another one will do is for the verb to say."""
        ends = {"min": first, "max": last}
        self.widget.attrs |= {end: day.isoformat() for end, day in ends.items() if day}

    def prepare_value(self, value):
        return value.isoformat() if isinstance(value, date) else value

    def to_python(self, value):
        value = value.strip() if isinstance(value, str) else value
        if isinstance(value, date) or not value:
            return value or None
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise forms.ValidationError(f"“{value[:20]}” is not a date.") from None


class _Typed:
    """Takes a number as people type it: `$100K`, `25,000`, `40%`. hundredths: the field counts in per cent, where 40% is 40."""

    hundredths = False

    def to_python(self, value):
        if isinstance(value, str) and (typed := numbers.read(value)):
            if not wording.is_ours(typed.currency):
                raise forms.ValidationError(wording.other_currency(value), OTHER_CURRENCY)
            value = f"{typed.value * (100 if self.hundredths and typed.unit == '%' else 1):f}"
        return super().to_python(value)


class TypedWhole(_Typed, forms.IntegerField):
    """The whole number of a model's form."""


class TypedAmount(_Typed, forms.DecimalField):
    """The number of a model's form that may have decimals."""


TYPED = {  # for `formfield_overrides`: a browser's own number field takes digits only
    models.IntegerField: {
        "form_class": TypedWhole,
        "widget": UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
    },
    models.BigIntegerField: {
        "form_class": TypedWhole,
        "widget": UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
    },
    models.DecimalField: {
        "form_class": TypedAmount,
        "widget": UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
    },
}


def of_model(column, **options):
    """The form field of a model's column on a page of our own; numbers are taken as they are typed."""
    form_class = {"IntegerField": TypedWhole, "DecimalField": TypedAmount}.get(
        column.get_internal_type().removeprefix("Positive").removeprefix("Small").removeprefix("Big")
    )
    if form_class is None or column.choices:
        return column.formfield(**options)
    field = column.formfield(
        **options, form_class=form_class, widget=forms.TextInput(attrs={"inputmode": "decimal"})
    )
    field.hundredths = str(column.verbose_name).endswith("%")
    return field


class _Number(_Typed, _Field):
    """A number from `least` to `most`. wrong: what is said of no number."""

    def __init__(self, label="", *, least=0, most=LARGEST, wrong="", width="110px", **options):
        bounds = f"From {least:,} to {most:,}." if most < LARGEST else f"A number from {least:,}."
        options["widget"] = forms.TextInput(attrs={"inputmode": "decimal"})
        super().__init__(label, min_value=least, max_value=most, width=width, **options)
        self.wrong = wrong
        self.error_messages |= {"min_value": bounds, "max_value": bounds, "invalid": "This is not a number."}

    def to_python(self, value):
        try:
            return super().to_python(value.strip() if isinstance(value, str) else value)
        except forms.ValidationError as error:
            if error.code == OTHER_CURRENCY:
                raise
            raise forms.ValidationError(self.wrong or f"“{value[:20]}” is not a number.") from None


class Whole(_Number, forms.IntegerField):
    """A whole number."""


class Amount(_Number, forms.DecimalField):
    """A number that may have decimals."""


class Tick(_Field, forms.BooleanField):
    """A box that is ticked, or not."""


class Choice(_Field, forms.ChoiceField):
    """One of some; whether what is sent is one of them is for the verb to say. empty: what the first entry says; None: there is none."""

    def __init__(self, label="", *, choices=(), empty="Choose …", **options):
        self.empty = empty
        super().__init__(label, **options)
        self.offer(choices)

    def offer(self, choices):
        self.choices = [*([] if self.empty is None else [("", self.empty)]), *choices]

    def valid_value(self, value):
        return True


class _Offered(ModelChoiceIterator):
    def __init__(self, field):
        super().__init__(field)
        self.queryset = field.queryset[:OFFERED]


class Row(_Field, forms.ModelChoiceField):
    """One row of a table, of which the first OFFERED are offered. gone: what is said of an id that is none of them."""

    iterator = _Offered

    def __init__(self, label="", *, gone, rows, empty="Choose …", **options):
        wrong = {"invalid_choice": gone}
        super().__init__(label, queryset=rows, empty_label=empty, error_messages=wrong, **options)


def ids(text):
    """The ids of `1,2,3`; what is none is left out."""
    return [key for key in (number(part) for part in text.split(",")) if key is not None]


def number(text, most=LARGEST):
    """The whole number of an address, from 0; None where it is none, or too large to be one."""
    text = str(text or "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= most else None
