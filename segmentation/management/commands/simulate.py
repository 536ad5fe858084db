import json
from fractions import Fraction

from django.core.management.base import CommandError

from core import commands, wording
from core.refusals import Refused
from segmentation.management.commands.definitions import read, version
from segmentation.management.commands.recompute import a_date, layers
from segmentation.models import Definition, Simulation
from segmentation.previews import simulation


class Command(commands.Command):
    help = (
        "Previews what a version of the rules would change on the accounts there are. Nothing of an account is written. "
        "Progress goes to stderr."
    )

    def create_parser(self, *args, **options):
        """--version is one of the rules, not Django's."""
        return super().create_parser(*args, conflict_handler="resolve", **options)

    def add_arguments(self, parser):
        parser.add_argument("layer", metavar="LAYER", help="the key of a segmentation, such as service-tier")
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--draft", action="store_true", help="the draft, or the version in review (default)"
        )
        which.add_argument("--version", type=int, dest="number", metavar="N")
        which.add_argument("--file", metavar="FILE", help="rules as YAML; they do not become a draft")
        parser.add_argument("--as-of", metavar="DATE", help="default: that of the last recalculation")
        parser.add_argument("--json", action="store_true", help="print what was found as JSON")

    def handle(self, *, layer, number, file, as_of, json, **options):
        try:
            of = self.of_file(layer, file) if file else version(layer, number or "draft")
            made = simulation.start(of, as_of=a_date("--as-of", as_of))
            made = simulation.work(made.pk, wait=True, on_part=self.tell)
        except Refused as refusal:
            raise CommandError(str(refusal)) from None
        except KeyboardInterrupt:
            raise CommandError(
                "Interrupted. A worker goes on with it, or its page.", returncode=130
            ) from None
        self.print(simulation.report(made), json)
        if made.status != Simulation.Status.FINISHED:
            raise CommandError(f"The impact preview {made.get_status_display().lower()}: {made.error}")

    def of_file(self, key, path):
        content = read(path)
        [layer] = layers([key])
        if content.key != layer.key:
            raise CommandError(f"{path} holds rules of '{content.key}', not of '{layer.key}'.")
        return Definition(layer=layer, document=content.document)

    def tell(self, made):
        done = simulation.progress(made)
        self.stderr.write(f"{done['accounts_done']:,} of {done['accounts']:,} accounts")

    def print(self, report, as_json):
        if as_json:
            return self.stdout.write(json.dumps(report, default=_number))
        for warning in report["warnings"]:
            self.stdout.write(f"Note: {warning}")
        if "moved" in report:
            self.stdout.write("\n".join(_lines(report)))
        self.stdout.write(
            f"As of {report['as_of']}, {report['seconds']} s, impact preview {report['preview']}"
        )


def _number(value):
    if isinstance(value, Fraction):
        return float(value)
    raise TypeError(value)


def _lines(report):
    changed, moved, unit = report["changed"], report["moved"], report["unit"]
    yield f"{changed['accounts']:,} of {wording.plural(report['accounts'], unit)} get another segment by these rules ({wording.money(changed['arr'])} ARR)"
    yield f"{moved['accounts']:,} would be in another segment than they are in now ({wording.money(moved['arr'])} ARR)"
    if moved["pinned"]:
        yield f"{moved['pinned']:,} pinned by overrides stay"
    for row in report["in_force"]:
        if row["from"] != row["to"]:
            source, target = (row[side] or "no segment" for side in ("from", "to"))
            yield f"  {source} -> {target}: {wording.plural(row['accounts'], unit)}, {wording.money(row['arr'])} ARR"
    for row in report["distribution"]:
        before, after = (wording.percent(row[side]["share"]) for side in ("before", "after"))
        yield f"{row['segment']}: {before} -> {after} of active customers"
    for name in ("provisional", "needs_data"):
        yield f"{name.replace('_', ' ')}: {report[name]['before']:,} -> {report[name]['after']:,}"
