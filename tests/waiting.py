"""Waiting for other processes."""

import contextlib
import socket
import time


def wait_until(condition, *, seconds=30):
    """Wait until `condition()` is truthy and return what it gave; fails the test after `seconds`."""
    until = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < until, f"still not so after {seconds} s"
        time.sleep(0.05)
    return result


def answers(host, port):
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
