"""Values that would change how an account is segmented and do not come from where they should: held back, until people decide.

Each protected fact may name its system of record. A value from another source changes nothing by itself, nor does any
value for an account whose segment people have pinned. Where it matters it becomes a Conflict, with both values, and the
fact stays as it is; elsewhere it is applied. The gate "facts" says where: accounts knows nothing of segments.

A decision is remembered: the same value from the same source is not news until it changes. All of this goes by the rows
in the temporary table `staged` (nr, external_id, a column a fact), for an import of a million as for a single correction.
"""

from dataclasses import dataclass, field
from datetime import date

import polars as pl
from django.utils import timezone

from accounts import gates, parents
from accounts.catalogue import PROTECTED
from accounts.models import Account, Conflict, SystemOfRecord
from core.history import actor
from core.locking import locked
from core.refusals import Refused

Status = Conflict.Status
BATCH = 2_000  # rows of an INSERT
LATE = "older than a value that waits for a decision: left alone"


@dataclass
class Candidate:
    """A protected fact of an account that a row of `staged` would change."""

    nr: int
    account: int
    external_id: str
    fact: str
    held: str
    held_source: str
    held_observed: date | None
    proposed: str | None
    effects: list = field(default_factory=list)
    open: Conflict | None = None  # what waits already


@dataclass
class Sifted:
    """Values that are not applied: `queued` waits for a decision, the others were decided, wait already or came too late."""

    queued: list = field(default_factory=list)
    others: list = field(default_factory=list)
    late: list = field(default_factory=list)  # of the others

    @property
    def rows(self):
        """{fact: numbers of the rows in which it is not applied}."""
        found = {}
        for one in [*self.queued, *self.others]:
            found.setdefault(one.fact, []).append(one.nr)
        return found

    def without(self, numbers):
        """The same without these rows, which are not imported."""
        gone = set(numbers)
        parts = (
            [one for one in some if one.nr not in gone] for some in (self.queued, self.others, self.late)
        )
        return Sifted(*parts)

    @property
    def warnings(self):
        """As an import tells them."""
        if not self.late:
            return []
        examples = [one.external_id for one in self.late[:5]]
        return [{"warning": LATE, "count": len(self.late), "examples": examples}]


def sift(cursor, given, origin, *, clears=False):
    """Which protected facts of `staged` are not to be applied, as Sifted; nothing is written but the parents in `staged`.

    given: the facts `staged` has. clears: a missing value takes away what another source said (people do that).
    The accounts concerned are locked, in the order of their ids.
    """
    watched = [fact for fact in PROTECTED if fact in given]
    foreign = _foreign(watched, origin.source)
    pinned = set(gates.ask("facts", "pinned") or []) if watched else set()
    decided = Conflict.objects.filter(fact__in=watched, status__in=[Status.KEPT, Status.TAKEN])
    some = pinned | set(decided.values_list("account", flat=True)) if watched else set()
    if not foreign and not some:
        return Sifted()
    known = {"foreign": foreign, "some": sorted(some), "clears": clears}
    found = _candidates(cursor, watched, origin, **known)
    if not found:
        return Sifted()
    if "parent" in watched:
        parents.lock(cursor)  # before any account, or two may wait in a circle
    ids = sorted({one.account for one in found})
    list(Account.objects.select_for_update(of=["self"]).filter(pk__in=ids).order_by("pk").values_list("pk"))
    found = _candidates(
        cursor, watched, origin, **known, only=ids
    )  # as they are now that nobody changes them
    sifted = _decide(found, origin, foreign=set(foreign), pinned=pinned)
    _keep_parents(cursor, sifted)
    return sifted


def queue(sifted, origin, *, reason=""):
    """Write what waits for a decision from now on; a newer proposal takes the place of an older one. The Conflicts."""
    if not sifted.queued:
        return []
    replaced = [one.open for one in sifted.queued if one.open]
    for one in replaced:
        _end(one, Status.SUPERSEDED, f"{origin.source} says something else since.")
    _write(replaced, update=True, batch=origin.batch)
    who = actor()
    rows = [
        Conflict(
            account_id=one.account,
            fact=one.fact,
            held_value=one.held,
            held_source=one.held_source,
            held_observed=one.held_observed,
            proposed_value=one.proposed,
            proposed_source=origin.source,
            proposed_observed=origin.observed,
            effects=one.effects,
            reason=reason,
            opened_by=who.id,
            opened_by_label=who.label,
            batch=origin.batch,
        )
        for one in sifted.queued
    ]
    _write(rows, batch=origin.batch)
    gates.ask("facts", "queued", rows)
    return rows


def propose(account, fact, value, origin, *, reason):
    """Somebody who changes nothing says what is right: it waits, whether it matters to a segment or not. The Conflict.

    value: as text, not empty. In the caller's transaction, in the name of who acts.
    """
    held = locked(Account.objects.filter(pk=account.pk).select_related("parent")).get()
    now = held.parent.external_id if fact == "parent" and held.parent else getattr(held, fact)
    now = None if now in (None, "") else str(now)
    if value == now:
        raise Refused("value_held_already")
    whose, observed = held.provenance.get(fact) or ("", None)
    one = Candidate(
        0, held.pk, held.external_id, fact, now, whose, observed and date.fromisoformat(observed), value
    )
    waiting, _ = _known({held.pk})
    one.open = waiting.get((held.pk, fact))
    if one.open and one.open.proposed_value == value:
        raise Refused("value_proposed_already", source=one.open.proposed_source)
    one.effects = _weigh([one]).get(0, [])
    [made] = queue(Sifted([one]), origin, reason=reason)
    return made


def settle(cursor, given, origin, sifted=None):
    """End or mend what waits, once `staged` has been applied.

    Settled: the fact has the proposed value now, or its system of record (or who proposed another one) says what we have.
    Where the fact has got a third value, that is what the proposal stands against from now on.
    """
    watched = [fact for fact in PROTECTED if fact in given]
    waiting = Conflict.objects.open().filter(fact__in=watched)
    if not watched or not waiting.exists():
        return
    held = {(nr, fact) for fact, numbers in (sifted.rows if sifted else {}).items() for nr in numbers}
    named = _records(watched)
    cursor.execute(
        f"""select c.id, s.nr, c.fact, w.now, w.said, w.source, w.observed
              from accounts_conflict c
              join accounts_account a on a.id = c.account_id
              join staged s on s.external_id = a.external_id
              {_PARENT}
             cross join lateral (values {_facts(watched)}) v (fact, now, said)
             cross join lateral (select v.now, v.said, a.provenance -> v.fact ->> 0 as source,
                                        (a.provenance -> v.fact ->> 1)::date as observed) w
             where c.status = 'open' and c.fact = v.fact
             order by s.nr"""
    )
    found = {pk: rest for pk, *rest in cursor.fetchall() if (rest[0], rest[1]) not in held}
    changed = []
    for one in waiting.select_for_update(of=["self"]).filter(pk__in=list(found)).order_by("pk"):
        _, fact, now, said, source, observed = found[one.pk]
        agrees = said == now == one.held_value and origin.source in (named.get(fact), one.proposed_source)
        if now == one.proposed_value:
            _end(one, Status.CLOSED, f"{origin.source} says so too: it is what we have now.")
        elif agrees and origin.observed >= one.proposed_observed:
            _end(one, Status.CLOSED, f"{origin.source} says what we have.")
        elif now != one.held_value:
            one.held_value, one.held_source, one.held_observed = now, source or "", observed
        else:
            continue
        changed.append(one)
    _write(changed, update=True, batch=origin.batch)


def stage(cursor, external_id, values):
    """The temporary table `staged` for the protected facts of a single account: {fact: text or None}."""
    columns = "".join(f', %({name})s::text as "{name}"' for name in values)
    cursor.execute(
        f"create temp table staged on commit drop as select 0::bigint as nr, %(id)s::text as external_id{columns}",
        {"id": external_id, **values},
    )


def records():
    """{fact: key of its system of record} of all that have one."""
    return _records(None)


def _records(facts):
    named = SystemOfRecord.objects.all() if facts is None else SystemOfRecord.objects.filter(fact__in=facts)
    return dict(named.values_list("fact", "source__key"))


def _foreign(facts, source):
    """Facts, out of these, whose system of record is another source than this one."""
    return [fact for fact, record in _records(facts).items() if record != source] if facts else []


# -- finding


_PARENT = "left join accounts_account p on p.id = a.parent_id"


def _facts(watched):
    """SQL rows (fact, what we have, what the row says), as text."""
    held = {fact: "p.external_id" if fact == "parent" else f"a.{fact}::text" for fact in watched}
    return ", ".join(f"('{fact}', {held[fact]}, s.{fact}::text)" for fact in watched)


def _candidates(cursor, watched, origin, *, foreign, some, clears, only=None):
    """The protected facts that would change, in the order of the accounts. NULL to a value is no change: nothing is lost."""
    wanted = watched if some else foreign
    differs = " or ".join(
        f"{'p.external_id' if fact == 'parent' else f'a.{fact}::text'} is distinct from s.{fact}::text"
        for fact in wanted
    )
    cursor.execute(
        f"""select s.nr, a.id, a.external_id, w.fact, w.held, w.source, w.observed, w.proposed
              from staged s join accounts_account a using (external_id) {_PARENT if "parent" in wanted else ""}
             cross join lateral (select v.*, a.provenance -> v.fact ->> 0 as source, a.provenance -> v.fact ->> 1 as observed
                                   from (values {_facts(wanted)}) v (fact, held, proposed)) w
             where ({differs}) and w.held <> '' and w.proposed is distinct from w.held
               and (w.proposed is not null or %(clears)s or w.source = %(source)s)
               and coalesce(w.observed, '') <= %(observed)s::date::text
               and (w.fact = any(%(foreign)s) or a.id = any(%(some)s))
               and (%(all)s or a.id = any(%(only)s))
             order by a.id, w.fact""",
        {
            "source": origin.source,
            "observed": origin.observed,
            "clears": clears,
            "foreign": foreign,
            "some": some,
            "all": only is None,
            "only": only or [],
        },
    )
    return [
        Candidate(
            nr, account, name, fact, held, source or "", observed and date.fromisoformat(observed), said
        )
        for nr, account, name, fact, held, source, observed, said in cursor.fetchall()
    ]


def _decide(found, origin, *, foreign, pinned):
    sifted, asked = Sifted(), []
    waiting, decided = _known({one.account for one in found})
    for one in found:
        key = one.account, one.fact
        one.open = waiting.get(key)
        waits = one.open is not None and one.open.proposed_value == one.proposed
        if _remembers(decided.get(key), one, origin.source):
            sifted.others.append(one)
        elif one.fact not in foreign and one.account not in pinned:
            continue  # who has the last word ends what waits
        elif waits:
            sifted.others.append(one)
        elif one.open and origin.observed < one.open.proposed_observed:
            sifted.others.append(one)
            sifted.late.append(one)
        else:
            asked.append(one)
    matters = _weigh(asked)
    for row, one in enumerate(asked):
        if row in matters:
            one.effects = matters[row]
            sifted.queued.append(one)
    return sifted


def _known(accounts):
    """({(account, fact): what waits}, {(account, fact): what was decided last})."""
    waiting, decided = {}, {}
    kept = Conflict.objects.filter(account__in=accounts, status__in=[Status.OPEN, Status.KEPT, Status.TAKEN])
    for one in kept.order_by("pk"):
        (waiting if one.status == Status.OPEN else decided)[one.account_id, one.fact] = one
    return waiting, decided


def _remembers(decided, one, source):
    """Somebody has decided between exactly these two values, and against that of this source."""
    if decided is None:
        return False
    ours, theirs, whose = decided.held_value, decided.proposed_value, decided.proposed_source
    if decided.status == Status.TAKEN:
        ours, theirs, whose = theirs, ours, decided.held_source
    return (ours, theirs, whose) == (one.held, one.proposed, source)


def _weigh(asked):
    """{place: [what it would change, in sentences]} of the candidates that matter."""
    if not asked:
        return {}
    frame = pl.DataFrame(
        [(row, one.account, one.fact, one.held, one.proposed) for row, one in enumerate(asked)],
        schema={
            "row": pl.Int64,
            "account": pl.Int64,
            "fact": pl.String,
            "held": pl.String,
            "proposed": pl.String,
        },
        orient="row",
    )
    return gates.ask("facts", "weigh", frame) or {}


def _keep_parents(cursor, sifted):
    """A parent that is not applied stays what it is: circles are looked for with that one."""
    held = [one for one in [*sifted.queued, *sifted.others] if one.fact == "parent"]
    if held:
        cursor.execute(
            """update staged s set parent = h.parent
                 from unnest(%(rows)s::bigint[], %(parents)s::text[]) h (nr, parent) where s.nr = h.nr""",
            {"rows": [one.nr for one in held], "parents": [one.held for one in held]},
        )


# -- writing

_CHANGED = ["status", "note", "decided_at", "held_value", "held_source", "held_observed"]


def _end(conflict, status, note):
    conflict.status, conflict.note, conflict.decided_at = status, note, timezone.now()


def _write(conflicts, *, update=False, batch=None):
    """Conflicts and their history, many at a time."""
    if not conflicts:
        return
    if update:
        Conflict.objects.bulk_update(conflicts, _CHANGED, batch_size=BATCH)
    else:
        Conflict.objects.bulk_create(conflicts, batch_size=BATCH)
    Conflict.history.bulk_history_create(
        conflicts,
        batch_size=BATCH,
        update=update,
        default_change_reason=actor().reason,
        custom_historical_attrs={"history_run": batch},
    )
