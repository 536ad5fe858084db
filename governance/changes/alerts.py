"""Alerts: accounts on which a condition holds, told once and followed until it does not hold any more.

A rule's condition is one of segmentation.rules.conditions over facts, `label.<layer>`, `composite.<layer>` and
`score.<layer>.<group>` of any segmentation, `renewal_lead_days` (as decided for the account, see `coverage`), and
`days_over.<layer>` (by how many days it is longer in its segment than expected), and `before.<fact>`, `before.label.<layer>`: the same as of the rule's "change since" days ago, for what has a history.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import polars as pl
from django.db import transaction
from django.utils import timezone
from simple_history.utils import bulk_create_with_history, bulk_update_with_history

from accounts import catalogue
from accounts.models import Account
from core.history import acting, actor
from core.raw_sql import within_seconds
from core.refusals import Refused, verb
from core.wording import compared
from governance import events
from governance.models import Alert, AlertRule, Event
from governance.signoff import permissions
from segmentation import scopes
from segmentation.authoring import rule_counts
from segmentation.authoring.checks import labels_there_are
from segmentation.evaluation import engine, frames, run_rules
from segmentation.models import Definition, Layer
from segmentation.reading import coverage, spelling, stays
from segmentation.rules import definitions, impossible, sketch
from segmentation.rules.document import Document, DocumentErrors
from segmentation.rules.terms import label as term_label
from segmentation.runs import recalculation

log = logging.getLogger(__name__)

LEAD = "renewal_lead_days"
BEFORE = "before."
OVER = "days_over."
BATCH = 2_000  # rows of an UPDATE
_STATE = {"previous", "days_in_stage", "declared"}
_STATUS = Alert.Status
SHIPPED = [
    {
        "key": "high-value-low-behaviour",
        "name": "High value, low behaviour",
        "description": "Worth much and hardly used, whatever its tier: somebody should look before the renewal does.",
        "condition": "score.service_tier.value >= 4 and score.service_tier.behavioural <= 2",
    },
    {
        "key": "at-risk",
        "name": "At risk",
        "description": "The lifecycle says at risk or churning.",
        "condition": "label.lifecycle in ('at-risk', 'churning')",
        "urgent": True,
    },
    {
        "key": "expanding",
        "name": "Expanding",
        "description": "The lifecycle says expanding: the moment for the next conversation.",
        "condition": "label.lifecycle = 'expanding'",
    },
    {
        "key": "renewal-lead",
        "name": "Renewal comes up",
        "description": "The renewal is as near as work on it starts for this customer (120 or 90 days, by what decides it).",
        "condition": "days_to_renewal >= 0 and days_to_renewal <= renewal_lead_days",
    },
    {
        "key": "too-long",
        "name": "Longer than expected",
        "description": "The lifecycle expects this stage to be over by now, such as onboarding after 90 days.",
        "condition": "days_over.lifecycle > 0",
    },
    {
        "key": "sponsor-departed",
        "name": "Sponsor departed",
        "description": "The executive sponsor left in the last 90 days, and nobody has taken over since.",
        "condition": "days_since_sponsor_departed <= 90 and (days_since_sponsor_replaced is null"
        " or days_since_sponsor_replaced > days_since_sponsor_departed)",
        "urgent": True,
    },
]


# -- what a condition may say


def names():
    """Every term a condition may use besides those of other segmentations: {name: type}."""
    stored = {name: catalogue.TYPES[name] for name in catalogue.ACCOUNT_FACTS if name in _COLUMNS}
    labels = {f"label.{run_rules.spoken(key)}": "text" for key in Layer.objects.values_list("key", flat=True)}
    before = {f"{BEFORE}{name}": type for name, type in (stored | labels).items()}
    over = {
        f"{OVER}{run_rules.spoken(key)}": "integer" for key in Layer.objects.values_list("key", flat=True)
    }
    return catalogue.TYPES | {LEAD: "integer"} | over | before


def terms():
    """Terms of a condition, for people to choose from: [{"name", "type", "label", "family", "unit", "choices"}].

    choices: [(key, words)] of what only has given values.
    """
    types = names()
    offered = [
        _offered(name, types[name], fact.family.capitalize(), unit=fact.unit)
        for name, fact in catalogue.FACTS.items()
        if name in types
    ]
    offered.append(_offered(LEAD, types[LEAD], "How we serve", unit="days"))
    for key, active in _layers().items():
        document = run_rules.document_of(active.pk)
        segments = [[segment.key, str(segment)] for segment in active.layer.segments.all()]
        offered.append(_offered(f"label.{key}", "text", SEGMENTATIONS, choices=segments))
        if document.expected_days:
            offered.append(_offered(f"{OVER}{key}", "integer", SEGMENTATIONS, unit="days"))
        offered += [_offered(f"composite.{key}", "score", SEGMENTATIONS)] if document.dimensions else []
        offered += [
            _offered(f"score.{key}.{dimension.key}", "score", SEGMENTATIONS)
            for dimension in document.dimensions
        ]
    by_name = {term["name"]: term for term in offered}
    for name in types:
        if name.startswith(BEFORE) and (now := by_name.get(name.removeprefix(BEFORE))):
            offered.append(now | {"name": name, "label": _term(name), "family": "What it was some days ago"})
    return offered


SEGMENTATIONS = "Segmentations"


def _offered(name, type, family, *, unit="", choices=()):
    return {"name": name, "type": type, "label": _term(name), "family": family, "unit": unit, "choices": list(choices)}  # fmt: skip


_COLUMNS = {field.column for field in Account.history.model._meta.concrete_fields}


def problems(condition, *, days=None):
    """Say what is wrong with this condition, a sentence each: what keeps it from being used, else values nothing can have."""
    return _unusable(condition, days) or _impossible(condition)


def _impossible(condition):
    labels = {f"label.{key}": keys for key, keys in labels_there_are().items()}
    labels |= {f"{BEFORE}{name}": keys for name, keys in labels.items()}
    return impossible.sentences(
        _document(condition).rules[0].condition.root,
        labels,
        fact_of=lambda name: catalogue.FACTS.get(name.removeprefix(BEFORE)),
    )


def _unusable(condition, days):
    """Say what keeps this condition from being used, a sentence each; empty when nothing does."""
    try:
        document = _document(condition)
    except DocumentErrors as errors:
        return [problem.message for problem in errors.problems]
    used = _used(document)
    sentences = [
        f"'{name}' is of one segmentation: write label.<segmentation>." for name in sorted(used & _STATE)
    ]
    keys = _layers()
    sentences += [
        f"There is no segmentation '{_layer_of(name)}' with active rules."
        for name in sorted(used)
        if _layer_of(name) not in {"", *keys}
    ]
    if days is None and any(name.startswith(BEFORE) for name in used):
        sentences.append("Say since how many days: the condition looks at what was before.")
    return sentences


def naming(layer, keys):
    """[(AlertRule, the keys)] of the active rules whose condition names one of these segments of a layer."""
    name, found = f"label.{run_rules.spoken(layer.key)}", []
    for rule in AlertRule.objects.filter(active=True).order_by("pk"):
        try:
            root = _document(rule.condition).rules[0].condition.root
        except DocumentErrors:
            continue
        compared = impossible.compared(root)
        if named := keys & {value for term, value in compared if term.removeprefix(BEFORE) == name}:
            found.append((rule, named))
    return found


def _document(condition):
    rules = [{"segment": "yes", "when": condition}, {"segment": "no"}]
    return definitions.parse({"rules": rules}, types=names())


def _used(document):
    return set(document.rules[0].condition.names)


def _layer_of(name):
    """The segmentation (as rules write it) that a term is of; "" where it is of none."""
    parts = name.removeprefix(BEFORE).split(".")
    return parts[1] if len(parts) > 1 else ""


def _layers():
    """{as rules write it: its active rules} of every segmentation with one label an account."""
    active = Definition.objects.filter(
        status=Definition.Status.ACTIVE, layer__scope__in=scopes.ONE_LABEL
    ).select_related("layer")
    return {run_rules.spoken(definition.layer.key): definition for definition in active}


# -- evaluating


@dataclass(frozen=True)
class _Compiled:
    rule: AlertRule
    document: Document
    used: frozenset


def evaluate(at=None, *, rules=None):
    """Open alerts where a rule begins to hold, resolve them where it holds no more; returns {"opened", "resolved"}.

    A rule's first evaluation opens its alerts silently: nobody is told of what was there before. May run twice, or in two
    processes at once. A rule that cannot be used keeps its error, and its alerts as they are.
    """
    at = at or timezone.localdate()
    compiled = list(filter(None, (_compile(rule) for rule in _active(rules))))
    counts = {"opened": 0, "resolved": 0}
    if not compiled:
        return counts
    frames.acquaint()
    _, ranges = recalculation.cut(frames.SCORED)
    for first, last in ranges:
        inputs = [(compiled_rule, _holding(compiled_rule, at, first, last)) for compiled_rule in compiled]
        with transaction.atomic(), _by_itself():
            same = _lock(compiled)
            for compiled_rule, holding in inputs:
                if compiled_rule.rule.pk not in same:  # changed meanwhile: the next evaluation is its first
                    continue
                opened, resolved = _settle(compiled_rule.rule, holding, at, first, last)
                counts["opened"] += opened
                counts["resolved"] += resolved
    _resolve_strays(compiled, at)
    with transaction.atomic():
        AlertRule.objects.filter(pk__in=_lock(compiled), evaluated_at=None).update(
            evaluated_at=timezone.now()
        )
    return counts


def _lock(compiled):
    """Lock these rules, so that the second of two processes sees what the first has opened.

    Returns the ids of those that still say what was looked at.
    """
    looked_at = {
        compiled_rule.rule.pk: (compiled_rule.rule.condition, compiled_rule.rule.days)
        for compiled_rule in compiled
    }
    rules = (
        AlertRule.objects.select_for_update(no_key=True).filter(pk__in=looked_at, active=True).order_by("pk")
    )
    rows = rules.values_list("pk", "condition", "days")
    return {pk for pk, *content in rows if tuple(content) == looked_at[pk]}


def _active(rules):
    active = AlertRule.objects.filter(active=True).order_by("pk")
    return active if rules is None else active.filter(pk__in=[rule.pk for rule in rules])


def _by_itself():
    """In nobody's name, unless somebody asked for it."""
    who = actor()
    return acting(label=who.label if who.id else "alerts", reason=who.reason)


def _compile(rule):
    unusable = _unusable(rule.condition, rule.days)
    error = " ".join(unusable or _impossible(rule.condition))
    if error != rule.error:
        with transaction.atomic(), _by_itself():
            AlertRule.objects.filter(pk=rule.pk).update(error=error)
            if error:
                events.record("alert_rule_wrong", f"The alert rule “{rule}”: {error}", about=rule)
        rule.error = error
    if unusable:
        return None
    document = _document(rule.condition)
    return _Compiled(rule, document, frozenset(_used(document)))


def _holding(compiled_rule, at, first, last):
    """{account: {term: value as text}} of the accounts of a range on which a rule's condition holds."""
    inputs = _inputs(compiled_rule, at, first, last)
    result = engine.evaluate(compiled_rule.document, inputs, at)
    holding = inputs.filter(result["segment"] == "yes")
    texts = holding.select("id", *(pl.col(name).cast(pl.String) for name in sorted(compiled_rule.used)))
    return {row.pop("id"): row for row in texts.iter_rows(named=True)}


def _inputs(compiled_rule, at, first, last):
    id_range = {"first": first, "last": last}
    document = compiled_rule.document
    facts = frames.facts([name for name in document.facts if name != LEAD], at=at, **id_range)
    blocked = pl.lit(None, pl.String)
    if "foreign" in facts.columns:  # money in another currency is no money we can compare
        blocked = pl.format("currency:{}", facts["foreign"])
    frame = facts.select(pl.exclude("churned", "foreign")).with_columns(blocked=blocked)
    if LEAD in compiled_rule.used:
        frame = frame.join(
            coverage.decided_of_many(LEAD, **id_range), on="id", how="left", maintain_order="left"
        )
    for key, active in _layers().items():
        mine = {name for name in compiled_rule.used if _layer_of(name) == key}
        if mine - {f"{OVER}{key}"}:
            frame = frame.join(_stored(active, key, **id_range), on="id", how="left", maintain_order="left")
        if f"{OVER}{key}" in mine:
            rules = run_rules.document_of(active.pk)
            over = stays.days_over(active.layer, rules, at=at, **id_range).rename({"over": f"{OVER}{key}"})
            frame = frame.join(over, on="id", how="left", maintain_order="left")
    then = at - timedelta(days=compiled_rule.rule.days or 0)
    for name in sorted(name for name in compiled_rule.used if name.startswith(BEFORE)):
        frame = frame.join(
            _before(name, then, frame["id"], **id_range), on="id", how="left", maintain_order="left"
        )
    types = document.schema
    return frame.select("id", "blocked", *(pl.col(name).cast(types[name]) for name in document.inputs))


def _stored(active, key, *, first, last):
    """The stored evaluation of a segmentation, with the names conditions use."""
    dimensions = [dimension.key for dimension in run_rules.document_of(active.pk).dimensions]
    stored = frames.scores(
        active.layer_id, first=first, last=last, dimensions=dimensions, definition=active.pk
    )
    names = {"label": f"label.{key}", "composite": f"composite.{key}"}
    names |= {f"score.{dimension}": f"score.{key}.{run_rules.spoken(dimension)}" for dimension in dimensions}
    return stored.rename(names)


def _before(name, then, ids, *, first, last):
    """The value of a term at the end of a day: labels by the moves, facts by the account's history. Columns `id`, name."""
    term = name.removeprefix(BEFORE)
    if key := _layer_of(name):
        layer = next(layer for layer in Layer.objects.all() if run_rules.spoken(layer.key) == key)
        keys = dict(layer.segments.values_list("id", "key"))
        labels = frames.before(layer.pk, ids.to_list(), at=then + timedelta(days=1))
        segment = pl.col("segment").replace_strict(keys, default=None, return_dtype=pl.String)
        return labels.select("id", segment.alias(name))
    boolean = "::int" if catalogue.TYPES[term] == "boolean" else ""
    return frames.read(
        f"""select distinct on (h.id) h.id, h."{term}"{boolean} from accounts_historicalaccount h
             where h.id between %(first)s and %(last)s and h.history_date < %(until)s
             order by h.id, h.history_date desc, h.history_id desc""",
        {"id": pl.Int64, name: catalogue.dtype(term)},
        {"first": first, "last": last, "until": _end_of(then)},
    )


def _end_of(day):
    """The first moment after a day in the organisation's zone."""
    morning = timezone.datetime.combine(day + timedelta(days=1), timezone.datetime.min.time())
    return timezone.make_aware(morning)


def _settle(rule, holding, at, first, last):
    """Open what is new and resolve what has ended in a range; returns how many of each."""
    unresolved = rule.alerts.exclude(status=_STATUS.RESOLVED)
    there = {
        alert.account_id: alert for alert in unresolved.filter(account_id__gte=first, account_id__lte=last)
    }
    silent = rule.evaluated_at is None
    new = [
        Alert(rule=rule, account_id=account, silent=silent, opened_on=at, evidence=evidence)
        for account, evidence in holding.items()
        if account not in there
    ]
    made = bulk_create_with_history(new, Alert, default_change_reason=rule.name) if new else []
    if made and not silent:
        _tell(rule, made)
    ended = [alert.pk for account, alert in there.items() if account not in holding]
    reason = f"{rule.name}: {rule.error}" if rule.error else rule.name  # such as a segment that is no more
    return len(made), _resolve(unresolved.filter(pk__in=ended), at, reason[:400]) if ended else 0


def _tell(rule, alerts):
    data = {"audience": rule.audience, "urgent": rule.urgent}
    texts = {"text": f"{rule.name}.", "reason": rule.description}
    _record(
        "alert_opened", [(alert, texts | {"data": data | {"evidence": alert.evidence}}) for alert in alerts]
    )


def _record(kind, told):
    """An event for each (Alert, columns), in the name of who acts."""
    who = {"actor": actor().id, "actor_label": actor().label, "channel": actor().channel}
    Event.objects.bulk_create(
        Event(kind=kind, account_id=alert.account_id, about="alert", about_id=alert.pk, **columns, **who)
        for alert, columns in told
    )


def _resolve(unresolved, at, reason=""):
    """Resolve these, however many: as they are once nobody can acknowledge them meanwhile. Returns how many."""
    rows = list(unresolved.select_for_update().order_by("pk"))
    for alert in rows:
        alert.status, alert.resolved_on = _STATUS.RESOLVED, at
    fields = ["status", "resolved_on"]
    bulk_update_with_history(rows, Alert, fields, batch_size=BATCH, default_change_reason=reason)
    return len(rows)


def _resolve_strays(compiled, at):
    """Alerts of accounts that are evaluated no more: they have left, or were excluded."""
    scored = Account.objects.scored()
    rules = [compiled_rule.rule.pk for compiled_rule in compiled]
    strays = Alert.objects.filter(rule__in=rules).exclude(status=_STATUS.RESOLVED).exclude(account__in=scored)
    with transaction.atomic(), _by_itself():
        _resolve(strays, at)


def in_words(alert):
    """The evidence of an alert in words: [(term, value)]; scores with as many decimals as tell them from what they passed."""
    try:
        edges = spelling.edges(_document(alert.rule.condition))
    except DocumentErrors:  # the rule cannot be used any more
        edges = {}
    return [
        (_term(name), "–" if value is None else _in_words(name, value, edges.get(name, ())))
        for name, value in sorted(alert.evidence.items())
    ]


def _in_words(name, value, edges):
    is_score = name.removeprefix(BEFORE).startswith(("score.", "composite."))
    return spelling.score(Decimal(value), edges) if is_score else value


def condition_in_words(text):
    """A condition in words: `Value score of Service tier is at least 4`."""
    shown = []
    for kind, token in sketch.tokens(text):
        names = kind == "name" and ("." in token or token in catalogue.FACTS or token == LEAD)
        shown.append(
            _term(token)
            if names
            else token.upper()
            if token in ("and", "or", "not", "is", "null", "in")
            else token
        )
    return compared("".join(shown))


def _term(name):
    if name == LEAD:
        return "Renewal work starts, days before"
    if name.startswith(OVER):
        return f"Days longer than expected in {term_label(f'label.{_layer_of(name)}')}"
    if name.startswith(BEFORE):
        return f"{term_label(name.removeprefix(BEFORE))}, before"
    return term_label(name)


# -- what people do


@verb
def acknowledge(alert, *, by, note=""):
    """Say that somebody has seen to it. Once acknowledged it stays so until the rule holds no more."""
    permissions.check(permissions.acknowledge_alert(alert, by=by))
    [held] = _held([alert.pk])
    if held.status == _STATUS.ACKNOWLEDGED and held.acknowledged_by == by.pk:
        return held  # a second click
    if held.status != _STATUS.OPEN:
        raise _not_open(held)
    _acknowledge([held], by, note.strip())
    return held


@verb
def acknowledge_all(chosen, *, by, note=""):
    """Acknowledge these alerts (a queryset), however many, in one go.

    Returns how many that were, and why others were left: [a sentence each]. Ones this person has seen to already count as
    neither.
    """
    permissions.check(permissions.acknowledge_alerts(by=by))
    done, left = 0, []
    with transaction.atomic():
        ids = list(chosen.order_by().values_list("pk", flat=True))
        for start in range(0, len(ids), BATCH):
            mine = []
            for held in _held(sorted(ids)[start : start + BATCH]):
                if held.status == _STATUS.ACKNOWLEDGED and held.acknowledged_by == by.pk:
                    continue
                refusal = permissions.acknowledge_alert(held, by=by)
                if held.status != _STATUS.OPEN:
                    refusal = refusal or _not_open(held)
                if refusal:
                    left.append(str(refusal))
                else:
                    mine.append(held)
            _acknowledge(mine, by, note.strip())
            done += len(mine)
    return done, left


def _held(ids):
    """These alerts, locked, in the order of their ids."""
    rows = Alert.objects.select_for_update(of=["self"]).select_related("rule", "account__csm")
    return list(rows.filter(pk__in=ids).order_by("pk"))


def _not_open(alert):
    return Refused("alert_not_open", status=alert.get_status_display())


def _acknowledge(rows, by, note):
    with acting(by=by, reason=note):
        for alert in rows:
            alert.status, alert.note, alert.acknowledged_at = _STATUS.ACKNOWLEDGED, note, timezone.now()
            alert.acknowledged_by, alert.acknowledged_by_label = by.pk, by.get_username()
        fields = ["status", "note", "acknowledged_at", "acknowledged_by", "acknowledged_by_label"]
        bulk_update_with_history(rows, Alert, fields, batch_size=BATCH, default_change_reason=note)
        _record(
            "alert_acknowledged",
            [(alert, {"text": f"{alert.rule.name}: acknowledged.", "reason": note}) for alert in rows],
        )


@verb
def save_rule(rule, *, by):
    """Store an alert rule, new or changed. Refused where its condition cannot be used.

    A condition that changes is evaluated silently once: its alerts begin anew.
    """
    permissions.check(permissions.manage_alerts(by=by))
    if obstacles := problems(rule.condition, days=rule.days):
        raise Refused("alert_condition_unusable", problem=obstacles[0])
    with acting(by=by, reason=actor().reason):
        before = AlertRule.objects.select_for_update().filter(pk=rule.pk).first()
        if before and (before.condition, before.days) != (rule.condition, rule.days):
            rule.evaluated_at = None
        rule.error = ""
        rule.save()
    return rule


def load_shipped():
    """The alert rules that come with Demarc, where they are not there yet; returns how many were made."""
    made = 0
    for shipped in SHIPPED:
        _, created = AlertRule.objects.get_or_create(key=shipped["key"], defaults=shipped)
        made += created
    return made


def holding_now(rule, at=None):
    """On how many accounts a rule, saved or not, holds today, and on up to ten of them which: (count, [Account])."""
    at, ids = at or timezone.localdate(), []
    _, ranges = recalculation.cut(frames.SCORED)
    for first, last in ranges:
        ids += _holding(_unsaved(rule), at, first, last)
    return len(ids), list(Account.objects.filter(pk__in=ids[:10]))


def count_now(rule, at=None):
    """(on how many accounts a rule holds today, of how many that were looked at, of how many), within a second.

    A sample of a large portfolio is looked at, as for the rules of a draft (segmentation.authoring.rule_counts).
    """
    at, holding = at or timezone.localdate(), 0
    with within_seconds() as cursor:
        total, counted, ranges = rule_counts.sample(cursor, frames.SCORED)
        for first, last in ranges:
            holding += len(_holding(_unsaved(rule), at, first, last))
    return holding, counted, total


def _unsaved(rule):
    document = _document(rule.condition)
    return _Compiled(rule, document, frozenset(_used(document)))
