"""Accuracy from one third of training to another, as a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from lrplan.plots._heat import crossed

if TYPE_CHECKING:
    from lrplan.plots._drawn import Result


def plot_thirds(result: Result, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy from one third of training to another, from ``thirds``."""
    return crossed(result, ax, "third")
