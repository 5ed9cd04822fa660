"""Where a result finds its picture. Results know a picture by its name alone.

`lrplan.plots` draws finished results and imports nothing that makes them; what makes them imports
no picture. Here, and nowhere else, the two meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(picture: str, result: Any, *, ax: Axes | None = None) -> Axes:
    """Draw a result.

    Parameters
    ----------
    picture : str
        Name of a function of `lrplan.plots`, such as ``"plot_separation"``.
    result : object
        What that function draws.
    ax : Axes, optional
        Where to draw; by default a new figure as wide as a journal's column.
    """
    from importlib import import_module

    function = getattr(import_module("lrplan.plots"), picture)
    return function(result, ax=ax)
