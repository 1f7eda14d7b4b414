"""A CSV file that a program or a spreadsheet of somebody else's wrote, changed cell by cell.

Its encoding, separator, quotes and line ends are found out and kept: what is not set stays as it
was, byte for byte.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from proctor.errors import CourseError

SEPARATORS = ",;\t|"
MAX_BYTES = 64 << 20
MAX_CELLS = 2_000_000

_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_SPREADSHEETS = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # .xlsx and .ods; .xls
_SEPARATOR_LINE = re.compile(r"sep=(.)(?:\r\n|\r|\n)")  # what Excel writes for itself


@dataclass(frozen=True)
class Cell:
    """A cell: its value, and where it stands in the text."""

    value: str
    start: int
    end: int
    quoted: bool


@dataclass
class Sheet:
    """The rows of a CSV file; the first is the header. Raises CourseError if it is none."""

    data: bytes
    rows: list[list[Cell]] = field(init=False)
    separator: str = field(init=False)
    _changes: dict[tuple[int, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.data) > MAX_BYTES:
            raise CourseError(f"The file is larger than {MAX_BYTES >> 20} MB: that is no CSV file.")
        if self.data.startswith(_SPREADSHEETS):
            raise CourseError("It is a spreadsheet's own file: save it as CSV.")
        self.bom, self.encoding, self.text = _decoded(self.data)
        start, candidates = 0, SEPARATORS
        if named := _SEPARATOR_LINE.match(self.text):
            start, candidates = named.end(), named[1]
        parsed = {mark: _parse(self.text, mark, start) for mark in candidates}
        self.separator = max(parsed, key=lambda mark: _plausible(parsed[mark]))
        self.rows = parsed[self.separator]
        if not self.rows:
            raise CourseError("The file is empty.")

    @property
    def header(self) -> list[str]:
        return [cell.value.strip() for cell in self.rows[0]]

    def value(self, row: int, column: int) -> str:
        """What stands in a cell; "" where a row is too short to have it."""
        cells = self.rows[row]
        return cells[column].value if column < len(cells) else ""

    def set(self, row: int, column: int, value: str) -> None:
        """Put a value into a cell that the row has. One equal to what stands there is no change."""
        if self.rows[row][column].value != value:
            self._changes[row, column] = value

    @property
    def changed(self) -> int:
        """How many cells have a new value."""
        return len(self._changes)

    def written(self) -> bytes:
        """The file with its changes."""
        parts, at = [], 0
        for (row, column), value in sorted(self._changes.items()):
            cell = self.rows[row][column]
            parts += [self.text[at : cell.start], self._raw(row, column, value)]
            at = cell.end
        parts.append(self.text[at:])
        return self.bom + "".join(parts).encode(self.encoding)

    def _raw(self, row: int, column: int, value: str) -> str:
        """A value as it is written: quoted where it must be, and where the column's others are."""
        known = value.encode(self.encoding, errors="replace").decode(self.encoding)
        old = self.rows[row][column]
        others = [
            cells[column].quoted
            for number, cells in enumerate(self.rows)
            if 0 < number != row and column < len(cells) and cells[column].value
        ]
        alike = bool(others) and all(others) and not old.value
        special = {self.separator, '"', "\r", "\n"}
        if old.quoted or alike or special & {*known}:
            return '"' + known.replace('"', '""') + '"'
        return known


def _decoded(data: bytes) -> tuple[bytes, str, str]:
    """The byte order mark, the encoding, and the text that encodes to the same bytes again."""
    bom = next((mark for mark in _BOMS if data.startswith(mark)), b"")
    body = data[len(bom) :]
    if bom:
        tried = [_BOMS[bom]]
    elif body[:200:2].strip(b"\0") == b"" and body:
        tried = ["utf-16-be"]
    elif body[1:200:2].strip(b"\0") == b"" and len(body) > 1:
        tried = ["utf-16-le"]
    else:
        tried = ["utf-8"]
    for encoding in [*tried, "cp1252", "latin-1"]:
        try:
            text = body.decode(encoding)
            if text.encode(encoding) == body:
                return bom, encoding, text
        except UnicodeError:
            continue
    raise AssertionError("latin-1 decodes everything")


def _parse(text: str, separator: str, start: int) -> list[list[Cell]]:
    mark = re.escape(separator)
    pattern = re.compile(
        rf'(?:"(?P<inner>[^"]*(?:""[^"]*)*)(?:"|\Z))?(?P<bare>[^{mark}\r\n]*)'
        rf"(?P<end>{mark}|\r\n|\r|\n|\Z)"
    )
    rows: list[list[Cell]] = []
    cells: list[Cell] = []
    count = 0
    while start < len(text) or cells:
        found = pattern.match(text, start)
        assert found is not None  # it matches an empty cell anywhere
        inner, bare = found["inner"], found["bare"]
        value = bare if inner is None else inner.replace('""', '"') + bare
        cells.append(Cell(value, start, found.end("bare"), inner is not None))
        start, count = found.end(), count + 1
        if count > MAX_CELLS:
            raise CourseError(f"The file has more than {MAX_CELLS:,} cells.")
        if found["end"] != separator:
            rows.append(cells)
            cells = []
    return rows


def _plausible(rows: Sequence[Sequence[Cell]]) -> tuple[float, int]:
    """How much rows look like a table: a header of some columns, and rows as long as it."""
    width = len(rows[0]) if rows else 0
    if width < 2:
        return 0.0, width
    full = [row for row in rows if len(row) > 1 or row[0].value]  # a blank line says nothing
    return sum(len(row) == width for row in full) / len(full), width
