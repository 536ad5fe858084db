"""The same work as one hand-written SQL statement, over the rules of benchmarks/thirteen.yaml."""


def _points(column, bounds, *, ascending=False):
    """A nested CASE for one ordered criterion: points 5 to 1 by (lower or upper) bounds, NULL when not known."""
    compare = "<" if ascending else ">="
    steps = " ".join(f"when {column} {compare} {bound} then {5 - i}" for i, bound in enumerate(bounds))
    return f"case when {column} is null then null {steps} else 1 end"


def _texts(column, table, rest):
    steps = " ".join(
        f"when lower({column}) in ({', '.join(repr(v) for v in values)}) then {points}"
        for points, values in table.items()
    )
    return f"case when {column} is null then null {steps} else {rest} end"


def sql(layer_id, definition_id):
    """One hand-written statement that scores benchmarks/thirteen.yaml and writes what changed.

    `offset 0` keeps PostgreSQL from writing each CASE out again wherever it is used. Integers as far as they go, one div() per score, no JSON, no history, no moves: less than our run does.
    """
    points = {
        "f1": f"coalesce({_points('a.employees', [1000, 500, 100, 50])}, {_points('a.arr', [100000, 50000, 25000, 10000])})",
        "f2": _texts("a.industry", {5: ["saas", "fintech"], 4: ["healthcare"], 3: ["manufacturing"]}, 2),
        "f3": _texts("a.country", {5: ["us", "ca"], 4: ["gb", "de"], 3: ["fr"]}, 2),
        "f4": _texts(
            "a.growth_stage",
            {5: ["growth", "scale-up"], 4: ["established"], 3: ["mature"], 2: ["early-stage"]},
            1,
        ),
        "b1": f"coalesce({_points('u.login_days_30d', [20, 12, 6, 2])}, 3)",
        "b2": f"coalesce({_points('u.feature_adoption', [0.8, 0.6, 0.4, 0.2])}, 3)",
        "b3": f"coalesce({_points('round(u.active_users::numeric / nullif(a.seats_licensed, 0), 6)', [0.8, 0.6, 0.4, 0.2])}, 3)",
        "b4": _points("u.tickets_90d", [2, 5, 9, 15], ascending=True),
        "b5": _points("u.nps", [50, 20, 0, -30]),
        "v1": _points("a.arr", [100000, 50000, 25000, 10000]),
        "v2": f"coalesce({_points('a.expansion_ratio', [2, 1.5, 1.2, 1])}, 2)",
        "v3": _texts(
            "a.contract_type",
            {5: ["multi-year"], 4: ["annual renewing"], 3: ["annual new"], 2: ["month-to-month"]},
            1,
        ),
        "v4": f"coalesce({_texts('a.strategic_importance', {5: ['named logo'], 4: ['industry influencer'], 3: ['standard'], 2: ['commodity']}, 1)}, 3)",
    }
    columns = ", ".join(f"{expression} as {name}" for name, expression in points.items())

    def segment(key):
        return f"(select id from segmentation_segment where layer_id = {layer_id} and key = '{key}')"

    groups = {"f": 4, "b": 5, "v": 4}
    sums = ", ".join(
        f"{' + '.join(f'coalesce({g}{i}, 0)' for i in range(1, n + 1))} as {g}n, "
        f"{' + '.join(f'({g}{i} is not null)::int' for i in range(1, n + 1))} as {g}d"
        for g, n in groups.items()
    )
    return f"""
        with points as (
            select a.id, {columns}
              from accounts_account a left join accounts_usage u on u.account_id = a.id and u.product_id is null
             where a.kind = 'customer' and not a.excluded and a.status in ('active', 'paused') offset 0),
        sums as (select id, {sums} from points offset 0),
        scored as (
            select id, div((25 * fn * bd * vd + 40 * bn * fd * vd + 35 * vn * fd * bd)::numeric * 1000000000000,
                           100 * nullif(fd * bd * vd, 0)) / 1000000000000 as composite
              from sums offset 0),
        decided as (
            select id, composite,
                   case when composite >= 4 then {segment("high-touch")} when composite >= 2.5 then {segment("low-touch")}
                        when composite is not null then {segment("tech-touch")} end as segment
              from scored),
        scores as (
            update segmentation_assignmentscore c set composite = d.composite
              from decided d join segmentation_assignment n on n.account_id = d.id and n.layer_id = {layer_id}
             where c.assignment_id = n.id and c.composite is distinct from d.composite)
        update segmentation_assignment n set computed_id = d.segment, definition_id = {definition_id}
          from decided d
         where n.account_id = d.id and n.layer_id = {layer_id}
           and (n.computed_id is distinct from d.segment or n.definition_id <> {definition_id})
    """
