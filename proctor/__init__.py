"""proctor grades notebooks: no line of a student's code runs in the process that decides the score.

The stages, in the order in which a submission passes them:

    course      where things stand, and what nbgrader_config.py says   (packages)
    ingest      a submitted notebook, checked and restored: its cells, in order
    worker      jailed: runs the student's cells and answers requests  (jail, shell, codec)
    tester      trusted: runs checks and hidden suite, and decides     (suite, proxy, testing)
    supervisor  starts both, watches the clocks, collects the verdict  (forks)
    sanitise    what students wrote and printed, made harmless
    record      the autograded notebook, the result, the gradebook     (store, gradebook, late)
    report      a table, JSON, JUnit or Markdown

`cli` is the command `proctor`, and `preprocessors` the same grading behind `nbgrader autograde`.
`release` checks an assignment before students get it, `check` is their own look at a notebook,
`export` writes the course's package from its notebooks, and `plain` grades courses that have no
hidden suites, by nbgrader's rules.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def configure(config: Any) -> None:
    """Let nbgrader's `autograde`, `generate_assignment` and `generate_feedback` work with proctor.

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
        "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
    ]
    config.GenerateAssignment.preprocessors = [
        "proctor.preprocessors.CheckSuite",
        "nbgrader.preprocessors.IncludeHeaderFooter",
        "nbgrader.preprocessors.InstantiateTests",
        "nbgrader.preprocessors.LockCells",
        "nbgrader.preprocessors.ClearSolutions",
        "nbgrader.preprocessors.ClearOutput",
        "nbgrader.preprocessors.CheckCellMetadata",
        "nbgrader.preprocessors.ComputeChecksums",
        "nbgrader.preprocessors.SaveCells",
        "nbgrader.preprocessors.ClearHiddenTests",
        "nbgrader.preprocessors.ClearMarkScheme",
        "nbgrader.preprocessors.ComputeChecksums",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
