"""What reaches the terminal: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lrplan.text import WIDTH, as_text, plain
from lrplan.text import cell as cell
from lrplan.text import table as table


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


def show(*parts: Any) -> None:
    """Write tables and lines of text to stdout; text is taken as it is, never as markup."""
    asked = os.environ.get("COLUMNS", "")
    terminal = sys.stdout is not None and sys.stdout.isatty()
    width = None if terminal or asked.isdigit() else WIDTH
    emit(as_text(*parts, width=width, file=sys.stdout))


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
