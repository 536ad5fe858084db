"""Sentences people are told when something about accounts, imports and lists is refused."""

from core.refusals import register

register({
    "csm_login_closed": "The login of {csm} is closed: choose somebody who can look after the account.",
    "every_row_rejected": "Nothing was imported: every row of {what} is rejected ({rows:plural:row,rows}).",
    "import_busy": "This import is being worked on already.",
    "import_fault": "{fault}",
    "import_files_gone": "Its files are not kept here: import them again with the command.",
    "import_has_rejected_rows": "Nothing was imported: {rejected:plural:row is,rows are} rejected. Correct the files, or import the good rows and leave these out.",
    "import_step_impossible": "This cannot be done to an import that is: {status}.",
    "parent_circle": "{parent} cannot be the parent: {circle}.",
    "parent_is_itself": "{account} cannot be its own parent: keep what we have.",
    "parent_missing": "There is no account with the ID {external_id}: import it first, or keep what we have.",
    "rejected_rows_unanswered": "{rejected:plural:row is,rows are} rejected: say that they may be left out.",
    "saved_view_empty": "There is nothing to save yet: search, filter or sort the list first.",
    "saved_view_exists": "There is a view called “{name}” already.",
    "saved_view_of_another": "Only {owner}, who saved it, changes this view.",
    "saved_view_too_long": "This search is too long to be saved.",
    "search_too_long": "A search has at most {words} words and {length} characters. Search for less.",
    "too_many_rejected": "Nothing was imported: {rejected} of {rows:plural:row,rows} of {what} are rejected, and at most {most} % may be left out (Settings: rejected rows of an import).",
    "delivery_busy": "An import is being written. Send it again in a few seconds.",
    "delivery_of_many_shapes": "The rows name too many different sets of fields; at most {most} in one request.",
    "delivery_in_the_future": "{observed:day} is a day still to come: what is sent until then would count as older than this.",
    "value_held_already": "That is what we have already.",
    "value_proposed_already": "That waits for a decision already: {source} says so too.",
    "value_unreadable": "“{typed}” is no value for {fact:lower}.",
})  # fmt: skip
