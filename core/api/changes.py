"""The feed of changes: whoever reads on from the number they have gets everything written since, once.

An app says of each kind of row what is told of it: `tells("move", permission, rows)`, where rows(ids) gives {id: what is told}.
"""

from collections import defaultdict

from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.response import Response

from core import feed
from core.api import pages, queries
from core.api.resources import Resource

_KINDS = {}  # kind: (permission, function)


def tells(kind, permission, rows):
    """Say what the feed tells of rows of a kind, and the permission to read of them."""
    _KINDS[kind] = (permission, rows)


class ChangeSerializer(serializers.Serializer):
    number = serializers.IntegerField()
    kind = serializers.CharField()
    at = serializers.DateTimeField(help_text="When the transaction that wrote it began.")
    data = serializers.DictField()


@extend_schema_serializer(many=False)
class FeedSerializer(serializers.Serializer):
    """`after`: what to ask for next; `last`: the highest number there is; `more`: whether to ask again at once.

    `waiting`: statements whose rows come later, since a transaction that began before them is still going on; the oldest one
    for so many seconds.
    """

    results = ChangeSerializer(many=True)
    after = serializers.IntegerField()
    last = serializers.IntegerField()
    more = serializers.BooleanField()
    next = serializers.URLField()
    waiting = serializers.IntegerField()
    oldest_transaction_seconds = serializers.IntegerField(allow_null=True)


class Changes(Resource):
    """Everything that has changed, in the order in which it became final."""

    path = "changes"
    serializer_class = FeedSerializer
    pagination_class = None
    permissions = {"list": ""}  # each kind has its own

    def parameters(self):
        return {
            "after": queries.whole(help="The number that was read last; 0 for everything there is."),
            "limit": queries.whole(
                least=1, most=pages.MOST, help=f"Rows of an answer; {pages.USUAL} if not said."
            ),
        }

    @extend_schema(responses=FeedSerializer)
    def list(self, request):
        """Numbers what has become final, and tells what stands behind `after`."""
        after, limit = self.values.get("after", 0), self.values.get("limit", pages.USUAL)
        feed.number()
        entries = feed.after(after, limit)
        waiting, seconds = feed.waiting()
        following = entries[-1].number if entries else after
        address = f"{request.build_absolute_uri(request.path)}?after={following}&limit={limit}"
        return Response({
            "results": self._told(entries),
            "after": following,
            "last": feed.last(),
            "more": len(entries) == limit,
            "next": address,
            "waiting": waiting,
            "oldest_transaction_seconds": seconds,
        })  # fmt: skip

    def _told(self, entries):
        """The entries whoever asks may see, as their apps tell them; a row that is there no more is left out."""
        ids = defaultdict(list)
        for entry in entries:
            ids[entry.kind].append(entry.id)
        told = {}
        for kind, of_kind in ids.items():
            permission, rows = _KINDS[kind]
            if self.request.user.has_perm(permission):
                told |= {(kind, id): data for id, data in rows(of_kind).items()}
        return [
            {"number": entry.number, "kind": entry.kind, "at": entry.at, "data": told[entry.kind, entry.id]}
            for entry in entries
            if (entry.kind, entry.id) in told
        ]
