"""Programs that log in: users without a password that never decide, sign or complete, whatever their roles are."""

from core.models import ServiceUser
from core.refusals import Refused


def is_program(user):
    """Whether this user is a program; asked of the database once for the object, and with the user of a session."""
    if not hasattr(user, "known_program"):
        user.known_program = ServiceUser.objects.filter(user=user.pk).exists()
    return user.known_program


def needs_a_person(by):
    """The Refused of what only a person does; None for people, and for the system, which nobody refuses."""
    return Refused("program_decides_nothing") if by is not None and is_program(by) else None
