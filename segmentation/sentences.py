"""Sentences people are told when something about segmentations, their rules and recalculations is refused."""

from core.refusals import register
from core.wording import day

NAMED = 3  # problems named in a sentence


def _rules_incomplete(problems):
    """These rules are not complete: {problems}"""
    return f"These rules are not complete: {_first(problems)}"


def _warnings_unanswered(warnings):
    """Acknowledge first, with a reason, what the checks warn of: {warnings}"""
    return f"Acknowledge first, with a reason, what the checks warn of: {_first(warnings)}"


def _first(sentences):
    unnamed = len(sentences) - NAMED
    more = f" (and {unnamed} more)" if unnamed > 0 else ""
    return " ".join(sentences[:NAMED]) + more


def _declaration_decided_already(segment, account, status, who):
    """{segment} for {account} is {status} already, by {who}."""
    return f"{segment} for {account} is {status.lower()} already{f', by {who}' if who else ''}."


def _declaration_too_early(held, free_from):
    """{held} holds since {free_from}: a new one begins on that day at the earliest."""
    before = f"{held} holds since" if held else "Another value held until"
    return f"{before} {day(free_from)}: a new one begins on that day at the earliest."


def _segment_moved(account, layer, now, then):
    """{account} is {now} on {layer} by now, not {then}."""
    return f"{account} is {now or 'without a segment'} on {layer} by now, not {then}."


def _nothing_known(account, at, first, known):
    """Nothing was known of {account} on {at}: the first is of {first}."""
    recorded = f", by what had been recorded until {day(known)}" if known else ""
    return f"Nothing was known of {account} on {day(at)}{recorded}" + (
        f": the first is of {day(first)}." if first else "."
    )


register({
    "segmentation_in_force": "The rules of {layer} are in force or were: each part of it changes in its own way.",
    "segmentation_in_review": "The rules of {layer} wait for approval, and nothing of it changes until that is decided.",
    "segmentation_not_allowed": "You are not allowed to define segmentations.",
    "segmentation_stale": "Somebody changed {layer} since you opened this page. What you typed is below; saving it again puts it in place of theirs.",
    "segment_used": "{segment} is used elsewhere and cannot be removed: look at the segments that are part of it, and at its job to be done.",
    "segment_no_more": "{segment} is no segment of {layer} any more: the rules do not give it. Choose another one.",
    "account_without_segment": "{account} has no {layer} yet: recalculate first.",
    "cancellation_reason_missing": "Say why the recalculation is cancelled.",
    "clock_goes_back": "The last recalculation was as of {newest:day}: one as of {as_of:day} would put in force what was then.",
    "clock_in_the_future": "{as_of:day} is still to come: nothing is recalculated as of a later day than today.",
    "facts_are_old": "The newest value of all is of {newest:day}, {days} days ago, and the settings allow {limit}. Say as of which day the accounts are to be evaluated.",
    "condition_unreadable": "The rows of a condition cannot be read. Open the page anew and write them again.",
    "confirming_not_allowed": "You are not allowed to confirm or reject declared values.",
    "data_cannot_be_evaluated": "The data of {account} cannot be evaluated: {error}",
    "declaration_decided_already": _declaration_decided_already,
    "declaration_end_out_of_range": "It can end between {from_date:day}, when it began, and today.",
    "declaration_in_force": "{segment} is in force: propose another value, and it will be replaced.",
    "declaration_in_force_already": "{segment} is in force already, since {from_date:day}.",
    "declaration_in_the_future": "A declared value holds from today at the latest: propose it once it is so.",
    "declaration_of_another": "Only {proposer} or somebody who confirms declared values may take this back.",
    "declaration_of_your_own": "You proposed this yourself: somebody else has to decide. You may withdraw it.",
    "declaration_proposed_already": "{segment} is proposed already, by {proposer} on {proposed_at:day}. That is decided, replaced or withdrawn first.",
    "declaration_stale": "Something about this declared value changed since you opened the page. Look at what is there now.",
    "declaration_too_early": _declaration_too_early,
    "declarations_decided_already": "Nothing of this is open any more: it is decided already.",
    "declarations_not_allowed": "You are not allowed to propose declared values.",
    "definition_discarded_already": "This draft has been discarded.",
    "definition_names_lost_segment": "{definition} names the segment '{segment}', which {layer} does not have any more.",
    "definition_not_a_draft": "Version {version} is {status:lower}, no draft any more.",
    "definition_stale": "Somebody changed these rules since you opened them. Open them again and look at what is there now.",
    "definition_text_unstorable": "The rules contain a character that cannot be stored.",
    "definition_too_long": "The rules are longer than {most:,} characters.",
    "definition_unstorable": "The rules contain something that cannot be stored.",
    "definition_unusable": "{definition} cannot be used: {problem}",
    "draft_there_already": "{layer} has a draft already. Continue with it, or discard it first.",
    "ending_declarations_not_allowed": "{segment} is in force: only somebody who confirms declared values may end it.",
    "file_of_unknown_layer": "There is no segmentation '{key}'.{hint} There are: {layers}.",
    "filter_unusable": "The filter cannot be used: {problem}",
    "format_unknown": "{format!r} is no format: {formats:either}.",
    "layer_in_recalculation": "{layer} is being recalculated already (run {run}, since {since:%H:%M}). Wait for it to end; if its process was lost, it is taken over after {lease} s.",
    "layer_not_active": "{layer} has no active rules. Activate a version first.",
    "layer_not_declared": "{layer} is not decided by people: its active rules read no declared values.",
    "layer_without_rules": "{layer} has no active rules.",
    "never_recalculated": "{layer} was never recalculated: recalculate first.",
    "no_layer_active": "No segmentation has active rules. Load the presets or activate a version first.",
    "nothing_known": _nothing_known,
    "preview_ended_already": "This impact preview has ended already.",
    "preview_frozen_already": "This impact preview is frozen already.",
    "preview_gone": "This impact preview is not there any more: only the last ones are kept.",
    "preview_not_allowed": "You are not allowed to preview the impact of rules.",
    "preview_not_finished": "Only an impact preview that has ended well can be frozen.",
    "preview_note_missing": "Say what this impact preview is kept for.",
    "primary_layer_unknown": "No segmentation is the primary one. Name the one you mean.",
    "product_ended": "{account} does not have {product} any more: since {ended:day} it has no segment. A date before that tells why it was where it was.",
    "product_needed": "{layer} labels {labels:lower}: name a product.",
    "product_needless": "{layer} labels {labels:lower}: do not name a product.",
    "product_not_there": "{account} does not have {product}.",
    "rules_incomplete": _rules_incomplete,
    "rules_not_allowed": "You are not allowed to change rules.",
    "rules_reason_missing": "Say why these rules are {done}.",
    "rules_step_impossible": "Version {version} is {status}; only {sources} can be {done}.",
    "rules_step_not_allowed": "You are not allowed to {step} rules.",
    "run_ended_already": "This recalculation has ended already.",
    "run_just_ended": "Another recalculation has just ended. Try again.",
    "segment_moved": _segment_moved,
    "segment_not_chosen": "Choose a segment.",
    "segment_not_declared": "The active rules of {layer} give nobody the segment {segment}.",
    "segment_of_another_segmentation": "{segment} is no segment of {layer}.",
    "too_many_declarations": "At most {most:,} accounts at a time; these are {count:,}.",
    "version_in_review": "Version {version} of {layer} is in review. Decide about it, or return it to draft, first.",
    "warnings_closed": "These rules are decided about: what was acknowledged for them stays as it is.",
    "warnings_not_allowed": "You are not allowed to acknowledge warnings.",
    "warnings_not_chosen": "Choose the warnings you answer for. Warnings that are gone meanwhile need no answer.",
    "warnings_unanswered": _warnings_unanswered,
    "warnings_unexplained": "Say why these rules are used all the same.",
    "weight_invalid": "A weight must be a number from 0; not negative, not NaN.",
})  # fmt: skip
