"""Imports in these tests are computed in their process, but where the child that computes them is what a test is about."""

import importing
import pytest

from accounts.imports import confinement

BY_A_CHILD = {"test_background", "test_bombs", "test_command", "test_examples"}


@pytest.fixture(autouse=True)
def in_this_process(request, monkeypatch):
    """Starting Python with Polars and sqlglot takes longer than most of these imports."""
    if request.module.__name__ not in BY_A_CHILD:
        monkeypatch.setattr(confinement, "compute", importing.computed_here)
