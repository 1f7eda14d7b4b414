"""What the notebook of 10 says of its printed merges and its question is so; BPE by another way."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import tinytorch as tt
from tests.course.notebooks import ROOT
from tests.course.running import Run, run_of

FOLDER = ROOT / "source/10_tokenization"


said = run_of("10_tokenization", "growing")


def test_the_first_merges_are_english(said: Run) -> None:
    assert "'e ' 'th'" in said[1]["romeo"] and "'FRIAR LAURENCE:\\n'" in said[1]["romeo"]
    text = (FOLDER / "romeo.txt").read_text("utf-8")
    assert text.isascii() and len(text) == 30_805
    assert f"{len(text):,} characters" in (FOLDER / "origin.txt").read_text()


def test_words_of_others_cost_more(said: Run) -> None:
    cost = [int(line.split(": ")[1].split()[0]) for line in said[1]["words"].splitlines()]
    assert cost[:2] == [1, 1] and cost[-2:] == [12, 3]


def by_replacing(text: str, vocab_size: int) -> tuple[list[tuple[int, int]], list[int]]:
    """BPE by regular expressions on a string with a character for each id: merges and ids."""
    ids = "".join(map(chr, text.encode()))
    merges: list[tuple[int, int]] = []
    while len(merges) < vocab_size - 256 and len(ids) > 1:
        pairs = [ids[place : place + 2] for place in range(len(ids) - 1)]
        pair = min(set(pairs), key=lambda each: (-pairs.count(each), pairs.index(each)))
        ids = re.sub(re.escape(pair), chr(256 + len(merges)), ids)
        merges.append((ord(pair[0]), ord(pair[1])))
    return merges, [ord(each) for each in ids]


@given(st.text("abü ", max_size=60), st.integers(256, 290))
def test_merges_are_those_of_another_program(text: str, vocab_size: int) -> None:
    tokenizer = tt.BPETokenizer().train(text, vocab_size)
    merges, ids = by_replacing(text, vocab_size)
    assert list(tokenizer.merges) == merges
    assert tokenizer.encode(text) == ids


@given(st.text(), st.text(), st.integers(256, 300))
def test_any_text_comes_back(read: str, text: str, vocab_size: int) -> None:
    tokenizer = tt.BPETokenizer().train(read, vocab_size)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_digits_are_glued_together() -> None:
    """What the question's mark scheme says of sums."""
    rng = np.random.default_rng(0)
    sums = [f"{a}+{b}={a + b}" for a, b in rng.integers(100, 1000, (400, 2))]
    tokenizer = tt.BPETokenizer().train("\n".join(sums), 320)
    pieces = [[tokenizer.decode([each]) for each in tokenizer.encode(text)] for text in sums]
    assert np.mean([any(len(piece) > 1 for piece in each) for each in pieces]) > 0.95
    assert len({tuple(map(len, each)) for each in pieces}) > 20  # cut in many different ways
    assert tt.CharTokenizer().train("".join(sums)).vocab_size == 12
