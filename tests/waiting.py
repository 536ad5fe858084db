"""Waiting for other processes."""

import contextlib
import socket
import time
import urllib.request

PATIENCE = 300  # seconds: what takes longer hangs, however busy the machine is


def wait_until(condition):
    """Wait until `condition()` is truthy and return what it gave; fails the test once patience ends."""
    until = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < until, f"still not so after {PATIENCE} s"
        time.sleep(0.05)
    return result


def answers(host, port):
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def is_served(url):
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as page:
        return page.status == 200
    return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
