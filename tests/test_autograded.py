"""The graded notebook can be shown: whoever makes a page of it is done soon, whatever is in it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from nbconvert.exporters import HTMLExporter

from proctor.notebook.cells import parse
from proctor.notebook.template import Submission
from proctor.record.autograded import MAX_MARKDOWN, NO_ROOM, autograded
from proctor.verdict import NotebookVerdict
from tests.attacks import corpus

PROSE = "A view shares memory with its base, so that what changes in one of them changes in both.\n"


def graded(cells: list[dict[str, Any]], printed: list[dict[str, Any]]) -> dict[str, Any]:
    """The autograded notebook of a student who adds these cells, and prints this in one of them."""
    notebook = corpus.solved()
    notebook["cells"] += cells
    parsed = parse(json.dumps(notebook).encode())
    return autograded(Submission(parsed, []), NotebookVerdict("mini", [], {"double": printed}))


def text(source: str, kind: str = "markdown", name: str = "own") -> dict[str, Any]:
    return {"cell_type": kind, "id": name, "metadata": {}, "source": source}


@pytest.fixture(scope="module")
def exporter() -> Iterator[HTMLExporter]:
    yield HTMLExporter(template_name="lab")


def seconds(exporter: HTMLExporter, notebook: dict[str, Any]) -> float:
    """CPU that it takes to make the page of feedback, as nbgrader has it made."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.setdefault("outputs", [])
            cell.setdefault("execution_count", None)
    node = nbformat.from_dict(notebook)  # type: ignore[no-untyped-call]
    started = time.process_time()
    exporter.from_notebook_node(node)
    return time.process_time() - started


@pytest.fixture(scope="module")
def ordinary(exporter: HTMLExporter) -> float:
    """What a page of as much ordinary text takes, and a moment for what is too short to measure."""
    return max(seconds(exporter, graded([text(PROSE * (200_000 // len(PROSE)))], [])), 0.1)


TEXTS = [
    *("[", "![", "[a](", "[^a]", "<![CDATA[", "\\\\[", "\\\\(", "\\begin{a}", "$", "$$ ", "\\"),
    *(
        "x" + " " * 99,
        " \n",
        "\t",
        "*a",
        "**a",
        "`a",
        "# a\n",
        "- ",
        "> ",
        "|a|\n|-|\n",
        "a\n---\n",
    ),
    *("```matlab\n", "~~~ruby\n", "```python\n'''\n", "&#91;", "\x1b[", "[a][b] ", "[a]: b\n"),
]


@pytest.mark.parametrize("unit", TEXTS)
def test_a_page_of_hostile_text_is_made_soon(
    unit: str, exporter: HTMLExporter, ordinary: float
) -> None:
    hostile = "x" + unit * (200_000 // len(unit))
    assert seconds(exporter, graded([text(hostile)], [])) < 40 * ordinary


def test_a_run_of_blanks_is_cut(exporter: HTMLExporter, ordinary: float) -> None:
    assert seconds(exporter, graded([text("x" + " " * 200_000 + "x")], [])) < 10 * ordinary


@pytest.mark.parametrize("unit", [" \n", "'''\n", "&a", "f'{", "(", "\\\n", "%%a\n", "  "])
def test_a_page_of_hostile_code_is_made_soon(
    unit: str, exporter: HTMLExporter, ordinary: float
) -> None:
    code = graded([text(unit * (200_000 // len(unit)), "code")], [])
    assert seconds(exporter, code) < 40 * ordinary


@pytest.mark.parametrize("unit", ["\x1b[1m", "\x1b[1;31ma", "\x1b", "\x1b[", "\x1b]0;a\x07"])
def test_a_page_of_many_colours_is_made_soon(
    unit: str, exporter: HTMLExporter, ordinary: float
) -> None:
    printed = {"output_type": "stream", "name": "stdout", "text": unit * (200_000 // len(unit))}
    assert seconds(exporter, graded([], [printed])) < 40 * ordinary


def test_one_endless_colour(exporter: HTMLExporter, ordinary: float) -> None:
    printed = {"output_type": "stream", "name": "stdout", "text": "\x1b[" + "1;" * 99_000 + "mx"}
    assert seconds(exporter, graded([], [printed])) < 40 * ordinary


def test_a_notebook_has_room_for_some_text_and_no_more() -> None:
    many = [text(PROSE * 400, name=f"own-{number}") for number in range(40)]
    found = {cell["id"]: cell["source"] for cell in graded(many, [])["cells"]}
    assert found["own-0"] == PROSE * 400
    assert found["own-39"] == NO_ROOM
    assert sum(map(len, found.values())) < MAX_MARKDOWN + 10_000
    shown = [{"output_type": "display_data", "data": {"text/markdown": PROSE * 400}}] * 40
    outputs = next(c for c in graded([], shown)["cells"] if c["id"] == "double")["outputs"]
    assert "text/markdown" in outputs[0]["data"]
    assert list(outputs[39]["data"]) == ["text/plain"]


def test_ordinary_code_keeps_its_colours() -> None:
    kept = graded([text("x = 1\n\n\n\ny = 2", "code")], [])
    assert kept["metadata"]["language_info"] == {"name": "python"}
    plain = graded([text(" \n" * 1000, "code")], [])
    assert plain["metadata"]["language_info"] == {"name": "text"}
