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

MAX_TEXT = 200_000  # characters of one output
MAX_MARKDOWN = 50_000  # characters of one text cell: what shows it reads some of it again and again
MAX_TAGS = 5_000  # in the HTML of one output: a parser's time grows with the square of its depth

MAX_FORMULAS = (
    100  # of each kind in one text: for the end of each, nbconvert reads all that follows
)

# In one text: for the end of what each `[` begins, mistune reads all that follows, and nbconvert
# all that follows on its line.
MAX_LINKS, MAX_ON_A_LINE = 500, 1_000_000

MAX_COLOURS = 1_000  # in one text: nbconvert copies what follows each

MAX_CODE, MAX_ALL_CODE = 10_000, 100_000  # characters of a cell, of a notebook, that get colours

_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_SCHEME = re.compile(r"(?:java|vb|live)script:|data:|file:|attachment:")

# All of its backslashes: if one of two stayed, the macro would come out. Possessive, and from the
# first one on: a run of them is looked at once.
_MACRO = re.compile(
    r"(?<!\\)\\++(?=(?:href|require|csname|cssId|class|style|unicode|special|html[A-Za-z]*|data"
    r"|mmlToken|bbox|url|includegraphics)(?![A-Za-z]))"
)

# What a block of code says that it is. A student could name any of Pygments' lexers, of which some
# never come back, or Mermaid, which runs.
_LANGUAGE = re.compile(
    r"((?<!`)`{3,}+[^\S\n]*+)[^\s`]++(?![^`\n]*+`)|((?<!~)~{3,}+[^\S\n]*+)[^\s]++"
)

_HARMLESS = re.compile(r"(?:i?python3?|py|pycon|text|console|bash|json)")

# What opens a formula; some of these read on to the end of the text for what closes it.
_OPENINGS = (r"\begin{", r"\\[", r"\\(")

# mistune and Pygments try each place of a run of blanks as its beginning.
_BLANKS = re.compile(r"(?<!\s)(\s{200})\s++")
_LONG_NUMBER = re.compile(r"&(?=#[xX]?[0-9a-fA-F]{8})")  # no character's; Python may not read it

# A browser repeats these in each paragraph until they are closed; without attributes, three times
# at most. nh3 leaves them no attribute that could be seen.
_REPEATED = re.compile(
    r"<(b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/])[^>]*>?", re.IGNORECASE
)

_BARE = re.compile(r"&(?!#?\w{1,31};)")  # what html5ever puts back, and all that follows with it
_IGNORED = re.compile(r"[\s\\\x00-\x20\u200b-\u200f]+")

_CONTROLS = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f]"
)  # but for ESC, which colours a traceback

_COLOUR = re.compile(r"\x1b\[[0-9;]{0,30}m")
_NO_COLOUR = re.compile(r"\x1b(?!\[[0-9;]{0,30}m)")

# No address of a picture, which a browser fetches by itself: it tells its server who looks, and
# `/hub/logout` on our own does what it says.
_ATTRIBUTES = {tag: names - {"src"} for tag, names in nh3.ALLOWED_ATTRIBUTES.items()}


def markdown(text: str) -> str:
    """Markdown whose rendering holds no HTML of the student's, no picture from elsewhere and no
    address that runs code, and takes no longer than its length is worth.
    """
    if len(text) > MAX_MARKDOWN:
        text = text[:MAX_MARKDOWN] + "\n\n[The rest is too long to be shown.]"
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = short_blanks(text)
    text = _MACRO.sub("", _LONG_NUMBER.sub("&amp;", text))
    for opening in _OPENINGS:
        if text.count(opening) > MAX_FORMULAS:
            text = text.replace(opening, f"{opening[1:-1]}\u200b{opening[-1]}")
    plain = html.unescape(_LONG_NUMBER.sub("", html.unescape(text)))
    if _MACRO.search(plain):  # spelled with the numbers of its characters
        text = text.replace("&", "&amp;")
    text = _TAG.sub("&lt;", text)
    text = _LANGUAGE.sub(_language, text)
    text = text.replace("![", "!\u200b[")
    lines = text.split("\n") if text.count("[") <= MAX_LINKS else []
    if not lines or any(line.count("[") * len(line) > MAX_ON_A_LINE for line in lines):
        text = text.replace("[", "\uff3b")  # it looks like one
    if _SCHEME.search(_IGNORED.sub("", plain).lower()):  # take the links apart, wherever it hides
        text = re.sub(r"\](?=\s*[(\[:])", "]\u200b", text)
    return text


def short_blanks(text: str) -> str:
    """The text with its runs of blanks and blank lines cut to a length that no lexer minds."""
    return _BLANKS.sub(r"\1", text)


def _language(fence: re.Match[str]) -> str:
    """The fence as it is, or with the name of a language that is shown as it stands."""
    marks = fence[1] or fence[2]
    known = len(fence.string) <= MAX_CODE and _HARMLESS.fullmatch(fence[0][len(marks) :])
    return fence[0] if known else f"{marks}text"


def markup(text: str) -> str:
    """HTML on nh3's allow list: no script, no handler, no style, no address that runs code."""
    text = text[:MAX_TEXT]
    if text.count("<") > MAX_TAGS:
        return f"<pre>{escaped(text)}</pre>"
    # <wbr>: MathJax reads the words beside it as one
    clean = nh3.clean(
        _BARE.sub("&amp;", _REPEATED.sub(r"<\1>", text)),
        tags=nh3.ALLOWED_TAGS - {"wbr"},
        attributes=_ATTRIBUTES,
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


def terminal(text: str) -> str:
    """What a cell has printed: of the sequences that a terminal obeys, colours stay, some of them.

    The rest could hide what stands there, and to show many takes nbconvert minutes.
    """
    text = _NO_COLOUR.sub("", text_of(text))
    return text if text.count("\x1b") <= MAX_COLOURS else _COLOUR.sub("", text)


def is_heavy(sources: list[str]) -> bool:
    """Whether it may take minutes to show these cells of code in colours."""
    return (
        max(map(len, sources), default=0) > MAX_CODE
        or sum(map(len, sources)) > MAX_ALL_CODE
        or any(map(_BLANKS.search, sources))
    )
