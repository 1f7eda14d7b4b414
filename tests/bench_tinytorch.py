"""`make bench-tinytorch`: what a training step costs in tinytorch, beside others who do the same.

Each workload is a forward and a backward pass over the same numbers (of the MLP: a whole training
step), written by hand in NumPy, in tinytorch, in HIPS autograd and in torch, the last two where
they are installed. All have to agree before any is timed. They take turns in one process on one
thread; a ratio is the median of those of the turns, in CPU time.

glibc gives large arrays back to the system as soon as they are freed and asks for them again, page
by page: that costs everybody alike and hides what is compared, so it is told to keep them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from statistics import median
from typing import Any

KEPT = str(1 << 30)
SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": KEPT,
    "MALLOC_TRIM_THRESHOLD_": KEPT,
    "MALLOC_TOP_PAD_": str(64 << 20),
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
}
if __name__ == "__main__" and SETTINGS.items() - os.environ.items():
    # glibc and BLAS read them when a process begins
    os.execve(
        sys.executable,
        [sys.executable, "-m", "tests.bench_tinytorch", *sys.argv[1:]],
        {**os.environ, **SETTINGS},
    )

import numpy as np  # noqa: E402

import tinytorch as tt  # noqa: E402

# At most so many times what the same mathematics costs by hand.
LIMITS = {
    "MLP 64-128-10, B 64, step": 2.7,
    "Conv2d 8x3x16x16 -> 8, 3x3": 1.3,
    "attention B4 T32 D64": 1.9,
    "GPT block B4 T64 D64": 1.7,
    "embedding 4x64 of 1,000": 1.2,
}
Arrays = dict[str, np.ndarray]
Run = Callable[[], Arrays]  # gradients (or new parameters) by name
HEADS = 4


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


# By hand ------------------------------------------------------------------------------------------


def relu_by_hand(x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    return np.maximum(x, 0), lambda g: g * (x > 0)


def gelu_by_hand(x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    c = math.sqrt(2 / math.pi)
    square = x * x
    t = np.tanh(c * (x + 0.044715 * square * x))

    def back(g: np.ndarray) -> np.ndarray:
        slope = (1 - t * t) * (c * (1 + 3 * 0.044715 * square))
        return g * (0.5 * (1 + t) + 0.5 * x * slope)

    return 0.5 * x * (1 + t), back


def norm_by_hand(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, Callable[[np.ndarray], tuple[np.ndarray, ...]]]:
    centred = x - x.mean(-1, keepdims=True)
    inverse = ((centred * centred).mean(-1, keepdims=True) + 1e-5) ** -0.5
    hat = centred * inverse

    def back(g: np.ndarray) -> tuple[np.ndarray, ...]:
        flat = g.reshape(-1, g.shape[-1])
        for_weight = (flat * hat.reshape(flat.shape)).sum(0)
        h = g * weight
        mean, along = h.mean(-1, keepdims=True), (h * hat).mean(-1, keepdims=True)
        return (h - mean - hat * along) * inverse, for_weight, flat.sum(0)

    return hat * weight + bias, back


def linear_back(g: np.ndarray, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, ...]:
    flat = g.reshape(-1, g.shape[-1])
    return g @ weight.T, x.reshape(-1, x.shape[-1]).T @ flat, flat.sum(0)


def attention_by_hand(
    x: np.ndarray, p: Arrays, mask: np.ndarray | None
) -> tuple[np.ndarray, Callable[[np.ndarray], tuple[np.ndarray, Arrays]]]:
    batch, length, dim = x.shape
    each = dim // HEADS

    def split(y: np.ndarray) -> np.ndarray:
        return y.reshape(batch, length, HEADS, each).transpose(0, 2, 1, 3)

    def join(y: np.ndarray) -> np.ndarray:
        return y.transpose(0, 2, 1, 3).reshape(batch, length, dim)

    q, k, v = (split(x @ p[f"{name}w"] + p[f"{name}b"]) for name in "qkv")
    scale = each**-0.5
    scores = (q * scale) @ k.mT
    if mask is not None:
        scores += mask
    scores -= scores.max(-1, keepdims=True)
    shares = np.exp(scores)
    shares /= shares.sum(-1, keepdims=True)
    joined = join(shares @ v)

    def back(g: np.ndarray) -> tuple[np.ndarray, Arrays]:
        found: Arrays = {}
        g, found["ow"], found["ob"] = linear_back(g, joined, p["ow"])
        g = split(g)
        for_v = shares.mT @ g
        for_shares = g @ v.mT
        inner = shares * (for_shares - (for_shares * shares).sum(-1, keepdims=True))
        for_q, for_k = (inner @ k) * scale, inner.mT @ (q * scale)
        total = np.zeros_like(x)
        for name, part in zip("qkv", (for_q, for_k, for_v), strict=True):
            for_x, found[f"{name}w"], found[f"{name}b"] = linear_back(join(part), x, p[f"{name}w"])
            total += for_x
        return total, found

    return joined @ p["ow"] + p["ob"], back


def attention_parameters(dim: int) -> Arrays:
    found = {}
    for seed, name in enumerate("qkvo"):
        found[f"{name}w"] = numbers(dim, dim, seed=seed, scale=dim**-0.5)
        found[f"{name}b"] = numbers(dim, seed=10 + seed, scale=0.1)
    return found


# The workloads, each as it is written by whoever uses one of the four ---------------------------


class MLP:
    """A step of plain SGD on softmax cross-entropy."""

    def __init__(self) -> None:
        self.x, self.targets = numbers(64, 64), np.random.default_rng(1).integers(0, 10, 64)
        self.p = {
            "w1": numbers(64, 128, seed=2, scale=0.1),
            "b1": numbers(128, seed=3, scale=0.1),
            "w2": numbers(128, 10, seed=4, scale=0.1),
            "b2": numbers(10, seed=5, scale=0.1),
        }
        self.rate = np.float32(0.01)

    def numpy(self) -> Run:
        x, rows = self.x, np.arange(64)

        def run() -> Arrays:
            p = self.p
            h, back = relu_by_hand(x @ p["w1"] + p["b1"])
            z = h @ p["w2"] + p["b2"]
            z = z - z.max(-1, keepdims=True)
            shares = np.exp(z)
            shares /= shares.sum(-1, keepdims=True)
            shares[rows, self.targets] -= 1
            g = shares / np.float32(64)
            new = {"w2": p["w2"] - self.rate * (h.T @ g), "b2": p["b2"] - self.rate * g.sum(0)}
            g = back(g @ p["w2"].T)
            new["w1"], new["b1"] = p["w1"] - self.rate * (x.T @ g), p["b1"] - self.rate * g.sum(0)
            return new

        return run

    def tinytorch(self) -> Run:
        model = tt.Sequential(tt.Linear(64, 128), tt.relu, tt.Linear(128, 10))
        first, _, last = model.layers
        places = {"w1": first.weight, "b1": first.bias, "w2": last.weight, "b2": last.bias}
        optimizer = tt.SGD(model.parameters(), lr=0.01)
        x = tt.Tensor(self.x)

        def run() -> Arrays:
            for name, place in places.items():
                place.data = self.p[name]
            optimizer.zero_grad()
            tt.cross_entropy(model(x), self.targets).backward()
            optimizer.step()
            return {name: place.data for name, place in places.items()}

        return run

    def autograd(self) -> Run:
        import autograd.numpy as anp
        from autograd import grad

        rows = np.arange(64)

        def loss(p: Arrays) -> Any:
            z = anp.maximum(self.x @ p["w1"] + p["b1"], 0) @ p["w2"] + p["b2"]
            z = z - anp.max(z, -1, keepdims=True)
            return anp.mean(anp.log(anp.sum(anp.exp(z), -1)) - z[rows, self.targets])

        slope = grad(loss)
        return lambda: {name: self.p[name] - self.rate * g for name, g in slope(self.p).items()}

    def torch(self) -> Run:
        import torch

        x, targets = torch.tensor(self.x), torch.tensor(self.targets)
        layers = torch.nn.Linear(64, 128), torch.nn.Linear(128, 10)
        model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1])
        places = {
            "w1": layers[0].weight,
            "b1": layers[0].bias,
            "w2": layers[1].weight,
            "b2": layers[1].bias,
        }
        given = {name: torch.tensor(self.p[name].T.copy()) for name in self.p}
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

        def run() -> Arrays:
            with torch.no_grad():
                for name, place in places.items():
                    place.copy_(given[name])
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), targets).backward()
            optimizer.step()
            return {name: place.detach().numpy().T for name, place in places.items()}

        return run


class Conv:
    def __init__(self) -> None:
        self.x, self.weight = numbers(8, 3, 16, 16), numbers(8, 3, 3, 3, seed=1, scale=0.2)
        self.bias, self.g = numbers(8, seed=2), numbers(8, 8, 14, 14, seed=3)

    def numpy(self) -> Run:
        n, c, h, w = self.x.shape
        rows, columns = h - 2, w - 2

        def run() -> Arrays:
            windows = np.lib.stride_tricks.sliding_window_view(self.x, (3, 3), (2, 3))
            patches = windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * 9, rows * columns)
            flat = self.weight.reshape(8, -1)
            y = flat @ patches + self.bias[:, None]
            y.reshape(n, 8, rows, columns)
            g = self.g.reshape(n, 8, -1)
            for_weight = np.tensordot(g, patches, ((0, 2), (0, 2)))
            back = (flat.T @ g).reshape(n, c, 3, 3, rows, columns)
            for_x = np.zeros_like(self.x)
            for a in range(3):
                for b in range(3):
                    for_x[:, :, a : a + rows, b : b + columns] += back[:, :, a, b]
            return {"x": for_x, "w": for_weight.reshape(8, c, 3, 3), "b": g.sum((0, 2))}

        return run

    def tinytorch(self) -> Run:
        layer = tt.Conv2d(3, 8, 3)
        layer.weight.data = self.weight
        layer.bias.data = self.bias.reshape(layer.bias.shape)
        for p in layer.parameters():
            p.requires_grad = True
        x = tt.Tensor(self.x, requires_grad=True)

        def run() -> Arrays:
            for each in (x, layer.weight, layer.bias):
                each.zero_grad()
            layer(x).backward(self.g)
            return {"x": x.grad, "w": layer.weight.grad, "b": layer.bias.grad.reshape(-1)}

        return run

    def autograd(self) -> Run:
        import autograd.numpy as anp
        from autograd import grad

        def output(x: Any, w: Any, b: Any) -> Any:
            parts = [x[:, :, i : i + 14, j : j + 14] for i in range(3) for j in range(3)]
            patches = anp.reshape(anp.stack(parts, 2), (8, 27, 196))
            y = anp.reshape(w, (8, 27)) @ patches + b[:, None]
            return anp.sum(y * self.g.reshape(8, 8, 196))

        slope = grad(output, (0, 1, 2))
        return lambda: dict(zip("xwb", slope(self.x, self.weight, self.bias), strict=True))

    def torch(self) -> Run:
        import torch

        x, w, b, g = map(torch.tensor, (self.x, self.weight, self.bias, self.g))
        for each in (x, w, b):
            each.requires_grad = True

        def run() -> Arrays:
            x.grad = w.grad = b.grad = None
            torch.nn.functional.conv2d(x, w, b).backward(g)
            return {"x": x.grad.numpy(), "w": w.grad.numpy(), "b": b.grad.numpy()}

        return run


class Attention:
    def __init__(self) -> None:
        self.x, self.g, self.p = (
            numbers(4, 32, 64),
            numbers(4, 32, 64, seed=1),
            attention_parameters(64),
        )
        self.mask = tt.causal_mask(32)

    def numpy(self) -> Run:
        def run() -> Arrays:
            _, back = attention_by_hand(self.x, self.p, self.mask)
            for_x, found = back(self.g)
            return {"x": for_x, **found}

        return run

    def tinytorch(self) -> Run:
        layer = tt.MultiHeadAttention(64, HEADS)
        places = attention_places(layer)
        x = marked(self.x, places, self.p)

        def run() -> Arrays:
            for each in places.values():
                each.zero_grad()
            x.zero_grad()
            layer(x, self.mask).backward(self.g)
            return {"x": x.grad, **{name: each.grad for name, each in places.items()}}

        return run

    def autograd(self) -> Run:
        import autograd.numpy as anp
        from autograd import grad

        slope = grad(lambda x, p: anp.sum(hips_attention(x, p, self.mask) * self.g), (0, 1))

        def run() -> Arrays:
            for_x, found = slope(self.x, self.p)
            return {"x": for_x, **found}

        return run

    def torch(self) -> Run:
        import torch

        x, g = torch.tensor(self.x, requires_grad=True), torch.tensor(self.g)
        p = {name: torch.tensor(array, requires_grad=True) for name, array in self.p.items()}
        mask = torch.tensor(self.mask)

        def run() -> Arrays:
            for each in (x, *p.values()):
                each.grad = None
            torch_attention(x, p, mask).backward(g)
            return {"x": x.grad.numpy(), **{name: each.grad.numpy() for name, each in p.items()}}

        return run


def attention_places(layer: Any) -> dict[str, Any]:
    found = {}
    for name in "qkvo":
        linear = getattr(layer, "out" if name == "o" else name)
        found[f"{name}w"], found[f"{name}b"] = linear.weight, linear.bias
    return found


def marked(x: np.ndarray, places: dict[str, Any], p: Arrays) -> Any:
    """The input as a Tensor; it and the parameters, which get their numbers, want a gradient."""
    for name, place in places.items():
        place.data, place.requires_grad = p[name].reshape(place.shape), True
    return tt.Tensor(x, requires_grad=True)


def hips_attention(x: Any, p: Any, mask: np.ndarray) -> Any:
    import autograd.numpy as anp

    batch, length, dim = x.shape

    def split(y: Any) -> Any:
        return anp.transpose(anp.reshape(y, (batch, length, HEADS, -1)), (0, 2, 1, 3))

    q, k, v = (split(x @ p[f"{name}w"] + p[f"{name}b"]) for name in "qkv")
    scores = (q * (dim // HEADS) ** -0.5) @ anp.swapaxes(k, -1, -2) + mask
    shares = anp.exp(scores - anp.max(scores, -1, keepdims=True))
    y = (shares / anp.sum(shares, -1, keepdims=True)) @ v
    return anp.reshape(anp.transpose(y, (0, 2, 1, 3)), (batch, length, dim)) @ p["ow"] + p["ob"]


def torch_attention(x: Any, p: Any, mask: Any) -> Any:
    import torch

    batch, length, dim = x.shape
    q, k, v = (
        (x @ p[f"{name}w"] + p[f"{name}b"]).view(batch, length, HEADS, -1).transpose(1, 2)
        for name in "qkv"
    )
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return y.transpose(1, 2).reshape(batch, length, dim) @ p["ow"] + p["ob"]


class Block:
    def __init__(self) -> None:
        self.x, self.g = numbers(4, 64, 64), numbers(4, 64, 64, seed=1)
        self.p = attention_parameters(64) | {
            "n1w": 1 + numbers(64, seed=20, scale=0.1),
            "n1b": numbers(64, seed=21, scale=0.1),
            "n2w": 1 + numbers(64, seed=22, scale=0.1),
            "n2b": numbers(64, seed=23, scale=0.1),
            "m1w": numbers(64, 256, seed=24, scale=0.1),
            "m1b": numbers(256, seed=25, scale=0.1),
            "m2w": numbers(256, 64, seed=26, scale=0.1),
            "m2b": numbers(64, seed=27, scale=0.1),
        }
        self.mask = tt.causal_mask(64)

    def numpy(self) -> Run:
        p = self.p

        def run() -> Arrays:
            y, back1 = norm_by_hand(self.x, p["n1w"], p["n1b"])
            y, attended = attention_by_hand(y, p, self.mask)
            x = self.x + y
            normed, back2 = norm_by_hand(x, p["n2w"], p["n2b"])
            h, bent = gelu_by_hand(normed @ p["m1w"] + p["m1b"])
            x + (h @ p["m2w"] + p["m2b"])
            found: Arrays = {}
            g, found["m2w"], found["m2b"] = linear_back(self.g, h, p["m2w"])
            g, found["m1w"], found["m1b"] = linear_back(bent(g), normed, p["m1w"])
            g, found["n2w"], found["n2b"] = back2(g)
            g = self.g + g
            inner, more = attended(g)
            inner, found["n1w"], found["n1b"] = back1(inner)
            return {"x": g + inner, **found, **more}

        return run

    def tinytorch(self) -> Run:
        block = tt.TransformerBlock(64, HEADS)
        places = attention_places(block.attention)
        norms, linears = (block.norm1, block.norm2), [block.mlp.layers[0], block.mlp.layers[-1]]
        for number, (norm, linear) in enumerate(zip(norms, linears, strict=True), 1):
            places |= {f"n{number}w": norm.weight, f"n{number}b": norm.bias}
            places |= {f"m{number}w": linear.weight, f"m{number}b": linear.bias}
        x = marked(self.x, places, self.p)

        def run() -> Arrays:
            for each in (x, *places.values()):
                each.zero_grad()
            block(x, self.mask).backward(self.g)
            return {"x": x.grad, **{name: each.grad for name, each in places.items()}}

        return run

    def autograd(self) -> Run:
        import autograd.numpy as anp
        from autograd import grad

        def norm(x: Any, weight: Any, bias: Any) -> Any:
            centred = x - anp.mean(x, -1, keepdims=True)
            variance = anp.mean(centred * centred, -1, keepdims=True)
            return centred * (variance + 1e-5) ** -0.5 * weight + bias

        def output(x: Any, p: Any) -> Any:
            x = x + hips_attention(norm(x, p["n1w"], p["n1b"]), p, self.mask)
            h = norm(x, p["n2w"], p["n2b"]) @ p["m1w"] + p["m1b"]
            h = 0.5 * h * (1 + anp.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h * h * h)))
            return anp.sum((x + h @ p["m2w"] + p["m2b"]) * self.g)

        slope = grad(output, (0, 1))

        def run() -> Arrays:
            for_x, found = slope(self.x, self.p)
            return {"x": for_x, **found}

        return run

    def torch(self) -> Run:
        import torch

        functional = torch.nn.functional
        x, g = torch.tensor(self.x, requires_grad=True), torch.tensor(self.g)
        p = {name: torch.tensor(array, requires_grad=True) for name, array in self.p.items()}
        mask = torch.tensor(self.mask)

        def run() -> Arrays:
            for each in (x, *p.values()):
                each.grad = None
            y = x + torch_attention(functional.layer_norm(x, (64,), p["n1w"], p["n1b"]), p, mask)
            h = functional.layer_norm(y, (64,), p["n2w"], p["n2b"]) @ p["m1w"] + p["m1b"]
            h = functional.gelu(h, approximate="tanh")
            (y + h @ p["m2w"] + p["m2b"]).backward(g)
            return {"x": x.grad.numpy(), **{name: each.grad.numpy() for name, each in p.items()}}

        return run


class Lookup:
    """Rows of a table by token, some of them repeated."""

    def __init__(self) -> None:
        self.ids = np.random.default_rng(0).integers(0, 1_000, (4, 64))
        self.weight, self.g = numbers(1_000, 64), numbers(4, 64, 64, seed=1)

    def numpy(self) -> Run:
        def run() -> Arrays:
            self.weight[self.ids]
            gradient = np.zeros_like(self.weight)
            np.add.at(gradient, self.ids, self.g)
            return {"w": gradient}

        return run

    def tinytorch(self) -> Run:
        layer = tt.Embedding(1_000, 64)
        layer.weight.data, layer.weight.requires_grad = self.weight, True

        def run() -> Arrays:
            layer.weight.zero_grad()
            layer(self.ids).backward(self.g)
            return {"w": layer.weight.grad}

        return run

    def autograd(self) -> Run:
        import autograd.numpy as anp
        from autograd import grad

        slope = grad(lambda w: anp.sum(w[self.ids] * self.g))
        return lambda: {"w": slope(self.weight)}

    def torch(self) -> Run:
        import torch

        ids, g = torch.tensor(self.ids), torch.tensor(self.g)
        weight = torch.tensor(self.weight, requires_grad=True)

        def run() -> Arrays:
            weight.grad = None
            torch.nn.functional.embedding(ids, weight).backward(g)
            return {"w": weight.grad.numpy()}

        return run


WORKLOADS: dict[str, Callable[[], Any]] = dict(
    zip(LIMITS, (MLP, Conv, Attention, Block, Lookup), strict=True)
)


# Measuring ----------------------------------------------------------------------------------------


def contestants() -> list[str]:
    """Who takes part: the library by hand, tinytorch, and what else is installed."""
    return ["numpy", "tinytorch", *[name for name in ("autograd", "torch") if find_spec(name)]]


def agreeing(runs: dict[str, Run]) -> Iterator[str]:
    """Where somebody's gradients are not those by hand."""
    wanted = runs["numpy"]()
    for name, run in runs.items():
        found = run()
        for key, array in wanted.items():
            # the keys' bias has the gradient 0, but for rounding
            scale = max(float(np.abs(array).max()), 0.1)
            off = float(np.abs(np.asarray(found[key]) - array).max()) / scale
            if not off < 1e-4:
                yield f"{name}: {key} is off by {off:.1e} of the largest"


def timed(run: Run, repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        run()
    return (time.process_time() - start) / repeats


def ratios(runs: dict[str, Run], turns: int) -> tuple[dict[str, float], float]:
    """What each costs as a multiple of what it costs by hand, and that in seconds."""
    for run in runs.values():
        run()
    repeats = max(3, round(0.01 / timed(runs["numpy"], 5)))
    seconds = [{name: timed(run, repeats) for name, run in runs.items()} for _ in range(turns)]
    found = {name: median(turn[name] / turn["numpy"] for turn in seconds) for name in runs}
    return found, median(turn["numpy"] for turn in seconds)


def peak(run: Run) -> int:
    """The most memory that arrays of a run take at one time, in bytes."""
    run()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    run()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most - before


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench_tinytorch", description=__doc__)
    parser.add_argument("--turns", type=int, default=60, help="how often each has its turn")
    parser.add_argument("--only", default="", help="workloads whose names hold this text")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if "torch" in contestants():
        import torch

        torch.set_num_threads(1)
    tt.enable_gradients()
    report, bad = {}, 0
    for name, make in WORKLOADS.items():
        if options.only not in name:
            continue
        workload = make()
        runs = {each: getattr(workload, each)() for each in contestants()}
        for said in agreeing(runs):
            print(f"{name}: {said}", file=sys.stderr)
            bad += 1
        found, seconds = ratios(runs, options.turns)
        memory = {
            each: peak(runs[each]) for each in ("numpy", "tinytorch", "autograd") if each in runs
        }
        report[name] = {"ratio": found, "seconds": seconds, "limit": LIMITS[name], "peak": memory}
        bad += found["tinytorch"] > LIMITS[name]
    if options.json:
        print(json.dumps(report, indent=1))
        return int(bad > 0)
    print(
        f"{'times NumPy by hand':28}"
        + "".join(f"{n:>11}" for n in ("limit", *contestants()))
        + f"{'by hand':>12}{'peak':>10}"
    )
    for name, each in report.items():
        row = "".join(f"{each['ratio'][who]:11.2f}" for who in contestants())
        more = each["peak"]["tinytorch"] / each["peak"]["numpy"]
        print(f"{name:28}{each['limit']:11.2f}{row}{1e6 * each['seconds']:9.0f} us{more:9.2f}x")
    print("peak: memory of the arrays at the worst moment, times that of NumPy by hand")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
