"""What reaches the terminal: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 100
"""Columns where stdout is not a terminal."""


def plain(value: Any) -> str:
    """Return text of one line without control characters, fit for a terminal.

    Names may come out of files: none may move the cursor, colour the screen or turn the
    direction of writing.
    """
    text = "".join(" " if c in "\t\r\n\v\f\x85\u2028\u2029" else c for c in str(value))
    text = "".join("?" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in text)
    return " ".join(text.split())


def close_stdout() -> None:
    """Send what is still written to stdout nowhere: its reader has gone."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def emit(text: str) -> None:
    """Write a result to stdout; a reader that has gone is no error."""
    try:
        if sys.stdout is not None:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        close_stdout()
    except OSError:
        # What is left in the buffer would fail once more at the end, and be told twice.
        close_stdout()
        raise


def emit_json(value: Any) -> None:
    """Write one strictly valid JSON document to stdout."""
    emit(json_text(value))


def json_text(value: Any) -> str:
    """Return strictly valid JSON: what is not finite becomes null."""
    import json

    return json.dumps(_json_value(value), indent=2, allow_nan=False)


def _json_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _json_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_json_value(v) for v in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _json_value(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def note(text: str, *, quiet: bool) -> None:
    """Write a remark to stderr."""
    if not quiet:
        complain(text)


def complain(text: str) -> None:
    """Write one line to stderr."""
    with contextlib.suppress(OSError):
        print(f"lrplan: {plain(text)}", file=sys.stderr, flush=True)


def quiet_was_asked(arguments: Sequence[str]) -> bool:
    """Say whether ``--quiet`` is among the arguments."""
    return "--quiet" in arguments or "-q" in arguments


def table(
    title: str | None, columns: Iterable[str], rows: Iterable[Sequence[Any]], *, numbers: int = 0
) -> RenderableType:
    """Return a table of sanitised text, under its title.

    Parameters
    ----------
    title : str or None
        Shown above it.
    columns : iterable of str
        Headings.
    rows : iterable of sequences
        Values, turned into text by `cell`.
    numbers : int, default 0
        Columns from this one on are aligned to the right; 0 aligns none.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    out = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for i, column in enumerate(columns):
        right = bool(numbers) and i >= numbers
        # Long headings break after an underscore, where words end.
        heading = plain(column) if len(column) < 12 else plain(column).replace("_", "_\n")
        out.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in rows:
        out.add_row(*map(cell, row))
    # A title of rich's own would be folded to the width of the table.
    return Group(Text(plain(title), style="bold"), out) if title else out


def cell(value: Any) -> str:
    """Return what a table shows of a value."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "-"
    if isinstance(value, Mapping):
        said = {k: v for k, v in value.items() if v is not None and v != []}
        return ", ".join(f"{plain(k)} {cell(v)}" for k, v in said.items()) or "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return plain(value)


def show(*parts: Any) -> None:
    """Write tables and lines of text to stdout; text is taken as it is, never as markup."""
    from rich.console import Console
    from rich.text import Text

    asked = os.environ.get("COLUMNS", "")
    terminal = sys.stdout is not None and sys.stdout.isatty()
    width = None if terminal or asked.isdigit() else WIDTH
    console = Console(
        file=sys.stdout, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False
    )
    with console.capture() as captured:
        for part in parts:
            console.print(Text(plain(part)) if isinstance(part, str) else part)
    lines = captured.get().splitlines()
    emit("\n".join(line.rstrip() for line in lines))


def percent(share: float | None) -> str:
    """Return a share as a percentage."""
    return "-" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def percent_range(low: float, high: float) -> str:
    """Return an interval of shares as percentages."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "-"
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def size(count: float) -> str:
    """Return a number of bytes in the largest unit that keeps it above 1."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
