"""The whole preset library in use: every layer active, values declared on those people decide, and who is where."""

from django.core.management import call_command
from django.db import connection
from django.db.models import Count
from segmenting import answered, person

from accounts.models import Account
from segmentation.authoring import declarations, versions
from segmentation.models import Assignment, Layer, Segment
from segmentation.runs import recalculation


def load():
    """Load the presets and activate every one of them, as a person does who acknowledges what the checks warn of."""
    versions.load_presets()
    olga = person()
    for layer in Layer.objects.order_by("position", "key"):  # those that others read come first
        if draft := versions.open_version(layer):
            versions.activate(answered(draft), by=olga, reason="All of the library")


def import_set(recipe, as_of=None):
    call_command("import_accounts", str(recipe), commit=True, verbosity=0, as_of=as_of)
    with connection.cursor() as cursor:  # an import does so itself, except inside a test's transaction
        cursor.execute("analyze accounts_account, accounts_usage, accounts_subscription, accounts_signal")


def declare(*, each, from_date):
    """On every layer that people decide: `each` accounts for each of its segments, proposed by one person, confirmed by another."""
    cleo, otto = person("cleo", "propose_declaration"), person("otto", "confirm_declaration")
    for segments in declarations.choices().values():
        accounts = iter(Account.objects.scored().order_by("external_id"))
        for segment in segments:
            some = [next(accounts) for _ in range(each)]
            done = declarations.propose_for(some, segment, by=cleo, reason="They say so", from_date=from_date)
            declarations.confirm_all(done.done[0], by=otto)


def recompute(as_of):
    """One recalculation of every layer; the Run."""
    return recalculation.work(recalculation.start(as_of=as_of).pk, wait=True)


def reached():
    """{(layer, segment): accounts the rules put there (on a layer of products: account and product)}, in the menu's order."""
    found = Assignment.objects.values_list("computed").annotate(accounts=Count("id"))
    counts = dict(found)
    segments = Segment.objects.select_related("layer").order_by(
        "layer__position", "layer__key", "position", "key"
    )
    return {(one.layer.key, one.key): counts.get(one.pk, 0) for one in segments}
