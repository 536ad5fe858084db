"""The layout: core <- accounts <- segmentation <- governance, room by room within the last two, who knows pages, and the
pure parts without Django. Also how long a file may be, and how a docstring begins."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
APPS = ("core", "accounts", "segmentation", "governance")  # each may import itself and what stands left of it
# Packages of an app: each may import itself, those left of it, and what stands in no package.
ROOMS = {
    "segmentation": ("rules", "evaluation", "runs", "authoring", "reading", "previews"),
    "governance": ("signoff", "changes", "reading", "news"),
}
LONGEST = 600  # lines of a file that is not one of models
PURE = (
    "accounts.catalogue",
    "segmentation.rules.rubric",
    "segmentation.rules.conditions",
    "segmentation.rules.condition_sql",
    "segmentation.rules.tree",
    "segmentation.rules.document",
    "segmentation.rules.document_text",
    "segmentation.rules.sketch",
    "segmentation.rules.terms",
    "segmentation.rules.definitions",
    "segmentation.evaluation.engine",
)


def imported(path):
    """(top-level package, line) of every import in a file, wherever in it the import stands."""
    package = path.relative_to(ROOT).parts[0]
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [package if node.level else node.module]
        else:
            continue
        yield from ((name.partition(".")[0], node.lineno) for name in names)


@pytest.mark.parametrize("app", APPS)
def test_apps_import_leftwards_only(app):
    forbidden = {*APPS[APPS.index(app) + 1 :], "config", "tests", "benchmarks", "examples"}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {package}"
        for path in sorted((ROOT / app).rglob("*.py"))
        for package, line in imported(path)
        if package in forbidden
    ]
    assert wrong == []


@pytest.mark.parametrize(("app", "room"), [(app, room) for app, rooms in ROOMS.items() for room in rooms])
def test_rooms_import_leftwards_only(app, room):
    """Modules in no package are below all of them: models, events, sentences. Only the edges and the tasks are above."""
    rooms = ROOMS[app]
    above = {
        f"{app}.{one}" for one in (*rooms[rooms.index(room) + 1 :], "admin", "api", "tasks", "management")
    }
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / app / room).rglob("*.py"))
        for name in sorted(files_named(path)[1])
        if any(name == one or name.startswith(f"{one}.") for one in above)
    ]
    assert wrong == []


@pytest.mark.parametrize("app", APPS)
def test_no_module_names_one_to_its_right_by_a_string(app):
    """Settings and `core.pages` do that. Permissions are names of models, and not meant."""
    right = [f"{one}." for one in APPS[APPS.index(app) + 1 :]]
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for one in APPS
        for path in (ROOT / one).rglob("*.py")
    }
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} names {node.value}"
        for path in sorted((ROOT / app).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(tuple(right))
        and (node.value in modules or node.value.rpartition(".")[0] in modules)
    ]
    assert wrong == []


def test_no_file_is_long():
    long = [
        f"{path.relative_to(ROOT)} has {lines} lines"
        for app in (*APPS, "config")
        for path in (ROOT / app).rglob("*.py")
        if "migrations" not in path.parts and path.name != "models.py"
        if (lines := len(path.read_text().splitlines())) > LONGEST
    ]
    assert long == []


AWKWARD = re.compile(r"(?:^|[.!?]\s+)(Of|Those|Who|What)\b")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.mark.parametrize("folder", [*APPS, "config", "tests", "benchmarks", "examples"])
def test_docstrings_can_be_read_aloud(folder):
    """A sentence begins with a verb or a noun phrase, so that nobody has to read it twice."""
    awkward = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)} has a sentence that begins with {head}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(), filename=str(path)))
        if isinstance(node, DOCUMENTED)
        for head in AWKWARD.findall(ast.get_docstring(node) or "")
    ]
    assert awkward == []


def files_named(path):
    """The modules of ours (dotted) that a file imports, wherever in it the import stands."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return module, found


def test_no_circle_of_files():
    """Imports within functions included: such a circle is a noun that is missing."""
    files = [
        path
        for app in (*APPS, "config")
        for path in (ROOT / app).rglob("*.py")
        if "migrations" not in path.parts
    ]
    named = dict(map(files_named, files))
    # A package whose parts are imported by name is not itself what is imported.
    graph = {
        module: {
            one
            for one in found
            if one in named
            and one != module
            and not any(x.startswith(f"{one}.") for x in found & named.keys())
        }
        for module, found in named.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


EDGES = {"admin", "api", "management", "migrations", "templatetags"}  # packages that know pages


@pytest.mark.parametrize("app", APPS)
def test_only_the_edges_know_pages(app):
    """No template tags, nothing of the admin, no address: `core.pages` and `core.wording` are asked instead."""
    wrong = []
    for path in sorted((ROOT / app).rglob("*.py")):
        inner = path.relative_to(ROOT / app)
        if EDGES & {*inner.parts} or path.stem in EDGES or path == ROOT / "core" / "pages.py":
            continue
        tree = ast.parse(path.read_text(), filename=str(path))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                named = [node.module or "", *(alias.name for alias in node.names)]
                known = {part for name in named for part in name.split(".")}
                if known & {"admin", "templatetags"} or "reverse" in known:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} imports {', '.join(named)}")
            elif isinstance(node, ast.Constant) and str(node.value).startswith("admin:"):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} names {node.value}")
    assert wrong == []


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_without_django(module):
    program = f"import sys; sys.modules['django'] = None; import {module}"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
