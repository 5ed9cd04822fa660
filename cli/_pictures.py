"""Pictures that commands write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrplan.cli._files import check_file, written_whole

PLOTS = (".png", ".pdf", ".svg")


def check_plot(path: Path, *, force: bool) -> None:
    """Raise `UsageError` if a plot cannot be written there, before any work is done."""
    check_file("--plot", path, PLOTS, force=force)


def write_figure(path: Path, figure: Any, **options: Any) -> None:
    """Write a figure, with options of its `savefig`; the file appears only when it is whole."""
    with written_whole(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), **{"dpi": 200, **options})


def save_figure(path: Path, result: Any) -> None:
    """Draw what has a `plot`; the file appears only when it is whole."""
    import matplotlib

    matplotlib.use("Agg")
    write_figure(path, result.plot().figure, dpi=300, bbox_inches="tight")
