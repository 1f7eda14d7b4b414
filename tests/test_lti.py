"""Scores by LTI 1.3: posted over HTTP to a platform that others wrote (lti1p3platform).

Its rules decide whether an assertion and a token are accepted. The routes, and the faults that a
platform may have, are ours.
"""

from __future__ import annotations

import email.utils
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from lti1p3platform.ltiplatform import LTI1P3PlatformConfAbstract
from lti1p3platform.registration import Registration

from proctor import cli
from proctor.course.course import Assignment
from proctor.errors import CourseError
from proctor.lms import lti
from tests import handmade
from tests.handmade import NAME, copy_course, graded, hand_in, record
from tests.test_collect import ROSTER, run
from tests.test_scores import by_hand

SCORE_KIND = "application/vnd.ims.lis.v1.score+json"


def pem() -> tuple[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


class Conf(LTI1P3PlatformConfAbstract):
    def init_platform_config(self, **given: Any) -> None:
        private, public = pem()
        self._registration = (
            Registration()
            .set_iss("https://platform.example")
            .set_client_id("tool-1")
            .set_platform_private_key(private)
            .set_platform_public_key(public)
        )
        self._registration.set_tool_key_set(given["keys"])

    def get_registration_by_params(self, **given: Any) -> Registration:
        return self._registration


class Platform:
    """What it was asked, what it has taken, and what it does wrong."""

    def __init__(self, keys: dict[str, Any]) -> None:
        self.conf = Conf(keys=keys)
        self.scores: dict[str, dict[str, Any]] = {}
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.tokens = 0
        self.faults: list[int] = []  # what it answers to the next scores instead
        self.breaks_after = float("inf")  # scores, and then it is down
        self.ahead = 0.0  # seconds by which its clock is
        self.members: list[dict[str, str]] = []
        self.unknown: set[str] = set()
        self.log: list[str] = []
        self.next = "/items?page=2"
        self.odd: list[Any] = []  # what it lists besides line items
        platform = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, status: int, told: Any = None, **headers: str) -> None:
                self.send_response_only(status)
                now = time.time() + platform.ahead
                self.send_header("Date", email.utils.formatdate(now, usegmt=True))
                body = b"" if told is None else json.dumps(told).encode()
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def may(self, scope: str) -> bool:
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                try:
                    return platform.conf.validate_token(token, [scope])
                except Exception:
                    return False

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                path = urlsplit(self.path).path
                if path == "/token":
                    return self.token(dict(parse_qsl(body)))
                assert path == "/items/1/scores" and urlsplit(self.path).query == "type=a"
                if len(platform.posts) >= platform.breaks_after:
                    return self.answer(503, **{"Retry-After": "0"})
                if platform.faults:
                    return self.answer(platform.faults.pop(0), **{"Retry-After": "0"})
                if not self.may(f"{lti.AGS}/score"):
                    return self.answer(401)
                score = json.loads(body)
                assert self.headers["Content-Type"] == SCORE_KIND
                if score["userId"] in platform.unknown:
                    return self.answer(404)
                before = platform.scores.get(score["userId"])
                when = datetime.fromisoformat(score["timestamp"])
                if when.timestamp() > time.time() + platform.ahead + 60:
                    return self.answer(400)
                if before and datetime.fromisoformat(before["timestamp"]) >= when:
                    return self.answer(409)
                platform.posts.append((score["userId"], score))
                platform.scores[score["userId"]] = score
                self.answer(204)

            def token(self, form: dict[str, str]) -> None:
                platform.tokens += 1
                claims = jwt.decode(form["client_assertion"], options={"verify_signature": False})
                if not claims["iat"] <= time.time() + platform.ahead <= claims["exp"]:
                    return self.answer(401)
                checks = platform.conf._jwt_verify_options  # ours above has looked at the times
                checks |= {"verify_iat": not platform.ahead, "verify_exp": not platform.ahead}
                try:
                    self.answer(200, platform.conf.get_access_token(form))
                except Exception as error:
                    self.answer(400, {"error": str(error)})

            def do_GET(self) -> None:
                where = urlsplit(self.path)
                if where.path == "/items" and self.may(f"{lti.AGS}/lineitem.readonly"):
                    if not where.query:  # the first of two pages
                        more = f'<{platform.url}{platform.next}>; rel="next"'
                        item = {"id": f"{platform.url}/items/9", "label": "Other"}
                        return self.answer(200, [item, *platform.odd], Link=more)
                    item = {"id": f"{platform.url}/items/1?type=a", "label": NAME}
                    return self.answer(200, [item])
                if where.path == "/members" and self.may(lti.NRPS):
                    return self.answer(200, {"id": "x", "members": platform.members})
                self.answer(403)

            def log_message(self, *words: Any) -> None:
                platform.log.append(str(words))

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "lti-key.pem"
    lti.make_key(path)
    return path


@pytest.fixture
def platform(key: Path) -> Iterator[Platform]:
    made = Platform(lti.public_keys(key))
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = handmade.make_course(tmp_path_factory.mktemp("made") / "course")
    (root / "roster.csv").write_text(ROSTER)
    return root


@pytest.fixture
def course(made: Path, tmp_path: Path, platform: Platform, key: Path) -> Assignment:
    """ada is graded by hand, too; bob waits for it."""
    assignment = copy_course(made, tmp_path / "course")
    for student in ("ada", "bob"):
        hand_in(assignment, student)
    record(assignment, graded(assignment, "ada"), graded(assignment, "bob"))
    by_hand(assignment, 3, "ada")
    settings = f"""
        issuer = "https://platform.example"
        client_id = "tool-1"
        token_url = "{platform.url}/token"
        key = "{key}"
        lineitems = "{platform.url}/items"
        memberships = "{platform.url}/members"
    """
    (assignment.course.root / lti.FILE).write_text(settings.replace("    ", ""))
    return assignment


Said = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    monkeypatch.setattr(lti.Platform.__init__, "__defaults__", (0.001,))  # no waiting
    return lambda: "".join(capsys.readouterr())


def test_scores_are_posted_once(course: Assignment, platform: Platform, said: Said) -> None:
    assert run(course, "scores", "lti", NAME) == 0
    assert f"{NAME}: 2 posted, 0 unchanged" in (text := said())
    assert "manual grading is missing: 1\n  bob" in text
    scores = platform.scores
    assert {user: score["gradingProgress"] for user, score in scores.items()} == {
        "1001": lti.GRADED,
        "1002": lti.PENDING,
    }
    ada = scores["1001"]
    assert ada["scoreMaximum"] == 20 and ada["activityProgress"] == "Submitted"
    assert run(course, "scores", "lti", NAME) == 0
    assert f"{NAME}: 0 posted, 2 unchanged" in said() and len(platform.posts) == 2
    by_hand(course, 1, "bob")
    assert run(course, "scores", "lti", NAME) == 0
    assert [user for user, _ in platform.posts] == ["1001", "1002", "1002"]
    assert scores["1002"]["gradingProgress"] == lti.GRADED
    assert run(course, "scores", "lti", NAME, "--again") == 0
    assert len(platform.posts) == 5


def test_a_dry_run_posts_nothing(course: Assignment, platform: Platform, said: Said) -> None:
    assert run(course, "scores", "lti", NAME, "--dry-run") == 0
    assert "2 would be posted" in said() and not platform.posts
    assert not (course.course.root / ".proctor" / "lti").exists()


def test_members_tell_who_is_who(course: Assignment, platform: Platform, said: Said) -> None:
    """Canvas and others call a user by a name that stands on no roster."""
    platform.members = [
        {"user_id": "opaque-7", "name": "Ada Lovelace"},
        {"user_id": "opaque-8", "name": "Nobody Else", "email": "n@example.org"},
    ]
    assert run(course, "scores", "lti", NAME) == 0
    assert {*platform.scores} == {"opaque-7", "1002"}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_platform_that_is_busy_is_asked_again(
    status: int, course: Assignment, platform: Platform, said: Said
) -> None:
    platform.faults = [status, status]
    assert run(course, "scores", "lti", NAME) == 0
    assert len(platform.posts) == 2


def test_a_list_that_never_ends_is_left(course: Assignment, platform: Platform, said: Said) -> None:
    platform.next = "/items"
    assert run(course, "scores", "lti", NAME) == 1
    assert "does not end" in said() and not platform.posts


def test_what_is_no_line_item_is_passed_over(
    course: Assignment, platform: Platform, said: Said
) -> None:
    platform.odd = [None, 7, "x", [], {}, {"label": NAME}, {"label": NAME, "id": "https://[x"}]
    platform.members = [None, 7, {"name": 7}]
    assert run(course, "scores", "lti", NAME) == 0
    assert len(platform.posts) == 2


def test_a_platform_that_stays_down_loses_nothing(
    course: Assignment, platform: Platform, said: Said
) -> None:
    """What it has taken is kept; the next run posts the rest, and nothing twice."""
    platform.breaks_after = 1
    assert run(course, "scores", "lti", NAME) == 1
    assert "What was posted is kept: run the command again." in said()
    platform.breaks_after = float("inf")
    assert run(course, "scores", "lti", NAME) == 0
    assert sorted(user for user, _ in platform.posts) == ["1001", "1002"]


def test_a_token_that_ended_is_renewed(course: Assignment, platform: Platform, said: Said) -> None:
    platform.faults = [401]
    assert run(course, "scores", "lti", NAME) == 0
    assert len(platform.posts) == 2 and platform.tokens == 4  # members, items, scores, scores again


@pytest.mark.parametrize("ahead", [-3000.0, 3000.0])
def test_clocks_may_differ(
    ahead: float, course: Assignment, platform: Platform, said: Said
) -> None:
    platform.ahead = ahead
    assert run(course, "scores", "lti", NAME) == 0
    assert len(platform.posts) == 2


def test_a_newer_score_there_is_kept(course: Assignment, platform: Platform, said: Said) -> None:
    later = "2999-01-01T00:00:00+00:00"
    platform.scores["1001"] = {"timestamp": later}
    assert run(course, "scores", "lti", NAME) == 1
    assert "ada: the platform has a newer score, and keeps it" in said()
    assert [user for user, _ in platform.posts] == ["1002"]


def test_whom_the_platform_does_not_know(
    course: Assignment, platform: Platform, said: Said
) -> None:
    platform.unknown = {"1002"}
    assert run(course, "scores", "lti", NAME) == 1
    assert "refused: 1\n  bob: the platform answers 404" in said()
    assert [user for user, _ in platform.posts] == ["1001"]


def test_a_key_that_the_platform_does_not_know(
    course: Assignment, key: Path, platform: Platform, said: Said
) -> None:
    key.unlink()
    lti.make_key(key)
    assert run(course, "scores", "lti", NAME) == 1
    assert "gives no token: it answers 400" in said() and not platform.posts


def test_no_line_item_of_that_name(course: Assignment, platform: Platform, said: Said) -> None:
    path = course.course.root / lti.FILE
    path.write_text(path.read_text().replace("/items", "/items?page=1"))
    text = path.read_text()
    assert run(course, "scores", "lti", NAME) == 0  # both pages' label is looked at
    path.write_text(text + f'\n[lineitem]\n{NAME} = "{platform.url}/items/1?type=a"\n')
    assert run(course, "scores", "lti", NAME, "--again") == 0


def test_no_secret_is_printed_or_kept(
    course: Assignment, key: Path, platform: Platform, said: Said
) -> None:
    platform.faults = [503] * 50
    assert run(course, "scores", "lti", NAME) == 1
    platform.faults = []
    assert run(course, "scores", "lti", NAME) == 0
    secret = key.read_text().splitlines()[1]
    texts = [said()]
    kept = course.course.root.rglob("*")
    texts += [path.read_text(errors="replace") for path in kept if path.is_file()]
    assert len(texts) > 5
    for text in texts:
        assert secret not in text and "eyJ" not in text  # as every token begins


class TestSettings:
    @pytest.mark.parametrize(
        ("old", "new", "why"),
        [
            ('client_id = "tool-1"', "", "lacks client_id"),
            ("issuer", "isuer", "lacks issuer"),
            ("lineitems", "line_items", "no setting line_items"),
            ('"tool-1"', "7", "client_id must be text"),
            ("http://127.0.0.1", "http://lms.example", "no https address"),
            ('issuer = "', "issuer = [", "is not TOML"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, old: str, new: str, why: str, course: Assignment, said: Said
    ) -> None:
        path = course.course.root / lti.FILE
        path.write_text(path.read_text().replace(old, new))
        assert run(course, "scores", "lti", NAME) == 2
        assert why in said()

    def test_the_key_itself(self, course: Assignment, key: Path, said: Said) -> None:
        path = course.course.root / lti.FILE
        path.write_text(path.read_text().replace(f'"{key}"', f"'''{key.read_text()}'''"))
        assert run(course, "scores", "lti", NAME) == 2
        assert "holds the private key itself" in (text := said())
        assert key.read_text().splitlines()[1] not in text

    def test_a_key_in_the_course(self, course: Assignment, key: Path, said: Said) -> None:
        inside = course.course.root / "key.pem"
        inside.write_bytes(key.read_bytes())
        path = course.course.root / lti.FILE
        path.write_text(path.read_text().replace(str(key), "key.pem"))
        assert run(course, "scores", "lti", NAME) == 2
        assert "where a commit would carry it" in said()

    def test_a_key_that_others_may_read(self, course: Assignment, key: Path, said: Said) -> None:
        key.chmod(0o644)
        assert run(course, "scores", "lti", NAME) == 2
        assert f"chmod 600 {key}" in said()


class TestKey:
    def test_only_the_public_half_is_printed(self, tmp_path: Path, said: Said) -> None:
        path = tmp_path / "new" / "key.pem"
        with pytest.raises(SystemExit) as end:
            cli.main(["scores", "lti-key", "--new", "--key", str(path)])
        assert not end.value.code
        [key] = json.loads(said())["keys"]
        assert {*key} <= {"kty", "n", "e", "kid", "use", "alg", "key_ops"}
        assert path.stat().st_mode & 0o777 == 0o600

    def test_a_key_is_never_overwritten(self, key: Path) -> None:
        before = key.read_bytes()
        with pytest.raises(CourseError, match="is there already"):
            lti.make_key(key)
        assert key.read_bytes() == before
