"""A new segmentation on one page: name, segments with who owns them and how they are served, rules, checks, sign-off.

Each step is folded and says how far it is; the first that is not done is open, and its button the prominent one. All of it is one
form, so that no button loses what was typed in another step.
"""

from copy import copy

from django import forms
from django.contrib import messages
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import cached_property

from accounts import gates
from accounts.admin.fields import OFFERED, Text, Whole
from accounts.admin.verbs import VerbForm, VerbPage, row
from core.refusals import Refused
from core.wording import listed, plural
from segmentation import treatments
from segmentation.authoring import segmentations, versions
from segmentation.authoring.checks import acknowledgements
from segmentation.models import Layer, Segment, ServiceModel, Treatment

from . import checks
from .scoring_form import read, row_problems
from .scoring_page import editor

PAGE = "admin:segmentation_layer_setup"
KEPT = "acknowledge"  # the button that takes the reason; whatever other is pressed, the script keeps it
FIRST_ROWS, MORE_ROWS, MOST_ROWS = 3, 1, 60
TITLES = {
    "about": "Name and purpose",
    "segments": "Segments: who owns them and how they are served",
    "rules": "Rules: who is in which segment",
}


# -- what is typed in the steps


class AboutForm(forms.ModelForm):
    """The first step."""

    like = forms.ChoiceField(
        required=False,
        label="Start from",
        help_text="Its segments, how they are served and its rules are copied; all of it can be changed.",
    )

    class Meta:
        model = Layer
        fields = ("name", "description", "scope", "policy", "primary", "decides")
        labels = {
            "description": "What it is for",
            "scope": "What it labels",
            "policy": "When the rules give another segment",
            "primary": "It is the primary segmentation, which drives coverage",
        }
        help_texts = {"scope": "", "primary": ""}
        widgets = {"description": forms.Textarea(attrs={"rows": 2})}

    decides = forms.MultipleChoiceField(
        choices=treatments.CHOICES,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="It decides",
        help_text="Which part of “How we serve” counts for these segments. Leave to other segmentations what they decide.",
    )

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.fields["name"].error_messages["required"] = "Give the segmentation a name."
        if self.instance.pk:
            del self.fields["like"]
        else:
            ready = [(key, preset["name"]) for key, preset in versions.library().items()]
            self.fields["like"].choices = [("", "Nothing: empty"), *ready]
        if Layer.objects.filter(primary=True).exclude(pk=self.instance.pk).exists():
            del self.fields["primary"]

    def values(self):
        return {name: self.cleaned_data[name] for name in self._meta.fields if name in self.cleaned_data}


class Offers:
    """The owners and the ways of serving that a row may name: `choices` for the form, and what each stands for."""

    def __init__(self):
        people = User.objects.filter(is_active=True, is_staff=True).order_by("username")[:OFFERED]
        self.people = {f"person-{user.pk}": user for user in people}
        roles = {*Group.objects.values_list("name", flat=True), *Segment.objects.values_list("owner_role", flat=True)}  # fmt: skip
        self.roles = {f"role-{name}": name for name in sorted(filter(None, roles))}
        self.treatments = {f"how-{each.pk}": each for each in Treatment.objects.all()[:OFFERED]}
        self.models = {f"model-{each.pk}": each for each in ServiceModel.objects.all()[:OFFERED]}
        self.owners = [
            ("", "Choose …"),
            ("Roles", list(self.roles.items())),
            ("People", [(key, user.get_full_name() or user.username) for key, user in self.people.items()]),
        ]
        self.served = [
            ("", "Choose …"),
            ("As customers are served already", [(key, str(each)) for key, each in self.treatments.items()]),
            ("A new way, with the service model", [(key, str(each)) for key, each in self.models.items()]),
        ]

    def typed(self, segment, place):
        """A segment as its row begins."""
        person, role = f"person-{segment.owner_id}", f"role-{segment.owner_role}"
        owner = person if person in self.people else role if role in self.roles else ""
        served = f"how-{segment.treatment_id}" if segment.treatment_id else ""
        return {"segment": segment.pk, "name": segment.name, "owner": owner, "served": served, "place": place}


class SegmentForm(forms.Form):
    """A row of the second step; one without a name is left out."""

    segment = forms.IntegerField(required=False, widget=forms.HiddenInput)
    name = forms.CharField(label="Segment", required=False, max_length=100)
    owner = forms.ChoiceField(label="Who owns it", required=False)
    served = forms.ChoiceField(label="How it is served", required=False)
    place = Whole("Place", least=1, most=MOST_ROWS * 2, width="56px")
    remove = forms.BooleanField(label="Remove", required=False)

    def __init__(self, *args, page, **options):
        self.page = page
        super().__init__(*args, **options)
        offers = page.offers
        self.fields["owner"].choices, self.fields["served"].choices = offers.owners, offers.served
        for field in self.fields.values():
            field.widget.attrs["aria-label"] = field.label
        if not self.initial:
            self.fields["owner"].initial = f"person-{page.request.user.pk}"

    def clean(self):
        typed = super().clean()
        known = typed.get("segment")
        if known is not None and known not in self.page.segments:
            raise forms.ValidationError("This segment is not there any more.")
        if not typed.get("name") and not typed.get("remove") and (known or typed.get("served")):
            self.add_error("name", "Give the segment a name.")
        return typed

    def place_among(self):
        """Its place; one that was moved up comes before who has that place already, one that was moved down after it."""
        last = MOST_ROWS * 2
        now, wanted = self.initial.get("place", last), self.cleaned_data["place"] or last
        return wanted, (wanted > now) - (wanted < now)

    def row(self):
        """The segmentations.Row it says."""
        typed, offers = self.cleaned_data, self.page.offers
        segment = self.page.segments.get(typed["segment"])
        owner, role = offers.people.get(typed["owner"]), offers.roles.get(typed["owner"], "")
        if segment and not typed["owner"] and f"person-{segment.owner_id}" not in offers.people:
            owner = segment.owner  # somebody who is not offered, because their login is closed
        return segmentations.Row(
            typed["name"],
            segment,
            owner,
            role or (segment.owner_role if segment and owner else ""),
            offers.treatments.get(typed["served"]),
            offers.models.get(typed["served"]),
        )


class SetUpForm(VerbForm):
    """All steps. go: the button that was pressed."""

    go = forms.CharField(required=False, max_length=20)
    warning = forms.MultipleChoiceField(required=False)
    reason = Text(
        "Why these rules are used all the same",
        help="For the warnings you ticked. It is kept with the rules.",
    )

    def prepare(self):
        sent = self.data if self.is_bound else None
        self.fields["warning"].valid_value = lambda value: True
        self.fields["reason"].widget.attrs |= {"id": "answer", "data-kept": KEPT}
        layer = copy(self.thing) or Layer()  # the form writes into it before anything is decided
        self.about = AboutForm(sent, instance=layer, prefix="about")
        segments = enumerate(self.page.segments.values(), start=1)
        initial = [self.page.offers.typed(segment, place) for place, segment in segments]
        extra = MORE_ROWS if initial else FIRST_ROWS
        rows = forms.formset_factory(SegmentForm, extra=extra, max_num=MOST_ROWS)
        self.rows = rows(sent, prefix="segment", initial=initial, form_kwargs={"page": self.page})

    def is_valid(self):
        rows = not self.page.thing or self.rows.is_valid()
        return self.about.is_valid() & rows & super().is_valid()

    @transaction.atomic
    def carry_out(self):
        first, (rows, removed) = self.thing is None, self._segments()
        layer = segmentations.write(
            self.thing,
            self.about.values(),
            rows,
            removed=removed,
            document=self._document(),
            like=self.about.cleaned_data.get("like", ""),
            seen=self.seen or None,
            by=self.by,
        )
        go, draft = self.cleaned_data["go"], segmentations.draft_of(layer)
        if draft and go == "ask":
            return reverse("ask_activation", args=[draft.pk])
        if draft and go == KEPT:
            self._acknowledge(draft)
        else:
            self.say(f"{layer} is there. Next: its segments." if first else "Saved.")
        return reverse(PAGE, args=[layer.pk])

    def _document(self):
        """The rules as typed; None where the page did not show them."""
        if not self.page.shows_rules(self.data):
            return None
        if row_problems(self.data):
            raise Refused("condition_unreadable")
        return read(self.data)

    def _segments(self):
        """(the rows in their order, the segments that go)."""
        if self.thing is None:
            return [], []
        gone = [form for form in self.rows if form.cleaned_data.get("remove")]
        there = [form for form in self.rows if form.cleaned_data.get("name") and form not in gone]
        there.sort(key=SegmentForm.place_among)
        removed = [self.page.segments[key] for form in gone if (key := form.cleaned_data["segment"])]
        return [form.row() for form in there], removed

    def _acknowledge(self, draft):
        acknowledged = checks.chosen_of(self.page.request, draft, self.cleaned_data["warning"])
        if not acknowledged:
            raise Refused("warnings_not_chosen")
        acknowledgements.acknowledge(draft, acknowledged, reason=self.cleaned_data["reason"], by=self.by)
        self.say("Acknowledged. It is kept with the rules.")

    def refuse(self, refusal):
        self.add_error("reason" if refusal.code == "warnings_unexplained" else None, str(refusal))


class SetUpPage(VerbPage):
    """The page of a segmentation that is not in force yet; without one, the first step of a new one."""

    template = "segmentation/one_page/page.html"
    verbs = {"save": SetUpForm}

    def load(self, pk=None):
        self.__dict__.pop("segments", None)
        if not segmentations.may_write(self.request.user):
            raise PermissionDenied
        self.thing = row(Layer.objects.all(), pk, "segmentation") if pk is not None else None
        self.draft = segmentations.draft_of(self.thing) if self.thing else None
        return self.thing

    def elsewhere(self):
        """To the segmentation itself, once its rules are in force or wait."""
        refusal = self.thing and segmentations.refusal(self.thing, by=self.request.user)
        if not refusal:
            return ""
        messages.info(self.request, str(refusal))
        return reverse("admin:segmentation_layer_change", args=[self.thing.pk])

    @cached_property
    def segments(self):
        """{id: segment}, in their order."""
        if not self.thing:
            return {}
        segments = self.thing.segments.select_related("owner", "treatment").order_by("position", "key")
        return {segment.pk: segment for segment in segments}

    @cached_property
    def offers(self):
        return Offers()

    def shows_rules(self, sent):
        """Whether the page that was sent had the rules on it: they may be somebody else's, made meanwhile."""
        return self.draft is not None and "requires" in sent

    def token(self):
        return segmentations.token(self.thing) if self.thing else ""

    def context(self):
        layer, draft = self.thing, self.draft
        typed = self.request.POST if self.request.method == "POST" else None
        context = {
            "title": str(layer) if layer else "New segmentation",
            "original": layer or "New segmentation",
        }
        context |= {"layer": layer, "definition": draft, "segments": list(self.segments.values())}
        if draft:
            rules = typed if typed and self.shows_rules(typed) else None
            context |= editor(draft, read(rules) if rules else draft.document, rules) | {"editable": True}
        wrong = context.get("problems", [])
        context["steps"] = steps = _steps(layer, draft, list(self.segments.values()), wrong)
        context["next"] = next((key for key, step in steps.items() if not step["done"]), "checks")
        if layer and draft and typed and "warning" in typed:
            context |= _checked(self.request, draft)
        return context


def checked_view(request, pk):
    """The checks and the sign-off of what was saved last: they look at every account, so the page fetches them."""
    if not segmentations.may_write(request.user):
        raise PermissionDenied
    layer = row(Layer.objects.all(), pk, "segmentation")
    draft = segmentations.draft_of(layer)
    if draft is None:
        raise Http404("It has no draft of its rules.")
    form = checks.AcknowledgeForm(draft, request.user)
    form.fields["reason"].widget.attrs["data-kept"] = KEPT
    return render(request, "segmentation/one_page/checked.html", {"form": form} | _checked(request, draft))


def _checked(request, draft):
    """The values of steps four and five."""
    context = checks.context_of(request, draft)
    return context | {
        "within": True,
        "sign_off": gates.consult("rules_page", draft, user=request.user),
        "complete": not context["errors"] and not context["open"],
    }


# -- how far each step is


def _steps(layer, draft, segments, wrong):
    """{step: {title, done, state, todo: [sentences], says}}; wrong: the problems of the rules."""
    todo = {
        "about": [] if layer else ["Give it a name."],
        "segments": _open_of(layer, segments),
        "rules": [problem["message"] for problem in wrong if problem["path"]] if draft else None,
    }
    says = {
        "about": layer.name if layer else "",
        "segments": " · ".join(segment.name for segment in segments),
        "rules": plural(len(draft.document.get("rules") or []), "rule,rules") if draft else "",
    }
    return {key: _step(key, todo[key], says[key]) for key in TITLES}


def _step(key, todo, says):
    state = "not yet" if todo is None else plural(len(todo), "thing to do,things to do") if todo else "done"
    return {"title": TITLES[key], "done": todo == [], "state": state, "todo": todo or [], "says": says}


def _open_of(layer, segments):
    """The sentences of what is still to be said of the segments; None: nothing can be said yet."""
    if layer is None:
        return None
    todo = []
    if len(segments) < 2:
        todo.append("Name the segments, the highest first: two at least.")
    nobody = [each.name for each in segments if not _owned(each)]
    unserved = [each.name for each in segments if each.treatment is None]
    if nobody:
        todo.append(f"Choose who owns {listed(nobody)}.")
    if unserved:
        todo.append(f"Choose how {listed(unserved)} {'is' if len(unserved) == 1 else 'are'} served.")
    return todo


def _owned(segment):
    return bool(segment.owner_role.strip() or (segment.owner and segment.owner.is_active))
