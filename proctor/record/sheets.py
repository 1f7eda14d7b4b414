"""CSV for people who open it in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

FORMULA = "=+-@\t\r"  # what begins a formula in a spreadsheet


def as_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table. What is unknown stays blank, and no text is a formula: names may be a student's own
    choice.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return file.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, str) and value.startswith(tuple(FORMULA)):
        return f"'{value}"
    return "" if value is None else value
