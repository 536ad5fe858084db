"""The web admin of accounts. The account page itself needs segments, so it is in segmentation.admin."""

from . import found, imports, people, systems

__all__ = ["found", "imports", "people", "systems"]
