"""Who takes part in the Hub, as deploy/jupyterhub/setup.sh reads it before it makes any account."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.classroom import ROOT

ROSTER = ROOT / "deploy/jupyterhub/roster.py"


def read(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "members.csv"
    path.write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, ROSTER, path, "grader-course"], capture_output=True, text=True
    )


def test_members_are_printed_for_the_shell(tmp_path: Path) -> None:
    text = "\ufeffid,email,role,password\nzz-ada,a@b,student,two words\nzz-bob,,,\n"
    done = read(tmp_path, text)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "zz-ada\tstudent\ttwo words\nzz-bob\tstudent\t\n"


def test_a_password_may_be_left_out_of_the_list(tmp_path: Path) -> None:
    done = read(tmp_path, "id,role\nzz-ada,instructor\n")
    assert done.stdout == "zz-ada\tinstructor\t\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Ada,student,x", "line 2: 'Ada' can't be an account"),
        ("-rf,student,x", "line 2: '-rf' can't be an account"),
        ("ada+bob,student,x", "line 2: 'ada+bob' can't be an account"),
        ("../ada,student,x", "line 2: '../ada' can't be an account"),
        (",student,x", "line 2: '' can't be an account"),
        ("a" * 33 + ",student,x", "at most 32"),
        ("root,student,x", "'root' is an account of the machine's own"),
        ("nobody,student,x", "'nobody' is an account of the machine's own"),
        ("grader-course,student,x", "the grading account's name"),
        ("zz-bob,student,x\nzz-bob,instructor,x", "line 3: 'zz-bob'"),
        ("zz-ada,teacher,x", "the role 'teacher': it must be student or instructor"),
        ('zz-ada,student,"a\tb"', "can't be typed"),
        ('zz-ada,student,"a\nzz-bob:b"', "can't be typed"),
        ("", "it names nobody"),
    ],
)
def test_mistakes_are_named_and_nobody_is_printed(tmp_path: Path, line: str, said: str) -> None:
    done = read(tmp_path, f"id,role,password\n{line}\n")
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stdout == ""


def test_a_list_without_the_columns_is_none(tmp_path: Path) -> None:
    assert "must name the columns id,role" in read(tmp_path, "name\nada\n").stderr
    assert "must name the columns id,role" in read(tmp_path, "").stderr
