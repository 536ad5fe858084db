"""Every list is exported as it is shown: its search, filters, order and columns, with the filter and the date."""

import csv
import html
import io
import re
from datetime import date

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from segmenting import granted, portfolio

from accounts.models import Csm, ImportBatch
from segmentation.models import Run

RUNS, IMPORTS, CSMS = (
    "/admin/segmentation/run/",
    "/admin/accounts/importbatch/",
    "/admin/accounts/csm/",
)


@pytest.fixture
def web(db):
    client = Client()
    client.force_login(User.objects.create_superuser("chief"))
    return client


def exported(client, url, query=""):
    answer = client.get(f"{url}export/?{query}")
    assert answer.status_code == 200
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return answer, list(csv.reader(io.StringIO(text, newline="")))


def listed(client, url, query=""):
    """The header and the rows of a list's first page, as text."""
    page = client.get(f"{url}?{query}").content.decode()
    table = page.partition('id="result_list"')[2].partition("</table>")[0]
    rows = re.findall(r"<tr.*?</tr>", table.partition("</thead>")[2], re.S)
    return [[_words(cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", row, re.S)] for row in rows]


def _words(cell):
    """The text of a cell, without its tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", cell))).strip()


def some_of_everything():
    for number in range(70):
        status = ["finished", "failed"][number % 2]
        Run.objects.create(
            as_of=date(2026, 6, 1), status=status, accounts=number * 100, finished_at=timezone.now()
        )
        ImportBatch.objects.create(
            name=f"crm {number}", status=["committed", "failed"][number % 2], created_by_label="=olga"
        )
        Csm.objects.create(email=f"c{number}@example.com", name=f"C {number % 7}")


@pytest.mark.parametrize(
    ("url", "query", "said", "count"),
    [
        (RUNS, "", "everything", 70),
        (RUNS, "status__exact=failed&o=8", "status__exact=failed", 35),
        (IMPORTS, "q=crm+3&o=-1", "search: crm 3", 16),
        (IMPORTS, "q=crm&status__exact=failed&p=1", "search: crm & status__exact=failed", 35),
        (CSMS, "o=1.-2", "everything", 70),
    ],
)
def test_a_file_holds_what_the_list_shows_on_all_its_pages(web, url, query, said, count):
    some_of_everything()
    answer, [header, *rows] = exported(web, url, query)
    shown = listed(web, url, query)
    today = timezone.localdate().isoformat()
    assert header[-2:] == ["As of", "Filter"]
    assert today in answer["Content-Disposition"]
    assert len(rows) == count
    assert {tuple(row[-2:]) for row in rows} == {(today, said)}
    assert len(shown) == min(50, count)
    for row, cells in zip(rows, shown, strict=False):
        for cell, text in zip(row[:-2], cells, strict=True):
            assert cell.removeprefix("'") == text or text in ("-", "–")


@pytest.mark.parametrize("query", ["o=-3", "o=3&kind__exact=customer", "q=c", ""])
def test_accounts_come_in_the_order_of_their_list(web, query):
    portfolio(30)
    _, [header, *rows] = exported(web, "/admin/accounts/account/", query)
    shown = [row[-1] for row in listed(web, "/admin/accounts/account/", query)]
    assert [row[header.index("external_id")] for row in rows] == shown
    assert len(shown) == 30
    said = {row[header.index("filter")] for row in rows}
    assert said == {{"q=c": "search: c", "o=-3": "all accounts", "": "all accounts"}.get(query, query[4:])}


def test_the_list_leads_to_its_export_with_what_is_asked_of_it(web):
    assert "Export this list" not in web.get(RUNS).content.decode()  # there is nothing in it
    some_of_everything()
    page = web.get(f"{RUNS}?status__exact=failed&o=1").content.decode()
    assert f'href="{RUNS}export/?status__exact=failed&amp;o=1"' in page
    assert web.get("/admin/accounts/account/").content.decode().count("Export this list") == 1


@pytest.mark.parametrize("name", ["alert", "conflict", "transition", "override", "alertrule"])
def test_the_header_of_a_list_with_actions_is_text(web, name):
    """The column of boxes to tick is none of the list's."""
    app = "accounts" if name == "conflict" else "governance"
    _, [header] = exported(web, f"/admin/{app}/{name}/")
    assert [column for column in header if "<" in column] == []


def test_text_in_a_file_is_harmless_in_a_spreadsheet(web):
    some_of_everything()
    _, [header, first, *_] = exported(web, IMPORTS)
    assert first[header.index("By")] == "'=olga"


def test_a_list_one_may_not_see_is_not_exported_and_what_it_does_not_know_neither(db):
    user = User.objects.create(username="sam", is_staff=True)
    user = granted(user, "view_run")
    client = Client()
    client.force_login(user)
    assert client.get(f"{IMPORTS}export/").status_code == 403
    assert client.get(f"{RUNS}export/").status_code == 200
    assert client.get(f"{RUNS}export/?name__regex=(").status_code == 302
    assert "/admin/login/" in Client().get(f"{RUNS}export/")["Location"]
