"""manage.py definitions: data on stdout, talk on stderr, exit code 1 with a sentence when something is wrong."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from segmenting import BY_ARR, layer_with, person
from test_files import AWKWARD

from core.refusals import Refused
from segmentation.authoring import versions
from segmentation.models import Definition
from segmentation.rules import files

NEXT = {"rules": [{"segment": "high", "when": "arr >= 80000"}, {"segment": "tech", "when": "arr >= 0"}]}


@pytest.fixture
def layer(db):
    return layer_with(BY_ARR)


@pytest.fixture
def next_file(tmp_path):
    return written(tmp_path / "next.yaml", NEXT)


def written(path, document, key="tier"):
    path.write_bytes(files.write(key, document).encode())
    return str(path)


def run(*arguments):
    """(stdout, stderr)."""
    out, err = StringIO(), StringIO()
    call_command("definitions", *map(str, arguments), stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def refused(*arguments):
    """The sentence after CommandError; manage.py ends with exit code 1."""
    with pytest.raises(CommandError) as refusal:
        run(*arguments)
    assert refusal.value.returncode == 1
    return str(refusal.value)


def test_export_names_which_version(layer):
    draft = versions.save_draft(versions.create_draft(layer, by=person()), NEXT, by=person())
    active, said = run("export", "tier")
    assert (active, said) == (files.write("tier", BY_ARR), "Tier rules, version 1, active\n")
    assert run("export", "tier", "--version", 1)[0] == active
    assert run("export", "tier", "--draft")[0] == files.write("tier", NEXT)
    versions.submit(draft, by=person(), reason="Look")
    assert run("export", "tier", "--draft") == (
        files.write("tier", NEXT),
        "Tier rules, version 2, in review\n",
    )
    for word in ("version", "status", "hash", "active", "2026"):
        assert word not in active


def test_export_to_a_file(layer, tmp_path):
    assert run("export", "tier", "--out", tmp_path / "t.yaml")[0] == ""
    assert (tmp_path / "t.yaml").read_text() == run("export", "tier")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "teir"], "no segmentation 'teir'. Did you mean 'tier'"),
        (["export", "tier", "--draft"], r"Tier has no draft. Versions: 1 (active)"),
        (["export", "tier", "--version", 9], "Tier has no version 9"),
        (["export", "tier", "--out", "/nowhere/x"], "cannot be written"),
        (["diff", "tier", "tier@9"], "Tier has no version 9"),
        (["diff", "tier", "nowhere.yaml"], "nowhere.yaml cannot be read: No such file"),
        (["import", "nowhere.yaml"], "nowhere.yaml cannot be read: No such file"),
        (["lint", "/"], "cannot be read: Is a directory"),
    ],
)
def test_refusals(layer, arguments, message):
    assert message in refused(*arguments)


def test_import_makes_a_draft_then_replaces_it_then_does_nothing(layer, next_file, tmp_path):
    assert run("import", next_file) == ("tier@2\n", "Version 2 of Tier is a new draft.\n")
    draft = Definition.objects.get(version=2)
    assert (draft.status, draft.document, draft.created_by_label) == ("draft", NEXT, "command line")
    entry = draft.history.get()
    assert (entry.history_channel, entry.history_user_label) == ("command", "command line")
    assert "says the same" in run("import", next_file)[1]
    assert draft.history.count() == 1
    other = written(tmp_path / "other.yaml", {"rules": [{"segment": "low"}]})
    assert "the open draft, says now" in run("import", other)[1]
    assert Definition.objects.get(version=2).document == {"rules": [{"segment": "low"}]}
    assert Definition.objects.count() == 2


def test_import_of_what_is_active_does_nothing_and_leaves_the_draft(layer, next_file, tmp_path):
    active = written(tmp_path / "active.yaml", BY_ARR)
    assert "Nothing to do: version 1 of Tier (active) says the same." in run("import", active)[1]
    assert Definition.objects.count() == 1
    run("import", next_file)
    assert "Version 2, the open draft, stays as it is." in run("import", active)[1]
    assert Definition.objects.get(version=2).document == NEXT


def test_export_and_import_and_export_is_the_same_byte_by_byte(layer, tmp_path):
    first = run("export", "tier")[0]
    path = tmp_path / "t.yaml"
    path.write_text(first.replace("100000", "1e5").replace(">= 0", ">= 0.40"), encoding="utf-8")
    run("import", path)
    assert run("export", "tier", "--draft")[0] == path.read_text(encoding="utf-8")


def test_the_database_keeps_every_text_as_typed(layer, tmp_path):
    rules = [{"segment": text, "when": text, "from": [text]} for text in AWKWARD]
    document = {"weights": dict.fromkeys(AWKWARD, "0.40"), "requires": AWKWARD, "rules": rules}
    path = written(tmp_path / "t.yaml", document)
    run("import", path)
    assert run("export", "tier", "--draft")[0].encode() == (tmp_path / "t.yaml").read_bytes()
    assert "says the same" in run("import", path)[1]


def test_an_unfinished_file_becomes_a_draft_and_says_what_is_missing(layer, tmp_path):
    path = written(tmp_path / "t.yaml", {"rules": [{"segment": "hgih"}]})
    out, err = run("import", path)
    assert out == "tier@2\n"
    assert f"{path}:4: There is no segment 'hgih'. Did you mean 'high'?" in err


def test_import_refuses_what_it_cannot_do(layer, next_file, tmp_path):
    assert "Did you mean 'tier'" in refused("import", written(tmp_path / "x.yaml", NEXT, key="teir"))
    assert "must be a number from 0" in refused(
        "import", written(tmp_path / "w.yaml", {"weights": {"a": "-1"}})
    )
    bad = tmp_path / "bad.yaml"
    bad.write_text("key: tier\ndocument:\n  rules: x\n")
    assert refused("import", bad) == f"{bad}:3: 'rules' must be a list."
    run("import", next_file)
    versions.submit(Definition.objects.get(version=2), by=person(), reason="Look")
    assert "Version 2 of Tier is in review" in refused("import", written(tmp_path / "y.yaml", {"rules": []}))
    assert Definition.objects.count() == 2


def test_only_the_command_line_needs_no_person(layer):
    with pytest.raises(Refused, match="not allowed to change rules"):
        versions.put_draft(layer, NEXT)
    with pytest.raises(Refused, match="not allowed to change rules"):
        versions.put_draft(layer, NEXT, by=person("otto", "view_definition"))
    made, done = versions.put_draft(layer, NEXT, by=person())
    assert (done, made.created_by_label) == ("created", "olga")


def test_lint(layer, next_file, tmp_path):
    out, err = run("lint", next_file)
    assert "error" not in out
    assert err.startswith("0 errors")
    path = written(
        tmp_path / "t.yaml", {"rules": [{"segment": "hgih", "when": "arr > 5"}, {"segment": "low"}]}
    )
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError, match=r"^1 error, "):
        call_command("definitions", "lint", path, stdout=out, stderr=err)
    assert f"{path}:4: error: There is no segment 'hgih'" in out.getvalue()
    assert not Definition.objects.filter(status="draft").exists()
    assert "Did you mean 'tier'" in refused("lint", written(tmp_path / "x.yaml", NEXT, key="teir"))


def test_diff_of_versions_and_files(layer, next_file):
    run("import", next_file)
    out, err = run("diff", "tier", "tier@draft")
    assert out.splitlines() == [
        "High: ARR 100000 -> 80000",
        "",
        "changed\trules.high.when\tarr >= 100000\tarr >= 80000",
    ]
    assert err == ""
    assert run("diff", "tier@1", next_file)[0] == out
    assert run("diff", "tier@2", next_file) == ("", "No difference.\n")
    assert run("diff", next_file, "tier")[0].startswith("High: ARR 80000 -> 100000\n")
