"""What grade cells tell of a class, and a class of its grade cells: difficulty, discrimination,
Cronbach's alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from proctor.record.roster import Item, Participant

CLASS = 30  # students: fewer say too little about a cell
WEAK = 0.2  # discrimination below it
HARD, EASY = 0.2, 0.95  # difficulties beyond them


@dataclass(frozen=True)
class Flag:
    """What is odd about a grade cell, and what to do about it."""

    name: str
    advice: str


BROKEN = Flag(
    "broken",
    "Those who do well elsewhere lose points here. Look at what two of the best wrote: an expected "
    "value may be wrong, or the test asks for what the text does not say. Mend the test and run "
    "proctor grade again: it says whose score moves.",
)
WEAK_FLAG = Flag(
    "tells little",
    "Whether it is earned has little to do with the rest. Read a few answers that fail: does it "
    "test a detail beside the point, or something that can be guessed?",
)
HARD_FLAG = Flag(
    "hard",
    "Hardly anybody earns it. Take it up in the next lecture, or give the exercise a smaller step "
    "before it; if the text left something open, give the points to everybody.",
)
EASY_FLAG = Flag(
    "easy",
    "Nearly everybody earns it. Good as a first step, but it need not carry many points.",
)


@dataclass(frozen=True)
class Figures:
    """The figures of a grade cell. None where they cannot be said."""

    item: Item
    graded: int  # students whose points are decided
    mean: float | None
    difficulty: float | None  # mean share of its points: 1 is what everybody earns
    discrimination: float | None = None  # correlation with the rest of the points
    flags: Sequence[Flag] = field(default_factory=list)


@dataclass(frozen=True)
class Analysis:
    """The figures of an assignment's grade cells, for `students` of which all is decided."""

    figures: Sequence[Figures]
    students: int
    alpha: float | None = None
    left_out: Sequence[Item] = ()  # that wait for a human with most of the class


def analyse(items: Sequence[Item], class_: Sequence[Participant]) -> Analysis:
    """The figures of these grade cells; nothing about discrimination for a small class."""
    graded = [each for each in class_ if each.scores]
    table = np.array(
        [[_points(each, item) for item in items] for each in graded], dtype=float
    ).reshape(len(graded), len(items))
    decided = ~np.isnan(table)
    usable = decided.sum(axis=0) * 2 > len(graded)
    usable &= np.array([item.points > 0 for item in items], dtype=bool)
    whole = table[decided[:, usable].all(axis=1)][:, usable]
    enough = len(whole) >= CLASS
    related = iter(item_rest(whole)) if enough else iter(())
    figures = []
    for item, column, used in zip(items, table.T, usable, strict=True):
        points = column[~np.isnan(column)]
        mean = float(points.mean()) if len(points) else None
        share = mean / item.points if mean is not None and item.points else None
        relation = next(related, None) if used else None
        flags = _flags(share, relation) if enough and used else []
        figures.append(Figures(item, len(points), mean, share, relation, flags))
    left_out = [item for item, used in zip(items, usable, strict=True) if not used and item.points]
    return Analysis(figures, len(whole), alpha(whole) if enough else None, left_out)


def _points(participant: Participant, item: Item) -> float:
    points = participant.scores.get(item.place)
    return np.nan if points is None else points


def _flags(difficulty: float | None, discrimination: float | None) -> list[Flag]:
    found = []
    if discrimination is not None and discrimination < WEAK:
        found.append(BROKEN if discrimination < 0 else WEAK_FLAG)
    if difficulty is not None and difficulty < HARD:
        found.append(HARD_FLAG)
    if difficulty is not None and difficulty > EASY:
        found.append(EASY_FLAG)
    return found


def item_rest(scores: NDArray[np.float64]) -> list[float | None]:
    """How the points of each item (a column) go with the sum of all others over the students (the
    rows): Pearson's correlation. None where one of the two is the same for everybody.
    """
    rest = scores.sum(axis=1, keepdims=True) - scores
    return [_correlation(item, others) for item, others in zip(scores.T, rest.T, strict=True)]


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    one, other = one - one.mean(), other - other.mean()
    spread = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / spread if spread > 1e-9 else None


def alpha(scores: NDArray[np.float64]) -> float | None:
    """Cronbach's alpha of items (columns) over students (rows): k/(k-1) (1 - sum of the items'
    variances / variance of the sum). None for a single item, or where everybody has the same.
    """
    items = scores.shape[1]
    whole = float(scores.sum(axis=1).var(ddof=1)) if len(scores) > 1 else 0.0
    if items < 2 or whole < 1e-9:
        return None
    each = float(scores.var(axis=0, ddof=1).sum())
    return float(items / (items - 1) * (1 - each / whole))
