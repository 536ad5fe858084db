"""A sample portfolio of 640 invented companies, as two exports sixty days apart.

`python examples/sample/generate.py FOLDER [--as-of DATE]`, or `write(folder, as_of)`. The same seed and date give the
same files. An account's quality (0 to 1) drives all its facts, with noise; between the exports some accounts get
better or worse, so that what the rules say differs from the segment in force.
"""

import argparse
import csv
import datetime
import random
import re
from pathlib import Path

SEED = 7
HERE = Path(__file__).parent
APART = 60  # days between the two exports

# How many accounts of what sort; "live" ones are active customers with everything known.
SORTS = {
    "live": 500, "new": 18, "new without usage": 4, "no subscription": 8, "no firmographics": 7, "no usage": 8,
    "other currency": 7, "paused": 22, "churned": 18, "trial": 26, "internal": 8, "test": 4, "excluded": 10,
}  # fmt: skip
GETTING_BETTER, GETTING_WORSE = 0.05, 0.05

STARTS = [
    "Alder",
    "Bram",
    "Cald",
    "Dorn",
    "Ember",
    "Fenn",
    "Garrow",
    "Hal",
    "Iver",
    "Jun",
    "Kestr",
    "Lum",
    "Marrow",
    "Nor",
    "Orl",
    "Pell",
    "Quor",
    "Rav",
    "Sel",
    "Thorn",
    "Ul",
    "Ves",
    "Wyn",
    "Yar",
    "Zeph",
]
ENDS = [
    "abrook",
    "ivane",
    "ement",
    "oquist",
    "astead",
    "imore",
    "undale",
    "ewick",
    "aford",
    "erlin",
    "omar",
    "ithe",
]
TRADES = [
    "Analytics",
    "Logistics",
    "Systems",
    "Foods",
    "Energy",
    "Health",
    "Learning",
    "Robotics",
    "Retail",
    "Media",
    "Mobility",
    "Materials",
]
# What earns 5, 4, 3, 2, 1 points in the service tier.
INDUSTRIES = [
    ["Software", "SaaS", "Cybersecurity", "DevTools"], ["FinTech", "HealthTech", "E-Commerce", "Marketing"],
    ["Manufacturing", "Logistics", "Retail", "Energy"], ["Education", "Non-profit", "Government"], ["Gambling"],
]  # fmt: skip
COUNTRIES = [["US", "CA"], ["GB", "DE", "FR", "NL", "IE"], ["AU", "SG", "IN", "NZ"], ["BR", "JP", "ES", "MX"]]
STAGES = ["Scale-up", "Established", "Mature", "Early-stage", "Pre-revenue"]
IMPORTANCE = ["named logo", "industry influencer", "standard", "commodity", "misaligned"]
EMPLOYEES = [(1000, 9000), (500, 999), (100, 499), (50, 99), (5, 49)]
ARR = [(100_000, 420_000), (50_000, 99_000), (25_000, 49_000), (10_000, 24_000), (2_400, 9_900)]
POTENTIAL = [(2.05, 3.2), (1.55, 1.95), (1.25, 1.45), (1.02, 1.18), (0.6, 0.95)]
LOGINS = [(20, 29), (12, 19), (6, 11), (2, 5), (0, 1)]
ADOPTION = [(0.70, 0.95), (0.50, 0.69), (0.30, 0.49), (0.10, 0.29), (0.0, 0.09)]
SEAT_USE = [(0.82, 1.0), (0.62, 0.78), (0.42, 0.58), (0.22, 0.38), (0.02, 0.18)]
WORKFLOW = [(4.0, 5.0), (3.0, 3.9), (2.0, 2.9), (1.0, 1.9), (0.0, 0.9)]
INTEGRATIONS = [(5, 9), (3, 4), (2, 2), (1, 1), (0, 0)]
TICKETS = [(0, 1), (2, 4), (5, 8), (10, 14), (20, 24)]
ENGAGEMENT = [(80, 98), (60, 79), (40, 59), (20, 39), (2, 19)]
ONBOARDED = [(0.92, 1.0), (0.72, 0.88), (0.52, 0.68), (0.27, 0.48), (0.05, 0.22)]
SCORES = [[10, 9, 9], [9, 9, 8, 7], [8, 9, 7, 6], [7, 6, 9, 4], [3, 5, 2]]


def write(folder, as_of):
    """Write `before/` and `now/` into the folder; the paths of their recipes, the older first."""
    accounts = _accounts(as_of)
    exports = {"before": as_of - datetime.timedelta(days=APART), "now": as_of}
    return [_export(Path(folder) / name, accounts, day, name) for name, day in exports.items()]


class Dice(random.Random):
    """Chance of its own for every account and purpose, so that one change does not shake all others."""

    def __init__(self, *about):
        super().__init__("/".join(str(part) for part in (SEED, *about)))

    def within(self, bounds):
        low, high = bounds
        return self.randint(low, high) if isinstance(low, int) else round(self.uniform(low, high), 2)


def _accounts(as_of):
    sorts = [sort for sort, count in SORTS.items() for _ in range(count)]
    Dice("order").shuffle(sorts)
    names = [f"{start}{end} {trade}" for start in STARTS for end in ENDS for trade in TRADES]
    Dice("names").shuffle(names)
    return [
        _account(number, sort, name, as_of)
        for number, (sort, name) in enumerate(zip(sorts, names, strict=False), start=1)
    ]


def _account(number, sort, name, as_of):
    dice = Dice("account", number)
    kind = dice.choices(["high", "middle", "low"], [22, 47, 31])[0]
    quality = dice.uniform(*{"high": (0.76, 1.0), "middle": (0.40, 0.74), "low": (0.02, 0.36)}[kind])
    before, turn = quality, dice.random()
    if sort == "live" and turn < GETTING_BETTER:
        before = max(0.0, quality - 0.3)
    elif sort == "live" and turn < GETTING_BETTER + GETTING_WORSE:
        before = min(1.0, quality + 0.3)
    age = {"new": (2, 26), "new without usage": (35, 55)}.get(sort, (120, 1900))
    return {
        "number": number,
        "id": f"ACC-{number:04d}",
        "sort": sort,
        "name": name,
        "quality": {"before": before, "now": quality},
        "since": as_of - datetime.timedelta(days=dice.randint(*age)),
        "as_of": as_of,
    }


def _points(account, what, export="now", spread=0.75):
    """The index (0 is best) of the cell an account's fact falls into."""
    wanted = 5 - 4 * account["quality"][export] + Dice(what, account["number"]).gauss(0, spread)
    return min(4, max(0, round(wanted) - 1))


def _fact(account, what, cells, export="now"):
    return Dice(what, "value", account["number"]).within(cells[_points(account, what, export)])


def _known(account, what, share):
    return Dice("known", what, account["number"]).random() < share


def _export(folder, accounts, day, export):
    folder.mkdir(parents=True, exist_ok=True)
    there = [account for account in accounts if account["since"] <= day]
    billed = [row for account in there for row in _subscriptions(account) if row[3] <= day]
    _csv(folder / "crm_accounts.csv", CRM, [_crm(account, export) for account in there])
    _csv(folder / "billing_subscriptions.csv", BILLING, map(_german, billed), delimiter=";")
    _csv(
        folder / "product_usage.csv",
        PRODUCT,
        filter(None, [_product(account, day, export) for account in there]),
    )
    _csv(
        folder / "helpdesk_tickets.csv", TICKET, [row for account in there for row in _tickets(account, day)]
    )
    _csv(
        folder / "survey_answers.csv",
        ANSWER,
        [row for account in there for row in _answers(account, day, export)],
    )
    _csv(folder / "crm_events.csv", EVENT, [row for account in there for row in _events(account, day)])
    recipe = folder / "recipe.yaml"
    text = (HERE / "recipe.yaml").read_text(encoding="utf-8")
    recipe.write_text(re.sub(r"(?m)^as_of: .*$", f"as_of: {day}", text), encoding="utf-8")
    return recipe


def _csv(path, header, rows, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)


CRM = [
    "account_id", "account_name", "website", "parent_id", "type", "stage", "do_not_score", "industry", "employees",
    "country", "billing_country", "growth_stage", "importance", "owner", "customer_since", "currency", "potential_arr",
]  # fmt: skip


def _crm(account, export):
    sort, number = account["sort"], account["number"]
    dice = Dice("crm", number)
    known = sort != "no firmographics"
    country = dice.choice(COUNTRIES[min(3, _points(account, "country"))])
    potential = Dice("potential", number).within(POTENTIAL[_points(account, "potential")]) * _arr(account)
    return [
        account["id"],
        account["name"],
        re.sub(r"\W+", "-", account["name"].lower()) + ".example.com",
        f"ACC-{number - 1:04d}" if sort == "live" and number > 1 and number % 45 == 0 else "",
        sort.capitalize() if sort in ("trial", "internal", "test") else "Customer",
        {"paused": "On hold", "churned": "Gone"}.get(sort, "Live"),
        "Reseller's own account" if sort == "excluded" else "",
        dice.choice(INDUSTRIES[_points(account, "industry")])
        if known and _known(account, "industry", 0.95)
        else "",
        _fact(account, "employees", EMPLOYEES) if known and _known(account, "employees", 0.94) else "",
        country if known and _known(account, "country", 0.93) else "",
        country if known else "",
        STAGES[_points(account, "stage")] if known and _known(account, "stage", 0.94) else "",
        IMPORTANCE[_points(account, "importance", spread=0.6)] if _known(account, "importance", 0.9) else "",
        _owner(account),
        account["since"],
        _currency(account),
        round(potential) if _known(account, "potential", 0.9) else "",
    ]


def _owner(account):
    """Named CSMs for the best, a pool for the rest, and here and there nobody."""
    dice = Dice("owner", account["number"])
    if dice.random() < 0.03:
        return ""
    return (
        f"csm{dice.randint(1, 14):02d}@example.com"
        if account["quality"]["now"] > 0.38
        else "csm-pool@example.com"
    )


def _currency(account):
    return (
        Dice("currency", account["number"]).choice(["EUR", "GBP"])
        if account["sort"] == "other currency"
        else "USD"
    )


BILLING = [
    "customer",
    "subscription",
    "product",
    "started",
    "ended",
    "amount",
    "currency",
    "seats",
    "dunning",
]


def _arr(account, export="now"):
    return _fact(account, "arr", ARR, export) // 100 * 100


def _seats(account):
    return max(5, _arr(account, "before") // 900)


def _subscriptions(account):
    """Rows of BILLING: the terms of the platform, and what came on top of it."""
    if account["sort"] in ("no subscription", "trial", "internal", "test"):
        return []
    as_of, since = account["as_of"], account["since"]
    ended = as_of - datetime.timedelta(days=20) if account["sort"] == "churned" else None
    small, large = sorted([_arr(account, "before"), _arr(account)])
    term = _points(account, "term", spread=0.6)
    rows = []
    for number, (start, end) in enumerate(_terms(account, term), start=1):
        name = f"{account['id']}-{number:02d}"
        last = end > as_of
        stop = min(end, ended) if ended else end
        rows.append(
            (
                account["id"],
                name,
                "Platform",
                start,
                stop,
                small,
                _currency(account),
                _seats(account),
                last and term == 4,
            )
        )
    if large > small:  # bought or about to be dropped between the two exports
        bought = max(since, as_of - datetime.timedelta(days=25))
        start, stop = (bought, None) if _arr(account) == large else (since, bought)
        rows.append(
            (
                account["id"],
                f"{account['id']}-X",
                "Analytics",
                start,
                stop,
                large - small,
                _currency(account),
                "",
                False,
            )
        )
    return rows


def _terms(account, term):
    """(start, end) of each term up to the one that runs today: several years, a year, or a month."""
    as_of, since = account["as_of"], account["since"]
    days = {0: 1095, 3: 30}.get(term, 365)
    start = since
    if term == 2:  # its first year
        start = max(since, as_of - datetime.timedelta(days=330))
    if term == 3:  # the earlier months are not in the export
        start = max(since, as_of - datetime.timedelta(days=110))
    terms = []
    while start <= as_of:
        end = start + datetime.timedelta(days=days)
        terms.append((start, end))
        start = end
    return terms


def _german(row):
    customer, name, product, start, end, amount, currency, seats, dunning = row
    money = f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))
    return [
        customer, name, product, f"{start:%d/%m/%Y}", f"{end:%d/%m/%Y}" if end else "", money, currency, seats,
        str(dunning).upper(),
    ]  # fmt: skip


PRODUCT = [
    "account", "day", "active_users", "login_days", "adoption", "workflow_maturity", "integrations", "engagement",
    "onboarded",
]  # fmt: skip


def _product(account, day, export):
    if account["sort"] in ("no usage", "new without usage", "internal", "test"):
        return None
    if (day - account["since"]).days < 7:
        return None  # the first week is not reported

    def fact(what, cells):
        return _fact(account, what, cells, export)

    scored = _known(account, "engagement", 0.8)
    return [
        account["id"],
        day - datetime.timedelta(days=1),
        round(_seats(account) * fact("seat use", SEAT_USE)),
        fact("logins", LOGINS),
        fact("adoption", ADOPTION),
        fact("workflow", WORKFLOW),
        fact("integrations", INTEGRATIONS),
        fact("engagement", ENGAGEMENT) if scored else "",
        "" if scored else fact("onboarded", ONBOARDED),
    ]


TICKET = ["ticket", "account", "opened", "closed", "priority"]


def _tickets(account, day):
    """The tickets of the 90 days before today, and as many of the 60 days before those, as known on that day."""
    dice = Dice("tickets", account["number"])
    lately = _fact(account, "tickets", TICKETS)
    ages = [dice.randint(0, 88) for _ in range(lately)] + [
        dice.randint(92, 148) for _ in range(lately * 2 // 3)
    ]
    for number, age in enumerate(ages, start=1):
        opened = account["as_of"] - datetime.timedelta(days=age)
        closed = opened + datetime.timedelta(days=dice.randint(0, 9))
        priority = dice.choice(["low", "normal", "normal", "high", "urgent"])
        if account["since"] <= opened <= day:
            yield [
                f"T-{account['number']:04d}-{number:02d}",
                account["id"],
                opened,
                closed if closed <= day else "",
                priority,
            ]


ANSWER = ["account", "day", "score"]


def _answers(account, day, export):
    if not _known(account, "answers", 0.72) or account["sort"] in ("new", "trial", "internal", "test"):
        return
    dice = Dice("answers", account["number"])
    scores = SCORES[_points(account, "nps", export)]
    for score in dice.sample(scores, dice.randint(1, len(scores))):
        yield [account["id"], day - datetime.timedelta(days=dice.randint(5, 300)), score]


EVENT = ["account", "day", "event"]


def _events(account, day):
    dice = Dice("events", account["number"])
    happened = account["as_of"] - datetime.timedelta(days=dice.randint(1, 200))
    event = dice.choices(["first workflow", "sponsor departed", "escalation", ""], [20, 4, 6, 70])[0]
    if event and account["since"] <= happened <= day:
        yield [account["id"], happened, event]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--as-of", type=datetime.date.fromisoformat, default=datetime.date.today())
    options = parser.parse_args()
    for recipe in write(options.folder, options.as_of):
        print(recipe)


if __name__ == "__main__":
    main()
