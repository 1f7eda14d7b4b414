"""The pages of a report in a browser: everybody can read them, and nothing in them is alive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from proctor import cli
from proctor.course.course import Course
from tests import handmade, made_class
from tests.browser import needs_axe, opened
from tests.handmade import NAME
from tests.test_survey import hostile


def written(root: Path, assignment: str) -> None:
    """The pages of an assignment and of its course."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", assignment, "--course", str(root)])
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def class_(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("class") / "course"
    return made_class.make_class(root, students=60).course.root


def shown(browser: Any, pages: Sequence[Path], **options: Any) -> list[str]:
    found = []
    for path in pages:
        with opened(browser, path, **options) as tab:
            tab.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            found += [f"{path.name}: {each}" for each in tab.axe()]
            wide = tab.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            found += [f"{path.name} is {wide} pixels too wide"] if wide > 0 else []
    return found


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_the_pages(class_: Path, browser: Any, scheme: str) -> None:
    written(class_, made_class.NAME)
    pages = [*(class_ / "report").glob("*.html")]
    assert len(pages) == 2
    for width in (1100, 390):
        viewport = {"width": width, "height": 900}
        assert shown(browser, pages, color_scheme=scheme, viewport=viewport) == []


def test_nothing_runs_in_a_browser(tmp_path: Path, browser: Any) -> None:
    root = handmade.a_student_in_each_state(tmp_path / "course")
    hostile(Course.load(root).assignment(NAME))
    written(root, NAME)
    with opened(browser, root / "report" / f"{NAME}.html") as tab:
        tab.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert tab.page.locator("mark").count() > 10
        assert tab.page.locator("script, img, iframe, link").count() == 0
        assert tab.said == [] and tab.requests == []
