"""A process of its own that makes graded notebooks harmless.

What students write and print is read by patterns and by parsers. Should one of them take its time
over a text that is made for it, then nobody waits but this process: the kernel ends it when its
processor time is up, and the notebook shows a notice instead. The points stand either way.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from multiprocessing.connection import Connection, Pipe

from proctor.notebook.template import Submission
from proctor.record.autograded import as_text, autograded
from proctor.verdict import NotebookVerdict, TestResult

SECONDS = 20.0  # of processor time for one notebook; ten megabytes take about one
ATTEMPTS = 2  # with a process that somebody else ends

NOTICE = (
    "[proctor: what was written and printed here could not be made harmless in time and is not "
    "shown. The points are not touched. The notebook as it was handed in lies in submitted/.]"
)


class Cleaner:
    """`with Cleaner() as clean: text = clean(submission, verdict)`. Not for two threads."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: Connection

    def __call__(self, submission: Submission, verdict: NotebookVerdict) -> str:
        """The graded notebook, as the text of its file."""
        decided = vars(verdict) | {"tests": [vars(test) for test in verdict.tests]}
        words = [submission.notebook, submission.notes, [*submission.given], decided]
        question = json.dumps(words).encode()
        for _ in range(ATTEMPTS):
            process = self.process or self._start()
            try:
                self.channel.send_bytes(question)
                return self.channel.recv_bytes().decode()
            except (EOFError, OSError):  # it has ended
                self.close()
                if process.returncode == -signal.SIGPROF:
                    break
        return as_text(autograded(submission, verdict, NOTICE))

    def _start(self) -> subprocess.Popen[bytes]:
        self.channel, theirs = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-m", __name__, str(theirs.fileno()), str(self.seconds)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            cwd="/",
            process_group=0,  # Ctrl-C in a terminal is for who waits for it
        )
        theirs.close()
        return self.process

    def __enter__(self) -> Cleaner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, at work or not."""
        if self.process is not None:
            self.channel.close()
            self.process.kill()
            self.process.wait()
            self.process = None


def main() -> None:
    """In the process: one notebook after the other, until the other side is gone."""
    channel, seconds = Connection(int(sys.argv[1])), float(sys.argv[2])
    while True:
        try:
            question = channel.recv_bytes()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, seconds)
        notebook, notes, given, decided = json.loads(question)
        tests = [TestResult(**test) for test in decided.pop("tests")]
        verdict = NotebookVerdict(tests=tests, **decided)
        text = as_text(autograded(Submission(notebook, notes, frozenset(given)), verdict))
        signal.setitimer(signal.ITIMER_PROF, 0)
        channel.send_bytes(text.encode())


if __name__ == "__main__":
    main()
