import re
from argparse import RawDescriptionHelpFormatter
from pathlib import Path

from django.core.management.base import CommandError

from core import commands
from core.refusals import Refused
from segmentation.authoring import checks, versions
from segmentation.management.commands.export_assignments import save
from segmentation.management.commands.recompute import layers
from segmentation.models import Definition, Layer
from segmentation.rules import comparison, files

HELP = """Rules of segmentations as files: YAML with the segmentation's key and the document.

The answer goes to stdout, everything said about it to stderr. Whoever runs this command may do what its database
user may: an import needs no login and is recorded as made on the command line. It only makes drafts; activating one
needs a person with that permission, and a reason.

LAYER is the key of a segmentation, such as service-tier. VERSION, for diff, is LAYER (the active one), LAYER@3,
LAYER@draft, or a file.
"""
VERSION = re.compile(r"([a-z0-9_-]+)(?:@(draft|[0-9]{1,9}))?")


class Command(commands.Command):
    help = HELP

    def create_parser(self, *args, **options):
        return super().create_parser(*args, formatter_class=RawDescriptionHelpFormatter, **options)

    def add_arguments(self, parser):
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="export | import | lint | diff")
        export = verbs.add_parser("export", help="writes the active version, or another one, as YAML")
        export.add_argument("layer", metavar="LAYER")
        which = export.add_mutually_exclusive_group()
        which.add_argument("--version", type=int, dest="number", metavar="N")
        which.add_argument("--draft", action="store_true", help="the draft, or the version in review")
        export.add_argument("--out", metavar="FILE", help="default: stdout")
        bring = verbs.add_parser(
            "import", help="makes a draft of a file, in place of an open one; nothing when equal"
        )
        bring.add_argument("file", metavar="FILE")
        lint = verbs.add_parser("lint", help="says what is wrong with a file; exit code 1 on errors")
        lint.add_argument("file", metavar="FILE")
        diff = verbs.add_parser("diff", help="says what is different between two versions or files")
        diff.add_argument("old", metavar="A")
        diff.add_argument("new", metavar="B")

    def handle(self, *, verb, **options):
        work = {"export": self.export, "import": self.bring, "lint": self.lint, "diff": self.diff}[verb]
        names = {
            "export": ("layer", "number", "draft", "out"),
            "import": ("file",),
            "lint": ("file",),
            "diff": ("old", "new"),
        }[verb]
        try:
            work(**{name: options[name] for name in names})
        except Refused as refusal:
            raise CommandError(str(refusal)) from None

    def export(self, layer, number, draft, out):
        definition = version(layer, "draft" if draft else number)
        text = files.write(definition.layer.key, definition.document)
        if out:
            save([text], Path(out))
        else:
            self.stdout.write(text, ending="")
        self.stderr.write(f"{definition}, {definition.get_status_display().lower()}")

    def bring(self, file):
        content = read(file)
        [layer] = layers([content.key])
        self.say_what_is_left(content)
        made, done = versions.put_draft(layer, content.document)
        status = made.get_status_display().lower()
        self.stderr.write(
            {
                "created": f"Version {made.version} of {layer} is a new draft.",
                "replaced": f"Version {made.version} of {layer}, the open draft, says now what the file says.",
                "equal": f"Nothing to do: version {made.version} of {layer} ({status}) says the same.",
            }[done]
        )
        draft = versions.open_version(layer)
        if draft and draft != made:
            self.stderr.write(f"Version {draft.version}, the open draft, stays as it is.")
        if done != "equal" and (wrong := versions.problems(made)):
            self.stderr.write(f"To be mended before it can be activated ({len(wrong)}):")
            for problem in wrong:
                self.stderr.write(place(file, content.line(problem.path), problem.message))
        self.stdout.write(f"{layer.key}@{made.version}")

    def lint(self, file):
        content = read(file)
        self.say_what_is_left(content)
        layer = Layer.objects.filter(key=content.key).first()
        if layer is None and content.segments is None:
            layers([content.key])  # says which there are
        problems = layer and versions.problems(Definition(layer=layer, document=content.document))
        report = checks.lint(content.document, layer=layer, segments=content.segments, problems=problems)
        for finding in sorted(
            report.findings, key=lambda finding: (finding.level, content.line(finding.path) or 0)
        ):
            text = f"{finding.level}: {finding.message} [{finding.check}]"
            self.stdout.write(place(file, content.line(finding.path), text))
        counts = f"{many(report.errors, 'error')}, {many(report.warnings, 'warning')}"
        not_run = f", {len(report.not_run)} not run" if report.not_run else ""
        if report.errors:
            raise CommandError(f"{counts}{not_run}")
        self.stderr.write(f"{counts}{not_run}")

    def diff(self, old, new):
        (layer_before, before), (layer, after) = document(old), document(new)
        difference = comparison.compare(before, after, names=versions.labels(layer or layer_before))
        if layer and layer_before and layer != layer_before:
            self.stderr.write("These are rules of two segmentations.")
        if not difference:
            self.stderr.write("No difference.")
            return
        for sentence in difference.sentences:
            self.stdout.write(sentence)
        self.stdout.write("")
        for row in difference.rows:
            self.stdout.write("\t".join([row.kind, row.path, row.old or "", row.new or ""]))

    def say_what_is_left(self, content):
        if content.left:
            self.stderr.write(f"Only 'document' is read; left aside: {', '.join(content.left)}.")


def read(path):
    """The file, or a CommandError that says where it is wrong."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(files.MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return files.read(content)
    except files.FileErrors as errors:
        lines = [place(path, line, message) for line, _, message in errors.problems]
        raise CommandError("\n".join(lines)) from None


def place(file, line, message):
    return f"{file}:{line}: {message}" if line else f"{file}: {message}"


def many(results, what):
    return f"{len(results)} {what}{'' if len(results) == 1 else 's'}"


def version(key, which=None):
    """The version of a layer: a number, `draft`, or None for the active one."""
    [layer] = layers([key])
    if which == "draft":
        definition = versions.open_version(layer)
        wanted = "no draft"
    elif which is None:
        definition = layer.definitions.filter(status=Definition.Status.ACTIVE).first()
        wanted = "no active rules"
    else:
        definition = layer.definitions.filter(version=which).first()
        wanted = f"no version {which}"
    if definition is None:
        there = ", ".join(
            f"{other.version} ({other.get_status_display().lower()})" for other in layer.definitions.all()
        )
        raise CommandError(f"{layer} has {wanted}. Versions: {there or 'none'}")
    return definition


def document(text):
    """(layer or None, document) of what was named: a file, or a version."""
    match = VERSION.fullmatch(text)
    if Path(text).is_file() or not match:
        content = read(text)
        return Layer.objects.filter(key=content.key).first(), content.document
    key, which = match.groups()
    definition = version(key, which if which in (None, "draft") else int(which))
    return definition.layer, definition.document
