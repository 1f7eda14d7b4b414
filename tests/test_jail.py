"""The jail, from inside and, so that each test can fail, from outside."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import importlib
import json
import mmap
import os
import platform
import resource
import select
import shutil
import signal
import socket
import stat
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proctor import jail
from proctor.jail import doctor, identity, kernel, landlock, libseccomp, namespaces, seccomp
from proctor.jail import limits as resource_limits
from proctor.jail import ready as ready_made
from proctor.jail.doctor import _levels

if sys.platform != "linux":
    pytest.skip("the jail is Linux's", allow_module_level=True)
try:
    seccomp.build()
except OSError:
    pytest.skip("no libseccomp", allow_module_level=True)

NOBODY = 65534
STDLIB = sysconfig.get_path("stdlib")
NUMPY = os.path.dirname(np.__file__)
LIBRARY = [p for p in (STDLIB, NUMPY, NUMPY + ".libs") if os.path.exists(p)]
AS_ROOT = os.geteuid() == 0


@dataclass
class Outcome:
    """How a probe ended: with a value, an error, or the end of its process."""

    value: Any = None
    error: str = ""
    errno: int = 0
    status: int = 0  # exit code; negative for a signal
    reported: bool = False


@dataclass
class Place:
    """Where a probe runs: at which level, as whom. Without a level: outside, as the same user."""

    level: jail.Isolation | None
    user: int | None = None  # None: as the user who runs the tests
    prepared: bool = False  # forked by a process that has done what can be done ahead

    @property
    def uid(self) -> int:
        return os.geteuid() if self.user is None else self.user

    def start(
        self,
        probe: Callable[[], Any],
        readable: list[str] = LIBRARY,
        keep: tuple[int, ...] = (),
        files: dict[str, bytes] | None = None,
        **limits: int,
    ) -> tuple[int, int]:
        """Fork and run `probe` there: process id, and the descriptor on which it reports."""
        reader, writer = os.pipe()
        if self.prepared and self.level is not None:
            prepare(tuple(readable), os.getpid())
            child = jail.fork(self.level)
        else:
            child = os.fork()
        if child == 0:
            os.close(reader)
            answer: dict[str, Any] = {"error": "BaseException"}
            try:
                if self.user is not None:
                    become_ordinary(self.user, readable)
                if self.level is None:
                    os.chdir("/tmp")
                else:
                    bounds = jail.Limits(**limits)
                    jail.enter(self.level, readable, bounds, (writer, *keep), 7, files or {})
            except BaseException as error:
                answer = {"error": f"enter: {error!r}"}
            else:
                try:
                    answer = {"value": probe()}
                except BaseException as error:
                    number = getattr(error, "errno", None) or 0
                    answer = {"error": type(error).__name__, "errno": number}
            finally:
                os.write(writer, json.dumps(answer).encode())
                os._exit(0)
        os.close(writer)
        return child, reader

    def finish(self, child: int, reader: int) -> Outcome:
        with open(reader) as report:
            ready, _, _ = select.select([report], [], [], 60)
            if not ready:
                os.kill(child, signal.SIGKILL)
            text = report.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        shutil.rmtree(f"/tmp/proctor-{self.uid}/{child}", ignore_errors=True)
        answer = json.loads(text) if text else {}
        assert not str(answer.get("error")).startswith("enter: "), answer
        return Outcome(**answer, status=status, reported=bool(text))

    def run(self, probe: Callable[[], Any], **options: Any) -> Outcome:
        return self.finish(*self.start(probe, **options))

    def outside(self) -> Place:
        return Place(None, self.user)


@functools.lru_cache(maxsize=1)
def prepare(readable: tuple[str, ...], process: int) -> None:
    jail.prepare(readable)


def open_doors(needed: list[str]) -> None:
    """In a child of root: let everybody reach `needed`, even below /root."""
    namespaces.unshare(namespaces.NEWNS)
    kernel.call("mount", None, b"/", None, 16384 | 1 << 18, None)  # private, recursively
    closed: dict[str, list[tuple[str, int]]] = {}
    for path in needed:
        parents = [str(p) for p in reversed(Path(path).parents)]
        door = next((p for p in parents if not os.stat(p).st_mode & stat.S_IXOTH), None)
        if door is not None:
            closed.setdefault(door, []).append((path, os.open(path, os.O_PATH)))
    for door, paths in closed.items():
        kernel.call("mount", b"tmpfs", door.encode(), b"tmpfs", 0, b"mode=755")
        for path, source in paths:
            os.makedirs(path, exist_ok=True)
            here = f"/proc/self/fd/{source}".encode()
            kernel.call("mount", here, path.encode(), None, 4096 | 16384, None)
            os.close(source)


def become_ordinary(user: int, needed: list[str]) -> None:
    """Turn a child of root into an ordinary user, who can reach `needed`."""
    open_doors(needed)
    identity.become(user)
    identity.allow_own_proc()


def can_have(level: jail.Isolation) -> str:
    """Why this machine can't give this level; nothing if it can."""
    return doctor._in_child(functools.partial(doctor._enter_and_look, level, (STDLIB,)))


WHY_NOT = {level: can_have(level) for level in (jail.Isolation.FULL, jail.Isolation.CONTAINER)}
FULL_USERS = [pytest.param(None, id="me"), pytest.param("prepared", id="me-prepared")]
if AS_ROOT:
    FULL_USERS.append(pytest.param(NOBODY, id="nobody"))


def place(level: jail.Isolation, request: pytest.FixtureRequest) -> Place:
    if WHY_NOT[level]:
        pytest.skip(f"this machine can't give {level}: {WHY_NOT[level]}")
    user = request.getfixturevalue("user")
    return Place(level, user, request.node.callspec.params["user"] == "prepared")


@pytest.fixture(params=FULL_USERS)
def user(request: pytest.FixtureRequest) -> int | None:
    return None if request.param == "prepared" else request.param


@pytest.fixture
def full(request: pytest.FixtureRequest, user: int | None) -> Place:
    return place(jail.Isolation.FULL, request)


@pytest.fixture
def container(request: pytest.FixtureRequest, user: int | None) -> Place:
    return place(jail.Isolation.CONTAINER, request)


@pytest.fixture(params=[jail.Isolation.FULL, jail.Isolation.CONTAINER], ids=str)
def inside(request: pytest.FixtureRequest, user: int | None) -> Place:
    return place(request.param, request)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, user: int | None) -> Iterator[Path]:
    """A directory that belongs to the user of the test and can be reached by everyone."""
    path = Path(f"/tmp/test-jail-{os.getpid()}-{time.monotonic_ns()}")
    path.mkdir()
    path.chmod(0o777)
    if user is not None:
        os.chown(path, user, user)
    yield path
    shutil.rmtree(path)


def owned(path: Path, text: str, user: int | None, mode: int = 0o600) -> Path:
    path.write_text(text)
    if user is not None:
        os.chown(path, user, user)
    path.chmod(mode)
    return path


# What must work


def test_numpy_multiplies(inside: Place) -> None:
    def probe() -> float:
        a = np.random.default_rng().normal(size=(300, 300))
        return float(np.abs(a @ np.linalg.inv(a) - np.eye(300)).max())

    assert inside.run(probe).value < 1e-6


def test_threads_run(inside: Place) -> None:
    def probe() -> list[int]:
        done: list[int] = []
        threads = [threading.Thread(target=done.append, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(done)

    assert inside.run(probe).value == list(range(8))


def test_modules_that_were_not_imported_before_can_be(inside: Place) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] in ("colorsys", "wave", "xmlrpc")]:
        del sys.modules[name]

    def probe() -> bool:
        import colorsys
        import wave
        import xmlrpc.client

        importlib.invalidate_caches()
        importlib.import_module("chunk" if sys.version_info < (3, 13) else "stringprep")
        return bool(colorsys and wave and xmlrpc.client)

    assert inside.run(probe).value is True


def test_source_of_the_library_can_be_read(inside: Place) -> None:
    outcome = inside.run(lambda: len(Path(STDLIB, "colorsys.py").read_text()))
    assert outcome.value > 100


def test_alarm_interrupts(inside: Place) -> None:
    def probe() -> str:
        def ring(*_: object) -> None:
            raise TimeoutError

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            while True:
                pass
        except TimeoutError:
            return "rang"

    assert inside.run(probe).value == "rang"


def test_interrupt_from_outside_arrives(inside: Place) -> None:
    ready, tell = os.pipe()

    def probe() -> str:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            os.write(tell, b".")
            time.sleep(60)
        except KeyboardInterrupt:
            return "interrupted"
        return "slept"

    child, reader = inside.start(probe, keep=(tell,))
    os.read(ready, 1)
    os.kill(child, signal.SIGINT)
    assert inside.finish(child, reader).value == "interrupted"
    os.close(ready)
    os.close(tell)


def test_kept_socket_talks(inside: Place) -> None:
    ours, theirs = socket.socketpair()

    def probe() -> str:
        theirs.sendall(b"x" * 100_000)
        select.select([theirs], [], [], 10)
        return theirs.recv(100).decode()

    child, reader = inside.start(probe, keep=(theirs.fileno(),))
    theirs.close()
    received = 0
    while received < 100_000:
        received += len(ours.recv(1 << 16))
    ours.sendall(b"thanks")
    assert inside.finish(child, reader).value == "thanks"
    ours.close()


def test_random_bytes_and_clock(inside: Place) -> None:
    assert inside.run(lambda: len(os.urandom(16)) if time.time() > 1e9 else 0).value == 16


def test_work_can_be_written(full: Place) -> None:
    def probe() -> list[str]:
        os.mkdir("a")
        Path("a/b").write_text("text")
        os.rename("a/b", "c")
        assert Path(namespaces.WORK, "c").read_text() == "text"
        os.rmdir("a")
        return [os.getcwd(), *os.listdir()]

    assert full.run(probe).value == [namespaces.WORK, "c"]


FILES = {"data.csv": b"1,2\n", "deep/er/x.bin": bytes(50_000)}


def test_supporting_files_are_there(inside: Place) -> None:
    def probe() -> list[Any]:
        return [Path("data.csv").read_text(), len(Path("deep/er/x.bin").read_bytes())]

    assert inside.run(probe, files=FILES, scratch=4096).value == ["1,2\n", 50_000]


def test_supporting_files_are_read_only_in_a_container(container: Place) -> None:
    for probe in (
        lambda: Path("data.csv").write_text(""),
        lambda: Path("new").write_text(""),
        lambda: os.unlink("data.csv"),
        lambda: os.mkdir("new"),
        lambda: os.rename("data.csv", "new"),
        lambda: os.truncate("data.csv", 0),
    ):
        assert container.run(probe, files=FILES).errno in (errno.EACCES, errno.EPERM)


@pytest.mark.parametrize("level", list(jail.Isolation))
@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", ""])
def test_supporting_files_stay_inside(level: jail.Isolation, name: str) -> None:
    with pytest.raises(ValueError, match="must stay in its directory"):
        jail.enter(level, [], jail.Limits(), files={name: b""})


def test_ends_as_the_worker_ends(inside: Place) -> None:
    assert inside.run(lambda: os._exit(7)).status == 7
    assert inside.run(lambda: ctypes.string_at(0)).status == -signal.SIGSEGV


def test_only_kept_descriptors_are_open(inside: Place) -> None:
    secret = os.open("/etc/passwd", os.O_RDONLY)
    assert secret < 200

    def probe() -> list[Any]:
        found = []
        for number in range(256):
            with contextlib.suppress(OSError):
                found.append(stat.S_IFMT(os.fstat(number).st_mode))
        return [found, os.read(0, 10).decode(), os.write(1, b"lost")]

    outcome = inside.run(probe)
    assert outcome.value == [[stat.S_IFCHR] * 3 + [stat.S_IFIFO], "", 4]
    assert len(inside.outside().run(probe).value[0]) > 4
    os.close(secret)


def test_kept_directory_is_refused(inside: Place, folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY)
    with pytest.raises(ValueError, match="way out"):
        jail.enter(inside.level or jail.Isolation.FULL, [], jail.Limits(), keep=[directory])
    os.close(directory)


def test_killing_the_caller_kills_the_worker(inside: Place) -> None:
    held, tell = os.pipe()

    def probe() -> None:
        os.write(tell, b".")
        time.sleep(60)

    child, reader = inside.start(probe, keep=(tell,))
    os.close(tell)
    assert os.read(held, 1) == b"."
    os.kill(child, signal.SIGKILL)
    ready, _, _ = select.select([held], [], [], 20)
    assert ready and os.read(held, 1) == b""  # the worker held the other end: it is gone
    assert not inside.finish(child, reader).reported
    os.close(held)


def test_worker_dies_with_the_warm_process(inside: Place) -> None:
    held, tell = os.pipe()
    known, name = os.pipe()

    def probe() -> None:
        os.write(tell, b".")
        time.sleep(60)

    warm = os.fork()
    if warm == 0:
        child, _ = inside.start(probe, keep=(tell,))
        os.write(name, str(child).encode())
        os.close(tell)
        time.sleep(60)
        os._exit(0)
    os.close(tell)
    assert os.read(held, 1) == b"."
    child = int(os.read(known, 20))
    os.kill(warm, signal.SIGKILL)
    os.waitpid(warm, 0)
    ready, _, _ = select.select([held], [], [], 20)
    assert ready and os.read(held, 1) == b""
    shutil.rmtree(f"/tmp/proctor-{inside.uid}/{child}", ignore_errors=True)
    for descriptor in (held, known, name):
        os.close(descriptor)


# What must fail. A probe is refused inside; outside it either works or fails for another reason,
# because most of them are given arguments that make no sense.

REFUSED = (errno.EPERM, errno.EACCES)


def raw(name: str, *arguments: Any) -> Callable[[], int]:
    number = libseccomp.resolve(name)
    return lambda: kernel.syscall(number, *arguments, what=name)


def pipe_control(command: int, argument: int) -> None:
    reader, _ = os.pipe()
    fcntl.fcntl(reader, command, argument)


def in_own_file(change: Callable[[str], Any]) -> Callable[[], Any]:
    """Apply `change` to a file that the worker owns (or, in a container, was given)."""

    def probe() -> Any:
        path = "given" if os.path.exists("given") else f"/tmp/given-{os.getpid()}"
        if path != "given":
            Path(path).write_text("")
        try:
            return change(path)
        finally:
            if path != "given":
                os.unlink(path)

    return probe


def beside_own_file(make: Callable[[str], Any]) -> Callable[[], Any]:
    """Make something new in the directory of that file."""

    def probe(path: str) -> None:
        make(path + "-new")
        os.unlink(path + "-new")

    return in_own_file(probe)


FORBIDDEN: dict[str, Callable[[], Any]] = {
    "socket unix": lambda: socket.socket(socket.AF_UNIX).close(),
    "socket inet": lambda: socket.socket(socket.AF_INET).close(),
    "socket inet datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
    "socket inet6": lambda: socket.socket(socket.AF_INET6).close(),
    "socket netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "socket vsock": raw("socket", 40, 99, 0),
    "socket alg": raw("socket", 38, 99, 0),
    "socketpair": lambda: len(socket.socketpair()),
    "connect": raw("connect", -1, None, 0),
    "bind": raw("bind", -1, None, 0),
    "listen": raw("listen", -1, 0),
    "accept": raw("accept4", -1, None, None, 0),
    "sendmsg": raw("sendmsg", -1, None, 0),
    "recvmsg": raw("recvmsg", -1, None, 0),
    "out-of-band data": raw("sendto", -1, b"x", 1, 1, None, 0),
    "fork": lambda: os._exit(0) if os.fork() == 0 else os.wait() and None,
    "spawn": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
    "clone into a user namespace": raw("clone", 0x10000000 | 0x00010000, None, 0, 0, 0),
    "execve": lambda: os.execv("/nowhere", ["nowhere"]),
    "execveat": raw("execveat", -1, b"", None, None, 0x1000),
    "kill the parent": lambda: os.kill(os.getppid() or -1, 0),
    "kill the group": lambda: os.kill(0, 0),
    "kill everybody": lambda: os.kill(-1, 0),
    "tkill": raw("tkill", 2**30, 0),
    "queue a signal": raw("rt_sigqueueinfo", 2**30, 0, None),
    "pidfd_open": raw("pidfd_open", os.getpid(), 0),
    "pidfd_send_signal": raw("pidfd_send_signal", -1, 0, None, 0),
    "ptrace": raw("ptrace", 16, 2**30, 0, 0),
    "process_vm_readv": raw("process_vm_readv", 2**30, None, 0, None, 0, 0),
    "process_vm_writev": raw("process_vm_writev", 2**30, None, 0, None, 0, 0),
    "kcmp": raw("kcmp", 2**30, 2**30, 0, 0, 0),
    "mount": raw("mount", b"tmpfs", b"/nowhere", b"tmpfs", 0, None),
    "umount": raw("umount2", b"/nowhere", 0x10000),
    "chroot": raw("chroot", b"/nowhere"),
    "unshare": raw("unshare", 0),
    "setns": raw("setns", -1, 0),
    "memfd_create": lambda: os.close(os.memfd_create("x")),
    "memfd_secret": raw("memfd_secret", 2**30),
    "symlink": beside_own_file(functools.partial(os.symlink, "/etc")),
    "link": in_own_file(lambda p: beside_own_file(functools.partial(os.link, p))()),
    "chmod": in_own_file(lambda p: os.chmod(p, 0o777)),
    "chown": in_own_file(lambda p: os.chown(p, os.getuid(), -1)),
    "utime": in_own_file(lambda p: os.utime(p, (0, 0))),
    "setxattr": in_own_file(lambda p: os.removexattr(p, "user.none")),
    "mkfifo": beside_own_file(os.mkfifo),
    "shmget": raw("shmget", 0x5EED, 0, 0),
    "semget": raw("semget", 0x5EED, 0, 0),
    "msgget": raw("msgget", 0x5EED, 0),
    "mq_open": raw("mq_open", b"none", 0, 0, None),
    "add_key": raw("add_key", b"none", b"x", None, 0, 0),
    "request_key": raw("request_key", b"none", b"x", None, 0),
    "keyctl": raw("keyctl", 0, -3, 0, 0, 0),
    "bpf": raw("bpf", 999, None, 0),
    "io_uring": raw("io_uring_setup", 0, None),
    "userfaultfd": raw("userfaultfd", 0xFFFF),
    "perf_event_open": raw("perf_event_open", None, 0, 0, -1, 0),
    "seccomp": raw("seccomp", 99, 0, None),
    "prctl": raw("prctl", 3, 0, 0, 0, 0),
    "personality": raw("personality", 0xFFFFFFFF),
    "setuid": lambda: os.setuid(os.getuid()),
    "setresuid": lambda: os.setresuid(-1, -1, -1),
    "setgid": lambda: os.setgid(os.getgid()),
    "setgroups": raw("setgroups", -1, None),
    "capset": raw("capset", None, None),
    "setsid": lambda: os.getsid(0) and raw("setpgid", 0, -1)(),
    "set a limit": raw("setrlimit", resource.RLIMIT_CORE, bytes(16)),
    "set a limit by another call": raw("prlimit64", 0, resource.RLIMIT_CORE, bytes(16), None),
    "limits of another process": lambda: resource.prlimit(2**30, resource.RLIMIT_CORE),
    "be nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0)),
    "choose a processor": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "inotify": raw("inotify_init1", -1),
    "fanotify": raw("fanotify_init", -1, -1),
    "open by handle": raw("name_to_handle_at", -1, b"x", None, None, 0),
    "own a descriptor's signals": lambda: pipe_control(8, 0),
    "enlarge a pipe": lambda: pipe_control(1031, 1 << 16),
    "type into a terminal": lambda: fcntl.ioctl(0, 0x5412, b"x"),
    "splice": raw("splice", -1, None, -1, None, 0, 0),
    "quota": raw("quotactl", 0, None, 0, None),
    "reboot": raw("reboot", 0, 0, 0, None),
    "load a module": raw("finit_module", -1, b"", 0),
    "swap": raw("swapoff", b"/nowhere"),
    "set the clock": raw("clock_settime", 999, None),
    "set the host's name": raw("sethostname", b"x", -1),
    "system log": raw("syslog", 99, None, 0),
}
# Outside these are refused to an ordinary user too, before their arguments are looked at.
OF_ROOT = {
    "fanotify", "load a module", "reboot", "set the host's name", "setgroups", "swap", "system log",
}  # fmt: skip
# Also refused outside where the machine forbids it to everybody, or to those without power.
MAYBE = {"perf_event_open", "userfaultfd", "io_uring", "bpf", "kcmp", "umount", "keyctl", "ptrace"}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_refused(inside: Place, name: str) -> None:
    probe = FORBIDDEN[name]
    outcome = inside.run(probe, files={"given": b""})
    assert outcome.errno in REFUSED, outcome
    if name in MAYBE or (name in OF_ROOT and inside.uid != 0):
        return
    if name == "kill the parent" and inside.user is not None:
        return  # the parent is root
    outcome = inside.outside().run(probe)
    assert outcome.errno not in REFUSED, f"refused outside as well: {outcome}"


def test_clone3_looks_absent(inside: Place) -> None:
    assert inside.run(raw("clone3", None, 0)).errno == errno.ENOSYS
    assert inside.outside().run(raw("clone3", None, 0)).errno == errno.EINVAL


@pytest.mark.skipif(platform.machine() != "x86_64", reason="about x86-64")
def test_x32_calls_kill(inside: Place) -> None:
    number = 0x40000000 | 39  # getpid

    def probe() -> None:
        kernel.syscall(number, what="x32")

    assert inside.run(probe).status == -signal.SIGSYS
    assert inside.outside().run(probe).reported


@pytest.mark.skipif(platform.machine() != "x86_64", reason="about x86-64")
def test_32_bit_calls_kill(inside: Place) -> None:
    def probe() -> int:
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(bytes.fromhex("b814000000 cd80 c3"))  # mov eax, 20 (getpid); int 0x80; ret
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        return int(ctypes.CFUNCTYPE(ctypes.c_int)(address)())

    if not inside.outside().run(probe).reported:
        pytest.skip("this kernel makes no 32-bit calls")
    assert inside.run(probe).status == -signal.SIGSYS


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "/proc/1/cmdline"])
def test_outside_files_cannot_be_opened(inside: Place, path: str) -> None:
    assert inside.run(lambda: open(path).close()).errno in (*REFUSED, errno.ENOENT)
    if path != "/proc/1/cmdline":
        assert inside.outside().run(lambda: open(path).close()).errno == 0


@pytest.mark.parametrize("path", ["/proc", "/tmp", "/home", "/sys", "/dev", "/dev/shm", "/etc"])
def test_outside_directories_cannot_be_listed(inside: Place, path: str) -> None:
    if any(known.startswith(f"{path}/") for known in LIBRARY):
        pytest.skip("this Python lies below it: the way there can be seen")
    outcome = inside.run(lambda: os.listdir(path))
    assert outcome.errno in (*REFUSED, errno.ENOENT) or (path, outcome.value) == ("/dev", ["null"])
    assert inside.outside().run(lambda: os.listdir(path)).errno == 0


def test_nothing_else_exists(full: Place) -> None:
    tops = sorted({Path(path).parts[1] for path in LIBRARY} | {namespaces.WORK[1:], "dev"})
    assert full.run(lambda: sorted(os.listdir("/"))).value == tops
    assert full.run(lambda: os.listdir("/dev")).value == ["null"]
    for path in ("/proc", "/dev/zero", "/etc", "/bin/sh", __file__):
        if not any(path.startswith(known) or known.startswith(path + "/") for known in LIBRARY):
            assert full.run(lambda path=path: os.stat(path)).errno == errno.ENOENT  # type: ignore[misc]


def test_the_null_device_is_the_only_one(inside: Place) -> None:
    def probe() -> str:
        with open(os.devnull, "w") as sink:
            sink.write("gone")
        return open(os.devnull).read()

    assert inside.run(probe).value == ""
    for change in (lambda: os.unlink(os.devnull), lambda: os.chmod(os.devnull, 0o600)):
        assert inside.run(change).errno in (*REFUSED, errno.EROFS)
    for path in ("/dev/zero", "/dev/urandom", "/dev/full"):
        outcome = inside.run(lambda path=path: open(path, "rb").close())  # type: ignore[misc]
        assert outcome.errno in (*REFUSED, errno.ENOENT)


def test_invoker_files_are_out_of_reach(inside: Place, folder: Path, user: int | None) -> None:
    secret = owned(folder / "secret", "answer", user)
    public = owned(folder / "public", "answer", user, 0o666)
    for probe in (
        lambda: secret.read_text(),
        lambda: public.read_text(),
        lambda: public.write_text("mine"),
        lambda: os.truncate(public, 0),
        lambda: os.unlink(public),
        lambda: os.rename(public, folder / "moved"),
        lambda: (folder / "new").write_text(""),
        lambda: os.mkdir(folder / "new"),
        lambda: os.utime(public),
        lambda: os.chmod(public, 0o777),
        lambda: os.listdir(folder),
    ):
        outcome = inside.run(probe)
        assert outcome.errno in (*REFUSED, errno.ENOENT), outcome
    assert public.read_text() == "answer"
    assert inside.outside().run(secret.read_text).value == "answer"
    assert inside.outside().run(lambda: public.write_text("mine")).value == 4


def test_library_cannot_be_changed(inside: Place, folder: Path, user: int | None) -> None:
    shelf = folder / "shelf"
    shelf.mkdir()
    shelf.chmod(0o777)
    book = owned(shelf / "book.py", "x = 1", user, 0o666)
    single = owned(folder / "single.so", "y", user, 0o666)
    readable = [*LIBRARY, str(shelf), str(single)]
    assert inside.run(book.read_text, readable=readable).value == "x = 1"
    assert inside.run(single.read_text, readable=readable).value == "y"
    probes: list[Callable[[], Any]] = [
        lambda: book.write_text("x = 2"),
        lambda: single.write_text("z"),
        lambda: (shelf / "__pycache__").mkdir(),
        lambda: (shelf / "new").write_text(""),
        lambda: os.truncate(book, 1),
        lambda: os.unlink(book),
    ]
    for probe in probes:
        outcome = inside.run(probe, readable=readable)
        assert outcome.errno in (*REFUSED, errno.EROFS), outcome
    for probe in probes:
        assert inside.outside().run(probe).errno == 0


def test_packages_are_named_one_by_one(inside: Place, folder: Path) -> None:
    for name in ("os.py", "site-packages/secret/a.py", "site-packages/public/a.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    public, secret = (folder / f"site-packages/{n}/a.py" for n in ("public", "secret"))
    readable = [*LIBRARY, str(folder), str(public.parent)]
    assert inside.run((folder / "os.py").read_text, readable=readable).reported
    assert inside.run(public.read_text, readable=readable).value == "site-packages/public/a.py"
    assert inside.run(secret.read_text, readable=readable).errno in (*REFUSED, errno.ENOENT)
    everything = [*LIBRARY, str(folder), str(folder / "site-packages")]
    assert inside.run(secret.read_text, readable=everything).reported


def test_readable_through_a_symlink(inside: Place, folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "real" / "file").write_text("text")
    (folder / "alias").symlink_to("real")
    for name in ("real", "alias"):
        probe = (folder / name / "file").read_text
        assert inside.run(probe, readable=[*LIBRARY, str(folder / "alias")]).value == "text"


def test_readable_must_be_absolute_and_exist(inside: Place) -> None:
    with pytest.raises(ValueError, match="absolute"):
        jail.prepare(["lib"])
    with pytest.raises(AssertionError, match="No such file"):
        inside.run(int, readable=[*LIBRARY, "/nowhere/to/be/found"])


def test_no_power_is_left(inside: Place) -> None:
    """Read by the supervisor, since the worker can't."""
    ready, tell = os.pipe()
    stop, stopped = os.pipe()

    def probe() -> None:
        os.write(tell, b".")
        os.read(stop, 1)

    child, reader = inside.start(probe, keep=(tell, stop))
    assert os.read(ready, 1)
    worker = child
    if inside.level is jail.Isolation.FULL:
        worker = int(Path(f"/proc/{child}/task/{child}/children").read_text() or child)
    lines = Path(f"/proc/{worker}/status").read_text().splitlines()
    status = {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}
    os.write(stopped, b".")
    inside.finish(child, reader)
    for descriptor in (ready, tell, stop, stopped):
        os.close(descriptor)
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    looks = AS_ROOT and inside.user is None and inside.level is jail.Isolation.CONTAINER
    below_root = any(not os.stat(p).st_mode & 1 for path in LIBRARY for p in Path(path).parents)
    left = 1 << identity.DAC_READ_SEARCH if looks and below_root else 0
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == left
    slot = identity.slot_user(7) if inside.user is None else None
    assert set(status["Uid"].split()) == {str(slot or inside.uid)}


def test_two_workers_do_not_see_each_other(full: Place) -> None:
    outcome = full.run(lambda: [os.getpid(), os.getppid(), os.uname().nodename])
    assert outcome.value == [1, 0, "worker"]


@pytest.mark.skipif(not AS_ROOT, reason="about root")
def test_preparing_saves_a_process_and_nothing_else(folder: Path) -> None:
    if WHY_NOT[jail.Isolation.FULL]:
        pytest.skip(WHY_NOT[jail.Isolation.FULL])
    ready, tell = os.pipe()
    stop, stopped = os.pipe()

    def probe() -> None:
        os.write(tell, b".")
        os.read(stop, 1)

    def spaces(process: int) -> dict[str, str]:
        kinds = ("mnt", "pid", "ipc", "net", "uts", "cgroup")
        return {kind: os.readlink(f"/proc/{process}/ns/{kind}") for kind in kinds}

    prepared = Place(jail.Isolation.FULL, prepared=True)
    workers = [prepared.start(probe, keep=(tell, stop)) for _ in range(2)]
    assert os.read(ready, 1) and os.read(ready, 1)
    one, two = (spaces(child) for child, _ in workers)
    assert not Path(f"/proc/{workers[0][0]}/task/{workers[0][0]}/children").read_text()
    mine = spaces(os.getpid())
    assert os.readlink("/proc/self/ns/pid_for_children") == mine["pid"]
    assert not any(one[kind] == mine[kind] or two[kind] == mine[kind] for kind in mine)
    assert not any(one[kind] == two[kind] for kind in ("mnt", "pid", "ipc"))
    os.write(stopped, b"..")
    for worker in workers:
        prepared.finish(*worker)
    for descriptor in (ready, tell, stop, stopped):
        os.close(descriptor)


@pytest.mark.skipif(not AS_ROOT, reason="about root")
@pytest.mark.parametrize("missing", ["setns", "unshare", "pidfd_open", "move_mount"])
def test_what_cannot_be_prepared_is_done_without(missing: str) -> None:
    def probe() -> list[Any]:
        without(missing)()
        jail.prepare(LIBRARY)
        child = jail.fork(jail.Isolation.FULL)
        if child == 0:
            os._exit(int(ready_made._born is not None or os.getpid() == 1))
        return [os.waitpid(child, 0)[1], ready_made._ready is None]

    assert Place(None).run(probe).value == [0, True]


# What a worker may use up


def test_memory(inside: Place) -> None:
    def probe() -> int:
        return len(bytearray(200 << 20))

    assert inside.run(probe, memory=100 << 20).error == "MemoryError"
    assert inside.run(probe, memory=400 << 20).value == 200 << 20


def test_processor_time(inside: Place) -> None:
    def probe() -> None:
        while True:
            with contextlib.suppress(BaseException):
                signal.signal(signal.SIGXCPU, signal.SIG_IGN)
                while True:
                    pass

    assert inside.run(probe, cpu=1).status == -signal.SIGKILL


def test_disk(full: Place) -> None:
    def probe() -> None:
        for number in range(8):
            Path(str(number)).write_bytes(bytes(1 << 20))

    assert full.run(probe, scratch=4 << 20).errno == errno.ENOSPC
    assert full.run(probe, scratch=9 << 20).error == ""


def test_number_of_files(full: Place) -> None:
    def probe() -> None:
        for number in range(100):
            os.mkdir(str(number))

    assert full.run(probe, scratch_files=50).errno == errno.ENOSPC
    assert full.run(probe, scratch_files=100).error == ""


def test_size_of_a_file(full: Place) -> None:
    def probe() -> int:
        return Path("x").write_bytes(bytes(2 << 20))

    assert full.run(probe, file_size=1 << 20).errno == errno.EFBIG
    assert full.run(probe).value == 2 << 20


def test_work_cannot_be_executed(full: Place) -> None:
    def probe(protection: int = mmap.PROT_READ | mmap.PROT_EXEC) -> None:
        Path("x").write_bytes(bytes(4096))
        with open("x", "rb") as file:
            mmap.mmap(file.fileno(), 4096, prot=protection, flags=mmap.MAP_PRIVATE)

    assert full.run(probe).errno == errno.EPERM
    assert full.run(lambda: probe(mmap.PROT_READ)).error == ""


def test_descriptors(inside: Place) -> None:
    def probe() -> None:
        for _ in range(40):
            os.pipe()

    assert inside.run(probe, open_files=64).errno == errno.EMFILE
    assert inside.run(probe, open_files=128).error == ""


def test_number_of_threads(inside: Place) -> None:
    def probe() -> None:
        done = threading.Event()
        try:
            for _ in range(50):
                threading.Thread(target=done.wait).start()
        finally:
            done.set()

    room = 16 << 30  # of address space, of which a thread takes much
    assert inside.run(probe, processes=20, memory=room).error == "RuntimeError"
    assert inside.run(probe, processes=80, memory=room).error == ""


def test_a_lower_limit_stays(inside: Place) -> None:
    def probe() -> list[int]:
        return list(resource.getrlimit(resource.RLIMIT_NOFILE))

    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        os._exit(int(inside.run(probe).value != [100, 100]))
    assert os.waitpid(child, 0)[1] == 0


# The level without a jail, and what finds the level


def test_none_has_limits_only(folder: Path) -> None:
    here = Place(jail.Isolation.NONE)
    assert here.run(lambda: Path("data.csv").read_text(), files=FILES).value == "1,2\n"
    assert here.run(lambda: len(bytearray(200 << 20)), memory=100 << 20).error == "MemoryError"
    assert here.run(lambda: len(Path("/etc/passwd").read_text())).value > 0


@pytest.mark.parametrize("level", list(jail.Isolation))
def test_discard_removes_what_is_left(level: jail.Isolation) -> None:
    if WHY_NOT.get(level):
        pytest.skip(WHY_NOT[level])
    child = os.fork()
    if child == 0:
        jail.enter(level, LIBRARY, jail.Limits(), files={"a/b": b""})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    left = Path(f"/tmp/proctor-{os.geteuid()}/{child}")
    assert left.exists() == (level is not jail.Isolation.FULL)
    jail.discard(child)
    assert not left.exists()


def without(*calls: str) -> Callable[[], None]:
    """Forbid system calls as a container engine does."""

    def forbid() -> None:
        with libseccomp.Filter(libseccomp.ALLOW) as rules:
            for name in calls:
                rules.add(libseccomp.refuse(errno.EPERM), name)
            program = rules.program()
        identity.forbid_new_privileges()
        seccomp.install(program)

    return forbid


@pytest.mark.parametrize(
    ("missing", "level"),
    [
        ([], "full"),
        (["unshare"], "container"),
        (["mount"], "container"),
        (["pivot_root"], "container"),
        (["move_mount"], "container"),
        (["unshare", "landlock_create_ruleset"], "none"),
        (["landlock_create_ruleset"], "full"),
    ],
)
def test_probe_finds_what_is_left(user: int | None, missing: list[str], level: str) -> None:
    if WHY_NOT[jail.Isolation.FULL]:
        pytest.skip(WHY_NOT[jail.Isolation.FULL])

    def probe() -> list[Any]:
        without(*missing)()
        _levels.cache_clear()
        findings = jail.diagnose()
        bad = {finding.name for finding in findings if not finding.ok}
        assert all(finding.remedy for finding in findings if not finding.ok)
        return [jail.probe(), findings[-1].detail.split()[0], "isolation" in bad]

    outcome = Place(None, user).run(probe)
    assert outcome.value == [level, level, level == "none"], outcome


# What Docker leaves to root.
DOCKER = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)


@pytest.mark.skipif(not AS_ROOT, reason="about root")
@pytest.mark.parametrize(
    ("kept", "missing", "level"),
    [
        (DOCKER, [], "full"),  # through a user namespace, as the slot's user
        (DOCKER, ["unshare"], "container"),
        ((), [], "container"),  # powerless root may not be mapped into a user namespace
    ],
)
def test_root_of_a_container(kept: tuple[int, ...], missing: list[str], level: str) -> None:
    if WHY_NOT[jail.Isolation.FULL]:
        pytest.skip(WHY_NOT[jail.Isolation.FULL])

    def probe() -> list[Any]:
        open_doors(LIBRARY)
        identity.set_capabilities(*kept)
        identity.forbid_new_privileges()
        without(*missing)()
        _levels.cache_clear()
        return [jail.probe(), {f.name: f.ok for f in jail.diagnose()}["user"]]

    outcome = Place(None).run(probe)
    assert outcome.value == [level, bool(kept)], outcome


def test_diagnose_names_the_level() -> None:
    findings = {finding.name: finding for finding in jail.diagnose()}
    assert findings["isolation"].detail.startswith(jail.probe())
    assert {"platform", "user", "user namespaces", "Landlock", "seccomp"} < set(findings)
    assert findings["Landlock"].ok == (landlock.abi() > 0)


def test_threads_are_counted() -> None:
    before = resource_limits.threads_of(os.getuid())
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(30)]
    for thread in threads:
        thread.start()
    after = resource_limits.threads_of(os.getuid())
    done.set()
    for thread in threads:
        thread.join()
    assert after - before >= 15
