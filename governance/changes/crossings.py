"""Crossings: accounts on a gated layer that the rules put into another segment than the one in force.

They are seen after each recalculation and every day, in ranges of accounts with a few statements each. A crossing opens a
tier change, one that goes further updates it, one that came back closes it. A tier change that its policy lets wait is
held, and says for what and until when. Everything here is written without a person: what people do stands in
`transitions`.
"""

from dataclasses import dataclass

import polars as pl
from django.db import connection, transaction

from accounts import catalogue, revenue
from core.history import actor
from core.organisation import organisation
from governance.models import Event, Transition
from governance.signoff.crossing_policies import DOWN, UP, in_both_directions
from segmentation.evaluation import causes, frames, in_force, run_rules
from segmentation.evaluation.decide import kinds_since_last_move
from segmentation.evaluation.ranges import Range, together
from segmentation.models import Cause, Definition, Layer, Move
from segmentation.reading import rules_in_use

RANGE = 20_000  # accounts that differ, in one transaction
Origin = Transition.Origin
UNDECIDED = [Transition.Status.FLAGGED, Transition.Status.PLANNED]


def direction(before, after):
    """Which way it is from one segment to another: the first one of a layer is the top."""
    return UP if (after.position, after.key) < (before.position, before.key) else DOWN


@dataclass
class Seen:
    """The outcome of a look for crossings: how many were opened (`held` of them wait), updated, released, closed."""

    opened: int = 0
    held: int = 0
    updated: int = 0
    released: int = 0
    closed: int = 0

    def __add__(self, other):
        return Seen(*(mine + theirs for mine, theirs in zip(self.figures(), other.figures(), strict=True)))

    def figures(self):
        return [self.opened, self.held, self.updated, self.released, self.closed]


def flag(layer, at, *, run=None):
    """Bring the tier changes of a layer in step with what the rules say, at the clock `at` (a date). Returns Seen.

    run: the recalculation that was the reason. Tier changes that await approval, or have it, are left alone.
    """
    seen = Seen()
    for first, last in _ranges(layer):
        with transaction.atomic():
            seen += _flag(layer, at, first, last, run=run)
    return seen


def flag_account(account, layer, at, *, origin=Origin.RULES, override=None):
    """The same for one account; where an override has ended (`origin`), whatever was said no to before. Returns Seen."""
    with transaction.atomic():
        return _flag(layer, at, account.pk, account.pk, origin=origin, override=override)


def quiet(transitions, at):
    """{id of a tier change: (what forbids its hand-over on the day `at`, a Hold; the first day without)}."""
    by_layer, holds = {}, {}
    for transition in transitions:
        by_layer.setdefault(transition.layer, []).append(transition.pk)
    for layer, ids in by_layer.items():
        days = {
            f"{direction}_quiet_days": policy.quiet_days
            for direction, policy in in_both_directions(layer).items()
        }
        if any(days.values()):
            with connection.cursor() as cursor:
                cursor.execute(
                    _STILL_QUIET,
                    revenue.parameters(at) | {"ids": ids, "zone": organisation().time_zone, **days},
                )
                holds |= {id: (Transition.Hold(why), until) for id, why, until in cursor.fetchall()}
    return holds


def lock(layer):
    """Lock the tier changes of a layer that are to be decided, for who looks at all its ranges in one transaction."""
    parameters = {"layer": layer.pk, "first": 0, "last": 2**63 - 1, "statuses": UNDECIDED}
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, parameters)


def _ranges(layer):
    """Ranges of account ids [(first, last)] that hold up to RANGE of those to be looked at, all together all accounts."""
    with connection.cursor() as cursor:
        cursor.execute(_EDGES, {"layer": layer.pk, "range": RANGE})
        edges = [edge for (edge,) in cursor.fetchall()]
    return list(zip([0, *edges], [*(edge - 1 for edge in edges), 2**63 - 1], strict=True))


_EDGES = """
    select account_id from (select account_id, row_number() over (order by account_id) as n
                              from segmentation_assignment
                             where layer_id = %(layer)s and computed_id is not null and effective_id is not null
                               and computed_id <> effective_id) q
     where n %% %(range)s = 0 order by account_id
"""


# -- one range of accounts


def _flag(layer, at, first, last, *, run=None, origin=None, override=None):
    parameters = _parameters(layer, at, first, last, run, origin, override)
    with frames.by_index(), connection.cursor() as cursor:
        cursor.execute(_LOCK, parameters)
        cursor.execute(_CLOSING, parameters)
        closing = cursor.fetchone()[0]
        cursor.execute("drop table if exists demarc_crossings")
        cursor.execute(_CROSSINGS, parameters)
        cursor.execute("analyze demarc_crossings")
        cursor.execute(
            f"select count(*) filter (where open_id is null or {_CHANGED}), count(*) from demarc_crossings"
        )
        governed, crossings = cursor.fetchone()
        if layer.policy != Layer.Policy.APPROVAL:  # it was, and what is left of that is closed
            governed = crossings = 0
        if closing or governed:
            causes.take(Cause.Kind.RUN, run=run)
        if governed:
            _attribute(cursor, layer)
        closed = _count(cursor, _CLOSE, parameters) if closing else [0]
        opened = updated = [0, 0]
        if crossings:
            updated = _count(cursor, _UPDATE, parameters)
            opened = _count(cursor, _OPEN, parameters)
        cursor.execute("drop table demarc_crossings")
    return Seen(*opened, *updated, *closed)


def _attribute(cursor, layer):
    """Say of the crossings that are new, or go another way, what moved them (segmentation.evaluation.attribution)."""
    definition = Definition.objects.filter(layer=layer, status=Definition.Status.ACTIVE).first()
    cursor.execute("select account_id from demarc_crossings where open_id is null or redirected")
    ids = [id for (id,) in cursor.fetchall()]
    if definition is None or not ids:
        return
    rules, clock = rules_in_use.in_use(definition, layer)
    for some in together(ids):
        part = Range([rules], at=clock, first=some[0], last=some[-1], which=_CROSSING)
        keys = pl.DataFrame({"id": some}, schema={"id": pl.Int64})
        kinds = kinds_since_last_move(keys, rules, part, everyone=True)
        said = [(kind, f" {Move.Why(kind).label}.") for kind in kinds["kind"].unique() if kind]
        for kind, sentence in said:
            cursor.execute(
                "update demarc_crossings set why = %s, text = text || %s where account_id = any(%s)",
                [kind, sentence, kinds.filter(pl.col("kind") == kind)["id"].to_list()],
            )


_CROSSING = "a.id in (select account_id from demarc_crossings)"


def _count(cursor, statement, parameters):
    cursor.execute(statement, parameters)
    return list(cursor.fetchone())


def _parameters(layer, at, first, last, run, origin, override):
    who = actor()
    parameters = revenue.parameters(at) | {
        "layer": layer.pk,
        "layer_name": layer.name,
        "first": first,
        "last": last,
        "zone": organisation().time_zone,
        "run": run.pk if run else None,
        "origin": origin if origin != Origin.RULES else None,
        "override": override.pk if override else None,
        "statuses": UNDECIDED,
        "planned_downgrades": layer.plan_provisional_downgrades,
        "thresholds": _thresholds(layer),
        "user": who.id,
        "label": who.label,
        "channel": who.channel,
        "reason": who.reason or (run.reason if run else ""),
    }
    for direction, policy in in_both_directions(layer).items():
        for name in _POLICY:
            parameters[f"{direction}_{name}"] = getattr(policy, name)
    return parameters


def _thresholds(layer):
    """The scores at which the rules in force change segments, where they look at nothing but the overall score."""
    active = Definition.objects.filter(layer=layer, status=Definition.Status.ACTIVE).first()
    boundaries = (run_rules.document_of(active.pk).boundaries if active else None) or ()
    if {boundary.term for boundary in boundaries} != {"composite"}:
        return []
    return sorted({boundary.threshold for boundary in boundaries})


# -- the statements

_POLICY = ["hold_days", "margin", "min_dwell_days", "at_renewal", "quiet_days", "joint_days", "material_arr", "material_score"]  # fmt: skip
_TYPES = ["int", "numeric", "int", "boolean", "int", "int", "numeric", "numeric"]


def _policy_row(direction):
    return ", ".join(f"%({direction}_{name})s::{kind}" for name, kind in zip(_POLICY, _TYPES, strict=True))


def _material(now, then, share):
    """SQL: true where a figure has changed by at least a share of what it was (share as SQL)."""
    return f"({now} is distinct from {then} and ({now} is null or {then} is null or abs({now} - {then}) >= {share}))"


# The names of accounts, in SQL.
_NAMED = "coalesce(nullif(a.name, ''), a.external_id)"

# No hand-over within some days of a renewal, or of the last one: for rows `c` with account_id, applies_on, renewal, quiet_days.
_HANDED_OVER = """
      left join lateral (
          select (max(j.ended_at) at time zone %(zone)s)::date as day
            from governance_transition j
           where j.account_id = c.account_id and j.status = 'done' and c.quiet_days > 0) handed_over on true"""
_QUIET = """
          select 'quiet_renewal' as held_for, c.renewal + c.quiet_days + 1 as held_until, 4 as n
           where c.applies_on is null and abs(c.renewal - %(at)s::date) <= c.quiet_days and c.quiet_days > 0
          union all select 'quiet_handover', handed_over.day + c.quiet_days, 5
           where handed_over.day + c.quiet_days > %(at)s::date"""

# A row for each account of the range that crosses: what the tier change says, what holds it, and the open one there is.
# (`id + 0`: the rows of one account are found by its index; walking back through all until one fits takes minutes.)
_CROSSINGS = f"""
create temporary table demarc_crossings on commit drop as
with policy (direction, {", ".join(_POLICY)}) as (values ('up', {_policy_row("up")}), ('down', {_policy_row("down")})),
crossing as (
    select z.account_id, z.effective_id as from_id, z.computed_id as to_id, d.direction, z.computed_since,
           z.effective_since, c.composite, coalesce(a.arr, s.arr) as arr, a.csm_id as giver_id,
           {_NAMED} || ': the rules of ' || %(layer_name)s || ' say ' || t.name || ' instead of ' || f.name || '.' as text,
           case when p.at_renewal and coalesce(a.renewal_date, s.next_end) > %(at)s::date
                then coalesce(a.renewal_date, s.next_end) end as applies_on,
           coalesce(a.renewal_date, s.next_end) as renewal,
           '' as why,
           case when %(origin)s::text is not null then %(origin)s::text
                when %(planned_downgrades)s and d.direction = 'down' and before.provisional
                then 'provisional' else 'rules' end as origin,
           case when d.direction = 'up'
                then c.composite - (select max(b) from unnest(%(thresholds)s::numeric[]) b where b <= c.composite)
                else (select min(b) from unnest(%(thresholds)s::numeric[]) b where b > c.composite) - c.composite
                 end as beyond,
           jsonb_strip_nulls(jsonb_build_object('composite', c.composite::text, 'distance', c.distance::text,
                                                'definition', c.definition_id)) as evidence,
           {", ".join(f"p.{name}" for name in _POLICY)}
      from segmentation_assignment z
      join accounts_account a on a.id = z.account_id and {frames.SCORED}
      join segmentation_segment f on f.id = z.effective_id
      join segmentation_segment t on t.id = z.computed_id
     cross join lateral (select case when (t.position, t.key) < (f.position, f.key)
                                     then 'up' else 'down' end as direction) d
      join policy p on p.direction = d.direction
      left join segmentation_assignmentscore c on c.assignment_id = z.id
      left join lateral ({catalogue.SUBSCRIPTIONS_OF_ACCOUNT}) s on true
      left join lateral (select h.provisional from segmentation_historicalassignment h
                          where h.id = z.id and h.computed_id is distinct from z.computed_id
                          order by h.history_id + 0 desc limit 1) before on true
     where z.layer_id = %(layer)s and z.account_id between %(first)s and %(last)s
       and {in_force.waiting("z")}
),
held as (
    select c.*, h.held_for, h.held_until
      from crossing c
      {_HANDED_OVER}
     cross join lateral (
          select 'override' as held_for, null::date as held_until, 0 as n
           where exists (select from governance_override w where w.account_id = c.account_id
                                                            and w.layer_id = %(layer)s and w.status = 'requested')
          union all select 'days', c.computed_since + c.hold_days, 1
           where c.computed_since + c.hold_days > %(at)s::date
          union all select 'margin', null, 2 where c.beyond < c.margin
          union all select 'dwell', c.effective_since + c.min_dwell_days, 3
           where c.effective_since + c.min_dwell_days > %(at)s::date
          union all {_QUIET}
          union all select '', null, 6
          order by n limit 1) h
)
select c.*, o.id as open_id,
       coalesce((o.from_segment_id, o.to_segment_id) <> (c.from_id, c.to_id), false) as redirected,
       o.held_for as held_before, o.held_until as held_until_before, o.applies_on as applied_before,
       case when o.status = 'flagged' and o.held_for <> 'override' then c.held_for else o.held_for end as holds,
       case when o.status = 'flagged' and o.held_for <> 'override' then c.held_until else o.held_until end as holds_until
  from held c
  left join governance_transition o
    on o.account_id = c.account_id and o.layer_id = %(layer)s
   and o.status in ('flagged', 'planned', 'awaiting', 'joint')
  left join lateral (
       select l.* from governance_transition l
        where l.account_id = c.account_id and l.layer_id = %(layer)s and l.status in ('kept', 'rejected', 'done')
        order by l.id + 0 desc limit 1) said on o.id is null and %(origin)s::text is null
 where (o.id is null or o.status in ('flagged', 'planned') and o.origin <> 'override')
   and not coalesce(said.status in ('kept', 'rejected')
                    and (said.from_segment_id, said.to_segment_id) = (c.from_id, c.to_id)
                    and (said.kept_until is null or said.kept_until > %(at)s::date)
                    and not {_material("c.arr", "said.arr", "c.material_arr * said.arr")}
                    and not {_material("c.composite", "said.composite", "c.material_score")}, false)
"""

# SQL: of a crossing with an open tier change, what that says is not as it was.
_CHANGED = """(redirected or (held_before, held_until_before, applied_before)
                              is distinct from (holds, holds_until, applies_on))"""

_STILL_QUIET = f"""
select c.id, h.held_for, h.held_until
  from (select t.id, t.account_id, t.applies_on, coalesce(a.renewal_date, s.next_end) as renewal,
               case t.direction when 'up' then %(up_quiet_days)s else %(down_quiet_days)s end as quiet_days
          from governance_transition t
          join accounts_account a on a.id = t.account_id
          left join lateral ({catalogue.SUBSCRIPTIONS_OF_ACCOUNT}) s on true
         where t.id = any(%(ids)s)) c
  {_HANDED_OVER}
 cross join lateral ({_QUIET} order by n limit 1) h
"""

_COLUMNS = [field.column for field in Transition._meta.concrete_fields]


def _history_sql(changed, kind="~"):
    """SQL: a history row of every row of the query `changed`."""
    columns = ", ".join(_COLUMNS)
    return f"""
        insert into {Transition.history.model._meta.db_table}
               ({columns}, history_date, history_type, history_user_id, history_user_label, history_channel,
                history_change_reason, history_run)
        select {columns}, clock_timestamp(), '{kind}', %(user)s::int, %(label)s, %(channel)s, %(reason)s, %(run)s::bigint
          from {changed} order by id"""


def _events_sql(kind, rows, where="true", reason="''"):
    """SQL: an event about every one of some rows (with account_id, transition_id and text)."""
    return f"""
        insert into {Event._meta.db_table} (kind, account_id, layer_id, about, about_id, text, reason, data, actor,
                                            actor_label, channel)
        select '{kind}', account_id, %(layer)s, 'transition', transition_id, text, {reason}, '{{}}', %(user)s::int,
               %(label)s, %(channel)s
          from {rows} where {where} order by transition_id"""


_EMPTY = ["success_plan", "notice", "notice_by", "notes", "planned_by_label", "ended_by_label", "end_reason"]
# The facts by which the account came into the segment in force stand beside, to be compared with those of today.
_OPEN = f"""
with opened as (
    insert into governance_transition
           (account_id, layer_id, from_segment_id, to_segment_id, direction, status, origin, override_id, why, run,
            crossed_on, flagged_at, evidence, arr, composite, held_for, held_until, applies_on, giver_id, joint_days,
            checklist, edited_at, {", ".join(_EMPTY)})
    select c.account_id, %(layer)s, c.from_id, c.to_id, c.direction, 'flagged', c.origin, %(override)s::bigint, c.why,
           %(run)s::bigint, c.computed_since, clock_timestamp(),
           c.evidence || jsonb_build_object('was', coalesce(moved.facts, '{{}}')), c.arr, c.composite, c.held_for,
           c.held_until, c.applies_on, c.giver_id, c.joint_days, '[]', clock_timestamp(), {", ".join(["''"] * len(_EMPTY))}
      from demarc_crossings c
      left join lateral (select m.evidence -> 'facts' as facts from segmentation_move m
                          where m.account_id = c.account_id and m.layer_id = %(layer)s
                          order by m.id + 0 desc limit 1) moved on true
     where c.open_id is null
     order by c.account_id
    on conflict (account_id, layer_id) where status in ('flagged', 'planned', 'awaiting', 'joint') do nothing
    returning *
),
kept as ({_history_sql("opened", "+")}),
named as (select o.id as transition_id, o.held_for, c.account_id, c.text
            from opened o join demarc_crossings c using (account_id)),
told as ({_events_sql("transition_flagged", "named", "held_for = ''")})
select count(*), count(*) filter (where held_for <> '') from opened
"""

# Planned, nothing holds it any more; what waits for an override is let go by that.
_UPDATE = f"""
with found as (
    select c.open_id as transition_id, c.*
      from demarc_crossings c
     where c.open_id is not null and {_CHANGED}
),
changed as (
    update governance_transition t
       set from_segment_id = f.from_id, to_segment_id = f.to_id, direction = f.direction, held_for = f.holds,
           held_until = f.holds_until, applies_on = f.applies_on, edited_at = clock_timestamp(),
           run = coalesce(%(run)s::bigint, t.run),
           crossed_on = case when f.redirected then f.computed_since else t.crossed_on end,
           why = case when f.redirected then f.why else t.why end,
           arr = case when f.redirected then f.arr else t.arr end,
           composite = case when f.redirected then f.composite else t.composite end,
           evidence = case when f.redirected then t.evidence || f.evidence else t.evidence end,
           receiver_id = case when f.redirected then null else t.receiver_id end
      from found f
     where t.id = f.transition_id
    returning t.*
),
kept as ({_history_sql("changed")}),
news as (select f.* from found f join changed on changed.id = f.transition_id),
told as ({_events_sql("transition_updated", "news", "redirected and holds = ''")}),
told_released as ({_events_sql("transition_flagged", "news", "not redirected and held_before <> '' and holds = ''")})
select count(*) filter (where redirected), count(*) filter (where held_before <> '' and holds = '') from news
"""

# Open ones (of these statuses) whose reason is gone, with what is said of it.
ENDING = f"""
    select t.id, a.id as account_id, x.status, x.reason,
           {_NAMED} || ': the tier change to ' || s.name || ' is closed.' as text
      from governance_transition t
      join accounts_account a on a.id = t.account_id
      join segmentation_segment s on s.id = t.to_segment_id
      left join segmentation_assignment z
        on z.account_id = t.account_id and z.layer_id = t.layer_id and z.product_id is null
      left join segmentation_segment e on e.id = z.effective_id
      join segmentation_layer y on y.id = t.layer_id
     cross join lateral (
          select case when not ({frames.SCORED}) then 'withdrawn' else 'closed' end as status,
                 case when not ({frames.SCORED}) then 'The account is no active customer any more.'
                      when z.overridden then 'An override is in force.'
                      when y.policy = 'automatic' then y.name || ' applies by itself now.'
                      when z.computed_id = z.effective_id then 'The rules say ' || e.name || ' again.' end as reason) x
     where t.layer_id = %(layer)s and t.account_id between %(first)s and %(last)s
       and t.status = any(%(statuses)s) and t.origin <> 'override' and x.reason is not null
"""
# In the order of their ids before anything is written, as people lock them.
_LOCK = """
    select from governance_transition
     where layer_id = %(layer)s and account_id between %(first)s and %(last)s and status = any(%(statuses)s)
     order by id for update
"""
_CLOSING = f"select count(*) from ({ENDING}) q"
_CLOSE = f"""
with found as ({ENDING} order by t.id for update of t),
closed as (
    update governance_transition t
       set status = f.status, end_reason = f.reason, ended_at = clock_timestamp(), ended_by = %(user)s::int,
           ended_by_label = %(label)s, edited_at = clock_timestamp(), held_for = '', held_until = null
      from found f where t.id = f.id
    returning t.*
),
kept as ({_history_sql("closed")}),
news as (select f.*, f.id as transition_id from found f join closed using (id)),
told as ({_events_sql("transition_closed", "news", reason="reason")})
select count(*) from closed
"""
