"""How many accounts a CSM looks after, and who takes the next one: by load within the band of the service model.

During joint coverage an account counts for both: for the one who gives it away, and for the one who takes it over.
"""

from collections import Counter
from dataclasses import dataclass, replace

from django.db.models import Count, F, Q

from accounts.models import Account, Csm
from core.wording import plural
from governance.models import Transition
from segmentation.models import ServiceModel

CsmKind = ServiceModel.CsmKind
KINDS = {CsmKind.DEDICATED: Csm.Kind.PERSON, CsmKind.POOL: Csm.Kind.POOL, CsmKind.NONE: Csm.Kind.DIGITAL}
Status = Transition.Status


@dataclass(frozen=True)
class Load:
    """Accounts of a CSM beside the band of a service model (low and high may be None: no limit).

    accounts: looked after now. joint: taken over in joint coverage. planned: to come, where open plans are approved.
    """

    csm: Csm
    accounts: int = 0
    joint: int = 0
    planned: int = 0
    low: int | None = None
    high: int | None = None

    @property
    def now(self):
        return self.accounts + self.joint

    @property
    def expected(self):
        """Once all open plans have been approved."""
        return self.now + self.planned

    def beside(self, model):
        """The same beside the band of a service model; without a limit where there is none."""
        low, high = (model.accounts_per_csm_min, model.accounts_per_csm_max) if model else (None, None)
        return replace(self, low=low, high=high)

    @property
    def band(self):
        return ServiceModel(accounts_per_csm_min=self.low, accounts_per_csm_max=self.high).band

    def verdict(self, more=0):
        """("ok" | "over" | "under" | "", sentence): with `more` accounts, beside the band."""
        accounts = self.now + more
        if self.csm.kind == Csm.Kind.DIGITAL or (self.low, self.high) == (None, None):
            return "", plural(accounts, "account,accounts")
        sentence = f"{plural(accounts, 'account,accounts')}, the band is {self.band}"
        if self.high is not None and accounts > self.high:
            return "over", f"{sentence}: {accounts - self.high:,} too many"
        if self.low is not None and accounts < self.low:
            return "under", f"{sentence}: room for more"
        return "ok", sentence


def load(csm, model=None):
    """The Load of one CSM beside the band of a service model."""
    return loads([csm], model)[csm.pk]


def loads(csms, model=None):
    """{id: Load} of these CSMs beside the band of a service model; two queries."""
    csms = list(csms)
    ids = [csm.pk for csm in csms]
    counted = Account.objects.active().filter(csm__in=ids).order_by().values_list("csm")
    accounts = dict(counted.annotate(n=Count("pk")))
    coming = Transition.objects.filter(receiver__in=ids).exclude(account__csm=F("receiver")).order_by()
    coming = {
        receiver: (joint, planned)
        for receiver, joint, planned in coming.values_list("receiver").annotate(
            joint=Count("pk", filter=Q(status=Status.JOINT)),
            planned=Count("pk", filter=Q(status__in=[Status.PLANNED, Status.AWAITING])),
        )
    }
    low = model and model.accounts_per_csm_min
    high = model and model.accounts_per_csm_max
    return {
        csm.pk: Load(csm, accounts.get(csm.pk, 0), *coming.get(csm.pk, (0, 0)), low=low, high=high)
        for csm in csms
    }


def propose_receiver(transition):
    """Propose who takes the account over; None where nobody of the kind the segment needs is there."""
    return propose_receivers([transition])[transition.pk]


def propose_receivers(transitions):
    """{transition id: Csm or None}: of the kind the target's service model needs, the least loaded below its band first.

    The CSM who has the account keeps it where they are of that kind and not over the band. Each proposal counts for the
    next.
    """
    receivers, given = {}, Counter()
    offered = {}  # {service model: [Load]}
    for transition in transitions:
        model = _model(transition.to_segment)
        if model not in offered:
            offered[model] = list(loads(_candidates(model), model).values())
        loaded = {each.csm.pk: each for each in offered[model]}
        giver = loaded.get(transition.account.csm_id)
        if giver and not _over(giver, given):
            receivers[transition.pk] = giver.csm
            continue
        best = min(
            offered[model],
            key=lambda each: (_full(each, given), each.expected + given[each.csm.pk], str(each.csm)),
            default=None,
        )
        receivers[transition.pk] = best and best.csm
        if best and best.csm.pk != transition.receiver_id:
            given[best.csm.pk] += 1
    return receivers


def _over(load, given):
    return load.high is not None and load.now + given[load.csm.pk] > load.high


def _full(load, given):
    return load.high is not None and load.expected + given[load.csm.pk] >= load.high


def _model(segment):
    return segment.treatment.service_model if segment.treatment else None


def _candidates(model):
    there = Csm.objects.able()
    return there.filter(kind=KINDS[model.csm_kind]) if model else there.none()
