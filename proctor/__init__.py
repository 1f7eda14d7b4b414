"""proctor grades notebooks: no line of a student's code runs in the process that decides the score.

The wings, in the order in which a submission passes them:

    course      where things stand, and what nbgrader_config.py says of grading
    notebook    a submitted notebook, checked and restored: its cells, in order
    grade       one submission to one result: two processes a notebook, and the clocks
    worker      the untrusted side: runs the student's cells and answers requests, jailed
    tester      the trusted side: runs checks and hidden suite, and decides
    record      the graded notebook, the kept result, the gradebook
    feedback    the page that a student reads
    report      a table, JSON, JUnit or Markdown, and what services take
    lms         learning management systems: submissions from them, scores and graders to them
    survey      a class as a whole: the instructor's page

Below them lie `processes` (a fork server, and the frames that cross the boundary) and `jail`. At
the top stand the doors: `cli` is the command `proctor`, `run` the same as a function,
`preprocessors` the same grading behind `nbgrader autograde`. `author` has what comes before a
class: `export` writes the course's package from its notebooks, `new` begins a course and an
assignment, `solutions` tries it on right and wrong ones, `release` checks it, `generate` does so
behind `nbgrader generate_assignment`, `prerequisites` hands out what it stands on. `student` has
what a student does on a machine of their own: `check` is a look at a notebook with the code that
will grade it, `submit` and `receipt` hand in and tell later what was handed in. `testing` is what
hidden suites are written with, `verdict` what was decided.

A wing imports those below it, and none above: tests/test_house.py has the list.
"""

from __future__ import annotations

import sys
from typing import Any

__version__ = "0.1.0"


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext proctor`: the magic `%proctor check`. A notebook that has it is graded all the
    same: there, it does nothing.
    """
    if type(shell).__module__ == "proctor.worker.shell":
        shell.register_magic_function(lambda line: None, magic_name="proctor")
        return
    path = [*sys.path]
    if sys.platform == "emscripten":  # in a page each look into the notebook's folder is a request
        sys.path[:] = [place for place in path if place.startswith("/lib")]
    from proctor.student import magic

    sys.path[:] = path
    magic.load(shell)


def configure(config: Any) -> None:
    """Let nbgrader's `autograde`, `generate_assignment`, `generate_feedback`, `validate` and
    `export` work with proctor.

    Call it in nbgrader_config.py: `proctor.configure(c)`. It sets these traits, and no more.
    """
    config.Autograde.sanitize_preprocessors = [
        "proctor.preprocessors.Restore",
        "nbgrader.preprocessors.OverwriteCells",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    config.Autograde.autograde_preprocessors = [
        "proctor.preprocessors.Grade",
        "nbconvert.preprocessors.ClearMetadataPreprocessor",
        "nbgrader.preprocessors.LimitOutput",
        "nbgrader.preprocessors.SaveAutoGrades",
        "nbgrader.preprocessors.AssignLatePenalties",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    config.GenerateFeedback.preprocessors = [
        "proctor.preprocessors.HideTests",
        "nbgrader.preprocessors.GetGrades",
        "proctor.preprocessors.Standing",
    ]
    # A cell that hidden tests decide raises, so that it earns nothing without them. Whoever
    # validates a notebook is told of the visible checks alone, as by `proctor check`.
    config.Validator.Execute.skip_cells_with_tag = "hidden-tests"
    config.GenerateFeedback.exporter_class = "proctor.feedback.exporter.FeedbackExporter"
    config.GenerateAssignment.exporter_class = "proctor.author.generate.ReleaseExporter"
    config.ExportApp.plugin_class = "proctor.record.grades.GradesWithStatus"
