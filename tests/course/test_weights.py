"""Files of weights: read where other layers stand, whole or not at all, damaged ones refused."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch as tt


class Norm(tt.Module):
    """Has an array beside its parameters, and one that it sets when it is first used."""

    def __init__(self, size: int) -> None:
        self.weight = tt.Tensor(np.ones(size, np.float32))
        self.running_mean = np.zeros(size, np.float32)

    def forward(self, x: Any) -> Any:
        self.seen = x.data.mean(0)
        self.running_mean = self.running_mean + self.seen
        return x * self.weight


class Dropout(tt.Dropout):
    """As a student may have written it: it keeps its mask."""

    def forward(self, x: Any) -> Any:
        self.mask = np.ones(x.shape)
        return x


class Backwards(tt.Module):
    """A Sequential whose parameters() and attributes come in another order."""

    def __init__(self, *layers: Any) -> None:
        self.note, self.all = np.array(["a text"]), [list(layers)]

    def forward(self, x: Any) -> Any:
        for layer in self.all[0]:
            x = layer(x)
        return x

    def parameters(self) -> list[Any]:
        return super().parameters()[::-1]


class Tied(tt.Module):
    def __init__(self, inside: Any) -> None:
        self.inside, self.scales = inside, (tt.Tensor([1.0]), [tt.Tensor([2.0])])
        self.again = self.scales[0]

    def forward(self, x: Any) -> Any:
        return self.inside(x) * self.again * self.scales[1][0]


def made(seed: int, chain: Any = tt.Sequential, dropout: Any = tt.Dropout, size: int = 4) -> Any:
    rng = np.random.default_rng(seed)
    layers = [tt.Linear(3, size, rng=rng), Norm(size), tt.relu, dropout(0.5)]
    model = Tied(chain(*layers, tt.Linear(size, size, rng=rng), Norm(size)))
    for tensor in model.parameters():
        tensor.data = rng.normal(size=tensor.shape).astype(np.float32)
    return model


X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def answer(model: Any) -> np.ndarray:
    return model.eval()(tt.Tensor(X)).data


def means(model: Any) -> list[np.ndarray]:
    layers = getattr(model.inside, "layers", None) or model.inside.all[0]
    return [layer.running_mean for layer in layers if isinstance(layer, Norm)]


def test_a_model_comes_back_where_other_layers_stand(tmp_path: Path) -> None:
    first, path = made(1, Backwards, type("Dropout", (Dropout,), {})), tmp_path / "some.name"
    answer(first)
    tt.save_weights(path, first)
    assert os.listdir(tmp_path) == ["some.name"]
    second = made(2)
    kept = means(first)
    tt.load_weights(path, second)
    assert all(map(np.array_equal, means(second), kept)) and any(kept[0] != 0)
    assert np.array_equal(answer(second), answer(first))
    assert second.again is second.scales[0]


def test_axes_of_length_1_do_not_count(tmp_path: Path) -> None:
    first, second = made(1), made(2)
    for model, shape in ((first, (4, 1)), (second, (1, 4))):
        for tensor in model.parameters():
            tensor.data = tensor.data.reshape(shape if tensor.shape == (4,) else tensor.shape)
    tt.save_weights(tmp_path / "column.npz", first)
    tt.load_weights(tmp_path / "column.npz", second)
    assert {p.shape for p in second.parameters()} >= {(1, 4)}
    for p, other in zip(second.parameters(), first.parameters(), strict=True):
        assert np.array_equal(p.data.ravel(), other.data.ravel())


def test_an_array_that_only_the_model_has_stays_as_it_is(tmp_path: Path) -> None:
    first, second, path = made(1), made(2), tmp_path / "weights.npz"
    tt.save_weights(path, first)
    second.inside.layers[0].nothing = np.full(4, 7.0)  # a zero row, as somebody's Linear has one
    tt.load_weights(path, second)
    assert second.inside.layers[0].nothing.tolist() == [7.0] * 4
    assert np.array_equal(answer(second), answer(first))


def test_half_precision_comes_back_in_the_models_dtype(tmp_path: Path) -> None:
    first, second = made(1), made(2)
    for tensor in first.parameters():
        tensor.data = tensor.data.astype(np.float16)
    tt.save_weights(tmp_path / "half.npz", first)
    tt.load_weights(tmp_path / "half.npz", second)
    assert {p.dtype for p in second.parameters()} == {np.dtype(np.float32)}
    first_values = [p.data for p in first.parameters()]
    assert all(map(np.array_equal, [p.data for p in second.parameters()], first_values))


def test_what_goes_wrong_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.npz"
    tt.save_weights(path, made(1))
    before = path.read_bytes()

    def full(file: Any, **arrays: Any) -> None:
        file.write(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        tt.save_weights(path, made(2))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["weights.npz"]


def archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def whole(tmp_path: Path, model: Any) -> bytes:
    tt.save_weights(tmp_path / "whole.npz", model)
    return (tmp_path / "whole.npz").read_bytes()


def bad_files(tmp_path: Path) -> dict[str, bytes]:
    raw = whole(tmp_path, made(1))
    arrays = dict(np.load(io.BytesIO(raw)))
    flipped = bytearray(raw)
    flipped[raw.find(arrays["Linear.0.weight"].tobytes())] ^= 64
    one_array = io.BytesIO()
    np.save(one_array, np.ones(3))
    words = arrays | {"Norm.0.weight": np.array(["a"] * 4)}
    mean = arrays | {"Norm.0.running_mean": np.zeros(9)}
    return {
        "nothing": b"",
        "a text": b"no weights",
        "cut off": raw[:-9],
        "cut in the middle": raw[: len(raw) // 2],
        "a wrong byte": bytes(flipped),
        "one array": one_array.getvalue(),
        "pickles": archive(**arrays | {"Norm.0.weight": np.array([[1], {}], dtype=object)}),
        "words for numbers": archive(**words),
        "something else": archive(a=np.ones(3)),
        "a parameter less": archive(**{n: a for n, a in arrays.items() if n != "Norm.1.weight"}),
        "an array too much": archive(**arrays, **{"Norm.2.running_mean": np.ones(4)}),
        "an array in place of a method": archive(**arrays, **{"Norm.0.forward": np.ones(4)}),
        "a mean of another length": archive(**mean),
        "a wider model": whole(tmp_path, made(1, size=5)),
        "a model with a layer less": whole(tmp_path, made(1).inside),
    }


def test_a_damaged_or_foreign_file_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    model = made(3)
    before = [p.data for p in model.parameters()] + means(model)
    for kind, raw in bad_files(tmp_path).items():
        path = tmp_path / "bad.npz"
        path.write_bytes(raw)
        with pytest.raises(ValueError) as caught:
            tt.load_weights(path, model)
        assert str(path) in str(caught.value) and len(str(caught.value).split()) > 5, kind
        after = [p.data for p in model.parameters()] + means(model)
        assert all(a is b for a, b in zip(after, before, strict=True)), kind
    tt.load_weights(tmp_path / "whole.npz", made(1).inside)  # the last one, where it belongs


class Pair(tt.Module):
    """Two layers of one shape, set in this order or in the other."""

    def __init__(self, seed: int, names: tuple[str, ...]) -> None:
        rng = np.random.default_rng(seed)
        for name in names:
            setattr(self, name, tt.Linear(3, 3, rng=rng))

    def forward(self, x: Any) -> Any:
        return self.k(self.q(x))


def test_attributes_may_be_set_in_any_order(tmp_path: Path) -> None:
    model, other = Pair(1, ("q", "k")), Pair(2, ("k", "q"))
    tt.save_weights(tmp_path / "pair.npz", model)
    tt.load_weights(tmp_path / "pair.npz", other)
    assert np.array_equal(answer(other), answer(model))
