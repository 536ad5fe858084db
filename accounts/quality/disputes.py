"""Values that would change how an account is segmented and do not come from where they should: held back, until people decide.

Each protected fact may name its system of record; without one it is the source of the value we have. A value from another
source changes nothing by itself, nor does any value for an account whose segment people have pinned. Where it matters it
becomes a Conflict, with both values, and the fact stays as it is; elsewhere it is applied. The gate "facts" says where:
accounts knows nothing of segments. A CSM that people entered, such as by a hand-over, matters always: a file that still
names the one before proposes that one.

A decision is remembered: the same value from the same source is not news until it changes. All of this goes by the rows
in the temporary table `staged` (nr, external_id, a column a fact), for an import of a million as for a single correction.
"""

from dataclasses import dataclass, field
from datetime import date

import polars as pl
from django.utils import timezone

from accounts import gates, parents
from accounts.catalogue import DISPUTED, PROTECTED
from accounts.models import Account, Conflict, SystemOfRecord
from core.history import actor
from core.locking import locked
from core.refusals import Refused

Status = Conflict.Status
MANUAL = "manual"  # the source of what people enter
ENTERED = "entered"  # the effect of a value: what people entered is overwritten
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


@dataclass(frozen=True)
class _Foreign:
    """Facts on which this source has not the last word: another has it, or whoever gave the value we have."""

    always: list
    by_value: list
    source: str

    @property
    def facts(self):
        return [*self.always, *self.by_value]

    def __contains__(self, candidate):
        if candidate.fact in self.always:
            return True
        if candidate.fact not in self.by_value or candidate.held_source in ("", self.source):
            return False
        return candidate.fact in PROTECTED or candidate.held_source == MANUAL


@dataclass
class Sifted:
    """Values that are not applied: `queued` waits for a decision, the others were decided, wait already or came too late."""

    queued: list = field(default_factory=list)
    others: list = field(default_factory=list)
    late: list = field(default_factory=list)  # of the others

    @property
    def rows(self):
        """{fact: numbers of the rows in which it is not applied}."""
        numbers = {}
        for candidate in [*self.queued, *self.others]:
            numbers.setdefault(candidate.fact, []).append(candidate.nr)
        return numbers

    def without(self, numbers):
        """The same without these rows, which are not imported."""
        gone = set(numbers)
        parts = (
            [candidate for candidate in some if candidate.nr not in gone]
            for some in (self.queued, self.others, self.late)
        )
        return Sifted(*parts)

    @property
    def warnings(self):
        """As an import tells them."""
        if not self.late:
            return []
        examples = [candidate.external_id for candidate in self.late[:5]]
        return [{"warning": LATE, "count": len(self.late), "examples": examples}]


def sift(cursor, given, origin, *, clears=False):
    """Which protected facts of `staged` are not to be applied, as Sifted; nothing is written but the parents in `staged`.

    given: the facts `staged` has. clears: a missing value takes away what another source said (people do that).
    The accounts concerned are locked, in the order of their ids.
    """
    watched = [fact for fact in DISPUTED if fact in given]
    named = _records([fact for fact in watched if fact in PROTECTED])
    foreign = _Foreign(
        [fact for fact, record in named.items() if record != origin.source],
        [fact for fact in watched if fact not in named] if origin.source != MANUAL else [],
        origin.source,
    )
    pinned = set(gates.consult("facts", "pinned") or []) if watched else set()
    decided = Conflict.objects.filter(fact__in=watched, status__in=[Status.KEPT, Status.TAKEN])
    some = pinned | set(decided.values_list("account", flat=True)) if watched else set()
    if not foreign.facts and not some:
        return Sifted()
    options = {"foreign": foreign, "some": sorted(some), "clears": clears}
    candidates = _candidates(cursor, watched, origin, **options)
    if not candidates:
        return Sifted()
    if "parent" in watched:
        parents.lock(cursor)  # before any account, or two may wait in a circle
    ids = sorted({candidate.account for candidate in candidates})
    list(Account.objects.select_for_update(of=["self"]).filter(pk__in=ids).order_by("pk").values_list("pk"))
    candidates = _candidates(
        cursor, watched, origin, **options, only=ids
    )  # as they are now that nobody changes them
    sifted = _decide(candidates, origin, foreign=foreign, pinned=pinned)
    _keep_parents(cursor, sifted)
    return sifted


def queue(sifted, origin, *, reason=""):
    """Write what waits for a decision from now on; a newer proposal takes the place of an older one. The Conflicts."""
    if not sifted.queued:
        return []
    replaced = [candidate.open for candidate in sifted.queued if candidate.open]
    for conflict in replaced:
        _end(conflict, Status.SUPERSEDED, f"{origin.source} says something else since.")
    _write(replaced, update=True, batch=origin.batch)
    who = actor()
    rows = [
        Conflict(
            account_id=candidate.account,
            fact=candidate.fact,
            held_value=candidate.held,
            held_source=candidate.held_source,
            held_observed=candidate.held_observed,
            proposed_value=candidate.proposed,
            proposed_source=origin.source,
            proposed_observed=origin.observed,
            effects=candidate.effects,
            reason=reason,
            opened_by=who.id,
            opened_by_label=who.label,
            batch=origin.batch,
        )
        for candidate in sifted.queued
    ]
    _write(rows, batch=origin.batch)
    gates.consult("facts", "queued", rows)
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
    candidate = Candidate(
        0, held.pk, held.external_id, fact, now, whose, observed and date.fromisoformat(observed), value
    )
    waiting, _ = _conflicts({held.pk})
    candidate.open = waiting.get((held.pk, fact))
    if candidate.open and candidate.open.proposed_value == value:
        raise Refused("value_proposed_already", source=candidate.open.proposed_source)
    candidate.effects = _weigh([candidate]).get(0, [])
    [made] = queue(Sifted([candidate]), origin, reason=reason)
    return made


def settle(cursor, given, origin, sifted=None):
    """End or mend what waits, once `staged` has been applied.

    Settled: the fact has the proposed value now, or its system of record (or who proposed another one) says what we have.
    Where the fact has got a third value, that is what the proposal stands against from now on.
    """
    watched = [fact for fact in DISPUTED if fact in given]
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
              {_joins(watched)}
             cross join lateral (values {_facts(watched)}) v (fact, now, said)
             cross join lateral (select v.now, v.said, a.provenance -> v.fact ->> 0 as source,
                                        (a.provenance -> v.fact ->> 1)::date as observed) w
             where c.status = 'open' and c.fact = v.fact
             order by s.nr"""
    )
    states = {pk: state for pk, *state in cursor.fetchall() if (state[0], state[1]) not in held}
    changed = []
    for conflict in waiting.select_for_update(of=["self"]).filter(pk__in=list(states)).order_by("pk"):
        _, fact, now, stated, source, observed = states[conflict.pk]
        agrees = stated == now == conflict.held_value and origin.source in (
            named.get(fact),
            conflict.proposed_source,
        )
        if now == conflict.proposed_value:
            _end(conflict, Status.CLOSED, f"{origin.source} says so too: it is what we have now.")
        elif agrees and origin.observed >= conflict.proposed_observed:
            _end(conflict, Status.CLOSED, f"{origin.source} says what we have.")
        elif now != conflict.held_value:
            conflict.held_value, conflict.held_source, conflict.held_observed = now, source or "", observed
        else:
            continue
        changed.append(conflict)
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


# -- finding


_HELD = {"parent": "p.external_id", "csm": "lower(m.email)"}  # what we have as text, where that is no column
_JOINED = {
    "parent": "left join accounts_account p on p.id = a.parent_id",
    "csm": "left join accounts_csm m on m.id = a.csm_id",
}


def _held(fact):
    return _HELD.get(fact, f"a.{fact}::text")


def _joins(watched):
    return " ".join(join for fact, join in _JOINED.items() if fact in watched)


def _facts(watched):
    """SQL rows (fact, what we have, what the row says), as text."""
    return ", ".join(f"('{fact}', {_held(fact)}, s.{fact}::text)" for fact in watched)


def _candidates(cursor, watched, origin, *, foreign, some, clears, only=None):
    """The protected facts that would change, in the order of the accounts. NULL to a value is no change: nothing is lost."""
    wanted = watched if some else [fact for fact in watched if fact in foreign.facts]
    differs = " or ".join(f"{_held(fact)} is distinct from s.{fact}::text" for fact in wanted)
    cursor.execute(
        f"""select s.nr, a.id, a.external_id, w.fact, w.held, w.source, w.observed, w.proposed
              from staged s join accounts_account a using (external_id) {_joins(wanted)}
             cross join lateral (select v.*, a.provenance -> v.fact ->> 0 as source, a.provenance -> v.fact ->> 1 as observed
                                   from (values {_facts(wanted)}) v (fact, held, proposed)) w
             where ({differs}) and w.held <> '' and w.proposed is distinct from w.held
               and (w.proposed is not null or %(clears)s or w.source = %(source)s)
               and coalesce(w.observed, '') <= %(observed)s::date::text
               and (w.fact = any(%(always)s) or a.id = any(%(some)s)
                    or w.fact = any(%(by_value)s) and w.source <> %(source)s)
               and (%(all)s or a.id = any(%(only)s))
             order by a.id, w.fact""",
        {
            "source": origin.source,
            "observed": origin.observed,
            "clears": clears,
            "always": foreign.always,
            "by_value": foreign.by_value,
            "some": some,
            "all": only is None,
            "only": only or [],
        },
    )
    return [
        Candidate(
            nr, account, name, fact, held, source or "", observed and date.fromisoformat(observed), proposed
        )
        for nr, account, name, fact, held, source, observed, proposed in cursor.fetchall()
    ]


def _decide(candidates, origin, *, foreign, pinned):
    sifted, undecided = Sifted(), []
    waiting, decided = _conflicts({candidate.account for candidate in candidates})
    for candidate in candidates:
        key = candidate.account, candidate.fact
        candidate.open = waiting.get(key)
        waits = candidate.open is not None and candidate.open.proposed_value == candidate.proposed
        if _remembers(decided.get(key), candidate, origin.source):
            sifted.others.append(candidate)
        elif candidate not in foreign and candidate.account not in pinned:
            continue  # who has the last word ends what waits
        elif waits:
            sifted.others.append(candidate)
        elif candidate.open and origin.observed < candidate.open.proposed_observed:
            sifted.others.append(candidate)
            sifted.late.append(candidate)
        else:
            undecided.append(candidate)
    matters = _weigh(undecided)
    for row, candidate in enumerate(undecided):
        if candidate.fact not in PROTECTED and candidate in foreign:
            entered = {"what": ENTERED, "was": candidate.held, "then": candidate.proposed}
            matters[row] = [entered, *matters.get(row, [])]
        if row in matters:
            candidate.effects = matters[row]
            sifted.queued.append(candidate)
    return sifted


def _conflicts(accounts):
    """({(account, fact): what waits}, {(account, fact): what was decided last})."""
    waiting, decided = {}, {}
    kept = Conflict.objects.filter(account__in=accounts, status__in=[Status.OPEN, Status.KEPT, Status.TAKEN])
    for conflict in kept.order_by("pk"):
        (waiting if conflict.status == Status.OPEN else decided)[conflict.account_id, conflict.fact] = (
            conflict
        )
    return waiting, decided


def _remembers(decided, candidate, source):
    """Somebody has decided between exactly these two values, and against that of this source."""
    if decided is None:
        return False
    ours, theirs, whose = decided.held_value, decided.proposed_value, decided.proposed_source
    if decided.status == Status.TAKEN:
        ours, theirs, whose = theirs, ours, decided.held_source
    return (ours, theirs, whose) == (candidate.held, candidate.proposed, source)


def _weigh(candidates):
    """{place: [what it would change, in sentences]} of the candidates that matter."""
    if not candidates:
        return {}
    frame = pl.DataFrame(
        [
            (row, candidate.account, candidate.fact, candidate.held, candidate.proposed)
            for row, candidate in enumerate(candidates)
        ],
        schema={
            "row": pl.Int64,
            "account": pl.Int64,
            "fact": pl.String,
            "held": pl.String,
            "proposed": pl.String,
        },
        orient="row",
    )
    return gates.consult("facts", "weigh", frame) or {}


def _keep_parents(cursor, sifted):
    """A parent that is not applied stays what it is: circles are looked for with that one."""
    held = [candidate for candidate in [*sifted.queued, *sifted.others] if candidate.fact == "parent"]
    if held:
        cursor.execute(
            """update staged s set parent = h.parent
                 from unnest(%(rows)s::bigint[], %(parents)s::text[]) h (nr, parent) where s.nr = h.nr""",
            {"rows": [candidate.nr for candidate in held], "parents": [candidate.held for candidate in held]},
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
