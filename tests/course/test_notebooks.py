"""What every assignment of source/ keeps to: each rule on each assignment, and each on a breach."""

from __future__ import annotations

import ast
import copy
import itertools
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from proctor.author import export
from tests import classroom
from tests.course.notebooks import ASSIGNMENTS, HIDDEN, ROOT, Cell, Notebook, notebooks

Rule = Callable[[str, list[Notebook]], Iterator[str]]
RULES: list[Rule] = []

KINDS = {  # (grade, solution, locked)
    (False, False, True): "read-only",
    (False, True, False): "answer",
    (True, False, True): "tests",
    (True, True, False): "written answer",
}
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\ufe0f]")
BANNER = re.compile(r"^\s*(#+\s*)?([=*~#_-])\2{4,}\s*$|^\s*#.*([=*~#])\3{4,}\s*$", re.M)
CAPITALS = re.compile(r"^#+ (?!(BEGIN|END) (SOLUTION|MARK SCHEME)$)(?=.*[A-Z])[^a-z\n]{9,}$", re.M)
GRADIENTS = re.compile(r"gradient|\bgrads?\b|backward|backprop|autograd|requires_grad", re.I)


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


def cells(books: list[Notebook]) -> Iterator[Cell]:
    return itertools.chain.from_iterable(book.cells for book in books)


@rule
def no_outputs(_: str, books: list[Notebook]) -> Iterator[str]:
    """Notebooks are committed without outputs and execution counts."""
    for cell in cells(books):
        if cell.type == "code" and (cell.raw["outputs"] or cell.raw["execution_count"] is not None):
            yield f"{cell.where} has outputs. Clear them."
        if extra := set(cell.raw["metadata"]) - {"nbgrader", "tags"}:
            yield f"{cell.where} has the editor's metadata: {extra}"


@rule
def one_kernel(_: str, books: list[Notebook]) -> Iterator[str]:
    """No trace of whose machine a notebook was saved on."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    for book in books:
        if book.raw["metadata"] != {"kernelspec": kernel, "language_info": {"name": "python"}}:
            yield f"{book.name} names a kernel of its own: {book.raw['metadata']}"
        if (book.raw["nbformat"], book.raw["nbformat_minor"]) != (4, 5):
            yield f"{book.name} is not of format 4.5"


@rule
def stable_ids(_: str, books: list[Notebook]) -> Iterator[str]:
    """A cell's id is valid, not repeated in the assignment, not random, and its grade_id."""
    for name, count in Counter(cell.id for cell in cells(books)).items():
        if count > 1:
            yield f"{count} cells have the id '{name}'"
    for cell in cells(books):
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell.id or ""):
            yield f"{cell.where}: no valid id"
        elif re.fullmatch(r"(?=.*\d)[0-9a-f]{8}(-[0-9a-f-]{27})?", cell.id):
            yield f"{cell.where}: an id that an editor drew; name the cell"
        if cell.nbgrader and cell.nbgrader.get("grade_id") != cell.id:
            yield f"{cell.where}: its grade_id is {cell.nbgrader.get('grade_id')}"


@rule
def schema(_: str, books: list[Notebook]) -> Iterator[str]:
    """nbgrader's metadata is of schema 3 and of one of four kinds."""
    for cell in (cell for cell in cells(books) if cell.nbgrader):
        meta = cell.nbgrader
        flags = meta.get("grade"), meta.get("solution"), meta.get("locked")
        if meta.get("schema_version") != 3 or meta.get("task") is not False or flags not in KINDS:
            yield f"{cell.where}: metadata of another schema or kind"
        elif ("points" in meta) != meta["grade"] or (meta["grade"] and not meta["points"] > 0):
            yield f"{cell.where}: points are for grade cells, and above 0"
        elif meta["grade"] and meta.get("cell_type") != cell.type:
            yield f"{cell.where}: its metadata says it is a {meta.get('cell_type')} cell"


@rule
def hundred_points(name: str, books: list[Notebook]) -> Iterator[str]:
    """100 points an assignment."""
    if (total := sum(cell.points for cell in cells(books))) != 100:
        yield f"{name} is worth {total:g} points"


@rule
def visible_points(name: str, books: list[Notebook]) -> Iterator[str]:
    """Visible checks can be memorised: at most 20 points."""
    if (total := sum(cell.points for cell in cells(books) if cell.is_check)) > 20:
        yield f"{name}: visible checks are worth {total:g} points"


@rule
def one_question(name: str, books: list[Notebook]) -> Iterator[str]:
    """One written question of about 5 points is graded by hand."""
    written = [cell for cell in cells(books) if cell.is_written]
    if [cell.type for cell in written] != ["markdown"] or not 3 <= written[0].points <= 8:
        yield f"{name}: written questions: {[(cell.id, cell.points) for cell in written]}"


@rule
def short_regions(_: str, books: list[Notebook]) -> Iterator[str]:
    """Solutions stand in regions of at most 15 lines, and nowhere else."""
    for cell in cells(books):
        try:
            regions = cell.regions
        except ValueError as error:
            yield str(error)
            continue
        if cell.type == "code" and bool(regions) != cell.is_solution:
            yield f"{cell.where}: regions are for solution cells, which have one at least"
        for region in regions:
            if (lines := sum(bool(line.strip()) for line in region)) > 15 or not lines:
                yield f"{cell.where}: a region of {lines} lines"


@rule
def hidden_tests_last(_: str, books: list[Notebook]) -> Iterator[str]:
    """Hidden-test cells close a notebook in which students write."""
    for book in books:
        late = list(itertools.dropwhile(lambda cell: not cell.is_hidden_test, book.cells))
        if strays := [cell.id for cell in late if not cell.is_hidden_test]:
            yield f"{book.name}: {strays} stand among the hidden tests"
        if not late and any(cell.is_solution for cell in book.cells):
            yield f"{book.name} has no hidden tests"


@rule
def checks_check(_: str, books: list[Notebook]) -> Iterator[str]:
    """A visible check asserts something, at its top level: a test that is only defined is free."""
    for cell in (cell for cell in cells(books) if cell.is_check):
        body = ast.parse(cell.source).body
        if not any(_asserts(node) for node in body):
            yield f"{cell.where} asserts nothing"


def _asserts(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
        return False
    if isinstance(node, ast.Assert):
        return True
    if isinstance(node, ast.Call) and "assert_" in ast.unparse(node.func):
        return True
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("raises"):
        return True
    return any(map(_asserts, ast.iter_child_nodes(node)))


@rule
def plain_looks(_: str, books: list[Notebook]) -> Iterator[str]:
    """No emoji, no banners, no headings in capitals."""
    for cell in cells(books):
        for pattern in (EMOJI, BANNER, CAPITALS):
            if match := pattern.search(cell.source):
                yield f"{cell.where}: {match[0].strip()!r}"


@rule
def plain_paths(_: str, books: list[Notebook]) -> Iterator[str]:
    """No path of anyone's machine."""
    for cell in cells(books):
        if match := re.search(r"(/home|/root|/tmp|/Users|/work|[A-Z]:\\)\b\S*", cell.source):
            yield f"{cell.where}: {match[0]}"


@rule
def gradients_come_later(name: str, books: list[Notebook]) -> Iterator[str]:
    """01 says no word of gradients; the code of 02 to 04 marks nothing and goes nowhere back."""
    for cell in cells(books):
        text = cell.source if name.startswith("01") else cell.source * (cell.type == "code")
        words = GRADIENTS if name.startswith("01") else r"requires_grad|backward|enable_gradients"
        if name < "05" and (match := re.search(words, text)):
            yield f"{cell.where}: '{match[0]}' comes in 05"


@rule
def modules(_: str, books: list[Notebook]) -> Iterator[str]:
    """Imports and `__all__` open the first exported cell, and its imports are sorted out there."""
    for book in books:
        exported = [cell for cell in book.cells if "export" in cell.tags]
        if not exported or "__all__" not in exported[0].source:
            yield f"{book.name}: the first exported cell has no `__all__`"
        for cell in exported[1:]:
            if re.search(r"^(import|from) ", cell.source, re.M):
                yield f"{cell.where}: an import that belongs into the first exported cell"


@rule
def short_prose(name: str, books: list[Notebook]) -> Iterator[str]:
    """At most 40 words of prose for each line that the student writes; hints are folded away."""
    lines = sum(bool(line.strip()) for cell in cells(books) for r in cell.regions for line in r)
    texts = (re.sub(r"(?s)<details>.*?</details>", "", cell.prose) for cell in cells(books))
    if (words := sum(len(text.split()) for text in texts)) > 40 * lines:
        yield f"{name}: {words} words of prose for {lines} lines of solutions"


@rule
def soon_at_work(_: str, books: list[Notebook]) -> Iterator[str]:
    """The first stub comes within 400 words."""
    for book in books:
        before = itertools.takewhile(lambda cell: not cell.is_solution, book.cells)
        if (words := sum(len(cell.prose.split()) for cell in before)) > 400:
            yield f"{book.name}: {words} words stand before the first stub"


@rule
def hints_hold_back(_: str, books: list[Notebook]) -> Iterator[str]:
    """Hint 1 is a question, hint 3 has at most a line of pseudocode for two lines of solution."""
    for book in books:
        hints: list[str] = []
        for cell in book.cells:
            hints = cell.hints or hints
            if cell.is_solution and hints:
                code = [line for line in "".join(hints[2:]).splitlines() if line.startswith("    ")]
                lines = sum(bool(line.strip()) for region in cell.regions for line in region)
                if "?" not in hints[0]:
                    yield f"{cell.where}: its first hint asks nothing"
                if 2 * len(code) > lines:
                    yield f"{cell.where}: {len(code)} lines of hint for {lines} of solution"
                hints = []


@rule
def points_as_told(name: str, books: list[Notebook]) -> Iterator[str]:
    """Points that the prose names are those of a cell, of a kind of cell, or of a notebook."""
    kinds = ("is_check", "is_written", "is_hidden_test", "is_graded")
    known = {cell.points for cell in cells(books)}
    for those in (books, *([book] for book in books)):
        known |= {sum(c.points for c in cells(those) if getattr(c, kind)) for kind in kinds}
    for cell in cells(books):
        for sentence in re.split(r"(?<=[.:])\s", cell.prose):
            worth = re.search(r"\bworth\b.*\bpoints?\b", sentence)
            told = re.findall(r"\d+" if worth else r"\b(\d+) points?\b", sentence)
            if strays := [number for number in told if float(number) not in known]:
                yield f"{cell.where}: nothing is worth {', '.join(strays)} points"


@rule
def whole_weighs(name: str, books: list[Notebook]) -> Iterator[str]:
    """What uses all that was written together weighs so much that nobody passes by it."""
    points = {cell.id: cell.points for cell in cells(books) if cell.is_test}
    without = 100 - points.get("Whole", 0) - points.get("check_whole", 0)
    if points.get("Whole", 0) < 15 or without > 79:
        yield f"{name}: without the whole one has {without:g} points"


@rule
def pictures_are_demos(_: str, books: list[Notebook]) -> Iterator[str]:
    """Pictures are drawn by Matplotlib, in cells that grading leaves out."""
    for cell in cells(books):
        drawn = re.search(r"\bplt\.|matplotlib", cell.source)
        if cell.type == "code" and drawn and "demo" not in cell.tags:
            yield f"{cell.where} draws, and is no demo"


@rule
def a_guess_first(name: str, books: list[Notebook]) -> Iterator[str]:
    """Twice at least, students say what they expect before they see it."""
    if (count := sum(len(re.findall(r"\*\*Predict", cell.prose)) for cell in cells(books))) < 2:
        yield f"{name} asks {count} times for a prediction"


@rule
def rubrics(name: str, books: list[Notebook]) -> Iterator[str]:
    """The written question stands in a read-only cell with its mark scheme, which graders see."""
    marked = [cell for cell in cells(books) if cell.mark_scheme]
    if len(marked) != 1 or not marked[0].nbgrader.get("locked"):
        yield f"{name}: mark schemes in {[cell.id for cell in marked]}"


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(assignment: str, rule: Rule) -> None:
    assert list(rule(assignment, notebooks(assignment))) == []


def test_the_assignments_are_there() -> None:
    assert ASSIGNMENTS == classroom.ASSIGNMENTS
    for name in ASSIGNMENTS:
        assert (ROOT / "source" / name / f"{name}.ipynb").exists()
    assert (ROOT / "source/05_autograd/three_other_ways.ipynb").exists()


PAGES = [name for name in ASSIGNMENTS if name >= "05" and name != "07_training"]


@pytest.mark.parametrize("assignment", PAGES)
def test_the_page_of_an_assignment_has_the_points_of_its_cells(assignment: str) -> None:
    page = (ROOT / f"docs/assignments/{assignment}.md").read_text()
    worth = {c.id: c.points for book in notebooks(assignment) for c in book.cells if c.points}
    rows = [line for line in page.splitlines() if re.match(r"\| `\w+` \|", line)]
    told: dict[str, float] = {}
    for row in rows:
        region, visible, hidden, *_ = (part.strip() for part in row.strip("|").split("|"))
        if visible:
            told["check_" + region.strip("`")] = float(visible)
        for name, points in re.findall(r"`(\w+)` ([\d.]+)", hidden):
            told[name] = told.get(name, 0) + float(points)
        if "by hand" in hidden:
            told[region.strip("`")] = float(hidden.split()[0])
    assert told == worth


def test_the_package_is_in_step_with_the_notebooks() -> None:
    assert export.check(ROOT / "source", ROOT / "tinytorch") == []


def foreign_imports(source: str) -> set[str]:
    """What a module of tinytorch imports besides NumPy, the standard library and tinytorch."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found - {"numpy", "tinytorch"} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", sorted((ROOT / "tinytorch").glob("*.py")), ids=lambda p: p.name)
def test_tinytorch_stands_on_numpy_alone(path) -> None:
    assert foreign_imports(path.read_text()) == set()


def test_a_foreign_import_is_seen() -> None:
    source = "import math, numpy as np\nfrom . import x\ndef f():\n    from scipy import fft"
    assert foreign_imports(source) == {"scipy"}


# The other side: a small assignment that keeps every rule, and for each rule a way to break it.


def _cell(cell_type: str, name: str, source: str, **flags) -> dict:
    meta = {}
    if flags:
        meta = {"grade": False, "solution": False, "locked": False, "task": False, **flags}
        meta |= {"grade_id": name, "schema_version": 3}
        meta |= {"cell_type": cell_type} if meta["grade"] else {}
    made = {"cell_type": cell_type, "id": name, "metadata": {"nbgrader": meta} if meta else {}}
    made |= {"source": source.splitlines(keepends=True)}
    return made | ({"outputs": [], "execution_count": None} if cell_type == "code" else {})


INTRO = """# 01 Small
An assignment with a table. The check is worth 20 points.

|a|
|------|

**Predict** once. **Predict** twice.

$$ this is no word of prose $$

<details><summary>Hint 1: a question</summary>

What?
</details>
<details><summary>Hint 2: a shape</summary>

Any.
</details>
<details><summary>Hint 3: pseudocode</summary>

    give it back
</details>

Why?

### BEGIN MARK SCHEME
5 points: because.
### END MARK SCHEME
"""


def small() -> list[Notebook]:
    region = "def f(x):\n    ### BEGIN SOLUTION\n    x = x\n    return x\n    ### END SOLUTION"
    made = [
        _cell("markdown", "intro", INTRO, locked=True),
        _cell("code", "imports", '__all__ = ["f"]', locked=True),
        _cell("code", "f", region, solution=True),
        _cell("code", "check_f", "assert f(1) == 1", grade=True, locked=True, points=20),
        _cell("markdown", "written", "Because.", grade=True, solution=True, points=5),
        _cell("code", "F", HIDDEN, grade=True, locked=True, points=54),
        _cell("code", "Whole", HIDDEN, grade=True, locked=True, points=21),
    ]
    for exported in made[1:3]:
        exported["metadata"]["tags"] = ["export"]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    raw = {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return [Notebook("small.ipynb", raw)]


def _source(number: int, text: str) -> Callable[[dict], object]:
    return lambda raw: raw["cells"][number].update(source=[text])


def _meta(number: int, **changes) -> Callable[[dict], object]:
    return lambda raw: raw["cells"][number]["metadata"]["nbgrader"].update(changes)


BREACHES = [
    (no_outputs, lambda raw: raw["cells"][1].update(execution_count=3)),
    (no_outputs, lambda raw: raw["cells"][1].update(outputs=[{}])),
    (no_outputs, lambda raw: raw["cells"][1]["metadata"].update(collapsed=True)),
    (one_kernel, lambda raw: raw["metadata"]["kernelspec"].update(name="mine")),
    (one_kernel, lambda raw: raw["metadata"]["language_info"].update(version="3.12.1")),
    (one_kernel, lambda raw: raw.update(nbformat_minor=4)),
    (stable_ids, lambda raw: raw["cells"][0].update(id="imports")),
    (stable_ids, lambda raw: raw["cells"][0].update(id="a b")),
    (stable_ids, lambda raw: raw["cells"][0].pop("id")),
    (stable_ids, lambda raw: raw["cells"][0].update(id="3f2a91bc")),
    (stable_ids, _meta(2, grade_id="g")),
    (schema, _meta(2, schema_version=2)),
    (schema, _meta(3, locked=False)),
    (schema, _meta(3, points=0)),
    (schema, _meta(1, points=1)),
    (schema, _meta(3, cell_type="markdown")),
    (hundred_points, _meta(5, points=76)),
    (visible_points, _meta(3, points=21)),
    (one_question, lambda raw: raw["cells"].pop(4)),
    (one_question, _meta(4, points=30)),
    (short_regions, _source(2, "### BEGIN SOLUTION\n" + "x = 1\n" * 16 + "### END SOLUTION")),
    (short_regions, _source(2, "### BEGIN SOLUTION\nx = 1")),
    (short_regions, _source(2, "### END SOLUTION")),
    (short_regions, _source(2, "### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION")),
    (short_regions, _source(2, "def f(x):\n    return x")),
    (short_regions, _source(1, "### BEGIN SOLUTION\nx = 1\n### END SOLUTION")),
    (hidden_tests_last, lambda raw: raw["cells"].append(_cell("markdown", "end", "The end."))),
    (hidden_tests_last, lambda raw: raw.update(cells=raw["cells"][:5])),
    (checks_check, _source(3, "f(1) == 1")),
    (checks_check, _source(3, "def test_f():\n    assert f(1) == 1")),
    (plain_looks, _source(0, "# Well done \U0001f389")),
    (plain_looks, _source(0, "\u2705 done")),
    (plain_looks, _source(1, "# ==========\n__all__ = []")),
    (plain_looks, _source(1, "# Part one #########\n__all__ = []")),
    (plain_looks, _source(0, "## YOUR TURN NOW")),
    (plain_paths, _source(1, 'open("/home/me/data.csv")')),
    (gradients_come_later, _source(0, "In 05 this gets Gradients.")),
    (gradients_come_later, _source(1, "x.grad = None")),
    (short_prose, _source(0, INTRO + 80 * "word ")),
    (soon_at_work, _source(0, INTRO + 400 * "word ")),
    (hints_hold_back, _source(0, INTRO.replace("What?", "This."))),
    (hints_hold_back, _source(0, INTRO.replace("    give", "    take it\n    give"))),
    (points_as_told, _source(0, INTRO.replace("20 points", "19 points"))),
    (points_as_told, _source(0, "The checks are worth 20 points, your answer 6.")),
    (points_as_told, _source(0, "There are 7 points for it.")),
    (whole_weighs, _meta(6, points=20)),
    (whole_weighs, lambda raw: raw["cells"][6].update(id="Everything")),
    (pictures_are_demos, _source(1, "import matplotlib.pyplot as plt")),
    (a_guess_first, _source(0, INTRO.replace("**Predict** twice.", ""))),
    (rubrics, _source(0, "Why?")),
    (rubrics, _meta(0, locked=False)),
    (modules, _source(1, "x = 1")),
    (modules, _source(2, "import math")),
]


def test_the_small_assignment_keeps_every_rule() -> None:
    assert [said for rule in RULES for said in rule("01_small", small())] == []


@pytest.mark.parametrize(("rule", "breach"), BREACHES, ids=lambda it: it.__name__)
def test_a_breach_is_seen(rule: Rule, breach: Callable[[dict], object]) -> None:
    [book] = copy.deepcopy(small())
    breach(book.raw)
    assert list(rule("01_small", [book]))


def test_every_rule_has_a_breach() -> None:
    assert {rule.__name__ for rule, _ in BREACHES} == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize("text", ["x.requires_grad = True", "loss.backward()"])
def test_code_of_02_that_prepares_05_is_seen(text: str) -> None:
    [book] = small()
    _source(1, text)(book.raw)
    assert list(gradients_come_later("02_small", [book]))
    assert not list(gradients_come_later("05_small", [book]))
