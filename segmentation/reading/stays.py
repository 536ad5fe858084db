"""Accounts that are in a segment for longer than its rules expect: an onboarding that does not end."""

from datetime import timedelta
from functools import reduce
from operator import or_

import polars as pl
from django.db.models import Q

from core.wording import plural
from segmentation.evaluation import frames
from segmentation.evaluation.run_rules import document_in
from segmentation.models import Assignment, Definition


def expected():
    """[(Layer, {segment key: days})] of the segmentations in use that expect anything."""
    active = Definition.objects.filter(status=Definition.Status.ACTIVE).select_related("layer")
    known = [
        (row.layer, document_in(row).expected_days)
        for row in active.order_by("layer__position", "layer__key")
    ]
    return [(layer, days) for layer, days in known if days]


def too_long(at):
    """The assignments that last longer than expected on the day `at`."""
    late = [
        Q(layer=layer, effective__key=segment, effective_since__lt=at - timedelta(days=days))
        for layer, expectations in expected()
        for segment, days in expectations.items()
    ]
    return Assignment.objects.filter(reduce(or_, late)) if late else Assignment.objects.none()


def stay(document, segment, since, at):
    """{"days", "expected", "too_long", "text"} of an account in a segment since a date; None where nothing is expected."""
    limit = document.expected_days.get(segment.key) if segment and since else None
    if limit is None:
        return None
    days = (at - since).days
    text = f"In {segment.name} for {plural(days, 'day,days')}; {plural(limit, 'day is,days are')} expected."
    return {"days": days, "expected": limit, "too_long": days > limit, "text": text}


def days_over(layer, document, *, at, first, last):
    """By how many days accounts of a range are in their segment for longer than expected: `id`, `over` (may be negative)."""
    expectations = {
        segment.pk: document.expected_days[segment.key]
        for segment in layer.segments.all()
        if segment.key in document.expected_days
    }
    standing = frames.standing(layer.pk, first=first, last=last, since=True)
    limit = pl.col("old_effective").replace_strict(expectations, default=None, return_dtype=pl.Int64)
    days = (pl.lit(at, pl.Date) - pl.col("old_effective_since")).dt.total_days()
    return standing.select("id", over=days - limit)
