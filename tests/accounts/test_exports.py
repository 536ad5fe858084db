import csv
import io
from decimal import Decimal

import pytest

from accounts import exports


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r", "\n", "\0"])
def test_text_that_a_spreadsheet_would_run_is_made_harmless(begins):
    assert exports.safe(f"{begins}1+1") == f"'{begins}1+1"


@pytest.mark.parametrize("value", [-1, Decimal("-2.50"), -0.5, "plain", "a=b", "", None, True])
def test_numbers_stay_numbers_and_text_stays_text(value):
    assert exports.safe(value) is value


def test_lines_are_read_back_as_they_were():
    rows = [["a,b", 'a "word"', "two\nlines", Decimal("-1.50"), None]]
    text = "".join(exports.lines(["=one", "two", "three", "four", "five"], rows))
    header, row = csv.reader(io.StringIO(text, newline=""))
    assert header[0] == "'=one"  # the name of a segmentation, for instance
    assert row == [
        "a,b",
        'a "word"',
        "two\nlines",
        "-1.50",
        "",
    ]
