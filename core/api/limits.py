"""The number of requests a user may send in a minute, counted in the database, so that all processes count together."""

import time

from django.conf import settings
from django.db import connection, transaction
from rest_framework.throttling import BaseThrottle

_COUNT = """insert into core_callcount as c (who, minute, calls) values (%s, %s, 1)
    on conflict (who) do update
       set calls = case when c.minute = excluded.minute then c.calls + 1 else 1 end, minute = excluded.minute
    returning calls"""


class PerMinute(BaseThrottle):
    """At most settings.API_CALLS of one user in a minute of the clock."""

    def allow_request(self, request, view):
        if not request.user.is_authenticated:
            return True
        self.now = time.time()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("set local synchronous_commit = off")  # a count that a crash loses hurts nobody
            cursor.execute(_COUNT, [request.user.pk, int(self.now // 60)])
            return cursor.fetchone()[0] <= settings.API_CALLS

    def wait(self):
        """Seconds until the next minute begins."""
        return int(60 - self.now % 60) + 1
