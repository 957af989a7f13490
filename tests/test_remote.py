"""Objects in other processes: what they return, how they fail, and when they end."""

import os
import signal

import pytest

from nav_meta.remote import Remote


class Counter:
    def __init__(self):
        self.count = 0

    def add(self, number):
        self.count += number
        return self.count

    def process(self):
        return os.getpid()


@pytest.fixture
def remote():
    remote = Remote(Counter)
    yield remote
    remote.close()


def call(remote, method, *arguments):
    remote.send(method, *arguments)
    return remote.receive()


def test_one_object_does_all_calls(remote):
    assert call(remote, "add", 2) == 2
    assert call(remote, "add", 3) == 5
    assert call(remote, "process") != os.getpid()


def test_a_failed_call_tells_its_traceback_and_the_object_lives_on(remote):
    call(remote, "add", 2)
    with pytest.raises(RuntimeError, match=r"self\.count \+= number"):
        call(remote, "add", "three")
    assert call(remote, "add", 3) == 5


def test_only_the_caller_or_a_kill_ends_the_process(remote):
    process = call(remote, "process")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process, number)
    assert call(remote, "add", 2) == 2
    os.kill(process, signal.SIGKILL)
    with pytest.raises(EOFError, match="exit code -9"):
        call(remote, "add", 3)


def test_a_closed_process_is_gone():
    remote = Remote(Counter)
    process = call(remote, "process")
    remote.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
