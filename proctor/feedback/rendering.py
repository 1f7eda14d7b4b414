"""Text, code, outputs and formulas as HTML that needs no network and runs nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any
from xml.etree import ElementTree

import nh3
from markupsafe import Markup

MAX_SHOWN = 20_000  # characters of one output; more helps nobody to read it
LONG = 1_500  # characters of an output that is folded
MAX_FORMULA = 2_000  # characters
MAX_FORMULAS = 300  # of one text

_MATHML = "http://www.w3.org/1998/Math/MathML"
# Of what a formula could ask for, only how it looks. latex2mathml also knows \href and \style.
_FORMULA_ATTRIBUTES = frozenset(
    "accent accentunder close columnalign columnlines columnspacing depth display displaystyle "
    "fence form height linethickness lspace mathsize mathvariant maxsize minsize movablelimits "
    "notation open rowlines rowspacing rspace scriptlevel separator separators stretchy symmetric "
    "voffset width".split()
)
# A formula's place while the HTML around it is made harmless: no character of anybody's text.
_PLACE = re.compile("\ue000(\\d+)\ue001")

_TAGS = nh3.ALLOWED_TAGS | {"details", "summary", "input"}
_ATTRIBUTES = {tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items()}
_ATTRIBUTES |= {tag: {"class"} for tag in ("div", "pre", "code", "span")}
_ATTRIBUTES["input"] = {"type", "checked", "disabled"}  # a list of things to do


_PICTURE = re.compile(r'<img((?:\s+[\w-]+="[^"]*+")*+)\s*/?>')
_EMPTY_LINK = re.compile(r'<a(?:\s+[\w-]+="[^"]*+")*+>\s*+</a>')
DRAWN = "What this cell has drawn"


def _attribute(tag: str, name: str, value: str) -> str | None:
    if tag == "img" and name == "src" and not value.startswith("data:image/"):
        return None
    if tag == "a" and name == "href" and value.lower().lstrip().startswith("data:"):
        return None
    if tag == "input" and name == "type" and value != "checkbox":
        return None
    if tag == "img" and name == "alt" and not value:
        return DRAWN
    return value


def harmless(text: str) -> Markup:
    """HTML on an allow list; pictures only where they stand in it themselves."""
    clean = nh3.clean(
        text,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes={"http", "https", "mailto", "data"},
    )
    # what is left of a picture from elsewhere, and of a link that showed nothing else
    return Markup(_EMPTY_LINK.sub("", _PICTURE.sub(_picture, clean)))


def _picture(found: re.Match[str]) -> str:
    attributes = found[1]
    if ' src="' not in attributes:
        return ""
    return f"<img{attributes}>" if ' alt="' in attributes else f'<img{attributes} alt="{DRAWN}">'


def formula(source: str, display: bool) -> Markup:
    """A formula as MathML, which browsers show by themselves; what is none, as it was written."""
    from latex2mathml.converter import convert_to_element

    try:
        if len(source) > MAX_FORMULA:
            raise ValueError("too long")
        tree = convert_to_element(source, display="block" if display else "inline")
        for element in tree.iter():
            for name in [name for name in element.attrib if name not in _FORMULA_ATTRIBUTES]:
                del element.attrib[name]
            # it writes characters by their numbers, and leaves the rest of a text as it is
            element.text = html.unescape(element.text or "")
        tree.set("xmlns", _MATHML)
        made = ElementTree.tostring(tree, encoding="unicode")
    except Exception:  # whatever a student has written
        return Markup("<code>{}</code>").format(source)
    kind = "formula" if display else ""
    return Markup('<span class="{}">{}</span>').format(kind, Markup(made))


@cache
def _renderer() -> type[Any]:
    """nbconvert's renderer of markdown, but for headings and formulas. nbconvert takes a second to
    import, and whoever grades does without it.
    """
    from nbconvert.filters.markdown_mistune import IPythonRenderer

    class Renderer(IPythonRenderer):
        def __init__(self, below: int, attachments: Mapping[str, Any]) -> None:
            super().__init__(
                escape=False, exclude_anchor_links=True, attachments={**attachments}
            )
            self.below, self.formulas = below, list[Markup]()

        def heading(self, text: str, level: int, **_: Any) -> str:
            level = min(self.below + level, 6)
            return f"<h{level}>{text}</h{level}>\n"

        def _formula(self, source: str, display: bool) -> str:
            if len(self.formulas) == MAX_FORMULAS:
                return f"<code>{html.escape(source)}</code>"
            self.formulas.append(formula(source, display))
            return f"\ue000{len(self.formulas) - 1}\ue001"

        def inline_math(self, body: str) -> str:
            return self._formula(body, False)

        def block_math(self, body: str) -> str:
            return self._formula(body, True)

        def latex_environment(self, name: str, body: str) -> str:
            return self._formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", True)

    return Renderer


def markdown(text: str, below: int = 2, attachments: Mapping[str, Any] | None = None) -> Markup:
    """Markdown with formulas. Its first level of headings is one below `below`."""
    from nbconvert.filters.markdown_mistune import MarkdownWithMath

    renderer = _renderer()(below, attachments or {})
    try:
        made = MarkdownWithMath(renderer=renderer).render(re.sub("[\ue000\ue001]", "", text))
    except Exception:  # such as a picture that is named and not there
        return Markup("<pre>{}</pre>").format(text)
    formulas = renderer.formulas
    return Markup(_PLACE.sub(lambda found: formulas[int(found[1])], harmless(made)))


def code(source: str, marked: Collection[int] = (), plain: bool = False) -> Markup:
    """Python with its lines numbered, each in an element of its own; `marked` ones stand out."""
    lines = [html.escape(line) for line in source.split("\n")] if plain else _coloured(source)
    made = []
    for number, line in enumerate(lines, 1):
        if number in marked:
            made.append(f'<mark class="line"><span class="unseen">here: </span>{line}\n</mark>')
        else:
            made.append(f'<span class="line">{line}\n</span>')
    return Markup("".join(made))


def _coloured(source: str) -> list[str]:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    # its own lines: it takes away none of them
    lexer = PythonLexer(stripnl=False, ensurenl=False)
    made: str = highlight(source, lexer, HtmlFormatter(nowrap=True))
    return made.removesuffix("\n").split("\n")


def output(found: Mapping[str, Any]) -> Markup:
    """One output of a cell: what a browser shows best of it."""
    kind = found.get("output_type")
    if kind == "stream":
        return _terminal(str(found.get("text", "")))
    if kind == "error":
        said = "\n".join(found.get("traceback") or [])
        return _terminal(said or f"{found.get('ename')}: {found.get('evalue')}")
    data = found.get("data") or {}
    for mime in ("image/png", "image/jpeg", "image/gif"):
        if mime in data:
            picture = re.sub(r"\s", "", str(data[mime]))
            return Markup('<img alt="{}" src="data:{};base64,{}">').format(DRAWN, mime, picture)
    if data.get("text/html"):
        return _folded(harmless(str(data["text/html"])[: 10 * MAX_SHOWN]))
    if data.get("text/markdown"):
        return _folded(markdown(str(data["text/markdown"])))
    return _terminal(str(data.get("text/plain", "")))


def _terminal(text: str) -> Markup:
    from nbconvert.filters import ansi2html

    if not text.strip():
        return Markup("")
    left = len(text) - MAX_SHOWN
    made = Markup(ansi2html(text[:MAX_SHOWN]))  # type: ignore[no-untyped-call]
    if left > 0:
        made += Markup("\n[{} more characters are not shown.]").format(left)
    return _folded(Markup("<pre>{}</pre>").format(made))


def _folded(made: Markup) -> Markup:
    if len(made) < LONG:
        return made
    return Markup("<details><summary>Long output</summary>{}</details>").format(made)
