"""Money: an amount, or several in different currencies, which nobody has converted and nobody adds up."""

from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True)
class Money:
    """Amounts by the code of their currency; none at all where nothing is known. Amounts of one currency add up."""

    amounts: dict = field(default_factory=dict)

    @classmethod
    def of(cls, rows):
        """Money of (currency, amount) rows; a blank currency is the organisation's. Nothing is told beside something."""
        amounts = {}
        for code, amount in rows:
            code = code or _ours()
            amounts[code] = amounts.get(code, Decimal(0)) + Decimal(amount)
        some = {code: amount for code, amount in amounts.items() if amount}
        return cls(some or dict(list(amounts.items())[:1]))

    def __bool__(self):
        """Something is known, and be it 0."""
        return bool(self.amounts)

    def __add__(self, other):
        return Money.of([*self.amounts.items(), *other.amounts.items()])

    @property
    def mixed(self):
        return len(self.amounts) > 1

    @property
    def currency(self):
        """The one currency it is in; "" where there is none, or several."""
        return next(iter(self.amounts)) if len(self.amounts) == 1 else ""

    @property
    def only(self):
        """The amount where there is one; None where nothing is known, or amounts of several currencies are."""
        return self.amounts.get(self.currency)

    @property
    def cells(self):
        """[amount, currency] for a file; of several currencies each amount with its own, and "mixed"."""
        if self.mixed:
            return [" + ".join(f"{amount} {code}" for code, amount in self.in_order), "mixed"]
        return [self.only, self.currency]

    @property
    def ours(self):
        """The amount in the organisation's currency."""
        return self.amounts.get(_ours(), Decimal(0))

    @property
    def others(self):
        """The amounts in other currencies."""
        return Money({code: amount for code, amount in self.amounts.items() if code != _ours()})

    @property
    def in_order(self):
        """(currency, amount), the organisation's first."""
        return sorted(self.amounts.items(), key=lambda pair: (pair[0] != _ours(), pair[0]))


def _ours():
    from core.organisation import organisation  # the process that computes imports has words, and no database

    return organisation().currency
