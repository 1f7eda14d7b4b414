"""The page of feedback in nbgrader's hands: what `nbgrader generate_feedback` exports with."""

from __future__ import annotations

from functools import cache
from importlib import resources as files
from typing import Any

import jinja2
from nbconvert.exporters import Exporter
from traitlets import default

from proctor.feedback.page import page


class FeedbackExporter(Exporter):
    """Makes a page of a graded notebook. nbgrader's preprocessors run first, as for its own."""

    @default("file_extension")
    def _file_extension_default(self) -> str:
        return ".html"

    def from_notebook_node(
        self, nb: Any, resources: Any = None, **options: Any
    ) -> tuple[Any, Any]:
        nb, resources = super().from_notebook_node(nb, resources, **options)
        return render(nb, resources["nbgrader"]), resources


def render(notebook: Any, about: Any) -> str:
    """The page of a graded notebook, with all that it needs in it."""
    return _template().render(page=page(notebook, about))


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("proctor.feedback", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style = files.files("proctor.feedback").joinpath("page.css").read_text(encoding="utf-8")
    environment.globals["style"] = style
    return environment.get_template("page.html.j2")
