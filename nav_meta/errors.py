"""What a person did or can mend is said in one sentence; everything else keeps its traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

# The system's answers that a person can mend, in words that say how.
_REASONS = {
    errno.ENOSPC: "the disk is full, free some space",
    errno.EDQUOT: "the disk quota is used up, free some space",
    errno.EFBIG: "the file would grow past the allowed size, raise the limit (ulimit -f)",
    errno.EACCES: "permission denied, choose a place you may use",
    errno.EPERM: "permission denied, choose a place you may use",
    errno.EROFS: "the file system is read-only, choose another place",
}


class UserError(Exception):
    """One sentence for the person at the terminal: what is wrong and what to do."""


def reason(error: OSError) -> str:
    """Why the system refused, without errno numbers."""
    return _REASONS.get(error.errno, error.strerror or str(error))


STOPPED = 130
"""Exit code of what was stopped before its end, as a shell tells of Ctrl-C."""


def say(text: str) -> None:
    """Write a line to stderr; whoever has closed the terminal does not stop a program that can do without it."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def exit_on_user_error(main: Callable[[], int | None]) -> int:
    """Run `main` and return the exit code: `sys.exit(exit_on_user_error(main))` ends every script.

    What `main` returns, None being 0; 2 and one line `error: ...` on stderr for a `UserError` or a full, forbidden or
    read-only disk; STOPPED for Ctrl-C; 141 when whoever read our output, such as `head`, has gone. Other exceptions
    pass through: they are ours to mend, and the traceback is needed for it.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before we began
            setattr(sys, name, open(os.devnull, "w"))
    try:
        code = main()
        sys.stdout.flush()
    except UserError as error:
        text = str(error)
    except KeyboardInterrupt:
        say("interrupted")
        return STOPPED
    except BrokenPipeError:
        if not _output_is_cut():  # the pipe is one between our own processes
            raise
        return 141  # as a shell tells of SIGPIPE
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        text = f"{error.filename or 'writing failed'}: {reason(error)}"
    else:
        return code or 0
    # In one piece: ranks that fail side by side share the terminal, unbuffered, and would mix their words.
    sys.stderr.write(f"error: {' '.join(text.splitlines())}\n")
    return 2


def _output_is_cut() -> bool:
    """Return whether nobody reads stdout any more; then what is left to be written goes nowhere."""
    try:
        print(flush=True)  # not flush alone: what could not be written has been forgotten
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
