"""The forms that ask for another policy: who decides, the profile, when crossings are put before people, how a segmentation applies."""

from dataclasses import asdict

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.urls import reverse

from accounts.admin.fields import Amount, Choice, Text, Tick, Whole
from accounts.admin.verbs import VerbForm, VerbPage, row
from governance.models import ApprovalRequest, CrossingPolicy, Profile
from governance.signoff import approvals, crossing_policies, permissions, policies, profiles
from governance.signoff.deciders import NEVER
from governance.signoff.kinds import KINDS
from governance.signoff.roles import ROLES
from segmentation.models import Layer

from .people import answered

LIST = "admin:governance_approvalpolicy_changelist"
EMPTY_LINES = 2  # more than there are, for new ones
CROSSING_HELP = {
    "margin": "In points of the overall score; 0 for any.",
    "material_arr": "As a share: 0.2 is 20 %.",
}


class PolicyForm(VerbForm):
    """Asks for a policy, or changes the open request for it."""

    at = {"request_reason_missing": "why"}
    why = Text(rows=3, needed=True, help="The people who decide read it, and it is kept.")

    def start(self):
        waiting = self.page.waiting
        return {"why": waiting.why} | self.requested(waiting.content) if waiting else self.now()

    def requested(self, content):
        """{field: what the open request asks for}."""
        return content["values"]

    def now(self):
        """{field: what holds}."""
        raise NotImplementedError

    def proposal(self):
        raise NotImplementedError

    def carry_out(self):
        arguments = {"by": self.by, "why": self.cleaned_data.pop("why")}
        if self.page.waiting:
            approval_request = policies.change(
                self.page.waiting, proposal=self.proposal(), seen=self.seen, **arguments
            )
        else:
            approval_request = policies.ask(self.proposal(), **arguments)
        return answered(self.page.request, approval_request, reverse(LIST))


class PolicyPage(VerbPage):
    """One form that asks for one policy. `key`: of the request, where one is open."""

    def load(self, **where):
        thing = self.find(**where)
        if not self.admin.has_view_permission(self.request) or permissions.change_policies(
            by=self.request.user
        ):
            raise PermissionDenied
        waiting = ApprovalRequest.objects.open().filter(kind=policies.KIND, key=self.key(thing))
        self.waiting = waiting.first()
        return thing

    def token(self):
        return approvals.token(self.waiting) if self.waiting else ""

    def context(self):
        return {
            "original": self.heading(),
            "title": self.heading(),
            "waiting": self.waiting,
            **self.details(),
        }


# -- who approves a kind of request


class LineForm(forms.Form):
    """One ApprovalPolicy; a line without a role is left out."""

    role = Choice("Role", empty="", choices=[(role, role) for role in ROLES if role not in NEVER])
    approvals = Whole("Approvals", most=20, width="72px")
    min_accounts = Whole("From accounts", most=10**9, width="90px")
    min_arr = Amount("From ARR", most=10**12, width="120px")
    min_csm_changes = Whole("From CSM changes", most=10**9, width="90px")
    top_tier = forms.TypedChoiceField(
        label="Top segment", required=False, choices=[("", "does not matter"), ("1", "is touched")], coerce=bool, empty_value=False
    )  # fmt: skip
    due_days = Whole("Days to decide", least=1, most=365, width="72px")
    expire_days = Whole("Expires after days", least=1, most=365, width="72px")

    USUAL = {"approvals": 1, "due_days": 5, "expire_days": 30}

    def line(self, kind):
        typed = self.cleaned_data
        return profiles.Row(kind, **typed | {name: typed[name] if typed[name] is not None else usual for name, usual in self.USUAL.items()})  # fmt: skip


LineSet = forms.formset_factory(LineForm, extra=EMPTY_LINES, max_num=policies.MOST_ROWS + EMPTY_LINES)


class KindForm(PolicyForm):
    def prepare(self):
        sent = self.data if self.is_bound else None
        self.lines = LineSet(sent, prefix="line", initial=None if sent else self.start()["lines"])

    def is_valid(self):
        return self.lines.is_valid() & super().is_valid()

    def requested(self, content):
        return {"lines": [_as_typed(line) for line in content["rows"]]}

    def now(self):
        return {"lines": [_as_typed(asdict(line)) for line in policies.rows_of(self.thing)]}

    def proposal(self):
        lines = [form.line(self.thing) for form in self.lines if form.cleaned_data.get("role")]
        return policies.for_kind(self.thing, lines)


def _as_typed(line):
    """A line as LineForm begins with it."""
    return line | {
        "top_tier": "1" if line["top_tier"] else "",
        "min_arr": policies.shown_number(line["min_arr"]),
    }


class KindPage(PolicyPage):
    template = "governance/policies/kind.html"
    verbs = {"ask": KindForm}

    def find(self, kind):
        if kind not in KINDS:
            raise Http404("There is no such kind of request.")
        return kind

    def key(self, kind):
        return f"policy:kind:{kind}"

    def heading(self):
        return f"Who decides: {KINDS[self.thing].label}"

    def details(self):
        return {"does": KINDS[self.thing].does, "now": policies.sentences_by_kind()[self.thing]}


# -- the profile


class ProfileForm(PolicyForm):
    name = Choice(choices=Profile.Name.choices, empty=None, needed=True, widget=forms.RadioSelect)

    def requested(self, content):
        return {"name": content["name"]}

    def now(self):
        return {"name": Profile.objects.get().name}

    def proposal(self):
        return policies.for_profile(self.cleaned_data["name"])


class ProfilePage(PolicyPage):
    template = "governance/policies/profile.html"
    verbs = {"ask": ProfileForm}

    def find(self):
        return Profile.objects.get()

    def key(self, profile):
        return "policy:profile"

    def heading(self):
        return "Governance profile"

    def details(self):
        rows = {
            name: [(needs.label, _sentences(name, kind)) for kind, needs in KINDS.items()]
            for name in profiles.PROFILES
        }
        return {
            "profile": self.thing,
            "profiles": [
                {
                    "name": name,
                    "label": Profile.Name(name).label,
                    "does": profiles.DOES[name],
                    "rows": rows[name],
                }
                for name in profiles.PROFILES
            ],
        }


def _sentences(name, kind):
    rows = [row for row in profiles.PROFILES[name] if row.kind == kind] or [profiles.Row(kind)]
    return [policies.sentence(row) for row in rows]


# -- when crossings are put before people


def _crossing_field(name):
    column = CrossingPolicy._meta.get_field(name)
    label, help = str(column.verbose_name), CROSSING_HELP.get(name) or column.help_text
    label, kind = label[:1].upper() + label[1:], column.get_internal_type()
    if kind == "BooleanField":
        return Tick(label, help=help)
    wrong = f"{label}: a number from 0 to 10,000."
    number = Amount if kind == "DecimalField" else Whole
    return number(label, help=help, missing=wrong, most=10_000)


class CrossingForm(PolicyForm):
    def prepare(self):
        self.fields |= {name: _crossing_field(name) for name in policies.CROSSING}

    def now(self):
        return policies.crossing_values(crossing_policies.in_both_directions(self.thing)[self.page.direction])

    def proposal(self):
        return policies.for_crossing(self.thing, self.page.direction, self.cleaned_data)

    def columns(self):
        return [self[name] for name in policies.CROSSING]


class CrossingPage(PolicyPage):
    template = "governance/policies/crossing.html"
    verbs = {"ask": CrossingForm}

    def find(self, layer, direction):
        if direction not in CrossingPolicy.Direction.values:
            raise Http404("Tier changes go up or down.")
        self.direction = direction
        return row(Layer.objects.all(), layer)

    def key(self, layer):
        return f"policy:crossing:{layer.pk}:{self.direction}"

    def heading(self):
        return f"{self.thing}, changes {self.direction}"

    def details(self):
        label = CrossingPolicy.Direction(self.direction).label.lower()
        return {"layer": self.thing, "direction": label}


# -- how a segmentation applies


class LayerForm(PolicyForm):
    policy = Choice("A change of segment", choices=Layer.Policy.choices, empty=None)
    plan_provisional_downgrades = Tick("An account that goes down after its provisional period needs a plan")
    primary = Tick("It is the primary segmentation, and drives coverage")

    def prepare(self):
        self.order = policies.of_layer(self.thing)["order"]
        places = [(place, place) for place in range(1, len(self.order) + 1)]
        names = dict(self.thing.segments.values_list("key", "name"))
        for key in self.order:
            self.fields[f"place-{key}"] = forms.TypedChoiceField(label=names[key], choices=places, coerce=int, required=False, empty_value=None)  # fmt: skip

    def requested(self, content):
        return self._begin(content["values"])

    def now(self):
        return self._begin(policies.of_layer(self.thing))

    def _begin(self, values):
        return values | {f"place-{key}": place for place, key in enumerate(values["order"], start=1)}

    def places(self):
        """The fields of the segments, the top one first; none where there is nothing to order."""
        keys = sorted(self.order, key=self._place) if self.is_bound else self.initial["order"]
        return (
            [self[f"place-{key}"] for key in keys if f"place-{key}" in self.fields] if len(keys) > 1 else []
        )

    def _place(self, key):
        """One that was moved comes before who has that place already, or after it on the way down."""
        now = self.order.index(key) + 1
        wanted = self.cleaned_data.get(f"place-{key}") or now
        return wanted, (wanted > now) - (wanted < now)

    def proposal(self):
        values = {name: self.cleaned_data[name] for name in policies.LAYER}
        return policies.for_layer(self.thing, values | {"order": sorted(self.order, key=self._place)})


class LayerPage(PolicyPage):
    template = "governance/policies/layer.html"
    verbs = {"ask": LayerForm}

    def find(self, layer):
        return row(Layer.objects.all(), layer)

    def key(self, layer):
        return f"policy:layer:{layer.pk}"

    def heading(self):
        return f"{self.thing}: how it applies"

    def details(self):
        return {"layer": self.thing}
