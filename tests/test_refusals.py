"""Refusals: every code has one sentence, is raised somewhere, and is in docs/refusals.md. That a test meets each of them is
looked at when all tests have run (tests/conftest.py)."""

import ast
import pickle
from datetime import date
from pathlib import Path

import pytest
from django.db import IntegrityError, OperationalError

from core import refusals
from core.refusals import SENTENCES, Refused, refused_by, register

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "refusals.md"
APPS = ("core", "accounts", "segmentation", "governance", "config")


def constants():
    """Every text that stands alone in the code of the apps, but for their tables of sentences."""
    for app in APPS:
        for path in (ROOT / app).rglob("*.py"):
            if path.name != "sentences.py":
                tree = ast.parse(path.read_text())
                yield from (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))


def test_every_code_is_raised_somewhere():
    assert SENTENCES.keys() - set(constants()) == set()


def test_the_documentation_lists_every_code_with_its_sentence():
    assert refusals.markdown() in PAGE.read_text()


def test_a_refusal_says_its_sentence_and_knows_what_it_is_about():
    refusal = Refused("request_expired", expires_at=date(2026, 11, 2))
    assert (str(refusal), refusal.code) == (
        "This request expired on 2 Nov 2026. It has to be asked for again.",
        "request_expired",
    )
    assert refusal.about == {"expires_at": date(2026, 11, 2)}
    assert str(pickle.loads(pickle.dumps(refusal))) == str(refusal)


@pytest.mark.parametrize(
    ("code", "about", "sentence"),
    [
        ("role_has_approved", {"role": "Finance", "missing": ["Approver", "CS Ops", "RevOps"]}, "Approver, CS Ops and RevOps."),
        ("rejected_rows_unanswered", {"rejected": 1}, "1 row is rejected: say that they may be left out."),
        ("rejected_rows_unanswered", {"rejected": 1200}, "1,200 rows are rejected: say that they may be left out."),
        ("format_unknown", {"format": "xls", "formats": ["csv", "jsonl"]}, "'xls' is no format: csv or jsonl."),
        ("delegate_decides_nothing", {"delegate": "ada", "role": "Auditor"}, "ada is an Auditor, and so"),
        ("saved_view_exists", {"name": "{owner}"}, "There is a view called “{owner}” already."),
        ("rules_incomplete", {"problems": ["A.", "B.", "C.", "D."]}, "not complete: A. B. C. (and 1 more)"),
        ("request_of_another", {"requester": "", "step": "change"}, "Only who requested this or CS Ops may change this request."),
        ("transition_held", {"account": "Acme", "until": None, "why": "New"}, "The tier change of Acme is held: new."),
        ("database_behind", {"missing": ["accounts.0009_more"]}, "lacks 1 migration of this version (accounts.0009_more):"),
        ("override_segment_moved", {"account": "Acme", "layer": "Tier", "now": None, "then": "High"}, "Acme is without a segment on Tier"),
    ],
)  # fmt: skip
def test_sentences(code, about, sentence):
    assert sentence in str(Refused(code, **about))


def test_a_code_without_a_sentence_and_a_second_sentence_for_a_code_are_mistakes():
    with pytest.raises(LookupError, match="'no_such_code'"):
        Refused("no_such_code")
    with pytest.raises(ValueError, match="have a sentence already: not_logged_in"):
        register({"not_logged_in": "Again."})


class Said(Exception):
    def __init__(self, sqlstate):
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (IntegrityError, "23001", "guarded_by_the_database"),
        (IntegrityError, "23503", "reference_gone"),
        (IntegrityError, "23505", "changed_in_the_same_moment"),
        (OperationalError, "40P01", "changed_in_the_same_moment"),
        (OperationalError, "55P03", "changed_in_the_same_moment"),
        (IntegrityError, "23514", None),  # a mistake of ours
    ],
)
def test_what_the_database_refuses(error, state, code):
    said = error("Nobody decides their own\nCONTEXT: a function")
    said.__cause__ = Said(state)
    refusal = refused_by(said)
    assert getattr(refusal, "code", None) == code
    if code == "guarded_by_the_database":
        assert str(refusal).startswith("The database does not accept it: Nobody decides their own. Nothing")
