"""Which company is part of which: upwards it ends, after a few levels, and never comes back to where it began."""

import io

import polars as pl
from django.db import connection

LEVELS = 100  # parents above an account; the database's guard walks no further either
SHOWN = 6  # names of a circle that are told
LOCK = 0x1147048  # advisory lock: who changes parents; the guard takes it, so whoever locks rows first takes it before
PARENT_REJECTED = "its parent is rejected"
PARENT_MISSING = "its parent is not among the accounts, and may be in a line that is rejected"
TOO_DEEP = f"there are more than {LEVELS} levels of parents above it"


def circle(account_id, parent_id):
    """Names from the account up and back to it if it had this parent; [] where that is no circle."""
    with connection.cursor() as cursor:
        cursor.execute(
            """with recursive up (id, parent_id, name, level) as (
                 select id, parent_id, coalesce(nullif(name, ''), external_id), 1
                   from accounts_account where id = %(parent)s
                 union all
                 select a.id, a.parent_id, coalesce(nullif(a.name, ''), a.external_id), level + 1
                   from up join accounts_account a on a.id = up.parent_id
                  where up.id <> %(account)s and level <= %(levels)s)
               select id, name from up order by level""",
            {"parent": parent_id, "account": account_id, "levels": LEVELS},
        )
        above = cursor.fetchall()
    if not above or above[-1][0] != account_id:
        return []
    return [above[-1][1], *(name for _, name in above)]


def circle_in_words(names):
    """The sentence about a circle of these names, the first and the last of which are the same."""
    if len(names) > SHOWN + 1:
        names = [*names[:SHOWN], "...", names[-1]]
    return f"its parents lead back to itself: {' → '.join(names)}"


def lock(cursor):
    """Let nobody else change parents until the transaction ends; before any account is locked, or two may wait in a circle."""
    cursor.execute("select pg_advisory_xact_lock(%s)", [LOCK])


def refuse(staged):
    """[(row number, parent, reason)] of an import's rows that would close a circle, or pile up too many levels.

    staged: SQL of (nr, external_id, before, after), the parents' external_ids, of the rows whose parent would change.
    A row that is refused keeps its old parent, which may close another circle: looked at again until there is none.
    """
    with connection.cursor() as cursor:
        changed = _read(cursor, staged, {"nr": pl.Int64, "child": pl.String, "parent": pl.String})
        if not changed["parent"].count():
            return []
        lock(cursor)
        held = _read(
            cursor,
            """select a.external_id, b.external_id from accounts_account a
                 join accounts_account b on b.id = a.parent_id""",
            {"child": pl.String, "parent": pl.String},
        )
    refused = []
    while True:
        after = pl.concat(
            [held.join(changed, on="child", how="anti"), changed.select("child", "parent").drop_nulls()]
        )
        closing, deep = _walk(changed.drop_nulls(), after)
        wrong = closing or deep
        if not wrong:
            return refused
        if closing:
            above = dict(after.iter_rows())
            refused += [(nr, above[child], circle_in_words(_round(child, above))) for nr, child in closing]
        else:
            above = dict(changed.select("child", "parent").iter_rows())
            refused += [(nr, above[child], TOO_DEEP) for nr, child in deep]
        changed = changed.filter(~pl.col("nr").is_in([nr for nr, _ in wrong]))


def refuse_parts(cursor, rejected, some_unnamed=False):
    """Remove the rows from `staged` whose parent is rejected and not there yet, and those below them; (row number, column, value, reason).

    some_unnamed: a parent that is nowhere may be in a line that is rejected.
    """
    refused = []
    while rejected or some_unnamed:
        cursor.execute(
            """delete from staged s
                where s.parent <> s.external_id and (%(any)s or s.parent = any(%(rejected)s))
                  and not exists (select from accounts_account a where a.external_id = s.parent)
                  and not exists (select from staged b where b.external_id = s.parent)
               returning nr, parent, external_id""",
            {"any": some_unnamed, "rejected": rejected},
        )  # fmt: skip
        found = cursor.fetchall()
        refused += [
            (nr, "parent", parent, PARENT_MISSING if some_unnamed else PARENT_REJECTED)
            for nr, parent, _ in found
        ]
        rejected, some_unnamed = [external_id for *_, external_id in found], False
    return refused


def _read(cursor, query, schema):
    with cursor.copy(f"copy ({query}) to stdout (format csv)") as copy:
        content = b"".join(copy)
    return (
        pl.read_csv(io.BytesIO(content), has_header=False, schema=schema)
        if content
        else pl.DataFrame(schema=schema)
    )


def _walk(changed, after):
    """((nr, child) of the changed rows that come back to themselves, (nr, child) of those that never end)."""
    up = after.rename({"child": "parent", "parent": "next"})
    going = changed.select("nr", "child", "parent")
    closing = []
    for _ in range(LEVELS):
        going = going.join(up, on="parent").select("nr", "child", parent="next")
        home = going["parent"] == going["child"]
        closing += going.filter(home).select("nr", "child").rows()
        going = going.filter(~home)
        if going.is_empty():
            break
    return closing, going.select("nr", "child").rows()


def _round(child, above):
    names, at = [child], above[child]
    while at != child:
        names.append(at)
        at = above[at]
    return [*names, child]
