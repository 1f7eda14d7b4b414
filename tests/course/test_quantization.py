"""What the notebook of 17 says of its printed numbers, and its rubric, is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.course.notebooks import ROOT, notebooks
from tests.course.running import Names, Run, run_of

LONG = ("speed", "written_by", "recover", "curve", "stairs")


said = run_of("17_quantization", *LONG)


@pytest.fixture
def names(said: Run) -> Names:
    return said[0]


def test_where_nothing_is_negative_the_affine_ruler_is_twice_as_fine(
    names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    names["one_sided"]()
    factor = float(capsys.readouterr().out.split("a factor of ")[1].split(",")[0])
    assert abs(factor - 2) < 0.1


def test_8_bits_cost_nothing_and_columns_show_at_3(names: Names) -> None:
    start, found = names["table"]()
    rows = {bits: rest for bits, *rest in found}
    assert abs(rows[8][1] - start) < 0.005
    assert rows[3][1] < rows[3][2] - 0.01
    assert rows[2][1] < rows[2][2] - 0.1
    assert [bits for bits in rows if rows[bits][1] > 1.05 * start] == [2]
    sizes = [rows[bits][0] for bits in (8, 6, 5, 4, 3, 2)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] < 421 / 3


def test_the_counts_of_the_text(names: Names) -> None:
    model = names["names_gpt"]()
    linear = sum(p.size for p in model.parameters() if p.size in (64 * 64, 64 * 256))
    assert sum(p.size for p in model.parameters()) == 102_848
    assert linear == 98_304


def test_the_rubric_counts_right() -> None:
    [question] = [cell for cell in notebooks("17_quantization")[0].cells if cell.mark_scheme]
    assert f"{127 * 127 * 256:,}" in question.mark_scheme
    assert 2**21 < 127 * 127 * 256 < 2**22


@pytest.mark.parametrize("assignment", ["17_quantization", "18_compression"])
def test_the_files_that_are_given_are_those_of_13(assignment: str) -> None:
    given = ROOT / "source" / assignment
    first: dict[str, Path] = {
        "names.npz": ROOT / "tests/solutions/13_transformers/names.npz",
        "names.txt": ROOT / "source/13_transformers/names.txt",
    }
    for name, path in first.items():
        assert (given / name).read_bytes() == path.read_bytes()
