"""The system-call filter, read as the kernel will read it: what it says to each call."""

from __future__ import annotations

import errno
import os
import platform
import struct
import sys

import pytest

from proctor.jail import libseccomp, seccomp

if sys.platform != "linux" or platform.machine() != "x86_64":
    pytest.skip("the numbers below are those of Linux on x86-64", allow_module_level=True)
try:
    seccomp.build()
except OSError:
    pytest.skip("no libseccomp", allow_module_level=True)

X86_64, I386 = 0xC000003E, 0x40000003
ALLOWED, KILLED = 0x7FFF0000, 0x80000000
REFUSED, ABSENT = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
OWN = seccomp._OWN_PID


def answer(program: bytes, number: int, *arguments: int, machine: int = X86_64) -> int:
    """What a filter answers: a program of classic BPF over `struct seccomp_data`."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<iIQ6Q", number, machine, 0, *padded)
    steps = [*struct.iter_unpack("<HBBI", program)]
    at, accumulator = 0, 0
    while True:
        code, yes, no, operand = steps[at]
        at += 1
        if code == 0x20:  # ld [k]
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif code == 0x54:  # and #k
            accumulator &= operand
        elif code == 0x06:  # ret #k
            return operand
        elif code == 0x05:  # ja k
            at += operand
        else:  # jeq, jgt, jge, jset
            met = {
                0x15: accumulator == operand,
                0x25: accumulator > operand,
                0x35: accumulator >= operand,
                0x45: bool(accumulator & operand),
            }[code]
            at += yes if met else no


@pytest.mark.parametrize(
    ("number", "arguments", "wanted"),
    [
        (0, (), ALLOWED),  # read
        (41, (1, 1, 0), REFUSED),  # socket
        (57, (), REFUSED),  # fork
        (59, (), REFUSED),  # execve
        (101, (), REFUSED),  # ptrace
        (1023, (), REFUSED),  # nobody's
        (56, (0x3D0F00,), ALLOWED),  # clone, as for a thread
        (56, (0x1200011,), REFUSED),  # clone, as for a process
        (56, (0x3D0F00 | 0x10000000,), REFUSED),  # a thread in a new user namespace
        (435, (), ABSENT),  # clone3
        (62, (OWN, 9), ALLOWED),  # kill oneself
        (62, (OWN + 1, 9), REFUSED),
        (62, (1, 9), REFUSED),
        (62, (2**64 - 1, 9), REFUSED),  # kill(-1): everybody
        (234, (OWN, 7), ALLOWED),  # tgkill
        (234, (1, 7), REFUSED),
        (302, (0, 7, 0), ALLOWED),  # prlimit64 asks
        (302, (0, 7, 1), REFUSED),  # and sets
        (302, (1, 7, 0), REFUSED),
        (16, (0, 0x5421), ALLOWED),  # ioctl FIONBIO
        (16, (0, 0x5412), REFUSED),  # TIOCSTI
        (16, (0, 0x5412 | 1 << 32), REFUSED),
        (72, (0, 3), ALLOWED),  # fcntl F_GETFL
        (72, (0, 8), REFUSED),  # F_SETOWN
        (72, (0, 1031), REFUSED),  # F_SETPIPE_SZ
        (157, (15,), ALLOWED),  # prctl PR_SET_NAME
        (157, (22,), REFUSED),  # PR_SET_SECCOMP
        (44, (3, 0, 0, 0x4040, 0), ALLOWED),  # sendto
        (44, (3, 0, 0, 0x1, 0), REFUSED),  # out of band
        (44, (3, 0, 0, 0, 0x7FFF0000), REFUSED),  # to an address
        (45, (3, 0, 0, 0x142), ALLOWED),  # recvfrom
        (45, (3, 0, 0, 0x1), REFUSED),
    ],
)
def test_a_call_is_answered(number: int, arguments: tuple[int, ...], wanted: int) -> None:
    assert answer(seccomp.build(), number, *arguments) == wanted


def test_every_call_that_is_not_listed_is_refused() -> None:
    listed = {libseccomp.resolve(name) for name in seccomp._ALLOWED.split()}
    program = seccomp.build()
    bound = {16, 44, 45, 56, 62, 72, 157, 234, 302, 435}  # those that depend on arguments
    for number in {*range(600)} - bound:
        wanted = ALLOWED if number in listed else REFUSED
        assert answer(program, number) == wanted, number


@pytest.mark.parametrize("number", [0, 59, 435])
def test_calls_of_other_architectures_kill(number: int) -> None:
    program = seccomp.build()
    assert answer(program, number, machine=I386) == KILLED
    assert answer(program, number | 0x40000000) == KILLED  # x32


def test_names_have_their_numbers() -> None:
    assert [libseccomp.resolve(name) for name in ("read", "execve", "clone3")] == [0, 59, 435]
    assert libseccomp.resolve("no_such_call") < 0


def test_a_rule_that_cannot_be_is_an_error_with_its_reason() -> None:
    with libseccomp.Filter(libseccomp.ALLOW) as rules:
        with pytest.raises(OSError, match="libseccomp: ") as error:
            rules.add(libseccomp.ALLOW, "read")  # what happens anyway
        assert error.value.errno == errno.EACCES
        with pytest.raises(OSError, match="libseccomp"):
            rules.add(libseccomp.refuse(errno.EPERM), "read", (7, libseccomp.EQ, 0))  # of six
    with pytest.raises(OSError, match="no filter"):
        libseccomp.Filter(12345)


def test_nothing_stays_open() -> None:
    before = os.listdir("/proc/self/fd")
    with libseccomp.Filter(libseccomp.ALLOW) as rules:
        rules.add(libseccomp.refuse(errno.EPERM), "read")
        assert answer(rules.program(), 0) == REFUSED
    assert os.listdir("/proc/self/fd") == before
