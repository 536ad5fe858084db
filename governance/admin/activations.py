"""Rules are sent for approval: what changes, the checks, the impact preview and who decides, on one page."""

from decimal import Decimal

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from accounts import history
from accounts.admin.governed import page
from core import wording
from core.refusals import Refused
from governance import activations, approvals, permissions
from governance.models import ApprovalRequest, Kind
from segmentation import impact, simulation, versions
from segmentation.models import Definition, Simulation

REQUEST = "admin:governance_approvalrequest_change"
RULES = "admin:segmentation_definition_change"


def ask_view(request, pk):
    """What would be asked for; the POST asks. Rules that wait already lead to their request."""
    if not request.user.has_perm("segmentation.change_definition"):
        raise PermissionDenied
    one = Definition.objects.select_related("layer").filter(pk=pk).first()
    if one is None:
        raise Http404("There is no such version.")
    if one.status != Definition.Status.DRAFT:
        return _elsewhere(request, one)
    chosen, reason, refusal = _chosen(request, one), request.POST.get("reason", "").strip(), ""
    if request.method == "POST":
        try:
            seen = request.POST.get("seen", "")
            asked = activations.ask(one, by=request.user, why=reason, simulation=chosen, seen=seen)
        except Refused as refused:
            refusal = str(refused)
            one.refresh_from_db()
        else:
            return _told(request, one, asked)
    return _page(request, one, chosen or activations.preview_of(one), reason, refusal)


def _page(request, one, preview, reason, refusal):
    problems = versions.problems(one)
    active = one.layer.definitions.filter(status=Definition.Status.ACTIVE).first()
    previous = activations.request_of(one)
    return page(
        request,
        "governance/approvals/ask_rules.html",
        title="Send for approval",
        model_admin=admin.site._registry[Definition],
        original=one,
        definition=one,
        active=active,
        changes=() if problems else activations.changes(one),
        problems=problems,
        preview=preview,
        told=impact.told(preview.result) if preview else None,
        running=None
        if preview
        else one.layer.simulations.filter(definition_id=one.pk, status="running").first(),
        may_preview=simulation.may(request.user),
        asked_before=previous if previous and previous.is_open else None,
        deciders="" if problems else _deciders(one, request.user),
        reason=reason or (previous.why if previous and previous.is_open else ""),
        refusal=refusal,
        status=409 if refusal else 200,
    )


def _chosen(request, one):
    """The impact preview of the address or the form; None where it names none of this segmentation."""
    key = request.POST.get("simulation") or request.GET.get("simulation", "")
    known = Simulation.objects.filter(layer=one.layer_id, status=Simulation.Status.FINISHED)
    return known.filter(pk=int(key)).first() if key.isdecimal() and len(key) < 19 else None


def _elsewhere(request, one):
    """To the request where one is open, else to the rules, which are no draft any more."""
    asked = activations.request_of(one)
    if asked and asked.is_open:
        return HttpResponseRedirect(reverse(REQUEST, args=[asked.pk]))
    messages.warning(request, f"{one} is {one.get_status_display().lower()} already, no draft any more.")
    return HttpResponseRedirect(reverse(RULES, args=[one.pk]))


def _told(request, one, asked):
    """After asking: what came of it, and the page of the next step."""
    if asked.status == ApprovalRequest.Status.APPLIED:
        messages.success(request, _activated(request.user, one))
        return HttpResponseRedirect(reverse("admin:segmentation_definition_changelist"))
    if asked.status == ApprovalRequest.Status.FAILED:
        messages.error(request, f"It could not be carried out: {asked.failure}")
    else:
        messages.success(
            request, f"Sent for approval to {_needed(asked.needed)}. Nothing changes until then."
        )
    return HttpResponseRedirect(reverse(REQUEST, args=[asked.pk]))


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
    """Who will have to say yes, as `1 × Approver and 1 × Finance`; "" where nobody and it applies at once."""
    impact = activations.impact_of(one)
    needed, *_ = approvals.requirement(Kind.DEFINITION, impact, by=user)
    return _needed(needed)


def _most(user):
    """Who decides about the largest change there could be: nobody only where nobody ever does."""
    most = approvals.Impact(accounts=10**9, arr=Decimal(10**15), csm_changes=10**9, top_tier=True)
    return approvals.requirement(Kind.DEFINITION, most, by=user)[0]


def on_rules_page(one, *, user):
    """What the page of the rules says about their approval, for segmentation (the gate `rules_page`).

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
    parts = ", ".join(f"{part.given} of {part.needed} {part.role}" for part in approvals.standing(asked))
    said = f"{asked.get_status_display()} since {wording.day(asked.requested_at)}: {parts}. Asked for by {history.who(asked, 'requester')}."
    text = "Decide" if permissions.may(permissions.decide(asked, by=user)) else "See the request"
    return {"send": send, "said": said, "link": (text, link)}
