"""All checks, in the order they are shown. A new check is a row here, a function, and its two fixtures."""

from segmentation.authoring.checks import accounts, rules, segments
from segmentation.authoring.checks.findings import ACCOUNTS, ERROR, LAYER, RULES, TEXT, WARNING, Check

CHECKS = (
    # -- the rules as written
    Check("unreadable", ERROR, TEXT, "The rules can be read", "{message}", rules.unreadable),
    Check(
        "weights", ERROR, TEXT,
        "Weights are from 0 to 1 and add up to exactly 1",
        "{message}", rules.weights,
    ),
    Check(
        "unknown-field", ERROR, TEXT,
        "Every data field is in the data dictionary",
        "{message} Take the name from the data dictionary.", rules.unknown_fields,
    ),
    Check(
        "overlapping-cells", ERROR, TEXT,
        "No two cells of a scoring table overlap",
        "{message} Change one of the two cells, so that every value earns one number of points.", rules.overlapping_cells,
    ),
    Check(
        "missing-policy", ERROR, RULES,
        "Every measure says what happens without data",
        "The measure {measure} does not say what happens where its data field is not known. "
        "Choose skip, assume 3, needs data or another data field to rate instead.", rules.missing_policy,
    ),
    Check(
        "unreachable-cell", ERROR, RULES,
        "Every cell of a scoring table can be reached",
        "{measure}: no value {limits} falls into the cell {cell}, for {points} points. Change the cell, or empty it.",
        rules.unreachable_cells,
    ),
    Check(
        "impossible-value", ERROR, RULES,
        "Every value that is compared can occur",
        "{message}", rules.impossible_values,
    ),
    Check(
        "always-true", ERROR, TEXT,
        "Only the last rule takes everybody",
        "{message} Give it a narrower condition, or make it the last.", rules.always_true,
    ),
    Check(
        "same-rules", ERROR, RULES,
        "No two rules hold for exactly the same accounts",
        "{rule} can never be told apart from {other}: they hold for exactly the same accounts, and the first decides. "
        "Change the condition of one, or remove it.", rules.same_rules,
    ),
    Check(
        "unreachable-rule", ERROR, RULES,
        "Every rule can decide for some account",
        "{rule} never decides: {why}. Change its condition, move it up, or remove it.", rules.unreachable_rules,
    ),
    Check(
        "unreachable-stage", ERROR, RULES,
        "Some rule leads to every stage",
        "{rule} takes accounts from {stage}, but from the first stage no rules lead there. "
        "Add a rule that gives {stage}, or take them from another stage.", rules.unreachable_stages,
    ),
    Check(
        "unguarded-field", WARNING, RULES,
        "Accounts without data do not fall into the last segment",
        "Where {field} is not known, an account gets {last}, the segment of the last rule. "
        "Name {field} among the data fields without which an account needs data, or add a condition: {field} is not known.",
        rules.unguarded_fields,
    ),
    Check(
        "too-many-dimensions", WARNING, RULES,
        "Not too many dimensions",
        "The rules tell accounts apart by {count} things ({names}); more than {limit} can hardly be explained to a customer "
        "or a CSM. Leave out what changes nothing about how accounts are served.", rules.too_many_dimensions,
    ),
    Check(
        "too-many-values", WARNING, RULES,
        "Not too many values of a dimension",
        "The rules cut {field} into {count} groups; more than {limit} can hardly be kept apart. "
        "Merge those that are served alike.", rules.too_many_values,
    ),
    # -- the segments
    Check(
        "no-treatment", ERROR, LAYER,
        "Every segment says how it is served",
        "{segment} does not say how its customers are served. A segment is a group and what is done differently for it: "
        "choose its treatment.", segments.no_treatment,
    ),
    Check(
        "no-owner", ERROR, LAYER,
        "Every segment has an owner",
        "Nobody answers for {segment}. Name its owner: a person, or a role such as CS Ops.", segments.no_owner,
    ),
    Check(
        "no-service-model", ERROR, LAYER,
        "Every segment of the primary segmentation has a service model",
        "{segment} is served as “{treatment}”, which has no service model, so nobody knows how many CSMs it takes. "
        "Choose the service model.", segments.no_service_model,
    ),
    Check(
        "contested-field", WARNING, LAYER,
        "No two segmentations decide the same thing",
        "Both {layer} and {other} decide the {field}, so that customers would get two answers; the segmentation that "
        "comes first counts. Take it from what one of the two decides.", segments.contested_fields,
    ),
    Check(
        "dropped-segment", WARNING, LAYER,
        "Nothing names a segment the rules give no more",
        "No rule gives {segment} any more, but it is named: {uses}. Change that first; what is left ends, or holds for "
        "no account.", segments.dropped,
    ),
    Check(
        "decides-nothing", WARNING, LAYER,
        "What is said about serving its segments counts",
        "{layer} decides nothing of how customers are served, so nothing its treatments say reaches anybody. "
        "Tick what it decides on the segmentation's page.", segments.decides_nothing,
    ),
    Check(
        "equal-treatments", WARNING, LAYER,
        "Every segment is served differently",
        "{first} and {second} are served in exactly the same way. Are they the same group? "
        "Merge them by giving '{key}' in the rules of both, or say what is done differently.", segments.equal_treatments,
    ),
    Check(
        "segment-count", WARNING, LAYER,
        "The primary segmentation has a number of segments a team can serve",
        "The rules give {count} segments, {why}; {good} is good. {next}", segments.segment_count,
    ),
    Check(
        "name-without-play", WARNING, LAYER,
        "Names say what to do",
        "“{segment}” does not tell anybody what to do. Name the segment after its play, such as High-Touch or At risk.",
        segments.nameless,
    ),
    # -- the accounts
    Check(
        "incomplete-field", WARNING, ACCOUNTS,
        "The data fields are known for most accounts",
        "{field} is known for {share} of the {whom}; below {limit} the rules mostly guess. "
        "Import it, or leave it out of the rules until it is there.", accounts.incomplete_fields,
    ),
    Check(
        "stale-field", WARNING, ACCOUNTS,
        "The data fields are as fresh as they have to be",
        "{field} should not be older than {days}, but is for {share} of those that have it. "
        "Import it anew, or look after its source.", accounts.stale_fields,
    ),
    Check(
        "dimension-without-data", WARNING, ACCOUNTS,
        "Every score group has data",
        "No account has any data for {dimension}, so it is left out for everybody. "
        "Import one of its data fields: {fields}.", accounts.dimensions_without_data,
    ),
    Check(
        "small-segment", WARNING, ACCOUNTS,
        "Every segment is large enough to be served on its own",
        "{segment} would have {count}; below {limit} it is not worth a treatment of its own. {next}",
        accounts.small_segments,
    ),
    Check(
        "usage-lowers-coverage", WARNING, ACCOUNTS,
        "Loss of usage alone does not lower coverage",
        "{count} of {segment} would move to a segment with less coverage if only their usage {how}: just when they need "
        "somebody. Let value or fit hold them, or have a CSM alerted.", accounts.usage_lowers_coverage,
    ),
)  # fmt: skip
