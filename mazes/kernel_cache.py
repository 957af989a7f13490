"""Compiled kernels that numba keeps on disk are used again only while all sources that may be in them are the same.

numba itself looks at the one file in which a kernel is written. But what it calls and the constants in it are compiled
into it as well: with another AGENT_RADIUS in `mazes.layout`, agents would go on to collide by the old one.
"""

import hashlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba.core import caching

_MAZES = Path(__file__).parent


def watch(package: str) -> None:
    """Let numba look at all sources of a package and of the mazes, for the kernels of modules yet to be imported."""
    bases = caching.UserProvidedCacheLocator, caching.InTreeCacheLocator, caching.UserWideCacheLocator
    # What NUMBA_CACHE_LOCATOR_CLASSES names, if anything, takes the place of this list.
    caching.CacheImpl._locator_classes[:0] = [_locator(base, package) for base in bases]


def _locator(base: type, package: str) -> type:
    """Return one of numba's classes that say where a kernel is kept and what it is made of, for a package alone."""

    class Locator(base):
        @classmethod
        def from_function(cls, py_func: Callable[..., Any], py_file: str) -> Any:
            inside = py_func.__module__.partition(".")[0] == package
            return super().from_function(py_func, py_file) if inside else None

        def get_source_stamp(self) -> str:
            return _digest(Path(sys.modules[package].__file__).parent)

    return Locator


@cache
def _digest(folder: Path) -> str:
    """Return the SHA-256 of all sources in a package's folder and in the mazes'."""
    sources = sorted({*folder.rglob("*.py"), *_MAZES.rglob("*.py")})
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in sources)).hexdigest()
