"""Accuracy among organisms of equal performance, as dots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from lrplan.plots._dots import accuracy_dots
from lrplan.plots._style import SMALL, values_of

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result


def plot_equal_performance(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy among organisms of equal performance, from ``equal_performance``."""
    ax = accuracy_dots(result, "match", ax)
    data = result.dataset
    texts = {
        "none": "as they are",
        "organisms": "final performance\nmatched",
        "checkpoints": "moments of\nequal performance",
        "lowest": "lowest common\nperformance",
    }
    names = [
        f"{texts.get(m, m)}\n({int(n)} organisms)"
        for m, n in zip(values_of(data["match"]), data["organisms"].values, strict=True)
    ]
    ax.set_yticks(range(len(names)), names, fontsize=SMALL)
    return ax
