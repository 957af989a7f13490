"""Workers side by side: a rank's first in this process, each other in one of its own.

They read the same weights, in shared memory, and each leaves its gradients in memory that the first can read. Threads
would wait for each other's turn in Python, which costs two of them a tenth of their speed. Where there are several
ranks, each has as many workers and its own copy of the weights, and all make the same steps. One sum over the ranks of
a step's gradients does what DistributedDataParallel would: its hooks see neither the gradients that other processes
find nor a net that is called by `unroll`, and 2.4 MB leave little to overlap with.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nav_meta import ranks
from nav_meta.errors import UserError
from nav_meta.remote import Remote
from nav_meta.worker import Worker


class Crew:
    """Calls a method of all workers at once, of those of other ranks as well."""

    def __init__(self, first: Worker, others: Sequence[Callable[[list[Tensor]], Worker]]) -> None:
        """Start the others.

        Args:
            first: works here.
            others: each makes a worker in a process of its own, which leaves its gradients in the tensors given, with
                the first one's agent, whose weights move to shared memory; they must pickle.
        """
        self._first = first
        if others:
            first.agent.share_memory()
        self._gradients = [
            [torch.zeros_like(parameter).share_memory_() for parameter in first.agent.parameters()] for _ in others
        ]
        self._others = [
            Remote(partial(make, gradients)) for make, gradients in zip(others, self._gradients, strict=True)
        ]

    def call(self, method: str, *arguments: Sequence[Any]) -> list[Any]:
        """Call a method of all workers, the i-th with the i-th of each of `arguments`, and return what all return.

        All ranks must make the same calls; a worker's number is its rank times workers of a rank, and so on from there.

        Raises:
            UserError: a process or another rank has died.
        """
        return ranks.gather(self.call_own(method, *arguments))

    def call_own(self, method: str, *arguments: Sequence[Any]) -> list[Any]:
        """Do the same, but return only what this rank's workers return, without waiting for other ranks.

        Raises:
            UserError: a process has died.
        """
        size = 1 + len(self._others)
        mine = slice(ranks.number() * size, (ranks.number() + 1) * size)
        arguments = tuple(values[mine] for values in arguments)
        for other, *own in zip(self._others, *(values[1:] for values in arguments), strict=True):
            other.send(method, *own)
        results = [getattr(self._first, method)(*(values[0] for values in arguments))]
        try:
            results += [other.receive() for other in self._others]
        except EOFError as error:
            raise UserError(
                f"a worker's process has died ({error}), perhaps for want of memory: continue from the last "
                "checkpoint, with other programs closed."
            ) from error
        return results

    def average_gradients(self) -> None:
        """Leave the mean of the gradients that the workers have found last in the `.grad` of the first one's agent."""
        mean = [parameter.grad for parameter in self._first.agent.parameters()]
        for gradients in self._gradients:
            torch._foreach_add_(mean, gradients)
        ranks.add(mean)
        if (count := ranks.count() * (1 + len(self._gradients))) > 1:
            torch._foreach_div_(mean, count)
