"""Rules are sent for approval: what changes, the checks, the impact preview and who decides, on one page."""

from decimal import Decimal

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.urls import reverse
from django.utils.html import format_html

from accounts.admin.fields import Text, number
from accounts.admin.verbs import VerbForm, VerbPage, row
from accounts.revenue import renewals
from core import history, wording
from governance.changes import activations
from governance.models import ApprovalRequest
from governance.signoff import inbox, permissions
from governance.signoff.impact import Impact
from governance.signoff.requirements import requirement
from segmentation.admin.simulations import named
from segmentation.authoring import versions
from segmentation.models import Definition, Simulation
from segmentation.previews import impact, simulation

from . import sections

LARGEST = 20  # accounts named that get another segment
REQUEST = "admin:governance_approvalrequest_change"
RULES = "admin:segmentation_definition_change"


class AskForm(VerbForm):
    reason = Text(rows=4, needed=True, help="Whoever decides reads it. It is kept with the version, for everybody who asks later.")  # fmt: skip

    def start(self):
        before = activations.request_of(self.thing)
        return {"reason": before.why if before and before.is_open else ""}

    def carry_out(self):
        arguments = {"why": self.cleaned_data["reason"], "simulation": self.page.chosen, "seen": self.seen}
        return _next_step(self.page.request, self.thing, activations.ask(self.thing, by=self.by, **arguments))


class AskPage(VerbPage):
    """The request that would be made. Rules that wait already lead to their request."""

    title = "Send for approval"
    template = "governance/approvals/ask_rules.html"
    verbs = {"ask": AskForm}

    def load(self, pk):
        if not self.request.user.has_perm("segmentation.change_definition"):
            raise PermissionDenied
        definition = row(Definition.objects.select_related("layer"), pk, "version")
        finished = Simulation.objects.filter(layer=definition.layer_id, status=Simulation.Status.FINISHED)
        self.chosen = finished.filter(pk=number(self.sent("simulation"))).first()
        return definition

    def elsewhere(self):
        """To the request where one is open, else to the rules, which are no draft any more."""
        definition = self.thing
        if definition.status == Definition.Status.DRAFT:
            return ""
        approval_request = activations.request_of(definition)
        if approval_request and approval_request.is_open:
            return reverse(REQUEST, args=[approval_request.pk])
        text = f"{definition} is {definition.get_status_display().lower()} already, no draft any more."
        messages.warning(self.request, text)
        return reverse(RULES, args=[definition.pk])

    def token(self):
        return self.thing.hash

    def context(self):
        definition, user = self.thing, self.request.user
        problems, previous = versions.problems(definition), activations.request_of(definition)
        preview = self.chosen or activations.preview_of(definition)
        running = definition.layer.simulations.filter(definition_id=definition.pk, status="running")
        return {
            "original": definition,
            "definition": definition,
            "active": definition.layer.definitions.filter(status=Definition.Status.ACTIVE).first(),
            "changes": () if problems else activations.changes(definition),
            "problems": problems,
            "preview": preview,
            "told": impact.numbers(preview.result) if preview else None,
            "running": None if preview else running.first(),
            "may_preview": simulation.may(user),
            "asked_before": previous if previous and previous.is_open else None,
            "deciders": "" if problems else _deciders(definition, user),
        }


def ask_view(request, pk):
    return AskPage.as_view(admin=admin.site._registry[Definition])(request, pk=pk)


def _next_step(request, definition, approval_request):
    """Say what came of it; the address of the next step."""
    if approval_request.status == ApprovalRequest.Status.APPLIED:
        messages.success(request, _activated(request.user, definition))
        return reverse("admin:segmentation_definition_changelist")
    if approval_request.status == ApprovalRequest.Status.FAILED:
        messages.error(request, f"It could not be carried out: {approval_request.failure}")
    else:
        messages.success(
            request, f"Sent for approval to {_needed(approval_request.needed)}. Nothing changes until then."
        )
    return reverse(REQUEST, args=[approval_request.pk])


def _activated(user, definition):
    """The sentence after an activation, with the next step for those who may take it."""
    sentence = f"{definition.layer}: version {definition.version} is active. Nothing has changed for any account yet."
    if not user.has_perm("segmentation.recompute_layer"):
        return f"{sentence} The next recalculation applies it."
    link = reverse("admin:segmentation_run_start")
    return format_html(
        '{} <a href="{}" style="text-decoration:underline">Recalculate now</a>', sentence, link
    )


def _needed(needed):
    return " and ".join(f"{number} × {role}" for role, number in sorted(needed.items()))


def _deciders(definition, user):
    """The roles that have to say yes, as `1 × Approver and 1 × Finance`; "" where none has to and it applies at once."""
    needed, *_ = requirement(activations.KIND, activations.impact_of(definition), by=user.pk)
    return _needed(needed)


def _most(user):
    """The roles that decide about the largest change there could be: none only where none ever does."""
    most = Impact(accounts=10**9, arr=Decimal(10**15), csm_changes=10**9, top_tier=True)
    return requirement(activations.KIND, most, by=user.pk)[0]


def on_rules_page(definition, *, user):
    """Say on the page of the rules how far their approval is, for segmentation (the gate `rules_page`).

    {send: what the button says}; with an open request also said: how far it is, in a sentence, and link: (text, URL);
    with an ended one past: (text, URL).
    """
    send = "send for approval" if _needed(_most(user)) else "activate"
    request = activations.request_of(definition)
    may_see = request and (user.has_perm("governance.view_approvalrequest") or request.requester == user.pk)
    if not may_see:
        return {"send": send}
    link = reverse(REQUEST, args=[request.pk])
    if request.status == ApprovalRequest.Status.CHANGES_ASKED:
        no = request.decisions.filter(verdict="ask").last()
        how_far = f"{history.who(no, 'by')} asked for changes: “{no.reason}”"
        return {"send": send, "said": how_far, "link": ("See the request", link)}
    if not request.is_open:
        return {"send": send, "past": ("How it was decided", link)}
    parts = ", ".join(f"{part.given} of {part.needed} {part.role}" for part in inbox.standing(request))
    how_far = f"{request.get_status_display()} since {wording.day(request.requested_at)}: {parts}. Asked for by {history.who(request, 'requester')}."
    text = "Decide" if permissions.may(permissions.decide(request, by=user)) else "See the request"
    return {"send": send, "said": how_far, "link": (text, link)}


# -- on the page of its request


def _on_request_page(request):
    """The warnings acknowledged with these rules, and the largest accounts that get another segment, for whoever decides."""
    definition = Definition.objects.filter(pk=request.content["definition"]).select_related("layer").first()
    return {
        "definition": definition,
        "acknowledged": definition.acknowledgements.order_by("pk") if definition else [],
        "movers": _largest(request.simulation) if request.simulation and request.simulation.result else [],
    }


def _largest(preview):
    """The accounts that get another segment by these rules, the most ARR first, with their renewal."""
    movers = named(preview, simulation.movers(preview, which="changed", limit=LARGEST))
    due = renewals([row["account"] for row in movers], preview.as_of)
    return [row | {"renewal": due.get(row["account"], (None,))[0]} for row in movers]


sections.SECTIONS[activations.KIND] = sections.Section("governance/approvals/rules.html", _on_request_page)
