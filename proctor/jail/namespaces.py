"""A new root in new namespaces: what isn't mounted there doesn't exist."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Sequence

from proctor.jail.kernel import MOUNT_SETATTR, MOVE_MOUNT, OPEN_TREE, call, syscall

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
ALL_BUT_USER = NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWPID | NEWNET

HOST = "worker"  # the name of the machine, from inside
WORK = "/submission"  # not /work or /scratch: an environment that is visible may live there
INNER_USER = 1000  # what a worker in a user namespace takes itself for

_NOSUID, _NODEV, _NOEXEC, _REC, _PRIVATE = 2, 4, 8, 16384, 1 << 18
_BASE = "/tmp"  # covered by the new root until it becomes the root
_OLD = "/.old"
_AT_RECURSIVE, _AT_EMPTY_PATH, _CLONE_TREE = 0x8000, 0x1000, 1
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4


def unshare(flags: int) -> None:
    """Leave namespaces; out of the user namespace as `INNER_USER`, who is ourselves outside."""
    user, group = os.geteuid(), os.getegid()
    call("unshare", flags, what="unshare")
    if not flags & NEWUSER:
        return
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{INNER_USER} {user} 1"),
        ("gid_map", f"{INNER_USER} {group} 1"),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        try:
            os.write(descriptor, text.encode())
        except OSError as error:
            raise OSError(error.errno, f"{name}: {error.strerror}") from None
        finally:
            os.close(descriptor)


def join(descriptor: int) -> None:
    """Enter a namespace; that of process ids counts for our children."""
    call("setns", descriptor, 0)


def new_root(visible: Sequence[str], hidden: Sequence[str]) -> None:
    """Make a root directory in which `visible` can be read, and nothing else exists.

    `hidden` are directories inside of visible ones that are covered by an empty one; what is
    visible inside of a hidden one must come later in `visible` than its surroundings. `WORK` is an
    empty directory for `new_scratch`. Needs a mount namespace of our own.
    """
    call("mount", None, b"/", None, _REC | _PRIVATE, None, what="make the mounts private")
    # Opened before the new root covers _BASE: a path may lie below it.
    paths = [*visible, os.devnull]
    sources = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths]
    room = 64 + sum(path.count("/") for path in visible)
    _tmpfs(_BASE, f"size=64k,nr_inodes={room},mode=755")
    for path, source in zip(paths, sources, strict=True):
        _bind(source, _BASE + path)
        for cover in hidden:
            if os.path.dirname(cover) == path:
                _tmpfs(_BASE + cover, f"size=64k,nr_inodes={room},mode=755")
    os.mkdir(_BASE + WORK)
    os.mkdir(_BASE + _OLD)
    call("pivot_root", _BASE.encode(), (_BASE + _OLD).encode())
    os.chdir("/")
    call("umount2", _OLD.encode(), 2, what="detach the old root")
    os.rmdir(_OLD)
    attributes = struct.pack("4Q", _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV, 0, 0, 0)
    read_only = "make the new root read-only"
    syscall(MOUNT_SETATTR, -1, b"/", _AT_RECURSIVE, attributes, len(attributes), what=read_only)
    # The only device: it takes what is written and keeps nothing. Descriptors 0, 1 and 2 are it.
    device = struct.pack("4Q", 0, _ATTR_NODEV, 0, 0)
    with contextlib.suppress(OSError):  # else it is there, and cannot be opened
        syscall(MOUNT_SETATTR, -1, os.devnull.encode(), 0, device, len(device), what="the device")


def new_scratch(size: int, files: int, user: int) -> None:
    """Mount `WORK`: writable, `size` bytes and `files` files, nothing in it can be executed."""
    _tmpfs(WORK, f"size={size},nr_inodes={files + 1},mode=700,uid={user},gid={user}", _NOEXEC)


def _tmpfs(path: str, options: str, flags: int = 0) -> None:
    flags |= _NOSUID | _NODEV
    what = f"mount {path}"
    call("mount", b"tmpfs", os.fsencode(path), b"tmpfs", flags, options.encode(), what=what)


def _bind(source: int, target: str) -> None:
    if stat.S_ISDIR(os.fstat(source).st_mode):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    flags = _CLONE_TREE | os.O_CLOEXEC | _AT_RECURSIVE | _AT_EMPTY_PATH
    tree = syscall(OPEN_TREE, source, b"", flags, what=f"open_tree for {target}")
    here, empty_path = -100, 4
    target_bytes = os.fsencode(target)
    syscall(MOVE_MOUNT, tree, b"", here, target_bytes, empty_path, what=f"mount {target}")
    os.close(tree)
    os.close(source)


def name_host(name: str) -> None:
    """In a UTS namespace of our own: hide the machine's name."""
    call("sethostname", name.encode(), len(name))
