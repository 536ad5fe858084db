"""The API of sign-off: one file a resource. Whoever comes by a token reads here, asks and plans; people decide."""

from core.api.problems import forbids

from . import alerts, approval_requests, audit, events, overrides, transitions

__all__ = ["alerts", "approval_requests", "audit", "events", "overrides", "transitions"]

# Refusals that are about who asks, and no other state of things would help.
forbids(
    "absence_of_another",
    "alert_of_another_account",
    "comments_of_no_decider",
    "handover_of_others",
    "override_for_another_account",
    "program_decides_nothing",
    "request_about_you",
    "request_about_your_account",
    "request_edited_by_you",
    "request_needs_another_role",
    "request_of_another",
    "request_of_your_own",
    "requests_not_visible",
)
