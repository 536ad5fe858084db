"""The promises the database keeps whoever writes: functions, triggers and views, written once as SQL files of each app.

`<app>/guards/*.sql` is how they are now, in the order of the names. Facts that Python knows too are put in from there:

    {schema}                            the schema the tables are in
    {moves: segmentation.authoring.versions.STATUSES}  the moves a StatusTable allows, ('draft', 'active'), ...
    {ended: segmentation.authoring.versions.STATUSES}  the statuses nothing leads out of, 'retired', 'rejected', ...
    {keys: governance.signoff.kinds.KINDS}      the keys of a dict, 'override', 'role', ...
    {histories}                         the history tables of the app are append-only
    {append_only: a b}                  so are these tables
    {rows: a b}                         rows of all tables of these apps keep their numbers, and none is truncated
    {with_cause: a b}                   rows of these are written and deleted only with a Cause of the transaction
    {with_history: a b}                 whatever changes rows of these leaves a row of history

Migrations install a frozen copy (`<app>/migrations/NNNN_guards.sql`): what a migration does never changes. `make check`
fails where a copy is due. `promises.txt` holds a hash of everything as a fresh database has it; processes compare it with
theirs before they serve (`config.schema`).
"""

import hashlib
import re
from pathlib import Path

from django.apps import apps
from django.db import connection
from django.utils.module_loading import import_string

PROMISES = Path(__file__).with_name("promises.txt")


# -- what belongs there


def render(app):
    """The guards of an app (its label) as they should be, one SQL text in which `{schema}` is still open."""
    files = sorted((Path(apps.get_app_config(app).path) / "guards").glob("*.sql"))
    text = "\n".join(file.read_text() for file in files)
    return re.sub(r"\{(\w+)(?:: ([^{}]+))?\}", lambda match: _put_in(app, match), text) + ALWAYS


def _put_in(app, match):
    name, argument = match.groups()
    if name == "schema":
        return match[0]
    if name == "histories":
        return "".join(APPEND_ONLY.format(table=table) for table in _histories(app))
    if name == "rows":
        return _rows(argument)
    if name in _LISTS:
        return _LISTS[name](import_string(argument))
    return "".join(_OF_TABLES[name].format(table=table) for table in argument.split())


def _moves(statuses):
    pairs = dict.fromkeys((step.source.value, step.target.value) for step in statuses.steps)
    return ", ".join(f"('{source}', '{target}')" for source, target in pairs)


def _ended(statuses):
    return ", ".join(f"'{status.value}'" for status in statuses.ended)


def _keys(table):
    return ", ".join(f"'{key}'" for key in table)


def _histories(app):
    models = apps.get_app_config(app).get_models()
    return sorted(model._meta.db_table for model in models if hasattr(model, "history_type"))


def _rows(apps_named):
    models = (
        model
        for app in apps_named.split()
        for model in apps.get_app_config(app).get_models(include_auto_created=True)
    )
    return "".join(
        ROWS.format(table=model._meta.db_table, key=model._meta.pk.column)
        for model in models
        if model._meta.managed
    )


ROWS = """create or replace trigger demarc_not_emptied before truncate on {table}
    for each statement execute function demarc_row_stays();
create or replace trigger demarc_row_stays before update of {key} on {table}
    for each row when (old.{key} is distinct from new.{key}) execute function demarc_row_stays();
"""
APPEND_ONLY = """create or replace trigger demarc_append_only before update or delete on {table}
    for each row execute function demarc_append_only();
"""
WITH_CAUSE = """create or replace trigger demarc_caused_write before insert or update or delete on {table}
    for each row execute function demarc_require_cause();
"""
# At the end of a transaction: a save writes its history only after the row.
WITH_HISTORY = """drop trigger if exists demarc_keep_history on {table};
create constraint trigger demarc_keep_history after insert or update or delete on {table}
    deferrable initially deferred for each row execute function demarc_keep_history();
"""
# No setting of a session switches them off.
ALWAYS = """
do $$
declare
    guard record;
begin
    for guard in select tgrelid::regclass as "table", tgname from pg_trigger
                  where tgname like 'demarc%' and tgenabled <> 'A' and pg_table_is_visible(tgrelid) loop
        execute format('alter table %s enable always trigger %I', guard."table", guard.tgname);
    end loop;
end
$$;
"""
_OF_TABLES = {"append_only": APPEND_ONLY, "with_cause": WITH_CAUSE, "with_history": WITH_HISTORY}
_LISTS = {"moves": _moves, "ended": _ended, "keys": _keys}


# -- frozen copies


def apps_with_guards():
    """Labels of the apps that have guards, those others build on first."""
    return [app.label for app in apps.get_app_configs() if (Path(app.path) / "guards").is_dir()]


def copy(app):
    """The path of the newest frozen copy of an app's guards."""
    return max((Path(apps.get_app_config(app).path) / "migrations").glob("*_guards.sql"))


def due():
    """Labels of the apps whose guards are no longer as their newest copy says."""
    return [app for app in apps_with_guards() if copy(app).read_text() != render(app)]


def freeze():
    """Write what is due into the newest copies; the paths. A released copy stays: begin a new one beside its migration."""
    written = []
    for app in due():
        copy(app).write_text(render(app))
        written.append(copy(app))
    return written


def installed_by(migration):
    """The function for RunPython that executes the copy beside a migration: `0002_guards.py` has `0002_guards.sql`."""
    text = Path(migration).with_suffix(".sql").read_text()

    def run(apps, schema_editor):
        install(text, schema_editor)

    return run


def install_all():
    """Execute the newest copies of all apps, for a database that has lost something."""
    with connection.cursor() as cursor:
        for app in apps_with_guards():
            install(copy(app).read_text(), cursor)


def install(text, cursor):
    """Execute a copy in the current schema. cursor: whatever has `execute`."""
    with connection.cursor() as asking:
        asking.execute("select quote_ident(current_schema())")
        [schema] = asking.fetchone()
    cursor.execute(text.replace("{schema}", schema), None)


# -- what is there

# Each: what it is, of which table, its name, and what has to be the same. The numbers of PostgreSQL's own objects, and
# whatever differs between its versions, are left out.
_INSTALLED = r"""
with tables as (
    select c.oid, c.relname, c.relrowsecurity, c.relpersistence from pg_class c
     where c.relkind in ('r', 'p') and c.relnamespace = current_schema()::regnamespace
       and c.relname = any(%(tables)s))
select 'function', '', p.oid::regprocedure::text, pg_get_functiondef(p.oid) from pg_proc p
 where p.pronamespace = current_schema()::regnamespace and p.proname like 'demarc%%'
union all
select 'columns', t.relname, '', concat_ws(' ', t.relpersistence, string_agg(concat_ws(' ', a.attname,
           format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated, a.attidentity, d.text), ', ' order by a.attnum))
  from tables t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
  left join lateral (select pg_get_expr(adbin, adrelid) as text from pg_attrdef
                      where adrelid = t.oid and adnum = a.attnum) d on true
 group by t.oid, t.relname, t.relpersistence
union all
select 'child table', t.relname, c.relname, '' from tables t
  join pg_inherits i on i.inhparent = t.oid join pg_class c on c.oid = i.inhrelid
union all
select 'view', '', c.relname, pg_get_viewdef(c.oid)
  from pg_class c where c.relkind = 'v' and c.relnamespace = current_schema()::regnamespace
   and c.relname in (select unnest(%(views)s::text[]))
union all
select 'trigger', t.relname, g.tgname, concat_ws(' ', g.tgenabled, pg_get_triggerdef(g.oid))
  from tables t join pg_trigger g on g.tgrelid = t.oid where not g.tgisinternal
union all
select 'switched off', t.relname, 'foreign key ' || k.conname, ''
  from tables t join pg_trigger g on g.tgrelid = t.oid and g.tgisinternal and g.tgenabled = 'D'
  left join pg_constraint k on k.oid = g.tgconstraint
union all
select 'rule', t.relname, r.rulename, pg_get_ruledef(r.oid) from tables t join pg_rewrite r on r.ev_class = t.oid
union all
select 'row security', t.relname, '', '' from tables t where t.relrowsecurity
union all
select 'constraint', t.relname, k.conname, concat_ws(' ', k.convalidated, pg_get_constraintdef(k.oid))
  from tables t join pg_constraint k on k.conrelid = t.oid where k.contype in ('c', 'f', 'p', 'u', 'x')
union all
select 'unique index', t.relname, i.relname, concat_ws(' ', n.indisvalid, pg_get_indexdef(i.oid))
  from tables t join pg_index n on n.indrelid = t.oid and n.indisunique join pg_class i on i.oid = n.indexrelid
"""
_EXPRESSIONS = ("trigger", "constraint", "unique index", "rule", "view")
# Nothing of these may be there beside what belongs.
_EXTRA = ("trigger", "constraint", "rule", "switched off", "row security", "child table")


def installed():
    """{(what, table, name): hash} of the guards, constraints and unique keys this database has."""
    with connection.cursor() as cursor:
        cursor.execute("select quote_ident(current_schema()), current_schema()")
        quoted, schema = cursor.fetchone()
        cursor.execute(_INSTALLED, {"tables": _tables(managed=True), "views": _tables(managed=False)})
        rows = cursor.fetchall()
    return {
        (what, table, name): _hash(_plain(text) if what in _EXPRESSIONS else text, quoted, schema)
        for what, table, name, text in rows
    }


# A dump writes `(a or b) or c` as `a or b or c` and puts the casts of texts at other places.
_CASTS = re.compile(r"::(character varying|text)\b(\(\d+\))?(\[\])?")
_TOKENS = re.compile(r"'(?:[^']|'')*'|[()]|[^()']+")


def _plain(expression):
    """The text of an expression as it is before and after a dump: without what parentheses and casts do not change."""
    return " ".join(_text(_group(iter(_TOKENS.findall(_CASTS.sub("", expression))))).split())


def _group(tokens):
    """The tokens between two parentheses: texts, and a list for each inner pair."""
    parts = []
    for token in tokens:
        if token == ")":
            break
        parts.append(_group(tokens) if token == "(" else token)
    if len(parts) == 1 and isinstance(parts[0], list):
        return parts[0]
    same = _operator(parts)
    spliced = []
    for part in parts:
        spliced += part if same and isinstance(part, list) and _operator(part) == same else [part]
    return spliced


def _operator(parts):
    texts = {part.strip() for part in parts if isinstance(part, str)}
    return texts.pop() if len(texts) == 1 and texts <= {"AND", "OR"} else None


def _text(parts):
    return "".join(part if isinstance(part, str) else _enclosed(part) for part in parts)


def _enclosed(parts):
    lone = len(parts) == 1 and (parts[0].startswith("'") or " " not in parts[0])
    return parts[0] if lone else f"({_text(parts)})"


def _tables(*, managed):
    ours = [*apps_with_guards(), "core", "auth"]
    models = [model._meta for model in apps.get_models(include_auto_created=True)]
    return [meta.db_table for meta in models if meta.app_label in ours and meta.managed == managed]


def _hash(text, *schemas):
    """The hash of a text as it is but for the schema's name, which may stay where it is part of a text or of a comment."""
    names = "|".join(re.escape(schema) for schema in schemas)
    parts = re.compile(rf"--[^\n]*|'(?:[^']|'')*'|\b(?:{names})\.")
    text = parts.sub(lambda match: match[0] if match[0][0] in "-'" else "", text)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def belonging():
    """{(what, table, name): hash} of what a fresh database has, as promises.txt keeps it."""
    rows = (line.split("\t") for line in PROMISES.read_text().splitlines())
    return {(what, table, name): hash for what, table, name, hash in rows}


def keep():
    """Write promises.txt from this database, which has just been migrated from nothing."""
    lines = ["\t".join([*key, hash]) for key, hash in sorted(installed().items())]
    PROMISES.write_text("\n".join(lines) + "\n")


def differences():
    """Promises that are gone, are not as they were made, or do not belong there, a phrase each; empty when all is well."""
    there, wanted = installed(), belonging()
    gone = [f"{_named(key)} is gone" for key in sorted(wanted.keys() - there.keys())]
    other = [
        f"{_named(key)} is not as it was made"
        for key in sorted(wanted)
        if there.get(key, wanted[key]) != wanted[key]
    ]
    extra = [key for key in there.keys() - wanted.keys() if key[0] in _EXTRA or key[2].startswith("demarc")]
    return gone + other + [f"{_named(key)} does not belong there" for key in sorted(extra)]


def _named(key):
    what, table, name = key
    return " ".join(filter(None, [what, name, table and f"on {table}"]))
