"""`proctor collect`: downloads as an LMS makes them, and some that nobody should send."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pytest

from proctor import cli
from proctor.course.course import Assignment
from tests import handmade
from tests import test_grading as mini
from tests.handmade import NAME, copy_course

MORE = mini.SOURCE[NAME].keys() - {NAME}
ROSTER = """\
id,first_name,last_name,email,lms_user_id,login_id
ada,Ada,Lovelace,ada@example.org,1001,al_01
bob,Bob,"O'Brien",bob@example.org,1002,b.obrien
cyd,Søren,Kjær Ångström,cyd@example.org,1003,007
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.make_course(tmp_path_factory.mktemp("made") / "course")


@pytest.fixture
def assignment(made: Path, tmp_path: Path) -> Assignment:
    found = copy_course(made, tmp_path / "course")
    (found.course.root / "roster.csv").write_text(ROSTER)
    return found


def notebook(name: str = NAME, **cells: str) -> bytes:
    """A student's notebook, with these cells' sources."""
    return json.dumps(mini.notebooks(cells)[name]).encode()


def zipped(
    path: Path, files: Mapping[str, bytes], when: datetime = datetime(2026, 1, 31, 12)
) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, when.timetuple()[:6])
            archive.writestr(entry, data)
    return path


def run(assignment: Assignment, *words: object) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main([str(words[0]), *map(str, words[1:]), "--course", str(assignment.course.root)])
    return int(end.value.code or 0)


def collect(assignment: Assignment, *words: object) -> int:
    return run(assignment, "collect", *words)


def submitted(assignment: Assignment, student: str, name: str = f"{NAME}.ipynb") -> bytes:
    return (handmade.folder(assignment, student) / name).read_bytes()


def test_canvas(assignment: Assignment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = notebook(mean="# one"), notebook(mean="# two")
    path = zipped(
        tmp_path / "submissions.zip",
        {
            f"lovelaceada_1001_501_{NAME}.ipynb": first,
            f"lovelaceada_1001_777_{NAME}-10.ipynb": second,
            f"lovelaceada_1001_778_{NAME}-9.ipynb": notebook(mean="# nine"),
            f"obrienbob_LATE_1002_502_{NAME}.ipynb": first,
        },
    )
    assert collect(assignment, path) == 0
    print(capsys.readouterr().out)
    assert submitted(assignment, "ada") == second
    assert submitted(assignment, "bob") == first
