"""`proctor submit` and `proctor receipt`: for whoever hands in, and whoever receives it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from proctor.cli.options import complain
from proctor.errors import ProctorError, Rejected
from proctor.verdict import one_line


@click.command()
@click.argument("path", metavar="NOTEBOOK_OR_FOLDER", type=click.Path(exists=True, path_type=Path))
@click.option("--assignment", default="", metavar="NAME", help="Which it is, if nothing tells.")
@click.option("--force", is_flag=True, help="Ask nothing: hand in whatever is warned of.")
@click.option(
    "--exchange",
    "by_exchange",
    is_flag=True,
    help="Hand in by nbgrader's exchange instead of making an archive.",
)
@click.option(
    "--course-id",
    default="",
    metavar="ID",
    help="With --exchange: the course. It is kept in an nbgrader_config.py beside the assignment's "
    "folder, if there is none.",
)
@click.option(
    "--exchange-root",
    default="",
    metavar="DIR",
    help="With --exchange: its folder, if it is not nbgrader's usual one.",
)
def submit(
    path: Path,
    assignment: str,
    force: bool,
    by_exchange: bool,
    course_id: str,
    exchange_root: str,
) -> int:
    """Hand in an assignment: look at it, then pack it, then print a receipt.

    Before anything goes you are told what is still to be written, what is not valid Python, when
    the file was saved, and under which name it goes: a renamed notebook is recognised. Of a folder
    that bears the assignment's name, the files beside the notebook go along.

    Writes ASSIGNMENT.zip beside the assignment's folder, to be uploaded as you were told, and
    ASSIGNMENT.receipt.json; `proctor receipt` tells later whether something is what you handed in.

    Exit status: 0 when it is handed in, 1 when it is not, 2 for a wrong call.
    """
    from proctor.notebook.files import fetch
    from proctor.student import handin as handing
    from proctor.student import submit as submitting
    from proctor.student.receipt import Receipt

    try:
        if path.is_file() and handing.is_archive(fetch(path.resolve())):
            raise Rejected(
                f"{path.name} is an archive already. Name the notebook or its folder; `proctor "
                f"receipt {path.name}` tells what the archive holds."
            )
        handin = handing.read(path, assignment)
        beside = handin.folder.parent if handin.whole else handin.folder
        road = None
        if by_exchange:
            road = submitting.exchange(beside, course_id, exchange_root)
            if not road.configured and not course_id and sys.stdin.isatty():
                course_id = click.prompt("The course's id", err=True)
                road = submitting.exchange(beside, course_id, exchange_root)
        findings = submitting.examine(handin)
        summary = submitting.summary(handin)
        click.echo(f"{handin.assignment}: {', '.join(map(one_line, handin.contents))}")
        click.echo(f"  written: {summary['written']} of {summary['to write']}")
        for finding in findings:
            word = "warning" if finding.warning else "note"
            click.echo(f"  {word}: {one_line(finding.text)}")
        if any(finding.warning for finding in findings) and not force:
            if not sys.stdin.isatty():
                raise ProctorError("Nothing was handed in. Add --force if it is meant to be so.")
            if not click.confirm("Hand it in like this?", err=True):
                raise ProctorError("Nothing was handed in.")
        receipt = Receipt.of(handin, summary)
        if road is None:
            target = submitting.archive(handin)
            sent = f"Packed: {os.path.relpath(target)}. Send it as your instructor told you."
        else:
            student, moment = road.submit(handin)
            if made := road.configure():  # only now: a wrong id shall not be kept
                click.echo(f"{os.path.relpath(made)} names the course to nbgrader from now on.")
            receipt = Receipt(**(receipt.__dict__ | {"time": moment}))
            sent = f"Handed in by nbgrader's exchange, as student '{student}'."
        kept = submitting.keep(receipt, beside)
    except (KeyboardInterrupt, click.Abort):
        unsure = "`nbgrader list --inbound` tells whether it arrived" if by_exchange else ""
        complain(f"interrupted: {unsure or 'nothing was handed in'}.")
        return 130
    click.echo(sent)
    click.echo(f"Receipt: {os.path.relpath(kept)}")
    click.echo(f"  sha256 {receipt.sha256}")
    click.echo(f"  time   {receipt.time}")
    click.echo(f"  cells  {summary['cells']}, {summary['graded']} of them graded")
    click.echo(f"  size   {receipt.size:,} bytes")
    return 0


@click.command()
@click.argument("path", metavar="FILE_OR_FOLDER", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--receipt",
    "given",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The receipt that `proctor submit` wrote. Default: the one beside, if there is one.",
)
@click.option("--assignment", default="", metavar="NAME", help="Which it is, if nothing tells.")
def receipt(path: Path, given: Path | None, assignment: str) -> int:
    """Print the hash of a notebook, a folder or an archive, and compare it with a receipt.

    What counts is each cell's source and the files beside the notebook. Outputs, file names of
    notebooks and the times in an archive do not: a student's folder, the archive and a course's
    submitted/STUDENT/ASSIGNMENT all have the same hash.

    A receipt is not signed. It proves that what lies here is, cell by cell, what its hash says;
    whoever holds the hash from elsewhere (a mail, the LMS's comment) can tell that nothing has
    changed since. It does not prove that anything was sent, nor when: its time is that of the
    student's computer, and anybody can write such a file. That it arrived, your LMS or the
    exchange (`nbgrader list --inbound`) says.

    Exit status: 0 when it is the same, or there is no receipt to compare with, 1 when it differs,
    2 for a wrong call.
    """
    from proctor.student import handin as handing
    from proctor.student import receipt as receipts

    handin = handing.read(path, assignment)
    now = receipts.Receipt.of(handin)
    click.echo(f"{now.assignment}  sha256 {now.sha256}")
    given = given or receipts.beside(path.resolve(), now.assignment)
    if given is None:
        return 0
    before = receipts.Receipt.read(given)
    differences = [*receipts.differences(before, now, handin.whole)]
    when = f"{before.time}, by {os.path.relpath(given)}"
    if not differences:
        left = [] if handin.whole else sorted({*before.notebooks, *before.files} - {*now.notebooks})
        more = f" Not compared: {', '.join(left)}." if left else ""
        click.echo(f"The same as was handed in ({when}).{more}")
        return 0
    click.echo(f"Not the same as was handed in ({when}):")
    for said in differences:
        click.echo(f"  {one_line(said)}")
    for earlier in before.earlier:
        if earlier.get("sha256") == now.sha256:
            click.echo(
                f"It is what was handed in before that, {one_line(str(earlier.get('time')))}"
            )
    return 1
