"""Where an app asks those further right whether something may happen, without importing them.

`settings.GATES` names a function for each gate; without one the gate is open. A gate raises Refused, or answers.
"""

from django.conf import settings
from django.utils.module_loading import import_string


def consult(gate, *args, **options):
    """Ask the function behind this gate; None where nobody stands there. Raises what it raises: Refused."""
    path = settings.GATES.get(gate)
    return import_string(path)(*args, **options) if path else None
