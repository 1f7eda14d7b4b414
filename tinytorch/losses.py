"""Losses: how wrong a prediction is, in one number. Written in Tensor operations only.

Exported from source/04_losses/04_losses.ipynb by `proctor export`; edit the notebook.
"""

import numpy as np

from tinytorch import Tensor, log_softmax

__all__ = ["binary_cross_entropy", "cross_entropy", "mse_loss"]


def mse_loss(predictions: Tensor, targets) -> Tensor:
    """Mean squared error: the mean of (predictions - targets)**2 over all entries.

    predictions: Tensor of any shape. targets: Tensor or array of the same shape. Returns a Tensor
    of shape () in the dtype of the predictions (float64 targets may make it float64).
    """
    difference = predictions - targets
    return (difference * difference).mean()


def cross_entropy(logits: Tensor, targets) -> Tensor:
    """Mean negative log-likelihood of the right classes under softmax(logits).

    logits: Tensor (N, C), any real numbers. targets: N class indices, an integer array or a list.
    Returns a Tensor of shape () in the dtype of the logits.
    """
    rows = np.arange(logits.shape[0])
    return -log_softmax(logits)[rows, targets].mean()


def binary_cross_entropy(probabilities: Tensor, targets) -> Tensor:
    """Mean of -log(p) where the target is 1 and of -log(1 - p) where it is 0.

    probabilities: Tensor of any shape, entries from 0 to 1. targets: array or Tensor of the same
    shape, 0 or 1. The arguments of both logarithms are bounded below by 1e-7, so no entry costs
    more than 16.12. Returns a Tensor of shape () in the dtype of the probabilities (float64 targets
    may make it float64).
    """
    log_yes = probabilities.maximum(1e-7).log()
    log_no = (1 - probabilities).maximum(1e-7).log()
    return -(targets * log_yes + (1 - targets) * log_no).mean()
