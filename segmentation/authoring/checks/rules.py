"""Checks of the rules alone: their text, weights, scoring tables and what happens without data."""

from accounts.catalogue import CHOICES
from core.organisation import organisation
from segmentation.authoring.checks import reach
from segmentation.authoring.checks.findings import Undecided, place
from segmentation.authoring.checks.subject import label_of
from segmentation.rules import impossible
from segmentation.rules.definitions import CELLS_DISAGREE, TAKES_EVERYONE, UNKNOWN_NAME
from segmentation.rules.document import STATE

_WEIGHTS, _OTHER = "weights", ""


def _kind(problem):
    if problem.path.split(".")[0] == "weights" or problem.path.endswith(".weight"):
        return _WEIGHTS
    return problem.kind


def _problems_of(kind):
    """The problems of one kind, as they were told."""

    def find(subject):
        for problem in subject.problems:
            if _kind(problem) == kind:
                yield place(problem.path, path=problem.path, message=problem.message)

    return find


unreadable, weights = _problems_of(_OTHER), _problems_of(_WEIGHTS)
unknown_fields, overlapping_cells = _problems_of(UNKNOWN_NAME), _problems_of(CELLS_DISAGREE)


# -- missing data


def missing_policy(subject):
    """Measures that leave open what happens without a value; `skip` is what the engine would do, but nobody said so."""
    for number, dimension in enumerate(subject.data.get("dimensions", [])):
        for index, typed in enumerate(dimension["criteria"]):
            if not typed.get("missing"):
                criterion = subject.document.dimensions[number].criteria[index]
                path = f"dimensions.{number}.criteria.{index}.missing"
                yield place(criterion.key, path=path, measure=_measure(criterion))


def unguarded_fields(subject):
    """Data fields that only rules look at, without which an account silently gets the last rule's segment."""
    document = subject.document
    if document.rules[-1].condition is not None or document.rules[-1].sources or document.stays:
        return
    handled = set(document.requires)
    for rule in document.rules:
        handled |= reach.null_tests(rule.condition.root) if rule.condition else set()
    for index, rule in enumerate(document.rules):
        for name in sorted(rule.condition.names if rule.condition else ()):
            if name in document.facts and name not in handled and not name.startswith("days_since_"):
                handled.add(name)
                yield place(
                    name,
                    path=f"rules.{index}.when",
                    field=label_of(name),
                    name=name,
                    last=subject.name_of(document.rules[-1].segment),
                )


def _measure(criterion):
    return criterion.name or label_of(criterion.fact)


# -- cells


def unreachable_cells(subject):
    """Cells that no value the data field may have falls into."""
    for number, dimension in enumerate(subject.document.dimensions):
        for index, criterion in enumerate(dimension.criteria):
            path = f"dimensions.{number}.criteria.{index}"
            for cell in _never(criterion.fact, criterion.rubric):
                yield _cell(criterion, criterion.fact, criterion.cells[cell], cell, f"{path}.cells.{cell}")
            if criterion.missing.kind == "rate":
                for cell in _never(criterion.missing.fact, criterion.missing.rubric):
                    yield _cell(criterion, criterion.missing.fact, "", cell, f"{path}.missing")


def _never(fact, rubric):
    if rubric is None:  # quintiles
        return []
    earned = reach.points(fact, rubric)
    return [index for index, cell in enumerate(rubric.cells) if cell and 5 - index not in earned]


def _cell(criterion, fact, text, cell, path):
    return place(
        f"{criterion.key}:{fact}:{5 - cell}",
        path=path,
        measure=_measure(criterion),
        points=5 - cell,
        cell=f"'{text}'" if text else "of the fallback",
        limits=reach.limits_text(fact),
    )


def impossible_values(subject):
    """Values in conditions and in scoring tables that nothing can have."""
    document, choices = subject.document, subject.choices
    for index, rule in enumerate(document.rules):
        for sentence in impossible.sentences(rule.condition.root, choices) if rule.condition else ():
            yield place(sentence, path=f"rules.{index}.when", message=sentence)
    for number, dimension in enumerate(document.dimensions):
        for index, criterion in enumerate(dimension.criteria):
            path = f"dimensions.{number}.criteria.{index}"
            for cell, sentence in _impossible_cells(criterion, choices):
                yield place(sentence, path=f"{path}.cells.{cell}", message=sentence)


def _impossible_cells(criterion, choices):
    """(place of the cell, sentence) of the texts of a scoring table that nothing can be; they count in any case."""
    texts = choices.get(criterion.fact, CHOICES.get(criterion.fact))
    if texts is None or criterion.rubric is None:
        return
    known = {criterion.fact: {text.lower() for text in texts}}
    for cell, values in enumerate(criterion.rubric.cells):
        for value in values.values if values else ():
            if sentence := impossible.impossible(criterion.fact, str(value).lower(), known):
                yield cell, sentence


# -- rules that can be reached


def always_true(subject):
    """Rules before the last that hold for every account."""
    yield from _problems_of(TAKES_EVERYONE)(subject)
    if subject.document is None:
        return
    reached = reach.Reach.of(subject)
    for index in reached.always:
        yield place(
            index,
            path=f"rules.{index}.when",
            message=f"{_capital(subject.rule_name(index))} holds for every account, so the rules "
            "after it never decide.",
        )
    yield from _undecided(subject, reached)


def same_rules(subject):
    reached = reach.Reach.of(subject)
    for index, other in reached.same.items():
        yield place(
            index,
            path=f"rules.{index}.when",
            rule=_capital(subject.rule_name(index)),
            other=subject.rule_name(other),
        )
    yield from _undecided(subject, reached)


def unreachable_rules(subject):
    reached = reach.Reach.of(subject)
    for index, why in reached.unreachable.items():
        yield place(
            index,
            path=f"rules.{index}.when",
            rule=_capital(subject.rule_name(index)),
            why="its condition can never hold"
            if why == reach.NEVER
            else "the rules before it take every account it holds for",
        )
    yield from _undecided(subject, reached)


def _capital(text):
    return text[:1].upper() + text[1:]


def _undecided(subject, reached):
    for index in reached.undecided:
        yield Undecided(f"{subject.rule_name(index)} compares more than data fields with given values")


def unreachable_stages(subject):
    """Segments that rules start from, but that no chain of rules leads to from a first one."""
    document = subject.document
    reached = reach.stages(document)
    for index, rule in enumerate(document.rules):
        lost = [source for source in reach.sources(rule) if source not in reached]
        for source in lost:
            yield place(
                f"{rule.key}:{source}",
                path=f"rules.{index}.from",
                segments=[source],
                rule=_capital(subject.rule_name(index)),
                stage=subject.name_of(source),
            )


# -- too much


def too_many_dimensions(subject):
    dimensions = _dimensions(subject.document)
    limit = organisation().check_dimensions
    if len(dimensions) > limit:
        yield place(
            "dimensions", count=len(dimensions), limit=limit, names=", ".join(map(label_of, dimensions))
        )


def _dimensions(document):
    """The dimensions that tell accounts apart: score groups, and the data fields rules compare directly."""
    if document.stays:  # transitions between stages, not a grid of values
        return [dimension.key for dimension in document.dimensions]
    compared = {name for rule in document.rules if rule.condition for name in rule.condition.names}
    direct = [
        name
        for name in document.inputs
        if name in compared and name not in STATE and not name.startswith("days_since_")
    ]
    return [dimension.key for dimension in document.dimensions] + direct


def too_many_values(subject):
    limit = organisation().check_values_per_dimension
    for term, values in reach.values_told_apart(subject.document).items():
        if term not in STATE and values > limit:
            yield place(term, path="rules", field=label_of(term), count=values, limit=limit)
