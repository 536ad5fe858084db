"""One of everything, a person for each role, and every address there is: for tests that walk through all of it."""

import re

from databases import unsigned
from django.contrib.auth.models import Group
from django.db import transaction
from django.urls import get_resolver, reverse
from django.urls.resolvers import URLResolver
from django.utils import timezone
from governing import someone
from segmenting import account, change, layer_with, person, recompute

from accounts.models import (
    Conflict,
    Csm,
    ImportBatch,
    Product,
    SavedView,
    Signal,
    SourceSystem,
    Subscription,
    SystemOfRecord,
)
from core.history import acting
from core.models import ServiceUser, Settings
from governance.models import Alert, AlertRule, ApprovalPolicy, Event, Notification, Override, Transition
from governance.signoff import delegations, people
from governance.signoff.roles import ROLES
from segmentation.authoring import versions
from segmentation.evaluation import causes
from segmentation.models import Assignment, Cause, Declaration, JobToBeDone, Move, Simulation

DAY = timezone.localdate
LEFT_OUT = {"view_on_site"}  # Django's own way to a page; nothing here has one


def made():
    """({what: one of it}, {role: a person who has it})."""
    users = {role: someone(role.lower().replace(" ", "-"), role, is_staff=True) for role in ROLES}
    layer = layer_with()
    acme = account("acme", arr=120_000, employees=40, usage={"nps": 30})
    recompute(DAY())
    change(acme, arr=1)
    run = recompute(DAY())
    olga = person()
    draft = versions.create_draft(layer, by=olga)
    high, tech = layer.segments.get(key="high"), layer.segments.get(key="tech")
    with transaction.atomic(), unsigned(), acting(by=olga, reason="A world to walk through"):
        causes.take(Cause.Kind.DECISION)
        rule = AlertRule.objects.create(key="calm", name="Calm", condition="nps > 0")
        said = {"account": acme, "layer": layer}
        transition = Transition.objects.filter(**said).first() or Transition.objects.create(
            **said, from_segment=high, to_segment=tech, direction="down", crossed_on=DAY()
        )
        things = {
            "user": users["CSM"],
            "group": Group.objects.get(name="Auditor"),
            "account": acme,
            "layer": layer,
            "approvalpolicy": ApprovalPolicy.objects.first(),
            "segment": high,
            "treatment": high.treatment,
            "servicemodel": high.treatment.service_model,
            "definition": draft,
            "run": run,
            "transition": transition,
            "override": Override.objects.create(
                **said, segment=high, reason_code="other", text="Why not", expires_on=DAY()
            ),
            "alertrule": rule,
            "alert": Alert.objects.create(rule=rule, account=acme, opened_on=DAY()),
            "csm": Csm.objects.create(email="c@example.com"),
            "product": Product.objects.create(key="app"),
            "sourcesystem": SourceSystem.objects.create(key="crm", name="CRM"),
            "systemofrecord": SystemOfRecord.objects.create(
                fact="industry", source=SourceSystem.objects.get(key="crm")
            ),
            "conflict": Conflict.objects.create(
                account=acme, fact="industry", proposed_source="crm", proposed_observed=DAY()
            ),
            "importbatch": ImportBatch.objects.create(name="June", status="previewed"),
            "jobtobedone": JobToBeDone.objects.create(segment=tech),
            "declaration": Declaration.objects.create(
                **said, segment=high, reason="So they say", from_date=DAY(), proposed_by_label="olga"
            ),
            "settings": Settings.objects.create(name="Acorn"),
            "simulation": Simulation.objects.create(
                layer=layer, document={}, hash="x", as_of=DAY(), status="cancelled"
            ),
            "savedview": SavedView.objects.create(owner=olga.pk, name="Mine", listing="accounts.account"),
            "subscription": Subscription.objects.create(
                account=acme, subscription_id="s1", start_date=DAY(), arr=1
            ),
            "signal": Signal.objects.create(account=acme, signal="sponsor_departed", at=DAY()),
            "assignment": Assignment.objects.get(**said),
            "move": Move.objects.filter(**said).first(),
            "serviceuser": ServiceUser.objects.create(user=someone("crm-sync"), purpose="The CRM"),
            "event": Event.objects.create(kind="request_opened", text="Something happened."),
        }
        things["notification"] = Notification.objects.create(user=olga, event=things["event"], link="/")
    things["approvalrequest"] = people.ask(
        users["CSM"], by=users["Administrator"], why="Helps", add=["CS Ops"]
    )
    things["delegation"] = delegations.enter(
        users["Finance"], by=users["Finance"], delegate=users["CSM"], from_date=DAY(), until_date=DAY()
    )
    return things, users


def addresses():
    """[(name, names of its arguments)] of every address that has a name, once."""
    found = set()

    def walk(resolver, space):
        for one in resolver.url_patterns:
            if isinstance(one, URLResolver):
                walk(one, f"{one.namespace}:" if one.namespace else space)
            elif one.name and one.name not in LEFT_OUT:
                arguments = tuple(one.pattern.converters) or tuple(one.pattern.regex.groupindex)
                found.add((space + one.name, arguments))

    walk(get_resolver(), "")
    return sorted(found)


OTHERS = {"direction": "down", "kind": "role", "app_label": "accounts"}
ABOUT = {"saved_view": "savedview", "inbox": "notification", "import_ask": "importbatch", "ask_activation": "definition",
         "audit_account": "account"}  # fmt: skip


# Resources of the API, by the thing of the world they are about.
OF_API = {
    "imports": "importbatch",
    "service-models": "servicemodel",
    "source-systems": "sourcesystem",
    "approval-requests": "approvalrequest",
}


def url_of(name, arguments, made):
    """The address with the world's things in it."""
    if name.startswith("api:"):
        return _of_api(name, arguments, made)
    bare = name.removeprefix("admin:")
    model = re.match(r"(?:core|accounts|segmentation|governance|auth)_([a-z]+)_", bare)
    about = (
        model[1] if model else next((thing for start, thing in ABOUT.items() if bare.startswith(start)), "")
    )
    values = {}
    for argument in arguments:
        thing = "layer" if argument == "layer" else about
        values[argument] = OTHERS[argument] if argument in OTHERS else made[thing].pk
    return reverse(name, kwargs=values)


def _of_api(name, arguments, made):
    """The address of a resource: `api:service-models-detail`."""
    if not arguments:
        return reverse(name)
    path = next((path for path in OF_API if name.startswith(f"api:{path}-")), name[4:].partition("-")[0])
    thing = OF_API.get(path, path.removesuffix("s"))
    return reverse(name, kwargs={"pk": "arr" if thing == "fact" else made[thing].pk})
