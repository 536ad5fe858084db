"""Segments within segments: a parent may be of the same segmentation or of another (macro and micro)."""

from segmentation.models import Segment


def paths():
    """{id of a segment that has a parent: `Enterprise › Enterprise strategic`}; one query."""
    segments = {
        pk: (name, parent) for pk, name, parent in Segment.objects.values_list("pk", "name", "parent")
    }
    return {pk: " › ".join(_names(pk, segments)) for pk, (_, parent) in segments.items() if parent}


def _names(segment, segments):
    """From the outermost segment down to this one; the database lets no circle in."""
    name, parent = segments[segment]
    return [*_names(parent, segments), name] if parent else [name]
