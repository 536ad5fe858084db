"""Sentences people are told when something about sign-off, tier changes, overrides, policies and people is refused."""

from core.refusals import register
from core.wording import day, plural

NAMED = 5  # accounts named in a sentence
QUOTED = 3  # changes quoted in a sentence


# -- requests


def _request_edited(editor, edited_at, new, gone, same):
    """This request was edited since you opened it (by {editor}, {edited_at}). New: {new} No longer: {gone} Look at it again."""
    differences = [f"New: {_quoted(new)}" if new else "", f"No longer: {_quoted(gone)}" if gone else ""]
    if not new and not gone:
        differences = ["It was handed in again as it was." if same else "Its details, reason or evidence are different."]  # fmt: skip
    who = f"by {editor}, {day(edited_at)}" if edited_at else ""
    return " ".join(
        [
            f"This request was edited since you opened it ({who}).",
            *filter(None, differences),
            "Look at it again.",
        ]
    )


def _quoted(changes):
    more_changes = len(changes) - QUOTED
    more = f" and {plural(more_changes, 'more change,more changes')}" if more_changes > 0 else ""
    return " ".join(f"“{change}”" for change in changes[:QUOTED]) + more + "."


def _request_of_another(requester, step):
    """Only {requester} or CS Ops may {step} this request."""
    return f"Only {requester or 'who requested this'} or CS Ops may {step} this request."


def _import_failed(error, status):
    """Nothing was imported: {error}"""
    return error or f"Nothing was imported: {status.lower()}. Look at its page."


# -- tier changes


def _transition_ended_already(account, status, who):
    """The tier change of {account} is {status} already, by {who}."""
    return f"The tier change of {account} is {status.lower()} already{f', by {who}' if who else ''}."


def _transition_held(account, until, why):
    """The tier change of {account} is held until {until}: {why}."""
    return f"The tier change of {account} is held{f' until {day(until)}' if until else ''}: {why.lower()}."


def _handover_unfinished(lacking):
    """{lacking} Finish that first, or say why the hand-over is completed all the same."""
    return f"{' '.join(lacking)} Finish that first, or say why the hand-over is completed all the same."


# -- overrides


def _override_for_another_account(account, more):
    """You ask for overrides of the accounts you look after. {account} and {more} more is looked after by somebody else: ask CS Ops."""
    others = f" and {more} more" if more else ""
    return f"You ask for overrides of the accounts you look after. {account}{others} is looked after by somebody else: ask CS Ops."


def _override_needless(account, segment, active, policy):
    """{account}: the rules say {segment} already, so there is nothing to override."""
    instead = "It changes with the next recalculation."
    if active:
        instead = f"End the override to {active} instead."
    elif policy == "approval":
        instead = "Plan the tier change instead."
    return f"{account}: the rules say {segment} already, so there is nothing to override. {instead}"


def _overrides_impossible(obstacles):
    """{obstacles}"""
    unnamed = len(obstacles) - NAMED
    more = f" And {plural(unnamed, 'more account,more accounts')}." if unnamed > 0 else ""
    return " ".join(str(obstacle) for obstacle in obstacles[:NAMED]) + more


def _override_segment_moved(account, layer, now, then):
    """{account} is {now} on {layer} by now, not {then} as when this was asked: ask again."""
    return (
        f"{account} is {now or 'without a segment'} on {layer} by now, not {then or 'without one'} as when this was asked: "
        "ask again."
    )


# -- policies, conflicts


def _policy_invalid(messages):
    """{messages}"""
    return " ".join(messages)


def _conflict_decided_already(conflict, status, decider):
    """This was decided already: {conflict} ({status}, by {decider}). Nothing was changed."""
    who = f", by {decider}" if decider else ""
    return f"This was decided already: {conflict} ({status.lower()}{who}). Nothing was changed."


register({
    # what is asked for, and who decides
    "absent_has_decided": "Whoever you stand in for has decided this already.",
    "absent_has_part_in_request": "You stand in for somebody who has requested or edited this or looks after an account of it: somebody else in {roles:listed} has to decide.",
    "approved_for_less": "It reaches further than what was approved. {grown}",
    "approvals_do_not_count": "Not all who approved it may still decide.",
    "asked_changes_missing": "Say what has to change.",
    "comment_missing": "Write something first.",
    "comments_of_no_decider": "Auditors and integrations change nothing, and so write no comments.",
    "rejection_unexplained": "Say why you reject this: whoever asked reads it.",
    "request_about_you": "This request is about you, so you cannot decide it: somebody else in {roles:listed} has to.",
    "request_about_your_account": "You look after an account of this request as its CSM, so you cannot decide it: somebody else in {roles:listed} has to.",
    "request_applies_later": "This request is carried out on {apply_on:day}, not before.",
    "request_changed_in_the_same_moment": "Somebody else asked for this in the same moment. Open the page again and look.",
    "request_decided_by_you": "You have decided this already: {verdict:lower}.",
    "request_decided_in_your_place": "{who} has decided this in your place already.",
    "request_edited": _request_edited,
    "request_edited_by_you": "You wrote or edited what is asked for here, so you cannot decide it: somebody else in {roles:listed} has to.",
    "request_expired": "This request expired on {expires_at:day}. It has to be asked for again.",
    "request_needs_another_role": "This is decided by {roles:listed}, and you do not have that role.",
    "request_not_approved": "This request is {status:lower}: it cannot be carried out now.",
    "request_not_editable": "This request is {status:lower} and cannot be changed any more.",
    "request_not_narrowed": "Whoever decides may take something out of a request, but not change what is left of it.",
    "request_not_pending": "This request is {status:lower}: there is nothing to decide now.",
    "request_not_withdrawable": "This request is {status:lower} and cannot be withdrawn any more.",
    "request_of_another": _request_of_another,
    "request_of_your_own": "You cannot decide your own request: somebody else in {roles:listed} has to.",
    "request_open_already": "{requester} has asked for approval of this on {requested_at:day} already ({status:lower}). Edit or withdraw that request first.",
    "request_reason_missing": "Say why you ask for this.",
    "request_stale": "This is not the request as it is now. Open it again, then decide.",
    "request_text_unstorable": "The request contains a character that cannot be stored.",
    "request_unstorable": "The request contains something that cannot be stored.",
    "request_without_asked_changes": "This request is {status:lower}: nobody has asked for changes of it.",
    "requests_not_visible": "You are not allowed to see approval requests.",
    "role_has_approved": "{role} has approved this already; it waits for {missing:listed}.",
    "taking_out_unexplained": "Say why it is taken out.",
    "withdrawal_unexplained": "Say why it is withdrawn.",
    # rules, imports, data
    "acquisition_unanswered": "This may be an acquisition, so three answers are needed. {question}",
    "activation_needs_approval": "Rules become active by approval: send them for approval.",
    "audit_search_too_long": "This search takes too long. Narrow it: choose a kind of entry, or days.",
    "conflict_decided_already": _conflict_decided_already,
    "conflict_note_missing": "Say why: the note is kept for everybody who asks later.",
    "conflict_stale": "{conflict} has changed since you opened the page. Look at what is there now.",
    "conflicts_not_allowed": "You are not allowed to decide which value counts: CS Ops or RevOps does.",
    "declaration_for_another_account": "You propose values for the accounts you look after; {account} is looked after by somebody else: ask CS Ops.",
    "definition_awaits_approval": "Version {version} waits for approval, which {requester} has asked for. Decide that request, or withdraw it.",
    "definition_discarded": "These rules have been discarded. Withdraw this request.",
    "fact_not_reportable": "Only what segments stand on is reported here; other data are corrected.",
    "import_failed": _import_failed,
    "import_files_changed": "The files of the import are not those that were asked about. Upload them again.",
    "import_gone": "Nothing was imported: the import is gone.",
    "import_needs_approval": "Imports need an approval here. Upload it on the page Imports, and ask for approval once its preview is right.",
    "import_not_previewed": "Only an uploaded import whose preview is there can be asked for; this one is: {status}.",
    "import_rows_rejected_since": "Nothing was imported: by now some of its rows are rejected. Look at its page, then ask anew.",
    "import_under_way": "The import is being carried out already. Look at its page for what comes of it.",
    "imports_not_allowed": "You are not allowed to import accounts.",
    "preview_of_other_rules": "This impact preview is of other rules. Preview these, and attach that.",
    "report_unexplained": "Say how you know: whoever decides was not there.",
    "report_value_missing": "Say what is right.",
    "reporting_not_allowed": "You are not allowed to report wrong data: tell CS Ops.",
    "too_many_conflicts": "At most {most} values at a time; these are {count:,}.",
    # tier changes
    "account_being_handed_over": "{account} is being handed over ({from_segment} → {to_segment}, joint coverage until {joint_until:day}): complete that first.",
    "account_missing": "Choose at least one account.",
    "account_not_chosen": "Choose the account that is taken out.",
    "checklist_too_long": "A checklist has at most {most} lines.",
    "handover_of_others": "Only the CSMs of the hand-over or CS Ops may complete it.",
    "handover_unfinished": _handover_unfinished,
    "joint_days_out_of_range": "Joint coverage lasts 0 to {most} days.",
    "keeping_unexplained": "Say why the segment is kept: it is remembered, and shown when this comes up again.",
    "notice_in_the_future": "Note it once the customer has been told.",
    "planning_not_allowed": "You are not allowed to triage and plan tier changes: CS Ops does that.",
    "taking_back_unexplained": "Say why what was approved is taken back.",
    "too_many_transitions": "Ask for 1 to {most} tier changes at a time; these are {count}.",
    "transition_account_left": "{account} is no active customer any more: take it out, or withdraw the request.",
    "transition_among_them_stale": "{account}: This tier change has changed since you opened the page. Look at it as it is now, then decide.",
    "transition_applies_later": "It has been approved and takes effect on {applies_on:day}. To change the plan, take it back to planning first.",
    "transition_approved_already": "It has been approved, and the plan stays: tick off what is done, and complete the hand-over.",
    "transition_awaits_approval": "It awaits approval: withdraw the request, then it is planned again.",
    "transition_cannot_change": "{account} cannot change now: {why}",
    "transition_ended_already": _transition_ended_already,
    "transition_held": _transition_held,
    "transition_is_the_only_one": "It is the only one of this request: reject the request, or ask for changes.",
    "transition_kept_into_the_past": "Keep it until a later day than today, or leave the day empty: until something material changes.",
    "transition_not_approved": "The CSM changes once the tier change has been approved: it is not yet.",
    "transition_not_as_approved": "The plan of {account} is not the one that was approved ({field}): edit the request.",
    "transition_not_in_request": "{account} is not part of this request any more.",
    "transition_not_planned": "{account} is not planned yet: plan the hand-over first.",
    "transition_requested_already": "{account} awaits approval already: {request}.",
    "transition_stale": "This tier change has changed since you opened the page. Look at it as it is now, then decide.",
    "transition_step_impossible": "The tier change of {account} is {status:lower}: this cannot be done now.",
    "transitions_gone": "Some of these tier changes are not there any more.",
    "transitions_of_several_segmentations": "These are of several segmentations: ask for each separately.",
    # overrides
    "ending_overrides_not_allowed": "Only CS Ops ends an override before its date: ask them, and say why.",
    "override_account_left": "{account} is excluded or no customer by now: withdraw the request.",
    "override_acquisition_unanswered": "After an acquisition, answer the three questions: who buys now, what for, under which contract.",
    "override_csm_gone": "The CSM who was to take over is not there any more: edit the request and name another one.",
    "override_decided_already": "This request is decided already: ask anew.",
    "override_end_impossible": "An override ends between tomorrow and {latest:day}: ask again then if it is still needed.",
    "override_for_another_account": _override_for_another_account,
    "override_in_force": "An override of {account} is in force on {layer}: end it first.",
    "override_in_force_already": "The override of {account} is in force.",
    "override_in_handover": "{account} is being handed over, with joint coverage until {joint_until:day}: complete that first.",
    "override_needless": _override_needless,
    "override_not_as_approved": "The override of {account} is not the one that was approved.",
    "override_not_in_force": "The override of {account} is not in force: it is {status:lower}.",
    "override_of_another_segmentation": "This request is about {layer}, and {segment} is no segment of it.",
    "override_of_no_customer": "{account} is excluded or no customer, so no segment of it counts.",
    "override_of_products": "{layer} labels products of accounts: an override is about a whole account.",
    "override_over_already": "It was to end on {expires_on:day}, and that day has come: ask again with a later date.",
    "override_reason_not_chosen": "Choose a reason.",
    "override_requested_already": "{account}: {requester} asked for {segment} on {requested_at:day}, and that is not decided yet. Decide or withdraw it first.",
    "override_segment_moved": _override_segment_moved,
    "override_unexplained": "Say why: the explanation is kept for everybody who asks later.",
    "override_without_segment": "{account} has no {layer} any more: recalculate first.",
    "overrides_impossible": _overrides_impossible,
    "overrides_not_allowed": "You are not allowed to ask for overrides.",
    "too_many_overrides": "Ask for 1 to {most} accounts at a time; these are {count:,}.",
    # alerts
    "alert_condition_unusable": "{problem}",
    "alert_not_open": "This alert is {status:lower} already.",
    "alert_of_another_account": "Only CS Ops and the CSM of {account} acknowledge its alerts.",
    "alert_rules_not_allowed": "You are not allowed to change alert rules.",
    "alerts_not_allowed": "You are not allowed to acknowledge alerts.",
    # policies
    "currency_unknown": "{currency} is not the code of a currency, such as USD.",
    "crossings_apply_by_themselves": "{layer} applies by itself: nothing of it is put before people.",
    "direction_unknown": "Tier changes go up or down.",
    "kind_unknown": "There is no such kind of request.",
    "layer_policy_unknown": "A segmentation applies by itself, or needs approval.",
    "policies_not_allowed": "You are not allowed to ask for changes of policies.",
    "policy_invalid": _policy_invalid,
    "policy_is_so_already": "This is how it is already: there is nothing to ask for.",
    "policy_of_another_request": "This request is about another policy.",
    "policy_stale": "This policy has changed since it was asked for. Look at what holds now, and ask again.",
    "policy_unchanged": "This is how it is decided already: there is nothing to ask for.",
    "primary_layer_missing": "One segmentation is the primary one: make another one primary instead.",
    "product_layer_needs_no_approval": "A segmentation of products applies by itself and is not the primary one.",
    "profile_needs_a_request": "Requests have been made here already, or customers have segments and somebody decides: another profile is a request now, on the page Who decides.",
    "profile_not_there": "There is no profile {name!r}; there are {profiles:named}.",
    "profile_unchanged": "The profile is {profile} already, and its policies are as it says.",
    "profile_unknown": "There is no such profile.",
    "role_decides_nothing": "{role} decides about nothing: choose another role.",
    "segment_order_changed": "Its segments are others by now: each has one place. Open the page again.",
    "too_many_policy_lines": "At most {most} lines for a kind of request.",
    # people
    "absence_ended_already": "This was ended already.",
    "absence_ends_before_it_begins": "The last day is before the first one.",
    "absence_is_over": "These days are over.",
    "absence_of_another": "You enter your own absence; an administrator enters that of others.",
    "absence_overlaps": "{delegate} stands in from {from_date:day} to {until_date:day} already. End that first, or choose other days.",
    "absence_too_long": "Somebody stands in for {most:plural:day,days} at most.",
    "delegate_cannot_log_in": "{delegate} cannot log in, so cannot decide for anybody.",
    "delegate_decides_nothing": "{delegate} is {role:article}, and so decides about nothing: choose somebody else.",
    "delegate_does_not_decide": "{delegate} has no role that decides: choose somebody who has one, or ask {absent} to enter this.",
    "delegate_is_absent": "Nobody stands in for themselves: choose somebody else.",
    "delegate_is_yourself": "You cannot make yourself stand in for {absent}: choose somebody else.",
    "delegate_without_role": "{delegate} has no role: choose somebody who has one.",
    "deleting_people_not_allowed": "Only administrators delete people.",
    "deleting_yourself": "You cannot delete yourself: another administrator can.",
    "ending_absence_not_allowed": "Only the person who is away or an administrator ends this.",
    "last_administrator": "{user} is the last Administrator. Give the role to somebody else first: without one nobody could look after people.",
    "login_closed": "{user} cannot log in: open the login first.",
    "login_closed_already": "The login of {user} is closed already.",
    "login_not_locked": "{user} is not locked any more.",
    "login_of_your_own": "You cannot close your own login: another administrator can.",
    "login_open_already": "{user} can log in already.",
    "people_not_allowed": "Only administrators look after people and roles.",
    "person_gone": "This person is not there any more.",
    "person_not_active": "{user} is not active any more, and gets no role.",
    "role_given_and_taken": "{role} cannot be given and taken at once.",
    "role_unknown": "There is no role {role}.",
    "roles_are_decided": "There are people who decide about roles: ask for it on the person's page.",
    "roles_changed": "The roles of {user} have changed since this was asked for. Ask again.",
    "roles_held_already": "{user} has these roles already: there is nothing to ask for.",
    "roles_need_a_request": "Roles are given by a request.",
    "superuser_needed": "Only a superuser changes a superuser.",
    "network_unreadable": "“{typed}” is no network such as 10.0.0.0/8 or 192.0.2.7.",
    "no_program": "{user} is a person, and people have no tokens.",
    "program_name_taken": "This name would be taken for somebody else: choose another one.",
    "program_name_unfit": "A name has letters, digits and @ . + - _ only.",
    "program_purpose_missing": "Say which system it is, and what it does here.",
    "role_unfit_for_program": "A program cannot have the role {role}, whose people decide or look after people. It can have {roles:either}.",
    "token_day_unfit": "A token is valid until today at the earliest, and for {most} days at most.",
    "token_name_missing": "Say what the token is for.",
    "token_revoked_already": "This token was revoked, and stays so. Make another one.",
    "token_stale": "A token has been made since you opened this page. Look at the list before you make another one.",
    "too_many_networks": "A token names {most} networks at most.",
    "too_many_tokens": "A service user has {most} tokens at most: revoke those that nobody uses.",
})  # fmt: skip
