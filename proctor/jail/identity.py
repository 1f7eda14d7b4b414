"""Who a worker runs as: its user, its capabilities, and whose death it doesn't survive."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import struct
from collections.abc import Callable

from proctor.jail.kernel import (
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    call,
    prctl,
)

DAC_READ_SEARCH, SETGID, SETUID, SYS_CHROOT, SYS_ADMIN = 2, 6, 7, 18, 21

_SLOT_USERS = (200_000, 60_000)  # the second where a container maps 65,536 ids only
_VERSION_3 = 0x20080522


def has(*capabilities: int) -> bool:
    """Whether this process has all of these capabilities."""
    words = ctypes.create_string_buffer(24)
    call("capget", struct.pack("II", _VERSION_3, 0), words)
    effective = struct.unpack("6I", words.raw)[0]
    return all(effective >> capability & 1 for capability in capabilities)


@functools.cache
def _spans(table: str) -> list[tuple[int, int]]:
    """The ids that there are: first ones and how many. Asked before we make a user namespace."""
    with open(f"/proc/self/{table}") as lines:
        fields = [line.split() for line in lines]
    return [(int(first), int(count)) for first, _, count in fields]


def _is_mapped(number: int, table: str) -> bool:
    return any(first <= number < first + count for first, count in _spans(table))


def slot_user(slot: int) -> int | None:
    """The user and group id of a slot's workers; None if we can't take another identity."""
    if os.geteuid() != 0 or not has(SETUID, SETGID):
        return None
    for base in _SLOT_USERS:
        if _is_mapped(base + slot, "uid_map") and _is_mapped(base + slot, "gid_map"):
            return base + slot
    return None


def become(user: int, keep_capabilities: bool = False) -> None:
    """Turn for good from root into `user`, with a group of the same number and no other."""
    prctl(PR_SET_KEEPCAPS, int(keep_capabilities))
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def allow_own_proc() -> None:
    """After `become`: without this /proc/self, where namespaces map ids, belongs to root."""
    prctl(PR_SET_DUMPABLE, 1)


def forbid_new_privileges() -> None:
    prctl(PR_SET_NO_NEW_PRIVS, 1, what="no_new_privs")


def set_capabilities(*capabilities: int) -> None:
    """Have these capabilities and no other."""
    mask = sum(1 << capability for capability in capabilities)
    words = [mask, mask, 0, 0, 0, 0]  # effective, permitted, inheritable; then those from 32 on
    call("capset", struct.pack("II", _VERSION_3, 0), struct.pack("6I", *words))


def die_with_parent(parent_lives: Callable[[], bool]) -> None:
    """Be killed when the parent dies; a change of user forgets this, so do it again after one."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, what="PDEATHSIG")
    if not parent_lives():
        os._exit(1)
