"""What reaches the terminal: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lrplan.texts import WIDTH, Line, cell, percent, percent_range, plain, size, table, write

__all__ = [
    "cell",
    "close_stdout",
    "complain",
    "emit",
    "emit_json",
    "json_text",
    "note",
    "percent",
    "percent_range",
    "plain",
    "quiet_was_asked",
    "show",
    "size",
    "table",
]


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


def show(*lines: Line) -> None:
    """Write tables and lines of words to stdout, as wide as its terminal."""
    from rich.console import Console

    asked = os.environ.get("COLUMNS", "")
    terminal = sys.stdout is not None and sys.stdout.isatty()
    width = None if terminal or asked.isdigit() else WIDTH
    emit(
        write(
            Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False), lines
        )
    )
