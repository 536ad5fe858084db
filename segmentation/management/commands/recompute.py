import json
from datetime import date
from difflib import get_close_matches

from django.core.management.base import CommandError

from core import commands
from core.refusals import Refused
from segmentation import scopes
from segmentation.models import Definition, Layer, Run
from segmentation.runs import recalculation


class Command(commands.Command):
    help = "Recalculates segments, and returns when the recalculation has ended. Progress goes to stderr."

    def add_arguments(self, parser):
        parser.add_argument(
            "--layer", action="append", metavar="KEY", help="only this segmentation (may be repeated)"
        )
        parser.add_argument(
            "--as-of",
            metavar="DATE",
            help="the clock, such as 2026-01-31 (default: today); it never goes back, `simulate` looks at other days",
        )
        parser.add_argument("--reason", default="", help="recorded with everything that changes")
        parser.add_argument("--json", action="store_true", help="print what was done as JSON")

    def handle(self, *, layer, as_of, reason, json, **options):
        wanted, as_of = layers(layer), a_date("--as-of", as_of)
        try:
            self.finish_abandoned(wanted)
            run = recalculation.start(layers=wanted, as_of=as_of, reason=reason)
            run = recalculation.work(run.pk, wait=True, on_part=self.tell)
        except recalculation.WrongClock as refusal:
            raise CommandError(f"{refusal} {preview(wanted, as_of)}") from None
        except Refused as refusal:
            old = refusal.code == "facts_are_old"
            hint = (
                f" For example: --as-of {refusal.about['newest']}, or --as-of {date.today()}." if old else ""
            )
            raise CommandError(f"{refusal}{hint}") from None
        except KeyboardInterrupt:
            raise CommandError(
                "Interrupted. A worker does the rest, or the next `recompute` does.", returncode=130
            ) from None
        self.print(recalculation.report(run), json)
        if run.status != Run.Status.FINISHED:
            raise CommandError(f"The recalculation {run.get_status_display().lower()}: {run.error}")

    def finish_abandoned(self, wanted):
        """A run whose process was lost would block this one; without a worker nobody else would end it."""
        for run in recalculation.abandoned(wanted):
            self.stderr.write(f"Finishing run {run.pk} as of {run.as_of}, which was interrupted")
            recalculation.work(run.pk, wait=True, on_part=self.tell)

    def tell(self, run):
        done = recalculation.progress(run)
        self.stderr.write(f"{done['accounts_done']:,} of {done['accounts']:,} accounts")

    def print(self, report, as_json):
        if as_json:
            return self.stdout.write(json.dumps(report))
        for key, layer in report["layers"].items():
            moves = ", ".join(f"{count:,} {why}" for why, count in layer["moves"].items())
            self.stdout.write(
                f"{key}: {layer['scanned']:,} {scopes.SCOPES[layer['scope']].units}, {layer['moved']:,} moved{f' ({moves})' if moves else ''}, "
                f"{layer['differs']:,} computed differs, {layer['needs_data']:,} need data, "
                f"{layer['provisional']:,} provisional, {layer['quarantined']:,} set aside"
            )
            for warning in layer["warnings"]:
                self.stdout.write(f"  Note: {warning}")
        self.stdout.write(f"As of {report['as_of']}, {report['seconds']} s")


def preview(layers, as_of):
    """How to look at another day instead, as a sentence."""
    active = Definition.objects.filter(status=Definition.Status.ACTIVE).select_related("layer")
    active = active.filter(layer__in=layers) if layers else active.filter(layer__primary=True)
    command = "manage.py simulate {0.layer.key} --version {0.version} --as-of {1}"
    tries = " or ".join(
        command.format(definition, as_of) for definition in active.order_by("layer__position", "layer__key")
    )
    return f"To see what the rules say of that day, preview it: {tries}" if tries else ""


def a_date(option, text):
    """An ISO date given on the command line, or None."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise CommandError(f"{option} {text!r} is not a date such as 2026-01-31") from None


def layers(keys):
    """The layers with these keys, or None for all."""
    if not keys:
        return None
    by_key = {layer.key: layer for layer in Layer.objects.filter(key__in=keys)}
    if unknown := [key for key in keys if key not in by_key]:
        all_keys = list(Layer.objects.values_list("key", flat=True))
        near = get_close_matches(unknown[0], all_keys, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise CommandError(f"There is no segmentation {unknown[0]!r}. {hint}There are: {', '.join(all_keys)}")
    return list(by_key.values())
