"""An object in a process of its own, whose methods are called from here."""

import contextlib
import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, what batch systems send, and a closed terminal (Windows has no SIGHUP)."""


class Remote:
    """An object in a process of its own, which does one call after another."""

    def __init__(self, make: Callable[[], Any]) -> None:
        """Start the process, where `make`, which must pickle, makes the object when it is first called."""
        spawn = multiprocessing.get_context("spawn")  # a fork would copy threads' locks and OpenGL's context
        self._line, end = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(end, make), daemon=True)
        self._process.start()
        end.close()  # once the process is gone there is no other, and `receive` knows
        # Its end of the line tells the process that it is no longer needed, also when Python ends or is killed.
        Finalize(self, self._line.close, exitpriority=10)

    def send(self, method: str, *arguments: Any) -> None:
        """Begin a call; `receive` says how it went."""
        with contextlib.suppress(OSError):
            self._line.send_bytes(pickle.dumps((method, arguments)))

    def receive(self) -> Any:
        """Wait until the last call has ended, and return what it returned.

        Raises:
            EOFError: the process has died; says its exit code.
            RuntimeError: the call has failed; holds the traceback.
        """
        try:
            fine, result = pickle.loads(self._line.recv_bytes())
        except (EOFError, OSError) as error:
            self._process.join(5)
            raise EOFError(f"exit code {self._process.exitcode}") from error
        if not fine:
            raise RuntimeError(f"in another process:\n{result}")
        return result

    def close(self) -> None:
        """End the process, after its last call."""
        self._line.close()
        self._process.join()


def _serve(line: Connection, make: Callable[[], Any]) -> None:
    """Do what the other end of the line asks for until it hangs up."""
    # They reach the whole group; when to stop is for the other end to say.
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    served = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            method, arguments = pickle.loads(line.recv_bytes())
            try:
                served = served or make()
                answer = (True, getattr(served, method)(*arguments))
            except Exception:  # told where it can be seen
                answer = (False, traceback.format_exc())
            line.send_bytes(pickle.dumps(answer))
