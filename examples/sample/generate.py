"""A sample portfolio of 640 invented companies, as two exports sixty days apart.

`python examples/sample/generate.py FOLDER [--as-of DATE]`, or `write(folder, as_of)`. The same seed and date give the
same files. Three dials (0 to 1) drive an account's facts, with noise: its quality, how it uses the product and what it is
worth; between the exports some accounts get better or worse, so that what the rules say differs from the segment in
force. Some live through a story, which events tell: they ramp up, expand, lose their sponsor, leave, come back.
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
    "live": 492, "won back": 8, "new": 18, "new without usage": 4, "no subscription": 8, "no firmographics": 7, "no usage": 8,
    "other currency": 7, "paused": 22, "churned": 18, "trial": 26, "internal": 8, "test": 4, "excluded": 10,
}  # fmt: skip
GETTING_BETTER, GETTING_WORSE = 0.05, 0.05
# Shares of the live accounts that neither get better nor worse; the rest has nothing to tell.
STORIES = {
    "ramping": 0.06, "expanding": 0.08, "settling": 0.03, "advocate": 0.05, "sponsor left": 0.04, "usage drop": 0.04,
    "ticket spike": 0.03, "churning": 0.04, "recovering": 0.02, "saved": 0.03, "going quiet": 0.02,
    "small and healthy": 0.04, "large and unhealthy": 0.04,
}  # fmt: skip
# (quality, use before, use now, worth) of a story; None is what the account has anyway.
DIALS = {
    "ramping": (None, 0.45, 0.55, None),
    "expanding": (None, 0.78, 0.86, None),
    "settling": (None, 0.8, 0.8, None),
    "advocate": (None, 0.95, 0.97, None),
    "sponsor left": (None, 0.72, 0.66, None),
    "usage drop": (None, 0.78, 0.34, None),
    "churning": (None, 0.45, 0.25, None),
    "recovering": (None, 0.3, 0.4, None),
    "saved": (None, 0.4, 0.82, None),
    "going quiet": (0.9, 0.95, 0.9, 0.97),
    "small and healthy": (0.5, 0.95, 0.95, 0.08),
    "large and unhealthy": (0.8, 0.15, 0.12, 0.98),
}
DROPPING = ("usage drop", "churning")

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
# The values that earn 5, 4, 3, 2, 1 points in the service tier.
INDUSTRIES = [
    ["Software", "SaaS", "Cybersecurity", "DevTools"], ["FinTech", "HealthTech", "E-Commerce", "Marketing"],
    ["Manufacturing", "Logistics", "Retail", "Energy"], ["Education", "Non-profit", "Government"], ["Gambling"],
]  # fmt: skip
COUNTRIES = [["US", "CA"], ["GB", "DE", "FR", "NL", "IE"], ["AU", "SG", "IN", "NZ"], ["BR", "JP", "ES", "MX"]]
# region, language, time zone and where data has to be kept
PLACES = {
    "US": ("North America", "en", "America/New_York", "US"), "CA": ("North America", "en", "America/Toronto", "CA"),
    "GB": ("EMEA", "en", "Europe/London", "UK"), "DE": ("EMEA", "de", "Europe/Berlin", "EU"),
    "FR": ("EMEA", "fr", "Europe/Paris", "EU"), "NL": ("EMEA", "nl", "Europe/Amsterdam", "EU"),
    "IE": ("EMEA", "en", "Europe/Dublin", "EU"), "ES": ("EMEA", "es", "Europe/Madrid", "EU"),
    "AU": ("APAC", "en", "Australia/Sydney", "AU"), "NZ": ("APAC", "en", "Pacific/Auckland", "AU"),
    "SG": ("APAC", "en", "Asia/Singapore", "SG"), "IN": ("APAC", "en", "Asia/Kolkata", "IN"),
    "JP": ("APAC", "ja", "Asia/Tokyo", "JP"), "BR": ("Latin America", "pt", "America/Sao_Paulo", "BR"),
    "MX": ("Latin America", "es", "America/Mexico_City", "US"),
}  # fmt: skip
OWNERSHIP = {"private": 38, "VC-backed": 24, "PE-backed": 20, "public": 14, "family-owned": 4}
TECHNOLOGY = [
    ["AWS", "Azure", "Google Cloud"], ["Salesforce", "HubSpot", "Dynamics 365"],
    ["Snowflake", "BigQuery", "Databricks"], ["Slack", "Microsoft Teams"],
]  # fmt: skip
PACKAGES = ["Premier", "Premier", "Advanced", "Essential", "Essential"]
ADD_ONS = {"Analytics": (0.45, 0.25), "Automation": (0.3, 0.15)}  # who has it, and its part of the price
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
BREADTH = 40  # features there are
DEPARTMENTS = [(5, 9), (3, 4), (2, 3), (1, 2), (1, 1)]
HOURS = [(18.0, 40.0), (10.0, 18.0), (5.0, 10.0), (1.5, 5.0), (0.0, 1.5)]  # a user a month
CONTACTS = [(8, 15), (5, 7), (3, 4), (2, 2), (0, 1)]
SOLVED_IN = [(1, 6), (4, 20), (12, 48), (30, 90), (60, 160)]  # hours
SATISFACTION = [[5, 5, 4], [5, 4, 4], [4, 4, 3], [4, 3, 2], [3, 2, 1]]
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
    kind = dice.choices(["high", "middle", "low"], [27, 40, 33])[0]
    quality = dice.uniform(*{"high": (0.76, 1.0), "middle": (0.40, 0.74), "low": (0.02, 0.36)}[kind])
    before, turn, story = quality, dice.random(), ""
    if sort == "live" and turn < GETTING_BETTER:
        before = max(0.0, quality - 0.3)
    elif sort == "live" and turn < GETTING_BETTER + GETTING_WORSE:
        before = min(1.0, quality + 0.3)
    elif sort == "live":
        story = _story(number)
    age = {"new": (2, 26), "new without usage": (35, 55), "won back": (500, 1900)}.get(sort, (120, 1900))
    age = (45, 150) if story == "ramping" else age
    whole, use_before, use, worth = DIALS.get(story, (None, None, None, None))
    now = quality if whole is None else whole
    before = before if whole is None else whole
    return {
        "number": number,
        "id": f"ACC-{number:04d}",
        "sort": sort,
        "story": story,
        "name": name,
        "quality": {"before": before, "now": now},
        "use": {"before": _or(use_before, before), "now": _or(use, now)},
        "worth": {"before": _or(worth, before), "now": _or(worth, now)},
        "since": as_of - datetime.timedelta(days=dice.randint(*age)),
        "gone": _gone(sort, number, as_of),
        "back": as_of - datetime.timedelta(days=Dice("back", number).randint(5, 35))
        if sort == "won back"
        else None,
        "as_of": as_of,
    }


def _or(value, otherwise):
    return otherwise if value is None else value


def _story(number):
    dice = Dice("story", number)
    return dice.choices([*STORIES, ""], [*STORIES.values(), 1 - sum(STORIES.values())])[0]


def _gone(sort, number, as_of):
    """The day a contract ended: of more than half of those that churned, between the two exports."""
    if sort not in ("churned", "won back"):
        return None
    lately = sort == "churned" and number % 5 < 3
    return as_of - datetime.timedelta(days=Dice("gone", number).randint(*((5, 45) if lately else (100, 300))))


def _points(account, what, export="now", spread=0.75, dial="quality"):
    """The index (0 is best) of the cell an account's fact falls into."""
    wanted = 5 - 4 * account[dial][export] + Dice(what, account["number"]).gauss(0, spread)
    return min(4, max(0, round(wanted) - 1))


def _fact(account, what, cells, export="now", dial="quality"):
    return Dice(what, "value", account["number"]).within(cells[_points(account, what, export, dial=dial)])


def _known(account, what, share):
    return Dice("known", what, account["number"]).random() < share


def _last(account, what, every, day):
    """The last time of something that happens every so many days, or None."""
    last = account["as_of"] - datetime.timedelta(days=Dice(what, account["number"]).randint(0, every))
    while last > day:
        last -= datetime.timedelta(days=every)
    return last if last >= account["since"] else None


def _export(folder, accounts, day, export):
    folder.mkdir(parents=True, exist_ok=True)
    there = [account for account in accounts if account["since"] <= day]
    billed = [row for account in there for row in _subscriptions(account) if row[3] <= day]
    _csv(folder / "crm_accounts.csv", CRM, [_crm(account, day, export) for account in there])
    _csv(folder / "billing_subscriptions.csv", BILLING, map(_german, billed), delimiter=";")
    _csv(
        folder / "product_usage.csv",
        PRODUCT,
        [row for account in there for row in _product(account, day, export)],
    )
    _csv(
        folder / "intent_scores.csv", INTENT, [_intent(account, day) for account in there if _listed(account)]
    )
    _csv(
        folder / "helpdesk_tickets.csv",
        TICKET,
        [row for account in there for row in _tickets(account, day, export)],
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
    "annual_revenue", "country", "billing_country", "region", "growth_stage", "technology", "ownership", "language",
    "time_zone", "data_residency", "importance", "owner", "customer_since", "currency", "potential_arr",
    "lifetime_value", "package", "fit_score", "contacts", "buyer_left", "success_plan", "last_review", "last_contact",
    "missed_check_ins",
]  # fmt: skip


def _crm(account, day, export):
    sort, number = account["sort"], account["number"]
    customer = sort not in ("trial", "internal", "test")
    potential = Dice("potential", number).within(POTENTIAL[_points(account, "potential")]) * _arr(account)
    value = _arr(account) * max(1, (day - account["since"]).days // 365)
    return [
        account["id"],
        account["name"],
        re.sub(r"\W+", "-", account["name"].lower()) + ".example.com",
        f"ACC-{number - 1:04d}" if sort == "live" and number > 1 and number % 45 == 0 else "",
        "Customer" if customer else sort.capitalize(),
        _stage(account, day),
        "Reseller's own account" if sort == "excluded" else "",
        *_company(account),
        IMPORTANCE[_points(account, "importance", spread=0.6)] if _known(account, "importance", 0.9) else "",
        _owner(account),
        account["since"],
        _currency(account),
        round(potential) if _known(account, "potential", 0.9) else "",
        value if customer else "",
        PACKAGES[_points(account, "package", spread=0.5)]
        if customer and _known(account, "package", 0.9)
        else "",
        _score(100 * account["quality"][export], 14, "fit", number) if _known(account, "fit", 0.92) else "",
        *(_relation(account, day, export) if customer else [""] * 6),
    ]


def _stage(account, day):
    if account["sort"] == "paused":
        return "On hold"
    gone, back = account["gone"], account["back"]
    return "Gone" if gone and gone <= day and not (back and back <= day) else "Live"


def _company(account):
    """industry ... data_residency: what is known of the company itself."""
    dice, number = Dice("crm", account["number"]), account["number"]
    country = dice.choice(COUNTRIES[min(3, _points(account, "country"))])
    industry = dice.choice(INDUSTRIES[_points(account, "industry")])
    if account["sort"] == "no firmographics":
        return [""] * 12
    employees = _fact(account, "employees", EMPLOYEES)
    revenue = employees * Dice("revenue", number).randint(90, 260) * 1000
    region, language, zone, residency = PLACES[country]
    technology = ", ".join(
        Dice("technology", number, kind).choice(names)
        for kind, names in enumerate(TECHNOLOGY)
        if _known(account, f"technology {kind}", 0.7)
    )
    ownership = Dice("ownership", number).choices(list(OWNERSHIP), list(OWNERSHIP.values()))[0]
    return [
        industry if _known(account, "industry", 0.95) else "",
        employees if _known(account, "employees", 0.94) else "",
        revenue if _known(account, "revenue", 0.7) else "",
        country if _known(account, "country", 0.93) else "",
        country,
        region,
        STAGES[_points(account, "stage")] if _known(account, "stage", 0.94) else "",
        technology,
        ownership if _known(account, "ownership", 0.85) else "",
        language if _known(account, "language", 0.9) else "",
        zone,
        residency if _known(account, "residency", 0.75) else "",
    ]


def _relation(account, day, export):
    """contacts ... missed_check_ins: what the account team knows; of customers nobody looks after, next to nothing."""
    number, dice = account["number"], Dice("relation", account["number"], export)
    troubled = account["use"][export] < 0.35
    left = account["story"] in ("sponsor left", "churning") and export == "now" and number % 2
    if "pool" in _owner(account):
        missed = dice.choice([0, 0, 1]) + 2 * troubled
        return [_fact(account, "contacts", CONTACTS), _yes(left), _yes(False), "", "", missed]
    planned = Dice("plan", number).random() < account["quality"]["now"]
    return [
        _fact(account, "contacts", CONTACTS),
        _yes(left) if left or _known(account, "buyer", 0.8) else "",
        _yes(planned) if _known(account, "plan", 0.9) else "",
        _last(account, "review", 75 if planned else 190, day) or "",
        _last(account, "contact", 80 if troubled else 28, day) or "",
        dice.choice([0, 0, 0, 1]) + (dice.randint(1, 3) if troubled else 0),
    ]


def _yes(value):
    return "true" if value else "false"


def _score(middle, spread, *about):
    return min(99, max(1, round(Dice(*about).gauss(middle, spread))))


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
    return _fact(account, "arr", ARR, export, dial="worth") // 100 * 100


def _seats(account):
    return max(5, _arr(account, "before") // 900)


def _subscriptions(account):
    """Rows of BILLING: the terms of the platform and its add-ons, and what came on top of it."""
    if account["sort"] in ("no subscription", "trial", "internal", "test"):
        return []
    as_of, since = account["as_of"], account["since"]
    small, large = sorted([_arr(account, "before"), _arr(account)])
    term = _points(account, "term", spread=0.6)
    rows = []
    for number, (start, end) in enumerate(_terms(account, term), start=1):
        last = end > as_of
        amount = small if last else round(small / (1 + _growth(account)), -2)
        parts = _parts(account, amount) if last else {"Platform": amount}
        for product, price in parts.items():
            name = f"{account['id']}-{number:02d}{'' if product == 'Platform' else product[:2].upper()}"
            seats = _seats(account) if product == "Platform" else ""
            rows.append(_billed(account, name, product, start, end, price, seats, last and term == 4))
    if large > small:  # bought or about to be dropped between the two exports
        bought = max(since, as_of - datetime.timedelta(days=25))
        start, stop = (bought, None) if _arr(account) == large else (since, bought)
        rows.append(_billed(account, f"{account['id']}-X", "Data Hub", start, stop, large - small, "", False))
    return rows


def _billed(account, name, product, start, end, amount, seats, dunning):
    return account["id"], name, product, start, end, amount, _currency(account), seats, dunning


def _growth(account):
    """The last renewal's change of the price: most stay where they are."""
    dice = Dice("growth", account["number"])
    if account["story"] in ("churning", "usage drop", "large and unhealthy"):
        return dice.choice([-0.3, -0.15, 0.0])
    if account["story"] in ("expanding", "advocate"):
        return dice.uniform(0.15, 0.6)
    return dice.choice([0.0, 0.0, 0.02, dice.uniform(0.08, 0.45), dice.uniform(-0.35, -0.08)])


def _add_ons(account):
    return [name for name, (share, _) in ADD_ONS.items() if _known(account, name, share)]


def _parts(account, amount):
    """{product: price}: the add-ons are parts of the price, the platform is the rest."""
    parts = {name: round(amount * ADD_ONS[name][1]) for name in _add_ons(account)}
    return {"Platform": amount - sum(parts.values())} | parts


def _terms(account, term):
    """(start, end) of each term up to the one that runs today: several years, a year, or a month."""
    as_of, since = account["as_of"], account["since"]
    if account["gone"]:
        return _ended_terms(account)
    days = {0: 1095, 3: 30}.get(term, 365)
    start = since
    if term == 2 and account["number"] % 4:  # its first year
        start = max(since, as_of - datetime.timedelta(days=330))
    if term == 3:  # what is older is not in the export
        start = max(since, as_of - datetime.timedelta(days=410))
    terms = []
    while start <= as_of:
        end = start + datetime.timedelta(days=days)
        terms.append((start, end))
        start = end
    return terms


def _ended_terms(account):
    """The terms of a contract that ended, and the new one of a customer that came back."""
    gone, back, year = account["gone"], account["back"], datetime.timedelta(days=365)
    old = [(max(account["since"], gone - year), gone)]
    return old + ([(back, back + year)] if back else [])


def _german(row):
    customer, name, product, start, end, amount, currency, seats, dunning = row
    money = f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))
    return [
        customer, name, product, f"{start:%d/%m/%Y}", f"{end:%d/%m/%Y}" if end else "", money, currency, seats,
        str(dunning).upper(),
    ]  # fmt: skip


PRODUCT = [
    "account", "module", "day", "last_active", "active_users", "login_days", "adoption", "features", "departments",
    "hours_per_user", "change", "workflow_maturity", "integrations", "engagement", "onboarded",
]  # fmt: skip


def _listed(account):
    return account["sort"] not in ("internal", "test")


def _product(account, day, export):
    """A row for the account, and one for each of its products."""
    if account["sort"] in ("no usage", "new without usage", "internal", "test"):
        return []
    if (day - account["since"]).days < 7 or _stage(account, day) == "Gone":
        return []  # the first week is not reported

    def fact(what, cells):
        return _fact(account, what, cells, export, dial="use")

    scored = _known(account, "engagement", 0.8)
    logins, adoption = fact("logins", LOGINS), fact("adoption", ADOPTION)
    users = round(_seats(account) * fact("seat use", SEAT_USE))
    seen, logins = _seen(account, logins, export)
    last = max(day - datetime.timedelta(days=1 + seen), account["since"])
    whole = [
        account["id"],
        "",
        day - datetime.timedelta(days=1),
        last,
        users,
        logins,
        adoption,
        round(BREADTH * adoption),
        fact("departments", DEPARTMENTS),
        fact("hours", HOURS),
        _change(account, export),
        fact("workflow", WORKFLOW),
        fact("integrations", INTEGRATIONS),
        fact("engagement", ENGAGEMENT) if scored else "",
        "" if scored else fact("onboarded", ONBOARDED),
    ]
    return [whole, *(_module(account, name, whole, export) for name in ("Platform", *_add_ons(account)))]


def _seen(account, logins, export):
    """(days since the last login, days with one in the last 30)."""
    dice = Dice("seen", account["number"], export)
    if account["story"] == "going quiet" and export == "now":  # were there every day, until they were not
        quiet = dice.randint(8, 9)
        return quiet, 30 - quiet
    if not logins:
        return dice.randint(31, 160), 0
    return dice.randint(0, min(30 - logins, 60 // (logins + 1))), logins


def _change(account, export):
    dice = Dice("change", account["number"], export)
    if account["story"] in DROPPING and export == "now":
        return round(dice.uniform(-0.7, -0.35), 2)
    if account["story"] in ("ramping", "expanding"):
        return round(dice.uniform(0.1, 0.6), 2)
    return round(min(0.4, max(-0.25, dice.gauss(0.02, 0.1))), 2)


def _module(account, name, whole, export):
    """The same for one product: the platform is what everybody uses, an add-on what some do, or nobody any more."""
    account_id, _, day, last, users, logins, adoption, *_ = whole
    dice = Dice("module", name, account["number"], export)
    share = 1.0 if name == "Platform" else dice.choice([0.0, 0.15, 0.4, 0.7])
    last = last if share == 1.0 else last - datetime.timedelta(days=dice.randint(0, 20) if share else 90)
    return [
        account_id, name, day, max(last, account["since"]), round(users * share), round(logins * share),
        round(adoption * (share or 0.0), 2), *[""] * 8,
    ]  # fmt: skip


INTENT = ["account", "day", "score"]


def _intent(account, day):
    """The word of a signal platform about the interest in more; it does not follow from anything else known."""
    known = _known(account, "intent", 0.85)
    return [account["id"], day, Dice("intent", account["number"]).randint(3, 97) if known else ""]


TICKET = ["ticket", "account", "opened", "closed", "priority", "hours", "escalated", "rating"]


def _tickets(account, day, export):
    """The tickets of the 90 days before today, and as many of the 60 days before those, as known on that day."""
    dice = Dice("tickets", account["number"])
    lately, within = _fact(account, "tickets", TICKETS, dial="use"), 88
    earlier = lately * 2 // 3
    if account["story"] == "ticket spike":
        lately, earlier, within = dice.randint(17, 24), 1, 50
    ages = [dice.randint(0, within) for _ in range(lately)] + [dice.randint(92, 148) for _ in range(earlier)]
    for number, age in enumerate(ages, start=1):
        opened = account["as_of"] - datetime.timedelta(days=age)
        closed = opened + datetime.timedelta(days=dice.randint(0, 9))
        priority = dice.choice(["low", "normal", "normal", "high", "urgent"])
        more = Dice("ticket", account["number"], number)
        cell = _points(account, "solved", dial="use")
        done = closed <= day
        if account["since"] <= opened <= day:
            yield [
                f"T-{account['number']:04d}-{number:02d}",
                account["id"],
                opened,
                closed if done else "",
                priority,
                more.randint(*SOLVED_IN[cell]) if done else "",
                _yes(priority == "urgent" and more.random() < 0.3),
                more.choice(SATISFACTION[cell]) if done and more.random() < 0.4 else "",
            ]


ANSWER = ["account", "day", "score"]


def _answers(account, day, export):
    if not _known(account, "answers", 0.72) or account["sort"] in ("new", "trial", "internal", "test"):
        return
    dice = Dice("answers", account["number"])
    scores = SCORES[_points(account, "nps", export, dial="use")]
    for score in dice.sample(scores, dice.randint(1, len(scores))):
        yield [account["id"], day - datetime.timedelta(days=dice.randint(5, 300)), score]


EVENT = ["account", "day", "event"]


def _events(account, day):
    """All that happened up to that day, by the account's story."""
    rows = []
    for number, (event, oldest, latest) in enumerate(_told(account)):
        happened = account["as_of"] - datetime.timedelta(
            days=Dice("event", account["number"], number).randint(latest, oldest)
        )
        if account["since"] <= happened <= day:
            rows.append([account["id"], happened, event])
    return rows


def _told(account):
    """(event, the most and the fewest days before today)."""
    number, age = account["number"], (account["as_of"] - account["since"]).days
    dice = Dice("events", number)
    if account["sort"] in ("trial", "internal", "test", "new", "new without usage", "no usage"):
        return []
    told = []
    if account["story"] == "ramping" or (age > 90 and dice.random() < 0.85):
        told.append(("first_workflow", age - 12, max(1, age - 40)))
        if age > 200 and dice.random() < 0.75:
            told.append(("first_outcome", age - 45, age - 180))
    if not account["story"] and age > 500 and dice.random() < 0.2:
        told.append((dice.choice(["new_use_case", "cross_team_adoption"]), age - 120, 200))
    return told + _by_story(account, dice)


def _by_story(account, dice):
    more = dice.choice(["new_use_case", "cross_team_adoption"])
    leaving = dice.choice(["formal_pause", "renewal_disengaged", "executive_escalation"])
    stories = {
        "expanding": [(more, 85, 5)],
        "settling": [(more, 145, 95)],
        "advocate": [("reference_given", 150, 5)],
        "sponsor left": [("sponsor_departed", 55, 5)],
        "churning": [("sponsor_departed", 110, 75), (leaving, 50, 5)],
        "recovering": [("sponsor_departed", 140, 110), (leaving, 100, 70), ("renewal_resumed", 45, 5)],
        "saved": [("sponsor_departed", 110, 70), ("sponsor_replaced", 50, 10)],
    }
    if account["story"] == "recovering" and leaving == "executive_escalation":
        stories["recovering"].append(("escalation_resolved", 50, 46))
    if account["sort"] == "paused":
        return [("formal_pause", 80, 10)] if account["number"] % 2 else []
    if account["gone"]:
        ended = (account["as_of"] - account["gone"]).days
        left = [("renewal_disengaged", ended + 110, ended + 70), ("churn_reported", ended + 30, ended)]
        return left + ([("first_workflow", 4, 1)] if account["back"] and account["number"] % 2 else [])
    return stories.get(account["story"], [])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--as-of", type=datetime.date.fromisoformat, default=datetime.date.today())
    options = parser.parse_args()
    for recipe in write(options.folder, options.as_of):
        print(recipe)


if __name__ == "__main__":
    main()
