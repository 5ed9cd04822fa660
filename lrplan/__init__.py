"""lrplan: plan and score experiments that tell which learning rule a neural circuit uses.

Examples
--------
>>> import numpy as np
>>> import lrplan
>>> cohort = lrplan.open_cohort("starter")
>>> design = lrplan.Design(units=300, noise=0.1)
>>> plan = lrplan.forecast(cohort, design, rng=np.random.default_rng(0))
>>> plan.accuracy.low > plan.chance
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrplan.analyses import analyse
    from lrplan.claims import evaluate_claims
    from lrplan.cohort.store import Cohort, open_cohort
    from lrplan.errors import DataError, LrplanError, UsageError
    from lrplan.measure.design import Design, Schedule
    from lrplan.measure.recording import Recording, join
    from lrplan.measure.virtual import record
    from lrplan.nwb import inspect_nwb, read_nwb, write_nwb
    from lrplan.nwb.rehearsal import record_nwb
    from lrplan.plots import (
        plot_accuracy_by_noise,
        plot_accuracy_by_units,
        plot_confusion,
        plot_forecast,
        plot_sweep,
    )
    from lrplan.tell.compare import Comparison, compare
    from lrplan.tell.forecast import Forecast, forecast
    from lrplan.tell.forecast_comparison import ForecastComparison, forecast_comparison
    from lrplan.tell.intervals import Interval
    from lrplan.tell.sweep import accuracy_by_noise, accuracy_by_units, sweep
    from lrplan.tell.verdict import Verdict, score

# Where each public name lives; imported when first asked for, so that `lrplan --help` and a
# script that only needs Design pay for nothing else.
_HOME = {
    "Cohort": "cohort",
    "Comparison": "tell.compare",
    "DataError": "errors",
    "Design": "measure.design",
    "Forecast": "tell.forecast",
    "ForecastComparison": "tell.forecast_comparison",
    "Interval": "tell.intervals",
    "LrplanError": "errors",
    "Recording": "measure.recording",
    "Schedule": "measure.design",
    "UsageError": "errors",
    "Verdict": "tell.verdict",
    "accuracy_by_noise": "tell.sweep",
    "accuracy_by_units": "tell.sweep",
    "analyse": "analyses",
    "compare": "tell.compare",
    "evaluate_claims": "claims",
    "forecast": "tell.forecast",
    "forecast_comparison": "tell.forecast_comparison",
    "inspect_nwb": "nwb",
    "join": "measure.recording",
    "open_cohort": "cohort",
    "plot_accuracy_by_noise": "plots",
    "plot_accuracy_by_units": "plots",
    "plot_confusion": "plots",
    "plot_forecast": "plots",
    "plot_sweep": "plots",
    "read_nwb": "nwb",
    "record": "measure.virtual",
    "record_nwb": "nwb.rehearsal",
    "score": "tell.verdict",
    "sweep": "tell.sweep",
    "write_nwb": "nwb",
}

__all__ = [
    "Cohort",
    "Comparison",
    "DataError",
    "Design",
    "Forecast",
    "ForecastComparison",
    "Interval",
    "LrplanError",
    "Recording",
    "Schedule",
    "UsageError",
    "Verdict",
    "accuracy_by_noise",
    "accuracy_by_units",
    "analyse",
    "compare",
    "evaluate_claims",
    "forecast",
    "forecast_comparison",
    "inspect_nwb",
    "join",
    "open_cohort",
    "plot_accuracy_by_noise",
    "plot_accuracy_by_units",
    "plot_confusion",
    "plot_forecast",
    "plot_sweep",
    "read_nwb",
    "record",
    "record_nwb",
    "score",
    "sweep",
    "write_nwb",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lrplan' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"lrplan.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
