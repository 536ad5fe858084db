"""Workers that start at the same moment, on the queue in PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from django.db import connection
from waiting import PATIENCE


def test_all_of_them_are_notified(real_db):
    workers, rounds = 6, 5
    ready = Barrier(workers)

    def listen(worker):
        try:
            with connection.cursor() as cursor:
                for number in range(rounds):
                    ready.wait(timeout=PATIENCE)
                    cursor.execute("select pgmq.create(%s)", [f"at_once_{number}"])
                    cursor.execute("select pgmq.enable_notify_insert(%s, 250)", [f"at_once_{number}"])
        finally:
            connection.close()

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(listen, range(workers)))
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from pg_trigger where tgname = 'trigger_notify_queue_insert_listeners'"
            " and tgrelid::regclass::text like 'pgmq.q_at_once_%'"
        )
        assert cursor.fetchone() == (rounds,)
