"""What is taken of a submission's folder: as much as can be, never through a link, and with a word
about what is left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proctor.errors import Rejected
from proctor.notebook.cells import MAX_BYTES
from proctor.notebook.files import MAX_FILES, MAX_SEEN, SubmissionFiles, fetch

MB = 1 << 20


def write(folder: Path, files: dict[str, int | str]) -> None:
    """Files of so many bytes, or with this text."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content)
        else:
            path.write_bytes(b"x" * content)


def read(folder: Path, *names: str, provided: tuple[str, ...] = ()) -> SubmissionFiles:
    return SubmissionFiles.read(folder, names or ("hw",), provided)


def test_files_are_never_read_through_links(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{}")
    folder = tmp_path / "submission"
    folder.mkdir()
    link = folder / "hw.ipynb"
    link.symlink_to(secret)
    with pytest.raises(Rejected):
        fetch(link)
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(Rejected, match="regular"):
        fetch(fifo)
    (folder / "folder").mkdir()
    with pytest.raises(Rejected):
        fetch(folder / "folder")
    with pytest.raises(Rejected, match="missing"):
        fetch(folder / "none.ipynb")
    (folder / "data").symlink_to(tmp_path)
    (folder / "rows.csv").symlink_to(secret)
    found = read(folder)
    assert dict(found.files) == {}
    with pytest.raises(Rejected, match="cannot be read"):
        found.notebook("hw")
    [note] = found.notes
    for each in ("fifo (no regular file)", "data (a link)", "rows.csv (a link)"):
        assert each in note
    whole = tmp_path / "linked"
    whole.symlink_to(folder)
    found = read(whole)
    with pytest.raises(Rejected, match=r"folder is a link"):
        found.notebook("hw")
    assert dict(found.files) == {}


def test_a_large_file_costs_no_other_one_its_place(tmp_path: Path) -> None:
    write(tmp_path, {"hw.ipynb": "{}", "a talk.mp4": 21 * MB, "b.bin": 6 * MB, "c.bin": 7 * MB})
    write(tmp_path, {"rows.csv": "1", "sub/more.csv": "2"})
    found = read(tmp_path)
    assert {*found.files} == {"rows.csv", "sub/more.csv", "b.bin"}
    [note] = found.notes
    assert "a talk.mp4 (21.0 MB)" in note and "c.bin (7.0 MB)" in note and "at most 10 MB" in note


def test_what_programs_leave_behind_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"hw.ipynb": "{}", "rows.csv": "1", ".hidden": "2"})
    for folder in (".git", ".ipynb_checkpoints", "__pycache__", "web/node_modules", ".venv/lib"):
        write(tmp_path, {f"{folder}/{number:03}": 100_000 for number in range(30)})
        write(tmp_path, {f"{folder}/hw-checkpoint.ipynb": "{}"})
    found = read(tmp_path)
    assert {*found.files} == {"rows.csv", ".hidden"}
    assert found.notes == [], "it is in nearly every submission, and never needed"
    write(tmp_path, {"env/pyvenv.cfg": "", "env/lib/x.py": 11 * MB})
    found = read(tmp_path)
    assert {*found.files} == {"rows.csv", ".hidden"}
    assert ["env (an environment)" in note for note in found.notes] == [True]


def test_the_nearest_of_many_files_are_taken(tmp_path: Path) -> None:
    write(tmp_path, {"hw.ipynb": "{}", "zz.csv": "needed"})
    write(tmp_path, {f"data/{number:05}": "" for number in range(MAX_FILES + 20)})
    found = read(tmp_path)
    assert len(found.files) == MAX_FILES and found.files["zz.csv"] == b"needed"
    [note] = found.notes
    assert "and 16 more" in note
    write(tmp_path, {f"more/{number:05}": "" for number in range(MAX_SEEN)})
    found = read(tmp_path)
    assert len(found.files) == MAX_FILES and found.files["zz.csv"] == b"needed"
    assert f"all but the first {MAX_SEEN} files" in found.notes[0]


def test_what_would_stop_a_run_is_left_out(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 400)
    deep.mkdir(parents=True)
    (deep / "deep.txt").write_text("x")
    (tmp_path / "a.txt").write_text("x")
    with open(tmp_path / "hollow.bin", "wb") as file:
        file.truncate(1 << 40)
    found = read(tmp_path)
    assert dict(found.files) == {"a.txt": b"x"}
    assert "too deep" in found.notes[0] and "hollow.bin (1048576.0 MB)" in found.notes[0]


def test_the_instructors_files_stand_in_their_place(tmp_path: Path) -> None:
    write(tmp_path, {"rows.csv": "mine", "data": "a file", "lib/x.py": "mine", "own.csv": "1"})
    found = read(tmp_path, provided=("rows.csv", "data/rows.csv", "lib"))
    assert dict(found.files) == {"own.csv": b"1"}


def test_a_files_name_is_harmless_in_a_note(tmp_path: Path) -> None:
    name = "\x1b[31m<b>$x$](javascript:y)\u202e\n::error::" + "n" * 200
    write(tmp_path, {name: 11 * MB})
    bad = os.fsdecode(b"caf\xe9")
    (tmp_path / bad).symlink_to("nowhere")
    [note] = read(tmp_path).notes
    assert note.isprintable() and len(note) < 300
    assert not set("<>$[]`\\*:") & set(note.removeprefix("left out beside the notebook:"))


# Where a notebook lies ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "hw (1).ipynb",
        "HW-final.ipynb",
        "hw-Copy1.ipynb",
        "hw/hw.ipynb",
        "a/b/hw.ipynb",
        "hw/hw (2).ipynb",
        "Untitled.ipynb",
    ],
)
def test_the_only_candidate_is_found_with_a_note(tmp_path: Path, place: str) -> None:
    write(tmp_path, {place: "{}", f"{Path(place).parent}/rows.csv": "1", "timestamp.txt": "then"})
    write(tmp_path, {".ipynb_checkpoints/hw-checkpoint.ipynb": "{", "__MACOSX/._hw.ipynb": ""})
    found = read(tmp_path)
    assert found.notebook("hw") == b"{}"
    assert found.files["rows.csv"] == b"1", "beside the notebook, as its code expects it"
    assert found.timestamp == b"then"
    assert found.notes == [f"hw.ipynb: taken from '{place}'"]


def test_a_notebook_in_its_place_counts(tmp_path: Path) -> None:
    write(tmp_path, {"hw.ipynb": "{}", "hw (1).ipynb": "[]", "sub/hw.ipynb": "[]"})
    found = read(tmp_path)
    assert (found.notebook("hw"), [*found.notes]) == (b"{}", [])


@pytest.mark.parametrize(
    "places",
    [("hw (1).ipynb", "hw (2).ipynb"), ("a/hw.ipynb", "b/hw.ipynb"), ("one.ipynb", "two.ipynb")],
)
def test_of_several_none_is_guessed(tmp_path: Path, places: tuple[str, ...]) -> None:
    write(tmp_path, dict.fromkeys(places, "{}"))
    with pytest.raises(Rejected) as rejected:
        read(tmp_path).notebook("hw")
    assert all(f"'{place}'" in str(rejected.value) for place in places)
    assert "Rename the right one" in str(rejected.value)


def test_two_notebooks_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, {"x/hw.ipynb": "1", "x/hw2 (1).ipynb": "2", "x/rows.csv": "1"})
    found = read(tmp_path, "hw", "hw2")
    assert (found.notebook("hw"), found.notebook("hw2")) == (b"1", b"2")
    assert {*found.files} == {"rows.csv"}
    write(tmp_path, {"hw2.ipynb": "3"})
    (tmp_path / "x/hw2 (1).ipynb").unlink()
    (tmp_path / "x/hw.ipynb").rename(tmp_path / "x/other.ipynb")
    found = read(tmp_path, "hw", "hw2")
    assert (found.notebook("hw"), found.notebook("hw2")) == (b"1", b"3")
    (tmp_path / "hw2.ipynb").unlink()
    found = read(tmp_path, "hw", "hw2")
    for name in ("hw", "hw2"):
        with pytest.raises(Rejected, match=r"missing. Found: 'x/other.ipynb'"):
            found.notebook(name)


# The hash -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda folder: write(folder, {"hw.ipynb": "[]"}), False),
        (lambda folder: write(folder, {"z.csv": "2"}), False),
        (lambda folder: (folder / "z.csv").rename(folder / "y.csv"), False),
        (lambda folder: (folder / "z.csv").unlink(), False),
        (lambda folder: write(folder, {"timestamp.txt": "now"}), False),
        (lambda folder: (folder / "hw.ipynb").rename(folder / "hw (1).ipynb"), False),
        (lambda folder: write(folder, {"rows.csv": 9 * MB}), True),  # the instructor's is taken
        (lambda folder: write(folder, {".git/x": "1"}), True),
        (lambda folder: None, True),
    ],
)
def test_what_is_hashed_is_what_is_graded(
    tmp_path: Path, change: Callable[[Path], object], same: bool
) -> None:
    """Also behind a large file of the student's in whose place the instructor's own is graded."""
    write(tmp_path, {"hw.ipynb": "{}", "rows.csv": MAX_BYTES, "z.csv": "1"})
    before = read(tmp_path, provided=("rows.csv",))
    assert "z.csv" in before.files
    change(tmp_path)
    assert (read(tmp_path, provided=("rows.csv",)).digest == before.digest) is same
