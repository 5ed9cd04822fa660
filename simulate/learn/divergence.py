"""Divergence: organisms that grew out of all bounds in training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lrplan.cohort.format import CODED

GROWTH = 1000.0
"""How many times its root mean square before training a layer may reach.

In the starter cohort stored activity grows to at most 1.6 times, weights to 1.4 times. In trials
(every layer of mlp, knet4 and knet4_lrn, on digits and digits_simclr, by four rules, six epochs)
either grew to at most 12 times at the rates of the starter, and to 230 times at ten times those
rates (once to 920, in a contrastive head, whose loss is blind to scale). What runs away passes a
thousand within a few steps; whether it ends in overflow is then a matter of rounding.
"""


def root_mean_squares(params: Mapping[str, Tensor]) -> Tensor:
    """Return the root mean square (organism, parameter) of each organism's parameters."""
    flat = [p.detach().flatten(1) for p in params.values()]
    return torch.stack(
        [torch.linalg.vector_norm(p, dim=1) / p.shape[1] ** 0.5 for p in flat], dim=1
    )


def has_diverged(
    sizes: np.ndarray, is_weight: np.ndarray, arrays: Mapping[str, np.ndarray]
) -> bool:
    """Say whether an organism diverged, from its trajectory.

    It has if at any checkpoint a parameter, the loss or a stored value is not finite; if a stored
    value is too large for half precision (65,504), in which it is kept; or if the root mean square
    of a layer's weights, or of its stored activity, is more than `GROWTH` times what it was before
    training.

    Parameters
    ----------
    sizes : array (checkpoint, parameter)
        Root mean squares of the parameters.
    is_weight : array (parameter,) of bool
        Which are weights of layers: biases start at zero, of which any growth is infinite.
    arrays : mapping of str to array
        As `Trained.arrays`. Places that are NaN at the first checkpoint are padding.
    """
    if not np.isfinite(sizes).all() or not np.isfinite(arrays["loss"]).all():
        return True
    for name in CODED:
        values = arrays[name]
        lost = np.isfinite(values[:, :1]) & ~np.isfinite(values)
        if lost.any() or (np.abs(values) > np.finfo(np.float16).max).any():
            return True
    return _outgrown(sizes[:, is_weight].T) or _outgrown(_activity(arrays["responses"]))


def _outgrown(sizes: np.ndarray) -> bool:
    """Say whether a size (row, checkpoint) outgrew its first one; from zero nothing can."""
    return bool(((sizes > GROWTH * sizes[:, :1]) & (sizes[:, :1] > 0)).any())


def _activity(responses: np.ndarray) -> np.ndarray:
    """Return the root mean square (population, checkpoint) over stimuli and stored units."""
    known = np.isfinite(responses)
    squares = np.where(known, responses, 0.0).astype(np.float64) ** 2
    return np.sqrt(squares.sum((2, 3)) / np.maximum(known.sum((2, 3)), 1))
