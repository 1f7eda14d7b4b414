"""System calls that Python has no function for."""

from __future__ import annotations

import ctypes
import functools
import os

Argument = int | bytes | ctypes.Array[ctypes.c_char] | None

# Numbers from 424 on are the same on every architecture that Linux runs on, Alpha excepted.
OPEN_TREE, MOVE_MOUNT, CLOSE_RANGE, MOUNT_SETATTR = 428, 429, 436, 442
PIDFD_OPEN = 434
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 1, 4, 8
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Argument, what: str = "") -> int:
    """Call a function of libc; OSError, with `what` was tried, if it answers -1."""
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    answer: int = getattr(_libc(), name)(*words)
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what or name}: {os.strerror(number)}")
    return answer


def syscall(number: int, *arguments: Argument, what: str) -> int:
    """Make a system call by number."""
    return call("syscall", number, *arguments, what=what)


def prctl(option: int, *arguments: Argument, what: str = "") -> int:
    padding = [0] * (4 - len(arguments))
    return call("prctl", option, *arguments, *padding, what=what or f"prctl({option})")
