"""Submissions of every kind: restored where an instructor's cell was touched, or rejected."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proctor.errors import Rejected
from proctor.notebook.cells import (
    MAX_BYTES,
    is_locked,
    nbgrader,
    parse,
    python_metadata,
    unique_ids,
)
from proctor.notebook.template import Submission, Template, read
from tests import classroom

PATH = classroom.ROOT / "source" / "02_activations" / "02_activations.ipynb"


@pytest.fixture(scope="module")
def template() -> Template:
    return read(PATH, "tinytorch")


@pytest.fixture
def blank() -> dict[str, Any]:
    return copy.deepcopy(classroom.blank("02_activations")["02_activations"])


def taken(notebook: Any, template: Template) -> Submission:
    return template.submission(json.dumps(notebook).encode())


def cell(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c for c in notebook["cells"] if nbgrader(c).get("grade_id") == name)


def test_an_untouched_notebook_has_no_notes(blank: Any, template: Template) -> None:
    submission = taken(blank, template)
    assert submission.notes == []
    assert [c["id"] for c in submission.notebook["cells"]] == [c["id"] for c in template.cells]


def test_an_edited_grade_cell_is_restored(blank: Any, template: Template) -> None:
    cell(blank, "check_relu")["source"] = "pass"
    submission = taken(blank, template)
    assert "assert" in cell(submission.notebook, "check_relu")["source"]
    assert submission.notes == ["cell 'check_relu' was edited: restored"]


def test_points_types_and_flags_are_the_instructors(blank: Any, template: Template) -> None:
    nbgrader(cell(blank, "check_relu"))["points"] = 100
    nbgrader(cell(blank, "Relu"))["solution"] = True
    cell(blank, "check_tanh")["cell_type"] = "markdown"
    cell(blank, "relu")["metadata"]["tags"] = ["skip-execution"]
    submission = taken(blank, template)
    for name in ("check_relu", "Relu", "check_tanh", "relu"):
        original = template.owned[name]
        restored = cell(submission.notebook, name)
        assert restored["metadata"] == original["metadata"]
        assert restored["cell_type"] == original["cell_type"]


def test_a_missing_cell_comes_back_in_its_place(blank: Any, template: Template) -> None:
    gone = {"check_relu", "sigmoid", "Relu"}
    blank["cells"] = [c for c in blank["cells"] if nbgrader(c).get("grade_id") not in gone]
    submission = taken(blank, template)
    order = [nbgrader(c)["grade_id"] for c in submission.notebook["cells"] if nbgrader(c)]
    assert order == list(template.owned)
    assert len(submission.notes) == 3
    restored = cell(submission.notebook, "sigmoid")["source"]
    assert restored == "", "neither solved, nor a stub that undoes what was moved elsewhere"


def test_a_doubled_cell_counts_once(blank: Any, template: Template) -> None:
    twin = copy.deepcopy(cell(blank, "check_relu"))
    twin["source"] = "pass"
    blank["cells"].append(twin)
    submission = taken(blank, template)
    names = [nbgrader(c).get("grade_id") for c in submission.notebook["cells"]]
    assert names.count("check_relu") == 1
    assert submission.notes == ["cell 'check_relu' stood there twice: the first one counts"]


def test_stripped_metadata_is_found_by_the_cells_id(blank: Any, template: Template) -> None:
    for each in blank["cells"]:
        each["metadata"] = {}
    submission = taken(blank, template)
    names = [nbgrader(c).get("grade_id") for c in submission.notebook["cells"] if nbgrader(c)]
    assert names == list(template.owned)


def test_the_kernel_is_the_instructors(blank: Any, template: Template) -> None:
    blank["metadata"] = {
        "kernelspec": {"name": "evil", "display_name": "<script>", "language": "x"}
    }
    assert taken(blank, template).notebook["metadata"] == template.metadata


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\xfe\x00", "JSON"),
        (b"[]", "nbformat"),
        (b"3", "nbformat"),
        (b'{"nbformat": 4}', "cells"),
        (b'{"nbformat": 4, "cells": {}}', "cells"),
        (b'{"nbformat": 4, "cells": [3]}', "cell 1"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": 3}]}', "cell 1"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "x", "source": ""}]}', "cell 1"),
        (b'{"nbformat": 4, "cells": []}', "another assignment"),
        (b'{"nbformat": "four", "cells": []}', "format"),
        (b'{"nbformat": 99, "cells": []}', "format"),
        (b"[" * 200_000, "nested"),
        (b" " * (MAX_BYTES + 1), "10 MB"),
    ],
)
def test_what_cannot_be_graded_says_why(data: bytes, why: str, template: Template) -> None:
    with pytest.raises(Rejected, match=why):
        template.submission(data)


def test_an_old_format_is_read_as_nbformat_reads_it() -> None:
    code = {"cell_type": "code", "language": "python", "outputs": [], "collapsed": False}
    cells = [
        {"cell_type": "heading", "level": 2, "source": "A\ntitle", "metadata": {}},
        {"cell_type": "markdown", "source": ["two\n", "lines"], "metadata": {"x": 1}},
        {"cell_type": "html", "source": "<b>", "metadata": {}},
        code | {"input": ["x = 1\n", "x"], "metadata": {"tags": ["a"]}, "prompt_number": 3},
    ]
    sheets = [{"cells": cells[:2], "metadata": {}}, {"cells": cells[2:], "metadata": {}}]
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": "x"}, "worksheets": sheets}
    known = nbformat.convert(nbformat.reads(json.dumps(old), as_version=3), 4)  # type: ignore[no-untyped-call]
    wanted = [(cell["cell_type"], cell["source"]) for cell in known.cells]
    found = parse(json.dumps(old).encode())
    assert [(cell["cell_type"], cell["source"]) for cell in found["cells"]] == wanted
    assert [cell["metadata"] for cell in found["cells"]] == [{}, {"x": 1}, {}, {"tags": ["a"]}]


def test_the_oldest_format_is_read() -> None:
    cells = [{"cell_type": "text", "text": "a"}, {"cell_type": "code", "code": "x = 1"}]
    found = parse(json.dumps({"nbformat": 1, "cells": cells}).encode())
    assert [(c["cell_type"], c["source"]) for c in found["cells"]] == [
        ("markdown", "a"),
        ("code", "x = 1"),
    ]


@pytest.mark.parametrize("sheets", [None, 3, [3], [{}], [{"cells": 3}], [{"cells": []}]])
def test_an_old_format_without_cells_has_none(sheets: object) -> None:
    found = parse(json.dumps({"nbformat": 3, "worksheets": sheets}).encode())
    assert found["cells"] == []


def test_another_assignments_notebook_is_rejected(template: Template) -> None:
    other = classroom.blank("04_losses")["04_losses"]
    for each in other["cells"]:
        if nbgrader(each).get("grade_id") in template.owned:
            nbgrader(each)["grade_id"] += "_other"
            each["id"] += "-other"
    with pytest.raises(Rejected, match="another assignment"):
        taken(other, template)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_malformed_notebooks_are_rejected_or_restored(data: st.DataObject) -> None:
    """`make fuzz` tries 10,000 of them."""
    template = read(PATH, "tinytorch")
    notebook = classroom.blank("02_activations")["02_activations"]
    for _ in range(data.draw(st.integers(1, 4))):
        place: Any = notebook
        while isinstance(place, dict | list) and place:
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            key = data.draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or data.draw(st.integers(0, 3)) == 0:
                place[key] = data.draw(JSON)
                break
            place = place[key]
    try:
        submission = taken(notebook, template)
    except Rejected:
        return
    found = [nbgrader(c)["grade_id"] for c in submission.notebook["cells"] if nbgrader(c)]
    assert sorted(found) == sorted(template.owned)
    for name, original in template.owned.items():
        if is_locked(nbgrader(original)):
            assert cell(submission.notebook, name)["source"] == original["source"]


@pytest.mark.parametrize(
    "ids", [["cell-3-2", "x", "x"], ["cell-1", "cell-2", "cell-1"], ["x"] * 5, ["cell-6", *"aaaaa"]]
)
def test_each_cell_gets_an_id_of_its_own(ids: list[str]) -> None:
    cells = [{"id": name} for name in ids]
    unique_ids(cells)
    assert len({cell["id"] for cell in cells}) == len(ids)
    assert cells[0]["id"] == ids[0]


def test_stubs_are_what_nbgrader_makes(template: Template) -> None:
    from nbformat import from_dict
    from nbgrader.preprocessors import ClearSolutions

    clear = ClearSolutions()
    for name, original in template.owned.items():
        if nbgrader(original).get("solution"):
            node = from_dict(copy.deepcopy(original))
            clear.preprocess_cell(node, {"language": "python"}, 0)
            assert template.stubs[name] == node.source


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("julia-1.9", "julia-1.9"),
        ("c++17", "c++17"),
        ("![x](//y/z)", "x y z"),
        ("<b>www.x.org @all", "b www x org all"),
        ("`_*|\x1b[31m\u202e", "31m"),
    ],
)
def test_a_kernel_is_named_without_markup(name: str, shown: str) -> None:
    with pytest.raises(Rejected, match=re.escape(f"kernel is '{shown}': only")):
        python_metadata({}, {"kernelspec": {"name": name, "language": "x"}})
