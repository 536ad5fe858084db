"""YAML from people, read within limits: no references, no types, no key twice, and neither deep nor endless.

Pure; recipes and definitions are read by it. PyYAML is slow where text is nested, and a short text can name millions.
"""

import yaml

MOST_PARTS = 10_000  # keys, values and entries: a second's work
DEEPEST = 40


class Unreadable(ValueError):
    """The text cannot be read: the problem as a sentence without an end, and the line (from 1) where it is known."""

    def __init__(self, problem, line=None):
        self.problem, self.line = problem, line
        super().__init__(problem)


class Loader(yaml.SafeLoader):
    """Plain data only, of at most MOST_PARTS parts."""

    def __init__(self, stream):
        super().__init__(stream)
        self.parts = self.level = 0

    def compose_node(self, parent, index):
        event = self.peek_event()
        self._check(event)
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

    def _check(self, event):
        self.parts += 1
        if isinstance(event, yaml.AliasEvent):
            raise _problem(f"write it out instead of *{event.anchor}, references are not used here", event)
        if event.tag not in (None, "!"):
            raise _problem("types (!name) are not used here", event)
        if self.parts > MOST_PARTS:
            raise _problem(f"there are more than {MOST_PARTS:,} keys and values", event)
        if self.level >= DEEPEST:
            raise _problem(f"it is nested too deeply, more than {DEEPEST} levels", event)

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if isinstance(key, yaml.ScalarNode) and name in seen:
                raise _problem(f"{name!r} is there twice", key)
            seen.add(name if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep=deep)


def _problem(sentence, at):
    return yaml.MarkedYAMLError(problem=sentence, problem_mark=at.start_mark)


def load(text, loader=Loader):
    """The plain data of a text. Raises Unreadable."""
    return _read(yaml.load, text, loader)  # a SafeLoader


def compose(text, loader=Loader):
    """The nodes of a text, which know their lines. Raises Unreadable."""
    return _read(yaml.compose, text, loader)


def _read(how, text, loader):
    try:
        return how(text, Loader=loader)
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
    ) as error:  # the last two: a day such as 2026-02-30, a list as a key
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).split("\n")[0]
        if problem.startswith("but "):
            problem = f"{error.context}, {problem}"
        raise Unreadable(problem, mark.line + 1 if mark else None) from error
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
