"""Reads who takes part, for setup.sh: prints id, role and password, separated by tabs.

Names what is wrong in a file, line by line, before any account is made of it.
"""

import csv
import pwd
import re
import sys
from pathlib import Path

ROLES = ("student", "instructor")
ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
PEOPLE = range(1000, 65534)  # the numbers of people's accounts; the others are the machine's own


def read(path: str, grader: str) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Everyone in the file, and what is wrong with it."""
    found: dict[str, tuple[str, str, str]] = {}
    wrong = []
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"id", "role"} <= set(rows.fieldnames or ()):
            return [], ["the first line must name the columns id,role or id,role,password"]
        for row in rows:
            account = (row["id"] or "").strip()
            role = (row["role"] or "").strip() or "student"
            password = row.get("password") or ""
            where = f"line {rows.line_num}: '{account}'"
            if not ACCOUNT.fullmatch(account):
                wrong.append(
                    f"{where} can't be an account: a-z, 0-9, - and _, at most 32, a letter first"
                )
            elif account == grader or account in found:
                wrong.append(f"{where} is the grading account's name or stands there twice")
            elif _uid(account) not in PEOPLE:
                wrong.append(f"{where} is an account of the machine's own")
            elif role not in ROLES:
                wrong.append(f"{where} has the role '{role}': it must be {' or '.join(ROLES)}")
            elif re.search(r"[\x00-\x1f]", password):
                wrong.append(f"{where} has a password with a character that can't be typed")
            else:
                found[account] = account, role, password
    if not found and not wrong:
        wrong.append("it names nobody")
    return list(found.values()), wrong


def _uid(account: str) -> int:
    try:
        return pwd.getpwnam(account).pw_uid
    except KeyError:
        return PEOPLE[0]


if __name__ == "__main__":
    members, mistakes = read(*sys.argv[1:])
    for mistake in mistakes:
        print(f"setup.sh: {Path(sys.argv[1])}, {mistake}.", file=sys.stderr)
    if mistakes:
        sys.exit(1)
    for member in members:
        print(*member, sep="\t")
