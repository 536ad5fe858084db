"""Impact previews: what a version of the rules would change on the accounts there are, before anybody activates it.

A simulation is a row that keeps what it is of: the document, its hash, the date. Like a recalculation it is cut into
ranges of accounts that any process works (core.work); nothing of an assignment is written. Whoever looks at the page
carries it on where no worker does.

The accounts that would move are kept, as arrays by range, and not worked out again for the list and the file. They have
to say the same as the matrix, when facts have changed and after the preview was frozen.
"""

from datetime import timedelta
from functools import partial

import polars as pl
from django.db import connection, transaction
from django.utils import timezone

from accounts import catalogue, exports, revenue
from core.history import actor
from core.money import Money
from core.refusals import Refused
from core.work import Fenced, JobKind, divided, error_text
from segmentation.authoring import versions
from segmentation.evaluation import measuring, run_rules
from segmentation.models import Definition, RunLayer, Simulation, SimulationPart
from segmentation.previews import impact
from segmentation.rules import definitions
from segmentation.rules.document import DocumentErrors
from segmentation.runs import recalculation

PERMISSION = "segmentation.preview_rules"
KEPT = 10  # previews of a segmentation that are not frozen: the newest ones that have ended
PATIENCE = timedelta(seconds=4)  # a worker that was told has begun by then
CSV_ROWS = 2_000
ANY = object()  # of movers: from, or to, whatever segment

_STATUS = Simulation.Status


# -- starting


def start(definition, *, as_of=None, by=None):
    """Preview a version of the rules (or an unsaved one, of a file) as of a date; returns the Simulation.

    as_of: default is that of the layer's last recalculation. Wakes workers after the commit. Raises Refused where the
    person may not, or the rules are not complete.
    """
    _check_may(by)
    document, layer = _complete(definition), definition.layer
    as_of = as_of or default_date(layer)
    with transaction.atomic():
        total, ranges = recalculation.cut(_which(layer, document))
        left_out = recalculation.without_facts(document, as_of, layer.scoped)
        cutoffs = None if document.population and ranges else {}
        made = Simulation.objects.create(
            layer=layer,
            definition_id=definition.pk,
            version=definition.version,
            document=definition.document,
            hash=document.hash,
            as_of=as_of,
            accounts=total,
            left_out=left_out,
            cutoffs=cutoffs,
            measured=cutoffs is not None,
            warnings=[
                *(recalculation.left_out_text(document, key) for key in left_out),
                *_warnings(layer, as_of),
            ],
            started_by=by.pk if by else actor().id,
            started_by_label=by.get_username() if by else actor().label,
        )
        SimulationPart.objects.bulk_create(
            SimulationPart(job=made, first=first, last=last) for first, last in ranges
        )
        _forget_old(layer)
        transaction.on_commit(partial(KIND.wake, made.pk, len(ranges)))
    return made


def may(person):
    """Whether this person may start, cancel and freeze previews; without a person only the command line may."""
    return person.has_perm(PERMISSION) if person else actor().channel == "command"


def _check_may(by):
    if not may(by):
        raise Refused("preview_not_allowed")


def _complete(definition):
    problems = versions.problems(definition)
    if problems:
        raise Refused("rules_incomplete", problems=[problem.message for problem in problems])
    keys = set(definition.layer.segments.values_list("key", flat=True))
    return definitions.parse(definition.document, types=catalogue.TYPES, segments=keys)


def default_date(layer):
    """The date of the last recalculation, so that the rules are all that differs; today before the first one."""
    last = recalculation.latest(layer)
    return last.as_of if last else timezone.localdate()


def _which(layer, document):
    """The accounts of these rules and of those in use."""
    active = layer.definitions.filter(status=Definition.Status.ACTIVE).first()
    before = [run_rules.document_of(active.pk)] if active else []
    return run_rules.accounts_of([document, *before])


def _warnings(layer, as_of):
    last = recalculation.latest(layer)
    if last is None:
        yield "These segments were never recalculated: nobody has one to move from."
    elif as_of != last.as_of:
        yield (
            f"The last recalculation was as of {last.as_of}, this preview is as of {as_of}: "
            "some would move without new rules too."
        )
    name, readers = run_rules.spoken(layer.key), []
    active = Definition.objects.filter(status=Definition.Status.ACTIVE).exclude(layer=layer)
    for definition in active.select_related("layer").order_by("layer__position", "layer__key"):
        if name in run_rules.document_of(definition.pk).layers:
            readers.append(definition.layer.name)
    if readers:
        yield f"What follows from it is not part of this preview: {', '.join(readers)} reads these segments."


def _forget_old(layer):
    """Previews are made often and looked at once; those that were frozen stay."""
    ended = Simulation.objects.filter(layer=layer, frozen_at=None).exclude(status=_STATUS.RUNNING)
    old = ended.order_by("-pk").values_list("pk", flat=True)[KEPT:]
    # Locked: one that is being frozen just now is not old.
    free = ended.select_for_update(skip_locked=True).filter(pk__in=list(old))
    Simulation.objects.filter(pk__in=list(free.values_list("pk", flat=True))).delete()


# -- working


def work(simulation_id, *, wait=False, most=None, on_part=None):
    """Work ranges until none is free, and close the preview when all have ended; returns the Simulation. See JobKind."""
    return KIND.work(simulation_id, wait=wait, most=most, on_part=on_part)


class _Pinned:
    """A simulation as those who work it see it."""

    def __init__(self, simulation, cutoffs):
        layer = simulation.layer
        document = definitions.parse(simulation.document, types=catalogue.TYPES)
        self.simulation, self.which = simulation, _which(layer, document)
        as_run = RunLayer(layer=layer, left_out=simulation.left_out, cutoffs=cutoffs)
        self.layer = run_rules.of_layer(as_run, document=document)

    def look(self, first, last):
        return impact.look(self.layer, at=self.simulation.as_of, first=first, last=last, which=self.which)


def _pin(simulation):
    return _Pinned(simulation, simulation.cutoffs or {})


def _open(simulation_id):
    return _pin(Simulation.objects.get(pk=simulation_id))


def _measure(simulation):
    """The cut-offs the rules need of the whole portfolio."""
    cutoffs = measuring.measure(_pin(simulation).layer, partial(_values, simulation))
    Simulation.objects.filter(pk=simulation.pk).update(cutoffs=cutoffs)


def _values(simulation, document):
    values, pinned = [], _pin(simulation)
    work = partial(_term_values, pinned.layer, document, simulation.as_of)
    for part in simulation.parts.order_by("first").only("first", "last"):
        if Simulation.objects.get(pk=simulation.pk).status != _STATUS.RUNNING:
            raise Fenced  # cancelled meanwhile
        values += divided(work, part.first, part.last, recalculation.ids_of(pinned.which), limited=False)[0]
    return values


def _look(parts, opened):
    """Keep figures and movers of ranges; accounts that cannot be evaluated are set aside, with the reason."""
    pinned = opened()
    for part in parts:
        seen, bad = divided(pinned.look, part.first, part.last, recalculation.ids_of(pinned.which))
        part.result = impact.add(portion.figures for portion in seen)
        part.result["set_aside"] = [[account, error_text(error)] for account, error in bad]
        _keep(part, [portion.movers for portion in seen])


_KEEP = """
    update segmentation_simulationpart
       set movers = %s::bigint[], products = %s::bigint[], from_segments = %s::bigint[], to_segments = %s::bigint[],
           rules_from = %s::bigint[], rules_to = %s::bigint[], arr = %s::numeric[]
     where id = %s
"""


def _keep(part, frames):
    movers = pl.concat(frames) if frames else pl.DataFrame()
    columns = [
        _array(movers[name]) if name in movers.columns else "{}"
        for name in ("id", "product", "source", "target", "rules_source", "rules_target", "arr")
    ]
    with connection.cursor() as cursor:
        cursor.execute(_KEEP, [*columns, part.pk])


def _array(series):
    """A PostgreSQL array as text: one value an account would cost more than finding them."""
    return f"{{{series.cast(pl.String).fill_null('NULL').str.join(',').item() or ''}}}"


def count(definition, as_of):
    """Count what a version of the rules would change as of a date, here and now and kept nowhere; as `Simulation.result`.

    Raises Refused where the rules are not complete. Accounts that cannot be evaluated are left out.
    """
    document, layer = _complete(definition), definition.layer
    unsaved = Simulation(
        layer=layer,
        definition_id=definition.pk,
        document=definition.document,
        as_of=as_of,
        left_out=recalculation.without_facts(document, as_of, layer.scoped),
    )
    _, ranges = recalculation.cut(_which(layer, document))
    pinned = _pin(unsaved)

    def over(work):
        pieces = []
        for first, last in ranges:
            pieces += divided(work, first, last, recalculation.ids_of(pinned.which), limited=False)[0]
        return pieces

    def values(document):
        return over(partial(_term_values, pinned.layer, document, as_of))

    if document.population:
        unsaved.cutoffs = measuring.measure(pinned.layer, values)
        pinned = _pin(unsaved)
    figures = impact.add(seen.figures for seen in over(pinned.look))
    return impact.result(layer, pinned.layer.document, figures) | {"set_aside": []}


def _term_values(layer, document, as_of, first, last):
    return measuring.values(layer, document, [], at=as_of, first=first, last=last)


# -- ending


def _finish(simulation, errors):
    simulation.end(errors)
    if not errors:
        results = list(simulation.parts.order_by("first").values_list("result", flat=True))
        document = _pin(simulation).layer.document
        simulation.result = impact.result(simulation.layer, document, impact.add(results))
        simulation.result["set_aside"] = impact.named(
            row for result in results for row in result["set_aside"]
        )
    simulation.save()


KIND = JobKind(
    parts=SimulationPart,
    do=_look,
    open=_open,
    measure=_measure,
    finish=_finish,
    whole=True,
    task="segmentation.tasks.simulate",
)


def cancel(simulation, *, by):
    """End a preview between two ranges; what was found so far is not shown."""
    _check_may(by)
    with transaction.atomic():
        simulation = _locked(simulation)
        if simulation.status != _STATUS.RUNNING:
            raise Refused("preview_ended_already")
        simulation.end()
        simulation.status = _STATUS.CANCELLED
        simulation.error = f"Cancelled by {by.get_username() if by else actor().label}."
        simulation.save()
    return simulation


def freeze(simulation, *, by, note):
    """Keep a finished preview for good, with what it is of and why it is kept: from now on nobody changes it."""
    _check_may(by)
    if not note.strip():
        raise Refused("preview_note_missing")
    with transaction.atomic():
        simulation = _locked(simulation)
        if simulation.frozen_at:
            raise Refused("preview_frozen_already")
        if simulation.status != _STATUS.FINISHED:
            raise Refused("preview_not_finished")
        simulation.frozen_at, simulation.note = timezone.now(), note.strip()
        simulation.frozen_by = by.pk if by else actor().id
        simulation.frozen_by_label = by.get_username() if by else actor().label
        simulation.save()
    return simulation


def _locked(simulation):
    simulation = Simulation.objects.select_for_update(no_key=True).filter(pk=simulation.pk).first()
    if simulation is None:
        raise Refused("preview_gone")
    return simulation


def sweep():
    """Work every preview that no message told of; returns how many were looked at."""
    return KIND.sweep()


def carry(simulation):
    """Work one range where no worker has begun, or none goes on: for the page that waits for it."""
    if simulation.started_at < timezone.now() - PATIENCE and not KIND.busy(simulation):
        work(simulation.pk, most=1)


# -- telling


def progress(simulation):
    """How far it is: as JobKind says, with "accounts" and "accounts_done"."""
    scanned = simulation.parts.filter(status="done").values_list("result__counts__scanned", flat=True)
    return KIND.progress(simulation) | {"accounts": simulation.accounts, "accounts_done": sum(scanned)}


def changed(simulation):
    """Why what this is a preview of is no longer what there is, as a sentence; "" where it still is."""
    if simulation.definition_id is None:
        return ""
    now = Definition.objects.filter(pk=simulation.definition_id).first()
    if now is None:
        return "This draft was discarded since this preview."
    try:
        same = definitions.parse(now.document, types=catalogue.TYPES).hash == simulation.hash
    except DocumentErrors:
        same = False
    return "" if same else "The rules were changed since this preview."


def report(simulation):
    """The findings of a preview, as `simulate --json` prints them; segments by their keys, null for none."""
    simulation = Simulation.objects.select_related("layer").get(pk=simulation.pk)
    end = simulation.finished_at or timezone.now()
    head = {
        "preview": simulation.pk,
        "status": simulation.status,
        "segmentation": simulation.layer.key,
        "version": simulation.version,
        "hash": simulation.hash,
        "as_of": simulation.as_of.isoformat(),
        "error": simulation.error or None,
        "warnings": simulation.warnings,
        "seconds": round((end - simulation.started_at).total_seconds(), 3),
    }
    return head | (impact.numbers(simulation.result) if simulation.result else {})


_MOVERS = """
      from segmentation_simulationpart p
     cross join lateral unnest(p.movers, p.products, {sides}, p.arr) as m (account, product, source, target, arr)
      left join accounts_account a on a.id = m.account
      left join accounts_product x on x.id = m.product
      left join accounts_csm c on c.id = a.csm_id
     where p.job_id = %(simulation)s and m.source is distinct from m.target
       and (%(any_source)s or m.source is not distinct from %(source)s)
       and (%(any_target)s or m.target is not distinct from %(target)s)
"""


# The two questions of impact.numbers: {which accounts: (columns with the segment before, and then)}.
SIDES = {"moved": ("p.from_segments", "p.to_segments"), "changed": ("p.rules_from", "p.rules_to")}


def _movers_sql(which):
    return _MOVERS.format(sides=", ".join(SIDES[which]))


def movers(simulation, *, which="moved", source=ANY, target=ANY, offset=0, limit=50):
    """The accounts that would change the segment (which: of SIDES), the most ARR first.

    Rows are {account, external_id, name, product, source, target, arr}.

    source, target: the id of a segment, None for no segment, ANY. Segments are ids. One query.
    """
    query = f"""select m.account, a.external_id, coalesce(nullif(a.name, ''), a.external_id), coalesce(nullif(x.name, ''), x.key),
                       m.source, m.target, m.arr {_movers_sql(which)}
                 order by m.arr desc nulls last, m.account, m.product offset %(offset)s limit %(limit)s"""
    names = ["account", "external_id", "name", "product", "source", "target", "arr"]
    with connection.cursor() as cursor:
        cursor.execute(query, _movers_of(simulation, source, target) | {"offset": offset, "limit": limit})
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _movers_of(simulation, source, target):
    return {
        "simulation": simulation.pk,
        "any_source": source is ANY,
        "source": None if source is ANY else source,
        "any_target": target is ANY,
        "target": None if target is ANY else target,
    }


def movers_csv(simulation, *, which="moved", source=ANY, target=ANY):
    """The same as lines of a CSV file, all of them, a portion at a time; each row tells what it is a preview of."""
    segments = {segment["id"]: segment["key"] for segment in simulation.result.get("segments", [])}
    header = ["external_id", "name", "product", "from_segment", "to_segment", "arr", "currency", "csm"]
    header += ["segmentation", "rules", "as_of"]
    of = [simulation.layer.key, rules(simulation), simulation.as_of.isoformat()]
    query = f"""select a.external_id, a.name, x.key, m.source, m.target, m.arr, c.email, m.account
                      {_movers_sql(which)}
                 order by p.first, m.account, m.product"""

    def rows():
        with connection.chunked_cursor() as cursor:
            cursor.execute(query, _movers_of(simulation, source, target))
            while batch := cursor.fetchmany(CSV_ROWS):
                amounts = others([(id, arr) for *_, arr, _, id in batch], simulation.as_of)
                for account, name, product, before, then, arr, csm, id in batch:
                    worth = amounts.get(id, Money.of([("", arr)] if arr is not None else []))
                    yield [
                        account,
                        name,
                        product,
                        segments.get(before),
                        segments.get(then),
                        *worth.cells,
                        csm,
                        *of,
                    ]

    return exports.lines(header, rows())


def others(rows, at):
    """{account: Money} of (account, ARR) rows for which no ARR was counted: it is in other currencies, or not known."""
    return revenue.of([account for account, arr in rows if arr is None], at)


def rules(simulation):
    """The rules it is a preview of, in the words of a file's name: `version-4`."""
    return f"version-{simulation.version}" if simulation.version else "file"


def file_name(simulation):
    return f"impact-{simulation.layer.key}-{rules(simulation)}-{simulation.as_of}.csv"
