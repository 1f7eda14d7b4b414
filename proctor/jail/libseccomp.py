"""The few calls of libseccomp that build a system-call filter, by ctypes.

Taken from pyseccomp 0.1.2, and cut down to what the jail needs:

    MIT License

    Copyright (c) 2020 cptpcrd

    Permission is hereby granted, free of charge, to any person obtaining a copy
    of this software and associated documentation files (the "Software"), to deal
    in the Software without restriction, including without limitation the rights
    to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
    copies of the Software, and to permit persons to whom the Software is
    furnished to do so, subject to the following conditions:

    The above copyright notice and this permission notice shall be included in all
    copies or substantial portions of the Software.

    THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
    IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
    FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
    AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
    LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
    OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
    SOFTWARE.
"""

from __future__ import annotations

import ctypes
import functools
import os

NATIVE = 0  # this machine's architecture

KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
EQ, MASKED_EQ = 4, 7

_ACT_BADARCH = 2  # the attribute that says what a call of another architecture ends in

Condition = tuple[int, int, int] | tuple[int, int, int, int]  # argument, comparison, one datum or 2


def refuse(error: int) -> int:
    """The action of failing with this errno."""
    return 0x00050000 | (error & 0xFFFF)


class _Comparison(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint),
        ("comparison", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    ]


@functools.cache
def _library() -> ctypes.CDLL:
    """libseccomp; OSError if there is none."""
    library = ctypes.CDLL("libseccomp.so.2")  # the version that these declarations are for
    context, number, action = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32
    declarations = {
        "seccomp_init": (context, action),
        "seccomp_release": (None, context),
        "seccomp_attr_set": (number, context, number, ctypes.c_uint32),
        "seccomp_syscall_resolve_name_arch": (number, ctypes.c_uint32, ctypes.c_char_p),
        "seccomp_rule_add_array": (
            number,
            context,
            action,
            number,
            ctypes.c_uint,
            ctypes.POINTER(_Comparison),
        ),
        "seccomp_export_bpf": (number, context, number),
    }
    for name, (answer, *arguments) in declarations.items():
        function = getattr(library, name)
        function.restype, function.argtypes = answer, arguments
    return library


def resolve(name: str) -> int:
    """A system call's number on this machine; negative if it has none."""
    found: int = _library().seccomp_syscall_resolve_name_arch(NATIVE, name.encode())
    return found


class Filter:
    """A filter in the making: `with Filter(action) as rules:`; `action` is for unlisted calls."""

    def __init__(self, action: int) -> None:
        self._context = _library().seccomp_init(action)
        if self._context is None:
            raise OSError("libseccomp has made no filter")

    def __enter__(self) -> Filter:
        return self

    def __exit__(self, *_: object) -> None:
        _library().seccomp_release(self._context)

    def foreign(self, action: int) -> None:
        """What a call of another architecture ends in."""
        _checked(_library().seccomp_attr_set(self._context, _ACT_BADARCH, action))

    def add(self, action: int, name: str, *conditions: Condition) -> None:
        """What a call ends in, if its arguments meet all of the conditions."""
        array = (_Comparison * len(conditions))(*(_Comparison(*each) for each in conditions))
        add = _library().seccomp_rule_add_array
        _checked(add(self._context, action, resolve(name), len(conditions), array))

    def program(self) -> bytes:
        """The filter in the kernel's form."""
        reader, writer = os.pipe()
        with open(reader, "rb") as source:
            with open(writer, "wb") as sink:
                _checked(_library().seccomp_export_bpf(self._context, sink.fileno()))
            return source.read()


def _checked(answer: int) -> None:
    if answer < 0:
        raise OSError(-answer, f"libseccomp: {os.strerror(-answer)}")
