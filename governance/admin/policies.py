"""The policies in plain words: who decides, each with the way to the form that asks for another one."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q
from django.http import HttpResponseRedirect
from django.urls import path

from accounts.admin.governed import ByVerbs, GovernedAdmin, page
from governance.models import ApprovalPolicy, ApprovalRequest, CrossingPolicy, Profile
from governance.signoff import crossing_policies, permissions, policies, profiles
from governance.signoff.kinds import KINDS
from governance.signoff.roles import ROLES
from segmentation.models import Layer

from .policy_pages import CrossingPage, KindPage, LayerPage, ProfilePage


@admin.register(ApprovalPolicy)
class ApprovalPolicyAdmin(ByVerbs, GovernedAdmin):
    """One page for all policies; nothing is written here but requests."""

    def get_urls(self):
        wrap, name = self.admin_site.admin_view, "governance_approvalpolicy_{}".format
        return [
            path("profile/", wrap(ProfilePage.as_view(admin=self)), name=name("profile")),
            path("kind/<slug:kind>/", wrap(KindPage.as_view(admin=self)), name=name("kind")),
            path(
                "crossing/<int:layer>/<slug:direction>/",
                wrap(CrossingPage.as_view(admin=self)),
                name=name("crossing"),
            ),
            path("layer/<int:layer>/", wrap(LayerPage.as_view(admin=self)), name=name("layer")),
            *super().get_urls(),
        ]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        return HttpResponseRedirect(self._address("changelist"))

    # -- what holds

    def changelist_view(self, request, extra_context=None):
        if not self.has_view_permission(request):
            raise PermissionDenied
        waiting = {
            approval_request.key: approval_request
            for approval_request in ApprovalRequest.objects.open().filter(kind=policies.KIND)
        }
        layers = list(Layer.objects.prefetch_related("crossing_policies"))
        active = Q(user__is_active=True)
        held = ApprovalPolicy.role.field.related_model.objects.filter(name__in=ROLES)
        held = held.annotate(people=Count("user", filter=active)).order_by("name")
        held = held.values_list("name", "people")
        sentences, needed = policies.sentences_by_kind(), policies.roles_needed()
        return page(
            request,
            "governance/policies/list.html",
            title="Who decides",
            model_admin=self,
            profile=Profile.objects.get(),
            profile_does=profiles.DOES,
            profile_waiting=waiting.get("policy:profile"),
            kinds=[
                {"kind": kind, "needs": needs, "sentences": sentences[kind],
                 "waiting": waiting.get(f"policy:kind:{kind}")}
                for kind, needs in KINDS.items()
            ],
            layers=[
                {"layer": layer, "waiting": waiting.get(f"policy:layer:{layer.pk}"),
                 "crossings": _crossings(layer, waiting)}
                for layer in layers
            ],
            empty=[name for name, people in held if not people and name in needed],
            may_ask=permissions.may(permissions.change_policies(by=request.user)),
        )  # fmt: skip


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
        for direction, policy in crossing_policies.in_both_directions(layer).items()
    ]
