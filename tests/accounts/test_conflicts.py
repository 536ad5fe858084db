"""Systems of record and what waits: what an import holds back, remembers and settles, where every change matters.

By the CRM, which has the last word, Acme is a technology company and part of Bell.
"""

from datetime import date

import pytest
from conflicting import JULY, JUNE, bring, conflicts, known, record_of
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from importing import attempt

from accounts import corrections
from accounts.models import Account, Conflict, Csm, SourceSystem
from core.refusals import Refused

LATER = date(2026, 7, 9)
OPEN = ("acme", "industry", "Technology", "Healthcare", "warehouse", "open")


@pytest.fixture
def matters(settings):
    settings.GATES = {"facts": "conflicting.gate"}


@pytest.fixture
def acme(db, matters):
    bell = {"external_id": "bell", "industry": "Technology", "employees": 10, "country": "US", "parent": None}
    bring("crm", bell, bell | {"external_id": "acme", "parent": "bell"}, bell | {"external_id": "core"})
    for fact in ("industry", "parent", "employees"):
        record_of(fact, "crm")


@pytest.fixture
def waiting(acme):
    bring("warehouse", {"external_id": "acme", "industry": "Healthcare"}, at=JULY)


def test_where_nobody_stands_at_the_gate_nothing_waits(acme, settings):
    settings.GATES = {}
    assert bring("warehouse", {"external_id": "acme", "industry": "Healthcare"}, at=JULY).queued == 0
    assert (known("acme", "industry")[:2], conflicts()) == (("Healthcare", "warehouse"), [])


@pytest.mark.parametrize(
    ("source", "row", "at", "expected"),
    [
        ("warehouse", {"industry": "Healthcare"}, JULY, [("industry", "Technology", "Healthcare")]),
        ("warehouse", {"employees": 11}, JULY, [("employees", "10", "11")]),
        ("warehouse", {"parent": "core"}, JULY, [("parent", "bell", "core")]),
        ("warehouse", {"industry": "Technology"}, JULY, []),  # says the same
        ("warehouse", {"industry": None}, JULY, []),  # does not know
        ("warehouse", {"industry": "Healthcare"}, JUNE.replace(month=5), []),  # older than what we have
        (
            "warehouse",
            {"country": "DE"},
            JULY,
            [("country", "US", "DE")],
        ),  # without one: that of the value we have
        ("crm", {"industry": "Healthcare", "parent": "core"}, JULY, []),
        ("crm", {"industry": None}, JULY, []),
    ],
)
def test_what_waits(acme, source, row, at, expected):
    before = {fact: known("acme", fact) for fact in row}
    bring(source, {"external_id": "acme"} | row, at=at)
    assert conflicts("fact", "held_value", "proposed_value") == expected
    for fact, *_ in expected:
        assert known("acme", fact) == before[fact], "value, source and day stay"


def test_a_parent_that_is_held_back_closes_no_circle_with_one_that_is_not(acme):
    """Bell under Acme, which would leave Bell: as Acme stays, the other row is refused like any circle."""
    record_of("parent", "crm")
    Account.objects.filter(external_id="bell").update(parent=None)
    outcome = bring(
        "warehouse",
        {"external_id": "acme", "parent": "core"},
        {"external_id": "bell", "parent": "acme"},
        at=JULY,
    )
    assert [(nr, column) for nr, column, *_ in outcome.refused] == [(1, "parent")]
    assert conflicts("account__external_id", "fact", "proposed_value") == [("acme", "parent", "core")]
    assert (known("acme", "parent")[0], known("bell", "parent")[0]) == ("bell", None)


def test_a_row_that_is_refused_leaves_nothing_behind(acme):
    """Bell under Acme, which is a part of it: the row is refused whole, its other values do not wait either."""
    record_of("parent", "vendor")
    outcome = bring("vendor", {"external_id": "bell", "parent": "acme", "industry": "Retail"}, at=JULY)
    assert (len(outcome.refused), outcome.queued, conflicts()) == (1, 0, [])
    outcome = bring("vendor", {"external_id": "bell", "industry": "Retail"}, at=JULY)
    assert outcome.queued == 1


SETTLED = [  # (source, value, day) -> what waits then
    (
        "crm",
        "Technology",
        LATER,
        [("Technology", "Healthcare", "closed")],
    ),  # the system of record stands by it
    (
        "warehouse",
        "Technology",
        LATER,
        [("Technology", "Healthcare", "closed")],
    ),  # who proposed it takes it back
    (
        "crm",
        "Healthcare",
        LATER,
        [("Technology", "Healthcare", "closed")],
    ),  # the system of record says so too
    ("crm", "Retail", LATER, [("Retail", "Healthcare", "open")]),  # what it stands against has changed
    ("crm", "Technology", JUNE, [("Technology", "Healthcare", "open")]),  # older than the proposal
    ("vendor", "Technology", LATER, [("Technology", "Healthcare", "open")]),  # has no say
    ("vendor", "Healthcare", LATER, [("Technology", "Healthcare", "open")]),  # that waits already
    ("warehouse", "Healthcare", LATER, [("Technology", "Healthcare", "open")]),
    (
        "vendor",
        "Retail",
        LATER,
        [("Technology", "Healthcare", "superseded"), ("Technology", "Retail", "open")],
    ),
    ("vendor", "Retail", JUNE, [("Technology", "Healthcare", "open")]),  # older than what waits
]


@pytest.mark.parametrize(("source", "value", "at", "expected"), SETTLED)
def test_what_comes_later_settles_or_replaces_what_waits(waiting, source, value, at, expected):
    bring(source, {"external_id": "acme", "industry": value}, at=at)
    assert conflicts("held_value", "proposed_value", "status") == expected
    assert known("acme", "industry")[0] == (value if (source, at) == ("crm", LATER) else "Technology")
    for one in Conflict.objects.all():
        assert one.history.first().status == one.status
        assert (one.status == "open") == (one.decided_at is None)


@pytest.mark.parametrize(("source", "value", "at", "expected"), SETTLED)
def test_it_does_so_too_where_something_was_decided_before(acme, source, value, at, expected):
    """Looked at with those about which nothing is known: who has the last word has it here too."""
    bring("warehouse", {"external_id": "acme", "industry": "Media"}, at=JUNE)
    told = {"decided_by_label": "olga", "note": "Not so", "decided_at": timezone.now()}
    Conflict.objects.update(status="kept", **told)
    bring("warehouse", {"external_id": "acme", "industry": "Healthcare"}, at=JULY)
    bring(source, {"external_id": "acme", "industry": value}, at=at)
    assert conflicts("held_value", "proposed_value", "status")[1:] == expected
    assert known("acme", "industry")[0] == (value if (source, at) == ("crm", LATER) else "Technology")


def test_what_came_too_late_is_told(waiting):
    outcome = bring("vendor", {"external_id": "acme", "industry": "Retail"}, at=JUNE)
    assert outcome.warnings[-1]["warning"] == "older than a value that waits for a decision: left alone"
    assert outcome.warnings[-1]["examples"] == ["acme"]


def test_a_correction_settles_too_and_may_take_a_value_away_only_where_it_has_a_say(
    acme, waiting, admin_user
):
    one = Account.objects.get(external_id="acme")
    [made] = corrections.correct(one, {"industry": None, "region": "West"}, by=admin_user, reason="Not so")
    assert (made.proposed_value, known("acme", "industry")[0]) == (None, "Technology")
    record_of("industry", "manual")
    assert corrections.correct(one, {"industry": "Retail"}, by=admin_user, reason="Retail it is") == []
    assert conflicts("held_value", "status") == [("Technology", "superseded"), ("Retail", "open")]


def test_a_value_is_accepted_with_its_source_and_a_parent_closes_no_circle(acme, admin_user):
    bell = Account.objects.get(external_id="bell")
    for text, sentence in [("acme", "lead back to itself"), ("nowhere", "no account with the ID nowhere")]:
        with pytest.raises(Refused, match=sentence), transaction.atomic():
            corrections.accept(
                bell, "parent", text, source="crm", observed=JULY, by=admin_user, reason="Merged"
            )
    with transaction.atomic():
        corrections.accept(
            bell, "parent", "core", source="vendor", observed=JULY, by=admin_user, reason="Merged"
        )
    assert known("bell", "parent") == ("core", "vendor", "2026-07-01")


def test_an_import_says_how_many_values_wait_and_its_preview_leaves_none(acme, tmp_path, admin_client):
    files = "id,industry,region\nacme,Healthcare,West\nbell,Retail,East\n"
    sql = {"accounts": "SELECT id AS external_id, industry, region FROM crm", "source_system": "warehouse"}
    shown = attempt(tmp_path, files, commit=False, **sql)
    assert (shown.batch.queries[0]["queued"], Conflict.objects.count()) == (2, 0)
    page = admin_client.get(f"/admin/accounts/importbatch/{shown.batch.pk}/change/").content.decode()
    assert "2 values wait for a decision once this is imported" in page
    done = attempt(tmp_path, files, **sql)
    assert sorted(conflicts("account__external_id", "batch")) == [
        ("acme", done.batch.pk),
        ("bell", done.batch.pk),
    ]
    assert Conflict.objects.first().history.get().history_run == done.batch.pk
    assert known("acme", "region")[0] == "West"
    page = admin_client.get(f"/admin/accounts/importbatch/{done.batch.pk}/change/").content.decode()
    assert f"/admin/accounts/conflict/?import={done.batch.pk}" in page
    assert SourceSystem.objects.filter(key="warehouse").exists()


def test_an_import_where_nothing_can_wait_asks_little_more(db, matters, django_assert_max_num_queries):
    rows = [{"external_id": f"a{number}", "industry": "Retail", "country": "US"} for number in range(50)]
    bring("crm", *rows)
    with django_assert_max_num_queries(40) as asked:
        bring("crm", *[row | {"industry": "Media"} for row in rows], at=JULY)
    assert len([query for query in asked if "cross join lateral (select v.*" in query["sql"]]) == 1
    assert not [
        query for query in asked if "FOR UPDATE" in query["sql"] and "accounts_account" in query["sql"]
    ]


def test_what_was_decided_never_changes(waiting):
    Conflict.objects.update(status="closed", decided_at="2026-07-02T00:00Z")
    with pytest.raises(DatabaseError, match="has ended"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("update accounts_conflict set status = 'open', decided_at = null")


def test_systems_of_record_are_named_on_a_page_and_kept_in_history(db, admin_client):
    SourceSystem.objects.create(key="crm", name="CRM")
    crm = SourceSystem.objects.get(key="crm").pk
    made = admin_client.post("/admin/accounts/systemofrecord/add/", {"fact": "industry", "source": crm})
    assert made.status_code == 302, made.content.decode()[-2000:]
    twice = admin_client.post("/admin/accounts/systemofrecord/add/", {"fact": "industry", "source": crm})
    assert b"already exists" in twice.content
    shown = admin_client.get("/admin/accounts/systemofrecord/").content.decode()
    assert "propose only" in shown
    dictionary = admin_client.get("/admin/data-dictionary/").content.decode()
    assert dictionary.count("record: crm") == 1


# -- who looks after an account


@pytest.fixture
def handed(acme, django_user_model):
    """By the CRM Ann looks after Acme; people have handed it over to Ben."""
    bring("crm", {"external_id": "acme", "csm": "ann@x.example"})
    ben = Csm.objects.create(email="Ben@x.example", name="Ben")
    hand(ben, django_user_model.objects.create(username="ops"))
    return ben


def hand(csm, by):
    corrections.correct(Account.objects.get(external_id="acme"), {"csm": csm}, by=by, reason="Handed over")


def looks_after():
    return str(Account.objects.get(external_id="acme").csm)


@pytest.mark.parametrize("source", ["crm", "warehouse"])
@pytest.mark.parametrize(
    ("email", "waits"),
    [("ann@x.example", True), ("cy@x.example", True), ("ben@x.example", False), (None, False)],
)
def test_a_file_does_not_undo_a_hand_over(handed, source, email, waits):
    """Whatever file it is, and whoever it names instead; one that knows nobody changes nothing."""
    today = timezone.localdate()
    for _ in range(2):
        outcome = bring(source, {"external_id": "acme", "csm": email, "region": "West"}, at=today)
        assert looks_after() == "Ben"
        assert known("acme", "region")[0] == "West"
    assert outcome.queued == 0, "it waits already"
    assert conflicts() == ([("acme", "csm", "ben@x.example", email, source, "open")] if waits else [])


def test_once_the_file_says_so_too_it_has_the_word_again(handed):
    today = timezone.localdate()
    bring("crm", {"external_id": "acme", "csm": "ann@x.example"}, at=today)
    bring("crm", {"external_id": "acme", "csm": "ben@x.example"}, at=today)
    assert conflicts("status") == [("closed",)]
    bring("crm", {"external_id": "acme", "csm": "cy@x.example"}, at=today)
    assert (looks_after(), len(conflicts())) == ("Cy", 1)


def test_the_csm_a_file_names_may_be_taken_and_people_may_change_it_again(handed, django_user_model):
    ops = django_user_model.objects.get(username="ops")
    bring("crm", {"external_id": "acme", "csm": "cy@x.example"}, at=timezone.localdate())
    account = Account.objects.get(external_id="acme")
    with transaction.atomic():
        corrections.accept(
            account, "csm", "cy@x.example", source="crm", observed=timezone.localdate(), by=ops, reason="Yes"
        )
    assert looks_after() == "Cy"
    hand(handed, ops)
    assert looks_after() == "Ben"


@pytest.mark.parametrize(
    ("fact", "ours", "theirs"),
    [
        ("industry", "Technology", "Retail"),
        ("employees", "10", "99"),
        ("country", "US", "FR"),
        ("parent", "bell", "core"),
    ],
)
@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [("crm", "warehouse", True), ("crm", "crm", False), ("warehouse", "crm", True)],
)
def test_without_a_system_of_record_it_is_the_source_of_what_we_have(
    db, matters, fact, ours, theirs, first, second, waits
):
    row = {"industry": "Technology", "employees": 10, "country": "US", "parent": "bell"}
    whole = {"external_id": None, "parent": None} | {"industry": "x", "employees": 1, "country": "x"}
    bring("crm", whole | {"external_id": "bell"}, whole | {"external_id": "core"})
    bring(first, {"external_id": "acme"} | row)
    other = row | {fact: int(theirs) if fact == "employees" else theirs}
    bring(second, {"external_id": "acme"} | other, at=JULY)
    assert conflicts() == ([("acme", fact, ours, theirs, second, "open")] if waits else [])
    assert str(known("acme", fact)[0]) == (ours if waits else theirs)
