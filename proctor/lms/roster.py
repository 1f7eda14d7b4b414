"""Who is who: an LMS names students by numbers, logins or names, the course by its own ids."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proctor.course.course import Course
from proctor.errors import CourseError
from proctor.lms.archives import wrong_name
from proctor.lms.sheet import Sheet
from proctor.record import gradebook

FILE = "roster.csv"  # in the course's folder: taken where none is named

NOBODY = "nobody on the roster has this name"

# The columns by which an LMS knows a student, besides `id` and `lms_user_id`.
LOGINS = (
    "email",
    "login_id",
    "sis_login_id",
    "sis_user_id",
    "username",
    "login",
    "github",
    "github_username",
    "sid",
)
# Letters whose accent is no mark that can be taken off.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"}
)
# How some are written where a keyboard lacks them.
_SPELT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})


@dataclass(frozen=True)
class Student:
    """A student of the course; `id` is the name of their folder in submitted/."""

    id: str
    lms_user_id: str = ""
    logins: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # as somebody may write them
    lti_user_id: str = ""  # what LTI calls `sub`, where that is another name


@dataclass(frozen=True)
class Clue:
    """What a download or a sheet says of a student."""

    shown: str  # as people know it there
    lms_user_id: str = ""
    logins: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Match:
    """The student that a clue means, or why there is none."""

    student: str | None
    why: str = ""
    by: str = ""  # what it was found by: lms, id, login or name


def plain(text: str) -> str:
    """A name without accents, case, punctuation and spaces: `Sørén O'Neil` is `sorenoneil`."""
    folded = unicodedata.normalize("NFKD", text.casefold()).translate(_LETTERS)
    return "".join(c for c in folded if c.isalnum() or _is_vowel(c))


def _is_vowel(c: str) -> bool:
    """Whether a mark is a part of the name: a vowel, as in Devanagari, and no letter's accent."""
    return unicodedata.category(c) in ("Mn", "Mc") and not "\u0300" <= c <= "\u036f"


def spellings(name: str) -> set[str]:
    """A name as others may write it, each as `plain` has it: `Müller` is `muller` and `mueller`."""
    whole = unicodedata.normalize("NFC", name).casefold()
    return {plain(name), plain(whole.translate(_SPELT))}


@dataclass
class Roster:
    """The course's students, found by what an LMS calls them."""

    students: Sequence[Student]
    _by: dict[str, dict[str, set[str]]] = field(init=False)
    _numbers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by = {"lms": {}, "id": {}, "login": {}, "name": {}}
        for each in self.students:
            self._index("lms", [each.lms_user_id], each.id)
            self._index("id", [each.id.casefold()], each.id)
            self._index("login", [login.casefold() for login in each.logins], each.id)
            for name in each.names:
                self._index("name", spellings(name), each.id)
            self._numbers[each.id] = each.lms_user_id

    def _index(self, kind: str, values: Iterable[str], student: str) -> None:
        for value in values:
            if value:
                self._by[kind].setdefault(value, set()).add(student)

    def find(self, clue: Clue) -> Match:
        """The one student that is meant: by number or id first, then by login, then by name."""
        logins = [login.strip().casefold() for login in clue.logins]
        for kind, values in (
            ("lms", [clue.lms_user_id]),
            ("id", logins),
            ("login", logins),
            ("name", set().union(*map(spellings, clue.names))),
        ):
            found: set[str] = set().union(*(self._by[kind].get(value, ()) for value in values))
            if len(found) == 1:
                (student,) = found
                numbers = {clue.lms_user_id, self._numbers[student]}
                if kind == "name" and len(numbers) == 2 and all(map(str.isdigit, numbers)):
                    return Match(None, f"{student} has this name, but another number")
                return Match(student, by=kind)
            if found:
                return Match(None, f"{_listed(sorted(found))} may be meant")
        return Match(None, NOBODY)

    def find_all(self, clues: Sequence[Clue]) -> list[Match]:
        """Who is meant by each of these, who are different people: no student is meant by two. A
        name yields to a number or a login.
        """
        matches = [self.find(clue) for clue in clues]
        rivals: dict[str, list[Match]] = {}
        for match in matches:
            if match.student:
                rivals.setdefault(match.student, []).append(match)
        for student, rival in rivals.items():
            sure = [match for match in rival if match.by != "name"]
            if len(rival) > 1:
                why = f"{len(rival)} of them have the name of {student}"
                keep = sure[0] if len(sure) == 1 else None
                matches = [
                    Match(None, why) if match.student == student and match is not keep else match
                    for match in matches
                ]
        return matches

    def ending(self, text: str) -> Match:
        """The student whose id or login is the longest that `text` ends with, after a `_`."""
        folded = text.casefold()
        places = [0, *(place.end() for place in re.finditer("_", folded))]
        for place in places:  # the first place leaves the longest end
            match = self.find(Clue(text, logins=(folded[place:],)))
            if match.student or "may be meant" in match.why:
                return match
        return Match(None, "nobody on the roster has a login that it ends with")

    @classmethod
    def of(cls, course: Course, path: Path | None) -> Roster:
        """The students of a CSV file and of the gradebook. Raises CourseError if there are none."""
        named = path or course.root / FILE
        listed = read(named) if path or named.exists() else []
        known = {each.id for each in listed}
        students = [*listed]
        for each in gradebook.students(course):
            if each["id"] not in known and not wrong_name(each["id"]):
                students.append(_student(each))
        if not students:
            raise CourseError(
                "Nobody is known: give a roster with --roster, a CSV file with the columns id, "
                "first_name, last_name, email and lms_user_id (as `nbgrader db student import` "
                f"reads it), or put it into the course's folder as {FILE}."
            )
        return cls(students)


def read(path: Path) -> list[Student]:
    """The students of a roster: a CSV file with nbgrader's columns, of which `id` is a must."""
    try:
        sheet = Sheet(path.read_bytes())
    except OSError as error:
        raise CourseError(f"The roster {path} cannot be read: {error.strerror}.") from None
    except CourseError as error:
        raise CourseError(f"The roster {path} cannot be read: {error}") from None
    columns = [re.sub(r"\W+", "_", name.strip().casefold()) for name in sheet.header]
    if "id" not in columns:
        raise CourseError(
            f"The roster {path} has no column `id`, the name of a student's folder in submitted/. "
            "Its columns are: " + ", ".join(sheet.header)[:200]
        )
    students: dict[str, Student] = {}
    for number, cells in enumerate(sheet.rows[1:], 2):
        row = {name: cell.value.strip() for name, cell in zip(columns, cells, strict=False)}
        if not any(row.values()):
            continue
        if why := wrong_name(row.get("id", "")):
            raise CourseError(
                f"The roster {path}, row {number}: the id '{row.get('id', '')}' cannot be the name "
                f"of a folder: {why}."
            )
        if row["id"].casefold() in students:
            raise CourseError(f"The roster {path}, row {number}: the id '{row['id']}' comes twice.")
        students[row["id"].casefold()] = _student(row)
    return [*students.values()]


def _student(row: dict[str, str]) -> Student:
    """A student from a row's columns: the names also with the last name first."""
    first, last = row.get("first_name") or "", row.get("last_name") or ""
    full = row.get("full_name") or row.get("name") or ""
    names = [full, f"{first} {last}", f"{last} {first}"]
    family, comma, given = full.partition(",")
    if comma:
        names.append(f"{given} {family}")
    logins = [row.get(name) or "" for name in LOGINS]
    return Student(
        row["id"],
        row.get("lms_user_id") or "",
        tuple(filter(None, logins)),
        tuple(name for name in dict.fromkeys(names) if plain(name)),
        row.get("lti_user_id") or "",
    )


def _listed(names: Sequence[str]) -> str:
    return " or ".join([*names[:4], *(["more"] if len(names) > 4 else [])])
