"""What a warm process builds once, so that its workers need not: the read-only root, and namespaces
that are empty and may be shared.

Only for level `FULL` as root. Where any of it can't be had, `prepare` leaves nothing behind, and
every worker builds its own.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proctor.jail import identity, landlock, namespaces
from proctor.jail.kernel import PIDFD_OPEN, syscall
from proctor.jail.limits import address_space

# Nothing in these can be changed or used by a worker, whatever it does: they are made once. What a
# worker could leave something in, it has for itself: mounts, IPC and process ids.
_SHARED = namespaces.NEWNET | namespaces.NEWUTS | namespaces.NEWCGROUP
_OWN = namespaces.NEWNS | namespaces.NEWIPC


@dataclass(frozen=True)
class Ready:
    """Descriptors of the warm process, inherited by its workers, who close them at the end."""

    readable: tuple[str, ...]
    process: int  # the warm process
    lifeline: int  # readable once it has ended
    process_ids: int  # its own namespace of process ids
    shared: tuple[int, ...]  # the namespaces to join
    grants: tuple[tuple[int, int], ...]  # for Landlock: paths in the root, and rights

    @property
    def descriptors(self) -> list[int]:
        paths = [descriptor for descriptor, _ in self.grants]
        return [self.lifeline, self.process_ids, *self.shared, *paths]

    def parent_lives(self) -> bool:
        watch = select.poll()
        watch.register(self.lifeline, select.POLLIN)
        return not watch.poll(0)

    def join(self) -> None:
        """In a worker: have the root, and nothing of the machine's."""
        for namespace in self.shared:
            namespaces.join(namespace)
        namespaces.unshare(_OWN)

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


@dataclass(frozen=True)
class Born:
    """In a worker that `fork` has made the first process of a namespace."""

    ready: Ready
    used: int  # bytes of address space


_ready: Ready | None = None
_born: Born | None = None


def prepare(readable: tuple[str, ...], visible: Sequence[str], hidden: Sequence[str]) -> None:
    """Build what `fork` needs, if this machine can."""
    global _ready
    if _ready is not None and _ready.process == os.getpid():
        _ready.close()
    _ready = None
    capabilities = identity.SYS_ADMIN, identity.SYS_CHROOT
    if identity.slot_user(0) is None or not identity.has(*capabilities):
        return
    with contextlib.suppress(OSError):
        built = _ready = _build(readable, visible, hidden)
        if not _works():
            _ready = None
            built.close()


def fork(wanted: bool = True) -> int:
    """Fork; if `wanted` and prepared, the child is the first process of a new namespace."""
    global _born
    ready = _ready
    if not wanted or ready is None or ready.process != os.getpid():
        return os.fork()
    used = address_space()
    try:
        namespaces.unshare(namespaces.NEWPID)  # for the children, not for ourselves
    except OSError:
        return os.fork()
    child = -1
    try:
        child = os.fork()
    finally:
        if child != 0:
            namespaces.join(ready.process_ids)
    if child == 0:
        _born = Born(ready, used)
        identity.die_with_parent(ready.parent_lives)
    return child


def born(readable: tuple[str, ...]) -> Born | None:
    """What `fork` has made ready for this worker, if it is for these paths."""
    return _born if _born is not None and _born.ready.readable == readable else None


def _build(readable: tuple[str, ...], visible: Sequence[str], hidden: Sequence[str]) -> Ready:
    opened: list[int] = []

    def open_(path: str, flags: int) -> int:
        opened.append(os.open(path, flags | os.O_CLOEXEC))
        return opened[-1]

    try:
        with _builder(visible, hidden) as builder:
            kinds = ("mnt", "net", "uts", "cgroup")
            shared = tuple(open_(f"/proc/{builder}/ns/{kind}", os.O_RDONLY) for kind in kinds)
            grants = [(open_(f"/proc/{builder}/root", os.O_PATH), landlock.READ_DIR)]
        for path in visible:
            rights = landlock.READ if os.path.isdir(path) else landlock.READ & landlock.OF_FILES
            grants.append((open_(path, os.O_PATH), rights))
        grants.append((open_(os.devnull, os.O_PATH), landlock.WRITE & landlock.OF_FILES))
        process_ids = open_("/proc/self/ns/pid", os.O_RDONLY)
        namespaces.join(process_ids)  # no step, but `fork` must not find out that it can't
        lifeline = syscall(PIDFD_OPEN, os.getpid(), 0, what="pidfd_open")
    except BaseException:
        for descriptor in opened:
            os.close(descriptor)
        raise
    return Ready(readable, os.getpid(), lifeline, process_ids, shared, tuple(grants))


@contextlib.contextmanager
def _builder(visible: Sequence[str], hidden: Sequence[str]) -> Iterator[int]:
    """A process that has built the root and lives in the namespaces, until this ends."""
    told, tell = os.pipe()
    held, hold = os.pipe()
    builder = os.fork()
    if builder == 0:
        try:
            os.close(hold)
            namespaces.unshare(namespaces.NEWNS | _SHARED)
            os.umask(0o022)
            namespaces.new_root(visible, hidden)
            namespaces.name_host(namespaces.HOST)
            os.write(tell, b".")
            os.read(held, 1)
        finally:
            os._exit(0)
    os.close(tell)
    os.close(held)
    try:
        if os.read(told, 1) != b".":
            raise OSError("the root can't be built ahead")
        yield builder
    finally:
        os.close(hold)
        os.close(told)
        os.waitpid(builder, 0)


def _works() -> bool:
    """Whether a worker could do with it, found by trying."""
    child = fork()
    if child == 0:
        status = 1
        try:
            if _born is not None:
                _born.ready.join()
                namespaces.new_scratch(4096, 1, 0)
                os.chdir(namespaces.WORK)
                status = int(os.getpid() != 1)
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0
