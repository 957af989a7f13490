"""Checkpoints: one file each, written whole or not at all, and never loaded when a bit of it has changed.

A checkpoint is a plain `torch.save` archive, so `torch.load(path, weights_only=True)` reads it anywhere. Its last
bytes, the zip comment, are a seal: the schema, and the SHA-256 of every byte before the digest. With the digest inside
the file a single rename publishes both, and a process killed at any instant leaves only good checkpoints behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nav_meta.errors import UserError, reason, say
from nav_meta.files import write_atomically

SCHEMA = 1  # raise it when older code could not make sense of the contents

_MARK = b"nav_meta checkpoint"  # stands at both ends of the file, so that one damaged end does not make it foreign
_SEAL = re.compile(_MARK + rb", schema (\d+), sha256 ([0-9a-f]{64})\Z")
_DIGEST_LENGTH = 64
_NAME = re.compile(r"step_(\d{12,})\.pt")  # as `path_of` makes it


class BadCheckpoint(UserError):
    """The file is damaged or is something else."""


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of environment step `step` lies: names sort like steps."""
    return Path(folder) / f"step_{step:012d}.pt"


def save(path: Path, contents: dict[str, Any]) -> None:
    """Write `contents`: tensors, int, float, str, bool, None, and dicts, lists and tuples of them.

    NumPy arrays go through `pack_array`. The states of random generators go as they are: `torch.Generator.get_state()`
    is a tensor, NumPy's `bit_generator.state` a dict of strings and (128-bit) integers.
    Raises UserError when the disk is full or not writable, with older checkpoints untouched, and
    pickle.UnpicklingError for contents of any other type.
    """
    buffer = io.BytesIO()
    torch.save({_MARK.decode(): contents}, buffer)
    # What weights_only refuses must fail today, while the run is alive, and not on the day it is needed.
    torch.load(io.BytesIO(buffer.getbuffer()), weights_only=True)
    write_atomically(path, _seal(buffer.getvalue(), SCHEMA))


def load(path: Path) -> dict[str, Any]:
    """The contents that `save` was given, on the CPU.

    Raises UserError for a missing file or a newer schema, and its kind BadCheckpoint for a damaged or foreign file.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {reason(error)}.") from error
    if (schema := _verified_schema(data)) is None:
        if _MARK in data:
            raise BadCheckpoint(f"{path} is damaged (its SHA-256 does not match): use an older checkpoint.")
        raise BadCheckpoint(f"{path} is not a nav_meta checkpoint: choose a step_*.pt file of a run.")
    if schema > SCHEMA:
        raise UserError(f"{path} has schema {schema}, but this nav_meta reads only {SCHEMA}: update nav_meta.")
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)[_MARK.decode()]


def load_latest(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The newest good checkpoint in `folder` and its contents; each damaged one passed over is named on stderr.

    Raises UserError when there is none, and for a newer schema: going back silently would throw away good work.
    """
    for path in _newest_first(folder):
        try:
            return path, load(path)
        except BadCheckpoint as error:
            say(f"warning: {error} Trying the one before it.")
    raise UserError(f"there is no good checkpoint in {folder}: name another run, or start a new one.")


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` >= 1 good checkpoints; a damaged one is never counted as one of them."""
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    for path in _newest_first(folder):
        with contextlib.suppress(OSError):  # a file that cannot be read or deleted is no reason to stop a run
            if keep == 0:
                path.unlink()
            elif _verified_schema(path.read_bytes()) is not None:
                keep -= 1


def pack_array(array: np.ndarray) -> torch.Tensor:
    """A copy of a numeric or bool array as a tensor of the same shape and dtype (unsigned 64-bit included)."""
    return torch.from_numpy(np.array(array, order="C"))


def unpack_array(tensor: torch.Tensor) -> np.ndarray:
    """The writable array that `pack_array` was given."""
    return tensor.numpy().copy()


def _newest_first(folder: Path) -> list[Path]:
    # A copy that somebody has named otherwise is not the newest.
    names = ((_NAME.fullmatch(path.name), path) for path in Path(folder).glob("step_*.pt"))
    return [path for _, path in sorted(((int(name[1]), path) for name, path in names if name), reverse=True)]


def _seal(archive: bytes, schema: int) -> bytes:
    """The archive with the seal as its zip comment, whose length zip keeps in the two bytes before it."""
    seal = _MARK + f", schema {schema}, sha256 ".encode()
    assert archive[-2:] == b"\0\0", "torch.save wrote a zip archive that already has a comment"
    sealed = archive[:-2] + (len(seal) + _DIGEST_LENGTH).to_bytes(2, "little") + seal
    return sealed + hashlib.sha256(sealed).hexdigest().encode()


def _verified_schema(data: bytes) -> int | None:
    """The schema number when the seal holds, else None."""
    match = _SEAL.search(data, max(0, len(data) - 200))
    if match and match[2].decode() == hashlib.sha256(memoryview(data)[:-_DIGEST_LENGTH]).hexdigest():
        return int(match[1])
    return None
