"""The scope of a segmentation, which is what it labels: an account, or each product of one.

Every question whose answer differs between them is a field here, and is asked nowhere else. One more scope is one more
entry: docs/adding.md says what it takes.
"""

from dataclasses import dataclass

from accounts import catalogue

GONE = "gone"  # the reason why a product that an account does not have any more has no label


@dataclass(frozen=True, eq=False)
class Scope:
    """The things a layer labels: what people call them, what is allowed on such a layer, and how they are read.

    key: as `Layer.scope` keeps it. parts: what tells the labels of one account apart, as columns of a frame; a model has
    a key of the same name for each. Words are pairs (one, many) as `plural` takes them.

    SQL, over the aliases of `catalogue.Fact`. joins: {alias: join}; x gives the units an account has, where that is not
    the account itself, and each other join is made where a fact needs it. there: with x, true where an account has the
    unit now. subscriptions: what they are summed by. usage: true of the rows of `accounts_usage` (u) about such a
    unit. whole: where a column stands that was imported for the whole account (`catalogue.WHOLE`).
    """

    key: str
    unit: str  # out of context, such as "product of an account"
    name: str  # where the account is known
    active: str  # of a customer that is active now
    measured: str  # whom the completeness of data is measured on
    may_be_primary: bool  # the primary layer drives coverage
    may_need_approval: bool
    joins: dict
    subscriptions: str
    usage: str
    whole: str
    parts: tuple = ()
    there: str = ""

    @property
    def units(self):
        """The word for many of them, as in `12 accounts`."""
        return self.unit.split(",")[1]

    @property
    def each(self):
        """The word for one of them where the account is known."""
        return self.name.split(",")[0]

    @property
    def names(self):
        """The word for many of them where the account is known."""
        return self.name.split(",")[1]

    @property
    def several(self):
        """True where an account has several labels: others cannot read it, and it answers nothing for the whole account."""
        return bool(self.parts)

    @property
    def columns(self):
        """The columns that tell the rows of a frame apart."""
        return ["id", *self.parts]


_JOINS = {
    "u": "left join accounts_usage u on u.account_id = a.id and u.product_id is null{within}",
    "s": "left join ({summary}) s on s.account_id = a.id",
    "g": "left join ({events}) g on g.account_id = a.id",
    "m": "left join accounts_csm m on m.id = a.csm_id",
    # offset 0: parents are anywhere, and looked up one by one even where nested loops are off
    "p": "left join lateral (select q.external_id from accounts_account q where q.id = a.parent_id offset 0) p on true",
}
# The range of accounts is said in each part: a join does not pass it on.
_WITHIN_RANGE = "product_id is not null and account_id between %(first)s and %(last)s"
# The products an account has, by running subscriptions, or by usage where no subscription of the product is known at all
# (not everybody imports them). One that it had (not `there`) comes along until its assignments say that it is gone: that
# evaluation ends its tag, once, with a reason and a move. Left alone, it would go on to say that something is in use
# which nobody has.
_PRODUCTS = f"""join (select account_id, product_id, coalesce(bool_or(running), bool_or(used)) as there
                    from (select account_id, product_id, null::boolean as running, true as used
                            from accounts_usage where {_WITHIN_RANGE}
                          union all
                          select account_id, product_id, {catalogue.HAD}, null
                            from accounts_subscription b where {_WITHIN_RANGE}
                          union all
                          select account_id, product_id, null, false
                            from segmentation_assignment where {_WITHIN_RANGE} and reason <> '{GONE}') y
                   group by account_id, product_id
                  having coalesce(bool_or(running), bool_or(used)) or bool_or(not used)) x
                on x.account_id = a.id"""

ACCOUNT = Scope(
    key="account",
    unit="account,accounts",
    name="account,accounts",
    active="active customer,active customers",
    measured="active customers",
    may_be_primary=True,
    may_need_approval=True,
    joins=_JOINS,
    subscriptions="b.account_id",
    usage="u.product_id is null",
    whole="a.{}",
)
PRODUCT = Scope(
    key="product",
    unit="product of an account,products of accounts",
    name="product,products",
    active="product of active customers,products of active customers",
    measured="products that customers have",
    may_be_primary=False,
    may_need_approval=False,
    parts=("product",),
    # x comes first: the others name it.
    joins={"x": _PRODUCTS}
    | _JOINS
    | {
        "u": "left join accounts_usage u on u.account_id = a.id and u.product_id = x.product_id{within}",
        "s": "left join ({summary}) s on s.account_id = a.id and s.product_id = x.product_id",
    },
    there="x.there",
    subscriptions="b.account_id, b.product_id",
    usage="u.product_id is not null",
    whole="null",  # what was imported for the whole account says nothing about one product of it
)

SCOPES = {scope.key: scope for scope in (ACCOUNT, PRODUCT)}
CHOICES = [(scope.key, scope.units.capitalize()) for scope in SCOPES.values()]
ONE_LABEL = [
    scope.key for scope in SCOPES.values() if not scope.several
]  # of these, an account has one label a layer
SEVERAL_LABELS = [scope.key for scope in SCOPES.values() if scope.several]


def parts_of(scopes):
    """The parts that tell the labels of an account apart on layers of these scopes."""
    return tuple(dict.fromkeys(part for scope in scopes for part in scope.parts))
