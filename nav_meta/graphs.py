"""Work that a GPU does again and again, queued as one CUDA graph instead of kernel by kernel from Python."""

from collections.abc import Callable

import torch


class Replayed:
    """Work without arguments or results that is done many times; on a CUDA device each time but the first is a replay.

    There it must be the same kernels on the same memory every time, and must not wait for the device. Weights that are
    changed in place are read as they are then, and so is what is computed from them: autocast's copies too, if it
    begins and ends within the work. What a replay leaves undone is whatever Python does beside queueing kernels.
    """

    def __init__(self, work: Callable[[], object], device: torch.device) -> None:
        """Do nothing yet."""
        self._work = work
        self._device = device
        self._warm = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Do the work, or queue it."""
        if self._device.type != "cuda":
            self._work()
        elif not self._warm:
            self._warm = True
            self._queue_aside()
        else:
            if self._graph is None:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):  # which runs nothing
                    self._work()
                self._graph = graph
            self._graph.replay()

    def _queue_aside(self) -> None:
        """Queue from Python, on a stream of its own as torch asks: a capture needs all compiled and set up."""
        here, aside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            self._work()
        here.wait_stream(aside)
