"""Wrong passwords lock for a while, are told, and keep nobody else out; all with the real backend and login page."""

from datetime import timedelta
from threading import Barrier, Thread

import pytest
from axes.models import AccessAttempt
from django.contrib.auth import authenticate
from django.db import connection
from django.db.models import F
from django.test import Client, RequestFactory
from django.utils import timezone
from governing import someone

from core.refusals import Refused
from core.wording import moment
from governance.models import Event, Notification
from governance.news import notifications
from governance.reading import audit
from governance.signoff import logins

RIGHT = "Right-enough-1"
OFFICE, HOME, ATTACK = "203.0.113.7", "198.51.100.20", "192.0.2.66"
LOGIN = "/admin/login/"


def person(name="vera", *roles, **columns):
    user = someone(name, *(roles or ("Approver",)), is_staff=True, **columns)
    user.set_password(RIGHT)
    user.save()
    return user


def enter(name, password, *, address=OFFICE, web=None, **headers):
    """The answer of the login page."""
    web = web or Client()
    return web.post(LOGIN, {"username": name, "password": password}, REMOTE_ADDR=address, **headers)


def let_in(answer):
    return answer.status_code == 302


def wrong(times, name="vera", **options):
    """The answer to the last of so many wrong passwords."""
    return [enter(name, f"wrong {number}", **options) for number in range(times)][-1]


def later(minutes):
    """As if what was counted had been so many minutes ago."""
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=minutes))


def kinds():
    return list(Event.objects.filter(kind__startswith="log").order_by("pk").values_list("kind", flat=True))


# -- the lock


def test_after_five_wrong_passwords_the_right_one_waits_and_the_page_says_until_when(db):
    person()
    answer = wrong(4)
    assert (answer.status_code, "correct username and password" in answer.content.decode()) == (200, True)
    answer = wrong(1)
    assert answer.status_code == 429
    until = AccessAttempt.objects.get().attempt_time + logins._lock_out()
    for refused in (answer, enter("vera", RIGHT)):
        assert refused.status_code == 429
        assert 0 < int(refused["Retry-After"]) <= 15 * 60
        assert f"Logging in is locked until {moment(until)}" in refused.content.decode()


def test_a_lock_ends_by_itself_whatever_is_tried_meanwhile(db):
    person()
    wrong(5)
    later(14)
    assert wrong(20).status_code == 429
    later(1)
    assert let_in(enter("vera", RIGHT))


def test_the_right_password_forgets_the_wrong_ones_before(db):
    person()
    for _ in range(3):
        wrong(4)
        assert let_in(enter("vera", RIGHT))


def test_other_people_and_other_addresses_are_not_locked(db):
    person(), person("max")
    wrong(5)
    assert let_in(enter("max", RIGHT))
    assert let_in(enter("vera", RIGHT, address=HOME))
    assert not let_in(enter("vera", RIGHT))  # and that took the lock off no other address


def test_an_account_is_locked_for_strangers_after_thirty_from_anywhere(db):
    person()
    for number in range(10):
        wrong(3, address=f"192.0.2.{number}")
    assert not let_in(enter("vera", RIGHT, address=HOME))
    later(15)
    assert let_in(enter("vera", RIGHT, address=HOME))


def test_an_address_is_locked_after_fifty_for_many_accounts(db):
    person()
    for number in range(16):
        wrong(3, f"person{number}", address=ATTACK)
    person("insider")
    assert let_in(
        enter("insider", RIGHT, address=ATTACK)
    )  # does not wash away what was tried with other names
    wrong(2, "another", address=ATTACK)
    assert not let_in(enter("vera", RIGHT, address=ATTACK))
    assert let_in(enter("vera", RIGHT, address=OFFICE))


def test_nobody_locks_a_colleague_out_of_their_own_browser(db):
    person()
    own, other = Client(), Client()
    assert let_in(enter("vera", RIGHT, web=own))
    own.post("/admin/logout/")
    for number in range(10):
        wrong(5, address=f"192.0.2.{number}")
    wrong(60, "nobody")
    wrong(5)
    assert not let_in(enter("vera", RIGHT, web=other))
    assert let_in(enter("vera", RIGHT, web=own))


def test_a_known_browser_counts_by_itself_and_for_its_person_only(db):
    vera = person()
    person("max")
    web = Client()
    enter("vera", RIGHT, web=web)
    assert wrong(5, web=web).status_code == 429
    assert not let_in(enter("vera", RIGHT, web=web, address=HOME))
    assert let_in(enter("vera", RIGHT))
    later(15)
    assert wrong(5, "max", web=web).status_code == 429  # for max it is a stranger's
    assert not let_in(enter("max", RIGHT))
    vera.set_password("Another-one-2")
    vera.save()
    wrong(5)
    assert not let_in(enter("vera", "Another-one-2", web=web))  # a new password forgets the browsers


def test_a_mark_made_up_is_none(db):
    person()
    web = Client()
    web.cookies[logins.COOKIE] = "abc:1tXyz:signature"
    wrong(5, web=web)
    assert not let_in(enter("vera", RIGHT))


def test_a_hundred_at_once_get_five_tries(real_db):
    person()
    start, found = Barrier(25), []

    def attack(number):
        try:
            start.wait()
            for turn in range(4):
                found.append(enter("vera", f"wrong {number} {turn}").status_code)
        finally:
            connection.close()

    threads = [Thread(target=attack, args=[number]) for number in range(25)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert AccessAttempt.objects.get().failures_since_start == 5
    assert (found.count(200), found.count(429)) == (4, 96)
    assert kinds().count("login_failed") == 5
    assert kinds().count("login_locked") == 1


def test_every_path_that_asks_for_a_password_is_locked(db):
    vera = person()
    request = RequestFactory().post("/", REMOTE_ADDR=ATTACK)
    for _ in range(5):
        assert authenticate(request, username="vera", password="wrong") is None
    assert authenticate(request, username="vera", password=RIGHT) is None
    for _ in range(20):  # a program that asks each time, without a session
        assert authenticate(username="vera", password=RIGHT) == vera
    for _ in range(5):
        assert authenticate(username="vera", password="wrong") is None
    assert authenticate(username="vera", password=RIGHT) is None


def test_the_old_password_is_not_guessed_in_an_open_session(db):
    person()
    web, page = Client(), "/admin/password_change/"
    enter("vera", RIGHT, web=web)

    def change(old):
        return web.post(
            page, {"old_password": old, "new_password1": "Quite-new-2", "new_password2": "Quite-new-2"}
        )

    assert "was entered incorrectly" in change("wrong").content.decode()
    for number in range(4):
        answer = change(f"wrong {number}")
    assert (answer.status_code, "locked until" in answer.content.decode()) == (429, True)
    assert change(RIGHT).status_code == 429
    later(15)
    assert change(RIGHT)["Location"] == "/admin/password_change/done/"
    wrong(5)
    assert let_in(enter("vera", "Quite-new-2", web=web))  # the browser is still known


# -- where from


@pytest.mark.parametrize(
    ("header", "proxies", "sent_along", "address"),
    [
        ("", 1, {}, OFFICE),
        ("", 1, {"HTTP_X_FORWARDED_FOR": ATTACK}, OFFICE),  # nobody believes it by default
        ("X-Forwarded-For", 1, {"HTTP_X_FORWARDED_FOR": f"{ATTACK}, {HOME}"}, HOME),
        ("X-Forwarded-For", 2, {"HTTP_X_FORWARDED_FOR": f"10.0.0.1, {ATTACK}, {HOME}"}, ATTACK),
        ("X-Forwarded-For", 2, {"HTTP_X_FORWARDED_FOR": HOME}, logins.NOWHERE),
        ("X-Real-IP", 1, {"HTTP_X_REAL_IP": HOME, "HTTP_X_FORWARDED_FOR": ATTACK}, HOME),
        ("X-Real-IP", 1, {"HTTP_X_REAL_IP": "<script>"}, logins.NOWHERE),
        ("", 1, {"REMOTE_ADDR": "2001:db8:1:2:3:4:5:6"}, "2001:db8:1:2::"),
        ("", 1, {"REMOTE_ADDR": "::ffff:203.0.113.9"}, "203.0.113.9"),
        ("", 1, {"REMOTE_ADDR": ""}, logins.NOWHERE),
    ],
)
def test_the_address_is_that_of_the_connection_or_of_a_proxy_one_trusts(settings, header, proxies, sent_along, address):  # fmt: skip
    settings.ADDRESS_HEADER, settings.PROXIES = header, proxies
    assert logins.address_of(RequestFactory().post("/", **{"REMOTE_ADDR": OFFICE} | sent_along)) == address


# -- told


def test_wrong_passwords_are_told_up_to_the_lock_and_then_the_lock(db):
    vera, admin = person(), person("admin", "Administrator")
    wrong(9)
    assert kinds() == ["login_failed"] * 5 + ["login_locked"]
    first, lock = Event.objects.order_by("pk").first(), Event.objects.order_by("pk").last()
    assert first.text == f"A wrong password for vera from {OFFICE}."
    assert (first.about, first.about_id, first.data["user"]) == ("user", vera.pk, vera.pk)
    assert lock.text.endswith(f": 5 wrong passwords for vera from {OFFICE}.")
    notifications.deliver()
    told = set(Notification.objects.values_list("user__username", "event__kind"))
    assert told == {("vera", "login_locked"), ("admin", "login_locked")}
    entries, _ = audit.entries(audit.Filters(text="wrong password"))
    assert {(one.who, one.channel, one.link) for one in entries} == {
        ("visitor", "Web admin", f"/admin/auth/user/{vera.pk}/change/")
    }
    assert admin.is_active


def test_a_password_in_the_wrong_field_is_kept_nowhere(db, caplog):
    person()
    wrong(6, RIGHT)
    wrong(1, "v" * 149 + "\x00")
    assert kinds() == ["login_failed"] * 5 + ["login_locked"]
    assert Event.objects.first().text == f"Locked until {moment(AccessAttempt.objects.get().attempt_time + logins._lock_out())}: 5 wrong passwords for an unknown login from {OFFICE}."  # fmt: skip
    with connection.cursor() as cursor:
        for table in ("axes_accessattempt", "axes_accesslog", "axes_accessfailurelog", "governance_event"):
            cursor.execute(f"select count(*) from {table} t where t::text like %s", [f"%{RIGHT}%"])
            assert cursor.fetchone() == (0,), table
    assert RIGHT not in caplog.text


@pytest.mark.parametrize("name", ["x" * 5000, "ve\x00ra", "", " ", "unknown 1", "véra", "\ud800", 7])
def test_no_name_breaks_the_count(db, name):
    person()
    request = RequestFactory().post("/", REMOTE_ADDR=OFFICE)
    for _ in range(6):
        assert authenticate(request, username=name, password="wrong") is None
    assert request.locked_until > timezone.now()


def test_names_that_are_not_there_are_answered_like_those_that_are(db):
    person(), person("gone", is_active=False)
    said = []
    for name in ("vera", "gone", "nobody"):
        answers = [enter(name, f"wrong {number}") for number in range(7)]
        said.append([(one.status_code, "locked until" in one.content.decode()) for one in answers])
    assert said[0] == said[1] == said[2] == [(200, False)] * 4 + [(429, True)] * 3


# -- lifted


def test_an_administrator_lifts_a_lock_on_the_persons_page(db):
    vera = person()
    admin = Client()
    admin.force_login(person("admin", "Administrator"))
    page = f"/admin/auth/user/{vera.pk}/change/"
    assert "Lift the lock" not in admin.get(page).content.decode()
    wrong(5)
    shown = admin.get(page).content.decode()
    assert f"No login from {OFFICE} until" in shown
    lift = f"/admin/auth/user/{vera.pk}/lift/"
    assert admin.get(lift).status_code == 302  # following a link changes nothing
    assert not let_in(enter("vera", RIGHT))
    assert admin.post(lift, follow=True).status_code == 200
    assert let_in(enter("vera", RIGHT))
    event = Event.objects.get(kind="lock_lifted")
    assert (event.actor_label, event.data["user"]) == ("admin", vera.pk)
    assert "The lock of vera after wrong passwords was lifted." in admin.get(page).content.decode()
    assert "is not locked any more" in admin.post(lift, follow=True).content.decode()


@pytest.mark.parametrize("role", ["Approver", "CS Ops", "Auditor", "CSM"])
def test_nobody_else_lifts_a_lock(db, role):
    vera = person()
    wrong(5)
    max = someone("max", role, is_staff=True)
    with pytest.raises(Refused, match="Only administrators"):
        logins.lift(vera, by=max)
    web = Client()
    web.force_login(max)
    assert web.post(f"/admin/auth/user/{vera.pk}/lift/").status_code == 403
    assert not let_in(enter("vera", RIGHT))
