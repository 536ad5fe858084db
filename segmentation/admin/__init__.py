"""The web admin of segmentation: home, accounts, rules, recalculations."""

from . import accounts, declarations, home, jobs, layers, rules, runs, simulations

__all__ = ["accounts", "declarations", "home", "jobs", "layers", "rules", "runs", "simulations"]
