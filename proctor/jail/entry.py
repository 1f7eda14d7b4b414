"""Entering the jail, step by step, in the order that works."""

from __future__ import annotations

import enum
import functools
import os
import select
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from proctor.jail import identity, landlock, namespaces, ready, seccomp
from proctor.jail import limits as resource_limits
from proctor.jail.kernel import CLOSE_RANGE, syscall
from proctor.jail.limits import Limits


class Isolation(enum.StrEnum):
    """How well student code is shut in; docs/jail.md has the table."""

    FULL = "full"  # namespaces, Landlock, seccomp, resource limits
    CONTAINER = "container"  # without namespaces, for machines that refuse them
    NONE = "none"  # resource limits only: not a jail


# These stay hidden inside of a visible directory: packages are named one by one.
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class _Sight:
    """What is visible, and what inside of it isn't."""

    visible: tuple[str, ...]  # surroundings before what lies in them
    hidden: tuple[str, ...]
    grants: tuple[tuple[str, int], ...]  # for Landlock where nothing can be hidden by mounts


@functools.lru_cache(maxsize=8)
def _sight(readable: tuple[str, ...]) -> _Sight:
    visible: list[str] = []
    for path in sorted(set().union(*map(_names, readable))):
        above = next((v for v in reversed(visible) if path.startswith(v.rstrip("/") + "/")), None)
        if above is None or PurePosixPath(path).relative_to(above).parts[0] in _PACKAGE_FOLDERS:
            visible.append(path)
    hidden: list[str] = []
    grants: list[tuple[str, int]] = []
    for path in visible:
        folders = [f"{path}/{name}" for name in _PACKAGE_FOLDERS if os.path.isdir(f"{path}/{name}")]
        hidden += folders
        if not folders:
            grants.append((path, landlock.READ))
            continue
        grants.append((path, landlock.READ_DIR))
        entries = (f"{path}/{name}" for name in sorted(os.listdir(path)))
        grants += [(e, landlock.READ) for e in entries if e not in folders and os.path.exists(e)]
    return _Sight(tuple(visible), tuple(hidden), tuple(grants))


def _names(path: str) -> set[str]:
    if not os.path.isabs(path):
        raise ValueError(f"a readable path must be absolute: {path!r}")
    return {os.path.normpath(path), os.path.realpath(path)} - {"/"}


def prepare(readable: Sequence[str]) -> None:
    """Do now, in the warm process, what every `enter` after a fork would do again."""
    readable = tuple(readable)
    sight = _sight(readable)
    if sys.platform == "linux":
        seccomp.build()
        ready.prepare(readable, sight.visible, sight.hidden)


def fork(level: Isolation) -> int:
    """Fork a worker that will `enter` this level: it saves `enter` what can be saved.

    At `FULL`, after `prepare`, the child may be the first process of a pid namespace already, to
    which its parent has no number: it is killed with its parent from the beginning.
    """
    return ready.fork(Isolation(level) is Isolation.FULL)


def enter(
    level: Isolation,
    readable: Sequence[str],
    limits: Limits,
    keep: Sequence[int] = (),
    slot: int = 0,
    files: Mapping[str, bytes] = {},
) -> None:
    """Jail this freshly forked process; student code may run when it returns.

    `readable` are the absolute paths that can be read afterwards, `files` what is put into the
    working directory first (relative name: content), `keep` the descriptors that stay open: 0, 1
    and 2 stay too, but as /dev/null. `slot` tells workers that run at the same time apart.

    At `FULL` it may return in another process than the one that called it: the first process of a
    new pid namespace. The caller waits for that one and ends as it ends; killed, it takes it along.
    A process that `fork` has made the first of its namespace stays the same.

    At the other levels the working directory belongs to the machine: whoever reaps the worker
    calls `discard` with its process id.

    Raises OSError when a step fails: the process is then half jailed and must end.
    """
    level = Isolation(level)
    readable = tuple(readable)
    for name in map(PurePosixPath, files):
        if not name.parts or name.is_absolute() or ".." in name.parts:
            raise ValueError(f"a supporting file's name must stay in its directory: {str(name)!r}")
    parent = os.getppid()
    born = ready.born(readable) if level is Isolation.FULL else None
    if born is not None and (user := identity.slot_user(slot)) is not None:
        _drop_descriptors(keep, False, born.ready.descriptors)
        _enter_born(born, user, limits, keep, files)
        return
    _drop_descriptors(keep, allow_directories=level is Isolation.NONE)
    if sys.platform == "linux":
        identity.die_with_parent(lambda: os.getppid() == parent)
    if level is not Isolation.NONE:
        seccomp.build()  # while the library can still be read
    if level is Isolation.FULL:
        _enter_full(_sight(readable), limits, slot, files)
    elif level is Isolation.CONTAINER:
        _enter_container(_sight(readable), limits, slot, files, lambda: os.getppid() == parent)
    else:
        _enter_none(limits, files)


def _enter_born(
    born: ready.Born, user: int, limits: Limits, keep: Sequence[int], files: Mapping[str, bytes]
) -> None:
    """`FULL`, when `fork` has made this process and `prepare` what it will see."""
    born.ready.join()
    _new_scratch(limits, files, user)
    rules = landlock.rules([(namespaces.WORK, landlock.WRITE)], born.ready.grants)
    identity.become(user)
    identity.die_with_parent(born.ready.parent_lives)
    _close_all_but([0, 1, 2, *keep, *([] if rules is None else [rules])])
    _settle(limits, born.used, files, rules)


def _enter_full(sight: _Sight, limits: Limits, slot: int, files: Mapping[str, bytes]) -> None:
    parent = os.getppid()
    user = identity.slot_user(slot)
    mounts_as_root = user is not None and identity.has(identity.SYS_ADMIN)
    if mounts_as_root:
        namespaces.unshare(namespaces.ALL_BUT_USER)
    else:
        if user is not None:
            identity.become(user)
            identity.allow_own_proc()
        namespaces.unshare(namespaces.ALL_BUT_USER | namespaces.NEWUSER)
        identity.die_with_parent(lambda: os.getppid() == parent)

    lifeline, our_end = os.pipe()
    inner = os.fork()
    if inner != 0:
        if mounts_as_root and user is not None:
            identity.become(user)
            identity.die_with_parent(lambda: os.getppid() == parent)
        _stand_by(inner, our_end)
    os.close(our_end)

    def parent_lives() -> bool:
        watch = select.poll()
        watch.register(lifeline, select.POLLIN)
        return not watch.poll(0)

    identity.die_with_parent(parent_lives)
    used = resource_limits.address_space()
    os.umask(0o022)
    namespaces.new_root(sight.visible, sight.hidden)
    namespaces.name_host(namespaces.HOST)
    user_inside = user if mounts_as_root and user is not None else namespaces.INNER_USER
    _new_scratch(limits, files, user_inside)
    rules = landlock.rules(
        [("/", landlock.READ_DIR), (namespaces.WORK, landlock.WRITE)]
        + [(os.devnull, landlock.WRITE)]
        + [(path, landlock.READ) for path in sight.visible]
    )
    if mounts_as_root and user is not None:
        identity.become(user)
    identity.die_with_parent(parent_lives)
    os.close(lifeline)
    _settle(limits, used, files, rules)


def _new_scratch(limits: Limits, files: Mapping[str, bytes], user: int) -> None:
    size = limits.scratch + sum(len(data) + 4096 for data in files.values())
    count = limits.scratch_files + sum(name.count("/") + 1 for name in files)
    namespaces.new_scratch(size, count, user)


def _settle(limits: Limits, used: int, files: Mapping[str, bytes], rules: int | None) -> None:
    """In the new root, as the user to be: the last steps."""
    os.chdir(namespaces.WORK)
    os.umask(0o077)
    _write_files(files)
    identity.set_capabilities()
    resource_limits.impose(limits, used)
    _close_the_door(rules)


def _enter_container(
    sight: _Sight,
    limits: Limits,
    slot: int,
    files: Mapping[str, bytes],
    parent_lives: Callable[[], bool],
) -> None:
    user = identity.slot_user(slot)
    used = resource_limits.address_space()
    others = resource_limits.threads_of(os.getuid()) if user is None else 0
    directory = _make_scratch(files, user)
    os.chdir(directory)
    rules = landlock.rules(
        [*sight.grants, (directory, landlock.READ), (os.devnull, landlock.WRITE)]
    )
    if rules is None:
        raise OSError("the kernel has no Landlock: isolation 'container' can't be had")
    kept: tuple[int, ...] = ()
    if user is not None:
        identity.become(user, keep_capabilities=True)
        if not all(os.access(path, os.R_OK) for path in sight.visible):
            # The library lies where only root may enter, such as /root.
            kept = (identity.DAC_READ_SEARCH,)
        identity.die_with_parent(parent_lives)
    identity.set_capabilities(*kept)
    resource_limits.impose(limits, used, others)
    _close_the_door(rules)


def _enter_none(limits: Limits, files: Mapping[str, bytes]) -> None:
    os.chdir(_make_scratch(files, None))
    used = others = 0
    if sys.platform == "linux":
        used = resource_limits.address_space()
        others = resource_limits.threads_of(os.getuid())
        identity.forbid_new_privileges()
    resource_limits.impose(limits, used, others)


def _close_the_door(rules: int | None) -> None:
    identity.forbid_new_privileges()
    if rules is not None:
        landlock.restrict(rules)
    seccomp.load(os.getpid())


def _stand_by(inner: int, lifeline: int) -> None:
    """In the caller of `enter`: wait for the jailed process and end as it ended."""
    try:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, lambda number, frame: os.kill(inner, number))
        _close_all_but([lifeline])
        status = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if status >= 0:
            os._exit(status)
        resource_limits.dump_no_core()
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    finally:
        os._exit(1)


def _drop_descriptors(
    keep: Sequence[int], allow_directories: bool, for_now: Sequence[int] = ()
) -> None:
    for descriptor in keep:
        if not allow_directories and stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise ValueError(f"descriptor {descriptor} is a directory: a way out of the jail")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in {0, 1, 2} - set(keep):
        os.dup2(nothing, standard)
    _close_all_but([0, 1, 2, *keep, *for_now])


def _close_all_but(keep: Sequence[int]) -> None:
    first = 0
    for descriptor in [*sorted(set(keep)), 1 << 31]:
        if first < descriptor:
            _close_range(first, descriptor - 1)
        first = descriptor + 1


def _close_range(first: int, last: int) -> None:
    if sys.platform == "linux":
        try:
            syscall(CLOSE_RANGE, first, last, 0, what="close_range")
            return
        except OSError:
            pass
    os.closerange(first, min(last + 1, os.sysconf("SC_OPEN_MAX")))


def _write_files(files: Mapping[str, bytes]) -> None:
    """Write supporting files into the working directory."""
    for name, data in files.items():
        folder = os.path.dirname(name)
        if folder:
            os.makedirs(folder, exist_ok=True)
        with open(name, "xb") as file:
            file.write(data)


# Where workers below `FULL` find their supporting files: a directory for each process id.
_SCRATCH = "/tmp/proctor-{user}"


def _make_scratch(files: Mapping[str, bytes], reader: int | None) -> str:
    """A new directory with supporting files for this process; `reader` may read, not write."""
    home = _SCRATCH.format(user=os.geteuid())
    os.makedirs(home, 0o711, exist_ok=True)
    found = os.lstat(home)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{home} belongs to somebody else: remove it")
    directory = f"{home}/{os.getpid()}"
    shutil.rmtree(directory, ignore_errors=True)  # of an earlier process with this id
    os.umask(0o077)
    os.mkdir(directory)
    here = os.getcwd()
    os.chdir(directory)
    _write_files(files)
    if reader is not None:
        for folder, _, names in os.walk("."):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                os.chown(path, -1, reader)
                os.chmod(path, 0o750 if path == folder else 0o640)
    os.chdir(here)
    return directory


def discard(process: int) -> None:
    """Remove what `enter` left on the machine for this worker, which has ended."""
    shutil.rmtree(f"{_SCRATCH.format(user=os.geteuid())}/{process}", ignore_errors=True)
