"""The audit trail: who did what, when, why and through which channel, over all that is kept, the newest first.

One list out of many append-only tables: every history table, decisions, comments, causes, events, refusals, and the
recalculations and imports. Each is read by an index of its time, from where the page before ended; so a page costs the
same with millions of rows. Rows that a recalculation or an import wrote in bulk stand in its one line; whoever searches
for an account sees each row of it, and what was said about the requests that name it. Each happening is one entry: an
event that only repeats what a decision, a change or a refusal tells is left out (TOLD).
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

from django.apps import apps
from django.db import OperationalError, connection, transaction
from django.db.models import Max, Min, Q
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from accounts.catalogue import FACTS
from accounts.changes import KINDS as CHANGED
from accounts.changes import NAMES, entries_of
from accounts.models import Account, FactChange
from core import history, pages
from core.refusals import Refused
from governance.models import ApprovalRequest, Decision
from segmentation.models import Cause, Move, Run
from segmentation.reading.past import History
from segmentation.reading.spelling import spelt

PERMISSION = "governance.view_audit"
PAGE = 50
EXPORTED = 1_000  # rows that are read at once for a file
FOUND = 50  # accounts a search looks at, row by row
PATIENCE = "20s"  # for one question to the database
KINDS = {
    "change": "Change",
    "decision": "Decision",
    "event": "What happened",
    "refusal": "Refused",
    "comment": "Comment",
    "cause": "Cause",
    "run": "Recalculation",
    "import": "Import",
}
CHANNELS = {"admin": "Web admin", "shell": "Shell", "command": "Command", "import": "Import", "worker": "Worker",
            "migration": "Migration", "api": "API"}  # fmt: skip


# Kinds of events that repeat a row of another table: a decision, or the change of a request, a tier change, an override ...
TOLD = (
    "move", "request_opened", "request_edited", "request_approved", "request_applied", "request_rejected", "changes_asked",
    "request_withdrawn", "request_expired", "request_failed", "transition_flagged", "transition_updated", "transition_closed",
    "transition_kept", "transition_joint", "transition_done", "transition_taken_out", "override_started", "override_ended",
    "override_expired", "override_rejected", "conflict_queued", "conflict_decided", "alert_opened", "alert_acknowledged",
    "declaration_proposed",
)  # fmt: skip


@dataclass(frozen=True)
class Filters:
    """A search: text (a person, an object, a reason), kind, channel, person (a name, or `#12`, their id), days (both
    included).

    `causes`: whether causes are listed among the others; what they say stands with what they caused.
    """

    text: str = ""
    kind: str = ""
    channel: str = ""
    person: str = ""
    since: object = None
    until: object = None
    causes: bool = True

    def words(self):
        """The same as `person=vera & since=2026-11-01`, for the file; `everything` without any."""
        filters = {"search": self.text, "kind": self.kind, "channel": self.channel, "person": self.person,
                "since": self.since, "until": self.until}  # fmt: skip
        return " & ".join(f"{name}={value}" for name, value in filters.items() if value) or "everything"


@dataclass
class Entry:
    """One line. `place`: where it is in the list, for the page after it. `changes`: [(field, before, after)].

    `who`: what somebody was called at the time, `person` their id, `named` how they are told from others of that name.
    """

    at: datetime
    code: str  # of KINDS
    who: str
    person: int | None
    named: str
    channel: str
    what: str
    text: str
    reason: str
    place: str
    link: str = ""
    changes: list = field(default_factory=list)

    @property
    def kind(self):
        return KINDS[self.code]


@dataclass(frozen=True)
class Source:
    """One table: `sql` gives the columns of COLUMNS, of `alias` rows; `written` leaves out what was written in bulk ("": all of it).

    Names are looked up for the rows that are shown, not joined: with a join PostgreSQL may name millions before it sorts.
    `of`: the column, or condition, that says which accounts (ids) a row is about; "" where it is about none.
    """

    kind: str
    sql: str
    written: str = "true"
    of: str = ""
    history: object = None  # the history model


COLUMNS = (
    "source",
    "at",
    "row",
    "who",
    "person",
    "channel",
    "verb",
    "model",
    "object",
    "account",
    "text",
    "reason",
)


# The requests that name an account.
NAMING = "select request_id from governance_requestaccount where account_id = any(%(accounts)s)"


@cache
def sources():
    """Every Source; its place in the list is its number."""
    histories = [_history(model) for model in apps.get_models() if hasattr(model, "history_type")]
    return tuple(sorted(histories, key=lambda source: source.sql)) + OTHERS


def _history(model):
    """The history of a model: what is named of a row is the account, the segmentation, and its own name."""
    meta, instance = model._meta, model.instance_type._meta
    names = {field.name for field in meta.concrete_fields}
    shown, of = [], ""
    if model.instance_type is Account:
        shown, of = ["coalesce(nullif(h.name, ''), h.external_id)"], "h.id = any(%(accounts)s)"
    elif "account" in names:
        named = "select coalesce(nullif(a.name, ''), a.external_id) from accounts_account a where a.id = h.account_id"
        shown.append(f"({named})")
        of = "h.account_id = any(%(accounts)s)"
        if not meta.get_field("account").db_index:
            of = f"h.id in (select id from {instance.db_table} where account_id = any(%(accounts)s))"
    elif model.instance_type is ApprovalRequest:
        of = f"h.id in ({NAMING})"
    if "layer" in names:
        shown.append("(select l.name from segmentation_layer l where l.id = h.layer_id)")
    own = {
        "subject": "h.subject",
        "sentence": "h.sentence",
        "name": "h.name",
        "version": "'version ' || h.version",
    }
    shown += [sql for name, sql in own.items() if name in names and model.instance_type is not Account][:1]
    account = "h.id" if model.instance_type is Account else "h.account_id" if "account" in names else "null"
    sql = f"""select h.history_date as at, h.history_id as row, h.history_user_label as who, h.history_user_id as person,
        h.history_channel as channel, h.history_type as verb, '{instance.label_lower}' as model, h.id::bigint as object,
        {account}::bigint as account, concat_ws(', ', {", ".join(shown) or "''"}) as text,
        h.history_change_reason as reason from {meta.db_table} h"""
    return Source("change", sql, "h.history_run is null", of, model)


OTHERS = (
    Source(
        "decision",
        """select d.at, d.id as row, d.by_label as who, d."by" as person, '' as channel, d.verdict as verb,
        'governance.approvalrequest' as model, d.request_id as object, null::bigint as account, (
            select concat(r.subject, ' (as ', d.role, nullif(concat(' for ', d.on_behalf_of_label), ' for '), ')')
              from governance_approvalrequest r where r.id = d.request_id) as text, d.reason from governance_decision d""",
        of=f"d.request_id in ({NAMING})",
    ),
    Source(
        "comment",
        """select c.at, c.id as row, c.by_label as who, c."by" as person, '' as channel, '' as verb, 'governance.approvalrequest' as model,
        c.request_id as object, null::bigint as account,
        (select r.subject from governance_approvalrequest r where r.id = c.request_id) as text, c.text as reason
        from governance_comment c""",
        of=f"c.request_id in ({NAMING})",
    ),
    Source(
        "event",
        """select e.at, e.id as row, e.actor_label as who, e.actor as person, e.channel, e.kind as verb,
        case e.about when '' then '' when 'user' then 'auth.user' when 'conflict' then 'accounts.conflict'
            when 'declaration' then 'segmentation.declaration' else 'governance.' || e.about end as model, e.about_id as object,
        e.account_id as account, e.text, e.reason from governance_event e""",
        f"e.kind not in {TOLD}",
        f"e.account_id = any(%(accounts)s) and e.kind not in {TOLD}",
    ),
    Source(
        "refusal",
        """select r.at, r.id as row, r.actor_label as who, r.actor as person, r.channel, r.verb, r.model, r.object_id as object,
        null::bigint as account, concat_ws(': ', nullif(r.subject, ''), r.sentence) as text, '' as reason
        from accounts_refusal r""",
    ),
    Source(
        "cause",
        """select c.at, c.id as row, c.actor_label as who, c.actor as person, c.channel, c.kind as verb, '' as model, null::bigint as object,
        null::bigint as account, '' as text, c.reason from segmentation_cause c""",
        "c.kind not in ('run', 'import')",
    ),
    Source(
        "run",
        """select r.started_at as at, r.id as row, r.started_by_label as who, r.started_by as person, r.channel, r.status as verb,
        'segmentation.run' as model, r.id as object, null::bigint as account,
        concat('Recalculation no. ', r.id, ' as of ', r.as_of) as text, r.reason from segmentation_run r""",
    ),
    Source(
        "import",
        """select coalesce(i.finished_at, i.created_at) as at, i.id as row,
        coalesce(nullif(i.committed_by_label, ''), i.created_by_label) as who,
        case when i.committed_by_label = '' then i.created_by else i.committed_by end as person, 'import' as channel, i.status as verb,
        'accounts.importbatch' as model, i.id as object, null::bigint as account, concat('Import ', i.name) as text,
        i.error as reason from accounts_importbatch i""",
    ),
)


def entries(filters, *, after="", limit=PAGE):
    """(the entries after this place, the newest first; the place of the page after them, "" at the end).

    Raises Refused where the search takes too long.
    """
    rows = _rows(filters, _place(after), limit + 1)
    following = _place_of(rows[limit - 1]) if len(rows) > limit else ""
    return _entries(rows[:limit]), following


def all_entries(filters):
    """Every entry, one by one, for a file."""
    after = ""
    while True:
        shown, after = entries(filters, after=after, limit=EXPORTED)
        yield from shown
        if not after:
            return


def _place_of(row):
    return f"{row['at'].isoformat()}|{row['source']}|{row['row']}"


def _place(text):
    """(at, source, row) of a place in the list; None at its beginning, and where the address was typed by hand."""
    at, _, rest = text.partition("|")
    number, _, row = rest.partition("|")
    try:
        moment = parse_datetime(at)
    except ValueError:
        return None
    understood = moment and timezone.is_aware(moment) and number.isdecimal() and row.isdecimal()
    return (moment, int(number), int(row)) if understood and len(number) < 4 and len(row) < 19 else None


def _rows(filters, place, limit):
    accounts = _accounts(filters.text)
    given = {"limit": limit, "accounts": accounts, **_parameters(filters, place)}
    parts = []
    for number, source in enumerate(sources()):
        if filters.kind and source.kind != filters.kind:
            continue
        if source.kind == "cause" and not filters.kind and not filters.causes:
            continue
        shared = _conditions(filters, place, number)
        matches = ["s.who ilike %(text)s", "s.text ilike %(text)s", "s.reason ilike %(text)s"]
        spoken = [f"({' or '.join(matches)})"] if filters.text else []
        if source.written:
            parts.append(_select(number, f"{source.sql} where {source.written}", [*shared, *spoken]))
        if accounts and source.of:
            parts.append(_select(number, f"{source.sql} where {source.of}", shared))
    if not parts:
        return []
    union = " union ".join(f"({part})" for part in parts)
    names = ", ".join(COLUMNS)
    sql = f"select {names} from ({union}) every order by at desc, source desc, row desc limit %(limit)s"
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"set local statement_timeout = '{PATIENCE}'; set local jit = off")
            cursor.execute(sql, given)
            rows = [dict(zip(COLUMNS, row, strict=True)) for row in cursor.fetchall()]
            cursor.execute("set local statement_timeout = default; set local jit = default")
            return rows
    except OperationalError:
        raise Refused("audit_search_too_long") from None


def _select(number, inner, conditions):
    where = " and ".join(conditions) or "true"
    return (
        f"select {number} as source, s.* from ({inner}) s where {where} "
        "order by s.at desc, s.row desc limit %(limit)s"
    )


def _conditions(filters, place, number):
    """The conditions put to every table; columns are compared as they are, so that its index serves."""
    conditions = []
    if filters.channel:
        conditions.append("s.channel = %(channel)s")
    if filters.person:
        conditions.append("s.person = %(id)s" if _id(filters.person) else "lower(s.who) = %(person)s")
    if filters.since:
        conditions.append("s.at >= %(since)s")
    if filters.until:
        conditions.append("s.at < %(until)s")
    if place:
        same = "s.at <= %(place)s" if number < place[1] else "s.at < %(place)s"
        conditions.append("(s.at, s.row) < (%(place)s, %(row)s)" if number == place[1] else same)
    return conditions


def _parameters(filters, place):
    text = filters.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    given = {"text": f"%{text}%", "channel": filters.channel, "person": filters.person.lower()}
    given |= {
        "id": _id(filters.person),
        "since": _midnight(filters.since),
        "until": _midnight(filters.until, days=1),
    }
    return given | ({"place": place[0], "row": place[2]} if place else {})


def _id(person):
    """The number of `#12`; None of a name."""
    number = person.removeprefix("#")
    return int(number) if number != person and number.isdecimal() and len(number) < 10 else None


def _midnight(day, *, days=0):
    if day is None:
        return None
    return timezone.make_aware(datetime.combine(day + timedelta(days=days), datetime.min.time()))


def _accounts(text):
    """Ids of the accounts that are called so."""
    if not text:
        return []
    accounts = Account.objects.filter(Q(name__icontains=text) | Q(external_id=text)).order_by()
    return list(accounts.values_list("pk", flat=True)[:FOUND])


# -- told


def _entries(rows):
    changes = _changes_of(rows)
    told = [(row, changes.get((row["source"], row["row"]), [])) for row in rows]
    return [_entry(row, fields) for row, fields in told if fields or row["verb"] != "~"]


def _entry(row, changes):
    kind = sources()[row["source"]].kind
    what, text = _in_words(kind, row)
    if row["model"] == "segmentation.assignment" and any(name == NAMES["effective"] for name, *_ in changes):
        what = "Segment change"
    return Entry(
        at=row["at"],
        code=kind,
        who=row["who"] or "system",
        person=row["person"],
        named=history.named(row["person"], row["who"] or "system"),
        channel=CHANNELS.get(row["channel"], row["channel"].capitalize()),
        what=what,
        text=text,
        reason=row["reason"],
        place=_place_of(row),
        link=_link(kind, row),
        changes=changes,
    )


def _in_words(kind, row):
    """(what was done, to what) in words."""
    verb, text = row["verb"], row["text"]
    if kind == "change":
        return f"{CHANGED[verb]} {_called(row['model'])}", text
    if kind == "decision":
        return dict(Decision.Verdict.choices)[verb], text
    if kind == "cause":
        return f"Gave the reason for governed changes ({Cause.Kind(verb).label.lower()})", ""
    if kind == "run":
        return Run.Status(verb).label, text
    if kind == "import":
        return verb.capitalize(), text
    return {"refusal": "Refused", "comment": "Comment", "event": ""}[kind], text


def _called(label):
    return str(apps.get_model(label)._meta.verbose_name)


def _link(kind, row):
    """The page about it: its history, or itself; of what has no page that of the account."""
    name = row["model"].rpartition(".")[2]
    own = f"{name}_history" if kind == "change" else name
    for name, key in ((own, row["object"]), ("account", row["account"])):
        if key and (page := pages.find(name)):
            return page.address(key)
    return ""


def _changes_of(rows):
    """{(source, row): [(field, before, after)]} of what was changed; three queries for each kind of object."""
    wanted = {}
    for row in rows:
        if row["verb"] == "~":
            wanted.setdefault(row["source"], []).append(row["row"])
    changes = {}
    for number, keys in wanted.items():
        model = sources()[number].history
        before = _before(model, keys)
        kept = model.objects.in_bulk({*keys, *before.values()})
        pairs = [(kept[key], kept.get(before.get(key))) for key in keys]
        for key, pair, entry in zip(keys, pairs, entries_of(pairs), strict=True):
            changes[number, key] = _spoken(entry["changes"], *pair)
    return changes


# Fields of a change that say nothing to people.
UNSPOKEN = {
    NAMES["hash"],
    "content",
    "changes",
    "editors",
    "owners",
    "measured",
    "edited at",
    "ended by",
    "ended by label",
    "escalated at",
}


def _spoken(changes, row, older):
    spoken = [
        (change["field"], change["old"], change["new"])
        for change in changes
        if change["field"] not in UNSPOKEN
    ]
    return [*_edited(row, older), *spoken]


def _edited(row, older):
    """An edit, told by the sentences that came and went; of rules, that they were edited."""
    if older is None or getattr(row, "hash", None) == getattr(older, "hash", None):
        return []
    if not hasattr(row, "changes"):
        return [("content", "", "edited")]
    gone = [sentence for sentence in older.changes if sentence not in row.changes]
    come = [sentence for sentence in row.changes if sentence not in older.changes]
    return [("what is asked for", " ".join(gone), " ".join(come) or "edited")]


def _before(model, keys):
    """{history row: the one before it of the same object}, by their ids."""
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"""select h.history_id, p.history_id from {table} h cross join lateral (
                    select history_id from {table} p where p.id = h.id
                       and (p.history_date, p.history_id) < (h.history_date, h.history_id)
                     order by p.history_date desc, p.history_id desc limit 1) p
                 where h.history_id = any(%s)""",
            [keys],
        )
        return dict(cursor.fetchall())


# -- as of a date, beside today


def account_on(account, at, *, known=None):
    """Data fields of an account on a date beside today: [(field, then, the day it was learnt, now)], "–" where nothing was.

    As known today, or as it had been recorded by the end of the day `known`. None for a day before anything was known.
    """
    today, names = timezone.localdate(), [name for name in FACTS if name != "external_id"]
    histories = {at: History(account, known=known)}
    histories[today] = histories[at] if known is None else History(account)
    snapshot, latest = (histories[day].past.on(day) for day in (at, today))
    if snapshot is None:
        return None
    then, now = (histories[day].facts(names, [day])[day] for day in (at, today))
    learnt, rows = snapshot.learnt(at), []
    for name in names:
        before, after = (spelt(name, row[name], account.currency) for row in (then, now))
        before = "not kept" if name in snapshot.not_kept else before
        rows.append((FACTS[name].label, before or "–", learnt.get(name), after or "–"))
    excluded = [each.account.get("exclusion_reason") or "–" for each in (snapshot, latest)]
    rows.append(("Excluded, because", excluded[0], None, excluded[1]))
    return [row for row in rows if (row[1], row[3]) != ("–", "–")]


def useful_date(account):
    """The day before the account last changed: its segment, else what is known of it; today where nothing ever did."""
    today = timezone.localdate()
    moves = Move.objects.filter(account=account, at__lte=today).exclude(why=Move.Why.INITIAL)
    changes = FactChange.objects.filter(account=account, observed__lte=today)
    first = changes.aggregate(first=Min("observed"))["first"]
    last = moves.aggregate(last=Max("at"))["last"] or changes.aggregate(last=Max("observed"))["last"]
    return last - timedelta(days=1) if last and first and last > first else today


def labels_on(account, at, *, known=None):
    """{(segmentation, product or None): the segment in force} at the end of a day, by the moves up to it."""
    written = {"written_at__lt": _midnight(known, days=1)} if known else {}
    moves = Move.objects.filter(account=account, at__lte=at, **written).order_by(
        "layer_id", "product_id", "-id"
    )
    latest = moves.distinct("layer_id", "product_id").select_related("layer", "product", "to_segment")
    return {(move.layer, move.product): move.to_segment for move in latest}


def rules_on(layer, at):
    """The Definition of a segmentation that was active at the end of a day; None where there was none."""
    end = _midnight(at, days=1)
    active = layer.definitions.filter(activated_at__lt=end).filter(
        Q(retired_at=None) | Q(retired_at__gte=end)
    )
    return active.order_by("-version").first()
