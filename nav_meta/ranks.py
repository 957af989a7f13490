"""Ranks: copies of the program that `torchrun` starts, on one machine or on many, to train one agent together.

Each has some of the workers. Without `torchrun` there is one rank, the lead, and nothing here does anything.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed

from nav_meta.errors import UserError


@contextlib.contextmanager
def join(device: str = "cpu") -> Iterator[None]:
    """Be one of the ranks that `torchrun` has started, if it has.

    Args:
        device: cpu, or cuda: then tensors on a rank's GPU, which it must have chosen, go from GPU to GPU by NCCL.
            Everything else goes by gloo.

    Raises:
        UserError: inside, when another rank has died.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    store, rank, size = next(distributed.rendezvous("env://"))
    # A restarted job may find the store of the one that died, and in it addresses where nobody listens any more.
    attempt = distributed.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    # Without a GPU NCCL cannot even be set up; whoever asks for one is told so where it is chosen.
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" and torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=attempt, rank=rank, world_size=size)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def count() -> int:
    """Return how many ranks there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def number() -> int:
    """Return this rank's number, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def local_number() -> int:
    """Return this rank's number among those of its machine, from 0: that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def lead() -> bool:
    """Is this the rank that evaluates, records, saves and talks?"""
    return number() == 0


def restarted() -> bool:
    """Has `torchrun` or SLURM started this program again after a failure?"""
    return any(int(os.environ.get(name, "0")) for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


def may_restart() -> bool:
    """Does `torchrun` start this program again if it fails?"""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def gather(values: list[Any]) -> list[Any]:
    """Return the values of all ranks, in the order of the ranks."""
    if count() == 1:
        return values
    everyone: list[list[Any]] = [[]] * count()
    with _others_live():
        distributed.all_gather_object(everyone, values)
    return [value for own in everyone for value in own]


def add(tensors: list[Tensor]) -> None:
    """Replace each tensor by its sum over the ranks: those of all ranks have the same shapes, on devices of a type."""
    if count() == 1:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    with _others_live():
        distributed.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def of_lead(value: Any) -> Any:
    """Return the lead's value."""
    if count() == 1:
        return value
    buffer = io.BytesIO()
    torch.save(value, buffer)  # which, unlike pickle, knows tensors of every type
    values = [buffer.getvalue()]
    with _others_live():
        distributed.broadcast_object_list(values)
    return torch.load(io.BytesIO(values[0]), weights_only=False)


@contextlib.contextmanager
def _others_live() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            f"rank {number()} has lost another rank, which has died or been stopped: see its message; torchrun's "
            "--max-restarts continues from the last checkpoint."
        ) from error
