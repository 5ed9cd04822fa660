"""Results as lines and tables: for a terminal, as plain text, and for a notebook.

A result's text is a list of lines (str) and tables (`TextTable`). The command line prints it, and
the ``summary()`` and ``_repr_html_`` of a result are made of it.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDTH = 100
"""Columns of plain text."""


@dataclass(frozen=True)
class TextTable:
    """A table of sanitised text, under its title; made by `table`.

    Parameters
    ----------
    title : str or None
        Shown above it.
    columns : tuple of str
        Headings.
    rows : tuple of tuples of str
        What stands in it.
    numbers : int
        Columns from this one on are aligned to the right; 0 aligns none.
    """

    title: str | None
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int

    def right(self, column: int) -> bool:
        """Return whether a column is aligned to the right."""
        return bool(self.numbers) and column >= self.numbers

    def __rich__(self) -> RenderableType:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        out = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for i, column in enumerate(self.columns):
            # Long headings break after an underscore, where words end.
            heading = column if len(column) < 12 else column.replace("_", "_\n")
            out.add_column(heading, justify="right" if self.right(i) else "left", overflow="fold")
        for row in self.rows:
            out.add_row(*row)
        # A title of rich's own would be folded to the width of the table.
        return Group(Text(self.title, style="bold"), out) if self.title else out


Line = str | TextTable
"""What a text is made of: a line of words, or a table."""


def table(
    title: str | None, columns: Iterable[str], rows: Iterable[Sequence[Any]], *, numbers: int = 0
) -> TextTable:
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
    return TextTable(
        plain(title) if title else None,
        tuple(map(plain, columns)),
        tuple(tuple(map(cell, row)) for row in rows),
        numbers,
    )


def write(console: Console, lines: Iterable[Line]) -> str:
    """Return lines as a console shows them; words are taken as they are, never as markup."""
    from rich.text import Text

    with console.capture() as captured:
        for line in lines:
            console.print(Text(plain(line)) if isinstance(line, str) else line)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def text(lines: Iterable[Line], *, width: int = WIDTH) -> str:
    """Return lines and tables as plain text.

    Parameters
    ----------
    lines : iterable of str or TextTable
        From above.
    width : int, default 100
        Columns that it may take.
    """
    from io import StringIO

    from rich.console import Console

    # Neither a notebook nor variables such as FORCE_COLOR may change what is returned.
    console = Console(
        file=StringIO(),
        width=width,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        markup=False,
        highlight=False,
        emoji=False,
    )
    return write(console, lines).rstrip("\n")


def html(lines: Iterable[Line]) -> str:
    """Return lines and tables as HTML for a notebook; what comes out of files is escaped."""
    from html import escape

    out = []
    for line in lines:
        if isinstance(line, str):
            if line:
                out.append(f"<p>{escape(plain(line))}</p>")
            continue
        sides = ["right" if line.right(i) else "left" for i in range(len(line.columns))]

        def row(values: Sequence[str], tag: str, sides: Sequence[str] = sides) -> str:
            cells = (
                f'<{tag} style="text-align: {side}">{escape(value)}</{tag}>'
                for value, side in zip(values, sides, strict=True)
            )
            return f"<tr>{''.join(cells)}</tr>"

        caption = f"<caption>{escape(line.title)}</caption>" if line.title else ""
        body = "".join(row(values, "td") for values in line.rows)
        out.append(
            f"<table>{caption}<thead>{row(line.columns, 'th')}</thead><tbody>{body}</tbody></table>"
        )
    return f"<div>{''.join(out)}</div>"


def plain(value: Any) -> str:
    """Return text of one line without control characters, fit for a terminal.

    Names may come out of files: none may move the cursor, colour the screen or turn the
    direction of writing.
    """
    text = "".join(" " if c in "\t\r\n\v\f\x85\u2028\u2029" else c for c in str(value))
    text = "".join("?" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in text)
    return " ".join(text.split())


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


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, in the plural (by default with an s) unless it is 1."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
