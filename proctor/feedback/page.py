"""What stands on a page of feedback, read off a graded notebook: section by section, the student's
code and beside it how its tests ended.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from proctor.feedback import rendering
from proctor.notebook.cells import Cell, is_locked, nbgrader
from proctor.record.autograded import is_notice
from proctor.record.points import DECIDED, SIGNS, results, without_title
from proctor.verdict import TestResult, label, number, outcome

NO_RESPONSE = "No response."  # nbgrader's own comment on what a student has left as it was
_HEADING = re.compile(r"^ {0,3}#{1,4}[ \t]+(\S.*)$", re.MULTILINE)
_CLOSING = re.compile(r"\s#+$")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"cell '([\w-]{1,64})', line (\d{1,9})")
_NAME = re.compile(r"cell '([\w-]{1,64})'")
_STOPPED = re.compile("no later cell could be run|what was decided")
_LINE = re.compile(r"line (\d{1,9}): ")


@dataclass
class Row:
    """A test, as a line of a table."""

    outcome: str
    label: str
    name: str
    points: str
    lines: list[str]
    misconception: str | None
    anchor: str

    @property
    def sign(self) -> str:
        return SIGNS[self.outcome][0]


@dataclass
class Part:
    """A cell, or what is said of it. `kind` is answer, check, hidden, or other."""

    kind: str
    name: str
    anchor: str
    code: Markup = Markup("")
    text: Markup = Markup("")
    outputs: list[Markup] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    comment: Markup = Markup("")
    standing: str = ""  # the points of an answer that a person reads
    remarks: list[str] = field(default_factory=list)
    empty: bool = False
    broken: str = ""  # why Python cannot read it


@dataclass
class Section:
    """What stands under one heading."""

    title: Markup
    anchor: str
    text: Markup = Markup("")
    parts: list[Part] = field(default_factory=list)
    others: list[Part] = field(default_factory=list)
    score: float = 0.0
    most: float = 0.0
    waiting: float = 0.0
    graded: bool = False
    question: bool = False

    @property
    def rows(self) -> list[Row]:
        return [row for part in self.parts for row in part.rows]

    @property
    def outcome(self) -> str:
        """In a word; "" if nothing is graded here."""
        if not self.graded:
            return ""
        if self.blank and not self.score:
            return "not written"
        if self.waiting:
            return "waits"
        ends = {row.outcome for row in self.rows}
        if self.score >= self.most and ends <= {"passed"}:
            return "passed"
        if ends and ends <= {"not reached"}:
            return "not reached"
        return "partly" if self.score > 0 or "passed" in ends else "failed"

    @property
    def sign(self) -> str:
        return {"partly": "\u25d0", "not written": "\u25cb"}.get(self.outcome) or SIGNS[self.outcome][0]

    @property
    def blank(self) -> bool:
        """Whether nothing was written here: what fails there tells nothing."""
        answers = [part for part in self.parts if part.kind == "answer"]
        return bool(answers) and all(part.empty for part in answers)

    @property
    def tests(self) -> str:
        """How many of its tests passed."""
        rows = [row for row in self.rows if row.outcome != "waits"]
        passed = sum(row.outcome == "passed" for row in rows)
        return f"{passed} of {len(rows)}" if rows else ""

    @property
    def points(self) -> str:
        return f"{number(self.score)} of {number(self.most)}"


@dataclass
class Page:
    """A page of feedback. What `first` says stands at the top."""

    title: str
    assignment: str
    score: str
    most: str
    penalty: str
    sections: list[Section]
    others: list[Part]
    notice: Markup
    syntax_errors: list[tuple[str, str]]  # with the anchor of the cell, if it is there
    waiting: list[tuple[str, str, str]]  # title, anchor, points
    empty: list[tuple[str, str]]
    first: Row | None
    first_in: Section | None
    misconception: str
    advice: str
    shown: int  # failed tests that show the misconception
    failed: int
    tried: int  # of these, where something was written
    passed: int
    unreached: int
    stopped: list[tuple[str, str]]  # why tests were not reached, with the anchor of the cell
    notes: list[str]
    claims: str

    @property
    def all_passed(self) -> bool:
        """Nothing is left to do, for the student or a person."""
        done = not (self.failed or self.unreached or self.syntax_errors or self.waiting)
        return done and not self.penalty and self.passed > 0 and self.score == self.most


Cells = list[Cell]


def page(notebook: Mapping[str, Any], about: Mapping[str, Any]) -> Page:
    """The page of a graded notebook; `about` is nbgrader's: notebook, assignment, score, ..."""
    return _Maker(notebook, about).page()


class _Maker:
    def __init__(self, notebook: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        self.cells: Cells = [*notebook["cells"]]
        self.about = about
        info = notebook["metadata"].get("language_info", {})
        self.plain = info.get("name") == "text"  # too heavy for colours
        self.anchors: dict[str, str] = {}
        self.found = {
            nbgrader(cell)["grade_id"]: decided
            for cell in self.cells
            if nbgrader(cell).get("grade") and (decided := results(cell.get("outputs")))
        }
        told = [*self.found.values()]
        self.syntax_errors = [*dict.fromkeys(e for each in told for e in each["syntax_errors"])]
        self.notes = [*dict.fromkeys(note for each in told for note in each["notes"])]
        self.tests: list[TestResult] = [test for each in told for test in each["tests"]]
        self.marked = self._marked()
        self.rows = 0

    def _marked(self) -> dict[str, set[int]]:
        """The lines of cells that an error names."""
        marked: dict[str, set[int]] = {}
        for text in [*self.syntax_errors, *(test.message for test in self.tests)]:
            for name, line in _PLACE.findall(text):
                marked.setdefault(name, set()).add(int(line))
        return marked

    def page(self) -> Page:
        sections = [self.section(cells) for cells in _sections(self.cells)]
        rows = [row for section in sections for row in section.rows]
        count = Counter(row.outcome for row in rows)
        first_in, first = next(
            (
                (section, row)
                for section in sections
                for row in section.rows
                if row.outcome == "failed" and not section.blank
            ),
            (None, None),
        )
        stopped = [note for note in self.notes if _STOPPED.search(note)]
        lost: Counter[str] = Counter()
        for test in self.tests:
            if test.misconception:
                lost[test.misconception] += 1
        misconception, shown = (lost.most_common(1) or [("", 0)])[0]
        advice = next(
            (t.message.split("\n")[-1] for t in self.tests if t.misconception == misconception), ""
        )
        penalty = float(self.about.get("late_penalty") or 0)
        return Page(
            title=self.title(),
            assignment=str(self.about["assignment"]),
            score=number(float(self.about["score"])),
            most=number(float(self.about["max_score"])),
            penalty=number(penalty) if penalty else "",
            sections=[section for section in sections if section.parts],
            others=[part for section in sections if not section.parts for part in section.others],
            notice=self.notice(),
            syntax_errors=[(each, self.anchor_of(each)) for each in self.syntax_errors],
            waiting=[
                (str(section.title.striptags()), section.anchor, number(section.waiting))
                for section in sections
                if section.waiting
            ],
            empty=[
                (part.name, part.anchor)
                for section in sections
                for part in section.parts
                if part.empty
            ],
            first=first,
            first_in=first_in,
            misconception=misconception,
            advice=advice,
            shown=shown,
            failed=count["failed"],
            tried=sum(
                row.outcome == "failed"
                for section in sections
                if not section.blank
                for row in section.rows
            ),
            passed=count["passed"],
            unreached=count["not reached"],
            stopped=[(note, self.anchor_of(note)) for note in stopped] if count["not reached"] else [],
            notes=[note for note in self.notes if note not in stopped],
            claims=DECIDED if any(test.decided == "student" for test in self.tests) else "",
        )

    def title(self) -> str:
        for cell in self.cells:
            if cell["cell_type"] == "markdown" and (found := _HEADING.search(cell["source"])):
                return str(rendering.markdown(_said(found)).striptags())
        return str(self.about["notebook"])

    def notice(self) -> Markup:
        texts = (cell["source"] for cell in self.cells if is_notice(cell))
        return rendering.markdown(next(texts, ""))

    def anchor_of(self, text: str) -> str:
        found = _NAME.search(text)
        return self.anchors.get(found[1], "") if found else ""

    def section(self, cells: Cells) -> Section:
        first = cells[0]
        heading = _heading(first)
        title = rendering.markdown(_said(heading)) if heading else Markup("Before the first section")
        title = Markup(re.sub(r"^<p>|</p>\s*$", "", title))
        anchor = f"section-{len(self.anchors) + 1}"
        self.anchors[anchor] = anchor
        section = Section(title, anchor)
        text: list[Markup] = []
        for cell in cells:
            meta = nbgrader(cell)
            if is_notice(cell):
                continue
            if meta.get("grade") or meta.get("task") or meta.get("solution"):
                section.parts.append(self.part(cell, section))
            elif cell["cell_type"] == "markdown":
                source = cell["source"]
                if cell is first and heading:
                    source = source.replace(heading[0], "", 1)
                text.append(self.markdown(cell, source))
            else:
                section.others.append(self.plain_code(cell))
        section.text = Markup("").join(text)
        if section.parts and all(part.kind == "hidden" for part in section.parts):
            section.title = Markup("More hidden tests")  # of several answers, or of all
        section.question = any(
            part.kind == "answer" and not part.code and not part.empty for part in section.parts
        )
        return section

    def markdown(self, cell: Cell, source: str) -> Markup:
        return rendering.markdown(source, 2, cell.get("attachments"))

    def plain_code(self, cell: Cell) -> Part:
        name = str(cell.get("id", ""))
        self.anchors[name] = f"cell-{len(self.anchors) + 1}"
        return Part(
            "other", name, self.anchors[name], self.code(cell), outputs=self.outputs(cell)
        )

    def code(self, cell: Cell) -> Markup:
        name = nbgrader(cell).get("grade_id") or cell.get("id", "")
        marked = self.marked.get(name, set())
        if found := self.found.get(name):  # a visible check says its own line
            marked = {
                int(line[1]) for test in found["tests"] if (line := _LINE.match(test.message))
            }
        return rendering.code(cell["source"], marked, self.plain)

    def outputs(self, cell: Cell) -> list[Markup]:
        kept = [*cell.get("outputs", [])]
        if nbgrader(cell).get("grade_id") in self.found:
            kept = kept[1:]
        return [made for made in map(rendering.output, kept) if made]

    def part(self, cell: Cell, section: Section) -> Part:
        meta = nbgrader(cell)
        name = meta["grade_id"]
        anchor = self.anchors[name] = f"cell-{len(self.anchors) + 1}"
        found = self.found.get(name)
        kind = "answer"
        if meta.get("grade") and not meta.get("solution"):
            by_name = found and [test.name for test in found["tests"]] == [name]
            kind = "hidden" if found and not by_name else "check"
        part = Part(kind, name, anchor, outputs=self.outputs(cell))
        if cell["cell_type"] == "markdown":
            part.text = self.markdown(cell, cell["source"])
        else:
            part.code = self.code(cell)
        comment = str(meta.get("comment") or "")
        part.empty = comment == NO_RESPONSE
        if comment and not part.empty:
            part.comment = rendering.markdown(comment)
        part.broken = next((e for e in self.syntax_errors if e.startswith(f"cell '{name}'")), "")
        if meta.get("grade") or meta.get("task"):
            self.grade(part, section, meta, found)
        return part

    def grade(
        self, part: Part, section: Section, meta: dict[str, Any], found: dict[str, Any] | None
    ) -> None:
        """The points of a cell, as the gradebook has them, and the tests that earned them."""
        score, most = float(meta.get("score") or 0), float(meta.get("points") or 0)
        section.graded = True
        section.score += score
        section.most += most
        waits = bool(meta.get("needs_manual_grade"))
        section.waiting += most if waits else 0
        extra = float(meta.get("extra_credit") or 0)
        if extra:
            part.remarks.append(f"Extra credit: {number(extra)} points.")
        if found:
            part.rows = [self.row(test) for test in found["tests"]]
            earned = sum(test.points for test in found["tests"])
            if meta.get("manual_score") is not None and abs(score - extra - earned) > 1e-6:
                part.remarks.append(
                    f"Your instructor has set the points: {number(score - extra)} of "
                    f"{number(most)}. The tests gave {number(earned)}."
                )
            if waits:
                part.remarks.append("A person will look at this.")
        elif waits:
            part.standing = f"waits for a person: {number(most)} points"
        else:
            part.standing = f"{number(score)} of {number(most)} points"

    def row(self, test: TestResult) -> Row:
        self.rows += 1
        return Row(
            outcome(test),
            label(test),
            test.name,
            f"{number(test.points)} of {number(test.max_points)}",
            _paragraphs(test),
            test.misconception,
            f"test-{self.rows}",
        )


def _paragraphs(test: TestResult) -> list[str]:
    """What a test says, a line each; of a visible check its own line, and then what Python said."""
    lines = [line for line in without_title(test).split("\n") if line.strip()]
    if test.title:
        return lines
    own = 1 if lines and (_LINE.match(lines[0]) or _PLACE.match(lines[0])) else 0
    return [each for each in (*lines[:own], "\n".join(lines[own:])) if each]


def _heading(cell: Cell) -> re.Match[str] | None:
    """The heading with which a text cell of the instructor's begins a section."""
    if cell["cell_type"] != "markdown" or nbgrader(cell).get("solution"):
        return None
    return _HEADING.match(cell["source"].lstrip("\n"))


def _said(heading: re.Match[str]) -> str:
    """What a heading says, without the `#` that may close it."""
    return _CLOSING.sub("", heading[1].rstrip()).rstrip()


def _sections(cells: Cells) -> list[Cells]:
    """Cells by the heading they stand under; the grade cells that stand apart at the end of a
    notebook, as those of hidden tests do, with the answers that they judge.
    """
    found: list[Cells] = [[]]
    for cell in itertools.chain.from_iterable(map(_split, cells)):
        if _heading(cell) and found[-1]:
            found.append([])
        found[-1].append(cell)
    homes = [section for section in found if any(map(_is_answer, section))]
    for section in found:
        if section in homes:
            continue
        for cell in [cell for cell in section if is_locked(nbgrader(cell))]:
            home = _home(cell, homes) if nbgrader(cell).get("grade") else None
            if home is not None:
                section.remove(cell)
                home.append(cell)
    return [section for section in found if section]


def _split(cell: Cell) -> Cells:
    """A text cell of the instructor's at its headings."""
    meta = nbgrader(cell)
    if cell["cell_type"] != "markdown" or meta.get("solution") or meta.get("grade"):
        return [cell]
    source = cell["source"]
    fences = [found.span() for found in _FENCE.finditer(source)]
    starts = [
        found.start()
        for found in _HEADING.finditer(source)
        if not any(begin <= found.start() < end for begin, end in fences)
    ]
    if meta.get("task") or not starts:
        return [cell]
    edges = [0, *(start for start in starts if start), len(source)]
    return [{**cell, "source": source[a:b]} for a, b in itertools.pairwise(edges)]


def _is_answer(cell: Cell) -> bool:
    return bool(nbgrader(cell).get("solution"))


def _home(cell: Cell, sections: Iterable[Cells]) -> Cells | None:
    """The section of the answer that a grade cell judges: the one that is named, or whose name is
    like its own; None if there is none.
    """
    named = (results(cell.get("outputs")) or {}).get("judges")
    for section in sections:
        if named and any(nbgrader(each).get("grade_id") == named for each in section):
            return section
    words = _words(nbgrader(cell)["grade_id"])
    for section in sections:
        names = [nbgrader(each).get("grade_id", "") for each in section]
        if words in [_words(name) for name in names if name]:
            return section
    for section in sections:
        heading = _heading(section[0])
        if heading and words and {*words} <= {*_words(_said(heading))}:
            return section
    return None


def _words(name: str) -> list[str]:
    """LogSoftmax, log_softmax and check_log_softmax are the same words."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    return [part.lower() for part in parts if part.lower() not in ("check", "test", "hidden")]
