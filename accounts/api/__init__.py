"""The API of accounts and what is known about them: one file a resource."""

from . import accounts, changes, csms, facts, imports, products, signals, source_systems, subscriptions

__all__ = [
    "accounts",
    "changes",
    "csms",
    "facts",
    "imports",
    "products",
    "signals",
    "source_systems",
    "subscriptions",
]
