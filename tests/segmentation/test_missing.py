"""The policy for a missing value is chosen, and is the same text as when it was typed."""

import pytest
from segmenting import draft_of, layer_without_rules

from accounts.catalogue import TYPES
from segmentation.authoring import versions
from segmentation.rules import definitions, missing
from segmentation.rules.missing import Parts

RATED = "rate arr: 100K+ = 5, 25K-99K = 3, < 25K = 1"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", Parts("")),
        ("skip", Parts("skip")),
        ("assume  3", Parts("assume 3")),
        ("needs data", Parts("needs data")),
        (RATED, Parts("rate", "arr", ("100K+", "", "25K-99K", "", "< 25K"))),
        ("rate country: US, USA = 5; DE = 4", Parts("rate", "country", ("US, USA", "DE", "", "", ""))),
        ("rate", Parts("rate")),
        ("rate arr:", Parts("rate", "arr")),
        ("rate arr: 100K+", Parts("rate arr: 100K+")),  # kept as it is, to be chosen anew
        ("assume 9", Parts("assume 9")),
    ],
)
def test_a_policy_in_its_parts(text, parts):
    assert missing.parts(text) == parts
    assert missing.parts(missing.text_of(parts)) == parts
    assert missing.text_of(parts, before=text) == text.strip()


def test_every_policy_of_the_library_comes_back_as_it_was_written():
    for preset in versions.library().values():
        for group in preset["document"].get("dimensions", []):
            for criterion in group["criteria"]:
                text = criterion.get("missing", "")
                parts = missing.parts(text)
                assert parts.choice in ("", *dict(missing.CHOICES)), text
                assert missing.text_of(parts, before=text) == text
                assert missing.parts(missing.text_of(parts)) == parts


def test_all_the_language_knows_can_be_chosen():
    for choice, _ in missing.CHOICES:
        cells = ("100K+", "", "", "", "< 100K")
        text = missing.text_of(Parts(choice, "arr", cells) if choice == "rate" else Parts(choice))
        document = {
            "dimensions": [{"key": "worth", "criteria": [{"key": "nps", "cells": ["50+"], "missing": text}]}],
            "rules": [{"segment": "high"}],
        }
        [criterion] = definitions.parse(document, types=TYPES).criteria
        assert criterion.missing.text == text


def chosen(client, draft, **typed):
    path = "dimensions.0.criteria.0"
    sent = {
        "dimensions.0.key": "worth",
        f"{path}.key": "nps",
        f"{path}.fact": "nps",
        f"{path}.cells.0": "50+",
    }
    sent |= {f"{path}.{name}": value for name, value in typed.items()}
    sent |= {"rules.0.segment": "high", "seen": draft.hash}
    answer = client.post(f"/admin/segmentation/definition/{draft.pk}/change/", sent)
    assert answer.status_code == 302
    draft.refresh_from_db()
    return draft.document["dimensions"][0]["criteria"][0].get("missing")


@pytest.fixture
def draft(admin_client):
    return draft_of(layer_without_rules(), {"rules": [{"segment": "high"}]})


def test_it_is_chosen_without_javascript(admin_client, draft):
    page = admin_client.get(f"/admin/segmentation/definition/{draft.pk}/change/").content.decode()
    assert '<select data-part="missing"' in page
    assert chosen(admin_client, draft, missing="assume 3") == "assume 3"
    assert chosen(admin_client, draft, missing="skip", missing_as="assume 3") == "skip"
    rated = {
        "missing": "rate",
        "missing_fact": "arr",
        "missing_cells.0": "$100K+",
        "missing_cells.4": "< $100K",
    }
    assert chosen(admin_client, draft, **rated) == "rate arr: $100K+ = 5, < $100K = 1"
    again = admin_client.get(f"/admin/segmentation/definition/{draft.pk}/change/").content.decode()
    assert '<option value="rate" selected>' in again
    assert 'value="&lt; $100K"' in again
    # nobody chose anything: the checks ask for it
    assert chosen(admin_client, draft, missing="") is None


def test_a_rating_that_is_not_finished_is_kept_and_named(admin_client, draft):
    assert chosen(admin_client, draft, missing="rate", missing_fact="arr") == "rate arr:"
    [problem] = [
        each for each in versions.blocks(draft.layer, draft.document) if each.path.endswith(".missing")
    ]
    assert "Say which data field is rated instead" in problem.message
    again = admin_client.get(f"/admin/segmentation/definition/{draft.pk}/change/").content.decode()
    assert '<option value="rate" selected>' in again


def test_numbers_of_the_table_are_taken_as_people_write_them(admin_client, draft):
    sent = {
        "dimensions.0.key": "worth", "dimensions.0.share": "40%", "dimensions.0.maturity.after_days": "1,000",
        "dimensions.1.key": "use", "dimensions.1.share": "0.60", "rules.0.segment": "high",
        "rules.0.top.count": "1,000", "rules.0.top.by": "arr", "seen": draft.hash,
    }  # fmt: skip
    assert admin_client.post(f"/admin/segmentation/definition/{draft.pk}/change/", sent).status_code == 302
    draft.refresh_from_db()
    assert draft.document["weights"] == {"worth": "0.4", "use": "0.60"}
    assert draft.document["dimensions"][0]["maturity"]["after_days"] == "1000"
    assert draft.document["rules"][0]["top"] == "1000 by arr"
