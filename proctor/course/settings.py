"""What nbgrader_config.py says of grading: proctor's traits, and nbgrader's where they count."""

from __future__ import annotations

import ast
import contextlib
from typing import Any

from traitlets import Enum, Float, Integer, List, Unicode, validate
from traitlets.config import Configurable

CELL_SECONDS = 30.0  # nbgrader's own limit for a cell, if the course sets none
IN_PROCESS = "in process"  # where test cells run in nbgrader: in the student's process
UNLIMITED = 600.0  # what a notebook may take where nbgrader sets no limit


class Proctor(Configurable):
    """What an instructor may set in nbgrader_config.py, as `c.Proctor.NAME = VALUE`."""

    package = Unicode(
        "", help="The package that the course builds, one module per notebook; '' if none."
    ).tag(config=True)
    suites = Unicode(
        "tests/hidden", help="The folder of the hidden suites, one folder per assignment."
    ).tag(config=True)
    checks = Enum(
        ["", "tester", IN_PROCESS, "worker"],
        "",
        help="Where test cells run: 'tester' beside the student's code, which decides nothing "
        "then; 'in process' in the student's process, as nbgrader has it ('worker' is an older "
        "spelling). '' takes the tester for an assignment with a hidden suite and for a course "
        "with a package, else the student's process.",
    ).tag(config=True)
    packages = List(
        Unicode(),
        ["numpy"],
        help="The packages that students may import, besides the standard library; where test "
        "cells run in process, those that the instructor's notebooks import are added.",
    ).tag(config=True)
    points = Float(
        0.0,
        help="What each assignment is worth in all: generating it fails if its cells add up "
        "to something else; 0 asks for nothing.",
    ).tag(config=True)
    isolation = Unicode(
        "", help="Demand a level of isolation: full, container or none; '' takes the best."
    ).tag(config=True)
    cell_seconds = Float(10.0, help="How long a cell may run.").tag(config=True)
    call_seconds = Float(
        5.0, help="How long one call from a test into the student's code may take."
    ).tag(config=True)
    submission_seconds = Float(60.0, help="How long a notebook may take in all.").tag(config=True)
    memory = Integer(1024, help="Megabytes that a notebook may use.").tag(config=True)

    @validate("checks")
    def _older_spelling(self, proposal: Any) -> str:
        return IN_PROCESS if proposal["value"] == "worker" else str(proposal["value"])


def setting(config: Any, sections: str, name: str, default: Any) -> Any:
    """A setting of nbgrader's, from the first of these sections that has it.

    One given on a command line is text still.
    """
    for section in sections.split():
        if name in config[section]:
            value = config[section][name]
            if isinstance(value, str):
                with contextlib.suppress(ValueError, SyntaxError):
                    return ast.literal_eval(str(value))
            return value
    return default


def clocks(config: Any, cell: float, notebook: float) -> tuple[float, float]:
    """How long a cell may run, and a notebook in all: proctor's limits where the course has set
    them, else nbgrader's, which has none for a notebook.
    """
    limit: float | None = CELL_SECONDS
    limit = setting(config, "Execute ExecutePreprocessor NotebookClient", "timeout", limit)
    limit = cell if "cell_seconds" in config.Proctor else limit
    if "submission_seconds" not in config.Proctor:
        notebook = max(notebook, 10 * limit if limit and limit > 0 else UNLIMITED)
    return (limit if limit and limit > 0 else notebook), notebook


def ignored(config: Any) -> str | None:
    """IgnorePattern's pattern of what test cells may write to stderr, if the course has one."""
    pattern = setting(config, "IgnorePattern", "pattern", "")
    return str(pattern) or None if setting(config, "IgnorePattern", "enabled", False) else None


def delimiters(config: Any) -> tuple[str, str]:
    """What begins and ends a region of hidden tests."""
    return (
        str(setting(config, "ClearHiddenTests", "begin_test_delimeter", "BEGIN HIDDEN TESTS")),
        str(setting(config, "ClearHiddenTests", "end_test_delimeter", "END HIDDEN TESTS")),
    )


def mark_scheme(config: Any) -> tuple[str, str]:
    """What begins and ends a region that says how to grade an answer."""
    return (
        str(setting(config, "ClearMarkScheme", "begin_mark_scheme_delimeter", "BEGIN MARK SCHEME")),
        str(setting(config, "ClearMarkScheme", "end_mark_scheme_delimeter", "END MARK SCHEME")),
    )
