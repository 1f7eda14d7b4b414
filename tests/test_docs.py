"""The pages say what is true: links lead somewhere, commands exist, the table of settings is in
step with the code.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from proctor.cli import commands
from proctor.course.course import Proctor
from tests.classroom import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
CODE = re.compile(r"^(?: {4}|```).*$|`[^`\n]+`", re.MULTILINE)


def links(text: str) -> list[str]:
    """The relative links and pictures of a page, without their anchors."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]+`", "", text))
    targets = [target.partition("#")[0] for target in found if "://" not in target]
    return [target for target in targets if target]


def calls(program: str, text: str) -> list[list[str]]:
    """The calls of a program that a page's code names, word by word."""
    found = []
    for code in CODE.findall(text):
        line = code.strip("` ").removeprefix("$ ")
        for call in re.split(r"&&|;|\|", line):
            words = [word.strip(",.:") for word in call.split(" #")[0].split()]
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words and words[0].rpartition("/")[2] == program:
                found.append(words[1:])
    return found


def unknown_to_proctor(words: list[str]) -> str | None:
    """What proctor does not know in a call, or None."""
    if not words:
        return None
    if words[0].startswith("-"):
        return None if words[0] in ("--help", "-h", "--version") else words[0]
    command = commands.commands.get(words[0])
    if command is None:
        return words[0]
    if isinstance(command, click.Group) and words[1:]:
        words = words[1:]
        command = command.commands.get(words[0])
        if command is None:
            return words[0]
    known = {"--help", "-h"}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            known |= {*parameter.opts, *parameter.secondary_opts}
    options = re.findall(r"(?<!\S)--?[a-z][a-z-]*", " ".join(words[1:]).replace("[", " "))
    return next((option for option in options if option not in known), None)


def targets(makefile: str) -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))


def settings() -> str:
    """The table of c.Proctor's traits, as docs/operators.md must have it."""
    rows = ["| `c.Proctor.` | default | meaning |", "| --- | --- | --- |"]
    traits = Proctor.class_own_traits(config=True)
    for name, trait in traits.items():
        default = getattr(Proctor(), name)
        meaning = " ".join(trait.help.split()).replace("|", "\\|")
        rows.append(f"| `{name}` | `{default!r}` | {meaning} |".replace("`''`", '`""`'))
    return "\n".join(rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestPage:
    def test_links_lead_somewhere(self, page: Path) -> None:
        missing = [link for link in links(page.read_text()) if not (page.parent / link).exists()]
        assert not missing, f"{page.name} links to {', '.join(missing)}: there is nothing."

    def test_commands_exist(self, page: Path) -> None:
        text = page.read_text()
        for words in calls("proctor", text):
            wrong = unknown_to_proctor(words)
            assert wrong is None, f"{page.name}: `proctor {' '.join(words)}`: no {wrong}."
        known = targets((ROOT / "Makefile").read_text())
        for words in calls("make", text):
            named = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)]
            assert not set(named) - known, f"{page.name}: `make {' '.join(words)}`: no such target."


def test_settings_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "operators.md").read_text()
    assert settings() in text, f"docs/operators.md should have this table:\n\n{settings()}\n"


def test_options_of_grade_are_all_told() -> None:
    text = (ROOT / "docs" / "operators.md").read_text()
    for option in commands.commands["grade"].params:
        if isinstance(option, click.Option):
            assert f"`{option.opts[0]}" in text, f"docs/operators.md leaves out {option.opts[0]}."


class TestFaultsAreFound:
    """The same from the wrong side: what these checks are for."""

    @pytest.mark.parametrize(
        ("text", "link"),
        [
            ("[a page](no/such.md)", "no/such.md"),
            ("![a picture](gone.svg)", "gone.svg"),
            ("[a place](../README.md#there)", "../README.md"),
        ],
    )
    def test_links(self, text: str, link: str) -> None:
        assert links(text) == [link]
        assert links("[out](https://example.org/a) `[no](link)` [here](#below)") == []

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            ("`proctor gradee 01_tensor`", "gradee"),
            ("`proctor grade 01_tensor --fast`", "--fast"),
            ("    proctor check NOTEBOOK --jobs 2", "--jobs"),
            ("    $ .venv/bin/proctor export --chek", "--chek"),
            ("`cd here && proctor docter`", "docter"),
            ("`proctor --verison`", "--verison"),
            ("`proctor scores blackboard FILE`", "blackboard"),
            ("`proctor scores canvas FILE --feedback`", "--feedback"),
        ],
    )
    def test_commands(self, text: str, wrong: str) -> None:
        assert [unknown_to_proctor(words) for words in calls("proctor", text)] == [wrong]

    @pytest.mark.parametrize(
        "text",
        [
            "`proctor grade ASSIGNMENT [STUDENT…] [--course DIR] [--format table|json]`",
            "    proctor grade 01_tensor ada --force --jobs 2",
            "`proctor`, `proctor --version`",
        ],
    )
    def test_what_is_right_passes(self, text: str) -> None:
        assert calls("proctor", text)
        assert [unknown_to_proctor(words) for words in calls("proctor", text)] == [None] * len(
            calls("proctor", text)
        )

    def test_targets(self) -> None:
        assert targets("demo: .ready\n\t@echo no:\nA := b\n.PHONY: all\n") == {"demo"}
        assert calls("make", "`PYTHON=python3.12 make demo` and `make tset`") == [
            ["demo"],
            ["tset"],
        ]

    def test_settings(self) -> None:
        text = (ROOT / "docs" / "operators.md").read_text()
        assert settings().replace("1024", "2048") not in text
