"""The API under load: many at once, on a real database. A key is used once, no change is lost, the feed gives everything once."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Thread

import pytest
from calling import by_session, by_token, calling, program, token_of
from django.db import connection, transaction
from governing import someone
from segmenting import account
from waiting import wait_until

from accounts.models import Account, Product, Signal
from core import feed
from core.models import Change


@pytest.fixture(autouse=True)
def no_limit(settings):
    settings.API_CALLS = 1_000_000


def together(act, crowd):
    """The answers of act(one) for everybody in the crowd, each in a thread of their own."""

    def run(one):
        try:
            return act(one)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(crowd)) as pool:
        return list(pool.map(run, crowd))


def patient(call):
    """The answer to a call that is put again for as long as the first of its kind is going on."""
    for _ in range(200):
        answer = call()
        if answer.status_code != 409:
            return answer
        time.sleep(0.01)
    return answer


def test_of_eight_who_send_the_same_key_one_creates(real_db):
    _, text = token_of(program("CS Ops"))
    callers = [by_token(text) for _ in range(8)]

    def send(caller):
        answers = []
        for number in range(50):
            send = partial(
                caller.post, "products", {"key": f"p{number}"}, headers={"Idempotency-Key": f"key {number}"}
            )
            answers.append(patient(send))
        return answers

    answers = [answer for each in together(send, callers) for answer in each]
    assert {answer.status_code for answer in answers} == {201}
    assert len([answer for answer in answers if not answer.has_header("Idempotency-Replayed")]) == 50
    assert Product.objects.count() == 50
    assert len({answer.json()["id"] for answer in answers}) == 50


LARGE = pytest.mark.long  # the sizes the issue names


@pytest.mark.parametrize("times", [40, pytest.param(500, marks=LARGE)])
def test_of_two_who_add_one_many_times_nothing_is_lost(real_db, times):
    acme = account("acme", employees=0)
    callers = [by_session(someone(name, "CS Ops")) for name in ("ada", "ben")]

    def add(caller):
        refused, number = 0, 0
        while number < times:
            read = caller.get(f"accounts/{acme.pk}")
            body = {"employees": read.json()["employees"] + 1, "reason": "One more"}
            answer = caller.patch(f"accounts/{acme.pk}", body, headers={"If-Match": read["ETag"]})
            assert answer.status_code in (200, 412), answer.content
            number += answer.status_code == 200
            refused += answer.status_code == 412
        return refused

    refused = sum(together(add, callers))
    assert Account.objects.get().employees == 2 * times
    assert refused > 0  # they did meet


@pytest.mark.parametrize(("rows", "writes"), [(1_500, 75), pytest.param(10_000, 500, marks=LARGE)])
def test_a_walk_by_cursor_meets_every_row_once_while_others_write(real_db, rows, writes):
    Account.objects.bulk_create(Account(external_id=f"a{number:05}") for number in range(rows))
    caller, ended = calling("Integration"), Event()

    def write():
        try:
            for number in range(writes):
                Account.objects.create(external_id=f"b{number:05}")
                Account.objects.filter(external_id=f"a{number * 7:05}").update(name="Changed")
            ended.set()
        finally:
            connection.close()

    thread, met, cursor = Thread(target=write), [], {}
    thread.start()
    while True:
        page = caller.get("accounts", limit="100", **cursor).json()
        met += [row["external_id"] for row in page["results"]]
        if page["cursor"] is None:
            break
        cursor = {"cursor": page["cursor"]}
    thread.join()
    assert len(met) == len(set(met))
    assert {f"a{number:05}" for number in range(rows)} <= set(met)


# -- the feed


def read_on(caller, after, *, limit=1_000):
    told = caller.get("changes", after=str(after), limit=str(limit)).json()
    return told["results"], told["after"]


def signals_read(caller, stop):
    """The signals (their names) the feed gives until `stop`, and then until there is nothing more, in the order given."""
    met, after = [], 0
    while True:
        last = stop.is_set()
        found, after = read_on(caller, after, limit=50)
        met += [(row["number"], row["data"]["signal"]) for row in found if row["kind"] == "signal"]
        if last and not found:
            return met
        time.sleep(0.02)


def write_signals(acme, name, *, many=40, chance=0.3):
    """Write signals in transactions of different lengths, 30 % of which are rolled back; the names of those that stay."""
    stay, rand = [], random.Random(name)
    for number in range(many):
        rows = [f"{name}-{number}-{part}" for part in range(rand.randint(1, 3))]
        with transaction.atomic():
            Signal.objects.bulk_create(Signal(account=acme, signal=row, at="2026-01-01") for row in rows)
            time.sleep(rand.random() * 0.01)
            if rand.random() < chance:
                transaction.set_rollback(True)
            else:
                stay += rows
    return stay


def held_open(acme, begun, end):
    """A transaction that writes at once and commits much later."""
    try:
        with transaction.atomic():
            Signal.objects.create(account=acme, signal="held", at="2026-01-01")
            begun.set()
            end.wait(120)
    finally:
        connection.close()


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=LARGE)])
def test_the_feed_loses_nothing_and_gives_nothing_twice(real_db, seconds):
    acme = account("acme")
    callers = [calling("Integration", name=f"reader-{number}") for number in range(2)]
    begun, end, stop = Event(), Event(), Event()
    holding = Thread(target=held_open, args=[acme, begun, end])
    holding.start()
    begun.wait(10)
    read, threads = {}, []

    def reading(number):
        try:
            read[number] = signals_read(callers[number], stop)
        finally:
            connection.close()

    for number in range(2):
        threads.append(Thread(target=reading, args=[number]))
        threads[-1].start()
    began = time.monotonic()
    try:
        written = together(partial(write_signals, acme), [f"w{number}" for number in range(8)])
        told = callers[0].get("changes", after="0").json()
        time.sleep(max(0, seconds - (time.monotonic() - began)))
    finally:
        end.set()
        holding.join()
        stop.set()
        for thread in threads:
            thread.join()
    wanted = {name for each in written for name in each}
    assert told["waiting"] > 0
    assert 0 <= told["oldest_transaction_seconds"] <= seconds + 30
    assert "signal" not in {row["kind"] for row in told["results"]}  # none of it was final yet
    for met in read.values():
        assert [number for number, _ in met] == sorted({number for number, _ in met})
        names = [name for _, name in met]
        assert len(names) == len(set(names))
        assert set(names) == wanted | {"held"}
    assert read[0] == read[1]


def test_numbers_follow_one_another_over_all_kinds(real_db):
    acme = account("acme", arr=1)
    Account.objects.filter(pk=acme.pk).update(arr=2)
    Signal.objects.create(account=acme, signal="sponsor_departed", at="2026-01-01")
    with transaction.atomic():
        Signal.objects.create(account=acme, signal="taken back", at="2026-01-01")
        transaction.set_rollback(True)
    assert feed.last() == 0
    assert feed.number() == 3
    assert feed.number() == 0
    assert feed.last() == 3
    entries = feed.after(0, 10)
    assert [(entry.number, entry.kind) for entry in entries] == [(1, "facts"), (2, "facts"), (3, "signal")]
    assert [entry.number for entry in feed.after(1, 1)] == [2]
    assert feed.after(3, 10) == []
    wait_until(lambda: feed.waiting()[0] == 0)


def test_a_statement_of_many_rows_is_read_part_by_part(real_db):
    Account.objects.bulk_create(Account(external_id=f"a{number}", arr=1) for number in range(25))
    feed.number()
    assert Change.objects.get().size == 25
    met, after = [], 0
    while entries := feed.after(after, 10):
        met += [entry.id for entry in entries]
        after = entries[-1].number
    assert (len(met), len(set(met)), after) == (25, 25, 25)


def test_the_feed_tells_what_whoever_asks_may_see(real_db):
    account("acme", arr=1)
    someone("olga", "CS Ops")
    for role, kinds in {"Integration": {"facts"}, "Auditor": {"facts"}}.items():
        found, _ = read_on(calling(role, name=role.lower()), 0)
        assert {row["kind"] for row in found} == kinds
        [row] = found
        assert (row["data"]["account"], row["data"]["values"]["arr"]) == ("acme", 1.0)
    problem_free = calling(name="no-role").get("changes").json()
    assert (problem_free["results"], problem_free["after"]) == ([], 1)
