"""Rows that are locked, and then read with what they refer to."""


def locked(rows):
    """The rows of a queryset, locked in the order of their ids, as they are from then on; a queryset in that order.

    In two statements: one that has waited for a row looks at it anew, but beside what it had joined to it before. Where the
    row refers to something else by then, that would be missing, or the row itself.
    """
    ids = rows.select_related(None).order_by("pk").select_for_update(of=["self"]).values_list("pk", flat=True)
    return rows.filter(pk__in=list(ids)).order_by("pk")
