"""Rows that are rejected: how many may be left out, where they are, and that mending them makes up for it."""

import io

import pytest
import yaml
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from importing import GOOD, attempt, recipe

from accounts import imports
from accounts.models import Account, Csm, ImportBatch, Product, Subscription
from core.refusals import Refused

pytestmark = pytest.mark.django_db

Status = ImportBatch.Status


# -- how many may be left out

ROWS = "".join(f"A-{n},Many,{n}\n" for n in range(20))
HEAD = "id,name,arr\n"
USAGE = "SELECT id AS external_id, users AS active_users FROM product"


@pytest.mark.parametrize(
    ("files", "most", "code"),
    [
        ({"crm.csv": HEAD + "A-1,One,x\nA-2,Two,y\n"}, 100, "every row of accounts is rejected (2 rows)"),
        ({"crm.csv": HEAD + "A-1,One\nA-2,Two\n"}, 100, "every row of crm.csv is rejected (2 rows)"),
        ({"crm.csv": HEAD + ROWS + "B-1,x,x\n" * 6}, 20, "6 of 26 rows of accounts are rejected, and at most 20 %"),
        ({"crm.csv": HEAD + ROWS + "B-1,x\n" * 6}, 20, "6 of 26 rows of crm.csv are rejected, and at most 20 %"),
        ({"crm.csv": HEAD + ROWS + "B-1,x,x\n" * 2}, 5, "2 of 22 rows of accounts are rejected, and at most 5 %"),
        ({"crm.csv": HEAD + ROWS, "product.csv": "id,users\nA-1,1\nnobody,2\n"}, 20, "1 of 2 rows of usage are rejected"),
        ({"crm.csv": HEAD + ROWS + "B-1,x,x\n" * 5}, 20, ""),
    ],
)  # fmt: skip
def test_an_import_that_leaves_out_too_much_fails(tmp_path, files, most, code):
    more = {"usage": USAGE} if "product.csv" in files else {}
    done = attempt(tmp_path, files, skip_rejected=True, most=most, **more)
    assert code in done.said
    assert bool(done.said) == bool(code)
    assert done.batch.status == (Status.FAILED if code else Status.COMMITTED)
    assert Account.objects.exists() != bool(code)
    assert done.rejected  # they are told in either case


def test_the_page_offers_no_button_that_leaves_too_many_out(tmp_path, admin_client, admin_user):
    bad = HEAD + "A-1,One,x\nA-2,Two,y\nA-3,Three,3\n"
    batch = imports.preview(
        imports.create(recipe({"crm.csv": bad}), {"crm.csv": bad.encode()}, by=admin_user)
    )
    shown = admin_client.get(reverse("admin:accounts_importbatch_change", args=[batch.pk])).content.decode()
    assert "Import the good rows" not in shown
    assert "2 of 3 rows of accounts are rejected, and at most 20 % may be left out" in shown
    assert "known already" not in shown
    assert shown.index("arr: not a number") < shown.index(">Column</th>"), "the reasons first"
    with pytest.raises(Refused, match="at most 20 %"):
        imports.ask_commit(batch, by=admin_user, skip_rejected=True)


def test_with_every_row_rejected_nothing_is_known_already(admin_client, admin_user):
    bad = HEAD + "".join(f"A-{n},One,x\n" for n in range(31))
    batch = imports.preview(
        imports.create(recipe({"crm.csv": bad}), {"crm.csv": bad.encode()}, by=admin_user)
    )
    shown = admin_client.get(reverse("admin:accounts_importbatch_change", args=[batch.pk])).content.decode()
    assert "known already" not in shown
    assert "every row of accounts is rejected (31 rows)" in shown


# -- where they are

FILES = {
    "crm.csv": "id,name,csm,parent\nA-1,One,ann@example.com,\nA-2,Two,ben@example.com,A-1\nA-2,Zwei,,\nA-3,Three,nobody,\n",
    "billing.csv": "id,sub,product,start,arr\nA-1,S-1,Core,2026-01-01,5\nA-1,S-2,core,2026-01-01,-5\nX-9,S-3,Core,2026-01-01,5\nA-2,S-4,Extra,2026-01-01,7\n",
    "nps.csv": "id,csat\nA-1,9\nX-8,1\n",
}
QUERIES = {
    "accounts": "SELECT id AS external_id, name, csm, parent FROM crm",
    "subscriptions": "SELECT b.id AS external_id, sub AS subscription_id, product, start AS start_date, arr FROM billing b",
    "usage": "SELECT id AS external_id, csat FROM nps",
}


def test_every_rejected_row_is_told_with_its_place(tmp_path):
    done = attempt(tmp_path, FILES, skip_rejected=True, commit=False, **QUERIES)
    told = {
        (row.file, row.line, row.external_id, row.subscription_id, row.column, row.reason)
        for row in done.batch.rejected.all()
    }
    assert told == {
        ("crm.csv", 3, "A-2", "", "external_id", "duplicate key"),
        ("crm.csv", 4, "A-2", "", "external_id", "duplicate key"),
        ("crm.csv", 5, "A-3", "", "csm", "no CSM is called so; write the e-mail address"),
        ("billing.csv", 3, "A-1", "S-2", "arr", "ARR below 0"),
        ("billing.csv", 4, "X-9", "S-3", "external_id", "no account with this ID"),
        ("billing.csv", 5, "A-2", "S-4", "external_id", "its account is rejected"),
        ("nps.csv", 2, "A-1", "", "csat", "CSAT above 5"),
        ("nps.csv", 3, "X-8", "", "external_id", "no account with this ID"),
    }
    first = imports.summary(done.batch)[0]
    assert (first["rows"], first["sentence"]) == (2, "external_id: duplicate key")
    assert [row.record for row in done.batch.rejected.filter(file="nps.csv")] == [["A-1", "9"], ["X-8", "1"]]


def test_what_is_made_besides_is_said_before_and_told_apart(tmp_path):
    Csm.objects.create(email="ann@other.example", name="Ann")
    Product.objects.create(key="Core")
    files = FILES | {
        "crm.csv": "id,name,csm,parent\nA-1,One,ann@example.com,\nA-2,Two,Ben@example.com,\nA-3,Three,ben@x.example,\n"
    }
    files |= {"billing.csv": FILES["billing.csv"].replace("-5", "6"), "nps.csv": "id,csat\nA-1,3\n"}
    seen = attempt(tmp_path, files, commit=False, **QUERIES)
    made = {name: names for ledger in seen.batch.queries for name, names in ledger["made"].items() if names}
    assert made == {
        "CSM": ["Ann (ann@example.com)", "Ben (ben@example.com)", "Ben (ben@x.example)"],
        "product": ["Extra", "core (there is Core already)"],
    }
    names = [csm.name for csm in Csm.objects.all()]
    assert names == ["Ann"], "a preview makes nobody"
    attempt(tmp_path, files, skip_rejected=True, **QUERIES)
    assert len({str(csm) for csm in Csm.objects.all()}) == 4


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Ann Lee", ""),
        ("ann lee", ""),
        ("Kim Doe", "several CSMs are called so"),
        ("Nobody", "no CSM is called so"),
    ],
)
def test_an_owner_may_be_named(tmp_path, name, said):
    for email, called in (
        ("a@x.example", "Ann Lee"),
        ("k1@x.example", "Kim Doe"),
        ("k2@x.example", "Kim Doe"),
    ):
        Csm.objects.create(email=email, name=called)
    done = attempt(tmp_path, f"id,csm\nA-1,{name}\n", accounts="SELECT id AS external_id, csm FROM crm")
    assert said in done.everything
    assert bool(said) == bool(done.said)
    if not said:
        assert Account.objects.get().csm.email == "a@x.example"
        assert Csm.objects.count() == 3


# -- mended

PARENTS = "SELECT id AS external_id, name, arr, parent FROM crm"
WRONG = {  # a way to be wrong: the line made of a good one
    "ragged": lambda good: good[:2],
    "long": lambda good: [*good, "more"],
    "number": lambda good: [good[0], good[1], "$5", good[3]],
    "negative": lambda good: [good[0], good[1], "-5", good[3]],
    "hidden": lambda good: [f"{good[0]}\u200b", *good[1:]],
    "missing": lambda good: ["", *good[1:]],
    "itself": lambda good: good,
}
LINES = st.lists(
    st.tuples(
        st.sampled_from(["A", "B", "C", "D", "=E", "007"]),  # the ID
        st.sampled_from(["One", "'quoted", "=1+1", "Zürich, AG", ""]),
        st.sampled_from(["5", "1000.50", "", "-0"]),
        st.sampled_from(["", "", "A", "B", "C", "X"]),  # the parent
        st.sampled_from([None, None, None, *WRONG]),
    ),
    min_size=1,
    max_size=7,
)


def portfolio():
    """All that is known afterwards, however it came."""
    accounts = Account.objects.order_by("external_id").values_list(
        "external_id", "name", "arr", "parent__external_id"
    )
    return list(accounts), sorted(
        Subscription.objects.values_list("account__external_id", "subscription_id", "arr")
    )


def table(*rows):
    text = io.StringIO()
    imports_csv = __import__("csv").writer(text, lineterminator="\n")
    imports_csv.writerows(rows)
    return text.getvalue()


def brought(folder, crm, billing):
    """The import of these rows, the good ones at least; None where there is nothing to import."""
    files = {
        "crm.csv": table(["id", "name", "arr", "parent"], *crm),
        "billing.csv": table(["id", "sub", "arr"], *billing),
    }
    sql = "SELECT id AS external_id, sub AS subscription_id, :as_of AS start_date, arr FROM billing"
    return attempt(folder, files, skip_rejected=True, accounts=PARENTS, subscriptions=sql) if crm else None


def rows_to_mend(done, file, good):
    """The mended lines of the reject file: it has the rejected lines and no others, in the order of the file."""
    lines = sorted(set(done.batch.rejected.filter(file=file).values_list("line", flat=True)))
    if not lines:
        return None
    [_, *told] = imports.lines_to_mend(done.batch, file)
    assert len(told) == len(lines)
    return [good[line - 2] for line in lines if good[line - 2] is not None]


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    lines=LINES,
    payments=st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(["1", "x", "-2"])), max_size=4),
)
def test_a_file_and_its_mended_reject_file_equal_the_file_mended_before(tmp_path, lines, payments):
    crm, good, seen, parents = [], [], set(), {}
    for number, (name, called, arr, parent, wrong) in enumerate(lines):
        parents[name] = (
            parent if name not in seen and parent != name and not _below(parents, parent, name) else ""
        )
        mended = [name, called, arr, parents[name]]
        twin = name in seen
        seen.add(name)
        crm.append(
            WRONG[wrong](mended) if wrong else [name, f"{called}{number}", arr, parent] if twin else mended
        )
        good.append(None if twin else mended)
    billing = [[name, f"S-{number}", arr] for number, (name, arr) in enumerate(payments)]
    paid = [
        [name, sub, "3" if arr in ("x", "-2") else arr] if name in seen else None
        for name, sub, arr in billing
    ]
    fine = ["Z", "Fine", "1", ""], ["Z", "S", "1"]  # else every row may be rejected, and nothing imported
    crm, good, billing, paid = [*crm, fine[0]], [*good, fine[0]], [*billing, fine[1]], [*paid, fine[1]]
    with _rolled_back():
        brought(tmp_path, [row for row in good if row], [row for row in paid if row])
        expected = portfolio()
    with _rolled_back():
        first = brought(tmp_path, crm, billing)
        assert first.said == ""
        again_crm, again_billing = (
            rows_to_mend(first, "crm.csv", good),
            rows_to_mend(first, "billing.csv", paid),
        )
        if again_crm is not None or again_billing is not None:
            everything = [row for row in good if row]
            brought(
                tmp_path,
                everything if again_crm is None else again_crm or everything[:1],
                again_billing or [],
            )
        assert portfolio() == expected


def _below(parents, parent, name):
    while parent:
        if parent == name:
            return True
        parent = parents.get(parent, "")
    return False


class _rolled_back:
    def __enter__(self):
        from django.db import transaction

        self.atomic = transaction.atomic()
        self.atomic.__enter__()

    def __exit__(self, *error):
        from django.db import transaction

        if not error[0]:
            transaction.set_rollback(True)
        self.atomic.__exit__(*error)


def test_the_reject_file_is_of_the_file_s_own_kind_and_safe(tmp_path, admin_client, admin_user):
    text = "id;name;arr\nA-1;=Zürich;x\nA-2;Two;1,5\n"
    keys = {"crm": {"delimiter": ";", "decimal": ",", "encoding": "cp1252"}}
    batch = imports.create(recipe({"crm.csv": ""}, **keys), {"crm.csv": text.encode("cp1252")}, by=admin_user)
    imports.preview(batch)
    url = reverse("admin:accounts_importbatch_lines", args=[batch.pk])
    answer = admin_client.get(url, {"file": "crm.csv"})
    assert b"".join(answer.streaming_content) == "id;name;arr\r\nA-1;'=Zürich;x\r\n".encode("cp1252")
    assert answer["Content-Disposition"] == 'attachment; filename="crm.csv"'
    assert admin_client.get(url, {"file": "other.csv"}).status_code == 404


def test_below_titles_the_header_stays_where_it_was(tmp_path):
    text = "Accounts\n\nby ops\nid,name,arr\nA-1,One,x\nA-2,Two,2\n"
    first = attempt(tmp_path, text, crm={"header": "4"}, skip_rejected=True)
    mended = "".join(imports.lines_to_mend(first.batch, "crm.csv")).replace("x", "1")
    assert attempt(tmp_path, mended, crm={"header": "4"}).ledger() == (1, 1, 0, 0, 0)
    sep = attempt(tmp_path, "sep=,\nid,name,arr\nA-3,One,x\nA-4,Two,2\n", skip_rejected=True)
    assert list(imports.lines_to_mend(sep.batch, "crm.csv")) == ["id,name,arr\r\n", "A-3,One,x\r\n"]


def test_mend_it_and_try_again_keeps_the_files(admin_client, admin_user):
    files = {"crm.csv": GOOD.encode(), "more.csv": b"id\nA-1\n"}
    bad = recipe(files).replace("name, arr", "naem, arr")
    batch = imports.preview(imports.create(bad, files, by=admin_user, name="June"))
    page = reverse("admin:accounts_importbatch_change", args=[batch.pk])
    again = reverse("admin:accounts_importbatch_again", args=[batch.pk])
    assert again in admin_client.get(page).content.decode()
    shown = admin_client.get(again).content.decode()
    assert "naem, arr" in shown
    assert "crm.csv, more.csv" in shown
    answer = admin_client.post(again, {"recipe": recipe(files).replace("\n", "\r\n")})
    made = ImportBatch.objects.latest("pk")
    assert (answer.status_code, made.name, made.uploads.count()) == (302, "June", 2)
    assert imports.preview(made).status == Status.PREVIEWED
    mended = SimpleUploadedFile("crm.csv", b"id,name,arr\nB-1,Bee,1\n")
    admin_client.post(again, {"recipe": recipe(files), "files": [mended]})
    newest = ImportBatch.objects.latest("pk")
    assert bytes(newest.uploads.get(name="crm.csv").content).startswith(b"id,name,arr\nB-1")
    assert newest.uploads.count() == 2
    imports.give_up(batch)
    assert admin_client.get(again).status_code == 404


def test_the_command_writes_the_lines_to_mend(tmp_path, capsys):
    from django.core.management import call_command

    (tmp_path / "crm.csv").write_text(HEAD + "A-1,One,x\nA-2,Two,2\n")
    (tmp_path / "recipe.yaml").write_text(recipe({"crm.csv": ""}))
    call_command("import_accounts", str(tmp_path / "recipe.yaml"), rejected=tmp_path / "mend")
    assert (tmp_path / "mend" / "crm.csv").read_text() == HEAD + "A-1,One,x\n"
    assert "1 row of accounts rejected: arr: not a number" in capsys.readouterr().out


def test_parts_of_a_rejected_account_wait_for_it(tmp_path):
    """Siblings: also those below, and those whose parent may be in a line nobody can read."""
    text = "id,name,arr,parent\nA,a,x,\nB,b,1,A\nC,c,1,B\nD,d,1,\n"
    done = attempt(tmp_path, text, skip_rejected=True, accounts=PARENTS)
    assert [(row[1], row[4]) for row in done.rejected] == [
        ("A", "not a number"), ("B", "its parent is rejected"), ("C", "its parent is rejected"),
    ]  # fmt: skip
    done = attempt(tmp_path, "id,name,arr,parent\nX\nD,d,1,Y\n", skip_rejected=True, accounts=PARENTS)
    assert (
        done.rejected[-1][4] == "its parent is not among the accounts, and may be in a line that is rejected"
    )
    attempt(tmp_path, "id,name,arr,parent\nD,d,x,\nE,e,1,D\n", skip_rejected=True, accounts=PARENTS)
    assert Account.objects.get(external_id="E").parent.external_id == "D", "it is there from before"


def test_a_recipe_of_another_currency_is_told_by_the_setting(tmp_path):
    assert (
        "(Settings: currency)"
        in attempt(
            tmp_path,
            text=yaml.safe_dump(
                {"as_of": "2026-06-30", "sources": {"crm": {"file": "crm.csv"}}, "accounts": "SELECT 1"}
            ),
        ).said
    )
