"""The API with governance at the gates, as it runs."""

import pytest


@pytest.fixture
def alone():
    """Not alone: what tests/conftest.py takes away stays."""


@pytest.fixture(autouse=True)
def no_limit(settings):
    """As many calls as a test wants; one test asks for few."""
    settings.API_CALLS = 1_000_000


@pytest.fixture
def noted(monkeypatch):
    """Overrides that only take notes (tests/governing.py)."""
    import governing

    from governance.signoff.kinds import KINDS

    monkeypatch.setitem(KINDS, "override", governing.NOTED)
    governing.notes.clear()
    governing.failing.clear()
    return governing.notes


@pytest.fixture
def world(db, settings):
    """One of everything, and a person for each role (tests/worlds.py)."""
    import worlds

    settings.GATES = {}
    return worlds.made()
