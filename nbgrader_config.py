"""The course, as nbgrader and proctor read it. Every line is an instructor's to change.

Where an assignment's content stands: its text, solutions and points in source/NAME/, its hidden
tests in tests/hidden/NAME/, how to grade its written question in docs/assignments/NAME.md.
"""

from pathlib import Path

import proctor

c = get_config()  # noqa: F821  (nbgrader defines it while it reads this file)

# The course -----------------------------------------------------------------------------------

# Also the name of the course's folder in the exchange.
c.CourseDirectory.course_id = "tinytorch"

# The folder of this file: nbgrader works in any clone, whatever the current folder is called.
c.CourseDirectory.root = str(Path(__file__).resolve().parent)

# Never copied, from source/NAME/ to students or from students to submitted/. A student's own
# `proctor export` makes tinytorch/ beside their notebook.
c.CourseDirectory.ignore = [
    ".ipynb_checkpoints",
    "__pycache__",
    "*.pyc",
    ".DS_Store",
    "tinytorch",
    "feedback",
]

# Where students fetch and submit; only `release_assignment`, `fetch`, `submit` and `collect` need
# it. It must exist, writable for everyone: mkdir -p DIR && chmod ugo+rwx DIR.
# c.Exchange.root = "/usr/local/share/nbgrader/exchange"
c.Exchange.timezone = "UTC"

# What students receive ------------------------------------------------------------------------

# A solution region is replaced by this, a written answer by that.
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
c.ClearSolutions.text_stub = "*Your answer here.*"

# How to grade a written question stands in a mark scheme region of the question, a read-only cell:
# formgrader shows it, the release does not have it. nbgrader expects it in task cells alone.
c.ClearMarkScheme.enforce_metadata = False

# Grading --------------------------------------------------------------------------------------

# Points stand in the notebooks' grade cells. Nothing is taken off for late submissions: a plugin of
# nbgrader's (AssignLatePenalties) would do it.

# What each assignment's grade cells add up to; generating it fails if they do not.
c.Proctor.points = 100

# The package that the assignments build. While one is graded, the modules of those before it are
# importable as the reference has them, so that one broken assignment doesn't sink the next.
c.Proctor.package = "tinytorch"

# What students' code may import, besides Python's own library.
c.Proctor.packages = ["numpy"]

# Grades in `nbgrader autograde` and checks in `nbgrader generate_assignment` are proctor's:
# no line of a student's code runs in the process that decides the score.
proctor.configure(c)
