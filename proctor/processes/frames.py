"""Frames between the tester and the worker: the only thing that crosses the boundary.

A frame is `u32 length | body`; a body holds one value. A value crosses by copy only if it is of
*exactly* one of these types: None, bool, int, float, complex, str, bytes, list, tuple, set, dict,
slice, Ellipsis, a numeric NumPy scalar, dtype or native array. Whatever else a side sends crosses
as a reference, a number that only the worker can resolve. There is no pickle: decoding runs no
code.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from proctor.processes.countdown import Countdown

if TYPE_CHECKING:
    import numpy as np

MAX_FRAME = 64 << 20
MAX_DEPTH = 32
MAX_VALUES = 1 << 20  # in one frame: what is 5 bytes in a frame may take 200 in memory
MAX_INT = 4096  # bytes
MAX_NDIM = 32

_CODES = "b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16"
_DTYPES: dict[str, np.dtype[Any]] = {}
_NUMPY_SCALARS: set[type] = set()
# What crosses as the key of a dict, or in a set: it is hashed on the other side.
_ATOMS: set[type] = {type(None), bool, int, float, complex, str, bytes}
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_F64 = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")
_CONSTANTS = {b"N": None, b"T": True, b"F": False, b".": Ellipsis}
_CONTAINERS: dict[type, bytes] = {list: b"L", tuple: b"U", set: b"E"}

Reference = Callable[[Any], int]
Resolve = Callable[[int], Any]


class ProtocolError(Exception):
    """What arrived is no frame of ours, or is larger or deeper than a frame may be."""


def _learn_numpy() -> None:
    """Know NumPy's types, where there is a NumPy: a page in a browser fetches it for the first
    notebook that asks for it.
    """
    global np
    with contextlib.suppress(ModuleNotFoundError):
        import numpy as np

        _DTYPES.update((d.kind + str(d.itemsize), d) for d in map(np.dtype, _CODES.split()))
        _NUMPY_SCALARS.update(dtype.type for dtype in _DTYPES.values())
        _ATOMS.update(_NUMPY_SCALARS)


_learn_numpy()


def _native(dtype: np.dtype[Any]) -> str | None:
    code = dtype.kind + str(dtype.itemsize)
    return code if code in _DTYPES and dtype.isnative and dtype.names is None else None


def encode(value: Any, reference: Reference) -> bytes:
    """The body for `value`; `reference` numbers what may not cross by copy (or raises
    TypeError).
    """
    parts: list[bytes] = []
    if not _DTYPES:
        _learn_numpy()
    _encode(value, parts.append, reference, 0, [MAX_VALUES])
    return b"".join(parts)


def _encode(
    value: Any, emit: Callable[[bytes], None], reference: Reference, depth: int, room: list[int]
) -> None:
    if depth > MAX_DEPTH:
        raise ProtocolError(f"a value is nested more than {MAX_DEPTH} deep")
    kind = type(value)
    if value is None:
        emit(b"N")
    elif kind is bool:
        emit(b"T" if value else b"F")
    elif kind is int:
        body = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
        if len(body) > MAX_INT:
            raise ProtocolError(f"an integer has more than {MAX_INT} bytes")
        emit(b"I" + _U32.pack(len(body)) + body)
    elif kind is float:
        emit(b"D" + _F64.pack(value))
    elif kind is complex:
        emit(b"C" + _COMPLEX.pack(value.real, value.imag))
    elif kind is str:
        body = value.encode("utf-8", "surrogatepass")
        emit(b"S" + _U32.pack(len(body)) + body)
    elif kind is bytes:
        emit(b"B" + _U32.pack(len(value)) + value)
    elif _DTYPES and kind is np.ndarray and (code := _native(value.dtype)):
        emit(b"A" + bytes([len(code)]) + code.encode() + bytes([value.ndim]))
        emit(struct.pack(f"<{value.ndim}Q", *value.shape))
        emit(np.ascontiguousarray(value).tobytes())
    elif kind in _NUMPY_SCALARS:
        emit(b"G")
        _encode(np.asarray(value), emit, reference, depth + 1, room)
    elif kind in _CONTAINERS and (kind is not set or _crosses(value)):
        _take(room, len(value))
        emit(_CONTAINERS[kind] + _U32.pack(len(value)))
        for item in value:
            _encode(item, emit, reference, depth + 1, room)
    elif kind is dict and _crosses(value):
        _take(room, 2 * len(value))
        emit(b"M" + _U32.pack(len(value)))
        for key, item in value.items():
            _encode(key, emit, reference, depth + 1, room)
            _encode(item, emit, reference, depth + 1, room)
    elif kind is slice:
        emit(b"Z")
        for item in (value.start, value.stop, value.step):
            _encode(item, emit, reference, depth + 1, room)
    elif value is Ellipsis:
        emit(b".")
    elif _DTYPES and isinstance(value, np.dtype) and (code := _native(value)):
        emit(b"Y" + bytes([len(code)]) + code.encode())
    else:
        emit(b"R" + _U64.pack(reference(value)))


def _crosses(keys: Any) -> bool:
    """Whether every key of a set or dict is plain enough to be hashed on the other side."""
    return all(
        type(key) in _ATOMS or (type(key) is tuple and all(type(item) in _ATOMS for item in key))
        for key in keys
    )


def decode(body: bytes | bytearray, resolve: Resolve) -> Any:
    """The value of a body; `resolve` turns the number of a reference into an object.

    Arrays are read-only, unless the body is a bytearray. Raises ProtocolError for anything that
    `encode` cannot have made.
    """
    if not _DTYPES:
        _learn_numpy()
    try:
        value, end = _decode(body, 0, resolve, 0, [MAX_VALUES])
    except ProtocolError:
        raise
    except Exception as error:
        raise ProtocolError(f"malformed frame: {type(error).__name__}") from None
    if end != len(body):
        raise ProtocolError("malformed frame: bytes left over")
    return value


def _decode(
    body: bytes | bytearray, at: int, resolve: Resolve, depth: int, room: list[int]
) -> tuple[Any, int]:
    if depth > MAX_DEPTH + 2:
        raise ProtocolError(f"a value is nested more than {MAX_DEPTH} deep")
    tag = bytes(body[at : at + 1])
    at += 1
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag == b"D":
        return _F64.unpack_from(body, at)[0], at + 8
    if tag == b"C":
        return complex(*_COMPLEX.unpack_from(body, at)), at + 16
    if tag == b"R":
        return resolve(_U64.unpack_from(body, at)[0]), at + 8
    if tag == b"A":
        return _decode_array(body, at)
    if tag == b"G":
        array, at = _decode(body, at, resolve, depth + 1, room)
        if type(array) is not np.ndarray or array.ndim:
            raise ProtocolError("malformed scalar")
        return array[()], at
    if tag == b"Y":
        end = at + 1 + body[at]
        return _DTYPES[body[at + 1 : end].decode("ascii")], end
    if tag == b"Z":
        items = []
        for _ in range(3):
            item, at = _decode(body, at, resolve, depth + 1, room)
            items.append(item)
        return slice(*items), at
    count = _U32.unpack_from(body, at)[0]
    at += 4
    if count > len(body) - at:
        raise ProtocolError("malformed frame: too short")
    end = at + count
    if tag == b"I":
        if count > MAX_INT:
            raise ProtocolError(f"an integer has more than {MAX_INT} bytes")
        return int.from_bytes(body[at:end], "little", signed=True), end
    if tag == b"S":
        return body[at:end].decode("utf-8", "surrogatepass"), end
    if tag == b"B":
        return bytes(body[at:end]), end
    if tag in (b"L", b"U", b"E"):
        _take(room, count)
        items = []
        for _ in range(count):
            item, at = _decode(body, at, resolve, depth + 1, room)
            items.append(item)
        return (items if tag == b"L" else tuple(items) if tag == b"U" else set(items)), at
    if tag == b"M":
        _take(room, 2 * count)
        mapping = {}
        for _ in range(count):
            key, at = _decode(body, at, resolve, depth + 1, room)
            mapping[key], at = _decode(body, at, resolve, depth + 1, room)
        return mapping, at
    raise ProtocolError(f"malformed frame: tag {tag!r}")


def _take(room: list[int], count: int) -> None:
    """Count the values of a frame."""
    room[0] -= count
    if room[0] < 0:
        raise ProtocolError(f"a frame holds more than {MAX_VALUES} values")


def _decode_array(body: bytes | bytearray, at: int) -> tuple[np.ndarray, int]:
    end = at + 1 + body[at]
    dtype = _DTYPES[body[at + 1 : end].decode("ascii")]
    ndim, at = body[end], end + 1
    if ndim > MAX_NDIM:
        raise ProtocolError("an array has too many axes")
    shape = struct.unpack_from(f"<{ndim}Q", body, at)
    at += 8 * ndim
    size = 1
    for length in shape:
        size *= length
        if size * dtype.itemsize > MAX_FRAME or length > MAX_FRAME:
            raise ProtocolError("an array is too large")
    end = at + size * dtype.itemsize
    if end > len(body):
        raise ProtocolError("malformed frame: too short")
    return np.frombuffer(body, dtype, size, at).reshape(shape), end


def can_fork() -> bool:
    """Whether this platform has what warm processes are made of: forks, and sockets between them
    that keep messages apart.
    """
    try:
        for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET):
            end.close()
    except (AttributeError, OSError):
        return False
    return hasattr(os, "fork") and sys.platform != "emscripten"


class Pipe:
    """A pipe in and a pipe out, unbuffered, as `Frames` and `Countdown` use a socket and its poll.

    A thread reads ahead: not every platform can wait for a pipe with a limit.
    """

    def __init__(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        self.reader, self.writer = reader, writer
        self.arrived: queue.Queue[bytes] = queue.Queue(64)
        self.chunk: bytes | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        chunk = b"."
        while chunk:
            try:
                chunk = self.reader.read(1 << 16)
            except (OSError, ValueError):
                chunk = b""
            self.arrived.put(chunk)

    def poll(self, milliseconds: float | None = None) -> bool:
        """Whether something is there within that time."""
        if self.chunk is None:
            with contextlib.suppress(queue.Empty):
                seconds = None if milliseconds is None else milliseconds / 1000
                self.chunk = self.arrived.get(timeout=seconds)
        return self.chunk is not None

    def recv(self, size: int) -> bytes:
        """What has arrived, b"" at the end."""
        self.poll()
        chunk = self.chunk or b""
        self.chunk = None if chunk else b""
        return chunk

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.writer.write(view) :]


class Frames:
    """Frames over a socket, or over a pair of pipes."""

    def __init__(self, channel: socket.socket | Pipe) -> None:
        self.channel = channel
        self.buffer = bytearray()
        self.poll: select.poll | Pipe
        if isinstance(channel, Pipe):
            self.poll = channel
        else:
            self.poll = select.poll()
            self.poll.register(channel, select.POLLIN)

    def send(self, body: bytes) -> None:
        """Write one frame."""
        if len(body) > MAX_FRAME:
            raise ProtocolError(f"a frame is larger than {MAX_FRAME >> 20} MB")
        self.channel.sendall(_U32.pack(len(body)) + body)

    def receive(self, countdown: Countdown | None = None) -> bytes:
        """Read one frame. Raises EOFError when the other side is gone, TimeoutError when the
        countdown is over, ProtocolError when the frame is too large.
        """
        self._fill(_U32.size, countdown)
        length = _U32.unpack_from(self.buffer)[0]
        if length > MAX_FRAME:
            raise ProtocolError(f"a frame is larger than {MAX_FRAME >> 20} MB")
        end = _U32.size + length
        self._fill(end, countdown)
        body = bytes(memoryview(self.buffer)[_U32.size : end])
        del self.buffer[:end]
        return body

    def wait(self, seconds: float) -> bool:
        """Whether something has arrived within these seconds."""
        return bool(self.buffer) or bool(self.poll.poll(seconds * 1000))

    def _fill(self, count: int, countdown: Countdown | None) -> None:
        while len(self.buffer) < count:
            if countdown is not None and not countdown.wait(self.poll):
                raise TimeoutError("no answer in time")
            try:
                chunk = self.channel.recv(max(1 << 16, min(count - len(self.buffer), 1 << 20)))
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise EOFError("the other side is gone")
            self.buffer += chunk
