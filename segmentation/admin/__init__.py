"""The web admin of segmentation: home, accounts, rules, recalculations."""

from . import accounts, home, layers, rules, runs

__all__ = ["accounts", "home", "layers", "rules", "runs"]
