"""What this machine offers, found by trying it in a child process."""

from __future__ import annotations

import errno
import functools
import os
import platform
import select
import signal
import socket
import sys
import sysconfig
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proctor.jail import identity, landlock, namespaces, seccomp
from proctor.jail.entry import Isolation, discard, enter
from proctor.jail.limits import Limits

_PATIENCE = 20  # seconds for one trial


@dataclass(frozen=True)
class Finding:
    """One thing that the jail needs: whether it is there, and how to get it."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def probe(readable: Sequence[str] = (sysconfig.get_path("stdlib"),)) -> Isolation:
    """The best level that this machine can give, found by doing the whole sequence once."""
    return _levels(tuple(readable))[0]


def diagnose() -> list[Finding]:
    """What the jail needs, one by one, and at last the level that results."""
    if sys.platform != "linux":
        remedy = "run proctor on Linux: a virtual machine, a container or WSL2"
        return [Finding("platform", False, f"{sys.platform} has no jail", remedy), _level()]
    return [
        _platform(),
        _user(),
        _user_namespaces(),
        _landlock(),
        _seccomp(),
        _cgroup(),
        _level(),
    ]


@functools.cache
def _levels(readable: tuple[str, ...]) -> tuple[Isolation, dict[Isolation, str]]:
    """The best level, and for each better one why it can't be had."""
    reasons: dict[Isolation, str] = {}
    for level in (Isolation.FULL, Isolation.CONTAINER):
        if sys.platform == "linux":
            reasons[level] = _in_child(functools.partial(_enter_and_look, level, readable))
        else:
            reasons[level] = "it needs Linux"
        if not reasons[level]:
            return level, reasons
    return Isolation.NONE, reasons


def _enter_and_look(level: Isolation, readable: tuple[str, ...], report: int) -> str:
    """In a child: what is wrong with the jail at this level, if anything."""
    enter(level, readable, Limits(), keep=[report])
    thread = threading.Thread(target=os.getpid)
    thread.start()
    thread.join()
    for forbidden in (functools.partial(open, "/etc/passwd"), socket.socket):
        try:
            forbidden()
        except OSError:
            continue
        return "a step had no effect: outside files or sockets can still be opened"
    if level is Isolation.FULL:
        with open("trial", "w") as file:
            file.write("x")
        if os.getpid() != 1:
            return "a step had no effect: no process ids of its own"
    return ""


def _in_child(attempt: Callable[[int], str]) -> str:
    """What `attempt` says in a child, nothing if all is well; it gets a descriptor to keep."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = "it was interrupted"
        try:
            os.close(reader)
            said = attempt(writer)
        except OSError as error:
            said = error.strerror or str(error)
        finally:
            os.write(writer, f"{said}\n".encode())
            os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        ready, _, _ = select.select([answer], [], [], _PATIENCE)
        if not ready:
            os.kill(child, signal.SIGKILL)
        text = answer.read()
    os.waitpid(child, 0)
    discard(child)
    return text.strip() if text else "the trial was killed"


def _platform() -> Finding:
    machine = platform.machine()
    detail = f"Linux {platform.release()} on {machine}"
    if machine == "x86_64":
        return Finding("platform", True, detail)
    return Finding("platform", True, f"{detail}: the jail is tested on x86_64 only")


def _user() -> Finding:
    slot = identity.slot_user(0)
    if slot is not None:
        detail = f"root: workers run as users {slot}, {slot + 1} and so on, one for each slot"
    elif os.geteuid() == 0:
        detail = "root, but unable to take another identity: workers run as root without power"
    else:
        detail = f"ordinary user {os.geteuid()}: workers run as the same user"
    return Finding("user", slot is not None or os.geteuid() != 0, detail)


def _user_namespaces() -> Finding:
    name = "user namespaces"

    def attempt(report: int) -> str:
        user = identity.slot_user(0)
        if user is not None:
            identity.become(user)
            identity.allow_own_proc()
        namespaces.unshare(namespaces.ALL_BUT_USER | namespaces.NEWUSER)
        return ""

    reason = _in_child(attempt)
    if not reason:
        return Finding(name, True, "an ordinary user can make them, and map its id")
    if identity.slot_user(0) is not None and identity.has(identity.SYS_ADMIN):
        return Finding(name, True, f"refused ({reason}), and not needed by root")
    if "map" in reason or "setgroups" in reason:
        remedy = (
            "AppArmor lets them be made and refuses their use (Ubuntu 24.04): allow it with "
            "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or give this Python an "
            "AppArmor profile that has `userns,`"
        )
    elif os.strerror(errno.ENOSPC) in reason:
        remedy = "raise the number allowed: `sysctl user.max_user_namespaces=10000`"
    else:
        remedy = (
            "on the machine itself: `sysctl kernel.unprivileged_userns_clone=1` and "
            "`sysctl user.max_user_namespaces=10000`; in a container: start it with "
            "`--security-opt seccomp=unconfined --security-opt apparmor=unconfined`, "
            "or run proctor beside the container engine instead of inside"
        )
    return Finding(name, False, reason, remedy)


def _landlock() -> Finding:
    version = landlock.abi()
    if version > 0:
        return Finding("Landlock", True, f"version {version}")
    remedy = "Linux 5.13 or newer with `landlock` in the list of the boot parameter `lsm=`"
    return Finding("Landlock", False, "this kernel has none", remedy)


def _seccomp() -> Finding:
    try:
        size = len(seccomp.build()) // 8
    except OSError as error:
        remedy = "install libseccomp (Debian: libseccomp2)"
        return Finding("seccomp", False, f"no filter can be built: {error}", remedy)

    def attempt(report: int) -> str:
        identity.forbid_new_privileges()
        seccomp.load(os.getpid())
        return ""

    reason = _in_child(attempt)
    remedy = "a kernel with CONFIG_SECCOMP_FILTER" if reason else ""
    return Finding("seccomp", not reason, reason or f"a filter of {size} instructions", remedy)


def _cgroup() -> Finding:
    """The jail bounds each worker; only a cgroup bounds all of them together."""
    remedy = (
        "the level doesn't depend on it; to bound the whole run: "
        "`systemd-run --user --scope -p MemoryMax=8G -p TasksMax=4096 proctor grade …`"
    )
    try:
        with open("/proc/self/cgroup") as lines:
            group = next(line.strip()[3:] for line in lines if line.startswith("0::"))
        with open(f"/sys/fs/cgroup{group.rstrip('/')}/memory.max") as file:
            bound = file.read().strip()
    except (OSError, StopIteration):
        return Finding("cgroup", False, "no memory limit of cgroup v2 in sight", remedy)
    if bound == "max":
        return Finding("cgroup", False, "no memory limit around this process", remedy)
    return Finding("cgroup", True, f"all workers together may use {int(bound) >> 20} MB of memory")


def _level() -> Finding:
    level, reasons = _levels((sysconfig.get_path("stdlib"),))
    missing = "; ".join(f"no {name}: {reason}" for name, reason in reasons.items() if reason)
    if level is Isolation.FULL:
        return Finding("isolation", True, level.value)
    if level is Isolation.CONTAINER:
        remedy = "grading is safe with the exceptions that docs/jail.md lists"
    else:
        remedy = "NOT a jail: grade only what you would run yourself"
    return Finding("isolation", level is Isolation.CONTAINER, f"{level.value} ({missing})", remedy)
