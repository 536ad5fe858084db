"""The search of Ctrl+K: the admin of each app registers what it finds, and nobody finds what they may not see."""

import re
from dataclasses import dataclass, field

from core.pages import Page

SHOWN = 8  # lines of a kind; more is for whoever types more
LENGTH = 200  # characters that are looked for
SMALL = {"a", "an", "the", "to"}  # words that tell nothing apart

_finders = []
_actions = []


@dataclass(frozen=True)
class Found:
    """One line. text: says what it is, and what tells it from others. icon: a name of Material Symbols."""

    title: str
    text: str
    url: str
    icon: str


@dataclass(frozen=True)
class Group:
    """Lines of one kind under a title. note: a sentence about them."""

    title: str
    lines: list = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Action:
    """Something people do, on a page that its Page's permission lets them open. words: what else they may call it."""

    title: str
    page: Page
    icon: str
    words: str = ""


def register(place, find):
    """Add `find(request, text)`, which gives Groups for somebody; those of a lower place stand first."""
    _finders.append((place, find))
    _finders.sort(key=lambda finder: finder[0])


def register_actions(*actions):
    _actions.extend(actions)


def find(request, text):
    """[Group] of what this text finds for whoever asks; without one, what they may do."""
    text = " ".join(text.split())[:LENGTH]
    finders = [find for _, find in _finders] if text else [actions]
    groups = [group for find in finders for group in find(request, text)]
    return [group for group in groups if group.lines or group.note]


def actions(request, text):
    """The actions this person may do, by their words."""
    lines = [
        Found(action.title, "", action.page.address(), action.icon)
        for action in _actions
        if may(request.user, action.page) and fits(text, action.title, action.words)
    ]
    return [Group("What you can do", lines[:SHOWN] if text else lines)]


def may(user, page):
    return not page.permission or user.has_perm(page.permission)


def fits(text, *names):
    """Whether each word of the text begins a word of the names; a text without words fits nothing, none at all everything."""
    known = _words(" ".join(names))
    typed = [word for word in _words(text) if word not in SMALL]
    return all(any(word.startswith(part) for word in known) for part in typed) if typed else not text


def _words(text):
    return re.findall(r"\w+", text.casefold())


register(30, actions)
