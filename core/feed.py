"""The feed of changes: rows get numbers once their transaction is final, so that whoever reads on from a number misses none.

A row may be written long before it is seen: a number given at writing would be passed by a reader before its transaction has
ended. So a statement's rows are noted with their transaction (core.models.Change), and numbered, one sequencer at a time, once
no transaction that began before is still going on. A long transaction delays what came after it, and loses nothing.
"""

from dataclasses import dataclass

from django.db import connection, transaction

LOCK = 0x114704B  # advisory lock: one sequencer at a time

# The first number of a transaction that may still be going on: none below it is. Those of other databases of the server are
# not meant, which is why the server is asked who is at work here, and not for the oldest of all. Where it does not tell that of
# another role, the oldest of all counts. Asked of a snapshot that is older than the answer, so that nobody is missed.
_BOUND = """
    with here as materialized (
        select backend_xid, usesysid from pg_stat_activity
         where datid = (select oid from pg_database where datname = current_database()) and pid <> pg_backend_pid()),
    running as (
        select backend_xid::text::numeric as xid from here where backend_xid is not null
        union all
        select transaction::text::numeric from pg_prepared_xacts where database = current_database()),
    top as (
        select pg_snapshot_xmax(pg_current_snapshot())::text::numeric as next, 4294967296::numeric as epoch,
               2147483648::numeric as half)
    select case when exists (
                     select from here where usesysid is not null and not pg_has_role(usesysid, 'USAGE')
                                        and not pg_has_role('pg_read_all_stats', 'USAGE'))
                then pg_snapshot_xmin(pg_current_snapshot())::text
                else least(next, (
                     select min(case when whole - next > half then whole - epoch when next - whole > half then whole + epoch
                                     else whole end)
                       from running, lateral (select xid + floor(next / epoch) * epoch as whole) f))::bigint::text end
      from top
"""
# A number of a transaction that is not of this server's is of a database that was restored: that has ended long ago.
_NUMBER = """
    with fresh as (
        select id, size from core_change
         where first is null and (xid < %s::xid8 or xid >= pg_snapshot_xmax(pg_current_snapshot()))
         order by xid, id),
    numbered as (
        select id, sum(size) over (order by place) - size + 1 as place
          from (select id, size, row_number() over () as place from fresh) f)
    update core_change c
       set first = n.place + (select coalesce(max(last), 0) from (
                       select first + size - 1 as last from core_change where first is not null order by first desc limit 1) l)
      from numbered n where c.id = n.id
"""
_READ = """
    select kind, at, begins, ids[begins - first + 1 : begins - first + %(limit)s] from (
        select *, greatest(first, %(after)s + 1) as begins from (
        select * from core_change where first > %(after)s
        union all
        (select * from core_change where first <= %(after)s order by first desc limit 1)) near) c
     where first + size - 1 > %(after)s order by first limit %(limit)s
"""
_LAST = "select first + size - 1 from core_change where first is not null order by first desc limit 1"
_WAITING = """
    select (select count(*) from core_change where first is null),
           (select extract(epoch from now() - min(began)) from (
                select xact_start as began from pg_stat_activity
                 where backend_xid is not null and pid <> pg_backend_pid() and datname = current_database()
                union all select prepared from pg_prepared_xacts where database = current_database()) t)
"""


@dataclass(frozen=True)
class Entry:
    """A row of a kind, and the number it has in the feed."""

    number: int
    kind: str
    id: int
    at: object


def number():
    """Give the next numbers to what is final and has none."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", [LOCK])
        cursor.execute("select pg_stat_clear_snapshot()")
        cursor.execute(_BOUND)
        cursor.execute(_NUMBER, cursor.fetchone())
        return cursor.rowcount


def after(place, limit):
    """The Entries behind a number, `limit` at most, in their order."""
    with connection.cursor() as cursor:
        cursor.execute(_READ, {"after": place, "limit": limit})
        rows = cursor.fetchall()
    entries = []
    for kind, at, begins, ids in rows:
        entries += [
            Entry(begins + place, kind, id, at) for place, id in enumerate(ids[: limit - len(entries)])
        ]
        if len(entries) == limit:
            break
    return entries


def last():
    """The highest number that was given; 0 before the first."""
    with connection.cursor() as cursor:
        cursor.execute(_LAST)
        row = cursor.fetchone()
        return row[0] if row else 0


def waiting():
    """(statements whose rows have no number yet, seconds since the oldest open transaction began or None)."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_stat_clear_snapshot()")
        cursor.execute(_WAITING)
        number, seconds = cursor.fetchone()
    return number, None if seconds is None else max(0, int(seconds))
