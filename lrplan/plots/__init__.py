"""Pictures of results, a file each: `plot_x` draws into `ax` and returns it; none shows a window.

They are readable at the width of a journal's column (3.5 inches), and colours can be told apart
by the colour-blind. They take finished results and import nothing that makes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrplan.plots._style import LINE, SEQUENTIAL, short
    from lrplan.plots.accuracy_by_noise import plot_accuracy_by_noise
    from lrplan.plots.accuracy_by_units import plot_accuracy_by_units
    from lrplan.plots.claims import plot_claims
    from lrplan.plots.clustering import plot_clustering
    from lrplan.plots.cohort import plot_cohort
    from lrplan.plots.confusion import plot_confusion
    from lrplan.plots.confusion_by_measure import plot_confusion_by_measure
    from lrplan.plots.equal_performance import plot_equal_performance
    from lrplan.plots.forecast import plot_forecast
    from lrplan.plots.held_out import plot_held_out
    from lrplan.plots.importance import plot_importance
    from lrplan.plots.label import plot_label
    from lrplan.plots.pairs import plot_pairs
    from lrplan.plots.pretrained import plot_pretrained
    from lrplan.plots.recording import plot_recording
    from lrplan.plots.separation import plot_separation
    from lrplan.plots.subsampling import plot_subsampling
    from lrplan.plots.sweep import plot_sweep
    from lrplan.plots.thirds import plot_thirds
    from lrplan.plots.time_average import plot_time_average
    from lrplan.plots.units_noise import plot_units_noise
    from lrplan.plots.verdict import plot_verdict

__all__ = [
    "LINE",
    "SEQUENTIAL",
    "plot_accuracy_by_noise",
    "plot_accuracy_by_units",
    "plot_claims",
    "plot_clustering",
    "plot_cohort",
    "plot_confusion",
    "plot_confusion_by_measure",
    "plot_equal_performance",
    "plot_forecast",
    "plot_held_out",
    "plot_importance",
    "plot_label",
    "plot_pairs",
    "plot_pretrained",
    "plot_recording",
    "plot_separation",
    "plot_subsampling",
    "plot_sweep",
    "plot_thirds",
    "plot_time_average",
    "plot_units_noise",
    "plot_verdict",
    "short",
]


def __getattr__(name: str) -> Any:
    # A picture is loaded when it is first asked for: plot_x lives in x.py.
    if name not in __all__:
        raise AttributeError(f"module 'lrplan.plots' has no attribute {name!r}")
    from importlib import import_module

    home = name.removeprefix("plot_") if name.startswith("plot_") else "_style"
    return getattr(import_module(f"lrplan.plots.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
