"""Work that a GPU does again and again, queued as one CUDA graph instead of kernel by kernel from Python."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Replayed:
    """Work on tensors that is done many times; on a CUDA device each time but the first is a replay.

    There it must be the same kernels on the same memory every time, and must not wait for the device. Weights that are
    changed in place are read as they are then, and so is what is computed from them: autocast's copies too, if it
    begins and ends within the work. What a replay leaves undone is whatever Python does beside queueing kernels.
    """

    def __init__(self, work: Callable[..., Any], device: torch.device) -> None:
        """Do nothing yet."""
        self._work = work
        self._device = device
        self._arguments: list[Tensor] | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Any = None

    def __call__(self, *arguments: Tensor) -> Any:
        """Do the work, or queue it; return what it does.

        Args:
            arguments: of the same shapes and types every time, from any device.

        Returns:
            on a CUDA device, tensors that the next replay writes over.
        """
        if self._device.type != "cuda":
            return self._work(*arguments)
        if self._arguments is None:
            self._arguments = [argument.to(self._device, copy=True) for argument in arguments]
            return self._queue_aside()
        for kept, argument in zip(self._arguments, arguments, strict=True):
            kept.copy_(argument, non_blocking=True)  # from memory that CUDA copies before it returns
        if self._graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):  # which runs nothing
                self._result = self._work(*self._arguments)
            self._graph = graph
        self._graph.replay()
        return self._result

    def _queue_aside(self) -> Any:
        """Queue from Python, on a stream of its own as torch asks: a capture needs all compiled and set up."""
        here, aside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            result = self._work(*self._arguments)
        here.wait_stream(aside)
        return result
