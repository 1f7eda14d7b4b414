"""The kept solutions: the reference and right ones earn all, a blank nothing, wrong ones less.

Of each assignment a sample, always the same one; `make solutions` tries them all.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from proctor.author.solutions import surprises
from proctor.errors import CourseError
from proctor.notebook.cells import nbgrader
from proctor.verdict import Result
from tests import classroom, mutants, stacks


@dataclass(frozen=True)
class Graded:
    made: dict[str, classroom.Solution]
    results: dict[str, Result]


MOST = {True: 5, False: 12}  # right and wrong ones of an assignment


def sample(name: str) -> list[classroom.Solution]:
    every = classroom.solutions(name)
    assert len([each for each in every if each.right]) >= 5
    assert len({each.misconception for each in every} - {None}) >= 5
    found = []
    for right, most in MOST.items():
        kind = [each for each in every if each.right is right]
        found += random.Random(7).sample(kind, min(most, len(kind)))
    return found


@pytest.fixture(scope="module", params=classroom.ASSIGNMENTS)
def graded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Graded:
    name: str = request.param
    course = classroom.scratch_course(tmp_path_factory.mktemp("course"))
    made = {solution.name: solution for solution in sample(name)}
    for student, solution in made.items():
        classroom.submit(course, student, name, classroom.solved(name, solution))
    classroom.submit(course, "the reference", name, classroom.solved(name))
    classroom.submit(course, "a blank", name, classroom.blank(name))
    students = [*made, "the reference", "a blank"]
    return Graded(made, classroom.grade(course.assignment(name), students))


def test_reference_earns_everything(graded: Graded) -> None:
    result = graded.results["the reference"]
    assert [test.name for test in result.tests if test.status == "failed"] == []
    manual = [test for test in result.tests if test.status == "manual"]
    assert len(manual) == 1
    assert result.max_score == 100
    assert result.score == pytest.approx(100 - manual[0].max_points)


def test_blank_earns_nothing(graded: Graded) -> None:
    result = graded.results["a blank"]
    assert result.status == "graded"
    assert [test.name for test in result.tests if test.points > 0] == []
    assert not result.needs_manual, "an unanswered question waits for nobody"


TRIVIAL: dict[str, int | str] = {
    "the first argument": 0,
    "the second argument": 1,
    "the last argument": -1,
    "None": "None",
    "0": "0",
    "[]": "[]",
    "a Tensor": "Tensor(0)",
}


@pytest.mark.parametrize("name", classroom.ASSIGNMENTS)
def test_the_same_return_everywhere_earns_nothing(name: str, tmp_path: Path) -> None:
    """No hidden test and no visible check gives points to what was written without a thought."""
    course = classroom.scratch_course(tmp_path)
    for student, value in TRIVIAL.items():
        classroom.submit(course, student, name, classroom.trivial(name, value))
    results = classroom.grade(course.assignment(name), TRIVIAL)
    assert {result.status for result in results.values()} == {"graded"}
    earned = {
        (student, test.name): test.points
        for student, result in results.items()
        for test in result.tests
        if test.points > 0
    }
    assert earned == {}


def test_right_solutions_earn_everything(graded: Graded) -> None:
    right = [solution for solution in graded.made.values() if solution.right]
    wrongly = {s.name: surprises(s, graded.results[s.name]) for s in right}
    assert {name: found for name, found in wrongly.items() if found} == {}


def test_wrong_solutions_lose_what_their_file_says(graded: Graded) -> None:
    wrong = [solution for solution in graded.made.values() if not solution.right]
    assert len(wrong) >= 12
    wrongly = {s.name: surprises(s, graded.results[s.name]) for s in wrong}
    assert {name: found for name, found in wrongly.items() if found} == {}


def test_scores_do_not_change_from_run_to_run(tmp_path: Path) -> None:
    course = classroom.scratch_course(tmp_path)
    kept = [s for s in classroom.solutions("02_activations") if not s.right][:3]
    for solution in kept:
        made = classroom.solved("02_activations", solution)
        classroom.submit(course, solution.name, "02_activations", made)
    assignment = course.assignment("02_activations")
    runs = [classroom.grade(assignment, [s.name for s in kept]) for _ in range(2)]
    for solution in kept:
        first, second = (
            [(t.name, t.points, t.message) for t in run[solution.name].tests] for run in runs
        )
        assert first == second


def test_a_student_may_write_everything_into_one_cell(tmp_path: Path) -> None:
    """And delete the others: what was moved counts."""
    course = classroom.scratch_course(tmp_path)
    made = classroom.solved("02_activations")
    cells = made["02_activations"]["cells"]
    written = [c for c in cells if nbgrader(c).get("solution") and c["cell_type"] == "code"]
    written[0]["source"] = "\n\n\n".join(classroom.text_of(c) for c in written)
    made["02_activations"]["cells"] = [c for c in cells if c not in written[1:]]
    classroom.submit(course, "mover", "02_activations", made)
    result = classroom.grade(course.assignment("02_activations"), ["mover"])["mover"]
    assert [test.name for test in result.tests if test.status == "failed"] == []


def test_a_solution_that_fits_no_cell_is_an_error() -> None:
    nowhere = classroom.Solution("nowhere", "", False, cells={"no_such_cell": ""})
    with pytest.raises(CourseError, match="no_such_cell"):
        classroom.solved("02_activations", nowhere)
    elsewhere = classroom.Solution(
        "elsewhere", "", False, edits=[{"cell": "relu", "old": "not there", "new": ""}]
    )
    with pytest.raises(CourseError, match="not there"):
        classroom.solved("02_activations", elsewhere)


# Each once lost points of 05's three other ways for a reason of its own.
LOST_ONCE = ["rule_in_the_constructor", "aliases", "everything_is_a_softmax", "two_sided_sums"]
LOST_ONCE += ["one_logarithm"]


@pytest.mark.parametrize(
    ("target", "most"), [("03_layers", 2), ("05_autograd", 3), ("06_optimizers", 1)]
)
def test_right_solutions_carry_what_comes_after_them(target: str, most: int) -> None:
    """`make stacks` tries them all."""
    sample = stacks.kept(target, most)
    assert {name for name, _ in sample} == {n for n in classroom.ASSIGNMENTS if n < target}
    if target == "05_autograd":
        sample += [each for each in stacks.kept(target) if each[1].name in LOST_ONCE]
    assert stacks.lost(target, sample) == {}


def test_a_solution_that_does_not_carry_is_named() -> None:
    by_name = {solution.name: solution for solution in classroom.solutions("01_tensor")}
    wrong, right = by_name["keepdims_forgotten"], by_name["numbers_stay_numbers"]
    torn = classroom.Solution("torn", "", False, cells={"arithmetic": "class Tensor:\n    def"})
    found = stacks.lost("02_activations", [("01_tensor", each) for each in (wrong, torn, right)])
    assert found.pop("01_tensor-torn") == {"its own"}
    assert [*found] == ["01_tensor-keepdims_forgotten"]
    assert "its own" not in found["01_tensor-keepdims_forgotten"]


SOURCE = '''def f(x, y):
    """Not a statement."""
    ### BEGIN SOLUTION
    if x > 1:
        return x - y
    ### END SOLUTION
    return given(0)
'''


def test_mutants_change_solutions_and_nothing_else() -> None:
    found = {(mutant.line, mutant.change) for mutant in mutants.mutants("cell", SOURCE)}
    assert ("if x > 1:", "if x >= 1:") in found
    assert ("if x > 1:", "if x > 2:") in found
    assert ("if x > 1:", "if True:") in found
    assert ("return x - y", "return x + y") in found
    assert ("return x - y", "return y - x") in found
    assert ("return x - y", "return") in found
    assert not any("given" in line for line, _ in found)


SLIPS = {
    "return np.log(x)": "return np.log(x + 1e-08)",
    "return np.exp(x)": "return np.exp(np.clip(x, -50, 50))",
    "return np.maximum(x, y)": "return np.fmax(x, y)",
    "return x.exp()": "return x.maximum(-50).exp()",
    "return x / y": "return x / (y + 1e-08)",
    "return unbroadcast(x, y)": "return x",
    "return x.sum()": "return x",
    "return x * y": "return Tensor((x * y).data)",
    "x = x - y": "x -= y",
    "x = dict(zip(x, y))": "x = dict(zip(x, list(y)[::-1]))",
    "x.f(y, **z)": "x.f(y)",
}


@pytest.mark.parametrize("line", SLIPS)
def test_mutants_are_what_students_write_too(line: str) -> None:
    source = f"def f(x, y, z):\n    ### BEGIN SOLUTION\n    {line}\n    ### END SOLUTION"
    found = {mutant.change for mutant in mutants.mutants("cell", source)}
    assert SLIPS[line] in found


def test_a_mutant_remembers_from_call_to_call() -> None:
    source = (
        "def f(x):\n    ### BEGIN SOLUTION\n    seen = set()\n    seen.add(x)\n"
        "    return len(seen)\n    ### END SOLUTION"
    )
    found = [mutant.source for mutant in mutants.mutants("cell", source)]
    assert any("def f(x, *, seen=set()):\n    seen.add(x)" in each for each in found)


@pytest.mark.parametrize("name", classroom.ASSIGNMENTS)
def test_a_sample_of_mutants_is_killed(name: str) -> None:
    """`make mutants` runs them all."""
    from rich.console import Console

    everything = mutants.of(name)
    assert len(everything) >= 30
    explained = mutants.explained(name)
    chosen = [m for m in everything if m.label not in explained]
    few = random.Random(7).sample(chosen, 6)
    alive = mutants.survivors(name, few, Console(quiet=True))
    assert [mutant.label for mutant in alive] == []
