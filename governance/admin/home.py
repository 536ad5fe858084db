"""What sign-off says on home: what waits for this person, their accounts, and what was decided since yesterday."""

from django.utils import timezone

from governance import home


def part(request):
    """A part of home; see settings.HOME_PARTS. The same number of queries for any number of rows."""
    user, now = request.user, timezone.now()
    waiting = home.waiting(user, at=now)
    csm = getattr(user, "csm", None)
    return {
        "template": "demarc/home_waiting.html",
        "step": home.step(waiting),
        "waiting": waiting,
        "own": home.own(csm, at=now) if csm else None,
        "recorded": home.recorded(at=now) if _audits(user) else None,
    }


def _audits(user):
    """Sees the audit trail, and has no work of planning that is more pressing."""
    return user.has_perm("governance.view_audit") and not user.has_perm("governance.plan_transition")
