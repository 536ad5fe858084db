"""The web admin of sign-off: one module for each page or group of pages."""

from . import approvals

__all__ = ["approvals"]
