"""Print a CSV file's columns id and repository, separated by tabs: for fetch.sh."""

import csv
import re
import sys

with open(sys.argv[1], encoding="utf-8-sig", newline="") as file:
    for row in csv.DictReader(file):
        student, address = (row.get("id") or "").strip(), (row.get("repository") or "").strip()
        # A name for a folder, and an address that is no option and no helper program of git's.
        if not re.fullmatch(r"[\w.@+-]*\w[\w.@+-]*", student):
            sys.exit(f"repositories: '{student}' cannot be a folder's name in submitted/")
        if not re.match(r"(https|ssh|file)://|git@", address):
            sys.exit(f"repositories: {student}: '{address}' is no https or ssh address")
        print(student, address, sep="\t")
