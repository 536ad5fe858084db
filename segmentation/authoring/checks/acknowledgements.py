"""Warnings that somebody answers for: these rules are used all the same, and why."""

from django.db import transaction

from core import texts
from core.history import acting
from core.refusals import Refused
from segmentation.models import Acknowledgement, Definition

OPEN = (Definition.Status.DRAFT, Definition.Status.IN_REVIEW)


def may_acknowledge(by):
    return by is not None and (
        by.has_perm("segmentation.change_definition") or by.has_perm("segmentation.activate_definition")
    )


def acknowledge(definition, warnings, *, reason, by):
    """Answer for these warnings (Findings) of a version that is not decided about yet, all with one reason.

    An earlier answer to the same warning stays in its history.
    """
    if not may_acknowledge(by):
        raise Refused("warnings_not_allowed")
    reason = texts.needed(reason, "warnings_unexplained")
    with transaction.atomic(), acting(by=by, reason=reason):
        definition = Definition.objects.select_for_update(of=["self"]).filter(pk=definition.pk).first()
        if definition is None or definition.status not in OPEN:
            raise Refused("warnings_closed")
        for warning in warnings:
            Acknowledgement.objects.update_or_create(
                definition=definition,
                check_id=warning.check,
                about=warning.about,
                defaults={
                    "sentence": warning.message,
                    "reason": reason,
                    "by": by.pk,
                    "by_label": by.get_username(),
                },
            )


def earlier(definition):
    """{key of a warning: the reason given for it last, in an earlier version}: to be given again, or not."""
    given = Acknowledgement.objects.filter(
        definition__layer=definition.layer_id, definition__version__lt=definition.version
    )
    return {
        (acknowledgement.check_id, acknowledgement.about): acknowledgement
        for acknowledgement in given.select_related("definition").order_by("definition__version", "id")
    }
