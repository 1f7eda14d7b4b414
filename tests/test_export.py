"""`proctor export`: notebooks in, a package out, and nothing lost or overwritten on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proctor.author import export
from proctor.cli import main
from proctor.errors import CourseError

ROOT = Path(__file__).resolve().parents[1]

NUMBERS = [
    ("markdown", "# 01 Numbers\nWhat a number is."),
    ("export", 'import math\n\n__all__ = ["Number", "half"]'),
    ("code", 'raise RuntimeError("a cell that is not exported")'),
    (
        "export",
        "class Number:\n    def __init__(self, x):\n"
        "        ### BEGIN SOLUTION\n        self.x = math.floor(x)\n        ### END SOLUTION",
    ),
    ("export", "def half(n):\n    return Number(n.x / 2)"),
]
SUMS = [
    ("markdown", "# 02 Sums"),
    ("export", 'from course import Number\n\n__all__ = ["add"]'),
    ("export", "def add(a, b):\n    return Number(a.x + b.x)"),
]


def notebook(path, cells):
    """Write a notebook; a cell of kind "export" is a code cell with that tag."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [
        {
            "cell_type": "markdown" if kind == "markdown" else "code",
            "id": f"cell-{i}",
            "metadata": {"tags": ["export"]} if kind == "export" else {},
            "source": source.splitlines(keepends=True),
        }
        for i, (kind, source) in enumerate(cells)
    ]
    path.write_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def course(tmp_path):
    """A course of two assignments, exported."""
    notebook(tmp_path / "source/02_sums/02_sums.ipynb", SUMS)
    notebook(tmp_path / "source/01_numbers/01_numbers.ipynb", NUMBERS)
    export.export_course(tmp_path / "source", tmp_path / "course")
    return tmp_path


def differences(course):
    return export.check(course / "source", course / "course")


def run(folder, code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_module_is_its_tagged_cells(course):
    assert (
        (course / "course/numbers.py").read_text()
        == '''"""01 Numbers

Exported from source/01_numbers/01_numbers.ipynb by `proctor export`; edit the notebook.
"""

import math

__all__ = ["Number", "half"]


class Number:
    def __init__(self, x):
        self.x = math.floor(x)


def half(n):
    return Number(n.x / 2)
'''
    )


def test_the_package_offers_all_names_in_the_order_of_the_assignments(course):
    init = (course / "course/__init__.py").read_text()
    assert "from .numbers import Number, half\nfrom .sums import add\n" in init
    code = "import course as c; print(c.__all__, c.half(c.add(c.Number(3), c.Number(6))).x)"
    assert run(course, code) == "['Number', 'half', 'add'] 4"


def test_what_is_exported_passes_ruff(course):
    long = ", ".join(f'"{letter * 12}"' for letter in "abcdefghij")
    cells = [("export", f"__all__ = [{long}]".replace("[", "[\n    ").replace("]", ",\n]"))]
    cells[0] = ("export", cells[0][1].replace('", "', '",\n    "'))
    cells += [("export", "\n".join(f"{letter * 12} = 1" for letter in "abcdefghij"))]
    notebook(course / "source/03_long/03_long.ipynb", cells)
    export.export_course(course / "source", course / "course")
    ruff = [sys.executable, "-m", "ruff"]
    (course / "pyproject.toml").write_text(
        (ROOT / "pyproject.toml").read_text().replace('"tinytorch/', '"course/')
    )
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([*ruff, *command, "course"], cwd=course, capture_output=True)
        assert done.returncode == 0, done.stdout.decode()


def test_a_docstring_in_the_first_cell_opens_the_module(tmp_path):
    cells = [("markdown", "# Heading"), ("export", '"""What it does."""\n\n__all__ = []')]
    path = notebook(tmp_path / "01_a.ipynb", cells)
    text = export.export_notebook(path, tmp_path / "course").read_text()
    assert text.startswith('"""What it does.\n\nExported from ')
    assert text.count("What it does") == 1


@pytest.mark.parametrize("heading", ['A "quoted" \\n one', 'ends in a "quote"', "x" * 300])
def test_any_heading_leaves_valid_python(tmp_path, heading):
    cells = [("markdown", f"# {heading}"), ("export", "__all__ = []")]
    path = notebook(tmp_path / "01_a.ipynb", cells)
    text = export.export_notebook(path, tmp_path / "course").read_text()
    compile(text, "a.py", "exec")
    assert max(map(len, text.splitlines())) <= 100


GROWN = [
    ("export", '__all__ = ["Pile"]'),
    ("export", "@extend\nclass Pile:\n    def __init__(self):\n        self.items = []"),
    ("markdown", "Then a section of it."),
    (
        "export",
        "def twice(f):\n    return lambda self, x: f(f(self, x), x)\n\n\n"
        "@extend\nclass Pile:\n    # 2. Put something on it.\n\n"
        '    def put(self, item):\n        """Longer\nthan a line."""\n'
        "        self.items.append(item)\n        return self\n\n    put_twice = twice(put)",
    ),
    ("export", "EMPTY = Pile()"),
    ("export", "@extend\nclass Pile:\n    size = property(lambda self: len(self.items))"),
]


class TestAClassThatGrows:
    """A class that `@extend` makes grow from cell to cell is one class in the module."""

    def exported(self, folder, cells):
        return export.export_notebook(notebook(folder / "01_pile.ipynb", cells), folder / "c")

    def test_its_sections_are_joined_where_it_begins(self, tmp_path):
        text = self.exported(tmp_path, GROWN).read_text()
        assert text.partition('__all__ = ["Pile"]\n')[2] == (
            "\n\ndef twice(f):\n    return lambda self, x: f(f(self, x), x)\n"
            "\n\nclass Pile:\n    def __init__(self):\n        self.items = []\n"
            "\n    # 2. Put something on it.\n"
            '\n    def put(self, item):\n        """Longer\nthan a line."""\n'
            "        self.items.append(item)\n        return self\n\n    put_twice = twice(put)\n"
            "\n    size = property(lambda self: len(self.items))\n"
            "\n\nEMPTY = Pile()\n"
        )
        assert run(tmp_path, "import c; print(c.Pile().put_twice(1).size)") == "2"

    @pytest.mark.parametrize(
        "section",
        [
            "@extend\nclass Pile:\n  def top(self):\n    return 'top'",
            "@extend\nclass Pile: top = lambda self: 'top'",
            "@extend\nclass Pile:\n\tdef top(self):\n\t\treturn 'top'",
        ],
    )
    def test_any_indentation_joins(self, tmp_path, section):
        for cells in ([*GROWN, ("export", section)], [GROWN[0], ("export", section), *GROWN[1:]]):
            self.exported(tmp_path, cells)
            code = "import c; print(c.Pile().top(), c.Pile().put(1).size)"
            assert run(tmp_path, code) == "top 1"

    def test_a_class_that_begins_anew_replaces_the_old_one(self, tmp_path):
        anew = "class Pile:\n    items = (1, 2)"
        more = "@extend\nclass Pile:\n    first = items = (3,)"
        cells = [*GROWN, ("export", anew), ("export", more)]
        self.exported(tmp_path, cells)
        code = "import c; print(c.Pile.first, hasattr(c.Pile, 'put'), c.pile.EMPTY.size)"
        assert run(tmp_path, code) == "(3,) False 0"

    def test_what_a_section_says_of_the_class_itself_comes_behind_it(self, tmp_path):
        section = (
            "def of(x) -> Pile:\n    return Pile().put(x)\n\n\n@extend\nclass Pile:\n"
            "    add = Pile.put\n\n    def twin(self) -> Pile:\n        return Pile()\n"
            "    late = lambda self: Pile()\n"
        )
        text = self.exported(tmp_path, [*GROWN, ("export", section)]).read_text()
        assert "\n\n\nPile.add = Pile.put\n" in text
        code = "import c; p = c.Pile(); print(p.add(1).size, p.twin().size, p.late().size)"
        assert run(tmp_path, code) == "1 0 0"
        alone = "@extend\nclass Pile:\n    add = Pile.put"
        text = self.exported(tmp_path, [*GROWN, ("export", alone)]).read_text()
        assert text.endswith("\n\n\nPile.add = Pile.put\n")

    def test_bases_belong_where_it_begins(self, tmp_path):
        cells = [*GROWN, ("export", "@extend\nclass Pile(list):\n    pass")]
        with pytest.raises(CourseError, match=r"01_pile\.ipynb: a section of class Pile names its"):
            self.exported(tmp_path, cells)


class TestAStudentsOwn:
    def test_notebooks_join_in_the_order_of_the_assignments(self, tmp_path):
        package = tmp_path / "mine/course"
        for name, cells in (("02_sums", SUMS), ("01_numbers", NUMBERS)):
            export.export_notebook(notebook(tmp_path / f"mine/{name}.ipynb", cells), package)
        code = "import course; print(course.add(course.Number(1), course.Number(2)).x)"
        assert run(tmp_path / "mine", code) == "3"

    def test_a_second_notebook_comes_after_its_assignments_first(self, tmp_path):
        package = tmp_path / "course"
        aside = [("export", 'from course import Number\n\n__all__ = ["ONE"]\n\nONE = Number(1)')]
        for path, cells in (
            (tmp_path / "01_numbers/aside.ipynb", aside),
            (tmp_path / "02_sums/02_sums.ipynb", SUMS),
            (tmp_path / "01_numbers/01_numbers.ipynb", NUMBERS),
        ):
            export.export_notebook(notebook(path, cells), package)
        lines = (package / "__init__.py").read_text().splitlines()
        imported = [line.split()[1] for line in lines if line.startswith("from ")]
        assert imported == [".numbers", ".aside", ".sums"]

    def test_a_second_export_replaces_the_first(self, tmp_path):
        path = notebook(tmp_path / "01_numbers.ipynb", NUMBERS)
        export.export_notebook(path, tmp_path / "course")
        notebook(path, [*NUMBERS, ("export", "DOZEN = Number(12)")])
        export.export_notebook(path, tmp_path / "course")
        assert run(tmp_path, "import course.numbers as n; print(n.DOZEN.x)") == "12"

    def test_a_stub_is_exported_as_it_stands(self, tmp_path):
        stub = "def half(n):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
        path = notebook(tmp_path / "01_a.ipynb", [("export", f'__all__ = ["half"]\n\n\n{stub}')])
        assert stub in export.export_notebook(path, tmp_path / "course").read_text()

    def test_a_file_written_by_hand_is_never_overwritten(self, tmp_path):
        mine = tmp_path / "course/numbers.py"
        mine.parent.mkdir()
        mine.write_text("precious = True\n")
        with pytest.raises(CourseError, match=r"course/numbers\.py was not made by .*Move it"):
            export.export_notebook(notebook(tmp_path / "01_numbers.ipynb", NUMBERS), mine.parent)
        assert mine.read_text() == "precious = True\n"

    def test_neither_is_an_init_written_by_hand(self, tmp_path):
        mine = tmp_path / "course/__init__.py"
        mine.parent.mkdir()
        mine.write_text("precious = True\n")
        with pytest.raises(CourseError, match=r"course/__init__\.py was not made by .*Move it"):
            export.export_notebook(notebook(tmp_path / "01_numbers.ipynb", NUMBERS), mine.parent)
        assert mine.read_text() == "precious = True\n"

    @pytest.mark.parametrize("link", ["course", "course/numbers.py", "course/__init__.py"])
    def test_nothing_is_written_through_a_link(self, tmp_path, link):
        elsewhere = tmp_path / "elsewhere"
        if link == "course":
            elsewhere.mkdir()
        else:
            (tmp_path / "course").mkdir()
            elsewhere.write_text("")
        (tmp_path / link).symlink_to(elsewhere)
        with pytest.raises(CourseError, match=rf"{link} is a link.* Delete the link"):
            export.export_notebook(
                notebook(tmp_path / "01_numbers.ipynb", NUMBERS), tmp_path / "course"
            )
        assert [*elsewhere.iterdir()] == [] if elsewhere.is_dir() else elsewhere.read_text() == ""

    def test_a_module_of_another_notebook_is_left_alone(self, tmp_path):
        package = tmp_path / "course"
        export.export_notebook(notebook(tmp_path / "01_numbers/01_numbers.ipynb", NUMBERS), package)
        before = (package / "numbers.py").read_text()
        other = notebook(tmp_path / "old/01_numbers.ipynb", [*NUMBERS, ("export", "TEN = 10")])
        with pytest.raises(
            CourseError, match=r"exported from 01_numbers/01_numbers\.ipynb: old/01"
        ):
            export.export_notebook(other, package)
        assert (package / "numbers.py").read_text() == before

    @pytest.mark.parametrize("typed", [".", "01_numbers", "02_sums", ".."])
    def test_wherever_it_is_typed_it_writes_to_the_one_package(self, tmp_path, typed, monkeypatch):
        """Beside the assignments' folders, which is where the next notebook finds it."""
        desk = tmp_path / "desk"
        for name, cells in (("01_numbers", NUMBERS), ("02_sums", SUMS)):
            notebook(desk / name / f"{name}.ipynb", cells)
        monkeypatch.chdir(desk / typed)
        for name in ("01_numbers", "02_sums"):
            path = os.path.relpath(desk / name / f"{name}.ipynb")
            with pytest.raises(SystemExit, match="0"):
                main(["export", "--package", "course", path])
        assert [*tmp_path.rglob("numbers.py")] == [desk / "course/numbers.py"]
        code = "import course; print(course.add(course.Number(1), course.Number(2)).x)"
        assert run(desk, code) == "3"

    def test_a_notebook_that_lies_by_itself_has_its_package_beside_it(self, tmp_path):
        assert export.package_for(tmp_path / "numbers.ipynb") == tmp_path / "tinytorch"
        assert export.package_for(tmp_path / "a/a.ipynb", "course") == tmp_path / "course"

    @pytest.mark.parametrize("step", ["submitted/bob", "release"])
    @pytest.mark.parametrize("name", ["01_numbers", "03_new"])
    def test_in_a_course_only_the_instructors_notebooks_are_exported(self, course, step, name):
        (course / "nbgrader_config.py").touch()
        before = {path: path.read_text() for path in (course / "course").iterdir()}
        path = notebook(course / step / name / f"{name}.ipynb", NUMBERS)
        for package in (export.package_for(path), course / "course", course / "other"):
            with pytest.raises(CourseError, match=r"lies in \w+/ of the course .*`proctor check`"):
                export.export_notebook(path, package)
        assert {path: path.read_text() for path in (course / "course").iterdir()} == before
        mine = course / "source/01_numbers/01_numbers.ipynb"
        assert (
            export.export_notebook(mine, export.package_for(mine)) == course / "course/numbers.py"
        )

    def test_a_broken_module_of_another_notebook_is_named(self, tmp_path):
        package = tmp_path / "course"
        export.export_notebook(notebook(tmp_path / "01_numbers.ipynb", NUMBERS), package)
        with (package / "numbers.py").open("a") as file:
            file.write("def")
        with pytest.raises(CourseError, match=r"course/numbers\.py is no longer valid .* Export"):
            export.export_notebook(notebook(tmp_path / "02_sums.ipynb", SUMS), package)
        export.export_notebook(tmp_path / "01_numbers.ipynb", package)
        export.export_notebook(tmp_path / "02_sums.ipynb", package)


class TestCheck:
    def test_says_nothing_of_a_package_in_step(self, course):
        assert differences(course) == []

    def test_names_an_edited_module_and_its_line(self, course):
        path = course / "course/numbers.py"
        path.write_text(path.read_text().replace("n.x / 2", "n.x / 3"))
        [said] = differences(course)
        assert "course/numbers.py, line 17:" in said
        assert "source/01_numbers/01_numbers.ipynb" in said
        assert "proctor export" in said

    def test_names_an_edited_notebook(self, course):
        cells = [*SUMS, ("export", "ZERO = add(Number(0), Number(0))")]
        notebook(course / "source/02_sums/02_sums.ipynb", cells)
        [said] = differences(course)
        assert said.startswith("course/sums.py, line 13: differs from source/02_sums/")

    def test_names_a_missing_module(self, course):
        (course / "course/sums.py").unlink()
        [said] = differences(course)
        assert said.startswith("course/sums.py is missing: source/02_sums/02_sums.ipynb exports it")

    def test_names_a_stray_module(self, course):
        (course / "course/old.py").write_text("")
        [said] = differences(course)
        assert said.startswith("course/old.py is exported by no notebook of source/. Delete it")

    def test_names_an_edited_init(self, course):
        (course / "course/__init__.py").write_text("")
        [said] = differences(course)
        assert said.startswith("course/__init__.py, line 1:")

    def test_a_new_assignment_is_missing_until_it_is_exported(self, course):
        path = course / "source/03_more/03_more.ipynb"
        notebook(path, [("export", "__all__ = []")])
        assert len(differences(course)) == 1
        export.export_course(course / "source", course / "course")
        assert differences(course) == []

    def test_writes_nothing(self, course):
        (course / "course/sums.py").unlink()
        differences(course)
        assert not (course / "course/sums.py").exists()


class TestErrorsSayWhatToDo:
    @pytest.mark.parametrize(
        ("cells", "said"),
        [
            ([("export", "x = 1")], r"have no `__all__`\. Add"),
            ([("export", "__all__ = ['x'] + names")], r"have no `__all__`\. Add `__all__ = "),
            ([("export", '__all__ = ["x", "lost"]\nx = 1')], r"no exported cell defines lost"),
            ([("export", "%timeit 1")], r"cell 'cell-0', line 1: not valid Python .* magics"),
            (
                [("export", "__all__ = []"), ("export", "\nx =")],
                r"cell 'cell-1', line 2: not valid",
            ),
            ([("code", "x = 1")], r"no cell is tagged `export`"),
        ],
    )
    def test_a_notebook_that_cannot_be_exported(self, tmp_path, cells, said):
        path = notebook(tmp_path / "01_a.ipynb", cells)
        with pytest.raises(CourseError, match=said) as caught:
            export.export_notebook(path, tmp_path / "course")
        assert "01_a.ipynb" in str(caught.value)
        assert not (tmp_path / "course/a.py").exists()

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": 3}', '{"cells": [7]}', "\udcff"])
    def test_a_file_that_is_no_notebook(self, tmp_path, text):
        path = tmp_path / "01_a.ipynb"
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(CourseError, match="not a notebook of format 4"):
            export.export_notebook(path, tmp_path / "course")

    def test_no_file(self, tmp_path):
        with pytest.raises(CourseError, match="cannot be read"):
            export.export_notebook(tmp_path / "01_a.ipynb", tmp_path / "course")

    def test_a_name_that_is_no_modules(self, tmp_path):
        path = notebook(tmp_path / "01 my numbers.ipynb", NUMBERS)
        with pytest.raises(CourseError, match="Rename the notebook"):
            export.export_notebook(path, tmp_path / "course")

    def test_two_notebooks_for_one_module(self, course):
        notebook(course / "source/03_numbers/03_numbers.ipynb", NUMBERS)
        with pytest.raises(CourseError, match=r"both export numbers\.py"):
            differences(course)

    def test_two_modules_that_offer_one_name(self, course):
        cells = [("export", '__all__ = ["half"]\n\nhalf = 0.5')]
        notebook(course / "source/03_more/03_more.ipynb", cells)
        with pytest.raises(CourseError, match="both offer `half`"):
            export.export_course(course / "source", course / "course")

    def test_an_empty_course(self, tmp_path):
        with pytest.raises(CourseError, match="no notebook"):
            export.export_course(tmp_path, tmp_path / "course")
