"""The web admin of sign-off: one module for each page or group of pages."""

from . import alerts, approvals, conflicts, logins, overrides, people, policies, transitions

__all__ = ["alerts", "approvals", "conflicts", "logins", "overrides", "people", "policies", "transitions"]
