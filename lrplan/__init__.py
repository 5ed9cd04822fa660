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
    from lrplan.cohort import Cohort, open_cohort
    from lrplan.design import Design, Schedule
    from lrplan.errors import DataError, LrplanError, UsageError
    from lrplan.evaluation import Interval
    from lrplan.forecasting import Forecast, forecast
    from lrplan.nwb import inspect_nwb, read_nwb, write_nwb
    from lrplan.plots import (
        plot_accuracy_by_noise,
        plot_accuracy_by_units,
        plot_confusion,
        plot_forecast,
        plot_sweep,
    )
    from lrplan.recording import Recording, record
    from lrplan.rehearsal import record_nwb
    from lrplan.sweeping import accuracy_by_noise, accuracy_by_units, sweep
    from lrplan.verdict import Verdict, score

# Where each public name lives; imported when first asked for, so that `lrplan --help` and a
# script that only needs Design pay for nothing else.
_HOME = {
    "Cohort": "cohort",
    "DataError": "errors",
    "Design": "design",
    "Forecast": "forecasting",
    "Interval": "evaluation",
    "LrplanError": "errors",
    "Recording": "recording",
    "Schedule": "design",
    "UsageError": "errors",
    "Verdict": "verdict",
    "accuracy_by_noise": "sweeping",
    "accuracy_by_units": "sweeping",
    "analyse": "analyses",
    "evaluate_claims": "claims",
    "forecast": "forecasting",
    "inspect_nwb": "nwb",
    "open_cohort": "cohort",
    "plot_accuracy_by_noise": "plots",
    "plot_accuracy_by_units": "plots",
    "plot_confusion": "plots",
    "plot_forecast": "plots",
    "plot_sweep": "plots",
    "read_nwb": "nwb",
    "record": "recording",
    "record_nwb": "rehearsal",
    "score": "verdict",
    "sweep": "sweeping",
    "write_nwb": "nwb",
}

__all__ = [
    "Cohort",
    "DataError",
    "Design",
    "Forecast",
    "Interval",
    "LrplanError",
    "Recording",
    "Schedule",
    "UsageError",
    "Verdict",
    "accuracy_by_noise",
    "accuracy_by_units",
    "analyse",
    "evaluate_claims",
    "forecast",
    "inspect_nwb",
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
