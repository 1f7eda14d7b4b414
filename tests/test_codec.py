"""What crosses the boundary, and what never does."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from proctor.processes import countdown
from proctor.processes import frames as codec
from proctor.processes.countdown import Countdown


def never(value: Any) -> NoReturn:
    raise AssertionError(f"{value!r} crossed as a reference")


def round_trip(value: Any) -> Any:
    return codec.decode(codec.encode(value, never), never)


atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
values = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values)
def test_plain_data_comes_back_as_it_was(value: Any) -> None:
    back = round_trip(value)
    assert back == value
    assert type(back) is type(value)


@given(
    hnp.arrays(
        hnp.floating_dtypes(sizes=(16, 32, 64), endianness="=")
        | hnp.integer_dtypes(endianness="=")
        | hnp.boolean_dtypes()
        | hnp.complex_number_dtypes(sizes=(64, 128), endianness="="),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    )
)
def test_arrays_keep_dtype_shape_and_bytes_and_are_read_only(array: np.ndarray) -> None:
    back = round_trip(array)
    assert type(back) is np.ndarray
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable


def test_numpy_scalars_dtypes_slices_and_sets() -> None:
    for value in (np.float32(1.5), np.int64(-3), np.bool_(True)):
        back = round_trip(value)
        assert type(back) is type(value)
        assert back == value
    assert round_trip(np.dtype("f4")) == np.dtype("f4")
    assert round_trip(slice(1, None, -2)) == slice(1, None, -2)
    assert round_trip(...) is ...
    assert round_trip({1, "a", (2, 3)}) == {1, "a", (2, 3)}


class Liar(float):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = float.__hash__


class Subarray(np.ndarray):
    pass


@pytest.mark.parametrize(
    "value",
    [
        Liar(1.0),
        np.zeros(3).view(Subarray),
        np.ma.masked_array([1.0, 2.0], [True, False]),
        np.array([1, "a", None], dtype=object),
        np.array(["text"]),
        np.zeros(2, dtype=">f8"),
        np.zeros(2, dtype=[("field", "f4")]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        type("Integer", (int,), {})(3),
        type("List", (list,), {})([1]),
        type("Text", (str,), {})("a"),
        frozenset({1}),
        bytearray(b"a"),
        {object(): 1},
        {Liar(1.0)},
        len,
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_crosses_as_a_reference(value: Any) -> None:
    met: list[Any] = []

    def reference(found: Any) -> int:
        met.append(found)
        return 7

    assert codec.decode(codec.encode(value, reference), lambda number: ("reference", number)) == (
        "reference",
        7,
    )
    assert len(met) == 1
    assert met[0] is value


def test_depth_and_size_are_bounded() -> None:
    nested: Any = []
    for _ in range(codec.MAX_DEPTH + 2):
        nested = [nested]
    with pytest.raises(codec.ProtocolError, match="nested"):
        codec.encode(nested, never)
    with pytest.raises(codec.ProtocolError, match="integer"):
        codec.encode(1 << (8 * codec.MAX_INT + 8), never)
    deep = b"L\x01\x00\x00\x00" * 5000
    with pytest.raises(codec.ProtocolError):
        codec.decode(deep, never)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"X",
        b"I\xff\xff\xff\xff",
        b"A\x02f8\x02" + struct.pack("<QQ", 1 << 40, 1 << 40),
        b"A\x02f8\x02" + struct.pack("<QQ", 0, 1 << 62),
        b"A\x02f8\xff",
        b"A\x01O\x00",
        b"A\x02f8\x01" + struct.pack("<Q", 4) + b"short",
        b"L" + struct.pack("<I", 3) + b"N",
        b"M" + struct.pack("<I", 1) + b"L\x00\x00\x00\x00N",
        b"E" + struct.pack("<I", 1) + b"L\x00\x00\x00\x00",
        b"GN",
        b"NN",
        b"S\x01\x00\x00\x00\xff",
    ],
)
def test_malformed_frames_are_refused(body: bytes) -> None:
    with pytest.raises(codec.ProtocolError):
        codec.decode(body, never)


@given(st.binary(max_size=200))
def test_garbage_is_decoded_or_refused_and_nothing_else(body: bytes) -> None:
    with contextlib.suppress(codec.ProtocolError):
        codec.decode(body, lambda number: number)


def test_frames_over_a_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        here, there = codec.Frames(ours), codec.Frames(theirs)
        here.send(b"hello")
        here.send(b"")
        here.send(b"x" * 100_000)
        assert [there.receive(), there.receive(), there.receive()] == [
            b"hello",
            b"",
            b"x" * 100_000,
        ]
        with pytest.raises(TimeoutError):
            here.receive(Countdown(0.05))
        theirs.sendall(b"\x10\x00")
        theirs.close()
        with pytest.raises(EOFError):
            here.receive(Countdown(1))


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_what_has_arrived_is_read_however_late(size: int) -> None:
    """A machine that stood still for a minute is no answer's fault."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        here, there = codec.Frames(ours), codec.Frames(theirs)
        there.send(b"first")
        there.send(bytes(size))
        over = Countdown(-60)
        assert [here.receive(over), here.receive(over)] == [b"first", bytes(size)]
        with pytest.raises(TimeoutError):
            here.receive(over)


@pytest.mark.parametrize("pause", [0, 0.05])
def test_a_frame_that_drips_is_not_waited_for(pause: float) -> None:
    ours, theirs = socket.socketpair()
    over = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            theirs.sendall(struct.pack("<I", codec.MAX_FRAME))
            while not over.wait(pause):
                theirs.sendall(b"x")

    dripping = threading.Thread(target=drip)
    with ours, theirs:
        dripping.start()
        with pytest.raises(TimeoutError):
            codec.Frames(ours).receive(Countdown(0.3))
        over.set()
        ours.close()
        dripping.join()


class Late:
    """A clock, and a poll that returns late by so much each time: nothing is there until a look."""

    def __init__(self, late: float, ready: int) -> None:
        self.time, self.late, self.ready = 0.0, late, ready

    def monotonic(self) -> float:
        return self.time

    def poll(self, milliseconds: float) -> list[int]:
        self.time += milliseconds / 1000 + self.late
        self.ready -= 1
        return [] if self.ready else [1]


@pytest.mark.parametrize("late", [0, 0.01, 60])
def test_a_late_look_costs_what_it_was_to_take(
    late: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late each look returns, an answer to the 20th is in time, and there is an end."""
    for ready, expected in ((20, True), (0, False)):
        clock = Late(late, ready)
        monkeypatch.setattr(countdown, "time", clock)
        assert Countdown(5.0).wait(clock) is expected  # type: ignore[arg-type]
    assert -clock.ready == 5.0 / countdown.TICK + 1


def test_a_frame_that_says_it_is_too_large_is_not_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(struct.pack("<I", codec.MAX_FRAME + 1))
        with pytest.raises(codec.ProtocolError, match="larger"):
            codec.Frames(ours).receive()
        with pytest.raises(codec.ProtocolError, match="larger"):
            codec.Frames(ours).send(bytes(codec.MAX_FRAME + 1))
