"""Workers side by side: a rank's first in this process, each other in one of its own.

They read the same weights, in shared memory, and each leaves its gradients in memory that the first can read. Threads
would wait for each other's turn in Python, which costs two of them a tenth of their speed. Where there are several
ranks, each has as many workers and its own copy of the weights, and all make the same steps.
"""

import contextlib
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

import torch
from torch import Tensor, multiprocessing

from nav_meta import ranks
from nav_meta.errors import UserError
from nav_meta.worker import Worker


class Crew:
    """Calls a method of all workers at once, of those of other ranks as well."""

    def __init__(self, first: Worker, others: Sequence[Callable[[], Worker]]) -> None:
        """Start the others.

        Args:
            first: works here.
            others: each makes a worker in a process of its own, with the first one's agent, whose weights move to
                shared memory; they must pickle.
        """
        self._first = first
        self._gradients: list[list[Tensor]] = []
        self._processes: list[multiprocessing.Process] = []
        self._lines: list[Connection] = []
        spawn = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
        if others:
            first.agent.share_memory()
        for make in others:
            gradients = [torch.zeros_like(parameter).share_memory_() for parameter in first.agent.parameters()]
            line, end = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(end, make, gradients), daemon=True)
            process.start()
            end.close()
            # Its end of the line tells a process that it is no longer needed, also when Python ends or is killed.
            Finalize(self, line.close, exitpriority=10)
            self._gradients.append(gradients)
            self._processes.append(process)
            self._lines.append(line)

    def call(self, method: str, *arguments: Sequence[Any]) -> list[Any]:
        """Call a method of all workers, the i-th with the i-th of each of `arguments`, and return what all return.

        All ranks must make the same calls; a worker's number is its rank times workers of a rank, and so on from there.

        Raises:
            UserError: a process has died.
        """
        size = 1 + len(self._processes)
        mine = slice(ranks.number() * size, (ranks.number() + 1) * size)
        arguments = tuple(values[mine] for values in arguments)
        for process, line, *own in zip(
            self._processes, self._lines, *(values[1:] for values in arguments), strict=True
        ):
            with _while_it_lives(process):
                line.send_bytes(pickle.dumps((method, own)))
        results = [getattr(self._first, method)(*(values[0] for values in arguments))]
        for process, line in zip(self._processes, self._lines, strict=True):
            with _while_it_lives(process):
                fine, result = pickle.loads(line.recv_bytes())
            if not fine:
                raise RuntimeError(f"in a worker's process:\n{result}")
            results.append(result)
        return ranks.gather(results)

    def average_gradients(self) -> None:
        """Leave the mean of the gradients that the workers have found last in the `.grad` of the first one's agent."""
        mean = [parameter.grad for parameter in self._first.agent.parameters()]
        for gradients in self._gradients:
            torch._foreach_add_(mean, gradients)
        ranks.add(mean)
        torch._foreach_div_(mean, ranks.count() * (1 + len(self._gradients)))


@contextlib.contextmanager
def _while_it_lives(process: multiprocessing.Process) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        process.join(5)
        raise UserError(
            f"a worker's process has died (exit code {process.exitcode}), perhaps for want of memory: continue from "
            "the last checkpoint, with other programs closed."
        ) from error


def _serve(line: Connection, make: Callable[[], Worker], gradients: list[Tensor]) -> None:
    """Do what the first process asks for until it hangs up."""
    # Ctrl-C reaches the whole group; when to stop is the first process's to say.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    worker = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            method, arguments = pickle.loads(line.recv_bytes())
            try:
                worker = worker or make()
                result = getattr(worker, method)(*arguments)
                if method == "gradient":
                    torch._foreach_copy_(gradients, [parameter.grad for parameter in worker.agent.parameters()])
                answer = (True, result)
            except Exception:  # told where it can be seen
                answer = (False, traceback.format_exc())
            line.send_bytes(pickle.dumps(answer))
