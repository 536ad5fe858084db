"""The way in for facts: upsert of accounts, subscriptions, usage and events, in bulk, with provenance and history.

Each verb takes a frame (one row a record, NR its number), stages it by COPY, and lets the database tell what
is new, what differs and what does not. Rules, for every fact on its own:
- a newer observation replaces an older one; an older one that arrives late leaves the value alone;
- a missing value (NULL) clears only what came from the same source: another source simply does not know it;
- an unchanged value only updates its freshness, without history.
To be called inside a transaction, under `acting(...)`; returns an `Outcome`.
"""

from dataclasses import dataclass, field
from datetime import date

import polars as pl
from django.db import connection

from accounts import record_warnings
from accounts.record_warnings import EXAMPLES, run_sql, warning
from core.history import actor

from . import catalogue, late_values, names, parents
from .models import Account, Subscription
from .quality import disputes

NR = "nr"
SLICE = 50_000  # rows of a COPY message
SEVERAL = 1_000  # rows written after which the planner has to be told within the import
MANY = 10_000  # rows written after which the planner's figures are no longer true
UNKNOWN_SIGNALS = 20  # kinds of them told one by one
TYPES = {
    "text": "text", "integer": "bigint", "money": "numeric(20, 2)", "ratio": "numeric(20, 6)",
    "number": "numeric(20, 6)", "date": "date", "boolean": "boolean",
}  # fmt: skip
NEVER_NULL = {"name", "exclusion_reason"}
UNKNOWN_ACCOUNT = "no account with this ID"


@dataclass
class Outcome:
    """The outcome of one upsert: numbers of rows, and the row numbers of those that had no account.

    refused: (row number, column, value, reason) of rows that what is stored does not allow.
    queued: values that were held back and wait for a decision (accounts.quality.disputes); held: numbers of their rows.
    made: {"CSM" or "product": those there were not before, as people read them}. did: {row number: created or updated}.
    """

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    orphans: list[int] = field(default_factory=list)
    warnings: list[dict] = field(default_factory=list)
    refused: list[tuple] = field(default_factory=list)
    queued: int = 0
    made: dict = field(default_factory=dict)
    did: dict = field(default_factory=dict)
    held: list = field(default_factory=list)


@dataclass(frozen=True)
class Origin:
    """Where rows come from: the source's key, the day they are of, the import; `by_row`: what became of each is told."""

    source: str
    observed: object
    currency: str
    batch: int | None = None
    by_row: bool = False


def analyze(written):
    """Renew the planner's figures of the tables that an import has changed much. written: {query: rows written}.

    PostgreSQL does so by itself a minute or more later; the recalculation and the pages people open next come sooner.
    Outside the import's transaction: a table's figures are locked until the transaction ends.
    """
    tables = {
        "accounts": ["accounts_account", "accounts_historicalaccount", "accounts_usage"],
        "subscriptions": ["accounts_subscription", "accounts_historicalsubscription"],
        "usage": ["accounts_usage"],
        "signals": ["accounts_signal"],
    }
    grown = {table for query, rows in written.items() if rows >= MANY for table in tables[query]}
    if grown:
        with connection.cursor() as cursor:
            run_sql(cursor, f"analyze {', '.join(sorted(grown))}")
    return sorted(grown)


def upsert_accounts(frame, types, origin, rejected=(), some_unnamed=False):
    """Accounts by external_id, with any account and usage facts. types: {column: catalogue type}.

    rejected: IDs of accounts whose rows are rejected already; some_unnamed: of further ones nobody knows the ID.
    """
    given = [name for name in frame.columns if name in types and name != "external_id"]
    own = [name for name in given if name not in catalogue.USAGE_FACTS]
    behaviour = [name for name in given if name in catalogue.USAGE_FACTS]
    if "currency" not in own and catalogue.MONEY_FACTS & set(own):
        own.append("currency")
        frame = frame.with_columns(currency=pl.lit(origin.currency))
    if "excluded" in own and "exclusion_reason" not in own:
        own.append("exclusion_reason")
        frame = frame.with_columns(exclusion_reason=pl.lit(None, pl.String))
    frame, open_ended = _open_ended(frame, "renewal_date")
    with connection.cursor() as cursor:
        _stage(
            cursor, frame, {"external_id": "text", **{name: types.get(name, "text") for name in given + own}}
        )
        refused = names.name_csms(cursor, frame["csm"]) if "csm" in own else []
        if "parent" in own:
            refused += parents.refuse_parts(cursor, [*rejected, *_ids(frame, refused)], some_unnamed)
        held = disputes.sift(cursor, own, origin)
        if "parent" in own:
            circles = _refuse_circles(cursor, origin)
            refused += circles + (parents.refuse_parts(cursor, _ids(frame, circles)) if circles else [])
        held = held.without(nr for nr, *_ in refused)
        _fill_defaults(cursor, own, origin)
        made = {"CSM": names.make_csms(cursor)} if "csm" in own else {}
        run_sql(cursor, "create temp table outcome (nr bigint, what text) on commit drop")
        _write_accounts(cursor, own, origin, held.rows)
        if len(frame) >= SEVERAL:  # else the planner takes them for the few that there were before
            run_sql(cursor, "analyze accounts_account (id, external_id, parent_id)")
            run_sql(cursor, "analyze touched")
        warnings = record_warnings.of_accounts(cursor, own + behaviour, origin)
        warnings += _link_parents(cursor, origin) if "parent" in own else []
        _write_history(cursor, Account, "touched", origin)
        late_values.note(cursor, "account", origin)
        run_sql(cursor, "drop table planned, touched")
        queued = disputes.queue(held, origin)
        disputes.settle(cursor, own, origin, held)
        if behaviour:
            _write_usage(cursor, behaviour, origin, "%(observed)s::date", per_product=False, made="updated")
        outcome = _finish(cursor, origin, len(frame) - len(refused), warnings + held.warnings + open_ended)
        outcome.refused, outcome.queued, outcome.made = refused, len(queued), made
        outcome.held = sorted({candidate.nr for candidate in held.queued})
        return outcome


def upsert_usage(frame, types, origin):
    """Usage of accounts, and of products of accounts; `observed_at` defaults to the origin's date.

    Several observations of one account are taken in their order, so that each fact's newest one stays.
    """
    behaviour = [name for name in frame.columns if name in catalogue.USAGE_FACTS]
    columns = {"external_id": "text", "product": "text", "observed_at": "date"}
    for name in ("product", "observed_at"):
        if name not in frame.columns:
            frame = frame.with_columns(pl.lit(None, pl.String if name == "product" else pl.Date).alias(name))
    frame = frame.with_columns(pl.col("observed_at").fill_null(origin.observed)).sort("observed_at", NR)
    turn = pl.int_range(pl.len()).over("external_id", "product")
    frame = frame.with_columns(turn.alias("turn"))
    with connection.cursor() as cursor:
        _stage(cursor, frame, columns | {"turn": "integer"} | {name: types[name] for name in behaviour})
        run_sql(cursor, "create temp table outcome (nr bigint, what text) on commit drop")
        orphans = _take_orphans(cursor)
        made = {"product": names.make_products(cursor)}
        warnings = record_warnings.of_usage(cursor, behaviour, origin)
        run_sql(cursor, "alter table staged rename to every_turn")
        for number in range(int(frame["turn"].max() or 0) + 1 if len(frame) else 0):
            run_sql(cursor, "create temp table staged on commit drop as select * from every_turn where turn = %(turn)s",
                 turn=number)  # fmt: skip
            for per_product in (False, True):
                _write_usage(cursor, behaviour, origin, "s.observed_at", per_product=per_product)
            run_sql(cursor, "drop table staged")
        run_sql(cursor, "alter table every_turn rename to staged")
        return _finish(cursor, origin, len(frame) - len(orphans), warnings, orphans, made)


def upsert_subscriptions(frame, types, origin):
    """Subscriptions by (external_id, subscription_id): the columns given replace what is held, NULL included."""
    given = [name for name in frame.columns if name in types and name != "external_id"]
    columns = {"external_id": "text", **{name: types[name] for name in given}}
    frame, open_ended = _open_ended(frame, "end_date")
    with connection.cursor() as cursor:
        _stage(cursor, frame, columns)
        run_sql(cursor, "create temp table outcome (nr bigint, what text) on commit drop")
        orphans = _take_orphans(cursor)
        made = {"product": names.make_products(cursor)} if "product" in given else {}
        _write_subscriptions(cursor, given, origin)
        late_values.note(cursor, "subscription", origin)
        late = "select external_id from planned where late"
        warnings = warning(cursor, "older than what is known already: left alone", late)
        warnings += record_warnings.of_overlaps(cursor, origin)
        warnings += record_warnings.of_contracts(cursor, origin) + open_ended
        _write_history(cursor, Subscription, "touched", origin)
        run_sql(cursor, "drop table planned, touched")
        return _finish(cursor, origin, len(frame) - len(orphans), warnings, orphans, made)


def upsert_signals(frame, types, origin):
    """Account events; one that is known already is left alone."""
    with connection.cursor() as cursor:
        _stage(cursor, frame, {"external_id": "text", "signal": "text", "at": "date"})
        run_sql(cursor, "create temp table outcome (nr bigint, what text) on commit drop")
        orphans = _take_orphans(cursor)
        warnings = warning(
            cursor, "event dated after the import's date",
            "select external_id from staged where at > %(observed)s", observed=origin.observed,
        )  # fmt: skip
        warnings += _unknown_signals(cursor)
        run_sql(
            cursor,
            """insert into outcome select s.nr, 'created' from staged s join accounts_account a using (external_id)
               where not exists (select from accounts_signal b
                                  where b.account_id = a.id and b.signal = s.signal and b.at = s.at)""",
        )
        run_sql(
            cursor,
            """insert into accounts_signal (account_id, signal, at, source)
               select a.id, s.signal, s.at, %(source)s from staged s join accounts_account a using (external_id)
               on conflict do nothing""",
            source=origin.source,
        )
        return _finish(cursor, origin, len(frame) - len(orphans), warnings, orphans)


def _unknown_signals(cursor):
    """A warning for each kind of event that is not in the catalogue; those beyond the first few together."""
    run_sql(
        cursor,
        f"""select signal, count(*), (array_agg(external_id order by external_id))[1:{EXAMPLES}] from staged
            where signal <> all(%(known)s) group by signal order by count(*) desc, signal""",
        known=list(catalogue.SIGNALS),
    )
    kinds = cursor.fetchall()
    warnings = [
        {"warning": _unknown_signal(kind), "count": count, "examples": examples}
        for kind, count, examples in kinds[:UNKNOWN_SIGNALS]
    ]
    if further := kinds[UNKNOWN_SIGNALS:]:
        text = f"{len(further)} more kinds of events that are not in the data dictionary: kept, but rules cannot use them"
        count = sum(count for _, count, _ in further)
        warnings.append(
            {"warning": text, "count": count, "examples": [kind for kind, _, _ in further[:EXAMPLES]]}
        )
    return warnings


def _unknown_signal(kind):
    near = catalogue.nearest_signal(kind)
    hint = f"; did you mean {near!r}?" if near else ""
    return f"event {kind!r} is not in the data dictionary: kept, but rules cannot use it{hint}"


def _open_ended(frame, column):
    """The frame without dates that stand for no end, and a warning of them."""
    if column not in frame.columns or frame.schema[column] != pl.Date:
        return frame, []
    far = frame[column] >= date.fromisoformat(catalogue.NO_END)
    if not far.any():
        return frame, []
    examples = frame.filter(far)["external_id"].unique().sort()[:EXAMPLES].to_list()
    frame = frame.with_columns(pl.when(~far).then(pl.col(column)).alias(column))
    text = "a date so far away is no end: it is left open"
    return frame, [{"warning": text, "count": int(far.sum()), "examples": examples}]


# -- staging ------------------------------------------------------------------------------------------------


def _stage(cursor, frame, types):
    """COPY the frame into the temporary table `staged`, analysed so that the joins below are planned on its size."""
    columns = {NR: "bigint", **{name: TYPES[kind] for name, kind in types.items()}}
    shape = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    run_sql(cursor, f"create temp table staged ({shape}) on commit drop")
    chosen = frame.select(list(columns))
    with cursor.copy(f"copy staged ({_names(columns)}) from stdin (format csv)") as copy:
        for part in chosen.iter_slices(SLICE):
            copy.write(part.write_csv(include_header=False))
    run_sql(cursor, "create index on staged (external_id)")
    run_sql(cursor, "analyze staged")


def _names(names, prefix=""):
    return ", ".join(f'{prefix}"{name}"' for name in names)


def _finish(cursor, origin, rows, warnings, orphans=(), made=None):
    run_sql(
        cursor,
        """select count(distinct nr) filter (where what = 'created'), count(distinct nr) from outcome""",
    )
    created, touched = cursor.fetchone()
    told = {"made": made or {}, "did": _by_row(cursor) if origin.by_row else {}}
    run_sql(cursor, "drop table staged, outcome")
    return Outcome(created, touched - created, rows - touched, list(orphans), warnings, **told)


def _by_row(cursor):
    """{row number: created or updated}; of a row that was both it is the first."""
    run_sql(cursor, "select nr, min(what) from outcome group by nr")
    return dict(cursor.fetchall())


def _take_orphans(cursor):
    """Remove the rows whose account does not exist from `staged`; their numbers."""
    run_sql(
        cursor,
        """delete from staged s where not exists (select from accounts_account a where a.external_id = s.external_id)
           returning s.nr""",
    )
    return sorted(nr for (nr,) in cursor.fetchall())


def _refuse_circles(cursor, origin):
    """Remove the rows that would make an account part of itself from `staged`; (row number, column, value, reason)."""
    run_sql(cursor,
        """create temp table regrouped on commit drop as
            select s.nr, s.external_id, w.parent from staged s
              left join (select a.external_id, b.external_id as parent, a.provenance -> 'parent' as stamp
                           from accounts_account a left join accounts_account b on b.id = a.parent_id) h
                using (external_id),
              lateral (select case when h.stamp ->> 1 > %(observed)s::date::text then h.parent
                                   when s.parent is null and h.stamp ->> 0 = %(source)s then null
                                   when s.parent is null then h.parent
                                   when s.parent <> s.external_id then s.parent end as parent) w
             where w.parent is distinct from h.parent""",
        source=origin.source, observed=origin.observed,
    )  # fmt: skip
    refused = parents.refuse("select nr, external_id, parent from regrouped")
    run_sql(cursor, "drop table regrouped")
    run_sql(cursor, "delete from staged where nr = any(%(found)s)", found=[nr for nr, _, _ in refused])
    return [(nr, "parent", value, reason) for nr, value, reason in refused]


def _fill_defaults(cursor, own, origin):
    """Where a query gives one of these columns, an empty cell means the default."""
    defaults = {
        "kind": Account.Kind.CUSTOMER.value,
        "status": Account.Status.ACTIVE.value,
        "currency": origin.currency,
        "excluded": False,
    }
    for name in set(own) & set(defaults):
        run_sql(cursor, f"update staged set {name} = %(value)s where {name} is null", value=defaults[name])
    if "excluded" in own:
        run_sql(
            cursor,
            "update staged set exclusion_reason = %(reason)s where excluded and exclusion_reason is null",
            reason=f"Excluded in {origin.source}",
        )


def _ids(frame, refused):
    """The IDs of refused rows."""
    return frame.filter(frame[NR].is_in([nr for nr, *_ in refused]))["external_id"].to_list()


# -- facts with provenance ------------------------------------------------------------------------------------


def _merge(keys, facts, provenance, observed, tables, kept=()):
    """SQL of a table: `keys` ({name: SQL}), the value of each fact after this import, its provenance, and whether
    anything was known from a newer observation (`late`, and `told_late`: {column: value}).

    facts: {fact: (column, SQL of the value held, SQL of the value staged)}. kept: facts that stay as they are in the rows
    numbered in the parameter `held_<fact>`. The inner select (not merged with the
    outer one: OFFSET) looks into the provenance once a fact; ISO dates are compared as text.
    """
    inner = [f'{expression} as "{name}"' for name, expression in keys.items()]
    inner += [
        f"{provenance} as provenance",
        f"({observed})::text as observed",
        f"jsonb_build_array(%(source)s::text, {observed}) as stamp",
    ]
    values, entries, late, told_late = [], [], ["false"], []
    for number, (fact, (column, held, staged)) in enumerate(facts.items()):
        h, s, p = f"h{number}", f"s{number}", f"p{number}"
        inner += [f"{held} as {h}", f"{staged} as {s}", f"{provenance} -> '{fact}' as {p}"]
        newer, mine = f"{p} ->> 1 > observed", f"{p} ->> 0 = %(source)s"
        stays = f"({newer} or nr = any(%(held_{fact})s))" if fact in kept else newer
        value = f"case when {stays} then {h} when {s} is not null then {s} when {mine} then null else {h} end"
        if column in NEVER_NULL:
            value = f"coalesce({value}, '')"
        if column:
            values.append(f'{value} as "{column}"')
        entries.append(f"'{fact}', case when {stays} then null when {s} is not null or {mine} then stamp end")
        late.append(f"{s} is not null and coalesce({newer}, false)")
        told_late.append(f"'{column or f'{fact}_id'}', case when {newer} then {s} end")
    given = [*(f'"{name}"' for name in keys), *values]
    return f"""
        select {", ".join(given)}, {" or ".join(late)} as late,
               case when {" or ".join(late)} then jsonb_strip_nulls(jsonb_build_object({", ".join(told_late)})) end as told_late,
               coalesce(provenance, '{{}}'::jsonb) || jsonb_strip_nulls(jsonb_build_object({", ".join(entries)})) as provenance
          from (select {", ".join(inner)} from {tables} offset 0) as x"""


def _write_accounts(cursor, own, origin, held):
    """Insert and update accounts from `staged`; `touched` then holds those that need a history row.

    held: {fact: numbers of the rows in which it is not applied}.
    """
    facts = {name: (name, f"a.{name}", f"s.{name}") for name in own}
    if "csm" in own:
        facts["csm"] = ("csm_id", "a.csm_id", "m.id")
    if "parent" in own:
        facts["parent"] = ("", "null::text", "s.parent")  # the column follows once all accounts exist
    values = [column for column, _, _ in facts.values() if column]
    keys = {"nr": "s.nr", "external_id": "s.external_id", "id": "a.id"}
    tables = "staged s left join accounts_account a on a.external_id = s.external_id"
    if "csm" in own:
        tables += " left join accounts_csm m on lower(m.email) = s.csm"
    run_sql(cursor,
        f"create temp table planned on commit drop as {_merge(keys, facts, 'a.provenance', '%(observed)s::date', tables, held)}",
        source=origin.source, observed=origin.observed, **{f"held_{fact}": rows for fact, rows in held.items()},
    )  # fmt: skip
    run_sql(cursor, "analyze planned")
    run_sql(cursor, "create temp table touched (id bigint, type char(1)) on commit drop")
    defaults = {
        "name": "''", "kind": "'customer'", "status": "'active'", "excluded": "false", "exclusion_reason": "''",
        "currency": "%(currency)s", "custom": "'{}'::jsonb", "created_at": "now()",
    }  # fmt: skip
    missing = {name: value for name, value in defaults.items() if name not in values}
    run_sql(
        cursor,
        f"""with made as (
              insert into accounts_account (external_id, provenance, {_names([*values, *missing])})
              select external_id, provenance, {", ".join([*(f'"{name}"' for name in values), *missing.values()])}
                from planned where id is null order by nr
              returning id, external_id),
            noted as (insert into touched select id, '+' from made)
            insert into outcome select p.nr, 'created' from made join planned p using (external_id)""",
        currency=origin.currency,
    )
    if values:
        run_sql(
            cursor,
            f"""with changed as (
                  update accounts_account a set provenance = p.provenance, {_assign(values)}
                    from planned p where a.id = p.id and {_differs(values)}
                  returning a.id, p.nr),
                noted as (insert into touched select id, '~' from changed)
                insert into outcome select nr, 'updated' from changed""",
        )
    run_sql(
        cursor,
        """update accounts_account a set provenance = p.provenance
             from planned p where a.id = p.id and a.provenance is distinct from p.provenance""",
    )


def _assign(names):
    return ", ".join(f'"{name}" = p."{name}"' for name in names)


def _differs(names, held="a"):
    return f"({_names(names, f'{held}.')}) is distinct from ({_names(names, 'p.')})"


def _link_parents(cursor, origin):
    """Parents by their external_id, once all accounts of the import exist."""
    provenance = "a.provenance"
    # The provenance was written just above: a parent of this import carries this source and date.
    run_sql(cursor,
        f"""with wanted as (
              select s.nr, a.id,
                     case when s.parent is null or (a.provenance -> 'parent' ->> 1)::date > %(observed)s::date
                          then case when s.parent is null and {provenance} -> 'parent' ->> 0 = %(source)s
                                     and ({provenance} -> 'parent' ->> 1)::date <= %(observed)s::date
                                    then null else a.parent_id end
                          else b.id end as parent_id
                from staged s join accounts_account a on a.external_id = s.external_id
                left join accounts_account b on b.external_id = s.parent and b.id <> a.id),
            changed as (
              update accounts_account a set parent_id = w.parent_id from wanted w
               where a.id = w.id and a.parent_id is distinct from w.parent_id
              returning a.id, w.nr),
            noted as (insert into touched
                      select id, '~' from changed where not exists (select from touched t where t.id = changed.id))
            insert into outcome select nr, 'updated' from changed""",
        source=origin.source, observed=origin.observed,
    )  # fmt: skip
    return warning(
        cursor, "the parent is not among the accounts, or is the account itself: left without one",
        """select s.external_id from staged s where s.parent is not null and (s.parent = s.external_id
           or not exists (select from accounts_account b where b.external_id = s.parent))""",
    )  # fmt: skip


def _write_usage(cursor, behaviour, origin, observed, *, per_product, made="created"):
    """Usage rows from `staged`: those of accounts, or those of products of accounts. made: what a new one counts as."""
    if not behaviour:
        return
    same = "u.product_id = q.id" if per_product else "u.product_id is null"
    product = "join accounts_product q on q.key = s.product" if per_product else ""
    without = 'and s."product" is null' if not per_product and _has_product(cursor) else ""
    values = behaviour
    facts = {name: (name, f"u.{name}", f"s.{name}") for name in behaviour}
    keys = {
        "nr": "s.nr",
        "account_id": "a.id",
        "product_id": "q.id" if per_product else "null::bigint",
        "id": "u.id",
        "observed_at": observed,
    }
    any_value = " or ".join(f"s.{name} is not null" for name in behaviour)
    tables = f"""staged s join accounts_account a using (external_id) {product}
                 left join accounts_usage u on u.account_id = a.id and {same}
                 where (u.id is not null or {any_value}) {without}"""
    run_sql(cursor,
        f"create temp table planned on commit drop as {_merge(keys, facts, 'u.provenance', observed, tables)}",
        source=origin.source, observed=origin.observed,
    )  # fmt: skip
    run_sql(cursor, "analyze planned")
    run_sql(
        cursor,
        f"""with made as (
              insert into accounts_usage (account_id, product_id, provenance, {_names(values)})
              select account_id, product_id, provenance, {_names(values)} from planned where id is null order by nr
              returning account_id, product_id)
            insert into outcome select p.nr, %(made)s from made m join planned p
                on p.account_id = m.account_id and p.product_id is not distinct from m.product_id""",
        made=made,
    )
    run_sql(
        cursor,
        f"""with changed as (
              update accounts_usage a set provenance = p.provenance, {_assign(values)}
                from planned p where a.id = p.id and {_differs(values)} returning p.nr)
            insert into outcome select nr, 'updated' from changed""",
    )
    run_sql(
        cursor,
        """update accounts_usage a set provenance = p.provenance
             from planned p where a.id = p.id and a.provenance is distinct from p.provenance""",
    )
    late_values.note(cursor, "usage", origin, "p.observed_at")
    run_sql(cursor, "drop table planned")


def _has_product(cursor):
    run_sql(cursor, "select to_regclass('pg_temp.staged') is not null and exists (select from pg_attribute where "
                 "attrelid = to_regclass('pg_temp.staged') and attname = 'product' and not attisdropped)")  # fmt: skip
    return cursor.fetchone()[0]


def _write_subscriptions(cursor, given, origin):
    columns = [name for name in given if name not in ("subscription_id", "product")]
    values = {name: f"s.{name}" for name in columns}
    for name, default in {
        "status": "'active'", "currency": "%(currency)s", "contract_type": "''",
    }.items():  # fmt: skip
        values[name] = f"coalesce(s.{name}, {default})" if name in given else f"coalesce(b.{name}, {default})"
    if "product" in given:
        values["product_id"] = "q.id"
    chosen = ", ".join(f'{value} as "{name}"' for name, value in values.items())
    told = ", ".join(f"'{name}', {value}" for name, value in values.items())
    run_sql(cursor,
        f"""create temp table planned on commit drop as
            select s.nr, s.external_id, a.id as account_id, b.id, s.subscription_id, {chosen},
                   coalesce(b.observed > %(observed)s, false) as late,
                   case when b.observed > %(observed)s then jsonb_strip_nulls(jsonb_build_object({told})) end as told_late
              from staged s join accounts_account a using (external_id)
              left join accounts_subscription b on b.account_id = a.id and b.subscription_id = s.subscription_id
              {"left join accounts_product q on q.key = s.product" if "product" in given else ""}""",
        observed=origin.observed, currency=origin.currency,
    )  # fmt: skip
    run_sql(cursor, "create temp table touched (id bigint, type char(1)) on commit drop")
    kept = {"account_id": None, "subscription_id": None, **values}
    run_sql(cursor,
        f"""with made as (
              insert into accounts_subscription ({_names(kept)}, source, observed)
              select {_names(kept)}, %(source)s, %(observed)s from planned where id is null order by nr
              returning id, account_id, subscription_id),
            noted as (insert into touched select id, '+' from made)
            insert into outcome select p.nr, 'created' from made join planned p using (account_id, subscription_id)""",
        source=origin.source, observed=origin.observed,
    )  # fmt: skip
    run_sql(cursor,
        f"""with changed as (
              update accounts_subscription a set {_assign(values)}, source = %(source)s, observed = %(observed)s
                from planned p where a.id = p.id and not p.late and {_differs(values)}
              returning a.id, p.nr),
            noted as (insert into touched select id, '~' from changed)
            insert into outcome select nr, 'updated' from changed""",
        source=origin.source, observed=origin.observed,
    )  # fmt: skip
    run_sql(cursor,
        """update accounts_subscription a set source = %(source)s, observed = %(observed)s from planned p
            where a.id = p.id and not p.late and (a.source, a.observed) is distinct from (%(source)s, %(observed)s)""",
        source=origin.source, observed=origin.observed,
    )  # fmt: skip


# -- history --------------------------------------------------------------------------------------------------


def _write_history(cursor, model, touched, origin):
    """One history row, as it is now, for every row in the temporary table (id, type)."""
    history = model.history.model
    columns = [each.column for each in history._meta.concrete_fields if not each.name.startswith("history_")]
    who = actor()
    run_sql(cursor,
        f"""insert into {history._meta.db_table} ({_names(columns)}, history_date, history_type, history_user_id,
                   history_change_reason, history_user_label, history_channel, history_run)
            select {_names(columns, "a.")}, clock_timestamp(), t.type, %(user)s, %(reason)s, %(label)s, %(channel)s, %(run)s
              from {model._meta.db_table} a join {touched} t on t.id = a.id""",
        user=who.id, reason=who.reason, label=who.label, channel=who.channel, run=origin.batch,
    )  # fmt: skip
