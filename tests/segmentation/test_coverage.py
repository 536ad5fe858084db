"""How customers are served: one account's lines, what every segment gets, and the people and money it takes."""

from decimal import Decimal
from fractions import Fraction

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from segmenting import BY_ARR, DAY, account, change, layer_with, portfolio, recompute

from accounts.models import Account, Csm, Subscription
from core.money import Money
from segmentation import treatments
from segmentation.authoring import versions
from segmentation.models import Layer, Move, ServiceModel, Treatment
from segmentation.reading import coverage
from segmentation.reading import portfolio as whole
from segmentation.reading.coverage import CsmLoad, Weight

COVERAGE, CUSTOMERS = "/admin/coverage/", "/admin/coverage/customers/"
ACCOUNTS = "/admin/accounts/account/"


def model(key="named", low=15, high=50, **said):
    return ServiceModel.objects.create(
        key=key, name=key.capitalize(), accounts_per_csm_min=low, accounts_per_csm_max=high, **said
    )


def serving(key="tier", *, decides, position=0, policy="automatic", **segments):
    """An active layer by ARR (high from 100,000, else tech) that decides these fields; segments: {key: what is said}."""
    layer = layer_with(BY_ARR, key=key, policy=policy, segments=["high", "tech"])
    layer.decides, layer.position = decides, position
    layer.save()
    for segment in layer.segments.all():
        said = segments.get(segment.key, {})
        segment.treatment = Treatment.objects.create(
            key=f"{key}-{segment.key}-served", name=segment.name, **said
        )
        segment.save()
    return layer


def told(lines):
    return {line.field.name: line.text for line in lines}


@pytest.fixture
def web(db):
    client = Client()
    client.force_login(User.objects.create_superuser("chief", "chief@example.com", "x"))
    return client


# -- one account


def test_every_line_says_which_segment_of_which_segmentation_it_comes_from(db):
    named = model(csm_kind="dedicated", qbr="Quarterly", check_in="Monthly", onboarding="By hand")
    serving(
        "tier",
        decides=["service_model", "channel"],
        high={"service_model": named, "channel": "Phone", "offer": "None"},
    )
    serving(
        "worth",
        decides=["renewal_lead_days"],
        position=1,
        high={"renewal_lead_days": 120, "message": "Hello"},
    )
    one = account(arr=500_000)
    recompute()
    lines = coverage.serve(one)
    assert [(line.field.name, line.text, str(line.layer), str(line.segment)) for line in lines] == [
        ("service_model", "Named", "Tier", "High"),
        ("csm_kind", "Dedicated CSM", "Tier", "High"),
        ("qbr", "Quarterly", "Tier", "High"),
        ("onboarding", "By hand", "Tier", "High"),
        ("touch_frequency", "Monthly", "Tier", "High"),  # the service model's, nobody else says it
        ("channel", "Phone", "Tier", "High"),
        ("renewal_lead_days", "120 days before", "Worth", "High"),
    ]  # neither the offer nor the message: no segmentation decides them


def test_what_an_open_change_brings(db):
    serving(
        decides=["channel", "offer", "support_sla"],
        policy="approval",
        high={"channel": "Phone", "offer": "All", "support_sla": "1 hour"},
        tech={"channel": "E-mail", "offer": "All", "message": "Bye"},
    )
    one = account(arr=500_000)
    recompute()
    assert {line.becomes for line in coverage.serve(one)} == {""}
    change(one, arr=5)
    recompute()
    lines = {line.field.name: line for line in coverage.serve(one)}
    assert (lines["channel"].text, lines["channel"].becomes, str(lines["channel"].because)) == (
        "Phone",
        "E-mail",
        "Tech",
    )
    assert lines["offer"].becomes == ""  # the same before and after
    assert lines["support_sla"].becomes == "nothing is said"
    change(one, arr=500_000)
    recompute()
    assert {line.becomes for line in coverage.serve(one)} == {""}


def test_a_line_that_only_the_change_brings(db):
    serving(decides=["channel"], policy="approval", tech={"channel": "E-mail"})
    one = account(arr=500_000)
    recompute()
    change(one, arr=5)
    recompute()
    [line] = coverage.serve(one)
    assert (line.text, line.becomes, str(line.segment), str(line.because)) == ("", "E-mail", "High", "Tech")


@pytest.mark.parametrize(
    ("positions", "decided_by"), [((1, 2, 3), "first"), ((9, 2, 1), "first"), ((None, 2, 1), "third")]
)
def test_of_two_segmentations_that_decide_the_same_the_first_counts(db, positions, decided_by):
    """The primary one first, then by position."""
    for key, position in zip(["first", "second", "third"], positions, strict=True):
        if position is None:
            layer_with(BY_ARR, key="silent", segments=["high", "tech"], decides=())
        else:
            serving(key, decides=["channel"], position=position, high={"channel": f"By {key}"})
    one = account(arr=500_000)
    recompute()
    [line] = coverage.serve(one)
    assert line.text == f"By {decided_by}"
    contested = coverage.contested(coverage.deciding_layers())
    deciders = [str(layer).lower() for layer in contested["channel"]]
    assert deciders[0] == decided_by
    assert len(deciders) == len([one for one in positions if one])


def test_who_says_nothing_or_the_same_is_no_conflict(db):
    serving("first", decides=["channel", "offer"], high={"offer": "All"})
    serving("second", decides=["channel", "offer"], position=1, high={"channel": "Phone", "offer": "All"})
    one = account(arr=500_000)
    recompute()
    lines = coverage.serve(one)
    assert told(lines) == {"channel": "Phone", "offer": "All"}


def test_a_segmentation_that_is_not_in_use_decides_nothing(db):
    serving("first", decides=["channel"], high={"channel": "Phone"})
    layer = serving("second", decides=["channel", "offer"], position=1, high={"offer": "All"})
    one = account(arr=500_000)
    recompute()
    assert told(coverage.serve(one)) == {"channel": "Phone", "offer": "All"}
    retire(layer)
    assert told(coverage.serve(one)) == {"channel": "Phone"}
    assert coverage.contested(coverage.deciding_layers()) == {}


def retire(layer):
    from segmentation.evaluation import causes
    from segmentation.models import Cause

    with transaction.atomic():
        causes.take(Cause.Kind.DECISION, reason="no longer wanted")
        layer.definitions.update(status="retired")


def test_on_a_date_the_segments_of_that_date_count(db):
    serving(decides=["channel"], high={"channel": "Phone"}, tech={"channel": "E-mail"})
    one = account(arr=500_000)
    recompute(at=DAY)
    change(one, arr=5)
    later = DAY.replace(month=7)
    recompute(at=later)
    assert told(coverage.serve(one)) == {"channel": "E-mail"}
    assert told(coverage.serve(one, at=later)) == {"channel": "E-mail"}
    assert told(coverage.serve(one, at=DAY)) == {"channel": "Phone"}
    assert coverage.serve(one, at=DAY.replace(year=2020)) == []
    assert Move.objects.count() == 2


def test_without_a_segment_there_is_nothing_to_say(db):
    serving(decides=["channel"], high={"channel": "Phone"})
    one = account(arr=None)
    assert coverage.serve(one) == []
    recompute()
    assert coverage.serve(one) == []


# -- every segment


def test_what_every_segment_gets_the_primary_segmentation_first(db):
    serving(
        "tier",
        decides=["service_model", "touch_frequency"],
        position=5,
        high={"service_model": model(check_in="Weekly")},
    )
    serving("worth", decides=["touch_frequency", "offer"], tech={"touch_frequency": "Never", "offer": "All"})
    first, second = coverage.offers()
    assert [str(offer.layer) for offer in (first, second)] == ["Tier", "Worth"]
    assert cells(first)["service_model"] == ["Named", ""]
    assert cells(first)["touch_frequency"] == ["Weekly", ""]  # left to the service model
    assert cells(second) == {"touch_frequency": ["", "Never"], "offer": ["", "All"]}
    assert {row.field.name: row.first for row in second.rows} == {
        "touch_frequency": first.layer,
        "offer": None,
    }


def cells(offer):
    return {row.field.name: [text for _, text in row.cells] for row in offer.rows}


def test_a_segmentation_of_products_stands_beside_the_answer_for_the_account(db):
    first = serving("tier", decides=["offer"], high={"offer": "All"})
    tags = serving("tags", decides=["offer"], position=1, high={"offer": "A workshop"})
    Layer.objects.filter(pk=tags.pk).update(scope="product")
    one = account(arr=500_000)
    recompute(layers=[first])
    [line] = coverage.serve(one)
    assert line.text == "All"
    assert [cells(offer)["offer"] for offer in coverage.offers()] == [["All", ""], ["A workshop", ""]]
    assert [row.first for offer in coverage.offers() for row in offer.rows] == [None, None]


def test_customers_see_nothing_internal(web):
    internal = [one for one in treatments.FIELDS.values() if not one.customer]
    assert {"discount_discipline", "expansion_play", "play_on_entry", "owner_role"} <= {
        one.name for one in internal
    }
    secret = {one.name: f"secret {one.name}" for one in internal}
    named = model(cost_to_serve=87_654_321, staff=987_654, description="secret model", channels="Phone")
    open_to_all = {"service_model": named, "support_sla": "Within an hour", "notes": "secret note"}
    layer = serving(decides=list(treatments.FIELDS), high=secret | open_to_all)
    layer.segments.update(description="secret reason", owner_role="secret owner")
    account(arr=500_000, csm=Csm.objects.create(email="cleo@example.com", name="Cleo"))
    recompute()
    page = web.get(CUSTOMERS).content.decode()
    for said in ("Within an hour", "Named", "High"):
        assert said in page
    for kept in (
        "secret",
        "87,654,321",
        "87654321",
        "987654",
        "987,654",
        "Cleo",
        "500,000",
        "$500K",
        "15 to 50",
    ):
        assert kept not in page
    team = web.get(COVERAGE).content.decode()
    for said in ("secret discount_discipline", "$87,654,321", "Cleo", "$500K", "15 to 50"):
        assert said in team


# -- people and money


@pytest.mark.parametrize(
    ("band", "accounts", "words"),
    [
        ((15, 50), 0, "0"),
        ((15, 50), 15, "1"),
        ((15, 50), 50, "1 to 4"),
        ((15, 50), 51, "2 to 4"),
        ((15, 50), 120, "3 to 8"),
        ((200, None), 150, "up to 1"),
        ((None, 50), 120, "3 or more"),
        ((None, None), 120, "–"),
    ],
)
def test_csms_needed(band, accounts, words):
    some = Weight(
        ServiceModel(accounts_per_csm_min=band[0], accounts_per_csm_max=band[1]), accounts, Decimal(0)
    )
    assert some.needed == words


@pytest.mark.parametrize(
    ("staff", "verdict"),
    [
        (None, None),
        ("2", ("bad", "1 too few")),
        ("2.5", ("bad", "0.5 too few")),
        ("3", ("ok", "enough")),
        ("8", ("ok", "enough")),
        ("10", ("warn", "2 more than needed")),
    ],
)
def test_csms_there_are_against_csms_needed(staff, verdict):
    staffed = ServiceModel(accounts_per_csm_min=15, accounts_per_csm_max=50, staff=staff and Decimal(staff))
    assert Weight(staffed, 120, Decimal(0)).verdict == verdict


NAMED = ServiceModel(
    pk=1, name="Named", accounts_per_csm_min=15, accounts_per_csm_max=50, csm_kind="dedicated"
)
POOLED = ServiceModel(pk=2, name="Pooled", accounts_per_csm_min=50, accounts_per_csm_max=200)
OPEN = ServiceModel(pk=3, name="Open", accounts_per_csm_min=200, csm_kind="none")


@pytest.mark.parametrize(
    ("kind", "counts", "verdict"),
    [
        ("person", {NAMED: 51}, ("bad", "over: 1 more than the band of 15 to 50")),
        ("person", {NAMED: 50}, ("ok", "within the band of 15 to 50")),
        ("person", {NAMED: 15}, ("ok", "within the band of 15 to 50")),
        ("person", {NAMED: 14}, ("warn", "under: 1 fewer than the band of 15 to 50")),
        ("person", {OPEN: 5_000}, ("ok", "within the band of 200 and more")),
        ("person", {NAMED: 30, POOLED: 81}, ("bad", "over: the work of 1.1 CSMs at least")),
        ("person", {NAMED: 30, POOLED: 80}, ("ok", "within the bands together")),
        ("person", {NAMED: 9, POOLED: 20}, ("ok", "within the bands together")),
        ("person", {NAMED: 9, POOLED: 19}, ("warn", "under: 0.9 of a CSM’s work at most")),
        ("person", {NAMED: 15, None: 900}, ("ok", "within the band of 15 to 50")),
        ("person", {None: 9}, ("", "no band is said")),
        ("pool", {POOLED: 450}, ("", "a pool that takes 3 to 9 CSMs")),
        ("pool", {POOLED: 50}, ("", "a pool that takes 1 CSM")),
        ("pool", {OPEN: 200}, ("", "a pool that takes up to 1 CSM")),
        ("digital", {OPEN: 450}, ("", "the programme serves them")),
        (None, {POOLED: 4, OPEN: 9}, ("", "none needs a CSM of its own")),
        (None, {NAMED: 1, OPEN: 9}, ("bad", "1 should have a CSM of its own")),
        (None, {NAMED: 1_200}, ("bad", "1,200 should have a CSM of their own")),
    ],
)
def test_what_a_csm_looks_after_against_the_band(kind, counts, verdict):
    weights = [Weight(one, number, Decimal(number)) for one, number in counts.items()]
    load = CsmLoad(Csm(kind=kind) if kind else None, weights)
    assert load.verdict == verdict
    assert load.accounts == load.arr == sum(counts.values())


def test_the_shares_are_exact():
    assert Weight(NAMED, 49, Decimal(0)).least == Fraction(49, 50)
    assert Weight(POOLED, 49, Decimal(0)).most == Fraction(49, 50)
    assert Weight(OPEN, 49, Decimal(0)).least == 0


def test_the_load_counts_what_home_counts(db):
    named, open_model = model(cost_to_serve=Decimal("1000.50")), model("open", 200, None)
    serving(decides=["service_model"], high={"service_model": named}, tech={"service_model": open_model})
    cleo, pool = (
        Csm.objects.create(email="cleo@example.com"),
        Csm.objects.create(email="p@example.com", kind="pool"),
    )
    portfolio(60)
    Account.objects.filter(pk__in=Account.objects.all()[:9]).update(csm=cleo)
    Account.objects.filter(pk__in=Account.objects.order_by("-pk")[:30]).update(csm=pool)
    account("churned", arr=1, status="churned")
    account("out", arr=1, excluded=True, exclusion_reason="ours")
    account("euro", arr=900_000, currency="EUR")
    subscribed, both = account("subscribed", csm=cleo), account("both", arr=7)  # an imported ARR goes first
    for one in (subscribed, both):
        Subscription.objects.create(
            account=one, subscription_id="s", start_date=DAY, arr=150_000, currency="USD"
        )
    mixed = account("mixed", csm=cleo)  # both amounts, and never their sum
    for currency in ("USD", "EUR"):
        Subscription.objects.create(
            account=mixed, subscription_id=currency, start_date=DAY, arr=60_000, currency=currency
        )
    recompute()
    load = coverage.load(at=DAY)
    home = whole.overview(Layer.objects.get(), at=DAY)
    assert (load.accounts, load.arr, load.foreign) == (home["accounts"], home["arr"], Money({"EUR": 960_000}))
    assert home["other_currency"] == load.foreign
    assert next(one for one in load.csms if one.csm == cleo).arr >= 60_000
    of_home = {one["segment"].key: one["accounts"] for one in home["segments"]}
    by_model = {str(one.model): one for one in load.weights}
    assert (by_model["Named"].accounts, by_model["Open"].accounts) == (of_home["high"], of_home["tech"])
    assert by_model["None"].accounts == home["without"]
    assert load.cost == by_model["Named"].cost == of_home["high"] * Decimal("1000.50")
    assert load.uncosted == load.accounts - of_home["high"]
    loads = {one.csm: one for one in load.csms}
    assert loads[cleo].accounts == 11
    assert loads[pool].accounts == 30
    assert sum(one.accounts for one in load.csms) == load.accounts
    assert sum(one.arr for one in load.csms) == load.arr


def test_weighing_what_a_change_would_bring(db):
    """The question of an impact preview: accounts per segment before and after, as service models."""
    named = model(cost_to_serve=100)
    layer = serving(decides=["service_model"], high={"service_model": named})
    high, tech = layer.segments.order_by("position")
    counts = {high.pk: (120, Decimal(7)), tech.pk: (3, Decimal(1)), None: (2, Decimal(0))}
    found = {one.model: one for one in coverage.weigh(counts)}
    first, last = found[named], found[None]
    assert (first.accounts, first.arr, first.cost, first.needed) == (120, 7, 12_000, "3 to 8")
    assert (last.accounts, last.arr, last.cost) == (5, 1, None)
    assert [one.accounts for one in found.values() if one.model not in (named, None)] == [0]  # idle ones, too


# -- what the database holds


@pytest.mark.parametrize(
    ("primary", "decides", "kept"),
    [
        (True, ["service_model", "channel"], True),
        (False, ["channel"], True),
        (False, ["service_model"], False),
        (True, ["nonsense"], False),
    ],
)
def test_only_the_primary_segmentation_decides_the_service_model(db, primary, decides, kept):
    def write():
        with transaction.atomic():
            Layer.objects.create(key="x", name="X", primary=primary, decides=decides)

    if kept:
        write()
    else:
        with pytest.raises(IntegrityError):
            write()


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"accounts_per_csm_min": 50, "accounts_per_csm_max": 15}, False),
        ({"accounts_per_csm_min": 0}, False),
        ({"accounts_per_csm_max": 0}, False),
        ({"cost_to_serve": -1}, False),
        ({"staff": -1}, False),
        ({"accounts_per_csm_min": 15, "accounts_per_csm_max": 15, "cost_to_serve": 0, "staff": 0}, True),
        ({}, True),
    ],
)
def test_a_band_is_a_band(db, said, kept):
    def write():
        with transaction.atomic():
            ServiceModel.objects.create(key="x", name="X", **said)

    if kept:
        write()
    else:
        with pytest.raises(IntegrityError):
            write()


def test_presets_decide_each_field_once_and_say_it_differently(db):
    versions.load_presets()
    layers = coverage.deciding_layers()
    assert {layer.key for layer in layers} == {
        one.layer.key for one in _active()
    }  # none of them is without anything of its own
    assert coverage.contested(layers) == {}
    for offer in coverage.offers():
        columns = zip(*cells(offer).values(), strict=True)
        assert len(set(columns)) == len(offer.segments), offer.layer
        assert all(any(texts) for texts in cells(offer).values()), offer.layer
    assert set(ServiceModel.objects.values_list("cost_to_serve", flat=True)) == {5000, 1200, 250}


def _active():
    from segmentation.models import Definition

    return Definition.objects.filter(status="active").select_related("layer")


def test_a_preset_beside_another_primary_segmentation_leaves_the_service_model_to_it(db):
    layer_with()
    versions.load_presets()
    tier = Layer.objects.get(key="service-tier")
    assert (tier.primary, "service_model" in tier.decides, "channel" in tier.decides) == (False, False, True)


# -- the pages


def test_names_and_numbers_lead_to_the_accounts_behind_them(web):
    named = model()
    serving(decides=["service_model"], high={"service_model": named})
    cleo = Csm.objects.create(email="cleo@example.com", name="Cleo")
    portfolio(30)
    Account.objects.filter(pk__in=Account.objects.all()[:7]).update(csm=cleo)
    Account.objects.filter(csm=cleo).first().save()
    account("out", arr=900_000, csm=cleo, excluded=True, exclusion_reason="ours")
    account("trial", arr=900_000, csm=cleo, kind="trial")
    recompute()
    response = web.get(COVERAGE)
    for row in response.context["csms"] + response.context["weights"]:
        listed = web.get(row["url"]).context["cl"]
        assert (listed.result_count, row["url"].startswith(ACCOUNTS)) == (row["one"].accounts, True), row[
            "url"
        ]


def test_any_csm_can_be_looked_up_also_one_the_filter_does_not_offer(web):
    Csm.objects.bulk_create(Csm(email=f"c{number:04}@example.com") for number in range(520))
    last = Csm.objects.order_by("name", "email").last()
    account("acme", csm=last)
    account("other")
    listed = web.get(f"{ACCOUNTS}?csm={last.pk}").context["cl"]
    assert [str(one) for one in listed.result_list] == ["acme"]


def test_the_pages_say_what_to_do_when_there_is_nothing(web):
    empty = web.get(COVERAGE).content.decode()
    assert "Import your accounts" in empty
    assert "There is no service model yet" in empty
    assert "No segment says yet how its customers are served" in empty
    layer = layer_with(decides=())
    undecided = web.get(COVERAGE).content.decode()
    assert "No segmentation in use says yet which part of the service it decides" in undecided
    assert f"/admin/segmentation/layer/{layer.pk}/change/" in undecided
    assert "Nothing is said yet" in web.get(CUSTOMERS).content.decode()


def test_the_page_asks_as_often_for_many_csms_as_for_few(web):
    serving(decides=["service_model"], high={"service_model": model()})

    def more(count, first):
        accounts = portfolio(count, first=first)
        csms = Csm.objects.bulk_create(Csm(email=f"c{n}@example.com") for n in range(first, first + count))
        for one, csm in zip(accounts, csms, strict=True):
            one.csm = csm
        Account.objects.bulk_update(accounts, ["csm"])
        recompute()

    def asked(url):
        with CaptureQueriesContext(
            connection,
        ) as found:
            assert web.get(url).status_code == 200
        return len(found)

    more(10, 0)
    few = {url: asked(url) for url in (COVERAGE, CUSTOMERS)}
    more(300, 10)
    assert {url: asked(url) for url in (COVERAGE, CUSTOMERS)} == few
    page = web.get(COVERAGE).content.decode()
    assert "210 CSMs more, none of them more urgent" in page
    assert "none of them more urgent" not in web.get(f"{COVERAGE}?all").content.decode()


@pytest.mark.parametrize("permissions", [[], ["view_account"], ["view_servicemodel"]])
def test_both_permissions_are_needed(db, permissions):
    from segmenting import person

    user = person("sam", *permissions) if permissions else User.objects.create(username="sam")
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user)
    assert {client.get(url).status_code for url in (COVERAGE, CUSTOMERS)} == {403}
    assert "Coverage model" not in client.get("/admin/").content.decode()


def test_a_segmentation_chooses_what_it_decides_on_its_form(web):
    serving("tier", decides=["channel"])
    layer = serving("worth", decides=[], position=1)
    url = f"/admin/segmentation/layer/{layer.pk}/change/"
    assert "Channel (decided by Tier)" in web.get(url).content.decode()
    form = {
        "name": "Worth",
        "description": "",
        "policy": "automatic",
        "scope": "account",
        "position": "1",
        "decides": ["offer", "message"],
        "why": "Worth decides the offer",
    }
    assert web.post(url, form).status_code == 302
    layer.refresh_from_db()
    assert layer.decides == ["offer", "message"]
    assert layer.history.first().decides == ["offer", "message"]
    assert "Offer, Message" in web.get(url.replace("change", "history")).content.decode()
    refused = web.post(url, form | {"decides": ["service_model"]})
    assert "Only the primary segmentation decides the service model" in refused.content.decode()


def test_a_treatment_says_everything_on_its_form(web):
    layer = serving(decides=["channel"])
    treatment = layer.segments.first().treatment
    url = f"/admin/segmentation/treatment/{treatment.pk}/change/"
    page = web.get(url).content.decode()
    assert "Tier: channel" in page
    for one in treatments.FIELDS.values():
        assert f'name="{one.name}"' in page
    said = {one.name: f"About {one.name}" for one in treatments.FIELDS.values()}
    said |= {"service_model": model().pk, "renewal_lead_days": "90"}
    assert web.post(url, {"name": "All", "notes": "", "why": "Said at last"} | said).status_code == 302
    treatment.refresh_from_db()
    assert treatment.message == "About message"
    assert (
        "About message" in web.get(f"/admin/segmentation/treatment/{treatment.pk}/history/").content.decode()
    )


def test_the_account_page_shows_the_lines_and_what_they_become(web):
    serving(
        "tier", decides=["channel"], policy="approval", high={"channel": "Phone"}, tech={"channel": "E-mail"}
    )
    serving("worth", decides=["channel", "offer"], position=1, high={"channel": "Fax", "offer": "All"})
    one = account(arr=500_000)
    page = f"{ACCOUNTS}{one.pk}/change/"
    assert "No segment yet." in web.get(page).content.decode()
    recompute()
    shown = web.get(page).content.decode()
    assert "Phone" in shown
    assert "Fax" not in shown  # Tier comes first, and there is one answer to one question
    change(one, arr=5)
    recompute()
    shown = web.get(page).content.decode()
    assert "becomes E-mail" in shown
    Layer.objects.update(decides=[])
    assert "No segmentation in use says yet what it decides" in web.get(page).content.decode()
