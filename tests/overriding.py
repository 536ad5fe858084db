"""The start of tests of overrides: a segmentation, two accounts, and people who ask, approve and look after them."""

from datetime import timedelta

from django.utils import timezone
from governing import approved, no_policies, someone
from segmenting import BY_ARR, account, layer_with, recompute

from accounts.models import Csm
from governance.changes import overrides
from segmentation.models import Assignment, Move


class Portfolio:
    """A layer with Acme (high, Carl's) and Beta (tech, nobody's), evaluated today."""

    def __init__(self, policy="automatic", document=BY_ARR):
        self.today = timezone.localdate()
        self.olga = someone("olga", "CS Ops", is_staff=True)
        self.vera = someone("vera", "Approver", is_staff=True)
        self.carl = someone("carl", "CSM", is_staff=True)
        self.layer = layer_with(document, policy=policy)
        self.csm = Csm.objects.create(email="carl@example.com", name="Carl", user=self.carl)
        self.acme = account("acme", name="Acme", arr=200_000, csm=self.csm)
        self.beta = account("beta", name="Beta", arr=5_000)
        no_policies("override")
        recompute(at=self.today)

    def segment(self, key):
        return self.layer.segments.get(key=key)

    def ask(self, *accounts, segment="low", by=None, **said):
        said = {"reason_code": "strategic", "text": "They will be large"} | said
        of = self.segment(segment)
        return overrides.ask(list(accounts), self.layer, of, by=by or self.olga, **said)

    def pin(self, *accounts, days_ago=0, **said):
        """An override in force, for so many days; the (first) Override."""
        at = timezone.now() - timedelta(days=days_ago)
        request = approved(self.ask(*accounts, **said), self.vera, at=at)
        assert request.status == "applied", request.failure
        return request.overrides.first()

    def now(self, account):
        """(by the rules, in force, pinned) of an account."""
        found = Assignment.objects.filter(account=account, layer=self.layer)
        return found.values_list("computed__key", "effective__key", "overridden").get()

    def moves(self, account):
        found = Move.objects.filter(account=account, layer=self.layer).exclude(why="initial")
        return list(found.order_by("pk").values_list("from_segment__key", "to_segment__key", "why"))


def gated_portfolio():
    """A Portfolio whose segmentation needs approval."""
    return Portfolio(policy="approval")
