"""The triggers that keep governance's promises; checked at start-up with those of the other apps (segmentation.guards)."""

from segmentation.guards import APPEND_ONLY

CAUSED = ("demarc_caused_write", "demarc_no_truncate")  # written, inserted and deleted only with a cause
TRIGGERS = {
    "governance_approvalrequest": ("demarc_guard_request", *CAUSED),
    "governance_decision": ("demarc_guard_decision", "demarc_guard_owners", *APPEND_ONLY),
    "governance_comment": APPEND_ONLY,
    "governance_event": ("demarc_outbox", *APPEND_ONLY),
    "governance_transition": ("demarc_guard_transition", "demarc_caused_update", *CAUSED),
    "governance_override": ("demarc_guard_override", *CAUSED),
    "governance_profile": CAUSED,
    "governance_approvalpolicy": CAUSED,
    "governance_crossingpolicy": CAUSED,
    "governance_delegation": CAUSED,
    "segmentation_move": ("demarc_event_of_move",),
    "auth_user": ("demarc_superuser", "demarc_reopened"),
    "auth_user_groups": ("demarc_caused_write",),
    "auth_user_user_permissions": ("demarc_caused_write",),
    "auth_group": ("demarc_renamed",),
    "auth_group_permissions": ("demarc_caused_write",),
}
