"""Makes what students wrote and printed harmless, in the autograded notebook itself.

Formgrader and feedback pages show student markdown and outputs in the instructor's session, where a
script could change grades; their own sanitising lets scripts in markdown through. So nothing that a
browser could run is left in the notebook: HTML passes an allow list (nh3), SVG becomes an image,
markdown keeps its markup but no HTML, JavaScript and widgets go.
"""

from __future__ import annotations

import html
import re
from typing import Any

import nh3

MAX_TEXT = 200_000  # characters of one output, or of one text cell

MAX_TAGS = 5_000  # in the HTML of one output: a parser's time grows with the square of its depth

MAX_FORMULAS = 100  # of one text cell: for the end of each, nbconvert reads all that follows

_TAG = re.compile(r"<(?=[A-Za-z/!?])")

_SCHEME = re.compile(r"(?:java|vb|live)script:|data:|file:|attachment:")

# All of its backslashes: if one of two stayed, the macro would come out.
_MACRO = re.compile(
    r"\\+(?=(?:href|require|csname|cssId|class|style|unicode|special|html\w*|data)\b)"
)

_MERMAID = re.compile(r"((?:(?<!`)`{3,}|(?<!~)~{3,})[^\S\n]*)mermaid", re.IGNORECASE)

_LONG_NUMBER = re.compile(r"&(?=#[xX]?[0-9a-fA-F]{8})")  # no character's; Python may not read it

# A browser repeats these in each paragraph until they are closed; without attributes, three times
# at most. nh3 leaves them no attribute that could be seen.
_REPEATED = re.compile(
    r"<(b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/])[^>]*>?", re.IGNORECASE
)

_IGNORED = re.compile(r"[\s\\\x00-\x20\u200b-\u200f]+")

_CONTROLS = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f]"
)  # but for ESC, which colours a traceback


def markdown(text: str) -> str:
    """Markdown whose rendering holds no HTML of the student's and no address that runs code."""
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + "\n\n[The rest is too long to be shown.]"
    text = _MACRO.sub("", _LONG_NUMBER.sub("&amp;", text))
    if text.count(r"\begin{") > MAX_FORMULAS:
        text = text.replace(r"\begin{", "begin{")
    plain = html.unescape(_LONG_NUMBER.sub("", html.unescape(text)))
    if _MACRO.search(plain):  # spelled with the numbers of its characters
        text = text.replace("&", "&amp;")
    text = _TAG.sub("&lt;", text)
    text = _MERMAID.sub(r"\1text", text)
    if _SCHEME.search(_IGNORED.sub("", plain).lower()):  # take the links apart, wherever it hides
        text = re.sub(r"\](?=\s*[(\[:])", "]\u200b", text)
    return text


def markup(text: str) -> str:
    """HTML on nh3's allow list: no script, no handler, no style, no address that runs code."""
    text = text[:MAX_TEXT]
    if text.count("<") > MAX_TAGS:
        return f"<pre>{escaped(text)}</pre>"
    # <wbr>: MathJax reads the words beside it as one
    clean = nh3.clean(
        _REPEATED.sub(r"<\1>", text),
        tags=nh3.ALLOWED_TAGS - {"wbr"},
        url_schemes={"http", "https", "mailto"},
    )
    return _MACRO.sub("", clean)


def escaped(text: str) -> str:
    """Text that stands in HTML as it is; the page's mathematics takes no macro from it."""
    return html.escape(_MACRO.sub("", text_of(text)))


def text_of(value: Any) -> str:
    text = (
        "".join(value)
        if isinstance(value, list) and all(isinstance(v, str) for v in value)
        else value
    )
    return (
        _CONTROLS.sub("", text.encode("utf-8", "replace").decode())[:MAX_TEXT]
        if isinstance(text, str)
        else ""
    )
