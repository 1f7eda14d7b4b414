"""Archives of what is handed in and handed out, and files that are written whole or not at all."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from proctor.errors import ProctorError, Rejected
from proctor.notebook.cells import MAX_BYTES
from proctor.notebook.files import MAX_FILES

# Others raise what zipfile does not explain, and may ask for gigabytes.
METHODS = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def packed(contents: Mapping[str, bytes], comment: bytes) -> bytes:
    """An archive of these files, the same for the same contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        made.comment = comment
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name)  # its time is 1980's, whenever that is made
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(entry, data)
    return buffer.getvalue()


def comment(path: Path) -> bytes | None:
    """The comment of an archive, which says who made it; None if it is no archive."""
    try:
        with zipfile.ZipFile(path) as found:
            return found.comment
    except (OSError, zipfile.BadZipFile):
        return None


def unpack(path: Path, folder: Path) -> None:
    """Unpack an archive, within bounds. Raises Rejected where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > 2 * MAX_FILES or sum(e.file_size for e in entries) > 3 * MAX_BYTES:
                raise Rejected(f"{path.name} is too large: it holds more than can be handed in.")
            if any(each.compress_type not in METHODS for each in entries):
                raise Rejected(
                    f"{path.name} is packed by a method that is not read here: unpack it, and name "
                    "the folder."
                )
            archive.extractall(folder)  # never outside of it, nor through a link
    except (zipfile.BadZipFile, zlib.error, EOFError):
        raise Rejected(f"{path.name} is no whole zip archive: copy or download it again.") from None
    except (RuntimeError, NotImplementedError, OSError, ValueError) as error:
        raise Rejected(f"{path.name} cannot be unpacked: {error}") from None


def write_whole(target: Path, data: bytes) -> None:
    """Write a file so that nobody ever finds half of it, however the command ends."""
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_bytes(data)
        os.replace(part, target)
    except OSError as error:
        raise ProctorError(f"{target} cannot be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
