"""Rules become active by an approved request: the version is in review while it waits, and a draft again for changes.

Stands at the gate `rules` of segmentation.authoring.versions: a version is handed in, taken back, rejected and activated only here.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal

from django.db.models import Func, TextField
from django.utils import timezone

from accounts import catalogue
from core import history, pages
from core.history import acting
from core.refusals import Refused, verb
from governance.models import ApprovalRequest
from governance.signoff import approvals
from governance.signoff.impact import Impact
from segmentation.authoring import versions
from segmentation.models import Definition, Segment, Simulation
from segmentation.previews import impact as moves
from segmentation.previews import simulation as preview
from segmentation.rules import comparison, definitions
from segmentation.rules.document import DocumentErrors

KIND = "definition"
_at_work = ContextVar("at_work", default=None)  # (verb, id of the version) that is carried out just now


@verb
def ask(definition, *, by, why, simulation=None, seen=None):
    """Send a draft for approval: it is in review from now on. Returns the ApprovalRequest; active at once where nobody has
    to approve it.

    simulation: the impact preview to attach, of exactly these rules; the newest one there is when not given. It is frozen.
    seen: the hash of the document that person was looking at. After changes were asked for it is the same request.
    """
    open_requests = ApprovalRequest.objects.open().filter(kind=KIND, key=_key(definition.pk))
    request = open_requests.select_for_update().first()  # before the rules, as whoever decides it does
    with acting(by=by, reason=why):
        with _allowed("submit", definition.pk):
            definition = versions.submit(definition, by=by, reason=why, seen=seen)
        if warnings := versions.examine(definition).unacknowledged:
            raise Refused("warnings_unanswered", warnings=[warning.message for warning in warnings])
        attached = _frozen(definition, simulation, by=by)
        what = {
            "content": {
                "definition": definition.pk,
                "hash": definition.hash,
                "version": definition.version,
                "rules": _fingerprint(definition),
            },
            "changes": changes(definition),
            "impact": impact_of(definition),
            "simulation": attached,
            "authors": authors(definition),
        }
        if request is None:
            subject = f"{definition.layer}: version {definition.version} of the rules"
            return approvals.submit(KIND, key=_key(definition.pk), subject=subject, why=why, by=by, **what)
        seen = approvals.token(request)
        if request.status == "changes_asked" and request.content == what["content"]:
            return approvals.resubmit(request, by=by, seen=seen)
        return approvals.edit(request, by=by, seen=seen, why=why, **what)


def changes(definition):
    """Say what becomes different with these rules; of first rules all that they say."""
    active = definition.layer.definitions.filter(status=Definition.Status.ACTIVE).first()
    names = versions.labels(definition.layer)
    difference = comparison.compare(active.document if active else {}, definition.document, names=names)
    if active is None:
        return [f"{definition.layer} gets its first rules.", *difference.sentences]
    return list(difference.sentences) or ["These rules say the same as the active ones."]


def authors(definition):
    """Ids of those who wrote these rules; sending them back and forth writes nothing."""
    users, before = set(), None
    for status, hash, user in definition.history.order_by("history_id").values_list(
        "status", "hash", "history_user_id"
    ):
        if status == Definition.Status.DRAFT and hash != before:
            users.add(user)
        before = hash
    return users


def _fingerprint(definition):
    """The SHA-256 of what the rules say, as the database works it out when they become active."""
    worked_out = Func("document", function="demarc_fingerprint", output_field=TextField())
    return Definition.objects.values_list(worked_out, flat=True).get(pk=definition.pk)


def preview_of(definition):
    """The newest impact preview of exactly these rules, which would be attached; None where there is none."""
    previews = Simulation.objects.filter(layer=definition.layer_id, status=Simulation.Status.FINISHED)
    return previews.filter(hash=_hash(definition)).order_by("-id").first()


def _hash(definition):
    """The hash of the document as it would be activated, which is what previews keep."""
    try:
        return definitions.parse(definition.document, types=catalogue.TYPES).hash
    except DocumentErrors:  # unfinished: nothing was previewed
        return ""


def _frozen(definition, chosen, *, by):
    simulation = chosen or preview_of(definition)
    if simulation is None:
        return None
    if (simulation.layer_id, simulation.hash) != (definition.layer_id, definition.hash):
        raise Refused("preview_of_other_rules")
    if simulation.frozen_at:
        return simulation
    return preview.freeze(simulation, by=by, note=f"Attached to the request for version {definition.version}")


def impact_of(definition):
    """The Impact of activating this version today, whatever was previewed: counted here and now.

    It counts accounts for which these rules say another segment than those in use, and that no override pins.
    Nobody is left out as CSM: rules are about all accounts, not about somebody's.
    """
    first = Segment.objects.filter(layer=definition.layer_id).order_by("position", "key").first()
    counts = preview.count(definition, timezone.localdate())
    moved = moves.reach(counts)
    return Impact(
        accounts=sum(row["accounts"] for row in moved),
        arr=sum((Decimal(row["arr"]) for row in moved), Decimal(0)),
        top_tier=any(first and first.key in (row["from"], row["to"]) for row in moved),
        foreign=any(row["other_currency"] for row in moved),
    )


def request_of(definition):
    """The latest request about this version; None where nobody has asked."""
    requests = ApprovalRequest.objects.filter(kind=KIND, key=_key(definition.pk))
    return requests.order_by("-pk").first()


def _key(pk):
    return f"definition:{pk}"


# -- what approvals calls


def impact(request):
    definition = _version(request)
    return impact_of(definition) if definition else Impact()


def carry_out(request, *, by, at):
    """Activate exactly what was approved."""
    definition = _version(request)
    if definition is None:
        raise Refused("definition_discarded")
    with _allowed("activate", definition.pk):
        versions.activate(definition, by=by, reason=request.why, seen=request.content["hash"])


def decided_against(request, *, verdict, by, reason):
    """Rejected rules stay readable; otherwise they are a draft again."""
    definition = _version(request)
    if definition is None or definition.status != Definition.Status.IN_REVIEW:
        return
    step = "reject" if verdict == "reject" else "withdraw"
    with _allowed(step, definition.pk):
        getattr(versions, step)(definition, by=by, reason=reason)


def address(request):
    return pages.address("definition", request.content["definition"])


def _version(request):
    return Definition.objects.filter(pk=request.content["definition"]).select_related("layer").first()


# -- the gate


def gate(verb, version, *, by):
    """True where a decided request takes this step; None where its requester does; Refused for everybody else."""
    if _at_work.get() == (verb, version.pk):
        return None if verb == "submit" else True
    open = ApprovalRequest.objects.open().filter(kind=KIND, key=_key(version.pk)).first()
    if open is not None:
        raise Refused(
            "definition_awaits_approval", version=version.version, requester=history.who(open, "requester")
        )
    raise Refused("activation_needs_approval")


@contextmanager
def _allowed(verb, pk):
    token = _at_work.set((verb, pk))
    try:
        yield
    finally:
        _at_work.reset(token)
