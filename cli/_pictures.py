"""Pictures that commands write: what they may be called, and how they are written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lrplan.errors import UsageError

PLOTS = (".png", ".pdf", ".svg")


def check_plot(path: Path, *, force: bool) -> None:
    """Raise `UsageError` if a plot cannot be written there, before any work is done."""
    if path.suffix.lower() not in PLOTS:
        raise UsageError(f"--plot {path}: expected a name that ends in {', '.join(PLOTS)}")
    if path.is_dir() or (not force and os.path.lexists(path)):
        raise UsageError(f"--plot {path} exists; give another name, or --force to replace a file")
    if not path.parent.is_dir():
        raise UsageError(f"--plot {path}: there is no directory {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"--plot {path}: {path.parent} is not writable; give another directory")


def write_figure(path: Path, figure: Any, **options: Any) -> None:
    """Write a figure, with options of its `savefig`; the file appears only when it is whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(temporary, format=path.suffix[1:].lower(), **{"dpi": 200, **options})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_figure(path: Path, result: Any) -> None:
    """Draw what has a `plot`; the file appears only when it is whole."""
    import matplotlib

    matplotlib.use("Agg")
    write_figure(path, result.plot().figure, dpi=300, bbox_inches="tight")
