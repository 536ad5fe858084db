"""Checks: each with an example that is wrong in exactly that way, and one that is right."""

from datetime import date
from pathlib import Path

import pytest

from accounts.models import Account, Csm, Usage
from segmentation import causes, checks, definitions
from segmentation.models import Cause, Definition, Layer, Segment, ServiceModel, Treatment

EXAMPLES = Path(__file__).parent / "checks"
DAY = date(2026, 6, 1)
IDS = [check.id for check in checks.CHECKS]
MODELS = ["dedicated", "pool", "none"]  # of the first segment, the second, the others


def example(name):
    """What a file tells; every number is a text, as typed."""
    return definitions.from_yaml((EXAMPLES / f"{name}.yaml").read_text())


def world(told):
    """The draft, the layer and the accounts an example tells of; what it does not say is sound."""
    for kind in MODELS:
        ServiceModel.objects.get_or_create(key=kind, defaults={"name": kind.capitalize(), "csm_kind": kind})
    layer = Layer.objects.create(
        key="tier", name="Tier", primary=told.get("primary") != "false", decides=told.get("decides", [])
    )
    given = [rule["segment"] for rule in told["document"]["rules"]]
    for place, key in enumerate(dict.fromkeys([*given, *told.get("segments", {})])):
        segment(layer, key, place, dict(told.get("segments", {}).get(key, {})))
    if "other" in told:
        in_use(Layer.objects.create(key="other", name="Other", **told["other"]))
    observed = {name: ["crm", day] for name, day in told.get("observed", {}).items()}
    for group, one in enumerate(told.get("accounts", [])):
        accounts(group, dict(one), observed)
    return Definition.objects.create(layer=layer, version=1, document=told["document"])


def segment(layer, key, place, told):
    treatment = told.pop("treatment", {"service_model": MODELS[min(place, 2)]})
    told = {"name": key.replace("-", " ").capitalize(), "owner_role": "CS Ops"} | told
    if treatment != "none":
        treatment = {"channel": f"Channel of {key}"} | treatment
        if model := treatment.pop("service_model", None):
            treatment["service_model"] = ServiceModel.objects.get(key=model)
        told["treatment"] = Treatment.objects.create(key=f"{layer.key}-{key}", name=key, **treatment)
    Segment.objects.create(layer=layer, key=key, position=place, **told)


def in_use(layer):
    rules = Definition.objects.create(layer=layer, version=1, document={"rules": [{"segment": "any"}]})
    causes.take(Cause.Kind.SETUP)
    Definition.objects.filter(pk=rules.pk).update(status="active")


def accounts(group, facts, observed):
    csm, _ = Csm.objects.get_or_create(email="cas@example.com")
    stored = {field.name for field in Account._meta.fields}
    own = {name: value for name, value in facts.items() if name in stored}
    usage = {name: value for name, value in facts.items() if name not in stored | {"count"}}
    for number in range(int(facts["count"])):
        made = Account.objects.create(
            external_id=f"c{group}-{number}",
            csm=csm,
            contract_start=date(2024, 1, 1),
            provenance=observed,
            **own,
        )
        if usage:
            Usage.objects.create(account=made, **usage)


def test_every_check_has_its_examples():
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == {
        f"{id}.{kind}" for id in IDS for kind in ("bad", "good")
    }
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("id", IDS)
def test_the_bad_example_is_found_and_nothing_else(db, id):
    report = checks.examine(world(example(f"{id}.bad")), at=DAY)
    assert {finding.check for finding in report.findings} == {id}, report.findings
    check = next(check for check in checks.CHECKS if check.id == id)
    assert all(finding.level == check.level for finding in report.findings)
    assert all(
        "{" not in finding.message and finding.message.endswith((".", ")")) for finding in report.findings
    )


@pytest.mark.parametrize("id", IDS)
def test_the_good_example_is_not(db, id):
    report = checks.examine(world(example(f"{id}.good")), at=DAY)
    assert report.findings == []
    assert id in {result.check.id for result in report.passed}
