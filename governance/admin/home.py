"""Sign-off on home: what waits for this person, their accounts, and what was decided since yesterday."""

from django.urls import reverse
from django.utils import timezone

from core.wording import plural
from governance.reading import home

TRIAGE = "admin:governance_transition_triage"
BOARD = "admin:governance_transition_board"


def part(request):
    """A part of home; see settings.HOME_PARTS. The same number of queries for any number of rows."""
    user, now = request.user, timezone.now()
    waiting = home.waiting(user, at=now)
    csm = getattr(user, "csm", None)
    return {
        "template": "governance/home/waiting.html",
        "step": home.step(waiting),
        "waiting": waiting,
        "own": home.own(csm, at=now) if csm else None,
        "recorded": home.recorded(at=now) if _audits(user) else None,
    }


def run_part(request, run):
    """The tier changes to decide after a recalculation; see settings.RUN_PAGE_PARTS. One query."""
    if not request.user.has_perm("governance.view_transition"):
        return []
    plans = request.user.has_perm("governance.plan_transition")
    page, button = (TRIAGE, "Triage") if plans else (BOARD, "Open the board")
    return [
        {
            "text": f"{plural(number, 'tier change waits,tier changes wait')} for triage on {name}",
            "help": _by_run(by_run, number),
            "url": f"{reverse(page)}?layer={key}",
            "button": button,
        }
        for key, name, number, by_run in home.after_run(run)
    ]


def _by_run(by_run, number):
    if by_run == number:
        return "Flagged, or brought up to date, by this recalculation."
    if not by_run:
        return "Flagged by earlier recalculations; this one added none."
    return f"{by_run:,} of them flagged, or brought up to date, by this recalculation."


def _audits(user):
    """Sees the audit trail, and has no work of planning that is more pressing."""
    return user.has_perm("governance.view_audit") and not user.has_perm("governance.plan_transition")
