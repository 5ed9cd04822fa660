"""Layer-wise activity change: what a layer's inputs do to its outputs."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from lrplan.measure.observables import PAPER, Family, Observable, families


def from_total(total: Any, n_out: int) -> Any:
    """Return (..., 3) from the summed change (..., stimulus, input).

    Parameters
    ----------
    total : array (..., stimulus, input)
        For each input, the derivative of the sum of all outputs.
    n_out : int
        Number of outputs in the sum.

    Returns
    -------
    array (..., 3)
        1 / n_out times the sum over inputs, of raw, absolute and squared values, averaged over
        stimuli.
    """
    xp = array_namespace(total)
    return xp.stack(
        [
            xp.mean(xp.sum(f, axis=-1), axis=-1) / n_out
            for f in (total, xp.abs(total), total * total)
        ],
        axis=-1,
    )


def compute(values: Any) -> Any:
    """Return (..., 3) from d post / d pre, (..., stimulus, post, pre)."""
    xp = array_namespace(values)
    return from_total(xp.sum(values, axis=-2), values.shape[-2])


def scale(values: Any) -> Any:
    """Return the root mean square over stimuli and inputs of the summed change."""
    xp = array_namespace(values)
    total = xp.sum(values, axis=-2)
    return xp.sqrt(xp.mean(total * total, axis=(-2, -1)))


def scale_of_stored(observed: Any, outputs: Any, inputs: Any) -> Any:
    """Return the same from grad_sq, the sum of squares over inputs by the number of outputs."""
    return (observed[..., 2] * outputs / inputs) ** 0.5


families.add(
    "grad",
    Family(
        name="grad",
        measure="paired",
        observables=tuple(
            Observable(f"grad_{name}", degree, f"{word} activity change, outputs over inputs")
            for name, degree, word in (
                ("raw", 1, "mean"),
                ("abs", 1, "mean absolute"),
                ("sq", 2, "mean squared"),
            )
        ),
        compute=compute,
        scale=scale,
        cites=PAPER,
        scale_of_stored=scale_of_stored,
        compute_total=from_total,
    ),
)
