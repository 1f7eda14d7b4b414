"""The worker: runs the student's cells and answers the tester's requests.

It is a fork of a warm process that holds no test, no answer, no path and no secret. Nothing here is
trusted: student code may take over everything in this file, and the tester believes none of it.
"""

from __future__ import annotations

import builtins
import contextlib
import getpass
import os
import random
import shutil
import socket
import sys
from typing import Any

import numpy as np
from IPython.core.error import StdinNotImplementedError

from proctor import jail
from proctor.processes import forks
from proctor.processes import frames as codec
from proctor.worker.server import READY, Alarm, Package, Server, warm
from proctor.worker.shell import Shell


def start(
    job: dict[str, Any], descriptor: int, readable: list[str], package: Package | None
) -> None:
    """In the fork: go to jail, then serve one notebook."""
    frames = codec.Frames(socket.socket(fileno=descriptor))
    files, seed, beside = codec.decode(frames.receive(), int)
    try:
        jail.enter(
            jail.Isolation(job["isolation"]),
            readable,
            jail.Limits(**job["limits"]),
            keep=[descriptor],
            slot=job["slot"],
            files=files,
        )
    except Exception as error:
        frames.send(f"{type(error).__name__}: {error}".encode())
        raise
    sys.path.insert(0, "")  # modules beside the notebook, as in a kernel
    if "NBGRADER_EXECUTION" in os.environ:  # see `as_in_a_kernel`
        os.environ["HOME"] = os.getcwd()
    random.seed(seed)
    np.random.seed(seed)
    if package is not None:
        package.extend(beside)
    server = Server(frames, Shell.instance(), Alarm(), package)
    with contextlib.suppress(BrokenPipeError):
        frames.send(READY)
        server.serve()


def as_in_a_kernel() -> None:
    """What a notebook finds when nbgrader runs it, and can tell from here."""
    os.environ["NBGRADER_EXECUTION"] = "autograde"
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    os.environ.update(USER="student", LOGNAME="student", PATH=os.defpath)
    os.environ["JOBLIB_MULTIPROCESSING"] = "0"  # scikit-learn's n_jobs: one process does it all
    vars(builtins)["input"] = vars(getpass)["getpass"] = no_input
    # Modes and times cannot be set in jail: shutil.copy and its kin do without.
    vars(shutil)["copymode"] = vars(shutil)["copystat"] = _copy_nothing


def _copy_nothing(src: Any, dst: Any, *, follow_symlinks: bool = True) -> None:
    """In the place of `shutil.copymode` and `shutil.copystat`."""


def no_input(prompt: object = "", *_: object, **__: object) -> str:
    """Nobody is there to answer."""
    raise StdinNotImplementedError("input was called, but nobody can answer while it is graded")


def main() -> None:
    """The warm worker: import what a notebook may need, then serve."""
    configuration, control = forks.configuration(), forks.control()
    if configuration["in_process"]:
        as_in_a_kernel()
    _, package = warm(configuration)
    readable = jail.readable_paths(configuration["companions"])
    jail.prepare(readable)
    del configuration
    forks.serve(
        control,
        lambda job, descriptors: start(job, descriptors[0], readable, package),
        reaped=jail.discard,
        fork=lambda job: jail.fork(jail.Isolation(job["isolation"])),
    )


if __name__ == "__main__":
    main()
