"""Refusals in tests: `with refused("request_of_your_own"): approvals.approve(...)`."""

import contextlib
import sys
from pathlib import Path

import pytest

from core.refusals import SENTENCES, Refused

TESTS = Path(__file__).parent


@contextlib.contextmanager
def refused(code, match=None):
    """Hold that what is within is refused with this code, and where given, a sentence in which `match` is found."""
    with pytest.raises(Refused, match=match) as caught:
        yield caught
    assert caught.value.code == code


class Met:
    """The codes that Demarc itself has refused with in this run, pytest-xdist's workers included."""

    def __init__(self):
        self.codes = set()

    def watch(self):
        """Note every refusal that is not made by a test."""
        made = Refused.__init__

        def noted(refusal, code, **about):
            made(refusal, code, **about)
            if TESTS not in Path(sys._getframe(1).f_code.co_filename).parents:
                self.codes.add(code)

        Refused.__init__ = noted

    def missing(self, config):
        """The codes no test has met; none where only some tests were asked for."""
        option = config.option
        some = config.args_source is config.ArgsSource.ARGS or option.keyword or option.collectonly
        some = some or option.markexpr not in ("", "not long")
        return [] if some else sorted(SENTENCES.keys() - self.codes)
