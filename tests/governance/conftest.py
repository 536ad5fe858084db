"""Governance as it runs: at the gates of the other apps, and told when a recalculation has ended."""

import pytest


@pytest.fixture
def alone():
    """Not alone: what tests/conftest.py takes away stays."""


@pytest.fixture
def noted(monkeypatch):
    """Overrides that only take notes (tests/governing.py), decided by one Approver: the list of the notes."""
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
    settings.MIDDLEWARE = [one for one in settings.MIDDLEWARE if "gzip" not in one]
    return worlds.made()
