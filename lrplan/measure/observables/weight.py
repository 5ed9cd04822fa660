"""Statistics of a layer's forward weights."""

from __future__ import annotations

from lrplan.measure.observables import PAPER, Family, families
from lrplan.measure.observables._statistics import (
    observables,
    root_mean_square,
    root_mean_square_of_stored,
    statistics,
)

families.add(
    "weight",
    Family(
        name="weight",
        measure="weights",
        observables=observables("weight", "weight"),
        compute=statistics,
        scale=lambda values: root_mean_square(values, (-1,)),
        cites=PAPER,
        scale_of_stored=root_mean_square_of_stored,
    ),
)
