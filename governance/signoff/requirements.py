"""The approvals a request needs by the policies there are and by how far it reaches, now or at any time it was counted."""

import json

from django.db import connection

from core.refusals import Refused
from core.wording import listed
from governance.signoff import kinds
from governance.signoff.impact import in_words, stored
from segmentation.evaluation import causes
from segmentation.models import Cause

# Advisory lock: held shared by who asks, alone by who changes a policy; the guards take it too.
POLICIES = 18116683


def requirement(kind, counted, *, by=None):
    """({role: approvals}, days until due, days until it expires) for a request of this kind and Impact.

    By the policies there are, as the database itself works it out (demarc_required, which holds every request to it). by:
    the id of who asks.
    """
    arr = max(counted.arr, counted.of_late)
    figures = [counted.accounts, arr, counted.csm_changes, counted.top_tier, counted.foreign]
    with connection.cursor() as cursor:
        cursor.execute(
            "select needed, due_days, expire_days from demarc_required(%s, %s, %s, %s, %s, %s, %s)",
            [str(kind), *figures, by],
        )
        needed, due_days, expire_days = cursor.fetchone()
    return stricter(json.loads(needed), dict.fromkeys(counted.roles, 1)), due_days, expire_days


def stricter(needed, other):
    """The higher number of each role."""
    return {role: max(needed.get(role, 0), other.get(role, 0)) for role in sorted({*needed, *other})}


def hold_policies(kind):
    """Keep policies as they are until the end of the transaction; a kind that sets them waits for all others."""
    shared = "" if kinds.KINDS[kind].sets_policies else "_shared"
    with connection.cursor() as cursor:
        cursor.execute(f"select pg_advisory_xact_lock{shared}(%s)", [POLICIES])


def measure(request, when, at):
    """Count what it reaches as of today. Where that is more than was counted before, it needs what that needs.

    Returns why it needs more from now on, as a sentence; "" where it does not. A request that cannot be counted cannot be
    carried out either, which will say why.
    """
    try:
        now, highest, needed = needed_now(request)
    except Refused:
        return ""
    entry = now.measured(when, at)
    before = (request.measured, request.owners, request.needed)
    if {**request.measured[-1], "when": when, "at": entry["at"]} != entry:
        request.measured = [*request.measured, entry]
    for name, value in highest.figures().items():
        setattr(request, name, value)
    request.owners = sorted({*request.owners, *now.owners})
    grown = outgrown(request, entry, needed)
    request.needed = needed
    if before != (request.measured, request.owners, request.needed):
        causes.take(Cause.Kind.DECISION, reason=request.why)
        request.save()
    return grown


def needed_now(request):
    """(the Impact counted now, the highest of all that was counted, {role: approvals} it needs by that)."""
    now = kinds.of(request).verbs().impact(request)
    highest = now.at_least(stored(request))
    return now, highest, stricter(request.needed, requirement(request.kind, highest)[0])


def outgrown(request, entry, needed):
    """Both counts, and who has to approve it besides by the later one, as a sentence; "" where nobody has to.

    entry: of `measured`, what is counted now. needed: {role: approvals} by that.
    """
    roles = [role for role, number in needed.items() if number > request.needed.get(role, 0)]
    if not roles:
        return ""
    counts = [count for count in request.measured if count["at"] != entry["at"]]
    return f"{'; '.join(in_words(count) for count in [*counts[-1:], entry])}. By that {listed(roles)} has a say too."
