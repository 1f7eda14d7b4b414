"""`proctor try`: an author's own check that a blank earns nothing, right solutions all, wrong ones
less.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proctor.cli import main
from tests.test_grading import NAME, SUITE, make_course

GOOD = """
[[right]]
name = "loop"
why = "Adds one by one."
[right.cells]
total = '''
def total(values):
    found = 0
    for value in values:
        found += value
    return found
'''

[[wrong]]
name = "starts_late"
why = "Leaves the first number out."
loses = ["Total", "check_total"]
misconception = "first left out"
edits = [{ cell = "total", old = "sum(values)", new = "sum(values[1:])" }]
"""


@pytest.fixture
def course(tmp_path: Path) -> Path:
    return make_course(tmp_path)


def tried(
    course: Path, solutions: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, str], str]:
    """The exit status, the line for each solution, and all that was said on standard error."""
    path = course / "tests" / "solutions" / f"{NAME}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(solutions)
    with pytest.raises(SystemExit) as left:
        main(["try", NAME, "--course", str(course)])
    said = capsys.readouterr()
    lines = {line.split()[1]: line for line in said.out.splitlines() if line[:7].endswith("  ")}
    return int(str(left.value.code)), lines, said.err


def test_all_end_as_they_should(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(course.rglob("*"))
    status, lines, _ = tried(course, GOOD, capsys)
    assert status == 0
    assert [line.split() for line in lines.values()] == [
        ["blank", "blank", "0/20"],
        ["right", "reference", "17/20"],
        ["right", "loop", "17/20"],
        ["wrong", "starts_late", "9/20", "first", "left", "out"],
    ]
    there = {path.name for path in {*course.rglob("*")} - {*before}} - {"__pycache__"}
    assert {name for name in there if not name.endswith(".pyc")} == {"solutions", f"{NAME}.toml"}


ODD = [  # what is changed in GOOD, of which solution, and what is said of it then
    ("found = 0", "found = 1", "loop", "check_total: "),
    ("values[1:]", "values", "starts_late", "loses nothing in Total; loses nothing in check_tot"),
    ('misconception = "first', 'misconception = "last', "starts_late", "was not recognised, but"),
    ('["Total",', '["Total", "Mean",', "starts_late", "loses nothing in Mean"),
    ('old = "sum(values)"', 'old = "min"', "starts_late", "'min' does not stand in cell 'total'"),
    ("\ntotal = ", "\nsum = ", "loop", f"there is no cell sum in {NAME}, more, tools"),
]


def test_what_does_not_is_said(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = ""
    for number, (old, new, name, _) in enumerate(ODD):
        assert GOOD.count(old) == 1
        own = GOOD.replace(old, new).replace('name = "', f'name = "{number}_')
        text += "".join(f"[[{t}" for t in own.split("[[")[1:] if f"_{name}" in t)
    status, lines, _ = tried(course, GOOD + text, capsys)
    assert status == 1
    bad = {name for name, line in lines.items() if "NOT AS MEANT" in line}
    assert bad == {f"{number}_{name}" for number, (_, _, name, _) in enumerate(ODD)}
    for number, (_, _, name, said) in enumerate(ODD):
        assert said in lines[f"{number}_{name}"]


def test_a_blank_that_earns_points(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = course / "source" / NAME / f"{NAME}.ipynb"
    found = json.loads(path.read_text())
    for cell in found["cells"]:
        if cell["id"] == "check_mean":
            cell["source"] = "assert True"
    path.write_text(json.dumps(found))
    status, lines, _ = tried(course, GOOD, capsys)
    assert status == 1
    assert lines["blank"].endswith("2/20  NOT AS MEANT: earns 2 points by check_mean")


def test_a_reference_that_loses_points_shows_why(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = course / SUITE
    path.write_text(path.read_text().replace("float(sum(x))", "float(sum(x)) + 1"))
    with pytest.raises(SystemExit) as left:
        main(["try", NAME, "--course", str(course)])
    said = capsys.readouterr().out
    assert left.value.code == 1
    assert "right  reference     13/20  NOT AS MEANT: TestMean::test_mean" in said
    assert "AssertionError: values differ" in said


def test_cells_are_named_by_what_create_assignment_shows(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JupyterLab draws a cell's id; an author can choose its grade_id."""
    path = course / "source" / NAME / f"{NAME}.ipynb"
    found = json.loads(path.read_text())
    for number, cell in enumerate(found["cells"]):
        cell["id"] = f"9f2c{number:04}"
    path.write_text(json.dumps(found))
    assert tried(course, GOOD, capsys)[0] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[right]\n", f"{NAME}.toml: "),
        ('[[wrong]]\nname = "x"\nwhy = "y"\nlosses = []\n', "unexpected keyword argument 'losses'"),
        ('[[right]]\nname = "x"\n', "missing 1 required positional argument: 'why'"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_sentence(
    course: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, lines, error = tried(course, text, capsys)
    assert (status, lines) == (2, {})
    assert said in error and error.count("\n") == 1
