"""Compression: pruning, matrices of low rank, distillation.

Exported from source/18_compression/18_compression.ipynb by `proctor export`; edit the notebook.
"""

import numpy as np

from tinytorch import Linear, Sequential, Tensor, cross_entropy, log_softmax, no_grad
from tinytorch.training import modules

__all__ = [
    "distill",
    "distillation_loss",
    "factor",
    "hold",
    "low_rank",
    "magnitude_prune",
    "prune_model",
]


def magnitude_prune(weight, sparsity):
    """A copy of an array with its smallest entries set to 0, and the mask of those that stay.

    sparsity: the share that goes, 0 to 1, else ValueError; rounded to whole entries, exactly.
    (S. Han and others, "Learning both Weights and Connections", 2015.)
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"a share of weights is wanted, from 0 to 1, not {sparsity}")
    order = np.argsort(np.abs(weight), axis=None)
    mask = np.ones(weight.shape, dtype=bool)
    mask.flat[order[: round(sparsity * weight.size)]] = False
    return np.where(mask, weight, weight.dtype.type(0)), mask


def prune_model(model, sparsity):
    """Prune the weight of each Linear by itself; return pairs (weight, mask)."""
    masks = []
    for each in modules(model):
        if isinstance(each, Linear):
            each.weight.data, mask = magnitude_prune(each.weight.data, sparsity)
            masks.append((each.weight, mask))
    return masks


def hold(optimizer, masks):
    """Let each step of an optimizer end with 0 wherever a mask, in pairs (p, mask), is False."""
    plain = optimizer.step

    def step():
        plain()
        for p, mask in masks:
            p.data = p.data * mask

    optimizer.step = step
    return optimizer


def low_rank(weight, rank):
    """Arrays (m, rank) and (rank, n) whose product is the nearest of that rank to weight (m, n).

    rank: 0 to the smaller of m and n, else ValueError.
    """
    u, s, vt = np.linalg.svd(weight, full_matrices=False)
    if not 0 <= rank <= s.size:
        raise ValueError(f"rank {rank}: a matrix {weight.shape} has 0 to {s.size}")
    root = np.sqrt(s[:rank])
    return u[:, :rank] * root, root[:, None] * vt[:rank]


def factor(linear, rank):
    """Two Linear layers, (in, rank) without a bias and (rank, out), in the place of one."""
    left, right = low_rank(linear.weight.data, rank)
    first = Linear(*left.shape, bias=False)
    second = Linear(*right.shape, bias=linear.bias is not None)
    first.weight, second.weight = Tensor(left), Tensor(right)
    if linear.bias is not None:
        second.bias = Tensor(linear.bias.data)
    return Sequential(first, second)


def distillation_loss(logits, teacher, targets, temperature=1.0, share=0.5):
    """(1 - share) * cross-entropy + share * T² * KL(teacher || student), a mean over all rows.

    logits: a Tensor (..., C), teacher: an array (..., C), targets: classes (...).
    (G. Hinton and others, "Distilling the Knowledge in a Neural Network", 2015.)
    """
    rows = logits.reshape(np.size(targets), logits.shape[-1])
    wanted = np.reshape(teacher, rows.shape).astype(rows.dtype)
    log_q = log_softmax(Tensor(wanted / temperature)).data
    log_p = log_softmax(rows / temperature)
    soft = ((log_q - log_p) * np.exp(log_q)).sum(1).mean()
    hard = cross_entropy(rows, np.ravel(targets))
    return hard * (1 - share) + soft * (share * temperature**2)


def distill(student, teacher, batches, optimizer, temperature=1.0, share=0.5):
    """Let a student learn from a teacher, a step for each (x, targets); return the losses."""
    modes = [(each, each.training) for each in modules(teacher)]
    teacher.eval()
    student.train()
    losses = []
    for x, targets in batches:
        with no_grad():
            wanted = teacher(x).data
        optimizer.zero_grad()
        loss = distillation_loss(student(x), wanted, targets, temperature, share)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.data))
    for each, mode in modes:
        each.training = mode
    return losses
