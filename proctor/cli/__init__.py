"""The command `proctor`. A module here has the commands of one kind of user."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Any

import click

from proctor import __version__
from proctor.cli import (
    author,
    bundle,
    grading,
    handin,
    instructor,
    lms,
    prerequisites,
    student,
)
from proctor.cli.options import complain
from proctor.errors import CourseError, ProctorError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="proctor")
def commands() -> None:
    """Grade notebooks so that no student's code decides a score."""


for _command in (
    grading.grade,
    instructor.report,
    student.check,
    author.init,
    author.new,
    author.try_out,
    author.export,
    handin.submit,
    handin.receipt,
    prerequisites.prerequisites,
    prerequisites.unpack,
    bundle.bundle,
    lms.collect,
    lms.scores,
    grading.doctor,
):
    commands.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run a command; what went wrong is said in a sentence. Exit status 2 for a wrong call."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that its encoding lacks ends no run
            stream.reconfigure(errors="backslashreplace")
    try:
        status = commands(args=arguments, standalone_mode=False)
    except click.exceptions.Exit as leave:
        status = leave.exit_code
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except CourseError as error:
        complain(str(error))
        status = 2
    except ProctorError as error:
        complain(str(error))
        status = 1
    except (KeyboardInterrupt, click.Abort):
        click.echo("proctor: interrupted; what was graded before is recorded.", err=True)
        status = 130
    sys.exit(status)
