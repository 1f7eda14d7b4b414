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


@functools.cache
def _libc_with_lock() -> ctypes.PyDLL:
    return ctypes.PyDLL(None, use_errno=True)


def fork() -> int:
    """`os.fork` for a process with one thread, without what Python does for those with several.

    No lock is held and no thread is missing in the child then, so there is nothing to mend; and
    mending touches so many pages that it is a tenth of what a worker costs. `random` goes on where
    it was: whoever needs numbers of their own seeds it.
    """
    try:
        alone = len(os.listdir("/proc/self/task")) == 1
    except OSError:
        alone = False
    if not alone:
        return os.fork()
    child: int = _libc_with_lock().fork()
    if child < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"fork: {os.strerror(number)}")
    return child


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
