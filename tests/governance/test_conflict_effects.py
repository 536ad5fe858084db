"""Conflicts: which values are held back because they would change a segment, and what people decide about them.

Olga of CS Ops decides, Rita of RevOps too, Carl is the CSM and may only report. By the CRM Acme is a technology company.
"""

import polars as pl
import pytest
from conflicting import BY_INDUSTRY, JULY, JUNE, bring, conflicts, known, record_of
from django.utils import timezone
from governing import nobody_approves, someone
from segmenting import activate, layer_with, recompute

from accounts import corrections
from accounts.models import Account, Conflict, Refusal
from core.refusals import Refused
from governance.changes import conflicts as decisions
from governance.changes import overrides
from governance.models import Event
from segmentation.models import Assignment

ANSWERS = {"buying_centre": "The board", "use_case": "The same", "contract": "Until 2028"}
QUEUED = ("acme", "industry", "Technology", "Healthcare", "warehouse", "open")


@pytest.fixture(autouse=True)
def only_facts(settings):
    """Rules are put in force here without asking for approval."""
    settings.GATES = {"facts": settings.GATES["facts"]}


@pytest.fixture
def olga(db):
    return someone("olga", "CS Ops")


@pytest.fixture
def fit(olga):
    """Acme and Beta, technology companies of 2,000 people, both high by the rules."""
    layer = layer_with(BY_INDUSTRY, key="fit", policy="automatic")
    two = [
        {
            "external_id": key,
            "name": key.title(),
            "industry": "Technology",
            "employees": 2000,
            "country": "US",
        }
        for key in ("acme", "beta")
    ]
    bring("crm", *two)
    recompute(at=timezone.localdate())
    return layer


@pytest.fixture
def record(fit):
    record_of("industry", "crm")


def acme():
    return Account.objects.get(external_id="acme")


def pin(account, layer, by, reason_code="acquisition"):
    nobody_approves("override")
    said = ANSWERS if reason_code == "acquisition" else {}
    overrides.ask(
        [account],
        layer,
        layer.segments.get(key="high"),
        by=by,
        reason_code=reason_code,
        text="Bought",
        **said,
    )


# -- what is held back


def test_a_value_from_elsewhere_that_changes_a_segment_waits_and_the_rest_of_the_row_does_not(record):
    outcome = bring("warehouse", {"external_id": "acme", "industry": "Healthcare", "region": "West"}, at=JULY)
    assert outcome.queued == 1
    assert known("acme", "industry") == ("Technology", "crm", "2026-06-01")
    assert known("acme", "region") == ("West", "warehouse", "2026-07-01")
    assert conflicts() == [QUEUED]
    one = Conflict.objects.get()
    assert one.effects == [
        {"what": "points", "layer": "Fit", "measure": "Industry", "was": 5, "then": 1},
        {"what": "segment", "layer": "Fit", "was": "High", "then": "Low"},
    ]
    assert (one.held_source, one.held_observed, one.proposed_observed) == ("crm", JUNE, JULY)
    assert [row.history_type for row in one.history.all()] == ["+"]
    event = Event.objects.get(kind="conflict_queued")
    assert (event.account, event.about, event.about_id, event.channel) == (
        acme(),
        "conflict",
        one.pk,
        "import",
    )
    assert (
        event.text
        == "warehouse says that the industry of Acme is Healthcare; we have Technology. It waits for a decision."
    )


@pytest.mark.parametrize(
    ("source", "fact", "value", "waits"),
    [
        ("warehouse", "industry", "Healthcare", True),
        ("warehouse", "industry", "Finance", True),  # other points, the same segment
        ("warehouse", "industry", "Software", False),  # the same cell
        ("warehouse", "employees", 10, True),  # no system of record is named: the CRM gave what we have
        ("crm", "employees", 10, False),
        ("warehouse", "region", "West", False),  # not protected
        ("crm", "industry", "Healthcare", False),  # the system of record itself
    ],
)
def test_only_what_matters_and_comes_from_elsewhere_waits(record, source, fact, value, waits):
    bring(source, {"external_id": "acme", fact: value}, at=JULY)
    assert Conflict.objects.count() == waits
    assert (known("acme", fact)[0] == value) != waits


def test_a_fact_no_rules_read_is_applied(record):
    record_of("country", "crm")
    bring("warehouse", {"external_id": "acme", "country": "DE"}, at=JULY)
    assert (known("acme", "country")[0], conflicts()) == ("DE", [])


def test_filling_in_what_nobody_knew_is_no_conflict(record):
    bring("crm", {"external_id": "gamma", "name": "Gamma"})
    bring("warehouse", {"external_id": "gamma", "industry": "Healthcare"}, at=JULY)
    assert (known("gamma", "industry")[0], conflicts()) == ("Healthcare", [])


def test_an_account_with_an_override_is_asked_about_whatever_source_it_is(fit, olga):
    pin(acme(), fit, olga)
    outcome = bring(
        "crm",
        {"external_id": "acme", "industry": "Healthcare"},
        {"external_id": "beta", "industry": "Healthcare"},
        at=JULY,
    )
    assert (outcome.queued, known("acme", "industry")[0], known("beta", "industry")[0]) == (
        1,
        "Technology",
        "Healthcare",
    )
    bring("crm", {"external_id": "acme", "employees": None}, at=JULY)  # the CRM does not know any more
    assert known("acme", "employees")[0] == 2000
    assert conflicts("fact", "proposed_value", "status") == [
        ("industry", "Healthcare", "open"),
        ("employees", None, "open"),
    ]


def test_two_values_that_only_matter_together_wait_together(fit):
    activate(
        fit,
        {
            "rules": [
                {"segment": "high", "when": "industry = 'Technology' or country = 'US'"},
                {"segment": "low"},
            ]
        },
    )
    record_of("industry", "crm")
    record_of("country", "crm")
    bring(
        "warehouse",
        {"external_id": "acme", "industry": "Media", "country": "DE"},
        {"external_id": "beta", "country": "DE"},
        at=JULY,
    )
    lower = [{"what": "segment", "layer": "Fit", "was": "High", "then": "Low"}]
    assert conflicts("account__external_id", "fact", "effects") == [
        ("acme", "country", lower),
        ("acme", "industry", lower),
    ]


def test_accounts_the_rules_are_not_applied_to_do_not_wait(record):
    Account.objects.filter(external_id="acme").update(status="churned")
    bring("warehouse", {"external_id": "acme", "industry": "Healthcare"}, at=JULY)
    assert (known("acme", "industry")[0], conflicts()) == ("Healthcare", [])


def test_an_account_whose_data_cannot_be_evaluated_keeps_nobody_else_from_being_weighed(record, monkeypatch):
    def breaks(document, frame, *args, **options):
        if frame.filter(pl.col("id") == acme().pk).height:
            raise pl.exceptions.ComputeError("too large")
        return evaluate(document, frame, *args, **options)

    evaluate = decisions.engine.evaluate
    monkeypatch.setattr(decisions.engine, "evaluate", breaks)
    rows = [{"external_id": key, "industry": "Healthcare"} for key in ("acme", "beta")]
    bring("warehouse", *rows, at=JULY)
    assert conflicts("account__external_id") == [("beta",)]


def test_a_correction_by_hand_waits_too(record, olga):
    [one] = corrections.correct(
        acme(), {"industry": "Healthcare", "region": "West"}, by=olga, reason="Their site says so"
    )
    assert (known("acme", "industry")[0], known("acme", "region")[0]) == ("Technology", "West")
    assert (one.proposed_source, one.reason, one.opened_by_label) == ("manual", "Their site says so", "olga")
    assert corrections.correct(acme(), {"industry": "Software"}, by=olga, reason="More exactly") == []
    assert known("acme", "industry")[:2] == ("Software", "manual")


# -- decisions


@pytest.fixture
def waiting(record):
    bring("warehouse", {"external_id": "acme", "industry": "Healthcare"}, at=JULY)
    return Conflict.objects.get()


def test_taking_it_sets_the_value_with_its_source_and_the_segment_follows(waiting, olga, fit):
    decisions.take([waiting], by=olga, note="They were bought by a hospital", answers=ANSWERS)
    assert known("acme", "industry") == ("Healthcare", "warehouse", "2026-07-01")
    history = acme().history.first()
    assert (history.history_user_label, history.history_change_reason) == (
        "olga",
        "They were bought by a hospital",
    )
    one = Conflict.objects.get()
    assert (one.status, one.decided_by_label, one.use_case) == ("taken", "olga", "The same")
    assert (
        Event.objects.get(kind="conflict_decided").text
        == "Acme: Industry is Healthcare now, as warehouse says."
    )
    recompute(at=timezone.localdate())
    assert Assignment.objects.get(account=acme(), layer=fit).effective.key == "low"


def test_keeping_it_is_remembered_until_the_source_says_something_else(waiting, olga):
    decisions.keep([waiting], by=olga, note="The warehouse is wrong", answers=ANSWERS)
    for day in (JULY, JULY.replace(day=9)):
        assert bring("warehouse", {"external_id": "acme", "industry": "Healthcare"}, at=day).queued == 0
    assert (known("acme", "industry")[0], Conflict.objects.open().count()) == ("Technology", 0)
    bring("vendor", {"external_id": "acme", "industry": "Healthcare"}, at=JULY)
    assert conflicts("proposed_source", "status") == [("warehouse", "kept"), ("vendor", "open")]
    bring("warehouse", {"external_id": "acme", "industry": "Retail"}, at=JULY.replace(day=10))
    assert conflicts("proposed_source", "proposed_value", "status")[1:] == [
        ("vendor", "Healthcare", "superseded"),
        ("warehouse", "Retail", "open"),
    ]


def test_what_was_overruled_does_not_come_back_from_where_it_came(waiting, olga):
    decisions.take([waiting], by=olga, note="They were bought", answers=ANSWERS)
    bring("crm", {"external_id": "acme", "industry": "Technology"}, at=JULY.replace(day=9))
    assert (known("acme", "industry")[0], Conflict.objects.count()) == ("Healthcare", 1)
    bring("crm", {"external_id": "acme", "industry": "Finance"}, at=JULY.replace(day=10))
    assert known("acme", "industry")[:2] == ("Finance", "crm")


REFUSED = [
    ("olga", "", ANSWERS, "Say why"),
    ("olga", "Right", {}, "three answers are needed. Who decides about buying now?"),
    ("olga", "Right", ANSWERS | {"contract": " "}, "Which contract holds"),
    ("carl", "Right", ANSWERS, "You are not allowed to decide which value counts"),
    ("nobody", "Right", ANSWERS, "Nobody is logged in"),
]


@pytest.mark.parametrize(("who", "note", "answers", "sentence"), REFUSED)
@pytest.mark.parametrize("decide", [decisions.keep, decisions.take])
def test_a_decision_says_why_answers_the_questions_and_is_of_somebody_who_may(
    waiting, decide, who, note, answers, sentence
):
    by = {"olga": "CS Ops", "carl": "CSM"}.get(who)
    by = someone(who, by) if by else None
    with pytest.raises(Refused, match=sentence):
        decide([waiting], by=by, note=note, answers=answers)
    assert (known("acme", "industry")[0], Conflict.objects.get().status) == ("Technology", "open")
    assert Refusal.objects.count() == 1


def test_the_questions_are_asked_for_what_may_be_an_acquisition(fit, olga):
    record_of("employees", "crm")
    bring(
        "warehouse",
        {"external_id": "acme", "employees": 10},
        {"external_id": "beta", "employees": 10},
        at=JULY,
    )
    acmes, betas = Conflict.objects.order_by("account__external_id")
    pin(acme(), fit, olga)
    with pytest.raises(Refused, match="may be an acquisition"):
        decisions.take([acmes], by=olga, note="Right")
    decisions.take([betas], by=olga, note="Right")
    assert known("beta", "employees")[:2] == (10, "warehouse")


def test_of_several_decided_alike_all_are_or_none(record, olga):
    rows = [{"external_id": key, "industry": "Healthcare"} for key in ("acme", "beta")]
    bring("warehouse", *rows, at=JULY)
    first, second = Conflict.objects.order_by("pk")
    rita = someone("rita", "RevOps")
    decisions.keep([first], by=rita, note="Wrong", answers=ANSWERS)
    with pytest.raises(Refused, match=r"decided already: Acme: Industry \(kept what we had, by rita\)"):
        decisions.take([first, second], by=olga, note="Right", answers=ANSWERS)
    assert known("beta", "industry")[0] == "Technology"
    decisions.take([second], by=olga, note="Right", answers=ANSWERS)
    assert conflicts("status") == [("kept",), ("taken",)]


def test_a_decision_about_what_has_changed_meanwhile_is_refused(waiting, olga):
    seen = {waiting.pk: decisions.token(waiting)}
    bring("crm", {"external_id": "acme", "industry": "Finance"}, at=JULY.replace(day=9))
    assert conflicts() == [("acme", "industry", "Finance", "Healthcare", "warehouse", "open")]
    with pytest.raises(Refused, match="has changed since you opened the page"):
        decisions.keep([waiting], by=olga, note="Right", answers=ANSWERS, seen=seen)


# -- reporting


def test_a_csm_reports_and_somebody_else_decides(record, olga):
    carl = someone("carl", "CSM")
    one = decisions.report(acme(), "employees", "1,250", by=carl, reason="Their annual report")
    assert conflicts() == [("acme", "employees", "2000", "1250", "reported", "open")]
    assert (one.opened_by_label, one.reason, one.effects) == ("carl", "Their annual report", [])
    decisions.take([one], by=olga, note="Read it too")
    assert known("acme", "employees") == (1250, "reported", timezone.localdate().isoformat())


@pytest.mark.parametrize(
    ("fact", "value", "reason", "sentence"),
    [
        ("industry", "Technology", "I know", "That is what we have already"),
        ("industry", "Healthcare", "I know", "waits for a decision already: warehouse"),
        ("industry", "Retail", " ", "Say how you know"),
        ("industry", " ", "I know", "Say what is right"),
        ("employees", "many", "I know", "“many” is no value for employees"),
        ("employees", "-5", "I know", "“-5” is no value"),
        ("employees", "99999999999999999999", "I know", "is no value"),
        ("parent", "nowhere", "I know", "There is no account with the ID nowhere"),
        ("parent", "acme", "I know", "cannot be its own parent"),
        ("arr", "5", "I know", "Only what segments stand on"),
    ],
)
def test_a_report_that_says_nothing_new_is_refused(waiting, fact, value, reason, sentence):
    with pytest.raises(Refused, match=sentence):
        decisions.report(acme(), fact, value, by=someone("carl", "CSM"), reason=reason)
    assert Conflict.objects.count() == 1
