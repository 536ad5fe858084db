import os
import sys
from pathlib import Path

from django.core.management.base import CommandError

from core import commands
from segmentation.management.commands.recompute import layers
from segmentation.reading import exports


class Command(commands.Command):
    help = "Exports the segments of every scored account, to a file or to stdout."

    def add_arguments(self, parser):
        parser.add_argument("--format", choices=exports.FORMATS, default="csv")
        parser.add_argument("--layer", metavar="KEY", help="only this segmentation (default: all)")
        parser.add_argument("--out", metavar="FILE", help="default: stdout")
        parser.add_argument(
            "--wide", action="store_true", help="one row an account, one column a segmentation"
        )

    def handle(self, *, format, layer, out, wide, **options):
        layer = layers([layer])[0] if layer else None
        lines = exports.assignments(layer=layer, format=format, wide=wide)
        if out:
            return save(lines, Path(out))
        try:
            for line in lines:
                self.stdout.write(line, ending="")
        except BrokenPipeError:  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def save(lines, path):
    """Write beside, then rename: a reader never meets half a file. A pipe or a device is written to, not replaced."""
    is_file = path.is_file() or not path.exists()
    part = path.with_name(f"{path.name}.part") if is_file else path
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
        if is_file:
            part.replace(path)
    except OSError as error:
        if is_file:
            part.unlink(missing_ok=True)
        raise CommandError(f"{path} cannot be written: {error.strerror}") from None
