"""Data: examples that can be counted and fetched, and batches of them in random order.

Exported from source/08_dataloader/08_dataloader.ipynb by `proctor export`; edit the notebook.
"""

import numpy as np

from tinytorch import Tensor

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset"]


class Dataset:
    """Examples: `len(dataset)` of them, of which `dataset[i]` is one, for an int i."""

    def __len__(self):
        raise NotImplementedError

    def __getitem__(self, index):
        raise NotImplementedError


class TensorDataset(Dataset):
    """Examples in memory: entry i of each of `arrays`, a tuple; the first entry is a Tensor.

    arrays: arrays, lists or Tensors, all of one length; others raise ValueError.
    """

    def __init__(self, *arrays):
        arrays = [each.data if isinstance(each, Tensor) else np.asarray(each) for each in arrays]
        if len({len(each) for each in arrays}) != 1:
            raise ValueError(f"one length is needed, not {[len(each) for each in arrays]}")
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, index):
        first, *others = (each[index] for each in self.arrays)
        return Tensor(first), *others


class Subset(Dataset):
    """The examples of `dataset` at these indices (a list, an array or a range), in this order."""

    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, indices

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[self.indices[index]]


def collate(items):
    """Stack a list of examples to a batch: a tuple of Tensors and arrays, with an axis in front."""
    rows = [item if isinstance(item, tuple) else (item,) for item in items]
    batch = []
    for part in zip(*rows):
        if isinstance(part[0], Tensor):
            batch.append(Tensor(np.stack([each.data for each in part])))
        else:
            batch.append(np.stack(part))
    return tuple(batch)


class DataLoader:
    """Batches of a dataset, as tuples: iterable again and again, with `shuffle` in other orders.

    dataset: has `len` and `[int]`. batch_size: at least 1, or ValueError. seed: of the orders.
    """

    def __init__(self, dataset, batch_size, shuffle=False, seed=0):
        if batch_size < 1:
            raise ValueError(f"a batch has at least one example, not {batch_size}")
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.rng = np.random.default_rng(seed)

    def __len__(self):
        """How many batches a walk has."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self):
        """Walk all examples once, in batches."""
        order = np.arange(len(self.dataset))
        if self.shuffle:
            order = self.rng.permutation(order)
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size].tolist()
            yield collate([self.dataset[i] for i in places])
