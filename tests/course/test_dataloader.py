"""What the notebook of 08 says of its printed numbers and its question, and its data, is so."""

from __future__ import annotations

import numpy as np

import tinytorch as tt
from tests.course.notebooks import ROOT
from tests.course.running import Run, run_of

FOLDER = ROOT / "source/08_dataloader"


said = run_of("08_dataloader")


def test_the_digits_are_whole() -> None:
    with np.load(FOLDER / "digits.npz") as file:
        images, labels = file["images"], file["labels"]
    assert images.shape == (1797, 64) and images.dtype == labels.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 16)
    # as scikit-learn's user guide counts them
    counted = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(labels).tolist() == counted
    assert "CC BY 4.0" in (FOLDER / "digits.txt").read_text()


def test_an_epoch_with_replacement_misses_one_in_e(said: Run) -> None:
    assert "= 0.368" in said[1]["replaced"]


def test_sorted_digits_are_forgotten(said: Run) -> None:
    lines = said[1]["sorted"].splitlines()
    shares = {line.split(":")[0]: float(line.split()[1].strip(",")) for line in lines}
    assert shares["sorted"] < 0.3
    assert min(shares["balanced"], shares["shuffled"]) > 0.95


def test_the_digits_are_recognised(said: Run) -> None:
    assert float(said[1]["recognised"].split("%")[0]) > 95


def test_the_last_digits_are_strangers(said: Run) -> None:
    """The question's 91%, over three beginnings of the same network."""
    names, _ = said
    digits, shares = tt.TensorDataset(names["ink"], names["answers"]), []
    loader = tt.DataLoader(tt.Subset(digits, range(1437, 1797)), 64)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        model = tt.Sequential(tt.Linear(64, 128, rng=rng), tt.relu, tt.Linear(128, 10, rng=rng))
        optimizer = tt.SGD(model.parameters(), lr=0.1, momentum=0.9)
        trainer = tt.Trainer(model, tt.cross_entropy, optimizer)
        known = tt.DataLoader(tt.Subset(digits, range(1437)), 64, shuffle=True, seed=seed)
        shares.append(trainer.fit(known, 15).evaluate(loader))
    assert abs(np.mean(shares) - 0.91) < 0.015


def test_one_person_wrote_after_the_other() -> None:
    """Most nearest neighbours stand close by, which chance would not do."""
    with np.load(FOLDER / "digits.npz") as file:
        pixels = file["images"].astype(float)
    squares = (pixels**2).sum(1)
    apart = squares[:, None] + squares - 2 * pixels @ pixels.T
    np.fill_diagonal(apart, np.inf)
    near = np.abs(apart.argmin(1) - np.arange(1797)) < 140
    assert abs(near.mean() - 0.59) < 0.01
