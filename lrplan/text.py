"""Results as text: the tables and lines that commands print and `summary` returns."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 100
"""Columns where no terminal says how many it has."""


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


def as_text(*parts: Any, width: int | None = WIDTH, file: Any = None) -> str:
    """Return tables and lines of text as one text; lines are taken as they are, never as markup.

    Parameters
    ----------
    *parts : str or table
        From above.
    width : int or None, default 100
        Columns; None asks the terminal.
    file : file object, optional
        The terminal that it is for, which says whether there are colours, and which characters;
        by default none, and all characters.
    """
    from io import StringIO

    from rich.console import Console
    from rich.text import Text

    console = Console(
        file=StringIO() if file is None else file,
        width=width,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
        force_terminal=False if file is None else None,
        force_jupyter=False,
    )
    with console.capture() as captured:
        for part in parts:
            console.print(Text(plain(part)) if isinstance(part, str) else part)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
