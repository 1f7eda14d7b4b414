"""Landlock: the files that may still be opened, even if they can be seen."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable

from proctor.jail.kernel import (
    LANDLOCK_ADD_RULE,
    LANDLOCK_CREATE_RULESET,
    LANDLOCK_RESTRICT_SELF,
    syscall,
)

WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
REFER, TRUNCATE = 1 << 13, 1 << 14
READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
OF_FILES = WRITE_FILE | READ_FILE | TRUNCATE

_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # ABI: rights on files, as the number of bits
_TCP, _SCOPES = 0b11, 0b11  # bind and connect (ABI 4); abstract sockets and signals (ABI 6)


def abi() -> int:
    """The version of Landlock that this kernel speaks; 0 if none."""
    try:
        return syscall(LANDLOCK_CREATE_RULESET, None, 0, 1, what="Landlock")
    except OSError:
        return 0


def rules(grants: Iterable[tuple[str, int]], opened: Iterable[tuple[int, int]] = ()) -> int | None:
    """Prepare the rule that nothing may be opened except as `grants` (path, rights) say.

    Every right that the kernel knows is taken away first. The descriptor is for `restrict`; None if
    the kernel has no Landlock. Paths are looked up now, with the identity of now; `opened` are
    grants on descriptors, with rights that suit what they are.
    """
    version = abi()
    if version <= 0:
        return None
    handled = (1 << _RIGHTS[min(version, 5)]) - 1
    words = [handled]
    words += [_TCP] if version >= 4 else []
    words += [_SCOPES] if version >= 6 else []
    attributes = struct.pack(f"{len(words)}Q", *words)
    what = "landlock_create_ruleset"
    ruleset = syscall(LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0, what=what)
    for path, rights in grants:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                rights &= OF_FILES
            _grant(ruleset, descriptor, rights & handled, path)
        finally:
            os.close(descriptor)
    for descriptor, rights in opened:
        _grant(ruleset, descriptor, rights & handled)
    return ruleset


def _grant(ruleset: int, descriptor: int, rights: int, path: str = "a descriptor") -> None:
    rule = struct.pack("=Qi", rights, descriptor)
    syscall(LANDLOCK_ADD_RULE, ruleset, 1, rule, 0, what=f"Landlock rule for {path}")


def restrict(ruleset: int) -> None:
    """Apply prepared rules to this process for good; needs no_new_privs."""
    syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0, what="landlock_restrict_self")
    os.close(ruleset)
