"""The participation ratio over stimuli: how many dimensions the mean responses spread over."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from lrplan.measure.observables import Family, Needs, Observable, families


def compute(values: Any) -> Any:
    """Return (..., 1) from responses (..., stimulus, unit).

    tr(G)^2 / tr(G^2), G the stimulus x stimulus Gram matrix of responses centred over stimuli;
    0 where nothing depends on the stimulus.
    """
    xp = array_namespace(values)
    # The ratio has no unit; at a size of 1 its squares neither overflow nor vanish.
    largest = xp.max(xp.abs(values), axis=(-2, -1), keepdims=True)
    x = values / xp.where(largest > 0, largest, xp.ones_like(largest))
    x = x - xp.mean(x, axis=-2, keepdims=True)
    gram = x @ xp.matrix_transpose(x)
    trace = xp.sum(x * x, axis=(-2, -1))
    squares = xp.sum(gram * gram, axis=(-2, -1))
    # Equal responses leave no more than rounding.
    varies = trace > (xp.finfo(values.dtype).eps * x.shape[-2]) ** 2 * x.shape[-2] * x.shape[-1]
    ratio = trace * trace / xp.where(varies, squares, xp.ones_like(squares))
    return xp.where(varies, ratio, xp.zeros_like(ratio))[..., None]


def scale(values: Any) -> Any:
    """Return the root mean square (...) over stimuli and units."""
    xp = array_namespace(values)
    return xp.sqrt(xp.mean(values * values, axis=(-2, -1)))


families.add(
    "participation_ratio",
    Family(
        name="participation_ratio",
        measure="activity",
        observables=(
            Observable("participation_ratio_stimuli", 0, "dimensions of responses over stimuli"),
        ),
        compute=compute,
        scale=scale,
        cites="Gao et al., bioRxiv 2017, doi 10.1101/214262",
        needs=Needs(stimuli=2),
    ),
)
