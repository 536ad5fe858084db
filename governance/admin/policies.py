"""Who decides: the policies in plain words, and for each a form that asks for another one."""

from dataclasses import asdict

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q
from django.http import Http404, HttpResponseRedirect
from django.urls import path, reverse

from accounts.admin.governed import ByVerbs, GovernedAdmin, page
from core.refusals import Refused
from governance import approvals, crossings, permissions, policies, profiles
from governance.deciders import NEVER
from governance.models import ApprovalPolicy, ApprovalRequest, CrossingPolicy, Kind, Profile
from governance.roles import ROLES
from segmentation.models import Layer

from .people import answered

LIST = "admin:governance_approvalpolicy_changelist"
EMPTY_ROWS = 2  # more than there are, for new ones
DOES = {
    "definition": "New rules of a segmentation become active.",
    "tier_change": "Accounts move to another segment of a segmentation that needs approval.",
    "override": "A segment is pinned for an account against the rules.",
    "policy": "One of the policies of this page changes.",
    "role": "Somebody gets or loses a role.",
    "import": "An import that was looked at is carried out.",
}
CROSSING_HELP = {
    "margin": "In points of the overall score; 0 for any.",
    "material_arr": "As a share: 0.2 is 20 %.",
}


@admin.register(ApprovalPolicy)
class ApprovalPolicyAdmin(ByVerbs, GovernedAdmin):
    """One page for all policies; nothing is written here but requests."""

    def get_urls(self):
        wrap, name = self.admin_site.admin_view, "governance_approvalpolicy_{}".format
        return [
            path("profile/", wrap(self.profile_view), name=name("profile")),
            path("kind/<slug:kind>/", wrap(self.kind_view), name=name("kind")),
            path("crossing/<int:layer>/<slug:direction>/", wrap(self.crossing_view), name=name("crossing")),
            path("layer/<int:layer>/", wrap(self.layer_view), name=name("layer")),
            *super().get_urls(),
        ]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return HttpResponseRedirect(self._address("changelist"))

    # -- what holds

    def changelist_view(self, request, extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        waiting = {one.key: one for one in ApprovalRequest.objects.open().filter(kind=Kind.POLICY)}
        layers = list(Layer.objects.prefetch_related("crossing_policies"))
        active = Q(user__is_active=True)
        held = ApprovalPolicy.role.field.related_model.objects.filter(name__in=ROLES)
        held = held.annotate(people=Count("user", filter=active)).order_by("name")
        held = held.values_list("name", "people")
        told, needed = policies.told(), policies.roles_needed()
        return page(
            request,
            "governance/policies/list.html",
            title="Who decides",
            model_admin=self,
            profile=Profile.objects.get(),
            profile_does=profiles.DOES,
            profile_waiting=waiting.get("policy:profile"),
            kinds=[
                {"kind": kind, "does": DOES[kind], "sentences": told[kind],
                 "waiting": waiting.get(f"policy:kind:{kind}")}
                for kind in Kind
            ],
            layers=[
                {"layer": one, "waiting": waiting.get(f"policy:layer:{one.pk}"),
                 "crossings": _crossings(one, waiting)}
                for one in layers
            ],
            empty=[name for name, people in held if not people and name in needed],
            may_ask=permissions.may(permissions.change_policies(by=request.user)),
        )  # fmt: skip

    # -- asking for another one

    def kind_view(self, request, kind):
        if kind not in Kind.values:
            raise Http404("There is no such kind of request.")
        rows = policies.rows_of(kind)
        return self._form(
            request,
            template="governance/policies/kind.html",
            title=f"Who decides: {Kind(kind).label}",
            key=f"policy:kind:{kind}",
            proposal=lambda: policies.for_kind(kind, _typed_rows(request.POST, kind)),
            kind=Kind(kind),
            does=DOES[kind],
            now=policies.told()[kind],
            roles=[role for role in ROLES if role not in NEVER],
            rows=lambda waiting: _shown_rows(request.POST, waiting, rows),
        )

    def profile_view(self, request):
        rows = {name: [(kind, _said(name, kind)) for kind in Kind] for name in profiles.PROFILES}
        return self._form(
            request,
            template="governance/policies/profile.html",
            title="Governance profile",
            key="policy:profile",
            proposal=lambda: policies.for_profile(request.POST.get("name", "")),
            profile=Profile.objects.get(),
            profiles=[{"name": name, "label": Profile.Name(name).label, "does": profiles.DOES[name], "rows": rows[name]}
                      for name in profiles.PROFILES],
            chosen=lambda waiting: request.POST.get("name") or (waiting.content["name"] if waiting else Profile.objects.get().name),
        )  # fmt: skip

    def crossing_view(self, request, layer, direction):
        layer = self._layer(layer)
        if direction not in CrossingPolicy.Direction.values:
            raise Http404("Tier changes go up or down.")
        now = crossings.policies(layer)[direction]
        return self._form(
            request,
            template="governance/policies/crossing.html",
            title=f"{layer}, changes {direction}",
            key=f"policy:crossing:{layer.pk}:{direction}",
            proposal=lambda: policies.for_crossing(layer, direction, _typed_crossing(request.POST)),
            layer=layer,
            direction=CrossingPolicy.Direction(direction).label.lower(),
            now=policies.crossing_sentences(now),
            fields=lambda waiting: _shown_crossing(request.POST, waiting, now),
        )

    def layer_view(self, request, layer):
        layer = self._layer(layer)
        return self._form(
            request,
            template="governance/policies/layer.html",
            title=f"{layer}: how it applies",
            key=f"policy:layer:{layer.pk}",
            proposal=lambda: policies.for_layer(layer, _typed_layer(request.POST, layer)),
            layer=layer,
            choices=Layer.Policy.choices,
            values=(
                values := lambda waiting: (
                    _typed_layer(request.POST, layer)
                    if request.method == "POST"
                    else waiting.content["values"]
                    if waiting
                    else policies.of_layer(layer)
                )
            ),
            places=lambda waiting: _places(layer, values(waiting)["order"]),
        )

    def _form(self, request, *, template, title, key, proposal, **context):
        """One form that asks for a policy, or changes the open request for it; what it shows may depend on that request."""
        if not self.has_view_permission(request) or permissions.change_policies(by=request.user):
            raise PermissionDenied
        waiting, refusal = self._waiting(key), ""
        if request.method == "POST":
            try:
                return self._ask(request, proposal(), waiting)
            except Refused as refused:
                refusal, waiting = str(refused), self._waiting(key)
        return page(
            request,
            template,
            title=title,
            model_admin=self,
            original=title,
            waiting=waiting,
            seen=approvals.token(waiting) if waiting else "",
            why=request.POST.get("why", waiting.why if waiting else ""),
            refusal=refusal,
            status=409 if refusal else 200,
            **{name: one(waiting) if callable(one) and not isinstance(one, type) else one for name, one in context.items()},
        )  # fmt: skip

    def _waiting(self, key):
        return ApprovalRequest.objects.open().filter(kind=Kind.POLICY, key=key).first()

    def _ask(self, request, proposal, waiting):
        why = request.POST.get("why", "")
        if waiting:
            seen = request.POST.get("seen", "")
            asked = policies.change(waiting, by=request.user, seen=seen, proposal=proposal, why=why)
        else:
            asked = policies.ask(proposal, by=request.user, why=why)
        return answered(request, asked, reverse(LIST))

    def _layer(self, pk):
        found = Layer.objects.filter(pk=pk).first()
        if found is None:
            raise Http404("There is no such segmentation.")
        return found


def _said(name, kind):
    rows = [row for row in profiles.PROFILES[name] if row.kind == kind] or [profiles.Row(kind)]
    return [policies.sentence(row) for row in rows]


def _crossings(layer, waiting):
    if layer.policy != Layer.Policy.APPROVAL:
        return []
    return [
        {
            "direction": direction,
            "label": CrossingPolicy.Direction(direction).label.lower(),
            "sentences": policies.crossing_sentences(policy),
            "waiting": waiting.get(f"policy:crossing:{layer.pk}:{direction}"),
        }
        for direction, policy in crossings.policies(layer).items()
    ]


# -- what was typed

COLUMNS = (
    "role",
    "approvals",
    "min_accounts",
    "min_arr",
    "min_csm_changes",
    "top_tier",
    "due_days",
    "expire_days",
)


def _typed_rows(sent, kind):
    """The rows of the form as profiles.Row; a row without a role is left out."""
    found = []
    for cells in _cells(sent):
        if not cells["role"]:
            continue
        found.append(
            profiles.Row(
                kind,
                role=cells["role"],
                approvals=_whole(cells["approvals"], "Approvals needed", otherwise=1, most=20),
                min_accounts=_whole(cells["min_accounts"], "Accounts", most=10**9),
                min_arr=policies.number(cells["min_arr"], "ARR", decimal=True),
                min_csm_changes=_whole(cells["min_csm_changes"], "CSM changes", most=10**9),
                top_tier=cells["top_tier"] == "1",
                due_days=_whole(cells["due_days"], "Days to decide", otherwise=5, most=365),
                expire_days=_whole(cells["expire_days"], "Days until it expires", otherwise=30, most=365),
            )
        )
    return found


def _whole(text, what, *, most, otherwise=None):
    value = policies.number(text, what)
    if value is not None and value > most:
        raise Refused("number_too_large", what=what, most=most)
    return otherwise if value is None else value


def _cells(sent):
    columns = [sent.getlist(name) for name in COLUMNS]
    number = min(len(columns[0]), policies.MOST_ROWS + EMPTY_ROWS)
    return [
        {name: column[at] if at < len(column) else "" for name, column in zip(COLUMNS, columns, strict=True)}
        for at in range(number)
    ]


def _shown_rows(sent, waiting, rows):
    """The rows as the form shows them: what was typed, else what is asked for, else what holds; and empty ones."""
    if sent:
        shown = _cells(sent)
    elif waiting:
        shown = waiting.content["rows"]
    else:
        shown = [asdict(row) | {"min_arr": row.min_arr and f"{row.min_arr.normalize():f}"} for row in rows]
    shown = [{name: "" if value is None else value for name, value in row.items()} for row in shown]
    return shown + [dict.fromkeys(COLUMNS, "") for _ in range(EMPTY_ROWS)]


def _typed_crossing(sent):
    found = {}
    for name in policies.CROSSING:
        field = CrossingPolicy._meta.get_field(name)
        kind = field.get_internal_type()
        if kind == "BooleanField":
            found[name] = sent.get(name) == "1"
        else:
            label = str(field.verbose_name).capitalize()
            value = policies.number(sent.get(name), label, decimal=kind == "DecimalField")
            if value is None or value > 10_000:
                raise Refused("crossing_number_unreadable", what=label)
            found[name] = value
    return found


def _shown_crossing(sent, waiting, now):
    """What the form of a crossing policy shows, a row for each column."""
    values = waiting.content["values"] if waiting else policies.crossing_values(now)
    rows = []
    for name in policies.CROSSING:
        field = CrossingPolicy._meta.get_field(name)
        flag = field.get_internal_type() == "BooleanField"
        value = values[name]
        if sent:
            value = sent.get(name) == "1" if flag else sent.get(name, "")
        label = str(field.verbose_name)
        rows.append(
            {"name": name, "label": label[:1].upper() + label[1:], "flag": flag, "value": value,
             "help": CROSSING_HELP.get(name) or field.help_text}
        )  # fmt: skip
    return rows


def _typed_layer(sent, layer):
    return {
        "policy": sent.get("policy", ""),
        "plan_provisional_downgrades": sent.get("plan_provisional_downgrades") == "1",
        "primary": sent.get("primary") == "1",
        "order": _typed_order(sent, policies.of_layer(layer)["order"]),
    }


def _typed_order(sent, before):
    """The keys by their places: one that was moved comes before who has that place already, or after it on the way down."""

    def place(key):
        typed, now = sent.get(f"place-{key}", ""), before.index(key) + 1
        wanted = int(typed) if typed.isdecimal() and len(typed) < 9 else now
        return wanted, (wanted > now) - (wanted < now)

    return sorted(before, key=place)


def _places(layer, order):
    """[{"segment", "place"}], the top one first."""
    known = {one.key: one for one in layer.segments.all()}
    found = [known[key] for key in order if key in known]
    return [{"segment": one, "place": place} for place, one in enumerate(found, start=1)]
