"""Writing a small file so that a reader, a crash or a full disk never sees half of it."""

from __future__ import annotations

import contextlib
import json
import math
import os
from pathlib import Path
from typing import Any

from nav_meta.errors import UserError, reason


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path`, making its folders: whatever happens, the file is the whole new one or the whole old one.

    Devices and pipes are simply written to.

    Raises UserError, with the temporary file removed, when the disk is full or the place is not writable.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a device or a pipe, in whose place a rename would put a file
            path.write_bytes(data)
            return
        target = path.resolve()  # what a link points to
        # The same folder: a rename is atomic only within one file system.
        temporary = target.with_name(f".{target.name}.tmp")
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # before the rename: else a power cut may leave the new name on an empty file
        os.replace(temporary, target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself
        finally:
            os.close(folder)
    except OSError as error:
        raise UserError(f"cannot write {path}: {reason(error)}; what was there before is untouched.") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def require_writable(path: Path | None) -> None:
    """Raise UserError, before hours of work, when a file cannot be written there; its folder is made. None: no file."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.exists() and not path.is_file()  # a device or a pipe, which is written to; a file is replaced
    except OSError as error:
        raise UserError(f"cannot write {path}: {reason(error)}.") from error
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder.")
    if not os.access(path if there else path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: permission denied.")


def write_json(path: Path, value: Any) -> None:
    """Write `json_value(value)` as `write_atomically` does.

    Raises UserError when the disk is full or the place is not writable.
    """
    write_atomically(path, json.dumps(json_value(value), indent=1, allow_nan=False).encode())


def json_value(value: Any) -> Any:
    """Dicts, lists, strings and numbers as JSON has them: array scalars become numbers, NaN and infinities None."""
    if isinstance(value, dict):
        return {key: json_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(one) for one in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
