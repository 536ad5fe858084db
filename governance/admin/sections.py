"""Sections of a request's page that only one kind has: a part of the page, and steps. The kind's admin registers them."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Section:
    """template: the part of the page. context: what it is given, by the request. steps: {name of the button: its StepForm}."""

    template: str
    context: Callable
    steps: dict = field(default_factory=dict)


SECTIONS = {}  # {kind: Section}
NAMED = 200  # accounts named on a request's page


def of(request):
    """The Section of its kind; None where there is nothing but what all have."""
    return SECTIONS.get(request.kind)
