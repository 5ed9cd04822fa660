"""Text that came out of a file, made fit to show."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import numpy as np


def clean(value: Any, limit: int | None = 160) -> str:
    """Return text of one line without control characters.

    A recording is foreign input: its strings may hold terminal escapes, line breaks or marks
    that turn the direction of writing. None of these may reach a terminal or a report.

    Parameters
    ----------
    value : object
        Text, bytes, or anything that has a text form.
    limit : int, optional
        Longest text that is returned whole, in characters.
    """
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    shown = "".join(" " if c in "\t\r\n" else c for c in text)
    shown = "".join("?" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in shown)
    shown = shown.strip()
    if limit is not None and len(shown) > limit:
        shown = shown[: limit - 3] + "..."
    return shown


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sorting key under which ``ses-2`` comes before ``ses-10``."""
    parts = re.split(r"([0-9]+)", text)
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p.lower()) for p in parts if p)


def listed(names: list[str], most: int = 8) -> str:
    """Return names joined by commas, the rest as a count."""
    shown = ", ".join(clean(n, 60) for n in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def size_text(count: float) -> str:
    """Return a number of bytes in the largest unit that keeps it above 1."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def folded(name: str) -> str:
    """Return a column's name in lower case with underscores: ``stimOn_times``: stim_on_times."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.strip())
    return re.sub(r"[\s\-_]+", "_", apart.lower())


def shell_word(text: str) -> str:
    """Return text from a file as one word of a command line that a user may copy."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


def quoted(name: str) -> str:
    """Return a column's name as a condition takes it: in backticks unless it is one word."""
    return name if name.isidentifier() else f"`{name}`"
