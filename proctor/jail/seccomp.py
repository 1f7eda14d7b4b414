"""Seccomp: the system calls that a worker may make. What isn't listed fails with EPERM.

The filter is built by libseccomp, which knows every architecture's numbers, once per process; after
the fork only the worker's process id is put in.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import struct

from proctor.jail import libseccomp as sc
from proctor.jail.kernel import PR_SET_SECCOMP, prctl

_ALLOWED = """
read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek close close_range
open openat stat lstat fstat newfstatat statx access faccessat faccessat2 readlink readlinkat
getdents getdents64 getcwd chdir umask statfs fstatfs fadvise64
mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 ftruncate fallocate fsync fdatasync
dup dup2 dup3 pipe pipe2 eventfd2 copy_file_range sendfile
poll ppoll select pselect6
epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
mmap mprotect munmap mremap brk madvise msync mincore
futex set_robust_list set_tid_address rseq membarrier sched_yield sched_getaffinity getcpu
arch_prctl exit exit_group restart_syscall
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack
pause alarm getitimer setitimer nanosleep clock_nanosleep
clock_gettime clock_getres gettimeofday time times getrusage getrlimit sysinfo uname getrandom
getpid getppid gettid getpgrp getuid geteuid getgid getegid getresuid getresgid getgroups
"""

_CLONE_THREAD = 0x00010000
# new namespaces (mnt, cgroup, uts, ipc, user, pid, net), CLONE_PTRACE, CLONE_UNTRACED, CLONE_PARENT
_CLONE_REFUSED = 0x7E020000 | 0x00002000 | 0x00800000 | 0x00008000
_IOCTLS = (0x5401, 0x5421, 0x5450, 0x5451, 0x541B)  # TCGETS FIONBIO FIONCLEX FIOCLEX FIONREAD
# DUPFD, GETFD, SETFD, GETFL, SETFL, GETLK, SETLK, SETLKW, DUPFD_CLOEXEC, GETPIPE_SZ, GET_SEALS;
# not SETOWN and SETSIG, which send signals, nor SETPIPE_SZ
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032, 1034)
_SEND_FLAGS = 0x4040  # MSG_NOSIGNAL, MSG_DONTWAIT
_RECEIVE_FLAGS = 0x4142  # the same, MSG_PEEK, MSG_WAITALL; not MSG_OOB
_NAME_OPTIONS = (15, 16)  # PR_SET_NAME, PR_GET_NAME

_OWN_PID = 0x50524F43  # stands for the worker's process id until it is known
_INSTRUCTION_SIZE = 8


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


@functools.cache
def build() -> bytes:
    """The filter in the kernel's form, with `_OWN_PID` for the process id.

    OSError if there is no libseccomp. Calls of other architectures, x32 among them, kill the
    process.
    """
    with sc.Filter(sc.refuse(errno.EPERM)) as rules:
        rules.foreign(sc.KILL_PROCESS)

        def allow(name: str, *conditions: sc.Condition) -> None:
            if sc.resolve(name) >= 0:  # else unknown to this architecture
                rules.add(sc.ALLOW, name, *conditions)

        for name in _ALLOWED.split():
            allow(name)
        # Threads, no processes. clone3 takes its flags from memory, which a filter can't read; at
        # ENOSYS libc falls back to clone.
        allow("clone", (0, sc.MASKED_EQ, _CLONE_THREAD | _CLONE_REFUSED, _CLONE_THREAD))
        if sc.resolve("clone3") >= 0:
            rules.add(sc.refuse(errno.ENOSYS), "clone3")
        allow("kill", (0, sc.EQ, _OWN_PID))
        allow("tgkill", (0, sc.EQ, _OWN_PID))
        for process in (0, _OWN_PID):
            allow("prlimit64", (0, sc.EQ, process), (2, sc.EQ, 0))  # asking, not setting
        for request in _IOCTLS:
            allow("ioctl", (1, sc.EQ, request))
        for command in _FCNTLS:
            allow("fcntl", (1, sc.EQ, command))
        for option in _NAME_OPTIONS:
            allow("prctl", (0, sc.EQ, option))
        # On a socket that the worker was given, to its other end.
        allow("sendto", (3, sc.MASKED_EQ, 0xFFFFFFFF ^ _SEND_FLAGS, 0), (4, sc.EQ, 0))
        allow("recvfrom", (3, sc.MASKED_EQ, 0xFFFFFFFF ^ _RECEIVE_FLAGS, 0))
        return rules.program()


def load(process: int) -> None:
    """Put this process, whose id is `process`, under the filter for good; needs no_new_privs."""
    install(build().replace(struct.pack("I", _OWN_PID), struct.pack("I", process)))


def install(code: bytes) -> None:
    """Put this process under a filter in the kernel's form."""
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // _INSTRUCTION_SIZE, ctypes.addressof(buffer))
    filter_mode = 2
    prctl(PR_SET_SECCOMP, filter_mode, ctypes.addressof(program), what="seccomp")
