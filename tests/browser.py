"""A real browser for tests: opens a page without a network, listens to what it does, asks axe-core
what people could not use of it, and takes pictures.

Chromium is the system's own (Debian: apt-get install chromium). axe-core comes from npm:
`make axe` fetches it into build/, `make test` does so, too. Where either is missing, a test is
skipped and says so.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.classroom import ROOT

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
AXE = ROOT / "build/axe/node_modules/axe-core/axe.min.js"
LOCAL = ("file:", "data:", "about:", "blob:")


class Missing(Exception):
    """What is not installed, and how to get it."""


needs_axe = pytest.mark.skipif(not AXE.exists(), reason="axe-core is not there: make axe")


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """The browser. Raises Missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Missing("playwright is not installed") from None
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        raise Missing("no Chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield opened
        finally:
            opened.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The browser, for tests."""
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(chromium())
        except Missing as error:
            pytest.skip(str(error))
        yield opened


@dataclass
class Tab:
    """A page that is open, and what it has done: what it asked of a network, errors, dialogs."""

    page: Any
    requests: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def axe(self, *impacts: str) -> list[str]:
        """What axe-core has against the page, a line for each rule; of all impacts if none is
        named. A test that asks is marked `needs_axe`.
        """
        # by the debugger, which the page's own policy does not concern
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['impact']} {each['id']}: {each['nodes'][0]['html'][:200]}"
            for each in found["violations"]
            if not impacts or each["impact"] in impacts
        ]


@contextlib.contextmanager
def opened(
    browser: Any,
    address: str | Path,
    allowed: str = "",
    scripts: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[Tab]:
    """A page in a tab of its own, without a network.

    What begins with `allowed`, a server of the test's own, may be asked; `scripts` answer in place
    of addresses that hold their names. Options are playwright's for a context: `color_scheme`,
    `viewport`, `device_scale_factor`.
    """
    context = browser.new_context(**options)
    tab = Tab(context.new_page())

    def asked(route: Any) -> None:
        wanted = route.request.url
        script = next((text for name, text in (scripts or {}).items() if name in wanted), None)
        if script is not None:
            route.fulfill(content_type="text/javascript", body=script)
        elif wanted.startswith(LOCAL) or (allowed and wanted.startswith(allowed)):
            route.continue_()
        else:
            tab.requests.append(wanted)
            route.abort()

    def dialog(box: Any) -> None:
        tab.said.append(f"dialog {box.message}")
        box.dismiss()

    try:
        context.route("**/*", asked)
        tab.page.on("dialog", dialog)
        target = address.as_uri() if isinstance(address, Path) else address
        tab.page.goto(target, wait_until="load")
        yield tab
    finally:
        context.close()


def picture(tab: Tab, path: Path, whole: bool = True) -> None:
    """A PNG of the page, or of its first screen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tab.page.screenshot(path=str(path), full_page=whole)
