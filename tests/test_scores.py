"""`proctor scores`: files as an LMS gave them, filled; every other byte stays."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proctor.course.course import Assignment, Course
from proctor.errors import CourseError
from proctor.lms import scores
from proctor.lms.scores import Ledger, Rules
from proctor.lms.sheet import Sheet
from tests import handmade
from tests.handmade import NAME, copy_course, graded, hand_in, record
from tests.test_collect import NOON, notebook, run, submitted, zipped

ROSTER = """\
id,first_name,last_name,email,lms_user_id,login_id
ada,Ada,Lovelace,ada@example.org,1001,al_01
bob,Bob,"O'Brien",bob@example.org,1002,b.obrien
cyd,Søren,Kjær Ångström,cyd@example.org,1003,007
dan,Dan,Twin,dan@example.org,1004,dt1
eve,Dan,Twin,eve@example.org,1005,dt2
fay,Fay,Late,fay@example.org,1006,fay
gus,Gus,Missing,gus@example.org,1007,gus
"""
WRITTEN = 1.5  # for the written answer: 18.5 of 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ada and the twins have 18.5, cyd 14.5; bob waits for a human, fay is rejected, gus absent."""
    root = handmade.make_course(tmp_path_factory.mktemp("made") / "course")
    (root / "roster.csv").write_text(ROSTER)
    assignment = Course.load(root).assignment(NAME)
    students = ("ada", "bob", "cyd", "dan", "eve", "fay")
    for student in students:
        hand_in(assignment, student)
    (handmade.folder(assignment, "fay") / f"{NAME}.ipynb").write_text("no notebook")
    (handmade.folder(assignment, "fay") / "more.ipynb").write_text("no notebook")
    failed = {"cyd": ("TestTotal::test_length",)}
    record(assignment, *(graded(assignment, name, failed.get(name, ())) for name in students))
    by_hand(assignment, WRITTEN, "ada", "cyd", "dan", "eve")
    return root


@pytest.fixture(scope="module")
def ledger(made: Path) -> Ledger:
    return Ledger(Course.load(made), None)


@pytest.fixture
def assignment(made: Path, tmp_path: Path) -> Assignment:
    return copy_course(made, tmp_path / "course")


def by_hand(assignment: Assignment, points: float, *students: str) -> None:
    """Points for the written answer, which nothing but formgrader gives."""
    with handmade.book(assignment) as book:
        for student in students:
            grade = book.find_grade("written", NAME, NAME, student)
            grade.manual_score, grade.needs_manual_grade = points, False
        book.db.commit()


def table(data: bytes) -> list[list[str]]:
    """What a spreadsheet would show."""
    sheet = Sheet(data)
    return [[cell.value for cell in row] for row in sheet.rows]


# Canvas -------------------------------------------------------------------------------------------

CANVAS = (
    "Student,ID,SIS User ID,SIS Login ID,Section,Warm-up (12),02 Totals (4711),Current Score\r\n"
    "    Points Possible,,,,,10.00,20.00,(read only)\r\n"
    '"Lovelace, Ada",1001,,al_01,S1,3.00,,12.5\r\n'
    '"O\'Brien, Bob",1002,,b.obrien,S1,,7.00,\r\n'
    '"Kjær Ångström, Søren",,,007,S1,,14.50,\r\n'
    '"Twin, Dan",1004,,,"S1, S2",,11.00,\r\n'
    '"Twin, Dan",1005,,,S1,,EX,\r\n'
    '"Late, Fay",1006,,fay,S1,,5.00,\r\n'
    '"Missing, Gus",1007,,gus,S1,,,\r\n'
    '"Left, Lea",1999,,lea,S1,,3.00,\r\n'
    '"Student, Test",1998,,0badf00d,S1,,,\r\n'
)
FILLED = CANVAS.replace("S1,3.00,,12.5", "S1,3.00,18.50,12.5").replace(",11.00,", ",18.50,")


def test_canvas_is_filled_where_a_score_is_due(
    assignment: Assignment, tmp_path: Path, said
) -> None:
    export = tmp_path / "Grades.csv"
    export.write_bytes(CANVAS.encode())
    assert run(assignment, "scores", "canvas", export) == 1
    assert export.read_bytes().decode() == FILLED
    assert (tmp_path / "Grades.csv.bak").read_bytes().decode() == CANVAS
    text = said()
    for line in (
        "02_totals -> '02 Totals (4711)': 2 written, 1 unchanged",
        "dan: 11.00 -> 18.50",
        "bob: needs manual grading",
        "fay: rejected: ",
        "gus: no graded submission",
        "eve: the cell says EX",
        "Left, Lea: nobody on the roster has this name",
    ):
        assert line in text, text
    assert "Student, Test" not in text
    assert run(assignment, "scores", "canvas", export) == 1
    assert export.read_bytes().decode() == FILLED
    assert not (tmp_path / "Grades.csv.bak1").exists(), "a second run changes nothing"


def test_another_place_leaves_the_file_alone(assignment: Assignment, tmp_path: Path) -> None:
    export, output = tmp_path / "Grades.csv", tmp_path / "filled.csv"
    export.write_bytes(CANVAS.encode())
    assert run(assignment, "scores", "canvas", export, "--output", output) == 1
    assert export.read_bytes().decode() == CANVAS and output.read_bytes().decode() == FILLED
    assert len(list(tmp_path.iterdir())) == 3  # the course is the third
    assert run(assignment, "scores", "canvas", export, "--output", export) == 1
    assert (tmp_path / "Grades.csv.bak").read_bytes().decode() == CANVAS


def test_an_earlier_backup_is_no_casualty(assignment: Assignment, tmp_path: Path) -> None:
    export = tmp_path / "Grades.csv"
    export.write_bytes(CANVAS.encode())
    (tmp_path / "Grades.csv.bak").write_text("older")
    assert run(assignment, "scores", "canvas", export) == 1
    assert (tmp_path / "Grades.csv.bak").read_text() == "older"
    assert (tmp_path / "Grades.csv.bak1").read_bytes().decode() == CANVAS


def canvas(ledger: Ledger, text: str, encoding: str = "utf-8", **rules: object) -> str:
    """An export as it is filled."""
    sheet = Sheet(text.encode(encoding))
    scores.canvas(ledger, sheet, Rules(**rules))  # type: ignore[arg-type]
    return sheet.written().decode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-16-le"])
def test_encodings_stay(ledger: Ledger, encoding: str) -> None:
    before = CANVAS.encode(encoding)
    sheet = Sheet(before)
    (filled,) = scores.canvas(ledger, sheet, Rules())
    assert len(filled.written) == 2
    assert sheet.written() == FILLED.encode(encoding)


def test_a_german_spreadsheet(ledger: Ledger) -> None:
    """Semicolons, a decimal comma, headers and the row of points in another language."""
    text = (
        'Studierende;ID;SIS-Anmelde-ID;Abschnitt;"02 Totals; Summen (4711)";02_totals (4712)\n'
        "    Mögliche Punkte;;;;20,00;20,00\n"
        ";;;;;Manual Posting\n"
        "Lovelace, Ada;1001;al_01;S1;;\n"
        "Kjær Ångström, Søren;1003;007;S1;;9,00\n"
    )
    filled = canvas(ledger, text)
    assert filled == text.replace("al_01;S1;;", "al_01;S1;;18,50").replace("9,00\n", "14,50\n")


def test_a_decimal_comma_is_quoted_where_the_comma_separates(ledger: Ledger) -> None:
    text = 'Student,ID,Section,02_totals (7)\n"    Punkte",,,"20,00"\n"Lovelace, Ada",1001,S,\n'
    assert canvas(ledger, text) == text.replace("1001,S,", '1001,S,"18,50"')


def test_a_column_is_never_made(ledger: Ledger) -> None:
    text = CANVAS.replace("02 Totals (4711)", "Sums (4711)")
    with pytest.raises(CourseError, match=r"none is made.*'Sums \(4711\)'"):
        canvas(ledger, text)
    for named in ("Sums", "4711", "Sums (4711)"):
        assert "18.50,12.5" in canvas(ledger, text, column=named, assignment=NAME)
    twice = CANVAS.replace("Warm-up (12)", "02_Totals (12)")
    with pytest.raises(CourseError, match="Several columns"):
        canvas(ledger, twice)
    assert "S1,18.50,,12.5" in canvas(ledger, twice.replace("10.00", "20.00"), column="12")
    plain = CANVAS.replace("02 Totals (4711)", "Totals").replace("Warm-up (12)", "Warm-up")
    assert "18.50,12.5" in canvas(ledger, plain, column="Totals", assignment=NAME)


def test_a_column_renamed_or_gone(ledger: Ledger) -> None:
    """A number of Canvas's is never taken for a login, whatever its column is called."""
    text = 'Nombre,SIS Login,Section,02_totals (7)\n"Lovelace, A.",al_01,S,\nx,1001,S,\n'
    assert canvas(ledger, text) == text.replace("al_01,S,", "al_01,S,18.5")
    text = "Nombre,Login,ID,02_totals (7)\nx,dt1,9,\ny,,1001,\n"
    assert canvas(ledger, text) == text.replace("9,", "9,18.5").replace("1001,", "1001,18.5")


def test_the_points_that_are_possible_are_found_where_a_spreadsheet_put_them(
    ledger: Ledger,
) -> None:
    """Sorted to the end, or without the indent that marks the row in another language."""
    student = '"Lovelace, Ada",1001,S,\n"Twin, Dan",1004,S,\n'
    header = "Student,ID,Section,02_totals (7)\n"
    for points, after in (("Mögliche Punkte", False), ("    Mögliche Punkte", True)):
        row = f"{points},,,100.00\n"
        with pytest.raises(CourseError, match="out of 100 points"):
            canvas(ledger, header + (student + row if after else row + student))
    assert canvas(ledger, header + '"Kjær Ångström, Søren",,,\n').endswith(",,,14.5\n")


def test_a_section_or_a_group_called_like_a_student_is_nobody(ledger: Ledger) -> None:
    text = CANVAS.replace('Left, Lea",1999,,lea,S1', 'Left, Lea",1999,,lea,cyd')
    assert canvas(ledger, text) == FILLED.replace("lea,S1", "lea,cyd")
    text = MOODLE["English"][0].replace("Status", "Group").replace(",Submitted,", ",cyd,")
    sheet = Sheet(text.encode())
    filled = scores.moodle(ledger, sheet, Path("x.csv"), Rules())
    assert [who for who, _, _ in filled.written] == ["ada", "cyd"]
    text = (
        "Identifier,First name,Last name,Status,Grade,Maximum Grade,Grade can be changed\n"
        "Participant 1,Ada,Left,Submitted,,20.00,Yes\n"
        "Participant 2,Søren,Kjær Ångström,Submitted,,20.00,Yes\n"
    )
    filled = scores.moodle(ledger, Sheet(text.encode()), Path("x.csv"), Rules())
    assert [who for who, _, _ in filled.written] == ["cyd"], "a first name is no id"


def test_who_has_left_does_not_stand_for_a_namesake(ledger: Ledger) -> None:
    text = 'Student,ID,Section,02_totals (7)\n"Lovelace, Ada",1999,S,\n"Twin, Dan",1004,S,\n'
    sheet = Sheet(text.encode())
    (filled,) = scores.canvas(ledger, sheet, Rules())
    assert filled.unmatched == [("Lovelace, Ada", "ada has this name, but another number")]
    assert sheet.written().decode() == text.replace("1004,S,", "1004,S,18.5")


def test_a_file_that_a_spreadsheet_and_people_have_been_at(ledger: Ledger) -> None:
    """A separator that is named, a code page, line breaks in remarks, accents in two parts."""
    name = unicodedata.normalize("NFD", '"Kjær Ångström, Søren"')
    text = f'Student;ID;Section;Remark;02_totals (7)\n{name};;S;"one\r\ntwo; ""three""";\n'
    assert canvas(ledger, text) == text.replace('"";\n', '"";14,5\n').replace(
        '""";\n', '""";14,5\n'
    )
    text = f"sep=;\r\n{text}".replace(name, '"Kjær Ångström, Søren"').replace('e""";', 'e""";9,00')
    assert canvas(ledger, text, "cp1252") == text.replace("9,00", "14,50")
    text = "Student,ID,Section,02_totals (7)\r" + '"Lovelace, Ada", 1001 ,S, \r'
    assert canvas(ledger, text) == text.replace("S, ", "S,18.5")
    for data in (b"PK\x03\x04\x14\0", b"\xd0\xcf\x11\xe0\xa1\xb1"):
        with pytest.raises(CourseError, match="save it as CSV"):
            Sheet(data)


def test_a_worksheet_that_hides_who_it_is(ledger: Ledger) -> None:
    text = (
        "Identifier,Status,Grade,Maximum Grade,Grade can be changed\n"
        "Participant 1,Submitted,,20.00,Yes\nParticipant 2,Submitted,,20.00,Yes\n"
    )
    filled = scores.moodle(ledger, Sheet(text.encode()), Path("x.csv"), Rules())
    assert [who for who, _ in filled.unmatched] == [
        f"Participant {n}, whose name Moodle hides" for n in (1, 2)
    ]


def test_a_cells_quotes_stay(ledger: Ledger) -> None:
    rows = '"Lovelace, Ada",1001,"3.00"\n"Twin, Dan",1004,4.00\n'
    filled = rows.replace("3.00", "18.50").replace("4.00", "18.50")
    header = "Student,ID,02_totals (7)\n"
    assert canvas(ledger, header + rows) == header + filled


def test_canvas_own_columns_are_no_assignments(ledger: Ledger) -> None:
    text = CANVAS.replace("02 Totals (4711)", "02_totals Current Score (4711)")
    with pytest.raises(CourseError, match="none is made"):
        canvas(ledger, text)


@pytest.mark.parametrize("mark", ["(read only)", "read only"])
def test_a_read_only_column_stays(ledger: Ledger, mark: str) -> None:
    with pytest.raises(CourseError, match="read only"):
        canvas(ledger, CANVAS.replace("10.00,20.00", f"10.00,{mark}"))


def test_other_points_are_scaled_only_when_asked(ledger: Ledger) -> None:
    text = CANVAS.replace("10.00,20.00", "10.00,100.00")
    with pytest.raises(CourseError, match=r"out of 100 points.*out of 20.*--scale"):
        canvas(ledger, text)
    assert "S1,3.00,92.50,12.5" in canvas(ledger, text, scale=True)


def test_a_file_of_another_kind_is_a_wrong_call(
    assignment: Assignment, tmp_path: Path, said
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("name,points\nada,3\n")
    for form in ("canvas", "moodle"):
        assert run(assignment, "scores", form, path) == 2
        assert run(assignment, "scores", form, path, "--assignment", "no_such") == 2
    assert path.read_text() == "name,points\nada,3\n" and len(list(tmp_path.iterdir())) == 2
    (assignment.course.root / "gradebook.db").unlink()
    assert run(assignment, "scores", "canvas", path) == 2
    assert "proctor grade" in said() and not (assignment.course.root / "gradebook.db").exists()


def test_a_short_row_and_a_blank_line_do_no_harm(ledger: Ledger) -> None:
    text = 'Student,ID,02_totals (7)\n"Lovelace, Ada",1001\n\n"Twin, Dan",1004,\n'
    sheet = Sheet(text.encode())
    (filled,) = scores.canvas(ledger, sheet, Rules())
    assert sheet.written().decode() == text.replace("1004,", "1004,18.5")
    assert ("ada", "the row has no such column") in filled.refused


def test_a_late_penalty_is_taken_off(assignment: Assignment) -> None:
    with handmade.book(assignment) as book:
        book.find_submission_notebook(NAME, NAME, "ada").late_submission_penalty = 4
        book.db.commit()
    ledger = Ledger(assignment.course, None)
    assert "S1,3.00,14.50,12.5" in canvas(ledger, CANVAS)


# Moodle -------------------------------------------------------------------------------------------

MOODLE = {
    "English": (
        "Identifier,Full name,Email address,Status,Grade,Maximum Grade,Grade can be changed,"
        "Last modified (submission),Last modified (grade),Feedback comments\n"
        "Participant 1,Ada Lovelace,ada@example.org,Submitted,,20.00,Yes,-,-,\n"
        "Participant 2,Bob O'Brien,bob@example.org,Submitted,,20.00,Yes,-,-,\n"
        'Participant 3,"Kjær Ångström, Søren",,Submitted,,20.00,Yes,"Friday, 30 January",-,\n'
        "Participant 4,Dan Twin,,Submitted,,20.00,Yes,-,-,\n"
        "Participant 5,Dan Twin,eve@example.org,Submitted,3.00,20.00,No,-,-,\n"
        "Participant 6,Lea Left,lea@example.org,Submitted,,20.00,Yes,-,-,\n",
        "18.50",
        "14.50",
    ),
    "German": (
        "\ufeffID;Vollständiger Name;E-Mail-Adresse;Status;Bewertung;Bestwertung;"
        "Bewertung kann geändert werden;Zuletzt geändert (Bewertung);Feedback als Kommentar\r\n"
        "Teilnehmer/in1;Ada Lovelace;ada@example.org;Abgegeben;;20,00;Ja;-;\r\n"
        "Teilnehmer/in2;Bob O'Brien;bob@example.org;Abgegeben;;20,00;Ja;-;\r\n"
        "Teilnehmer/in3;Søren Kjær Ångström;;Abgegeben;;20,00;Ja;-;\r\n"
        "Teilnehmer/in4;Dan Twin;;Abgegeben;;20,00;Ja;-;\r\n"
        "Teilnehmer/in5;Dan Twin;eve@example.org;Abgegeben;3,00;20,00;Nein;-;\r\n"
        "Teilnehmer/in6;Lea Left;lea@example.org;Abgegeben;;20,00;Ja;-;\r\n",
        "18,50",
        "14,50",
    ),
    "Spanish, all quoted": (
        '"Identificador","Nombre completo","Dirección de correo","Estado","Calificación",'
        '"Calificación máxima","La calificación puede ser cambiada",'
        '"Última modificación (calificación)","Comentarios de retroalimentación"\n'
        '"Participante 1","Ada Lovelace","ada@example.org","Enviado","","20,00","Sí","-",""\n'
        '"Participante 2","Bob O\'Brien","bob@example.org","Enviado","","20,00","Sí","-",""\n'
        '"Participante 3","Søren Kjær Ångström","","Enviado","","20,00","Sí","-",""\n'
        '"Participante 4","Dan Twin","","Enviado","","20,00","Sí","-",""\n'
        '"Participante 5","Dan Twin","eve@example.org","Enviado","3,00","20,00","No","-",""\n'
        '"Participante 6","Lea Left","lea@example.org","Enviado","","20,00","Sí","-",""\n',
        "18,50",
        "14,50",
    ),
}


@pytest.mark.parametrize("language", MOODLE)
def test_moodle_in_any_language(ledger: Ledger, language: str) -> None:
    text, ada, cyd = MOODLE[language]
    sheet = Sheet(text.encode())
    filled = scores.moodle(ledger, sheet, Path("worksheet.csv"), Rules())
    before, after = table(text.encode()), table(sheet.written())
    changed = {
        (old[0][-1], new[column])
        for old, new in zip(before, after, strict=True)
        for column in range(len(old))
        if old[column] != new[column]
    }
    assert changed == {("1", ada), ("3", cyd)}
    assert [who for who, _ in filled.refused] == ["eve"]
    assert [who.partition(" (")[0] for who, _ in filled.unmatched] == ["Dan Twin", "Lea Left"]
    assert ("bob", "needs manual grading") in filled.left
    quoted = '"' + ada + '"'
    assert (quoted in sheet.written().decode()) == ("Spanish" in language)
    assert "dan" in filled.absent


def test_feedback_for_those_who_have_a_score(ledger: Ledger) -> None:
    text, _, _ = MOODLE["English"]
    text = text.replace("-,-,\nParticipant 2", "-,-,Well done!\nParticipant 2")
    sheet = Sheet(text.encode())
    filled = scores.moodle(ledger, sheet, Path("x.csv"), Rules(feedback=True))
    comments = {row[0][-1]: row[-1] for row in table(sheet.written())[1:]}
    assert comments["1"] == "Well done!" and "ada: there is a comment" in filled.notes[0]
    assert comments["3"].startswith("14.5/20 points")
    assert comments["2"] == comments["4"] == comments["5"] == comments["6"] == ""
    again = Sheet(sheet.written())
    scores.moodle(ledger, again, Path("x.csv"), Rules(feedback=True))
    assert not again.changed


def test_what_a_student_provokes_is_no_html_and_no_formula(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "remark", lambda result: "=<script>alert(1)</script>")
    sheet = Sheet(MOODLE["English"][0].encode())
    scores.moodle(ledger, sheet, Path("x.csv"), Rules(feedback=True))
    comment = table(sheet.written())[1][-1]
    assert comment == "18.5/20 points: =&lt;script&gt;alert(1)&lt;/script&gt;"


def test_a_column_can_be_named(ledger: Ledger) -> None:
    text = MOODLE["English"][0].replace("20.00", "1").replace(",3.00,", ",,")
    scale = (
        text.replace("Maximum Grade", "Scale")
        .replace(",1,Y", ",Pass/Fail,Y")
        .replace(",1,N", ",Pass/Fail,N")
    )
    sheet = Sheet(scale.encode())
    with pytest.raises(CourseError, match="--grade-column"):
        scores.moodle(ledger, sheet, Path("x.csv"), Rules())
    scores.moodle(ledger, sheet, Path("x.csv"), Rules(column="Grade"))
    assert table(sheet.written())[1][4] == "18.5"
    with pytest.raises(CourseError, match="--feedback-column"):
        named = Rules(column="Grade", feedback=True, feedback_column="No such")
        scores.moodle(ledger, sheet, Path("x.csv"), named)


def test_a_worksheets_assignment(assignment: Assignment, tmp_path: Path, said) -> None:
    path = tmp_path / "Grades-Course-02 Totals-77.csv"
    path.write_text(MOODLE["English"][0])
    assert run(assignment, "scores", "moodle", path) == 1
    assert "02_totals -> 'Grade': 2 written" in said()


# A class from one end to the other ----------------------------------------------------------------


def test_a_class_from_canvas_and_back(made: Path, tmp_path: Path, said) -> None:
    """Collected, graded by the command, points given by hand, filled in."""
    course = handmade.make_course(tmp_path / "fresh")
    (course / "roster.csv").write_text(ROSTER)
    assignment = Course.load(course).assignment(NAME)
    perfect = {name: notebook(name) for name in (NAME, "more")}
    files = {}
    for who, user in (("lovelaceada", 1001), ("obrienbob_LATE", 1002)):
        for number, (name, data) in enumerate(perfect.items()):
            files[f"{who}_{user}_{user + number}_{name}.ipynb"] = data
    path = zipped(tmp_path / "submissions.zip", files, NOON)
    assert run(assignment, "collect", path) == 0
    assert submitted(assignment, "bob") == perfect[NAME]
    assert run(assignment, "grade", NAME, "--isolation", "none") == 0
    by_hand(assignment, 3, "ada")
    export = tmp_path / "Grades.csv"
    text = "".join(line + "\r\n" for line in CANVAS.splitlines()[:4])
    export.write_bytes(text.encode())
    assert run(assignment, "scores", "canvas", export) == 0
    assert export.read_bytes().decode() == text.replace("3.00,,12.5", "3.00,20.00,12.5")
    assert "bob: needs manual grading" in said()
    before = {path: os.stat(path).st_mtime_ns for path in (course / "submitted").rglob("*")}
    assert run(assignment, "collect", path) == 0
    assert {path: os.stat(path).st_mtime_ns for path in before} == before


# Every other byte ---------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="cp1252", exclude_characters="\x00"), max_size=12)


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, list[list[str]], str]:
    """A CSV file of any dialect, what it says, and its encoding."""
    separator = draw(st.sampled_from(",;\t|"))
    width = draw(st.integers(2, 6))
    # what stands in the header tells the separator
    header = [f"h{number}" for number in range(width)]
    rows = draw(st.lists(st.lists(TEXT, min_size=width, max_size=width), min_size=1, max_size=6))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    out = io.StringIO()
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    writer = csv.writer(out, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerows([header, *rows])
    text = out.getvalue()
    if draw(st.booleans()):
        text = text.removesuffix(end)
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"]))
    return text.encode(encoding), [header, *rows], encoding


@settings(max_examples=300, deadline=None)
@given(files(), st.data())
def test_every_byte_but_those_of_set_cells_stays(
    file: tuple[bytes, list[list[str]], str], data: st.DataObject
) -> None:
    raw, rows, _ = file
    sheet = Sheet(raw)
    assert sheet.written() == raw
    shown = [[cell.value for cell in row] for row in sheet.rows]
    assume(shown[: len(rows)] == rows)  # or another dialect explains these bytes as well
    places = st.tuples(st.integers(1, len(rows) - 1), st.integers(0, len(rows[0]) - 1))
    chosen = data.draw(st.dictionaries(places, TEXT, max_size=4))
    for (row, column), text in chosen.items():
        sheet.set(row, column, text)
    written = sheet.written()
    # cut into cells, only the chosen ones differ: also in their quotes
    text = sheet.text
    body = written[len(sheet.bom) :].decode(sheet.encoding)
    at = 0
    for number, row in enumerate(sheet.rows):
        for column, cell in enumerate(row):
            if (number, column) in chosen and chosen[number, column] != cell.value:
                new = body[at:]
                cut = next(
                    size
                    for size in range(len(new) + 1)
                    if new[:size] in _forms(chosen[number, column])
                    and text[cell.end : cell.end + 1] == new[size : size + 1]
                )
                at += cut
            else:
                assert body[at : at + cell.end - cell.start] == text[cell.start : cell.end]
                at += cell.end - cell.start
            following = row[column + 1].start if column + 1 < len(row) else _next(sheet, number)
            assert body[at : at + following - cell.end] == text[cell.end : following]
            at += following - cell.end
    assert at == len(body)


@pytest.mark.parametrize("text", [CANVAS, *(text for text, _, _ in MOODLE.values())])
def test_rows_are_those_that_a_reader_of_csv_sees(text: str) -> None:
    sheet = Sheet(text.encode())
    plain = io.StringIO(text.removeprefix("\ufeff"), newline="")
    assert table(text.encode()) == [*csv.reader(plain, delimiter=sheet.separator)]


def _forms(value: str) -> set[str]:
    return {value, '"' + value.replace('"', '""') + '"'}


def _next(sheet: Sheet, row: int) -> int:
    return sheet.rows[row + 1][0].start if row + 1 < len(sheet.rows) else len(sheet.text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_come_back(data: bytes) -> None:
    try:
        sheet = Sheet(data)
    except CourseError:
        return
    assert sheet.written() == data


@settings(max_examples=100, deadline=None)
@given(files(), st.data())
def test_what_was_set_is_what_is_read(file: tuple[bytes, list[list[str]], str], data) -> None:
    sheet = Sheet(file[0])
    row = data.draw(st.integers(1, len(sheet.rows) - 1)) if len(sheet.rows) > 1 else 0
    text = data.draw(st.sampled_from(["98,5", "98.5", 'say "no"', "a;b\r\nc"]))
    sheet.set(row, 0, text)
    again = Sheet(sheet.written())
    if again.separator == sheet.separator and again.encoding == sheet.encoding:
        assert again.value(row, 0) == text
        assert len(again.rows) == len(sheet.rows)
