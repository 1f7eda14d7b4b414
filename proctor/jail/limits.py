"""What a worker may use up: resource limits of the process."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass

if sys.platform != "win32":
    import resource


@dataclass(frozen=True)
class Limits:
    """Bytes, seconds and counts; docs/jail.md says which of them hold at which level."""

    memory: int = 1 << 30  # bytes of address space beyond what the process has at entry
    cpu: int = 60  # seconds of processor time
    file_size: int = 16 << 20  # bytes of one file
    open_files: int = 256
    processes: int = 64  # threads: a jailed worker can't start a process
    scratch: int = 32 << 20  # bytes of /work, beyond the supporting files
    scratch_files: int = 1024  # files and directories of /work, likewise


def address_space() -> int:
    """Bytes of this process's address space."""
    statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(statm, 100).split()[0]) * os.sysconf("SC_PAGE_SIZE")
    finally:
        os.close(statm)


def threads_of(user: int) -> int:
    """How many threads of this user run now (RLIMIT_NPROC counts them all together)."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                task = os.stat(f"/proc/{name}/task")
                count += task.st_nlink - 2 if task.st_uid == user else 0
    return count


def impose(limits: Limits, used: int, others: int = 0) -> None:
    """Lower the limits of this process.

    `used` is the address space in use at entry, `others` the threads of the same user that count
    against the same limit.
    """
    wanted = {
        "RLIMIT_CPU": (limits.cpu, limits.cpu + 1),  # SIGXCPU, a second later SIGKILL
        "RLIMIT_FSIZE": (limits.file_size,) * 2,
        "RLIMIT_NOFILE": (limits.open_files,) * 2,
        "RLIMIT_CORE": (0, 0),
    }
    if sys.platform == "linux":
        wanted |= {
            "RLIMIT_AS": (used + limits.memory,) * 2,
            "RLIMIT_NPROC": (others + limits.processes,) * 2,
            "RLIMIT_MEMLOCK": (0, 0),
            "RLIMIT_MSGQUEUE": (0, 0),
            "RLIMIT_SIGPENDING": (64, 64),
            "RLIMIT_NICE": (0, 0),
            "RLIMIT_RTPRIO": (0, 0),
        }
    for name, (soft, hard) in wanted.items():
        number = getattr(resource, name)
        ceiling = resource.getrlimit(number)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(number, (soft, hard))


def dump_no_core() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
