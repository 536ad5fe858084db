"""The API of what the rules say and what is in force: one file a resource."""

from . import assignments, definitions, layers, moves, runs, segments, service_models, treatments

__all__ = [
    "assignments",
    "definitions",
    "layers",
    "moves",
    "runs",
    "segments",
    "service_models",
    "treatments",
]
