"""Rules are sent for approval: what changes, the checks, the impact preview and who decides, on one page."""

from decimal import Decimal

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.urls import reverse
from django.utils.html import format_html

from accounts.admin.fields import Text, number
from accounts.admin.verbs import VerbForm, VerbPage, row
from core import history, wording
from governance.changes import activations
from governance.models import ApprovalRequest
from governance.signoff import inbox, permissions
from governance.signoff.impact import Impact
from governance.signoff.requirements import requirement
from segmentation.authoring import versions
from segmentation.models import Definition, Simulation
from segmentation.previews import impact, simulation

REQUEST = "admin:governance_approvalrequest_change"
RULES = "admin:segmentation_definition_change"


class AskForm(VerbForm):
    reason = Text(rows=4, needed=True, help="Whoever decides reads it. It is kept with the version, for everybody who asks later.")  # fmt: skip

    def start(self):
        before = activations.request_of(self.thing)
        return {"reason": before.why if before and before.is_open else ""}

    def carry_out(self):
        said = {"why": self.cleaned_data["reason"], "simulation": self.page.chosen, "seen": self.seen}
        return _told(self.page.request, self.thing, activations.ask(self.thing, by=self.by, **said))


class AskPage(VerbPage):
    """The request that would be made. Rules that wait already lead to their request."""

    title = "Send for approval"
    template = "governance/approvals/ask_rules.html"
    verbs = {"ask": AskForm}

    def load(self, pk):
        if not self.request.user.has_perm("segmentation.change_definition"):
            raise PermissionDenied
        one = row(Definition.objects.select_related("layer"), pk, "version")
        finished = Simulation.objects.filter(layer=one.layer_id, status=Simulation.Status.FINISHED)
        self.chosen = finished.filter(pk=number(self.sent("simulation"))).first()
        return one

    def elsewhere(self):
        """To the request where one is open, else to the rules, which are no draft any more."""
        one = self.thing
        if one.status == Definition.Status.DRAFT:
            return ""
        asked = activations.request_of(one)
        if asked and asked.is_open:
            return reverse(REQUEST, args=[asked.pk])
        said = f"{one} is {one.get_status_display().lower()} already, no draft any more."
        messages.warning(self.request, said)
        return reverse(RULES, args=[one.pk])

    def token(self):
        return self.thing.hash

    def context(self):
        one, user = self.thing, self.request.user
        problems, previous = versions.problems(one), activations.request_of(one)
        preview = self.chosen or activations.preview_of(one)
        running = one.layer.simulations.filter(definition_id=one.pk, status="running")
        return {
            "original": one,
            "definition": one,
            "active": one.layer.definitions.filter(status=Definition.Status.ACTIVE).first(),
            "changes": () if problems else activations.changes(one),
            "problems": problems,
            "preview": preview,
            "told": impact.told(preview.result) if preview else None,
            "running": None if preview else running.first(),
            "may_preview": simulation.may(user),
            "asked_before": previous if previous and previous.is_open else None,
            "deciders": "" if problems else _deciders(one, user),
        }


def ask_view(request, pk):
    return AskPage.as_view(admin=admin.site._registry[Definition])(request, pk=pk)


def _told(request, one, asked):
    """Say what came of it; the address of the next step."""
    if asked.status == ApprovalRequest.Status.APPLIED:
        messages.success(request, _activated(request.user, one))
        return reverse("admin:segmentation_definition_changelist")
    if asked.status == ApprovalRequest.Status.FAILED:
        messages.error(request, f"It could not be carried out: {asked.failure}")
    else:
        messages.success(
            request, f"Sent for approval to {_needed(asked.needed)}. Nothing changes until then."
        )
    return reverse(REQUEST, args=[asked.pk])


def _activated(user, one):
    """The sentence after an activation, with the next step for those who may take it."""
    said = f"{one.layer}: version {one.version} is active. Nothing has changed for any account yet."
    if not user.has_perm("segmentation.recompute_layer"):
        return f"{said} The next recalculation applies it."
    link = reverse("admin:segmentation_run_start")
    return format_html('{} <a href="{}" style="text-decoration:underline">Recalculate now</a>', said, link)


def _needed(needed):
    return " and ".join(f"{number} × {role}" for role, number in sorted(needed.items()))


def _deciders(one, user):
    """The roles that have to say yes, as `1 × Approver and 1 × Finance`; "" where none has to and it applies at once."""
    needed, *_ = requirement(activations.KIND, activations.impact_of(one), by=user.pk)
    return _needed(needed)


def _most(user):
    """The roles that decide about the largest change there could be: none only where none ever does."""
    most = Impact(accounts=10**9, arr=Decimal(10**15), csm_changes=10**9, top_tier=True)
    return requirement(activations.KIND, most, by=user.pk)[0]


def on_rules_page(one, *, user):
    """Say on the page of the rules how far their approval is, for segmentation (the gate `rules_page`).

    {send: what the button says}; with an open request also said: how far it is, in a sentence, and link: (text, URL);
    with an ended one past: (text, URL).
    """
    send = "send for approval" if _needed(_most(user)) else "activate"
    asked = activations.request_of(one)
    may_see = asked and (user.has_perm("governance.view_approvalrequest") or asked.requester == user.pk)
    if not may_see:
        return {"send": send}
    link = reverse(REQUEST, args=[asked.pk])
    if asked.status == ApprovalRequest.Status.CHANGES_ASKED:
        no = asked.decisions.filter(verdict="ask").last()
        said = f"{history.who(no, 'by')} asked for changes: “{no.reason}”"
        return {"send": send, "said": said, "link": ("See the request", link)}
    if not asked.is_open:
        return {"send": send, "past": ("How it was decided", link)}
    parts = ", ".join(f"{part.given} of {part.needed} {part.role}" for part in inbox.standing(asked))
    said = f"{asked.get_status_display()} since {wording.day(asked.requested_at)}: {parts}. Asked for by {history.who(asked, 'requester')}."
    text = "Decide" if permissions.may(permissions.decide(asked, by=user)) else "See the request"
    return {"send": send, "said": said, "link": (text, link)}
