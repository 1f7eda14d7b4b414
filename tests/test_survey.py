"""A class as a whole: what its results tell of it and of the grade cells, who wrote the same, and
the page that says so.
"""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proctor import cli
from proctor.author.solutions import REFERENCE
from proctor.course.course import Assignment, Course
from proctor.record.gradebook import Place
from proctor.record.roster import Item, Participant, Person
from proctor.survey import gather, items, page, similar
from proctor.survey.items import BROKEN, EASY_FLAG, HARD_FLAG, WEAK_FLAG, analyse
from tests import classroom, handmade, made_class
from tests.handmade import NAME, graded, hand_in, record

# Figures of grade cells ---------------------------------------------------------------------------

# Four students (rows) and three items; the constants were computed by hand.
SMALL = np.array([[1, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]], dtype=float)


def test_alpha_by_hand() -> None:
    # variances of the items 1/4, 1/3, 1/3; of the sums 2, 3, 0, 2: 19/12
    assert items.alpha(SMALL) == pytest.approx(12 / 19)


def test_item_rest_by_hand() -> None:
    expected = [1 / 1.5**0.5, 0.5 / 2.75**0.5, 0.5 / 2.75**0.5]
    assert items.item_rest(SMALL) == pytest.approx(expected)


def test_what_cannot_be_said_is_none() -> None:
    assert items.alpha(SMALL[:, :1]) is None
    assert items.alpha(np.ones((5, 3))) is None
    assert items.item_rest(np.column_stack([SMALL[:, 0], np.ones(4)])) == [None, None]


KINDS = "good other reversed easy hard chance".split()
ITEMS = [Item("n", name, 4.0, "hidden") for name in KINDS]


def drawn_class(size: int, waits: int = 0) -> list[Participant]:
    """Students of whom some items know the ability, and others do not; `waits` lack one score."""
    draw = random.Random(5)
    found = []
    for number in range(size):
        able = draw.random()
        points: dict[str, float | None] = {
            "good": round(4 * able),
            "other": round(4 * min(1, max(0, able + draw.uniform(-0.2, 0.2)))),
            "reversed": 4 - round(4 * able),
            "easy": 4.0 if number else 3.0,
            "hard": 4.0 if able > 0.9 else 0.0,
            "chance": draw.choice((0.0, 4.0)),
        }
        if number < waits:
            points["chance"] = None
        scores: dict[Place, float | None] = {("n", name): points[name] for name in KINDS}
        found.append(Participant(Person(f"s{number}"), "graded", scores=scores))
    return found


def flags(size: int = 60, **more: int) -> dict[str, list[str]]:
    analysis = analyse(ITEMS, drawn_class(size, **more))
    return {each.item.cell: [flag.name for flag in each.flags] for each in analysis.figures}


def test_planted_faults_are_flagged_and_sound_items_are_not() -> None:
    found = flags()
    assert BROKEN.name in found["reversed"]
    assert EASY_FLAG.name in found["easy"] and HARD_FLAG.name in found["hard"]
    assert {WEAK_FLAG.name, BROKEN.name} & {*found["chance"]}
    assert found["good"] == found["other"] == []


def test_nothing_is_said_of_a_small_class() -> None:
    analysis = analyse(ITEMS, drawn_class(items.CLASS - 1))
    assert analysis.alpha is None and analysis.students == items.CLASS - 1
    assert not any(each.flags or each.discrimination for each in analysis.figures)
    assert analysis.figures[0].difficulty is not None
    assert analyse(ITEMS, drawn_class(items.CLASS)).alpha is not None


def test_what_waits_is_left_out_item_by_item_or_student_by_student() -> None:
    few = analyse(ITEMS, drawn_class(60, waits=5))
    assert few.students == 55 and not few.left_out
    assert few.figures[-1].graded == 55 and few.figures[0].graded == 60
    many = analyse(ITEMS, drawn_class(60, waits=40))
    assert many.students == 60 and [item.cell for item in many.left_out] == ["chance"]
    assert many.figures[-1].discrimination is None


def test_nobody_is_a_class_too() -> None:
    analysis = analyse(ITEMS, [])
    assert analysis.students == 0 and all(each.mean is None for each in analysis.figures)


# Nearly the same ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def codes() -> dict[str, str]:
    """The own code of the reference and of two kept solutions that share nothing with it."""
    template = Course.load(classroom.ROOT).assignment("01_tensor").templates[0]
    kept = {each.name: each for each in classroom.solutions("01_tensor")}
    found = {}
    for name in (None, "made_by_a_factory", "rule_in_the_constructor"):
        notebooks = classroom.solved("01_tensor", kept[name] if name else REFERENCE)
        data = json.dumps(notebooks["01_tensor"]).encode()
        found[name or "reference"] = similar.own_code(template, template.submission(data))
    found["released"] = similar.released_code(template)
    return found


def alike(codes: dict[str, str], released: str = "") -> list[tuple[str, str]]:
    return [(pair.one, pair.other) for pair in similar.pairs(codes, released)]


def test_copies_are_found_and_independent_solutions_are_not(codes: dict[str, str]) -> None:
    released = codes["released"]
    class_ = {name: code for name, code in codes.items() if name != "released"}
    assert alike(class_, released) == []
    assert alike(class_ | {"zoe": codes["made_by_a_factory"]}, released) == [
        ("made_by_a_factory", "zoe")
    ]


def test_a_copy_hides_behind_names_comments_order_or_more_code(codes: dict[str, str]) -> None:
    code, other = codes["made_by_a_factory"], codes["rule_in_the_constructor"]
    hidden = re.sub(r"\b(other|axis|data|self|x|f)\b", r"my_\1", code)
    hidden = re.sub(r"(?m)^( +)(?=return)", r"\1# done\n\1", hidden)
    [pair] = similar.pairs({"ada": code, "bob": hidden}, codes["released"])
    assert pair.similarity > 0.95
    both = code.split("\n"), hidden.split("\n")
    marked = [[lines[at] for at in pair.lines[side]] for side, lines in enumerate(both)]
    given = {line.strip() for line in codes["released"].split("\n")} | {""}
    theirs = [line for line in both[0] if line.strip() not in given]
    assert 0.8 * len(theirs) < len(marked[0]) <= len(theirs)
    assert not any(line.strip() in given for line in marked[0])
    longer = other + "\n\n" + code
    assert ("ada", "eve") in alike({"ada": code, "eve": longer}, codes["released"])


def test_what_was_given_and_what_many_wrote_is_no_sign(codes: dict[str, str]) -> None:
    code = codes["made_by_a_factory"]
    assert alike({"ada": code, "bob": code}, released=code) == []
    assert alike({f"s{n}": code for n in range(similar.FEW)}) != []
    assert alike({f"s{n}": code for n in range(similar.FEW + 1)}) == []


def test_little_code_is_no_sign() -> None:
    short = "def f(x):\n    return x + 1\n"
    assert alike({"ada": short, "bob": short, "eve": "", "joe": "def ("}) == []


@pytest.mark.parametrize("unit", [" \n", "\t\n", "\n    "])
def test_blank_lines_hold_no_report_up(unit: str) -> None:
    """Pygments looks at each of them again from the first one on."""

    def seconds(text: str) -> float:
        notebook = classroom.solved("01_tensor", REFERENCE)["01_tensor"]
        notebook["cells"].append({**notebook["cells"][-1], "id": "own", "cell_type": "code"})
        notebook["cells"][-1] |= {"metadata": {}, "source": f"x = 1\n{text}\ny = 2"}
        template = Course.load(classroom.ROOT).assignment("01_tensor").templates[0]
        code = similar.own_code(template, template.submission(json.dumps(notebook).encode()))
        assert "x = 1" in code and "y = 2" in code
        started = time.process_time()
        similar.pairs({"one": code}, "")
        return time.process_time() - started

    assert seconds(unit * (20_000 // len(unit))) < 5 * max(seconds("a = b + 1\n" * 2_000), 0.1)


def test_pairs_are_the_same_in_each_run(codes: dict[str, str]) -> None:
    code = "import sys; from tests.test_survey import *; from proctor.survey import similar\n"
    code += "c = dict(eval(sys.stdin.read())); print(similar.pairs(c, ''))"
    given = repr({"a": codes["reference"], "b": codes["reference"].replace("axis", "dim")})
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=given,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            cwd=classroom.ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1 and "similarity=1.0" in runs.pop()


# An assignment ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.a_student_in_each_state(tmp_path_factory.mktemp("made") / "course")


@pytest.fixture
def assignment(made: Path, tmp_path: Path) -> Assignment:
    return handmade.copy_course(made, tmp_path / "course")


def test_what_a_survey_says(assignment: Assignment) -> None:
    found = gather.survey(assignment)
    assert [each.student.id for each in found.suspicious] == ["bob"]
    assert not found.changed and [each.student.id for each in found.late] == ["bob"]
    hand_in(assignment, "ada", "2026-01-31 12:00:00 UTC", total="def total(values): return 0")
    again = gather.survey(Course.load(assignment.course.root).assignment(NAME))
    assert [each.student.id for each in again.changed] == ["ada"]
    assert "again" in " ".join(page.to_do(again))


def test_one_and_the_same_file_of_several_students(assignment: Assignment, run: Any) -> None:
    """Only a file on which points rest: anybody may have a copy of another one."""
    source = assignment.source / f"{NAME}.ipynb"
    notebook = json.loads(source.read_text())
    graded = next(each for each in notebook["cells"] if each["id"] == "Mean")
    graded["metadata"]["tags"] = ["hand-in:w.npz"]
    source.write_text(json.dumps(notebook))
    for student, data in (("ada", b"1"), ("bob", b"1"), ("eve", b"2")):
        folder = assignment.course.folder("submitted", student, NAME)
        assert folder.exists()
        (folder / "w.npz").write_bytes(data)
        (folder / "common.csv").write_bytes(b"1,2")
    found = gather.survey(Course.load(assignment.course.root).assignment(NAME))
    assert [(name, [p.student.id for p in who]) for name, who in found.same] == [
        ("w.npz", ["bob", "ada"])
    ]
    assert any("about w.npz" in each for each in page.to_do(found))
    assert run(NAME, "--course", assignment.course.root)[0] == 0
    text = (assignment.course.root / "report" / f"{NAME}.html").read_text()
    assert "The same w.npz (2)" in text and "common.csv" not in text


def test_what_was_given_is_no_sign_where_nbgraders_cells_are_all_that_is_known(
    assignment: Assignment,
) -> None:
    """A course whose test cells run in process: the gradebook has no cell without metadata."""
    root = assignment.course.root
    config = root / "nbgrader_config.py"
    config.write_text(config.read_text() + "\nc.Proctor.checks = 'in process'\n")
    given = {"cell_type": "code", "id": "given", "metadata": {}, "source": CODE}
    for path in [
        *root.glob(f"source/{NAME}/{NAME}.ipynb"),
        *root.glob(f"submitted/*/*/{NAME}.ipynb"),
    ]:
        notebook = json.loads(path.read_text())
        notebook["cells"].append(given | {"outputs": [], "execution_count": None})
        path.write_text(json.dumps(notebook))
    found = gather.survey(Course.load(root).assignment(NAME))
    assert sum(CODE.strip() in code for code in found.codes.values()) == 3
    assert found.pairs == []


# The command --------------------------------------------------------------------------------------


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def call(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["report", *map(str, words)])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out + said.err

    return call


def test_pages_and_tables_are_written(assignment: Assignment, run: Any) -> None:
    root = assignment.course.root
    assert run(NAME, "--course", root)[0] == 0
    names = {path.name for path in (root / "report").iterdir()}
    tables = {f"{NAME}-{name}.csv" for name in ("scores", "items", "misconceptions", "pairs")}
    assert names == {f"{NAME}.html", "index.html", *tables}
    rows = list(csv.DictReader((root / "report" / f"{NAME}-scores.csv").open()))
    bob = next(row for row in rows if row["student_id"] == "bob")
    assert (bob["status"], bob["seconds_late"], bob["score"]) == (
        "needs manual grading",
        "9000",
        "2.0",
    )
    assert next(row for row in rows if row["student_id"] == "ivy")["score"] == ""
    text = (root / "report" / f"{NAME}.html").read_text()
    assert f"they need {items.CLASS} students" in text and "Cronbach’s alpha is" not in text
    assert (
        "index.html" in text and f'href="{NAME}.html"' in (root / "report/index.html").read_text()
    )


def test_the_course_at_a_glance_links_to_pages_that_exist(assignment: Assignment, run: Any) -> None:
    root = assignment.course.root
    assert run("--course", root)[0] == 0
    text = (root / "report" / "index.html").read_text()
    assert NAME in text and "href" not in text and "not generated yet" in text
    shutil.rmtree(root / "report")


def test_another_place(assignment: Assignment, run: Any, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "a #1.html"
    status, said = run(NAME, "--course", assignment.course.root, "--output", target)
    assert status == 0 and said.strip() == str(target)
    assert 'href="a%20%231-scores.csv"' in target.read_text()
    assert not (assignment.course.root / "report").exists()


@pytest.mark.parametrize("place", ["feedback/ada/x.html", "submitted/x.html", "release/a/x.html"])
def test_no_page_where_students_get_files_from(
    assignment: Assignment, run: Any, place: str
) -> None:
    root = assignment.course.root
    status, said = run(NAME, "--course", root, "--output", root / place)
    assert status == 2 and "--output" in said and not (root / place).exists()


def test_what_goes_wrong_is_said(assignment: Assignment, run: Any, tmp_path: Path) -> None:
    root = assignment.course.root
    assert run("99_no", "--course", root)[0] == 2
    (tmp_path / "file").write_text("")
    status, said = run(NAME, "--course", root, "--output", tmp_path / "file" / "x.html")
    assert status == 1 and "cannot be written" in said


# A whole class ----------------------------------------------------------------------------------


def test_planted_faults_of_a_class_are_found(tmp_path: Path) -> None:
    found = gather.survey(made_class.make_class(tmp_path / "course", students=150))
    broken = [each.item.cell for each in found.analysis.figures if BROKEN in each.flags]
    assert broken == [made_class.REVERSED]
    pairs = sorted(sorted((pair.one, pair.other)) for pair in found.pairs)
    assert pairs == [["s006", "s011"], ["s007", "s012"]]
    assert found.having("missing") and found.having("rejected") and found.late
    assert found.suspicious and found.misconceptions and not found.changed


# What is a student's does nothing -----------------------------------------------------------------

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202e'\"&{{7*7}}"
CODE = """
def total(values):
    '''</pre><script>alert("code")</script><img src=https://evil.example/x onerror=alert(3)>'''
    answer = 0
    for each in values:
        answer = answer + float(each) * 1.0
    if answer == 0 and len(values) > 3 and values[0] != 5 and values[1] != 6:
        raise ValueError("</mark></pre>" + str([answer, len(values), values[0], values[1]]))
    things = {"first": values[0] if values else None, "count": len(values), "sum": answer}
    things["mean"] = things["sum"] / max(1, things["count"])
    while things["count"] > 10_000 or things["sum"] is None or things["mean"] != things["mean"]:
        things["count"] = things["count"] // 2 - 1 if things["count"] % 3 else things["count"] - 7
    return things["sum"]
"""


def hostile(assignment: Assignment) -> None:
    """Two students who say it wherever a student can say something."""
    for name in ("<b>eve", "=cmd|' x"):
        hand_in(assignment, name, total=CODE)
        result = graded(assignment, name, ("check_total",))
        result.result.notes = [HOSTILE]
        result.result.tests[0].misconception = HOSTILE
        record(assignment, result)
    with handmade.book(assignment) as book:
        about = {"first_name": HOSTILE, "last_name": HOSTILE, "email": f"=1+{HOSTILE}"}
        book.update_or_create_student("<b>eve", **about)


def test_hostile_names_and_code_are_text(assignment: Assignment, run: Any) -> None:
    hostile(assignment)
    assert run(NAME, "--course", assignment.course.root)[0] == 0
    text = (assignment.course.root / "report" / f"{NAME}.html").read_text()
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert f'http-equiv="Content-Security-Policy" content="{policy}"' in text
    assert "&lt;script&gt;alert(&#34;code&#34;)" in text  # the pair is shown
    assert "\u202e" not in text and "{{7*7}}" in text
    tags = {tag.lower() for tag in re.findall(r"<([a-zA-Z][\w-]*)", text)}
    known = """html head meta title style body header main nav h1 h2 h3 p dl div dt dd ul ol li a em
    svg desc line rect text figure figcaption details summary table thead tbody tr th td span b i
    code pre mark caption"""
    assert tags <= {*known.split()}, tags - {*known.split()}
    assert "src=" not in re.sub(r"&lt;.*?&gt;", "", text)
