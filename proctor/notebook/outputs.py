"""What cells put out, and pictures pasted into them, with nothing in it that could run."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from proctor.notebook.sanitise import markdown, markup, terminal, text_of

MAX_OUTPUTS = 1_000  # of one cell

Output = dict[str, Any]


def outputs(items: Any) -> list[Output]:
    """The outputs of a student's cell as valid nbformat, with nothing in them that could run."""
    clean: list[Output] = []
    items = items if isinstance(items, list) else []
    for item in items[:MAX_OUTPUTS]:
        kind = item.get("output_type") if isinstance(item, dict) else None
        if kind == "stream":
            name = "stderr" if item.get("name") == "stderr" else "stdout"
            clean.append(
                {"output_type": "stream", "name": name, "text": terminal(item.get("text"))}
            )
        elif kind == "error":
            trace = item.get("traceback")
            clean.append(
                {
                    "output_type": "error",
                    "ename": text_of(item.get("ename"))[:200],
                    "evalue": text_of(item.get("evalue"))[:2000],
                    "traceback": [terminal(line) for line in trace[:100]]
                    if isinstance(trace, list)
                    else [],
                }
            )
        elif kind in ("display_data", "execute_result"):
            shown: Output = {"output_type": kind, "data": _bundle(item.get("data")), "metadata": {}}
            if kind == "execute_result":
                count = item.get("execution_count")
                known = type(count) is int and 0 <= count < 1 << 31
                shown["execution_count"] = count if known else None
            clean.append(shown)
    if len(items) > MAX_OUTPUTS:
        text = f"[{len(items) - MAX_OUTPUTS} more outputs are not shown.]\n"
        clean.append({"output_type": "stream", "name": "stdout", "text": text})
    return clean


def _bundle(data: Any) -> dict[str, str]:
    """The representations of a result that are safe to show."""
    kept: dict[str, str] = {}
    if not isinstance(data, dict):
        return kept
    for mime in ("image/png", "image/jpeg", "image/gif"):
        if mime in data and (picture := _picture(mime, data[mime])):
            kept[mime] = picture
    if isinstance(data.get("image/svg+xml"), (str, list)):
        # an <img> runs no script, whatever the SVG holds
        encoded = base64.b64encode(text_of(data["image/svg+xml"]).encode()).decode()
        address = f"data:image/svg+xml;base64,{encoded}"
        kept["text/html"] = f'<img alt="" style="max-width: 100%" src="{address}">'
    elif data.get("text/html"):
        kept["text/html"] = markup(text_of(data["text/html"]))
    if data.get("text/markdown") and "text/html" not in kept:
        kept["text/markdown"] = markdown(text_of(data["text/markdown"]))
    kept["text/plain"] = terminal(data.get("text/plain", "")) or " "
    return kept


def _picture(mime: str, data: Any) -> str | None:
    """Base64 of a picture, or None if it is none."""
    try:
        text = "".join(data) if isinstance(data, list) else data
        raw = base64.b64decode(text, validate=False)
    except (TypeError, ValueError, binascii.Error):
        return None
    magic = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8"}[mime]
    return base64.b64encode(raw).decode() if raw.startswith(magic) else None


def attachments(found: Any) -> dict[str, dict[str, str]]:
    """The pictures that a student pasted into a markdown cell."""
    kept: dict[str, dict[str, str]] = {}
    for name, bundle in found.items() if isinstance(found, dict) else []:
        if not isinstance(bundle, dict) or not re.fullmatch(r"[\w .()-]{1,100}", str(name)):
            continue
        for mime in ("image/png", "image/jpeg", "image/gif"):
            if mime in bundle and (picture := _picture(mime, bundle[mime])):
                kept[name] = {mime: picture}
    return kept


def beside(outputs: list[Output]) -> list[Output]:
    """A test cell's own outputs in a form that nbgrader reads no points from."""
    shown: list[Output] = []
    for output in outputs:
        if output["output_type"] == "error":
            text = "\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}"
            output = _as_text(text)
        elif output["output_type"] == "stream" and output["name"] == "stderr":
            output = _as_text(output["text"])
        elif output["output_type"] == "execute_result":
            output = {"output_type": "display_data", "data": output["data"], "metadata": {}}
        shown.append(output)
    return shown


def _as_text(text: str) -> dict[str, Any]:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return {"output_type": "display_data", "data": {"text/plain": plain}, "metadata": {}}
