"""What there is to say of a class and an assignment, or of all assignments of a course."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from proctor.course.course import Assignment, Course
from proctor.errors import Rejected
from proctor.notebook.cells import hand_ins
from proctor.notebook.template import Stubs, Template, read
from proctor.record.roster import Gradable, Participant, reading
from proctor.record.store import Store
from proctor.report.remarks import misconceptions
from proctor.survey import similar
from proctor.survey.items import Analysis, analyse

# Who handed in a file of this name and of this hash.
Owners = dict[tuple[str, str], list[Participant]]
Watch = Callable[[str, int, int], None]  # what is done, and how many of how many steps

# A submission that passes so much of the visible checks and so little of the hidden tests fits
# what its student could see.
VISIBLE, HIDDEN = 0.9, 0.1


@dataclass(frozen=True)
class Survey:
    """A class and an assignment."""

    course: Course
    assignment: Gradable
    participants: Sequence[Participant]
    analysis: Analysis
    misconceptions: Mapping[str, Sequence[Participant]]  # the most frequent first
    suspicious: Sequence[Participant]
    changed: Sequence[Participant]  # handed in anew since they were graded
    codes: Mapping[str, str]  # each student's own code
    pairs: Sequence[similar.Pair]
    same: Sequence[tuple[str, Sequence[Participant]]]  # a file that points rest on, and who has it

    def having(self, *states: str) -> list[Participant]:
        return [each for each in self.participants if each.state in states]

    @property
    def late(self) -> list[Participant]:
        return [each for each in self.participants if each.late]

    @property
    def scores(self) -> list[float]:
        return [each.score for each in self.participants if each.score is not None]


def survey(assignment: Assignment, watch: Watch = lambda *_: None) -> Survey:
    """Look at a class. Raises CourseError where nothing was graded yet."""
    with reading(assignment.course) as roster:
        found = roster.assignment(assignment.name)
        participants = roster.participants(found)
    counted = misconceptions([each.result for each in participants if each.result]).most_common()
    codes, owners, changed = _submissions(assignment, participants, watch)
    given: list[Template] = [*assignment.templates]
    if any(template.in_process for template in given):  # they have nbgrader's own cells only
        stubs = Stubs.of(assignment.course.config)
        given += [read(path, None, stubs) for path in assignment.notebooks]
    released = "\n\n".join(map(similar.released_code, given))
    return Survey(
        assignment.course,
        found,
        participants,
        analyse(found.items, participants),
        {name: [each for each in participants if _shows(each, name)] for name, _ in counted},
        [each for each in participants if suspicious(each, found)],
        changed,
        codes,
        similar.pairs(codes, released, lambda *done: watch("comparing", *done)),
        [(name, who) for (name, _), who in sorted(owners.items()) if len(who) > 1],
    )


def _shows(participant: Participant, misconception: str) -> bool:
    tests = participant.result.tests if participant.result else []
    return any(test.misconception == misconception for test in tests)


def suspicious(participant: Participant, assignment: Gradable) -> bool:
    """Whether a submission passes what its student sees and fails what hidden tests look at."""
    kinds = {item.place: item.kind for item in assignment.items}
    passed: dict[str, list[bool]] = {"visible": [], "hidden": []}
    for test in participant.result.tests if participant.result else []:
        kind = kinds.get((test.notebook, test.cell))
        if kind in passed:
            passed[kind].append(test.status == "passed")
    if not passed["visible"] or not passed["hidden"]:
        return False
    return mean(passed["visible"]) >= VISIBLE and mean(passed["hidden"]) <= HIDDEN


def _submissions(
    assignment: Assignment, participants: Sequence[Participant], watch: Watch
) -> tuple[dict[str, str], Owners, list[Participant]]:
    """Each student's own code, who handed in which file beside it, and whose submission is no
    longer the one that was graded.
    """
    store = Store(assignment)
    submitted = {*assignment.course.students(assignment.name)}
    there = [each for each in participants if each.student.id in submitted]
    named = {name for t in assignment.templates for cell in t.cells for name in hand_ins(cell)}
    codes, changed = {}, []
    owners: Owners = {}
    for done, each in enumerate(there, 1):
        name = each.student.id
        files = store.read(assignment.course.folder("submitted", name, assignment.name))
        own = []
        for template in assignment.templates:
            try:
                submission = template.submission(files.notebook(template.name))
            except Rejected:
                continue
            own.append(similar.own_code(template, submission))
        codes[name] = "\n\n".join(filter(None, own))
        for file in named & {*files.files}:
            found = file, hashlib.sha256(files.files[file]).hexdigest()
            owners.setdefault(found, []).append(each)
        # a result on the student's own stack depends on more than this submission
        kept = each.kept
        if kept and kept.key and not kept.result.stack and kept.key != store.key(files, []):
            changed.append(each)
        watch("reading", done, len(there))
    return codes, owners, changed


@dataclass(frozen=True)
class Line:
    """An assignment at a glance."""

    name: str
    assignment: Gradable | None  # None before it was generated
    participants: Sequence[Participant] = ()

    def count(self, *states: str) -> int:
        return sum(each.state in states for each in self.participants)

    @property
    def submitted(self) -> int:
        return len(self.participants) - self.count("missing")

    @property
    def late(self) -> int:
        return sum(bool(each.late) for each in self.participants)

    @property
    def mean(self) -> float | None:
        scores = [each.score for each in self.participants if each.score is not None]
        return mean(scores) if scores else None


def course_lines(course: Course, looked_at: Survey | None = None) -> list[Line]:
    """All assignments of a course, in order; one that was `looked_at` is not read again."""
    with reading(course) as roster:
        lines = {name: Line(name, None) for name in course.assignments}
        for each in roster.assignments:
            if looked_at is not None and looked_at.assignment == each:
                lines[each.name] = Line(each.name, each, looked_at.participants)
            else:
                lines[each.name] = Line(each.name, each, roster.participants(each))
    return [lines[name] for name in sorted(lines)]
