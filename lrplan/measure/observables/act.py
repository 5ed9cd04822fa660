"""Statistics of activations over units, per stimulus, averaged over stimuli."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from lrplan.measure.observables import PAPER, Family, families
from lrplan.measure.observables._statistics import (
    observables,
    root_mean_square,
    root_mean_square_of_stored,
    statistics,
)


def compute(values: Any) -> Any:
    """Return (..., 21) from activations (..., stimulus, unit)."""
    return array_namespace(values).mean(statistics(values), axis=-2)


families.add(
    "act",
    Family(
        name="act",
        measure="activity",
        observables=observables("act", "activation"),
        compute=compute,
        scale=lambda values: root_mean_square(values, (-2, -1)),
        cites=PAPER,
        scale_of_stored=root_mean_square_of_stored,
    ),
)
