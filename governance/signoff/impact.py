"""How far a request reaches, counted one way for all kinds: accounts, their ARR, who changes hands, whom it is about."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

from django.utils import timezone

from accounts import revenue
from accounts.models import Account
from core.money import Money
from core.wording import day, money, plural
from segmentation.models import Segment

LATELY = timedelta(days=30)


@dataclass(frozen=True)
class Impact:
    """How far a request reaches. owners: ids of the users who look after an account of it as CSM.

    arr: what is in the organisation's currency. others: Money in other currencies; with any (`foreign`), also of the last
    LATELY days, every threshold of ARR counts as reached.
    of_late: the highest ARR these accounts had in the last LATELY days; thresholds count it, whoever changed it before asking.
    roles: whose own say it changes; each of them approves it too.
    """

    accounts: int = 0
    arr: Decimal = Decimal(0)
    csm_changes: int = 0
    top_tier: bool = False
    owners: tuple = ()
    foreign: bool = False
    others: Money = field(default_factory=Money)
    of_late: Decimal = Decimal(0)
    roles: tuple = ()

    def figures(self):
        """The columns of an ApprovalRequest that say it."""
        return {
            "accounts": self.accounts,
            "arr": self.arr,
            "csm_changes": self.csm_changes,
            "top_tier": self.top_tier,
            "other_currency": self.foreign,
        }

    def measured(self, when, at):
        """An entry of a request's `measured`: what was counted, when, and at which step (asked, edited, decided)."""
        others = {code: f"{amount:.2f}" for code, amount in self.others.amounts.items()}
        told = self.figures() | {"arr": f"{self.arr:.2f}"} | ({"others": others} if others else {})
        return {"when": when, "at": at.isoformat(), **told}

    def at_least(self, other):
        """This one, no figure of it lower than the other's."""
        return replace(
            self,
            accounts=max(self.accounts, other.accounts),
            arr=max(self.arr, other.arr),
            csm_changes=max(self.csm_changes, other.csm_changes),
            top_tier=self.top_tier or other.top_tier,
            foreign=self.foreign or other.foreign,
        )


def money_of(entry):
    """The Money of an entry of a request's `measured`."""
    return Money.of([("", entry["arr"]), *entry.get("others", {}).items()])


def in_words(entry):
    """An entry of a request's `measured` as a sentence without its dot, with its day."""
    beside = " and money in another currency" if entry["other_currency"] and not entry.get("others") else ""
    return f"{day(entry['at'])}: {plural(entry['accounts'], 'account,accounts')}, {money(money_of(entry))} ARR{beside}"


def stored(request):
    """The Impact a request is held to: the highest figures of all that was counted of it."""
    return Impact(
        accounts=request.accounts,
        arr=request.arr,
        csm_changes=request.csm_changes,
        top_tier=request.top_tier,
        owners=tuple(request.owners),
        foreign=request.other_currency,
    )


def of_everybody(accounts):
    """The Impact on a queryset of accounts, however many: nobody's in particular, so nobody is left out as their CSM."""
    arr = revenue.total(accounts, timezone.localdate(), besides=True)
    return Impact(accounts.count(), arr.ours, foreign=bool(arr.others), others=arr.others)


def of_accounts(ids, *, receivers=None, segments=()):
    """The Impact on the accounts a request names, as of today.

    receivers: {account id: id of the Csm who takes it over, None where nobody does}. segments: ids of those they leave or
    enter.
    """
    named = Account.objects.filter(pk__in=list(ids))
    people = list(named.values_list("pk", "csm", "csm__user"))
    receivers = receivers or {}
    now, (highest, others) = of_everybody(named), of_late(ids)
    return replace(
        now,
        csm_changes=sum(receivers.get(account) not in (None, csm) for account, csm, _ in people),
        top_tier=not tops(segments).isdisjoint(segments),
        owners=tuple(sorted({user for *_, user in people} - {None})),
        foreign=now.foreign or others,
        of_late=highest,
    )


def of_late(ids):
    """The highest ARR these accounts had together in the last days, and whether there was money in another currency."""
    return revenue.highest(ids, timezone.localdate(), since=timezone.now() - LATELY)


def tops(segments):
    """Ids of the top segments of the segmentations these segments (ids) belong to."""
    layers = Segment.objects.filter(pk__in=segments).values("layer")
    ordered = Segment.objects.filter(layer__in=layers).order_by("layer_id", "position", "key")
    return set(ordered.distinct("layer_id").values_list("pk", flat=True))
