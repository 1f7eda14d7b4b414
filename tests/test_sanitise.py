"""Nothing that a browser could run is left of what students wrote and printed."""

from __future__ import annotations

import base64
import re
import time
from html.parser import HTMLParser

import pytest
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from proctor.notebook import outputs, sanitise

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
            if name.startswith("on") or (name in ("href", "src") and runs) or value == "mermaid":
                self.found.append(f"{name}={value}")

    def handle_data(self, data: str) -> None:
        self.found += re.findall(r"\\(?:href|require)\b", data)  # what MathJax would act on


@pytest.mark.parametrize("text", SCRIPTS)
def test_markdown_renders_without_anything_that_runs(text: str) -> None:
    rendered = markdown2html_mistune(sanitise.markdown(text))
    assert Danger(rendered).found == []


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
