"""Scores go back by filling the file that the LMS gave: due cells change, every other byte stays.

A score is due where the gradebook has one that counts. What was rejected, is missing, or still
needs manual grading leaves its cell alone, and is said.
"""

from __future__ import annotations

import html
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proctor.course.course import Course
from proctor.errors import CourseError, ProctorError
from proctor.lms.roster import NOBODY, Clue, Roster, plain
from proctor.lms.sheet import Sheet
from proctor.record import gradebook
from proctor.record.gradebook import Standing
from proctor.record.store import Store
from proctor.report.remarks import remark
from proctor.verdict import Result, number

MAX_FEEDBACK = 1_000  # characters
NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?")


@dataclass
class Filled:
    """What was filled in, or would be, and what was not."""

    column: str
    assignment: str
    written: list[tuple[str, str, str]] = field(default_factory=list)  # student, old, new
    same: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)  # student, why the cell stays
    refused: list[tuple[str, str]] = field(default_factory=list)  # whom the file keeps from it
    unmatched: list[tuple[str, str]] = field(default_factory=list)  # a row's name, why
    absent: list[str] = field(default_factory=list)  # graded, but in no row
    notes: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not (self.refused or self.unmatched or self.absent)


@dataclass(frozen=True)
class Rules:
    """What the caller chose."""

    assignment: str = ""
    column: str = ""  # the score's, where the file does not tell
    scale: bool = False
    feedback: bool = False
    feedback_column: str = ""


class Ledger:
    """How the students of a course stand, and who they are."""

    def __init__(self, course: Course, roster: Path | None) -> None:
        self.course = course
        self.standings = gradebook.standings(course)
        if not any(self.standings.values()):
            raise CourseError(
                "The gradebook has no score yet: run `proctor grade ASSIGNMENT` first."
            )
        self.roster = Roster.of(course, roster)
        self._stores: dict[str, Store] = {}

    def result(self, assignment: str, student: str) -> Result | None:
        """The kept result of a student, with what to say of it."""
        if assignment not in self.course.assignments:
            return None
        if assignment not in self._stores:
            self._stores[assignment] = Store(self.course.assignment(assignment))
        stored = self._stores[assignment].load(student)
        return stored.result if stored else None

    def due(self, assignment: str, student: str) -> tuple[Standing | None, str]:
        """A student's score, or why there is none to be handed back."""
        standing = self.standings[assignment].get(student)
        result = self.result(assignment, student)
        if result and result.status == "rejected" and not result.earlier:
            return None, f"rejected: {remark(result)}"
        if standing is None:
            return None, "no graded submission"
        if standing.needs_manual:
            return None, "needs manual grading"
        return standing, ""


def opened(path: Path) -> Sheet:
    """A file of an LMS's. Raises CourseError where it is none."""
    try:
        return Sheet(path.read_bytes())
    except OSError as error:
        raise CourseError(f"{path} cannot be read: {error.strerror}.") from None
    except CourseError as error:
        raise CourseError(f"{path}: {error}") from None


def save(sheet: Sheet, path: Path, output: Path | None) -> Path | None:
    """Write a changed file: to `output`, or in place with the old one beside it; where that is."""
    target = (output or path).resolve()
    if target == path.resolve():
        output = None
    if output is None and not sheet.changed:
        return None
    backup = None
    try:
        if output is None:
            names = (f"{path.name}.bak{n or ''}" for n in range(1_000))
            backup = next(each for name in names if not (each := target.parent / name).exists())
            shutil.copy2(target, backup)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".scores-") as scratch:
            made = Path(scratch, "made")
            made.write_bytes(sheet.written())
            shutil.copymode(path, made)
            os.replace(made, target)
    except OSError as error:
        raise ProctorError(
            f"{target} cannot be written: {error.strerror}. Name another place with --output."
        ) from None
    return backup


class _Column:
    """The cells of a column of scores: how numbers are written there."""

    def __init__(self, sheet: Sheet, column: int, rows: Sequence[int], also: Iterable[str]) -> None:
        self.sheet, self.column = sheet, column
        examples = [sheet.value(row, column).strip() for row in rows]
        examples = [text for text in [*examples, *also] if NUMBER.fullmatch(text)]
        self.comma = _decimal_comma(sheet, examples)
        fractions = [re.split("[.,]", text)[1:] for text in examples]
        lengths = [len(fraction[0]) if fraction else 0 for fraction in fractions]
        self.fixed = min(lengths, default=0)  # decimals that even a whole number has
        self.most = max(2, *lengths, 0)

    def text(self, score: float) -> str:
        shown = f"{round(score, self.most):.{self.most}f}"
        while shown[-1] == "0" and len(shown.partition(".")[2]) > self.fixed:
            shown = shown[:-1]
        return shown.rstrip(".").replace(".", "," if self.comma else ".")

    def put(self, row: int, score: float) -> tuple[str, str] | None:
        """Write a score; the old text and the new one, or None if it says so already."""
        old, new = self.sheet.value(row, self.column), self.text(score)
        if value(old) is not None and value(old) == value(new):
            return None
        self.sheet.set(row, self.column, new)
        return old.strip(), new


def _decimal_comma(sheet: Sheet, examples: Iterable[str]) -> bool:
    """Whether numbers have a decimal comma: in the column, else anywhere in the file; where no
    number has a fraction, a separator of `;` says so.
    """
    everything = (cell.value.strip() for cells in sheet.rows[1:] for cell in cells)
    for texts in (examples, everything):
        marks = {mark for text in texts if NUMBER.fullmatch(text) for mark in ",." if mark in text}
        if marks:
            return "," in marks
    return sheet.separator == ";"


def value(text: str) -> float | None:
    """The number that a cell says, whatever its decimal sign; None if it says none."""
    text = text.strip()
    return float(text.replace(",", ".")) if NUMBER.fullmatch(text) else None


def _points(score: Standing, possible: float | None, rules: Rules, where: str) -> float:
    """A score as the column counts. Raises CourseError if it counts otherwise, and not to scale."""
    if not possible or not score.max_score or abs(possible - score.max_score) < 1e-6:
        return score.score
    if not rules.scale:
        raise CourseError(
            f"{where} is out of {number(possible)} points, the gradebook's out of "
            f"{number(score.max_score)}: change it in the LMS, or let every score be scaled with "
            "--scale. Nothing was written."
        )
    return score.score * possible / score.max_score


def _fill(
    ledger: Ledger,
    filled: Filled,
    column: _Column,
    rows: Mapping[int, Clue],
    possible: Mapping[int, float | None],
    rules: Rules,
    locked: Mapping[int, str],
) -> dict[int, str]:
    """Put the scores that are due into a column; whose score each row has now."""
    matches = dict(zip(rows, ledger.roster.find_all([*rows.values()]), strict=True))
    told = {}
    for row, match in matches.items():
        student = match.student
        if student is None:
            filled.unmatched.append((rows[row].shown, match.why))
            continue
        standing, why = ledger.due(filled.assignment, student)
        if standing is None:
            filled.left.append((student, why))
            continue
        if row in locked:
            filled.refused.append((student, locked[row]))
            continue
        score = _points(standing, possible.get(row), rules, f"The column '{filled.column}'")
        told[row] = student
        if moved := column.put(row, score):
            filled.written.append((student, *moved))
        else:
            filled.same += 1
    filled.absent = sorted(
        {*ledger.standings[filled.assignment]} - {each.student for each in matches.values()}
    )
    return told


# Canvas -----------------------------------------------------------------------------------------

_TITLE = re.compile(r"(.*?)\s*\((\d+)\)", re.DOTALL)
_COMPUTED = re.compile(r"\b(?:Current|Final) (?:Score|Points|Grade)\b")  # Canvas drops them
_READ_ONLY = "read only"
_LOGIN = re.compile("sis|login|mail|user")  # in a header: no number of Canvas's
# The rows before the students: points possible, indented in any language, and posting policies.
_HEAD = re.compile(r"\s|\Z|.*points possible", re.IGNORECASE)
_TEST_STUDENT = {"studenttest", "teststudent"}


def canvas(ledger: Ledger, sheet: Sheet, rules: Rules) -> list[Filled]:
    """Fill an export of Canvas's gradebook: the columns whose titles are assignments' names, or the
    one that is named. Raises CourseError where there is none.

    Canvas writes its own headers in the teacher's language, so that places count: the student's
    name, Canvas's number, logins, and then the assignments as `Title (ID)`.
    """
    titles = {column: _title(name) for column, name in enumerate(sheet.header) if column > 1}
    titles = {column: title for column, title in titles.items() if not _COMPUTED.search(title[0])}
    chosen = _canvas_columns(ledger, sheet, titles, rules)
    numbered = [column for column, (_, number) in titles.items() if number]
    first = min([*numbered, *(column for _, column in chosen)])
    kinds = [plain(name) for name in sheet.header[:first]]
    canvas_id = kinds.index("id") if "id" in kinds else 0 if _LOGIN.search(kinds[1]) else 1
    section = first - 1 if first - 1 > canvas_id and not _LOGIN.search(kinds[-1]) else 0
    logins = {*range(1, first)} - {canvas_id, section}
    rows: dict[int, Clue] = {}
    head = []
    for row in range(1, len(sheet.rows)):
        name, *others = (sheet.value(row, column).strip() for column in range(first))
        lms = others[canvas_id - 1] if canvas_id else ""
        clue = _canvas_clue(name, lms, [others[column - 1] for column in sorted(logins)])
        if any(others) or not (_HEAD.match(sheet.value(row, 0)) or _is_head(clue, rows, ledger)):
            rows[row] = clue
        else:
            head.append(row)
    found = []
    for assignment, column in chosen:
        name = sheet.header[column]
        marks = [sheet.value(row, column).strip() for row in head]
        if any(_READ_ONLY in mark.casefold() for mark in marks):
            raise CourseError(f"Canvas calls the column '{name}' read only. Nothing was written.")
        points = [points for mark in marks if (points := value(mark)) is not None]
        possible = dict.fromkeys(rows, points[-1] if points else None)
        filled = Filled(name, assignment)
        writing = _Column(sheet, column, [*rows], marks)
        _fill(ledger, filled, writing, rows, possible, rules, _marked(sheet, column, rows))
        filled.unmatched = [
            each for each in filled.unmatched if plain(each[0]) not in _TEST_STUDENT
        ]
        found.append(filled)
    return found


def _is_head(clue: Clue, above: Mapping[int, Clue], ledger: Ledger) -> bool:
    """Whether a row that has a name only is no student's: a spreadsheet takes indents off."""
    return not above and ledger.roster.find(clue).why == NOBODY


def _title(header: str) -> tuple[str, str]:
    """A column's title, and its number if it has one."""
    found = _TITLE.fullmatch(header)
    return (found[1], found[2]) if found else (header, "")


def _canvas_clue(name: str, lms: str, others: Sequence[str]) -> Clue:
    family, _, given = name.partition(",")
    return Clue(name or lms, lms, tuple(filter(None, others)), (name, f"{given} {family}"))


def _marked(sheet: Sheet, column: int, rows: Iterable[int]) -> dict[int, str]:
    """The rows whose cell says something that is no score, as `EX` for excused, or is not there."""
    found = {}
    for row in rows:
        text = sheet.value(row, column).strip()
        if column >= len(sheet.rows[row]):
            found[row] = "the row has no such column"
        elif text and text != "-" and value(text) is None:
            found[row] = f"the cell says {text}"
    return found


def _canvas_columns(
    ledger: Ledger, sheet: Sheet, titles: Mapping[int, tuple[str, str]], rules: Rules
) -> list[tuple[str, int]]:
    """The assignments and their columns: never a new one."""
    names = [rules.assignment] if rules.assignment else [*ledger.standings]
    numbered = [sheet.header[column] for column, (_, number) in titles.items() if number]
    shown = ", ".join(f"'{name}'" for name in numbered) or "none, of the form 'Title (ID)'"
    if rules.column:
        wanted = rules.column.strip()
        columns = [
            column
            for column, (title, number) in titles.items()
            if wanted in (sheet.header[column], title, number)
        ]
        if len(columns) != 1:
            raise CourseError(
                f"{len(columns) or 'No'} columns are '{wanted}'. The assignments' columns are: "
                f"{shown}."
            )
        titled = [name for name in names if plain(name) == plain(titles[columns[0]][0])]
        names = names if len(names) == 1 else titled
        if len(names) != 1:
            raise CourseError(f"Say with --assignment whose scores '{wanted}' shall have.")
        return [(names[0], columns[0])]
    chosen = []
    for name in names:
        columns = [column for column, (title, _) in titles.items() if plain(title) == plain(name)]
        if len(columns) > 1:
            raise CourseError(
                f"Several columns are titled {name}: "
                + ", ".join(f"'{sheet.header[column]}'" for column in columns)
                + ". Name one with --column and its number."
            )
        chosen += [(name, column) for column in columns]
    if not chosen:
        raise CourseError(
            f"No column is titled {' or '.join(names)}, and none is made. Name one with --column "
            f"and --assignment. The assignments' columns are: {shown}."
        )
    return chosen


# Moodle -----------------------------------------------------------------------------------------

_IDENTIFIER = re.compile(r"\D*\d+")
# "No" under "Grade can be changed", in the languages in which Moodle is used most.
_NO = frozenset(
    plain(word)
    for word in "no nein non não nao nee nei nej ne nie nem ei hayır нет ні не όχι nu ez いいえ "
    "否 아니요 لا không tidak".split()
)
_COMMENT = re.compile(
    "feedback|comment|kommentar|coment|commento|retroal|rückmeldung|opmerking|palaute|komentar|"
    "комментари|отзыв|反馈|コメント|zwrotn|återkoppl|visszajelz",
    re.IGNORECASE,
)


def moodle(ledger: Ledger, sheet: Sheet, path: Path, rules: Rules) -> Filled:
    """Fill a grading worksheet of Moodle's. Raises CourseError where it is none.

    Its headers are in the teacher's language, so that content counts: the maximum grade is the same
    number in every row, the grade stands before it, and whether it may be changed after it.
    """
    rows = [
        row for row in range(1, len(sheet.rows)) if any(c.value.strip() for c in sheet.rows[row])
    ]
    if not rows or not all(_IDENTIFIER.fullmatch(sheet.value(row, 0).strip()) for row in rows):
        raise CourseError(
            "This is no grading worksheet of Moodle's: its first column does not have a "
            "participant's number in each row. In Moodle, turn on 'Offline grading worksheet' in "
            "the assignment's settings, then take 'Download grading worksheet'."
        )
    grade = _moodle_grade(sheet, rows, rules.column)
    filled = Filled(sheet.header[grade], _moodle_assignment(ledger, path, rules))
    most = {row: value(sheet.value(row, grade + 1)) for row in rows}
    locked = _marked(sheet, grade, rows)
    locked |= {
        row: "Moodle says that this grade cannot be changed"
        for row in rows
        if any(plain(sheet.value(row, grade + after)) in _NO for after in (2, 3, 4))
    }
    writing = _Column(sheet, grade, rows, [sheet.value(row, grade + 1).strip() for row in rows])
    telling = [column for column in range(1, grade) if _tells_apart(sheet, rows, column)]
    clues = {row: _moodle_clue(sheet, row, telling) for row in rows}
    told = _fill(ledger, filled, writing, clues, most, rules, locked)
    if rules.feedback:
        comments = _moodle_comments(sheet, grade, rules.feedback_column)
        for row, student in told.items():
            _comment(ledger, filled, sheet, row, comments, student)
    return filled


def _tells_apart(sheet: Sheet, rows: Sequence[int], column: int) -> bool:
    """Whether a column can say who somebody is: a status or a group repeats itself."""
    cells = [text for row in rows if (text := sheet.value(row, column).strip())]
    return len({*cells}) * 2 > len(cells)


def _moodle_clue(sheet: Sheet, row: int, columns: Sequence[int]) -> Clue:
    """Whoever these columns mean: a name first, which is no login, then e-mail, login, id."""
    told = [(column, cell) for column in columns if (cell := sheet.value(row, column).strip())]
    cells = [cell for _, cell in told]
    names = [f"{one} {two}" for one, two in itertools.pairwise(cells)]  # in two columns
    for cell in cells:
        family, comma, given = cell.partition(",")
        names += [cell, *([f"{given} {family}"] if comma else [])]
    identifier = sheet.value(row, 0).strip()
    if not cells:
        return Clue(f"{identifier}, whose name Moodle hides")
    logins = tuple(cell for column, cell in told if column > 1 or "@" in cell)
    return Clue(f"{cells[0]} ({identifier})", logins=logins, names=tuple(names))


def _called(header: Sequence[str], name: str) -> list[int]:
    """The columns of that name."""
    return [column for column, title in enumerate(header) if title == name.strip()]


def _moodle_grade(sheet: Sheet, rows: Sequence[int], named: str) -> int:
    """The column of the grade."""
    header = sheet.header
    if named:
        found = _called(header, named)
    else:
        found = [
            column
            for column in range(1, len(header) - 1)
            if all(value(sheet.value(row, column + 2)) is None for row in rows)
            and len(most := {value(sheet.value(row, column + 1)) for row in rows}) == 1
            and (most.pop() or 0) > 0
            and all(
                (text := sheet.value(row, column).strip()) in ("", "-") or value(text) is not None
                for row in rows
            )
        ]
    if len(found) != 1:
        which = f"'{named}'" if named else "the grade, with the maximum grade after it"
        raise CourseError(
            f"{len(found) or 'No'} columns can be {which}. Name it with --grade-column; there are: "
            + ", ".join(f"'{name}'" for name in header)
            + "."
        )
    return found[0]


def _moodle_assignment(ledger: Ledger, path: Path, rules: Rules) -> str:
    """The assignment that a worksheet is for: as named, as in the file's name, or the only one."""
    names = [name for name, standings in ledger.standings.items() if standings]
    if rules.assignment:
        return rules.assignment
    inside = [name for name in names if plain(name) in plain(path.stem)]
    if len(inside) == 1:
        return inside[0]
    if len(names) == 1:
        return names[0]
    raise CourseError(
        "A worksheet of Moodle's is for one assignment, and does not say for which: name it with "
        f"--assignment. There are: {', '.join(names)}."
    )


def _moodle_comments(sheet: Sheet, grade: int, named: str) -> int:
    header = sheet.header
    if named:
        found = _called(header, named)
    else:
        found = [
            column
            for column, name in enumerate(header)
            if column > grade + 1 and _COMMENT.search(name)
        ]
    if len(found) != 1:
        raise CourseError(
            f"{len(found) or 'No'} columns can be that of feedback comments: name it with "
            "--feedback-column, or turn on 'Feedback comments' in the assignment's settings and "
            "download the worksheet again."
        )
    return found[0]


_OURS = re.compile(r"\d[\d.]*/\d[\d.]* points")


def _comment(
    ledger: Ledger, filled: Filled, sheet: Sheet, row: int, column: int, student: str
) -> None:
    """Put the short text beside a score, but not over what a teacher wrote."""
    if column >= len(sheet.rows[row]):
        return
    old = sheet.value(row, column)
    if old.strip() and not _OURS.match(old):
        filled.notes.append(f"{student}: there is a comment already, it stays")
        return
    standing = ledger.standings[filled.assignment][student]
    text = f"{number(standing.score)}/{number(standing.max_score)} points"
    result = ledger.result(filled.assignment, student)
    if result and (said := remark(result)):
        text += f": {said}"
    if len(text) > MAX_FEEDBACK:
        text = f"{text[: MAX_FEEDBACK - 3]}..."
    sheet.set(row, column, html.escape(text, quote=False))  # Moodle takes it for HTML
