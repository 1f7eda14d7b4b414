"""Near-identical submissions: what two students share of the code that is their own.

Code is compared as tokens with every name the same, so renaming variables and editing comments hide
nothing. What the release gave, and what many have written, is no sign of anything and not compared.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from copydetect.detector import CodeFingerprint, compare_files
from copydetect.utils import get_token_coverage

from proctor.notebook.cells import is_locked, nbgrader
from proctor.notebook.sanitise import short_blanks
from proctor.notebook.template import Submission, Template

ALIKE = 0.8  # of the shorter one's code, from this share on a pair is shown
ENOUGH = 250  # characters of tokens that a pair must share: short answers are alike by nature
LONGEST = 100_000  # characters of a submission that are compared
COMMON, FEW = 0.25, 5  # what more than this part of a class, and more than so many, wrote is common
GRAM = 25  # characters of tokens in a row that count as the same passage: copydetect's own choice


@dataclass(frozen=True)
class Pair:
    """Two students whose code is nearly the same, and which of its lines are, counted from 0."""

    one: str
    other: str
    similarity: float  # the share of the shorter one's code that the other one has, too
    shared: int  # characters of tokens
    lines: tuple[frozenset[int], frozenset[int]]


def own_code(template: Template, submission: Submission) -> str:
    """The code of a submission that is its student's: not the instructor's cells, nor cells that
    were left as they came.
    """
    return _joined(
        cell["source"]
        for cell in submission.notebook["cells"]
        if cell["cell_type"] == "code"
        and not is_locked(nbgrader(cell))
        and cell["id"] not in submission.given
        and cell["source"] != template.stubs.get(str(nbgrader(cell).get("grade_id")))
    )


def released_code(template: Template) -> str:
    """The code that students receive."""
    return _joined(
        str(template.stubs.get(str(nbgrader(cell).get("grade_id")), cell["source"]))
        for cell in template.cells
        if cell["cell_type"] == "code"
    )


def _joined(sources: Iterable[str]) -> str:
    return "\n\n".join(short_blanks(source).strip("\n") for source in sources if source.strip())


def pairs(
    codes: Mapping[str, str], released: str, watch: Callable[[int, int], None] = lambda *_: None
) -> list[Pair]:
    """The pairs of students whose code is nearly the same, the most alike first.

    `watch` is told how many of how many steps are done.
    """
    steps = 2 * len(codes)
    prints: dict[str, CodeFingerprint] = {}
    for done, (student, code) in enumerate(codes.items(), 1):
        prints[student] = _fingerprint(code)
        watch(done, steps)
    left_out = set(_fingerprint(released).hashes)
    counted = Counter(gram for each in prints.values() for gram in each.hashes)
    many = max(FEW, COMMON * len(codes))
    left_out |= {gram for gram, count in counted.items() if count > many}
    for each in prints.values():
        each.hashes -= left_out
        each.hash_idx = {gram: at for gram, at in each.hash_idx.items() if gram in each.hashes}
        each.token_coverage = get_token_coverage(each.hash_idx, GRAM, len(each.filtered_code))
    given = {line.strip() for line in released.split("\n")}
    own = [student for student, each in prints.items() if each.token_coverage >= ENOUGH]
    found = []
    for done, one in enumerate(own, 1):
        for other in own[done:]:
            pair = _compare(one, prints[one], other, prints[other], given)
            found += [pair] if pair else []
        watch(len(codes) + done, steps)
    watch(steps, steps)
    return sorted(found, key=lambda pair: (-pair.similarity, -pair.shared, pair.one, pair.other))


def _fingerprint(code: str) -> CodeFingerprint:
    """All passages of a code. (Winnowing, which spares some of them, would choose others in each
    run: it goes by Python's hashes.)
    """
    # `self` is a name like others, which copydetect would keep as it is
    text = re.sub(r"\bself\b", "this", code[:LONGEST])
    found = CodeFingerprint("code.py", GRAM, 1, fp=io.StringIO(text), language="python")
    found.raw_code = code[:LONGEST]
    if len(found.offsets):
        # copydetect 0.5.0 forgets behind a class's name what names before it had been shortened by
        found.offsets[:, 1] = np.maximum.accumulate(found.offsets[:, 1])
    return found


def _compare(
    one: str, first: CodeFingerprint, other: str, second: CodeFingerprint, given: Container[str]
) -> Pair | None:
    fewer = min(len(first.hashes), len(second.hashes))
    if len(first.hashes & second.hashes) < fewer / 3:  # most pairs: the rest would be slower
        return None
    shared, shares, (mine, yours) = compare_files(first, second)
    if max(shares) < ALIKE or shared < ENOUGH:
        return None
    lines = _lines(first.raw_code, mine, given), _lines(second.raw_code, yours, given)
    return Pair(one, other, min(1.0, float(max(shares))), int(shared), lines)


def _lines(code: str, slices: np.ndarray, given: Container[str]) -> frozenset[int]:
    """The lines of which at least half is in these slices of a code, but for those that were given:
    a passage reaches a little into what stands around it.
    """
    inside = np.zeros(len(code), dtype=bool)
    for start, end in slices.T.astype(int):
        inside[start:end] = True
    found, at = set(), 0
    for number, line in enumerate(code.split("\n")):
        written = np.array([not letter.isspace() for letter in line], dtype=bool)
        known = line.strip() in given
        if not known and written.any() and inside[at : at + len(line)][written].mean() >= 0.5:
            found.add(number)
        at += len(line) + 1
    return frozenset(found)
