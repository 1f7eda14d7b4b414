"""09 by other means: JAX's numbers, finite differences, the loop of the notebook, its rubric.

The constants were computed by JAX 0.10.2 on the CPU in float64: `lax.conv_general_dilated` with
strides 2 and padding 1, `lax.reduce_window` by `lax.max`, and batch normalisation from its formula;
their gradients by `jax.vjp`.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinytorch as tt
from tests.course.notebooks import ROOT, notebooks

Names = dict[str, Any]


def steps(shape: tuple[int, ...], step: int, length: int) -> np.ndarray:
    """Small whole numbers that look drawn."""
    return (step * np.arange(np.prod(shape)) % length - length // 2.0).reshape(shape)


@pytest.fixture(autouse=True)
def gradients() -> Iterator[None]:
    tt.enable_gradients()
    yield
    tt.disable_gradients()


@pytest.fixture(scope="module")
def written() -> Names:
    """The names of the notebook, but for what draws or trains for show."""
    book = next(book for book in notebooks("09_spatial") if book.name == "09_spatial.ipynb")
    names: Names = {}
    try:
        with contextlib.chdir(ROOT / "source/09_spatial"):
            for cell in book.cells:
                if cell.type == "code" and not cell.is_hidden_test and "demo" not in cell.tags:
                    exec(cell.source, names)
    finally:
        tt.disable_gradients()
    return names


def sent_back(layer: Callable[[Any], Any], x: np.ndarray, g: np.ndarray, *more: Any) -> list[Any]:
    """What a layer answers, and the gradients of x and of these Tensors."""
    start = tt.Tensor(x, requires_grad=True)
    for tensor in more:
        tensor.requires_grad = True
    y = layer(start)
    y.backward(g)
    return [y.data, start.grad, *(tensor.grad for tensor in more)]


def test_a_convolution_is_that_of_jax() -> None:
    layer = tt.Conv2d(2, 2, 3, stride=2, padding=1)
    layer.weight.data = steps((2, 2, 3, 3), 2, 5)
    layer.bias.data = np.array([[1.0], [-2.0]])
    g = steps((1, 2, 3, 2), 1, 4)
    found = sent_back(layer, steps((1, 2, 5, 4), 3, 7), g, layer.weight, layer.bias)
    y = [4, 6, -13, -15, 7, 11, -23, 7, 14, 24, 3, -10]
    of_x = [-2, 5, 1, 1, -6, 6, -5, 5, -4, 1, -1, -1, 4, -4, 5, -5, -2, 5, 1, 1]
    of_x += [2, -6, 1, 1, 2, -6, 0, -5, 0, 0, -1, -1, 2, 4, 0, 5, 2, -6, 1, 1]
    of_weight = [-3, 8, -5, 4, -6, 7, 3, -8, 7, 4, -7, 8, 0, 2, -6, -4, 5, -8]
    of_weight += [3, -8, 7, -4, 6, -11, -3, 8, -5, -4, 5, -8, 0, 2, 6, 4, -7, 8]
    for seen, right in zip(found, (y, of_x, of_weight, [-5, -1]), strict=True):
        assert np.array_equal(np.ravel(seen), right)


def test_overlapping_maxima_are_those_of_jax() -> None:
    g = steps((1, 2, 2, 3), 1, 4)
    y, grad = sent_back(tt.MaxPool2d(2, 1), steps((1, 2, 3, 4), 17, 41), g)
    assert y.ravel().tolist() == [7, 14, 17, 10, 10, 17, 20, 13, 16, 9, 9, 16]
    right = [0, 0, -1, 0, -2, 0, 0, -1, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, 0, -1, 0, -1, 0, 0]
    assert grad.ravel().tolist() == right


def test_normalised_pictures_are_those_of_jax() -> None:
    layer = tt.BatchNorm2d(2)
    layer.weight.data = np.array([1.5, -0.5]).reshape(2, 1, 1)
    layer.bias.data = np.array([0.25, 2.0]).reshape(2, 1, 1)
    g = steps((2, 2, 1, 2), 1, 3)
    found = sent_back(layer, steps((2, 2, 1, 2), 17, 41), g, layer.weight, layer.bias)
    y = [-1.36780665, 0.97284978, 1.598416789, 2.699902168]
    y += [2.349706504, -0.954749633, 2.240949927, 1.460731117]
    of_x = [-0.127462566, -0.004567771, -0.032626939, -0.008700513]
    of_x += [-0.013268286, 0.145298624, 0.019576163, 0.021751288]
    for seen, right in zip(found, (y, of_x, [0.275371345, 2.684870611], [0, -1]), strict=True):
        assert np.allclose(np.ravel(seen), right, rtol=0, atol=1e-9)


def test_running_statistics_are_those_that_pytorch_documents() -> None:
    """torch.nn.BatchNorm2d: momentum for what is new, the unbiased variance, the biased in use."""
    layer, x = tt.BatchNorm2d(2, momentum=0.25), steps((3, 2, 2, 2), 5, 13)
    layer(tt.Tensor(x))
    assert np.allclose(layer.running_mean.ravel(), 0.25 * x.mean((0, 2, 3)))
    assert np.allclose(layer.running_var.ravel(), 0.75 + 0.25 * x.var((0, 2, 3), ddof=1))


SIZES = [
    (shape, *rest)
    for shape in ((2, 1, 5, 4), (1, 2, 4, 6))
    for rest in itertools.product((1, 2, 3, 4), (1, 2, 3), (0, 1, 2))
]


def test_windows_and_their_rule_are_adjoint_at_every_size() -> None:
    rng = np.random.default_rng(0)
    for shape, size, stride, padding in SIZES:
        x = rng.normal(size=shape)
        y = tt.windows(tt.Tensor(x), size, stride, padding).data
        g = rng.normal(size=y.shape)
        _, back = sent_back(lambda t, k=(size, stride, padding): tt.windows(t, *k), x, g)
        assert np.isclose((y * g).sum(), (x * back).sum()), (shape, size, stride, padding)


def test_the_layer_is_the_loop(written: Names) -> None:
    rng = np.random.default_rng(1)
    for shape, size, stride, padding in SIZES:
        layer = tt.Conv2d(shape[1], 3, size, stride, padding, bias=False, rng=rng)
        x = rng.normal(size=shape)
        right = written["convolve_by_loops"](x, layer.weight.data, stride, padding)
        assert np.allclose(layer(tt.Tensor(x)).data, right)


def with_weights(layer: Any, training: bool = True) -> Callable[..., Any]:
    """The layer as a function of its input, weight and bias."""

    def function(x: Any, weight: Any, bias: Any) -> Any:
        layer.weight, layer.bias = weight, bias
        return layer.train(training)(x)

    return function


def test_finite_differences_of_every_layer() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, 2, 5, 4))
    constant = np.where(np.arange(2).reshape(2, 1, 1) == 1, 3.0, x)
    for size, stride, padding in itertools.product((1, 2, 3), (1, 2), (0, 1)):
        assert tt.gradcheck(lambda t, k=(size, stride, padding): tt.windows(t, *k), x)
        conv = with_weights(tt.Conv2d(2, 3, size, stride, padding))
        assert tt.gradcheck(conv, x, rng.normal(size=(3, 2, size, size)), rng.normal(size=(3, 1)))
        assert tt.gradcheck(tt.MaxPool2d(size, stride), x)
        assert tt.gradcheck(tt.AvgPool2d(size, stride), x)
    for training, pictures in itertools.product((True, False), (x, constant, x[:, :, :1, :1])):
        norm = with_weights(tt.BatchNorm2d(2), training)
        assert tt.gradcheck(norm, pictures, *rng.normal(size=(2, 2, 1, 1)))
    assert tt.gradcheck(tt.Flatten(), x)


def test_shares_of_a_tie_sum_to_its_gradient() -> None:
    g = np.array([[[[2.0, 3.0]]]])
    _, grad = sent_back(tt.MaxPool2d(2), np.zeros((1, 1, 2, 4)), g)
    assert grad.reshape(2, 2, 2).sum((0, 2)).tolist() == [2, 3]


def test_what_is_made_of_windows_leaves_the_pictures_alone() -> None:
    x = np.ones((1, 1, 3, 3), np.float32)
    view = tt.windows(tt.Tensor(x), 1).data
    assert not np.shares_memory(view, x)


def test_a_bias_before_normalisation_has_no_gradient_and_both_are_one_convolution() -> None:
    rng = np.random.default_rng(3)
    conv, norm = tt.Conv2d(2, 3, 3, rng=rng), tt.BatchNorm2d(3)
    x, g = rng.normal(size=(4, 2, 5, 5)), rng.normal(size=(4, 3, 3, 3))
    norm.weight.data, norm.bias.data = rng.normal(size=(2, 3, 1, 1))
    conv.bias.data = rng.normal(size=(3, 1))
    *_, of_bias = sent_back(lambda t: norm(conv(t)), x, g, conv.bias)
    assert np.abs(of_bias).max() < 1e-9
    y = norm.eval()(conv(tt.Tensor(x))).data
    scale = (norm.weight.data / np.sqrt(norm.running_var + norm.eps)).reshape(3, 1)
    conv.bias.data = (conv.bias.data - norm.running_mean.reshape(3, 1)) * scale
    conv.bias.data = conv.bias.data + norm.bias.data.reshape(3, 1)
    conv.weight.data = conv.weight.data * scale.reshape(3, 1, 1, 1)
    assert np.allclose(conv(tt.Tensor(x)).data, y, rtol=1e-5, atol=1e-6)


def test_the_network_has_as_many_numbers_as_is_said(written: Names) -> None:
    book = next(book for book in notebooks("09_spatial") if book.name == "09_spatial.ipynb")
    [text] = [cell.source for cell in book.cells if cell.id == "net_text"]
    count = sum(p.size for p in written["digits_net"]().parameters())
    assert f"{count:,} numbers" in text


def test_the_weights_that_are_kept_read_97_of_100(written: Names) -> None:
    model = written["digits_net"]()
    tt.load_weights(ROOT / "tests/solutions/09_spatial/cnn.npz", model)
    unseen = np.random.default_rng(9).permutation(1797)[1297:]
    rng, labels = np.random.default_rng(4), written["labels"][unseen]
    images = written["moved"](written["pictures"][unseen], rng)
    noisy = (images + rng.normal(0, 0.05, images.shape)).astype(np.float32)
    assert np.mean(model.eval()(tt.Tensor(noisy)).data.argmax(1) == labels) >= 0.97
