"""Scores go to a platform's line items by LTI 1.3 Advantage's Assignment and Grade Services.

Sources: https://www.imsglobal.org/spec/lti-ags/v2p0 (scores, line items),
https://www.imsglobal.org/spec/security/v1p0 (the token), https://www.imsglobal.org/spec/lti-nrps/v2p0
(memberships).

A score is posted once: what the platform has taken is kept in `.proctor/lti/`. Neither the key nor
a token is ever written or printed.
"""

from __future__ import annotations

import email.utils
import json
import os
import stat
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import jwt
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from proctor.course.course import Course
from proctor.errors import CourseError, ProctorError
from proctor.lms.roster import Clue
from proctor.lms.scores import Ledger
from proctor.report.remarks import remark
from proctor.verdict import one_line

FILE = "lti.toml"  # in the course's folder
KEY = Path("~/.config/proctor/lti-key.pem")
AGS = "https://purl.imsglobal.org/spec/lti-ags/scope"
NRPS = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
SECONDS = 30.0  # a request may take
RETRIES = 5
MAX_COMMENT = 500  # characters
MAX_PAGES = 500  # of one list

PENDING, GRADED = "PendingManual", "FullyGraded"


@dataclass(frozen=True)
class Settings:
    """What a platform said when this course was registered as a tool."""

    issuer: str
    client_id: str
    token_url: str
    key: Path
    audience: str = ""
    lineitems: str = ""
    memberships: str = ""
    lineitem: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, root: Path) -> Settings:
        """Raises CourseError where the file is not complete, or not safe."""
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise CourseError(
                f"{path} cannot be read: {error.strerror}. docs/lms.md says what stands in it."
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CourseError(f"{path} is not TOML: {error}") from None
        needed = ("issuer", "client_id", "token_url")
        texts = (*needed, "audience", "lineitems", "memberships", "key")
        if missing := [name for name in needed if not told.get(name)]:
            raise CourseError(f"{path} lacks {', '.join(missing)}: the platform shows them.")
        if unknown := [name for name in told if name not in (*texts, "lineitem")]:
            raise CourseError(f"{path}: there is no setting {', '.join(unknown)}.")
        if wrong := [name for name in texts if not isinstance(told.get(name, ""), str)]:
            raise CourseError(f"{path}: {', '.join(wrong)} must be text in quotes.")
        if "PRIVATE KEY" in told.get("key", ""):
            raise CourseError(
                f"{path} holds the private key itself: put it into a file outside of the course's "
                "folder, and that file's path here. This key is to be replaced by a new one."
            )
        key = Path(told.pop("key", KEY)).expanduser()
        key = (path.parent / key).resolve()
        if key.is_relative_to(root.resolve()):
            raise CourseError(
                f"The key {key} lies in the course's folder, where a commit would carry it: move "
                f"it to {KEY}, and take the line out of {path}."
            )
        settings = cls(key=key, **told)
        for url in (settings.token_url, settings.lineitems, settings.memberships):
            _safe(url, path)
        for url in settings.lineitem.values():
            _safe(url, path)
        return settings


def _safe(url: str, path: Path) -> None:
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if url and parts.scheme != "https" and not (local and parts.scheme == "http"):
        raise CourseError(f"{path}: {url} is no https address: a token would travel in the clear.")


def make_key(path: Path) -> None:
    """Write a new private key, for its owner's eyes only. Raises CourseError if there is one."""
    path = path.expanduser()
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    except FileExistsError:
        raise CourseError(
            f"{path} is there already: the platform knows it. Take it away to make another one."
        ) from None
    except OSError as error:
        raise CourseError(f"{path} cannot be written: {error.strerror}") from None


def _private(path: Path) -> rsa.RSAPrivateKey:
    try:
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise CourseError(f"Others may read the key {path}: chmod 600 {path}")
        found = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise CourseError(
            f"The key {path} cannot be read: {error.strerror}. `proctor scores lti-key` makes one."
        ) from None
    except (ValueError, TypeError):
        raise CourseError(f"{path} is no private key in PEM, or has a password.") from None
    if not isinstance(found, rsa.RSAPrivateKey):
        raise CourseError(f"{path} is no RSA key: LTI signs with RS256.")
    return found


def public_keys(path: Path) -> dict[str, Any]:
    """What the platform is given: the public half of the key, as a JSON Web Key Set."""
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_private(path.expanduser()).public_key()))
    return {"keys": [{**key, "kid": _kid(key), "use": "sig", "alg": "RS256"}]}


def _kid(key: Mapping[str, Any]) -> str:
    """The key's name: the same for the same key (in the way of RFC 7638)."""
    text = json.dumps({name: key[name] for name in ("e", "kty", "n")}, separators=(",", ":"))
    return uuid.uuid5(uuid.NAMESPACE_URL, text).hex


class Platform:
    """A learning platform, spoken to as a registered tool."""

    def __init__(self, settings: Settings, pause: float = 1.0) -> None:
        self.settings = settings
        self._key = _private(settings.key)
        self._kid = public_keys(settings.key)["keys"][0]["kid"]
        self._tokens: dict[str, tuple[str, float]] = {}
        self.skew = 0.0  # seconds by which the platform's clock is ahead of ours
        self._session = requests.Session()
        again = Retry(
            total=RETRIES,
            backoff_factor=pause,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,  # a score with its time is the same score the second time
            raise_on_status=False,
            respect_retry_after_header=True,
        )
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=again))

    def now(self) -> datetime:
        """The time by the platform's clock."""
        return datetime.fromtimestamp(time.time() + self.skew, UTC)

    def token(self, scope: str) -> str:
        """An access token for a scope, kept until it ends."""
        token, ends = self._tokens.get(scope, ("", 0.0))
        if time.time() < ends:
            return token
        answer = self._ask_for_token(scope)
        if answer.status_code in (400, 401) and self._set_clock(answer):
            answer = self._ask_for_token(scope)  # it may have been the clock
        told = self._told(answer, "gives no token")
        try:
            token, seconds = str(told["access_token"]), float(told.get("expires_in") or 600)
        except (KeyError, TypeError, ValueError):
            raise ProctorError(f"{self.settings.token_url} has answered without a token.") from None
        self._set_clock(answer)
        self._tokens[scope] = token, time.time() + 0.8 * seconds
        return token

    def _ask_for_token(self, scope: str) -> requests.Response:
        settings, now = self.settings, self.now().timestamp()
        claims = {
            "iss": settings.client_id,
            "sub": settings.client_id,
            "aud": settings.audience or settings.token_url,
            "iat": int(now) - 5,
            "exp": int(now) + 300,
            "jti": uuid.uuid4().hex,
        }
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode(claims, self._key, "RS256", {"kid": self._kid}),
            "scope": scope,
        }
        return self._send("POST", settings.token_url, data=form)

    def _set_clock(self, answer: requests.Response) -> bool:
        """Take over the platform's time; whether ours was off by more than two seconds."""
        try:
            theirs = email.utils.parsedate_to_datetime(answer.headers.get("Date", ""))
            skew = theirs.timestamp() - time.time()
        except (TypeError, ValueError):
            return False
        moved = abs(skew - self.skew) > 2
        if moved:
            self.skew = skew
        return moved

    def _send(self, method: str, url: str, **more: Any) -> requests.Response:
        try:
            return self._session.request(
                method, url, timeout=SECONDS, allow_redirects=False, **more
            )
        except requests.RequestException as error:
            # Its text may hold what was sent.
            raise ProctorError(
                f"{_host(url)} cannot be reached ({type(error).__name__}). What was posted is "
                "kept: run the command again."
            ) from None

    def request(self, method: str, url: str, scope: str, **more: Any) -> requests.Response:
        """A request with a token; a token that has ended is renewed once."""
        headers = more.pop("headers", {})
        for last in (False, True):
            bearer = {"Authorization": f"Bearer {self.token(scope)}"}
            answer = self._send(method, url, headers={**headers, **bearer}, **more)
            if answer.status_code != 401 or last:
                break
            self._tokens.pop(scope, None)
        return answer

    def pages(self, url: str, scope: str, kind: str) -> Iterator[Any]:
        """The answers of a list that comes in pages."""
        first, pages = _host(url), 0
        while url:
            pages += 1
            if pages > MAX_PAGES:
                raise ProctorError(f"{first} shows a list that does not end: {MAX_PAGES} pages.")
            answer = self.request("GET", url, scope, headers={"Accept": kind})
            yield self._told(answer, "does not show its list")
            url = answer.links.get("next", {}).get("url", "")
            if url and _host(url) != first:
                raise ProctorError(
                    f"{first} sends on to {_host(url)}: a token is for one platform only."
                )

    def _told(self, answer: requests.Response, what: str) -> Any:
        if answer.ok:
            try:
                return answer.json()
            except ValueError:
                pass
        raise ProctorError(
            f"{_host(answer.url)} {what}: it answers {answer.status_code} "
            f"{one_line(answer.reason)}. Does it know this key, and does the tool have this right?"
        )

    def lineitem(self, assignment: str) -> str:
        """The address of an assignment's line item: as set, or by its resource or its title."""
        settings = self.settings
        if url := settings.lineitem.get(assignment):
            return url
        if not settings.lineitems:
            raise CourseError(
                f"{FILE} has no line item for {assignment}: write its address under [lineitem], or "
                "the address of all under lineitems."
            )
        scope, kind = (
            f"{AGS}/lineitem.readonly",
            "application/vnd.ims.lis.v2.lineitemcontainer+json",
        )
        pages = self.pages(settings.lineitems, scope, kind)
        found = [item for page in pages for item in _objects(page)]
        for name in ("resourceId", "tag", "label"):
            urls = [str(item.get("id")) for item in found if item.get(name) == assignment]
            urls = [url for url in urls if _host(url) == _host(settings.lineitems)]
            if len(urls) == 1:
                return urls[0]
        labels = ", ".join(one_line(str(item.get("label"))) for item in found) or "none"
        raise CourseError(
            f"The platform has no one line item '{assignment}'; it has: {labels}. Write its "
            f"address under [lineitem] in {FILE}."
        )

    def members(self) -> list[dict[str, Any]]:
        """Whom the platform has in the course; empty where its address is not set."""
        if not self.settings.memberships:
            return []
        kind = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"
        pages = self.pages(self.settings.memberships, NRPS, kind)
        return [
            member
            for page in pages
            for each in _objects([page])
            for member in _objects(each.get("members"))
        ]

    def post(self, lineitem: str, score: dict[str, Any]) -> str:
        """Post a score; "" if it was taken, else why not."""
        parts = urlsplit(lineitem)  # what follows a `?` stays behind
        url = urlunsplit(parts._replace(path=f"{parts.path}/scores"))
        kind = {"Content-Type": "application/vnd.ims.lis.v1.score+json"}
        for last in (False, True):
            when = self.now().isoformat(timespec="milliseconds")
            body = json.dumps({**score, "timestamp": when})
            answer = self.request("POST", url, f"{AGS}/score", data=body.encode(), headers=kind)
            if answer.ok:
                return ""
            if answer.status_code == 409 and not last and self._set_clock(answer):
                continue  # our clock was behind
            break
        if answer.status_code == 409:
            return "the platform has a newer score, and keeps it"
        if answer.status_code in (400, 403, 404, 422):
            return f"the platform answers {answer.status_code} {one_line(answer.reason)}"
        raise ProctorError(
            f"{_host(url)} answers {answer.status_code} {one_line(answer.reason)}. What was posted "
            "is kept: run the command again."
        )


def _objects(listed: Any) -> list[dict[str, Any]]:
    """The objects of a list that a platform has sent, if it is one."""
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # a platform may send what is no address
        return ""
    return f"{parts.scheme}://{parts.netloc}"


@dataclass
class Posted:
    """What was posted, or would be."""

    assignment: str
    posted: list[str] = field(default_factory=list)
    same: int = 0
    pending: list[str] = field(default_factory=list)  # posted, and a manual grade is missing
    left: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unmatched: list[tuple[str, str]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not (self.refused or self.unmatched)


def post(
    ledger: Ledger,
    platform: Platform,
    assignment: str,
    dry_run: bool = False,
    again: bool = False,
    watch: Callable[[int, int], None] = lambda done, todo: None,
) -> Posted:
    """Post the scores of an assignment that the platform does not have yet; all with `again`."""
    course, told = ledger.course, Posted(assignment)
    users = _users(ledger, platform)
    lineitem = platform.lineitem(assignment)
    memory = _Memory(course, assignment, lineitem)
    students = sorted(ledger.standings[assignment])
    for count, student in enumerate(students):
        watch(count, len(students))
        score, why = _score(ledger, assignment, student)
        if score is None:
            told.left.append((student, why))
            continue
        if not (user := users.get(student)):
            told.unmatched.append((student, "the platform's name for this student is not known"))
            continue
        if not again and memory.has(user, score):
            told.same += 1
            continue
        if not dry_run:
            if why := platform.post(lineitem, {"userId": user, **score}):
                told.refused.append((student, why))
                continue
            memory.keep(user, score)
        told.posted.append(student)
        if score["gradingProgress"] == PENDING:
            told.pending.append(student)
    watch(len(students), len(students))
    return told


def _score(ledger: Ledger, assignment: str, student: str) -> tuple[dict[str, Any] | None, str]:
    """What to post of a student's submission, or why nothing."""
    standing, why = ledger.due(assignment, student)
    pending = ledger.standings[assignment].get(student)
    if standing is None and pending is not None and pending.needs_manual:
        standing = pending if not why.startswith("rejected") else None
    if standing is None:
        return None, why
    result = ledger.result(assignment, student)
    comment = remark(result)[:MAX_COMMENT] if result else ""
    score = {
        "scoreGiven": standing.score,
        "scoreMaximum": standing.max_score,
        "activityProgress": "Submitted",
        "gradingProgress": PENDING if standing.needs_manual else GRADED,
    }
    return score | ({"comment": comment} if comment else {}), ""


def _users(ledger: Ledger, platform: Platform) -> dict[str, str]:
    """The platform's name for each student: as its memberships say, else as the roster does."""
    known = {each.id: each.lti_user_id or each.lms_user_id for each in ledger.roster.students}
    for member in platform.members():
        user = str(member.get("user_id", ""))
        logins = [str(member.get(key) or "") for key in ("lis_person_sourcedid", "email")]
        names = [str(member["name"])] if member.get("name") else []
        clue = Clue(user, lms_user_id=user, logins=tuple(filter(None, logins)), names=tuple(names))
        if user and (match := ledger.roster.find(clue)).student:
            known[match.student] = user
    return {student: user for student, user in known.items() if user}


class _Memory:
    """What the platform has taken, kept in a file of the course."""

    def __init__(self, course: Course, assignment: str, lineitem: str) -> None:
        self.path = course.root / ".proctor" / "lti" / f"{assignment}.json"
        self.lineitem = lineitem
        try:
            told = json.loads(self.path.read_text(encoding="utf-8"))
            self.taken = told["taken"] if told["lineitem"] == lineitem else {}
        except (OSError, ValueError, KeyError, TypeError):
            self.taken = {}  # then all are posted again: the same scores

    def has(self, user: str, score: dict[str, Any]) -> bool:
        return bool(self.taken.get(user) == score)

    def keep(self, user: str, score: dict[str, Any]) -> None:
        self.taken[user] = score
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"lineitem": self.lineitem, "taken": self.taken}, indent=1))
        os.replace(part, self.path)
