"""The engine: which segment the rules give each account of a frame, and everything needed to say why.

    evaluate(document, frame, at) -> frame

PURE: imports neither Django nor the database. Vectorised Polars, no Python per row; each row is decided by itself, so
order and chunking cannot change a result. Scores are exact quotients cut off (floor) after 12 decimals, computed in 64-
or 128-bit integers straight from the points (never from other cut scores). The bit bound is checked when a document is
parsed.
"""

from functools import reduce
from operator import add, and_, mul, or_

import polars as pl

from segmentation.rules.document import AGE, composite_bound, dimension_bound, whole
from segmentation.rules.rubric import literal

ONE = 10**12
SCORE = pl.Decimal(38, 12)
NULL_SCORE = pl.lit(None, SCORE)
NULL_TEXT = pl.lit(None, pl.String)
FALLBACK = pl.Enum(["skip", "assume", "rate", "needs data", "left out"])

FEW = 200  # rows for which every text is judged by itself

# The state of a dimension for an account.
COUNTS, IMMATURE, NO_FACTS, LEFT_OUT = 0, 1, 2, 3


def evaluate(document, frame, at, *, left_out=()):
    """Decide every row of `frame`.

    frame: `id`, one column per input of `document.schema` (facts, the account's state on the layer, labels and scores
    of other layers) with exactly that Polars type, and optionally `blocked` (String: a reason code why the account
    cannot be evaluated at all). at: datetime.date, the run's clock. Cut-offs over the population are pinned in the
    document (`document.pinned`): each row is decided by itself.
    left_out: keys of dimensions for which no account at all has a fact; they count for nobody.

    Returns one row per row, in the same order: `id`, `segment`, `reason` (a code, where the segment is null),
    `provisional`, `provisional_until`, `composite`, `score.<dimension>`, `points.<criterion>`,
    `fallback.<criterion>` (null = own value; skip, assume, rate, needs data, left out), `rule` (index of the rule
    that decided), `observed` and `fallbacks` (criteria with and without a value of their own, in the dimensions that
    count), `thin` (more than half are fallbacks), `up`, `down`, `distance` (to the nearest boundary of the rules).

    Reason codes: the row's `blocked`; `missing:<fact>`; `no cell:<fact>` (a value that earns no points); `no facts:<dimension>`; `overflow:<rule index>` (a number
    in the rule's condition does not fit 38 digits); `no rule`. Raises ValueError when a column is missing or mistyped.
    """
    _check(document, frame)
    blocked = "blocked" in frame.columns
    few = len(frame) <= FEW
    cached = (frozenset(left_out), blocked, few)
    if cached not in document.plans:  # building the expressions costs more than evaluating one account
        texts = [_worths(document)] if few else []
        document.plans[cached] = [*texts, *_stages(document, frozenset(left_out), blocked)]
    # Stage by stage, not as one lazy plan: optimising the plan costs more than it saves.
    distinct = () if few else _texts(document, frame)
    frame = frame.with_columns(pl.lit(at, pl.Date).alias("_at"), *distinct)
    for stage in document.plans[cached]:
        frame = frame.with_columns(*stage)
    return frame.select(*_columns(document))


def _stages(document, left_out, blocked):
    """The expressions, stage by stage: each reads the columns of those before it."""
    parts = [_Dimension(document, dimension, dimension.key in left_out) for dimension in document.dimensions]
    yield [expr for part in parts for expr in part.readings()]
    yield [part.state() for part in parts]
    yield [expr for part in parts for expr in part.points()]
    yield [expr for part in parts for expr in part.sums()]
    yield [expr for part in parts for expr in part.scored()]
    yield [_needs(document, parts, blocked), *(part.score() for part in parts)]
    yield [_composite(document, parts)]
    yield [_lacking(parts)]
    yield [_rule(document)]
    yield list(_outcome(document))
    yield [*_provisional(parts), *_observed(parts), *_distances(document)]
    yield [*_thin(), pl.min_horizontal("up", "down").alias("distance")]


def _worths(document):
    """The worth of each text fact, as expressions.

    They give `_known.<fact>` and `_points.<fact>.<n>` for each scoring table that reads the fact.
    """
    return [
        expr
        for fact, rubrics in _text_tables(document).items()
        for expr in _worth(pl.col(fact), fact, rubrics)
    ]


def _worth(column, fact, rubrics):
    yield (column.str.strip_chars() != "").alias(f"_known.{fact}")
    for index, rubric in enumerate(rubrics):
        yield rubric.points(column).alias(f"_points.{fact}.{index}")


def _texts(document, frame):
    """The same, decided once per distinct text, then looked up per row: that pays where there are many rows."""
    tables = _text_tables(document)
    codes = frame.select(pl.col(fact).cast(pl.Categorical(pl.Categories.random())) for fact in tables)
    for fact, rubrics in tables.items():
        distinct = codes.select(pl.col(fact).unique()).drop_nulls()
        distinct = distinct.sort(pl.col(fact).to_physical()).cast(
            pl.String
        )  # categories of its own: code = row
        column = pl.col(fact)
        worth = distinct.select(*_worth(column, fact, rubrics))
        row = codes[fact].to_physical()
        yield from (column.gather(row) for column in worth)


def _text_tables(document):
    """{text fact: [the scoring tables that read it]}, in document order."""
    tables = {fact: [] for fact in document.inputs if document.types[fact] == "text"}
    for criterion in document.criteria:
        pairs = ((criterion.fact, criterion.rubric), (criterion.missing.fact, criterion.missing.rubric))
        for fact, rubric in pairs:
            if fact in tables:
                tables[fact].append(rubric)
    return tables


def _check(document, frame):
    schema = frame.schema
    wrong = [
        f"{fact} is {schema.get(fact, 'missing')}, expected {dtype}"
        for fact, dtype in document.schema.items()
        if schema.get(fact) != dtype
    ]
    wrong += [] if "id" in schema else ["id is missing"]
    if wrong:
        raise ValueError("The frame does not fit the document: " + "; ".join(wrong))


class _Dimension:
    """The expressions of one dimension, stage by stage; later ones read the columns of earlier ones."""

    def __init__(self, document, dimension, left_out):
        self.dimension, self.key, self.left_out = dimension, dimension.key, left_out
        self.types = document.types
        self.weights = whole([criterion.weight for criterion in dimension.criteria])
        # A dimension that counts nothing in the composite keeps nobody from a segment.
        self.matters = not document.weights or document.weights[dimension.key] > 0
        bound = dimension_bound(dimension)
        self.kind = _integer(bound)
        self.small = _integer(bound // ONE)  # before the 12 decimals
        self.tables = _text_tables(document)
        self.is_sum = dimension.scale == "points"
        self.undivided = self.is_sum or len(self.weights) == 1
        self.counts = pl.col(f"_state.{self.key}") == COUNTS
        self.immature = pl.col(f"_state.{self.key}") == IMMATURE
        assumed = dimension.maturity.assumed if dimension.maturity else None
        self.assumed = assumed

    def readings(self):
        """The points of each criterion's own fact and of the fact that stands in for it."""
        for criterion in self.dimension.criteria:
            yield self.reading(criterion.fact, criterion.rubric).alias(f"_own.{criterion.key}")
            if criterion.missing.kind == "rate":
                other = self.reading(criterion.missing.fact, criterion.missing.rubric)
                yield other.alias(f"_rated.{criterion.key}")

    def reading(self, fact, rubric):
        if rubric is None:  # quintiles of a population of which nobody has the fact
            return literal(None, pl.Int8)
        if fact not in self.tables:
            return rubric.points(pl.col(fact))
        index = next(index for index, table in enumerate(self.tables[fact]) if table is rubric)
        return pl.col(f"_points.{fact}.{index}")

    def state(self):
        """Maturity first, on raw facts."""
        if self.left_out:
            return literal(LEFT_OUT, pl.Int8).alias(f"_state.{self.key}")
        facts = pl.any_horizontal(
            _present(criterion.fact, self.types) for criterion in self.dimension.criteria
        )
        state = pl.when(facts).then(literal(COUNTS, pl.Int8)).otherwise(literal(NO_FACTS, pl.Int8))
        if maturity := self.dimension.maturity:
            age = pl.col(AGE)
            waits = (age < maturity.after_days) | ((age < maturity.needs_data_after_days) & ~facts)
            state = pl.when(waits).then(literal(IMMATURE, pl.Int8)).otherwise(state)  # age null: mature
        return state.alias(f"_state.{self.key}")

    def points(self):
        """`points.<criterion>` and `fallback.<criterion>`."""
        for criterion in self.dimension.criteria:
            own = pl.col(f"_own.{criterion.key}")
            instead, kind = self.fallback(criterion)
            value = pl.when(self.counts).then(pl.coalesce(own, instead))
            what = pl.when(self.counts & own.is_not_null()).then(_fallback(None)).when(self.counts).then(kind)
            if self.assumed:
                value = value.when(self.immature).then(literal(self.assumed, pl.Int8))
                what = what.when(self.immature).then(_fallback("assume"))
            what = what.when(pl.col(f"_state.{self.key}") == NO_FACTS).then(_fallback("needs data"))
            yield value.alias(f"points.{criterion.key}")
            yield what.otherwise(_fallback("left out")).alias(f"fallback.{criterion.key}")

    def fallback(self, criterion):
        """Points for a criterion without a value of its own, and the kind that is recorded."""
        missing = criterion.missing
        if missing.kind == "rate":
            rated = pl.col(f"_rated.{criterion.key}")
            # A sum is never taken over fewer criteria.
            without = _fallback("needs data" if self.is_sum else "skip")
            return rated, pl.when(rated.is_not_null()).then(_fallback("rate")).otherwise(without)
        return literal(missing.points, pl.Int8), _fallback(missing.kind)

    def sums(self):
        """`_n` = sum of weight x points and `_d` = sum of weights, over the criteria present."""
        totals, divisors = [], []
        for criterion, weight in zip(self.dimension.criteria, self.weights, strict=True):
            points, weight = pl.col(f"points.{criterion.key}"), literal(weight, self.small)
            totals.append(points.cast(self.small).fill_null(0) * weight)
            divisors.append(points.is_not_null().cast(self.small) * weight)
        yield reduce(add, totals).alias(f"_n.{self.key}")
        yield reduce(add, divisors).alias(f"_d.{self.key}")

    def scored(self):
        """`_scored`: there is a score; `_by`: what its sum is divided by."""
        divisor = pl.col(f"_d.{self.key}")
        yield (~self.lacks() & (divisor > 0)).alias(f"_scored.{self.key}")
        if not self.undivided:
            yield pl.when(divisor > 0).then(divisor).otherwise(1).alias(f"_by.{self.key}")

    def lacks(self):
        """True where a criterion of this dimension keeps it from a score."""
        lacking = [self.needs(criterion) for criterion in self.dimension.criteria if self.may_need(criterion)]
        return pl.any_horizontal(lacking) if lacking else pl.lit(False)

    def may_need(self, criterion):
        return criterion.missing.kind == "needs data" or (self.is_sum and criterion.missing.kind == "rate")

    def needs(self, criterion):
        own, rated = pl.col(f"_own.{criterion.key}"), pl.col(f"_rated.{criterion.key}")
        without = own.is_null() & rated.is_null() if criterion.missing.kind == "rate" else own.is_null()
        return self.counts & without

    def score(self):
        quotient = pl.col(f"_n.{self.key}").cast(self.kind) * ONE
        if not self.undivided:
            quotient = quotient // pl.col(f"_by.{self.key}").cast(self.kind)
        return _decimal(pl.when(pl.col(f"_scored.{self.key}")).then(quotient)).alias(f"score.{self.key}")

    def reasons(self):
        """Why this dimension keeps the account from a segment, first thing first."""
        if not self.matters or self.left_out:
            return
        yield pl.col(f"_state.{self.key}") == NO_FACTS, f"no facts:{self.key}"
        for criterion in self.dimension.criteria:
            if self.may_need(criterion):
                known = _present(criterion.fact, self.types)
                yield self.needs(criterion) & ~known, f"missing:{criterion.fact}"
                yield self.needs(criterion) & known, f"no cell:{criterion.fact}"
        # It has facts, but none that earns points: it must not drop out of the composite silently.
        yield self.counts & ~pl.col(f"_scored.{self.key}"), f"no facts:{self.key}"


def _present(fact, types):
    """True where a fact is known; blank text is not."""
    column = pl.col(fact)
    if types[fact] == "text":
        return pl.col(f"_known.{fact}").fill_null(False)
    return column.is_not_null()


def _integer(bound):
    """The narrowest integer type that holds the bound: less memory to walk."""
    for kind, bits in ((pl.Int16, 15), (pl.Int32, 31), (pl.Int64, 63)):
        if bound.bit_length() < bits:
            return kind
    return pl.Int128


def _fallback(kind):
    return literal(kind, FALLBACK)


def _decimal(integer):
    """An integer of 10^-12 as the Decimal it stands for; exact, the bits are the same."""
    return integer.cast(pl.Int128).reinterpret(dtype=SCORE)


def _needs(document, parts, blocked):
    """`_needs`: why an account needs data, or null."""
    reasons = [(~_present(fact, document.types), f"missing:{fact}") for fact in document.requires]
    reasons += [reason for part in parts for reason in part.reasons()]
    chain = pl.when(pl.col("blocked").is_not_null() if blocked else pl.lit(False))
    chain = chain.then(pl.col("blocked") if blocked else NULL_TEXT)
    for holds, code in reasons:
        chain = chain.when(holds).then(pl.lit(code))
    return chain.otherwise(NULL_TEXT).alias("_needs")


def _composite(document, parts):
    """(sum of W x N x product of the other D) x 10^12 // (sum of W present x product of D), over what is present."""
    if not document.weights:
        return NULL_SCORE.alias("composite")
    kind = _integer(composite_bound(document.dimensions, document.weights))
    shares = dict(zip(document.weights, whole(document.weights.values()), strict=True))
    counting = [part for part in parts if shares[part.key]]
    divisors = {part.key: pl.col(f"_by.{part.key}").cast(kind) for part in counting if not part.undivided}
    terms, counted = [], []
    for part in counting:
        share = literal(shares[part.key], kind)
        others = [divisor for key, divisor in divisors.items() if key != part.key]
        terms.append(reduce(mul, others, pl.col(f"_n.{part.key}").cast(kind) * share))  # 0 where it is absent
        counted.append(pl.col(f"_scored.{part.key}").cast(kind) * share)
    below = reduce(mul, divisors.values(), reduce(add, counted))
    quotient = reduce(add, terms) * ONE // below  # by zero: null
    return _decimal(pl.when(pl.col("_needs").is_null()).then(quotient)).alias("composite")


def _lacking(parts):
    """Nothing that counts is left: that is a reason too, and never 'everything else'."""
    needs = pl.col("_needs")
    if not parts:
        return needs.alias("_needs")
    counting = [part for part in parts if part.matters]
    nothing = ~reduce(or_, [pl.col(f"_scored.{part.key}") for part in counting])
    code = pl.lit(f"no facts:{counting[0].key}")
    return pl.when(needs.is_null() & nothing).then(code).otherwise(needs).alias("_needs")


def _rule(document):
    """`_rule`: the index of the first rule that holds; -1 - index where a number did not fit before that."""
    chain = pl.when(pl.col("_needs").is_not_null()).then(literal(None, pl.Int16))
    for index, rule in enumerate(document.rules):
        condition, limited = rule.condition, list(limits(rule, document))
        if condition is not None and condition.overflow is not None:
            overflow = reduce(and_, [condition.overflow, *limited])
            chain = chain.when(overflow).then(literal(-1 - index, pl.Int16))
        holds = [*limited, condition.expr] if condition else limited
        chain = chain.when(reduce(and_, holds) if holds else True).then(literal(index, pl.Int16))
    return chain.otherwise(literal(None, pl.Int16)).alias("_rule")


def limits(rule, document):
    """Whom a rule is limited to, as expressions: those from some segments, those at the top of the population."""
    if rule.sources:
        yield pl.col("previous").is_in(list(rule.sources))
    if rule.top and rule.top.cutoff is None:
        yield pl.lit(False)
    elif rule.top:
        yield as_score(rule.top.by, document) >= literal(int(rule.top.cutoff.scaleb(12)), pl.Int128)


def _outcome(document):
    """`segment`, `rule` and `reason`."""
    rule, needs = pl.col("_rule"), pl.col("_needs")
    segment = pl.when(rule < 0).then(NULL_TEXT)
    for index, document_rule in enumerate(document.rules):
        segment = segment.when(rule == index).then(pl.lit(document_rule.segment))
    stays = (
        pl.when(needs.is_null() & rule.is_null()).then(pl.col("previous")) if document.stays else NULL_TEXT
    )
    yield segment.otherwise(stays).alias("segment")
    yield pl.when(rule >= 0).then(rule).alias("rule")
    too_large = pl.format("overflow:{}", -1 - rule)
    reason = pl.when(needs.is_not_null()).then(needs).when(rule < 0).then(too_large)
    nothing = rule.is_null() & pl.col("previous").is_null() if document.stays else rule.is_null()
    yield reason.when(nothing).then(pl.lit("no rule")).otherwise(NULL_TEXT).alias("reason")


def _provisional(parts):
    """Segmented while a dimension that matters is not mature; until the last such dimension is."""
    segmented = pl.col("segment").is_not_null()
    ends = []
    for part in parts:
        if part.matters and not part.left_out and (maturity := part.dimension.maturity):
            age = pl.col(AGE)
            young = age < maturity.after_days
            until = pl.when(young).then(maturity.after_days).otherwise(maturity.needs_data_after_days) - age
            ends.append(pl.when(segmented & part.immature).then(until))
    if not ends:
        yield pl.lit(False).alias("provisional")
        yield pl.lit(None, pl.Date).alias("provisional_until")
        return
    days = pl.max_horizontal(ends)
    yield days.is_not_null().alias("provisional")
    yield (pl.col("_at") + pl.duration(days=days)).cast(pl.Date).alias("provisional_until")


def _observed(parts):
    """`observed` and `_counted`: criteria with a value of their own, and all, in the dimensions that count."""
    observed, counted = [literal(0, pl.Int16)], [literal(0, pl.Int16)]
    for part in parts:
        criteria = part.dimension.criteria
        own = reduce(
            add, [pl.col(f"_own.{criterion.key}").is_not_null().cast(pl.Int16) for criterion in criteria]
        )
        observed.append(part.counts.cast(pl.Int16) * own)
        counts = part.counts | part.immature if part.assumed else part.counts
        counted.append(counts.cast(pl.Int16) * literal(len(criteria), pl.Int16))
    yield reduce(add, observed).alias("observed")
    yield reduce(add, counted).alias("_counted")


def _thin():
    """`fallbacks` and `thin`: more than half of a segment's ground is not the account's own."""
    fallbacks, counted = pl.col("_counted") - pl.col("observed"), pl.col("_counted")
    yield fallbacks.alias("fallbacks")
    yield (pl.col("segment").is_not_null() & (fallbacks * 2 > counted)).alias("thin")


def _distances(document):
    """How far the one term the rules compare is from its nearest boundaries, exactly; null where there is no such term."""
    boundaries = document.boundaries or ()
    terms = {boundary.term for boundary in boundaries}
    if len(terms) != 1 or any(boundary.op in ("=", "<>") for boundary in boundaries):
        return [NULL_SCORE.alias(name) for name in ("up", "down")]
    value = as_score(terms.pop(), document)
    value = pl.when(pl.col("segment").is_not_null()).then(value)
    above, below = [], []
    for boundary in boundaries:
        threshold = literal(int(boundary.threshold.scaleb(12)), pl.Int128)
        # A value on the boundary is above it for >= and <, still below it for > and <=.
        under = value < threshold if boundary.op in (">=", "<") else value <= threshold
        above.append(pl.when(under).then(threshold - value))
        below.append(pl.when(~under).then(value - threshold))
    return [
        _decimal(pl.min_horizontal(above)).alias("up"),
        _decimal(pl.min_horizontal(below)).alias("down"),
    ]


def as_score(term, document):
    """A term's exact integer of 10^-12; null where it would not fit."""
    if term.startswith("points."):
        return pl.col(term).cast(pl.Int128) * ONE
    if term not in document.types:
        return pl.col(term).to_physical()
    dtype = document.schema[term]
    factor = 10 ** (12 - getattr(dtype, "scale", 0))
    value = pl.col(term).to_physical().cast(pl.Int128)
    return pl.when(value.is_between(-(10**37) // factor, 10**37 // factor)).then(value * factor)


def _columns(document):
    criteria = [criterion.key for criterion in document.criteria]
    yield from ("id", "segment", "reason", "provisional", "provisional_until", "composite")
    yield from (f"score.{dimension.key}" for dimension in document.dimensions)
    yield from (f"points.{key}" for key in criteria)
    yield from (f"fallback.{key}" for key in criteria)
    yield from ("rule", "observed", "fallbacks", "thin", "up", "down", "distance")
