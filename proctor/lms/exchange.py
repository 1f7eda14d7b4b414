"""nbgrader's exchange on a machine that students share: what `nbgrader collect` takes from it.

    c.ExchangeFactory.collect = "proctor.lms.exchange.Collect"

Everyone may write into the exchange. nbgrader's own plugin warns of a submission in another's name,
and takes it; and it copies with the grader's rights whatever a link in a submission points at.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from nbgrader.exchange.default import ExchangeCollect


class Collect(ExchangeCollect):  # type: ignore[misc]
    """Collects what each student handed in themself: their own regular files, through no link.

    A student's id is the name of their account, as it is for `nbgrader submit`. What is left out is
    said, and keeps nobody else's from being collected.
    """

    src_records: list[dict[str, Any]]  # the newest submission of each student

    def _path_to_record(self, path: str) -> dict[str, Any]:
        name = os.path.basename(path)
        try:
            record: dict[str, Any] = super()._path_to_record(path)
            found = os.lstat(path)
            owner = pwd.getpwuid(found.st_uid).pw_name
            if owner == record["username"] and stat.S_ISDIR(found.st_mode):
                return record
            reason = "it is no folder" if owner == record["username"] else f"it is {owner}'s"
        except Exception as error:  # a name that says nothing, a time that is none
            reason = str(error)
        self.log.error("Not collected: %s: %s.", name, reason)
        # In a group of its own, it can't be taken for anybody's newest.
        return {"username": None, "filename": name, "timestamp": datetime.min}

    def init_src(self) -> None:
        super().init_src()
        self.src_records = [record for record in self.src_records if record["username"]]

    def do_copy(self, src: str, dest: str, log: Any = None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            taken = Path(folder, "taken")
            if self._take(src, taken):
                super().do_copy(str(taken), dest, log)
            else:
                limit = self.coursedir.max_dir_size
                self.log.error("Not collected: %s: it is larger than %s kB.", src, limit)

    def _take(self, src: str, dest: Path) -> bool:
        """Copies what is the student's own, if it is not larger than nbgrader lets it be."""
        owner = os.lstat(src).st_uid
        left = 1000 * self.coursedir.max_dir_size
        for folder, _, names, descriptor in os.fwalk(src):  # it follows no link
            into = dest / os.path.relpath(folder, src)
            into.mkdir(parents=True)
            for name in names:
                try:
                    with _opened(name, descriptor, owner) as file:
                        data = file.read(left + 1)
                except OSError as error:
                    self.log.error("Not collected: %s/%s: %s.", folder, name, error.strerror)
                    continue
                left -= len(data)
                if left < 0:
                    return False
                (into / name).write_bytes(data)
        return True


def _opened(name: str, folder: int, owner: int) -> BinaryIO:
    """A regular file of the owner's; what is looked at is what is read, whatever comes after."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.fdopen(os.open(name, flags, dir_fd=folder), "rb")
    found = os.fstat(file.fileno())
    if stat.S_ISREG(found.st_mode) and found.st_uid == owner:
        return file
    file.close()
    raise OSError(errno.EPERM, "no file of the student's own")
