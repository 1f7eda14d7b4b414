"""The forms in which an LMS hands submissions over: told apart by the names in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from proctor.lms import archives, git
from proctor.lms.archives import File, Refused, Tree
from proctor.lms.roster import NOBODY, Clue, Match, Roster

MAX_VERSIONS = 100  # of one file in one download
MAX_METADATA = 8 << 20  # bytes of Gradescope's metadata

Order = tuple[float, ...]


@dataclass(frozen=True)
class Handed:
    """What one student handed in at one time."""

    clue: Clue
    files: list[File]  # their paths as the student had them
    order: Order  # the greater the newer, among those of one form
    when: datetime | None = None
    dated: bool = True  # whether `when` is the time of handing in, and not of the download
    late: bool = False
    lasting: bool = True  # whether `order` stays what it is when a download is copied
    match: Match | None = None  # where the form has its own way to find the student


@dataclass
class Download:
    """What an LMS gave: its form, and what each student handed in."""

    path: Path
    form: str
    handed: list[Handed] = field(default_factory=list)
    refused: archives.Refusals = field(default_factory=archives.Refusals)
    count: int = 0  # files in it


@dataclass(frozen=True)
class Knowledge:
    """What the course knows that a name may hold."""

    roster: Roster
    assignments: tuple[str, ...]
    notebooks: frozenset[str]  # their names, folded
    zone: tzinfo


def read(path: Path, known: Knowledge) -> Download:
    """Recognise a download and read what it has. Raises Refused where it is none."""
    if path.is_dir() and (repositories := git.repositories(path)):
        return _repositories(path, repositories, known)
    tree = archives.opened(path, known.zone)
    tree.files = _unwrapped(tree.files)
    kind = "zip" if tree.is_zip else "unpacked" if path.is_dir() else "file"
    if found := _form(tree.files):
        form, taken = found
        download = Download(path, f"{form} ({kind})", refused=tree.refused)
        download.count = len(tree.files)
        download.handed = [*taken(tree, known)]
        return download
    raise Refused(
        "It is none of Canvas's, Moodle's, Blackboard's or Gradescope's downloads, no folder of "
        "git repositories, and has no notebook."
    )


def _form(files: Sequence[File]) -> tuple[str, Take] | None:
    """The form that most files have: one name that a student chose makes no other one of it."""
    if any(map(_gradescope_name, files)):
        return "a Gradescope export", _gradescope
    counts = [(sum(map(recognised, files)), form, taken) for form, recognised, taken in FORMS]
    most, form, taken = max(counts, key=lambda each: each[0])
    if most and (taken is not _canvas or 2 * most > len(files)):
        return form, taken
    return ("notebooks", _notebooks) if any(_is_notebook(file.name) for file in files) else None


def _unwrapped(files: list[File]) -> list[File]:
    """The files without the one folder that all lie in, if it isn't a student's."""
    tops = {file.path.partition("/")[0] for file in files}
    if len(tops) != 1 or any("/" not in file.path for file in files):
        return files
    if any(_MOODLE.match(top) or _EXPORT.match(top) for top in tops):
        return files
    inside = [_moved(file, file.path.partition("/")[2]) for file in files]
    known = (_canvas_name, _blackboard_name, _moodle_name, _gradescope_name)
    return inside if any(form(file) for form in known for file in inside) else files


def _moved(file: File, path: str) -> File:
    return File(path, file.size, file.when, file.read)


# Canvas -----------------------------------------------------------------------------------------

_CANVAS_ANONYMOUS = re.compile(r"(LATE_)?(anon_[^_]+)_(\d+)_(.+)", re.DOTALL)
_CANVAS = re.compile(r"(.+?)_(LATE_)?(\d+)_(\d+)_(.+)", re.DOTALL)
_AGAIN = re.compile(r"(.+)-(\d{1,9})(\.[^.]*)?", re.DOTALL)


def _canvas_name(file: File) -> bool:
    return bool(_CANVAS_ANONYMOUS.fullmatch(file.path) or _CANVAS.fullmatch(file.path)) and (
        "/" not in file.path
    )


@dataclass(frozen=True)
class _Canvas:
    """A file of Canvas's: its name as handed in, which upload of it, and which attachment."""

    file: File
    late: bool
    name: str
    full: str  # with the `-1`, which may have been the student's own
    again: int
    attachment: int


def _canvas(tree: Tree, known: Knowledge) -> Iterator[Handed]:
    """`lastfirst_LATE_USER_ATTACHMENT_name-1.ipynb`: a resubmission adds `-1` to the name."""
    students: dict[tuple[str, str], list[_Canvas]] = {}
    for file in tree.files:
        if "/" in file.path:
            tree.refused.add(file.path, "Canvas puts no folders into its download")
        elif found := _CANVAS_ANONYMOUS.fullmatch(file.path):
            late, who, attachment, name = found.groups()
            made = _canvas_file(file, late, attachment, name, known)
            students.setdefault((who, ""), []).append(made)
        elif found := _CANVAS.fullmatch(file.path):
            who, late, user, attachment, name = found.groups()
            made = _canvas_file(file, late, attachment, name, known)
            students.setdefault((who, user), []).append(made)
        else:
            tree.refused.add(file.path, "its name is none that Canvas gives")
    clues = [Clue(f"{who} ({user})" if user else who, user, names=(who,)) for who, user in students]
    matches = known.roster.find_all(clues)
    for clue, match, files in zip(clues, matches, students.values(), strict=True):
        if not clue.lms_user_id:
            match = Match(None, "Canvas hides who it is: the assignment is graded anonymously")
        uploads: dict[str, list[_Canvas]] = {}  # of each name, the newest last
        for each in sorted(files, key=lambda each: (each.again, each.attachment)):
            uploads.setdefault(each.name.casefold(), []).append(each)
        for same in uploads.values():
            for each in same[:-MAX_VERSIONS]:
                tree.refused.add(each.file.path, f"beyond {MAX_VERSIONS} versions of one student's")
            del same[:-MAX_VERSIONS]
        for number in range(max(map(len, uploads.values()))):
            chosen = [same[min(number, len(same) - 1)] for same in uploads.values()]
            deciding = [each for each in chosen if _is_notebook(each.name)] or chosen
            yield Handed(
                clue,
                [
                    _moved(each.file, name)
                    for each in chosen
                    for name in ({each.name} if _is_notebook(each.name) else {each.name, each.full})
                ],
                max((each.again, each.attachment) for each in deciding),
                max((each.file.when for each in deciding if each.file.when), default=None),
                dated=False,
                late=any(each.late for each in deciding),
                match=match,
            )


def _canvas_file(
    file: File, late: str | None, attachment: str, name: str, known: Knowledge
) -> _Canvas:
    again, full = _AGAIN.fullmatch(name), name
    stem = name.rpartition(".")[0].casefold()
    if again and stem not in known.notebooks:  # `lab-2` may be its own name
        name, number = again[1] + (again[3] or ""), int(again[2])
    else:
        number = 0
    return _Canvas(file, bool(late), name, full, number, int(attachment))


def _is_notebook(name: str) -> bool:
    return name.lower().endswith(".ipynb")


# Moodle -----------------------------------------------------------------------------------------

# Moodle's own part is the first that looks like it: what follows is a student's.
_MOODLE = re.compile(r"(.+?)_(\d+)_assignsubmission_([a-z]+)(?:_(.*))?", re.DOTALL)


def _moodle_name(file: File) -> bool:
    return bool(_MOODLE.fullmatch(file.path.partition("/")[0]))


def _moodle(tree: Tree, known: Knowledge) -> Iterator[Handed]:
    """`Full name_ID_assignsubmission_file_/path`, or flat with the file's name after the last `_`;
    the number is the participant's in this one assignment.
    """
    students: dict[tuple[str, str], list[File]] = {}
    for file in tree.files:
        top, _, below = file.path.partition("/")
        found = _MOODLE.fullmatch(top)
        if not found:
            tree.refused.add(file.path, "its name is none that Moodle gives")
            continue
        name, number, kind, flat = found.groups()
        if kind != "file":
            tree.refused.add(file.path, f"Moodle's '{kind}' is no file that was handed in")
            continue
        path = f"{flat}/{below}" if flat and below else flat or below
        students.setdefault((name, number), []).append(_moved(file, path))
    clues = [_without_group(name, number, known.roster) for name, number in students]
    matches = known.roster.find_all(clues)
    alike = len(students) > 1 and len({name for name, _ in students}) == 1  # as Participant_7
    if alike and matches[0].why == NOBODY:
        matches = [Match(None, "Moodle hides who it is: reveal the identities first")] * len(clues)
    for clue, match, files in zip(clues, matches, students.values(), strict=True):
        moment = _newest(files)
        yield Handed(clue, files, _order(moment), moment, lasting=tree.is_zip, match=match)


def _without_group(name: str, number: str, roster: Roster) -> Clue:
    """A name, or what of it somebody has: a group's may stand before it."""
    shown, rest = f"{name} ({number})", name
    while "-" in rest and roster.find(Clue(shown, names=(rest,))).why == NOBODY:
        rest = rest.partition("-")[2]
    return Clue(shown, names=(rest,))


def _newest(files: Iterable[File]) -> datetime | None:
    """When the newest notebook was written, or the newest file where there is no notebook."""
    every = [*files]
    notebooks = [file for file in every if _is_notebook(file.name)] or every
    return max((file.when for file in notebooks if file.when), default=None)


def _order(moment: datetime | None) -> Order:
    return (moment.timestamp(),) if moment else (0.0,)


# Blackboard -------------------------------------------------------------------------------------

_BLACKBOARD = re.compile(
    r"(.+?)_attempt_(\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d)(?:_(.+)|\.txt)", re.DOTALL
)


def _blackboard_name(file: File) -> bool:
    return "/" not in file.path and bool(_BLACKBOARD.fullmatch(file.path))


def _blackboard(tree: Tree, known: Knowledge) -> Iterator[Handed]:
    """`COLUMN_USERNAME_attempt_TIME_name`, and a receipt `.txt` without a name; both of the first
    two may hold `_`.
    """
    attempts: dict[tuple[str, str], list[File]] = {}
    for file in tree.files:
        found = _BLACKBOARD.fullmatch(file.path)
        if found and "/" not in file.path:
            head, moment, name = found.groups()
            attempt = attempts.setdefault((head, moment), [])
            if name:
                attempt.append(_moved(file, name))
        else:
            tree.refused.add(file.path, "its name is none that Blackboard gives")
    for (head, moment), files in attempts.items():
        try:
            when = datetime.strptime(moment, "%Y-%m-%d-%H-%M-%S").replace(tzinfo=known.zone)
        except ValueError:
            when = None
        match = known.roster.ending(head)
        yield Handed(Clue(head, logins=(head,)), files, _order(when), when, match=match)


# Gradescope -------------------------------------------------------------------------------------

_METADATA = "submission_metadata.yml"
_EXPORT = re.compile(r"assignment_\d+_export$")


def _gradescope_name(file: File) -> bool:
    """Whether this is Gradescope's metadata: one deeper down is a student's."""
    top, _, name = file.path.rpartition("/")
    return name == _METADATA and (not top or bool(_EXPORT.match(top)))


def _gradescope(tree: Tree, known: Knowledge) -> Iterator[Handed]:
    """`assignment_N_export/submission_metadata.yml` says whose `submission_ID/` is."""
    for metadata in filter(_gradescope_name, tree.files):
        top = metadata.path[: -len(_METADATA)]
        try:
            rows = _metadata(metadata)
        except Refused as error:
            tree.refused.add(metadata.path, str(error))
            continue
        folders: dict[str, list[File]] = {}
        for file in tree.files:
            if file.path.startswith(top) and file is not metadata:
                name, _, path = file.path[len(top) :].partition("/")
                if path:
                    folders.setdefault(name, []).append(_moved(file, path))
                else:
                    tree.refused.add(file.path, "it belongs to no submission")
        for name in folders.keys() - rows.keys():
            tree.refused.add(top + name, f"{_METADATA} does not say whose it is")
        for name, row in rows.items():
            if not isinstance(row, dict) or name not in folders:
                tree.refused.add(str(name), f"{_METADATA} has it, but there is no such folder")
                continue
            yield from _submitters(name, row, folders[name])


def _submitters(name: str, row: Mapping[Any, Any], files: list[File]) -> Iterator[Handed]:
    """One submission, for each of those who handed it in together."""
    when = _moment(row.get(":created_at"))
    submitters = row.get(":submitters")
    for each in submitters if isinstance(submitters, list) else []:
        known = each if isinstance(each, dict) else {}
        full, sid, email = (str(known.get(key) or "") for key in (":name", ":sid", ":email"))
        clue = Clue(f"{full or sid or email} ({name})", logins=(sid, email), names=(full,))
        yield Handed(clue, files, _order(when), when)


def _metadata(file: File) -> dict[Any, Any]:
    import yaml

    if file.size > MAX_METADATA:
        raise Refused(f"larger than {MAX_METADATA >> 20} MB")
    data, depth = file.read(), 0
    try:
        for event in yaml.parse(data, yaml.CBaseLoader):  # what is deep ends the loader, and us
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > archives.MAX_DEPTH:
                raise Refused(f"more than {archives.MAX_DEPTH} lists deep")
        # all values as text: a SID keeps its zeros, and a tag of Ruby's makes no object
        found = yaml.load(data, yaml.CBaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refused(f"it is no YAML that can be read ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise Refused("it is no list of submissions")
    return found


_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? ?(?:UTC|([Z+-][\d:]*))?")


def _moment(value: object) -> datetime | None:
    """A time as Ruby writes it: with as many digits of a second as it likes, and UTC if no zone."""
    found = _TIME.fullmatch(str(value).strip())
    try:
        return datetime.fromisoformat("{}T{}{}".format(*found.groups("Z"))) if found else None
    except ValueError:
        return None


# Repositories -----------------------------------------------------------------------------------


def _repositories(path: Path, found: list[Path], known: Knowledge) -> Download:
    """Each repository's last commit; its folder is called by a student's login, or by
    `ASSIGNMENT-login`.
    """
    download = Download(path, f"git repositories ({len(found)})")
    for other in set(path.iterdir()) - {*found} if found != [path] else ():
        if other.name not in archives.LITTER:
            download.refused.add(other.name, "no git repository, as the others are")
    for place in found:
        name = place.name.removesuffix(".git")
        try:
            commit = git.read(place)
        except Refused as error:
            download.refused.add(name, str(error))
            continue
        for refused, why in commit.refused:
            download.refused.add(f"{name}/{refused}", why)
        download.count += len(commit.files)
        clue = Clue(name, logins=tuple(_shortened(name, known.assignments)), names=(name,))
        download.handed.append(Handed(clue, commit.files, _order(commit.when), commit.when))
    return download


def _shortened(name: str, assignments: Iterable[str]) -> Iterator[str]:
    """A name as it is, and without the assignment's before or after it."""
    yield name
    for each in sorted(assignments, key=len, reverse=True):
        folded, short = name.casefold(), each.casefold()
        if folded.startswith(short) and len(name) > len(each):
            yield name[len(each) :].lstrip("-_ ")
        elif folded.endswith(short) and len(name) > len(each):
            yield name[: -len(each)].rstrip("-_ ")


# Notebooks --------------------------------------------------------------------------------------


def _notebooks(tree: Tree, known: Knowledge) -> Iterator[Handed]:
    """Bare notebooks: a student's name stands in that of the file, or of a folder it lies in."""
    names = (*known.assignments, *known.notebooks)
    outside = tree.path.resolve()
    outside = outside if outside.is_dir() else outside.parent
    students: dict[str, tuple[Handed, list[File]]] = {}
    for file in tree.files:
        *folders, name = file.path.split("/")
        stem = name.rpartition(".")[0] or name
        places = [(outside.name, ""), (stem, "")]
        places += [(each, "/".join(folders[:n])) for n, each in enumerate(folders, 1)]
        clues = []
        # the outermost folder first: what is called like somebody in it, its student made
        for text, below in (*places[2:], *reversed(places[:2])):
            found = tuple(dict.fromkeys(_shortened(text, names)))
            clues.append((Clue(text, logins=found, names=found), below))
        matched = ((clue, below, known.roster.find(clue)) for clue, below in clues)
        fitting = [each for each in matched if each[2].student]
        if fitting:
            clue, below, match = fitting[0]
            path = file.path[len(below) + 1 :] if below else file.path
            key = match.student or ""
        else:
            clue, path, key, match = clues[0][0], file.path, f"\0{file.path}", None
        if not fitting and not _is_notebook(name):
            tree.refused.add(file.path, "nothing says whose it is")
            continue
        handed, files = students.setdefault(key, (Handed(clue, [], (), match=match), []))
        files.append(_moved(file, path))
    for handed, files in students.values():
        moment = _newest(files)
        yield Handed(
            handed.clue, files, _order(moment), moment, lasting=tree.is_zip, match=handed.match
        )


Recognise = Callable[[File], bool]
Take = Callable[[Tree, Knowledge], Iterable[Handed]]

# Those whose files' names say whose they are. Of two that fit as many files the first is taken.
FORMS: tuple[tuple[str, Recognise, Take], ...] = (
    ("a Moodle download", _moodle_name, _moodle),
    ("a Blackboard download", _blackboard_name, _blackboard),
    ("a Canvas download", _canvas_name, _canvas),
)
