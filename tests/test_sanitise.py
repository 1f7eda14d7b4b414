"""Nothing that a browser could run is left of what students wrote and printed."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from proctor.errors import Rejected
from proctor.notebook import outputs, sanitise
from proctor.notebook.cells import parse, python_metadata, visible
from proctor.notebook.template import Stubs
from proctor.verdict import first_word, printable

SCRIPTS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "text <b onclick='alert(1)'>bold</b>",
    "```mermaid\n<script>alert(1)</script>\n```",
    "```mermaid\ngraph TD; A[<img src=x onerror=alert(1)>]\n```",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](java\tscript:alert(1))",
    "[a](&#106;avascript:alert(1))",
    "[a](javascript&colon;alert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "[a](vbscript:msgbox(1))",
    "[a]\n\n[a]: javascript:alert(1)",
    "![a](javascript:alert(1))",
    "<javascript:alert(1)>",
    "$\\href{javascript:alert(1)}{x}$",
    "$$\\require{html}\\href{x}{y}$$",
    "$\\\\href{javascript:alert(1)}{x}$",
    "&#36;&#92;href{javascript:alert(1)}{x}&#36;",
    "&dollar;\\&#104;ref{javascript:alert(1)}{x}&dollar;",
    "- ```mermaid\n  graph TD; A[<img src=x onerror=alert(1)>]\n  ```",
    "<!-- --><script>alert(1)</script>",
    "`` ` `` <script>alert(1)</script>",
    "![x](attachment:missing.png)",
    "![x](/hub/logout)",
    "[![x](../logout)](y) ![](http://x/y) ![a][b]\n\n[b]: /hub/logout",
    "\\![x](y) !![x](//x/y)",
    "$\\mmlToken{mi}[href=javascript:alert(1)]{x}$",
    "$\\\\mmlToken{mi}[href=/hub/logout]{x}$ $\\bbox[red]{x}$",
    "&#36;&#92;bbox[red]{x}&#36;",
    "$\\require2 \\href_x{y}$",
]


class Danger(HTMLParser):
    """Collects what a browser would run in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "svg", "style", "base", "meta", "form"):
            self.found.append(tag)
        for name, value in attributes:
            scheme = re.sub(r"[\s\x00-\x20]", "", value or "").lower().partition(":")[0]
            runs = scheme in ("javascript", "data", "vbscript", "attachment", "file")
            if tag == "img" and name == "src":
                self.found.append(f"picture {value}")
            if name.startswith("on") or (name in ("href", "src") and runs) or value == "mermaid":
                self.found.append(f"{name}={value}")

    def handle_data(self, data: str) -> None:
        self.found += re.findall(
            r"\\(?:href|require|mmlToken|bbox)", data
        )  # what MathJax would act on


@pytest.mark.parametrize("text", SCRIPTS)
def test_markdown_renders_without_anything_that_runs(text: str) -> None:
    rendered = markdown2html_mistune(sanitise.markdown(text))
    assert Danger(rendered).found == []


@pytest.mark.parametrize(
    "html",
    [
        "<img src=/hub/logout>",
        "<p><img alt=x src='http://x/y' srcset='http://x/z 2x'>",
        "<table background=/hub/logout><td background=x>x",
        "<img src='data:image/svg+xml,<svg onload=x>'>",
        "<video poster=/hub/logout><picture><source srcset=x></picture>",
        "$\\mmlToken{mi}[href=x]{y}$ $\\bb<wbr>ox[red]{x}$",
    ],
)
def test_no_picture_has_an_address(html: str) -> None:
    clean = sanitise.markup(html)
    assert Danger(clean).found == []
    assert not re.search("logout|//x|data:", clean)


def test_the_same_texts_are_live_unsanitised() -> None:
    """From the wrong side: most of them; the rest are tricks on a weaker sanitiser."""
    live = []
    for text in SCRIPTS:
        try:
            live.append(bool(Danger(markdown2html_mistune(text)).found))
        except Exception:
            live.append(True)  # a page that cannot be made is harm, too
    assert sum(live) >= 15


@pytest.mark.parametrize(
    "text",
    [
        "A *view* shares memory: `a[0] = 1` changes **both**.",
        "If a < b and b > c, then $a < c$.",
        "- one\n- two\n\n| a | b |\n| - | - |\n| 1 | 2 |",
        "See [NumPy](https://numpy.org/doc/).",
        "```python\nx = [1, 2]\n```",
    ],
)
def test_ordinary_answers_stay_as_they_are(text: str) -> None:
    assert sanitise.markdown(text) == text


def test_outputs_are_cleaned_and_valid() -> None:
    svg = "<svg onload='alert(1)'><script>alert(2)</script></svg>"
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n....").decode()
    found = outputs.outputs(
        [
            {"output_type": "stream", "name": "stdout", "text": "hello"},
            {"output_type": "stream", "name": "<script>", "text": ["a", "b"]},
            {
                "output_type": "display_data",
                "data": {
                    "text/html": "<p onclick=x()>hi<script>1</script></p>",
                    "application/javascript": "alert(1)",
                    "application/vnd.jupyter.widget-view+json": {"model_id": "x"},
                    "text/plain": "p",
                },
                "metadata": {"x": "<script>"},
            },
            {"output_type": "display_data", "data": {"image/svg+xml": svg}},
            {
                "output_type": "execute_result",
                "data": {"image/png": png, "text/latex": "$\\href{x}$"},
            },
            {"output_type": "display_data", "data": {"image/png": "PHNjcmlwdD4="}},
            {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["a", 3]},
            {"output_type": "execute_result", "data": 3},
            {"output_type": "update_display_data"},
            "nonsense",
            None,
        ]
    )
    assert found[0] == {"output_type": "stream", "name": "stdout", "text": "hello"}
    assert found[1] == {"output_type": "stream", "name": "stdout", "text": "ab"}
    assert found[2]["data"] == {"text/html": "<p>hi</p>", "text/plain": "p"}
    assert found[2]["metadata"] == {}
    picture = found[3]["data"]["text/html"]
    assert picture.startswith('<img alt="" style="max-width: 100%" src="data:image/svg+xml;base64,')
    assert "<svg" not in picture
    assert found[4]["data"] == {"image/png": png, "text/plain": " "}
    assert set(found[5]["data"]) == {"text/plain"}
    assert found[6]["traceback"] == ["a", ""]
    assert len(found) == 8
    for nonsense in (None, 3, "x", {}):
        assert outputs.outputs(nonsense) == []


def test_attachments_are_pictures_or_gone() -> None:
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n....").decode()
    found = {
        "a.png": {"image/png": png},
        "b.svg": {"image/svg+xml": "<svg/>"},
        '"><script>.png': {"image/png": png},
        "c.png": "x",
    }
    assert outputs.attachments(found) == {"a.png": {"image/png": png}}
    assert outputs.attachments(None) == {}


UNITS = [
    *("\\", "\\\\ ", "\\href ", "\\html", "`", "``` ", "```mermaid", "``` mermai", "~~~", "~~~ x"),
    *("&", "&#", "&#9", "&#00", "&amp;", "&a", "<", "<b", "<b ", "<b>", "</b>", "<p>", "<!--"),
    *("<td>", "<a href=x>", "<a x", " x", "=", '"', "]", "] ", "](", "[", "![", "[a]: x\n", "("),
    *(" ", "\t", "\n", "\r", " \n", "\n ", "> ", "- ", "| a ", "*a", "_", "#", "$", "$$ "),
    *("\\begin{", "\\begin{a}", "\\\\[", "\\\\(", "java ", "javascript:", "data:", "%"),
    *("\x1b", "\x1b[", "\x1b[1;", "\x1b[31m", "\x00", "\u200b", "\ud800", "\u202e", "a", "1"),
    *("# BEGIN SOLUTION\n", "### END SOLUTION\n", "BEGIN HIDDEN TESTS\n", "'''\n", "julia.1 "),
]
HEADS = ["", "<a ", "["]


def everything(text: str) -> list[dict[str, Any]]:
    """A cell's outputs, of each kind."""
    bundle = {"image/png": text, "text/plain": text, "text/html": text, "text/markdown": text}
    return [
        {"output_type": "stream", "name": "stderr", "text": text},
        {"output_type": "error", "ename": text, "evalue": text, "traceback": [text]},
        {"output_type": "execute_result", "data": bundle},
        {"output_type": "display_data", "data": {"image/svg+xml": text}},
        {"output_type": "display_data", "data": {"text/markdown": text}},
    ]


def a_notebook(text: str) -> dict[str, Any]:
    cells = [{"cell_type": "markdown", "source": text, "metadata": {"tags": [text]}, "id": text}]
    return {"nbformat": 4, "metadata": {"kernelspec": {"name": text}}, "cells": cells}


def an_old_notebook(text: str) -> dict[str, Any]:
    """With as much in it as the text is long."""
    tags = [{"a": number} for number in range(len(text) // 10)]
    heading = {"cell_type": "heading", "source": text, "metadata": {"tags": tags}}
    sheet = {"cells": [heading, {"cell_type": "code", "input": text, "outputs": tags}]}
    return {"nbformat": 3, "metadata": {"name": text}, "worksheets": [sheet]}


def kernel(text: str) -> None:
    with pytest.raises(Rejected):
        python_metadata({}, {"kernelspec": {"name": text, "language": "x"}})


# Whatever reads a student's text in a process that is not the student's alone.
READERS: dict[str, Callable[[str], Any]] = {
    "markdown": sanitise.markdown,
    "markup": lambda text: sanitise.markup(sanitise.text_of(text)),
    "escaped": sanitise.escaped,
    "terminal": sanitise.terminal,
    "heavy": lambda text: sanitise.is_heavy([text]),
    "outputs": lambda text: outputs.beside(outputs.outputs(everything(text))),
    "attachments": lambda text: outputs.attachments({"a": {"image/png": text}, text: {}}),
    "visible": lambda text: visible(text, "BEGIN HIDDEN TESTS", "END HIDDEN TESTS"),
    "release": lambda text: Stubs().release(text, "code"),
    "printable": printable,
    "word": lambda text: first_word(everything(text), True),
    "parse": lambda text: parse(json.dumps(a_notebook(text)).encode()),
    "old": lambda text: parse(json.dumps(an_old_notebook(text)).encode()),
    "kernel": kernel,
}
LENGTHS = [25_000, 50_000, 100_000, 200_000]  # as far as one text may be long


def seconds(reader: Callable[[str], Any], text: str) -> float:
    started = time.process_time()
    reader(text)
    return time.process_time() - started


def growth(reader: Callable[[str], Any], make: Callable[[int], str]) -> float:
    """By how much dearer a longer text is than its length says: 1 if linear, 8 if quadratic.

    What is too short to be measured is taken for five milliseconds. It stops where it is clear, so
    that a quadratic one does not take minutes.
    """
    first = max(seconds(reader, make(LENGTHS[0])), 0.005)
    for length in LENGTHS[1:]:
        more = seconds(reader, make(length)) / first / (length / LENGTHS[0])
        if more > 3:
            break
    return more


def grows(reader: Callable[[str], Any], make: Callable[[int], str]) -> bool:
    """Whether it is more than linear, as often as one looks: a busy machine is so once."""
    return all(growth(reader, make) > 3 for _ in range(5))


@pytest.mark.parametrize("name", READERS)
def test_reading_a_text_takes_as_long_as_the_text_is(name: str) -> None:
    heads = HEADS if name in ("markdown", "markup") else [""]
    found = [
        head + unit
        for head in heads
        for unit in UNITS
        if grows(READERS[name], lambda n, h=head, u=unit: (h + u * (n // len(u)))[:n])  # type: ignore[misc]
    ]
    assert found == []


MARKUP: dict[str, Callable[[int], str]] = {
    "attributes": lambda n: "<a " + " ".join(f"x{number}=1" for number in range(n // 8)) + ">",
    "formatting": lambda n: "".join(f"<b title={number}>" for number in range(n // 12)) + "<p>x",
    "tables": lambda n: "<table>" + "<tr><td>" * (n // 16) + "x</table>",
}


@pytest.mark.parametrize("name", MARKUP)
def test_reading_markup_takes_as_long_as_it_is(name: str) -> None:
    assert not grows(sanitise.markup, MARKUP[name])


def test_what_takes_longer_is_seen() -> None:
    """From the wrong side: the pattern that once stalled a class."""
    pattern = re.compile(r"\\+(?=href\b)")
    assert grows(lambda text: pattern.sub("", text), lambda n: "\\" * (n // 10))


HEAVY = [
    "\n" * 1_000_000,
    "> " * 500_000,
    "`" * 1_000_000,
    "<div>" * 200_000,
    "<p>" + "".join(f"<b title={n}>" for n in range(2000)) + "</p>" + "<p>x" * 2500,
    "&#" + "9" * 6000 + ";",
    "&amp;#" + "9" * 6000 + ";",
    r"\begin{a}" * 20_000,
]


@pytest.mark.parametrize("text", HEAVY, ids=lambda text: text[:10].strip() or "blank")
def test_what_is_made_to_take_long_is_clean_at_once(text: str) -> None:
    started = time.process_time()
    size = len(sanitise.markup(text)) + len(sanitise.markdown(text))
    assert time.process_time() - started < 2  # a second pattern of the kind took an hour
    assert size < 3_000_000
    assert len(markdown2html_mistune(sanitise.markdown(text))) < 3_000_000  # and it does not raise


def test_no_page_holds_more_outputs_than_it_can_show() -> None:
    found = outputs.outputs([{"output_type": "display_data"}] * 5000)
    assert len(found) == outputs.MAX_OUTPUTS + 1
    assert "4000 more" in found[-1]["text"]


@pytest.mark.parametrize("count", [True, -1, 1 << 40, "1", 2.0])
def test_a_count_that_is_none_is_left_out(count: object) -> None:
    [output] = outputs.outputs([{"output_type": "execute_result", "execution_count": count}])
    assert output["execution_count"] is None
