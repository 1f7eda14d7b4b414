"""What services read: against schemas written from their rules, and against hostile text."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from proctor.errors import CourseError
from proctor.report import formats, services
from proctor.verdict import Result
from tests.classroom import ROOT
from tests.test_report import FORBIDDEN, broken, grade, hostile  # noqa: F401  (a fixture)
from tests.test_verdict import made, result

RESULTS = json.loads((ROOT / "docs/results.schema.json").read_text())
CLASSROOM50 = json.loads((ROOT / "tests/schemas/classroom50-result.schema.json").read_text())
RUNNER = {
    "CLASSROOM": "fall",
    "ASSIGNMENT": "01_tensor",
    "OWNER": "ada",
    "SUBMISSION_TAG": "submit/2026-11-24T10-00-00Z",
    "COMMIT_URL": "https://git.example/ada/commit/1",
    "RELEASE_URL": "https://git.example/ada/releases/1",
    "SUBMISSION_TIME": "2026-11-24T11:00:00+01:00",
}

EVERY = [
    result(made("a"), made("b", "failed", message="why", misconception="sign")),
    result(made("a"), made("b", "manual"), notes=["a note"], stack={"tensor": "student"}),
    Result("bob", "rejected", "container", error="The file is not a notebook."),
    Result("eve", "rejected", "none", error="Unreadable.", earlier=True, tests=[made("a")]),
    Result("dan", "error", "full", error="The grading itself broke."),
    hostile(),
]


class TestJson:
    @pytest.mark.parametrize("one", EVERY, ids=lambda one: f"{one.status}-{one.student[:3]}")
    def test_every_status_is_as_the_schema_says(self, one: Result) -> None:
        jsonschema.validate(json.loads(formats.as_json("01_a", [one])), RESULTS)

    @pytest.mark.parametrize(
        ("change", "wrong"),
        [
            ("status", "done"),
            ("score", "7"),
            ("error", "there is one, and yet it is graded"),
            ("isolation", "some"),
            ("stack", {"tensor": "nobody"}),
            ("tests", [{"name": "a"}]),
        ],
    )
    def test_the_schema_refuses_what_is_not(self, change: str, wrong: object) -> None:
        told = json.loads(formats.as_json("01_a", EVERY[:1]))
        told["submissions"][0][change] = wrong
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(told, RESULTS)

    def test_the_schema_leaves_no_key_out(self) -> None:
        """A key that is printed is described, so that its meaning cannot change unseen."""
        [told] = json.loads(formats.as_json("01_a", EVERY[:1]))["submissions"]
        definitions = RESULTS["$defs"]
        assert {*told} == {*definitions["submission"]["properties"]}
        assert {*told["tests"][0]} == {*definitions["test"]["properties"]}
        assert RESULTS["properties"]["schema"]["const"] == formats.SCHEMA


class TestConstants:
    """What stands in two formats, pinned: whoever reads one of them cannot see it change."""

    def test_states_are_the_same_everywhere(self) -> None:
        statuses = RESULTS["$defs"]["submission"]["properties"]["status"]["enum"]
        assert {one.status for one in EVERY} == {*statuses} == {"graded", "rejected", "error"}
        tests = {test.status for one in EVERY for test in one.tests}
        assert tests == {*RESULTS["$defs"]["test"]["properties"]["status"]["enum"]}

    def test_versions(self) -> None:
        assert formats.SCHEMA == "proctor/results/v1"
        assert json.loads(services.as_classroom50(EVERY[0], RUNNER))["schema"] == (
            "classroom50/result/v1"
        )
        assert json.loads(base64.b64decode(services.as_reporter(EVERY[0])))["version"] == 1

    def test_formats(self) -> None:
        names = "json junit markdown annotations gradescope classroom50 reporter"
        assert [*formats.FORMATS] == names.split()


class TestClassroom50:
    @pytest.mark.parametrize("one", EVERY, ids=lambda one: f"{one.status}-{one.student[:3]}")
    def test_every_status_is_taken(self, one: Result) -> None:
        jsonschema.validate(json.loads(services.as_classroom50(one, RUNNER)), CLASSROOM50)

    def test_whole_points(self) -> None:
        some = result(made("a", points=1.5), made("b", points=0.25), total=3)
        told = json.loads(services.as_classroom50(some, RUNNER))
        assert (told["score"], told["max-score"]) == (2, 3)
        assert [(row["score"], row["max-score"]) for row in told["tests"]] == [(2, 2), (0, 0)]

    def test_the_time_is_the_commit_s_in_utc(self) -> None:
        told = json.loads(services.as_classroom50(EVERY[0], RUNNER))
        assert told["datetime"] == "2026-11-24T10:00:00Z"
        assert told == json.loads(services.as_classroom50(EVERY[0], RUNNER))

    @pytest.mark.parametrize(
        ("variable", "value", "said"),
        [
            ("OWNER", "", "needs OWNER"),
            ("SUBMISSION_TAG", "v1", "begin with 'submit/'"),
            ("SUBMISSION_TIME", "", "git log -1 --format=%cI"),
            ("SUBMISSION_TIME", "2026-11-24T11:00:00", "with its zone"),
            ("SUBMISSION_TIME", "yesterday", "with its zone"),
        ],
    )
    def test_what_is_missing_is_said(self, variable: str, value: str, said: str) -> None:
        with pytest.raises(CourseError, match=re.escape(said)):
            services.as_classroom50(EVERY[0], {**RUNNER, variable: value})


GRADESCOPE = json.loads((ROOT / "tests/schemas/gradescope-results.schema.json").read_text())


class TestGradescope:
    @pytest.mark.parametrize("one", EVERY, ids=lambda one: f"{one.status}-{one.student[:3]}")
    def test_every_status_is_taken(self, one: Result) -> None:
        told = json.loads(services.as_gradescope(one))
        jsonschema.validate(told, GRADESCOPE)
        assert told["score"] == pytest.approx(sum(test["score"] for test in told["tests"]))
        assert one.isolation in told["output"]

    def test_nothing_hides_the_score(self) -> None:
        told = json.loads(services.as_gradescope(EVERY[0]))
        assert {told["visibility"], *(test["visibility"] for test in told["tests"])} == {"visible"}

    def test_what_waits_for_a_person_is_said(self) -> None:
        told = json.loads(services.as_gradescope(EVERY[1]))
        assert "1 points are given by a person" in told["output"] and len(told["tests"]) == 1


class TestReporter:
    @pytest.mark.parametrize(
        ("one", "status"), [*zip(EVERY, "fail pass error error error fail".split(), strict=True)]
    )
    def test_the_total_is_the_sum_of_the_tests(self, one: Result, status: str) -> None:
        told = json.loads(base64.b64decode(services.as_reporter(one)))
        assert told["status"] == status
        assert sum(test["score"] for test in told["tests"]) == one.score
        assert {test["status"] for test in told["tests"]} <= {"pass", "fail"}


LINE = re.compile(r"::(error|warning) title=([^:,\r\n]*)::([^\r\n]*)")


class TestAnnotations:
    def test_untrusted_text_is_no_command(self) -> None:
        text = services.as_annotations("01_a", EVERY)
        assert text.count("\n") == len(text.splitlines())
        for line in text.splitlines():
            [_, title, data] = LINE.fullmatch(line).groups()
            for told in (title, data):
                assert not FORBIDDEN.search(told)
                assert "%" not in re.sub("%(25|0D|0A|3A|2C)", "", told)

    def test_an_escaped_text_is_the_text(self) -> None:
        told = "100 % of\n::error::x, y"
        one = result(made("a: b, c", "failed", message=told))
        [_, title, data] = LINE.fullmatch(services.as_annotations("01_a", [one]).strip()).groups()
        assert title == "01_a%2C ada%3A a%3A b%2C c"
        assert data.startswith("100 %25 of%0A:") and "%0A::error" not in data

    def test_only_as_many_as_are_shown(self) -> None:
        one = result(*[made(f"t{number}", "failed") for number in range(25)])
        lines = services.as_annotations("01_a", [one]).splitlines()
        assert len(lines) == services.MAX_ANNOTATIONS
        assert lines[-1].endswith("::and 16 more")

    def test_kinds(self) -> None:
        lines = services.as_annotations("01_a", [broken("error"), broken("rejected")]).splitlines()
        assert [line.split(" ")[0] for line in lines] == ["::error", "::warning"]
        assert services.as_annotations("01_a", [result(made("a"))]) == ""


class TestOutput:
    def test_several_at_a_time(
        self,
        grade: Callable[..., int],  # noqa: F811
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for name, value in RUNNER.items():
            monkeypatch.setenv(name, value)
        some = [result(made("a")), result(made("a"), student="bob")]
        words: list[Any] = ["--output", f"json={tmp_path / 'all.json'}"]
        words += ["--output", f"classroom50={tmp_path}/{{student}}/result.json"]
        assert grade(some, *words) == 0
        assert len(json.loads((tmp_path / "all.json").read_text())["submissions"]) == 2
        for student in ("ada", "bob"):
            told = json.loads((tmp_path / student / "result.json").read_text())
            jsonschema.validate(told, CLASSROOM50)

    @pytest.mark.parametrize("form", ["gradescope", "classroom50", "reporter"])
    def test_one_submission_only(
        self,
        form: str,
        grade: Callable[..., int],  # noqa: F811
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        some = [result(made("a")), result(made("a"), student="bob")]
        assert grade(some, "--output", f"{form}={tmp_path / 'x'}") == 2
        assert "holds one submission, not 2" in capsys.readouterr().err

    @pytest.mark.parametrize("word", ["junit", "=x", "junit=", "xml=a"])
    def test_a_wrong_call(
        self,
        word: str,
        grade: Callable[..., int],  # noqa: F811
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert grade([result(made("a"))], "--output", word) == 2
        assert "write FORMAT=FILE" in capsys.readouterr().err

    def test_a_file_that_cannot_be_written_is_a_sentence(
        self,
        grade: Callable[..., int],  # noqa: F811
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (tmp_path / "file").touch()
        assert grade([result(made("a"))], "--output", f"json={tmp_path}/file/a.json") == 1
        assert "cannot be written: " in capsys.readouterr().err
