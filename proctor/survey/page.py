"""The pages and tables that `proctor report` writes: one file each, that need no network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from proctor.record.roster import Participant, Person
from proctor.record.sheets import as_csv
from proctor.report.remarks import remark
from proctor.survey import items, similar
from proctor.survey.gather import Line, Survey
from proctor.verdict import number, printable

BINS = 10  # of the distribution of scores
SHOWN = 50  # pairs side by side; the table of pairs has all


def assignment_page(survey: Survey, sheets: Mapping[str, str], index: str | None) -> str:
    """The page of an assignment. `sheets` has the addresses of its tables, `index` the course's."""
    return _render(
        "assignment.html",
        survey=survey,
        sheets=sheets,
        index=index,
        made=_now(),
        bins=bins(survey.scores, survey.assignment.points),
        centre=_centre(survey.scores),
        todo=to_do(survey),
        class_=items.CLASS,
        shown=SHOWN,
        passages=similar,
        sides=[_sides(survey, pair) for pair in survey.pairs[:SHOWN]],
    )


def course_page(name: str, lines: Sequence[Line], pages: Mapping[str, str]) -> str:
    """The course at a glance. `pages` has the addresses of the assignments' pages so far."""
    return _render("course.html", name=name, lines=lines, pages=pages, made=_now())


def bins(scores: Sequence[float], points: float) -> list[dict[str, Any]]:
    """How many scores lie in each tenth of the points; the last one has its upper end, too."""
    ends = [points * n / BINS for n in range(BINS + 1)]
    found = [{"low": low, "high": high, "n": 0} for low, high in itertools.pairwise(ends)]
    for score in scores:
        place = math.floor(score / points * BINS + 1e-9) if points else 0
        found[min(max(place, 0), BINS - 1)]["n"] += 1
    most = max(each["n"] for each in found) or 1
    for each in found:
        each["share"] = each["n"] / most
    return found


def _centre(scores: Sequence[float]) -> dict[str, float | None]:
    return {
        "mean": mean(scores) if scores else None,
        "median": median(scores) if scores else None,
        "deviation": stdev(scores) if len(scores) > 1 else None,
    }


def to_do(survey: Survey) -> list[str]:
    """What this page asks of its reader, the most urgent first."""
    name, found = survey.assignment.name, []
    if waiting := survey.having("not graded"):
        found.append(f"Grade {_people(waiting)}: proctor grade {name}.")
    if survey.changed:
        found.append(
            f"Grade {_people(survey.changed)} again, handed in anew or graded with an older suite "
            f"or notebook: proctor grade {name}."
        )
    if rejected := survey.having("rejected"):
        found.append(f"Ask {_people(rejected)} to hand in again: nothing there could be graded.")
    for each in survey.analysis.figures:
        if items.BROKEN in each.flags:
            found.append(f"Look at the grade cell {each.item.cell}: it seems broken.")
    if waiting := survey.having("needs manual grading"):
        found.append(f"Give points by hand to {_people(waiting)}: formgrader, Manual Grading.")
    if survey.misconceptions:
        misconception, shown = next(iter(survey.misconceptions.items()))
        found.append(f"Take up “{misconception}” in class: {_people(shown)} showed it.")
    if survey.suspicious:
        them = _people(survey.suspicious)
        found.append(f"Read what {them} wrote: it fits the visible checks only.")
    for file, owners in survey.same:
        found.append(f"Ask {_people(owners)} about {file}: they handed in one and the same file.")
    if survey.pairs:
        many = "a pair" if len(survey.pairs) == 1 else f"{len(survey.pairs)} pairs"
        found.append(f"Compare {many} of submissions that are nearly the same.")
    return found


def _people(participants: Sequence[Participant]) -> str:
    if len(participants) > 2:
        return f"{len(participants)} students"
    return " and ".join(each.student.name for each in participants)


def _sides(survey: Survey, pair: similar.Pair) -> dict[str, Any]:
    """A pair as the page shows it: whose code, line by line, and whether the line is shared."""
    people = {each.student.id: each.student for each in survey.participants}
    sides = [
        {
            "student": people[student],
            "lines": [
                (number, line, number - 1 in shared)
                for number, line in enumerate(survey.codes[student].split("\n"), 1)
            ],
        }
        for student, shared in zip((pair.one, pair.other), pair.lines, strict=True)
    ]
    return {"pair": pair, "sides": sides}


def sheets(survey: Survey) -> dict[str, str]:
    """Everything the page shows, as CSV: scores, items, misconceptions, pairs."""
    assignment = survey.assignment
    return {
        "scores": as_csv(
            [*_ABOUT, *_SCORES, *[f"{item.notebook}/{item.cell}" for item in assignment.items]],
            [
                [
                    *_about(each.student),
                    each.state,
                    each.timestamp,
                    round(each.late.total_seconds()),
                    each.raw_score,
                    each.penalty,
                    each.score,
                    assignment.points,
                    *[each.scores.get(item.place) for item in assignment.items],
                ]
                for each in survey.participants
            ],
        ),
        "items": as_csv(
            "notebook cell kind points graded mean difficulty discrimination flags".split(),
            [
                [
                    each.item.notebook,
                    each.item.cell,
                    each.item.kind,
                    each.item.points,
                    each.graded,
                    each.mean,
                    each.difficulty,
                    each.discrimination,
                    "; ".join(flag.name for flag in each.flags),
                ]
                for each in survey.analysis.figures
            ],
        ),
        "misconceptions": as_csv(
            ["misconception", *_ABOUT],
            [
                [name, *_about(each.student)]
                for name, shown in survey.misconceptions.items()
                for each in shown
            ],
        ),
        "pairs": as_csv(
            ["student", "other", "similarity", "shared"],
            [[each.one, each.other, each.similarity, each.shared] for each in survey.pairs],
        ),
    }


_ABOUT = ["student_id", "last_name", "first_name", "email", "lms_user_id"]
_SCORES = ["status", "timestamp", "seconds_late", "raw_score", "penalty", "score", "max_score"]


def _about(person: Person) -> list[str]:
    return [person.id, person.last_name, person.first_name, person.email, person.lms_user_id]


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("proctor.survey"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # besides HTML, whatever a name or a code could hide or turn around
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    filters: dict[str, Callable[..., str]] = {
        "number": lambda value, digits=1: "–" if value is None else f"{round(value, digits):g}",
        "points": number,
        "percent": lambda value: "–" if value is None else f"{100 * value:.0f} %",
        "figure": lambda value: "–" if value is None else f"{value:.2f}".replace("-", "−"),
        "time": lambda value: value.strftime("%d %b %Y, %H:%M") if value else "–",
        "duration": duration,
        "remark": lambda result: remark(result) if result else "",
    }
    environment.filters.update(filters)
    return str(environment.get_template(template).render(**values))


def duration(late: Any) -> str:
    """How late something is, as people say it."""
    minutes = math.ceil(late.total_seconds() / 60)
    for unit, length in (("day", 1440), ("hour", 60)):
        if minutes >= 2 * length:
            return f"{minutes // length} {unit}s"
    return f"{minutes} min"


def _now() -> str:
    return datetime.now().strftime("%d %B %Y, %H:%M")


def paths(output: Path) -> dict[str, Path]:
    """Where the tables of the page in `output` stand: beside it."""
    names = "scores", "items", "misconceptions", "pairs"
    return {name: output.with_name(f"{output.stem}-{name}.csv") for name in names}
