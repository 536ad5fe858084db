"""Governance as it runs: at the gates of the other apps, and told when a recalculation has ended."""

import pytest


@pytest.fixture
def alone():
    """Not alone: what tests/conftest.py takes away stays."""
