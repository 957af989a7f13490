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


def exit_on_user_error(main: Callable[[], object]) -> int:
    """Run `main` and return the exit code: `sys.exit(exit_on_user_error(main))` ends every script.

    0 when `main` returns; 2 and one line `error: ...` on stderr for a `UserError` or a full, forbidden or read-only
    disk; 130 for Ctrl-C; 141 when whoever read our output, such as `head`, has gone. Other exceptions pass through:
    they are ours to mend, and the traceback is needed for it.
    """
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        text = str(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not _output_is_cut():  # the pipe is one between our own processes
            raise
        return 141  # as a shell tells of SIGPIPE
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        text = f"{error.filename or 'writing failed'}: {reason(error)}"
    else:
        return 0
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
