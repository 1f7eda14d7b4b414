"""`proctor collect`: downloads as an LMS makes them, and some that nobody should send."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proctor import cli
from proctor.course.course import Assignment
from proctor.lms import archives, collect, git, roster
from proctor.lms.archives import Refused
from proctor.lms.roster import Clue, Roster, Student
from proctor.notebook.archive import packed
from tests import handmade
from tests import test_grading as mini
from tests.handmade import NAME, copy_course

ROSTER = """\
id,first_name,last_name,email,lms_user_id,login_id
ada,Ada,Lovelace,ada@example.org,1001,al_01
bob,Bob,"O'Brien",bob@example.org,1002,b.obrien
cyd,Søren,Kjær Ångström,cyd@example.org,1003,7
dan,Dan,Twin,dan@example.org,1004,01
eve,Dan,Twin,eve@example.org,1005,l_01
"""
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


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


ONE, TWO, THREE = (notebook(mean=f"# {number}") for number in ("one", "two", "three"))


def zipped(path: Path, files: Mapping[str, bytes], when: datetime = NOON) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, when.timetuple()[:6]), data)
    return path


def unpacked(path: Path, files: Mapping[str, bytes], when: datetime = NOON) -> Path:
    for name, data in files.items():
        place = path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        os.utime(place, (when.timestamp(), when.timestamp()))
    return path


def run(assignment: Assignment, *words: object) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, words), "--course", str(assignment.course.root)])
    return int(end.value.code or 0)


def run_collect(assignment: Assignment, *words: object) -> int:
    return run(assignment, "collect", *words)


def submitted(assignment: Assignment, student: str, name: str = f"{NAME}.ipynb") -> bytes:
    return (handmade.folder(assignment, student) / name).read_bytes()


def stamp(assignment: Assignment, student: str) -> str:
    return submitted(assignment, student, "timestamp.txt").decode().strip()


def who_handed_in(assignment: Assignment) -> list[str]:
    return assignment.course.students(NAME)


def everything(root: Path) -> dict[str, bytes]:
    """All files of a course that collecting may write."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for step in ("submitted", "collected")
        for path in sorted((root / step).rglob("*"))
        if path.is_file()
    }


# The forms ----------------------------------------------------------------------------------------

METADATA = f"""\
---
submission_11:
  :submitters:
  - :name: Ada Lovelace
    :sid: '1'
    :email: ada@example.org
  - :name: Bob O'Brien
    :sid: ''
    :email: bob@example.org
  :created_at: 2026-01-30 10:00:00.000000000 Z
  :score: !ruby/object:BigDecimal 18:0.1e2
submission_12:
  :submitters:
  - :name: Somebody Else
    :sid: 007
    :email: gone@example.org
  :created_at: 2026-01-30 11:00:00 Z
../../{NAME}:
  :submitters:
  - :name: Søren Kjær Ångström
    :sid: ''
    :email: cyd@example.org
"""

FORMS: dict[str, dict[str, bytes]] = {
    "a Canvas download": {
        f"lovelaceada_1001_501_{NAME}.ipynb": ONE,
        f"obrienbob_LATE_1002_502_{NAME}.ipynb": TWO,
        f"gonewho_4444_503_{NAME}.ipynb": THREE,
    },
    "a Moodle download": {
        f"Ada Lovelace_77_assignsubmission_file_/{NAME}.ipynb": ONE,
        f"Group A-Bob OBrien_78_assignsubmission_file/{NAME}.ipynb": TWO,
        f"Gone Who_79_assignsubmission_file_{NAME}.ipynb": THREE,
        "Ada Lovelace_77_assignsubmission_onlinetext_/onlinetext.html": b"hello",
    },
    "a Blackboard download": {
        f"Home_Work_al_01_attempt_2026-01-30-10-00-00_{NAME}.ipynb": ONE,
        "Home_Work_al_01_attempt_2026-01-30-10-00-00.txt": b"Name: Ada Lovelace (al_01)",
        f"Home_Work_b.obrien_attempt_2026-01-30-11-00-00_{NAME}.ipynb": TWO,
        f"Home_Work_gone_attempt_2026-01-30-11-00-00_{NAME}.ipynb": THREE,
    },
    "a Gradescope export": {
        "assignment_5_export/submission_metadata.yml": METADATA.encode(),
        f"assignment_5_export/submission_11/{NAME}.ipynb": ONE,
        f"assignment_5_export/submission_12/{NAME}.ipynb": THREE,
    },
    "notebooks": {
        "ada.ipynb": ONE,
        f"bob/{NAME}.ipynb": TWO,
        f"gone_{NAME}.ipynb": THREE,
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["zip", "unpacked", "wrapped"])
def test_a_form_is_recognised_and_collected(
    assignment: Assignment, tmp_path: Path, said, form: str, kind: str
) -> None:
    files = FORMS[form]
    if kind == "zip":
        path = zipped(tmp_path / "download.zip", files)
    else:
        path = unpacked(tmp_path / "download" / ("inside" if kind == "wrapped" else ""), files)
        path = tmp_path / "download"
    assert run_collect(assignment, path, "--dry-run") == 1
    assert form in said() and not everything(assignment.course.root)
    assert run_collect(assignment, path) == 1, "one is on no roster"
    text = said()
    assert form in text and "not matched: 1" in text
    assert who_handed_in(assignment) == ["ada", "bob"]
    assert submitted(assignment, "ada") == ONE
    assert submitted(assignment, "bob") == (ONE if "Gradescope" in form else TWO)
    assert stamp(assignment, "ada").startswith("2026-01-3")
    before = everything(assignment.course.root)
    assert run_collect(assignment, path) == 1
    assert everything(assignment.course.root) == before, "a second run changes nothing"
    assert "2 unchanged" in said()


def test_what_is_no_download_is_a_wrong_call(assignment: Assignment, tmp_path: Path, said) -> None:
    (tmp_path / "text.zip").write_text("no zip file")
    for path in (tmp_path / "text.zip", tmp_path / "gone.zip", tmp_path / "course" / "mini"):
        assert run_collect(assignment, path) == 2
        assert path.name in said()
    assert not everything(assignment.course.root)


def test_nobody_known_is_a_wrong_call(assignment: Assignment, tmp_path: Path, said) -> None:
    (assignment.course.root / "roster.csv").unlink()
    assert run_collect(assignment, zipped(tmp_path / "x.zip", {"ada.ipynb": ONE})) == 2
    assert "--roster" in said()


# Who ----------------------------------------------------------------------------------------------


def test_two_students_with_one_name_are_told_apart_by_number_or_not_at_all(
    assignment: Assignment, tmp_path: Path, said
) -> None:
    canvas = {
        f"twindan_1004_501_{NAME}.ipynb": ONE,
        f"twindan_8888_502_{NAME}.ipynb": TWO,
    }
    assert run_collect(assignment, zipped(tmp_path / "c.zip", canvas)) == 1
    assert who_handed_in(assignment) == ["dan"] and "dan or eve may be meant" in said()


def test_one_who_left_does_not_become_a_namesake(assignment: Assignment, tmp_path: Path) -> None:
    """Two in the download have the name of one on the roster: neither is taken for her."""
    moodle = {
        f"Ada Lovelace_1_assignsubmission_file_/{NAME}.ipynb": ONE,
        f"Ada Lovelace_2_assignsubmission_file_/{NAME}.ipynb": TWO,
    }
    assert run_collect(assignment, zipped(tmp_path / "m.zip", moodle)) == 1
    assert who_handed_in(assignment) == []
    left = {f"lovelaceada_4444_2_{NAME}.ipynb": TWO, f"newfay_7777_3_{NAME}.ipynb": ONE}
    (assignment.course.root / "roster.csv").write_text(f"{ROSTER}fay,Fay,New,,,\n")
    assert run_collect(assignment, zipped(tmp_path / "left.zip", left)) == 1
    assert who_handed_in(assignment) == ["fay"], "another number is another person"
    canvas = {
        f"lovelaceada_1001_1_{NAME}.ipynb": ONE,
        f"lovelaceada_4444_2_{NAME}.ipynb": TWO,
    }
    assert run_collect(assignment, zipped(tmp_path / "c.zip", canvas)) == 1
    assert submitted(assignment, "ada") == ONE, "her number says who she is"


def test_where_nobody_has_a_name_it_is_said_what_to_do(
    assignment: Assignment, tmp_path: Path, said
) -> None:
    blind = {f"Teilnehmer_{n}_assignsubmission_file_/{NAME}.ipynb": ONE for n in (1, 2)}
    assert run_collect(assignment, zipped(tmp_path / "m.zip", blind)) == 1
    assert "Moodle hides who it is: reveal the identities first" in said()
    blind = {f"anon_ab12_777_{NAME}.ipynb": ONE}
    assert run_collect(assignment, zipped(tmp_path / "c.zip", blind)) == 1
    assert "Canvas hides who it is" in said()
    assert who_handed_in(assignment) == []


def test_blackboards_longest_username_is_meant(assignment: Assignment, tmp_path: Path) -> None:
    """`al_01`, `l_01` and `01` are all somebody's; column and username both hold `_`."""
    files = {f"Week_1_al_01_attempt_2026-01-30-10-00-00_{NAME}.ipynb": ONE}
    assert run_collect(assignment, zipped(tmp_path / "b.zip", files)) == 0
    assert who_handed_in(assignment) == ["ada"]


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("Søren Kjær Ångström", "cyd"),
        ("Soren Kjaer Angstrom", "cyd"),
        ("kjærångströmsøren", "cyd"),
        ("Soren Kjær A\u030angstro\u0308m", "cyd"),
        ("OBrien, Bob", "bob"),
        ("BOB O’BRIEN", "bob"),
        ("Ada", None),
        ("Jürgen Müller-Strauß", "jms"),
        ("Ju\u0308rgen Mu\u0308ller-Strauß", "jms"),
        ("Juergen Mueller Strauss", "jms"),
        ("Jurgen Muller-Strauss", "jms"),
        ("Bjoern Noeldeke", "bn"),
        ("Björn Nöldeke", "bn"),
        ("Bjo\u0308rn No\u0308ldeke", "bn"),
        ("Bjorn Noldeke", None),
        ("Aase Oedegaard", "aao"),
        ("राम", "ram"),
        ("रमा", None),
    ],
)
def test_names_without_accents_case_and_punctuation(name: str, student: str | None) -> None:
    more = "jms,Jürgen,Müller-Strauß,,,\nbn,Bjoern,Noeldeke,,,\naao,Åse,Ødegård,,,\nram,राम,,,,\n"
    found = Roster([*roster_of(ROSTER + more)]).find(Clue(name, names=(name,)))
    assert found.student == student


def roster_of(text: str, encoding: str = "utf-8") -> list[Student]:
    path = Path(os.environ["PYTEST_TMP"]) / "roster.csv"
    path.write_bytes(text.encode(encoding))
    return roster.read(path)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_TMP", str(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_roster_from_a_spreadsheet(encoding: str, separator: str) -> None:
    text = 'ID;Full Name;SIS Login ID\r\n007;"Ångström; Bo";bo\r\n'.replace(";", separator)
    (student,) = roster_of(text, encoding)
    assert student.id == "007" and student.logins == ("bo",)
    assert student.names[0] == f"Ångström{separator} Bo"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name\nada\n", "no column `id`"),
        ("id\n../ada\n", "row 2"),
        ("id\nCON\n", "Windows reserves it"),
        ("id\nada\nAda\n", "row 3"),
        ("id,first_name\n,Ada\n", "row 2"),
    ],
)
def test_a_wrong_roster_is_explained(text: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        roster_of(text)


# Which assignment ---------------------------------------------------------------------------------


def test_a_renamed_notebook_is_found_by_its_cells(
    assignment: Assignment, tmp_path: Path, said
) -> None:
    files = {"lovelaceada_1001_5_my work (3).ipynb": ONE, "obrienbob_1002_6_x.ipynb": b"{}"}
    path = zipped(tmp_path / "c.zip", files)
    assert run_collect(assignment, path) == 1
    text = said()
    assert "'my work (3).ipynb' is 02_totals.ipynb, by its cells" in text
    assert "no assignment has such a notebook" in text
    assert submitted(assignment, "ada") == ONE and who_handed_in(assignment) == ["ada"]


def test_a_notebook_that_nothing_names_goes_where_it_is_told(
    assignment: Assignment, tmp_path: Path
) -> None:
    path = zipped(tmp_path / "c.zip", {"obrienbob_1002_6_x.ipynb": b"{}"})
    assert run_collect(assignment, path, "--assignment", "01_pairs") == 0
    folder = assignment.course.folder("submitted", "bob", "01_pairs")
    assert (folder / "01_pairs.ipynb").read_bytes() == b"{}"
    assert run_collect(assignment, path, "--assignment", "no_such") == 2


def test_a_data_file_has_the_name_that_its_notebook_reads(
    assignment: Assignment, tmp_path: Path
) -> None:
    """`data-1.csv` may be Canvas's name for the second `data.csv`, or the student's own."""
    files = {f"lovelaceada_1001_5_{NAME}-1.ipynb": ONE, "lovelaceada_1001_6_data-1.csv": b"1"}
    assert run_collect(assignment, zipped(tmp_path / "c.zip", files)) == 0
    assert submitted(assignment, "ada", "data.csv") == b"1"
    assert submitted(assignment, "ada", "data-1.csv") == b"1"


@pytest.mark.parametrize("place", ["ada.ipynb", f"x/{NAME}-b.obrien.ipynb", f"cyd/{NAME}.ipynb"])
def test_one_notebook_by_its_path(assignment: Assignment, tmp_path: Path, place: str) -> None:
    assert run_collect(assignment, unpacked(tmp_path / "n", {place: ONE}) / place) == 0
    (student,) = who_handed_in(assignment)
    assert student[0] in place and submitted(assignment, student) == ONE


def test_no_student_writes_their_own_timestamp(assignment: Assignment, tmp_path: Path) -> None:
    """Also where the LMS tells no time."""
    top = "assignment_5_export/"
    files = {
        f"{top}submission_metadata.yml": b"submission_1:\n  :submitters:\n  - :sid: ada\n",
        f"{top}submission_1/{NAME}.ipynb": ONE,
        f"{top}submission_1/timestamp.txt": b"1999-01-01 00:00:00 UTC",
    }
    assert run_collect(assignment, zipped(tmp_path / "g.zip", files)) == 0
    assert [each.name for each in handmade.folder(assignment, "ada").iterdir()] == [f"{NAME}.ipynb"]


def test_a_folder_says_which_assignment(assignment: Assignment, tmp_path: Path, said) -> None:
    path = zipped(tmp_path / "n.zip", {"01_pairs/ada.ipynb": b"{}", "bob/01_pairs/x.ipynb": b"{}"})
    assert run_collect(assignment, path) == 0
    assert said().count("is taken for 01_pairs.ipynb, by its folder") == 2


def test_what_lies_beside_a_notebook_comes_with_it(assignment: Assignment, tmp_path: Path) -> None:
    files = {
        f"Ada Lovelace_7_assignsubmission_file_/work/{NAME}.ipynb": ONE,
        "Ada Lovelace_7_assignsubmission_file_/work/data/mine.csv": b"1,2",
        "Ada Lovelace_7_assignsubmission_file_/work/timestamp.txt": b"1999-01-01 00:00:00 UTC",
        "Ada Lovelace_7_assignsubmission_file_/work/.git/config": b"[core]",
        "Ada Lovelace_7_assignsubmission_file_/work/__pycache__/x.pyc": b"",
        "Ada Lovelace_7_assignsubmission_file_/pairs/01_pairs.ipynb": b"{}",
        "Ada Lovelace_7_assignsubmission_file_/pairs/other.csv": b"3",
        "__MACOSX/Ada Lovelace_7_assignsubmission_file_/work/._mine.csv": b"",
    }
    assert run_collect(assignment, zipped(tmp_path / "m.zip", files)) == 0
    folder = handmade.folder(assignment, "ada")
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == {f"{NAME}.ipynb", "data/mine.csv", "timestamp.txt"}
    assert stamp(assignment, "ada") == "2026-01-31 12:00:00 UTC"
    other = assignment.course.folder("submitted", "ada", "01_pairs")
    assert (other / "other.csv").read_bytes() == b"3"


# Again, and the newest ----------------------------------------------------------------------------


def versions(assignment: Assignment, student: str) -> list[bytes]:
    """The notebooks of all versions that were kept."""
    folder = assignment.course.root / "collected" / student / NAME
    record = collect.load(assignment.course, student, NAME)
    return [(folder / str(v.number) / f"{NAME}.ipynb").read_bytes() for v in record.versions]


def test_canvas_counts_resubmissions_as_numbers(
    assignment: Assignment, tmp_path: Path, said
) -> None:
    files = {
        f"lovelaceada_LATE_1001_30_{NAME}-10.ipynb": THREE,
        f"lovelaceada_1001_10_{NAME}.ipynb": ONE,
        f"lovelaceada_1001_20_{NAME}-9.ipynb": TWO,
    }
    assert run_collect(assignment, zipped(tmp_path / "c.zip", files)) == 0
    assert submitted(assignment, "ada") == THREE
    assert versions(assignment, "ada") == [ONE, TWO, THREE]
    record = collect.load(assignment.course, "ada", NAME)
    assert [each.late for each in record.versions] == [False, False, True]
    assert said().count("new ") == 1


def test_an_older_download_does_not_put_the_old_one_back(
    assignment: Assignment, tmp_path: Path
) -> None:
    old = zipped(tmp_path / "old.zip", {f"lovelaceada_1001_10_{NAME}.ipynb": ONE})
    new = zipped(tmp_path / "new.zip", {f"lovelaceada_1001_20_{NAME}-1.ipynb": TWO})
    for path in (new, old, new, old):
        assert run_collect(assignment, path) == 0
        assert submitted(assignment, "ada") == TWO
    assert versions(assignment, "ada") == [TWO, ONE]


def test_a_folder_copied_later_does_not_put_the_old_one_back(
    assignment: Assignment, tmp_path: Path
) -> None:
    """A copy's files have the time of copying."""
    first = unpacked(tmp_path / "first", {"ada/02_totals.ipynb": ONE}, NOON)
    again = unpacked(tmp_path / "again", {"ada/02_totals.ipynb": TWO}, NOON.replace(hour=13))
    copy = unpacked(tmp_path / "copy", {"ada/02_totals.ipynb": ONE}, NOON.replace(hour=14))
    for path in (first, again, copy):
        assert run_collect(assignment, path) == 0
    assert submitted(assignment, "ada") == TWO


def test_what_came_by_another_way_is_kept(assignment: Assignment, tmp_path: Path) -> None:
    """nbgrader's collect, or an instructor's hand: the newer stands, and neither is lost."""
    folder = handmade.folder(assignment, "ada")
    unpacked(folder, {f"{NAME}.ipynb": ONE, "timestamp.txt": b"2026-01-01 00:00:00 UTC"})
    download = {f"Ada Lovelace_7_assignsubmission_file_/{NAME}.ipynb": TWO}
    assert run_collect(assignment, zipped(tmp_path / "m.zip", download)) == 0
    assert submitted(assignment, "ada") == TWO and versions(assignment, "ada") == [ONE, TWO]
    unpacked(folder, {f"{NAME}.ipynb": THREE})  # mended by hand
    before = everything(assignment.course.root)["submitted/ada/02_totals/02_totals.ipynb"]
    assert run_collect(assignment, tmp_path / "m.zip") == 0
    assert submitted(assignment, "ada") == before == THREE
    four = {f"Ada Lovelace_7_assignsubmission_file_/{NAME}.ipynb": notebook(mean="# four")}
    later = zipped(tmp_path / "later.zip", four, NOON.replace(hour=13))
    assert run_collect(assignment, later) == 0
    assert submitted(assignment, "ada") == notebook(mean="# four")
    assert versions(assignment, "ada")[2] == THREE


def test_an_older_download_does_not_undo_what_was_mended_by_hand(
    assignment: Assignment, tmp_path: Path
) -> None:
    """Canvas's newest, mended by hand, and then a first version of which nothing was known."""
    new = zipped(tmp_path / "new.zip", {f"lovelaceada_1001_20_{NAME}-1.ipynb": TWO})
    assert run_collect(assignment, new) == 0
    unpacked(handmade.folder(assignment, "ada"), {f"{NAME}.ipynb": THREE})
    late = NOON.replace(hour=20)
    old = zipped(tmp_path / "old.zip", {f"lovelaceada_1001_10_{NAME}.ipynb": ONE}, late)
    assert run_collect(assignment, old) == 0
    assert submitted(assignment, "ada") == THREE


def test_the_same_handed_in_twice_is_written_once(assignment: Assignment, tmp_path: Path) -> None:
    files = {f"lovelaceada_1001_{n}_{NAME}{(n and -n) or ''}.ipynb": ONE for n in (0, 1)}
    path = zipped(tmp_path / "c.zip", files)
    assert run_collect(assignment, path) == 0
    before = (handmade.folder(assignment, "ada") / f"{NAME}.ipynb").stat()
    assert run_collect(assignment, path) == 0
    after = (handmade.folder(assignment, "ada") / f"{NAME}.ipynb").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_of_two_notebooks_the_rightly_named_is_taken_and_both_are_kept(
    assignment: Assignment, tmp_path: Path, said
) -> None:
    files = {f"{MOODLE}{NAME} (1).ipynb": ONE, f"{MOODLE}{NAME}.ipynb": TWO}
    files[f"{MOODLE}mine/{NAME}.ipynb"] = THREE
    assert run_collect(assignment, zipped(tmp_path / "m.zip", files)) == 0
    assert f"of 3 notebooks '{NAME}.ipynb' is taken" in said()
    assert submitted(assignment, "ada") == TWO
    assert submitted(assignment, "ada", f"{NAME} (1).ipynb") == ONE
    assert submitted(assignment, "ada", f"mine/{NAME}.ipynb") == THREE


def test_what_was_taken_out_is_put_back(assignment: Assignment, tmp_path: Path, said) -> None:
    path = zipped(tmp_path / "c.zip", {f"lovelaceada_1001_10_{NAME}.ipynb": ONE})
    assert run_collect(assignment, path) == 0
    shutil.rmtree(handmade.folder(assignment, "ada"))
    assert run_collect(assignment, path) == 0
    assert submitted(assignment, "ada") == ONE and "put back" in said()


def test_nobody_is_late_for_the_time_of_a_download(assignment: Assignment, tmp_path: Path) -> None:
    """Canvas's zip has the time at which it was made: only its mark says who is late."""
    files = {
        f"lovelaceada_1001_10_{NAME}.ipynb": ONE,
        f"obrienbob_LATE_1002_20_{NAME}.ipynb": TWO,
    }
    after = handmade.DUE.replace(tzinfo=UTC, month=5)
    assert run_collect(assignment, zipped(tmp_path / "c.zip", files, after)) == 0
    assert stamp(assignment, "ada") == "2026-02-01 00:00:00 UTC"
    assert stamp(assignment, "bob") == "2026-05-01 00:00:00 UTC"


def test_times_without_a_zone_are_the_exchanges(assignment: Assignment, tmp_path: Path) -> None:
    config = assignment.course.root / "nbgrader_config.py"
    config.write_text(config.read_text() + '\nc.Exchange.timezone = "Europe/Vienna"\n')
    files = {f"HW_al_01_attempt_2026-01-30-10-00-00_{NAME}.ipynb": ONE}
    assert run_collect(assignment, zipped(tmp_path / "b.zip", files)) == 0
    assert stamp(assignment, "ada") == "2026-01-30 09:00:00 UTC"


def test_canvas_and_its_record_leave_the_key_of_a_result_alone(
    assignment: Assignment, tmp_path: Path
) -> None:
    """What tells where a submission came from does not lie in it."""
    assert run_collect(assignment, zipped(tmp_path / "c.zip", FORMS["a Canvas download"])) == 1
    assert {p.name for p in handmade.folder(assignment, "ada").iterdir()} == {
        f"{NAME}.ipynb",
        "timestamp.txt",
    }
    record = collect.load(assignment.course, "bob", NAME)
    assert record.versions[0].late and record.versions[0].origin.startswith("c.zip: obrienbob")


# Hostile archives ---------------------------------------------------------------------------------

MOODLE = "Ada Lovelace_7_assignsubmission_file_/"
GOOD = {MOODLE + f"{NAME}.ipynb": ONE}


def entry(
    name: bytes,
    data: bytes = b"x",
    *,
    flags: int = 0,
    method: int = 0,
    size: int | None = None,
    crc: int | None = None,
    mode: int = 0o100644,
) -> tuple[bytes, bytes, bytes]:
    """An entry's local header and data, and what the directory says before and after its offset."""
    packed = data
    if method == 8:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(data) + packer.flush()
    size = len(data) if size is None else size
    crc = zlib.crc32(data) if crc is None else crc
    common = struct.pack(
        "<5H3L2H", 20, flags, method, 0x6000, 0x5C3F, crc, len(packed), size, len(name), 0
    )
    head = struct.pack("<4s", b"PK\1\2") + struct.pack("<H", 3 << 8 | 20) + common
    head += struct.pack("<3HL", 0, 0, 0, mode << 16)
    return struct.pack("<4s", b"PK\3\4") + common + name + packed, head, name


def archive(path: Path, *entries: tuple[bytes, bytes, bytes], prefix: bytes = b"") -> Path:
    body, directory = b"", b""
    for local, head, name in entries:
        directory += head + struct.pack("<L", len(body)) + name
        body += local
    count = len(entries)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), 0)
    path.write_bytes(prefix + body + directory + end)
    return path


def mine(name: str, data: bytes = b"x", **odd: int) -> tuple[bytes, bytes, bytes]:
    return entry((MOODLE + name).encode(), data, flags=odd.pop("flags", 1 << 11), **odd)


good = entry(next(iter(GOOD)).encode(), ONE, method=8)

HOSTILE = {
    "slip": (entry(b"../../../evil.ipynb"), "leads out of the archive"),
    "slip below": (mine("a/../../../evil.ipynb"), "leads out of the archive"),
    "backslashes": (entry(b"..\\..\\evil.ipynb"), "leads out of the archive"),
    "absolute": (entry(b"/etc/evil.ipynb"), "absolute path"),
    "drive": (entry(b"C:\\evil.ipynb"), "absolute path"),
    "reserved": (mine("aux.txt"), "Windows reserves its name"),
    "control": (mine("\x1b[31mred\x07.txt"), "control or invisible"),
    "direction": (mine("\u202egpj.ipynb"), "control or invisible"),
    "link": (mine("link.ipynb", b"/etc/passwd", mode=0o120777), "a link"),
    "device": (mine("dev", mode=0o020644), "no regular file"),
    "encrypted": (mine("secret.txt", flags=1), "encrypted"),
    "checksum": (mine("broken.txt", crc=1), "checksum does not match"),
    "not utf-8": (entry(MOODLE.encode() + b"\xff\xfe.txt", flags=1 << 11), "no UTF-8"),
    "same but for case": (mine(f"{NAME.upper()}.IPYNB"), "the same name, but for case"),
    "a folder where a file is": (mine(f"{NAME}.ipynb/x"), "the same name"),
    "bomb": (mine("bomb.csv", b"\0" * (8 << 20), method=8), "250 times its size"),
    "large": (mine("large.csv", size=65 << 20), "larger than 64 MB"),
    "more than it says": (mine("more.csv", b"y" * 5000, method=8, size=10), "more than it says"),
    "method": (mine("odd.csv", method=14), "packed by a method (14)"),
    "deep": (mine("d/" * 30 + "x.csv"), "20 folders deep"),
    "long": (mine("n" * 300), "more than 255 bytes"),
    "a way out after the LMS's part": (
        entry(MOODLE[:-1].encode() + b"../evil.csv"),
        "leads out of the archive",
    ),
    "reserved after the LMS's part": (entry(MOODLE[:-1].encode() + b"nul"), "reserves its name"),
    "no zip": (mine("work.zip"), "It is no zip file"),
    "a zip in a zip": (
        mine("work.zip", packed({"more.zip": packed({"a": b"x"}, b"")}, b"")),
        "an archive inside what was handed in",
    ),
    "a slip in a zip": (
        mine("work.zip", packed({"../../evil.ipynb": b"x"}, b"")),
        "leads out of the archive",
    ),
}


def test_what_proctor_submit_makes_arrives(assignment: Assignment, tmp_path: Path, said) -> None:
    """A student uploads one zip file; what is in it counts as if it had been uploaded itself."""
    files = {f"{NAME}.ipynb": ONE, "more.ipynb": notebook("more"), "numbers.csv": b"1,2\n"}
    inside = packed(files, b"made by `proctor submit`")
    path = archive(tmp_path / "x.zip", mine(f"{NAME}-submission.zip", inside))
    assert run_collect(assignment, path) == 0, said()
    [student] = who_handed_in(assignment)
    for name, data in files.items():
        assert submitted(assignment, student, name) == data
    before = everything(assignment.course.root)
    assert run_collect(assignment, path) == 0
    assert everything(assignment.course.root) == before


@pytest.mark.parametrize("case", HOSTILE)
def test_a_bad_entry_is_refused_and_spoils_nobody(
    assignment: Assignment, tmp_path: Path, said, case: str
) -> None:
    bad, why = HOSTILE[case]
    path = archive(tmp_path / "x.zip", good, bad)
    outside = {each for each in tmp_path.rglob("*") if "course" not in each.parts}
    assert run_collect(assignment, path) == 1
    text = said()
    assert why in text, text
    assert all(c.isprintable() or c == "\n" for c in text)
    assert submitted(assignment, "ada") == ONE
    found = {p.name for p in handmade.folder(assignment, "ada").rglob("*")}
    assert found == {f"{NAME}.ipynb", "timestamp.txt"}
    assert {each for each in tmp_path.rglob("*") if "course" not in each.parts} == outside


def test_accents_in_two_forms_are_one_name(assignment: Assignment, tmp_path: Path, said) -> None:
    path = archive(tmp_path / "x.zip", good, mine("\u00e9.csv"), mine("e\u0301.csv"))
    assert run_collect(assignment, path) == 1
    assert "the form of its accents" in said()


@pytest.mark.parametrize(
    ("raw", "flags"),
    [("Søren".encode(), 1 << 11), ("Søren".encode(), 0), ("Dänemark".encode("cp437"), 0)],
)
def test_names_are_read_as_they_were_written(tmp_path: Path, raw: bytes, flags: int) -> None:
    path = archive(tmp_path / "x.zip", entry(raw + b".ipynb", flags=flags))
    (file,) = archives.opened(path, UTC).files
    assert file.path in ("Søren.ipynb", "Dänemark.ipynb")


def test_bytes_before_an_archive_do_no_harm(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.zip", good, prefix=b"#!/bin/sh\n")
    (file,) = archives.opened(path, UTC).files
    assert file.read() == ONE


@pytest.mark.parametrize("said", [200_000, 7])
def test_two_hundred_thousand_entries_are_refused_at_once(tmp_path: Path, said: int) -> None:
    """Also where the archive says that it has fewer."""
    _, head, name = entry(b"n")
    directory = (head + struct.pack("<L", 0) + name) * 200_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)
    if said == 200_000:
        counts = said, said, len(directory), 0
        record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, *counts)
        end = record + struct.pack("<4sLQL", b"PK\6\7", 0, len(directory), 1) + end
    path = tmp_path / "x.zip"
    path.write_bytes(directory + end)
    code = (
        "import resource, sys, time\n"
        "from datetime import UTC\n"
        "from pathlib import Path\n"
        "from proctor.lms import archives\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: archives.opened(Path(sys.argv[1]), UTC)\n"
        "except archives.Refused as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    sentence, kilobytes = done.stdout.splitlines()
    assert "100,000" in sentence and int(kilobytes) < 200_000


def test_refusals_are_summed_up(assignment: Assignment, tmp_path: Path, said) -> None:
    bad = [entry(f"../evil{number}".encode()) for number in range(3_000)]
    assert run_collect(assignment, archive(tmp_path / "x.zip", good, *bad)) == 1
    text = said()
    assert "and 2,997 more" in text and len(text.splitlines()) < 12


def test_one_student_has_no_more_than_a_students_room(
    assignment: Assignment, tmp_path: Path, said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "MAX_STUDENT_FILES", 3)
    monkeypatch.setattr(archives, "MAX_TOTAL", len(ONE) + 1_000)
    many = [mine(f"{number}.csv") for number in range(9)]
    huge = mine("huge.csv", os.urandom(5_000))
    assert run_collect(assignment, archive(tmp_path / "x.zip", *many, huge, good)) == 1
    text = said()
    assert "beyond 3 files of one student" in text and "in all" in text
    assert submitted(assignment, "ada") == ONE, "the notebook comes first"


@pytest.mark.parametrize("cut", [10, 30, -30, -5])
def test_an_archive_that_was_cut_off_is_explained(tmp_path: Path, cut: int) -> None:
    path = archive(tmp_path / "x.zip", good)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(Refused, match="download it again"):
        archives.opened(path, UTC)


def test_links_in_a_folder_are_not_followed(assignment: Assignment, tmp_path: Path, said) -> None:
    folder = unpacked(tmp_path / "down", GOOD)
    (tmp_path / "secret.ipynb").write_bytes(THREE)
    (folder / "Bob O'Brien_8_assignsubmission_file_").symlink_to(tmp_path)
    os.symlink(tmp_path / "secret.ipynb", folder / MOODLE / "more.ipynb")
    os.mkfifo(folder / MOODLE / "pipe.csv")
    assert run_collect(assignment, folder) == 1
    assert "a link" in said() and who_handed_in(assignment) == ["ada"]
    assert not (handmade.folder(assignment, "ada") / "more.ipynb").exists()


def test_yaml_that_makes_objects_is_no_metadata(
    assignment: Assignment, tmp_path: Path, said
) -> None:
    files = dict(FORMS["a Gradescope export"])
    name = "assignment_5_export/submission_metadata.yml"
    files[name] = b"!!python/object/apply:os.mkdir ['%s/evil']" % str(tmp_path).encode()
    assert run_collect(assignment, zipped(tmp_path / "g.zip", files)) == 1
    assert "no list of submissions" in said() and not (tmp_path / "evil").exists()
    for deep in (b"[" * 300_000, b"- " * 300_000, b"{a: " * 300_000):  # these end libyaml's loader
        files[name] = deep
        assert run_collect(assignment, zipped(tmp_path / "g.zip", files)) == 1
        assert "lists deep" in said() or "no YAML" in said()
    bomb = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 9)) for n in range(98, 112)
    )
    files[name] = bomb
    assert run_collect(assignment, zipped(tmp_path / "g.zip", files)) == 1


# Git ----------------------------------------------------------------------------------------------


def call(folder: Path, *words: str) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_COMMITTER_DATE": "2026-01-30T10:00:00Z",
        "GIT_AUTHOR_DATE": "2026-01-30T10:00:00Z",
    }
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, env=environment, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


def repository(path: Path, files: Mapping[str, bytes], *options: str) -> Path:
    path.mkdir(parents=True)
    call(path, "init", "-q", "-b", "main", *options)
    unpacked(path, files)
    call(path, "add", "-A")
    call(path, "commit", "-q", "-m", "work")
    return path


def test_repositories_by_their_heads(assignment: Assignment, tmp_path: Path, said) -> None:
    folder = tmp_path / "repositories"
    ada = repository(folder / f"{NAME}-al_01", {f"{NAME}.ipynb": ONE, "data.csv": b"1"})
    (ada / f"{NAME}.ipynb").write_bytes(TWO)  # not committed
    bob = repository(folder / "bob", {f"hw/{NAME}.ipynb": TWO, "README.md": b"hi"})
    call(bob, "gc", "-q")
    call(folder, "clone", "-q", "--bare", "--no-local", str(bob), "cyd.git")
    repository(folder / "unknown", {f"{NAME}.ipynb": THREE})
    (folder / "dan").mkdir()
    call(folder / "dan", "init", "-q")
    assert run_collect(assignment, folder) == 1
    text = said()
    assert "git repositories (5)" in text and "nothing was committed" in text
    assert who_handed_in(assignment) == ["ada", "bob", "cyd"]
    assert submitted(assignment, "ada") == ONE and submitted(assignment, "ada", "data.csv") == b"1"
    assert submitted(assignment, "cyd") == TWO
    assert stamp(assignment, "ada") == "2026-01-30 10:00:00 UTC"
    before = everything(assignment.course.root)
    assert run_collect(assignment, folder) == 1
    assert everything(assignment.course.root) == before


def test_a_repository_of_long_hashes(tmp_path: Path) -> None:
    path = repository(tmp_path / "ada", {f"{NAME}.ipynb": ONE}, "--object-format=sha256")
    (file,) = git.read(path).files
    assert file.read() == ONE


def test_one_damaged_object_spoils_no_other(tmp_path: Path) -> None:
    path = repository(tmp_path / "ada", {f"{NAME}.ipynb": ONE, "a.csv": b"1", "z.csv": b"2\n"})
    blob = call(path, "rev-parse", "HEAD:a.csv")
    damaged = path / ".git" / "objects" / blob[:2] / blob[2:]
    damaged.chmod(0o644)
    data = damaged.read_bytes()
    damaged.write_bytes(data[:-4] + bytes(4))
    files = {file.path: file for file in git.read(path).files}
    assert files[f"{NAME}.ipynb"].read() == ONE and files["z.csv"].read() == b"2\n"
    if "a.csv" in files:
        with pytest.raises(Refused):
            files["a.csv"].read()


def test_nothing_in_a_repository_runs(assignment: Assignment, tmp_path: Path) -> None:
    """Its configuration, hooks, filters, monitors and remotes would all leave a mark."""
    folder = tmp_path / "repositories"
    attributes = {".gitattributes": b"* filter=x diff=x"}
    path = repository(folder / "ada", {f"{NAME}.ipynb": ONE} | attributes)
    mark = tmp_path / "ran"
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\ntouch {mark}\n")
    evil.chmod(0o755)
    for key in (
        *("core.fsmonitor", "core.sshCommand", "core.pager", "core.gitProxy", "gpg.program"),
        *("filter.x.smudge", "filter.x.clean", "filter.x.process", "diff.x.textconv"),
        *("diff.external", "uploadpack.packObjectsHook", "credential.helper", "alias.cat-file"),
        *("remote.origin.uploadpack", "core.alternateRefsCommand"),
    ):
        call(path, "config", key, str(evil))
    call(path, "config", "core.hooksPath", str(tmp_path))
    for hook in ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc"):
        shutil.copy(evil, path / ".git" / "hooks" / hook)
        shutil.copy(evil, tmp_path / hook)
    # a partial clone fetches what it lacks by a command of its own
    call(path, "config", "core.repositoryformatversion", "1")
    call(path, "config", "extensions.partialClone", "origin")
    call(path, "config", "remote.origin.promisor", "true")
    call(path, "config", "remote.origin.url", f"ext::{evil}")
    call(path, "config", "protocol.ext.allow", "always")
    lacking = shutil.copytree(path, folder / "bob")
    blob = call(path, "rev-parse", f"HEAD:{NAME}.ipynb")
    (lacking / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    mark.unlink(missing_ok=True)  # what the preparation ran is no news
    # from the wrong side: git, asked in the repository itself, does run it
    subprocess.run(["git", "cat-file", "blob", blob], cwd=lacking, capture_output=True)
    assert mark.exists(), "the trap is set"
    mark.unlink()
    assert run_collect(assignment, folder) == 1
    assert submitted(assignment, "ada") == ONE and who_handed_in(assignment) == ["ada"]
    assert not mark.exists()


def borrowing(private: Path, ada: Path) -> None:
    (ada / ".git/objects/info/alternates").write_text(f"{private}/.git/objects\n")


def linked_objects(private: Path, ada: Path) -> None:
    shutil.rmtree(ada / ".git/objects")
    (ada / ".git/objects").symlink_to(private / ".git/objects")


def linked_pack(private: Path, ada: Path) -> None:
    call(private, "gc", "-q")
    for path in (private / ".git/objects/pack").iterdir():
        (ada / ".git/objects/pack" / path.name).symlink_to(path)


def elsewhere(private: Path, ada: Path) -> None:
    shutil.rmtree(ada / ".git")
    (ada / ".git").write_text(f"gitdir: {private}/.git\n")


def linked_git(private: Path, ada: Path) -> None:
    shutil.rmtree(ada / ".git")
    (ada / ".git").symlink_to(private / ".git")


def common(private: Path, ada: Path) -> None:
    (ada / ".git/commondir").write_text(f"{private}/.git\n")


@pytest.mark.parametrize(
    "trick", [borrowing, linked_objects, linked_pack, elsewhere, linked_git, common]
)
def test_a_repository_brings_nothing_from_elsewhere(
    assignment: Assignment, tmp_path: Path, said, trick
) -> None:
    """A student who knows a commit of the instructor's could hand in what they may not read."""
    private = repository(tmp_path / "private", {f"{NAME}.ipynb": THREE})
    ada = repository(tmp_path / "repositories" / "ada", {f"{NAME}.ipynb": ONE})
    sha = call(private, "rev-parse", "HEAD")
    (ada / ".git/refs/heads/main").write_text(sha + "\n")
    trick(private, ada)
    assert run_collect(assignment, tmp_path / "repositories") == 1
    assert who_handed_in(assignment) == [] and "ada" in said()


def test_a_tree_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten folders of ten folders of ten: git would list them for years."""
    path = repository(tmp_path / "ada", {f"{NAME}.ipynb": ONE})
    blob = call(path, "rev-parse", f"HEAD:{NAME}.ipynb")
    rows, kind, mode = blob, "blob", "100644"
    for _ in range(12):
        listing = "".join(f"{mode} {kind} {rows}\tf{number}\n" for number in range(10))
        done = subprocess.run(
            ["git", "mktree"], cwd=path, input=listing, capture_output=True, text=True, check=True
        )
        rows, kind, mode = done.stdout.strip(), "tree", "040000"
    commit = call(path, "commit-tree", rows, "-m", "bomb")
    call(path, "update-ref", "refs/heads/main", commit)
    monkeypatch.setattr(git, "MAX_LISTING", 1 << 20)
    with pytest.raises(Refused, match="git lists more"):
        git.read(path)


def test_links_and_modules_of_a_repository_are_refused_singly(tmp_path: Path) -> None:
    path = tmp_path / "ada"
    path.mkdir()
    call(path, "init", "-q", "-b", "main")
    unpacked(path, {f"{NAME}.ipynb": ONE})
    os.symlink("/etc/passwd", path / "link.csv")
    call(path, "add", "-A")
    call(path, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    call(path, "commit", "-q", "-m", "work")
    commit = git.read(path)
    assert [file.path for file in commit.files] == [f"{NAME}.ipynb"]
    assert {why for _, why in commit.refused} == {"a link", "another repository"}


# What bob has called his file, by the form of the download: ada has handed in, too.
FORGED = {
    "a Moodle download in one folder": {
        f"Ada Lovelace_21_assignsubmission_file_{NAME}.ipynb": ONE,
        f"Bob O'Brien_22_assignsubmission_file_-Ada Lovelace_21_assignsubmission_file_{NAME}"
        ".ipynb": TWO,
    },
    "a Blackboard download": {
        f"Lab_al_01_attempt_2026-01-30-10-00-00_{NAME}.ipynb": ONE,
        "Lab_b.obrien_attempt_2026-01-30-11-00-00_x_al_01_attempt_2026-01-30-12-00-00_"
        f"{NAME}.ipynb": TWO,
    },
    "Moodle's names in Blackboard's download": {
        f"Lab_al_01_attempt_2026-01-30-10-00-00_{NAME}.ipynb": ONE,
        "Lab_b.obrien_attempt_2026-01-30-11-00-00_-Ada Lovelace_21_assignsubmission_file_"
        f"{NAME}.ipynb": TWO,
    },
    "Moodle's names in Canvas's download": {
        f"lovelaceada_1001_501_{NAME}.ipynb": ONE,
        f"obrienbob_1002_502_-Ada Lovelace_21_assignsubmission_file_{NAME}.ipynb": TWO,
    },
    "Blackboard's names in Canvas's download": {
        f"lovelaceada_1001_501_{NAME}.ipynb": ONE,
        f"obrienbob_1002_502_al_01_attempt_2026-01-30-12-00-00_{NAME}.ipynb": TWO,
    },
    "Blackboard's names among notebooks": {
        f"ada/{NAME}.ipynb": ONE,
        f"bob/x_al_01_attempt_2026-01-30-12-00-00_{NAME}.ipynb": TWO,
    },
    "a folder among folders": {
        f"ada/{NAME}.ipynb": ONE,
        f"bob/ada/{NAME}.ipynb": TWO,
    },
    "a repository among Moodle's folders": {
        f"Ada Lovelace_21_assignsubmission_file_/{NAME}.ipynb": ONE,
        f"Bob O'Brien_22_assignsubmission_file_/{NAME}.ipynb": TWO,
        "Bob O'Brien_22_assignsubmission_file_/HEAD": b"ref: refs/heads/main",
        "Bob O'Brien_22_assignsubmission_file_/objects/x": b"",
        "Bob O'Brien_22_assignsubmission_file_/refs/x": b"",
    },
    "Gradescope's metadata in Moodle's download": {
        f"Ada Lovelace_21_assignsubmission_file_/{NAME}.ipynb": ONE,
        f"Bob O'Brien_22_assignsubmission_file_/x_export/submission_11/{NAME}.ipynb": TWO,
        "Bob O'Brien_22_assignsubmission_file_/x_export/submission_metadata.yml": b"""\
submission_11:
  :submitters:
  - :email: ada@example.org
  :created_at: 2026-01-31 12:00:00 Z
""",
    },
    "Gradescope's metadata in Gradescope's export": {
        "assignment_1_export/submission_metadata.yml": b"""\
submission_1:
  :submitters:
  - :email: ada@example.org
  :created_at: 2026-01-30 10:00:00 Z
submission_2:
  :submitters:
  - :email: bob@example.org
  :created_at: 2026-01-30 10:00:00 Z
""",
        f"assignment_1_export/submission_1/{NAME}.ipynb": ONE,
        f"assignment_1_export/submission_2/x_export/submission_11/{NAME}.ipynb": TWO,
        "assignment_1_export/submission_2/x_export/submission_metadata.yml": b"""\
submission_11:
  :submitters:
  - :email: ada@example.org
  :created_at: 2026-01-31 12:00:00 Z
""",
    },
}


@pytest.mark.parametrize("case", FORGED)
@pytest.mark.parametrize("kind", ["zip", "unpacked"])
def test_nobody_hands_in_as_another(
    case: str, kind: str, assignment: Assignment, tmp_path: Path
) -> None:
    """What a student calls a file is no part of who they are, nor of what a download is."""
    make = zipped if kind == "zip" else unpacked
    run_collect(assignment, make(tmp_path / "all", FORGED[case]))
    assert who_handed_in(assignment) == ["ada", "bob"]
    assert submitted(assignment, "ada") == ONE
    assert versions(assignment, "ada") == [ONE]
    assert submitted(assignment, "bob") == TWO


def test_a_group_called_like_somebody_does_not_stand_for_them(
    assignment: Assignment, tmp_path: Path, said
) -> None:
    """Students may write their own names in Moodle: who is meant by two is meant by neither."""
    files = {
        f"Ada Lovelace_21_assignsubmission_file_/{NAME}.ipynb": ONE,
        f"x-Ada Lovelace_22_assignsubmission_file_/{NAME}.ipynb": TWO,
    }
    assert run_collect(assignment, zipped(tmp_path / "m.zip", files)) == 1
    assert who_handed_in(assignment) == [] and "2 of them have the name of ada" in said()
