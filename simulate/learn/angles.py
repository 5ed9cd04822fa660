"""Angles: how well the errors that a rule delivers are those of backpropagation.

A diagnostic of credit assignment, not something that a lab could measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrplan.simulate.credits import Credit, KnownMinimum, Observed, Operation, Visit
from lrplan.simulate.credits.backpropagation import Backpropagation
from lrplan.simulate.network import Network, Pass
from lrplan.simulate.tasks import Task

ANGLES = ("error_cosine", "feedback_cosine", "feedback_distance")
"""What is measured of each layer.

error_cosine
    The cosine between the error that reaches the layer's drive (the derivative of the loss by
    z = W x, as the ways back of the layers behind deliver it) and that of backpropagation, over
    all examples of a batch, units and places. It is 1 at the readout, whatever the rule.
feedback_cosine
    The cosine between the backward weights B and the forward weights W.
feedback_distance
    \\|B - B*\\| / \\|B*\\|, with B* the minimum of the credit's own loss on the batch.

NaN where there is no such thing: no backward weights, no loss, or no error.
"""


def angles(
    network: Network,
    credit: Credit,
    task: Task,
    settings: Mapping[str, Any],
    params: Mapping[str, Tensor],
    feedback: Mapping[str, Tensor],
    images: Tensor,
    labels: Tensor,
) -> np.ndarray:
    """Measure one organism on one batch.

    Parameters
    ----------
    network : Network
    credit : Credit
        How the organism's errors go back.
    task, settings : Task, mapping
        What it learns.
    params, feedback : mapping of str to Tensor
        Its forward parameters, and its backward weights if it has any of its own.
    images, labels : Tensor (example, ...)
        The batch, as in training.

    Returns
    -------
    array (angle, layer) of float32
        In the order of `ANGLES` and of the network's layers.
    """
    feedback = feedback if credit.backward_weights else {}
    args = (network, task, settings, params, images, labels)
    delivered, visits, operations = _errors(*args, credit, feedback)
    true, _, _ = _errors(*args, Backpropagation(), {})
    found = np.full((len(ANGLES), len(network.layers)), np.nan, np.float32)
    for i, layer in enumerate(network.layers):
        found[0, i] = _cosine(delivered[layer.name], true[layer.name])
        backward = feedback.get(layer.name)
        if backward is None:
            continue
        weight = params[f"{layer.name}.weight"].detach()
        found[1, i] = _cosine(backward, weight)
        if isinstance(credit, KnownMinimum) and bool(torch.isfinite(backward).all()):
            with torch.no_grad():
                least = credit.minimiser(
                    Observed(operations[layer.name], weight, backward, visits[layer.name])
                )
            found[2, i] = float((backward - least).norm() / least.norm())
    return found


def _errors(
    network: Network,
    task: Task,
    settings: Mapping[str, Any],
    params: Mapping[str, Tensor],
    images: Tensor,
    labels: Tensor,
    credit: Credit,
    feedback: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, list[Visit]], dict[str, Operation]]:
    """Return the error at each layer's drive, what each saw, and what each does."""
    params = {k: p.detach() for k, p in params.items()}
    first = Pass(params, backward=feedback, credit=credit)
    with torch.no_grad():
        network.forward(first, images)
    taps = {
        name: [torch.zeros_like(visit.z).requires_grad_() for visit in visits]
        for name, visits in first.visits.items()
    }
    run = Pass(params, backward=feedback, credit=credit, taps=taps)
    loss = task.loss(network.forward(run, images), labels, dict(settings))
    flat = [tap for each in taps.values() for tap in each]
    errors = iter(torch.autograd.grad(loss, flat, materialize_grads=True))
    joined = {
        name: torch.cat([next(errors).flatten() for _ in each]) for name, each in taps.items()
    }
    return joined, first.visits, first.operations


def _cosine(one: Tensor, other: Tensor) -> float:
    size = float(one.norm() * other.norm())
    return float((one * other).sum()) / size if size > 0 else float("nan")
